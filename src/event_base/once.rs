//! Closures that are called once: by an event that nobody has to free, and when an event is gone for good.

use std::time::Duration;

use super::{Event, EventBase, EventId, What};
use crate::error::{Error, Result};
use crate::reactor::Source;

/// What is called when an event that was freed is not in use any more.
pub(super) type Finalizer<C> = Box<dyn FnOnce(&mut EventBase<C>)>;

impl<C> EventBase<C> {
    /// Calls `callback` once, when what `event` says has happened or `timeout` has passed. Nobody has to free the event,
    /// and nobody can take it back; if it never happens, it goes with the base. A timer without a timeout, or with one of
    /// zero, is called in the next turn, in the order of the calls.
    ///
    /// # Errors
    ///
    /// As [`new_event`](Self::new_event) and [`add`](Self::add); [`Error::Invalid`] for an event that is told to
    /// [persist](Event::persist).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    /// use zerovent::event_base::{Event, What};
    ///
    /// let mut base = EventBase::new()?;
    /// base.once(Event::timer(), Some(Duration::from_millis(1)), |_, what| assert_eq!(what, What::TIMEOUT))?;
    /// base.dispatch()?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// Signals can be waited for as well.
    #[doc(alias = "event_base_once")]
    pub fn once<F>(&mut self, event: Event, timeout: Option<Duration>, callback: F) -> Result<()>
    where
        F: FnOnce(&mut EventBase<C>, What) + 'static,
    {
        if event.persist == Some(true) {
            return Err(Error::Invalid("an event that is called once does not persist"));
        }
        let mut callback = Some(callback);
        let id = self.new_event(event.one_shot(), move |base, id, what| {
            // Freed first, so that it is also when the callback panics.
            let _ = base.free(id);
            if let Some(callback) = callback.take() {
                callback(base, what);
            }
        })?;
        self.start_once(id, event.source, timeout).inspect_err(|_| drop(self.free(id)))
    }

    fn start_once(&mut self, id: EventId, source: Source, timeout: Option<Duration>) -> Result<()> {
        if source == Source::None && timeout.unwrap_or_default().is_zero() {
            return self.activate(id, What::TIMEOUT);
        }
        self.add(id, timeout)
    }

    /// Frees an event, and calls `finalizer` when nothing of it is in use any more: its own callback has returned, if it
    /// is running, and its closure has been dropped. The loop makes the call, between others; a base that is dropped
    /// makes those that are left.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if the event has been freed before; the finalizer is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::EventBase;
    /// use zerovent::event_base::What;
    ///
    /// let mut base = EventBase::with_context(Vec::new())?;
    /// let id = base.new_timer(|base, id, _| {
    ///     base.free_finalize(id, |base| base.context_mut().push("gone")).unwrap();
    ///     base.context_mut().push("still running");
    /// })?;
    /// base.activate(id, What::TIMEOUT)?;
    /// base.dispatch()?;
    /// assert_eq!(base.context(), &["still running", "gone"]);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_free_finalize")]
    pub fn free_finalize<F>(&mut self, id: EventId, finalizer: F) -> Result<()>
    where
        F: FnOnce(&mut EventBase<C>) + 'static,
    {
        self.free(id)?;
        self.finalizers.push_back(Box::new(finalizer));
        Ok(())
    }

    /// Calls the finalizers of the events that were freed. No callback is running.
    #[inline]
    pub(super) fn finalize(&mut self) {
        if !self.finalizers.is_empty() {
            self.call_finalizers();
        }
    }

    #[cold]
    fn call_finalizers(&mut self) {
        while let Some(finalizer) = self.finalizers.pop_front() {
            finalizer(self);
        }
    }

    /// The base is going: calls the finalizers that are left, which cannot run it again.
    pub(super) fn finalize_last(&mut self) {
        self.control.running = true;
        self.finalize();
    }
}
