//! Events: what the user asks to be called for, and the verbs on their ids.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use super::callback::Taken;
use super::{EventBase, Interest, What};
use crate::error::{Error, Result};
use crate::reactor::{CommonTimeout, Invocation, SlotId, SlotSpec, Source, extend_to, owner};
use crate::sys::signal;

type Callback<C> = Box<dyn FnMut(&mut EventBase<C>, EventId, What)>;

/// Names an event of one base. Small, `Copy`, and never another event's: once the event is freed, every use of its id is
/// [`Error::Stale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub(super) SlotId);

/// An event's closure, out of its place while it runs. It stands where the event's slot does among the slots, so that who has
/// the one need not look for the other, and the verbs that need no closure look at the slot alone.
pub(super) struct Entry<C> {
    pub(super) name: Option<&'static str>,
    callback: Option<Callback<C>>,
}

impl<C> Entry<C> {
    /// Where there is no event. A closure that comes back finds its place taken if the event has been freed meanwhile.
    fn vacant() -> Self {
        Entry { name: None, callback: Some(Box::new(|_, _, _| {})) }
    }
}

impl<C> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What an event waits for, besides time.
///
/// # Examples
///
/// ```
/// use zerovent::event_base::{Event, Interest};
///
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// let event = Event::fd(&near, Interest::READ).persist().priority(0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "event_new")]
#[doc(alias = "event_assign")]
pub struct Event {
    pub(super) source: Source,
    /// `None` is as its source has it: signals persist, nothing else does.
    pub(super) persist: Option<bool>,
    pub(super) priority: Option<u8>,
    pub(super) name: Option<&'static str>,
}

impl Event {
    /// Waits for a descriptor. The number alone is kept: delete the event before the descriptor is closed. A number that has
    /// gone stale can bring a wrong report, nothing worse.
    #[must_use]
    pub fn fd(fd: &impl AsFd, interest: Interest) -> Self {
        Event::raw_fd(fd.as_fd().as_raw_fd(), interest)
    }

    /// Waits for a descriptor by its number. An interest in nothing makes it an event that waits for its timeout alone.
    ///
    /// An event means the file that has the number when the event is first added. If the file is closed and another gets
    /// its number, make another event for that: the old one, deleted and added again, may never be called.
    #[must_use]
    pub fn raw_fd(fd: RawFd, interest: Interest) -> Self {
        let waits =
            interest.intersects(Interest::READ | Interest::WRITE | Interest::CLOSED | Interest::URGENT);
        let source = if waits { Source::Fd { fd, interest } } else { Source::None };
        Event::on(source)
    }

    /// Waits for nothing but its timeout, or to be activated.
    #[doc(alias = "evtimer_new")]
    #[must_use]
    pub fn timer() -> Self {
        Event::on(Source::None)
    }

    /// Waits for a signal, and goes on waiting for it unless it is [`one_shot`](Self::one_shot). Any number of events of
    /// any number of bases may. It is called as often as the signal was delivered.
    ///
    /// # Differences from libevent
    ///
    /// There one base receives all signals. A one-shot event is called once, however often the signal was delivered
    /// before it could be; there it would be called as often.
    #[doc(alias = "evsignal_new")]
    #[must_use]
    pub fn signal(signal: i32) -> Self {
        Event::on(Source::Signal(signal))
    }

    fn on(source: Source) -> Self {
        Event { source, persist: None, priority: None, name: None }
    }

    /// Stays pending when it is called; its timeout restarts.
    #[doc(alias = "EV_PERSIST")]
    #[must_use]
    pub fn persist(mut self) -> Self {
        self.persist = Some(true);
        self
    }

    /// Is deleted when it is called, as all events are but those for signals and [persistent](Self::persist) ones.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.persist = Some(false);
        self
    }

    /// Its priority; 0 is the most important.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// What [`dump_events`](EventBase::dump_events) calls it; it means nothing to the loop.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Whether it stays pending when it is called.
    fn persists(&self) -> bool {
        self.persist.unwrap_or(matches!(self.source, Source::Signal(_)))
    }

    fn check(&self) -> Result<()> {
        match self.source {
            Source::Fd { fd, .. } if fd < 0 => Err(Error::Invalid("a descriptor is not negative")),
            Source::Signal(number) if !signal::exists(number) => {
                Err(Error::Invalid("there is no such signal"))
            }
            _ => Ok(()),
        }
    }
}

