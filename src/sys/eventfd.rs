//! The eventfd: a counter that a thread, or a signal handler, adds to and that a loop can wait for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, check_len};

/// A new counter at 0, non-blocking and close-on-exec.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: `eventfd` takes two integers and no memory.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    // SAFETY: the descriptor was made just now, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one. A counter that is full wakes its waiter all the same, so that is no error.
pub(crate) fn add(fd: BorrowedFd<'_>) -> io::Result<()> {
    let one: u64 = 1;
    let pointer = (&raw const one).cast();
    // SAFETY: `pointer` is to eight readable bytes.
    match check_len(unsafe { libc::write(fd.as_raw_fd(), pointer, size_of::<u64>()) }) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Ok(()),
    }
}

/// Takes the counter back to 0; it may be there already.
pub(crate) fn reset(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut count: u64 = 0;
    let pointer = (&raw mut count).cast();
    // SAFETY: `pointer` is to eight writable bytes.
    match check_len(unsafe { libc::read(fd.as_raw_fd(), pointer, size_of::<u64>()) }) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Ok(()),
    }
}
