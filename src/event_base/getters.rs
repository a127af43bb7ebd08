//! Looking at events without changing anything.

use std::ops::ControlFlow;
use std::os::fd::RawFd;

use super::{Event, EventBase, EventId, Interest, Pending};
use crate::error::Result;
use crate::reactor::{SlotSpec, SlotView, Source, owner};

/// One event.
impl<C> EventBase<C> {
    /// What an event waits for, and how long it has to go.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "event_pending")]
    #[doc(alias = "evtimer_pending")]
    #[doc(alias = "evsignal_pending")]
    pub fn pending(&self, id: EventId) -> Result<Pending> {
        Ok(self.view(id)?.pending)
    }

    /// Whether there still is such an event: it has not been freed.
    #[doc(alias = "event_initialized")]
    #[doc(alias = "evsignal_initialized")]
    #[doc(alias = "evtimer_initialized")]
    #[must_use]
    pub fn is_alive(&self, id: EventId) -> bool {
        self.reactor.owner(id.0).is_ok()
    }

    /// The number of the descriptor that an event was made for; `None` for signals and timers.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "event_get_fd")]
    pub fn event_fd(&self, id: EventId) -> Result<Option<RawFd>> {
        Ok(match self.view(id)?.spec.source {
            Source::Fd { fd, .. } => Some(fd),
            Source::None | Source::Signal(_) => None,
        })
    }

    /// The signal that an event was made for, if it was made for one.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "event_get_signal")]
    pub fn event_signal(&self, id: EventId) -> Result<Option<i32>> {
        Ok(match self.view(id)?.spec.source {
            Source::Signal(signal) => Some(signal),
            Source::None | Source::Fd { .. } => None,
        })
    }

    /// What an event was made to wait for on its descriptor; empty for signals and timers.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "event_get_events")]
    pub fn event_interest(&self, id: EventId) -> Result<Interest> {
        Ok(match self.view(id)?.spec.source {
            Source::Fd { interest, .. } => interest,
            Source::None | Source::Signal(_) => Interest::empty(),
        })
    }

    /// An event's priority.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "event_get_priority")]
    pub fn priority(&self, id: EventId) -> Result<u8> {
        self.reactor.priority(id.0)
    }

    /// What it was called when it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    pub fn event_name(&self, id: EventId) -> Result<Option<&'static str>> {
        Ok(self.event_spec(id)?.name)
    }

    /// What an event was made of, with the priority it has now: enough to make another like it.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::EventBase;
    /// use zerovent::event_base::Event;
    ///
    /// let mut base = EventBase::new()?;
    /// let first = base.new_event(Event::timer().persist().name("tick"), |_, _, _| println!("tick"))?;
    /// let second = base.new_event(base.event_spec(first)?, |_, _, _| println!("tock"))?;
    /// assert_eq!(base.event_spec(first)?, base.event_spec(second)?);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_get_assignment")]
    pub fn event_spec(&self, id: EventId) -> Result<Event> {
        let SlotSpec { source, persist, priority, .. } = self.view(id)?.spec;
        let name = self.events.get(id.0.index() as usize).and_then(|entry| entry.name);
        Ok(Event { source, persist: Some(persist), priority, name })
    }

    /// The event that is being called; `None` between callbacks, and while something else is called. One that has been freed
    /// meanwhile is still the one.
    #[doc(alias = "event_base_get_running_event")]
    #[must_use]
    pub fn running_event(&self) -> Option<EventId> {
        self.control.running_event
    }

    fn view(&self, id: EventId) -> Result<SlotView> {
        self.reactor.view(id.0)
    }
}

/// All events.
impl<C> EventBase<C> {
    /// Hands each event that is pending or active to `each`, once, in no particular order, until that breaks; returns what
    /// it broke with. The events of bufferevents and listeners are not among them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    ///
    /// let mut base = EventBase::new()?;
    /// let timer = base.new_timer(|_, _, _| {})?;
    /// base.add(timer, Some(Duration::from_secs(1)))?;
    /// let found = base.for_each_event(|id, pending| match pending.remaining {
    ///     Some(_) => ControlFlow::Break(id),
    ///     None => ControlFlow::Continue(()),
    /// });
    /// assert_eq!(found, ControlFlow::Break(timer));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_base_foreach_event")]
    #[doc(alias = "event_base_foreach_event_cb")]
    pub fn for_each_event<B>(
        &self,
        mut each: impl FnMut(EventId, Pending) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for view in self.reactor.views().filter(|view| view.spec.owner & owner::MASK == owner::EVENT) {
            if view.waits || view.pending.active {
                each(EventId(view.id), view.pending)?;
            }
        }
        ControlFlow::Continue(())
    }
}
