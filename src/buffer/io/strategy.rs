//! Which way a file leaves: through memory, so that it shares a call with what stands around it, or by sendfile.
//!
//! Measured, a small file is sent as cheaply from memory as by sendfile, and one call less is what counts; from some
//! tens of KiB on, the copy costs more than the call. Very large files go in pieces.

use std::os::fd::AsFd;

use super::Sink;
use crate::buffer::Evbuffer;
use crate::buffer::node::Node;
use crate::{Result, sys};

/// Up to this many bytes from the front, files are read ahead for one call: more than a socket usually takes at once.
const AHEAD_MAX: usize = 256 * 1024;

/// How [`Evbuffer::write_with`] sends files.
///
/// # Examples
/// ```
/// use std::io::Write;
/// use zerovent::{Evbuffer, buffer::{CopyStats, WriteStrategy}};
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"a small file")?;
/// let (_reader, writer) = std::io::pipe()?;
/// let mut buf = Evbuffer::new();
/// buf.add_file(file, 0, None)?;
///
/// let before = CopyStats::now();
/// buf.write_with(&writer, usize::MAX, WriteStrategy::new().read_files_up_to(0))?;
/// assert_eq!((CopyStats::now() - before).sendfile, 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteStrategy {
    read_max: usize,
    piece: usize,
}

impl WriteStrategy {
    /// Every file by sendfile, in as few calls as the kernel allows.
    pub(crate) const SENDFILE: WriteStrategy = WriteStrategy { read_max: 0, piece: usize::MAX };

    /// What [`Evbuffer::write_to`] does: files of up to 32 KiB from memory, larger ones by sendfile in pieces of up to 1 MiB.
    #[must_use]
    pub const fn new() -> WriteStrategy {
        WriteStrategy { read_max: 32 * 1024, piece: 1 << 20 }
    }

    /// File nodes of up to `bytes` are read and leave in one call with the memory around them; larger ones leave by
    /// sendfile. 0 sends every file by sendfile.
    ///
    /// A file that turns out short is found before anything of that call is sent, when it is the first in it.
    #[must_use]
    pub const fn read_files_up_to(self, bytes: usize) -> WriteStrategy {
        WriteStrategy { read_max: bytes, ..self }
    }

    /// The most that one sendfile sends; at least 1. Between two pieces other threads get at the socket and the file.
    #[must_use]
    pub const fn sendfile_piece(self, bytes: usize) -> WriteStrategy {
        WriteStrategy { piece: if bytes == 0 { 1 } else { bytes }, ..self }
    }

    /// Whether any file is sent from memory by choice.
    pub(super) fn reads_files(&self) -> bool {
        self.read_max > 0
    }

    /// The most bytes of a file to send with one call.
    pub(super) fn piece(&self) -> usize {
        self.piece
    }
}

impl Default for WriteStrategy {
    fn default() -> Self {
        WriteStrategy::new()
    }
}

impl Evbuffer {
    /// [`write_to_at_most`](Self::write_to_at_most) with a say in how files are sent.
    ///
    /// # Errors
    /// As `write_to_at_most`.
    pub fn write_with(&mut self, fd: impl AsFd, limit: usize, strategy: WriteStrategy) -> Result<usize> {
        self.write_fd(fd.as_fd(), limit, strategy)
    }

    /// Reads the small files among what one call could send. An error is only returned when no other file stands in
    /// front: what does is sent first.
    pub(super) fn read_small_files(&mut self, sink: &Sink<'_>, limit: usize) -> Result<()> {
        let until = limit.min(self.len).min(AHEAD_MAX);
        let (mut index, mut start, mut files) = (0, 0, 0);
        while start < until && index < sys::io::IOV_MAX {
            match self.chain.get(index) {
                Some(Node::File(range)) if range.len <= sink.strategy.read_max => {
                    match self.materialise_node(index) {
                        Err(_) if files > 0 => break,
                        done => done?,
                    }
                    files += 1;
                }
                Some(node) if node.is_unread() => break,
                _ => {}
            }
            start += self.chain.get(index).map_or(0, Node::len);
            index += 1;
        }
        self.check_invariants();
        Ok(())
    }
}
