//! The loop, in the order of `event_base`'s, with libevent's answers. One turn:
//!
//! 1. Settle: what callbacks asked of bufferevents is carried out, and C is told what that has changed.
//! 2. Call what settling has made due, and settle once more.
//! 3. Stop, if a callback asked for it, or if nothing is left to wait for.
//! 4. Prepare: tell the kernel what has changed, and find out how long to wait.
//! 5. Wait, with the lock given back.
//! 6. Complete: readiness, signals, due timers and the ready list become active, and the flags of events say so before anything is called.
//! 7. Call what is active, of the most important priority that has anything, with the lock given back for each.
//!
//! A callback may leave by `longjmp`, and then nothing after its call is done: the base counts as running ever after, as with libevent.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;

use libc::c_short;

use super::base::{Core, Entered, event_base};
use super::count::{Counts, STATE};
use super::event::{KNOWN, closure};
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::{buffer, bufferevent, listener, log, memory};
use crate::reactor::{Invocation, SlotId, Wait, What, owner};
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
            core = match self.look(core, flags) {
                Ok(core) => core,
                Err(error) => {
                    log::warn(format_args!("the loop cannot wait: {error}"));
                    return -1;
                }
            };
            let mut called;
            (core, called) = self.call_active(core);
            let left = core.reactor.active_len();
            core = self.settle(core);
            if left == 0 && core.reactor.active_len() > 0 && !core.control.breaking && !core.control.exit {
                let settled;
                (core, settled) = self.call_settled(core);
                called += settled;
            }
            if is_done(&core, flags, called) {
                return 0;
            }
        }
    }

    /// Waits for what is ready or due.
    #[inline(always)]
    fn look(&self, mut core: Entered<'a>, flags: c_int) -> io::Result<Entered<'a>> {
        core.control.continuing = false;
        let mut wait = core.reactor.prepare(flags & NONBLOCK != 0, None);
        drop(core);
        let waited = wait.wait();
        let mut core = self.enter();
        core.complete(wait);
        // What other threads did, they did under the lock: nothing is left to be done.
        core.reactor.take_notified();
        bufferevent::take_answers(&mut core);
        waited.map(|()| core)
    }

    /// Settles, and tells C what that has changed.
    #[inline(always)]
    fn settle(&self, core: Entered<'a>) -> Entered<'a> {
        if core.is_settled() && buffer::accounts_are_settled() { core } else { self.settle_some(core) }
    }

    #[inline(never)]
    fn settle_some(&self, mut core: Entered<'a>) -> Entered<'a> {
        bufferevent::settle(&mut core);
        if buffer::accounts_are_settled() {
            return core;
        }
        drop(core);
        buffer::settle_accounts();
        self.enter()
    }

    /// Calls what settling has made due, so that it waits for no system call.
    #[inline(never)]
    fn call_settled(&self, core: Entered<'a>) -> (Entered<'a>, usize) {
        let (core, called) = self.call_active(core);
        (self.settle(core), called)
    }

    /// Calls what is active of the most important priority, and says how many calls that were.
    #[inline(always)]
    fn call_active(&self, mut core: Entered<'a>) -> (Entered<'a>, usize) {
        let Some(priority) = core.reactor.first_priority() else { return (core, 0) };
        let (calls_most, interval_ns) = core.control.limit.of(priority);
        let most = calls_most.min(core.reactor.active_len() + EXTRA_CALLS);
        let until_ns = interval_ns.map(|ns| clock::now_ns().saturating_add(ns));
        let mut called = 0;
        while called < most && core.reactor.is_first_priority(priority) && !core.control.is_stopping() {
            let Some(invocation) = core.reactor.next_active(priority) else { break };
            core = self.call(core, invocation);
            called += 1;
            if until_ns.is_some_and(|until_ns| clock::now_ns() >= until_ns) {
                break;
            }
        }
        (core, called)
    }

    #[inline(always)]
    fn call(&self, mut core: Entered<'a>, invocation: Invocation) -> Entered<'a> {
        if invocation.owner & owner::MASK != owner::EVENT {
            drop(core);
            self.run_engine(invocation);
            return self.enter();
        }
        let event = core.begin_call(&invocation);
        if event.events.get() & ev::SIGNAL != 0 || event.is(evlist::FINALIZING) {
            core = self.call_unusual(core, event, invocation.deliveries);
        } else if let Some(callback) = event.callback.get() {
            // Copied: once the lock is let go of, its event may be gone (E4).
            let (fd, what, arg) = (event.fd.get(), event.result.get(), event.arg.get());
            drop(core);
            // SAFETY: C3; nothing is entered (K1).
            unsafe { callback(fd, what, arg) };
            core = self.enter();
        }
        self.end_call(&mut core);
        core
    }

    /// Calls a finalizer, or a signal's callback as often as the signal came, unless the event is deleted or the loop told to break.
    #[cold]
    fn call_unusual(&self, mut core: Entered<'a>, event: &event, deliveries: u32) -> Entered<'a> {
        let Some(call) = event.unusual_call(deliveries) else { return core };
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
        core.drop_kept();
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
    /// Writes down that it has become active, or that more has happened to it.
    #[inline]
    fn become_active(&self, what: What, edge: c_short, counts: &mut Counts) {
        if what == What::TIMEOUT && self.events.get() & ev::PERSIST == 0 {
            counts.set(self, self.flags() & STATE & !evlist::TIMEOUT);
        }
        let (events, result) = (self.events.get(), c_short::from(what.bits()));
        if self.is(evlist::ACTIVE) {
            self.result.set(self.result.get() | result);
            return;
        }
        self.set_flags(self.flags() | evlist::ACTIVE);
        self.result.set(result | events & edge);
        if events & ev::SIGNAL != 0 {
            // Those that the signal makes are counted by the reactor.
            self.calls.set(c_short::from(!what.contains(What::SIGNAL)));
        }
    }

    /// The call of a finalizer, or of a signal's callback.
    fn unusual_call(&self, deliveries: u32) -> Option<Call> {
        let mut times = 1;
        let callback = if self.is(evlist::FINALIZING) {
            let (finalizer, frees) = self.finalizer();
            Callback::Finalizer { finalizer, event: ptr::from_ref(self).cast_mut(), frees }
        } else {
            times = deliveries.saturating_add(u32::try_from(self.calls.get()).unwrap_or(0));
            Callback::Event(self.callback.get()?)
        };
        Some(Call { callback, fd: self.fd.get(), what: self.result.get(), arg: self.arg.get(), times })
    }

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

    /// Whether no callback has asked anything of a bufferevent.
    #[inline]
    fn is_settled(&self) -> bool {
        self.bufferevents.is_settled()
    }

    /// Completes a wait, and writes into the flags of events that they have become active.
    #[inline]
    fn complete(&mut self, wait: Box<Wait>) {
        let Core { reactor, counts, edge, .. } = self;
        reactor.complete(wait, |word, what| {
            if word & owner::MASK == owner::EVENT {
                // SAFETY: K2: the word is the address of an event that lives while its slot does; E1.
                unsafe { &*(word as *const event) }.become_active(what, *edge, counts);
            }
        });
        self.note_most();
    }

    /// Takes an event from the queue: it waits on, if it is persistent, and its callback is about to be called.
    #[inline]
    fn begin_call<'e>(&mut self, invocation: &Invocation) -> &'e event {
        let Invocation { slot, owner, what, waits_on, deliveries } = *invocation;
        if deliveries > 1 {
            // All of them are called in one go.
            let _ = self.reactor.deactivate(slot);
        }
        // SAFETY: K2, E1.
        let event = unsafe { &*(owner as *const event) };
        if waits_on && !what.contains(What::TIMEOUT) {
            event.set_flags(event.flags() & !evlist::ACTIVE);
        } else {
            self.look_what_waits(event, slot);
        }
        event.result.set(event.result.get() & !KNOWN | c_short::from(what.bits()));
        self.control.calls += 1;
        // A finalizer's event may be given to another by the time that it is called.
        let is_final = event.is(evlist::FINALIZING);
        self.control.current = if is_final { ptr::null_mut() } else { ptr::from_ref(event).cast_mut() };
        event
    }

    /// Writes into the flags of an event that is being called what it goes on waiting for.
    #[inline(never)]
    fn look_what_waits(&mut self, event: &event, slot: SlotId) {
        let (is_pending, deadline_ns) = self.reactor.waits(slot).unwrap_or((false, None));
        let mut state = 0;
        if is_pending || (event.is(evlist::INSERTED) && self.stays_inserted(event)) {
            state |= evlist::INSERTED;
        }
        if deadline_ns.is_some() {
            state |= evlist::TIMEOUT;
        }
        self.set_state(event, state);
        if state == 0 {
            // One that is left from a callback that did not return is not needed any more.
            self.drop_kept();
            self.control.kept = Some(slot);
        }
    }

    /// Nobody has added the event again whose slot was kept for that.
    pub(super) fn drop_kept(&mut self) {
        if let Some(slot) = self.control.kept.take() {
            // The slot lives for as long as it is kept.
            let _ = self.reactor.remove(slot);
        }
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
}
