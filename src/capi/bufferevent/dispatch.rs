//! Calling C: from the loop when the engine says that something is due, at once when C asks for it, or later by an event of ours for
//! pairs and filters, which are not the engine's.

use std::ffi::{c_int, c_short, c_void};

use super::super::base::event_base;
use super::super::buffer::settle_accounts;
use super::super::errno;
use super::super::event::{event_active, event_assign};
use super::super::layout::{Socket, bufferevent, ev, event};
use super::{Bev, live, option, what};
use crate::bufferevent::{BevEvents, BuffereventId, Due, Trigger};
use crate::error::Error;
use crate::reactor::{Interest, What};

/// `BEV_TRIG_IGNORE_WATERMARKS`.
const IGNORE_WATERMARKS: c_int = 1 << 16;

/// Callbacks that the loop is still to make, of a bufferevent that is not the engine's.
#[derive(Default)]
pub(super) struct Waiting(Option<Box<Rest>>);

/// What is due, and the event that brings it.
struct Rest {
    event: event,
    /// Whether the event is active.
    scheduled: bool,
    due: Due,
    events: c_short,
    errno: c_int,
}

/// Lets the bufferevent at `index` take in what the reactor reports, and makes the callbacks that are due. Nothing is entered.
pub(in crate::capi) fn run(base: &event_base, index: u64, what: What) {
    // SAFETY: K1: nothing is entered.
    let mut core = unsafe { base.enter() };
    let bev = core.table.at(index);
    let core_ref = &mut *core;
    // SAFETY: what is in the table lives; the lock is held.
    if let Some(object) = unsafe { Bev::at(bev) } {
        object.tell(&mut core_ref.bufferevents);
    }
    let ready = core_ref.bufferevents.on_ready(&mut core_ref.reactor, index, what);
    // SAFETY: as above.
    let (Some(id), Some(object)) = (ready, unsafe { Bev::at(bev) }) else {
        drop(core);
        return settle_accounts();
    };
    object.show(&core);
    object.references += 1;
    drop(core);
    let _reference = Reference(bev);
    settle_accounts();
    // SAFETY: it is held.
    unsafe { call_due(bev, id) };
}

/// A reference of the loop's, which is given back also if a callback unwinds.
struct Reference(*mut bufferevent);

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: it was taken for this.
        unsafe { Bev::release(self.0) };
    }
}

/// Makes the callbacks of a socket that are due, each once, as the visible part says at that moment.
///
/// # Safety
///
/// - The caller has a reference to `bev`, and nothing is entered.
unsafe fn call_due(bev: *mut bufferevent, id: BuffereventId) {
    for due in Due::all().iter() {
        // SAFETY: the caller's reference.
        let Some(object) = (unsafe { Bev::at(bev) }) else { return };
        let Some(mut core) = object.enter() else { return };
        let Some(events) = core.bufferevents.take_due(id, due) else { continue };
        let error =
            if events.contains(BevEvents::ERROR) { object.error_of(&core.bufferevents) } else { None };
        drop(core);
        // SAFETY: the caller's promises.
        unsafe { call(bev, due, c_short::from(events.bits()), error) };
    }
}

/// Makes one callback, if there is one.
///
/// # Safety
///
/// - The caller has a reference to `bev`, and nothing is entered.
unsafe fn call(bev: *mut bufferevent, due: Due, events: c_short, errno: Option<c_int>) {
    // SAFETY: the caller's reference.
    let Some(object) = (unsafe { Bev::at(bev) }) else { return };
    // Another thread that holds the lock may be changing the callbacks and their argument: they are looked at together, under it.
    let held = object.lock();
    let (seen, arg) = (&object.seen, object.seen.cbarg);
    let (data, event) = match due {
        Due::READ => (seen.readcb, None),
        Due::WRITE => (seen.writecb, None),
        _ => (None, seen.errorcb),
    };
    // Who has not asked for anything else finds the lock held, as the header says.
    let stays_locked = object.is_locked() && object.options & option::UNLOCK_CALLBACKS == 0;
    let _held = held.filter(|_| stays_locked);
    if let Some(errno) = errno {
        errno::set(errno);
    }
    if let Some(callback) = data {
        // SAFETY: C3, and nothing is entered.
        unsafe { callback(bev, arg) };
    } else if let Some(callback) = event {
        // SAFETY: C3, and nothing is entered.
        unsafe { callback(bev, events, arg) };
    }
}

impl Bev {
    /// What went wrong, as an `errno`.
    fn error_of(&mut self, engine: &crate::bufferevent::Engine) -> Option<c_int> {
        let error = self.socket_id().and_then(|id| engine.look(id)?.last_error());
        match error {
            Some(Error::Io(error)) => error.raw_os_error(),
            Some(Error::Resolve(error)) => {
                self.dns_error = error.code();
                None
            }
            _ => Some(std::mem::take(&mut self.errno)).filter(|&errno| errno != 0),
        }
    }
}

/// Asking for callbacks.
///
/// # Safety
///
/// - For each: C1 for `bev`, the caller has a reference to it, and nothing is entered.
impl Bev {
    /// Makes the read callback, or lets the loop make it.
    pub(super) unsafe fn run_read(bev: *mut bufferevent, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { Bev::bring(bev, Due::READ, 0, options) };
    }

    /// Makes the write callback, or lets the loop make it.
    pub(super) unsafe fn run_write(bev: *mut bufferevent, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { Bev::bring(bev, Due::WRITE, 0, options) };
    }

    /// Makes the event callback, or lets the loop make it, with the `errno` of this moment.
    pub(super) unsafe fn run_event(bev: *mut bufferevent, events: c_short, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { Bev::bring(bev, Due::EVENTS, events, options) };
    }

