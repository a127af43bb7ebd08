//! Storage: refcounted blocks of memory, the runs that view them, and the thread-local pool they come from.
//!
//! This folder is the only place of the room that touches raw pointers. It exists so that everything above it can share,
//! split and drop bytes by moving small descriptors, in safe code.
//!
//! ```text
//!            one allocation, aligned to 64 bytes
//!  +--------+----------------------------------------------+
//!  | Header | committed bytes ...            | tailroom     |
//!  +--------+----------------------------------------------+
//!             ^ first      ^ end of Run A
//!                          ^ first           ^ end of Run B, which owns the tailroom
//! ```
//!
//! A [`Run`] is one counted reference to a block together with the range it views. Runs over one block may live in
//! different buffers and on different threads. What makes that sound, cited by number below:
//!
//! A block of [`kept`] has an owner in it instead of bytes, and views instead of runs: INV-1, INV-2, INV-6 and INV-7 hold for these.
//!
//! - **INV-1** `block` comes from [`allocate`] and stays allocated while at least one run refers to it.
//! - **INV-2** `refs` is the number of runs over the block. Whoever reads 1 while holding a run is alone: nobody
//!   else has a run to copy from, so the count cannot grow behind its back.
//! - **INV-3** The `len` bytes at `first` lie between the header and the block's `limit`, for every run; `first` has the provenance of the
//!   whole block. The bytes of every run, those in front of the run that owns the tailroom, and those below the block's `init` have been
//!   written at least once since it was allocated (a pooled block keeps its `init`).
//! - **INV-4** At most one run over a block owns the tailroom: its `limit` is the block's, that of all others is 0. No
//!   other run reaches beyond that run's end, so the bytes from there to `limit` belong to it alone, and it alone touches `init`.
//! - **INV-5** Bytes inside any run are written only by a run that is alone (INV-2). A run that is alone may also use
//!   everything in front of its `first`, and may claim the tailroom.
//! - **INV-6** The `class` and the `limit` of a block are written once, by [`allocate`], and describe the layout of the allocation.
//! - **INV-7** `next` is used only while the block sits in a pool, which happens only after its last run is gone; its `refs` is 1
//!   then, for the run that comes next.
#![allow(
    unsafe_code,
    reason = "refcounted storage is pointer code; each block cites an invariant listed above"
)]

mod kept;

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::Reservation;
use crate::{Error, Result};

pub(super) use kept::Kept;
pub(crate) use kept::{Freed, Keeper};

/// What stands in front of the bytes of every block.
#[repr(C)]
struct Header {
    refs: AtomicU32,
    class: u32,
    /// The address behind the payload.
    limit: usize,
    /// The address up to which bytes were written for sure.
    init: usize,
    next: *mut Header,
}

/// Blocks start on a cache line of their own, so two threads never fight over one they do not share.
const ALIGN: usize = 64;
const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 32, "the header is half a cache line");

/// Whole block sizes, header included. From 4 KiB up a class holds its power of two exactly (4096 bytes never cost
/// 8192); the extra line is where the header goes.
const SIZES: [usize; CLASSES] =
    [128, 256, 512, 1024, 2048, 4160, 8256, 16448, 32832, 65600, 131_136, 262_208];
const CLASSES: usize = 12;
/// The class of a block that is made to measure and never pooled.
const LARGE: usize = CLASSES;
/// The largest payload of the classes that are powers of two *with* their header.
const SMALL_MAX: usize = 2048 - HEADER;

/// The payload of the largest chunk that `add` makes, and of a read chunk: large enough to amortise a system call,
/// small enough to stay in the second-level cache.
pub(super) const CHUNK_MAX: usize = 64 * 1024;

/// The payload of the largest chunk that an empty buffer keeps: that of a block of 1 KiB.
const SMALL_KEPT: usize = 1024 - HEADER;

/// The class whose payload holds `wanted` bytes.
#[inline]
const fn class_for(wanted: usize) -> usize {
    if wanted <= SMALL_MAX {
        let block = wanted + HEADER - 1;
        let bits = (usize::BITS - block.leading_zeros()) as usize;
        bits.saturating_sub(7)
    } else if wanted <= 262_144 {
        let bits = (usize::BITS - (wanted - 1).leading_zeros()) as usize;
        if bits < 12 { 5 } else { bits - 12 + 5 }
    } else {
        LARGE
    }
}

