//! How many events a base has: `event_base_get_num_events` and `event_base_get_max_events`.

use std::ffi::{c_int, c_uint};

use libc::c_short;

use super::base::{Core, enter, event_base};
use super::layout::{event, evlist};

/// What of an event's flags says that it waits or is about to be called.
pub(super) const STATE: c_short = evlist::INSERTED | evlist::TIMEOUT | evlist::ACTIVE;

/// `EVENT_BASE_COUNT_*`.
const ACTIVE: c_uint = 1;
const VIRTUAL: c_uint = 2;
const ADDED: c_uint = 4;

/// What an event waits for, of that.
const WAITS: c_short = evlist::INSERTED | evlist::TIMEOUT;

/// As libevent counts: an event once for each thing it waits for, and once more while it is active. How many are active the reactor
/// knows.
#[derive(Default)]
pub(super) struct Counts {
    waits: u32,
    /// The largest counts so far.
    added_most: u32,
    active_most: u32,
    /// Events that wait for a descriptor they do not have: the reactor knows nothing of them, but they keep the loop.
    pub(super) without_descriptor: u32,
}

impl Counts {
    /// Writes what an event waits for into its flags, and counts it.
    #[inline]
    pub(super) fn set(&mut self, event: &event, state: c_short) {
        let before = event.flags() & STATE;
        event.set_flags(event.flags() & !STATE | state);
        if (before ^ state) & WAITS != 0 {
            // What a program does to the two events of a bufferevent, which are in no count, must not make it less than none.
            let after = self.waits + (state & WAITS).count_ones();
            self.waits = after.saturating_sub((before & WAITS).count_ones());
        }
    }
}

/// The largest count so far, which is forgotten if `clear` says so.
fn most(count: &mut u32, clear: bool) -> u32 {
    if clear { std::mem::take(count) } else { *count }
}

impl Core {
    /// Writes what an event waits for into its flags, and counts it.
    #[inline]
    pub(super) fn set_state(&mut self, event: &event, state: c_short) {
        self.counts.set(event, state);
    }

    /// Remembers the largest counts. They have grown if anything was added, or has become active.
    #[inline]
    pub(super) fn note_most(&mut self) {
        let (active, added) = (self.active(), self.added());
        self.counts.active_most = self.counts.active_most.max(active);
        self.counts.added_most = self.counts.added_most.max(added);
    }

    #[inline]
    fn active(&self) -> u32 {
        self.reactor.active_len() as u32
    }

    #[inline]
    fn added(&self) -> u32 {
        self.counts.waits + self.active()
    }

    fn number_of(&self, kinds: c_uint) -> u32 {
        let mut all = 0;
        if kinds & ACTIVE != 0 {
            all += self.active();
        }
        if kinds & VIRTUAL != 0 {
            all += self.reactor.tally().engines.now as u32;
        }
        if kinds & ADDED != 0 {
            all += self.added();
        }
        all
    }

    fn most_of(&mut self, kinds: c_uint, clear: bool) -> u32 {
        let mut all = 0;
        if kinds & ACTIVE != 0 {
            all += most(&mut self.counts.active_most, clear);
        }
        if kinds & VIRTUAL != 0 {
            all += self.reactor.tally().engines.most as u32;
            if clear {
                self.reactor.forget_most();
            }
        }
        if kinds & ADDED != 0 {
            all += most(&mut self.counts.added_most, clear);
        }
        all
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_get_num_events(base: *mut event_base, kinds: c_uint) -> c_int {
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    unsafe { enter(base) }.map_or(0, |core| core.number_of(kinds) as c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_get_max_events(
    base: *mut event_base,
    kinds: c_uint,
    clear: c_int,
) -> c_int {
    // SAFETY: as in `event_base_get_num_events`.
    unsafe { enter(base) }.map_or(0, |mut core| core.most_of(kinds, clear != 0) as c_int)
}
