//! Sending memory without the kernel copying it, for those who ask for it.
//!
//! What such a send offers is still read by the kernel after the call. The writer therefore keeps a view of every node it sent
//! from until the kernel's notice, and a chunk that is in view of two is never written or reused. So nothing that safe code does
//! with the buffer meanwhile can change what the peer gets.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::{Sink, Step, WriteStrategy};
use crate::buffer::chain::Chain;
use crate::buffer::{Evbuffer, stats};
use crate::{Error, Result, sys};

/// Runs that one such send carries; more would not fit one packet of the kernel's either.
const RUNS: usize = 16;

/// How often `finish` looks.
const PAUSE: Duration = Duration::from_millis(1);

/// A writer for one TCP socket that sends large runs of memory by MSG_ZEROCOPY.
///
/// The kernel sends straight from the buffer's storage, which is kept until it says that it is done: [`collect`](Self::collect) takes
/// these notices, and every write does so first. Clean-ups of references run only then. Files and pipes leave as always, and so do
/// runs that are too short for it to pay.
///
/// It is not worth its price by default: pinning pages and notices cost more than copying up to some hundred KiB, and over the loopback
/// the kernel copies anyway. When it reports that, the writer goes on as an ordinary one.
///
/// # Dropping it
/// Memory that the kernel may still send from must never be used for anything else. [`finish`](Self::finish) waits until nothing is
/// outstanding. A writer that is dropped before does not wait: what is outstanding then is *leaked*, because nobody is left to
/// hear the notices. Closing the socket does not help, as the kernel goes on sending after that.
///
/// # Examples
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use zerovent::{Evbuffer, buffer::ZeroCopyWriter};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = TcpStream::connect(listener.local_addr()?)?;
/// let (peer, _) = listener.accept()?;
/// let mut writer = ZeroCopyWriter::new(&socket)?;
/// let mut buf = Evbuffer::from(vec![7; 100_000]);
/// assert_eq!(writer.write(&mut buf, usize::MAX)?, 100_000);
/// drop(peer);
/// writer.finish(Duration::from_secs(5)).expect("the kernel lets go in the end");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ZeroCopyWriter {
    /// A duplicate, so that notices can be heard for as long as the writer lives.
    socket: OwnedFd,
    sends: Sends,
    strategy: WriteStrategy,
}

/// The sends of one socket.
struct Sends {
    /// What the kernel may still be sending from, in the order of the sends.
    held: VecDeque<Held>,
    /// The number of the next send.
    next: u32,
    /// Until the kernel reports that it copies.
    on: bool,
    run_min: usize,
}

struct Held {
    number: u32,
    bytes: usize,
    /// Views of every node that was offered.
    _nodes: Chain,
}

