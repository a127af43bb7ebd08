//! The time of a turn: one for all that its callbacks ask, read when it is asked for first, because most turns need none.

use std::cell::Cell;

use crate::sys::clock;

/// What time it is for the loop, in nanoseconds of its clock.
#[derive(Debug)]
pub(super) struct TurnTime {
    /// This turn's, or 0, which no instant is, if nobody has asked for it or it would not be kept.
    known_ns: Cell<u64>,
    /// Whether a turn is under way that keeps the time: outside one, nothing would make it give way to a later time.
    is_kept: bool,
    /// Whether turns keep their time; else the clock is read whenever it is asked.
    may_keep: bool,
}

impl TurnTime {
    /// No turn is under way yet; those to come keep their time.
    pub(super) fn new() -> Self {
        TurnTime { known_ns: Cell::new(0), is_kept: false, may_keep: true }
    }

    /// As of this turn while one is under way, else as of now.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self.known_ns.get() {
            0 => self.look(),
            known_ns => known_ns,
        }
    }

    /// As of this turn, if somebody has asked for it already. That takes no call: whoever asks on the way of most saves no registers.
    #[inline]
    pub(super) fn known(&self) -> Option<u64> {
        Some(self.known_ns.get()).filter(|&known_ns| known_ns != 0)
    }

    /// Reads the clock, and makes that this turn's time, if a turn is under way.
    pub(super) fn look(&self) -> u64 {
        let now_ns = clock::now_ns();
        if self.is_kept {
            self.known_ns.set(now_ns);
        }
        now_ns
    }

    /// A turn begins; its time is not known yet.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        self.known_ns.set(0);
        self.is_kept = self.may_keep;
    }

    /// No turn is under way.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        self.known_ns.set(0);
        self.is_kept = false;
    }

    /// Says whether turns from the next one on keep their time.
    pub(super) fn set_keeps(&mut self, keeps: bool) {
        self.may_keep = keeps;
    }

    /// Whether whoever asks twice from here on is told the same.
    #[cfg(feature = "capi")]
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_the_time_at_which_it_was_asked_for_first() {
        let mut time = TurnTime::new();
        time.begin_turn();
        let begun_ns = clock::now_ns();
        while clock::now_ns() == begun_ns {}
        let asked_ns = time.now();
        assert!(asked_ns > begun_ns, "not when the turn began");
        while clock::now_ns() == asked_ns {}
        assert_eq!(time.now(), asked_ns, "the same for all of the turn");
        assert!(time.look() > asked_ns);
        assert!(time.now() > asked_ns, "unless somebody has looked again");
        time.end_turn();
        let between_ns = time.now();
        while clock::now_ns() == between_ns {}
        assert!(time.now() > between_ns, "between turns it goes on");
        time.begin_turn();
        assert!(time.now() > between_ns, "and the next turn has its own");
    }

    #[test]
    fn a_time_that_is_not_kept_goes_on_during_a_turn() {
        let mut time = TurnTime::new();
        time.set_keeps(false);
        time.begin_turn();
        let asked_ns = time.now();
        while clock::now_ns() == asked_ns {}
        assert!(time.now() > asked_ns);
    }
}
