//! The centrepiece: [`Evbuffer`], a queue of bytes that moves descriptors instead of bytes.
//!
//! # The idea
//!
//! A buffer is a short queue of *nodes*. A node views a range of *storage*: a pooled, refcounted chunk of memory,
//! somebody else's memory kept alive by its owner, a piece of a file that nobody has read, or bytes in a kernel pipe
//! that nobody has seen. Adding a buffer to another, cutting one in two, sharing bytes with a second buffer and
//! dropping them all work on nodes, a few words each.
//!
//! ```text
//!  Evbuffer { chain, len, .. }
//!     |
//!     |      front           back
//!     +--> [ node ][ node ][ node ]              the ends in the buffer itself, what is between them in a ring
//!             |       |       |
//!             |       |       +--> File { segment, offset, len }    left on the disk, sent by sendfile;
//!             |       |            or Pipe { offset, len }            in a kernel pipe, sent by splice
//!             |       +----------> Reference (bytes::Bytes)         never copied;
//!             |                    or Kept { keeper, first, len }    its keeper hears when nobody views it
//!             v
//!     +--------+---------+-------------+----------+
//!     | Header | drained |  readable   | tailroom |                  Chunk: one block of a thread-local pool
//!     +--------+---------+-------------+----------+
//! ```
//!
//! What was put into a chunk does not change while anybody else views it, and only one node may write behind the readable part.
//! That is all it takes for the storage to be shared between buffers and threads without a lock.
//!
//! # The rules
//!
//! - **A failing call changes nothing.** What can fail (a frozen end, a length that overflows, an allocation, a file that
//!   turns out short) is checked or done first, then the change is made in steps that cannot fail.
//! - **A file is read when somebody looks.** Inspecting (peek, pullup, search, a line) turns as much of a file node into memory
//!   as is looked at, for good. Copying out reads straight into the caller's memory. Sending does neither. A pipe
//!   gives its bytes only once, so they become memory for good, whoever looks.
//! - **An empty buffer holds next to nothing**: no heap block, and no chunk but one of up to 1 KiB that was its last one and that nobody
//!   else sees; what is added next goes there. The pool makes the next byte cheap for all others.
//! - **Every copy is counted** in [`CopyStats`].
//! - **Callbacks are told last.** When one is called the operation is over, and the buffer is whole and its to change.
//!
//! # The files
//!
//! | file | holds |
//! |---|---|
//! | `chunk` | storage and its pool, and who keeps memory of others; the only pointer code |
//! | `node.rs`, `chain.rs` | the descriptors and the queue they stand in |
//! | `add.rs`, `pieces.rs`, `remove.rs` | putting bytes in, at once and in pieces, and taking them out |
//! | `space.rs`, `extents.rs` | peeking; reserving in one piece and in several |
//! | `callback.rs` | telling of changes; the limit |
//! | `lend.rs` | addresses and reservations that outlive a borrow, for the C ABI |
//! | `position.rs`, `search.rs`, `lines.rs` | places in a buffer, and finding them; lines |
//! | `segment.rs`, `pipe.rs`, `io/` | files; bytes in kernel pipes; reading from and writing to descriptors |
//! | `reader.rs`, `traits.rs` | the front as a `bytes::Buf`; the traits of std |
//! | `stats.rs` | the account of copies |

mod add;
mod callback;
mod chain;
mod chunk;
mod extents;
mod io;
#[cfg(feature = "capi")]
mod lend;
mod lines;
mod node;
mod pieces;
mod pipe;
mod position;
mod reader;
mod remove;
mod search;
mod segment;
mod space;
mod stats;
mod traits;

use std::fmt;
use std::sync::atomic::AtomicU32;

use chain::Chain;

pub use add::End;
pub use callback::{CallbackId, Change};
pub use chunk::ChunkPool;
#[cfg(feature = "capi")]
pub(crate) use chunk::{Freed, Keeper};
#[cfg(feature = "capi")]
pub(crate) use extents::Detached;
pub use extents::Extents;
pub(crate) use io::{Filled, ReadSpace, is_refusal};
pub use io::{WriteStrategy, ZeroCopyWriter};
pub use lines::Lines;
pub use pipe::PipePool;
pub use position::Position;
pub use reader::Reader;
pub use search::{Eol, Line};
pub use segment::{FileSegment, FileSegmentOptions};
pub use space::{Reservation, Runs};
pub use stats::CopyStats;

use crate::{Error, Result};

/// A queue of bytes, optimised for adding at the end and removing from the front without moving what is inside.
///
/// It needs no event loop: it is as useful over a blocking socket, or with no socket at all.
///
/// # Examples
/// ```
/// use zerovent::{Evbuffer, buffer::Eol};
///
/// let mut buf = Evbuffer::new();
/// buf.add(b"GET / HTTP/1.1\r\nHost: ")?;
/// buf.add_reference(&b"localhost\r\n"[..])?;
///
/// assert_eq!(buf.read_line(Eol::Crlf)?.as_deref(), Some(&b"GET / HTTP/1.1"[..]));
/// assert_eq!(buf.len(), 17);
/// # Ok::<(), zerovent::Error>(())
/// ```
///
/// # Differences from libevent
/// A buffer has one owner, so `evbuffer_enable_locking` has no counterpart: it is `Send`, and a `Mutex` around it is the lock.
/// A call that fails leaves it exactly as it was. File nodes can be inspected wherever they stand.
#[doc(alias = "evbuffer")]
#[doc(alias = "evbuffer_free")]
pub struct Evbuffer {
    chain: Chain,
    len: usize,
    /// What the positions in the present content are stamped with; 0 while there are none.
    stamp: AtomicU32,
    frozen_front: bool,
    frozen_back: bool,
    /// Whether the chain may hold bytes that are not in memory, in a file or a pipe; looking for one is skipped while this is false.
    has_unread: bool,
    /// Callbacks and the limit, which few buffers have.
    watch: Option<callback::Watched>,
}

