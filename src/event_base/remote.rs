//! Reaching a base from other threads: messages that its loop carries out, in order, on its own thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{EventBase, EventId, What};
use crate::error::{Error, Result};
use crate::reactor::Notifier;
use crate::resolve::{Answer, ResolveId};

type Task<C> = Box<dyn FnOnce(&mut EventBase<C>) + Send>;

/// One thing that is asked of a base, or the answer to what it has asked.
pub(super) enum Message<C> {
    Activate(EventId, What),
    Exit(Option<Duration>),
    Break,
    Run(Task<C>),
    Resolved(ResolveId, Answer),
}

/// Messages in the order in which they were sent.
pub(super) type Queue<C> = VecDeque<Message<C>>;

/// What other threads have asked of a base and it has not yet done; `None` once the base is gone.
pub(super) struct Mailbox<C>(Mutex<Option<Open<C>>>);

struct Open<C> {
    messages: Queue<C>,
    /// In here, so that it is closed with the base, however long its remotes live.
    notifier: Arc<Notifier>,
}

impl<C> Mailbox<C> {
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        Mailbox(Mutex::new(Some(Open { messages: Queue::new(), notifier })))
    }

    /// The base is gone: what nobody will carry out is dropped, and sending more is an error.
    pub(super) fn close(&self) {
        // Two statements, because what is dropped is the user's and may send again: not under the lock.
        let open = self.lock().take();
        drop(open);
    }

    fn send(&self, message: Message<C>) -> Result<()> {
        let mut open = self.lock();
        // In this order the message is dropped last, after the lock was given back, when nobody takes it.
        let Some(Open { messages, notifier }) = open.as_mut() else { return Err(Error::Stale) };
        messages.push_back(message);
        // Under the lock, so that the descriptor is still open; one sender of many pays for a system call.
        Ok(notifier.wake()?)
    }

    /// Exchanges what has arrived for `empty`, whose storage is used again.
    fn exchange(&self, empty: &mut Queue<C>) {
        if let Some(open) = self.lock().as_mut() {
            std::mem::swap(&mut open.messages, empty);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<C>>> {
        // Nothing that can panic is done under the lock, so what it guards is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to a base for other threads: `Send`, `Sync`, `Clone`. What is asked through it is done by the base's loop,
/// in the order in which it was asked, and wakes the loop if it waits.
///
/// # Examples
///
/// ```
/// use zerovent::EventBase;
/// use zerovent::event_base::Run;
///
/// let mut base = EventBase::with_context(Vec::new())?;
/// let remote = base.remote();
/// let thread = std::thread::spawn(move || {
///     remote.run(|base| base.context_mut().push("hello from afar")).unwrap();
///     remote.loop_break().unwrap();
/// });
/// base.run(Run::NO_EXIT_ON_EMPTY)?;
/// thread.join().unwrap();
/// assert_eq!(base.context(), &["hello from afar"]);
/// # Ok::<(), zerovent::Error>(())
/// ```
pub struct Remote<C = ()> {
    mailbox: Arc<Mailbox<C>>,
}

impl<C> Remote<C> {
    /// Makes an event called as if `what` had happened. An event that has been freed by then is passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if the base is gone, [`Error::Io`] if it cannot be woken.
    pub fn activate(&self, id: EventId, what: What) -> Result<()> {
        self.mailbox.send(Message::Activate(id, what))
    }

    /// As [`EventBase::loop_exit`]; `after` counts from when the loop takes the message.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    pub fn loop_exit(&self, after: Option<Duration>) -> Result<()> {
        self.mailbox.send(Message::Exit(after))
    }

    /// As [`EventBase::loop_break`]; on a base that is not running it breaks the next run.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    pub fn loop_break(&self) -> Result<()> {
        self.mailbox.send(Message::Break)
    }

    /// Runs `task` on the loop's thread, between callbacks.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    pub fn run<F>(&self, task: F) -> Result<()>
    where
        F: FnOnce(&mut EventBase<C>) + Send + 'static,
    {
        self.mailbox.send(Message::Run(Box::new(task)))
    }
}

impl<C> Clone for Remote<C> {
    fn clone(&self) -> Self {
        Remote { mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<C> fmt::Debug for Remote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl<C> EventBase<C> {
    /// A handle to this base for other threads. It does not keep the base, nor its loop, alive; but a loop ends for lack of
    /// work only when it has carried out what it was sent.
    #[must_use]
    pub fn remote(&self) -> Remote<C> {
        Remote { mailbox: Arc::clone(&self.mailbox) }
    }

    /// Carries out what other threads have asked for, if they have woken the loop. One message at a time leaves the
    /// queue, so that a task that panics loses none of those behind it.
    pub(super) fn take_messages(&mut self) {
        self.empty_inbox();
        if self.reactor.take_notified() {
            self.mailbox.exchange(&mut self.inbox);
            let answers = self.resolver.answers().into_iter();
            self.inbox.extend(answers.map(|(id, answer)| Message::Resolved(id, answer)));
            self.empty_inbox();
        }
    }

    fn empty_inbox(&mut self) {
        while let Some(message) = self.inbox.pop_front() {
            self.obey(message);
        }
    }

    fn obey(&mut self, message: Message<C>) {
        match message {
            // The event may have been freed since; then there is nothing to call.
            Message::Activate(id, what) => drop(self.activate(id, what)),
            Message::Exit(after) => drop(self.loop_exit(after)),
            Message::Break => self.loop_break(),
            Message::Run(task) => task(self),
            Message::Resolved(id, answer) => self.resolved(id, answer),
        }
    }
}
