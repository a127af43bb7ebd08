//! Settling: once a turn, just before the loop waits, everything that was asked of a touched bufferevent is
//! carried out, and what has become due is queued. Pairs and filters touch each other while that is done, so the list
//! may grow while it is worked off; what exceeds a turn's share of that is left to the next turn.

use std::time::Duration;

use super::{BevEvents, Bufferevent, BuffereventId, Direction, Due, Engine, Rare, State, socket::later};
use crate::error::Result;
use crate::reactor::{Interest, RawId, Reactor, What};

/// How many visits of bufferevents that others have touched one settling makes beyond those that the user touched.
const LINK_VISITS_MAX: usize = 8192;

/// How much is read before what callbacks have made of it is sent. As long as it is little, the chunks are those of the pool and the bytes
/// are still in the nearest cache when they leave.
const UNSETTLED_MAX: usize = 256 * 1024;

impl Engine {
    /// Settles every bufferevent that was touched since the last time.
    #[inline]
    pub(crate) fn settle(&mut self, reactor: &mut Reactor) {
        if !self.is_settled() {
            self.settle_all(reactor);
        }
    }

    /// Whether settling has nothing to do.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.groups.are_quiet()
    }

    /// Whether so much has been read that what came of it should be sent before there is more.
    #[inline]
    pub(crate) fn has_read_much(&self) -> bool {
        self.unsettled >= UNSETTLED_MAX
    }

    #[inline(never)]
    fn settle_all(&mut self, reactor: &mut Reactor) {
        self.unsettled = 0;
        // Callbacks may have run for a while: deadlines count from now, not from when the loop woke up.
        let now_ns = reactor.refresh_now();
        self.settle_touched(reactor, now_ns);
        self.serve_groups(reactor, now_ns);
        // What members were given has touched their neighbours.
        self.settle_touched(reactor, now_ns);
        self.resume_soon(reactor);
    }

    fn settle_touched(&mut self, reactor: &mut Reactor, now_ns: u64) {
        // The list stays in place until all of it is done: the clean-up of a reference, or a filter, may panic, and the
        // rest is then settled by the next run.
        let most = self.touched.len() + LINK_VISITS_MAX;
        let mut place = 0;
        while place < self.touched.len().min(most) {
            if let Some(id) = self.arena.id_at(self.touched[place]) {
                self.settle_one(reactor, id, now_ns);
            }
            place += 1;
        }
        self.touched.drain(..place);
    }

    /// What is left of the list keeps the loop from waiting.
    fn resume_soon(&self, reactor: &mut Reactor) {
        for &index in &self.touched {
            if let Some(bufferevent) = self.arena.id_at(index).and_then(|id| self.arena.get(id)) {
                // The slot lives as long as its bufferevent.
                let _ = reactor.activate_later(bufferevent.slot, What::empty());
            }
        }
    }

    fn settle_one(&mut self, reactor: &mut Reactor, id: RawId, now_ns: u64) {
        let Some(bufferevent) = self.arena.get_mut(id) else { return };
        if !bufferevent.state.contains(State::TOUCHED) {
            return;
        }
        if bufferevent.state.intersects(State::LINKED | State::COVERED) {
            self.settle_link(reactor, id, now_ns);
        } else {
            bufferevent.carry_out(now_ns);
            self.conclude(reactor, id, now_ns);
        }
    }

    /// What could be moved has been: finds out what comes next, and when.
    pub(super) fn conclude(&mut self, reactor: &mut Reactor, id: RawId, now_ns: u64) {
        let Some(bufferevent) = self.arena.get_mut(id) else { return };
        bufferevent.shut_if_asked();
        if bufferevent.state.contains(State::CLOSING) && bufferevent.has_closed(now_ns) {
            // It was found a moment ago, so it is there to be removed.
            let _ = self.remove(reactor, BuffereventId(id));
            return;
        }
        bufferevent.schedule(reactor, now_ns);
        let is_tied = bufferevent.link().is_some();
        if bufferevent.is_member() {
            self.line_up(id);
        }
        if is_tied {
            self.tell_neighbours(reactor, id);
        }
    }

    /// Takes a bufferevent from its user: what it still has to send is sent, then its write half is shut down,
    /// and once the peer has closed too, or `within` has passed, it is removed.
    pub(crate) fn close_after_flush(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        within: Duration,
    ) -> Result<()> {
        let now_ns = reactor.refresh_now();
        self.get(id)?;
        let Some(id) = self.hand_on_rest(reactor, id, now_ns)? else { return Ok(()) };
        let bufferevent = self.get(id)?;
        let within_ns = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        bufferevent.state |= State::CLOSING | State::SHUT_ASKED;
        bufferevent.state -= State::PAUSED;
        bufferevent.enabled = Interest::READ | Interest::WRITE;
        bufferevent.heard = Due::empty();
        bufferevent.due = Due::empty();
        if let Some(rare) = bufferevent.rare.as_mut() {
            // What a turn may take still holds; marks and errors were for the user.
            (rare.marks, rare.error) = (Rare::usual().marks, None);
        }
        bufferevent.input.clear();
        (bufferevent.read_timeout_ms, bufferevent.write_timeout_ms) = (0, 0);
        bufferevent.read_deadline_ns = 0;
        bufferevent.write_deadline_ns = now_ns.saturating_add(within_ns).max(1);
        Ok(())
    }
}

