//! The descriptor of a socket bufferevent: given, exchanged, taken away, looked for beneath filters.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Bufferevent, BuffereventId, Engine, State, socket};
use crate::error::{Error, Result};
use crate::reactor::{RawId, Reactor, Source};
use crate::sys::socket::Connect;
use crate::util;

/// What was true of a socket and is not of the next one.
const FORGOTTEN: State = State::READABLE
    .union(State::READ_ON)
    .union(State::EOF)
    .union(State::WRITE_SHUT)
    .union(State::REFUSED)
    .union(State::READ_FAILED);

impl Engine {
    /// Takes a socket on which a connect is under way, or through.
    pub(crate) fn adopt_connecting(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        fd: OwnedFd,
    ) -> Result<()> {
        let bufferevent = self.get(id)?;
        bufferevent.check_unconnected()?;
        util::make_nonblocking(&fd)?;
        bufferevent.start(reactor, fd, Connect::InProgress)
    }

    /// Gives a socket to a bufferevent that has none; if it cannot be watched it comes back.
    #[cfg(feature = "capi")]
    pub(crate) fn give_fd(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        fd: OwnedFd,
    ) -> Result<(), (Error, OwnedFd)> {
        match self.get(id).and_then(|bufferevent| bufferevent.check_unconnected().map(|()| bufferevent)) {
            Ok(bufferevent) => bufferevent.try_to_watch(reactor, fd),
            Err(error) => Err((error, fd)),
        }
    }

    /// As [`give_fd`](Self::give_fd), with a socket on which a connect is under way.
    #[cfg(feature = "capi")]
    pub(crate) fn give_connecting_fd(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        fd: OwnedFd,
    ) -> Result<(), (Error, OwnedFd)> {
        self.give_fd(reactor, id, fd)?;
        if let Ok(bufferevent) = self.get(id) {
            bufferevent.note_connecting();
        }
        Ok(())
    }

    /// Exchanges the socket, of a filter that of what lies beneath, and gives the old one back.
    pub(crate) fn replace_fd(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        fd: Option<OwnedFd>,
    ) -> Result<Option<OwnedFd>> {
        self.get(id)?;
        let bottom = BuffereventId(self.bottom_of(id.0));
        if self.alive(bottom)?.is_pair_or_filter() {
            return Err(Error::Invalid("it has no socket beneath"));
        }
        if self.alive(bottom)?.tie_to_relay().is_some() {
            return Err(Error::Invalid("a relay is to be stopped first"));
        }
        if let Some(fd) = &fd {
            util::make_nonblocking(fd)?;
        }
        self.touch(bottom);
        let bufferevent = self.alive(bottom)?;
        let old = bufferevent.give_up_fd(reactor);
        if let Some(fd) = fd {
            bufferevent.watch(reactor, fd)?;
        }
        Ok(old)
    }

    /// The socket, of a filter that of what lies beneath.
    pub(crate) fn fd(&self, id: BuffereventId) -> Result<Option<BorrowedFd<'_>>> {
        let bufferevent = self.arena.get(id.0).ok_or(Error::Stale)?;
        if bufferevent.state.contains(State::CLOSING) {
            return Err(Error::Stale);
        }
        Ok(self.arena.get(self.bottom_of(id.0)).and_then(Bufferevent::fd))
    }

    /// The lowest of a stack of filters.
    fn bottom_of(&self, id: RawId) -> RawId {
        let mut bottom = id;
        while let Some(below) = self.arena.get(bottom).and_then(Bufferevent::beneath) {
            bottom = below;
        }
        bottom
    }

    /// The priority of a bufferevent.
    pub(crate) fn priority(&self, reactor: &Reactor, id: BuffereventId) -> Result<u8> {
        reactor.priority(self.arena.get(id.0).ok_or(Error::Stale)?.slot)
    }

    /// Sets the priority with which it is called.
    pub(crate) fn set_priority(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        priority: u8,
    ) -> Result<()> {
        let bufferevent = self.get(id)?;
        reactor.set_priority(bufferevent.slot, priority)?;
        bufferevent.set_race_priority(reactor, priority);
        Ok(())
    }
}

impl Bufferevent {
    /// The socket, if there is one yet; [`EventBase::bufferevent_fd`](crate::EventBase::bufferevent_fd) also finds the one
    /// beneath a filter.
    #[doc(alias = "bufferevent_getfd")]
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Watches `fd`, as if nothing had happened to it yet. If it cannot be watched it is closed.
    pub(super) fn watch(&mut self, reactor: &mut Reactor, fd: OwnedFd) -> Result<()> {
        self.try_to_watch(reactor, fd).map_err(|(error, _)| error)
    }

    fn try_to_watch(&mut self, reactor: &mut Reactor, fd: OwnedFd) -> Result<(), (Error, OwnedFd)> {
        let source = socket::source(&fd, reactor);
        let watched = reactor.set_source(self.slot, source).and_then(|()| reactor.add(self.slot, None));
        if let Err(error) = watched {
            // The number will be another file's before anybody asks again.
            let _ = reactor.set_source(self.slot, Source::None);
            return Err((error, fd));
        }
        self.fd = Some(fd);
        self.state -= FORGOTTEN;
        self.state |= State::WRITABLE;
        Ok(())
    }

    /// Stops watching the socket, or trying to connect, and leaves the socket as it is.
    fn give_up_fd(&mut self, reactor: &mut Reactor) -> Option<OwnedFd> {
        self.stop_race(reactor);
        if self.state.contains(State::CONNECTING) {
            self.end_connecting();
        }
        // The slot lives as long as its bufferevent, so it is not stale.
        let _ = reactor.set_source(self.slot, Source::None);
        self.state -= FORGOTTEN;
        self.fd.take()
    }
}
