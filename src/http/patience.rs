//! Files that are being written to right now. What such a file holds is neither its old content nor its new one, and
//! the file system cannot tell: it moves the time of a file when a write begins, not when it ends. So a file is taken
//! up only when it has been left alone for a moment, unless it never is, as a log.

use std::time::{SystemTime, UNIX_EPOCH};

/// How long a file has to be left alone, in nanoseconds: longer than one write takes, or the gap between two.
const QUIET_NS: u64 = 20_000_000;

/// How long a file is waited for that does not come to rest; then it is taken as it is.
const PATIENCE_NS: u64 = 250_000_000;

/// How many restless files are remembered; what comes beyond is taken as it is.
const REMEMBERED_MAX: usize = 16;

/// When somebody may ask again.
pub(crate) const ASK_AGAIN_NS: u64 = QUIET_NS / 2;

/// Which files are waited for, and since when.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    restless: Vec<(Box<[u8]>, u64)>,
    /// Nothing is waited for.
    pub(crate) suspended: bool,
}

impl Patience {
    /// Whether the file at `path` should be looked at again later, since it was `modified` (in seconds and nanoseconds since
    /// 1970) only just now. `now_ns` is the loop's time.
    pub(crate) fn waits_for(&mut self, path: &[u8], modified: (i64, i64), now_ns: u64) -> bool {
        if self.suspended {
            return false;
        }
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.waits(path, is_quiet(modified, unix_ns), now_ns)
    }

    fn waits(&mut self, path: &[u8], is_quiet: bool, now_ns: u64) -> bool {
        let known = self.restless.iter().position(|(other, _)| **other == *path);
        match known {
            Some(at) if is_quiet => {
                self.restless.swap_remove(at);
                false
            }
            Some(at) => now_ns.saturating_sub(self.restless[at].1) < PATIENCE_NS,
            None if is_quiet => false,
            None => self.begin(path, now_ns),
        }
    }

    fn begin(&mut self, path: &[u8], now_ns: u64) -> bool {
        if self.restless.len() == REMEMBERED_MAX {
            // Those that were waited for in vain have had their turn long ago.
            self.restless.retain(|(_, since_ns)| now_ns.saturating_sub(*since_ns) < 10 * PATIENCE_NS);
        }
        let has_room = self.restless.len() < REMEMBERED_MAX;
        if has_room {
            self.restless.push((path.into(), now_ns));
        }
        has_room
    }
}

/// Whether the last write began long enough ago. A time in the future says nothing about now.
fn is_quiet((seconds, nanoseconds): (i64, i64), unix_ns: u128) -> bool {
    let modified_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let age_ns = i128::try_from(unix_ns).unwrap_or(i128::MAX) - modified_ns;
    !(0..i128::from(QUIET_NS)).contains(&age_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_quiet_when_its_last_write_is_over() {
        let now_ns = 5_000_000_000u128;
        for (modified, quiet) in [
            ((5, 0), false),
            ((4, 985_000_000), false),
            ((4, 980_000_000), true),
            ((0, 0), true),
            ((-1, 0), true),
            ((6, 0), true),
        ] {
            assert_eq!(is_quiet(modified, now_ns), quiet, "{modified:?}");
        }
    }

    #[test]
    fn a_restless_file_is_waited_for_and_then_taken() {
        let mut patience = Patience::default();
        assert!(patience.waits(b"a", false, 0) && patience.waits(b"a", false, PATIENCE_NS - 1));
        assert!(!patience.waits(b"a", true, 5), "it has come to rest");
        assert!(patience.waits(b"a", false, 10), "and is restless again");
        for later_ns in [10 + PATIENCE_NS, 11 + PATIENCE_NS, 100 * PATIENCE_NS] {
            assert!(!patience.waits(b"a", false, later_ns), "a log is not waited for again and again");
        }
    }

    #[test]
    fn few_are_remembered() {
        let mut patience = Patience::default();
        for number in 0..REMEMBERED_MAX as u8 {
            assert!(patience.waits(&[number], false, 0));
        }
        assert!(!patience.waits(b"one more", false, 1), "it is taken as it is");
        assert!(patience.waits(b"later", false, 10 * PATIENCE_NS), "the others were forgotten");
        assert_eq!(patience.restless.len(), 1);
    }
}
