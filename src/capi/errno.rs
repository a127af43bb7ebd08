//! `errno`, for functions whose callers look there.

use std::ffi::c_int;
use std::io;

use crate::Error;

/// Sets it.
pub(super) fn set(code: c_int) {
    // SAFETY: the C library's own place for it, one a thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; it can be written at any time.
    unsafe { place.write(code) };
}

/// What it says.
pub(super) fn get() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets it to what the system said, if the error is one of the system's.
pub(super) fn set_from(error: &Error) {
    if let Error::Io(error) = error {
        set_from_io(error);
    }
}

/// Sets it to what the system said.
pub(super) fn set_from_io(error: &io::Error) {
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => set(code),
        (None, io::ErrorKind::WouldBlock) => set(libc::EAGAIN),
        (None, _) => set(libc::EIO),
    }
}
