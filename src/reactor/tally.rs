//! How many slots wait, for what, and whether they keep the loop alive: kept as they change, so that asking costs nothing.

use super::{Slot, State, owner};

/// A count, and the largest it has been.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauge {
    pub(crate) now: usize,
    pub(crate) most: usize,
}

impl Gauge {
    #[inline]
    fn rise(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    #[inline]
    fn fall(&mut self) {
        self.now -= 1;
    }

    pub(super) fn forget_most(&mut self) {
        self.most = self.now;
    }
}

/// What the slots of a reactor are doing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Events of the user's that keep the loop alive, and slots of engines that do.
    pub(crate) events: Gauge,
    pub(crate) engines: Gauge,
    /// Slots that wait for descriptors, for signals, and for time.
    pub(crate) descriptors: usize,
    pub(crate) signals: usize,
    pub(crate) timers: usize,
}

impl Tally {
    #[inline]
    pub(super) fn holding(&self) -> usize {
        self.events.now + self.engines.now
    }

    /// Notes that the state of a slot has changed. Part of its callers, who know most of the state: what they know is not asked.
    #[inline(always)]
    pub(super) fn change(&mut self, slot: &Slot, before: State) {
        let after = slot.state;
        if before.holds_loop() != after.holds_loop() {
            let gauge =
                if slot.owner & owner::MASK == owner::EVENT { &mut self.events } else { &mut self.engines };
            if after.holds_loop() { gauge.rise() } else { gauge.fall() }
        }
        count(&mut self.timers, State::TIMED, before, after);
        if (before ^ after).contains(State::PENDING) {
            let source = if slot.is_signal { &mut self.signals } else { &mut self.descriptors };
            count(source, State::PENDING, before, after);
        }
    }
}

#[inline]
fn count(counter: &mut usize, flag: State, before: State, after: State) {
    *counter = *counter + usize::from(after.contains(flag)) - usize::from(before.contains(flag));
}