/// A counted reference to a block, and the range of it that is in view.
///
/// Where the bytes lie is what is asked for most, so it is at hand, in the words in which `Bytes` has it too: the compiler then finds the
/// bytes of a node without telling the two kinds apart. Nothing but speed rests on that.
pub(super) struct Run {
    block: NonNull<Header>,
    first: *mut u8,
    len: usize,
    /// How far it may write, if it owns the tailroom: the block's `limit`, at hand without looking into the block. Otherwise 0.
    limit: usize,
}

const _: () = assert!(size_of::<Run>() <= 32, "a run must leave a node at 40 bytes");

// SAFETY: a run gives shared access to bytes that do not change while they are shared (INV-5), exclusive access to
// a tailroom that nobody else can reach (INV-4), and its count is atomic (INV-2).
unsafe impl Send for Run {}
// SAFETY: through `&Run` a caller can read committed bytes (INV-5) and count up atomically (INV-2), nothing else.
unsafe impl Sync for Run {}

/// Making runs.
impl Run {
    /// An empty run at the front of a block with room for at least `wanted` bytes; it owns the tailroom.
    ///
    /// # Errors
    /// [`Error::Overflow`] when no allocation can be that large, [`Error::OutOfMemory`] when the allocator refuses.
    #[inline(always)]
    pub(super) fn with_capacity(wanted: usize) -> Result<Run> {
        let class = class_for(wanted);
        let block = match pool_take(class) {
            Some(block) => block,
            None => allocate(class, wanted)?,
        };
        Ok(Run { block, first: payload_of(block), len: 0, limit: limit_of(block) })
    }

    /// An empty run at the *end* of a block, for bytes that are going to be put in front of it.
    ///
    /// # Errors
    /// As [`Run::with_capacity`].
    pub(super) fn with_headroom(wanted: usize) -> Result<Run> {
        let mut run = Run::with_capacity(wanted)?;
        let room = run.tailroom();
        // SAFETY: INV-3, the tailroom of an empty run at the front is the whole payload, and ends inside the allocation.
        run.first = unsafe { run.first.add(room) };
        // INV-3: there is no byte in it yet, those that come in front will have been written, and it gives up the tailroom.
        run.limit = 0;
        Ok(run)
    }

    /// A second run over the same bytes. The tailroom stays where it was.
    #[inline]
    pub(super) fn share(&self) -> Run {
        retain(self.block);
        Run { block: self.block, first: self.first, len: self.len, limit: 0 }
    }

    /// Splits off the first `count` bytes. The later half, `self`, keeps the tailroom.
    #[inline(always)]
    pub(super) fn split_front(&mut self, count: usize) -> Run {
        assert!(count <= self.len, "a split lies inside its run");
        let mut front = if self.is_alone() { self.share_alone() } else { self.share() };
        front.len = count;
        self.advance(count);
        front
    }

    /// [`Run::share`] without the locked instruction, for a run that was found to be alone and is borrowed mutably.
    #[inline]
    fn share_alone(&mut self) -> Run {
        // Relaxed: nobody else can reach the count (INV-2); whoever gets the new run gets it with its own hand-over.
        self.refs().store(2, Ordering::Relaxed);
        Run { block: self.block, first: self.first, len: self.len, limit: 0 }
    }
}

/// Looking at runs.
impl Run {
    #[inline]
    fn refs(&self) -> &AtomicU32 {
        // The block is live while `self` is (INV-1).
        refs_of(&self.block)
    }

    /// Bytes in view.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Payload bytes of the whole block.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        limit_of(self.block) - payload_of(self.block).addr()
    }

    /// Bytes of the block in front of the run.
    #[inline]
    fn headroom(&self) -> usize {
        self.first.addr() - payload_of(self.block).addr()
    }

    /// Free bytes behind the run that it may write.
    #[inline]
    pub(super) fn tailroom(&self) -> usize {
        self.limit.saturating_sub(self.end().addr())
    }

    /// True when no other run refers to the block.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        // Acquire: what other holders read from the block happened before they let go of it (see `let_go`).
        self.refs().load(Ordering::Acquire) == 1
    }

    /// The bytes in view.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: INV-3, the run lies inside the block and has been written; INV-5, nobody writes it while
        // this borrow of a run lives, because writing takes a run that is alone and borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }

    /// Where the run ends and its tailroom, if it owns that, begins.
    #[inline]
    fn end(&self) -> *mut u8 {
        // SAFETY: INV-3, the run lies inside the block, so its end is at most the end of the allocation.
        unsafe { self.first.add(self.len) }
    }

    #[inline]
    fn init(&self) -> usize {
        // SAFETY: INV-1; called only by the owner of the tailroom, which is the only one to touch it (INV-4).
        unsafe { (*self.block.as_ptr()).init }
    }

    #[inline]
    fn set_init(&mut self, init: usize) {
        // SAFETY: INV-1; called only by the owner of the tailroom, which is the only one to touch it (INV-4).
        unsafe { (*self.block.as_ptr()).init = init };
    }
}

