//! The functions by which libevent's other libraries, and a few programs, log as libevent does. The headers do not name them.

use std::ffi::{CStr, c_char, c_int};
use std::io;

use super::layout::Socket;
use super::log;
use super::variadic::{VaList, variadic, vsnprintf};

/// The longest message, with the zero byte behind it.
const MESSAGE_MAX: usize = 1024;

variadic! { event_warn, 1, "rsi" => warn_with_error }
variadic! { event_warnx, 1, "rsi" => warn }
variadic! { event_msgx, 1, "rsi" => msg }
variadic! { event_err, 2, "rdx" => fail_with_error }
variadic! { event_errx, 2, "rdx" => fail }
variadic! { event_sock_warn, 2, "rdx" => warn_of_socket }
variadic! { event_sock_err, 3, "rcx" => fail_of_socket }

/// # Safety
///
/// - C2, and the arguments are what the format asks for.
unsafe fn text_of(format: *const c_char, arguments: VaList) -> String {
    if format.is_null() {
        return String::new();
    }
    let mut message = [0_u8; MESSAGE_MAX];
    // SAFETY: the caller's promise.
    unsafe { vsnprintf(message.as_mut_ptr().cast(), MESSAGE_MAX, format, arguments) };
    let text = CStr::from_bytes_until_nul(&message).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

unsafe extern "C-unwind" fn warn(format: *const c_char, arguments: VaList) {
    // SAFETY: C2.
    let text = unsafe { text_of(format, arguments) };
    log::warn(format_args!("{text}"));
}

unsafe extern "C-unwind" fn msg(format: *const c_char, arguments: VaList) {
    // SAFETY: C2.
    let text = unsafe { text_of(format, arguments) };
    log::msg(format_args!("{text}"));
}

unsafe extern "C-unwind" fn warn_with_error(format: *const c_char, arguments: VaList) {
    let error = last_error();
    // SAFETY: C2.
    let text = unsafe { text_of(format, arguments) };
    log::warn(format_args!("{text}: {error}"));
}

unsafe extern "C-unwind" fn warn_of_socket(_: Socket, format: *const c_char, arguments: VaList) {
    // SAFETY: C2.
    unsafe { warn_with_error(format, arguments) }
}

unsafe extern "C-unwind" fn fail(code: c_int, format: *const c_char, arguments: VaList) {
    // SAFETY: C2.
    let text = unsafe { text_of(format, arguments) };
    log::fail(code, format_args!("{text}"));
}

unsafe extern "C-unwind" fn fail_with_error(code: c_int, format: *const c_char, arguments: VaList) {
    let error = last_error();
    // SAFETY: C2.
    let text = unsafe { text_of(format, arguments) };
    log::fail(code, format_args!("{text}: {error}"));
}

unsafe extern "C-unwind" fn fail_of_socket(code: c_int, _: Socket, format: *const c_char, arguments: VaList) {
    // SAFETY: C2.
    unsafe { fail_with_error(code, format, arguments) }
}

/// What `errno` says, in the C library's words.
fn last_error() -> String {
    let code = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    // SAFETY: it takes any number, and gives text that stays until this thread asks again.
    let text = unsafe { libc::strerror(code) };
    // SAFETY: as above; it ends in a zero byte.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
