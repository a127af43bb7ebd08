//! Bytes that wait in a kernel pipe: the pooled pipe, and the part of one that a node has in view.
//!
//! A pipe gives its bytes once and in order, but the nodes of a buffer are cut, shared and moved at will. The two meet in [`Inside`],
//! which every view of one pipe shares. As long as a view is the only one, or stands where the pipe is about to give, its bytes
//! can leave by splice. Whoever needs them in any other way reads *all* of them in, once, and from then on every view is a view
//! of memory. So cutting and sharing cost a refcount, and relaying in order, however it is cut, never touches a byte.
//!
//! A pipe costs two descriptors and, filled, up to 1 MiB of the kernel's memory, so a thread has only so many, and keeps a
//! few empty ones: making one and growing it costs more than moving a message through it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::chunk::{CHUNK_MAX, Run};
use super::stats;
use crate::{Error, Result, sys};

/// What a pipe is asked to hold: what the kernel allows everybody unless it was told otherwise.
const CAPACITY: usize = 1 << 20;
/// Empty pipes that a thread keeps.
const IDLE_MAX: usize = 8;
/// Pipes that a thread has at a time, in buffers and idle.
const LIMIT: usize = 64;

/// Part of what a kernel pipe gave or will give.
pub(super) struct PipeRange {
    inside: Arc<Inside>,
    /// Where the view starts, counted from the first byte that ever went into the pipe.
    offset: usize,
    len: usize,
}

/// One filling of one pipe, as all its views see it.
struct Inside {
    kept: Mutex<Kept>,
    /// Set once, under the lock, when somebody had to see the bytes.
    seen: OnceLock<Seen>,
}

struct Kept {
    /// Given back to the pool as soon as its bytes have been read in.
    pipe: Option<Pipe>,
    /// How many bytes have left the pipe; where its next one stands.
    taken: usize,
    /// Whether some byte may be in two views.
    shared: bool,
}

/// What was still in the pipe when it was read in.
struct Seen {
    first: usize,
    bytes: Bytes,
}

/// What became of bytes that were to leave by splice.
pub(super) enum Spliced {
    /// So many are out.
    Some(usize),
    /// Other views stand in the way: the bytes have to be read in.
    Impossible,
}

impl PipeRange {
    /// A view of everything in `pipe`.
    pub(super) fn new(pipe: Pipe) -> PipeRange {
        let len = pipe.inside;
        let kept = Mutex::new(Kept { pipe: Some(pipe), taken: 0, shared: false });
        PipeRange { inside: Arc::new(Inside { kept, seen: OnceLock::new() }), offset: 0, len }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, once they have been read in.
    #[inline]
    pub(super) fn memory(&self) -> Option<&[u8]> {
        let seen = self.inside.seen.get()?;
        let start = self.offset.checked_sub(seen.first)?;
        seen.bytes.get(start..start + self.len)
    }

    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        self.offset += count;
        self.len -= count;
    }

    pub(super) fn split_front(&mut self, count: usize) -> PipeRange {
        let front = PipeRange { inside: Arc::clone(&self.inside), offset: self.offset, len: count };
        self.advance(count);
        front
    }

    /// A second view of the same bytes. Neither can leave by splice while both are there.
    pub(super) fn share(&self) -> PipeRange {
        self.inside.lock().shared = true;
        PipeRange { inside: Arc::clone(&self.inside), offset: self.offset, len: self.len }
    }

    pub(super) fn continues_with(&self, next: &PipeRange) -> bool {
        Arc::ptr_eq(&self.inside, &next.inside) && self.offset + self.len == next.offset
    }

    /// Becomes one with `next`, which continues it.
    pub(super) fn join(&mut self, next: &PipeRange) {
        self.len += next.len;
    }

    /// The bytes as memory. The first to ask reads everything that is left in the pipe.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::Io`].
    pub(super) fn read_in(&self) -> Result<Bytes> {
        let mut kept = self.inside.lock();
        if self.inside.seen.get().is_none() {
            let first = kept.taken;
            let bytes = kept.read(usize::MAX)?.map(Bytes::from_owner).unwrap_or_default();
            kept.pipe = None;
            // Only the holder of the lock sets it, and it was not set.
            let _ = self.inside.seen.set(Seen { first, bytes });
        }
        drop(kept);
        let Some(seen) = self.inside.seen.get() else { return Ok(Bytes::new()) };
        // Only a read that failed leaves a view of less than it promises.
        let Some(view) = self.memory() else { return Err(Error::Io(io::ErrorKind::UnexpectedEof.into())) };
        Ok(seen.bytes.slice_ref(view))
    }

