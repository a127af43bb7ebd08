//! Nodes: the small descriptors a chain is made of. Everything a buffer does to bytes it does by cutting, moving and
//! dropping these; what they point to stays where it is.

use std::fmt;

use bytes::Bytes;

use super::chunk::{Kept, Run};
use super::pipe::PipeRange;
use super::segment::FileSegment;

/// A view over storage.
///
/// A node in a chain is never empty, with one exception: the last one may be an empty chunk that owns its tailroom,
/// which is how `expand` and `reserve` keep space at hand.
pub(super) enum Node {
    /// A run over a pooled, refcounted chunk.
    Chunk(Run),
    /// Somebody else's memory, kept alive by its owner's refcount.
    Reference(Bytes),
    /// Somebody else's memory, and who is told when nobody views it any more.
    Kept(Kept),
    /// A range of a file that nobody has looked at.
    File(FileRange),
    /// Bytes that came by splice and wait in a kernel pipe, or that were read in from one.
    Pipe(PipeRange),
}

/// Part of a [`FileSegment`].
pub(super) struct FileRange {
    pub(super) segment: FileSegment,
    /// Offset inside the segment.
    pub(super) offset: u64,
    /// Bytes in view. A buffer's length is a `usize`, so a range is too.
    pub(super) len: usize,
}

const _: () = assert!(size_of::<Node>() <= 40, "budget of a node: 40 bytes");
const _: () = assert!(size_of::<Option<Node>>() <= 40, "an empty slot costs no more than a node");

impl Node {
    /// Bytes in view.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Chunk(run) => run.len(),
            Node::Reference(bytes) => bytes.len(),
            Node::Kept(_) | Node::File(_) | Node::Pipe(_) => self.rare_len(),
        }
    }

    /// [`len`](Node::len) of the other kinds. Here as elsewhere in this file the rare kinds stand apart: two comparisons for the
    /// others are cheaper than a jump through a table.
    #[cold]
    fn rare_len(&self) -> usize {
        match self {
            Node::Kept(kept) => kept.len(),
            Node::File(range) => range.len,
            Node::Pipe(range) => range.len(),
            Node::Chunk(_) | Node::Reference(_) => 0,
        }
    }

    /// The bytes, when they are in memory.
    #[inline]
    pub(super) fn memory(&self) -> Option<&[u8]> {
        match self {
            Node::Chunk(run) => Some(run.as_slice()),
            Node::Reference(bytes) => Some(bytes),
            Node::Kept(_) | Node::File(_) | Node::Pipe(_) => self.rare_memory(),
        }
    }

    #[cold]
    fn rare_memory(&self) -> Option<&[u8]> {
        match self {
            Node::Kept(kept) => Some(kept.as_slice()),
            Node::Pipe(range) => range.memory(),
            _ => None,
        }
    }

    /// The run, when it is a chunk's.
    #[inline]
    pub(super) fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Node::Chunk(run) => Some(run),
            _ => None,
        }
    }

    /// Bytes of chunk storage that this node keeps from being reused.
    pub(super) fn storage_bytes(&self) -> usize {
        match self {
            Node::Chunk(run) => run.capacity(),
            Node::Reference(_) | Node::Kept(_) | Node::File(_) | Node::Pipe(_) => 0,
        }
    }

    /// True for a node whose bytes are not in memory.
    #[inline]
    pub(super) fn is_unread(&self) -> bool {
        match self {
            Node::Chunk(_) | Node::Reference(_) | Node::Kept(_) => false,
            Node::File(_) => true,
            Node::Pipe(range) => range.memory().is_none(),
        }
    }

    /// Drops the first `count` bytes from view.
    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        match self {
            Node::Chunk(run) => run.advance(count),
            Node::Reference(bytes) => bytes::Buf::advance(bytes, count),
            Node::Kept(_) | Node::File(_) | Node::Pipe(_) => self.rare_advance(count),
        }
    }

    #[cold]
    fn rare_advance(&mut self, count: usize) {
        match self {
            Node::Kept(kept) => kept.advance(count),
            Node::File(range) => {
                range.offset += count as u64;
                range.len -= count;
            }
            Node::Pipe(range) => range.advance(count),
            Node::Chunk(_) | Node::Reference(_) => {}
        }
    }

    /// Cuts off the first `count` bytes without copying them; a chunk's tailroom stays with the rest.
    #[inline]
    pub(super) fn split_front(&mut self, count: usize) -> Node {
        match self {
            Node::Chunk(run) => Node::Chunk(run.split_front(count)),
            Node::Reference(bytes) => Node::Reference(bytes.split_to(count)),
            Node::Kept(kept) => Node::Kept(kept.split_front(count)),
            Node::File(range) => {
                let front = FileRange { segment: range.segment.clone(), offset: range.offset, len: count };
                range.offset += count as u64;
                range.len -= count;
                Node::File(front)
            }
            Node::Pipe(range) => Node::Pipe(range.split_front(count)),
        }
    }

    /// A second view over the same bytes.
    pub(super) fn share(&self) -> Node {
        match self {
            Node::Chunk(run) => Node::Chunk(run.share()),
            Node::Reference(bytes) => Node::Reference(bytes.clone()),
            Node::Kept(kept) => Node::Kept(kept.share()),
            Node::File(range) => {
                Node::File(FileRange { segment: range.segment.clone(), offset: range.offset, len: range.len })
            }
            Node::Pipe(range) => Node::Pipe(range.share()),
        }
    }

    /// Whether `next` continues the same storage, so that [`join`](Node::join) can make them one node.
    #[inline]
    pub(super) fn continues_with(&self, next: &Node) -> bool {
        match (self, next) {
            (Node::Chunk(run), Node::Chunk(next)) => run.continues_with(next),
            (Node::File(range), Node::File(next)) => range.continues_with(next),
            (Node::Pipe(range), Node::Pipe(next)) => range.continues_with(next),
            _ => false,
        }
    }

    /// Becomes one node with `next`, which continues it.
    pub(super) fn join(&mut self, next: Node) {
        match (self, next) {
            (Node::Chunk(run), Node::Chunk(next)) => run.join(next),
            (Node::File(range), Node::File(next)) => range.len += next.len,
            (Node::Pipe(range), Node::Pipe(next)) => range.join(&next),
            _ => debug_assert!(false, "only nodes over the same storage are joined"),
        }
    }

    /// The bytes as [`Bytes`] without copying them; `None` when they are not in memory.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        match self {
            Node::Chunk(run) => Some(Bytes::from_owner(run)),
            Node::Reference(bytes) => Some(bytes),
            Node::Kept(kept) => Some(Bytes::from_owner(kept)),
            Node::File(_) => None,
            Node::Pipe(range) => range.memory().and_then(|_| range.read_in().ok()),
        }
    }
}

impl FileRange {
    fn continues_with(&self, next: &FileRange) -> bool {
        FileSegment::same(&self.segment, &next.segment) && self.offset + self.len as u64 == next.offset
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Chunk(run) => run.fmt(f),
            Node::Reference(bytes) => write!(f, "Reference({})", bytes.len()),
            Node::Kept(kept) => kept.fmt(f),
            Node::File(range) => write!(f, "File({} at {})", range.len, range.offset),
            Node::Pipe(range) => range.fmt(f),
        }
    }
}
