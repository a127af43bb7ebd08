//! The reactor: which slots wait for what, and which are to be called next. A pure state machine; it calls nobody.
//!
//! # The idea
//!
//! A *slot* is one thing that can wait: for a descriptor, for a signal, for a deadline, or for several of them. It
//! carries a word of its owner's, which the reactor hands out with it and never looks at. A turn of the loop is four
//! calls:
//!
//! ```text
//!   prepare()        tells the kernel what has changed (fd_map), finds out how long to wait (timer)
//!      │ Wait        owns the backend meanwhile, so waiting borrows nothing
//!      ▼
//!   Wait::wait()     the one place that blocks
//!      ▼
//!   complete(wait)   turns readiness, signals, due timers and the ready list into active slots (active)
//!      ▼
//!   next_active(p)   hands them out one by one; what is taken back before its turn is not handed out
//! ```
//!
//! Everything else (`add`, `del`, `set_deadline`, `activate`, ...) changes fields and lists and makes no system call.
//! Slots wait in intrusive lists and dense arrays, so a steady state allocates nothing.

mod active;
mod arena;
mod backend;
mod fd_map;
#[cfg(test)]
mod mode_tests;
mod notify;
mod queue;
mod signal;
#[cfg(all(test, feature = "capi"))]
mod strict_tests;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod timer;
mod turn;
mod view;

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bitflags::bitflags;

pub(crate) use arena::{Arena, RawId, extend_to};
pub(crate) use backend::{Backend, METHODS, Method, open as open_backend};
pub(crate) use notify::Notifier;
pub(crate) use queue::{Items, Links, Queue};
pub(crate) use tally::Tally;
pub use timer::CommonTimeout;
pub use view::Pending;
pub(crate) use view::SlotView;

use crate::error::{Error, Result};
use crate::features::Features;
use active::Active;
use backend::Ready;
use fd_map::FdMap;
use signal::Signals;
use time::TurnTime;
use timer::Timers;

bitflags! {
    /// What an event waits for on a descriptor.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Interest: u8 {
        /// There is something to read: bytes, a connection, or the end.
        #[doc(alias = "EV_READ")]
        const READ = 0x02;
        /// There is room to write.
        #[doc(alias = "EV_WRITE")]
        const WRITE = 0x04;
        /// There is urgent data: TCP's out-of-band byte, for example.
        const URGENT = 0x10;
        /// Report changes instead of states: once each time there is something new. A backend without
        /// [`Features::EDGE`] reports states all the same. Events of one descriptor may differ in this.
        #[doc(alias = "EV_ET")]
        const EDGE = 0x20;
        /// The peer has shut down its side. A backend without [`Features::EARLY_CLOSE`] never reports it: there, reading
        /// finds the end.
        #[doc(alias = "EV_CLOSED")]
        const CLOSED = 0x80;
    }
}

bitflags! {
    /// What happened to an event.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct What: u8 {
        /// Its timeout passed.
        #[doc(alias = "EV_TIMEOUT")]
        const TIMEOUT = 0x01;
        /// Its descriptor can be read.
        const READ = 0x02;
        /// Its descriptor can be written.
        const WRITE = 0x04;
        /// Its signal was delivered.
        #[doc(alias = "EV_SIGNAL")]
        const SIGNAL = 0x08;
        /// There is urgent data on its descriptor.
        const URGENT = 0x10;
        /// Its peer has shut down its side.
        const CLOSED = 0x80;
    }
}

/// Who a slot belongs to, in the top two bits of its owner's word; the rest is the owner's to use.
pub(crate) mod owner {
    pub(crate) const EVENT: u64 = 0 << 62;
    pub(crate) const BUFFEREVENT: u64 = 1 << 62;
    pub(crate) const LISTENER: u64 = 2 << 62;
    /// The bits that say who.
    pub(crate) const MASK: u64 = 3 << 62;
}

/// Names a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SlotId(RawId);

impl SlotId {
    /// The slot's place; no other slot has it as long as this one lives.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0.index()
    }
}

#[cfg(feature = "capi")]
impl SlotId {
    /// The id as a number, for owners that have no room for more; never 0.
    pub(crate) fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The id that gave these bits; `None` for bits that no id gives.
    pub(crate) fn from_bits(bits: u64) -> Option<SlotId> {
        RawId::from_bits(bits).map(SlotId)
    }
}

