//! Putting bytes in: by copy, by reference, from other buffers, from files; and freezing an end against it.

use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::os::fd::OwnedFd;

use bytes::Bytes;

use super::chain::Chain;
use super::chunk::{CHUNK_MAX, Freed, Keeper, Kept, Run};
use super::node::{FileRange, Node};
use super::{Evbuffer, FileSegment, stats};
use crate::{Error, Result};

/// The payload an empty buffer starts with, however little is added: with its header, a block of 256 bytes.
const FIRST: usize = 224;
/// Appending grows chunks with the buffer up to this payload. More would only leave the first-level cache.
const GROWTH_MAX: usize = 16 * 1024;

/// One end of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where bytes are removed.
    Front,
    /// Where bytes are added.
    Back,
}

/// Adding at the back.
impl Evbuffer {
    /// Copies `data` to the end.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"Hello ")?;
    /// buf.add(b"world")?;
    /// assert_eq!(buf.pullup(11)?, b"Hello world");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add")]
    #[inline]
    pub fn add(&mut self, data: &[u8]) -> Result<()> {
        // Mostly there is room for it, and nobody to be asked or told: so much is worth being part of the caller.
        if self.is_free(self.frozen_back, data.len())
            && self.chain.back_run().is_some_and(|run| run.append(data))
        {
            stats::copied(data.len());
            self.account_added(data.len());
            return Ok(());
        }
        self.add_slowly(data)
    }

    #[cold]
    #[inline(never)]
    fn add_slowly(&mut self, data: &[u8]) -> Result<()> {
        self.admit(self.frozen_back, data.len())?;
        self.append(data)?;
        stats::copied(data.len());
        self.note_added(data.len());
        Ok(())
    }

    /// Copies `data` to the end of the chain, without accounting for it.
    #[inline]
    pub(super) fn append(&mut self, data: &[u8]) -> Result<()> {
        if self.chain.is_empty() && data.len() <= CHUNK_MAX {
            return self.add_first(data);
        }
        if self.chain.back_run().is_some_and(|run| run.append(data)) {
            Ok(())
        } else {
            self.add_growing(data)
        }
    }

    /// Puts what fits one chunk into an empty chain.
    #[inline(always)]
    fn add_first(&mut self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.chain.push_first_with(|| {
            // Two calls, so that the usual one knows its size class when it is compiled.
            let small = data.len() <= FIRST;
            let mut run = if small { Run::with_capacity(FIRST) } else { Run::with_capacity(data.len()) }?;
            run.append(data);
            Ok(Node::Chunk(run))
        })
    }

    /// Fills the tailroom, and puts the rest into new chunks.
    #[inline(never)]
    fn add_growing(&mut self, data: &[u8]) -> Result<()> {
        let room = match self.chain.back() {
            // Space at hand that is too small for all of it is given up, so that the data stays in one piece.
            Some(Node::Chunk(run)) if run.len() > 0 => run.tailroom().min(data.len()),
            _ => 0,
        };
        let (head, rest) = data.split_at(room);
        if rest.is_empty() {
            return Ok(());
        }
        if rest.len() <= CHUNK_MAX {
            // The usual case: one more chunk.
            let mut run = Run::with_capacity(self.next_chunk(rest.len()))?;
            run.append(rest);
            self.chain.reserve(1)?;
            self.fill_tail(head);
            return self.attach(Node::Chunk(run));
        }
        let mut fresh = Chain::new();
        for piece in rest.chunks(CHUNK_MAX) {
            let mut run = Run::with_capacity(piece.len())?;
            run.append(piece);
            fresh.push_back(Node::Chunk(run))?;
        }
        self.chain.reserve(fresh.count())?;
        self.fill_tail(head);
        self.attach_all(&mut fresh)
    }

    /// Copies `head` into the tailroom, which holds it.
    fn fill_tail(&mut self, head: &[u8]) {
        if let Some(run) = self.chain.back_run() {
            let fitted = run.append(head);
            debug_assert!(fitted || head.is_empty());
        }
    }

    #[inline]
    pub(super) fn tailroom(&self) -> usize {
        match self.chain.back() {
            Some(Node::Chunk(run)) => run.tailroom(),
            _ => 0,
        }
    }