impl Bufferevent {
    /// Does what it has to do by itself.
    pub(super) fn carry_out(&mut self, now_ns: u64) {
        self.refill(now_ns);
        self.write_once(now_ns, self.allowance(Direction::Write));
        // After writing, so that what has left is told too. What the callbacks add is sent in the next turn.
        self.input.settle();
        self.output.settle();
        self.state -= State::TOUCHED;
    }

    /// Queues what is left to do and sets the timer. The slot lives as long as its bufferevent, so none of the
    /// reactor's verbs can find it stale.
    fn schedule(&mut self, reactor: &mut Reactor, now_ns: u64) {
        if !self.due.is_empty() && !self.state.contains(State::COVERED) {
            let _ = reactor.activate(self.slot, What::empty());
        }
        let rest = self.work_left();
        if !rest.is_empty() || self.input.callbacks_due() || self.output.callbacks_due() {
            let _ = reactor.activate_later(self.slot, rest);
        }
        if self.fd.is_some() && !reactor.edge_triggered() {
            let _ = reactor.set_interest(self.slot, self.waits_for());
        }
        let _ = reactor.set_deadline(self.slot, self.next_deadline(now_ns));
        self.hold_loop(reactor);
    }

    /// What this turn's share did not suffice for.
    fn work_left(&self) -> What {
        let mut rest = What::empty();
        for (direction, what) in [(Direction::Read, What::READ), (Direction::Write, What::WRITE)] {
            rest.set(what, self.has_work(direction) && self.allowance(direction) > 0);
        }
        rest
    }

    /// What a backend without edges has to watch for.
    fn waits_for(&self) -> Interest {
        let mut interest = Interest::empty();
        interest.set(Interest::READ, self.waits_to_read());
        let writing = self.wants_write() || self.state.contains(State::CONNECTING);
        interest.set(Interest::WRITE, writing && !self.state.contains(State::WRITABLE));
        interest.set(Interest::CLOSED, self.state.contains(State::TELLS_CLOSE));
        interest
    }

    /// Starts the clock of a direction that has come to be wanted and stops that of one that no longer is.
    fn next_deadline(&mut self, now_ns: u64) -> Option<u64> {
        if !self.state.contains(State::CLOSING) {
            let wants_read = self.waits_to_read();
            self.read_deadline_ns =
                keep_or_start(self.read_deadline_ns, wants_read, now_ns, self.read_timeout_ms);
            let wants_write = self.waits_to_write();
            self.write_deadline_ns =
                keep_or_start(self.write_deadline_ns, wants_write, now_ns, self.write_timeout_ms);
        }
        let timeouts = [self.read_deadline_ns, self.write_deadline_ns].into_iter();
        let others = self.race_deadline_ns().into_iter().chain(self.refill_deadline_ns());
        timeouts.filter(|&deadline_ns| deadline_ns != 0).chain(others).min()
    }

    /// Whether reading is wanted, and it is not for a limit that nothing is read.
    fn waits_to_read(&self) -> bool {
        self.read_room() > 0 && !self.is_suspended(Direction::Read)
    }

    /// Whether writing is wanted, and it is not for a limit that nothing is written.
    fn waits_to_write(&self) -> bool {
        self.wants_write() && !self.is_suspended(Direction::Write)
    }

    /// A bufferevent keeps the loop running only while it waits for something.
    fn hold_loop(&mut self, reactor: &mut Reactor) {
        let unfinished = self.state.intersects(State::CONNECTING | State::CLOSING);
        let holds = unfinished || self.read_room() > 0 || self.wants_write();
        if holds != self.state.contains(State::HOLDS_LOOP) {
            self.state.set(State::HOLDS_LOOP, holds);
            let _ = reactor.set_holds_loop(self.slot, holds);
        }
    }

    /// The timer has come due: stops the directions whose time is up, unless a callback has just seen to it that they
    /// are not wanted any more.
    pub(super) fn expire(&mut self, now_ns: u64) {
        if self.state.contains(State::CLOSING) {
            return;
        }
        if is_past(self.read_deadline_ns, now_ns) && self.waits_to_read() {
            self.read_deadline_ns = 0;
            self.enabled -= Interest::READ;
            self.report(BevEvents::TIMEOUT | BevEvents::READING);
        }
        if is_past(self.write_deadline_ns, now_ns) && self.waits_to_write() {
            self.write_deadline_ns = 0;
            self.enabled -= Interest::WRITE;
            self.report(BevEvents::TIMEOUT | BevEvents::WRITING);
        }
    }

    /// Whether a closing bufferevent is through.
    fn has_closed(&self, now_ns: u64) -> bool {
        if self.rare().error.is_some() || is_past(self.write_deadline_ns, now_ns) {
            return true;
        }
        // Without a socket there is only one for whom the addresses of a host are still being tried.
        let is_without_socket = self.fd.is_none() && !self.state.contains(State::CONNECTING);
        let has_read_all = self.state.intersects(State::READ_OVER);
        is_without_socket || self.state.contains(State::WRITE_SHUT) && has_read_all
    }
}

fn keep_or_start(deadline_ns: u64, wanted: bool, now_ns: u64, timeout_ms: u32) -> u64 {
    match (wanted, deadline_ns) {
        (false, _) => 0,
        (true, 0) => later(now_ns, timeout_ms),
        (true, running) => running,
    }
}

fn is_past(deadline_ns: u64, now_ns: u64) -> bool {
    deadline_ns != 0 && deadline_ns <= now_ns
}