/// Making and freeing events.
impl<C> EventBase<C> {
    /// Makes an event; it waits for nothing until it is [added](Self::add).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if the base has no such priority, [`Error::Invalid`] for a negative descriptor or a number that
    /// no signal has.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use zerovent::EventBase;
    /// use zerovent::event_base::{Event, Interest, What};
    ///
    /// let mut base = EventBase::new()?;
    /// let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
    /// let event = base.new_event(Event::fd(&near, Interest::READ), |base, _id, what| {
    ///     assert_eq!(what, What::READ);
    /// })?;
    /// base.add(event, None)?;
    /// far.write_all(b"x")?;
    /// base.dispatch()?; // ends by itself: the event is not persistent, so nothing is pending any more
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_new")]
    #[doc(alias = "event_callback_fn")]
    #[doc(alias = "event_self_cbarg")]
    #[doc(alias = "event_get_base")]
    pub fn new_event<F>(&mut self, event: Event, callback: F) -> Result<EventId>
    where
        F: FnMut(&mut EventBase<C>, EventId, What) + 'static,
    {
        event.check()?;
        let Event { source, priority, name, .. } = event;
        let spec = SlotSpec { owner: owner::EVENT, source, persist: event.persists(), priority };
        let slot = self.reactor.insert(spec)?;
        self.reactor.set_owner(slot, owner::EVENT | u64::from(slot.index()))?;
        let place = slot.index() as usize;
        extend_to(&mut self.events, place + 1, Entry::vacant);
        self.events[place] = Entry { name, callback: Some(Box::new(callback)) };
        Ok(EventId(slot))
    }

    /// Makes an event that waits for its timeout alone.
    ///
    /// # Errors
    ///
    /// As [`new_event`](Self::new_event).
    #[doc(alias = "evtimer_new")]
    #[doc(alias = "evtimer_assign")]
    pub fn new_timer<F>(&mut self, callback: F) -> Result<EventId>
    where
        F: FnMut(&mut EventBase<C>, EventId, What) + 'static,
    {
        self.new_event(Event::timer(), callback)
    }

    /// Makes a persistent event for a signal.
    ///
    /// # Errors
    ///
    /// As [`new_event`](Self::new_event); that a signal cannot be caught is told by [`add`](Self::add).
    #[doc(alias = "evsignal_new")]
    #[doc(alias = "evsignal_assign")]
    pub fn new_signal<F>(&mut self, signal: i32, callback: F) -> Result<EventId>
    where
        F: FnMut(&mut EventBase<C>, EventId, What) + 'static,
    {
        self.new_event(Event::signal(signal), callback)
    }

    /// Frees an event, whatever it waits for; if it is about to be called, it is not.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if it has been freed before.
    #[doc(alias = "event_free")]
    pub fn free(&mut self, id: EventId) -> Result<()> {
        self.reactor.remove(id.0)?;
        *self.events.get_mut(id.0.index() as usize).ok_or(Error::Stale)? = Entry::vacant();
        Ok(())
    }

    /// Gives an event another closure, also from inside the one it has.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    #[doc(alias = "event_get_callback")]
    pub fn set_callback<F>(&mut self, id: EventId, callback: F) -> Result<()>
    where
        F: FnMut(&mut EventBase<C>, EventId, What) + 'static,
    {
        self.reactor.owner(id.0)?;
        self.events.get_mut(id.0.index() as usize).ok_or(Error::Stale)?.callback = Some(Box::new(callback));
        Ok(())
    }
}

/// Waiting and being called.
impl<C> EventBase<C> {
    /// Lets an event wait, for at most `timeout` if there is one.
    ///
    /// Added again with a timeout, it waits anew; added again without, a timeout it has goes on. A persistent event's
    /// timeout restarts each time it is called: from when it was due, or, if something else made it called, from then. A
    /// timeout of zero does not restart. Inside a callback timeouts count from the time of the turn, which all of
    /// its callbacks share.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`]; [`Error::Io`] if the signal cannot be caught, or if a number in the millions is not open. The event is
    /// then as it was.
    ///
    /// # Differences from libevent
    ///
    /// What the kernel must be told is told before the loop waits next, all at once. A descriptor that it cannot wait for
    /// (a regular file, a closed number) is therefore no error here; it counts as always ready, as poll(2) has it.
    /// Events of one descriptor need not agree about [`Interest::EDGE`], nor with a bufferevent or a listener on it: each hears what it asks for.
    #[doc(alias = "event_add")]
    #[doc(alias = "evtimer_add")]
    #[doc(alias = "evsignal_add")]
    pub fn add(&mut self, id: EventId, timeout: Option<Duration>) -> Result<()> {
        if self.reactor.add_timer(id.0, timeout) { Ok(()) } else { self.add_any(id, timeout) }
    }

