//! Looking at what is there, and writing where nothing is yet: peek, expand, reserve and commit. Also the one place
//! where a file node becomes memory.

use std::io::IoSlice;
use std::ops::{Deref, DerefMut};

use super::chain::Nodes;
use super::chunk::{CHUNK_MAX, Run};
use super::node::Node;
use super::{Evbuffer, LEN_MAX, Position, stats};
use crate::{Error, Result};

/// Space in the buffer.
impl Evbuffer {
    /// Makes sure that the next `count` bytes that are added fit without an allocation, contiguously.
    ///
    /// # Errors
    /// [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was. A frozen end does not matter.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.expand(4096)?;
    /// assert!(buf.is_empty());
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_expand")]
    pub fn expand(&mut self, count: usize) -> Result<()> {
        self.admit(false, count)?;
        if count > self.tailroom() {
            let wanted = self.next_chunk(count);
            if self.chain.is_empty() {
                self.chain.push_first_with(|| Run::with_capacity(wanted).map(Node::Chunk))?;
            } else {
                let run = Run::with_capacity(wanted)?;
                self.attach(Node::Chunk(run))?;
            }
        }
        self.check_invariants();
        Ok(())
    }

    /// Gives at least `count` contiguous writable bytes at the end; what is written there becomes part of the buffer with
    /// [`Reservation::commit`], and not before.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// let mut space = buf.reserve(100)?;
    /// space[..5].copy_from_slice(b"hello");
    /// space.commit(5)?;
    /// assert_eq!(buf.pullup(5)?, b"hello");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// The reservation borrows the buffer, so its space cannot be used after the buffer has changed.
    #[doc(alias = "evbuffer_reserve_space")]
    #[inline]
    pub fn reserve(&mut self, count: usize) -> Result<Reservation<'_>> {
        let len = if self.is_free(self.frozen_back, count)
            && let Some(shown) = self.chain.back_run().and_then(|run| run.show(count))
        {
            shown.min(LEN_MAX - self.len)
        } else {
            self.make_space(count)?
        };
        Ok(Reservation { buffer: self, len, written: 0 })
    }

    /// Shows at least `count` bytes of tailroom, and says how many may be committed.
    #[cold]
    #[inline(never)]
    fn make_space(&mut self, count: usize) -> Result<usize> {
        self.admit(self.frozen_back, count)?;
        self.expand(count)?;
        let room = self.room();
        Ok(self.tail_mut(count).len().min(room))
    }
}

/// Writable space at the end of a buffer: a `&mut [u8]` that becomes content when it is committed.
///
/// What the space holds before it is written is unspecified: zeros, or bytes of earlier buffers of this process.
/// Dropping a reservation adds nothing.
#[derive(Debug)]
pub struct Reservation<'a> {
    /// Its last node is a chunk that has shown its tailroom.
    buffer: &'a mut Evbuffer,
    /// Bytes of the space: what was shown, or as much as the buffer's limit still allows.
    len: usize,
    /// How far the space was filled through [`bytes::BufMut`].
    written: usize,
}

impl Reservation<'_> {
    /// Adds the first `count` bytes of the space to the buffer.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the space is not that long; nothing is added then.
    #[doc(alias = "evbuffer_commit_space")]
    #[inline]
    pub fn commit(self, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        match self.buffer.chain.back_run() {
            Some(run) if count <= self.len => run.commit(count),
            _ => return Err(Error::OutOfRange),
        }
        self.buffer.note_added(count);
        // What the drop would give up is in use now.
        std::mem::forget(self);
        Ok(())
    }

    /// Adds what was put into the space through [`bytes::BufMut`], and returns how much that was.
    ///
    /// A reservation is a `BufMut` of fixed size, like a `&mut [u8]`: putting more into it than is left panics, as that trait says.
    ///
    /// # Errors
    /// None now; as [`commit`](Self::commit).
    ///
    /// # Examples
    /// ```
    /// use bytes::BufMut;
    ///
    /// let mut buf = zerovent::Evbuffer::new();
    /// let mut space = buf.reserve(16)?;
    /// space.put_u16(5);
    /// space.put_slice(b"hello");
    /// assert_eq!(space.commit_written()?, 7);
    /// assert_eq!(buf.pullup(7)?, b"\x00\x05hello");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn commit_written(self) -> Result<usize> {
        let count = self.written;
        self.commit(count)?;
        Ok(count)
    }

    /// The space behind what was written through `BufMut`.
    pub(super) fn unwritten(&mut self) -> &mut [u8] {
        let written = self.written;
        &mut self[written..]
    }

    /// How much that is.
    pub(super) fn unwritten_len(&self) -> usize {
        self.len - self.written
    }

    /// Counts `count` bytes more as written.
    ///
    /// # Panics
    /// When that is more than is left.
    pub(super) fn advance_written(&mut self, count: usize) {
        assert!(
            count <= self.unwritten_len(),
            "an advance of {count} in a space of {}",
            self.unwritten_len()
        );
        self.written += count;
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let shown = match self.buffer.chain.back() {
            Some(Node::Chunk(run)) => run.spare_shown(),
            _ => &[],
        };
        &shown[..self.len]
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.chain.back_run().map_or(&mut [][..], Run::shown_mut)[..self.len]
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        self.buffer.release_reserved();
    }
}

impl Evbuffer {
    /// The tailroom as bytes, at least `wanted` of them when they are there.
    #[inline]
    pub(super) fn tail_mut(&mut self, wanted: usize) -> &mut [u8] {
        self.chain.back_run().map_or(&mut [], |run| run.spare(wanted))
    }
}

