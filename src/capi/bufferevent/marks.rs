//! Marks and timeouts.

use std::ffi::{c_int, c_short};
use std::ptr;
use std::time::Duration;

use libc::timeval;

use super::super::layout::{bufferevent, ev};
use super::{Bev, Kind, filter, pair};

impl Bev {
    /// Whether the input is at its high mark.
    pub(super) fn is_full(&self) -> bool {
        let high = self.seen.wm_read.high.get();
        high != 0 && self.input_len() >= high
    }
}

/// A lower mark may let a pair or a filter move something now; a socket sees to it before the loop waits.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_setwatermark(
    bufev: *mut bufferevent,
    directions: c_short,
    low: usize,
    high: usize,
) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let held = bev.lock();
    if directions & ev::WRITE != 0 {
        bev.seen.wm_write.set(low, high);
    }
    if directions & ev::READ != 0 {
        bev.seen.wm_read.set(low, high);
    }
    drop(held);
    match bev.kind.get() {
        Kind::Socket(_) => {
            if let Some(mut core) = bev.enter() {
                bev.tell(&mut core.bufferevents);
                core.notify();
            }
        }
        // SAFETY: C1; nothing is entered.
        Kind::Pair => unsafe { pair::resume(bev) },
        // SAFETY: C1; nothing is entered.
        Kind::Filter => unsafe { filter::resume(bev) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_getwatermark(
    bufev: *mut bufferevent,
    direction: c_short,
    low: *mut usize,
    high: *mut usize,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    let marks = match direction {
        ev::READ => &bev.seen.wm_read,
        ev::WRITE => &bev.seen.wm_write,
        _ => return -1,
    };
    let _held = bev.lock();
    // SAFETY: C2; null is not wanted.
    if let Some(low) = unsafe { low.as_mut() } {
        *low = marks.low.get();
    }
    // SAFETY: C2; null is not wanted.
    if let Some(high) = unsafe { high.as_mut() } {
        *high = marks.high.get();
    }
    0
}

/// Null, as zero, is no timeout.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn bufferevent_set_timeouts(
    bufev: *mut bufferevent,
    read: *const timeval,
    write: *const timeval,
) -> c_int {
    const NONE: timeval = timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C2.
    let (read, write) = (unsafe { read.as_ref() }, unsafe { write.as_ref() });
    let (read, write) = (read.copied().unwrap_or(NONE), write.copied().unwrap_or(NONE));
    let _held = bev.lock();
    bev.seen.timeout_read.set(read);
    bev.seen.timeout_write.set(write);
    if !bev.is_socket() {
        return pair::adjust_timeouts(bev);
    }
    let (read, write) = (duration(&read), duration(&write));
    bev.with(|bufferevent| bufferevent.set_timeouts(read, write)).map_or(-1, |()| 0)
}

/// What the old function says in whole seconds; 0 is none.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_settimeout(bufev: *mut bufferevent, read: c_int, write: c_int) {
    let time = |seconds: c_int| timeval { tv_sec: seconds.into(), tv_usec: 0 };
    let (read, write) = (time(read), time(write));
    // SAFETY: C1.
    unsafe { bufferevent_set_timeouts(bufev, ptr::from_ref(&read), ptr::from_ref(&write)) };
}

/// A time that is no time at all is none.
pub(super) fn duration(time: &timeval) -> Option<Duration> {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).ok()?);
    let micros = Duration::from_micros(u64::try_from(time.tv_usec).ok()?);
    seconds.checked_add(micros).filter(|time| !time.is_zero())
}
