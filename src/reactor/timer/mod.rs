//! Timers: at most one a slot, set, moved and taken back for next to nothing, and never early.
//!
//! Most timers are timeouts that are moved on or taken back long before they come due. So what a slot *wants* stands in a dense
//! array, and ordering it is put off:
//!
//! ```text
//!   set ──► inbox ──────────► heap ──────────► due ──► pop_due
//!           slots, as they    one entry a      sorted, those
//!           came; read when   slot, never      of this turn
//!           one may be due    later than wanted
//! ```
//!
//! Few that have come are put into the heap before the loop waits. Many stay in the inbox, of which only a time is known that none of them
//! is due before: most are taken back, or moved, by then. Moving a deadline later, or taking it back, touches the array alone. An entry of the heap is put right when it comes up front, and
//! when most of them are of timers that were taken back, all those go at once. When much of the heap comes due together, that
//! part is cut out and sorted, which costs a fraction of taking it out entry by entry.
//!
//! Slots that share a duration can do without the heap: they wait in line (`common`).

mod common;
mod heap;

use std::cmp::Reverse;

use super::arena::extend_to;
pub use common::CommonTimeout;
use common::Lines;
use heap::{Entry, Heap, give_back};

/// Where the entry of a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Inbox,
    Heap,
}

/// What a slot's timer is set to, or was before it was taken back. An entry in the heap is never due later than that.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    deadline_ns: u64,
    order: u32,
    place: Place,
    is_set: bool,
    /// Whether the slot waits in a line, whatever entry it has left elsewhere.
    in_line: bool,
}

impl Wanted {
    /// Whether it has an entry in the heap that is not to come due, and nobody has said where else it waits.
    #[inline]
    fn is_idle(self) -> bool {
        self.place == Place::Heap && !self.is_set && !self.in_line
    }

    /// Whether an entry in the inbox or the heap is to come due.
    fn is_single(self) -> bool {
        self.is_set && !self.in_line
    }

    #[inline]
    fn set(&mut self, deadline_ns: u64, next_order: &mut u32) {
        (self.deadline_ns, self.order, self.is_set) = (deadline_ns, *next_order, true);
        *next_order = next_order.wrapping_add(1);
    }

    fn entry(self, slot: u32) -> Entry {
        Entry { deadline_ns: self.deadline_ns, order: self.order, slot }
    }
}

const NOTHING: Wanted =
    Wanted { deadline_ns: 0, order: 0, place: Place::Nowhere, is_set: false, in_line: false };

const _: () = assert!(size_of::<Wanted>() <= 16, "every slot up to the highest with a timer has one");

/// So many entries that have come up front are put right before a wait; of those behind them the wait is told no more
/// than a time that none of them can be due before.
const SETTLED_BEFORE_WAIT: usize = 16;
/// Below this, entries are moved one by one.
const MANY: usize = 64;

const NEVER: u64 = u64::MAX;

/// The timers of all slots, by slot index. Deadlines are absolute nanoseconds on the loop's clock.
#[derive(Debug)]
pub(crate) struct Timers {
    wanted: Vec<Wanted>,
    inbox: Vec<u32>,
    /// Nothing in the inbox is due before.
    inbox_from_ns: u64,
    heap: Heap,
    /// How many entries of the heap are of timers that were taken back.
    idle: usize,
    /// The last is due first.
    due: Vec<Entry>,
    lines: Lines,
    /// What the timers of persistent events start again with; few have one.
    periods_ns: Vec<u64>,
    next_order: u32,
}

/// Setting.
impl Timers {
    pub(crate) fn with_capacity(slots: usize) -> Self {
        let room = slots.max(super::FEW);
        Timers {
            wanted: Vec::with_capacity(slots),
            inbox: Vec::with_capacity(room),
            inbox_from_ns: NEVER,
            heap: Heap::with_capacity(room),
            idle: 0,
            due: Vec::with_capacity(room),
            lines: Lines::default(),
            periods_ns: Vec::with_capacity(slots),
            next_order: 0,
        }
    }

    /// When the slot's timer is due, if it is set.
    #[inline]
    pub(crate) fn deadline(&self, slot: u32) -> Option<u64> {
        self.wanted.get(slot as usize).filter(|wanted| wanted.is_set).map(|wanted| wanted.deadline_ns)
    }