/// Changing runs.
impl Run {
    /// Appends `data` when it fits the tailroom, and says whether it did.
    #[inline]
    pub(super) fn append(&mut self, data: &[u8]) -> bool {
        if data.len() > self.tailroom() {
            return false;
        }
        let target = self.end();
        // SAFETY: INV-4, the tailroom is this run's alone and holds `data.len()` bytes (checked above), so it cannot
        // overlap `data`, which is readable memory of somebody else's.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), target, data.len()) };
        self.len += data.len();
        true
    }

    /// The tailroom as initialised memory: at least `wanted` bytes of it, or all there is.
    ///
    /// Bytes that were never written are cleared first, once in the life of the block.
    #[inline]
    pub(super) fn spare(&mut self, wanted: usize) -> &mut [u8] {
        let wanted = wanted.min(self.tailroom());
        if self.shown_len() < wanted {
            self.initialise(wanted);
        }
        self.shown_mut()
    }

    /// What [`Run::spare`] has shown, to be written.
    #[inline]
    pub(super) fn shown_mut(&mut self) -> &mut [u8] {
        let (first, len) = (self.end(), self.shown_len());
        // SAFETY: INV-3 and INV-4, what lies between the end and `init` is initialised and reachable by this run alone, which is
        // borrowed mutably for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }

    /// [`Run::spare`] for who looks at the bytes later: how many there are, if that is at least `wanted`, which are some.
    #[inline]
    pub(super) fn show(&mut self, wanted: usize) -> Option<usize> {
        let shown = self.shown_len();
        if shown >= wanted { Some(shown) } else { self.show_more(wanted) }
    }

    #[cold]
    fn show_more(&mut self, wanted: usize) -> Option<usize> {
        if wanted > self.tailroom() {
            return None;
        }
        self.initialise(wanted);
        Some(wanted)
    }

    /// What [`Run::spare`] has shown and [`Run::commit`] would take.
    #[inline]
    pub(super) fn spare_shown(&self) -> &[u8] {
        let (first, len) = (self.end(), self.shown_len());
        // SAFETY: INV-3 and INV-4, what lies between the end and `init` is initialised, and only this run, which is borrowed, could
        // write it.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// How many bytes behind the run are initialised and its own.
    #[inline]
    fn shown_len(&self) -> usize {
        if self.limit > 0 { self.init().saturating_sub(self.end().addr()) } else { 0 }
    }

    /// Clears what was never written of the next `wanted` bytes, which are more than are shown and no more than the tailroom.
    fn initialise(&mut self, wanted: usize) {
        // What was appended is written, but not counted in `init`, which would cost every small addition a look into the block.
        let shown = self.shown_len();
        assert!(shown < wanted && wanted <= self.tailroom(), "only tailroom is initialised");
        // SAFETY: INV-3 and INV-4, `shown` is less than the tailroom, which lies inside the block.
        let from = unsafe { self.end().add(shown) };
        // SAFETY: INV-4, the tailroom is this run's alone, and `wanted` bytes of it are there (checked above).
        unsafe { ptr::write_bytes(from, 0, wanted - shown) };
        self.set_init(self.end().addr() + wanted);
    }

    /// Takes the first `count` bytes of the tailroom into view.
    ///
    /// # Panics
    /// When `count` is more than [`Run::spare`] showed, which no caller passes.
    #[inline]
    pub(super) fn commit(&mut self, count: usize) {
        assert!(count <= self.shown_len(), "a commit is no longer than the space that was shown");
        self.len += count;
    }

    /// Takes back what was appended beyond the first `len` bytes, before anybody else has seen it.
    pub(super) fn truncate(&mut self, len: usize) {
        assert!(self.limit > 0 && len <= self.len, "only the owner of the tailroom takes bytes back");
        // INV-4: what this run appended while it was borrowed mutably is in no other view.
        self.len = len;
    }

    /// Drops the first `count` bytes from view.
    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "an advance stays inside its run");
        // SAFETY: INV-3, no further than the end of the run (checked above).
        self.first = unsafe { self.first.add(count) };
        self.len -= count;
    }

