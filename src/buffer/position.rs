//! Positions: places in a buffer that know when they no longer hold.

use super::Evbuffer;
use crate::{Error, Result};

/// A place between two bytes of a buffer, or one of its ends.
///
/// It belongs to the content the buffer had when it was made: once bytes were added or removed, using it is [`Error::Stale`]. Making
/// bytes contiguous or reading a file node changes no content, so positions live through that.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    offset: usize,
    edits: u32,
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
        Position { offset, edits: self.edits }
    }

    /// The offset of a position that still holds. A position of another buffer can pass for one of this, and is then an offset like
    /// any other.
    #[inline]
    pub(super) fn offset_of(&self, position: Position) -> Result<usize> {
        if position.edits != self.edits || position.offset > self.len {
            return Err(Error::Stale);
        }
        Ok(position.offset)
    }
}
