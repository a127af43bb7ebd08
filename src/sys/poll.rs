//! ppoll: waiting for a list of descriptors, with nanoseconds.

use std::io;
use std::ptr;

use libc::pollfd;

use super::{check, clock};

/// Waits until one of `list` is ready, `timeout_ns` has passed (`None`: for ever), or a signal interrupts, and says how
/// many were filled in.
pub(crate) fn wait(list: &mut [pollfd], timeout_ns: Option<u64>) -> io::Result<usize> {
    let timeout = timeout_ns.map(clock::timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let len = list.len() as libc::nfds_t;
    // SAFETY: `list` is writable for `len` entries, `timeout` is null or to a live `timespec`, and the signal mask is
    // null, which leaves the thread's as it is.
    let count = check(unsafe { libc::ppoll(list.as_mut_ptr(), len, timeout, ptr::null()) })?;
    Ok(count as usize)
}
