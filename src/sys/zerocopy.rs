//! MSG_ZEROCOPY: sends that leave the bytes where they are, and the notices by which the kernel says that it is done with them.
//!
//! Each such send that takes bytes gets the next number of its socket, from 0 on; one that fails gets none. A notice on the
//! socket's error queue names a range of numbers whose memory is free again, and says whether the kernel copied the bytes
//! after all.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::check_len;
use super::io::{message_of, retry};
use super::socket::{enable_option, option};

/// Sends whose memory the kernel no longer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// The bytes were copied: asking for this on this socket costs more than it saves.
    pub(crate) copied: bool,
}

/// SO_EE_ORIGIN_ZEROCOPY and SO_EE_CODE_ZEROCOPY_COPIED of `linux/errqueue.h`.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// Allows such sends on a socket; false when they were allowed before, so that numbers may have been used up.
///
/// # Errors
/// When the kernel has none of this for the socket.
pub(crate) fn enable(socket: BorrowedFd<'_>) -> io::Result<bool> {
    if option(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY)? != 0 {
        return Ok(false);
    }
    enable_option(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY)?;
    Ok(true)
}

/// [`sendmsg`](super::io::sendmsg) that leaves the bytes where they are. They must stay what they are until the notice.
pub(crate) fn sendmsg(fd: BorrowedFd<'_>, runs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_ZEROCOPY | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    let message = message_of(runs);
    // SAFETY: `message` points to live slices (std guarantees that `IoSlice` has the layout of `iovec`), which the kernel only
    // reads. It may read them after the call, but memory that changes or goes away then is not accessed through any
    // address of this process: the kernel holds the pages themselves.
    retry(|| unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) })
}

/// The next notice, if one is there.
///
/// # Errors
/// When the error queue cannot be read.
pub(crate) fn next_notice(fd: BorrowedFd<'_>) -> io::Result<Option<Notice>> {
    loop {
        // Aligned as a control message must be.
        let mut control = [0_u64; 16];
        let mut message = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: control.as_mut_ptr().cast(),
            msg_controllen: size_of_val(&control) as _,
            msg_flags: 0,
        };
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: `message` points to live memory of the length it says.
        let result = check_len(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, flags) });
        let len = message.msg_controllen;
        match result {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let mut bytes = [0; 128];
        for (place, word) in bytes.chunks_exact_mut(8).zip(control) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        // What else comes this way (timestamps, messages of routers) is nobody's here.
        if let Some(notice) = parse(&bytes[..(len as usize).min(bytes.len())]) {
            return Ok(Some(notice));
        }
    }
}

/// Finds a notice in a control message: a `cmsghdr` of 16 bytes, then a `sock_extended_err`.
fn parse(control: &[u8]) -> Option<Notice> {
    let word = |at: usize| Some(u32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
    let kind = (word(8)? as libc::c_int, word(12)? as libc::c_int);
    let known = [(libc::SOL_IP, libc::IP_RECVERR), (libc::SOL_IPV6, libc::IPV6_RECVERR)];
    let (errno, origin, code) = (word(16)?, *control.get(20)?, *control.get(22)?);
    let (first, last) = (word(24)?, word(28)?);
    let is_notice = known.contains(&kind) && errno == 0 && origin == ORIGIN_ZEROCOPY;
    is_notice.then_some(Notice { first, last, copied: code & CODE_COPIED != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_told_from_what_else_comes_on_the_error_queue() {
        let mut control = [0_u8; 48];
        control[..8].copy_from_slice(&48_usize.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_IP.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::IP_RECVERR.to_ne_bytes());
        control[20] = ORIGIN_ZEROCOPY;
        control[24..28].copy_from_slice(&7_u32.to_ne_bytes());
        control[28..32].copy_from_slice(&9_u32.to_ne_bytes());
        assert_eq!(parse(&control), Some(Notice { first: 7, last: 9, copied: false }));
        control[22] = CODE_COPIED;
        assert_eq!(parse(&control), Some(Notice { first: 7, last: 9, copied: true }));
        assert_eq!(parse(&control[..31]), None, "cut short");
        control[20] = 4;
        assert_eq!(parse(&control), None, "a timestamp");
    }
}
