//! The verbs of relays and of back-pressure between bufferevents.

use super::EventBase;
use crate::bufferevent::{BuffereventId, RelayEnd, RelayId, RelayOptions};
use crate::error::Result;
use crate::reactor::extend_to;

/// Told once, when the relay has ended.
pub(super) type Callback<C> = Box<dyn FnOnce(&mut EventBase<C>, RelayEnd)>;

impl<C> EventBase<C> {
    /// Joins two socket bufferevents: what comes from one is sent by the other, both ways, without being looked at. Much at a time
    /// passes in kernel pipes, as [`Evbuffer::splice_from`](crate::Evbuffer::splice_from) has it; where no pipe is to be
    /// had, and for short messages, bytes are read into memory, and sent from there.
    ///
    /// What is in the inputs goes first. Reading and writing are enabled, on either side, and one side is not read while the
    /// output of the other holds as much as [`RelayOptions::mark`]. The end of one side's stream is passed on: the other's
    /// write half is shut down when its output is empty. Rate limits and timeouts hold, and a turn moves no more than
    /// [`set_max_single_read`](crate::bufferevent::Bufferevent::set_max_single_read) says if it was set. Either side may still be connecting.
    ///
    /// `callback` is called once, when both streams have ended, or when one side fails, times out or is freed. Both
    /// bufferevents are then as before, still enabled, and what has not been sent is in their outputs. Until then their own
    /// callbacks rest.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if they are not two, or one is half a pair, a filter, lies beneath one, is relayed
    /// already, or has no socket; [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use zerovent::EventBase;
    /// use zerovent::bufferevent::{Options, RelayOptions};
    ///
    /// let (mut client, front) = UnixStream::pair()?;
    /// let (back, mut server) = UnixStream::pair()?;
    /// let mut base = EventBase::new()?;
    /// let a = base.new_socket(Some(front.into()), &Options::new())?;
    /// let b = base.new_socket(Some(back.into()), &Options::new())?;
    /// base.relay(a, b, &RelayOptions::new(), |base, end| {
    ///     assert_eq!((end.a_to_b, end.b_to_a), (5, 6));
    ///     assert!(end.failed.is_none());
    ///     base.free_bufferevent(end.a).unwrap();
    ///     base.free_bufferevent(end.b).unwrap();
    /// })?;
    ///
    /// client.write_all(b"hello")?;
    /// client.shutdown(std::net::Shutdown::Write)?;
    /// server.write_all(b"hello!")?;
    /// server.shutdown(std::net::Shutdown::Write)?;
    /// base.dispatch()?;
    ///
    /// let mut text = String::new();
    /// server.read_to_string(&mut text)?;
    /// client.read_to_string(&mut text)?;
    /// assert_eq!(text, "hellohello!");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn relay<F>(
        &mut self,
        a: BuffereventId,
        b: BuffereventId,
        options: &RelayOptions,
        callback: F,
    ) -> Result<RelayId>
    where
        F: FnOnce(&mut EventBase<C>, RelayEnd) + 'static,
    {
        let id = self.bufferevents.join(&mut self.reactor, [a, b], options)?;
        let place = id.index() as usize;
        extend_to(&mut self.relay_callbacks, place + 1, || None);
        self.relay_callbacks[place] = Some(Box::new(callback));
        Ok(id)
    }

    /// Ends a relay now, and says how far it came; its callback is dropped. What has been received and not sent is in the
    /// outputs, to be looked at or left to be sent; both bufferevents stay enabled, and their own callbacks count again.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) once its callback has been called.
    pub fn stop_relay(&mut self, id: RelayId) -> Result<RelayEnd> {
        let end = self.bufferevents.part(&mut self.reactor, id)?;
        self.relay_callbacks[id.index() as usize] = None;
        Ok(end)
    }

    /// How many bytes a relay has passed on so far, from its first bufferevent to its second and the other way.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) once its callback has been called.
    pub fn relay_bytes(&self, id: RelayId) -> Result<(u64, u64)> {
        self.bufferevents.relay_bytes(id)
    }

    /// Pauses the reading of `id` while the output of `other` holds more than `mark` bytes; it goes on when no more than half of
    /// that is left. So whoever copies from one to the other holds no more than the mark and what one turn reads. `None` ends
    /// it. The two may be of any kind, and the same one: an echo that does not read while its own answers wait.
    ///
    /// Several may pause one, and one several. A paused bufferevent stays enabled, and its read timeout does not count.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::bufferevent::Options;
    /// use zerovent::event_base::Interest;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let (source, near) = base.new_pair(&Options::new())?;
    /// let (sink, far) = base.new_pair(&Options::new())?;
    /// base.set_read_callback(near, move |base, id| {
    ///     let mut bytes = zerovent::Evbuffer::new();
    ///     base.bufferevent(id).unwrap().read_buffer(&mut bytes).unwrap();
    ///     base.bufferevent(sink).unwrap().write_buffer(&mut bytes).unwrap();
    /// })?;
    /// base.pause_while_above(near, sink, Some(4))?;
    /// base.bufferevent(near)?.enable(Interest::READ);
    ///
    /// base.bufferevent(source)?.write(b"first")?;
    /// base.dispatch()?;
    /// base.bufferevent(source)?.write(b", then")?;
    /// base.dispatch()?;
    /// assert_eq!(base.bufferevent(sink)?.output().len(), 5, "more than 4 wait, so no more is read");
    ///
    /// base.bufferevent(far)?.enable(Interest::READ);
    /// base.dispatch()?;
    /// assert_eq!(base.bufferevent(far)?.input().len(), 11);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn pause_while_above(
        &mut self,
        id: BuffereventId,
        other: BuffereventId,
        mark: Option<usize>,
    ) -> Result<()> {
        self.bufferevents.pause_while_above(id, other, mark)
    }

    /// Tells how a relay has ended, if `index` is the word of one.
    pub(super) fn run_relay(&mut self, index: u64) {
        let Some(id) = self.bufferevents.ended_relay(index) else { return };
        // Nobody can have stopped it in between.
        let Ok(end) = self.bufferevents.part(&mut self.reactor, id) else { return };
        if let Some(callback) = self.relay_callbacks[id.index() as usize].take() {
            callback(self, end);
        }
    }
}
