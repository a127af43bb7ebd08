//! Listings that were made just now. To make one takes a look at every name of a directory and some hundred bytes of page
//! for each, while everybody else waits; so whoever asks for it again and again gets the same page, which all of them
//! share, for as long as files are believed as well.

use bytes::Bytes;

use super::cache::FRESH_NS;
use super::listing::Sorting;

/// How many bytes of pages are kept; the newest always is.
const BYTES_MAX: usize = 8 << 20;

/// How many pages are looked through.
const PAGES_MAX: usize = 64;

/// Pages by directory and order, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    kept: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    path: Box<[u8]>,
    sorting: Sorting,
    bytes: Bytes,
    made_ns: u64,
}

impl Pages {
    /// The page of the directory at `path`, if it was made within the last second.
    pub(crate) fn find(&self, path: &[u8], sorting: Sorting, now_ns: u64) -> Option<Bytes> {
        let is_it = |page: &&Page| *page.path == *path && page.sorting == sorting && page.is_fresh(now_ns);
        self.kept.iter().find(is_it).map(|page| page.bytes.clone())
    }

    pub(crate) fn keep(&mut self, path: &[u8], sorting: Sorting, bytes: Bytes, now_ns: u64) {
        self.kept.retain(|page| page.is_fresh(now_ns));
        self.kept.push(Page { path: path.into(), sorting, bytes, made_ns: now_ns });
        while self.kept.len() > 1 && (self.kept.len() > PAGES_MAX || self.bytes() > BYTES_MAX) {
            self.kept.remove(0);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.kept = Vec::new();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn bytes(&self) -> usize {
        self.kept.iter().map(|page| page.bytes.len()).sum()
    }
}

impl Page {
    fn is_fresh(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.made_ns) < FRESH_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_kept_for_a_second_by_directory_and_order() {
        let (by_name, by_size) = (Sorting::of_query(b""), Sorting::of_query(b"?sort=size"));
        let mut pages = Pages::default();
        pages.keep(b"a/", by_name, Bytes::from_static(b"names"), 5);
        pages.keep(b"a/", by_size, Bytes::from_static(b"sizes"), 6);
        assert_eq!(pages.find(b"a/", by_name, 6).as_deref(), Some(&b"names"[..]));
        assert_eq!(pages.find(b"a/", by_size, FRESH_NS).as_deref(), Some(&b"sizes"[..]));
        assert_eq!((pages.find(b"b/", by_name, 6), pages.find(b"a/", by_name, 5 + FRESH_NS)), (None, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let sorting = Sorting::of_query(b"");
        let mut pages = Pages::default();
        for number in 0..200u8 {
            pages.keep(&[number], sorting, Bytes::from(vec![0; 1 << 20]), 0);
            assert!(pages.bytes() <= BYTES_MAX && pages.find(&[number], sorting, 0).is_some());
        }
        for number in 0..200u8 {
            pages.keep(&[number], sorting, Bytes::new(), 1);
            assert!(pages.kept.len() <= PAGES_MAX);
        }
        pages.keep(b"large", sorting, Bytes::from(vec![0; BYTES_MAX + 1]), 1);
        assert!(pages.kept.len() == 1 && !pages.is_empty());
        pages.clear();
        assert!(pages.is_empty());
    }
}