    /// The payload to ask for when `needed` bytes do not fit any more: chunks double with the buffer, so that many small
    /// additions make few chunks, and a few small ones do not pay for many.
    #[inline]
    pub(super) fn next_chunk(&self, needed: usize) -> usize {
        needed.max(self.len.clamp(FIRST, GROWTH_MAX))
    }

    /// Puts a node at the back; a continuation of the last one becomes part of it.
    #[inline]
    pub(super) fn attach(&mut self, node: Node) -> Result<()> {
        self.has_unread |= node.is_unread();
        match self.chain.back_mut() {
            Some(last) if last.continues_with(&node) => last.join(node),
            // Space that was kept at hand is given up once something stands behind it.
            Some(last) if last.len() == 0 => *last = node,
            _ => return self.chain.push_back(node),
        }
        Ok(())
    }

    /// [`attach`](Self::attach) for every node of `fresh`, for which there must be room.
    pub(super) fn attach_all(&mut self, fresh: &mut Chain) -> Result<()> {
        while let Some(node) = fresh.pop_front() {
            self.attach(node)?;
        }
        Ok(())
    }

    /// Adds somebody else's memory without copying it: a `Bytes`, a `Vec<u8>`, a `&'static [u8]`, a `String` and so on.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add_reference(vec![7_u8; 1 << 20])?;
    /// assert_eq!(buf.len(), 1 << 20);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add_reference")]
    #[inline]
    pub fn add_reference(&mut self, data: impl Into<Bytes>) -> Result<()> {
        let bytes: Bytes = data.into();
        let count = bytes.len();
        if self.is_free(self.frozen_back, count)
            && let Some(place) = self.chain.free_place()
        {
            place.fill(Node::Reference(bytes));
            stats::count(|totals| &totals.referenced, count);
            self.account_added(count);
            return Ok(());
        }
        self.add_reference_slowly(bytes)
    }

    #[cold]
    #[inline(never)]
    fn add_reference_slowly(&mut self, bytes: Bytes) -> Result<()> {
        let count = bytes.len();
        self.admit(self.frozen_back, count)?;
        if count > 0 {
            self.chain.reserve(1)?;
            self.release_reserved();
            self.chain.push_back_with(|| Node::Reference(bytes))?;
        }
        stats::count(|totals| &totals.referenced, count);
        self.note_added(count);
        Ok(())
    }

