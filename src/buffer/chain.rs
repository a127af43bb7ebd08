//! The chain: a ring of nodes, the first few inside the buffer itself, the rest in one heap block.
//!
//! A ring makes both ends O(1); holding the first nodes inline makes an ordinary buffer cost no allocation beside its
//! bytes; and moving a whole chain is moving this struct. Heap blocks that are given up are kept, a few a thread,
//! because a connection that answers pipelined requests needs one for a moment each time.

use std::cell::RefCell;
use std::io::IoSlice;
use std::mem;

use bytes::Buf;

use super::chunk::Run;
use super::node::Node;
use crate::{Error, Result};

/// Nodes held inside the buffer: a response head and its file are two.
const INLINE: usize = 2;

type Slot = Option<Node>;

/// A queue of nodes. Slot `place & (slots - 1)` holds the node of each place in `head..tail`; all others are `None`.
pub(super) struct Chain {
    inline: [Slot; INLINE],
    /// A power-of-two number of slots, in use instead of the inline ones once those were too few.
    ring: Option<Box<[Slot]>>,
    /// The place of the first node, and the one behind the last. They wrap, and their difference is the number of nodes.
    head: u32,
    tail: u32,
}

impl Chain {
    pub(super) const fn new() -> Chain {
        Chain { inline: [const { None }; INLINE], ring: None, head: 0, tail: 0 }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot] {
        match &self.ring {
            None => &self.inline,
            Some(ring) => ring,
        }
    }

    #[inline(always)]
    fn slots_mut(&mut self) -> &mut [Slot] {
        match &mut self.ring {
            None => &mut self.inline,
            Some(ring) => ring,
        }
    }

    #[inline(always)]
    fn slot(&self, place: u32) -> &Slot {
        match &self.ring {
            None => &self.inline[place as usize % INLINE],
            Some(ring) => &ring[place as usize & (ring.len() - 1)],
        }
    }

    #[inline(always)]
    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        match &mut self.ring {
            None => &mut self.inline[place as usize % INLINE],
            Some(ring) => {
                let mask = ring.len() - 1;
                &mut ring[place as usize & mask]
            }
        }
    }

    /// Where the last node stands. In an empty chain that slot is empty, like all others.
    #[inline(always)]
    fn last_place(&self) -> u32 {
        self.tail.wrapping_sub(1)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Node> {
        if index >= self.count() {
            return None;
        }
        self.slot(self.head.wrapping_add(index as u32)).as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Node> {
        if index >= self.count() {
            return None;
        }
        self.slot_mut(self.head.wrapping_add(index as u32)).as_mut()
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Node> {
        self.slot(self.head).as_ref()
    }

    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Node> {
        self.slot_mut(self.head).as_mut()
    }

    #[inline]
    pub(super) fn back(&self) -> Option<&Node> {
        self.slot(self.last_place()).as_ref()
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut Node> {
        self.slot_mut(self.last_place()).as_mut()
    }

    /// The bytes of the first node, as far as they are in memory.
    #[inline]
    pub(super) fn front_memory(&self) -> &[u8] {
        memory_in(self.slot(self.head))
    }

    /// Shows all nodes' bytes, which are in memory, as far as `out` has places for them; says how many were filled.
    pub(super) fn fill_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let filled = out.len().min(self.count() - usize::from(self.ends_in_space()));
        let (ahead, wrapped) = self.as_slices();
        let (first, second) = out[..filled].split_at_mut(filled.min(ahead.len()));
        for (slots, places) in [(ahead, first), (wrapped, second)] {
            slots.iter().zip(places).for_each(|(slot, place)| *place = IoSlice::new(memory_in(slot)));
        }
        filled
    }

    /// The part of the ring from the first node to its end, and the part that wrapped round.
    #[inline]
    fn as_slices(&self) -> (&[Slot], &[Slot]) {
        let slots = self.slots();
        let head = self.head as usize & (slots.len() - 1);
        let first = self.count().min(slots.len() - head);
        let (wrapped, rest) = slots.split_at(head);
        (&rest[..first], &wrapped[..self.count() - first])
    }

    /// The first node, if it is a chunk.
    #[inline]
    pub(super) fn front_run(&mut self) -> Option<&mut Run> {
        match self.front_mut() {
            Some(Node::Chunk(run)) => Some(run),
            _ => None,
        }
    }

    /// The last node, if it is a chunk.
    #[inline]
    pub(super) fn back_run(&mut self) -> Option<&mut Run> {
        match self.back_mut() {
            Some(Node::Chunk(run)) => Some(run),
            _ => None,
        }
    }

    /// The nodes from first to last.
    #[inline]
    pub(super) fn iter(&self) -> Nodes<'_> {
        let (ahead, wrapped) = self.as_slices();
        Nodes { ahead: ahead.iter(), wrapped: wrapped.iter() }
    }
}

/// The nodes of a chain: the part of the ring up to its end, then the part that wrapped round.
#[derive(Clone)]
pub(super) struct Nodes<'a> {
    ahead: std::slice::Iter<'a, Slot>,
    wrapped: std::slice::Iter<'a, Slot>,
}

