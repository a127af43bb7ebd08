//! Common timeouts: C knows one by a `struct timeval` of ours, whose microseconds carry a mark and a number in bits that
//! no time needs.

use std::ptr;

use libc::{suseconds_t, timeval};

use super::base::{Common, Core, enter, event_base};
use super::log;
use super::time::span;
use crate::reactor::CommonTimeout;

const MICROSECONDS: suseconds_t = 0x000f_ffff;
const MARK_BITS: suseconds_t = 0xf000_0000;
const MARK: suseconds_t = 0x5000_0000;
const NUMBER_SHIFT: u32 = 20;
const NUMBER_MASK: suseconds_t = 0xff;
/// As many as the number has room for.
const MOST: usize = 256;

impl Core {
    /// The common timeout that a time is, if it is one of this base's.
    #[inline]
    pub(super) fn common_timeout(&self, time: &timeval) -> Option<CommonTimeout> {
        if time.tv_usec & MARK_BITS != MARK {
            return None;
        }
        let number = (time.tv_usec >> NUMBER_SHIFT) & NUMBER_MASK;
        self.common.get(number as usize).map(|common| common.timeout)
    }

    fn find_or_make(&mut self, time: &timeval) -> Option<*const timeval> {
        let plain = self.plain(time);
        let is_same = |common: &Common| {
            (common.marked.tv_sec, common.marked.tv_usec & MICROSECONDS) == (plain.tv_sec, plain.tv_usec)
        };
        if let Some(common) = self.common.iter().find(|common| is_same(common)) {
            return Some(&raw const common.marked);
        }
        let number = self.common.len();
        if number == MOST {
            return None;
        }
        let mark = MARK | (number as suseconds_t) << NUMBER_SHIFT;
        let marked = timeval { tv_sec: plain.tv_sec, tv_usec: plain.tv_usec | mark };
        let timeout = self.reactor.common_timeout(span(&plain));
        self.common.push(Box::new(Common { marked, timeout }));
        // Its address is asked for once it is where it stays.
        self.common.last().map(|common| &raw const common.marked)
    }

    /// A time without a mark, and with less than a second of microseconds.
    fn plain(&self, time: &timeval) -> timeval {
        let is_marked = self.common_timeout(time).is_some();
        let micros = if is_marked { time.tv_usec & MICROSECONDS } else { time.tv_usec };
        timeval { tv_sec: time.tv_sec + micros / 1_000_000, tv_usec: micros % 1_000_000 }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_init_common_timeout(
    base: *mut event_base,
    duration: *const timeval,
) -> *const timeval {
    // SAFETY: C2.
    let Some(duration) = (unsafe { duration.as_ref() }) else { return ptr::null() };
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    let Some(mut core) = (unsafe { enter(base) }) else { return ptr::null() };
    let found = core.find_or_make(duration);
    drop(core);
    found.unwrap_or_else(|| {
        log::warn(format_args!("event_base_init_common_timeout: a base has {MOST} common timeouts at most"));
        ptr::null()
    })
}
