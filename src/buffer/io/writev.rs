//! Sending memory: neighbouring runs leave in one call.

use std::io::{self, IoSlice};

use super::{Sink, Step};
use crate::buffer::{Evbuffer, stats};
use crate::{Result, sys};

/// Runs that are gathered on a small stack frame; longer chains use the kernel's maximum.
const FEW: usize = 16;

/// The runs to send, and what stands behind them.
pub(super) struct Gathered {
    pub(super) runs: usize,
    pub(super) bytes: usize,
    /// Further bytes follow within the limit, so that the segment should be left open.
    pub(super) more: bool,
}

impl Evbuffer {
    /// Sends the memory runs at the front, up to `limit` bytes, with one call.
    pub(super) fn send_memory(&mut self, sink: &mut Sink<'_>, limit: usize) -> Result<Step> {
        let sent = if self.chain.count() <= FEW {
            self.send_gathered::<FEW>(sink, limit)
        } else {
            self.send_gathered::<{ sys::io::IOV_MAX }>(sink, limit)
        };
        match sent {
            Ok((count, offered)) => {
                stats::count(|totals| &totals.sent, count);
                self.discard(count);
                Ok(if count < offered { Step::Part(count) } else { Step::Whole(count) })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Part(0)),
            Err(error) if sink.is_socket && error.raw_os_error() == Some(libc::ENOTSOCK) => {
                sink.is_socket = false;
                Ok(Step::Retry)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the call; returns how much was taken and how much was offered.
    fn send_gathered<const MAX: usize>(&self, sink: &Sink<'_>, limit: usize) -> io::Result<(usize, usize)> {
        let mut slices = [IoSlice::new(&[]); MAX];
        let gathered = self.gather_runs(&mut slices, limit.min(sys::io::RW_MAX));
        let slices = &slices[..gathered.runs];
        let count = match slices {
            _ if !sink.is_socket => sys::io::writev(sink.fd, slices)?,
            [one] => sys::io::send(sink.fd, one, gathered.more)?,
            several => sys::io::sendmsg(sink.fd, several, gathered.more)?,
        };
        Ok((count, gathered.bytes))
    }

    pub(super) fn gather_runs<'a>(&'a self, slices: &mut [IoSlice<'a>], limit: usize) -> Gathered {
        let mut gathered = Gathered { runs: 0, bytes: 0, more: false };
        for node in self.chain.iter() {
            let left = limit - gathered.bytes;
            let memory = node.memory().filter(|_| gathered.runs < slices.len());
            let Some(bytes) = memory else {
                // A file, or more runs than one call takes: what is here is not the end of it.
                gathered.more = left > 0;
                break;
            };
            let part = bytes.len().min(left);
            if part == 0 {
                break;
            }
            slices[gathered.runs] = IoSlice::new(&bytes[..part]);
            gathered.runs += 1;
            gathered.bytes += part;
        }
        gathered
    }
}
