//! The verbs of bufferevents that take closures, and where those closures are called.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::EventBase;
use super::callback::Taken;
use crate::bufferevent::{BevEvents, Bufferevent, BuffereventId, Due, Options};
use crate::error::Result;
use crate::reactor::{What, extend_to};
use crate::util::Address;

type DataCallback<C> = Box<dyn FnMut(&mut EventBase<C>, BuffereventId)>;
type EventCallback<C> = Box<dyn FnMut(&mut EventBase<C>, BuffereventId, BevEvents)>;

/// The closures of one bufferevent; one that is running is taken out of its place.
pub(super) struct Callbacks<C> {
    read: Option<DataCallback<C>>,
    write: Option<DataCallback<C>>,
    event: Option<EventCallback<C>>,
}

impl<C> Default for Callbacks<C> {
    fn default() -> Self {
        Callbacks { read: None, write: None, event: None }
    }
}

impl<C> fmt::Debug for Callbacks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

/// Making and freeing bufferevents.
impl<C> EventBase<C> {
    /// Makes a bufferevent over `fd`, a connected stream socket, or over none until [`connect`](Self::connect) makes one. Writing is
    /// enabled, reading is not. A socket that blocks is made non-blocking, for the loop must not.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the descriptor cannot be made non-blocking or watched,
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) if the base has no such priority.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use zerovent::bufferevent::Options;
    /// use zerovent::event_base::Interest;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let (near, mut far) = UnixStream::pair()?;
    /// near.set_nonblocking(true)?;
    ///
    /// let echo = base.new_socket(Some(near.into()), &Options::new())?;
    /// base.set_read_callback(echo, |base, id| {
    ///     let (input, output) = base.bufferevent(id).unwrap().buffers();
    ///     output.add_buffer(input).unwrap();
    ///     base.free_after_flush(id, std::time::Duration::from_secs(1)).unwrap();
    /// })?;
    /// base.bufferevent(echo)?.enable(Interest::READ);
    ///
    /// let peer = std::thread::spawn(move || {
    ///     far.write_all(b"hello").unwrap();
    ///     let mut answer = [0; 5];
    ///     far.read_exact(&mut answer).unwrap();
    ///     answer
    /// });
    /// base.dispatch()?;
    /// assert_eq!(&peer.join().unwrap(), b"hello");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// The bufferevent owns the socket and closes it when it is freed, as `BEV_OPT_CLOSE_ON_FREE` asks for there.
    #[doc(alias = "bufferevent_socket_new")]
    #[doc(alias = "BEV_OPT_CLOSE_ON_FREE")]
    pub fn new_socket(&mut self, fd: Option<OwnedFd>, options: &Options) -> Result<BuffereventId> {
        let id = self.bufferevents.insert(&mut self.reactor, fd, options)?;
        self.make_place(id);
        Ok(id)
    }

    /// The bufferevent itself. Whatever is changed through it takes effect before the loop waits.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) once it has been freed.
    #[doc(alias = "bufferevent_get_base")]
    pub fn bufferevent(&mut self, id: BuffereventId) -> Result<&mut Bufferevent> {
        self.bufferevents.get(id)
    }

    /// Takes `fd`, a socket on which the caller has begun to connect. What comes of it is told as with
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it has a socket or is connecting, [`Error::Io`](crate::Error::Io) if the socket
    /// cannot be watched, [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    /// use socket2::{Domain, Socket, Type};
    /// use zerovent::bufferevent::{BevEvents, Options};
    ///
    /// let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    /// let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    /// socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?; // or any option that is needed
    /// socket.set_nonblocking(true)?;
    /// let _ = socket.connect(&server.local_addr()?.into());
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let id = base.new_socket(None, &Options::new())?;
    /// base.set_event_callback(id, |base, _, events| {
    ///     assert!(events.contains(BevEvents::CONNECTED));
    ///     base.loop_break();
    /// })?;
    /// base.connect_begun(id, socket.into())?;
    /// base.dispatch()?;
    /// assert!(base.got_break());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "bufferevent_socket_connect")]
    pub fn connect_begun(&mut self, id: BuffereventId, fd: OwnedFd) -> Result<()> {
        self.bufferevents.adopt_connecting(&mut self.reactor, id, fd)
    }

    /// Connects to `address` without blocking. The event callback is told
    /// [`CONNECTED`](BevEvents::CONNECTED), or [`ERROR`](BevEvents::ERROR) if the peer cannot be had, even when that
    /// is known at once; then another address may be tried. Output added before is sent when the connection stands.
    /// The write timeout bounds the connecting too.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it has a socket, [`Error::Io`](crate::Error::Io) if none can be made,
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_socket_connect")]
    pub fn connect(&mut self, id: BuffereventId, address: impl Into<Address>) -> Result<()> {
        self.bufferevents.connect(&mut self.reactor, id, &address.into())
    }

    /// Gives it another socket, or with `None` takes the one it has away, and returns the old one, which is closed when it is
    /// dropped. What is in the buffers stays, what is enabled stays, a connect under way ends without a word, and the new socket counts
    /// as connected. Of a filter it is the socket beneath that is exchanged.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it is half a pair, a filter over one, or relayed; [`Error::Io`](crate::Error::Io) if the
    /// new socket cannot be watched: it is closed, and so is the old one; [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// The old descriptor can neither leak nor be closed too early, so `bufferevent_replacefd` needs no verb of its own.
    #[doc(alias = "bufferevent_setfd")]
    #[doc(alias = "bufferevent_replacefd")]
    pub fn set_bufferevent_fd(&mut self, id: BuffereventId, fd: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
        let old = self.bufferevents.replace_fd(&mut self.reactor, id, fd)?;
        self.forget_question_of(id);
        Ok(old)
    }

    /// The socket of a bufferevent, of a filter that of what lies beneath it; `None` if there is none yet, and for pairs.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_getfd")]
    pub fn bufferevent_fd(&self, id: BuffereventId) -> Result<Option<BorrowedFd<'_>>> {
        self.bufferevents.fd(id)
    }

    /// The priority with which its callbacks are made.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_get_priority")]
    pub fn bufferevent_priority(&self, id: BuffereventId) -> Result<u8> {
        self.bufferevents.priority(&self.reactor, id)
    }

    /// Sets the priority with which its callbacks are made.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) if the base has no such priority, [`Error::Invalid`](crate::Error::Invalid)
    /// while callbacks are queued already, [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// Bufferevents of every kind have a priority, not only sockets.
    #[doc(alias = "bufferevent_priority_set")]
    pub fn set_bufferevent_priority(&mut self, id: BuffereventId, priority: u8) -> Result<()> {
        self.bufferevents.set_priority(&mut self.reactor, id, priority)
    }

    /// Frees the bufferevent at once: its socket is closed, its unsent output dropped, its callbacks never called again.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) if it has been freed before.
    #[doc(alias = "bufferevent_free")]
    pub fn free_bufferevent(&mut self, id: BuffereventId) -> Result<()> {
        self.bufferevents.get(id)?;
        self.bufferevents.remove(&mut self.reactor, id)?;
        self.forget_question_of(id);
        self.bufferevent_callbacks[id.0.index() as usize] = Callbacks::default();
        Ok(())
    }

    /// Frees the bufferevent for its user, at once, but lets its output be sent: then the write half is shut
    /// down, and the socket is closed when the peer has closed too, or `within` from now. What still arrives is
    /// discarded, so that closing does not reset the connection while the last answer is under way.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) if it has been freed before.
    pub fn free_after_flush(&mut self, id: BuffereventId, within: Duration) -> Result<()> {
        self.bufferevents.close_after_flush(&mut self.reactor, id, within)?;
        self.bufferevent_callbacks[id.0.index() as usize] = Callbacks::default();
        Ok(())
    }

    /// Whether it was freed after its flush and is still on its way.
    #[cfg(feature = "http")]
    pub(crate) fn is_closing(&self, id: BuffereventId) -> bool {
        self.bufferevents.is_closing(id)
    }

    /// Closes what [`is_closing`](Self::is_closing) at once.
    #[cfg(feature = "http")]
    pub(crate) fn end_closing(&mut self, id: BuffereventId) {
        if self.bufferevents.is_closing(id) {
            // It was there a moment ago.
            let _ = self.bufferevents.remove(&mut self.reactor, id);
        }
    }
}

