//! What is to be called next: one queue a priority, threaded through the slots, and a bitmap of the queues that
//! are not empty.

use super::queue::{Items, Queue};
use super::{Invocation, Reactor, Slot, SlotId, State, What};
use crate::error::Result;

/// Beyond all priorities.
const NO_PRIORITY: u16 = 256;

/// The queues of all priorities; 0 is the most important.
#[derive(Debug)]
pub(crate) struct Active {
    queues: Vec<Queue>,
    /// Bit p of word p / 64 says that queue p is not empty.
    occupied: [u64; 4],
    /// The first of them, or `NO_PRIORITY`.
    first: u16,
    len: usize,
    /// The largest `len` so far.
    most: usize,
}

impl Active {
    /// Queues for `priorities` priorities, of which there are at most 256.
    pub(crate) fn new(priorities: usize) -> Self {
        Active {
            queues: vec![Queue::new(); priorities],
            occupied: [0; 4],
            first: NO_PRIORITY,
            len: 0,
            most: 0,
        }
    }

    /// Makes queues for another number of priorities; nothing may be in them.
    pub(crate) fn set_priorities(&mut self, priorities: usize) {
        self.queues = vec![Queue::new(); priorities];
    }

    pub(crate) fn priorities(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn forget_most(&mut self) {
        self.most = self.len;
    }

    /// The most important priority that has something.
    #[inline]
    pub(crate) fn first_priority(&self) -> Option<u8> {
        u8::try_from(self.first).ok()
    }

    fn find_first(&self) -> u16 {
        match self.occupied.iter().position(|&word| word != 0) {
            Some(word) => (word * 64) as u16 + self.occupied[word].trailing_zeros() as u16,
            None => NO_PRIORITY,
        }
    }

    /// Puts a slot, which is in no queue, at the end of one.
    #[inline]
    pub(crate) fn push(&mut self, slots: &mut impl Items, slot: u32, priority: u8) {
        self.queues[usize::from(priority)].push_back(slots, slot);
        self.occupied[usize::from(priority / 64)] |= 1 << (priority % 64);
        self.first = self.first.min(u16::from(priority));
        self.len += 1;
        self.most = self.most.max(self.len);
    }

    /// The first slot of a queue.
    #[inline]
    pub(crate) fn first(&self, priority: u8) -> Option<u32> {
        self.queues.get(usize::from(priority))?.front()
    }

    /// Takes a slot out of the queue it is in.
    #[inline]
    pub(crate) fn remove(&mut self, slots: &mut impl Items, slot: u32, priority: u8) {
        let queue = &mut self.queues[usize::from(priority)];
        queue.remove(slots, slot);
        if queue.front().is_none() {
            self.occupied[usize::from(priority / 64)] &= !(1 << (priority % 64));
            self.first = self.find_first();
        }
        self.len -= 1;
    }
}

/// Being active.
impl Reactor {
    /// Puts a slot into its priority's queue; one that is there already gets `what` too.
    #[inline]
    pub(crate) fn activate(&mut self, id: SlotId, what: What) -> Result<()> {
        let slot = self.slot(id)?;
        slot.what |= what;
        if slot.state.contains(State::ACTIVE) {
            return Ok(());
        }
        slot.state |= State::ACTIVE;
        let priority = slot.priority;
        self.active.push(&mut self.slots, id.0.index(), priority);
        Ok(())
    }

    /// Puts a slot onto the ready list: it becomes active in the next turn, behind what that turn brings.
    pub(crate) fn activate_later(&mut self, id: SlotId, what: What) -> Result<()> {
        let slot = self.slot(id)?;
        slot.later |= what;
        if !slot.state.contains(State::LATER) {
            slot.state |= State::LATER;
            self.later.push(id);
        }
        Ok(())
    }

    /// The most important priority that has something to hand out.
    #[inline]
    pub(crate) fn first_priority(&self) -> Option<u8> {
        self.active.first_priority()
    }

    /// How many slots are active.
    pub(crate) fn active_len(&self) -> usize {
        self.active.len()
    }

