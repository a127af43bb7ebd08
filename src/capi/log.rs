//! What libevent would log: to the program's callback, or to stderr as libevent does; and its end when nothing else is left.
//!
//! A log callback may be called while a core is entered, the one exception to K1: the header forbids it to call anything of
//! ours.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fmt::Arguments;
use std::io::{self, Write};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::layout::LogCallback;

const DEBUG: c_int = 0;
const MSG: c_int = 1;
const WARN: c_int = 2;
const ERR: c_int = 3;

/// Called instead of ending the process.
type FatalCallback = unsafe extern "C-unwind" fn(c_int);

/// What the fatal callback is told of a broken promise of the program's; without one the process aborts.
const ABORT: c_int = 0xdead_dead_u32.cast_signed();

static CALLBACK: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static FATAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static DEBUG_MASK: AtomicU32 = AtomicU32::new(0);

// All relaxed: C4 for those who set them, and nothing else is published with them.

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_set_log_callback(callback: Option<LogCallback>) {
    CALLBACK.store(callback.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_set_fatal_callback(callback: Option<FatalCallback>) {
    FATAL.store(callback.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
extern "C-unwind" fn event_enable_debug_logging(which: c_uint) {
    DEBUG_MASK.store(which, Ordering::Relaxed);
}

/// Tells the program of something that it should know.
pub(super) fn warn(message: Arguments<'_>) {
    tell(WARN, "warn", message);
}

/// Tells the program of something that it has asked to be told.
pub(super) fn msg(message: Arguments<'_>) {
    tell(MSG, "msg", message);
}

/// Whether the program wants to know what is being done. Who asks first makes no message in vain.
#[inline(always)]
pub(super) fn hears_debug() -> bool {
    DEBUG_MASK.load(Ordering::Relaxed) != 0
}

/// Tells the program what is being done, if it wants to know.
#[cold]
pub(super) fn debug(message: Arguments<'_>) {
    if hears_debug() {
        tell(DEBUG, "debug", message);
    }
}

/// Nothing else is left: says why, and ends the process with `code`, unless the program knows better.
pub(super) fn fail(code: c_int, message: Arguments<'_>) {
    tell(ERR, "err", message);
    let chosen = FATAL.load(Ordering::Relaxed);
    if !chosen.is_null() {
        // SAFETY: only `event_set_fatal_callback` stores here, and it stores a `FatalCallback`.
        let chosen = unsafe { std::mem::transmute::<*mut c_void, FatalCallback>(chosen) };
        // SAFETY: C3.
        unsafe { chosen(code) };
    } else if code == ABORT {
        std::process::abort();
    }
    std::process::exit(code);
}

/// The program has broken a promise that debugging checks.
pub(super) fn broken(message: Arguments<'_>) {
    fail(ABORT, message);
}

fn tell(severity: c_int, name: &str, message: Arguments<'_>) {
    let chosen = CALLBACK.load(Ordering::Relaxed);
    if chosen.is_null() {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "[{name}] {message}");
        return;
    }
    // A message of ours has no zero byte, unless it quotes one; then there is nothing to quote.
    let text = CString::new(message.to_string()).unwrap_or_default();
    // SAFETY: only `event_set_log_callback` stores here, and it stores a `LogCallback`.
    let chosen = unsafe { std::mem::transmute::<*mut c_void, LogCallback>(chosen) };
    let text: *const c_char = text.as_ptr();
    // SAFETY: C3; the text outlives the call.
    unsafe { chosen(severity, text) };
}

/// What the engines warn of reaches the program too, from the first base on.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where a Rust program around us has a logger of its own, that one hears it.
        if log::set_logger(&Engines).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
    });
}

struct Engines;

impl log::Log for Engines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            warn(*record.args());
        }
    }

    fn flush(&self) {}
}