const _: () =
    assert!(size_of::<Evbuffer>() <= 136, "budget of a buffer: 136 bytes, two of its nodes included");

/// No buffer is longer than what a Rust allocation could be, so that lengths can be added without care.
const LEN_MAX: usize = isize::MAX as usize;

impl Evbuffer {
    /// An empty buffer. It allocates nothing.
    #[doc(alias = "evbuffer_new")]
    #[must_use]
    pub const fn new() -> Evbuffer {
        Evbuffer {
            chain: Chain::new(),
            len: 0,
            stamp: AtomicU32::new(0),
            frozen_front: false,
            frozen_back: false,
            has_unread: false,
            watch: None,
        }
    }

    /// Bytes in the buffer.
    #[doc(alias = "evbuffer_get_length")]
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when the buffer holds no byte.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that lie in memory contiguously at the front: what [`pullup`](Self::pullup) gives without moving any.
    ///
    /// 0 when the buffer is empty or starts with a file that nobody has looked at.
    #[doc(alias = "evbuffer_get_contiguous_space")]
    #[must_use]
    #[inline]
    pub fn contiguous_len(&self) -> usize {
        self.chain.front_memory().len()
    }

    /// Whether `count` bytes, which are some, may be added at an end without anybody being asked before or told afterwards: what
    /// [`admit`](Self::admit) and [`tell`](Self::tell) do is nothing then, and the usual case need not look twice.
    #[inline(always)]
    fn is_free(&self, frozen: bool, count: usize) -> bool {
        !frozen && self.watch.is_none() && count > 0 && count <= LEN_MAX - self.len
    }

    /// Checks that `count` bytes may be added at an end.
    #[inline]
    fn admit(&self, frozen: bool, count: usize) -> Result<()> {
        if frozen {
            return Err(Error::Frozen);
        }
        if count > LEN_MAX - self.len {
            return Err(Error::Overflow);
        }
        if self.watch.is_some() { self.admit_within_limit(count) } else { Ok(()) }
    }

    /// Checks that the front may change.
    #[inline]
    fn admit_removal(&self) -> Result<()> {
        if self.frozen_front { Err(Error::Frozen) } else { Ok(()) }
    }

    /// Accounts for `count` bytes that were added to the chain, and tells the callbacks. This is the last thing a call does: they may
    /// change the buffer again.
    #[inline]
    fn note_added(&mut self, count: usize) {
        self.account_added(count);
        self.tell(count, 0);
    }

    /// Accounts for `count` bytes that were removed from the chain, and tells the callbacks, as the last thing a call does.
    #[inline]
    fn note_removed(&mut self, count: usize) {
        self.account_removed(count);
        self.tell(0, count);
    }

    /// Accounts for `count` bytes that went from one chain to the other. Both buffers are whole again before anybody is told.
    #[inline]
    fn note_moved(from: &mut Evbuffer, to: &mut Evbuffer, count: usize) {
        from.account_removed(count);
        to.account_added(count);
        from.write_down(0, count);
        to.write_down(count, 0);
        from.call_callbacks();
        to.call_callbacks();
    }

    #[inline]
    fn account_added(&mut self, count: usize) {
        self.len += count;
        self.note_changed(count);
    }

    #[inline(always)]
    fn account_removed(&mut self, count: usize) {
        self.len -= count;
        if self.len == 0 {
            self.has_unread = false;
            self.chain.clear();
        }
        self.note_changed(count);
    }

    #[inline]
    fn note_changed(&mut self, count: usize) {
        if count > 0 {
            *self.stamp.get_mut() = 0;
        }
        self.check_invariants();
    }

    /// In debug builds, panics when the buffer contradicts itself; tests call it after every operation.
    #[doc(hidden)]
    #[inline]
    pub fn check_invariants(&self) {
        #[cfg(debug_assertions)]
        {
            assert_eq!(self.chain.check_invariants(), self.len, "the length is the sum of the nodes'");
            let unread = self.chain.iter().any(node::Node::is_unread);
            assert!(self.has_unread || !unread, "has_unread is set while the chain holds unread bytes");
        }
    }

    /// Bytes of storage that the chain's chunks occupy, for tests of retention; a chunk counts once a node.
    #[doc(hidden)]
    #[must_use]
    pub fn storage_bytes(&self) -> usize {
        self.chain.iter().map(node::Node::storage_bytes).sum()
    }
}

/// For owners that keep a buffer only while it holds something.
impl Evbuffer {
    /// Makes a new buffer of this one, with one end frozen.
    pub(crate) fn begin_use(&mut self, frozen: Option<End>) {
        *self = Evbuffer::new();
        if let Some(end) = frozen {
            self.freeze(end);
        }
    }

    /// Drops the content, and what callbacks there are without telling them.
    pub(crate) fn end_use(&mut self) {
        *self = Evbuffer::new();
    }

    /// Whether nobody could tell it from a new one with that end frozen: it has no callbacks and no limit either.
    pub(crate) fn is_as_new(&self, frozen: Option<End>) -> bool {
        let expected = (frozen == Some(End::Front), frozen == Some(End::Back));
        self.is_empty() && self.watch.is_none() && (self.frozen_front, self.frozen_back) == expected
    }
}

impl Default for Evbuffer {
    fn default() -> Self {
        Evbuffer::new()
    }
}

impl fmt::Debug for Evbuffer {
    /// Shows the shape of the chain and never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evbuffer({} bytes) ", self.len)?;
        f.debug_list().entries(self.chain.iter()).finish()
    }
}
