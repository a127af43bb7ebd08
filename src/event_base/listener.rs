//! The verbs of listeners that take closures, and where those closures are called.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use super::EventBase;
use super::callback::Taken;
use crate::error::Result;
use crate::listener::{Accepted, ListenOptions, Listener, ListenerId};
use crate::reactor::{What, extend_to};
use crate::util::Address;

type AcceptCallback<C> = Box<dyn FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address)>;
type ErrorCallback<C> = Box<dyn FnMut(&mut EventBase<C>, ListenerId, &io::Error)>;

/// The closures of one listener; one that is running is taken out of its place.
pub(super) struct Callbacks<C> {
    accept: Option<AcceptCallback<C>>,
    error: Option<ErrorCallback<C>>,
}

impl<C> Default for Callbacks<C> {
    fn default() -> Self {
        Callbacks { accept: None, error: None }
    }
}

impl<C> fmt::Debug for Callbacks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl<C> EventBase<C> {
    /// Binds `address` and calls `callback` with each connection, a close-on-exec socket that is non-blocking unless
    /// `options` say otherwise, and its peer's address. TCP connections come with `TCP_NODELAY` and `SO_KEEPALIVE` on.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the address cannot be bound, [`Error::OutOfRange`](crate::Error::OutOfRange) if the base
    /// has no such priority.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    /// use zerovent::listener::ListenOptions;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    /// let listener = base.listen(any_port, &ListenOptions::new(), |base, _, _socket, peer| {
    ///     println!("hello, {peer}");
    ///     base.loop_break();
    /// })?;
    /// let address = base.listener(listener)?.address().as_inet().unwrap();
    /// let client = TcpStream::connect(address)?;
    /// base.dispatch()?;
    /// # drop(client);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// A turn accepts a bounded share, so that a flood of connections starves nobody.
    #[doc(alias = "evconnlistener_new_bind")]
    #[doc(alias = "evconnlistener_cb")]
    #[doc(alias = "evconnlistener_get_base")]
    pub fn listen<F>(
        &mut self,
        address: impl Into<Address>,
        options: &ListenOptions,
        callback: F,
    ) -> Result<ListenerId>
    where
        F: FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address) + 'static,
    {
        let id = self.listeners.listen(&mut self.reactor, &address.into(), options)?;
        self.place_listener(id, Box::new(callback));
        Ok(id)
    }

    /// Takes over a socket that listens already: inherited, or made with options that [`ListenOptions`] has not. Of those
    /// options the ones about accepting apply: [`disabled`](ListenOptions::disabled),
    /// [`leave_blocking`](ListenOptions::leave_blocking) and [`priority`](ListenOptions::priority). The socket is made
    /// non-blocking and close-on-exec; its other properties, which connections inherit, stay as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it is no stream socket or does not listen, [`Error::Io`](crate::Error::Io) if it
    /// is no socket, [`Error::OutOfRange`](crate::Error::OutOfRange) if the base has no such priority. The socket is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{Ipv4Addr, TcpListener, TcpStream};
    /// use zerovent::listener::ListenOptions;
    ///
    /// let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    /// let client = TcpStream::connect(socket.local_addr()?)?;
    /// let mut base = zerovent::EventBase::new()?;
    /// base.adopt_listener(socket.into(), &ListenOptions::new(), |base, _, _socket, _peer| base.loop_break())?;
    /// base.dispatch()?;
    /// # drop(client);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// The socket must listen, and is made non-blocking if it is not.
    #[doc(alias = "evconnlistener_new")]
    pub fn adopt_listener<F>(
        &mut self,
        socket: OwnedFd,
        options: &ListenOptions,
        callback: F,
    ) -> Result<ListenerId>
    where
        F: FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address) + 'static,
    {
        let id = self.listeners.adopt(&mut self.reactor, socket, options)?;
        self.place_listener(id, Box::new(callback));
        Ok(id)
    }

    fn place_listener(&mut self, id: ListenerId, callback: AcceptCallback<C>) {
        let index = id.0.index() as usize;
        extend_to(&mut self.listener_callbacks, index + 1, Callbacks::default);
        self.listener_callbacks[index].accept = Some(callback);
    }

    /// The listener itself.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) once it has been freed.
    pub fn listener(&self, id: ListenerId) -> Result<&Listener> {
        self.listeners.get(id)
    }

    /// Lets it accept (again).
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "evconnlistener_enable")]
    pub fn enable_listener(&mut self, id: ListenerId) -> Result<()> {
        self.listeners.enable(&mut self.reactor, id)
    }

    /// Stops it from accepting, at once; connections wait in the kernel's queue.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "evconnlistener_disable")]
    pub fn disable_listener(&mut self, id: ListenerId) -> Result<()> {
        self.listeners.disable(&mut self.reactor, id)
    }

    /// Closes the socket and frees the listener; safe inside its own callback.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) if it has been freed before.
    #[doc(alias = "evconnlistener_free")]
    pub fn free_listener(&mut self, id: ListenerId) -> Result<()> {
        self.listeners.remove(&mut self.reactor, id)?;
        self.listener_callbacks[id.0.index() as usize] = Callbacks::default();
        Ok(())
    }

    /// Sets what is called with each connection from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "evconnlistener_set_cb")]
    pub fn set_accept_callback<F>(&mut self, id: ListenerId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address) + 'static,
    {
        self.listeners.get(id)?;
        self.listener_callbacks[id.0.index() as usize].accept = Some(Box::new(callback));
        Ok(())
    }

    /// Sets what is called when accepting begins to fail; without it a warning is logged.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// It is called once an episode, not once a turn: the listener backs off and tries again by itself.
    #[doc(alias = "evconnlistener_set_error_cb")]
    #[doc(alias = "evconnlistener_errorcb")]
    pub fn set_listener_error_callback<F>(&mut self, id: ListenerId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, ListenerId, &io::Error) + 'static,
    {
        self.listeners.get(id)?;
        self.listener_callbacks[id.0.index() as usize].error = Some(Box::new(callback));
        Ok(())
    }

    /// Accepts a turn's share, one connection at a time: the callback may disable or free the listener, and
    /// then nothing has been accepted that nobody was told of.
    pub(super) fn run_listener(&mut self, index: u64, what: What) {
        let Some(id) = self.listeners.on_ready(&mut self.reactor, index, what) else { return };
        while !self.is_stopping() {
            match self.listeners.next(&mut self.reactor, id) {
                Accepted::Connection(fd, peer) => {
                    // A socket of a family that is not known here cannot have been adopted.
                    let Ok(peer) = peer.address() else { continue };
                    let call = |base: &mut _, callback: &mut AcceptCallback<C>| callback(base, id, fd, peer);
                    Taken::call(self, move |base| Some(&mut base.live_place(id)?.accept), call);
                }
                Accepted::Failed(error) => self.call_listener_error(id, &error),
                Accepted::Nothing => return,
            }
        }
    }

    fn call_listener_error(&mut self, id: ListenerId, error: &io::Error) {
        let heard = self.live_place(id).is_some_and(|place| place.error.is_some());
        if !heard {
            log::warn!("accepting fails, trying again soon: {error}");
            return;
        }
        let call = |base: &mut _, callback: &mut ErrorCallback<C>| callback(base, id, error);
        Taken::call(self, move |base| Some(&mut base.live_place(id)?.error), call);
    }

    fn live_place(&mut self, id: ListenerId) -> Option<&mut Callbacks<C>> {
        self.listeners.get(id).is_ok().then(|| &mut self.listener_callbacks[id.0.index() as usize])
    }
}
