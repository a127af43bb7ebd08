//! The loop. One turn, in order:
//!
//! 1. Stop, if a callback asked for it.
//! 2. Settle: what callbacks asked of bufferevents is carried out.
//! 3. Call what settling has made due, and settle once more, so that a write callback waits for no system call.
//! 4. Stop, if that asked for it, or if nothing is left to wait for.
//! 5. Prepare: tell the kernel what has changed, and find out how long to wait.
//! 6. Wait.
//! 7. Complete: readiness, signals, due timers and the ready list become active.
//! 8. Take the messages of other threads, and the addresses of hosts.
//! 9. Call what is active, of the most important priority that has anything.
//!
//! Less important priorities have their turn when a turn brings nothing more important.

use std::time::Duration;

use bitflags::bitflags;

use super::EventBase;
use super::config::DispatchLimit;
use crate::error::{Error, Result};
use crate::reactor::{Invocation, SlotId, owner};

/// A turn calls what was active when it began and so many more: something that activates itself for ever cannot
/// keep the loop from looking at its descriptors.
const EXTRA_CALLS: usize = 1024;

bitflags! {
    /// How long [`EventBase::run`] goes on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Run: u8 {
        /// Wait until something is active, call it, and return when nothing more is. What is less important than something
        /// that keeps coming is left active.
        #[doc(alias = "EVLOOP_ONCE")]
        const ONCE = 0x01;
        /// Do not wait: call what is active or ready by now, and return. What is less important than something that
        /// keeps coming is left active.
        ///
        /// # Differences from libevent
        ///
        /// libevent goes on for as long as anything is ready, which, with a persistent event that nobody satisfies, is
        /// for ever.
        #[doc(alias = "EVLOOP_NONBLOCK")]
        const NONBLOCK = 0x02;
        /// Go on when there is nothing to wait for: another thread may bring something.
        #[doc(alias = "EVLOOP_NO_EXIT_ON_EMPTY")]
        const NO_EXIT_ON_EMPTY = 0x04;
    }
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// [`loop_exit`](EventBase::loop_exit).
    Exit,
    /// [`loop_break`](EventBase::loop_break).
    Break,
    /// Nothing is pending and nothing active.
    Empty,
    /// What [`Run::ONCE`] or [`Run::NONBLOCK`] asked for is done.
    Done,
}

/// What the loop has been told, and whether it is running.
#[derive(Debug)]
pub(super) struct Control {
    /// The timer whose turn ends the loop, and when it is due.
    exit_timer: SlotId,
    exit_at_ns: Option<u64>,
    running: bool,
    exit: bool,
    breaking: bool,
    /// Whether the turn's remaining calls are to wait.
    continuing: bool,
    limit: DispatchLimit,
    turns: u64,
    calls: u64,
}

impl Control {
    pub(super) fn new(exit_timer: SlotId, limit: DispatchLimit) -> Self {
        Control {
            exit_timer,
            exit_at_ns: None,
            running: false,
            exit: false,
            breaking: false,
            continuing: false,
            limit,
            turns: 0,
            calls: 0,
        }
    }
}

/// Counters of a base's work since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Invocations handed out: events, bufferevents and listeners whose turn came.
    pub calls: u64,
    /// Waits for the kernel.
    pub waits: u64,
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
    /// Slots in use.
    pub slots: usize,
    /// Entries in the timer heap.
    pub timers: usize,
}

/// Running.
impl<C> EventBase<C> {
    /// Runs until nothing is left to wait for, or a callback ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Reentrant`] inside a callback; [`Error::Io`] if waiting fails.
    #[doc(alias = "event_base_dispatch")]
    pub fn dispatch(&mut self) -> Result<Ended> {
        self.run(Run::empty())
    }

    /// Runs as `how` says.
    ///
    /// # Errors
    ///
    /// As [`dispatch`](Self::dispatch).
    ///
    /// # Panics
    ///
    /// When a callback does; the base can be run again.
    #[doc(alias = "event_base_loop")]
    pub fn run(&mut self, how: Run) -> Result<Ended> {
        if self.control.running {
            return Err(Error::Reentrant);
        }
        let running = Running::begin(self);
        let ended = running.base.turn_until_told(how)?;
        // What the last callbacks wrote leaves although the loop does not wait again.
        running.base.settle();
        Ok(ended)
    }

