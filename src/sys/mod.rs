//! Every libc call, one file a family: safe functions that return `io::Result`. Nothing outside this
//! folder (and the rooms `docs/ARCHITECTURE.md` names) calls libc for its effects.
#![allow(unsafe_code, reason = "this is the room for system calls; each block cites what it rests on")]

pub(crate) mod clock; // CLOCK_MONOTONIC as nanoseconds
pub(crate) mod descriptor; // what may be done with any descriptor
pub(crate) mod epoll; // epoll_create1, epoll_ctl, epoll_pwait2 with a fallback
pub(crate) mod eventfd; // the cross-thread wake
#[cfg(feature = "http")]
pub(crate) mod fs; // openat2 beneath a root, and a walk where there is none
pub(crate) mod inherited; // descriptors that the program was started with
pub(crate) mod io; // readv, recv, sendmsg, sendfile
pub(crate) mod pipe; // pipe2 and splice
pub(crate) mod poll; // ppoll
pub(crate) mod process; // whether the environment is to be trusted
pub(crate) mod resolve; // getaddrinfo and if_nametoindex
pub(crate) mod select; // pselect, with sets of any size
pub(crate) mod signal; // sigaction and the process-wide delivery table
pub(crate) mod socket; // socket, bind, listen, accept4, connect, options, addresses
pub(crate) mod zerocopy; // MSG_ZEROCOPY and its notices

/// Turns the `-1` convention of libc into an `io::Result`.
pub(crate) fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns the `-1` convention of byte-counting libc calls into an `io::Result`.
pub(crate) fn check_len(result: isize) -> std::io::Result<usize> {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error())
}
