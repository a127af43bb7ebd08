//! Waking a loop that waits, from another thread or from a signal handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sys::eventfd;

/// An eventfd that the loop waits for, with a note of whether it has been written to already: however many
/// messages arrive while the loop is on its way, one of them pays for the system call.
#[derive(Debug)]
pub(crate) struct Notifier {
    fd: OwnedFd,
    pending: AtomicBool,
    /// How often a wake took a system call.
    writes: AtomicU64,
}

impl Notifier {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Notifier { fd: eventfd::create()?, pending: AtomicBool::new(false), writes: AtomicU64::new(0) })
    }

    /// Makes the loop's wait end, now or the next time.
    pub(crate) fn wake(&self) -> io::Result<()> {
        // AcqRel: what the caller queued before happens before the loop, which clears the flag, looks.
        if self.pending.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Relaxed: a count that nothing else depends on.
        self.writes.fetch_add(1, Ordering::Relaxed);
        eventfd::add(self.fd.as_fd())
    }

    /// How many wakes took a system call so far.
    pub(crate) fn writes(&self) -> u64 {
        // Relaxed, as above.
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether there has been a wake that the loop has not noticed yet.
    pub(crate) fn is_pending(&self) -> bool {
        // Acquire: pairs with the wake, so that who finds it finds the message too.
        self.pending.load(Ordering::Acquire)
    }

    /// The loop has woken: from here on a message needs a wake of its own. Called before the messages are looked at.
    pub(crate) fn woken(&self, drain: bool) {
        // AcqRel: sees what was queued by whoever found the flag set, and hands the next one a clear flag.
        self.pending.swap(false, Ordering::AcqRel);
        if drain && let Err(error) = eventfd::reset(self.fd.as_fd()) {
            log::warn!("the wake-up counter cannot be read: {error}");
        }
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