    fn turn_until_told(&mut self, how: Run) -> Result<Ended> {
        let mut turns_left = None;
        loop {
            if let Some(ended) = self.why_told() {
                return Ok(ended);
            }
            let settled = self.call_settled();
            if let Some(empty) = self.why_empty(how) {
                return Ok(self.why_told().unwrap_or(empty));
            }
            let called = settled + self.turn(how, settled)?;
            if how.contains(Run::NONBLOCK) || (how.contains(Run::ONCE) && called > 0) {
                let left = turns_left.get_or_insert_with(|| self.turns_for_the_rest());
                if *left == 0 || self.reactor.active_len() == 0 {
                    return Ok(self.why_told().unwrap_or(Ended::Done));
                }
                *left -= 1;
            }
        }
    }

    /// After how many turns everything that is active has been called, unless what is more important keeps coming: one for
    /// each priority, and where a limit cuts turns short, one for each call. A run that is to be short goes on no longer.
    fn turns_for_the_rest(&self) -> usize {
        let cut = if self.control.limit.is_none() { 0 } else { self.reactor.active_len() };
        self.priorities() - 1 + cut
    }

    /// Settles, and calls what that has made due.
    fn call_settled(&mut self) -> usize {
        let before = self.reactor.active_len();
        self.settle();
        if before > 0 || self.reactor.active_len() == 0 {
            return 0;
        }
        let called = self.call_active();
        self.settle();
        called
    }

    /// What is left of a turn when `settled` calls have been made: looking, and calling. Says how many calls that were.
    fn turn(&mut self, how: Run, settled: usize) -> Result<usize> {
        self.control.turns += 1;
        let mut called = 0;
        let is_done = settled > 0 && how.contains(Run::ONCE);
        if !is_done && self.why_told().is_none() {
            self.look(how)?;
            called += self.call_active();
        }
        if self.control.exit {
            called += self.call_rest();
        }
        Ok(called)
    }

    /// Waits for what is ready, due, or sent by other threads.
    fn look(&mut self, how: Run) -> Result<()> {
        let poll = how.contains(Run::NONBLOCK) || !self.inbox.is_empty();
        let mut wait = self.reactor.prepare(poll);
        let waited = wait.wait();
        self.reactor.complete(wait);
        waited?;
        self.control.exit |= self.reactor.take_active(self.control.exit_timer)?;
        self.take_messages();
        Ok(())
    }

    /// Calls what is still active, of whatever priority: the loop is about to exit, and leaves nothing of it behind.
    fn call_rest(&mut self) -> usize {
        let most = self.reactor.active_len() + EXTRA_CALLS;
        let mut called = 0;
        while called < most && self.reactor.active_len() > 0 && !self.control.breaking {
            called += self.call_active();
        }
        called
    }

    /// Calls what is active of the most important priority, and says how many calls that were. Ends early when something
    /// more important turns up: what is pending there may be ready by now.
    fn call_active(&mut self) -> usize {
        let Some(priority) = self.reactor.first_priority() else { return 0 };
        let limit = self.control.limit.of(priority);
        let most = limit.calls_most().min(self.reactor.active_len() + EXTRA_CALLS);
        let until_ns = limit.interval_ns.map(|ns| self.reactor.refresh_now().saturating_add(ns));
        let mut called = 0;
        while called < most && self.reactor.first_priority() == Some(priority) && !self.is_stopping() {
            let Some(invocation) = self.reactor.next_active(priority) else { break };
            self.call(invocation);
            called += 1;
            if until_ns.is_some_and(|until_ns| self.reactor.refresh_now() >= until_ns) {
                break;
            }
        }
        self.control.continuing = false;
        self.control.calls += called as u64;
        called
    }

    fn call(&mut self, invocation: Invocation) {
        let Invocation { owner, what } = invocation;
        let index = owner & !owner::MASK;
        match owner & owner::MASK {
            owner::EVENT => self.run_event(index, what),
            owner::BUFFEREVENT => self.run_bufferevent(index, what),
            owner::LISTENER => self.run_listener(index, what),
            // The base's own timer is taken from its queue before anything is called.
            _ => {}
        }
    }

