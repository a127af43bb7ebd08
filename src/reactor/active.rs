//! What is to be called next: a lane for each priority, and a bitmap of those that are not empty.
//!
//! A lane is an array in which slots stand in the order in which they became active, and a slot knows its place there. Handing out
//! goes along the array; a slot that is taken back leaves its place empty. So a slot is looked at once when it becomes active
//! and once when it is handed out, and its neighbours not at all.

use super::{FEW, Invocation, Reactor, Slot, SlotId, State, What};
use crate::error::{Error, Result};

/// Beyond all priorities.
const NO_PRIORITY: u16 = 256;

/// A place that was left.
const LEFT: u32 = u32::MAX;

/// What of a slot's state decides what handing it out means to it.
const LOOKED_AT: u8 =
    State::PENDING.union(State::TIMED).union(State::ACTIVE).union(State::LATER).union(State::PERSIST).bits();

/// Of those states, one bit each, those that stay as they are but for being active. A timeout beside something else starts again.
const LEFT_ALONE: u32 = {
    let (mut all, mut bits) = (0, 0);
    while bits <= LOOKED_AT {
        let state = State::from_bits_truncate(bits);
        let is_left_alone = if state.contains(State::PERSIST) {
            !state.contains(State::TIMED)
        } else {
            !state.intersects(State::PENDING.union(State::TIMED).union(State::LATER))
        };
        all |= (is_left_alone as u32) << bits;
        bits += 1;
    }
    all
};

/// The active slots of a priority.
#[derive(Debug, Default)]
struct Lane {
    /// Empty if nobody waits.
    places: Vec<u32>,
    /// The first place that has not been handed out; it has not been left either.
    front: usize,
    /// How many slots have this priority. There is room for twice as many, so that in a lane that is full half of the places are free.
    slots: usize,
}

impl Lane {
    #[inline]
    fn first(&self) -> Option<u32> {
        self.places.get(self.front).copied()
    }

    fn reserve(&mut self) {
        let wanted = 2 * self.slots;
        if wanted > self.places.capacity() {
            self.places.reserve_exact(wanted + wanted / 8 + FEW - self.places.len());
        }
    }

    #[inline]
    fn push(&mut self, slot: u32) -> u32 {
        let place = self.places.len();
        self.places.push(slot);
        place as u32
    }

    /// Leaves the first place. Says whether it was the last.
    #[inline]
    fn advance(&mut self) -> bool {
        self.front += 1;
        match self.places.get(self.front) {
            Some(&LEFT) => self.skip_left(),
            Some(_) => {}
            None => {
                self.places.clear();
                self.front = 0;
                return true;
            }
        }
        false
    }

    /// Somebody waits behind the places that were left, or they would have gone.
    #[cold]
    fn skip_left(&mut self) {
        let left = self.places[self.front..].iter().take_while(|&&slot| slot == LEFT);
        self.front += left.count();
    }

    /// Leaves a place that is not the first. Those at the end that were left go, so that somebody waits in the last one.
    fn leave(&mut self, place: u32) {
        self.places[place as usize] = LEFT;
        while self.places.last() == Some(&LEFT) {
            self.places.pop();
        }
    }

    /// Makes all who are left stand together from the start, and tells `moved` where each is now.
    fn close_up(&mut self, mut moved: impl FnMut(u32, u32)) {
        self.places.drain(..self.front);
        self.front = 0;
        self.places.retain(|&slot| slot != LEFT);
        self.places.iter().zip(0..).for_each(|(&slot, place)| moved(slot, place));
    }
}

/// The lanes of all priorities; 0 is the most important.
#[derive(Debug)]
pub(crate) struct Active {
    lanes: Vec<Lane>,
    /// For so many slots each lane has room from the start: memory that nobody touches costs nothing.
    capacity: usize,
    /// Bit p of word p / 64 says that lane p is not empty.
    occupied: [u64; 4],
    /// The first of them, or `NO_PRIORITY`.
    first: u16,
    len: usize,
    /// The largest `len` so far.
    most: usize,
}

