//! Which slots watch which signals. How deliveries are counted and loops are woken is `sys::signal`'s.

use std::os::fd::BorrowedFd;

use super::RawId;
use crate::error::Result;
use crate::sys::signal::{Watcher, delivered};

#[derive(Debug)]
struct Watched {
    signal: i32,
    /// How many deliveries this loop has passed on.
    seen: u64,
    slots: Vec<RawId>,
}

/// The signals of one loop; it takes part in the process's signals only while it watches any.
#[derive(Debug, Default)]
pub(super) struct Signals {
    watcher: Option<Watcher>,
    watched: Vec<Watched>,
}

impl Signals {
    /// Lets a slot wait for `signal`. The handler will write to `wake`, which must outlive this.
    pub(super) fn attach(&mut self, wake: BorrowedFd<'_>, signal: i32, slot: RawId) -> Result<()> {
        if let Some(watched) = self.watched.iter_mut().find(|watched| watched.signal == signal) {
            watched.slots.push(slot);
            return Ok(());
        }
        let watcher = self.watcher.get_or_insert_with(|| Watcher::new(wake));
        // Read before the handler can count for us: what came earlier was not for this slot.
        let seen = delivered(signal);
        watcher.watch(signal)?;
        self.watched.push(Watched { signal, seen, slots: vec![slot] });
        Ok(())
    }

    /// Takes a slot away; the last one of a signal gives the signal back.
    pub(super) fn detach(&mut self, signal: i32, slot: RawId) {
        let Some(place) = self.watched.iter().position(|watched| watched.signal == signal) else { return };
        let watched = &mut self.watched[place];
        watched.slots.retain(|&other| other != slot);
        if watched.slots.is_empty() {
            self.watched.swap_remove(place);
            if let Some(watcher) = &self.watcher {
                watcher.unwatch(signal);
            }
        }
    }

    /// Calls `each` with every slot whose signal came since the last time, and how often it came.
    pub(super) fn collect(&mut self, mut each: impl FnMut(RawId, u64)) {
        for watched in &mut self.watched {
            let now = delivered(watched.signal);
            let count = now - std::mem::replace(&mut watched.seen, now);
            if count > 0 {
                watched.slots.iter().for_each(|&slot| each(slot, count));
            }
        }
    }
}