    fn why_told(&self) -> Option<Ended> {
        if self.control.breaking {
            Some(Ended::Break)
        } else if self.control.exit {
            Some(Ended::Exit)
        } else {
            None
        }
    }

    fn why_empty(&self, how: Run) -> Option<Ended> {
        let has_work = self.reactor.has_work() || !self.inbox.is_empty() || self.awaits_answers();
        (!how.contains(Run::NO_EXIT_ON_EMPTY) && !has_work).then_some(Ended::Empty)
    }

    /// Whether the calls of this turn that are left are to wait.
    pub(super) fn is_stopping(&self) -> bool {
        self.control.breaking || self.control.continuing
    }
}

/// Stopping.
impl<C> EventBase<C> {
    /// Ends the loop after `after` (`None`: now), as soon as what is active then has been called, whatever its
    /// priority. On a base that is not running it applies to the next run, which makes one turn at least.
    ///
    /// # Errors
    ///
    /// None today; a future clock may fail.
    ///
    /// # Differences from libevent
    ///
    /// Of several, the earliest ends the loop, and the others are forgotten with it. Less important events that are
    /// active are called as well, where libevent leaves them to the next run.
    #[doc(alias = "event_base_loopexit")]
    pub fn loop_exit(&mut self, after: Option<Duration>) -> Result<()> {
        let after_ns = u64::try_from(after.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        if self.control.running && after_ns == 0 {
            self.control.exit = true;
            return Ok(());
        }
        let at_ns = self.reactor.now().saturating_add(after_ns);
        if self.control.exit_at_ns.is_none_or(|earlier_ns| at_ns < earlier_ns) {
            self.control.exit_at_ns = Some(at_ns);
            self.reactor.set_deadline(self.control.exit_timer, Some(at_ns))?;
        }
        Ok(())
    }

    /// Ends the loop after the callback that is running; what is still active is called when it runs again. Does
    /// nothing on a base that is not running.
    #[doc(alias = "event_base_loopbreak")]
    pub fn loop_break(&mut self) {
        self.control.breaking = self.control.running;
    }

    /// Leaves the calls of this turn that are still to be made, and looks for what is ready before they are. Does
    /// nothing outside a callback.
    #[doc(alias = "event_base_loopcontinue")]
    pub fn loop_continue(&mut self) {
        self.control.continuing = self.control.running;
    }

    /// Whether the last run ended by [`loop_exit`](Self::loop_exit).
    #[doc(alias = "event_base_got_exit")]
    #[must_use]
    pub fn got_exit(&self) -> bool {
        self.control.exit
    }

    /// Whether the last run ended by [`loop_break`](Self::loop_break).
    #[doc(alias = "event_base_got_break")]
    #[must_use]
    pub fn got_break(&self) -> bool {
        self.control.breaking
    }

    /// What the base has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = self.reactor.counters();
        let (slots, timers) = self.reactor.sizes();
        Stats {
            turns: self.control.turns,
            calls: self.control.calls,
            waits: counters.waits,
            changes_asked: counters.changes_asked,
            changes_applied: counters.changes_applied,
            stale_events: counters.stale_events,
            rebuilds: counters.rebuilds,
            group_shares: self.bufferevents.group_shares(),
            slots,
            timers,
        }
    }
}

/// The loop is running for as long as this lives, also if it ends by unwinding.
struct Running<'a, C> {
    base: &'a mut EventBase<C>,
}

impl<'a, C> Running<'a, C> {
    fn begin(base: &'a mut EventBase<C>) -> Self {
        base.control.running = true;
        base.control.exit = false;
        base.control.breaking = false;
        base.control.continuing = false;
        Running { base }
    }
}

impl<C> Drop for Running<'_, C> {
    fn drop(&mut self) {
        let control = &mut self.base.control;
        control.running = false;
        control.continuing = false;
        control.exit_at_ns = None;
        // The base's own timer lives as long as the base, so it is not stale.
        let _ = self.base.reactor.del(control.exit_timer);
        self.base.reactor.forget_now();
    }
}