impl Active {
    /// Lanes for `priorities` priorities, of which there are at most 256, with room for `capacity` slots each.
    pub(crate) fn new(priorities: usize, capacity: usize) -> Self {
        let mut active =
            Active { lanes: Vec::new(), capacity, occupied: [0; 4], first: NO_PRIORITY, len: 0, most: 0 };
        active.set_priorities(priorities);
        active
    }

    /// Makes lanes for another number of priorities; nothing may be in them, and nothing have a priority that is going.
    pub(crate) fn set_priorities(&mut self, priorities: usize) {
        let places = 2 * self.capacity;
        self.lanes.resize_with(priorities, || Lane { places: Vec::with_capacity(places), ..Lane::default() });
    }

    pub(crate) fn priorities(&self) -> usize {
        self.lanes.len()
    }

    /// One more slot has this priority: becoming active will take no memory.
    pub(super) fn make_room(&mut self, priority: u8) {
        let lane = &mut self.lanes[usize::from(priority)];
        lane.slots += 1;
        lane.reserve();
    }

    /// One slot less has it.
    pub(super) fn give_back_room(&mut self, priority: u8) {
        self.lanes[usize::from(priority)].slots -= 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Slots have become active, and none has been taken out since.
    #[inline]
    pub(super) fn note_most(&mut self) {
        self.most = self.most.max(self.len);
    }

    pub(crate) fn forget_most(&mut self) {
        self.most = self.len;
    }

    /// The most important priority that has something.
    #[inline]
    pub(crate) fn first_priority(&self) -> Option<u8> {
        u8::try_from(self.first).ok()
    }

    /// Puts a slot, which is in no lane, at the end of one, and says at which place. If the lane is full, those there stand together
    /// first, and `moved` is told the new place of each.
    fn push(&mut self, slot: u32, priority: u8, moved: impl FnMut(u32, u32)) -> u32 {
        let lane = &mut self.lanes[usize::from(priority)];
        if lane.places.len() == lane.places.capacity() {
            lane.close_up(moved);
        }
        let place = lane.push(slot);
        self.has_joined(place, priority);
        place
    }

    /// As [`push`](Self::push) where somebody waits already and there is room, with what there is to note; else `None`. So much is part of
    /// its callers.
    #[inline]
    fn try_follow(&mut self, slot: u32, priority: u8) -> Option<u32> {
        let lane = &mut self.lanes[usize::from(priority)];
        if lane.places.is_empty() || lane.places.len() == lane.places.capacity() {
            return None;
        }
        let place = lane.push(slot);
        self.len += 1;
        self.note_most();
        Some(place)
    }

    /// As [`push`](Self::push) in the usual case, in which there is room; else `None`.
    #[inline]
    fn try_push(&mut self, slot: u32, priority: u8) -> Option<u32> {
        let lane = &mut self.lanes[usize::from(priority)];
        if lane.places.len() == lane.places.capacity() {
            return None;
        }
        let place = lane.push(slot);
        self.has_joined(place, priority);
        Some(place)
    }

    #[inline]
    fn has_joined(&mut self, place: u32, priority: u8) {
        self.len += 1;
        if place == 0 {
            self.occupied[usize::from(priority / 64)] |= 1 << (priority % 64);
            self.first = self.first.min(u16::from(priority));
        }
    }

    /// The first slot of a lane.
    #[cfg(test)]
    fn first(&self, priority: u8) -> Option<u32> {
        self.lanes.get(usize::from(priority))?.first()
    }

    /// Takes the first slot out of a lane.
    #[inline]
    fn remove_first(&mut self, priority: u8) {
        let lane = &mut self.lanes[usize::from(priority)];
        self.len -= 1;
        if lane.advance() {
            self.shut(priority);
        }
    }

    /// Takes a slot out of the place it has in a lane.
    fn remove(&mut self, place: u32, priority: u8) {
        let lane = &mut self.lanes[usize::from(priority)];
        if place as usize == lane.front {
            return self.remove_first(priority);
        }
        lane.leave(place);
        self.len -= 1;
    }

    #[inline]
    fn shut(&mut self, priority: u8) {
        self.occupied[usize::from(priority / 64)] &= !(1 << (priority % 64));
        self.first = if self.len == 0 { NO_PRIORITY } else { self.first_occupied() };
    }

    #[inline(never)]
    fn first_occupied(&self) -> u16 {
        match self.occupied.iter().position(|&word| word != 0) {
            Some(word) => (word * 64) as u16 + self.occupied[word].trailing_zeros() as u16,
            None => NO_PRIORITY,
        }
    }
}

/// Being active.
impl Reactor {
    /// Puts a slot into its priority's lane; one that is there already gets `what` too.
    #[inline]
    pub(crate) fn activate(&mut self, id: SlotId, what: What) -> Result<()> {
        let slot = self.slots.get_mut(id.0).ok_or(Error::Stale)?;
        slot.what |= what;
        if slot.state.contains(State::ACTIVE) {
            return Ok(());
        }
        slot.state |= State::ACTIVE;
        match self.active.try_follow(id.index(), slot.priority) {
            Some(place) => slot.place = place,
            None => self.enter_lane(id.index()),
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn enter_lane(&mut self, index: u32) {
        let Some(priority) = self.slots.at_mut(index).map(|slot| slot.priority) else { return };
        let slots = &mut self.slots;
        let mut stand = |slot, place| {
            slots.at_mut(slot).expect("a slot leaves its lane before it is freed").place = place;
        };
        let place = self.active.push(index, priority, &mut stand);
        stand(index, place);
        self.active.note_most();
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

    /// Whether that is this one.
    #[inline]
    pub(crate) fn is_first_priority(&self, priority: u8) -> bool {
        self.active.first == u16::from(priority)
    }

    /// How many slots are active.
    pub(crate) fn active_len(&self) -> usize {
        self.active.len()
    }

    /// Takes the next active slot of a priority. One that is not persistent waits for nothing from here on; the
    /// timeout of one that is starts again. One whose signal came several times stays in front until it has been handed out
    /// so often, or is taken back.
    #[inline(always)]
    pub(crate) fn next_active(&mut self, priority: u8) -> Option<Invocation> {
        let Active { lanes, len, .. } = &mut self.active;
        let lane = lanes.get_mut(usize::from(priority))?;
        let (id, slot) = self.slots.tenant_at(lane.first()?)?;
        #[cfg(feature = "capi")]
        let waits_on = slot.state.contains(State::PENDING | State::PERSIST);
        let invocation = Invocation {
            slot: SlotId(id),
            owner: slot.owner,
            what: slot.what,
            #[cfg(feature = "capi")]
            waits_on,
            #[cfg(feature = "capi")]
            deliveries: slot.deliveries,
        };
        if slot.waits_on_as_it_is() {
            slot.end_activity();
            *len -= 1;
            if lane.advance() {
                self.active.shut(priority);
            }
        } else {
            // The slot was found a moment ago, so it is not stale.
            let _ = self.hand_out_changing(SlotId(id));
        }
        Some(invocation)
    }

    /// What handing it out means to a slot that does not wait on as it has waited.
    #[inline(never)]
    fn hand_out_changing(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let (state, what, priority) = (slot.state, slot.what, slot.priority);
        if !state.contains(State::PERSIST) {
            slot.end_activity();
            self.active.remove_first(priority);
            return self.del(id);
        }
        if slot.deliveries > 1 {
            slot.deliveries -= 1;
            slot.what = What::SIGNAL;
        } else {
            slot.end_activity();
            self.active.remove_first(priority);
        }
        // A timeout beside a descriptor counts from the last activity.
        if state.contains(State::TIMED) && !what.contains(What::TIMEOUT) {
            self.restart_from_now(id);
        }
        Ok(())
    }

    fn restart_from_now(&mut self, id: SlotId) {
        let index = id.0.index();
        let period_ns = self.timers.period(index);
        if period_ns != 0 {
            self.timers.restart(index, self.time.now().saturating_add(period_ns));
        }
    }

    /// Takes a slot back from being handed out; what it waits for, it goes on waiting for.
    pub(crate) fn deactivate(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let Slot { state, place, priority, .. } = *slot;
        slot.end_activity();
        if state.contains(State::ACTIVE) {
            self.active.remove(place, priority);
        }
        Ok(())
    }
}

impl Slot {
    /// Becomes active with `what`, or, if it is already, with that too. False if its lane is full: then it has no place yet.
    #[inline]
    pub(super) fn activate(&mut self, index: u32, what: What, active: &mut Active) -> bool {
        self.what |= what;
        if self.state.contains(State::ACTIVE) {
            return true;
        }
        self.state |= State::ACTIVE;
        let place = active.try_push(index, self.priority);
        self.place = place.unwrap_or(LEFT);
        place.is_some()
    }

    /// Whether all that handing it out changes is that it is not active any more.
    #[inline]
    fn waits_on_as_it_is(&self) -> bool {
        (LEFT_ALONE >> (self.state.bits() & LOOKED_AT)) & 1 != 0 && self.deliveries <= 1
    }

    fn end_activity(&mut self) {
        self.what = What::empty();
        self.deliveries = 0;
        self.state -= State::ACTIVE;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Lanes, plain queues that say what must be in them, and where each of 64 slots is, if it is in any.
    struct Model {
        active: Active,
        queues: Vec<VecDeque<u32>>,
        places: [Option<(u8, u32)>; 64],
    }

    impl Model {
        fn join(&mut self, slot: u32, priority: u8) {
            let place = self.active.try_push(slot, priority).unwrap_or_else(|| {
                let places = &mut self.places;
                self.active
                    .push(slot, priority, |slot, place| places[slot as usize] = Some((priority, place)))
            });
            self.places[slot as usize] = Some((priority, place));
            self.queues[usize::from(priority)].push_back(slot);
        }

        fn leave(&mut self, slot: u32) {
            let Some((priority, place)) = self.places[slot as usize].take() else { return };
            self.active.remove(place, priority);
            self.queues[usize::from(priority)].retain(|&other| other != slot);
        }

        fn check(&self) {
            let expected = self.queues.iter().position(|queue| !queue.is_empty());
            assert_eq!(self.active.first_priority().map(usize::from), expected);
            if let Some(priority) = expected {
                assert_eq!(self.active.first(priority as u8), self.queues[priority].front().copied());
            }
            assert_eq!(self.active.len(), self.queues.iter().map(VecDeque::len).sum());
        }
    }

    #[test]
    fn agrees_with_plain_queues_under_random_work() {
        let mut active = Active::new(256, 0);
        const PRIORITIES: [u8; 8] = [0, 1, 63, 64, 127, 128, 254, 255];
        for priority in PRIORITIES {
            // As many slots as may be there at once.
            (0..64).for_each(|_| active.make_room(priority));
        }
        let mut model = Model { active, queues: vec![VecDeque::new(); 256], places: [None; 64] };
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (state >> 40) as u32 % 64;
            match model.places[slot as usize] {
                Some(_) => model.leave(slot),
                None => model.join(slot, PRIORITIES[(state >> 50) as usize % 8]),
            }
            model.check();
        }
    }

    #[test]
    fn a_lane_in_which_somebody_waits_for_ever_does_not_grow() {
        let mut active = Active::new(1, 0);
        (0..3).for_each(|_| active.make_room(0));
        let room = active.lanes[0].places.capacity();
        let mut model = Model { active, queues: vec![VecDeque::new()], places: [None; 64] };
        (0..3).for_each(|slot| model.join(slot, 0));
        for turn in 0..1000 {
            let slot = 1 + turn % 2;
            model.leave(slot);
            model.join(slot, 0);
            model.check();
        }
        assert_eq!(model.active.lanes[0].places.capacity(), room);
        assert_eq!(model.active.first(0), Some(0));
    }
}
