//! Listeners: sockets that accept. Each is a state machine over one reactor slot; the closures it serves live
//! in `event_base`, which takes one connection at a time from it.
//!
//! # Accepting without a wasted call
//!
//! The socket is watched level-triggered, so a connection left in the queue is reported again. A turn therefore
//! need not accept until the kernel says `EAGAIN`: it starts with one, and doubles its share as long as the
//! queue outlasts it; a flood is taken in shares of `SHARE_MAX`, between which everybody else has a turn.
//!
//! That a share is used up does not mean that there is more: a lone connection uses up a share of one. So the
//! listener learns: each time a larger share meets an empty queue it takes twice as many turns in a row to make it try
//! one again, up to `PATIENCE_MAX`, and the first larger share that is used up makes it eager again. Where
//! connections come alone each costs one `accept4`, and every sixteenth or so another.
//!
//! # When descriptors run out
//!
//! `EMFILE` and its kin leave the connection in the queue, where it would be reported for ever. The listener
//! stops watching, says so once, and tries again by itself after a pause that doubles up to half a second.

mod inherited;
mod options;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
#[cfg(feature = "capi")]
use std::os::unix::net::SocketAddr as UnixAddr;
use std::time::Duration;

pub use inherited::{ListenFd, listen_fds};
pub use options::ListenOptions;

use crate::error::{Error, Result};
use crate::reactor::{Arena, Interest, RawId, Reactor, SlotId, SlotSpec, Source, What, owner};
use crate::sys;
use crate::sys::socket::{Mode, OnExec, RawAddress};
use crate::util::Address;

/// The most connections that one listener accepts in a turn.
const SHARE_MAX: u32 = 64;

/// The most turns in a row that must use up their share of one before a larger one is tried.
const PATIENCE_MAX: u8 = 15;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Names a listener of one [`EventBase`](crate::EventBase).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) RawId);

/// A socket that accepts connections, reached through [`EventBase::listener`](crate::EventBase::listener).
#[derive(Debug)]
#[doc(alias = "evconnlistener")]
pub struct Listener {
    fd: OwnedFd,
    address: Address,
    slot: SlotId,
    mode: Mode,
    on_exec: OnExec,
    enabled: bool,
    share: Share,
    /// `Some` while descriptors have run out: how long the current pause is.
    pause: Option<Duration>,
}

/// How many connections a turn may take.
#[derive(Debug)]
struct Share {
    size: u32,
    /// What is left of this turn's.
    left: u32,
    /// How many turns in a row have used theirs up, and how many must before it grows.
    streak: u8,
    patience: u8,
}

impl Share {
    const fn new() -> Self {
        Share { size: 1, left: 0, streak: 0, patience: 0 }
    }

    /// A connection was taken.
    fn used(&mut self) {
        if self.left > 0 {
            return;
        }
        if self.size > 1 {
            self.patience = 0;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak > self.patience {
            self.size = (self.size * 2).min(SHARE_MAX);
        }
    }

    /// There was no further connection: asking for one was in vain.
    fn ran_dry(&mut self) {
        self.patience = (self.patience * 2 + 1).min(PATIENCE_MAX);
        *self = Share { patience: self.patience, ..Share::new() };
    }
}

impl Listener {
    /// Where it listens; a port asked for as 0 is the one the kernel chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The listening socket.
    #[doc(alias = "evconnlistener_get_fd")]
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether it accepts.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }
}

/// What asking for the next connection brings.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(OwnedFd, RawAddress),
    /// Nothing more this turn.
    Nothing,
    /// An episode of failure has begun; it is reported once.
    Failed(io::Error),
}

/// All listeners of one base.
#[derive(Debug)]
pub(crate) struct Engine {
    arena: Arena<Listener>,
}

impl Engine {
    pub(crate) fn new() -> Self {
        Engine { arena: Arena::with_capacity(0) }
    }

