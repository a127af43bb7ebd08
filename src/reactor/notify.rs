//! Waking a loop that waits, from another thread or from a signal handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sys::{descriptor, eventfd};

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

    /// Exchanges the counter for a new one under the same number: the old one is shared with a parent process. A wake that
    /// has not been noticed yet is in the new one too.
    pub(crate) fn renew(&self) -> io::Result<()> {
        descriptor::replace(self.fd.as_fd(), eventfd::create()?)?;
        if self.is_pending() { eventfd::add(self.fd.as_fd()) } else { Ok(()) }
    }

    /// How many wakes took a system call so far.
    pub(crate) fn writes(&self) -> u64 {
        // Relaxed, as above.
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether there has been a wake that the loop has not noticed yet.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        // Acquire: pairs with the wake, so that who finds it finds the message too.
        self.pending.load(Ordering::Acquire)
    }

    /// The loop has woken: from here on a message needs a wake of its own. Called before the messages are looked at.
    pub(crate) fn woken(&self, drain: bool) {
        // Before the flag: a wake between the two would have its count taken and leave its flag set, and with that no wake
        // would ever be written again. This way round its message is found by the loop, which looks after this.
        if drain && let Err(error) = eventfd::reset(self.fd.as_fd()) {
            log::warn!("the wake-up counter cannot be read: {error}");
        }
        // AcqRel: sees what was queued by whoever found the flag set, and hands the next one a clear flag.
        self.pending.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::poll;

    /// However a wake falls into the taking notice of another, the next wait ends for it.
    #[test]
    fn a_wake_during_the_draining_is_not_lost() {
        const ENOUGH: Duration = Duration::from_millis(200);
        const PATIENCE_NS: u64 = 1_000_000_000;
        let notifier = Notifier::new().unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waker = scope.spawn(|| {
                while begun.elapsed() < ENOUGH {
                    notifier.wake().unwrap();
                }
            });
            let mut list = [libc::pollfd { fd: notifier.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            while !waker.is_finished() || notifier.is_pending() {
                if poll::wait(&mut list, Some(PATIENCE_NS)).unwrap() > 0 {
                    notifier.woken(true);
                }
                let was_lost = list[0].revents == 0 && waker.is_finished() && notifier.is_pending();
                assert!(!was_lost, "the flag is set and nothing was written");
            }
        });
    }
}
