//! The loop, in the order of `event_base`'s, with libevent's answers. One turn:
//!
//! 1. Settle: what callbacks asked of bufferevents is carried out, and C is told what that has changed.
//! 2. Call what settling has made due, and settle once more.
//! 3. Stop, if a callback asked for it, or if nothing is left to wait for.
//! 4. Prepare: tell the kernel what has changed, and find out how long to wait.
//! 5. Wait, with the lock given back.
//! 6. Complete: readiness, signals, due timers and the ready list become active, and the flags of events say so.
//! 7. Call what is active, of the most important priority that has anything, with the lock given back for each.
//!
//! A callback may leave by `longjmp`, and then nothing after its call is done: the base counts as running ever after, as with libevent.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;

use libc::c_short;

use super::base::{Core, Entered, event_base};
use super::count::STATE;
use super::event::{KNOWN, closure};
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::{buffer, bufferevent, listener, log, memory};
use crate::reactor::{Invocation, What, owner};
use crate::sys::clock;

/// `EVLOOP_*`.
const ONCE: c_int = 0x01;
const NONBLOCK: c_int = 0x02;
const NO_EXIT_ON_EMPTY: c_int = 0x04;

/// A turn calls what was active when it began and so many more: something that activates itself for ever cannot
/// keep the loop from looking at its descriptors.
const EXTRA_CALLS: usize = 1024;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_dispatch(base: *mut event_base) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { event_base_loop(base, 0) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_loop(base: *mut event_base, flags: c_int) -> c_int {
    // SAFETY: C1.
    let Some(base) = (unsafe { base.as_ref() }) else { return -1 };
    let Some(running) = Running::begin(base) else {
        log::warn(format_args!("event_base_loop: the loop of this base is running already"));
        return -1;
    };
    let result = running.turn_until_told(flags);
    // What the last callbacks wrote leaves although the loop does not wait again.
    drop(running.settle(running.enter()));
    result
}

/// Whether what the flags asked for has been done, now that so many calls have been made.
fn is_done(core: &Core, flags: c_int, called: usize) -> bool {
    let asked = (flags & ONCE != 0 && called > 0) || (flags & NONBLOCK != 0 && called == 0);
    asked && core.reactor.active_len() == 0
}

/// The loop is running for as long as this lives, also if it ends by unwinding.
struct Running<'a> {
    base: &'a event_base,
}

impl<'a> Running<'a> {
    /// `None` if the loop is running already.
    fn begin(base: &'a event_base) -> Option<Self> {
        let running = Running { base };
        let mut core = running.enter();
        if core.control.running {
            drop(core);
            std::mem::forget(running);
            return None;
        }
        core.control.begin();
        drop(core);
        Some(running)
    }