/// What a slot waits for, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    None,
    Fd { fd: RawFd, interest: Interest },
    Signal(i32),
}

/// How a slot is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotSpec {
    pub(crate) owner: u64,
    pub(crate) source: Source,
    /// Stays pending when it is handed out.
    pub(crate) persist: bool,
    /// `None` is the middle one.
    pub(crate) priority: Option<u8>,
}

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct State: u8 {
        /// Waits for its source.
        const PENDING = 1;
        /// Waits for its deadline.
        const TIMED = 2;
        /// In a queue of `active`.
        const ACTIVE = 4;
        /// On the ready list.
        const LATER = 8;
        const PERSIST = 16;
        /// Does not keep the loop alive by waiting.
        const IDLE = 32;
        /// Has a descriptor or a signal to wait for.
        const SOURCE = 64;
    }
}

#[derive(Debug)]
struct Slot {
    owner: u64,
    /// The descriptor or the signal's number; -1 is neither.
    fd: RawFd,
    /// How often its signal came since it was handed out last.
    deliveries: u32,
    next_peer: u32,
    /// Where it is in its lane of `active`.
    place: u32,
    interest: Interest,
    /// What it is active with, and what it will be active with next turn.
    what: What,
    later: What,
    state: State,
    priority: u8,
    is_signal: bool,
}

const _: () = assert!(size_of::<Slot>() <= 32, "thousands of idle connections have one each");

impl State {
    fn holds_loop(self) -> bool {
        !self.contains(State::IDLE) && self.intersects(State::PENDING | State::TIMED)
    }
}

/// A slot whose turn has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invocation {
    pub(crate) slot: SlotId,
    pub(crate) owner: u64,
    pub(crate) what: What,
    /// Whether it goes on waiting for its source, and, unless that has passed, for its timeout if it has one: then nobody need look
    /// what it waits for now.
    #[cfg(feature = "capi")]
    pub(crate) waits_on: bool,
    /// How often its signal came, this time included, if it did: it is going to be handed out so often.
    #[cfg(feature = "capi")]
    pub(crate) deliveries: u32,
}

/// Counters of a reactor's work, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) waits: u64,
    pub(crate) wakes: u64,
    pub(crate) changes_asked: u64,
    pub(crate) changes_applied: u64,
    /// Reports for registrations that were no longer current.
    pub(crate) stale_events: u64,
    pub(crate) rebuilds: u64,
}

/// The token of the notifier; descriptors' tokens have a smaller generation.
const NOTIFIER: u64 = u64::MAX;

/// After so many waits in a row with stale reports the backend is replaced: a duplicate of a closed descriptor
/// keeps reporting, and only a new set is rid of it.
const STALE_WAITS_MAX: u32 = 8;

/// How long to wait before an interest that the kernel had no memory for is offered again.
const RETRY_NS: u64 = 50_000_000;

#[derive(Debug)]
pub(crate) struct Reactor {
    slots: Arena<Slot>,
    fds: FdMap,
    timers: Timers,
    active: Active,
    /// The ready list: what goes on next turn although nothing new will be reported.
    later: Vec<SlotId>,
    tally: Tally,
    // Before the notifier: a signal handler may write to it until the watcher is gone.
    signals: Signals,
    notifier: Arc<Notifier>,
    notified: bool,
    /// Away while it is waited for.
    wait: Option<Box<Wait>>,
    method: &'static Method,
    time: TurnTime,
    stale_waits: u32,
    counters: Counters,
}

/// A wait that has been prepared. It owns what waiting needs, so the reactor is free meanwhile; it is the same one each time.
#[derive(Debug)]
pub(crate) struct Wait {
    backend: Box<dyn Backend>,
    ready: Vec<Ready>,
    timeout_ns: Option<u64>,
}

impl Wait {
    fn on(backend: Box<dyn Backend>) -> Box<Wait> {
        Box::new(Wait { backend, ready: Vec::new(), timeout_ns: None })
    }

    /// Blocks until something is ready or it is time. Being interrupted by a signal is no error.
    #[inline]
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.backend.wait(self.timeout_ns, &mut self.ready)
    }
}

/// Room for so many is there from the start in every list that slots pass through: which of them the few slots of a small
/// base come to depends on the time, and none is to cost an allocation long after the start.
const FEW: usize = 4;

