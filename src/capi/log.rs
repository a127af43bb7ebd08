//! What libevent would log: to the program's callback, or to stderr as libevent does.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Arguments;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::layout::LogCallback;

const WARN: c_int = 2;

static CALLBACK: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

#[unsafe(no_mangle)]
unsafe extern "C" fn event_set_log_callback(callback: Option<LogCallback>) {
    // Relaxed: C4, and nothing else is published with it.
    CALLBACK.store(callback.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
}

/// Tells the program of something that it should know.
pub(super) fn warn(message: Arguments<'_>) {
    tell(WARN, "warn", message);
}

fn tell(severity: c_int, name: &str, message: Arguments<'_>) {
    let chosen = CALLBACK.load(Ordering::Relaxed);
    if chosen.is_null() {
        return eprintln!("[{name}] {message}");
    }
    // A message of ours has no zero byte, unless it quotes one; then it ends there.
    let text = CString::new(message.to_string()).unwrap_or_default();
    // SAFETY: only `event_set_log_callback` stores here, and it stores a `LogCallback`.
    let chosen = unsafe { std::mem::transmute::<*mut c_void, LogCallback>(chosen) };
    let text: *const c_char = text.as_ptr();
    // SAFETY: C3; the text outlives the call.
    unsafe { chosen(severity, text) };
}
