//! Flushing: letting bytes cross that a mark, or a filter that waits for more, would hold back.
//!
//! What is asked for is remembered and carried out by settling, along the whole stack of filters: reading from the
//! bottom up, so that what comes from beneath is in reach, and writing from the top down.

use std::os::fd::AsFd;

use super::link::Transport;
use super::{BevEvents, Bufferevent, BuffereventId, Engine, State};
use crate::error::{Error, Result};
use crate::reactor::{Interest, RawId};
use crate::sys;

/// How much is to be moved, whatever it costs; also what a filter is told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "bufferevent_flush_mode")]
pub enum FlushMode {
    /// As much as can conveniently be moved or transformed.
    #[doc(alias = "BEV_NORMAL")]
    Normal,
    /// As much as possible: marks do not count, and a filter gives what it holds back.
    #[doc(alias = "BEV_FLUSH")]
    Flush,
    /// As `Flush`, and behind it comes nothing: a filter writes its end, the partner of a pair gets the end of the stream.
    #[doc(alias = "BEV_FINISHED")]
    Finished,
}

/// The flushes that were asked for and have not been carried out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flush {
    read: Option<FlushMode>,
    write: Option<FlushMode>,
}

impl Bufferevent {
    /// Moves what one direction, or both, has to move, past what would hold it back. Takes place before the loop waits.
    ///
    /// On half a pair each mode moves everything, whatever the marks are and whether it is enabled; `Finished` gives the
    /// partner its [`EOF`](super::BevEvents::EOF). On a filter the mode goes to its closures, and `Flush` and `Finished`
    /// past the marks; then to the bufferevent beneath. On a socket it does nothing: what can be sent always is.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the partner, or the bufferevent beneath the filter, has been freed.
    #[doc(alias = "bufferevent_flush")]
    pub fn flush(&mut self, directions: Interest, mode: FlushMode) -> Result<()> {
        if !self.is_pair_or_filter() {
            return Ok(());
        }
        if !self.has_transport() {
            return Err(Error::Invalid("what it was tied to has been freed"));
        }
        let asked = &mut self.link_mut().flush;
        if directions.contains(Interest::READ) {
            asked.read = asked.read.max(Some(mode));
        }
        if directions.contains(Interest::WRITE) {
            asked.write = asked.write.max(Some(mode));
        }
        Ok(())
    }
}

/// Ending one direction.
impl Bufferevent {
    /// Tells the peer the end of the stream as soon as the output is empty, at the latest before the loop waits: a socket's write
    /// half is shut down, the partner of a pair gets its [`EOF`](super::BevEvents::EOF), and a filter writes its end and hands
    /// the wish on to what lies beneath. Reading goes on. What is written after that cannot be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use zerovent::bufferevent::Options;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let (near, mut far) = UnixStream::pair()?;
    /// let id = base.new_socket(Some(near.into()), &Options::new())?;
    /// base.bufferevent(id)?.write(b"a question")?;
    /// base.bufferevent(id)?.shutdown_after_flush();
    /// base.dispatch()?;
    /// let mut text = String::new();
    /// far.read_to_string(&mut text)?;
    /// assert_eq!(text, "a question");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn shutdown_after_flush(&mut self) {
        if !self.state.contains(State::WRITE_SHUT) {
            self.state |= State::SHUT_ASKED;
        }
    }

    /// Whether the last byte before the wished-for end has left, and the end can follow.
    fn is_to_be_shut(&self) -> bool {
        self.state.contains(State::SHUT_ASKED) && self.output.is_empty() && self.is_open()
    }

    /// Shuts the write half of a socket down if it is time.
    pub(super) fn shut_if_asked(&mut self) {
        if !self.is_to_be_shut() {
            return;
        }
        let Some(fd) = self.fd.as_ref() else { return };
        let done = sys::socket::shutdown_write(fd.as_fd());
        self.note_shut();
        if let Err(error) = done {
            self.fail(BevEvents::WRITING, Error::Io(error));
        }
    }

    fn note_shut(&mut self) {
        self.state -= State::SHUT_ASKED;
        self.state |= State::WRITE_SHUT;
    }
}

impl Engine {
    /// Gives the end of the stream to the partner of a pair, or through a filter to what lies beneath, if it is time.
    pub(super) fn shut_link(&mut self, id: RawId, now_ns: u64) {
        let Some(bufferevent) = self.arena.get_mut(id).filter(|bufferevent| bufferevent.fd.is_none()) else {
            return;
        };
        if !bufferevent.is_to_be_shut() {
            return;
        }
        bufferevent.note_shut();
        let below = bufferevent.beneath();
        self.flush_one(id, Interest::WRITE, FlushMode::Finished, now_ns);
        if let Some(below) = below.and_then(|below| self.arena.get_mut(below)) {
            below.shutdown_after_flush();
        }
        if let Some(below) = below {
            self.touch(BuffereventId(below));
        }
    }

    /// Carries out what [`Bufferevent::flush`] was asked for.
    pub(super) fn flush_asked(&mut self, id: RawId, now_ns: u64) {
        let Some(bufferevent) = self.arena.get_mut(id).filter(|bufferevent| bufferevent.link().is_some())
        else {
            return;
        };
        let Flush { read, write } = std::mem::take(&mut bufferevent.link_mut().flush);
        if read.is_none() && write.is_none() {
            return;
        }
        let stack = self.stack_beneath(id);
        if let Some(mode) = read {
            for &layer in stack.iter().rev() {
                self.flush_one(layer, Interest::READ, mode, now_ns);
            }
        }
        if let Some(mode) = write {
            for &layer in &stack {
                self.flush_one(layer, Interest::WRITE, mode, now_ns);
            }
        }
    }

    /// A bufferevent and those beneath it, from the top down.
    fn stack_beneath(&self, id: RawId) -> Vec<RawId> {
        let beneath = |id: &RawId| self.arena.get(*id).and_then(Bufferevent::beneath);
        std::iter::successors(Some(id), beneath).collect()
    }

    /// Flushes one direction of one bufferevent.
    pub(super) fn flush_one(&mut self, id: RawId, direction: Interest, mode: FlushMode, now_ns: u64) {
        match self.arena.get(id).and_then(Bufferevent::link).map(|link| &link.transport) {
            Some(Transport::Pair(_)) => self.flush_pair(id, direction, mode, now_ns),
            Some(Transport::Filter(_)) => self.flush_filter(id, direction, mode, now_ns),
            Some(Transport::Socket) | None => {}
        }
    }
}