impl ZeroCopyWriter {
    /// A writer for a TCP socket, on which nobody must have used MSG_ZEROCOPY before and nobody else may read the error queue.
    ///
    /// # Errors
    /// [`Error::Invalid`] when SO_ZEROCOPY is already set on the socket, [`Error::Io`] when the kernel does not offer it there.
    pub fn new(socket: impl AsFd) -> Result<ZeroCopyWriter> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        if !sys::zerocopy::enable(socket.as_fd())? {
            return Err(Error::Invalid("MSG_ZEROCOPY is already in use on this socket"));
        }
        let strategy = WriteStrategy::new();
        let sends = Sends { held: VecDeque::new(), next: 0, on: true, run_min: 64 * 1024 };
        Ok(ZeroCopyWriter { socket, sends, strategy })
    }

    /// Memory of fewer bytes than this is sent as always; 64 KiB at first.
    #[must_use]
    pub fn at_least(mut self, bytes: usize) -> Self {
        self.sends.run_min = bytes;
        self
    }

    /// How files are sent.
    #[must_use]
    pub fn strategy(mut self, strategy: WriteStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// False once the kernel has reported that it copies.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.sends.on
    }

    /// Sends whose memory the kernel may still use.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.sends.held.len()
    }

    /// [`Evbuffer::write_to_at_most`] to the writer's socket.
    ///
    /// # Errors
    /// As `write_to_at_most`.
    pub fn write(&mut self, buf: &mut Evbuffer, limit: usize) -> Result<usize> {
        self.collect()?;
        if buf.is_empty() || limit == 0 {
            return Ok(0);
        }
        buf.admit_removal()?;
        // One change, however many calls it takes: a callback in their midst could add to what is being sent.
        buf.batched(|buf| {
            let before = buf.len;
            match self.write_pass(buf, limit) {
                Ok(()) if buf.len == before => Err(Error::Io(io::ErrorKind::WouldBlock.into())),
                Err(error) if buf.len == before => Err(error),
                _ => Ok(before - buf.len),
            }
        })
    }

    fn write_pass(&mut self, buf: &mut Evbuffer, limit: usize) -> Result<()> {
        let mut sink = Sink::new(self.socket.as_fd(), self.strategy);
        let mut left = limit;
        while left > 0 && !buf.is_empty() {
            let step = match self.sends.send(sink.fd, buf, left)? {
                Some(step) => step,
                None => buf.send_front(&mut sink, left)?,
            };
            match step {
                Step::Whole(count) => left -= count,
                Step::Part(_) => return Ok(()),
                Step::Retry => {}
            }
        }
        Ok(())
    }

    /// Takes the notices that are there and lets go of the memory they name; returns how many sends are still outstanding.
    ///
    /// A loop hears of a notice as an error condition of the socket (EPOLLERR) without an error.
    ///
    /// # Errors
    /// [`Error::Io`] when the error queue cannot be read.
    pub fn collect(&mut self) -> Result<usize> {
        while !self.sends.held.is_empty() {
            let Some(notice) = sys::zerocopy::next_notice(self.socket.as_fd())? else { break };
            self.sends.let_go(notice);
        }
        Ok(self.sends.held.len())
    }

    /// Waits until the kernel is done with all memory, at most for `patience`.
    ///
    /// # Errors
    /// The writer itself, when something is outstanding still.
    pub fn finish(mut self, patience: Duration) -> Result<(), ZeroCopyWriter> {
        let deadline = Instant::now().checked_add(patience);
        while !matches!(self.collect(), Ok(0)) {
            let left = deadline.map_or(PAUSE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(self);
            }
            // A socket that has failed is always ready to say so, so waiting for it alone could spin.
            thread::sleep(left.min(PAUSE));
        }
        Ok(())
    }
}

impl Sends {
    /// Sends the memory at the front without a copy; `None` when it has to go another way.
    fn send(&mut self, socket: BorrowedFd<'_>, buf: &mut Evbuffer, limit: usize) -> Result<Option<Step>> {
        if !self.on {
            return Ok(None);
        }
        let mut slices = [IoSlice::new(&[]); RUNS];
        let gathered = buf.gather_runs(&mut slices, limit.min(sys::io::RW_MAX));
        if gathered.bytes < self.run_min.max(1) {
            return Ok(None);
        }
        // Whatever can fail comes before the call: afterwards the memory must be held.
        let mut nodes = Chain::new();
        buf.chain.iter().take(gathered.runs).try_for_each(|node| nodes.push_back(node.share()))?;
        self.held.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let runs = &slices[..gathered.runs];
        match sys::zerocopy::sendmsg(socket, runs, gathered.more) {
            Ok(count) => {
                let offered = gathered.bytes;
                self.held.push_back(Held { number: self.next, bytes: count, _nodes: nodes });
                self.next = self.next.wrapping_add(1);
                stats::count(|totals| &totals.zerocopy, count);
                buf.discard(count);
                Ok(Some(if count < offered { Step::Part(count) } else { Step::Whole(count) }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(Step::Part(0))),
            // No room for further notices, or no right to pin so much: this one goes the ordinary way.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EPERM)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn let_go(&mut self, notice: sys::zerocopy::Notice) {
        self.on &= !notice.copied;
        let span = notice.last.wrapping_sub(notice.first);
        self.held.retain(|held| {
            let named = held.number.wrapping_sub(notice.first) <= span;
            if named && notice.copied {
                stats::count(|totals| &totals.zerocopy_copied, held.bytes);
            }
            !named
        });
    }
}

impl Drop for ZeroCopyWriter {
    fn drop(&mut self) {
        if !matches!(self.collect(), Ok(0)) {
            mem::forget(mem::take(&mut self.sends.held));
        }
    }
}

impl fmt::Debug for ZeroCopyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZeroCopyWriter")
            .field("socket", &self.socket)
            .field("on", &self.sends.on)
            .field("outstanding", &self.sends.held.len())
            .finish_non_exhaustive()
    }
}
