//! The socket transport: one read a turn when the kernel says there is something, one pass of writing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{BevEvents, Bufferevent, BuffereventId, Direction, Due, Engine, State};
use crate::buffer::{Filled, ReadSpace};
use crate::error::Error;
use crate::reactor::{Interest, RawId, Reactor, Source, What};

/// How a socket is registered: for everything, once, if the backend reports edges.
pub(super) fn source(fd: &OwnedFd, reactor: &Reactor) -> Source {
    let all = Interest::READ | Interest::WRITE | Interest::CLOSED | Interest::URGENT;
    let interest = if reactor.edge_triggered() { all | Interest::EDGE } else { Interest::empty() };
    Source::Fd { fd: fd.as_raw_fd(), interest }
}

impl Engine {
    /// Takes in what the reactor reports and reads. Says which bufferevent has callbacks to be made now.
    pub(crate) fn on_ready(
        &mut self,
        reactor: &mut Reactor,
        index: u64,
        what: What,
    ) -> Option<BuffereventId> {
        let Some(id) = self.id_at(index) else {
            self.group_is_due(index);
            return None;
        };
        self.touch(id);
        let bufferevent = self.arena.get_mut(id.0)?;
        bufferevent.state.set(State::READABLE, bufferevent.state.contains(State::READABLE) || reads(what));
        if what.intersects(What::CLOSED | What::URGENT) {
            bufferevent.state |= State::READ_ON;
            bufferevent.tell_close(what);
        }
        if what.contains(What::WRITE) {
            bufferevent.state |= State::WRITABLE;
            bufferevent.finish_connect(reactor);
        }
        bufferevent.run_race(reactor);
        bufferevent.refill(reactor.now());
        let allowed = bufferevent.allowance(Direction::Read);
        self.read(id.0, allowed, reactor.now());
        if what.contains(What::TIMEOUT) {
            self.arena.get_mut(id.0)?.expire(reactor.now());
        }
        self.due_now(reactor, id, what)
    }

    /// Reads once, or for a relay as long as its other side takes everything, to where the bytes belong. Says how many came.
    pub(super) fn read(&mut self, id: RawId, allowed: usize, now_ns: u64) -> usize {
        let Some(bufferevent) = self.arena.get_mut(id) else { return 0 };
        if bufferevent.state.contains(State::COVERED)
            && let Some(tie) = bufferevent.tie_to_relay()
        {
            return self.pump(id, tie, allowed, now_ns);
        }
        let bytes = bufferevent.read_once(&mut self.space, allowed);
        self.unsettled += bytes;
        bytes
    }

    /// Immediate callbacks are made at once; deferred ones go to the back of the queue, once.
    fn due_now(&mut self, reactor: &mut Reactor, id: BuffereventId, what: What) -> Option<BuffereventId> {
        let bufferevent = self.arena.get(id.0)?;
        // What lies under a filter is heard by that, when they settle.
        if bufferevent.due.is_empty() || bufferevent.state.contains(State::COVERED) {
            return None;
        }
        if bufferevent.state.contains(State::DEFERRED) && !what.is_empty() {
            // The slot has just been handed out, so it exists.
            let _ = reactor.activate(bufferevent.slot, What::empty());
            return None;
        }
        Some(id)
    }

    /// Puts the bufferevent back into the queue: the loop was told to stop between two of its callbacks.
    pub(crate) fn resume_later(&mut self, reactor: &mut Reactor, id: BuffereventId) {
        if let Some(bufferevent) = self.arena.get(id.0)
            && !bufferevent.due.is_empty()
        {
            // The slot lives as long as the bufferevent.
            let _ = reactor.activate(bufferevent.slot, What::empty());
        }
    }
}