impl<'a> Nodes<'a> {
    /// The memory of the node that comes next, which is then behind; empty when there is none, or it is not in memory.
    #[inline(always)]
    pub(super) fn next_memory(&mut self) -> &'a [u8] {
        if self.ahead.len() == 0 {
            self.ahead = mem::take(&mut self.wrapped);
        }
        self.ahead.next().map_or(&[], memory_in)
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = &'a Node;

    #[inline]
    fn next(&mut self) -> Option<&'a Node> {
        match self.ahead.next() {
            Some(slot) => slot.as_ref(),
            None => {
                self.ahead = mem::take(&mut self.wrapped);
                self.ahead.next()?.as_ref()
            }
        }
    }
}

/// Changing the ends.
impl Chain {
    /// Makes sure that `additional` pushes succeed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::Overflow`]; the chain is as it was.
    #[inline(always)]
    pub(super) fn reserve(&mut self, additional: usize) -> Result<()> {
        if additional <= self.slots().len() - self.count() { Ok(()) } else { self.grow(additional) }
    }

    #[inline]
    pub(super) fn push_back(&mut self, node: Node) -> Result<()> {
        self.push_back_with(|| Ok(node))
    }

    /// Pushes what `make` makes. The place is found first, so that a new node is built in its slot and not copied there.
    #[inline(always)]
    pub(super) fn push_back_with(&mut self, make: impl FnOnce() -> Result<Node>) -> Result<()> {
        self.reserve(1)?;
        fill(self.slot_mut(self.tail), make()?);
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// The place behind the last node, unless the slots are all taken or the last node is an empty one, which nothing may stand behind.
    #[inline(always)]
    pub(super) fn free_place(&mut self) -> Option<Place<'_>> {
        let slots = match &mut self.ring {
            None => &mut self.inline[..],
            Some(ring) => ring,
        };
        let mask = slots.len() - 1;
        let next = self.tail as usize & mask;
        // In a full ring the first node stands there.
        if slots[next].is_some() || is_space(&slots[next.wrapping_sub(1) & mask]) {
            return None;
        }
        Some(Place { slot: &mut slots[next], tail: &mut self.tail })
    }

    /// Whether the last node is an empty chunk.
    #[inline(always)]
    pub(super) fn ends_in_space(&self) -> bool {
        is_space(self.slot(self.last_place()))
    }

    /// [`push_back_with`](Chain::push_back_with) for an empty chain, which has no ring: its place is known.
    #[inline(always)]
    pub(super) fn push_first_with(&mut self, make: impl FnOnce() -> Result<Node>) -> Result<()> {
        debug_assert!(self.is_empty() && self.ring.is_none());
        fill(&mut self.inline[0], make()?);
        (self.head, self.tail) = (0, 1);
        Ok(())
    }

    #[inline]
    pub(super) fn push_front(&mut self, node: Node) -> Result<()> {
        self.reserve(1)?;
        self.head = self.head.wrapping_sub(1);
        fill(self.slot_mut(self.head), node);
        Ok(())
    }

