//! Calling C: from the loop when the engine says that something is due, at once when C asks for it, or later by an event of ours for
//! pairs and filters, which are not the engine's.

use std::cell::{Cell, OnceCell};
use std::ffi::{c_int, c_short, c_void};
use std::ptr;

use super::super::base::event_base;
use super::super::buffer::settle_accounts;
use super::super::errno;
use super::super::event::event_active;
use super::super::layout::{Socket, bufferevent, ev, event};
use super::{Bev, Reference, live, option, what};
use crate::bufferevent::{BevEvents, BuffereventId, Due, Trigger};
use crate::error::Error;
use crate::reactor::{Interest, What};

/// `BEV_TRIG_IGNORE_WATERMARKS`.
const IGNORE_WATERMARKS: c_int = 1 << 16;

/// Callbacks that the loop is still to make, of a bufferevent that is not the engine's. Made when there is the first one.
#[derive(Default)]
pub(super) struct Waiting(OnceCell<Box<Rest>>);

/// What is due, and the event that brings it.
struct Rest {
    event: event,
    /// Whether the event is active: then it has a reference.
    scheduled: Cell<bool>,
    due: Cell<Due>,
    events: Cell<c_short>,
    errno: Cell<c_int>,
}

/// Lets the bufferevent at `index` take in what the reactor reports, and makes the callbacks that are due. Nothing is entered.
pub(in crate::capi) fn run(base: &event_base, index: u64, what: What) {
    // SAFETY: K1: nothing is entered.
    let mut core = unsafe { base.enter() };
    // SAFETY: what is in the table lives; the lock is held.
    let bev = unsafe { Bev::at(core.table.at(index)) };
    let core_ref = &mut *core;
    if let Some(bev) = bev {
        bev.tell(&mut core_ref.bufferevents);
    }
    let ready = core_ref.bufferevents.on_ready(&mut core_ref.reactor, index, what);
    let held = ready.zip(bev).and_then(|(id, bev)| {
        bev.show(&core);
        Some((id, bev, bev.hold()?))
    });
    drop(core);
    settle_accounts();
    if let Some((id, bev, _reference)) = held {
        // SAFETY: it is held.
        unsafe { call_due(bev, id) };
    }
}

