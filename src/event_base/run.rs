//! The loop. One turn, in order:
//!
//! 1. Stop, if a callback asked for it.
//! 2. Settle: what callbacks asked of bufferevents is carried out.
//! 3. Call what settling has made due, and settle once more, so that a write callback waits for no system call.
//! 4. Stop, if that asked for it, or if nothing is left to wait for.
//! 5. Call the prepare watchers.
//! 6. Prepare: tell the kernel what has changed, and find out how long to wait.
//! 7. Wait.
//! 8. Complete: readiness, signals, due timers and the ready list become active.
//! 9. Take the messages of other threads, and the addresses of hosts.
//! 10. Call the check watchers.
//! 11. Call what is active, of the most important priority that has anything.
//!
//! The first turn of a run leaves step 3 out: what other threads asked before the run counts before anything is called.
//! Finalizers of freed events are called when the callback that was running has returned.
//!
//! Less important priorities have their turn when a turn brings nothing more important.

use std::cell::Cell;
use std::io;
use std::time::{Duration, SystemTime};

use bitflags::bitflags;

use super::config::DispatchLimit;
use super::watcher::Moment;
use super::{EventBase, EventId};
use crate::error::{Error, Result};
use crate::reactor::{Invocation, owner};
use crate::sys::clock;

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
#[derive(Debug, Default)]
pub(super) struct Control {
    /// When the loop is to end.
    exit_at_ns: Option<u64>,
    pub(super) running: bool,
    exit: bool,
    breaking: bool,
    /// Whether the turn's remaining calls are to wait.
    continuing: bool,
    pub(super) running_event: Option<EventId>,
    /// The wall clock's time at an instant of the loop's clock, when somebody asked for it last.
    wall: Cell<Option<(u64, SystemTime)>>,
    limit: DispatchLimit,
}

