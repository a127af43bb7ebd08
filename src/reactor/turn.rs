//! A turn of the reactor: prepare, wait, complete.

use std::io;
use std::sync::Arc;

use super::backend::{Backend, Ready};
use super::{
    Counters, Interest, NOTIFIER, Notifier, RETRY_NS, Reactor, STALE_WAITS_MAX, SlotId, State, Wait, What,
    queue::NOBODY, watch,
};
use crate::sys::clock;

const ONE_AT_A_TIME: &str = "every wait is completed before the next is prepared";

impl Reactor {
    /// Tells the kernel what has changed, and finds out how long to wait: not at all if something is to be done or
    /// `poll` says so, and not beyond `until_ns`.
    ///
    /// # Panics
    ///
    /// When a wait that was prepared before has not been completed.
    #[inline]
    pub(crate) fn prepare(&mut self, poll: bool, until_ns: Option<u64>) -> Box<Wait> {
        let timeout_ns = self.time_to_wait(poll, until_ns);
        self.time.end_turn();
        self.counters.waits += 1;
        let mut wait = self.wait.take().expect(ONE_AT_A_TIME);
        wait.timeout_ns = timeout_ns;
        wait
    }

    /// How long a wait would be; `None` is for ever. Tells the kernel what has changed, because what it refuses counts as
    /// ready.
    ///
    /// # Panics
    ///
    /// As [`prepare`](Self::prepare).
    #[inline]
    pub(crate) fn time_to_wait(&mut self, poll: bool, until_ns: Option<u64>) -> Option<u64> {
        if self.fds.has_unapplied() {
            self.apply_changes();
        }
        if poll || self.is_busy() { Some(0) } else { self.time_until_due(until_ns) }
    }

    #[inline(never)]
    fn apply_changes(&mut self) {
        let wait = self.wait.as_mut().expect(ONE_AT_A_TIME);
        self.fds.apply(&mut self.slots, &mut *wait.backend);
    }

    fn time_until_due(&mut self, until_ns: Option<u64>) -> Option<u64> {
        // What was taken back may not have left yet.
        let first_ns = if self.tally.timers > 0 { self.timers.first_deadline() } else { None };
        let deadline_ns = first_ns.into_iter().chain(until_ns).min();
        let until_deadline = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
        let until_retry = self.fds.has_unapplied().then_some(RETRY_NS);
        until_deadline.into_iter().chain(until_retry).min()
    }

    #[inline]
    fn is_busy(&self) -> bool {
        self.active.len() > 0
            || !self.later.is_empty()
            || self.notified
            || (self.fds.has_refused() && self.fds.has_always_ready())
    }

    /// Turns what a wait has brought, and what has come due meanwhile, into active slots. `tell` is told of each what it has become
    /// active with, and the word of its owner: before anybody is called, so that whoever keeps a note of who is active has a true one.
    /// Whoever keeps none says nothing to it.
    pub(crate) fn complete(&mut self, mut wait: Box<Wait>, mut tell: impl FnMut(u64, What)) {
        self.time.begin_turn();
        let stale_before = self.counters.stale_events;
        let mut reports = std::mem::take(&mut wait.ready);
        // Back before anything is told: a logger may unwind.
        self.wait = Some(wait);
        for &report in &reports {
            self.take_report(report, &mut tell);
        }
        reports.clear();
        self.wait.as_mut().expect(ONE_AT_A_TIME).ready = reports;
        if self.fds.has_refused() {
            self.activate_always_ready(&mut tell);
        }
        if !self.later.is_empty() {
            self.activate_ready_list(&mut tell);
        }
        if self.tally.timers > 0 {
            self.activate_due_timers(&mut tell);
        }
        self.active.note_most();
        self.note_stale(stale_before);
    }

    #[inline]
    fn take_report(&mut self, Ready { token, what }: Ready, tell: &mut impl FnMut(u64, What)) {
        match self.fds.first_waiting(token) {
            Some(first) => self.activate_waiting(first, what, tell),
            None if token == NOTIFIER => self.take_wake(tell),
            None => self.take_unusual(Ready { token, what }, tell),
        }
    }

