//! `CopyStats`: what happened to bytes on this thread, so that "zero-copy" is a number a test can assert.

use std::cell::Cell;
use std::ops::Sub;

/// Totals of the calling thread since it started, in bytes.
///
/// # Examples
/// ```
/// use zerovent::{Evbuffer, buffer::CopyStats};
///
/// let before = CopyStats::now();
/// let (mut from, mut to) = (Evbuffer::new(), Evbuffer::new());
/// from.add_reference(&b"never copied"[..])?;
/// from.remove_buffer(&mut to, 5)?;
/// let spent = CopyStats::now() - before;
/// assert_eq!((spent.copied, spent.referenced), (0, 12));
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyStats {
    /// Copied from one place in this process's memory to another.
    pub copied: u64,
    /// Added by reference.
    pub referenced: u64,
    /// Received from a descriptor into chunks.
    pub received: u64,
    /// Read from files and kernel pipes because somebody inspected them, or because they could not be sent otherwise.
    pub read: u64,
    /// Mapped from sealed files.
    pub mapped: u64,
    /// Sent from memory.
    pub sent: u64,
    /// Sent from files by the kernel, never seen by this process.
    pub sendfile: u64,
    /// Moved from a descriptor into a kernel pipe, never seen by this process.
    pub spliced_in: u64,
    /// Sent from a kernel pipe, never seen by this process.
    pub spliced_out: u64,
}

impl CopyStats {
    /// The totals now.
    #[must_use]
    pub fn now() -> CopyStats {
        TOTALS.with(|totals| CopyStats {
            copied: totals.copied.get(),
            referenced: totals.referenced.get(),
            received: totals.received.get(),
            read: totals.read.get(),
            mapped: totals.mapped.get(),
            sent: totals.sent.get(),
            sendfile: totals.sendfile.get(),
            spliced_in: totals.spliced_in.get(),
            spliced_out: totals.spliced_out.get(),
        })
    }
}

impl Sub for CopyStats {
    type Output = CopyStats;

    fn sub(self, earlier: CopyStats) -> CopyStats {
        CopyStats {
            copied: self.copied.wrapping_sub(earlier.copied),
            referenced: self.referenced.wrapping_sub(earlier.referenced),
            received: self.received.wrapping_sub(earlier.received),
            read: self.read.wrapping_sub(earlier.read),
            mapped: self.mapped.wrapping_sub(earlier.mapped),
            sent: self.sent.wrapping_sub(earlier.sent),
            sendfile: self.sendfile.wrapping_sub(earlier.sendfile),
            spliced_in: self.spliced_in.wrapping_sub(earlier.spliced_in),
            spliced_out: self.spliced_out.wrapping_sub(earlier.spliced_out),
        }
    }
}

/// The running totals behind [`CopyStats`].
pub(super) struct Totals {
    pub(super) copied: Cell<u64>,
    pub(super) referenced: Cell<u64>,
    pub(super) received: Cell<u64>,
    pub(super) read: Cell<u64>,
    pub(super) mapped: Cell<u64>,
    pub(super) sent: Cell<u64>,
    pub(super) sendfile: Cell<u64>,
    pub(super) spliced_in: Cell<u64>,
    pub(super) spliced_out: Cell<u64>,
}

thread_local! {
    static TOTALS: Totals = const { Totals {
        copied: Cell::new(0),
        referenced: Cell::new(0),
        received: Cell::new(0),
        read: Cell::new(0),
        mapped: Cell::new(0),
        sent: Cell::new(0),
        sendfile: Cell::new(0),
        spliced_in: Cell::new(0),
        spliced_out: Cell::new(0),
    } };
}

/// Adds `bytes` to one total.
#[inline]
pub(super) fn count(total: impl Fn(&Totals) -> &Cell<u64>, bytes: usize) {
    TOTALS.with(|totals| {
        let total = total(totals);
        total.set(total.get().wrapping_add(bytes as u64));
    });
}

/// Adds `bytes` to what was copied.
#[inline]
pub(super) fn copied(bytes: usize) {
    count(|totals| &totals.copied, bytes);
}
