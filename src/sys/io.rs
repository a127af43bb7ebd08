//! Moving bytes between descriptors and memory: recv, readv, send, sendmsg, writev, sendfile, and the one mapping
//! that cannot fault.
//!
//! Two promises are kept here for everything above. A call interrupted by a signal handler is made again. And no call raises
//! SIGPIPE: sockets are told with MSG_NOSIGNAL, and the calls that have no such flag run under [`SigpipeGuard`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{check, check_len};

/// The most runs one call may carry: the kernel's UIO_MAXIOV.
pub(crate) const IOV_MAX: usize = 1024;

/// The most bytes one call moves: the kernel's MAX_RW_COUNT, whatever it is asked for.
pub(crate) const RW_MAX: usize = 0x7fff_f000;

/// Makes a call again for as long as a signal handler interrupts it.
#[inline]
pub(super) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match check_len(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Receives into `target` from a socket, or reads when the descriptor is something else. Says how many bytes came, and whether
/// it is a socket.
#[inline]
pub(crate) fn receive(fd: BorrowedFd<'_>, target: &mut [u8]) -> io::Result<(usize, bool)> {
    let (raw, len) = (fd.as_raw_fd(), target.len());
    let first: *mut libc::c_void = target.as_mut_ptr().cast();
    // SAFETY: `first` and `len` are those of a live, exclusively borrowed slice, and `fd` is open while it is borrowed.
    match retry(|| unsafe { libc::recv(raw, first, len, 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            // SAFETY: as above.
            retry(|| unsafe { libc::read(raw, first, len) }).map(|count| (count, false))
        }
        done => done.map(|count| (count, true)),
    }
}

/// Reads into several runs with one call, from any descriptor.
pub(crate) fn readv(fd: BorrowedFd<'_>, targets: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let count = targets.len().min(IOV_MAX) as libc::c_int;
    let first: *const libc::iovec = targets.as_mut_ptr().cast();
    // SAFETY: std guarantees that `IoSliceMut` has the layout of `iovec`; the slices are exclusively borrowed.
    retry(|| unsafe { libc::readv(fd.as_raw_fd(), first, count) })
}

fn send_flags(more: bool) -> libc::c_int {
    libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 }
}

/// Sends one run to a socket. `more` promises that further bytes follow at once, so that they share a segment.
#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    let first: *const libc::c_void = bytes.as_ptr().cast();
    // SAFETY: `first` and the length are those of a live slice, and `fd` is open while it is borrowed.
    retry(|| unsafe { libc::send(fd.as_raw_fd(), first, bytes.len(), send_flags(more)) })
}

/// Sends up to [`IOV_MAX`] runs to a socket with one call.
pub(crate) fn sendmsg(fd: BorrowedFd<'_>, runs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    let message = message_of(runs);
    // SAFETY: `message` points to live slices (std guarantees that `IoSlice` has the layout of `iovec`), which sendmsg only reads.
    retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &message, send_flags(more)) })
}

/// The header of a message of up to [`IOV_MAX`] runs, to wherever the socket is connected. It points to the runs.
pub(super) fn message_of(runs: &[IoSlice<'_>]) -> libc::msghdr {
    libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: runs.as_ptr().cast_mut().cast(),
        msg_iovlen: runs.len().min(IOV_MAX) as _,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// Writes up to [`IOV_MAX`] runs to any descriptor with one call; a closed pipe is an error and never a signal.
pub(crate) fn writev(fd: BorrowedFd<'_>, runs: &[IoSlice<'_>]) -> io::Result<usize> {
    let _quiet = SigpipeGuard::enter();
    let count = runs.len().min(IOV_MAX) as libc::c_int;
    // SAFETY: std guarantees that `IoSlice` has the layout of `iovec`; the slices live for the length of the call.
    retry(|| unsafe { libc::writev(fd.as_raw_fd(), runs.as_ptr().cast(), count) })
}

/// Sends `len` bytes of `file` from `offset` on without bringing them into this process; 0 means that the file ends there.
pub(crate) fn sendfile(
    to: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let _quiet = SigpipeGuard::enter();
    let mut offset = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let len = len.min(RW_MAX);
    let place: *mut i64 = &mut offset;
    // SAFETY: `place` points to a live i64 that only this call uses; both descriptors are open while borrowed.
    retry(|| unsafe { libc::sendfile64(to.as_raw_fd(), file.as_raw_fd(), place, len) })
}

/// Whether SIGPIPE has to be kept away by hand; the answer is looked up once.
static SIGPIPE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IGNORED: u8 = 1;
const DELIVERED: u8 = 2;

/// Keeps SIGPIPE from being delivered to this thread while it lives.
///
/// Rust programs start with SIGPIPE ignored, and then this costs one load. In a host that has a disposition
/// of its own (a C program, or a Rust one that restored the default) the signal is blocked for the thread, the
/// one that the call may have raised is taken off, and the mask is put back. The disposition is looked up at the
/// first use: a process that changes it afterwards from ignored to anything else is on its own.
pub(super) struct SigpipeGuard {
    /// The mask to restore; `None` when there was nothing to do.
    before: Option<libc::sigset_t>,
}

impl SigpipeGuard {
    #[inline]
    pub(super) fn enter() -> SigpipeGuard {
        // Relaxed: the value stands for itself, and every thread that looks finds the same.
        match SIGPIPE.load(Ordering::Relaxed) {
            IGNORED => SigpipeGuard { before: None },
            _ => SigpipeGuard::enter_slowly(),
        }
    }

    #[cold]
    fn enter_slowly() -> SigpipeGuard {
        if SIGPIPE.load(Ordering::Relaxed) == UNKNOWN {
            SIGPIPE.store(if sigpipe_is_ignored() { IGNORED } else { DELIVERED }, Ordering::Relaxed);
        }
        if SIGPIPE.load(Ordering::Relaxed) == IGNORED || sigpipe_is_pending() {
            // One that is pending already is blocked already, and is not ours to take off.
            return SigpipeGuard { before: None };
        }
        let (only, mut before) = (only_sigpipe(), empty_set());
        // SAFETY: both point to live signal sets.
        let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &only, &mut before) };
        SigpipeGuard { before: (done == 0).then_some(before) }
    }
}

