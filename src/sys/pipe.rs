//! Kernel pipes as places to keep bytes: pipe2, F_SETPIPE_SZ, and splice, which moves pages between a pipe and
//! another descriptor without showing them to anybody.
//!
//! This rests on three habits of the kernel. A splice *into* a pipe waits for room only when the pipe was full before the call
//! (with SPLICE_F_NONBLOCK it does not even then) and otherwise brings what fits. A splice *out of* a pipe that holds bytes waits
//! only for the other side. And neither moves a byte when it fails.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::check;
use super::io::{RW_MAX, SigpipeGuard, retry};

/// Both ends of a new pipe, reader first; blocking, and not inherited by children.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call succeeded, so this is a new descriptor that belongs to nobody.
    let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((reader, writer))
}

/// Asks for room for `wanted` bytes in a pipe; the kernel may refuse, and then the pipe stays as it is.
pub(crate) fn grow(pipe: BorrowedFd<'_>, wanted: usize) {
    let wanted = libc::c_int::try_from(wanted).unwrap_or(libc::c_int::MAX);
    // SAFETY: F_SETPIPE_SZ takes an integer and touches no memory. An error leaves the size as it was.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, wanted) };
}

/// Bytes that fit into a pipe when they fill its pages.
pub(crate) fn capacity(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: F_GETPIPE_SZ takes no argument.
    let size = check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
    Ok(size.unsigned_abs() as usize)
}

/// True for what bytes can be spliced out of without losing a place in it: sockets and pipes.
pub(crate) fn is_stream(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut status = MaybeUninit::<libc::stat64>::zeroed();
    // SAFETY: `status` has room for the answer.
    check(unsafe { libc::fstat64(fd.as_raw_fd(), status.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and filled it in; all-zero bytes are valid in any case.
    let kind = unsafe { status.assume_init() }.st_mode & libc::S_IFMT;
    Ok(kind == libc::S_IFSOCK || kind == libc::S_IFIFO)
}

/// Moves up to `len` bytes from `from` into a pipe; 0 is the end of the stream. With `wait`, for as long as `from` would make
/// a read wait; without, a full pipe and (for some kinds of `from`) an empty source are both `WouldBlock` at once.
pub(crate) fn splice_in(
    pipe: BorrowedFd<'_>,
    from: BorrowedFd<'_>,
    len: usize,
    wait: bool,
) -> io::Result<usize> {
    splice(from, pipe, len, if wait { 0 } else { libc::SPLICE_F_NONBLOCK })
}

/// Moves up to `len` bytes out of a pipe that holds as many. `more` promises that further bytes follow at once. A closed
/// peer is an error and never a signal.
pub(crate) fn splice_out(
    pipe: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    len: usize,
    more: bool,
) -> io::Result<usize> {
    let _quiet = SigpipeGuard::enter();
    splice(pipe, to, len, if more { libc::SPLICE_F_MORE } else { 0 })
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize, flags: libc::c_uint) -> io::Result<usize> {
    let (from, to, len) = (from.as_raw_fd(), to.as_raw_fd(), len.min(RW_MAX));
    let flags = flags | libc::SPLICE_F_MOVE;
    // SAFETY: both descriptors are open while they are borrowed, and no offsets are passed, so no memory is touched.
    retry(|| unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, flags) })
}

/// Fills `target` from a pipe that holds as many bytes.
pub(crate) fn read_exact(pipe: &OwnedFd, target: &mut [u8]) -> io::Result<()> {
    let mut rest = target;
    while !rest.is_empty() {
        let (first, len): (*mut libc::c_void, usize) = (rest.as_mut_ptr().cast(), rest.len());
        // SAFETY: `first` and `len` are those of a live, exclusively borrowed slice, and the pipe is open.
        let count = retry(|| unsafe { libc::read(pipe.as_fd().as_raw_fd(), first, len) })?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest = &mut rest[count..];
    }
    Ok(())
}