    /// Adds a part of somebody else's memory without copying it.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the memory has no such part, and as [`add_reference`](Self::add_reference).
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add_reference_range(&b"only the middle"[..], 5..8)?;
    /// assert_eq!(buf.pullup(3)?, b"the");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add_reference_with_offset")]
    pub fn add_reference_range(
        &mut self,
        data: impl Into<Bytes>,
        range: impl RangeBounds<usize>,
    ) -> Result<()> {
        let bytes: Bytes = data.into();
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.checked_add(1).ok_or(Error::OutOfRange)?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1).ok_or(Error::OutOfRange)?,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => bytes.len(),
        };
        if start > end || end > bytes.len() {
            return Err(Error::OutOfRange);
        }
        self.add_reference(bytes.slice(start..end))
    }

    /// Adds memory that `owner` holds, and calls `cleanup` with the owner once the last view of it is gone, here or in any buffer
    /// or `Bytes` it went to.
    ///
    /// The owner moves into a block of the pool, so this allocates nothing once the pool has one of its size.
    ///
    /// # Errors
    /// As [`add_reference`](Self::add_reference). `cleanup` is then not called; the owner is dropped.
    ///
    /// # Panics
    /// When the owner shows more bytes, or fewer, after it has been moved. `cleanup` is called then.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add_reference_with_cleanup(vec![1_u8, 2, 3], move |owner: Vec<u8>| {
    ///     tell.send(owner.len()).unwrap();
    /// })?;
    /// buf.drain(3)?;
    /// assert_eq!(told.recv(), Ok(3));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// The clean-up gets the owner, which knows its own length, instead of a pointer and a length. An owner of no bytes is cleaned up at once.
    #[doc(alias = "evbuffer_ref_cleanup_cb")]
    pub fn add_reference_with_cleanup<T, F>(&mut self, owner: T, cleanup: F) -> Result<()>
    where
        T: AsRef<[u8]> + Send + 'static,
        F: FnOnce(T) + Send + 'static,
    {
        let keeper = CleanedUp { owner, cleanup };
        if Kept::has_place_for::<CleanedUp<T, F>>() {
            self.add_kept(keeper)
        } else {
            self.add_kept(Boxed(Box::new(keeper)))
        }
    }

    /// Adds memory that `keeper` keeps, who is told once the last view of it is gone; not if this fails.
    #[inline(always)]
    pub(crate) fn add_kept<K: Keeper>(&mut self, keeper: K) -> Result<()> {
        let count = keeper.as_ref().len();
        if !self.is_free(self.frozen_back, count) || !self.chain.is_empty() {
            return self.add_kept_slowly(keeper);
        }
        self.chain.push_first_with(|| Ok(Node::Kept(Kept::of_len(keeper, count)?)))?;
        stats::count(|totals| &totals.referenced, count);
        self.account_added(count);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn add_kept_slowly<K: Keeper>(&mut self, keeper: K) -> Result<()> {
        let count = keeper.as_ref().len();
        self.admit(self.frozen_back, count)?;
        self.chain.reserve(1)?;
        let kept = Kept::of_len(keeper, count)?;
        if count > 0 {
            self.release_reserved();
            self.chain.push_back_with(|| Node::Kept(kept))?;
        }
        stats::count(|totals| &totals.referenced, count);
        self.note_added(count);
        Ok(())
    }

    /// Moves everything in `src` to the end without copying a byte; `src` is empty afterwards.
    ///
    /// Into an empty buffer this is O(1) however many chunks there are; otherwise it moves as many descriptors as the
    /// shorter of the two chains has.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the end of this buffer or the front of `src` is frozen, [`Error::Overflow`], [`Error::Limit`] or
    /// [`Error::OutOfMemory`]; both are then as they were. An empty `src` is never an error.
    ///
    /// # Examples
    /// ```
    /// use zerovent::Evbuffer;
    ///
    /// let (mut all, mut part) = (Evbuffer::new(), Evbuffer::new());
    /// part.add(b"moved")?;
    /// all.add_buffer(&mut part)?;
    /// assert_eq!((all.len(), part.len()), (5, 0));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add_buffer")]
    #[inline]
    pub fn add_buffer(&mut self, src: &mut Evbuffer) -> Result<()> {
        let count = src.len;
        if count == 0 {
            return Ok(());
        }
        let told = src.frozen_front || src.watch.is_some();
        if !told && self.is_free(self.frozen_back, count) && self.chain.append_at_once(&mut src.chain) {
            self.has_unread |= std::mem::take(&mut src.has_unread);
            src.len = 0;
            src.note_changed(count);
            self.account_added(count);
            return Ok(());
        }
        self.add_buffer_slowly(src)
    }

    #[cold]
    #[inline(never)]
    fn add_buffer_slowly(&mut self, src: &mut Evbuffer) -> Result<()> {
        let count = src.len;
        src.admit_removal()?;
        self.admit(self.frozen_back, count)?;
        self.release_reserved();
        self.chain.append(&mut src.chain)?;
        self.has_unread |= src.has_unread;
        Evbuffer::note_moved(src, self, count);
        Ok(())
    }

    /// Adds what `src` holds now without copying a byte, and leaves `src` as it is: the two share the storage.
    ///
    /// Later changes to either are not seen by the other.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// use zerovent::Evbuffer;
    ///
    /// let (mut page, mut out) = (Evbuffer::new(), Evbuffer::new());
    /// page.add(b"the same page for everybody")?;
    /// out.add_buffer_reference(&page)?;
    /// assert_eq!((out.len(), page.len()), (27, 27));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// A source that holds file segments, or references of its own, is no problem.
    #[doc(alias = "evbuffer_add_buffer_reference")]
    pub fn add_buffer_reference(&mut self, src: &Evbuffer) -> Result<()> {
        let count = src.len;
        if count == 0 {
            return Ok(());
        }
        self.admit(self.frozen_back, count)?;
        self.chain.reserve(src.chain.count())?;
        for node in src.chain.iter().filter(|node| node.len() > 0) {
            self.attach(node.share())?;
        }
        stats::count(|totals| &totals.referenced, count);
        self.note_added(count);
        Ok(())
    }

    /// Gives up an empty node at the back, which `expand`, an unfinished reservation or a drained buffer's last byte left.
    #[inline(always)]
    pub(super) fn release_reserved(&mut self) {
        if self.chain.ends_in_space() {
            self.chain.pop_back();
        }
    }
}

