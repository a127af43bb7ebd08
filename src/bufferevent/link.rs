//! What ties bufferevents to each other: who gives whom its bytes, how that is settled, and how it ends.
//!
//! A pair is two bufferevents side by side, a filter lies above another bufferevent; a stack of filters may stand on
//! half a pair. No step moves bytes further than to a neighbour: it touches the neighbour, which is settled behind it in
//! the same list. So a stack of any height needs no stack of calls, and bytes cross all of it before the loop waits.
//!
//! A bufferevent that is covered by a filter keeps what becomes due for it; the filter takes that when it is settled.

use super::filter::Layer;
use super::flush::Flush;
use super::pause::Pause;
use super::relay::Tie;
use super::{Bufferevent, BuffereventId, Due, Engine, State};
use crate::error::Result;
use crate::reactor::{Interest, RawId, Reactor, What};

/// A bufferevent's ties to others.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) transport: Transport,
    /// The filter that lies above.
    pub(super) above: Option<RawId>,
    /// What the filter above saw last.
    pub(super) seen: Option<Outline>,
    /// What was asked for and is carried out by settling.
    pub(super) flush: Flush,
    /// Those who do not read while it has too much to send.
    pub(super) pauses: Vec<Pause>,
    /// How many have too much to send for it to read.
    pub(super) paused_by: u32,
    pub(super) relay: Option<Tie>,
}

/// Where bytes come from and go to.
#[derive(Debug, Default)]
pub(super) enum Transport {
    #[default]
    Socket,
    Pair(super::pair::Half),
    Filter(Layer),
}

/// What a filter looks at in the bufferevent beneath it, apart from what becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    input_len: usize,
    output_limit: Option<usize>,
}

/// Who was affected by a step, apart from the bufferevent that made it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    pub(super) neighbour: Option<RawId>,
    /// Its share of this turn did not suffice.
    pub(super) has_more: bool,
}

#[cfg(feature = "capi")]
impl Engine {
    /// Two different bufferevents as their user reaches them, to move bytes from one to the other.
    pub(crate) fn get_two(
        &mut self,
        one: BuffereventId,
        other: BuffereventId,
    ) -> Result<(&mut Bufferevent, &mut Bufferevent)> {
        self.get(one)?;
        self.get(other)?;
        self.arena.get_two_mut(one.0, other.0).ok_or(crate::Error::Stale)
    }
}

impl Bufferevent {
    pub(super) fn link(&self) -> Option<&Link> {
        self.rare().link.as_deref()
    }

    pub(super) fn link_mut(&mut self) -> &mut Link {
        self.rare_mut().link.get_or_insert_default()
    }

    pub(super) fn take_link(&mut self) -> Option<Box<Link>> {
        self.rare.as_mut()?.link.take()
    }

    /// Makes it half a pair or a filter: no kernel says when it can be written.
    pub(super) fn set_transport(&mut self, transport: Transport) {
        self.link_mut().transport = transport;
        self.state |= State::LINKED;
        self.state -= State::WRITABLE;
    }

    /// Whether it was made as half a pair or as a filter, also if what it was tied to has gone.
    pub(super) fn is_pair_or_filter(&self) -> bool {
        self.link().is_some_and(|link| !matches!(link.transport, Transport::Socket))
    }

    /// What a filter above has to know.
    pub(super) fn outline(&self) -> Outline {
        Outline { input_len: self.input.len(), output_limit: self.output_limit() }
    }

    /// The bufferevent beneath this one, if it is a filter.
    pub(super) fn beneath(&self) -> Option<RawId> {
        match &self.link()?.transport {
            Transport::Filter(layer) => layer.underlying,
            _ => None,
        }
    }

    /// The filter above, if it has something to look at.
    pub(super) fn above_to_tell(&self) -> Option<RawId> {
        let link = self.link()?;
        let news = !self.due.is_empty() || link.seen != Some(self.outline());
        link.above.filter(|_| news)
    }

    /// No filter lies above any more, and nobody listens.
    fn uncover(&mut self) {
        self.state -= State::COVERED | State::SUSPENDED | State::HUNGRY;
        (self.heard, self.due) = (Due::empty(), Due::empty());
        self.events = super::BevEvents::empty();
        let link = self.link_mut();
        (link.above, link.seen) = (None, None);
    }

    /// What gave it bytes has gone: it keeps what it has, and nothing happens to it any more.
    fn cut_off(&mut self) {
        self.state -= State::LINKED;
        match &mut self.link_mut().transport {
            Transport::Socket => {}
            Transport::Pair(half) => half.partner = None,
            Transport::Filter(layer) => layer.underlying = None,
        }
    }
}