impl Drop for SigpipeGuard {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            leave(before);
        }
    }
}

#[cold]
fn leave(before: &libc::sigset_t) {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if sigpipe_is_pending() {
        let only = only_sigpipe();
        // SAFETY: both point to live values; no information about the signal is asked for.
        unsafe { libc::sigtimedwait(&only, ptr::null_mut(), &at_once) };
    }
    // SAFETY: `before` is the set that pthread_sigmask filled in; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
}

fn sigpipe_is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is set, and `action` has room for the current one.
    let done = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `sigaction`, and the call may have filled in a better one.
    let action = unsafe { action.assume_init() };
    done == 0 && action.sa_sigaction == libc::SIG_IGN
}

fn sigpipe_is_pending() -> bool {
    let mut pending = empty_set();
    // SAFETY: `pending` is a live signal set.
    if unsafe { libc::sigpending(&mut pending) } != 0 {
        return false;
    }
    // SAFETY: `pending` was filled in above.
    unsafe { libc::sigismember(&pending, libc::SIGPIPE) == 1 }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` has room for a signal set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset initialised it, and all-zero bytes are valid in any case.
    unsafe { set.assume_init() }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: `set` is a live, initialised signal set.
    unsafe { libc::sigaddset(&mut set, libc::SIGPIPE) };
    set
}

/// Maps `len` bytes of `file` from `offset` on, if the kernel guarantees that they stay what they are.
///
/// That takes a memfd sealed with F_SEAL_SHRINK, so that no page of the range can go away (SIGBUS), and with
/// F_SEAL_WRITE, which the kernel grants only while no writable mapping exists and after which none can be made.
/// `None` means that the file gives no such guarantee.
///
/// # Errors
/// When the file cannot be examined, or mapping fails.
pub(crate) fn map_sealed(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Option<memmap2::Mmap>> {
    if !is_sealed(file) || !holds(file, offset, len)? {
        return Ok(None);
    }
    let mut options = memmap2::MmapOptions::new();
    options.offset(offset).len(len);
    // SAFETY: the file is sealed against shrinking and writing (seals cannot be removed) and holds the whole range
    // (checked after the seals), so the mapped bytes can neither go away nor change.
    unsafe { options.map(file.as_raw_fd()) }.map(Some)
}

fn is_sealed(file: BorrowedFd<'_>) -> bool {
    let needed = libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE;
    // SAFETY: F_GET_SEALS takes no argument; a file without seals answers EINVAL.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    check(seals).is_ok_and(|seals| seals & needed == needed)
}

fn holds(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<bool> {
    let mut status = MaybeUninit::<libc::stat64>::zeroed();
    // SAFETY: `status` has room for the answer.
    check(unsafe { libc::fstat64(file.as_raw_fd(), status.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and filled it in; all-zero bytes are valid in any case.
    let size = unsafe { status.assume_init() }.st_size as u64;
    Ok(offset.checked_add(len as u64).is_some_and(|end| end <= size))
}
