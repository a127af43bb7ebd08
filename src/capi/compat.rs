//! `event2/event_compat.h`: the functions of the days when there was one base, which mean the one that `event_init` made last.

use std::ffi::{c_char, c_int, c_void};

use libc::{c_short, timeval};

use super::base::set_current_base;
use super::base::{
    current_base, event_base, event_base_get_method, event_base_new, event_base_priority_init,
};
use super::layout::{EventCallback, Socket};
use super::log;
use super::once::{event_base_loopbreak, event_base_loopexit, event_base_once};
use super::run::event_base_loop;

#[unsafe(no_mangle)]
extern "C-unwind" fn event_init() -> *mut event_base {
    let base = event_base_new();
    if base.is_null() {
        log::fail(1, format_args!("event_init: Unable to construct event_base"));
    }
    set_current_base(base);
    base
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_dispatch() -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { event_loop(0) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_loop(flags: c_int) -> c_int {
    // SAFETY: the current base is null or alive (C1).
    unsafe { event_base_loop(current_base(), flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_loopexit(after: *const timeval) -> c_int {
    // SAFETY: as in `event_loop`; the caller's promise is the same.
    unsafe { event_base_loopexit(current_base(), after) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_loopbreak() -> c_int {
    // SAFETY: as in `event_loop`.
    unsafe { event_base_loopbreak(current_base()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_once(
    fd: Socket,
    events: c_short,
    callback: Option<EventCallback>,
    arg: *mut c_void,
    timeout: *const timeval,
) -> c_int {
    // SAFETY: as in `event_loop`; the caller's promise is the same.
    unsafe { event_base_once(current_base(), fd, events, callback, arg, timeout) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_method() -> *const c_char {
    // SAFETY: as in `event_loop`.
    unsafe { event_base_get_method(current_base()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_priority_init(priorities: c_int) -> c_int {
    // SAFETY: as in `event_loop`.
    unsafe { event_base_priority_init(current_base(), priorities) }
}