    /// Drops the first node where it stands, which is cheaper than moving it out. It has left the chain before: a node
    /// may run a clean-up of the user's, and that may panic.
    #[inline(always)]
    fn drop_front(&mut self) {
        let first = self.head;
        if self.count() > 1 {
            self.head = first.wrapping_add(1);
            *self.slot_mut(first) = None;
        } else {
            self.drop_last();
        }
    }

    /// Drops the only node there is, and the ring with it.
    #[inline(never)]
    fn drop_last(&mut self) {
        let place = self.head as usize;
        (self.head, self.tail) = (0, 0);
        match self.ring.take() {
            None => self.inline[place % INLINE] = None,
            Some(mut ring) => {
                ring[place & (ring.len() - 1)] = None;
                keep_ring(ring);
            }
        }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        let node = self.slot_mut(self.head).take();
        self.head = self.head.wrapping_add(1);
        self.settle();
        node
    }

    #[inline(never)]
    pub(super) fn pop_back(&mut self) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        self.tail = self.last_place();
        let node = self.slot_mut(self.tail).take();
        self.settle();
        node
    }

    /// An empty chain goes back to its inline slots, so that an idle buffer holds no memory.
    #[inline]
    fn settle(&mut self) {
        if self.is_empty() && self.ring.is_some() {
            self.give_up_ring();
        }
    }

    #[cold]
    fn give_up_ring(&mut self) {
        (self.head, self.tail) = (0, 0);
        if let Some(ring) = self.ring.take() {
            keep_ring(ring);
        }
    }

    /// Drops every node, except that a small chunk which is the only one, and which nobody else sees, stays as space at hand.
    #[inline]
    pub(super) fn clear(&mut self) {
        match self.count() {
            0 => {}
            1 => {
                let kept = self.ring.is_none() && self.front_run().is_some_and(Run::reset_small);
                if !kept {
                    self.drop_single();
                }
            }
            _ => self.drop_many(usize::MAX),
        }
    }

    /// Drops the only node, mostly an inline one.
    #[inline(never)]
    fn drop_single(&mut self) {
        if self.ring.is_some() {
            return self.drop_last();
        }
        let place = self.head as usize % INLINE;
        (self.head, self.tail) = (0, 0);
        self.inline[place] = None;
    }

    /// Drops the first `bytes` bytes, or all there are.
    #[inline]
    pub(super) fn drop_bytes(&mut self, bytes: usize) {
        match self.front_mut() {
            Some(Node::Chunk(run)) if bytes < run.len() => run.advance(bytes),
            Some(Node::Reference(data)) if bytes < data.len() => data.advance(bytes),
            _ => self.drop_many(bytes),
        }
    }

    #[inline(never)]
    fn drop_many(&mut self, bytes: usize) {
        DropFront { chain: self, bytes }.run();
    }

    #[cold]
    fn grow(&mut self, additional: usize) -> Result<()> {
        let wanted = self.count().checked_add(additional).ok_or(Error::Overflow)?;
        if wanted > 1 << 31 {
            return Err(Error::Overflow);
        }
        let mut ring = take_ring(wanted.next_power_of_two().max(RING_MIN))?;
        let count = self.count();
        for (index, slot) in ring[..count].iter_mut().enumerate() {
            relocate(self.slot_mut(self.head.wrapping_add(index as u32)), slot);
        }
        (self.head, self.tail) = (0, count as u32);
        if let Some(old) = self.ring.replace(ring) {
            keep_ring(old);
        }
        Ok(())
    }
}

/// Dropping bytes off the front. Unwinding out of a clean-up of the user's, it goes on with the rest.
struct DropFront<'a> {
    chain: &'a mut Chain,
    bytes: usize,
}

impl DropFront<'_> {
    #[inline]
    fn run(&mut self) {
        while self.bytes > 0 {
            match self.chain.front_mut() {
                Some(node) if self.bytes < node.len() => {
                    node.advance(mem::take(&mut self.bytes));
                    return;
                }
                Some(node) => self.bytes -= node.len(),
                None => return,
            }
            self.chain.drop_front();
        }
    }
}