    fn enter(&self) -> Entered<'a> {
        // SAFETY: K1: what is entered is dropped before code of C's is called, and before this is called again.
        unsafe { self.base.enter() }
    }

    /// The core is let go of for the wait and for the calls only: between them nobody takes or gives back a lock.
    fn turn_until_told(&self, flags: c_int) -> c_int {
        let mut core = self.settle(self.enter());
        loop {
            if core.control.exit || core.control.breaking {
                return 0;
            }
            if flags & NO_EXIT_ON_EMPTY == 0 && !core.has_work() {
                return 1;
            }
            let (after, called) = match self.look(core, flags) {
                Ok(core) => self.call_active(core),
                Err(error) => {
                    log::warn(format_args!("the loop cannot wait: {error}"));
                    return -1;
                }
            };
            let (after, settled) = self.call_settled(after);
            if is_done(&after, flags, called + settled) {
                return 0;
            }
            core = after;
        }
    }

    /// Waits for what is ready or due.
    fn look(&self, mut core: Entered<'a>, flags: c_int) -> io::Result<Entered<'a>> {
        core.control.continuing = false;
        let mut wait = core.reactor.prepare(flags & NONBLOCK != 0, None);
        drop(core);
        let waited = wait.wait();
        let mut core = self.enter();
        core.reactor.complete(wait);
        // What other threads did, they did under the lock: nothing is left to be done.
        core.reactor.take_notified();
        core.note_active();
        bufferevent::take_answers(&mut core);
        waited.map(|()| core)
    }

    /// Settles, and tells C what that has changed.
    fn settle(&self, mut core: Entered<'a>) -> Entered<'a> {
        core.settle();
        if buffer::accounts_are_settled() {
            return core;
        }
        drop(core);
        buffer::settle_accounts();
        self.enter()
    }

    /// Settles, and calls what that has made due, so that it waits for no system call.
    fn call_settled(&self, core: Entered<'a>) -> (Entered<'a>, usize) {
        let before = core.reactor.active_len();
        let core = self.settle(core);
        if before > 0 || core.reactor.active_len() == 0 || core.control.breaking || core.control.exit {
            return (core, 0);
        }
        let (core, called) = self.call_active(core);
        (self.settle(core), called)
    }

    /// Calls what is active of the most important priority, and says how many calls that were.
    fn call_active(&self, mut core: Entered<'a>) -> (Entered<'a>, usize) {
        let Some(priority) = core.reactor.first_priority() else { return (core, 0) };
        let (calls_most, interval_ns) = core.control.limit.of(priority);
        let most = calls_most.min(core.reactor.active_len() + EXTRA_CALLS);
        let until_ns = interval_ns.map(|ns| clock::now_ns().saturating_add(ns));
        let mut called = 0;
        while called < most && core.reactor.first_priority() == Some(priority) && !core.control.is_stopping()
        {
            let Some(invocation) = core.reactor.next_active(priority) else { break };
            core = self.call(core, invocation);
            called += 1;
            if until_ns.is_some_and(|until_ns| clock::now_ns() >= until_ns) {
                break;
            }
        }
        (core, called)
    }

    fn call(&self, mut core: Entered<'a>, invocation: Invocation) -> Entered<'a> {
        if invocation.owner & owner::MASK != owner::EVENT {
            drop(core);
            self.run_engine(invocation);
            return self.enter();
        }
        let Some(call) = core.begin_call(invocation) else { return core };
        if call.times == 1 {
            drop(core);
            call.make();
            core = self.enter();
        } else {
            core = self.make_all(core, &call);
        }
        self.end_call(&mut core);
        core
    }

    /// Calls a signal's callback as often as the signal came, unless the event is deleted or the loop told to break.
    #[cold]
    fn make_all(&self, mut core: Entered<'a>, call: &Call) -> Entered<'a> {
        core.control.calls_left = call.times;
        while core.control.calls_left > 0 && !core.control.breaking {
            core.control.calls_left -= 1;
            drop(core);
            call.make();
            core = self.enter();
        }
        core.control.calls_left = 0;
        core
    }

    fn end_call(&self, core: &mut Core) {
        core.control.current = ptr::null_mut();
        if core.control.waiting > 0 {
            core.control.waiting = 0;
            self.base.returned().notify_all();
        }
    }

    /// Apart, so that calling an event saves no registers for this.
    #[inline(never)]
    fn run_engine(&self, Invocation { owner, what, .. }: Invocation) {
        let index = owner & !owner::MASK;
        match owner & owner::MASK {
            owner::BUFFEREVENT => bufferevent::run(self.base, index, what),
            owner::LISTENER => listener::run(self.base, index, what),
            _ => {}
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut core = self.enter();
        core.control.running = false;
        core.control.continuing = false;
        core.reactor.forget_now();
        // Nobody may wait for a callback that has left by unwinding.
        self.end_call(&mut core);
    }
}

/// A callback with all that it is told, copied: once it is called, its event may be gone.
struct Call {
    callback: Callback,
    fd: Socket,
    what: c_short,
    arg: *mut c_void,
    times: u32,
}

enum Callback {
    Event(EventCallback),
    Finalizer { finalizer: Option<Finalizer>, event: *mut event, frees: bool },
}

/// Called when an event's callback can run no more.
pub(super) type Finalizer = unsafe extern "C-unwind" fn(*mut event, *mut c_void);

impl Call {
    fn make(&self) {
        match self.callback {
            Callback::Event(callback) => {
                // SAFETY: C3; nothing is entered (K1).
                unsafe { callback(self.fd, self.what, self.arg) };
            }
            Callback::Finalizer { finalizer, event, frees } => {
                // SAFETY: C3, C1; nothing is entered (K1).
                unsafe { finalize(finalizer, event, self.arg, frees) };
            }
        }
    }
}

/// Calls a finalizer, and frees the event if it is to be freed.
///
/// # Safety
///
/// - C1, C3, and nothing is entered.
pub(super) unsafe fn finalize(
    finalizer: Option<Finalizer>,
    event: *mut event,
    arg: *mut c_void,
    frees: bool,
) {
    if let Some(finalizer) = finalizer {
        // SAFETY: the caller's promise.
        unsafe { finalizer(event, arg) };
    }
    if frees {
        // SAFETY: `event_free_finalize` takes events of `event_new`'s, which allocated them.
        unsafe { memory::free(event.cast()) };
    }
}

impl event {
    /// Its finalizer, and whether it is freed after that.
    pub(super) fn finalizer(&self) -> (Option<Finalizer>, bool) {
        // SAFETY: `event_finalize` has stored a finalizer in the place of the callback, and both are as large.
        let finalizer =
            unsafe { std::mem::transmute::<Option<EventCallback>, Option<Finalizer>>(self.callback.get()) };
        (finalizer, self.closure.get() == closure::FINALIZE_FREE)
    }
}

impl Core {
    /// Whether anything keeps the loop alive.
    fn has_work(&self) -> bool {
        self.reactor.has_work() || self.counts.without_descriptor > 0 || self.askers.are_waiting()
    }

    fn settle(&mut self) {
        bufferevent::settle(self);
    }

    /// Writes into the flags of events that they have become active.
    fn note_active(&mut self) {
        if self.reactor.active_len() == 0 {
            return;
        }
        let edge = if self.reactor.edge_triggered() { ev::ET } else { 0 };
        let counts = &mut self.counts;
        self.reactor.newly_active(|word, what| {
            if word & owner::MASK != owner::EVENT {
                return true;
            }
            // SAFETY: K2: the word is the address of an event that lives while its slot does; E1.
            let event = unsafe { &*(word as *const event) };
            if event.is(evlist::ACTIVE) {
                return false;
            }
            let mut state = event.flags() & STATE | evlist::ACTIVE;
            if what.contains(What::TIMEOUT) && event.events.get() & ev::PERSIST == 0 {
                state &= !evlist::TIMEOUT;
            }
            counts.set(event, state);
            event.result.set(c_short::from(what.bits()) | event.events.get() & edge);
            // Those of a signal are counted by the reactor.
            event.calls.set(c_short::from(!what.contains(What::SIGNAL)));
            true
        });
    }

    /// Takes an event from the queue: it waits on, if it is persistent, and its callback is about to be called.
    #[inline]
    fn begin_call(&mut self, invocation: Invocation) -> Option<Call> {
        let Invocation { slot, owner, what, deliveries } = invocation;
        if deliveries > 1 {
            // All of them are called in one go.
            let _ = self.reactor.deactivate(slot);
        }
        // SAFETY: K2, E1.
        let event = unsafe { &*(owner as *const event) };
        let (is_pending, deadline_ns) = self.reactor.waits(slot).unwrap_or((false, None));
        let mut state = 0;
        if is_pending || (event.is(evlist::INSERTED) && self.stays_inserted(event)) {
            state |= evlist::INSERTED;
        }
        if deadline_ns.is_some() {
            state |= evlist::TIMEOUT;
        }
        if state == 0 {
            // It was handed out a moment ago.
            let _ = self.reactor.remove(slot);
        }
        self.set_state(event, state);
        event.result.set(event.result.get() & !KNOWN | c_short::from(what.bits()));
        self.control.calls += 1;
        self.call_of(event, deliveries)
    }

    /// Whether an event without a descriptor that is handed out goes on waiting for it.
    fn stays_inserted(&mut self, event: &event) -> bool {
        if !event.lacks_descriptor() {
            return false;
        }
        let stays = event.events.get() & ev::PERSIST != 0;
        if !stays {
            self.note_not_inserted(event);
        }
        stays
    }

    fn call_of(&mut self, event: &event, deliveries: u32) -> Option<Call> {
        let callback = if event.is(evlist::FINALIZING) {
            let (finalizer, frees) = event.finalizer();
            Callback::Finalizer { finalizer, event: ptr::from_ref(event).cast_mut(), frees }
        } else {
            self.control.current = ptr::from_ref(event).cast_mut();
            Callback::Event(event.callback.get()?)
        };
        let times = if event.events.get() & ev::SIGNAL == 0 || event.is(evlist::FINALIZING) {
            1
        } else {
            deliveries.saturating_add(u32::try_from(event.calls.get()).unwrap_or(0))
        };
        Some(Call { callback, fd: event.fd.get(), what: event.result.get(), arg: event.arg.get(), times })
    }
}