/// Settling.
impl Engine {
    /// Settles a bufferevent that is tied to others: lets bytes cross to and from its neighbours, and touches those who have
    /// something to do because of that.
    #[cold]
    pub(super) fn settle_link(&mut self, reactor: &mut Reactor, id: RawId, now_ns: u64) {
        self.flush_asked(id, now_ns);
        let step = self.step(id, now_ns);
        if let Some(neighbour) = step.neighbour {
            self.touch(BuffereventId(neighbour));
        }
        let Some(bufferevent) = self.arena.get_mut(id) else { return };
        bufferevent.carry_out(now_ns);
        if step.has_more {
            // The slot lives as long as its bufferevent.
            let _ = reactor.activate_later(bufferevent.slot, What::empty());
        }
        self.shut_link(id, now_ns);
        // Only sockets linger until they are closed, and one that does has been taken from its filter.
        self.conclude(reactor, id, now_ns);
    }

    fn step(&mut self, id: RawId, now_ns: u64) -> Step {
        match self.arena.get(id).and_then(Bufferevent::link).map(|link| &link.transport) {
            Some(Transport::Pair(half)) => half.partner.map(|partner| self.step_pair(id, partner, now_ns)),
            Some(Transport::Filter(layer)) => {
                layer.underlying.map(|below| self.step_filter(id, below, now_ns))
            }
            Some(Transport::Socket) | None => None,
        }
        .unwrap_or_default()
    }
}

/// Telling.
impl Engine {
    /// Lets those know who depend on what it holds.
    pub(super) fn tell_neighbours(&mut self, reactor: &mut Reactor, id: RawId) {
        if let Some(above) = self.arena.get(id).and_then(Bufferevent::above_to_tell) {
            self.touch(BuffereventId(above));
        }
        self.apply_pauses(id);
        self.follow_relay(reactor, id);
    }
}

/// Ending.
impl Engine {
    /// Cuts the ties of a bufferevent that has been freed, and frees what it owned, however many filters deep.
    pub(super) fn unlink(&mut self, reactor: &mut Reactor, id: RawId, link: Link) {
        // Filters are dropped when everything is in order: dropping runs their owner's code.
        let mut dropped = Vec::new();
        let mut next = Some((id, link));
        while let Some((id, link)) = next.take() {
            self.lift(&link.pauses);
            self.leave_relay(reactor, id, link.relay);
            self.cut_ties(&link);
            let owned = owned_beneath(&link);
            dropped.push(link);
            let Some(below) = owned else { break };
            let Ok(mut gone) = self.take_out(reactor, below) else { break };
            next = gone.take_link().map(|link| (below, *link));
        }
    }

    fn cut_ties(&mut self, link: &Link) {
        if let Some(filter) = link.above.and_then(|above| self.arena.get_mut(above)) {
            filter.cut_off();
        }
        if let Some(above) = link.above {
            self.touch(BuffereventId(above));
        }
        let neighbour = match &link.transport {
            Transport::Socket => None,
            Transport::Pair(half) => half.partner,
            Transport::Filter(layer) => layer.underlying,
        };
        let Some(neighbour) = neighbour else { return };
        if let Some(other) = self.arena.get_mut(neighbour) {
            match &link.transport {
                Transport::Pair(half) => {
                    other.cut_off();
                    if half.eof_on_free && !other.state.contains(State::EOF) {
                        other.reached_eof();
                    }
                }
                _ => other.uncover(),
            }
        }
        self.touch(BuffereventId(neighbour));
    }

    /// Lets half a pair, or a filter, hand on at once all it still has to send, and frees it. What is left to be closed is a
    /// socket, if there is one that goes with it.
    pub(super) fn hand_on_rest(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        now_ns: u64,
    ) -> Result<Option<BuffereventId>> {
        let mut next = Some(id);
        while let Some(id) = next {
            self.detach_above(id.0);
            let tie = self.get(id)?.tie_to_relay();
            self.leave_relay(reactor, id.0, tie);
            if !self.get(id)?.is_pair_or_filter() {
                return Ok(Some(id));
            }
            self.flush_one(id.0, Interest::WRITE, super::FlushMode::Finished, now_ns);
            next = self.disown(id.0).map(BuffereventId);
            self.remove(reactor, id)?;
        }
        Ok(None)
    }

    /// Takes a bufferevent from the filter above it.
    fn detach_above(&mut self, id: RawId) {
        let above = self.arena.get(id).and_then(|bufferevent| bufferevent.link()?.above);
        let Some(above) = above else { return };
        if let Some((covered, filter)) = self.arena.get_two_mut(id, above) {
            covered.uncover();
            filter.cut_off();
        }
        self.touch(BuffereventId(above));
    }

    /// What would be freed with a filter, which leaves it alone from now on.
    fn disown(&mut self, id: RawId) -> Option<RawId> {
        match &mut self.arena.get_mut(id)?.link_mut().transport {
            Transport::Filter(layer) if layer.closes => {
                layer.closes = false;
                layer.underlying
            }
            _ => None,
        }
    }
}

fn owned_beneath(link: &Link) -> Option<RawId> {
    match &link.transport {
        Transport::Filter(layer) if layer.closes => layer.underlying,
        _ => None,
    }
}