/// The callbacks.
impl<C> EventBase<C> {
    /// Sets what is called when the input has grown and holds as much as its low mark.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_setcb")]
    #[doc(alias = "bufferevent_getcb")]
    #[doc(alias = "bufferevent_data_cb")]
    pub fn set_read_callback<F>(&mut self, id: BuffereventId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, BuffereventId) + 'static,
    {
        self.bufferevents.set_heard(id, Due::READ, true)?;
        self.place(id).read = Some(Box::new(callback));
        Ok(())
    }

    /// Sets what is called when the output has sunk to its low mark.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_setcb")]
    pub fn set_write_callback<F>(&mut self, id: BuffereventId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, BuffereventId) + 'static,
    {
        self.bufferevents.set_heard(id, Due::WRITE, true)?;
        self.place(id).write = Some(Box::new(callback));
        Ok(())
    }

    /// Sets what is called on a connect, the end of the stream, an error or a timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_setcb")]
    #[doc(alias = "bufferevent_event_cb")]
    pub fn set_event_callback<F>(&mut self, id: BuffereventId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, BuffereventId, BevEvents) + 'static,
    {
        self.bufferevents.set_heard(id, Due::CONNECTED | Due::EVENTS, true)?;
        self.place(id).event = Some(Box::new(callback));
        Ok(())
    }

