//! Reaching a base from other threads: messages that its loop carries out, in order, on its own thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use bytes::Bytes;

use super::{EventBase, EventId, What};
use crate::bufferevent::BuffereventId;
use crate::error::{Error, Result};
use crate::reactor::Notifier;
use crate::resolve::{Answer, ResolveId};

type Task<C> = Box<dyn FnOnce(&mut EventBase<C>) + Send>;

/// One thing that is asked of a base, or the answer to what it has asked.
pub(super) enum Message<C> {
    Activate(EventId, What),
    Add(EventId, Option<Duration>),
    Del(EventId),
    Exit(Option<Duration>),
    Break,
    Run(Task<C>),
    Write(BuffereventId, Bytes),
    Resolved(ResolveId, Answer),
}

/// Messages in the order in which they were sent.
pub(super) type Queue<C> = VecDeque<Message<C>>;

/// What other threads have asked of a base and it has not yet done.
pub(super) struct Mailbox<C> {
    /// `None` once the base is gone.
    open: Mutex<Option<Open<C>>>,
    /// Tells those who wait for their messages that some were carried out, or that nobody is going to.
    progress: Condvar,
}

struct Open<C> {
    messages: Queue<C>,
    /// In here, so that it is closed with the base, however long its remotes live.
    notifier: Arc<Notifier>,
    /// The thread that runs the loop now.
    loop_thread: Option<ThreadId>,
    /// How often the loop has taken what was here, and how many of these lots it has carried out.
    lots_taken: u64,
    lots_done: u64,
    /// How many threads wait for a lot to be carried out.
    waiting: usize,
}

