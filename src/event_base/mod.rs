//! The event base: the loop, the user's closures, and the only room that calls them.
//!
//! An [`EventBase`] owns a reactor, the engines of bufferevents and listeners, the closures for all of them, and a
//! context of the user's. The engines queue what is to be called; the loop (`run`) takes one invocation at a time, takes
//! the closure out of its place (`callback`), and calls it with `&mut` access to the base, while nothing inside is
//! borrowed.

mod bufferevent;
mod callback;
mod config;
mod dump;
mod event;
mod getters;
mod link;
mod listener;
mod method;
mod once;
mod rate_limit;
mod relay;
mod remote;
mod resolve;
mod run;
mod stats;
mod watcher;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

pub use config::{Config, PRIORITIES_MAX};
pub use event::{Event, EventId};
pub use method::{supported_methods, version};
pub use remote::Remote;
pub use run::{Ended, Run};
pub use stats::{EventCounts, Stats, Turn};
pub use watcher::WatcherId;

pub use crate::features::Features;
pub use crate::reactor::{CommonTimeout, Interest, Pending, What};

use crate::error::Result;
use crate::reactor::{Arena, Reactor, open_backend};

/// A loop that watches descriptors, timers and signals and calls closures, one at a time.
///
/// `C` is a context of the user's that every callback reaches through [`context`](Self::context) and
/// [`context_mut`](Self::context_mut).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use zerovent::EventBase;
///
/// let mut base = EventBase::with_context(0)?;
/// let tick = base.new_timer(|base, _, _| {
///     *base.context_mut() += 1;
///     base.loop_break();
/// })?;
/// base.add(tick, Some(Duration::from_millis(1)))?;
/// base.dispatch()?;
/// assert_eq!(*base.context(), 1);
/// # Ok::<(), zerovent::Error>(())
/// ```
///
/// # Differences from libevent
///
/// A base belongs to one thread at a time and has no locks; other threads talk to it through [`Remote`]. What belongs
/// to it is reached through ids, which turn stale instead of dangling.
#[doc(alias = "event_base")]
#[doc(alias = "event_base_free")]
pub struct EventBase<C = ()> {
    reactor: Reactor,
    bufferevents: crate::bufferevent::Engine,
    listeners: crate::listener::Engine,
    /// By slot.
    events: Vec<event::Entry<C>>,
    bufferevent_callbacks: Vec<bufferevent::Callbacks<C>>,
    listener_callbacks: Vec<listener::Callbacks<C>>,
    relay_callbacks: Vec<Option<relay::Callback<C>>>,
    resolver: crate::resolve::Resolver,
    askers: resolve::Askers<C>,
    mailbox: Arc<remote::Mailbox<C>>,
    /// Messages that have been taken from the mailbox and are being carried out.
    inbox: remote::Queue<C>,
    finalizers: VecDeque<once::Finalizer<C>>,
    watchers: watcher::Watchers<C>,
    control: run::Control,
    work: stats::Work,
    turn_hook: Option<stats::TurnHook>,
    context: C,
}

impl EventBase {
    /// A base without a context.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the kernel has no descriptor left for it.
    #[doc(alias = "event_base_new")]
    pub fn new() -> Result<Self> {
        EventBase::with_context(())
    }
}

impl<C> EventBase<C> {
    /// A base with a context.
    ///
    /// # Errors
    ///
    /// As [`EventBase::new`].
    pub fn with_context(context: C) -> Result<Self> {
        EventBase::with_config(&Config::new(), context)
    }

    /// A base made as `config` says, on the fastest backend that it, the environment and the kernel allow.
    ///
    /// # Errors
    ///
    /// As [`EventBase::new`]; [`Error::NoBackend`](crate::Error::NoBackend) if no backend that may be used has the
    /// features required.
    #[doc(alias = "event_base_new_with_config")]
    #[doc(alias = "EVENT_NOKQUEUE")]
    pub fn with_config(config: &Config, context: C) -> Result<Self> {
        let backend = open_backend(&config.methods(), config.required)?;
        let mut reactor = Reactor::new(backend, config.capacity, config.priorities)?;
        reactor.set_caches_time(config.caches_time);
        let resolver = crate::resolve::Resolver::new(Arc::clone(reactor.notifier()));
        Ok(EventBase {
            mailbox: Arc::new(remote::Mailbox::new(Arc::clone(reactor.notifier()))),
            inbox: remote::Queue::new(),
            reactor,
            bufferevents: crate::bufferevent::Engine::with_capacity(config.capacity),
            listeners: crate::listener::Engine::new(),
            events: Vec::with_capacity(config.capacity),
            bufferevent_callbacks: Vec::with_capacity(config.capacity),
            listener_callbacks: Vec::new(),
            relay_callbacks: Vec::new(),
            resolver,
            askers: Arena::with_capacity(0),
            finalizers: VecDeque::new(),
            watchers: watcher::Watchers::new(),
            control: run::Control::new(config.limit),
            work: stats::Work::default(),
            turn_hook: None,
            context,
        })
    }

    /// The user's context.
    #[doc(alias = "event_get_callback_arg")]
    pub fn context(&self) -> &C {
        &self.context
    }

    /// The user's context, to be changed.
    pub fn context_mut(&mut self) -> &mut C {
        &mut self.context
    }

    /// How many priorities there are; 0 is the most important. Events get the middle one unless they say otherwise.
    #[doc(alias = "event_base_get_npriorities")]
    #[must_use]
    pub fn priorities(&self) -> usize {
        self.reactor.priorities()
    }

    /// Sets how many priorities there are, from 1 to 255.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) for 0, [`Error::Invalid`](crate::Error::Invalid) while anything is active or
    /// has a priority that would be gone.
    #[doc(alias = "event_base_priority_init")]
    pub fn set_priorities(&mut self, priorities: u8) -> Result<()> {
        self.reactor.set_priorities(priorities)
    }
}

impl<C> Drop for EventBase<C> {
    fn drop(&mut self) {
        self.mailbox.close();
        self.finalize_last();
    }
}

impl<C: fmt::Debug> fmt::Debug for EventBase<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBase")
            .field("active", &self.reactor.active_len())
            .field("stats", &self.stats())
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
