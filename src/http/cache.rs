//! Open files, kept for the next request: a path that is asked for again costs a lookup instead of an open, a
//! stat and a close. The number is bounded; what was not used lately makes room (the clock algorithm: one bit
//! an entry).

use std::collections::HashMap;
use std::sync::Arc;

use super::files::OpenFile;

/// How long an entry is believed, in nanoseconds, before the path is looked at again.
const FRESH_NS: u64 = 1_000_000_000;

/// The cache: paths as they were asked for, each with its open file.
#[derive(Debug)]
pub(crate) struct Cache {
    by_path: HashMap<Arc<[u8]>, usize>,
    entries: Vec<Entry>,
    hand: usize,
    entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    path: Arc<[u8]>,
    file: OpenFile,
    checked_ns: u64,
    used_ns: u64,
    /// Used since the hand last passed.
    recent: bool,
}

impl Cache {
    /// A cache of at most `entries_max` files, and at least one: the file that is being answered with lives
    /// here.
    pub(crate) fn new(entries_max: usize) -> Cache {
        Cache { by_path: HashMap::new(), entries: Vec::new(), hand: 0, entries_max: entries_max.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of `path` if it has been checked within the last second. Does not allocate.
    pub(crate) fn fresh(&self, path: &[u8], now_ns: u64) -> Option<usize> {
        let index = *self.by_path.get(path)?;
        (now_ns.saturating_sub(self.entries[index].checked_ns) < FRESH_NS).then_some(index)
    }

    /// The file at `index`, which counts as used.
    pub(crate) fn file(&mut self, index: usize, now_ns: u64) -> &OpenFile {
        let entry = &mut self.entries[index];
        entry.recent = true;
        entry.used_ns = now_ns;
        &entry.file
    }

    /// The file of `path`, fresh or not.
    pub(crate) fn stale(&self, path: &[u8]) -> Option<&OpenFile> {
        self.by_path.get(path).map(|&index| &self.entries[index].file)
    }

    /// Notes that the file of `path` is still the one that is held.
    pub(crate) fn confirm(&mut self, path: &[u8], now_ns: u64) -> Option<usize> {
        let index = *self.by_path.get(path)?;
        self.entries[index].checked_ns = now_ns;
        Some(index)
    }

    /// Keeps `file` as the file of `path`, in place of an older one or of what was not used lately.
    pub(crate) fn insert(&mut self, path: &[u8], file: OpenFile, now_ns: u64) -> usize {
        if let Some(&index) = self.by_path.get(path) {
            let entry = &mut self.entries[index];
            (entry.file, entry.checked_ns) = (file, now_ns);
            return index;
        }
        if self.entries.len() == self.entries_max {
            self.evict_one();
        }
        let path: Arc<[u8]> = Arc::from(path);
        self.by_path.insert(Arc::clone(&path), self.entries.len());
        self.entries.push(Entry { path, file, checked_ns: now_ns, used_ns: now_ns, recent: false });
        self.entries.len() - 1
    }

    pub(crate) fn remove(&mut self, path: &[u8]) {
        if let Some(&index) = self.by_path.get(path) {
            self.remove_at(index);
        }
    }

    /// Drops what was last used before `since_ns`.
    pub(crate) fn release_unused(&mut self, since_ns: u64) {
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            if entry.used_ns < since_ns { self.remove_at(index) } else { index += 1 }
        }
    }

    /// Drops everything. A file that is being sent stays open until it is out.
    pub(crate) fn clear(&mut self) {
        self.by_path.clear();
        self.entries.clear();
    }

    fn evict_one(&mut self) {
        loop {
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            if !std::mem::take(&mut self.entries[self.hand].recent) {
                return self.remove_at(self.hand);
            }
        }
    }

    /// The last entry moves into the gap.
    fn remove_at(&mut self, index: usize) {
        let entry = self.entries.swap_remove(index);
        self.by_path.remove(&entry.path);
        if let Some(moved) = self.entries.get(index)
            && let Some(place) = self.by_path.get_mut(&moved.path)
        {
            *place = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64) -> OpenFile {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(length).expect("its length");
        OpenFile::new(file.into(), b"name.txt", 0).expect("a regular file")
    }

    fn length_of(cache: &mut Cache, path: &str, now_ns: u64) -> Option<u64> {
        let index = cache.fresh(path.as_bytes(), now_ns)?;
        Some(cache.file(index, now_ns).length())
    }

    fn consistent(cache: &Cache) {
        assert_eq!(cache.by_path.len(), cache.entries.len());
        for (index, entry) in cache.entries.iter().enumerate() {
            assert_eq!(cache.by_path.get(&entry.path), Some(&index));
        }
    }

    #[test]
    fn an_entry_is_believed_for_a_second_and_then_confirmed() {
        let mut cache = Cache::new(4);
        cache.insert(b"a", file(1), 5);
        assert_eq!(length_of(&mut cache, "a", 5 + FRESH_NS - 1), Some(1));
        assert_eq!(length_of(&mut cache, "a", 5 + FRESH_NS), None);
        assert_eq!(cache.stale(b"a").map(OpenFile::length), Some(1));
        assert!(cache.confirm(b"a", 5 + FRESH_NS).is_some());
        assert_eq!(length_of(&mut cache, "a", 5 + FRESH_NS), Some(1));
        assert!(cache.confirm(b"b", 0).is_none());
    }

    #[test]
    fn a_newer_file_takes_the_place_of_the_older() {
        let mut cache = Cache::new(4);
        cache.insert(b"a", file(1), 0);
        cache.insert(b"a", file(2), 0);
        assert_eq!((cache.len(), length_of(&mut cache, "a", 0)), (1, Some(2)));
    }

    #[test]
    fn the_number_is_bounded_and_what_is_used_stays() {
        let mut cache = Cache::new(4);
        cache.insert(b"kept", file(7), 0);
        for number in 0..50 {
            assert_eq!(length_of(&mut cache, "kept", 0), Some(7), "at {number}");
            cache.insert(format!("{number}").as_bytes(), file(number), 0);
            assert!(cache.len() <= 4);
            consistent(&cache);
        }
    }

    #[test]
    fn what_is_not_used_is_released() {
        let mut cache = Cache::new(8);
        for number in 0..6u64 {
            cache.insert(format!("{number}").as_bytes(), file(number), number);
        }
        cache.release_unused(4);
        consistent(&cache);
        assert_eq!(cache.len(), 2);
        assert_eq!((length_of(&mut cache, "3", 5), length_of(&mut cache, "5", 5)), (None, Some(5)));
        cache.remove(b"5");
        cache.remove(b"5");
        consistent(&cache);
        cache.clear();
        assert_eq!((cache.len(), length_of(&mut cache, "4", 5)), (0, None));
    }
}