/// Making, and slots.
impl Reactor {
    /// A reactor on `backend` with room for `slots` slots and queues for `priorities` priorities.
    pub(crate) fn new(mut backend: Box<dyn Backend>, slots: usize, priorities: u8) -> io::Result<Self> {
        let notifier = Arc::new(Notifier::new()?);
        watch(&mut *backend, &notifier)?;
        Ok(Reactor {
            slots: Arena::with_capacity(slots),
            fds: FdMap::with_capacity(slots),
            timers: Timers::with_capacity(slots),
            active: Active::new(usize::from(priorities.max(1)), slots),
            later: Vec::with_capacity(slots.max(FEW)),
            tally: Tally::default(),
            signals: Signals::default(),
            notifier,
            notified: false,
            method: backend.method(),
            wait: Some(Wait::on(backend)),
            time: TurnTime::new(),
            stale_waits: 0,
            counters: Counters::default(),
        })
    }

    /// What kind of backend there is.
    pub(crate) fn method(&self) -> &'static Method {
        self.method
    }

    /// Whether the backend honours [`Interest::EDGE`].
    pub(crate) fn edge_triggered(&self) -> bool {
        self.method.features.contains(Features::EDGE)
    }

    /// How many priorities there are.
    pub(crate) fn priorities(&self) -> usize {
        self.active.priorities()
    }

    /// Makes a slot; it waits for nothing yet.
    pub(crate) fn insert(&mut self, spec: SlotSpec) -> Result<SlotId> {
        let priority = spec.priority.unwrap_or((self.priorities() / 2) as u8);
        if usize::from(priority) >= self.priorities() {
            return Err(Error::OutOfRange);
        }
        let mut slot = Slot {
            owner: spec.owner,
            fd: -1,
            deliveries: 0,
            next_peer: queue::NOBODY,
            place: 0,
            interest: Interest::empty(),
            what: What::empty(),
            later: What::empty(),
            state: State::empty(),
            priority,
            is_signal: false,
        };
        self.active.make_room(priority);
        slot.state.set(State::PERSIST, spec.persist);
        slot.set_source(spec.source);
        Ok(SlotId(self.slots.insert(slot)))
    }

    /// Frees a slot, whatever it waits for.
    pub(crate) fn remove(&mut self, id: SlotId) -> Result<()> {
        self.del(id)?;
        self.timers.forget(id.0.index());
        let slot = self.slots.remove(id.0).ok_or(Error::Stale)?;
        self.active.give_back_room(slot.priority);
        Ok(())
    }

    pub(crate) fn owner(&self, id: SlotId) -> Result<u64> {
        self.slots.get(id.0).map(|slot| slot.owner).ok_or(Error::Stale)
    }

    pub(crate) fn set_owner(&mut self, id: SlotId, owner: u64) -> Result<()> {
        self.slot(id)?.owner = owner;
        Ok(())
    }

    /// Gives a slot another source; it must be added again.
    pub(crate) fn set_source(&mut self, id: SlotId, source: Source) -> Result<()> {
        self.stop_waiting(id)?;
        let slot = self.slot(id)?;
        let fd = slot.fd;
        slot.set_source(source);
        self.fds.unbind(fd, id.0);
        Ok(())
    }

    /// The slot's number may stand for another file when it is added again.
    #[cfg(feature = "capi")]
    pub(crate) fn doubt_file(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        if !slot.is_signal {
            let fd = slot.fd;
            self.fds.unbind(fd, id.0);
        }
        Ok(())
    }

    /// Says whether a slot keeps the loop alive by waiting; at first it does.
    pub(crate) fn set_holds_loop(&mut self, id: SlotId, holds: bool) -> Result<()> {
        let change = if holds { (State::empty(), State::IDLE) } else { (State::IDLE, State::empty()) };
        self.mark(id, change.0, change.1)
    }

    /// The priority of a slot.
    pub(crate) fn priority(&self, id: SlotId) -> Result<u8> {
        self.slots.get(id.0).map(|slot| slot.priority).ok_or(Error::Stale)
    }

    /// Sets the priority of a slot that is not active.
    pub(crate) fn set_priority(&mut self, id: SlotId, priority: u8) -> Result<()> {
        let in_range = usize::from(priority) < self.priorities();
        let slot = self.slot(id)?;
        if slot.state.contains(State::ACTIVE) {
            return Err(Error::Invalid("the priority of an active event cannot change"));
        }
        if !in_range {
            return Err(Error::OutOfRange);
        }
        let before = std::mem::replace(&mut slot.priority, priority);
        self.active.give_back_room(before);
        self.active.make_room(priority);
        Ok(())
    }

    /// Makes queues for another number of priorities. Nothing may be active.
    pub(crate) fn set_priorities(&mut self, priorities: u8) -> Result<()> {
        if priorities == 0 {
            return Err(Error::OutOfRange);
        }
        if self.active.len() > 0 {
            return Err(Error::Invalid("priorities cannot change while events are active"));
        }
        if self.slots.iter().any(|(_, slot)| slot.priority >= priorities) {
            return Err(Error::Invalid("an event has a priority that would no longer exist"));
        }
        self.active.set_priorities(usize::from(priorities));
        Ok(())
    }

    #[inline]
    fn slot(&mut self, id: SlotId) -> Result<&mut Slot> {
        self.slots.get_mut(id.0).ok_or(Error::Stale)
    }

    /// Changes a slot's state, and with it what keeps the loop alive.
    #[inline]
    fn mark(&mut self, id: SlotId, set: State, clear: State) -> Result<()> {
        let slot = self.slots.get_mut(id.0).ok_or(Error::Stale)?;
        slot.mark(&mut self.tally, set, clear);
        Ok(())
    }
}