    unsafe fn bring(bev: *mut bufferevent, due: Due, events: c_short, options: c_int) {
        // SAFETY: the caller's promise.
        let Some(object) = (unsafe { Bev::at(bev) }) else { return };
        let exists = match due {
            Due::READ => object.seen.readcb.is_some(),
            Due::WRITE => object.seen.writecb.is_some(),
            _ => object.seen.errorcb.is_some(),
        };
        if !exists {
            return;
        }
        if (object.options | options) & option::DEFER_CALLBACKS == 0 {
            // SAFETY: the caller's promise.
            unsafe { call(bev, due, events, None) };
        } else if object.is_socket() {
            object.leave_to_engine(due, events);
        } else {
            object.leave_to_event(due, events);
        }
    }

    fn leave_to_engine(&mut self, due: Due, events: c_short) {
        self.errno = errno::get();
        let Some(id) = self.socket_id() else { return };
        let Some(mut core) = self.enter() else { return };
        self.tell(&mut core.bufferevents);
        if let Ok(bufferevent) = core.bufferevents.get(id) {
            match due {
                Due::READ => bufferevent.trigger(Interest::READ, Trigger::Always),
                Due::WRITE => bufferevent.trigger(Interest::WRITE, Trigger::Always),
                _ => bufferevent.trigger_event(BevEvents::from_bits_retain(events as u8)),
            }
        }
        core.notify();
    }

    /// One more reference is held by the event for as long as it is active.
    fn leave_to_event(&mut self, due: Due, events: c_short) {
        let (base, bev) = (self.seen.base, self.as_c());
        if base.is_null() {
            return;
        }
        let _held = self.lock();
        let rest = self.waiting.0.get_or_insert_with(|| Box::new(Rest::new()));
        if !std::mem::replace(&mut rest.scheduled, true) {
            // SAFETY: the event is ours, and is not active.
            unsafe { event_assign(&mut rest.event, base, -1, 0, Some(run_waiting), bev.cast()) };
            // SAFETY: it was assigned a line above, and stays where it is until the reference is given back.
            unsafe { event_active(&mut rest.event, c_int::from(ev::TIMEOUT), 1) };
            self.references += 1;
        }
        rest.due |= due;
        if due == Due::EVENTS {
            rest.events |= events;
            rest.errno = errno::get();
        }
    }
}

impl Waiting {
    /// Their base has gone. Says whether the event that was to bring them had a reference.
    pub(super) fn forget(&mut self) -> bool {
        self.0.take().is_some_and(|rest| rest.scheduled)
    }
}

impl Rest {
    fn new() -> Rest {
        Rest { event: live::unassigned(), scheduled: false, due: Due::empty(), events: 0, errno: 0 }
    }

    /// Takes one callback, if it is due, with what it is to be told. That a connect has succeeded is told first.
    fn take(&mut self, due: Due) -> Option<(c_short, c_int)> {
        let taken = match due {
            Due::CONNECTED => self.events & what::CONNECTED,
            Due::EVENTS => self.events,
            _ => 0,
        };
        let is_event = due.intersects(Due::CONNECTED | Due::EVENTS);
        if (is_event && taken == 0) || (!is_event && !self.due.contains(due)) {
            return None;
        }
        self.events &= !taken;
        self.due -= due;
        Some((taken, self.errno))
    }
}

/// Called by the loop: makes what waits.
unsafe extern "C-unwind" fn run_waiting(_fd: Socket, _what: c_short, bev: *mut c_void) {
    let bev = bev.cast::<bufferevent>();
    // SAFETY: the event's reference.
    let Some(object) = (unsafe { Bev::at(bev) }) else { return };
    let held = object.lock();
    // What becomes due from here on brings the event back, also what was due and has been called.
    if let Some(rest) = &mut object.waiting.0 {
        rest.scheduled = false;
    }
    drop(held);
    for due in Due::all().iter() {
        // SAFETY: the event's reference.
        let Some(object) = (unsafe { Bev::at(bev) }) else { return };
        let held = object.lock();
        let taken = object.waiting.0.as_mut().and_then(|rest| rest.take(due));
        drop(held);
        if let Some((events, errno)) = taken {
            // SAFETY: the event's reference; an event's callback is called with nothing entered.
            unsafe { call(bev, due, events, (due == Due::EVENTS).then_some(errno)) };
        }
    }
    // SAFETY: each time that the event was activated took a reference, and this was one of those times.
    unsafe { Bev::release(bev) };
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn bufferevent_trigger(
    bufev: *mut bufferevent,
    directions: c_short,
    options: c_int,
) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let always = options & IGNORE_WATERMARKS != 0;
    let reads = directions & ev::READ != 0 && (always || bev.input_len() >= bev.seen.wm_read.low);
    let writes = directions & ev::WRITE != 0 && (always || bev.output_len() <= bev.seen.wm_write.low);
    // SAFETY: C1.
    unsafe { Bev::hold(bufev) };
    if reads {
        // SAFETY: it is held.
        unsafe { Bev::run_read(bufev, options) };
    }
    if writes {
        // SAFETY: it is held.
        unsafe { Bev::run_write(bufev, options) };
    }
    // SAFETY: it was held above.
    unsafe { Bev::release(bufev) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_trigger_event(
    bufev: *mut bufferevent,
    events: c_short,
    options: c_int,
) {
    if bufev.is_null() {
        return;
    }
    // SAFETY: C1.
    unsafe { Bev::hold(bufev) };
    // SAFETY: it is held.
    unsafe { Bev::run_event(bufev, events, options) };
    // SAFETY: it was held above.
    unsafe { Bev::release(bufev) };
}