    /// Puts `data` directly in front of the run when there is room and nobody else can see it, and says whether it did.
    #[inline]
    pub(super) fn prepend(&mut self, data: &[u8]) -> bool {
        if data.len() > self.headroom() || !self.is_alone() {
            return false;
        }
        // SAFETY: INV-3, there are `data.len()` bytes of the block in front of the run (checked above).
        let target = unsafe { self.first.sub(data.len()) };
        // SAFETY: INV-5, a run that is alone owns everything in front of it; `data` is somebody else's memory, so the two do not
        // overlap.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), target, data.len()) };
        self.first = target;
        self.len += data.len();
        true
    }

    /// Where the view starts, for who looks, or writes, when nobody borrows the run.
    #[cfg(feature = "capi")]
    pub(super) fn first_byte(&mut self) -> *mut u8 {
        self.first
    }

    /// The bytes in view, writable; `None` when somebody else sees them too.
    pub(super) fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        if !self.is_alone() {
            return None;
        }
        // SAFETY: INV-3 for the range, INV-5 for the right to write it: the run is alone and borrowed mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(self.first, self.len) })
    }

    /// Starts again at the front of the block, empty, when nobody else sees it; says whether it did.
    #[inline]
    pub(super) fn reset(&mut self) -> bool {
        if !self.is_alone() {
            return false;
        }
        // INV-5: a run that is alone may claim the tailroom, and nothing in front of it is in anybody's view.
        (self.first, self.len, self.limit) = (payload_of(self.block), 0, limit_of(self.block));
        true
    }

    /// [`reset`](Run::reset) for a chunk so small that an empty buffer may as well keep it.
    #[inline]
    pub(super) fn reset_small(&mut self) -> bool {
        self.capacity() <= SMALL_KEPT && self.reset()
    }

    /// Whether `next` starts where this run ends, in the same block.
    #[inline]
    pub(super) fn continues_with(&self, next: &Run) -> bool {
        self.block == next.block && self.end() == next.first
    }

    /// Becomes one run with `next`, which continues it.
    #[inline]
    pub(super) fn join(&mut self, mut next: Run) {
        assert!(self.continues_with(&next), "only runs of one block are joined");
        self.len += next.len;
        // The tailroom moves over before `next` is dropped, so that it never has two owners (INV-4).
        self.limit = self.limit.max(std::mem::take(&mut next.limit));
    }
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.headroom();
        write!(f, "Chunk({start}..{} of {}", start + self.len, self.capacity())?;
        if self.limit == 0 {
            f.write_str(", no tailroom")?;
        }
        if !self.is_alone() {
            f.write_str(", shared")?;
        }
        f.write_str(")")
    }
}

impl Drop for Run {
    #[inline]
    fn drop(&mut self) {
        if let_go(self.block) {
            release(self.block);
        }
    }
}

impl Run {
    /// Checks what can be checked of the invariants from one run; debug builds call it after every change.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let (payload, limit) = (payload_of(self.block).addr(), limit_of(self.block));
        assert!(payload <= self.first.addr() && self.end().addr() <= limit, "INV-3: {self:?}");
        assert!(self.refs().load(Ordering::Relaxed) >= 1, "INV-2: {self:?}");
        assert!(self.limit == 0 || self.limit == limit, "INV-4: {self:?}");
        assert!(self.limit == 0 || (payload..=limit).contains(&self.init()), "INV-3: {self:?}");
    }
}

// SAFETY: `remaining_mut` is the length of `chunk_mut`, which is a plain slice that stays where it is while the reservation
// lives, and `advance_mut` moves on by what it is told or panics. No byte of it is ever uninitialised (INV-3).
unsafe impl bytes::BufMut for Reservation<'_> {
    fn remaining_mut(&self) -> usize {
        self.unwritten_len()
    }

    fn chunk_mut(&mut self) -> &mut bytes::buf::UninitSlice {
        bytes::buf::UninitSlice::new(self.unwritten())
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        self.advance_written(count);
    }
}

/// How many refer to a block that the caller knows to be live.
#[inline]
fn refs_of(block: &NonNull<Header>) -> &AtomicU32 {
    // SAFETY: INV-1, whoever asks holds a reference to the block; only this atomic is borrowed, never the whole header.
    unsafe { &(*block.as_ptr()).refs }
}

