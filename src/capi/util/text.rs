//! Text: comparing, formatting and reading numbers.

use std::cmp::Ordering;
use std::ffi::{c_char, c_int};
use std::ptr;

use crate::capi::variadic::{VaList, variadic, vsnprintf};

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_strtoll(text: *const c_char, end: *mut *mut c_char, base: c_int) -> i64 {
    // SAFETY: C2.
    unsafe { libc::strtoll(text, end, base) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_ascii_strcasecmp(one: *const c_char, other: *const c_char) -> c_int {
    // SAFETY: C2, both end in a zero byte, and there it stops.
    unsafe { evutil_ascii_strncasecmp(one, other, usize::MAX) }
}

/// Reads no byte behind a zero byte or the first that differs.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_ascii_strncasecmp(
    one: *const c_char,
    other: *const c_char,
    len: usize,
) -> c_int {
    for index in 0..len {
        let [one, other] = [one, other].map(|text| {
            // SAFETY: C2; no byte so far was a zero byte, so there is one more.
            let place = unsafe { text.add(index) };
            // SAFETY: as above.
            lowered(unsafe { place.read() } as u8)
        });
        if one != other || one == 0 {
            return number(one.cmp(&other));
        }
    }
    0
}

/// C compares its characters as signed ones here.
fn lowered(byte: u8) -> i8 {
    byte.to_ascii_lowercase().cast_signed()
}

fn number(order: Ordering) -> c_int {
    order as c_int
}

/// The length of the text, which is cut off where there is no room for it and a zero byte. Without any room nothing is looked at.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_vsnprintf(
    target: *mut c_char,
    len: usize,
    format: *const c_char,
    arguments: VaList,
) -> c_int {
    if len == 0 || target.is_null() || format.is_null() {
        return 0;
    }
    // SAFETY: C2; the arguments are what the format asks for.
    let written = unsafe { vsnprintf(target, len, format, arguments) };
    // SAFETY: C2.
    let last = unsafe { target.add(len - 1) };
    // SAFETY: C2, as above.
    unsafe { last.write(0) };
    written
}

variadic! {
    evutil_snprintf, 3, "rcx" => evutil_vsnprintf
}

/// Writes as much of `text` as there is room for, and a zero byte; the length of all of it.
///
/// # Safety
///
/// - C2 for `target` and `len`.
pub(super) unsafe fn put(target: *mut c_char, len: usize, text: &str) -> c_int {
    if len > 0 && !target.is_null() {
        let count = text.len().min(len - 1);
        // SAFETY: the caller's promise; C's memory is not ours, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr().cast(), target, count) };
        // SAFETY: the caller's promise.
        let end = unsafe { target.add(count) };
        // SAFETY: the caller's promise.
        unsafe { end.write(0) };
    }
    text.len() as c_int
}