    /// The first bytes as memory, at most a chunk of them, for a view that is the only one; the others stay in the
    /// pipe. `None` when it is not the only one, or has been read in already.
    ///
    /// # Errors
    /// As [`read_in`](Self::read_in).
    pub(super) fn read_front(&mut self) -> Result<Option<Run>> {
        let (offset, wanted) = (self.offset, self.len.min(CHUNK_MAX));
        let Some(kept) = self.sole() else { return Ok(None) };
        kept.skip_to(offset)?;
        kept.read(wanted)
    }

    /// Sends from the pipe, up to `limit` bytes, with one call.
    ///
    /// # Errors
    /// What the call answered.
    pub(super) fn splice_to(&mut self, to: BorrowedFd<'_>, limit: usize, more: bool) -> Result<Spliced> {
        let (offset, wanted) = (self.offset, self.len.min(limit));
        if let Some(kept) = self.sole() {
            kept.skip_to(offset)?;
            return kept.send(to, wanted, more);
        }
        let mut kept = self.inside.lock();
        if kept.shared || kept.taken != offset || self.inside.seen.get().is_some() {
            return Ok(Spliced::Impossible);
        }
        kept.send(to, wanted, more)
    }

    /// Takes further bytes into the same pipe, when this is its only view and reaches to its end. Does not wait; `WouldBlock` means
    /// that the pipe is full *or* the source is empty. `None` when the pipe is not to be had.
    ///
    /// # Errors
    /// What the call answered.
    pub(super) fn extend(&mut self, from: BorrowedFd<'_>, max: usize) -> Option<io::Result<usize>> {
        let end = self.offset + self.len;
        let kept = self.sole()?;
        let taken = kept.taken;
        let pipe = kept.pipe.as_mut()?;
        if taken + pipe.inside != end || pipe.inside >= pipe.ends.capacity {
            return None;
        }
        let max = max.min(pipe.ends.capacity - pipe.inside);
        let filled = pipe.fill(from, max, false);
        self.len += *filled.as_ref().unwrap_or(&0);
        Some(filled)
    }

    /// The insides, if no other view has them and the bytes are still in the pipe.
    fn sole(&mut self) -> Option<&mut Kept> {
        let inside = Arc::get_mut(&mut self.inside)?;
        if inside.seen.get().is_some() {
            return None;
        }
        let kept = inside.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.shared = false;
        Some(kept)
    }
}

impl fmt::Debug for PipeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = if self.memory().is_some() { ", read in" } else { "" };
        write!(f, "Pipe({}{read})", self.len)
    }
}

impl Inside {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing under this lock panics half way, so a poisoned one is as good as any.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Reads up to `max` bytes off the front.
    fn read(&mut self, max: usize) -> Result<Option<Run>> {
        let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.inside > 0) else { return Ok(None) };
        let count = pipe.inside.min(max);
        let mut run = Run::with_capacity(count)?;
        // Bytes that a failed call took are gone, and counted so.
        pipe.inside -= count;
        self.taken += count;
        sys::pipe::read_exact(&pipe.ends.reader, &mut run.spare(count)[..count])?;
        run.commit(count);
        stats::count(|totals| &totals.read, count);
        Ok(Some(run))
    }

    /// Throws away what stands in front of `offset`: it was drained, and no other view has it.
    fn skip_to(&mut self, offset: usize) -> Result<()> {
        while self.taken < offset {
            let part = (offset - self.taken).min(CHUNK_MAX);
            if self.read(part)?.is_none() {
                return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(())
    }

    fn send(&mut self, to: BorrowedFd<'_>, len: usize, more: bool) -> Result<Spliced> {
        let Some(pipe) = &mut self.pipe else { return Ok(Spliced::Impossible) };
        let count = sys::pipe::splice_out(pipe.ends.reader.as_fd(), to, len, more)?;
        pipe.inside -= count;
        self.taken += count;
        stats::count(|totals| &totals.spliced_out, count);
        Ok(Spliced::Some(count))
    }
}

/// A kernel pipe on loan from the pool. It goes back when it is dropped empty, and is closed when it is not.
pub(super) struct Pipe {
    ends: Arc<Ends>,
    /// Bytes in it.
    inside: usize,
}

struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    /// The thread whose pipe this is counts it here.
    made: Arc<AtomicUsize>,
}