/// One more refers to a block.
#[inline]
fn retain(block: NonNull<Header>) {
    // Relaxed: a new reference is made from one that is held, so nothing has to be published by it.
    let before = refs_of(&block).fetch_add(1, Ordering::Relaxed);
    if before > i32::MAX as u32 {
        // Two billion references can only come from a loop that leaks them; wrapping would free live memory.
        std::process::abort();
    }
}

/// One less refers to a block; says whether it was the last.
#[inline]
fn let_go(block: NonNull<Header>) -> bool {
    // Acquire on the first load and on the fence: everything the other holders did with the block happens
    // before it is reused. Release on the decrement: what this holder did happens before that.
    if refs_of(&block).load(Ordering::Acquire) == 1 {
        return true;
    }
    if refs_of(&block).fetch_sub(1, Ordering::Release) != 1 {
        return false;
    }
    fence(Ordering::Acquire);
    // Relaxed: nobody else can reach the block any more (INV-7).
    refs_of(&block).store(1, Ordering::Relaxed);
    true
}

/// Where a block's bytes begin.
#[inline]
fn payload_of(block: NonNull<Header>) -> *mut u8 {
    // SAFETY: INV-6, no allocation is shorter than the header.
    unsafe { block.as_ptr().cast::<u8>().add(HEADER) }
}

/// The address behind a block's bytes.
#[inline]
fn limit_of(block: NonNull<Header>) -> usize {
    // SAFETY: INV-1, whoever holds the block's address holds a run over it or is about to; INV-6, the field is never written again.
    unsafe { (*block.as_ptr()).limit }
}

fn layout_of(class: usize, capacity: usize) -> Result<Layout> {
    let size =
        if class < LARGE { SIZES[class] } else { capacity.checked_add(HEADER).ok_or(Error::Overflow)? };
    Layout::from_size_align(size, ALIGN).map_err(|_| Error::Overflow)
}

/// A new block of `class`; a large one is rounded up to whole cache lines.
#[cold]
fn allocate(class: usize, wanted: usize) -> Result<NonNull<Header>> {
    let capacity = if class < LARGE {
        SIZES[class] - HEADER
    } else {
        wanted.checked_add(HEADER + ALIGN - 1).ok_or(Error::Overflow)? / ALIGN * ALIGN - HEADER
    };
    let layout = layout_of(class, capacity)?;
    // SAFETY: the layout is never empty: it holds at least the header.
    let memory = unsafe { alloc(layout) };
    let block = NonNull::new(memory.cast::<Header>()).ok_or(Error::OutOfMemory)?;
    let payload = payload_of(block).addr();
    let header = Header {
        refs: AtomicU32::new(1),
        class: class as u32,
        limit: payload + capacity,
        init: payload,
        next: ptr::null_mut(),
    };
    // SAFETY: the allocation is fresh, ours alone, aligned to ALIGN and at least as large as a header.
    unsafe { block.write(header) };
    Ok(block)
}

/// Takes back a block whose last run is gone: into the pool of this thread, or to the allocator. It is not inlined, so that dropping
/// a node saves no registers.
#[inline(never)]
fn release(block: NonNull<Header>) {
    // SAFETY: INV-1, the caller held the last run, so the block is live and now nobody else's; INV-6.
    let class = unsafe { (*block.as_ptr()).class } as usize;
    release_of(class, block);
}

/// [`release`] for a block of that class.
#[inline(always)]
fn release_of(class: usize, block: NonNull<Header>) {
    if class >= LARGE || !pool_put(class, block) {
        deallocate(block);
    }
}

#[cold]
fn deallocate(block: NonNull<Header>) {
    // SAFETY: INV-1, the block is live and the caller is its only user; INV-6.
    let class = unsafe { (*block.as_ptr()).class } as usize;
    let capacity = limit_of(block) - payload_of(block).addr();
    let layout = layout_of(class, capacity).expect("the layout was valid when the block was allocated");
    // SAFETY: INV-6, this is the layout the block was allocated with, by the same allocator.
    unsafe { dealloc(block.as_ptr().cast(), layout) };
}

/// The blocks this thread keeps for reuse: one list a class, threaded through the headers.
///
/// It has no destructor of its own, so reaching it costs one thread-relative load. [`Closer`] is registered when the
/// first block is kept and empties the pool when the thread ends; a block that is freed after that goes straight
/// to the allocator.
struct Pool {
    heads: [Cell<*mut Header>; CLASSES],
    idle_bytes: Cell<usize>,
    limit: Cell<usize>,
    state: Cell<PoolState>,
}

