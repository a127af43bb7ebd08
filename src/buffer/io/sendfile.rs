//! Sending files without seeing them, with reading as the way out where the kernel cannot.

use std::io;
use std::os::fd::AsFd;

use super::{Sink, Step, is_unsupported};
use crate::buffer::node::Node;
use crate::buffer::{Evbuffer, stats};
use crate::{Error, Result, sys};

impl Evbuffer {
    /// Sends from the file node at the front, up to `limit` bytes, with one call.
    pub(super) fn send_file(&mut self, sink: &mut Sink<'_>, limit: usize) -> Result<Step> {
        let Some(Node::File(range)) = self.chain.front() else { return Ok(Step::Retry) };
        if !sink.takes_sendfile || !range.segment.may_sendfile() {
            self.materialise_node(0)?;
            return Ok(Step::Retry);
        }
        if range.segment.is_broken() {
            return Err(Error::FileChanged);
        }
        let wanted = range.len.min(limit).min(sink.strategy.piece());
        let place = range.segment.offset() + range.offset;
        match sys::io::sendfile(sink.fd, range.segment.as_fd(), place, wanted) {
            Ok(0) => Err(Error::ShortFile),
            Ok(count) => {
                stats::count(|totals| &totals.sendfile, count);
                if let Err(error) = range.segment.keeps_promise() {
                    // The node stays, if only with its last byte: what stands behind it must not leave.
                    self.discard(count.min(range.len - 1));
                    return Err(error);
                }
                self.discard(count);
                // A short count can mean a full descriptor or a short file. Only the next call tells, and an
                // edge-triggered loop would never hear of the second, so it is made.
                Ok(Step::Whole(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Part(0)),
            Err(error) if is_unsupported(&error) => {
                sink.takes_sendfile = false;
                Ok(Step::Retry)
            }
            Err(error) => Err(error.into()),
        }
    }
}
