//! pselect: waiting for sets of descriptors, with nanoseconds. The sets are plain words, as many as it takes: the kernel
//! never looked at `FD_SETSIZE`, which is the size of a C structure.

use std::io;
use std::ptr;

use libc::{c_int, c_ulong, fd_set};

use super::{check, clock};

/// How many descriptors a word of a set is for.
pub(crate) const WORD_BITS: usize = c_ulong::BITS as usize;

/// The three sets, of equal length: what to read, what to write, what has something urgent.
pub(crate) type Sets = [Vec<c_ulong>; 3];

/// Waits until something in `sets` is ready, `timeout_ns` has passed (`None`: for ever), or a signal interrupts. Leaves
/// what is ready in the sets and says how many bits that are.
///
/// # Panics
///
/// When the sets differ in length.
pub(crate) fn wait(sets: &mut Sets, timeout_ns: Option<u64>) -> io::Result<usize> {
    let [read, write, urgent] = sets;
    assert!(read.len() == write.len() && read.len() == urgent.len(), "the kernel goes by one length");
    let descriptors = c_int::try_from(read.len() * WORD_BITS).unwrap_or(c_int::MAX);
    let [read, write, urgent] = [read, write, urgent].map(|set| set.as_mut_ptr().cast::<fd_set>());
    let timeout = timeout_ns.map(clock::timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: each set is readable and writable for `descriptors` bits, checked above, and the kernel touches no word
    // beyond; `timeout` is null or to a live `timespec`; the signal mask is null.
    let count = check(unsafe { libc::pselect(descriptors, read, write, urgent, timeout, ptr::null()) })?;
    Ok(count as usize)
}
