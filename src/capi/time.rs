//! Times as C has them: `struct timeval`, and the wall clock behind `event_base_gettimeofday_cached`.

use std::ffi::c_int;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libc::timeval;

use super::base::{Core, current_base, event_base};
use crate::sys::clock;

/// A span in nanoseconds; one that is over before it begins is 0.
#[inline]
pub(super) fn nanos(span: &timeval) -> u64 {
    // The usual ones overflow nothing: seconds that fill 32 bits are 136 years.
    match (u32::try_from(span.tv_sec), u32::try_from(span.tv_usec)) {
        (Ok(seconds), Ok(micros)) => u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1000,
        _ => unusual_nanos(span),
    }
}

#[cold]
fn unusual_nanos(span: &timeval) -> u64 {
    let ns = i128::from(span.tv_sec) * 1_000_000_000 + i128::from(span.tv_usec) * 1000;
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

pub(super) fn span(span: &timeval) -> Duration {
    Duration::from_nanos(nanos(span))
}

pub(super) fn timeval_of(span: Duration) -> timeval {
    let seconds = libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX);
    timeval { tv_sec: seconds, tv_usec: span.subsec_micros().into() }
}

/// The wall clock's time, when the loop's clock shows `at_ns`.
pub(super) fn wall_at(at_ns: u64) -> timeval {
    let now_ns = clock::now_ns();
    let now = SystemTime::now();
    let at = if at_ns >= now_ns {
        now.checked_add(Duration::from_nanos(at_ns - now_ns))
    } else {
        now.checked_sub(Duration::from_nanos(now_ns - at_ns))
    };
    timeval_of(at.unwrap_or(now).duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Core {
    /// The wall clock's time as of this turn, if callbacks are running; the same for all of them.
    fn cached_wall(&mut self) -> Option<timeval> {
        if !self.control.running || !self.reactor.has_cached_time() {
            return None;
        }
        let at_ns = self.reactor.now();
        match self.control.wall {
            Some((known_ns, wall)) if known_ns == at_ns => Some(wall),
            _ => {
                let wall = wall_at(at_ns);
                self.control.wall = Some((at_ns, wall));
                Some(wall)
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_gettimeofday_cached(
    base: *mut event_base,
    time: *mut timeval,
) -> c_int {
    if time.is_null() {
        return -1;
    }
    let base = if base.is_null() { current_base() } else { base };
    // SAFETY: C1.
    let cached = unsafe { base.as_ref() }.and_then(|base| {
        // SAFETY: no code of C's runs while a core is entered, so this thread has not entered.
        unsafe { base.enter() }.cached_wall()
    });
    // SAFETY: C2.
    unsafe { time.write(cached.unwrap_or_else(|| wall_at(clock::now_ns()))) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_update_cache_time(base: *mut event_base) -> c_int {
    let base = if base.is_null() { current_base() } else { base };
    // SAFETY: C1.
    let Some(base) = (unsafe { base.as_ref() }) else { return -1 };
    // SAFETY: as in `event_base_gettimeofday_cached`.
    let mut core = unsafe { base.enter() };
    if core.control.running {
        core.reactor.refresh_now();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_gettime_monotonic(base: *mut event_base, time: *mut timeval) -> c_int {
    if base.is_null() || time.is_null() {
        return -1;
    }
    // SAFETY: C2.
    unsafe { time.write(timeval_of(Duration::from_nanos(clock::now_ns()))) };
    0
}