    /// Takes the next active slot of a priority. One that is not persistent waits for nothing from here on; the
    /// timeout of one that is starts again. One whose signal came several times stays in front until it has been handed out
    /// so often, or is taken back.
    #[inline]
    pub(crate) fn next_active(&mut self, priority: u8) -> Option<Invocation> {
        let index = self.active.first(priority)?;
        let (id, slot) = self.slots.tenant_at(index)?;
        let invocation = Invocation {
            slot: SlotId(id),
            owner: slot.owner,
            what: slot.what,
            #[cfg(feature = "capi")]
            deliveries: slot.deliveries,
        };
        if slot.state - State::IDLE == State::ACTIVE {
            slot.end_activity();
            self.active.remove(&mut self.slots, index, priority);
        } else {
            // The slot was found a moment ago, so it is not stale.
            let _ = self.hand_out_waiting(SlotId(id));
        }
        Some(invocation)
    }

    /// What handing it out means to a slot that waits for something.
    #[inline(never)]
    fn hand_out_waiting(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let what = slot.what;
        if !slot.state.contains(State::PERSIST) {
            return self.del(id);
        }
        if slot.deliveries > 1 {
            slot.deliveries -= 1;
            slot.what = What::SIGNAL;
        } else {
            self.deactivate(id)?;
        }
        self.restart_from_activity(id, what);
        Ok(())
    }

    /// A timeout beside a descriptor counts from the last activity.
    fn restart_from_activity(&mut self, id: SlotId, what: What) {
        let period_ns = self.timers.period(id.0.index());
        if period_ns != 0 && !what.contains(What::TIMEOUT) {
            let _ = self.restart_timer(id, self.now().saturating_add(period_ns));
        }
    }

    /// Takes a slot back from being handed out; what it waits for, it goes on waiting for.
    pub(crate) fn deactivate(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let (is_active, priority) = (slot.state.contains(State::ACTIVE), slot.priority);
        slot.end_activity();
        if is_active {
            self.active.remove(&mut self.slots, id.0.index(), priority);
        }
        Ok(())
    }
}

/// Looking at what is active.
#[cfg(feature = "capi")]
impl Reactor {
    /// Shows the owners of active slots, and what they are active with, the newest first in each priority, until `is_news` says that
    /// this one is none: then neither is what became active before it. An owner who looks after every turn sees each once.
    pub(crate) fn newly_active(&mut self, mut is_news: impl FnMut(u64, What) -> bool) {
        let Reactor { active, slots, .. } = self;
        for queue in &active.queues {
            let mut next = queue.back();
            while let Some(index) = next
                && let Some((_, slot)) = slots.tenant_at(index)
                && is_news(slot.owner, slot.what)
            {
                next = queue.before(slots, index);
            }
        }
    }
}

impl Slot {
    fn end_activity(&mut self) {
        self.what = What::empty();
        self.deliveries = 0;
        self.state -= State::ACTIVE;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::queue::Links;
    use super::*;

    #[test]
    fn agrees_with_plain_queues_under_random_work() {
        let mut slots = vec![Links::UNLINKED; 64];
        let mut active = Active::new(256);
        let mut model: Vec<VecDeque<u32>> = vec![VecDeque::new(); 256];
        let mut home = [None; 64];
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (state >> 40) as u32 % 64;
            let priority = [0, 1, 63, 64, 127, 128, 254, 255][(state >> 50) as usize % 8];
            match home[slot as usize].take() {
                Some(home) => {
                    active.remove(&mut slots, slot, home);
                    model[usize::from(home)].retain(|&other| other != slot);
                }
                None => {
                    active.push(&mut slots, slot, priority);
                    model[usize::from(priority)].push_back(slot);
                    home[slot as usize] = Some(priority);
                }
            }
            let expected = model.iter().position(|queue| !queue.is_empty());
            assert_eq!(active.first_priority().map(usize::from), expected);
            if let Some(priority) = expected {
                assert_eq!(active.first(priority as u8), model[priority].front().copied());
            }
            assert_eq!(active.len(), model.iter().map(VecDeque::len).sum());
        }
    }
}
