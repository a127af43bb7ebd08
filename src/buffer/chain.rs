//! The chain: a queue of nodes. The first and the last stand in the buffer itself, what is between them in a ring on the heap.
//!
//! Nearly everything that is done to a buffer is done to its first node or to its last one, so these are where no index has to be looked up.
//! Both ends are O(1); an ordinary buffer has no more than two nodes and costs no allocation beside its bytes; and moving a whole chain
//! is moving this struct. Rings that are given up are kept, a few a thread, because a connection that answers pipelined requests needs one
//! for a moment each time.

use std::cell::RefCell;
use std::io::IoSlice;
use std::mem;
use std::slice;

use bytes::Buf;

use super::chunk::Run;
use super::node::Node;
use crate::{Error, Result};

type Slot = Option<Node>;

/// A queue of nodes: `front`, then those of the ring, then `back`. A single node stands in front, and the ring is used only between two.
pub(super) struct Chain {
    front: Slot,
    back: Slot,
    /// A power-of-two number of slots. Slot `place & (slots - 1)` holds the node of each place in `head..tail`; all others are `None`.
    ring: Option<Box<[Slot]>>,
    /// The places wrap, and their difference is the number of nodes in the ring.
    head: u32,
    tail: u32,
}

impl Chain {
    pub(super) const fn new() -> Chain {
        Chain { front: None, back: None, ring: None, head: 0, tail: 0 }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(self.front.is_some()) + self.between() + usize::from(self.back.is_some())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    /// How many nodes stand in the ring.
    #[inline(always)]
    fn between(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot] {
        self.ring.as_deref().unwrap_or_default()
    }

    #[inline(always)]
    fn last(&self) -> &Slot {
        if self.back.is_some() { &self.back } else { &self.front }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Node> {
        match index.checked_sub(1) {
            None => self.front.as_ref(),
            Some(inner) if inner < self.between() => {
                let place = self.head.wrapping_add(inner as u32) as usize;
                self.slots()[place & (self.slots().len() - 1)].as_ref()
            }
            Some(inner) => self.back.as_ref().filter(|_| inner == self.between()),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Node> {
        match index.checked_sub(1) {
            None => self.front.as_mut(),
            Some(inner) if inner < self.between() => {
                slot_in(&mut self.ring, self.head.wrapping_add(inner as u32)).as_mut()
            }
            Some(inner) if inner == self.between() => self.back.as_mut(),
            Some(_) => None,
        }
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Node> {
        self.front.as_ref()
    }

    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Node> {
        self.front.as_mut()
    }

    #[inline]
    pub(super) fn back(&self) -> Option<&Node> {
        self.last().as_ref()
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut Node> {
        if self.back.is_some() { self.back.as_mut() } else { self.front.as_mut() }
    }

    /// The bytes of the first node, as far as they are in memory.
    #[inline]
    pub(super) fn front_memory(&self) -> &[u8] {
        memory_in(&self.front)
    }

    /// The first node, if it is a chunk.
    #[inline]
    pub(super) fn front_run(&mut self) -> Option<&mut Run> {
        self.front.as_mut().and_then(Node::run_mut)
    }

    /// The last node, if it is a chunk.
    #[inline]
    pub(super) fn back_run(&mut self) -> Option<&mut Run> {
        match &mut self.back {
            Some(Node::Chunk(run)) => Some(run),
            Some(_) => None,
            None => self.front.as_mut().and_then(Node::run_mut),
        }
    }

    /// Shows all nodes' bytes, which are in memory, as far as `out` has places for them; says how many were filled.
    pub(super) fn fill_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let (ahead, wrapped) = self.ring_parts();
        for part in [slice::from_ref(&self.front), ahead, wrapped, slice::from_ref(&self.back)] {
            let places = &mut out[filled..];
            filled += part.len().min(places.len());
            part.iter().zip(places).for_each(|(slot, place)| *place = IoSlice::new(memory_in(slot)));
        }
        // An end where no node stands shows nothing, and neither does space at hand.
        while filled > 0 && out[filled - 1].is_empty() {
            filled -= 1;
        }
        filled
    }

    /// The slots in order, in so many parts, of which some are empty: the first, those in the ring up to its end, those that wrapped
    /// round, the last.
    #[inline]
    fn part(&self, part: usize) -> &[Slot] {
        match part {
            0 => slice::from_ref(&self.front),
            1 => self.ring_parts().0,
            2 => self.ring_parts().1,
            _ => slice::from_ref(&self.back),
        }
    }

    #[inline]
    fn ring_parts(&self) -> (&[Slot], &[Slot]) {
        let slots = self.slots();
        let head = self.head as usize & slots.len().wrapping_sub(1);
        let ahead = self.between().min(slots.len() - head);
        let (wrapped, rest) = slots.split_at(head);
        (&rest[..ahead], &wrapped[..self.between() - ahead])
    }

    /// The nodes from first to last.
    #[inline]
    pub(super) fn iter(&self) -> Nodes<'_> {
        Nodes { chain: self, slots: self.part(0).iter(), part: 0 }
    }
}

/// How many parts [`Chain::part`] knows.
const PARTS: usize = 4;

/// The nodes of a chain.
#[derive(Clone)]
pub(super) struct Nodes<'a> {
    chain: &'a Chain,
    /// What is left of the part that is being gone through.
    slots: slice::Iter<'a, Slot>,
    part: usize,
}

impl<'a> Nodes<'a> {
    #[inline(always)]
    fn next_slot(&mut self) -> Option<&'a Slot> {
        match self.slots.next() {
            // A single node stands in front.
            None if self.chain.back.is_none() => None,
            None => self.first_of_next_part(),
            slot => slot,
        }
    }

    fn first_of_next_part(&mut self) -> Option<&'a Slot> {
        while self.part + 1 < PARTS {
            self.part += 1;
            self.slots = self.chain.part(self.part).iter();
            if let Some(slot) = self.slots.next() {
                return Some(slot);
            }
        }
        None
    }

    /// The memory of the node that comes next, which is then behind; empty when there is none, or it is not in memory.
    #[inline(always)]
    pub(super) fn next_memory(&mut self) -> &'a [u8] {
        self.next_slot().map_or(&[], memory_in)
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = &'a Node;

    #[inline]
    fn next(&mut self) -> Option<&'a Node> {
        self.next_slot()?.as_ref()
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
        if self.back.is_none() && additional <= 1 { Ok(()) } else { self.reserve_in_ring(additional) }
    }

