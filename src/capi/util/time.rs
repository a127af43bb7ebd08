//! Clocks, and the date as HTTP writes it.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use libc::{clockid_t, timespec, timeval, tm};

use crate::capi::memory;

/// A clock that never goes back, as C holds it: a pointer to this.
#[repr(C)]
pub(super) struct evutil_monotonic_timer {
    clock: clockid_t,
}

/// `EV_MONOT_PRECISE`, `EV_MONOT_FALLBACK`.
const PRECISE: c_int = 1;
const FALLBACK: c_int = 2;

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_monotonic_timer_new() -> *mut evutil_monotonic_timer {
    let timer = memory::allocate(size_of::<evutil_monotonic_timer>()).cast::<evutil_monotonic_timer>();
    if !timer.is_null() {
        // SAFETY: the block is ours and large enough.
        unsafe { timer.write(evutil_monotonic_timer { clock: libc::CLOCK_MONOTONIC }) };
    }
    timer
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_monotonic_timer_free(timer: *mut evutil_monotonic_timer) {
    // SAFETY: C1; it came from `allocate`.
    unsafe { memory::free(timer.cast()) };
}

/// The fallback is for systems without such a clock; here it is the precise one.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_configure_monotonic_time(
    timer: *mut evutil_monotonic_timer,
    flags: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(timer) = (unsafe { timer.as_mut() }) else { return -1 };
    let exact = flags & (PRECISE | FALLBACK) != 0;
    timer.clock = if exact { libc::CLOCK_MONOTONIC } else { libc::CLOCK_MONOTONIC_COARSE };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_gettime_monotonic(
    timer: *mut evutil_monotonic_timer,
    out: *mut timeval,
) -> c_int {
    // SAFETY: C1.
    let Some(timer) = (unsafe { timer.as_ref() }) else { return -1 };
    // SAFETY: C2.
    let Some(out) = (unsafe { out.as_mut() }) else { return -1 };
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is ours to be written.
    let result = unsafe { libc::clock_gettime(timer.clock, &raw mut now) };
    *out = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
    result
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The length of the date, which is cut off where there is no room for it. Null is now.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_date_rfc1123(target: *mut c_char, len: usize, time: *const tm) -> c_int {
    // SAFETY: C2.
    let time = unsafe { time.as_ref() }.copied().unwrap_or_else(now);
    let name = |names: &[&'static str], index: c_int| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or("???")
    };
    let text = format!(
        "{}, {:02} {} {:4} {:02}:{:02}:{:02} GMT",
        name(&DAYS, time.tm_wday),
        time.tm_mday,
        name(&MONTHS, time.tm_mon),
        i64::from(time.tm_year) + 1900,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    );
    // SAFETY: C2.
    unsafe { super::text::put(target, len, &text) }
}

fn now() -> tm {
    let mut broken_down = MaybeUninit::<tm>::zeroed();
    // SAFETY: null asks for nothing but the result.
    let now = unsafe { libc::time(ptr::null_mut()) };
    // SAFETY: both are ours; a time that is now has a year that fits.
    unsafe { libc::gmtime_r(&raw const now, broken_down.as_mut_ptr()) };
    // SAFETY: all zeros are a `tm` too.
    unsafe { broken_down.assume_init() }
}