/// Lets a backend report the notifier's wakes.
fn watch(backend: &mut dyn Backend, notifier: &Notifier) -> io::Result<()> {
    backend.add(notifier.as_fd().as_raw_fd(), Interest::READ | Interest::EDGE, NOTIFIER)
}

impl Slot {
    /// Whether it waits for time at most, once, and is not to be handed out: most timeouts are that of such a slot.
    #[inline]
    fn is_only_timed(&self) -> bool {
        (self.state - (State::TIMED | State::IDLE)).is_empty()
    }

    /// Changes its state, and with it what keeps the loop alive.
    #[inline]
    fn mark(&mut self, tally: &mut Tally, set: State, clear: State) {
        let before = self.state;
        self.state = (before - clear) | set;
        if self.state != before {
            tally.change(self, before);
        }
    }

    fn set_source(&mut self, source: Source) {
        self.is_signal = matches!(source, Source::Signal(_));
        self.state.set(State::SOURCE, source != Source::None);
        (self.fd, self.interest) = match source {
            Source::None => (-1, Interest::empty()),
            Source::Fd { fd, interest } => (fd, interest),
            Source::Signal(signal) => (signal, Interest::empty()),
        };
    }
}

/// Waiting.
impl Reactor {
    /// Lets a slot wait for its source, and for at most `timeout`. Without one, a timeout it has stays as it is.
    pub(crate) fn add(&mut self, id: SlotId, timeout: Option<Duration>) -> Result<()> {
        match timeout {
            Some(timeout) => self.add_for(id, nanos(timeout)),
            None => self.start_waiting(id),
        }
    }

    /// As [`add`](Self::add), with a timeout in nanoseconds.
    pub(crate) fn add_for(&mut self, id: SlotId, timeout_ns: u64) -> Result<()> {
        if self.put_off_timeout(id, timeout_ns) {
            return Ok(());
        }
        self.add_source(id, timeout_ns)?;
        self.set_deadline(id, Some(self.now().saturating_add(timeout_ns)))
    }

    /// All that adding means to a slot that waits with a timeout already, mostly because something has happened and its time begins anew.
    /// Says whether it was one; else nothing is done.
    #[inline]
    fn put_off_timeout(&mut self, id: SlotId, timeout_ns: u64) -> bool {
        let Some(slot) = self.slots.get_mut(id.0) else { return false };
        if !slot.state.contains(State::PENDING | State::TIMED) || slot.what.contains(What::TIMEOUT) {
            return false;
        }
        let persists = slot.state.contains(State::PERSIST);
        if persists && !self.timers.starts_again_with(id.index(), timeout_ns) {
            return false;
        }
        self.timers.try_set(id.index(), self.time.now().saturating_add(timeout_ns))
    }

