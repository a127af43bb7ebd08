//! What a base has done and has, and how long its turns take.

use std::fmt;
use std::time::Duration;

use super::EventBase;
use crate::sys::clock;

/// What a base has done since it was made, and what it has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Invocations handed out: events, bufferevents and listeners whose turn came.
    pub calls: u64,
    /// Waits for the kernel.
    pub waits: u64,
    /// How often other threads and signals ended a wait, or came while there was none.
    pub wakes: u64,
    /// How often other threads had to make a system call for that.
    pub wake_writes: u64,
    /// Changes of interest that were asked for, and those that the kernel had to be told.
    pub changes_asked: u64,
    /// Changes of interest that took a system call.
    pub changes_applied: u64,
    /// Reports for registrations that were no longer current.
    pub stale_events: u64,
    /// How often the kernel's set was replaced to be rid of such reports.
    pub rebuilds: u64,
    /// How often a member of a rate-limit group was given its share.
    pub group_shares: u64,
    /// Slots in use: one for each event, bufferevent and listener, waiting or not.
    pub slots: usize,
    /// Those that wait for descriptors.
    pub on_descriptors: usize,
    /// Those that wait for signals.
    pub on_signals: usize,
    /// Those that wait for time.
    pub on_time: usize,
    /// Entries in the timer heap, those of timers that were taken back and have not come up yet included.
    pub timers: usize,
}

/// How many events a base has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounts {
    /// Events that were added and wait for something.
    pub added: usize,
    /// Events, bufferevents and listeners that are about to be called.
    pub active: usize,
    /// Bufferevents and listeners that keep the loop running, as events do.
    pub virtual_: usize,
}

/// How long a turn of the loop took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Time in the kernel, waiting and finding out what is ready.
    pub waited: Duration,
    /// Everything else: callbacks, and carrying out what they asked for.
    pub worked: Duration,
}

/// Counters that the loop itself keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) turns: u64,
    pub(super) calls: u64,
}

/// Who is told of each turn, and what is known of the turn that is under way.
pub(super) struct TurnHook {
    call: Box<dyn FnMut(Turn)>,
    began_ns: u64,
    waited_ns: u64,
}

impl fmt::Debug for TurnHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnHook").finish_non_exhaustive()
    }
}

impl TurnHook {
    pub(super) fn begin(&mut self) {
        self.began_ns = clock::now_ns();
        self.waited_ns = 0;
    }

    /// A wait that began at `from_ns` is over.
    pub(super) fn waited(&mut self, from_ns: u64) {
        self.waited_ns += clock::now_ns().saturating_sub(from_ns);
    }

    /// The turn is over, and the next begins.
    pub(super) fn end(&mut self) {
        let now_ns = clock::now_ns();
        let worked_ns = now_ns.saturating_sub(self.began_ns).saturating_sub(self.waited_ns);
        (self.call)(Turn {
            waited: Duration::from_nanos(self.waited_ns),
            worked: Duration::from_nanos(worked_ns),
        });
        self.began_ns = now_ns;
        self.waited_ns = 0;
    }
}

impl<C> EventBase<C> {
    /// What the base has done so far, and what it has.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = self.reactor.counters();
        let tally = self.reactor.tally();
        let (slots, timers) = self.reactor.sizes();
        Stats {
            turns: self.work.turns,
            calls: self.work.calls,
            waits: counters.waits,
            wakes: counters.wakes,
            wake_writes: self.reactor.notifier().writes(),
            changes_asked: counters.changes_asked,
            changes_applied: counters.changes_applied,
            stale_events: counters.stale_events,
            rebuilds: counters.rebuilds,
            group_shares: self.bufferevents.group_shares(),
            slots,
            on_descriptors: tally.descriptors,
            on_signals: tally.signals,
            on_time: tally.timers,
            timers,
        }
    }

    /// How many events there are now.
    #[doc(alias = "event_base_get_num_events")]
    #[must_use]
    pub fn event_counts(&self) -> EventCounts {
        let tally = self.reactor.tally();
        EventCounts {
            added: tally.events.now,
            active: self.reactor.active_len(),
            virtual_: tally.engines.now,
        }
    }

    /// How many there have been at most, each for itself, since the base was made or
    /// [`reset_event_maxima`](Self::reset_event_maxima) was called.
    #[doc(alias = "event_base_get_max_events")]
    #[must_use]
    pub fn event_maxima(&self) -> EventCounts {
        let tally = self.reactor.tally();
        EventCounts {
            added: tally.events.most,
            active: self.reactor.active_most(),
            virtual_: tally.engines.most,
        }
    }

    /// Lets the maxima start again from what there is now.
    pub fn reset_event_maxima(&mut self) {
        self.reactor.forget_most();
    }

    /// Tells `hook` after each turn how long it took. It is not given the base, so it cannot change what it measures;
    /// without one, the loop does not look at the clock for this.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// base.set_turn_hook(|turn| {
    ///     if turn.worked > Duration::from_millis(100) {
    ///         eprintln!("callbacks kept the loop for {:?}", turn.worked);
    ///     }
    /// });
    /// base.dispatch()?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn set_turn_hook(&mut self, hook: impl FnMut(Turn) + 'static) {
        let mut hook = TurnHook { call: Box::new(hook), began_ns: 0, waited_ns: 0 };
        hook.begin();
        self.turn_hook = Some(hook);
    }

    /// Takes the hook of [`set_turn_hook`](Self::set_turn_hook) away.
    pub fn clear_turn_hook(&mut self) {
        self.turn_hook = None;
    }
}
