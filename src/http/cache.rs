//! Open files, kept for the next request: a path that is asked for again costs a lookup instead of an open, a
//! stat and a close. Their number is bounded, and so are the bytes of those that are kept in memory; what was
//! not used lately makes room (the clock algorithm: one bit an entry).
//!
//! That there is no file of some path is not remembered. An open that fails costs about as much as a lookup
//! in a table that strangers fill, and a file that appears is served at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::open_file::OpenFile;

/// How long an entry is believed, in nanoseconds, before the path is looked at again.
pub(crate) const FRESH_NS: u64 = 1_000_000_000;

/// How long it is believed while the file is not at rest: whoever is changing it will go on, and what was read of it
/// in the middle of a write must not be served for long.
const CHANGING_NS: u64 = 50_000_000;

/// The cache: paths as they were asked for, each with its open file.
#[derive(Debug)]
pub(crate) struct Cache {
    by_path: HashMap<Arc<[u8]>, usize>,
    entries: Vec<Entry>,
    hand: usize,
    entries_max: usize,
    bytes: usize,
    bytes_max: usize,
    tally: Tally,
}

/// How often a path was looked up, and was there and fresh, or was not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
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
    /// here. Of those in memory it keeps `bytes_max` bytes, unless a single one has more.
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Cache {
        let (by_path, entries, entries_max) = (HashMap::new(), Vec::new(), entries_max.max(1));
        Cache { by_path, entries, hand: 0, entries_max, bytes: 0, bytes_max, tally: Tally::default() }
    }

    pub(crate) fn set_entries_max(&mut self, count: usize) {
        self.entries_max = count.max(1);
    }

    pub(crate) fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of files that are kept in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// The entry of `path` if it has been checked within the last second, and can still be served. Does not allocate.
    pub(crate) fn fresh(&mut self, path: &[u8], now_ns: u64) -> Option<usize> {
        let is_fresh = |&index: &usize| {
            let Entry { file, checked_ns, .. } = &self.entries[index];
            let believed_ns = if file.is_at_rest() { FRESH_NS } else { CHANGING_NS };
            now_ns.saturating_sub(*checked_ns) < believed_ns && file.is_whole()
        };
        let found = self.by_path.get(path).copied().filter(is_fresh);
        let count = if found.is_some() { &mut self.tally.hits } else { &mut self.tally.misses };
        *count += 1;
        found
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

    /// Where the file of `path` is, fresh or not.
    pub(crate) fn place(&self, path: &[u8]) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// Notes that the file of `path` is still the one that is held.
    pub(crate) fn confirm(&mut self, path: &[u8], now_ns: u64) -> Option<usize> {
        let index = *self.by_path.get(path)?;
        self.entries[index].checked_ns = now_ns;
        Some(index)
    }

    /// Keeps `file` as the file of `path`, in place of an older one or of what was not used lately.
    pub(crate) fn insert(&mut self, path: &[u8], file: OpenFile, now_ns: u64) -> usize {
        self.remove(path);
        let memory_len = file.memory_len();
        while self.entries.len() >= self.entries_max
            || (memory_len > 0 && self.bytes > 0 && self.bytes + memory_len > self.bytes_max)
        {
            self.evict_one();
        }
        self.bytes += memory_len;
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
        self.bytes = 0;
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
        self.bytes -= entry.file.memory_len();
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
    use crate::http::open_file::tests::opened;

    fn file(length: u64) -> OpenFile {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(length).expect("its length");
        opened(file, 100)
    }

    fn length_of(cache: &mut Cache, path: &str, now_ns: u64) -> Option<u64> {
        let index = cache.fresh(path.as_bytes(), now_ns)?;
        Some(cache.file(index, now_ns).length())
    }

    fn consistent(cache: &Cache) {
        assert_eq!(cache.by_path.len(), cache.entries.len());
        assert_eq!(cache.bytes, cache.entries.iter().map(|entry| entry.file.memory_len()).sum::<usize>());
        for (index, entry) in cache.entries.iter().enumerate() {
            assert_eq!(cache.by_path.get(&entry.path), Some(&index));
        }
    }

    #[test]
    fn an_entry_is_believed_for_a_second_and_then_confirmed() {
        let mut cache = Cache::new(4, 1 << 20);
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
        let mut cache = Cache::new(4, 1 << 20);
        cache.insert(b"a", file(1), 0);
        cache.insert(b"a", file(2), 0);
        assert_eq!((cache.len(), length_of(&mut cache, "a", 0)), (1, Some(2)));
    }

    #[test]
    fn the_number_is_bounded_and_what_is_used_stays() {
        let mut cache = Cache::new(4, 1 << 20);
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
        let mut cache = Cache::new(8, 1 << 20);
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

    #[test]
    fn bytes_in_memory_are_bounded_and_files_that_have_none_do_not_count() {
        let mut cache = Cache::new(100, 250);
        for number in 0..10u8 {
            cache.insert(&[b'm', number], file(100), 0);
            cache.insert(&[b'f', number], file(101), 0);
            consistent(&cache);
            assert!(cache.bytes <= 250);
        }
        assert!(cache.bytes >= 200);
        let mut small = Cache::new(100, 10);
        small.insert(b"larger than all", file(100), 0);
        assert_eq!(small.len(), 1, "the file that is being answered with lives here");
    }
}