impl Control {
    pub(super) fn new(limit: DispatchLimit) -> Self {
        Control { limit, ..Control::default() }
    }
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
            log::warn!("a callback has tried to run the loop that called it");
            return Err(Error::Reentrant);
        }
        let running = Running::begin(self);
        if let Some(hook) = &mut running.base.turn_hook {
            hook.begin();
        }
        let ended = running.base.turn_until_told(how)?;
        // What the last callbacks wrote leaves although the loop does not wait again.
        running.base.settle();
        Ok(ended)
    }

    fn turn_until_told(&mut self, how: Run) -> Result<Ended> {
        let mut turns_left = None;
        let mut settled = 0;
        self.settle();
        loop {
            self.finalize();
            if let Some(ended) = self.why_told() {
                return Ok(ended);
            }
            if let Some(empty) = self.why_empty(how) {
                return Ok(empty);
            }
            let called = settled + self.turn(how, settled)?;
            if let Some(hook) = &mut self.turn_hook {
                hook.end();
            }
            if how.contains(Run::NONBLOCK) || (how.contains(Run::ONCE) && called > 0) {
                let left = turns_left.get_or_insert_with(|| self.turns_for_the_rest());
                if *left == 0 || self.reactor.active_len() == 0 {
                    return Ok(self.why_told().unwrap_or(Ended::Done));
                }
                *left -= 1;
            }
            if self.why_told().is_none() {
                settled = self.call_settled();
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
        self.work.turns += 1;
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
        self.call_prepare_watchers(how);
        let waited = self.wait(how);
        waited.inspect_err(|error| log::warn!("the loop cannot wait: {error}"))?;
        self.control.exit |= self.control.exit_at_ns.is_some_and(|at_ns| at_ns <= self.reactor.now());
        self.take_messages();
        if !self.watchers.is_empty() {
            self.call_watchers(Moment::AfterWait);
        }
        Ok(())
    }

    fn wait(&mut self, how: Run) -> io::Result<()> {
        let from_ns = self.turn_hook.as_ref().map(|_| clock::now_ns());
        let mut wait = self.reactor.prepare(self.is_hurried(how), self.control.exit_at_ns);
        let waited = wait.wait();
        self.reactor.complete(wait, |_, _| {});
        if let (Some(hook), Some(from_ns)) = (&mut self.turn_hook, from_ns) {
            hook.waited(from_ns);
        }
        waited
    }

    fn call_prepare_watchers(&mut self, how: Run) {
        if self.watchers.is_empty() {
            return;
        }
        let wait_ns = self.reactor.time_to_wait(self.is_hurried(how), self.control.exit_at_ns);
        self.call_watchers(Moment::BeforeWait(wait_ns.map(Duration::from_nanos)));
        self.settle();
    }

    /// Whether the loop must not wait, whatever the reactor has to wait for.
    fn is_hurried(&self, how: Run) -> bool {
        let has_calls = !self.inbox.is_empty() || !self.finalizers.is_empty();
        how.contains(Run::NONBLOCK) || has_calls || self.why_told().is_some()
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

    /// Calls what is active of the most important priority, and says how many calls that were. A turn often brings nothing.
    #[inline]
    fn call_active(&mut self) -> usize {
        let called = self.reactor.first_priority().map_or(0, |priority| self.call_all_of(priority));
        self.control.continuing = false;
        self.work.calls += called as u64;
        called
    }

    /// Calls what is active of a priority, within the limits that it has.
    #[inline(never)]
    fn call_all_of(&mut self, priority: u8) -> usize {
        let limit = self.control.limit.of(priority);
        let most = limit.calls_most().min(self.reactor.active_len() + EXTRA_CALLS);
        let Some(interval_ns) = limit.interval_ns else { return self.call_some_of(priority, most) };
        let until_ns = clock::now_ns().saturating_add(interval_ns);
        let mut called = 0;
        while called < most && self.call_some_of(priority, 1) > 0 {
            called += 1;
            if clock::now_ns() >= until_ns {
                break;
            }
        }
        called
    }

    /// Calls so many at most. Ends early when something more important turns up: what is pending there may be
    /// ready by now.
    fn call_some_of(&mut self, priority: u8, most: usize) -> usize {
        let mut left = most;
        while left > 0 && self.reactor.is_first_priority(priority) && !self.is_stopping() {
            let Some(invocation) = self.reactor.next_active(priority) else { break };
            self.call(invocation);
            left -= 1;
        }
        most - left
    }

    fn call(&mut self, invocation: Invocation) {
        if invocation.owner & owner::MASK == owner::EVENT {
            self.run_event(invocation);
        } else {
            self.run_engine(invocation);
        }
        self.finalize();
    }

    /// Apart, so that calling an event saves no registers for this.
    #[inline(never)]
    fn run_engine(&mut self, Invocation { owner, what, .. }: Invocation) {
        let index = owner & !owner::MASK;
        match owner & owner::MASK {
            owner::BUFFEREVENT => self.run_bufferevent(index, what),
            owner::LISTENER => self.run_listener(index, what),
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
        let has_mail = !self.inbox.is_empty() || self.awaits_answers();
        let has_work = self.reactor.has_work() || self.control.exit_at_ns.is_some() || has_mail;
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
        self.control.exit_at_ns = self.control.exit_at_ns.into_iter().chain([at_ns]).min();
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
}

/// The time.
impl<C> EventBase<C> {
    /// The wall clock's time, as of this turn while callbacks run, so that all of them agree and asking often costs
    /// little; else as of now.
    #[doc(alias = "event_base_gettimeofday_cached")]
    #[must_use]
    pub fn cached_time(&self) -> SystemTime {
        if !self.control.running {
            return SystemTime::now();
        }
        let now_ns = self.reactor.now();
        match self.control.wall.get() {
            Some((at_ns, time)) if at_ns == now_ns => time,
            _ => self.look_at_wall(now_ns),
        }
    }

    /// Reads the clock: [`cached_time`](Self::cached_time) and the timeouts added from here on count from now. Does nothing
    /// on a base that is not running.
    #[doc(alias = "event_base_update_cache_time")]
    pub fn update_cached_time(&mut self) {
        if self.control.running {
            self.reactor.refresh_now();
        }
    }

    fn look_at_wall(&self, now_ns: u64) -> SystemTime {
        let since = Duration::from_nanos(clock::now_ns().saturating_sub(now_ns));
        let time = SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
        self.control.wall.set(Some((now_ns, time)));
        time
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
        if base.mailbox.has_senders() {
            base.mailbox.set_running(true);
        }
        Running { base }
    }
}

impl<C> Drop for Running<'_, C> {
    fn drop(&mut self) {
        let control = &mut self.base.control;
        control.running = false;
        control.continuing = false;
        control.exit_at_ns = None;
        control.running_event = None;
        self.base.reactor.forget_now();
        if self.base.mailbox.has_senders() {
            self.base.mailbox.set_running(false);
        }
    }
}