    /// Binds `address` and listens.
    pub(crate) fn listen(
        &mut self,
        reactor: &mut Reactor,
        address: &Address,
        options: &ListenOptions,
    ) -> Result<ListenerId> {
        self.insert(reactor, options::bind(address, options)?, options)
    }

    /// Takes over a socket that listens already.
    pub(crate) fn adopt(
        &mut self,
        reactor: &mut Reactor,
        fd: OwnedFd,
        options: &ListenOptions,
    ) -> Result<ListenerId> {
        options::check_listening(fd.as_fd())?;
        self.insert(reactor, fd, options)
    }

    /// Takes a socket of any family as it is: whoever has made it answers for what it is.
    #[cfg(feature = "capi")]
    pub(crate) fn adopt_as_is(
        &mut self,
        reactor: &mut Reactor,
        fd: OwnedFd,
        options: &ListenOptions,
    ) -> Result<ListenerId, (Error, OwnedFd)> {
        let unnamed = || UnixAddr::from_pathname("").map(Address::Unix);
        match sys::socket::local_address(fd.as_fd()).or_else(|_| unnamed()) {
            Ok(address) => self.insert_at(reactor, fd, address, options),
            Err(error) => Err((error.into(), fd)),
        }
    }

    /// Frees a listener and gives its socket back.
    pub(crate) fn take_back(&mut self, reactor: &mut Reactor, id: ListenerId) -> Result<OwnedFd> {
        let gone = self.arena.remove(id.0).ok_or(Error::Stale)?;
        reactor.remove(gone.slot)?;
        Ok(gone.fd)
    }

    fn insert(&mut self, reactor: &mut Reactor, fd: OwnedFd, options: &ListenOptions) -> Result<ListenerId> {
        let address = sys::socket::local_address(fd.as_fd())?;
        self.insert_at(reactor, fd, address, options).map_err(|(error, _)| error)
    }

    /// Gives the socket back if it fails.
    fn insert_at(
        &mut self,
        reactor: &mut Reactor,
        fd: OwnedFd,
        address: Address,
        options: &ListenOptions,
    ) -> Result<ListenerId, (Error, OwnedFd)> {
        let source = Source::Fd { fd: fd.as_raw_fd(), interest: Interest::READ };
        let spec = SlotSpec { owner: owner::LISTENER, source, persist: true, priority: options.priority };
        let slot = match reactor.insert(spec) {
            Ok(slot) => slot,
            Err(error) => return Err((error, fd)),
        };
        let id = ListenerId(self.arena.insert(Listener {
            fd,
            address,
            slot,
            mode: options.mode,
            on_exec: options.on_exec,
            enabled: false,
            share: Share::new(),
            pause: None,
        }));
        // The slot was made a moment ago, so it is not stale.
        let _ = reactor.set_owner(slot, owner::LISTENER | u64::from(id.0.index()));
        if options.disabled {
            return Ok(id);
        }
        match self.enable(reactor, id) {
            Ok(()) => Ok(id),
            Err(error) => Err((error, self.take_back(reactor, id).expect("it was inserted a moment ago"))),
        }
    }

    pub(crate) fn remove(&mut self, reactor: &mut Reactor, id: ListenerId) -> Result<()> {
        let gone = self.arena.remove(id.0).ok_or(Error::Stale)?;
        reactor.forget_fd(gone.slot)?;
        reactor.remove(gone.slot)
    }

    pub(crate) fn get(&self, id: ListenerId) -> Result<&Listener> {
        self.arena.get(id.0).ok_or(Error::Stale)
    }

    pub(crate) fn id_at(&self, index: u64) -> Option<ListenerId> {
        self.arena.id_at(u32::try_from(index).ok()?).map(ListenerId)
    }

    pub(crate) fn enable(&mut self, reactor: &mut Reactor, id: ListenerId) -> Result<()> {
        let listener = self.arena.get_mut(id.0).ok_or(Error::Stale)?;
        listener.enabled = true;
        listener.pause = None;
        reactor.set_interest(listener.slot, Interest::READ)?;
        reactor.add(listener.slot, None)
    }

