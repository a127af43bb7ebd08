//! Descriptors that the program was started with, beside the three that every one has.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::check;

/// Where they begin: behind standard input, output and error.
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the `count` descriptors from 3 on that the process was started with, once; the caller has made sure that they are
/// meant for it. `None` stands for one that was not inherited.
pub(crate) fn take(count: u32) -> Vec<Option<OwnedFd>> {
    // Relaxed: the flag guards nothing but itself.
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let end = RawFd::try_from(count).unwrap_or(RawFd::MAX).saturating_add(FIRST);
    (FIRST..end).map_while(is_open).map(|(fd, inherited)| inherited.then(|| own(fd))).collect()
}

/// The descriptor, if it is open, and whether it has come through an exec: then it is not close-on-exec, as everything is
/// that std and this crate open.
fn is_open(fd: RawFd) -> Option<(RawFd, bool)> {
    // SAFETY: `F_GETFD` takes no memory, and changes nothing.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).ok()?;
    Some((fd, flags & libc::FD_CLOEXEC == 0))
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: it is open and was inherited (`is_open`), the environment says that it is for this process, and `TAKEN` makes
    // sure that it is taken once; so nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `F_SETFD` takes an integer and no memory. It cannot fail for an open descriptor.
    let _ = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    fd
}
