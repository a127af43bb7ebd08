//! Pairs: two bufferevents that are each other's transport. What one writes the other reads, without a socket, and
//! without a copy: nodes change their buffer.

use super::link::{Step, Transport};
use super::{BevEvents, Bufferevent, BuffereventId, Direction, Engine, FlushMode, Options, State};
use crate::error::Result;
use crate::reactor::{Interest, RawId, Reactor};

/// One of the two.
#[derive(Debug)]
pub(super) struct Half {
    /// Gone when the other has been freed.
    pub(super) partner: Option<RawId>,
    pub(super) eof_on_free: bool,
    /// The settling in which it has sent its share.
    spent_ns: u64,
}

/// Whether what holds bytes back is respected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    /// Marks are, and no more than this many bytes may cross.
    Marks(usize),
    Nothing,
}

/// What one step has done in one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Crossing {
    moved: bool,
    /// Its share of this turn did not suffice.
    has_more: bool,
}

impl Engine {
    /// Makes two bufferevents, each the other's transport.
    pub(crate) fn insert_pair(
        &mut self,
        reactor: &mut Reactor,
        options: &Options,
    ) -> Result<(BuffereventId, BuffereventId)> {
        // Its callbacks are always deferred: what one half does is told to the other, on and on.
        let options = &options.clone().deferred(true);
        let one = self.insert(reactor, None, options)?;
        let other = match self.insert(reactor, None, options) {
            Ok(other) => other,
            Err(error) => {
                self.remove(reactor, one)?;
                return Err(error);
            }
        };
        for (id, partner) in [(one, other), (other, one)] {
            let half = Half { partner: Some(partner.0), eof_on_free: options.eof_on_free, spent_ns: 0 };
            let bufferevent = self.alive(id)?;
            bufferevent.set_transport(Transport::Pair(half));
            // Moving nodes takes no time that others would have to wait for.
            let rare = bufferevent.rare_mut();
            (rare.max_single_read, rare.max_single_write) = (usize::MAX, usize::MAX);
        }
        Ok((one, other))
    }

    /// Lets bytes cross both ways, as far as both halves want them to.
    pub(super) fn step_pair(&mut self, id: RawId, partner: RawId, now_ns: u64) -> Step {
        let sent = self.cross(id, partner, now_ns);
        let received = self.cross(partner, id, now_ns);
        let moved = sent.moved || received.moved;
        Step { neighbour: moved.then_some(partner), has_more: sent.has_more || received.has_more }
    }

    /// Lets bytes cross one way, as far as the limits of both let them, and remembers whom a limit has stopped.
    fn cross(&mut self, from: RawId, to: RawId, now_ns: u64) -> Crossing {
        let allowed = self.allowance_across(from, to, now_ns);
        let Some((half, other)) = self.arena.get_two_mut(from, to) else { return Crossing::default() };
        let count = half.send_to(other, Force::Marks(allowed), now_ns);
        let could = half.could_send_to(other);
        self.account(from, Direction::Write, count);
        self.account(to, Direction::Read, count);
        let stopped = [(from, Direction::Write), (to, Direction::Read)]
            .map(|(id, direction)| could && self.most_to_move(id, direction, now_ns) == 0);
        if let Some((half, other)) = self.arena.get_two_mut(from, to) {
            half.set_limited(Direction::Write, stopped[0]);
            other.set_limited(Direction::Read, stopped[1]);
        }
        Crossing { moved: count > 0, has_more: could && stopped == [false; 2] }
    }

    fn allowance_across(&mut self, from: RawId, to: RawId, now_ns: u64) -> usize {
        let sending = self.most_to_move(from, Direction::Write, now_ns);
        sending.min(self.most_to_move(to, Direction::Read, now_ns))
    }

    /// Lets all bytes of one direction cross, whatever holds them back, and with [`FlushMode::Finished`] the end behind them.
    pub(super) fn flush_pair(&mut self, id: RawId, direction: Interest, mode: FlushMode, now_ns: u64) {
        let Some((half, other)) = self.partners(id) else { return };
        let partner = half.partner();
        let reads = direction.contains(Interest::READ);
        let (from, to) = if reads { (&mut *other, half) } else { (half, &mut *other) };
        let count = from.send_to(to, Force::Nothing, now_ns);
        if mode == FlushMode::Finished {
            other.is_told_the_end(direction);
        }
        let Some(partner) = partner else { return };
        let (from, to) = if reads { (partner.0, id) } else { (id, partner.0) };
        self.account(from, Direction::Write, count);
        self.account(to, Direction::Read, count);
    }

    fn partners(&mut self, id: RawId) -> Option<(&mut Bufferevent, &mut Bufferevent)> {
        let partner = self.arena.get(id)?.partner()?;
        self.touch(BuffereventId(id));
        self.touch(partner);
        self.arena.get_two_mut(id, partner.0)
    }
}

impl Bufferevent {
    /// The other half of a pair, until that is freed.
    #[doc(alias = "bufferevent_pair_get_partner")]
    #[must_use]
    pub fn partner(&self) -> Option<BuffereventId> {
        self.half()?.partner.map(BuffereventId)
    }

    fn half(&self) -> Option<&Half> {
        match &self.link()?.transport {
            Transport::Pair(half) => Some(half),
            _ => None,
        }
    }

    /// Moves bytes to `other`, and says how many.
    fn send_to(&mut self, other: &mut Bufferevent, force: Force, now_ns: u64) -> usize {
        let count = match force {
            Force::Marks(_) if self.half().is_some_and(|half| half.spent_ns == now_ns) => 0,
            Force::Marks(allowed) => self.sendable_to(other).min(allowed),
            Force::Nothing => self.output.len().min(other.input.room()),
        };
        if count == 0 || other.state.contains(State::EOF) {
            return 0;
        }
        let moved = self.output.get().thaw().remove_buffer(&mut other.input.get().thaw(), count);
        match moved {
            Ok(moved) => {
                self.sent(now_ns);
                other.read_deadline_ns = 0;
                other.received();
                self.note_share(other, now_ns);
                moved
            }
            Err(error) => {
                self.fail(BevEvents::WRITING, error);
                0
            }
        }
    }

    /// How many bytes may cross.
    fn sendable_to(&self, other: &Bufferevent) -> usize {
        if !self.enabled.contains(Interest::WRITE) || self.output.is_empty() {
            return 0;
        }
        self.output.len().min(self.max_single_write()).min(other.read_room())
    }

    /// Remembers that this settling's share is spent, if something is left that could cross.
    fn note_share(&mut self, other: &Bufferevent, now_ns: u64) {
        let is_spent = self.could_send_to(other);
        if let Transport::Pair(half) = &mut self.link_mut().transport
            && is_spent
        {
            half.spent_ns = now_ns;
        }
    }

    fn could_send_to(&self, other: &Bufferevent) -> bool {
        self.sendable_to(other) > 0
    }

    /// The other half has said that it writes no more, or reads no more.
    fn is_told_the_end(&mut self, direction: Interest) {
        if direction.contains(Interest::READ) {
            self.enabled -= Interest::WRITE;
            self.report(BevEvents::EOF | BevEvents::WRITING);
        } else if !self.state.contains(State::EOF) {
            self.reached_eof();
        }
    }
}