    pub(crate) fn disable(&mut self, reactor: &mut Reactor, id: ListenerId) -> Result<()> {
        let listener = self.arena.get_mut(id.0).ok_or(Error::Stale)?;
        listener.enabled = false;
        listener.share.left = 0;
        reactor.del(listener.slot)
    }

    /// Begins a turn: takes in what the reactor reports and allots the turn's share.
    pub(crate) fn on_ready(&mut self, reactor: &mut Reactor, index: u64, what: What) -> Option<ListenerId> {
        let id = self.id_at(index)?;
        let listener = self.arena.get_mut(id.0)?;
        if what.contains(What::TIMEOUT) {
            // The slot lives as long as its listener, so it is not stale.
            let _ = reactor.set_interest(listener.slot, Interest::READ);
        }
        listener.share.left = listener.share.size;
        Some(id)
    }

    /// The next connection of this turn's share.
    pub(crate) fn next(&mut self, reactor: &mut Reactor, id: ListenerId) -> Accepted {
        let Some(listener) = self.arena.get_mut(id.0) else { return Accepted::Nothing };
        while listener.enabled && listener.share.left > 0 {
            listener.share.left -= 1;
            match sys::socket::accept(listener.fd.as_fd(), listener.mode, listener.on_exec) {
                Ok((fd, peer)) => {
                    listener.pause = None;
                    listener.share.used();
                    return Accepted::Connection(fd, peer);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    listener.share.ran_dry();
                    return Accepted::Nothing;
                }
                Err(e) if concerns_one_connection(&e) => {}
                Err(e) => return listener.pause(reactor, e),
            }
        }
        Accepted::Nothing
    }
}

impl Listener {
    /// Stops watching for a while. Only the first failure of an episode is worth a report.
    fn pause(&mut self, reactor: &mut Reactor, error: io::Error) -> Accepted {
        let first = self.pause.is_none();
        let pause = self.pause.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        self.share = Share::new();
        let until = reactor.refresh_now() + pause.as_nanos() as u64;
        // The slot lives as long as its listener, so neither call can find it stale.
        let _ = reactor.set_interest(self.slot, Interest::empty());
        let _ = reactor.set_deadline(self.slot, Some(until));
        if first { Accepted::Failed(error) } else { Accepted::Nothing }
    }
}

/// Errors of accept4(2) that belong to the connection, which is gone, and not to the listener.
fn concerns_one_connection(error: &io::Error) -> bool {
    const THEIRS: [i32; 10] = [
        libc::EINTR,
        libc::ECONNABORTED,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|errno| THEIRS.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns in which as many connections wait as `queue` says, and the system calls that taking them costs.
    fn accepts(share: &mut Share, queue: impl IntoIterator<Item = u32>) -> u32 {
        let mut calls = 0;
        for mut waiting in queue {
            while waiting > 0 {
                share.left = share.size;
                while share.left > 0 {
                    share.left -= 1;
                    calls += 1;
                    if waiting == 0 {
                        share.ran_dry();
                    } else {
                        waiting -= 1;
                        share.used();
                    }
                }
            }
        }
        calls
    }

    #[test]
    fn connections_that_come_alone_cost_hardly_more_than_one_call() {
        let mut share = Share::new();
        let calls = accepts(&mut share, [1; 1000]);
        assert!((1000..=1080).contains(&calls), "{calls} calls for 1000 connections");
    }

    #[test]
    fn a_flood_is_recognised_after_a_quiet_day() {
        let mut share = Share::new();
        accepts(&mut share, [1; 1000]);
        let calls = accepts(&mut share, [10_000]);
        assert!(calls <= 10_001, "{calls} calls for 10000 connections");
        accepts(&mut share, [u32::from(PATIENCE_MAX) + 128]);
        assert!(share.patience <= 1, "it has learnt");
    }
}