    #[inline]
    fn reserve_in_ring(&mut self, additional: usize) -> Result<()> {
        // All but two stand in the ring.
        let wanted = self.count().checked_add(additional).ok_or(Error::Overflow)?.saturating_sub(2);
        if wanted <= self.slots().len() { Ok(()) } else { self.grow(wanted) }
    }

    #[inline]
    pub(super) fn push_back(&mut self, node: Node) -> Result<()> {
        self.push_back_with(|| node)
    }

    /// Pushes what `make` makes. The place is found first, so that a new node is built in its slot and not copied there.
    #[inline(always)]
    pub(super) fn push_back_with(&mut self, make: impl FnOnce() -> Node) -> Result<()> {
        self.reserve(1)?;
        fill(self.vacate_back(), make());
        Ok(())
    }

    /// An empty slot behind the last node, for which there must be room. It is to be filled at once.
    #[inline(always)]
    fn vacate_back(&mut self) -> &mut Slot {
        if self.front.is_none() {
            return &mut self.front;
        }
        if self.back.is_some() {
            self.move_back_into_ring();
        }
        &mut self.back
    }

    #[inline]
    fn move_back_into_ring(&mut self) {
        relocate(&mut self.back, slot_in(&mut self.ring, self.tail));
        self.tail = self.tail.wrapping_add(1);
    }

