//! Bytes that pass through without being seen: in by splice to a kernel pipe, out of it by splice again, with reading as the
//! way out where the kernel cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::{Sink, Step, is_unsupported};
use crate::buffer::Evbuffer;
use crate::buffer::node::Node;
use crate::buffer::pipe::{Pipe, PipeRange, Spliced};
use crate::{Error, Result, sys};

/// Receiving without looking.
impl Evbuffer {
    /// Moves up to `max` bytes from a socket or pipe to the end without bringing them into this process; returns how many, 0 at the end of the
    /// stream. They wait in a kernel pipe and leave through [`write_to`](Self::write_to) by splice, in order with everything around them.
    ///
    /// One call brings at most what a pipe holds, usually 1 MiB. Bytes of several calls share a pipe while it has room.
    /// When the thread's [`PipePool`](super::super::PipePool) is exhausted, or the descriptor is not one to splice from, they are read as by
    /// [`read_from`](Self::read_from).
    ///
    /// Whoever inspects the bytes (peek, pullup, a search) reads them in, for good: at most 64 KiB more than was asked for while no
    /// other buffer has bytes of the same pipe, and otherwise, as copying out does, everything that is in that pipe. They can be moved
    /// and cut freely; the part that stands first in the pipe can still leave by splice. Bytes that two buffers share are read in
    /// by the first that sends them.
    ///
    /// Each splice costs about as much as a read; what it saves is the copy, so it pays from some tens of KiB at a time.
    ///
    /// # Errors
    /// As [`read_from`](Self::read_from).
    ///
    /// # Examples
    /// ```
    /// use std::io::{Read, Write};
    /// use zerovent::{Evbuffer, buffer::CopyStats};
    ///
    /// let (from, mut source) = std::io::pipe()?;
    /// let (mut sink, to) = std::io::pipe()?;
    /// source.write_all(b"body")?;
    ///
    /// let before = CopyStats::now();
    /// let mut buf = Evbuffer::new();
    /// buf.splice_from(&from, usize::MAX)?;
    /// buf.prepend(b"head ")?;
    /// buf.write_to(&to)?;
    /// assert_eq!((CopyStats::now() - before).spliced_out, 4);
    ///
    /// drop(to);
    /// let mut text = String::new();
    /// sink.read_to_string(&mut text)?;
    /// assert_eq!(text, "head body");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn splice_from(&mut self, fd: impl AsFd, max: usize) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        self.admit(self.frozen_back, 1)?;
        let fd = fd.as_fd();
        if sys::pipe::is_stream(fd)? {
            match self.splice_into_buffer(fd, max) {
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error.into()),
                Ok(Some(count)) => return Ok(count),
                Ok(None) => {}
            }
        }
        self.read_from(fd, max)
    }

    /// Moves up to `max` bytes from a socket or pipe into a kernel pipe, whatever is frozen; 0 is the end of the stream, and `None` says that
    /// there is no pipe to be had, so that the bytes should be read instead.
    ///
    /// # Errors
    /// What the call answered, `WouldBlock` included (also [`is_refusal`]), or `OutOfMemory`; the buffer is then as it was.
    pub(crate) fn splice_into_buffer(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<Option<usize>> {
        self.admit(false, 1)?;
        let max = max.min(self.room());
        if let Some(Node::Pipe(range)) = self.chain.back_mut() {
            match range.extend(fd, max) {
                // Full, or nothing to take: only an empty pipe can tell.
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(filled) => {
                    let count = filled?;
                    self.note_added(count);
                    return Ok(Some(count));
                }
                None => {}
            }
        }
        // What cannot be undone after the call is done before it.
        self.chain.reserve(1)?;
        let Some(mut pipe) = Pipe::take() else { return Ok(None) };
        let count = pipe.fill(fd, max, true)?;
        if count > 0 {
            self.attach(Node::Pipe(PipeRange::new(pipe)))?;
            self.note_added(count);
        }
        Ok(Some(count))
    }
}

/// True for the answers that say that this descriptor is not for splicing, but may be for reading.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    is_unsupported(error) || error.raw_os_error() == Some(libc::EPERM)
}

/// Sending, and looking after all.
impl Evbuffer {
    /// Sends from the pipe node at the front, up to `limit` bytes, with one call.
    pub(super) fn send_pipe(&mut self, sink: &mut Sink<'_>, limit: usize) -> Result<Step> {
        let more = limit.min(self.len);
        let Some(Node::Pipe(range)) = self.chain.front_mut() else { return Ok(Step::Retry) };
        if !sink.takes_splice {
            self.materialise_pipe(0)?;
            return Ok(Step::Retry);
        }
        let more = more > range.len();
        match range.splice_to(sink.fd, limit, more) {
            Ok(Spliced::Some(0)) => Err(Error::Io(io::ErrorKind::WriteZero.into())),
            Ok(Spliced::Some(count)) => {
                self.discard(count);
                // A short count can mean a full descriptor or only pages of odd sizes. The next call tells.
                Ok(Step::Whole(count))
            }
            Ok(Spliced::Impossible) => {
                self.materialise_pipe(0)?;
                Ok(Step::Retry)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Part(0)),
            Err(Error::Io(error)) if is_unsupported(&error) => {
                sink.takes_splice = false;
                Ok(Step::Retry)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the front of pipe node `index` memory: a chunk of it when the rest can stay where it is, and otherwise all.
    pub(in crate::buffer) fn materialise_pipe(&mut self, index: usize) -> Result<()> {
        // What is read is out of the pipe, so the place for it comes first.
        self.chain.reserve(1)?;
        let Some(Node::Pipe(range)) = self.chain.get_mut(index) else { return Ok(()) };
        let node = match range.read_front()? {
            Some(run) => Node::Chunk(run),
            None => Node::Reference(range.read_in()?),
        };
        self.replace_front(index, node)
    }
}