#[derive(Clone, Copy, PartialEq)]
enum PoolState {
    Unregistered,
    Open,
    Closed,
}

struct Closer;

impl Drop for Closer {
    fn drop(&mut self) {
        POOL.with(|pool| pool.state.set(PoolState::Closed));
        pool_trim(0);
    }
}

thread_local! {
    static POOL: Pool = const { Pool {
        heads: [const { Cell::new(ptr::null_mut()) }; CLASSES],
        idle_bytes: Cell::new(0),
        limit: Cell::new(ChunkPool::DEFAULT_LIMIT),
        state: Cell::new(PoolState::Unregistered),
    } };
    static CLOSER: Closer = const { Closer };
}

#[inline(always)]
fn pool_take(class: usize) -> Option<NonNull<Header>> {
    if class >= LARGE {
        return None;
    }
    POOL.with(|pool| {
        let block = NonNull::new(pool.heads[class].get())?;
        // SAFETY: INV-7, a block in the list is live, nobody else's, and its `next` was set when it was put there.
        let next = unsafe { (*block.as_ptr()).next };
        pool.heads[class].set(next);
        pool.idle_bytes.set(pool.idle_bytes.get() - SIZES[class]);
        Some(block)
    })
}

#[inline]
fn pool_put(class: usize, block: NonNull<Header>) -> bool {
    POOL.with(|pool| {
        let idle = pool.idle_bytes.get() + SIZES[class];
        if idle > pool.limit.get() || (pool.state.get() != PoolState::Open && !pool_open(pool)) {
            return false;
        }
        // SAFETY: INV-7, the last run over the block is gone, so its header is ours to write.
        unsafe { (*block.as_ptr()).next = pool.heads[class].get() };
        pool.heads[class].set(block.as_ptr());
        pool.idle_bytes.set(idle);
        true
    })
}

/// Registers the destructor; false when this thread is past the point where one would still run.
#[cold]
fn pool_open(pool: &Pool) -> bool {
    if pool.state.get() == PoolState::Closed || CLOSER.try_with(|_| ()).is_err() {
        return false;
    }
    pool.state.set(PoolState::Open);
    true
}

/// Gives blocks back to the allocator until at most `keep_bytes` stay idle, largest class first.
fn pool_trim(keep_bytes: usize) {
    for class in (0..CLASSES).rev() {
        while POOL.with(|pool| pool.idle_bytes.get()) > keep_bytes {
            match pool_take(class) {
                Some(block) => deallocate(block),
                None => break,
            }
        }
    }
}

/// The calling thread's pool of storage blocks: what it holds, and how to bound it.
///
/// Buffers take their storage from the pool of the thread they are used on, and give it back to the pool of the thread
/// that drops it. Blocks are between 128 bytes and 256 KiB large; larger ones always go straight to the allocator. A
/// block that would lift the idle bytes above the limit goes there too, so a thread that only consumes what
/// others produce holds at most the limit. When a thread ends, its pool is freed.
///
/// # Examples
/// ```
/// use zerovent::{Evbuffer, buffer::ChunkPool};
///
/// let mut buf = Evbuffer::new();
/// buf.add(b"some bytes")?;
/// drop(buf);
/// assert!(ChunkPool::idle_bytes() > 0);
/// ChunkPool::trim(0);
/// assert_eq!(ChunkPool::idle_bytes(), 0);
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ChunkPool;

impl ChunkPool {
    /// The bytes a thread may keep idle unless it says otherwise: 1 MiB.
    pub const DEFAULT_LIMIT: usize = 1 << 20;

    /// Bytes this thread holds for reuse, headers included.
    #[must_use]
    pub fn idle_bytes() -> usize {
        POOL.with(|pool| pool.idle_bytes.get())
    }

    /// The most bytes this thread keeps idle.
    #[must_use]
    pub fn limit() -> usize {
        POOL.with(|pool| pool.limit.get())
    }

    /// Sets the most bytes this thread keeps idle, and gives back what lies above.
    pub fn set_limit(bytes: usize) {
        POOL.with(|pool| pool.limit.set(bytes));
        pool_trim(bytes);
    }

    /// Gives memory back to the allocator until at most `keep_bytes` stay idle on this thread.
    pub fn trim(keep_bytes: usize) {
        pool_trim(keep_bytes);
    }
}