impl Drop for DropFront<'_> {
    #[inline]
    fn drop(&mut self) {
        self.run();
    }
}

/// Whether a slot holds an empty chunk.
#[inline(always)]
fn is_space(slot: &Slot) -> bool {
    matches!(slot, Some(Node::Chunk(run)) if run.len() == 0)
}

/// The bytes of the node in a slot, as far as there is one and they are in memory: [`Node::memory`] with the usual kinds, which have
/// their bytes in the same place, told from all else by one comparison.
#[inline(always)]
fn memory_in(slot: &Slot) -> &[u8] {
    if !matches!(slot, Some(Node::Chunk(_) | Node::Reference(_))) {
        return rare_memory_in(slot);
    }
    match slot {
        Some(Node::Chunk(run)) => run.as_slice(),
        Some(Node::Reference(bytes)) => bytes,
        _ => &[],
    }
}

#[cold]
fn rare_memory_in(slot: &Slot) -> &[u8] {
    slot.as_ref().and_then(Node::memory).unwrap_or_default()
}

/// The empty slot behind the last node.
pub(super) struct Place<'a> {
    slot: &'a mut Slot,
    tail: &'a mut u32,
}

impl Place<'_> {
    /// Puts `node` there. It cannot fail, nor panic, so nobody has to be ready to drop the node: that would keep it out of registers.
    #[inline(always)]
    pub(super) fn fill(self, node: Node) {
        fill(self.slot, node);
        *self.tail = self.tail.wrapping_add(1);
    }
}

/// Writes an empty slot. What it held was `None`, so nothing is lost by not dropping it.
#[inline(always)]
fn fill(slot: &mut Slot, node: Node) {
    debug_assert!(slot.is_none(), "a slot outside the chain is empty");
    mem::forget(slot.replace(node));
}

/// Moves what is in one slot to another, which is empty. A swap goes through registers, once; anything that names the node copies it to
/// the stack and from there again, and each copy waits for the one before.
#[inline(always)]
fn relocate(from: &mut Slot, to: &mut Slot) {
    debug_assert!(to.is_none(), "a slot outside the chain is empty");
    mem::swap(from, to);
}

/// Changing the middle, and whole chains.
impl Chain {
    /// Puts `node` in front of node `index`; the shorter side makes room.
    pub(super) fn insert(&mut self, index: usize, node: Node) -> Result<()> {
        debug_assert!(index <= self.count());
        if index * 2 < self.count() {
            self.push_front(node)?;
            (0..index).for_each(|at| self.swap(at, at + 1));
        } else {
            self.push_back(node)?;
            (index..self.count() - 1).rev().for_each(|at| self.swap(at, at + 1));
        }
        Ok(())
    }

    fn swap(&mut self, a: usize, b: usize) {
        let head = self.head as usize;
        let slots = self.slots_mut();
        let mask = slots.len() - 1;
        slots.swap(head.wrapping_add(a) & mask, head.wrapping_add(b) & mask);
    }

    /// Moves every node of `other` behind the own ones: O(1) into an empty chain, and otherwise as many descriptor
    /// moves as the shorter of the two has nodes.
    ///
    /// # Errors
    /// As [`Chain::reserve`]; both chains are then as they were.
    #[inline]
    pub(super) fn append(&mut self, other: &mut Chain) -> Result<()> {
        if self.is_empty() {
            self.take(other);
            return Ok(());
        }
        if other.count() < self.count() {
            self.reserve(other.count())?;
            while !other.is_empty() {
                relocate(other.slot_mut(other.head), self.slot_mut(self.tail));
                other.head = other.head.wrapping_add(1);
                self.tail = self.tail.wrapping_add(1);
            }
            other.settle();
        } else {
            other.reserve(self.count())?;
            while !self.is_empty() {
                self.tail = self.last_place();
                other.head = other.head.wrapping_sub(1);
                relocate(self.slot_mut(self.tail), other.slot_mut(other.head));
            }
            self.settle();
            mem::swap(self, other);
        }
        Ok(())
    }