/// Makes the callbacks of a socket that are due, each once, as the visible part says at that moment.
///
/// # Safety
///
/// - The caller has a reference to `bev`, and nothing is entered.
unsafe fn call_due(bev: &Bev, id: BuffereventId) {
    for due in Due::all().iter() {
        let Some(mut core) = bev.enter() else { return };
        let Some(events) = core.bufferevents.take_due(id, due) else { continue };
        let error = if events.contains(BevEvents::ERROR) { bev.error_of(&core.bufferevents) } else { None };
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
unsafe fn call(bev: &Bev, due: Due, events: c_short, errno: Option<c_int>) {
    // Another thread that holds the lock may be changing the callbacks and their argument: they are looked at together, under it.
    let held = bev.lock();
    let arg = bev.seen.cbarg.get();
    let (data, event) = match due {
        Due::READ => (bev.seen.readcb.get(), None),
        Due::WRITE => (bev.seen.writecb.get(), None),
        _ => (None, bev.seen.errorcb.get()),
    };
    // SAFETY: a filter that ends takes itself from here under the lock.
    let above = unsafe { Bev::at(bev.above.get()) }.filter(|above| ptr::eq(above.as_c().cast(), arg));
    let _above = above.and_then(Bev::hold);
    // Who has not asked for anything else finds the lock held, as the header says.
    let stays_locked = bev.is_locked() && bev.options & option::UNLOCK_CALLBACKS == 0;
    let _held = held.filter(|_| stays_locked);
    if let Some(errno) = errno {
        errno::set(errno);
    }
    if let Some(callback) = data {
        // SAFETY: C3, and nothing is entered.
        unsafe { callback(bev.as_c(), arg) };
    } else if let Some(callback) = event {
        // SAFETY: C3, and nothing is entered.
        unsafe { callback(bev.as_c(), events, arg) };
    }
}

impl Bev {
    /// What went wrong, as an `errno`.
    fn error_of(&self, engine: &crate::bufferevent::Engine) -> Option<c_int> {
        let error = self.socket_id().and_then(|id| engine.look(id)?.last_error());
        match error {
            Some(Error::Io(error)) => error.raw_os_error(),
            Some(Error::Resolve(error)) => {
                self.dns_error.set(error.code());
                None
            }
            _ => Some(self.errno.take()).filter(|&errno| errno != 0),
        }
    }
}

/// Asking for callbacks.
///
/// # Safety
///
/// - For each: the caller has a reference, and nothing is entered.
impl Bev {
    /// Makes the read callback, or lets the loop make it.
    pub(super) unsafe fn run_read(&self, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { self.bring(Due::READ, 0, options) };
    }

    /// Makes the write callback, or lets the loop make it.
    pub(super) unsafe fn run_write(&self, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { self.bring(Due::WRITE, 0, options) };
    }

    /// Makes the event callback, or lets the loop make it, with the `errno` of this moment.
    pub(super) unsafe fn run_event(&self, events: c_short, options: c_int) {
        // SAFETY: the caller's promise.
        unsafe { self.bring(Due::EVENTS, events, options) };
    }

    unsafe fn bring(&self, due: Due, events: c_short, options: c_int) {
        if !self.has_callback(due) {
            return;
        }
        if (self.options | options) & option::DEFER_CALLBACKS == 0 {
            // SAFETY: the caller's promise.
            unsafe { call(self, due, events, None) };
        } else if self.is_socket() {
            self.leave_to_engine(due, events);
        } else {
            self.leave_to_event(due, events);
        }
    }

    fn has_callback(&self, due: Due) -> bool {
        let _held = self.lock();
        match due {
            Due::READ => self.seen.readcb.get().is_some(),
            Due::WRITE => self.seen.writecb.get().is_some(),
            _ => self.seen.errorcb.get().is_some(),
        }
    }

    fn leave_to_engine(&self, due: Due, events: c_short) {
        let errno = errno::get();
        let Some(id) = self.socket_id() else { return };
        let Some(mut core) = self.enter() else { return };
        self.errno.set(errno);
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
    fn leave_to_event(&self, due: Due, events: c_short) {
        if self.seen.base.get().is_null() {
            return;
        }
        let errno = errno::get();
        let _held = self.lock();
        let rest = self.waiting.0.get_or_init(|| Box::new(Rest::new()));
        if !rest.scheduled.replace(true) {
            self.assign(&rest.event, run_waiting);
            // SAFETY: it was assigned a line above, and stays where it is until the reference is given back.
            unsafe { event_active(ptr::from_ref(&rest.event).cast_mut(), c_int::from(ev::TIMEOUT), 1) };
            self.references.set(self.references.get() + 1);
        }
        rest.due.set(rest.due.get() | due);
        if due == Due::EVENTS {
            rest.events.set(rest.events.get() | events);
            rest.errno.set(errno);
        }
    }
}

impl Rest {
    fn new() -> Rest {
        Rest {
            event: live::unassigned(),
            scheduled: Cell::new(false),
            due: Cell::new(Due::empty()),
            events: Cell::new(0),
            errno: Cell::new(0),
        }
    }

    /// Takes one callback, if it is due, with what it is to be told. That a connect has succeeded is told first.
    fn take(&self, due: Due) -> Option<(c_short, c_int)> {
        let events = self.events.get();
        let taken = match due {
            Due::CONNECTED => events & what::CONNECTED,
            Due::EVENTS => events,
            _ => 0,
        };
        let is_event = due.intersects(Due::CONNECTED | Due::EVENTS);
        if (is_event && taken == 0) || (!is_event && !self.due.get().contains(due)) {
            return None;
        }
        self.events.set(events & !taken);
        self.due.set(self.due.get() - due);
        Some((taken, self.errno.get()))
    }
}

/// Called by the loop: makes what waits. `happened` is nothing if the base goes.
unsafe extern "C-unwind" fn run_waiting(_fd: Socket, happened: c_short, bev: *mut c_void) {
    // Each time that the event was activated took a reference, and this was one of those times.
    let reference = Reference(bev.cast());
    // SAFETY: the reference.
    let Some(bev) = (unsafe { Bev::at(reference.0) }) else { return };
    let Some(rest) = bev.waiting.0.get() else { return };
    let held = bev.lock();
    // What becomes due from here on brings the event back, also what was due and has been called.
    rest.scheduled.set(false);
    drop(held);
    for due in Due::all().iter().filter(|_| happened != 0) {
        let held = bev.lock();
        let taken = rest.take(due);
        drop(held);
        if let Some((events, errno)) = taken {
            // SAFETY: the reference; an event's callback is called with nothing entered.
            unsafe { call(bev, due, events, (due == Due::EVENTS).then_some(errno)) };
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn bufferevent_trigger(
    bufev: *mut bufferevent,
    directions: c_short,
    options: c_int,
) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let held = bev.lock();
    let always = options & IGNORE_WATERMARKS != 0;
    let (low_read, low_write) = (bev.seen.wm_read.low.get(), bev.seen.wm_write.low.get());
    let reads = directions & ev::READ != 0 && (always || bev.input_len() >= low_read);
    let writes = directions & ev::WRITE != 0 && (always || bev.output_len() <= low_write);
    drop(held);
    let Some(_reference) = bev.hold() else { return };
    if reads {
        // SAFETY: it is held.
        unsafe { bev.run_read(options) };
    }
    if writes {
        // SAFETY: it is held.
        unsafe { bev.run_write(options) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_trigger_event(
    bufev: *mut bufferevent,
    events: c_short,
    options: c_int,
) {
    // SAFETY: C1.
    let held = unsafe { Bev::at(bufev) }.and_then(|bev| Some((bev, bev.hold()?)));
    if let Some((bev, _reference)) = held {
        // SAFETY: it is held.
        unsafe { bev.run_event(events, options) };
    }
}