/// Adding files.
impl Evbuffer {
    /// Adds `len` bytes of `file` from `offset` on, or all up to its end, without reading them. The file is closed when
    /// the last of it has left the buffer.
    ///
    /// # Errors
    /// As [`FileSegment::new`] and [`add_file_segment`](Self::add_file_segment).
    ///
    /// # Examples
    /// ```
    /// use std::io::Write;
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(b"0123456789")?;
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add_file(file, 4, None)?;
    /// assert_eq!(buf.pullup(6)?, b"456789");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from libevent
    /// Without a length the file counts from `offset` to its end. On an error the file is closed.
    #[doc(alias = "evbuffer_add_file")]
    pub fn add_file(&mut self, file: impl Into<OwnedFd>, offset: u64, len: Option<u64>) -> Result<()> {
        self.admit(self.frozen_back, 0)?;
        let segment = FileSegment::new(file, offset, len)?;
        self.add_file_segment(&segment, 0, None)
    }

    /// Adds part of a segment: `len` bytes from `offset` *inside the segment*, or the rest of it.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the segment is not that long, [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or
    /// [`Error::OutOfMemory`]; the buffer is then as it was.
    #[doc(alias = "evbuffer_add_file_segment")]
    pub fn add_file_segment(&mut self, segment: &FileSegment, offset: u64, len: Option<u64>) -> Result<()> {
        let rest = segment.len().checked_sub(offset).ok_or(Error::OutOfRange)?;
        let len = len.unwrap_or(rest);
        if len > rest {
            return Err(Error::OutOfRange);
        }
        let count = usize::try_from(len).map_err(|_| Error::Overflow)?;
        self.admit(self.frozen_back, count)?;
        if count > 0 {
            self.attach(Node::File(FileRange { segment: segment.clone(), offset, len: count }))?;
        }
        self.note_added(count);
        Ok(())
    }
}

/// Adding at the front.
impl Evbuffer {
    /// Copies `data` to the front.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front is frozen and there is something to prepend, [`Error::Overflow`], [`Error::Limit`] or
    /// [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"body")?;
    /// buf.prepend(b"head ")?;
    /// assert_eq!(buf.pullup(9)?, b"head body");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_prepend")]
    #[inline]
    pub fn prepend(&mut self, data: &[u8]) -> Result<()> {
        let freely = self.is_free(self.frozen_front, data.len());
        if freely && self.chain.front_run().is_some_and(|run| run.prepend(data)) {
            stats::copied(data.len());
            self.account_added(data.len());
            return Ok(());
        }
        self.prepend_slowly(data)
    }

    #[cold]
    #[inline(never)]
    fn prepend_slowly(&mut self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.admit(self.frozen_front, data.len())?;
        if !self.chain.front_run().is_some_and(|run| run.prepend(data)) {
            self.prepend_growing(data)?;
        }
        stats::copied(data.len());
        self.note_added(data.len());
        Ok(())
    }

    fn prepend_growing(&mut self, data: &[u8]) -> Result<()> {
        let mut fresh = Chain::new();
        for (index, piece) in data.rchunks(CHUNK_MAX).enumerate() {
            // Only the frontmost chunk may be prepended to again, so only a single one is worth making larger.
            let wanted =
                if index == 0 && data.len() < CHUNK_MAX { self.next_chunk(data.len()) } else { piece.len() };
            let mut run = Run::with_headroom(wanted)?;
            let fitted = run.prepend(piece);
            debug_assert!(fitted, "a fresh chunk is alone and large enough");
            fresh.push_front(Node::Chunk(run))?;
        }
        self.prepend_chain(fresh)
    }

    /// Puts a chain in front of the own one.
    fn prepend_chain(&mut self, mut front: Chain) -> Result<()> {
        front.append(&mut self.chain)?;
        self.chain = front;
        Ok(())
    }