impl Pipe {
    /// An empty pipe; `None` when this thread has all it may have, or the kernel gives none.
    pub(super) fn take() -> Option<Pipe> {
        let ends = POOL.try_with(Pool::take).ok()??;
        Some(Pipe { ends, inside: 0 })
    }

    /// Takes up to `max` bytes from `from` with one call; 0 is the end of the stream.
    ///
    /// # Errors
    /// What the call answered.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>, max: usize, wait: bool) -> io::Result<usize> {
        let count = sys::pipe::splice_in(self.ends.writer.as_fd(), from, max, wait)?;
        self.inside += count;
        stats::count(|totals| &totals.spliced_in, count);
        Ok(count)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.inside == 0 {
            // A thread that is ending has no pool any more; then the ends are closed with the last of their holders, here.
            let _ = POOL.try_with(|pool| pool.put(&self.ends));
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Relaxed, here and below: a count that stands for itself.
        self.made.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Pool {
    idle: RefCell<Vec<Arc<Ends>>>,
    limit: Cell<usize>,
    /// The pipes that this thread made and that are still open, wherever they are.
    made: Arc<AtomicUsize>,
}

thread_local! {
    static POOL: Pool = Pool {
        idle: RefCell::new(Vec::new()),
        limit: Cell::new(LIMIT),
        made: Arc::default(),
    };
}

impl Pool {
    fn take(&self) -> Option<Arc<Ends>> {
        if self.made.load(Ordering::Relaxed) > self.limit.get() {
            // The limit was lowered while pipes were out.
            self.idle.borrow_mut().pop();
            return None;
        }
        let idle = self.idle.borrow_mut().pop();
        idle.or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> Option<Arc<Ends>> {
        if self.made.load(Ordering::Relaxed) >= self.limit.get() {
            return None;
        }
        let (reader, writer) = sys::pipe::pipe().ok()?;
        sys::pipe::grow(writer.as_fd(), CAPACITY);
        let capacity = sys::pipe::capacity(writer.as_fd()).ok()?;
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Ends { reader, writer, capacity, made: Arc::clone(&self.made) }))
    }

    /// Keeps an empty pipe, if it is one of this thread's and few are idle.
    fn put(&self, ends: &Arc<Ends>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX.min(self.limit.get()) && Arc::ptr_eq(&self.made, &ends.made) {
            idle.push(Arc::clone(ends));
        }
    }
}

/// The kernel pipes that the calling thread has for [`Evbuffer::splice_from`](super::Evbuffer::splice_from).
///
/// A pipe is two descriptors and, when it is full, up to 1 MiB of kernel memory. A thread has at most [`limit`](Self::limit) of them,
/// 64 at first; when all are in use, bytes are read instead of spliced. Up to 8 empty ones are kept for reuse. A pipe whose
/// last bytes leave on another thread is closed there.
///
/// # Examples
/// ```
/// use zerovent::buffer::PipePool;
///
/// PipePool::set_limit(4);
/// assert_eq!((PipePool::limit(), PipePool::open()), (4, 0));
/// ```
#[derive(Debug)]
pub struct PipePool(());

impl PipePool {
    /// Pipes of this thread that are open, in buffers and idle.
    #[must_use]
    pub fn open() -> usize {
        POOL.with(|pool| pool.made.load(Ordering::Relaxed))
    }

    /// Pipes that are kept for reuse.
    #[must_use]
    pub fn idle() -> usize {
        POOL.with(|pool| pool.idle.borrow().len())
    }

    /// The most pipes this thread has open.
    #[must_use]
    pub fn limit() -> usize {
        POOL.with(|pool| pool.limit.get())
    }

    /// Sets the most pipes this thread has open. With 0 nothing is spliced any more. Pipes that are in use stay until their bytes are gone.
    pub fn set_limit(pipes: usize) {
        POOL.with(|pool| pool.limit.set(pipes));
        PipePool::trim(pipes);
    }

    /// Closes idle pipes until at most `keep` are left.
    pub fn trim(keep: usize) {
        POOL.with(|pool| pool.idle.borrow_mut().truncate(keep));
    }
}