    #[inline(never)]
    fn take_wake(&mut self, tell: &mut impl FnMut(u64, What)) {
        self.notifier.woken(!self.edge_triggered());
        self.notified = true;
        self.counters.wakes += 1;
        self.activate_signals(tell);
    }

    /// Activates, of the slots that wait for one descriptor, those that wait for what it is ready for. Mostly it is one.
    #[inline(always)]
    fn activate_waiting(&mut self, first: u32, what: What, tell: &mut impl FnMut(u64, What)) {
        let second = self.activate_if_hit(first, what, tell);
        if second != NOBODY {
            self.activate_others(second, what, tell);
        }
    }

    #[inline(never)]
    fn activate_others(&mut self, second: u32, what: What, tell: &mut impl FnMut(u64, What)) {
        let mut next = second;
        while next != NOBODY {
            next = self.activate_if_hit(next, what, tell);
        }
    }

    /// Activates a slot if it waits for what its descriptor is ready for, and says who waits for the same descriptor behind it.
    #[inline(always)]
    fn activate_if_hit(&mut self, index: u32, what: What, tell: &mut impl FnMut(u64, What)) -> u32 {
        let Some(slot) = self.slots.at_mut(index) else { return NOBODY };
        let next = slot.next_peer;
        let hit = what & What::from_bits_truncate(slot.interest.bits());
        if !hit.is_empty() {
            tell(slot.owner, hit);
            if !slot.activate(index, hit, &mut self.active) {
                self.enter_lane(index);
            }
        }
        next
    }

    /// Activates a slot, and tells of it.
    pub(super) fn bring(&mut self, id: SlotId, what: What, tell: &mut impl FnMut(u64, What)) {
        if let Ok(owner) = self.owner(id) {
            tell(owner, what);
            let _ = self.activate(id, what);
        }
    }

    fn activate_always_ready(&mut self, tell: &mut impl FnMut(u64, What)) {
        // A file has an end that nobody will announce, so it counts as closed by its peer as well.
        while let Some(first) = self.fds.next_refused_edge() {
            self.activate_waiting(first, What::READ | What::WRITE | What::CLOSED, tell);
        }
        for place in 0..self.fds.always_ready_len() {
            if let Some(first) = self.fds.always_ready(place) {
                self.activate_mode(first, What::READ | What::WRITE, Interest::empty(), tell);
            }
        }
    }

    fn activate_ready_list(&mut self, tell: &mut impl FnMut(u64, What)) {
        for place in 0..self.later.len() {
            let id = self.later[place];
            // One that was taken back, or freed, meanwhile is passed over.
            let Ok(slot) = self.slot(id) else { continue };
            let what = std::mem::take(&mut slot.later);
            if slot.state.contains(State::LATER) {
                slot.state -= State::LATER;
                self.bring(id, what, tell);
            }
        }
        self.later.clear();
    }

    fn activate_due_timers(&mut self, tell: &mut impl FnMut(u64, What)) {
        let now_ns = self.time.now();
        if !self.timers.may_be_due(now_ns) {
            return;
        }
        while let Some((index, deadline_ns)) = self.timers.pop_due(now_ns) {
            let Some((id, slot)) = self.slots.tenant_at(index) else { continue };
            slot.mark(&mut self.tally, State::empty(), State::TIMED);
            let (id, persists) = (SlotId(id), slot.state.contains(State::PERSIST));
            if persists && let Some(next_ns) = next_period(deadline_ns, self.timers.period(index), now_ns) {
                let _ = self.restart_timer(id, next_ns);
            }
            self.bring(id, What::TIMEOUT, tell);
        }
    }

    fn activate_signals(&mut self, tell: &mut impl FnMut(u64, What)) {
        let mut signals = std::mem::take(&mut self.signals);
        signals.collect(|slot, count| {
            let id = SlotId(slot);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if let Ok(slot) = self.slot(id) {
                slot.deliveries = slot.deliveries.saturating_add(count);
            }
            self.bring(id, What::SIGNAL, tell);
        });
        self.signals = signals;
    }

