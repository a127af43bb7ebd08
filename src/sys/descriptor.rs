//! Descriptors, whatever they stand for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::check;

/// Whether `fd` is the number of an open descriptor.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: this command of `fcntl` takes no argument and touches no memory.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).is_ok()
}

/// Lets the number of `old` stand for what `new` stands for, in one step: at no time is it free. What it stood for before
/// is closed.
pub(crate) fn replace(old: BorrowedFd<'_>, new: OwnedFd) -> io::Result<()> {
    // SAFETY: `dup3` takes three integers and no memory; whoever owns `old` goes on owning its number.
    check(unsafe { libc::dup3(new.as_fd().as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}