    /// The place behind the last node, unless the slots are all taken or the last node is an empty one, which nothing may stand behind.
    #[inline(always)]
    pub(super) fn free_place(&mut self) -> Option<Place<'_>> {
        let is_full = self.back.is_some() && self.between() == self.slots().len();
        if is_full || self.ends_in_space() {
            return None;
        }
        Some(Place { slot: self.vacate_back() })
    }

    /// Whether the last node is an empty chunk.
    #[inline(always)]
    pub(super) fn ends_in_space(&self) -> bool {
        is_space(self.last())
    }

    /// [`push_back_with`](Chain::push_back_with) for an empty chain, whose place is known; what is made may fail.
    #[inline(always)]
    pub(super) fn push_first_with(&mut self, make: impl FnOnce() -> Result<Node>) -> Result<()> {
        fill(&mut self.front, make()?);
        Ok(())
    }

    #[inline]
    pub(super) fn push_front(&mut self, node: Node) -> Result<()> {
        self.reserve(1)?;
        if self.back.is_some() {
            self.move_front_into_ring();
        } else {
            relocate(&mut self.front, &mut self.back);
        }
        fill(&mut self.front, node);
        Ok(())
    }

    fn move_front_into_ring(&mut self) {
        self.head = self.head.wrapping_sub(1);
        relocate(&mut self.front, slot_in(&mut self.ring, self.head));
    }

    /// Drops the first node where it stands, which is cheaper than moving it out. It has left the chain before: a node
    /// may run a clean-up of the user's, and that may panic.
    #[inline(always)]
    fn drop_front(&mut self) {
        if self.back.is_some() { self.swap_out_front(|gone| *gone = None) } else { self.drop_single() }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Node> {
        if self.back.is_some() {
            return self.swap_out_front(Option::take);
        }
        let node = self.front.take();
        self.give_up_ring();
        node
    }

    /// Has the second node, which there is, take the place of the first, and gives that to `dispose`, which empties its slot.
    #[inline(always)]
    fn swap_out_front<T>(&mut self, dispose: impl FnOnce(&mut Slot) -> T) -> T {
        let second = if self.head == self.tail {
            &mut self.back
        } else {
            let place = self.head;
            self.head = place.wrapping_add(1);
            slot_in(&mut self.ring, place)
        };
        mem::swap(&mut self.front, second);
        dispose(second)
    }

    /// Drops the only node there is, and the ring with it.
    #[inline(never)]
    fn drop_single(&mut self) {
        self.give_up_ring();
        self.front = None;
    }

    #[inline(never)]
    pub(super) fn pop_back(&mut self) -> Option<Node> {
        if self.back.is_none() {
            return self.pop_front();
        }
        let node = self.back.take();
        if self.head != self.tail {
            self.tail = self.tail.wrapping_sub(1);
            self.back = slot_in(&mut self.ring, self.tail).take();
        }
        node
    }

    /// Goes back to having no ring, so that an idle buffer holds no memory. No node may be in it.
    #[inline]
    fn give_up_ring(&mut self) {
        if let Some(ring) = self.ring.take() {
            (self.head, self.tail) = (0, 0);
            keep_ring(ring);
        }
    }

    /// Drops every node, except that a small chunk which is the last one, and which nobody else sees, stays as space at hand.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.back.is_some() {
            return self.clear_many();
        }
        let kept = self.ring.is_none() && self.front_run().is_some_and(Run::reset_small);
        if !kept && self.front.is_some() {
            self.drop_single();
        }
    }

    /// Drops the first `bytes` bytes, or all there are.
    #[inline]
    pub(super) fn drop_bytes(&mut self, bytes: usize) {
        if !self.advance_front(bytes) {
            self.drop_many(bytes);
        }
    }

    /// Drops the first `bytes` bytes if that is part of the first node, and that one is in memory; says whether it did.
    #[inline(always)]
    pub(super) fn advance_front(&mut self, bytes: usize) -> bool {
        match &mut self.front {
            Some(Node::Chunk(run)) if bytes < run.len() => run.advance(bytes),
            Some(Node::Reference(data)) if bytes < data.len() => data.advance(bytes),
            _ => return false,
        }
        true
    }

    #[inline(never)]
    fn clear_many(&mut self) {
        if self.back_run().is_some_and(Run::reset_small) {
            KeepBack { chain: self }.run();
        } else {
            DropFront { chain: self, bytes: usize::MAX }.run();
        }
    }

    #[inline(never)]
    fn drop_many(&mut self, bytes: usize) {
        DropFront { chain: self, bytes }.run();
    }

    #[cold]
    fn grow(&mut self, wanted: usize) -> Result<()> {
        if wanted > 1 << 31 {
            return Err(Error::Overflow);
        }
        let mut ring = take_ring(wanted.next_power_of_two().max(RING_MIN))?;
        let count = self.between();
        if let Some(mut old) = self.ring.take() {
            old.rotate_left(self.head as usize & (old.len() - 1));
            ring[..count].swap_with_slice(&mut old[..count]);
            keep_ring(old);
        }
        (self.ring, self.head, self.tail) = (Some(ring), 0, count as u32);
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

/// Dropping all but the last node. Unwinding out of a clean-up of the user's, it goes on with the rest.
struct KeepBack<'a> {
    chain: &'a mut Chain,
}

