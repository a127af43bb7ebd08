//! A turn of the reactor: prepare, wait, complete.

use std::io;
use std::sync::Arc;

use super::backend::Ready;
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
    pub(crate) fn prepare(&mut self, poll: bool, until_ns: Option<u64>) -> Wait {
        let timeout_ns = self.time_to_wait(poll, until_ns);
        let backend = self.backend.take().expect(ONE_AT_A_TIME);
        self.now_is_fresh = false;
        self.counters.waits += 1;
        Wait { backend, ready: std::mem::take(&mut self.ready), timeout_ns }
    }

    /// How long a wait would be; `None` is for ever. Tells the kernel what has changed, because what it refuses counts as
    /// ready.
    ///
    /// # Panics
    ///
    /// As [`prepare`](Self::prepare).
    pub(crate) fn time_to_wait(&mut self, poll: bool, until_ns: Option<u64>) -> Option<u64> {
        if self.fds.has_unapplied() {
            self.fds.apply(&mut self.slots, self.backend.as_deref_mut().expect(ONE_AT_A_TIME));
        }
        if poll || self.is_busy() {
            return Some(0);
        }
        // What was taken back may not have left yet.
        let first_ns = self.timers.first_deadline().filter(|_| self.tally.timers > 0);
        let deadline_ns = first_ns.into_iter().chain(until_ns).min();
        let until_deadline = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
        let until_retry = self.fds.has_unapplied().then_some(RETRY_NS);
        until_deadline.into_iter().chain(until_retry).min()
    }

    fn is_busy(&self) -> bool {
        self.active.len() > 0
            || !self.later.is_empty()
            || self.notified
            || (self.fds.has_refused() && self.fds.has_always_ready())
    }

    /// Turns what a wait has brought, and what has come due meanwhile, into active slots.
    pub(crate) fn complete(&mut self, wait: Wait) {
        let Wait { backend, mut ready, .. } = wait;
        self.backend = Some(backend);
        // A turn that brings nothing calls nobody, and who calls nobody need not know the time.
        let has_timers = !self.timers.is_empty();
        let brings_something = has_timers || !ready.is_empty() || self.is_busy();
        if brings_something {
            self.refresh_now();
        }
        self.now_is_fresh = brings_something && self.caches_time;
        let stale_before = self.counters.stale_events;
        for &report in &ready {
            self.take_report(report);
        }
        ready.clear();
        self.ready = ready;
        if self.fds.has_refused() {
            self.activate_always_ready();
        }
        if !self.later.is_empty() {
            self.activate_ready_list();
        }
        if has_timers {
            self.activate_due_timers();
        }
        self.note_stale(stale_before);
    }

    fn take_report(&mut self, Ready { token, what }: Ready) {
        if token == NOTIFIER {
            self.notifier.woken(!self.edge_triggered());
            self.notified = true;
            self.counters.wakes += 1;
            self.activate_signals();
            return;
        }
        match self.fds.first_waiting(token) {
            Some(first) => self.activate_waiting(first, what),
            None => self.take_unusual(Ready { token, what }),
        }
    }

    /// Activates, of the slots that wait for one descriptor, those that wait for what it is ready for.
    fn activate_waiting(&mut self, first: u32, what: What) {
        let mut next = first;
        while let Some(id) = self.slots.id_at(next) {
            let Some(slot) = self.slots.get(id) else { return };
            let hit = what & What::from_bits_truncate(slot.interest.bits());
            next = slot.next_peer;
            if !hit.is_empty() {
                let _ = self.activate(SlotId(id), hit);
            }
            if next == NOBODY {
                return;
            }
        }
    }

    fn activate_always_ready(&mut self) {
        // A file has an end that nobody will announce, so it counts as closed by its peer as well.
        while let Some(first) = self.fds.next_refused_edge() {
            self.activate_waiting(first, What::READ | What::WRITE | What::CLOSED);
        }
        for place in 0..self.fds.always_ready_len() {
            if let Some(first) = self.fds.always_ready(place) {
                self.activate_mode(first, What::READ | What::WRITE, Interest::empty());
            }
        }
    }

    fn activate_ready_list(&mut self) {
        for place in 0..self.later.len() {
            let id = self.later[place];
            // One that was taken back, or freed, meanwhile is passed over.
            let Ok(slot) = self.slot(id) else { continue };
            let what = std::mem::take(&mut slot.later);
            if slot.state.contains(State::LATER) {
                slot.state -= State::LATER;
                let _ = self.activate(id, what);
            }
        }
        self.later.clear();
    }

    fn activate_due_timers(&mut self) {
        while let Some((index, deadline_ns)) = self.timers.pop_due(self.now_ns) {
            let Some((id, slot)) = self.slots.tenant_at(index) else { continue };
            slot.mark(&mut self.tally, State::empty(), State::TIMED);
            let (id, persists) = (SlotId(id), slot.state.contains(State::PERSIST));
            if persists
                && let Some(next_ns) = next_period(deadline_ns, self.timers.period(index), self.now_ns)
            {
                let _ = self.restart_timer(id, next_ns);
            }
            let _ = self.activate(id, What::TIMEOUT);
        }
    }

    fn activate_signals(&mut self) {
        let mut signals = std::mem::take(&mut self.signals);
        signals.collect(|slot, count| {
            let id = SlotId(slot);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if let Ok(slot) = self.slot(id) {
                slot.deliveries = slot.deliveries.saturating_add(count);
            }
            let _ = self.activate(id, What::SIGNAL);
        });
        self.signals = signals;
    }

    /// Replaces the backend when reports for descriptors that are gone keep coming.
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

    /// Replaces the backend by a new one of the same kind.
    fn rebuild(&mut self) -> io::Result<()> {
        let mut fresh = (self.method.open)()?;
        watch(&mut *fresh, &self.notifier)?;
        self.backend = Some(fresh);
        self.fds.start_over();
        self.counters.rebuilds += 1;
        Ok(())
    }
}

/// The clock, and what the loop wants to know.
impl Reactor {
    /// Nanoseconds on the loop's clock: as of this turn while callbacks run, else as of now.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if self.now_is_fresh { self.now_ns } else { clock::now_ns() }
    }

    /// Reads the clock, and makes that this turn's time, if a turn is under way: outside one, nothing would make it
    /// give way to a later time.
    pub(crate) fn refresh_now(&mut self) -> u64 {
        self.now_ns = clock::now_ns();
        self.now_ns
    }

    /// Says whether a turn has one time, as it has at first, or the clock is read whenever it is asked.
    pub(crate) fn set_caches_time(&mut self, caches: bool) {
        self.caches_time = caches;
    }

    /// Whether a turn is under way whose time is known.
    #[cfg(feature = "capi")]
    pub(crate) fn has_cached_time(&self) -> bool {
        self.now_is_fresh
    }

    /// The loop has ended: the time it last knew will be old when somebody asks.
    pub(crate) fn forget_now(&mut self) {
        self.now_is_fresh = false;
    }

    /// Whether another thread has woken the loop since this was last taken notice of, or is waking it.
    pub(crate) fn is_notified(&self) -> bool {
        self.notified || self.notifier.is_pending()
    }

    /// The same, taking notice.
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
