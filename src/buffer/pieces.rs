//! Adding several pieces as one: formatted text and I/O vectors. All of it arrives and is told as one change, or nothing does.

use std::fmt;
use std::io::IoSlice;

use super::node::Node;
use super::{Evbuffer, stats};
use crate::{Error, Result};

/// Adding in pieces.
impl Evbuffer {
    /// Adds formatted text and returns how many bytes it has. `write!` does the same.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`], and [`Error::Invalid`] when a value refuses to be
    /// formatted; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// write!(buf, "HTTP/1.1 {} {}\r\n", 200, "OK")?;
    /// assert_eq!(buf.add_fmt(format_args!("{:>4}", 7))?, 4);
    /// assert_eq!(buf.pullup(21)?, b"HTTP/1.1 200 OK\r\n   7");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add_printf")]
    #[doc(alias = "evbuffer_add_vprintf")]
    pub fn add_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<usize> {
        self.admit(self.frozen_back, 0)?;
        let mut sink = TextSink { pieces: Pieces { buffer: self, added: 0 }, refusal: None };
        match fmt::write(&mut sink, text) {
            Ok(()) => Ok(sink.pieces.finish()),
            Err(fmt::Error) => {
                Err(sink.refusal.take().unwrap_or(Error::Invalid("a value refused to be formatted")))
            }
        }
    }

    /// What `write!` calls: [`add_fmt`](Self::add_fmt) without the count.
    ///
    /// # Errors
    /// As `add_fmt`.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        self.add_fmt(text).map(drop)
    }

    /// Copies all the slices to the end, one after the other, and returns how many bytes they are.
    ///
    /// # Errors
    /// [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// use std::io::IoSlice;
    ///
    /// let mut buf = zerovent::Evbuffer::new();
    /// assert_eq!(buf.add_io_slices(&[IoSlice::new(b"head "), IoSlice::new(b"body")])?, 9);
    /// assert_eq!(buf.pullup(9)?, b"head body");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_add_iovec")]
    pub fn add_io_slices(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let total = slices.iter().try_fold(0_usize, |total, slice| total.checked_add(slice.len()));
        self.admit(self.frozen_back, total.ok_or(Error::Overflow)?)?;
        let mut pieces = Pieces { buffer: self, added: 0 };
        slices.iter().try_for_each(|slice| pieces.push(slice))?;
        Ok(pieces.finish())
    }
}

/// Bytes that were appended and of which nobody has heard yet. They are taken back unless the pieces are finished, so also when
/// formatting a value panics.
struct Pieces<'a> {
    buffer: &'a mut Evbuffer,
    added: usize,
}

impl Pieces<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.buffer.admit(false, piece.len())?;
        self.buffer.append(piece)?;
        self.buffer.len += piece.len();
        self.added += piece.len();
        Ok(())
    }

    fn finish(mut self) -> usize {
        let added = std::mem::take(&mut self.added);
        stats::copied(added);
        self.buffer.note_changed(added);
        self.buffer.tell(added, 0);
        added
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        if self.added > 0 {
            self.buffer.len -= self.added;
            self.buffer.take_back(self.added);
            self.buffer.check_invariants();
        }
    }
}

impl Evbuffer {
    /// Removes the last `count` bytes of the chain, which were appended just now and are in nobody else's view.
    fn take_back(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            match self.chain.back_mut() {
                Some(Node::Chunk(run)) if left < run.len() => return run.truncate(run.len() - left),
                Some(node) => left = left.saturating_sub(node.len()),
                None => return,
            }
            self.chain.pop_back();
        }
    }
}

/// Where formatted text goes, and why it could not.
struct TextSink<'a> {
    pieces: Pieces<'a>,
    refusal: Option<Error>,
}

impl fmt::Write for TextSink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.pieces.push(text.as_bytes()).map_err(|error| {
            self.refusal = Some(error);
            fmt::Error
        })
    }
}