    /// Replaces the backend when reports for descriptors that are gone keep coming.
    #[inline]
    fn note_stale(&mut self, before: u64) {
        if self.counters.stale_events == before {
            self.stale_waits = 0;
        } else {
            self.bear_stale();
        }
    }

    #[cold]
    fn bear_stale(&mut self) {
        self.stale_waits += 1;
        if self.stale_waits >= STALE_WAITS_MAX {
            self.stale_waits = 0;
            if let Err(error) = self.rebuild() {
                log::warn!("the backend cannot be replaced: {error}");
            }
        }
    }

    /// After a fork, in the child: what was shared with the parent is replaced by something of the child's own, and the
    /// parent's is left as it is. What waits goes on waiting, and a wake that the child has not noticed is not lost.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        self.notifier.renew()?;
        self.rebuild()
    }

    pub(super) fn set_backend(&mut self, backend: Box<dyn Backend>) {
        self.wait = Some(Wait::on(backend));
    }

    /// Replaces the backend by a new one of the same kind.
    fn rebuild(&mut self) -> io::Result<()> {
        let mut fresh = (self.method.open)()?;
        watch(&mut *fresh, &self.notifier)?;
        self.set_backend(fresh);
        self.fds.start_over();
        self.counters.rebuilds += 1;
        Ok(())
    }
}

/// The clock, and what the loop wants to know.
impl Reactor {
    /// Nanoseconds on the loop's clock: while callbacks run as of when this was first asked in this turn, else as of now.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.time.now()
    }

    /// Reads the clock, and makes that this turn's time, if a turn is under way: outside one, nothing would make it
    /// give way to a later time.
    pub(crate) fn refresh_now(&mut self) -> u64 {
        self.time.look()
    }

    /// Says whether a turn has one time, as it has at first, or the clock is read whenever it is asked.
    pub(crate) fn set_caches_time(&mut self, caches: bool) {
        self.time.set_keeps(caches);
    }

    /// Whether a turn is under way that has one time.
    #[cfg(feature = "capi")]
    pub(crate) fn has_cached_time(&self) -> bool {
        self.time.is_kept()
    }

    /// The loop has ended: the time it last knew will be old when somebody asks.
    pub(crate) fn forget_now(&mut self) {
        self.time.end_turn();
    }

    /// Whether another thread has woken the loop since this was last taken notice of, or is waking it.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        self.notified || self.notifier.is_pending()
    }

    /// The same, taking notice.
    #[inline]
    pub(crate) fn take_notified(&mut self) -> bool {
        std::mem::take(&mut self.notified) || self.notifier.is_pending()
    }

    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            changes_asked: self.fds.changes_asked,
            changes_applied: self.fds.changes_applied,
            ..self.counters
        }
    }

    /// How many slots there are, and how many entries the timer heap holds.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.slots.len(), self.timers.heap_len())
    }
}

/// When a periodic timer is due next: it keeps to its schedule, however late that it was due was noticed, and
/// periods that were missed altogether collapse into one.
fn next_period(due_ns: u64, period_ns: u64, now_ns: u64) -> Option<u64> {
    let late_ns = now_ns.saturating_sub(due_ns);
    let missed = late_ns.checked_div(period_ns)?;
    Some(due_ns.saturating_add(period_ns.saturating_mul(missed.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_goes_on_from_when_it_was_due() {
        assert_eq!(next_period(100, 10, 100), Some(110));
        assert_eq!(next_period(100, 10, 109), Some(110));
        assert_eq!(next_period(100, 10, 110), Some(120), "always in the future");
        assert_eq!(next_period(100, 10, 1_234), Some(1_240), "however many were missed");
        assert_eq!(next_period(100, 0, 100), None);
        assert_eq!(next_period(100, u64::MAX, 200), Some(u64::MAX));
        assert_eq!(next_period(u64::MAX - 5, 3, u64::MAX), Some(u64::MAX));
    }
}