/// Looking without taking.
impl Evbuffer {
    /// The first `len` bytes (or all there are) as the slices they lie in, without moving or copying them.
    ///
    /// # Errors
    /// [`Error::ShortFile`], [`Error::Io`] or [`Error::OutOfMemory`] when a file node has to be read and cannot be.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"one")?;
    /// buf.add_reference(&b"two"[..])?;
    /// let runs: Vec<&[u8]> = buf.peek(5)?.collect();
    /// assert_eq!(runs, [&b"one"[..], b"tw"]);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_peek")]
    #[inline]
    pub fn peek(&mut self, len: usize) -> Result<Runs<'_>> {
        self.materialise(0, len)?;
        Ok(self.runs(0, len.min(self.len)))
    }

    /// [`peek`](Self::peek) from a position on.
    ///
    /// # Errors
    /// As `peek`, and [`Error::Stale`] when the buffer has changed since the position was made.
    #[inline]
    pub fn peek_from(&mut self, from: Position, len: usize) -> Result<Runs<'_>> {
        let from = self.offset_of(from)?;
        self.materialise(from, len)?;
        Ok(self.runs(from, len.min(self.len - from)))
    }

    /// The memory runs of `from..from + len`, which holds no file node.
    #[inline]
    pub(super) fn runs(&self, from: usize, len: usize) -> Runs<'_> {
        let mut nodes = self.chain.iter();
        let mut skip = from;
        let first = loop {
            match nodes.next() {
                Some(node) if node.len() <= skip => skip -= node.len(),
                node => break node.and_then(Node::memory).unwrap_or_default(),
            }
        };
        let first = &first[skip.min(first.len())..];
        let first = &first[..first.len().min(len)];
        Runs { next: first, nodes, left: len - first.len() }
    }

    /// Fills `out` with the first runs, for a vectored write, and says how many were filled.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    #[inline]
    pub fn peek_io_slices<'a>(&'a mut self, len: usize, out: &mut [IoSlice<'a>]) -> Result<usize> {
        self.materialise(0, len)?;
        if len >= self.len {
            return Ok(self.chain.fill_slices(out));
        }
        let filled = out.iter_mut().zip(self.runs(0, len)).map(|(place, run)| *place = IoSlice::new(run));
        Ok(filled.count())
    }
}

/// The readable runs of a buffer, in order: what [`Evbuffer::peek`] returns.
#[derive(Clone)]
pub struct Runs<'a> {
    /// What comes next; empty at the end.
    next: &'a [u8],
    nodes: Nodes<'a>,
    /// Bytes behind `next`.
    left: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next.is_empty() {
            return None;
        }
        let behind = self.nodes.next_memory();
        let behind = &behind[..behind.len().min(self.left)];
        self.left -= behind.len();
        Some(std::mem::replace(&mut self.next, behind))
    }
}

impl std::fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Runs({} bytes)", self.next.len() + self.left)
    }
}

/// Turning files into memory.
impl Evbuffer {
    /// Makes sure that `from..from + len`, as far as it exists, is memory.
    #[inline]
    pub(super) fn materialise(&mut self, from: usize, len: usize) -> Result<()> {
        if self.has_unread { self.materialise_range(from, len) } else { Ok(()) }
    }

    #[cold]
    fn materialise_range(&mut self, from: usize, len: usize) -> Result<()> {
        let until = from.saturating_add(len).min(self.len);
        let (mut index, mut start) = (0, 0);
        while start < until {
            let Some(node) = self.chain.get(index) else { break };
            let end = start + node.len();
            if node.is_unread() && end > from {
                self.materialise_node(index)?;
                // The node may now be shorter: what was read stands before the rest of the file.
                start += self.chain.get(index).map_or(0, Node::len);
            } else {
                start = end;
            }
            index += 1;
        }
        self.check_invariants();
        Ok(())
    }

    /// Reads the front of file node `index`, at most one chunk of it, into a node of its own; a file that may be mapped
    /// becomes memory as a whole.
    pub(super) fn materialise_node(&mut self, index: usize) -> Result<()> {
        if let Some(Node::Pipe(_)) = self.chain.get(index) {
            return self.materialise_pipe(index);
        }
        let Some(Node::File(range)) = self.chain.get(index) else { return Ok(()) };
        if let Some(bytes) = range.segment.mapped() {
            let first = range.offset as usize;
            let bytes = bytes.slice(first..first + range.len);
            self.replace_front(index, Node::Reference(bytes))
        } else {
            let (segment, offset) = (range.segment.clone(), range.offset);
            let count = range.len.min(CHUNK_MAX);
            let mut run = Run::with_capacity(count)?;
            segment.read_exact(&mut run.spare(count)[..count], offset)?;
            run.commit(count);
            stats::count(|totals| &totals.read, count);
            self.replace_front(index, Node::Chunk(run))
        }
    }

    /// Puts `node` in place of the first `node.len()` bytes of node `index`.
    pub(super) fn replace_front(&mut self, index: usize, node: Node) -> Result<()> {
        let count = node.len();
        let Some(old) = self.chain.get_mut(index) else { return Err(Error::OutOfRange) };
        if old.len() == count {
            *old = node;
            return Ok(());
        }
        // The insertion is what can fail, so it comes before the file node is cut.
        self.chain.insert(index, node)?;
        if let Some(rest) = self.chain.get_mut(index + 1) {
            rest.advance(count);
        }
        Ok(())
    }
}