    /// Moves everything in `src` to the front without copying a byte; `src` is empty afterwards.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front of either buffer is frozen, [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; both are then as they
    /// were. An empty `src` is never an error.
    ///
    /// # Examples
    /// ```
    /// use zerovent::Evbuffer;
    ///
    /// let (mut all, mut head) = (Evbuffer::new(), Evbuffer::new());
    /// all.add(b"body")?;
    /// head.add(b"head ")?;
    /// all.prepend_buffer(&mut head)?;
    /// assert_eq!(all.pullup(9)?, b"head body");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_prepend_buffer")]
    pub fn prepend_buffer(&mut self, src: &mut Evbuffer) -> Result<()> {
        let count = src.len;
        if count == 0 {
            return Ok(());
        }
        src.admit_removal()?;
        self.admit(self.frozen_front, count)?;
        src.release_reserved();
        src.chain.append(&mut self.chain)?;
        std::mem::swap(&mut self.chain, &mut src.chain);
        self.has_unread |= src.has_unread;
        Evbuffer::note_moved(src, self, count);
        Ok(())
    }
}

/// Freezing.
impl Evbuffer {
    /// Refuses changes at one end until it is unfrozen: nothing is added at a frozen back; nothing is removed from,
    /// written from or prepended to a frozen front.
    ///
    /// # Examples
    /// ```
    /// use zerovent::{Error, Evbuffer, buffer::End};
    ///
    /// let mut buf = Evbuffer::new();
    /// buf.freeze(End::Back);
    /// assert!(matches!(buf.add(b"x"), Err(Error::Frozen)));
    /// buf.unfreeze(End::Back);
    /// assert!(buf.add(b"x").is_ok());
    /// ```
    #[doc(alias = "evbuffer_freeze")]
    pub fn freeze(&mut self, end: End) {
        *self.frozen_mut(end) = true;
    }

    /// Allows changes at one end again, however often it was frozen.
    #[doc(alias = "evbuffer_unfreeze")]
    pub fn unfreeze(&mut self, end: End) {
        *self.frozen_mut(end) = false;
    }

    /// Both ends, open for as long as the guard lives: an engine's way to move bytes past what its user may touch.
    pub(crate) fn thaw(&mut self) -> Thawed<'_> {
        let frozen = (self.frozen_front, self.frozen_back);
        (self.frozen_front, self.frozen_back) = (false, false);
        Thawed { buffer: self, frozen }
    }

    fn frozen_mut(&mut self, end: End) -> &mut bool {
        match end {
            End::Front => &mut self.frozen_front,
            End::Back => &mut self.frozen_back,
        }
    }
}

/// A buffer whose ends are as they were again when this is dropped, also by unwinding.
pub(crate) struct Thawed<'a> {
    buffer: &'a mut Evbuffer,
    frozen: (bool, bool),
}

impl Deref for Thawed<'_> {
    type Target = Evbuffer;

    fn deref(&self) -> &Evbuffer {
        self.buffer
    }
}

impl DerefMut for Thawed<'_> {
    fn deref_mut(&mut self) -> &mut Evbuffer {
        self.buffer
    }
}

impl Drop for Thawed<'_> {
    fn drop(&mut self) {
        (self.buffer.frozen_front, self.buffer.frozen_back) = self.frozen;
    }
}

/// An owner and the clean-up it was promised.
struct CleanedUp<T, F> {
    owner: T,
    cleanup: F,
}

impl<T: AsRef<[u8]>, F> AsRef<[u8]> for CleanedUp<T, F> {
    fn as_ref(&self) -> &[u8] {
        self.owner.as_ref()
    }
}

impl<T: AsRef<[u8]> + Send + 'static, F: FnOnce(T) + Send + 'static> Keeper for CleanedUp<T, F> {
    fn let_go(freed: Freed<Self>) {
        let CleanedUp { owner, cleanup } = freed.take();
        cleanup(owner);
    }
}

/// The same for an owner that must stand where no block has a place.
struct Boxed<T, F>(Box<CleanedUp<T, F>>);

impl<T: AsRef<[u8]>, F> AsRef<[u8]> for Boxed<T, F> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl<T: AsRef<[u8]> + Send + 'static, F: FnOnce(T) + Send + 'static> Keeper for Boxed<T, F> {
    fn let_go(freed: Freed<Self>) {
        let CleanedUp { owner, cleanup } = *freed.take().0;
        cleanup(owner);
    }
}