    /// As [`add`](Self::add) in the usual case: all that is to be done is to set a timer, which takes a few stores, and this turn's time
    /// is known. Says whether that was all; if not, the rest is [`add`](Self::add)'s to do.
    #[inline]
    pub(crate) fn add_timer(&mut self, id: SlotId, timeout: Option<Duration>) -> bool {
        let Some(timeout) = timeout else { return false };
        let Some(slot) = self.slots.get_mut(id.0) else { return false };
        let Some(now_ns) = self.time.known().filter(|_| slot.is_only_timed()) else { return false };
        let Some(deadline_ns) = after(now_ns, timeout) else { return false };
        if !slot.state.contains(State::TIMED) {
            slot.mark(&mut self.tally, State::TIMED, State::empty());
        }
        self.timers.try_set(id.index(), deadline_ns)
    }

    /// As [`add`](Self::add) without a timeout, for an owner who wants to hear at once that the kernel does not watch such a
    /// descriptor, instead of having it count as always ready: then the slot waits for it no longer. Another thread that
    /// adds while the loop waits does not hear it.
    #[cfg(feature = "capi")]
    pub(crate) fn add_strictly(&mut self, id: SlotId) -> Result<()> {
        self.start_waiting(id)?;
        let Slot { fd, state, is_signal, .. } = *self.slot(id)?;
        let Some(wait) = &mut self.wait else { return Ok(()) };
        if !state.contains(State::PENDING) || is_signal {
            return Ok(());
        }
        let introduced = self.fds.introduce(&mut self.slots, &mut *wait.backend, fd);
        introduced.map_err(|error| {
            // It was added a moment ago, so it is there to be taken back.
            let _ = self.stop_waiting(id);
            Error::Io(error)
        })
    }

    /// What adding means to a slot beside setting its timer, to `timeout_ns` from now.
    #[inline(never)]
    fn add_source(&mut self, id: SlotId, timeout_ns: u64) -> Result<()> {
        self.start_waiting(id)?;
        let Slot { what, state, .. } = *self.slot(id)?;
        if what.contains(What::TIMEOUT) {
            self.take_back_timeout(id)?;
        }
        // The others never have one.
        if state.contains(State::PERSIST) {
            self.timers.set_period(id.0.index(), timeout_ns);
        }
        Ok(())
    }

    /// As [`add`](Self::add), with a timeout that many share.
    pub(crate) fn add_common(&mut self, id: SlotId, timeout: CommonTimeout) -> Result<()> {
        if !self.timers.has_common(timeout) {
            return Err(Error::Invalid("the common timeout is another base's"));
        }
        self.add_source(id, timeout.as_nanos())?;
        self.mark(id, State::TIMED, State::empty())?;
        let repeats = self.slot(id)?.state.contains(State::PERSIST);
        self.timers.set_common(id.index(), timeout, self.now(), repeats);
        Ok(())
    }

    /// To [`add_common`](Self::add_common) what [`add_timer`](Self::add_timer) is to [`add`](Self::add).
    #[inline]
    pub(crate) fn add_common_timer(&mut self, id: SlotId, timeout: CommonTimeout) -> bool {
        let Some(slot) = self.slots.get_mut(id.0) else { return false };
        let Some(now_ns) = self.time.known().filter(|_| slot.is_only_timed()) else { return false };
        let Some(deadline_ns) = now_ns.checked_add(timeout.as_nanos()) else { return false };
        let is_set = self.timers.try_set_common(id.index(), timeout, deadline_ns);
        if is_set && !slot.state.contains(State::TIMED) {
            slot.mark(&mut self.tally, State::TIMED, State::empty());
        }
        is_set
    }

    /// The common timeout of a duration.
    pub(crate) fn common_timeout(&mut self, duration: Duration) -> CommonTimeout {
        self.timers.common(nanos(duration))
    }

    /// A new timeout replaces one that has passed but has not been told of.
    fn take_back_timeout(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let what = slot.what;
        slot.what -= What::TIMEOUT;
        if what == What::TIMEOUT { self.deactivate(id) } else { Ok(()) }
    }

    /// Takes a slot back from everything: it waits for nothing, and is not handed out.
    #[inline]
    pub(crate) fn del(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slots.get_mut(id.0).ok_or(Error::Stale)?;
        if !slot.is_only_timed() {
            return self.del_any(id);
        }
        if slot.state.contains(State::TIMED) {
            slot.mark(&mut self.tally, State::empty(), State::TIMED);
            self.timers.cancel(id.0.index());
        }
        Ok(())
    }

