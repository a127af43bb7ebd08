//! Timers: at most one a slot, set, moved and taken back for next to nothing, and never early.
//!
//! Most timers are timeouts that are moved on long before they come due. So what a slot *wants* stands in a dense
//! array, and the heap holds at most one entry a slot, never later than wanted. Moving a deadline later, or taking
//! it back, touches the array alone; the entry in the heap is put right when it comes up front.
//!
//! Slots that share a duration can do without the heap: they wait in line (`common`).

mod common;
mod heap;

use super::arena::extend_to;
pub use common::CommonTimeout;
use common::Lines;
use heap::{Entry, Heap};

/// What a slot's timer is set to; a deadline of 0 is none.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    deadline_ns: u64,
    order: u32,
}

impl Wanted {
    fn entry(self, slot: u32) -> Entry {
        Entry { deadline_ns: self.deadline_ns, order: self.order, slot }
    }
}

const NOTHING: Wanted = Wanted { deadline_ns: 0, order: 0 };

/// The timers of all slots, by slot index. Deadlines are absolute nanoseconds on the loop's clock, and not 0.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Heap,
    lines: Lines,
    wanted: Vec<Wanted>,
    /// What the timers of persistent events start again with; few have one.
    periods_ns: Vec<u64>,
    next_order: u32,
}

impl Timers {
    pub(crate) fn with_capacity(slots: usize) -> Self {
        Timers {
            heap: Heap::with_capacity(slots),
            lines: Lines::default(),
            wanted: Vec::with_capacity(slots),
            periods_ns: Vec::with_capacity(slots),
            next_order: 0,
        }
    }

    /// When the slot's timer is due, if it is set.
    pub(crate) fn deadline(&self, slot: u32) -> Option<u64> {
        self.wanted
            .get(slot as usize)
            .map(|wanted| wanted.deadline_ns)
            .filter(|&deadline_ns| deadline_ns != 0)
    }

    /// What the slot's timer starts again with when it has come due; 0 is nothing.
    pub(crate) fn period(&self, slot: u32) -> u64 {
        self.periods_ns.get(slot as usize).copied().unwrap_or(0)
    }

    /// Sets what the slot's timer starts again with; 0 is nothing.
    pub(crate) fn set_period(&mut self, slot: u32, period_ns: u64) {
        if period_ns != 0 {
            extend_to(&mut self.periods_ns, slot as usize + 1, || 0);
        }
        if let Some(period) = self.periods_ns.get_mut(slot as usize) {
            *period = period_ns;
        }
        self.lines.set_home(slot, None);
    }

    /// Sets the slot's timer, or moves it.
    pub(crate) fn set(&mut self, slot: u32, deadline_ns: u64) {
        self.lines.leave(slot);
        let wanted = self.want(slot, deadline_ns);
        let comes_up_in_time =
            self.heap.get(slot).is_some_and(|entry| entry.deadline_ns <= wanted.deadline_ns);
        if !comes_up_in_time {
            self.heap.set(wanted.entry(slot));
        }
    }

    /// Sets the slot's timer for when it starts again.
    pub(crate) fn restart(&mut self, slot: u32, deadline_ns: u64) {
        match self.lines.home(slot) {
            Some(line) => self.set_in_line(slot, line, deadline_ns),
            None => self.set(slot, deadline_ns),
        }
    }

    /// Notes what a slot wants, and who wanted something before it.
    fn want(&mut self, slot: u32, deadline_ns: u64) -> Wanted {
        let wanted = Wanted { deadline_ns: deadline_ns.max(1), order: self.next_order };
        self.next_order = wanted.order.wrapping_add(1);
        extend_to(&mut self.wanted, slot as usize + 1, || NOTHING);
        self.wanted[slot as usize] = wanted;
        wanted
    }

    /// Takes the slot's timer back.
    pub(crate) fn cancel(&mut self, slot: u32) {
        if let Some(wanted) = self.wanted.get_mut(slot as usize) {
            *wanted = NOTHING;
        }
        self.lines.leave(slot);
    }

