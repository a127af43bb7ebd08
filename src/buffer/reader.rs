//! `Reader`: the front of a buffer as a [`bytes::Buf`]. That trait cannot fail, and a buffer can (a file that cannot be read, a frozen
//! front), so what can fail is done when the reader is made.

use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::node::Node;
use super::remove::BYTES_COPIED_MAX;
use super::{Evbuffer, stats};
use crate::Result;

impl Evbuffer {
    /// Lends the first `len` bytes, or all there are, as a [`bytes::Buf`]. What was read of it is removed when the loan ends, in one step;
    /// [`Reader::keep`] leaves it where it is.
    ///
    /// # Errors
    /// [`Error::Frozen`](crate::Error::Frozen) when the front is frozen and there is something to read, and as [`peek`](Self::peek) when a
    /// file node has to be read.
    ///
    /// # Examples
    /// ```
    /// use bytes::Buf;
    ///
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"\x00\x05hel")?;
    /// buf.add_reference(&b"lo and more"[..])?;
    /// let mut reader = buf.reader(usize::MAX)?;
    /// let len = reader.get_u16();
    /// assert_eq!(reader.copy_to_bytes(usize::from(len)), "hello");
    /// drop(reader);
    /// assert_eq!(buf.len(), 9);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn reader(&mut self, len: usize) -> Result<Reader<'_>> {
        let left = len.min(self.len);
        if left > 0 {
            self.admit_removal()?;
            self.materialise(0, left)?;
        }
        Ok(Reader { buffer: self, index: 0, offset: 0, taken: 0, left })
    }
}

/// The front of a buffer as a [`bytes::Buf`]: what [`Evbuffer::reader`] lends.
///
/// `chunks_vectored` gives the memory runs as they lie, and `copy_to_bytes` shares what lies in one of them instead of copying it (up to
/// 64 bytes are copied: that is no dearer than sharing). Like every `Buf` it panics when asked for more than `remaining()`.
pub struct Reader<'a> {
    buffer: &'a mut Evbuffer,
    /// The node in which reading goes on, and where inside it.
    index: usize,
    offset: usize,
    taken: usize,
    left: usize,
}

impl Reader<'_> {
    /// How many bytes were read so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Ends the loan and leaves everything in the buffer, for a message that is not complete yet.
    pub fn keep(mut self) {
        self.taken = 0;
    }

    /// The bytes of the current node from here on, as far as they are lent.
    fn run(&self) -> &[u8] {
        let memory = self.buffer.chain.get(self.index).and_then(Node::memory).unwrap_or_default();
        let rest = memory.get(self.offset..).unwrap_or_default();
        &rest[..rest.len().min(self.left)]
    }

    /// Shares the next `count` bytes, which lie in the current node.
    fn share(&self, count: usize) -> Option<Bytes> {
        let mut node = self.buffer.chain.get(self.index)?.share();
        node.advance(self.offset);
        let part = if count < node.len() { node.split_front(count) } else { node };
        part.into_bytes()
    }
}

impl Buf for Reader<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.run()
    }

    fn chunks_vectored<'b>(&'b self, target: &mut [IoSlice<'b>]) -> usize {
        let runs = self.buffer.runs(self.taken, self.left);
        let filled = target.iter_mut().zip(runs).map(|(slot, run)| *slot = IoSlice::new(run));
        filled.count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.left, "an advance of {count} with {} remaining", self.left);
        let mut skip = count;
        while skip > 0 {
            let Some(node) = self.buffer.chain.get(self.index) else { break };
            let rest = node.len() - self.offset;
            if skip < rest {
                self.offset += skip;
                break;
            }
            skip -= rest;
            (self.index, self.offset) = (self.index + 1, 0);
        }
        self.taken += count;
        self.left -= count;
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        assert!(count <= self.left, "{count} bytes asked for with {} remaining", self.left);
        let is_reference = matches!(self.buffer.chain.get(self.index), Some(Node::Reference(_)));
        let whole = count <= self.run().len() && (count > BYTES_COPIED_MAX || is_reference);
        let shared = if whole && count > 0 { self.share(count) } else { None };
        let bytes = match shared {
            Some(shared) => shared,
            None => {
                let mut copy = Vec::with_capacity(count);
                self.buffer.runs(self.taken, count).for_each(|run| copy.extend_from_slice(run));
                stats::copied(count);
                Bytes::from(copy)
            }
        };
        self.advance(count);
        bytes
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.buffer.discard(self.taken);
        }
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} of {} bytes read)", self.taken, self.taken + self.left)
    }
}