impl Bufferevent {
    /// One read of at most `allowed` bytes, if there is room and the kernel has something. Says how many it brought.
    pub(super) fn read_once(&mut self, space: &mut ReadSpace, allowed: usize) -> usize {
        let room = self.read_room().min(allowed);
        if room == 0 || !self.state.contains(State::READABLE) {
            return 0;
        }
        let Some(fd) = self.fd.as_ref() else { return 0 };
        let received = self.input.get().fill_from(fd.as_fd(), room, space);
        let bytes = self.take_in(received);
        if bytes > 0 {
            self.received();
        }
        bytes
    }

    /// Draws conclusions from what a read has brought. Says how many bytes that were.
    pub(super) fn take_in(&mut self, received: io::Result<Filled>) -> usize {
        match received {
            Ok(filled) if filled.bytes == 0 => self.reached_eof(),
            Ok(filled) => {
                // A short read has emptied the socket: the next byte brings an edge. But the end of the stream brings
                // none after the one that announced it, nor does what stands behind the mark of urgent data.
                let drained = filled.drained && !self.state.contains(State::READ_ON);
                self.state.set(State::READABLE, !drained);
                // Settling starts it anew: callbacks may take their time before that.
                self.read_deadline_ns = 0;
                self.spend(Direction::Read, filled.bytes);
                return filled.bytes;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.state -= State::READABLE,
            Err(e) => {
                self.state -= State::READABLE;
                self.state |= State::READ_FAILED;
                self.fail(BevEvents::READING, Error::Io(e));
            }
        }
        0
    }

    /// More has come into the input.
    pub(super) fn received(&mut self) {
        if self.state.contains(State::CLOSING) {
            // Nobody will look at it; reading on only lets the peer's last bytes pass without a reset.
            self.input.clear();
        } else if self.input.len() >= self.rare().marks.read_low || self.read_room() == 0 {
            self.owe(Due::READ);
        }
    }

    /// Tells those who want to know it early that the peer has closed, once.
    #[cold]
    fn tell_close(&mut self, what: What) {
        if what.contains(What::CLOSED) && self.state.contains(State::TELLS_CLOSE) {
            self.state -= State::TELLS_CLOSE;
            self.report(BevEvents::CLOSED);
        }
    }

    pub(super) fn reached_eof(&mut self) {
        self.state -= State::READABLE;
        self.state |= State::EOF;
        self.enabled -= Interest::READ;
        self.report(BevEvents::EOF | BevEvents::READING);
    }

    /// One pass over the output, of at most `allowed` bytes. Says how many have left.
    pub(super) fn write_once(&mut self, now_ns: u64, allowed: usize) -> usize {
        if allowed == 0 || !self.has_work(Direction::Write) {
            return 0;
        }
        let Some(fd) = self.fd.as_ref() else { return 0 };
        let before = self.output.len();
        let result = self.output.get().flush_to(fd.as_fd(), allowed);
        let sent = before - self.output.len();
        if sent > 0 {
            self.spend(Direction::Write, sent);
            self.sent(now_ns);
        }
        match result {
            Ok(flushed) => self.state.set(State::WRITABLE, !flushed.blocked),
            Err(error) => self.fail(BevEvents::WRITING, error),
        }
        sent
    }

    /// Some of the output has left.
    pub(super) fn sent(&mut self, now_ns: u64) {
        self.write_deadline_ns = self.write_deadline_after_progress(now_ns);
        if self.output.len() <= self.rare().marks.write_low {
            self.owe(Due::WRITE);
        }
    }

    /// A closing bufferevent has all its time from the start; an open one has its timeout anew.
    fn write_deadline_after_progress(&self, now_ns: u64) -> u64 {
        if self.state.contains(State::CLOSING) {
            self.write_deadline_ns
        } else {
            later(now_ns, self.write_timeout_ms)
        }
    }
}

/// Whether a report means that reading may find something, if only the end.
fn reads(what: What) -> bool {
    what.intersects(What::READ | What::CLOSED | What::URGENT)
}

/// The deadline `timeout_ms` from now, 0 for none.
pub(super) fn later(now_ns: u64, timeout_ms: u32) -> u64 {
    if timeout_ms == 0 { 0 } else { now_ns.saturating_add(u64::from(timeout_ms) * 1_000_000) }
}
