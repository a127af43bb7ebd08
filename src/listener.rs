//! Listeners: sockets that accept. Each is a state machine over one reactor slot; the closures it serves live
//! in `event_base`, which takes one connection at a time from it.
//!
//! # Accepting without a wasted call
//!
//! The socket is watched level-triggered, so a connection left in the queue is reported again. A turn therefore
//! need not accept until the kernel says `EAGAIN`: it starts with one, and doubles its share as long as the
//! queue outlasts it. A lone connection costs one `accept4`, or two; a flood is taken in shares of `SHARE_MAX`, between
//! which everybody else has a turn.
//!
//! # When descriptors run out
//!
//! `EMFILE` and its kin leave the connection in the queue, where it would be reported for ever. The listener
//! stops watching, says so once, and tries again by itself after a pause that doubles up to half a second.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::reactor::{Arena, Interest, RawId, Reactor, SlotId, SlotSpec, Source, What, owner};
use crate::sys;
use crate::util::Address;

/// The most connections that one listener accepts in a turn.
const SHARE_MAX: u32 = 64;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Names a listener of one [`EventBase`](crate::EventBase).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) RawId);

/// How a listener is bound.
///
/// # Examples
///
/// ```
/// use zerovent::listener::ListenOptions;
///
/// let options = ListenOptions::new().backlog(512).reuse_port(true);
/// ```
#[derive(Debug, Clone)]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    disabled: bool,
    priority: Option<u8>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions::new()
    }
}

impl ListenOptions {
    /// A backlog of 1024 and `SO_REUSEADDR`.
    #[must_use]
    pub fn new() -> Self {
        ListenOptions {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            disabled: false,
            priority: None,
        }
    }

    /// How many connections may wait to be accepted; the kernel clips it to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether an address whose last connections are still fading away may be bound again at once.
    #[doc(alias = "LEV_OPT_REUSEABLE")]
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether several listeners, one a thread, may share the address; the kernel spreads connections over them.
    #[doc(alias = "LEV_OPT_REUSEABLE_PORT")]
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether it waits for [`enable_listener`](crate::EventBase::enable_listener) before it accepts.
    #[doc(alias = "LEV_OPT_DISABLED")]
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// The priority of its accepting; the base's default is the middle one.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }
}

/// A socket that accepts connections, reached through [`EventBase::listener`](crate::EventBase::listener).
#[derive(Debug)]
#[doc(alias = "evconnlistener")]
pub struct Listener {
    fd: OwnedFd,
    address: Address,
    slot: SlotId,
    enabled: bool,
    /// How many connections this turn may still take, and how many the last one was allowed.
    share_left: u32,
    share: u32,
    /// `Some` while descriptors have run out: how long the current pause is.
    pause: Option<Duration>,
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
    Connection(OwnedFd, Address),
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
        let fd = bind(address, options)?;
        let address = sys::socket::local_address(fd.as_fd())?;
        let source = Source::Fd { fd: fd.as_raw_fd(), interest: Interest::READ };
        let spec = SlotSpec { owner: owner::LISTENER, source, persist: true, priority: options.priority };
        let slot = reactor.insert(spec)?;
        let listener = Listener { fd, address, slot, enabled: false, share_left: 0, share: 1, pause: None };
        let id = ListenerId(self.arena.insert(listener));
        reactor.set_owner(slot, owner::LISTENER | u64::from(id.0.index()))?;
        if !options.disabled
            && let Err(error) = self.enable(reactor, id)
        {
            self.remove(reactor, id)?;
            return Err(error);
        }
        Ok(id)
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
        listener.share_left = 0;
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
        listener.share_left = listener.share;
        Some(id)
    }

    /// The next connection of this turn's share.
    pub(crate) fn next(&mut self, reactor: &mut Reactor, id: ListenerId) -> Accepted {
        let Some(listener) = self.arena.get_mut(id.0) else { return Accepted::Nothing };
        while listener.enabled && listener.share_left > 0 {
            listener.share_left -= 1;
            match sys::socket::accept(listener.fd.as_fd()) {
                Ok((fd, peer)) => {
                    listener.accepted();
                    return Accepted::Connection(fd, peer);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    listener.share = 1;
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
    fn accepted(&mut self) {
        self.pause = None;
        if self.share_left == 0 {
            self.share = (self.share * 2).min(SHARE_MAX);
        }
    }

    /// Stops watching for a while. Only the first failure of an episode is worth a report.
    fn pause(&mut self, reactor: &mut Reactor, error: io::Error) -> Accepted {
        let first = self.pause.is_none();
        let pause = self.pause.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        self.share_left = 0;
        self.share = 1;
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

fn bind(address: &Address, options: &ListenOptions) -> io::Result<OwnedFd> {
    let fd = sys::socket::stream(address)?;
    if address.as_inet().is_some() {
        // What is set on a listening socket its connections inherit: small answers leave at once, and a peer
        // that vanished is found out in the end. Set here, neither costs a system call a connection.
        sys::socket::enable_option(fd.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        sys::socket::enable_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE)?;
    }
    if options.reuse_address {
        sys::socket::enable_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    }
    if options.reuse_port {
        sys::socket::enable_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    sys::socket::bind(fd.as_fd(), address)?;
    sys::socket::listen(fd.as_fd(), options.backlog)?;
    Ok(fd)
}