    /// Removes all three callbacks: what happens from now on calls nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_setcb")]
    pub fn clear_callbacks(&mut self, id: BuffereventId) -> Result<()> {
        self.bufferevents.set_heard(id, Due::all(), false)?;
        *self.place(id) = Callbacks::default();
        Ok(())
    }

    /// Makes room for a new bufferevent's callbacks.
    pub(super) fn make_place(&mut self, id: BuffereventId) {
        extend_to(&mut self.bufferevent_callbacks, id.0.index() as usize + 1, Callbacks::default);
    }

    /// The place of a live bufferevent's callbacks; made with it.
    pub(super) fn place(&mut self, id: BuffereventId) -> &mut Callbacks<C> {
        &mut self.bufferevent_callbacks[id.0.index() as usize]
    }
}

/// What the loop does with bufferevents.
impl<C> EventBase<C> {
    /// Carries out what callbacks asked of bufferevents.
    pub(super) fn settle(&mut self) {
        self.bufferevents.settle(&mut self.reactor);
    }

    /// Lets a bufferevent take in what the reactor reports, then calls what has become due, each callback once: what a
    /// callback makes due (a connect that is refused at once, again and again) waits until the others have had a turn.
    pub(super) fn run_bufferevent(&mut self, index: u64, what: What) {
        let Some(id) = self.bufferevents.on_ready(&mut self.reactor, index, what) else {
            return self.run_relay(index);
        };
        for due in Due::all().iter() {
            let Some(events) = self.bufferevents.take_due(id, due) else { continue };
            self.call_bufferevent(id, due, events);
            if self.is_stopping() {
                self.bufferevents.resume_later(&mut self.reactor, id);
                return;
            }
        }
        if self.bufferevents.has_read_much() {
            self.settle();
        }
    }

    fn call_bufferevent(&mut self, id: BuffereventId, due: Due, events: BevEvents) {
        match due {
            Due::READ => {
                let call = |base: &mut _, callback: &mut DataCallback<C>| callback(base, id);
                Taken::call(self, move |base| Some(&mut base.heard_place(id, due)?.read), call);
            }
            Due::WRITE => {
                let call = |base: &mut _, callback: &mut DataCallback<C>| callback(base, id);
                Taken::call(self, move |base| Some(&mut base.heard_place(id, due)?.write), call);
            }
            _ => {
                let call = |base: &mut _, callback: &mut EventCallback<C>| callback(base, id, events);
                Taken::call(self, move |base| Some(&mut base.heard_place(id, due)?.event), call);
            }
        }
    }

    /// The place, if the bufferevent still lives and has not been told to forget its callbacks.
    fn heard_place(&mut self, id: BuffereventId, due: Due) -> Option<&mut Callbacks<C>> {
        self.bufferevents.hears(id, due).then(|| &mut self.bufferevent_callbacks[id.0.index() as usize])
    }
}
