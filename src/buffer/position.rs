//! Positions: places in a buffer that know when they no longer hold.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Evbuffer;
use crate::{Error, Result};

/// A place between two bytes of a buffer, or one of its ends.
///
/// It belongs to the content the buffer had when it was made: once bytes were added or removed, using it is [`Error::Stale`]. Making
/// bytes contiguous or reading a file node changes no content, so positions live through that. For any other buffer it is stale as well.
///
/// # Examples
/// ```
/// let mut buf = zerovent::Evbuffer::new();
/// buf.add(b"key=value")?;
/// let sign = buf.search(b"=", None)?.expect("there is one");
/// assert_eq!(sign.offset(), 3);
/// let value = buf.advance_position(sign, 1)?;
/// assert_eq!(buf.peek_from(value, 5)?.next(), Some(&b"value"[..]));
/// buf.drain(1)?;
/// assert!(buf.peek_from(value, 5).is_err());
/// # Ok::<(), zerovent::Error>(())
/// ```
///
/// # Differences from libevent
/// An outdated `evbuffer_ptr` reads freed memory. "Not found" is `None` and not a position of -1.
#[doc(alias = "evbuffer_ptr")]
#[doc(alias = "evbuffer_ptr_how")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    offset: usize,
    stamp: u32,
}

impl Position {
    /// Bytes between the front of the buffer and this place.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl Evbuffer {
    /// The position `offset` bytes from the front; the end of the buffer is one too.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the buffer is shorter.
    #[doc(alias = "evbuffer_ptr_set")]
    #[doc(alias = "EVBUFFER_PTR_SET")]
    pub fn position(&self, offset: usize) -> Result<Position> {
        if offset > self.len {
            return Err(Error::OutOfRange);
        }
        Ok(self.position_at(offset))
    }

    /// The position `count` bytes behind another.
    ///
    /// # Errors
    /// [`Error::Stale`] when the buffer has changed since, [`Error::OutOfRange`] when it ends before.
    #[doc(alias = "EVBUFFER_PTR_ADD")]
    pub fn advance_position(&self, from: Position, count: usize) -> Result<Position> {
        let offset = self.offset_of(from)?.checked_add(count).ok_or(Error::OutOfRange)?;
        self.position(offset)
    }

    #[inline]
    pub(super) fn position_at(&self, offset: usize) -> Position {
        Position { offset, stamp: self.current_stamp() }
    }

    /// The stamp of the present content, drawn when the first position in it is made: no two contents of any buffers have the same (until
    /// four billion of them have been stamped).
    fn current_stamp(&self) -> u32 {
        // Relaxed: the stamp stands for itself, and it is changed only through `&mut`.
        match self.stamp.load(Ordering::Relaxed) {
            0 => self.draw_stamp(),
            stamp => stamp,
        }
    }

    #[cold]
    fn draw_stamp(&self) -> u32 {
        let fresh = fresh_stamp();
        let drawn = self.stamp.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        // Another thread that shares the buffer may have been first.
        drawn.map_or_else(|theirs| theirs, |_| fresh)
    }

    /// The offset of a position that still holds.
    #[inline]
    pub(super) fn offset_of(&self, position: Position) -> Result<usize> {
        // A position's stamp is never 0, which is what a buffer has that was changed since.
        if position.stamp != self.stamp.load(Ordering::Relaxed) || position.offset > self.len {
            return Err(Error::Stale);
        }
        Ok(position.offset)
    }
}

/// Stamps that a thread draws at once, so that drawing one is not an atomic operation.
const BLOCK: u32 = 1024;
static BLOCKS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The stamp that was drawn last, 0 before the first.
    static LAST: Cell<u32> = const { Cell::new(0) };
}

/// A stamp that nobody has, and not 0.
fn fresh_stamp() -> u32 {
    LAST.with(|last| {
        let mut next = last.get().wrapping_add(1);
        if next.is_multiple_of(BLOCK) || next == 1 {
            // Relaxed: blocks only have to differ. The first stamp of each is left out, and with it 0.
            next = BLOCKS.fetch_add(BLOCK, Ordering::Relaxed).wrapping_add(1);
        }
        last.set(next);
        next
    })
}
