//! A 4-ary min-heap of deadlines. A parent and its four children share two cache lines, and the tree is half as
//! high as a binary one.
//!
//! Where each slot's entry sits is kept in a dense array beside the heap, so that moving an entry touches four
//! bytes of it and not the slot.

use crate::reactor::arena::extend_to;

/// When a slot's timer is due. Entries with the same deadline come out in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) deadline_ns: u64,
    pub(crate) order: u32,
    pub(crate) slot: u32,
}

impl Entry {
    pub(super) fn is_before(&self, other: &Entry) -> bool {
        // The difference, not the numbers, are compared, so that the order survives the counter's wrap.
        let added_before = (self.order.wrapping_sub(other.order) as i32) < 0;
        self.deadline_ns < other.deadline_ns || (self.deadline_ns == other.deadline_ns && added_before)
    }
}

const ABSENT: u32 = u32::MAX;
const ARITY: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Heap {
    entries: Vec<Entry>,
    /// Slot index to place in `entries`.
    positions: Vec<u32>,
}

impl Heap {
    pub(crate) fn with_capacity(slots: usize) -> Self {
        Heap { entries: Vec::with_capacity(slots), positions: Vec::with_capacity(slots) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry that is due first.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.entries.first()
    }

    /// The entry of `slot`.
    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(self.position(slot)?)
    }

    /// Adds the entry of a slot that has none.
    pub(crate) fn push(&mut self, entry: Entry) {
        extend_to(&mut self.positions, entry.slot as usize + 1, || ABSENT);
        self.entries.push(entry);
        self.rise(self.entries.len() - 1);
    }

    /// Adds an entry, or moves the one that its slot has.
    pub(crate) fn set(&mut self, entry: Entry) {
        let Some(position) = self.position(entry.slot) else { return self.push(entry) };
        self.put(position, entry);
        let position = self.rise(position);
        self.sink(position);
    }

    /// As [`set`](Self::set) for the slot of the first entry, which is to come due no earlier than that says.
    pub(crate) fn put_off_first(&mut self, entry: Entry) {
        if let Some(first) = self.entries.first_mut() {
            *first = entry;
            self.sink(0);
        }
    }

    /// As [`set`](Self::set), unless the slot's entry is early enough.
    pub(crate) fn hasten(&mut self, entry: Entry) {
        let comes_up_in_time =
            self.get(entry.slot).is_some_and(|there| there.deadline_ns <= entry.deadline_ns);
        if !comes_up_in_time {
            self.set(entry);
        }
    }

    /// Takes out the entries of which `keep` says so, which may change those that stay, and puts the rest in order again.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        let Heap { entries, positions } = self;
        entries.retain_mut(|entry| {
            positions[entry.slot as usize] = ABSENT;
            keep(entry)
        });
        for position in 0..self.entries.len() {
            self.put(position, self.entries[position]);
        }
        let parents = self.entries.len().div_ceil(ARITY);
        (0..parents).rev().for_each(|position| self.sink(position));
        self.shrink();
    }

    /// Takes the entry of `slot` out, if it has one.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(position) = self.position(slot) else { return };
        self.positions[slot as usize] = ABSENT;
        let Some(last) = self.entries.pop() else { return };
        if position < self.entries.len() {
            self.put(position, last);
            let position = self.rise(position);
            self.sink(position);
        }
        self.shrink();
    }

    fn position(&self, slot: u32) -> Option<usize> {
        self.positions
            .get(slot as usize)
            .copied()
            .filter(|&position| position != ABSENT)
            .map(|it| it as usize)
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.entries[position] = entry;
        self.positions[entry.slot as usize] = position as u32;
    }

    /// Moves the entry at `position` up until its parent is due no later; returns where it ends.
    fn rise(&mut self, mut position: usize) -> usize {
        let entry = self.entries[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !entry.is_before(&self.entries[parent]) {
                break;
            }
            self.put(position, self.entries[parent]);
            position = parent;
        }
        self.put(position, entry);
        position
    }

    /// Moves the entry at `position` down until no child is due earlier.
    fn sink(&mut self, mut position: usize) {
        let entry = self.entries[position];
        while let Some(child) = self.earliest_child(position) {
            if !self.entries[child].is_before(&entry) {
                break;
            }
            self.put(position, self.entries[child]);
            position = child;
        }
        self.put(position, entry);
    }

    fn earliest_child(&self, position: usize) -> Option<usize> {
        let first = position * ARITY + 1;
        let end = (first + ARITY).min(self.entries.len());
        (first..end).reduce(
            |best, child| {
                if self.entries[child].is_before(&self.entries[best]) { child } else { best }
            },
        )
    }

    fn shrink(&mut self) {
        let needed = self.entries.len();
        give_back(&mut self.entries, needed);
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        for (position, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.positions[entry.slot as usize] as usize, position);
            if position > 0 {
                assert!(!entry.is_before(&self.entries[(position - 1) / ARITY]), "a child before its parent");
            }
        }
        let present = self.positions.iter().filter(|&&position| position != ABSENT).count();
        assert_eq!(present, self.entries.len());
    }
}

/// Gives memory back when three quarters of it are more than is needed. The floor keeps a small table from going back and forth.
pub(super) fn give_back<T>(table: &mut Vec<T>, needed: usize) {
    const FLOOR: usize = 1024;
    let capacity = table.capacity();
    if capacity > FLOOR && needed < capacity / 4 {
        table.shrink_to(capacity / 2);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Small pseudo-random numbers, the same in every run.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn agrees_with_a_sorted_map_under_random_work() {
        let mut heap = Heap::default();
        let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        let mut state = 42;
        for order in 0..50_000u32 {
            let slot = (random(&mut state) % 300) as u32;
            if random(&mut state).is_multiple_of(3) {
                heap.remove(slot);
                model.remove(&slot);
            } else {
                let deadline_ns = random(&mut state) % 50;
                heap.set(Entry { deadline_ns, order, slot });
                model.insert(slot, (deadline_ns, order));
            }
            let first = model.iter().map(|(slot, key)| (*key, *slot)).min();
            assert_eq!(heap.first().map(|entry| ((entry.deadline_ns, entry.order), entry.slot)), first);
            if order % 512 == 0 {
                heap.check_invariants();
            }
        }
    }

    #[test]
    fn equal_deadlines_come_out_in_order_even_across_the_wrap() {
        let mut heap = Heap::default();
        for slot in 0..100 {
            heap.set(Entry { deadline_ns: 5, order: (u32::MAX - 50).wrapping_add(slot), slot });
        }
        for slot in 0..100 {
            assert_eq!(heap.first().unwrap().slot, slot);
            heap.remove(slot);
        }
    }

    #[test]
    fn an_emptied_heap_gives_its_memory_back() {
        let mut heap = Heap::default();
        for slot in 0..100_000 {
            heap.set(Entry { deadline_ns: u64::from(slot), order: slot, slot });
        }
        for slot in 0..100_000 {
            heap.remove(slot);
        }
        assert_eq!(heap.len(), 0);
        assert!(heap.entries.capacity() <= 2048, "{}", heap.entries.capacity());
    }
}