impl<C> Mailbox<C> {
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        let open = Open {
            messages: Queue::new(),
            notifier,
            loop_thread: None,
            lots_taken: 0,
            lots_done: 0,
            waiting: 0,
        };
        Mailbox { open: Mutex::new(Some(open)), progress: Condvar::new() }
    }

    /// The base is gone: what nobody will carry out is dropped, and sending more is an error.
    pub(super) fn close(&self) {
        // Two statements, because what is dropped is the user's and may send again: not under the lock.
        let open = self.lock().take();
        self.progress.notify_all();
        drop(open);
    }

    /// Whether anybody could ask for anything.
    pub(super) fn has_senders(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// Says whether the calling thread runs the loop from now on. If it does not, nobody does, and nobody need wait.
    pub(super) fn set_running(&self, running: bool) {
        if let Some(open) = self.lock().as_mut() {
            open.loop_thread = running.then(|| thread::current().id());
            if open.waiting > 0 {
                self.progress.notify_all();
            }
        }
    }

    fn send(&self, message: Message<C>) -> Result<()> {
        let mut open = self.lock();
        // In this order the message is dropped last, after the lock was given back, when nobody takes it.
        let Some(open) = open.as_mut() else { return Err(Error::Stale) };
        open.push(message)
    }

    /// Sends, and returns when the message has been carried out or no loop runs.
    fn send_and_wait(&self, message: Message<C>) -> Result<()> {
        let mut guard = self.lock();
        let Some(open) = guard.as_mut() else { return Err(Error::Stale) };
        if open.loop_thread == Some(thread::current().id()) {
            return Err(Error::Reentrant);
        }
        open.push(message)?;
        open.waiting += 1;
        let lot = open.lots_taken + 1;
        let is_under_way = |open: &mut Option<Open<C>>| {
            open.as_ref().is_some_and(|open| open.loop_thread.is_some() && open.lots_done < lot)
        };
        let mut guard = self.progress.wait_while(guard, is_under_way).unwrap_or_else(PoisonError::into_inner);
        // A base that went meanwhile calls nothing any more, which is what was waited for.
        if let Some(open) = guard.as_mut() {
            open.waiting -= 1;
        }
        Ok(())
    }

    /// Exchanges what has arrived for `empty`, whose storage is used again.
    fn exchange(&self, empty: &mut Queue<C>) {
        if let Some(open) = self.lock().as_mut() {
            open.lots_taken += 1;
            std::mem::swap(&mut open.messages, empty);
        }
    }

    /// What was taken has been carried out.
    fn done(&self) {
        if let Some(open) = self.lock().as_mut() {
            open.lots_done = open.lots_taken;
            if open.waiting > 0 {
                self.progress.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<C>>> {
        // Nothing that can panic is done under the lock, so what it guards is whole in any case.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Open<C> {
    fn push(&mut self, message: Message<C>) -> Result<()> {
        self.messages.push_back(message);
        // Under the lock, so that the descriptor is still open; one sender of many pays for a system call.
        Ok(self.notifier.wake()?)
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

    /// As [`EventBase::add`]; the timeout counts from when the loop takes the message. An event that has been freed by then
    /// is passed over, and what else `add` refuses is logged.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    pub fn add(&self, id: EventId, timeout: Option<Duration>) -> Result<()> {
        self.mailbox.send(Message::Add(id, timeout))
    }

    /// As [`EventBase::del`], soon: the event's callback may be running now, and may be called once more before the loop
    /// takes the message.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    pub fn del(&self, id: EventId) -> Result<()> {
        self.mailbox.send(Message::Del(id))
    }

    /// As [`EventBase::del`]; when it returns, the event's callback is not running, and will not be called unless the event
    /// is added or activated again. While no loop runs there is nothing to wait for: the event is deleted before the next
    /// run calls anything.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate); [`Error::Reentrant`] inside a callback of the same base, which would wait for itself:
    /// there, [`EventBase::del`] does it at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    /// use zerovent::event_base::Event;
    ///
    /// let mut base = EventBase::new()?;
    /// let tick = base.new_event(Event::timer().persist(), |_, _, _| println!("tick"))?;
    /// base.add(tick, Some(Duration::from_millis(1)))?;
    /// let remote = base.remote();
    /// let thread = std::thread::spawn(move || {
    ///     remote.del_blocking(tick).unwrap();
    ///     // What the callback uses may be taken away now.
    /// });
    /// base.dispatch()?; // ends when there is nothing to wait for any more
    /// thread.join().unwrap();
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_del_block")]
    pub fn del_blocking(&self, id: EventId) -> Result<()> {
        self.mailbox.send_and_wait(Message::Del(id))
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

    /// Adds `bytes` to the output of a bufferevent, without copying them, and in the order in which this and other messages are sent. A
    /// bufferevent that has been freed by then, or whose output is full, is passed over.
    ///
    /// # Errors
    ///
    /// As [`activate`](Self::activate).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use zerovent::EventBase;
    /// use zerovent::bufferevent::Options;
    ///
    /// let mut base = EventBase::new()?;
    /// let (near, mut far) = UnixStream::pair()?;
    /// let id = base.new_socket(Some(near.into()), &Options::new())?;
    /// let remote = base.remote();
    /// std::thread::spawn(move || remote.write(id, "from another thread").unwrap()).join().unwrap();
    /// base.dispatch()?;
    /// base.free_bufferevent(id)?;
    /// let mut text = String::new();
    /// far.read_to_string(&mut text)?;
    /// assert_eq!(text, "from another thread");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn write(&self, id: BuffereventId, bytes: impl Into<Bytes>) -> Result<()> {
        self.mailbox.send(Message::Write(id, bytes.into()))
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
    #[doc(alias = "bufferevent_lock")]
    #[doc(alias = "bufferevent_unlock")]
    #[must_use]
    pub fn remote(&self) -> Remote<C> {
        // The loop's runs say nothing to a mailbox that nobody has.
        if !self.mailbox.has_senders() {
            self.mailbox.set_running(self.control.running);
        }
        Remote { mailbox: Arc::clone(&self.mailbox) }
    }

    fn write_reference(&mut self, id: BuffereventId, bytes: Bytes) -> Result<()> {
        self.bufferevent(id)?.output().add_reference(bytes)
    }

    /// Carries out what other threads have asked for, if they have woken the loop. One message at a time leaves the
    /// queue, so that a task that panics loses none of those behind it.
    pub(super) fn take_messages(&mut self) {
        let is_left = !self.inbox.is_empty();
        self.empty_inbox();
        let is_sent = self.reactor.take_notified();
        if is_sent {
            self.mailbox.exchange(&mut self.inbox);
            let answers = self.resolver.answers().into_iter();
            self.inbox.extend(answers.map(|(id, answer)| Message::Resolved(id, answer)));
            self.empty_inbox();
        }
        if is_left || is_sent {
            self.mailbox.done();
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
            Message::Add(id, timeout) => drop(self.add(id, timeout)),
            Message::Del(id) => drop(self.del(id)),
            Message::Exit(after) => drop(self.loop_exit(after)),
            Message::Break => self.loop_break(),
            Message::Run(task) => task(self),
            // As with events, the bufferevent may be gone.
            Message::Write(id, bytes) => drop(self.write_reference(id, bytes)),
            Message::Resolved(id, answer) => self.resolved(id, answer),
        }
    }
}