    /// What the slot's timer starts again with when it has come due; 0 is nothing.
    #[inline]
    pub(crate) fn period(&self, slot: u32) -> u64 {
        self.periods_ns.get(slot as usize).copied().unwrap_or(0)
    }

    /// Whether the slot's timer starts again with so much, and with nothing that others share.
    #[inline]
    pub(crate) fn starts_again_with(&self, slot: u32, period_ns: u64) -> bool {
        self.periods_ns.get(slot as usize) == Some(&period_ns) && self.lines.home(slot).is_none()
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
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, deadline_ns: u64) {
        if !self.try_set(slot, deadline_ns) {
            self.set_slowly(slot, deadline_ns);
        }
    }

    /// As [`set`](Self::set), if that takes no more than a few stores. Says whether it did, and does nothing if it did not.
    #[inline]
    pub(crate) fn try_set(&mut self, slot: u32, deadline_ns: u64) -> bool {
        let Some(wanted) = self.wanted.get_mut(slot as usize).filter(|wanted| !wanted.in_line) else {
            return false;
        };
        match wanted.place {
            Place::Heap if deadline_ns < wanted.deadline_ns => return false,
            Place::Heap if wanted.is_set => {}
            Place::Heap => self.idle -= 1,
            Place::Inbox => self.inbox_from_ns = self.inbox_from_ns.min(deadline_ns),
            Place::Nowhere if self.inbox.len() == self.inbox.capacity() => return false,
            Place::Nowhere => {
                wanted.place = Place::Inbox;
                self.inbox_from_ns = self.inbox_from_ns.min(deadline_ns);
                self.inbox.push(slot);
            }
        }
        wanted.set(deadline_ns, &mut self.next_order);
        true
    }

    #[inline(never)]
    fn set_slowly(&mut self, slot: u32, deadline_ns: u64) {
        extend_to(&mut self.wanted, slot as usize + 1, || NOTHING);
        self.inbox.reserve(1);
        let wanted = &mut self.wanted[slot as usize];
        self.idle -= usize::from(wanted.is_idle());
        wanted.in_line = false;
        if wanted.place == Place::Heap {
            wanted.set(deadline_ns, &mut self.next_order);
            self.heap.hasten(wanted.entry(slot));
        } else {
            self.try_set(slot, deadline_ns);
        }
    }

    /// Sets the slot's timer for when it starts again.
    #[inline]
    pub(crate) fn restart(&mut self, slot: u32, deadline_ns: u64) {
        match self.lines.home(slot) {
            Some(line) => self.set_in_line(slot, line, deadline_ns),
            None => self.set(slot, deadline_ns),
        }
    }

    /// Takes the slot's timer back.
    #[inline]
    pub(crate) fn cancel(&mut self, slot: u32) {
        let Some(wanted) = self.wanted.get_mut(slot as usize) else { return };
        self.idle += usize::from(std::mem::take(&mut wanted.is_set) && wanted.is_idle());
    }

    /// Takes the slot's timer back and its entry out: the slot is going to be somebody else's.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.cancel(slot);
        self.set_period(slot, 0);
        // In the inbox it does no harm: whoever has the slot by then is asked what it wants.
        if self.wanted.get(slot as usize).is_some_and(|wanted| wanted.place == Place::Heap) {
            self.take_out(slot);
        }
    }

    /// Takes a slot's entry out of the heap.
    fn take_out(&mut self, slot: u32) {
        let wanted = &mut self.wanted[slot as usize];
        self.idle -= usize::from(wanted.is_idle());
        wanted.place = Place::Nowhere;
        self.heap.remove(slot);
    }

    /// How many entries there are, those in the heaps of timers taken back included.
    pub(crate) fn heap_len(&self) -> usize {
        let in_inbox = self.inbox.iter().filter(|&&slot| self.wanted[slot as usize].is_single()).count();
        in_inbox + self.heap.len() + self.lines.len()
    }
}

/// Coming due.
impl Timers {
    /// A time before which nothing is due; when few timers have been moved lately, the earliest deadline.
    pub(crate) fn first_deadline(&mut self) -> Option<u64> {
        if !self.inbox.is_empty() && self.inbox.len() <= MANY {
            self.empty_inbox(0);
        }
        self.sweep();
        let mut left = SETTLED_BEFORE_WAIT;
        let single = loop {
            let Some(&entry) = self.heap.first() else { break None };
            if left == 0 || self.settle(entry) {
                break Some(entry.deadline_ns);
            }
            left -= 1;
        };
        let common = self.lines.first(&self.wanted).map(|entry| entry.deadline_ns);
        let inbox = (!self.inbox.is_empty()).then_some(self.inbox_from_ns);
        single.into_iter().chain(common).chain(inbox).min()
    }

