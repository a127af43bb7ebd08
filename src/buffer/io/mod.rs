//! Buffers and descriptors: the strategy of reading and writing. The calls themselves are in `sys::io`.
//!
//! Writing is one pass over the chain, until the descriptor would block, the limit is reached or nothing is left. Neighbouring
//! memory nodes leave in one `sendmsg`; a file node leaves by `sendfile`, or is read first when it is small (the caller's
//! [`WriteStrategy`] says what is small); a pipe node leaves by `splice`. Memory in front of a file or a pipe is sent with
//! MSG_MORE, so that a head and a small file share a segment. The limit binds every kind of node.

mod readv;
mod sendfile;
mod splice;
mod strategy;
mod writev;
mod zerocopy;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::Evbuffer;
use super::node::Node;
use crate::{Error, Result};

pub(crate) use readv::{Filled, ReadSpace};
pub(crate) use splice::is_refusal;
pub use strategy::WriteStrategy;
pub use zerocopy::ZeroCopyWriter;

/// What one pass of [`Evbuffer::flush_to`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Bytes that left the buffer.
    pub(crate) bytes: usize,
    /// True when the descriptor took no more; false when the buffer is empty or the limit was reached.
    pub(crate) blocked: bool,
}

/// What is known about the descriptor in the course of one pass.
struct Sink<'fd> {
    fd: BorrowedFd<'fd>,
    strategy: WriteStrategy,
    /// Set while the file at the front is being sent by sendfile; its end is then not read, however short.
    within_file: bool,
    /// Cleared when a send answers ENOTSOCK.
    is_socket: bool,
    /// Cleared when the kernel cannot send this file to this descriptor.
    takes_sendfile: bool,
    /// Cleared when the kernel cannot splice to this descriptor.
    takes_splice: bool,
}

impl<'fd> Sink<'fd> {
    fn new(fd: BorrowedFd<'fd>, strategy: WriteStrategy) -> Sink<'fd> {
        Sink { fd, strategy, within_file: false, is_socket: true, takes_sendfile: true, takes_splice: true }
    }
}

/// How far one system call got.
enum Step {
    /// Everything that was offered was taken.
    Whole(usize),
    /// Less was taken: the descriptor is full.
    Part(usize),
    /// Nothing was taken; another way has to be tried, and the sink has been told which.
    Retry,
}

/// Sending and receiving.
impl Evbuffer {
    /// Writes everything to a descriptor of any kind; see [`write_to_at_most`](Self::write_to_at_most).
    ///
    /// # Errors
    /// As `write_to_at_most`.
    ///
    /// # Examples
    /// ```
    /// use std::io::Read;
    ///
    /// let (mut reader, writer) = std::io::pipe()?;
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"through a pipe")?;
    /// assert_eq!(buf.write_to(&writer)?, 14);
    /// drop(writer);
    /// let mut text = String::new();
    /// reader.read_to_string(&mut text)?;
    /// assert_eq!(text, "through a pipe");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "evbuffer_write")]
    pub fn write_to(&mut self, fd: impl AsFd) -> Result<usize> {
        self.write_to_at_most(fd, usize::MAX)
    }

    /// Writes up to `limit` bytes to a descriptor of any kind and removes them; returns how many went. File nodes count like all others.
    ///
    /// Writing never raises SIGPIPE.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front is frozen, [`Error::Io`] with `WouldBlock` when a non-blocking descriptor takes nothing,
    /// [`Error::Io`] for any other refusal, [`Error::ShortFile`] when a file turns out shorter than its segment,
    /// [`Error::FileChanged`] when it is not as its segment promises. When
    /// bytes were written before the error, they are returned, and the error comes with the next call.
    ///
    /// # Differences from libevent
    /// Writing an empty buffer returns 0 and is no error.
    #[doc(alias = "evbuffer_write_atmost")]
    pub fn write_to_at_most(&mut self, fd: impl AsFd, limit: usize) -> Result<usize> {
        self.write_fd(fd.as_fd(), limit, WriteStrategy::new())
    }

    fn write_fd(&mut self, fd: BorrowedFd<'_>, limit: usize, strategy: WriteStrategy) -> Result<usize> {
        if self.is_empty() || limit == 0 {
            return Ok(0);
        }
        self.admit_removal()?;
        self.batched(|buffer| buffer.write_pass(fd, limit, strategy))
    }

    /// [`write_to_at_most`](Self::write_to_at_most) while nobody is told of what leaves.
    fn write_pass(&mut self, fd: BorrowedFd<'_>, limit: usize, strategy: WriteStrategy) -> Result<usize> {
        let before = self.len;
        match self.flush_pass(fd, limit, strategy) {
            Ok(Flushed { bytes: 0, blocked: true }) => Err(Error::Io(io::ErrorKind::WouldBlock.into())),
            Ok(flushed) => Ok(flushed.bytes),
            Err(_) if self.len < before => Ok(before - self.len),
            Err(error) => Err(error),
        }
    }

    /// Sends up to `limit` bytes in one pass, files by sendfile, whatever is frozen.
    ///
    /// # Errors
    /// As [`flush_pass`](Self::flush_pass).
    pub(crate) fn flush_to(&mut self, fd: BorrowedFd<'_>, limit: usize) -> Result<Flushed> {
        self.batched(|buffer| buffer.flush_pass(fd, limit, WriteStrategy::SENDFILE))
    }

    /// Sends up to `limit` bytes in one pass, whatever is frozen.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ShortFile`], [`Error::FileChanged`] or [`Error::OutOfMemory`]; what was sent before has left the buffer.
    fn flush_pass(&mut self, fd: BorrowedFd<'_>, limit: usize, strategy: WriteStrategy) -> Result<Flushed> {
        let mut sink = Sink::new(fd, strategy);
        let mut bytes = 0;
        while bytes < limit && self.len > 0 {
            match self.send_front(&mut sink, limit - bytes)? {
                Step::Whole(count) => bytes += count,
                Step::Part(count) => return Ok(Flushed { bytes: bytes + count, blocked: true }),
                Step::Retry => {}
            }
        }
        Ok(Flushed { bytes, blocked: false })
    }

    /// Sends as much from the front as one call can.
    fn send_front(&mut self, sink: &mut Sink<'_>, limit: usize) -> Result<Step> {
        let is_at_file = |buf: &Evbuffer| matches!(buf.chain.front(), Some(Node::File(_)));
        let goes_on = sink.within_file && is_at_file(self);
        if self.has_unread && sink.strategy.reads_files() && !goes_on {
            self.read_small_files(sink, limit)?;
        }
        sink.within_file = is_at_file(self);
        match self.chain.front() {
            Some(Node::File(_)) => self.send_file(sink, limit),
            Some(Node::Pipe(range)) if range.memory().is_none() => self.send_pipe(sink, limit),
            _ => self.send_memory(sink, limit),
        }
    }
}

/// True for the answers by which the kernel says that this pair of descriptors is not for sendfile, or for splice.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::ESPIPE))
}
