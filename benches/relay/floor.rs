//! The least that does the job: one direction, one buffer or one pipe, and `poll` when there is nothing to do.
#![allow(unsafe_code, reason = "it is made of system calls")]

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

const BUFFER_LEN: usize = 256 * 1024;
const PIPE_LEN: usize = 1 << 20;

/// Reads and writes with one buffer.
pub(crate) fn through_memory() -> Box<dyn FnMut(OwnedFd, OwnedFd)> {
    let mut buffer = vec![0; BUFFER_LEN];
    Box::new(move |from, to| {
        loop {
            let len = retry(&from, libc::POLLIN, || {
                // SAFETY: `buffer` is live and as long as said.
                unsafe { libc::recv(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) }
            });
            if len == 0 {
                return;
            }
            let mut rest = &buffer[..len];
            while !rest.is_empty() {
                let sent = retry(&to, libc::POLLOUT, || {
                    // SAFETY: `rest` is live and as long as said.
                    unsafe {
                        libc::send(to.as_raw_fd(), rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL)
                    }
                });
                rest = &rest[sent..];
            }
        }
    })
}

/// Splices through one large pipe.
pub(crate) fn by_splice(from: &OwnedFd, to: &OwnedFd) {
    let (out, into) = io::pipe().expect("a pipe");
    let (out, into) = (OwnedFd::from(out), OwnedFd::from(into));
    // SAFETY: it takes a number.
    unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_LEN) };
    loop {
        let mut held = retry(from, libc::POLLIN, || splice(from, &into, PIPE_LEN));
        if held == 0 {
            return;
        }
        while held > 0 {
            held -= retry(to, libc::POLLOUT, || splice(&out, to, held));
        }
    }
}

fn splice(from: &OwnedFd, to: &OwnedFd, len: usize) -> isize {
    let (flags, none) = (libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE, ptr::null_mut());
    // SAFETY: both descriptors are open, and there are no offsets.
    unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, len, flags) }
}

/// Makes a call until it does something, waiting in between.
fn retry(fd: &OwnedFd, what: i16, mut call: impl FnMut() -> isize) -> usize {
    loop {
        match usize::try_from(call()) {
            Ok(len) => return len,
            Err(_) => {
                let error = io::Error::last_os_error();
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                let mut wanted = libc::pollfd { fd: fd.as_raw_fd(), events: what, revents: 0 };
                // SAFETY: one `pollfd`, live.
                unsafe { libc::poll(&raw mut wanted, 1, -1) };
            }
        }
    }
}