    /// [`append`](Chain::append) when that is easy: to an empty chain, or of one inline node for which there is a place; says whether it was done.
    #[inline(always)]
    pub(super) fn append_at_once(&mut self, other: &mut Chain) -> bool {
        if self.is_empty() {
            self.take(other);
            return true;
        }
        if other.count() != 1 || other.ring.is_some() {
            return false;
        }
        let Some(place) = self.free_place() else { return false };
        relocate(&mut other.inline[other.head as usize % INLINE], place.slot);
        *place.tail = place.tail.wrapping_add(1);
        (other.head, other.tail) = (0, 0);
        true
    }

    /// [`append`](Chain::append) to an empty chain: the heap ring changes hands, or the few inline nodes do.
    #[inline]
    fn take(&mut self, other: &mut Chain) {
        (self.head, self.tail) = (other.head, other.tail);
        if other.ring.is_some() {
            mem::swap(&mut self.ring, &mut other.ring);
        } else {
            // An empty chain has no ring either, so the places are the same.
            let first = other.head as usize % INLINE;
            relocate(&mut other.inline[first], &mut self.inline[first]);
            if other.count() > 1 {
                relocate(&mut other.inline[first ^ 1], &mut self.inline[first ^ 1]);
            }
        }
        (other.head, other.tail) = (0, 0);
    }

    /// Checks the shape of the ring and the rule about empty nodes; returns the bytes it holds.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) -> usize {
        let slots = self.slots();
        assert!(slots.len().is_power_of_two() && self.count() <= slots.len(), "ring of {}", slots.len());
        assert!(!self.is_empty() || self.ring.is_none(), "an empty chain holds no ring");
        assert_eq!(slots.iter().flatten().count(), self.count(), "slots outside the chain are empty");
        assert_eq!(self.iter().count(), self.count(), "slots of the chain are filled");
        let mut bytes = 0;
        for (index, node) in self.iter().enumerate() {
            let reserved =
                index + 1 == self.count() && matches!(node, Node::Chunk(run) if run.tailroom() > 0);
            assert!(node.len() > 0 || reserved, "node {index} is empty");
            if let Node::Chunk(run) = node {
                run.check_invariants();
            }
            bytes += node.len();
        }
        bytes
    }
}

/// Slots of the smallest heap ring.
const RING_MIN: usize = 8;
/// Rings up to this size are kept for reuse, [`RINGS_KEPT`] of them a thread: at most 10 KiB.
const RING_KEPT_MAX: usize = 64;
const RINGS_KEPT: usize = 4;

thread_local! {
    static RINGS: RefCell<[Option<Box<[Slot]>>; RINGS_KEPT]> = const { RefCell::new([const { None }; RINGS_KEPT]) };
}

/// An empty ring with at least `wanted` slots, `wanted` being a power of two.
fn take_ring(wanted: usize) -> Result<Box<[Slot]>> {
    let kept = RINGS.try_with(|rings| {
        let mut rings = rings.try_borrow_mut().ok()?;
        rings.iter_mut().find(|ring| ring.as_ref().is_some_and(|ring| ring.len() >= wanted))?.take()
    });
    if let Ok(Some(ring)) = kept {
        return Ok(ring);
    }
    let mut ring = Vec::new();
    ring.try_reserve_exact(wanted).map_err(|_| Error::OutOfMemory)?;
    ring.resize_with(wanted, || None);
    Ok(ring.into_boxed_slice())
}

/// Keeps an empty ring when there is a place for it.
fn keep_ring(ring: Box<[Slot]>) {
    if ring.len() > RING_KEPT_MAX {
        return;
    }
    // A thread that is ending has no places left; then the ring is simply freed.
    let _ = RINGS.try_with(move |rings| {
        let Ok(mut rings) = rings.try_borrow_mut() else { return };
        if let Some(place) = rings.iter_mut().find(|place| place.is_none()) {
            *place = Some(ring);
        }
    });
}
