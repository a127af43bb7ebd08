//! Which slots watch which signals. How deliveries are counted and loops are woken is `sys::signal`'s.

use std::os::fd::BorrowedFd;

use smallvec::SmallVec;

use super::RawId;
use crate::error::Result;
use crate::sys::signal::{Watcher, delivered};

/// That a slot waits for a signal.
#[derive(Debug)]
struct Watch {
    signal: i32,
    slot: RawId,
    /// How many deliveries this slot has been told of, or came before its time.
    seen: u64,
}

/// The signals of one loop; it takes part in the process's signals only while it watches any.
#[derive(Debug, Default)]
pub(super) struct Signals {
    watcher: Option<Watcher>,
    /// In the order in which they were attached. Mostly a program's two ways to be told to end, so they are searched,
    /// and kept in place.
    watches: SmallVec<[Watch; 2]>,
}

impl Signals {
    /// Lets a slot wait for `signal`. The handler will write to `wake`, which must outlive this.
    pub(super) fn attach(&mut self, wake: BorrowedFd<'_>, signal: i32, slot: RawId) -> Result<()> {
        let watcher = self.watcher.get_or_insert_with(|| Watcher::new(wake));
        let seen = watcher.watch(signal)?;
        self.watches.push(Watch { signal, slot, seen });
        Ok(())
    }

    /// Takes a slot away; the last one of a signal gives the signal back.
    pub(super) fn detach(&mut self, signal: i32, slot: RawId) {
        self.watches.retain(|watch| watch.slot != slot);
        if self.watches.iter().all(|watch| watch.signal != signal)
            && let Some(watcher) = &self.watcher
        {
            watcher.unwatch(signal);
        }
    }

    /// Calls `each` with every slot whose signal came since the last time, and how often it came.
    pub(super) fn collect(&mut self, mut each: impl FnMut(RawId, u64)) {
        for watch in &mut self.watches {
            let now = delivered(watch.signal);
            let count = now - std::mem::replace(&mut watch.seen, now);
            if count > 0 {
                each(watch.slot, count);
            }
        }
    }
}