    /// Whether anything may be due by `now_ns`. It takes three looks, where taking out nothing puts a good deal in order first.
    #[inline]
    pub(crate) fn may_be_due(&self, now_ns: u64) -> bool {
        let is_due = |entry: &Entry| entry.deadline_ns <= now_ns;
        self.inbox_from_ns <= now_ns || self.heap.first().is_some_and(is_due) || self.lines.may_be_due(now_ns)
    }

    /// Takes out the first timer that is due by `now_ns`, with its deadline.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        if self.due.is_empty() {
            self.collect_due(now_ns);
        }
        let common = self.lines.first(&self.wanted).filter(|entry| entry.deadline_ns <= now_ns);
        let entry = match (self.due.last().copied(), common) {
            (Some(single), Some(common)) if common.is_before(&single) => self.leave_line(common),
            (Some(single), _) => {
                self.due.pop();
                single
            }
            (None, common) => self.leave_line(common?),
        };
        Some((entry.slot, entry.deadline_ns))
    }

    fn leave_line(&mut self, entry: Entry) -> Entry {
        self.cancel(entry.slot);
        entry
    }

    /// Moves what is due by `now_ns` from the inbox to `due`, in no order, and the rest of it to the heap. What has come to `due`
    /// is not set any more: going through all of them again in order of time would cost a cache miss each.
    fn empty_inbox(&mut self, now_ns: u64) {
        for slot in self.inbox.drain(..) {
            let wanted = &mut self.wanted[slot as usize];
            wanted.place = Place::Nowhere;
            if !wanted.is_single() {
                continue;
            }
            let entry = wanted.entry(slot);
            if entry.deadline_ns <= now_ns {
                wanted.is_set = false;
                self.due.push(entry);
            } else {
                wanted.place = Place::Heap;
                self.heap.push(entry);
            }
        }
        self.inbox_from_ns = NEVER;
    }

    /// Puts the entry that has come up front right, or finds that it is and says so.
    fn settle(&mut self, front: Entry) -> bool {
        let wanted = self.wanted[front.slot as usize];
        if !wanted.is_single() {
            self.take_out(front.slot);
            false
        } else if wanted.order != front.order {
            // What is wanted is never earlier than the entry.
            self.heap.put_off_first(wanted.entry(front.slot));
            false
        } else {
            true
        }
    }

    /// Moves what is due by `now_ns` to `due`.
    fn collect_due(&mut self, now_ns: u64) {
        give_back(&mut self.due, self.inbox.len() + self.heap.len());
        if self.inbox_from_ns <= now_ns {
            self.empty_inbox(now_ns);
        }
        self.sweep();
        let mut is_sorted = self.due.is_empty();
        while let Some(&front) = self.heap.first()
            && front.deadline_ns <= now_ns
        {
            if self.due.len() >= MANY.max(self.heap.len() / 16) {
                self.cut_due(now_ns);
                is_sorted = false;
            } else if self.settle(front) {
                self.take_out(front.slot);
                self.wanted[front.slot as usize].is_set = false;
                self.due.push(front);
            }
        }
        if is_sorted { self.due.reverse() } else { self.sort_due() }
    }

    fn sort_due(&mut self) {
        // Orders are those of the last 2^32 settings, so seen from the next one they do not wrap.
        let next = self.next_order;
        self.due.sort_unstable_by_key(|entry| Reverse((entry.deadline_ns, entry.order.wrapping_sub(next))));
    }

    /// Moves all that is due at once, in no order.
    fn cut_due(&mut self, now_ns: u64) {
        let Timers { heap, wanted, due, idle, .. } = self;
        heap.retain(|entry| {
            let wanted = &mut wanted[entry.slot as usize];
            if wanted.is_single() {
                *entry = wanted.entry(entry.slot);
                if entry.deadline_ns > now_ns {
                    return true;
                }
                due.push(*entry);
                wanted.is_set = false;
            } else {
                *idle -= usize::from(wanted.is_idle());
            }
            wanted.place = Place::Nowhere;
            false
        });
    }

    /// Takes out the entries of timers that were taken back, once they are most of the heap.
    #[inline]
    fn sweep(&mut self) {
        if self.idle >= MANY && self.idle > self.heap.len() / 2 {
            self.sweep_idle();
        }
    }

    #[inline(never)]
    fn sweep_idle(&mut self) {
        let wanted = &mut self.wanted;
        self.heap.retain(|entry| {
            let wanted = &mut wanted[entry.slot as usize];
            if !wanted.is_set {
                wanted.place = Place::Nowhere;
            }
            wanted.is_set
        });
        self.idle = 0;
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
        // What does not repeat never did.
        if repeats {
            self.set_period(slot, timeout.as_nanos());
            self.lines.set_home(slot, Some(timeout.line()));
        }
        self.set_in_line(slot, timeout.line(), now_ns.saturating_add(timeout.as_nanos()));
    }

    /// As [`set_common`](Self::set_common) for what does not repeat, if that takes no more than a few stores. Says whether it did,
    /// and does nothing if it did not.
    #[inline]
    pub(crate) fn try_set_common(&mut self, slot: u32, timeout: CommonTimeout, deadline_ns: u64) -> bool {
        match self.wanted.get_mut(slot as usize).filter(|wanted| wanted.in_line) {
            Some(wanted) if self.lines.try_join(slot, timeout, deadline_ns, self.next_order) => {
                wanted.set(deadline_ns, &mut self.next_order);
                true
            }
            _ => false,
        }
    }

    /// Lets a slot wait in line. One that would be due before the last there, because its schedule says so, waits in
    /// the heap this time: looking for its place could take as long as the line is.
    fn set_in_line(&mut self, slot: u32, line: u32, deadline_ns: u64) {
        if !self.lines.may_join(line, deadline_ns) {
            return self.set(slot, deadline_ns);
        }
        extend_to(&mut self.wanted, slot as usize + 1, || NOTHING);
        let wanted = &mut self.wanted[slot as usize];
        self.idle -= usize::from(wanted.is_idle());
        wanted.in_line = true;
        wanted.set(deadline_ns, &mut self.next_order);
        self.lines.join(slot, line, &self.wanted);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use super::*;

    impl Timers {
        fn check_invariants(&self) {
            let at = |place| self.wanted.iter().filter(|wanted| wanted.place == place).count();
            assert_eq!(at(Place::Heap), self.heap.len());
            assert_eq!(at(Place::Inbox), self.inbox.len());
            assert_eq!(self.wanted.iter().filter(|wanted| wanted.is_idle()).count(), self.idle);
        }
    }

    /// Small pseudo-random numbers, the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    /// Timers, and a sorted set that says when each must fire: by deadline, and by the order of setting among equals.
    struct Model {
        timers: Timers,
        due: BTreeSet<(u64, u64, u32)>,
        set: HashMap<u32, (u64, u64)>,
        orders: u64,
        now_ns: u64,
        fired: u64,
    }

    impl Model {
        fn forget(&mut self, slot: u32) {
            if let Some((deadline_ns, order)) = self.set.remove(&slot) {
                self.due.remove(&(deadline_ns, order, slot));
            }
        }

        fn expect(&mut self, slot: u32, deadline_ns: u64) {
            self.forget(slot);
            self.orders += 1;
            self.set.insert(slot, (deadline_ns, self.orders));
            self.due.insert((deadline_ns, self.orders, slot));
        }

        fn fire(&mut self) {
            while let Some((slot, deadline_ns)) = self.timers.pop_due(self.now_ns) {
                let first = self.due.pop_first().expect("something was due");
                assert_eq!((deadline_ns, slot), (first.0, first.2));
                assert!(deadline_ns <= self.now_ns, "early");
                self.set.remove(&slot);
                self.fired += 1;
                let period_ns = self.timers.period(slot);
                if period_ns != 0 {
                    // As the reactor does it, on the schedule: perhaps before what others have asked for since.
                    self.timers.restart(slot, deadline_ns + period_ns);
                    self.expect(slot, deadline_ns + period_ns);
                }
            }
            assert!(self.due.first().is_none_or(|first| first.0 > self.now_ns), "late");
            assert_eq!(self.timers.first_deadline(), self.due.first().map(|first| first.0));
        }
    }

    #[test]
    fn a_million_random_verbs_fire_what_is_due_in_order_and_never_early() {
        let mut random = Random(7);
        let mut model = Model {
            timers: Timers::with_capacity(0),
            due: BTreeSet::new(),
            set: HashMap::new(),
            orders: 0,
            now_ns: 1,
            fired: 0,
        };
        let commons = [70, 300, 5000].map(|duration_ns| model.timers.common(duration_ns));
        for _ in 0..1_000_000 {
            let slot = random.below(500) as u32;
            match random.below(16) {
                0..6 => {
                    let deadline_ns = model.now_ns + random.below(2000);
                    model.timers.set_period(slot, 0);
                    model.timers.set(slot, deadline_ns);
                    model.expect(slot, deadline_ns);
                }
                6..11 => {
                    let common = commons[random.below(3) as usize];
                    model.timers.set_common(slot, common, model.now_ns, random.below(4) == 0);
                    model.expect(slot, model.now_ns + common.as_nanos());
                }
                11..13 => {
                    model.timers.cancel(slot);
                    model.forget(slot);
                }
                13 => {
                    model.timers.forget(slot);
                    model.forget(slot);
                }
                _ => {
                    model.now_ns += random.below(80);
                    model.fire();
                }
            }
        }
        assert!(model.fired > 100_000, "{}", model.fired);
    }

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
    fn agrees_with_a_sorted_map_under_random_work_however_much_comes_due() {
        let mut timers = Timers::with_capacity(0);
        let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        let mut random = Random(7);
        let mut random = |end| random.below(end);
        let mut now_ns = 1;
        timers.next_order = u32::MAX - 100_000;
        let common = timers.common(900);
        for order in 0..100_000 {
            let (slot, deadline_ns) = (random(3000) as u32, now_ns + 1 + random(1000));
            match random(8) {
                0..3 => {
                    timers.set(slot, deadline_ns);
                    model.insert(slot, (deadline_ns, order));
                }
                3 => {
                    timers.set_common(slot, common, now_ns, false);
                    model.insert(slot, (now_ns + 900, order));
                }
                4 => {
                    timers.forget(slot);
                    model.remove(&slot);
                }
                _ => {
                    timers.cancel(slot);
                    model.remove(&slot);
                }
            }
            if random(1000) == 0 {
                let earliest = model.values().min().map(|(deadline_ns, _)| *deadline_ns);
                let told = timers.first_deadline();
                assert!(told.is_some() || earliest.is_none(), "nothing is told of {earliest:?}");
                assert!(
                    earliest.is_none_or(|earliest_ns| told <= Some(earliest_ns)),
                    "{told:?} {earliest:?}"
                );
                now_ns += [1, 10, 300, 2000][random(4) as usize];
                let mut expected: Vec<_> = model.iter().filter(|(_, (at_ns, _))| *at_ns <= now_ns).collect();
                expected.sort_by_key(|(_, key)| **key);
                let expected: Vec<u32> = expected.into_iter().map(|(slot, _)| *slot).collect();
                assert_eq!(drain(&mut timers, now_ns), expected);
                model.retain(|_, (at_ns, _)| *at_ns > now_ns);
                timers.check_invariants();
            }
        }
    }

    #[test]
    fn timers_taken_back_leave_no_entries_behind() {
        let mut timers = Timers::with_capacity(0);
        (0..10_000).for_each(|slot| timers.set(slot, 1_000_000 + u64::from(slot)));
        timers.set(10_000, 1);
        assert_eq!(drain(&mut timers, 1), [10_000]);
        assert_eq!(timers.first_deadline(), Some(1_000_000));
        (0..9_000).for_each(|slot| timers.cancel(slot));
        assert_eq!(drain(&mut timers, 1), []);
        assert_eq!(timers.heap_len(), 1_000);
        assert_eq!(timers.first_deadline(), Some(1_009_000));
    }

    #[test]
    fn many_that_are_taken_back_in_time_never_reach_the_heap() {
        let mut timers = Timers::with_capacity(0);
        (0..10_000).for_each(|slot| timers.set(slot, 1_000_000 + u64::from(slot)));
        assert_eq!(timers.first_deadline(), Some(1_000_000));
        (0..9_000).for_each(|slot| timers.cancel(slot));
        assert_eq!(timers.first_deadline(), Some(1_000_000), "too early is allowed");
        assert_eq!((timers.heap.len(), timers.heap_len()), (0, 1_000));
        assert_eq!(drain(&mut timers, 1_000_000), []);
        assert_eq!(timers.first_deadline(), Some(1_009_000), "but only once");
        assert_eq!(drain(&mut timers, 1_009_001), [9_000, 9_001]);
        timers.check_invariants();
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
