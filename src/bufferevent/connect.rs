//! Connecting by address: begun here, finished when the socket turns writable.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{BevEvents, Bufferevent, BuffereventId, Due, Engine, State};
use crate::error::{Error, Result};
use crate::reactor::{Reactor, Source};
use crate::sys;
use crate::sys::socket::Connect;
use crate::util::Address;

impl Engine {
    /// Begins to connect. That the peer refuses is told through the event callback, even if it is known at once.
    pub(crate) fn connect(
        &mut self,
        reactor: &mut Reactor,
        id: BuffereventId,
        address: &Address,
    ) -> Result<()> {
        let bufferevent = self.get(id)?;
        bufferevent.check_unconnected()?;
        let fd = make_socket(address)?;
        match sys::socket::connect(fd.as_fd(), address) {
            Ok(progress) => bufferevent.start(reactor, fd, progress),
            Err(e) => {
                bufferevent.refused(Error::Io(e));
                Ok(())
            }
        }
    }
}

/// A socket that begins to connect to `address`.
pub(super) fn begin(address: &Address) -> io::Result<(OwnedFd, Connect)> {
    let fd = make_socket(address)?;
    let progress = sys::socket::connect(fd.as_fd(), address)?;
    Ok((fd, progress))
}

fn make_socket(address: &Address) -> io::Result<OwnedFd> {
    let fd = sys::socket::stream(address)?;
    if address.as_inet().is_some() {
        sys::socket::enable_option(fd.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    }
    Ok(fd)
}

impl Bufferevent {
    pub(super) fn check_unconnected(&self) -> Result<()> {
        if self.is_pair_or_filter() {
            return Err(Error::Invalid("a pair or a filter has no socket"));
        }
        if self.fd.is_some() || self.state.contains(State::CONNECTING) {
            return Err(Error::Invalid("the bufferevent has a socket, or is connecting"));
        }
        Ok(())
    }

    pub(super) fn start(&mut self, reactor: &mut Reactor, fd: OwnedFd, progress: Connect) -> Result<()> {
        self.watch(reactor, fd)?;
        if progress == Connect::InProgress {
            self.note_connecting();
        } else {
            self.due |= Due::CONNECTED;
        }
        Ok(())
    }

    /// It will turn writable when it has connected, or failed to.
    pub(super) fn note_connecting(&mut self) {
        self.state |= State::CONNECTING;
        self.state -= State::WRITABLE;
    }

    /// The socket has turned writable: the connect has succeeded or failed.
    pub(super) fn finish_connect(&mut self, reactor: &mut Reactor) {
        if !self.state.contains(State::CONNECTING) {
            return;
        }
        let Some(fd) = self.fd.as_ref() else { return };
        let outcome = sys::socket::take_error(fd.as_fd());
        self.end_connecting();
        match outcome {
            Ok(None) => self.owe(Due::CONNECTED),
            Ok(Some(e)) | Err(e) => {
                self.drop_socket(reactor);
                self.rare_mut().error = Some(Error::Io(e));
                self.report(BevEvents::ERROR);
            }
        }
    }

    /// The time that connecting has taken does not count for what comes after it.
    pub(super) fn end_connecting(&mut self) {
        self.state -= State::CONNECTING;
        if !self.state.contains(State::CLOSING) {
            self.write_deadline_ns = 0;
        }
    }

    /// The peer refused at once. As with a connect that succeeds at once, a callback that is set before the loop goes
    /// on hears of it: which kind of address takes its time is nothing to rely on.
    pub(super) fn refused(&mut self, error: Error) {
        self.rare_mut().error = Some(error);
        self.events |= BevEvents::ERROR;
        self.due |= Due::EVENTS;
    }

    /// Gives the socket up, so that the user may connect again, to another address.
    fn drop_socket(&mut self, reactor: &mut Reactor) {
        // The slot lives as long as its bufferevent, so neither call can find it stale.
        if self.state.contains(State::KEEPS_REFUSED) {
            self.state |= State::REFUSED;
        } else {
            let _ = reactor.forget_fd(self.slot);
            self.fd = None;
        }
        let _ = reactor.set_source(self.slot, Source::None);
        self.state -= State::READABLE | State::WRITABLE;
    }
}