impl KeepBack<'_> {
    #[inline]
    fn run(&mut self) {
        while self.chain.back.is_some() {
            self.chain.drop_front();
        }
        self.chain.give_up_ring();
    }
}

impl Drop for KeepBack<'_> {
    #[inline]
    fn drop(&mut self) {
        self.run();
    }
}

/// The slot of a place in the ring, of which there is one.
#[inline(always)]
fn slot_in(ring: &mut Option<Box<[Slot]>>, place: u32) -> &mut Slot {
    let ring = ring.as_deref_mut().unwrap_or_default();
    let mask = ring.len().wrapping_sub(1);
    &mut ring[place as usize & mask]
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
}

impl Place<'_> {
    /// Puts `node` there. It cannot fail, nor panic, so nobody has to be ready to drop the node: that would keep it out of registers.
    #[inline(always)]
    pub(super) fn fill(self, node: Node) {
        fill(self.slot, node);
    }
}

/// Writes an empty slot. What it held was `None`, so nothing is lost by not dropping it.
#[inline(always)]
fn fill(slot: &mut Slot, node: Node) {
    debug_assert!(slot.is_none(), "a slot that is filled was empty");
    mem::forget(slot.replace(node));
}

/// Moves what is in one slot to another, which is empty. A swap goes through registers, once; anything that names the node copies it to
/// the stack and from there again, and each copy waits for the one before.
#[inline(always)]
fn relocate(from: &mut Slot, to: &mut Slot) {
    debug_assert!(to.is_none(), "a slot that is filled was empty");
    mem::swap(from, to);
}

/// Changing the middle, and whole chains.
impl Chain {
    /// Puts `node` in front of node `index`; the shorter side makes room.
    pub(super) fn insert(&mut self, index: usize, node: Node) -> Result<()> {
        debug_assert!(index <= self.count());
        self.reserve(1)?;
        let mut carried = node;
        if index * 2 < self.count() {
            for at in (0..index).rev() {
                self.get_mut(at).into_iter().for_each(|node| mem::swap(node, &mut carried));
            }
            self.push_front(carried)
        } else {
            for at in index..self.count() {
                self.get_mut(at).into_iter().for_each(|node| mem::swap(node, &mut carried));
            }
            self.push_back(carried)
        }
    }

    /// Moves every node of `other` behind the own ones: O(1) into an empty chain, and otherwise as many descriptor
    /// moves as the shorter of the two has nodes.
    ///
    /// # Errors
    /// As [`Chain::reserve`]; both chains are then as they were.
    pub(super) fn append(&mut self, other: &mut Chain) -> Result<()> {
        if self.is_empty() {
            mem::swap(self, other);
        } else if other.count() < self.count() {
            self.reserve(other.count())?;
            while let Some(node) = other.pop_front() {
                self.push_back(node)?;
            }
        } else {
            other.reserve(self.count())?;
            while let Some(node) = self.pop_back() {
                other.push_front(node)?;
            }
            mem::swap(self, other);
        }
        Ok(())
    }

    /// [`append`](Chain::append) when that is easy: to an empty chain, or of one node for which there is a place; says whether it was done.
    #[inline(always)]
    pub(super) fn append_at_once(&mut self, other: &mut Chain) -> bool {
        if other.back.is_some() || other.ring.is_some() {
            return self.take_over(other);
        }
        let Some(place) = self.free_place() else { return false };
        relocate(&mut other.front, place.slot);
        true
    }

    /// Becomes what `other` is if there is nothing yet, and says whether it did.
    fn take_over(&mut self, other: &mut Chain) -> bool {
        let is_free = self.is_empty();
        if is_free {
            mem::swap(self, other);
        }
        is_free
    }

    /// Checks the shape of the chain and the rule about empty nodes; returns the bytes it holds.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) -> usize {
        let slots = self.slots();
        assert!(slots.is_empty() || slots.len().is_power_of_two(), "ring of {}", slots.len());
        assert!(self.between() <= slots.len(), "{} nodes in a ring of {}", self.between(), slots.len());
        assert!(
            self.front.is_some() || (self.back.is_none() && self.ring.is_none()),
            "one node is the front"
        );
        assert!(self.back.is_some() || self.between() == 0, "the ring is between two nodes");
        assert_eq!(slots.iter().flatten().count(), self.between(), "slots outside the chain are empty");
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
