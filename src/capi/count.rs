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

/// As libevent counts: an event once for each thing it waits for, and once more while it is active.
#[derive(Default)]
pub(super) struct Counts {
    added: Gauge,
    active: Gauge,
    /// Events that wait for a descriptor they do not have: the reactor knows nothing of them, but they keep the loop.
    pub(super) without_descriptor: u32,
}

#[derive(Default)]
struct Gauge {
    now: u32,
    most: u32,
}

impl Gauge {
    #[inline]
    fn change(&mut self, before: u32, after: u32) {
        self.now = self.now + after - before;
        self.most = self.most.max(self.now);
    }

    fn take_most(&mut self, clear: bool) -> u32 {
        let most = self.most;
        if clear {
            self.most = 0;
        }
        most
    }
}

impl Counts {
    /// Writes what an event waits for into its flags, and counts it.
    #[inline]
    pub(super) fn set(&mut self, event: &event, state: c_short) {
        let before = event.flags() & STATE;
        event.set_flags(event.flags() & !STATE | state);
        self.added.change(before.count_ones(), state.count_ones());
        let is_active = |state: c_short| u32::from(state & evlist::ACTIVE != 0);
        self.active.change(is_active(before), is_active(state));
    }
}

impl Core {
    /// Writes what an event waits for into its flags, and counts it.
    #[inline]
    pub(super) fn set_state(&mut self, event: &event, state: c_short) {
        self.counts.set(event, state);
    }

    fn number_of(&self, kinds: c_uint) -> u32 {
        let mut all = 0;
        if kinds & ACTIVE != 0 {
            all += self.counts.active.now;
        }
        if kinds & VIRTUAL != 0 {
            all += self.reactor.tally().engines.now as u32;
        }
        if kinds & ADDED != 0 {
            all += self.counts.added.now;
        }
        all
    }

    fn most_of(&mut self, kinds: c_uint, clear: bool) -> u32 {
        let mut all = 0;
        if kinds & ACTIVE != 0 {
            all += self.counts.active.take_most(clear);
        }
        if kinds & VIRTUAL != 0 {
            all += self.reactor.tally().engines.most as u32;
            if clear {
                self.reactor.forget_most();
            }
        }
        if kinds & ADDED != 0 {
            all += self.counts.added.take_most(clear);
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
