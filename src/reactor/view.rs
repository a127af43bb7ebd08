//! Looking at slots without changing anything.

use std::time::Duration;

use super::{RawId, Reactor, Slot, SlotId, SlotSpec, Source, State, Tally, What};
use crate::error::{Error, Result};

/// What an event waits for at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// What it waits for or is about to be called for; empty if it is not pending at all.
    pub what: What,
    /// Whether it is about to be called.
    pub active: bool,
    /// How long until its timeout, if it has one.
    pub remaining: Option<Duration>,
}

/// How a slot was made, with the priority it has now, and what it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotView {
    pub(crate) id: SlotId,
    pub(crate) spec: SlotSpec,
    pub(crate) pending: Pending,
    /// Whether it waits for anything, and what it is about to be handed out with.
    pub(crate) waits: bool,
    pub(crate) called_for: What,
}

/// Looking.
impl Reactor {
    /// How a slot was made, and what it waits for.
    pub(crate) fn view(&self, id: SlotId) -> Result<SlotView> {
        let slot = self.slots.get(id.0).ok_or(Error::Stale)?;
        Ok(self.view_of(id.0, slot))
    }

    /// Whether a slot waits for its source, and when for its deadline.
    #[cfg(feature = "capi")]
    pub(crate) fn waits(&self, id: SlotId) -> Result<(bool, Option<u64>)> {
        let slot = self.slots.get(id.0).ok_or(Error::Stale)?;
        let is_timed = slot.state.contains(State::TIMED);
        let deadline_ns = if is_timed { self.timers.deadline(id.0.index()) } else { None };
        Ok((slot.state.contains(State::PENDING), deadline_ns))
    }

    /// All slots, in no order that means anything.
    pub(crate) fn views(&self) -> impl Iterator<Item = SlotView> {
        self.slots.iter().map(|(id, slot)| self.view_of(id, slot))
    }

    /// What the slots wait for.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// How many slots have been active at once.
    pub(crate) fn active_most(&self) -> usize {
        self.active.most()
    }

    /// From here on the largest counts are those of what is there now.
    pub(crate) fn forget_most(&mut self) {
        self.tally.events.forget_most();
        self.tally.engines.forget_most();
        self.active.forget_most();
    }

    fn view_of(&self, id: RawId, slot: &Slot) -> SlotView {
        SlotView {
            id: SlotId(id),
            spec: slot.spec(),
            pending: self.pending_of(id, slot),
            waits: slot.state.intersects(State::PENDING | State::TIMED),
            called_for: slot.what,
        }
    }

    fn pending_of(&self, id: RawId, slot: &Slot) -> Pending {
        let mut pending = Pending { active: slot.state.contains(State::ACTIVE), ..Pending::default() };
        if slot.state.contains(State::PENDING) {
            let signal = if slot.is_signal { What::SIGNAL } else { What::empty() };
            pending.what = What::from_bits_truncate(slot.interest.bits()) | signal;
        }
        if slot.state.contains(State::TIMED) {
            pending.what |= What::TIMEOUT;
            let remaining_ns = self.timers.deadline(id.index()).unwrap_or(0).saturating_sub(self.now());
            pending.remaining = Some(Duration::from_nanos(remaining_ns));
        }
        if pending.active {
            pending.what |= slot.what;
        }
        pending
    }
}

impl Slot {
    fn spec(&self) -> SlotSpec {
        let source = if self.is_signal {
            Source::Signal(self.fd)
        } else if self.fd < 0 {
            Source::None
        } else {
            Source::Fd { fd: self.fd, interest: self.interest }
        };
        let persist = self.state.contains(State::PERSIST);
        SlotSpec { owner: self.owner, source, persist, priority: Some(self.priority) }
    }
}