    #[inline(never)]
    fn add_any(&mut self, id: EventId, timeout: Option<Duration>) -> Result<()> {
        self.reactor.add(id.0, timeout).inspect_err(|error| self.warn_of_refusal(id, error))
    }

    /// As [`add`](Self::add), with a timeout that many events share.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`Error::Invalid`] if another base made the timeout.
    pub fn add_common(&mut self, id: EventId, timeout: CommonTimeout) -> Result<()> {
        if self.reactor.add_common_timer(id.0, timeout) { Ok(()) } else { self.add_common_any(id, timeout) }
    }

    #[inline(never)]
    fn add_common_any(&mut self, id: EventId, timeout: CommonTimeout) -> Result<()> {
        self.reactor.add_common(id.0, timeout).inspect_err(|error| self.warn_of_refusal(id, error))
    }

    /// A timeout that many events share: adding an event with it, deleting one and calling one cost the same however
    /// many wait. For thousands of connections that each may idle for as long. The same duration gives the same timeout,
    /// and there may be any number of them; each costs a few bytes for as long as the base lives.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut base = zerovent::EventBase::with_context(0)?;
    /// let soon = base.common_timeout(Duration::from_millis(1));
    /// for _ in 0..1000 {
    ///     let id = base.new_timer(|base, _, _| *base.context_mut() += 1)?;
    ///     base.add_common(id, soon)?;
    /// }
    /// base.dispatch()?;
    /// assert_eq!(*base.context(), 1000);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_base_init_common_timeout")]
    pub fn common_timeout(&mut self, duration: Duration) -> CommonTimeout {
        self.reactor.common_timeout(duration)
    }

    /// Lets an event wait no longer; if it is about to be called, it is not.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    #[doc(alias = "event_del")]
    #[doc(alias = "evtimer_del")]
    #[doc(alias = "evsignal_del")]
    pub fn del(&mut self, id: EventId) -> Result<()> {
        self.reactor.del(id.0)
    }

    /// Takes back an event's timeout; what else it waits for it goes on waiting for.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    #[doc(alias = "event_remove_timer")]
    pub fn remove_timer(&mut self, id: EventId) -> Result<()> {
        self.reactor.remove_timer(id.0)
    }

    /// Makes an event called by the loop as if `what` had happened, once, whether it is pending or not.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    #[doc(alias = "event_active")]
    pub fn activate(&mut self, id: EventId, what: What) -> Result<()> {
        self.reactor.activate(id.0, what)
    }

    /// Sets the priority of an event that is not about to be called.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`]; [`Error::OutOfRange`] if there is no such priority; [`Error::Invalid`] if it is active.
    #[doc(alias = "event_priority_set")]
    pub fn set_priority(&mut self, id: EventId, priority: u8) -> Result<()> {
        self.reactor.set_priority(id.0, priority)
    }

    /// Calls an event whose turn has come.
    pub(super) fn run_event(&mut self, Invocation { slot, what, .. }: Invocation) {
        let id = EventId(slot);
        let call = |base: &mut _, callback: &mut Callback<C>| callback(base, id, what);
        self.control.running_event = Some(id);
        Taken::call(self, move |base| base.callback_of(slot), call);
        self.control.running_event = None;
    }

    #[inline]
    fn callback_of(&mut self, slot: SlotId) -> Option<&mut Option<Callback<C>>> {
        self.events.get_mut(slot.index() as usize).map(|entry| &mut entry.callback)
    }

    /// The log hears of what libevent would write about, beside the caller.
    #[cold]
    fn warn_of_refusal(&self, id: EventId, error: &Error) {
        match self.reactor.owner(id.0) {
            Ok(_) => log::warn!("event {} cannot be added: {error}", id.0.index()),
            Err(_) => log::warn!("an event that was freed cannot be added"),
        }
    }
}
