//! Connecting to a host that has several addresses, by RFC 8305 ("Happy Eyeballs"): addresses are tried one after the other
//! in a staggered way, and the first connection that stands wins.
//!
//! Each attempt has a slot of the reactor's to itself; all of them belong to the bufferevent, so any report makes it look at
//! all that are under way, which are few. When the next one begins is one more purpose of the bufferevent's own timer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{BevEvents, Bufferevent, BuffereventId, Engine, State, connect};
use crate::error::{Error, ResolveError, Result};
use crate::reactor::{Interest, Reactor, SlotId, SlotSpec, Source, owner};
use crate::resolve::Answer;
use crate::sys;
use crate::sys::socket::Connect;
use crate::util::Address;

/// How long an attempt is given before the next one begins beside it: the RFC's Connection Attempt Delay.
const STAGGER_NS: u64 = 250_000_000;

#[derive(Debug)]
struct Attempt {
    slot: SlotId,
    fd: OwnedFd,
}

/// The attempts to reach one host.
#[derive(Debug)]
pub(super) struct Race {
    /// What the reactor hands out for each attempt: the bufferevent's own word.
    owner: u64,
    priority: u8,
    untried: VecDeque<SocketAddr>,
    attempts: Vec<Attempt>,
    next_at_ns: u64,
    error: Option<Error>,
}

/// How a race stands.
#[derive(Debug)]
enum Standing {
    UnderWay,
    Won(OwnedFd),
    Lost(Error),
}

impl Race {
    fn new(owner: u64, priority: u8, addresses: Vec<SocketAddr>) -> Self {
        let untried = interleave(addresses);
        Race { owner, priority, untried, attempts: Vec::new(), next_at_ns: 0, error: None }
    }

    /// Looks how the attempts fare, and begins those whose time has come.
    fn advance(&mut self, reactor: &mut Reactor, now_ns: u64) -> Standing {
        if let Some(fd) = self.take_winner(reactor) {
            return Standing::Won(fd);
        }
        while self.next_at_ns <= now_ns
            && let Some(address) = self.untried.pop_front()
        {
            match connect::begin(&Address::from(address)) {
                Ok((fd, Connect::Done)) => return Standing::Won(fd),
                Ok((fd, Connect::InProgress)) => match self.watch(reactor, fd) {
                    Ok(()) => self.next_at_ns = now_ns + STAGGER_NS,
                    Err(error) => self.error = Some(error),
                },
                Err(error) => self.error = Some(error.into()),
            }
        }
        match self.error.take_if(|_| self.attempts.is_empty()) {
            Some(error) => Standing::Lost(error),
            None => Standing::UnderWay,
        }
    }

    /// The connection that stands, if there is one. Attempts that have failed end, and make room for the next at once.
    fn take_winner(&mut self, reactor: &mut Reactor) -> Option<OwnedFd> {
        let mut place = 0;
        while let Some(Attempt { fd, .. }) = self.attempts.get(place) {
            match sys::socket::take_error(fd.as_fd()) {
                Ok(None) if sys::socket::is_connected(fd.as_fd()) => {
                    let winner = self.attempts.swap_remove(place);
                    // The slot lives as long as its attempt, so it is not stale.
                    let _ = reactor.remove(winner.slot);
                    return Some(winner.fd);
                }
                Ok(None) => place += 1,
                Ok(Some(error)) | Err(error) => {
                    end(reactor, self.attempts.swap_remove(place));
                    self.error = Some(error.into());
                    self.next_at_ns = 0;
                }
            }
        }
        None
    }

    fn watch(&mut self, reactor: &mut Reactor, fd: OwnedFd) -> Result<()> {
        let source = Source::Fd { fd: fd.as_raw_fd(), interest: Interest::WRITE };
        let spec = SlotSpec { owner: self.owner, source, persist: true, priority: Some(self.priority) };
        let slot = reactor.insert(spec)?;
        // The slot is new and the descriptor open: it can be added.
        reactor.add(slot, None)?;
        self.attempts.push(Attempt { slot, fd });
        Ok(())
    }

    /// Ends all attempts.
    fn stop(&mut self, reactor: &mut Reactor) {
        self.attempts.drain(..).for_each(|attempt| end(reactor, attempt));
    }

    /// When the next attempt begins.
    fn deadline_ns(&self) -> Option<u64> {
        (!self.untried.is_empty()).then_some(self.next_at_ns)
    }
}

/// The slot lives as long as its attempt, so it is not stale.
fn end(reactor: &mut Reactor, attempt: Attempt) {
    let _ = reactor.forget_fd(attempt.slot);
    let _ = reactor.remove(attempt.slot);
}

/// Lets the families take turns, beginning with that of the first address (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let len = addresses.len();
    let (ours, theirs): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    let mut mixed = VecDeque::with_capacity(len);
    while mixed.len() < len {
        mixed.extend(ours.next());
        mixed.extend(theirs.next());
    }
    mixed
}

