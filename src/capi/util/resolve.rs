//! Addresses of hosts, by the C library. Its list goes to C as it is; the flags and errors have its numbers.

use std::ffi::{c_char, c_int};
use std::ptr;

use libc::addrinfo;

/// `EVUTIL_EAI_CANCEL`, which only evdns gives.
const CANCEL: c_int = -90001;
/// Marks entries that libevent has made itself. None of ours are, but a program may hand one's flags back in its hints.
const MADE_BY_LIBEVENT: c_int = c_int::MIN;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    list: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: C2.
    let hints = unsafe { hints.as_ref() };
    let hints = hints.map(|hints| addrinfo { ai_flags: hints.ai_flags & !MADE_BY_LIBEVENT, ..*hints });
    let hints = hints.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: C2, and the hints are live.
    unsafe { libc::getaddrinfo(host, service, hints, list) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_freeaddrinfo(list: *mut addrinfo) {
    if !list.is_null() {
        // SAFETY: C1; all lists come from `evutil_getaddrinfo`.
        unsafe { libc::freeaddrinfo(list) };
    }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_gai_strerror(code: c_int) -> *const c_char {
    match code {
        0 => c"No error".as_ptr(),
        CANCEL => c"Request canceled".as_ptr(),
        // SAFETY: it takes any number, and gives a constant.
        code => unsafe { libc::gai_strerror(code) },
    }
}
