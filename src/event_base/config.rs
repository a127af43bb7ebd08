//! How a base is made.

use std::time::Duration;

use crate::features::Features;
use crate::reactor::{METHODS, Method};
use crate::sys;

/// The most priorities that a base can have.
#[doc(alias = "EVENT_MAX_PRIORITIES")]
pub const PRIORITIES_MAX: u8 = u8::MAX;

/// What to settle before a base exists. A base copies what it needs; dropping the `Config` is all there is to freeing it.
///
/// # Examples
///
/// ```
/// use zerovent::EventBase;
/// use zerovent::event_base::Config;
///
/// let config = Config::new().priorities(3).capacity(10_000);
/// let base = EventBase::with_config(&config, ())?;
/// assert_eq!(base.priorities(), 3);
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "event_config_new")]
#[doc(alias = "event_config_free")]
#[doc(alias = "event_config_set_flag")]
#[doc(alias = "event_base_config_flag")]
pub struct Config {
    pub(super) capacity: usize,
    pub(super) priorities: u8,
    pub(super) required: Features,
    pub(super) caches_time: bool,
    pub(super) limit: DispatchLimit,
    methods: Vec<&'static Method>,
    ignores_env: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// One priority, the fastest backend, no limit, and no room reserved.
    #[must_use]
    pub fn new() -> Self {
        Config {
            capacity: 0,
            priorities: 1,
            required: Features::empty(),
            caches_time: true,
            limit: DispatchLimit::default(),
            methods: METHODS.to_vec(),
            ignores_env: false,
        }
    }

    /// Reserves room for so many events and bufferevents: up to there the base allocates nothing for its own tables.
    #[must_use]
    pub fn capacity(mut self, objects: usize) -> Self {
        self.capacity = objects;
        self
    }

    /// How many priorities there are, at least 1.
    #[must_use]
    pub fn priorities(mut self, priorities: u8) -> Self {
        self.priorities = priorities.max(1);
        self
    }
}

/// Which backend.
impl Config {
    /// Uses no backend of that name, as [`supported_methods`](super::supported_methods) spells it. Other names mean nothing.
    #[doc(alias = "event_config_avoid_method")]
    #[must_use]
    pub fn avoid_method(mut self, name: &str) -> Self {
        self.methods.retain(|method| method.name != name);
        self
    }

    /// Uses only a backend that has all of these; what was required before is required no longer. That none has is an
    /// error of [`EventBase::with_config`](crate::EventBase::with_config), which says what is missing.
    #[doc(alias = "event_config_require_features")]
    #[must_use]
    pub fn require_features(mut self, features: Features) -> Self {
        self.required = features;
        self
    }

    /// Whether to use a backend though the environment says not to.
    ///
    /// At first `EVENT_NOEPOLL`, `EVENT_NOPOLL` and `EVENT_NOSELECT` each rule one out, whatever their value, unless the
    /// program runs with more rights than whoever started it. Think twice: they let the people who run a program find
    /// out where it goes wrong.
    #[doc(alias = "EVENT_BASE_FLAG_IGNORE_ENV")]
    #[must_use]
    pub fn ignore_env(mut self, ignore: bool) -> Self {
        self.ignores_env = ignore;
        self
    }

    /// The backends that may be used, the fastest first.
    pub(super) fn methods(&self) -> Vec<&'static Method> {
        let heeds_env = !self.ignores_env && !sys::process::is_privileged();
        let is_ruled_out = |method: &Method| {
            heeds_env && std::env::var_os(format!("EVENT_NO{}", method.name.to_uppercase())).is_some()
        };
        self.methods.iter().copied().filter(|method| !is_ruled_out(method)).collect()
    }
}

/// What libevent's flags say.
impl Config {
    /// Without effect: a base belongs to one thread and has no locks to leave out. Other threads talk to it through
    /// [`Remote`](super::Remote), with or without this.
    #[doc(alias = "EVENT_BASE_FLAG_NOLOCK")]
    #[must_use]
    pub fn no_lock(self) -> Self {
        self
    }

    /// Without effect: changes of what the kernel watches are always collected and told once a turn.
    ///
    /// # Differences from libevent
    ///
    /// There it must be asked for, by a flag or by the variable `EVENT_EPOLL_USE_CHANGELIST`, and gives wrong results
    /// when descriptors are duplicated. Here each registration carries a generation that finds that out.
    #[doc(alias = "EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST")]
    #[doc(alias = "EVENT_EPOLL_USE_CHANGELIST")]
    #[must_use]
    pub fn changelist(self) -> Self {
        self
    }

    /// Without effect: timers always go by the precise clock, to the nanosecond. The coarse one would gain nothing.
    #[doc(alias = "EVENT_BASE_FLAG_PRECISE_TIMER")]
    #[must_use]
    pub fn precise_timer(self) -> Self {
        self
    }

    /// Reads the clock each time a timeout is computed. At first all callbacks of a turn share one time, as of when the
    /// loop woke up, and a timeout that a slow callback sets counts from there.
    #[doc(alias = "EVENT_BASE_FLAG_NO_CACHE_TIME")]
    #[must_use]
    pub fn no_cache_time(mut self) -> Self {
        self.caches_time = false;
        self
    }
}

/// Priority inversion.
impl Config {
    /// Looks for something more important after `interval` has passed in a turn, or `max_callbacks` calls have been made,
    /// whichever comes first; `None` is no limit. This holds for priorities of `min_priority` and of larger numbers, which
    /// are less important; those before it go on until all that was active has been called.
    ///
    /// The time is looked at after each call, so one call at least is made a turn, and a slow one is not cut short. With an
    /// interval, that look also gives the loop its current time.
    ///
    /// # Examples
    ///
    /// The book's: callbacks of priority 1 may be slow, so at most 100 ms, or 5 calls, pass before priority 0 is looked at.
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    /// use zerovent::event_base::Config;
    ///
    /// let config = Config::new().priorities(2).max_dispatch_interval(Some(Duration::from_millis(100)), Some(5), 1);
    /// let base = EventBase::with_config(&config, ())?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_config_set_max_dispatch_interval")]
    #[must_use]
    pub fn max_dispatch_interval(
        mut self,
        interval: Option<Duration>,
        max_callbacks: Option<usize>,
        min_priority: u8,
    ) -> Self {
        let ns = |interval: Duration| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.limit = DispatchLimit { interval_ns: interval.map(ns), calls: max_callbacks, min_priority };
        self
    }
}

/// How much of a turn the less important callbacks may take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DispatchLimit {
    pub(super) interval_ns: Option<u64>,
    calls: Option<usize>,
    min_priority: u8,
}

impl DispatchLimit {
    /// What it means for the calls of one priority.
    pub(super) fn of(self, priority: u8) -> Self {
        if priority < self.min_priority { DispatchLimit::default() } else { self }
    }

    /// How many calls a turn may make; one, at least.
    pub(super) fn calls_most(self) -> usize {
        self.calls.map_or(usize::MAX, |calls| calls.max(1))
    }

    pub(super) fn is_none(self) -> bool {
        self.interval_ns.is_none() && self.calls.is_none()
    }
}