impl Engine {
    /// The bufferevent is about to be connected: the addresses are being looked up. Until they are there is no socket.
    pub(crate) fn begin_dialing(&mut self, id: BuffereventId) -> Result<()> {
        let bufferevent = self.get(id)?;
        bufferevent.check_unconnected()?;
        bufferevent.forget_error();
        bufferevent.state |= State::CONNECTING;
        Ok(())
    }

    /// The addresses cannot even be looked up: as if it had never begun.
    pub(crate) fn give_up_dialing(&mut self, id: BuffereventId) {
        if let Ok(bufferevent) = self.get(id) {
            bufferevent.state -= State::CONNECTING;
        }
    }

    /// Begins to connect to one of `addresses`. As with a single one, a refusal that is known at once is told through the
    /// event callback.
    pub(crate) fn connect_any(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        addresses: Vec<SocketAddr>,
    ) -> Result<()> {
        if addresses.is_empty() {
            return Err(Error::Invalid("there is no address to connect to"));
        }
        self.begin_dialing(id)?;
        if let Err(error) = self.start_race(reactor, id, addresses) {
            self.get(id)?.refused(error);
        }
        Ok(())
    }

    /// What is known of the host that a bufferevent is to be connected to; one that was freed meanwhile does not care.
    pub(crate) fn resolved(&mut self, reactor: &mut Reactor, id: BuffereventId, answer: Answer) {
        if self.alive(id).is_err() {
            return;
        }
        self.touch(id);
        let started = match answer {
            Ok(addresses) => self.start_race(reactor, id, addresses),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = started
            && let Ok(bufferevent) = self.alive(id)
        {
            bufferevent.lost(error);
        }
    }

    /// Whether there is such a bufferevent, if only a closing one.
    pub(crate) fn is_alive(&self, id: BuffereventId) -> bool {
        self.arena.get(id.0).is_some()
    }

    fn start_race(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        addresses: Vec<SocketAddr>,
    ) -> Result<()> {
        let bufferevent = self.alive(id)?;
        let priority = reactor.priority(bufferevent.slot)?;
        let owner = owner::BUFFEREVENT | u64::from(id.0.index());
        bufferevent.rare_mut().race = Some(Box::new(Race::new(owner, priority, addresses)));
        let now_ns = reactor.refresh_now();
        bufferevent.advance_race(reactor, now_ns)
    }
}

impl Bufferevent {
    /// Why the name of the host that [`connect_hostname`](crate::EventBase::connect_hostname) was to connect to has no
    /// address; `None` if it was not the name that failed.
    #[doc(alias = "bufferevent_socket_get_dns_error")]
    #[must_use]
    pub fn dns_error(&self) -> Option<ResolveError> {
        match self.last_error() {
            Some(Error::Resolve(error)) => Some(*error),
            _ => None,
        }
    }

    /// An attempt may have ended, or it is time for another.
    pub(super) fn run_race(&mut self, reactor: &mut Reactor) {
        if self.rare().race.is_some()
            && let Err(error) = self.advance_race(reactor, reactor.now())
        {
            self.lost(error);
        }
    }

    /// When the race needs its next look.
    pub(super) fn race_deadline_ns(&self) -> Option<u64> {
        self.rare().race.as_ref()?.deadline_ns()
    }

    /// Ends all attempts; their sockets are closed.
    pub(super) fn stop_race(&mut self, reactor: &mut Reactor) {
        if let Some(mut race) = self.rare.as_mut().and_then(|rare| rare.race.take()) {
            race.stop(reactor);
        }
    }

    /// Fails with the last error if no address is left.
    fn advance_race(&mut self, reactor: &mut Reactor, now_ns: u64) -> Result<()> {
        let Some(race) = self.rare_mut().race.as_mut() else { return Ok(()) };
        let standing = race.advance(reactor, now_ns);
        if matches!(standing, Standing::UnderWay) {
            return Ok(());
        }
        self.stop_race(reactor);
        self.end_connecting();
        match standing {
            Standing::Won(fd) => self.start(reactor, fd, Connect::Done),
            Standing::Lost(error) => Err(error),
            Standing::UnderWay => Ok(()),
        }
    }

    /// No address could be had; the user may try another host.
    fn lost(&mut self, error: Error) {
        self.end_connecting();
        self.rare_mut().error = Some(error);
        self.report(BevEvents::ERROR);
    }

    /// Those attempts that have nothing to tell just now, and all that follow, have another priority.
    pub(super) fn set_race_priority(&mut self, reactor: &mut Reactor, priority: u8) {
        let Some(race) = self.rare.as_mut().and_then(|rare| rare.race.as_mut()) else { return };
        race.priority = priority;
        for attempt in &race.attempts {
            let _ = reactor.set_priority(attempt.slot, priority);
        }
    }

    fn forget_error(&mut self) {
        if let Some(rare) = self.rare.as_mut() {
            rare.error = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_resolver_says_who_begins() {
        let order = |addresses: &[&str]| {
            let parsed = addresses.iter().map(|address| address.parse().unwrap()).collect();
            interleave(parsed).iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]
        );
        assert_eq!(order(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]), ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        assert!(order(&[]).is_empty());
    }
}