    /// Takes the slot's timer back and its entry out: the slot is going to be somebody else's.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.cancel(slot);
        self.set_period(slot, 0);
        self.heap.remove(slot);
    }

    /// The earliest deadline.
    pub(crate) fn first_deadline(&mut self) -> Option<u64> {
        self.first().map(|entry| entry.deadline_ns)
    }

    /// Takes out the first timer that is due by `now_ns`, with its deadline.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        let entry = self.first().filter(|entry| entry.deadline_ns <= now_ns)?;
        self.cancel(entry.slot);
        self.heap.remove(entry.slot);
        Some((entry.slot, entry.deadline_ns))
    }

    /// How many entries the heaps hold, those of timers taken back included.
    pub(crate) fn heap_len(&self) -> usize {
        self.heap.len() + self.lines.len()
    }

    fn first(&mut self) -> Option<Entry> {
        let single = self.settle_front();
        let common = self.lines.first(&self.wanted);
        match (single, common) {
            (Some(single), Some(common)) => Some(if common.is_before(&single) { common } else { single }),
            (single, common) => single.or(common),
        }
    }

    /// Puts right what has come up front until the first entry is what its slot wants.
    fn settle_front(&mut self) -> Option<Entry> {
        loop {
            let entry = *self.heap.first()?;
            let wanted = self.wanted[entry.slot as usize];
            if wanted.deadline_ns == 0 || self.lines.holds(entry.slot) {
                self.heap.remove(entry.slot);
            } else if wanted.order != entry.order {
                self.heap.set(wanted.entry(entry.slot));
            } else {
                return Some(entry);
            }
        }
    }
}

/// Common timeouts.
impl Timers {
    /// The common timeout of a duration; the same one each time.
    pub(crate) fn common(&mut self, duration_ns: u64) -> CommonTimeout {
        self.lines.of(duration_ns)
    }

    /// Whether a common timeout was made by these timers.
    pub(crate) fn has_common(&self, timeout: CommonTimeout) -> bool {
        self.lines.has(timeout)
    }

    /// Sets the slot's timer to a common timeout from `now_ns`, with which it also starts again if it `repeats`.
    pub(crate) fn set_common(&mut self, slot: u32, timeout: CommonTimeout, now_ns: u64, repeats: bool) {
        self.set_period(slot, if repeats { timeout.as_nanos() } else { 0 });
        if repeats {
            self.lines.set_home(slot, Some(timeout.line()));
        }
        self.set_in_line(slot, timeout.line(), now_ns.saturating_add(timeout.as_nanos()));
    }

    /// Lets a slot wait in line. One that would be due before the last there, because its schedule says so, waits in
    /// the heap this time: looking for its place could take as long as the line is.
    fn set_in_line(&mut self, slot: u32, line: u32, deadline_ns: u64) {
        self.lines.leave(slot);
        let last = self.lines.last(line).map(|last| self.wanted[last as usize].deadline_ns);
        if last.is_some_and(|last_ns| last_ns > deadline_ns) {
            return self.set(slot, deadline_ns);
        }
        let wanted = self.want(slot, deadline_ns);
        self.lines.join(slot, line, wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(timers: &mut Timers, now_ns: u64) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_due(now_ns).map(|(slot, _)| slot)).collect()
    }

    #[test]
    fn moved_and_taken_back_timers_fire_as_they_were_last_set() {
        let mut timers = Timers::with_capacity(0);
        timers.set(0, 10);
        timers.set(1, 20);
        timers.set(2, 30);
        timers.set(0, 40);
        timers.set(2, 5);
        timers.cancel(1);
        assert_eq!(timers.first_deadline(), Some(5));
        assert_eq!(drain(&mut timers, 4), []);
        assert_eq!(drain(&mut timers, 39), [2]);
        assert_eq!(timers.deadline(0), Some(40));
        assert_eq!(drain(&mut timers, 40), [0]);
        assert_eq!(timers.first_deadline(), None);
        assert_eq!(timers.heap_len(), 0);
    }

    #[test]
    fn a_timer_moved_to_a_deadline_others_have_queues_behind_them() {
        let mut timers = Timers::with_capacity(0);
        timers.set(0, 10);
        timers.set(1, 50);
        timers.set(0, 50);
        timers.set(2, 50);
        assert_eq!(drain(&mut timers, 50), [1, 0, 2]);
    }

    #[test]
    fn moving_timers_on_for_ever_keeps_one_entry_each() {
        let mut timers = Timers::with_capacity(0);
        for round in 0..1000 {
            for slot in 0..10 {
                timers.set(slot, 1_000_000 + round);
            }
            assert_eq!(timers.first_deadline(), Some(1_000_000 + round));
        }
        assert_eq!(timers.heap_len(), 10);
    }
}
