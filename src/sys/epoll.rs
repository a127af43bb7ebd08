//! epoll: a set of descriptors in the kernel, and waiting for it with nanoseconds where the kernel can.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, epoll_event};

use super::{check, clock};

/// Whether the kernel has turned out to be older than 5.11, or a sandbox to be, and to lack `epoll_pwait2`.
static LACKS_PWAIT2: AtomicBool = AtomicBool::new(false);

/// A new, empty set.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: `epoll_create1` takes an integer and no memory.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the descriptor was made just now, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One change of the set: `operation` is `EPOLL_CTL_ADD`, `_MOD` or `_DEL`.
pub(crate) fn control(
    set: BorrowedFd<'_>,
    operation: c_int,
    fd: RawFd,
    events: u32,
    token: u64,
) -> io::Result<()> {
    let mut event = epoll_event { events, u64: token };
    // SAFETY: `event` is live and writable; a stale `fd` is an error of the call and touches no memory.
    check(unsafe { libc::epoll_ctl(set.as_raw_fd(), operation, fd, &raw mut event) })?;
    Ok(())
}

/// Waits until something is ready, `timeout_ns` has passed (`None`: for ever), or a signal interrupts, and
/// says how many of `events` were filled.
pub(crate) fn wait(
    set: BorrowedFd<'_>,
    events: &mut [epoll_event],
    timeout_ns: Option<u64>,
) -> io::Result<usize> {
    match timeout_ns {
        None => wait_ms(set, events, -1),
        Some(0) => wait_ms(set, events, 0),
        Some(ns) if LACKS_PWAIT2.load(Ordering::Relaxed) => wait_ms(set, events, whole_ms(ns)),
        Some(ns) => match wait_ns(set, events, ns) {
            // Some sandboxes answer a system call that they do not know with EPERM, which waiting never means.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                // Relaxed: the flag only saves a call that would fail again.
                LACKS_PWAIT2.store(true, Ordering::Relaxed);
                wait_ms(set, events, whole_ms(ns))
            }
            result => result,
        },
    }
}

/// Rounded up, so that a timer is never early.
fn whole_ms(ns: u64) -> c_int {
    c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

fn wait_ms(set: BorrowedFd<'_>, events: &mut [epoll_event], timeout_ms: c_int) -> io::Result<usize> {
    let len = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: `events` is writable for `len` entries, and the kernel fills at most that many.
    let count = check(unsafe { libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), len, timeout_ms) })?;
    Ok(count as usize)
}

fn wait_ns(set: BorrowedFd<'_>, events: &mut [epoll_event], timeout_ns: u64) -> io::Result<usize> {
    let len = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    let timeout = clock::timespec(timeout_ns);
    let no_mask = ptr::null::<libc::sigset_t>();
    // SAFETY: `events` is writable for `len` entries and `timeout` is readable; the signal mask is null, which
    // leaves the thread's as it is whatever its size.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            set.as_raw_fd(),
            events.as_mut_ptr(),
            len,
            &raw const timeout,
            no_mask,
            0usize,
        )
    };
    super::check_len(count as isize)
}