    #[inline(never)]
    fn del_any(&mut self, id: SlotId) -> Result<()> {
        // Most slots are in few of these states, and each costs a look at another table.
        let state = self.slot(id)?.state;
        if state.contains(State::PENDING) {
            self.stop_waiting(id)?;
        }
        // A period is set only while the timer is.
        if state.contains(State::TIMED) {
            self.remove_timer(id)?;
        }
        if state.contains(State::ACTIVE) {
            self.deactivate(id)?;
        }
        let slot = self.slot(id)?;
        slot.later = What::empty();
        slot.state -= State::LATER;
        Ok(())
    }

    /// Takes back a slot's timeout alone.
    pub(crate) fn remove_timer(&mut self, id: SlotId) -> Result<()> {
        self.timers.set_period(id.0.index(), 0);
        self.set_deadline(id, None)
    }

    /// Sets the timer alone, once, to an absolute time on the loop's clock.
    pub(crate) fn set_deadline(&mut self, id: SlotId, deadline_ns: Option<u64>) -> Result<()> {
        match deadline_ns {
            Some(deadline_ns) => {
                self.mark(id, State::TIMED, State::empty())?;
                self.timers.set(id.0.index(), deadline_ns);
            }
            None => {
                self.mark(id, State::empty(), State::TIMED)?;
                self.timers.cancel(id.0.index());
            }
        }
        Ok(())
    }

    /// Lets the timer of a persistent slot start again.
    fn restart_timer(&mut self, id: SlotId, deadline_ns: u64) -> Result<()> {
        self.mark(id, State::TIMED, State::empty())?;
        self.timers.restart(id.0.index(), deadline_ns);
        Ok(())
    }

    /// Changes what a slot waits for on its descriptor.
    pub(crate) fn set_interest(&mut self, id: SlotId, interest: Interest) -> Result<()> {
        let slot = self.slot(id)?;
        if slot.interest == interest {
            return Ok(());
        }
        slot.interest = interest;
        let (fd, pending) = (slot.fd, slot.state.contains(State::PENDING));
        if pending {
            self.fds.changed(fd);
        }
        Ok(())
    }

    /// The slot's descriptor is about to be closed by its owner: its registration will be gone without a call.
    pub(crate) fn forget_fd(&mut self, id: SlotId) -> Result<()> {
        let fd = self.slot(id)?.fd;
        self.stop_waiting(id)?;
        self.fds.forget(fd, self.wait.as_mut().map(|wait| &mut wait.backend));
        Ok(())
    }

    /// Whether anything keeps the loop alive: something waits, is to be handed out, or has been sent by another thread.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.tally.holding() > 0 || self.active.len() > 0 || !self.later.is_empty() || self.is_notified()
    }

    #[inline]
    fn start_waiting(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let (fd, is_signal) = (slot.fd, slot.is_signal);
        if slot.state.contains(State::PENDING) {
            return Ok(());
        }
        if is_signal {
            self.signals.attach(self.notifier.as_fd(), fd, id.0)?;
        } else if fd < 0 {
            return Ok(());
        } else {
            self.fds.attach(&mut self.slots, id.0)?;
        }
        self.mark(id, State::PENDING, State::empty())
    }

    fn stop_waiting(&mut self, id: SlotId) -> Result<()> {
        let slot = self.slot(id)?;
        let (fd, is_signal) = (slot.fd, slot.is_signal);
        if !slot.state.contains(State::PENDING) {
            return Ok(());
        }
        if is_signal {
            self.signals.detach(fd, id.0);
        } else {
            self.fds.detach(&mut self.slots, id.0);
        }
        self.mark(id, State::empty(), State::PENDING)
    }
}

/// A time so far in the future, unless that is too far.
#[inline]
fn after(now_ns: u64, timeout: Duration) -> Option<u64> {
    // So many seconds, which are 136 years, overflow nothing yet.
    let seconds = u32::try_from(timeout.as_secs()).ok()?;
    now_ns.checked_add(u64::from(seconds) * 1_000_000_000 + u64::from(timeout.subsec_nanos()))
}

fn nanos(duration: Duration) -> u64 {
    // In 64 bits from the start: this is in the way of every timeout.
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
