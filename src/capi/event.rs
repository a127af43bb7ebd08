//! `struct event`: 128 bytes of the caller's, and the slot that stands for it while it waits or is about to be called.
//!
//! What an event waits for is read from its fields when it is added, and from then on the slot is what counts. Whether there
//! is one its flags say ([`STATE`]), so an event that neither waits nor is active can be copied, zeroed or freed without telling anyone.

use std::ffi::{c_int, c_void};
use std::ptr;

use libc::{c_short, timeval};

use super::base::{Core, current_base, enter, event_base};
use super::count::STATE;
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::time::nanos;
use super::{debug, errno, log, memory};
use crate::error::{Error, Result};
use crate::reactor::{Interest, SlotId, SlotSpec, Source, What};

/// What an event can wait for beside time.
const SOURCES: c_short = ev::READ | ev::WRITE | ev::CLOSED | ev::SIGNAL;
const DESCRIPTOR: c_short = ev::READ | ev::WRITE | ev::CLOSED;
/// What the reactor has words for.
pub(super) const KNOWN: c_short = SOURCES | ev::TIMEOUT;

/// What an event's `closure` says when it is to be finalized, or is one of ours; 0 otherwise.
pub(super) mod closure {
    /// It is ours, and its callback is called with nothing that has happened when its base goes while it waits or is active.
    pub(in crate::capi) const TOLD_OF_THE_END: u8 = 7;
    pub(in crate::capi) const FINALIZE: u8 = 5;
    pub(in crate::capi) const FINALIZE_FREE: u8 = 6;
}

impl event {
    /// The slot that stands for it, if there is one (K2).
    pub(super) fn slot(&self) -> Option<SlotId> {
        if self.flags() & STATE == 0 { None } else { SlotId::from_bits(self.slot.get()) }
    }

    pub(super) fn is(&self, flag: c_short) -> bool {
        self.flags() & flag != 0
    }

    fn source(&self) -> Source {
        if self.events.get() & ev::SIGNAL != 0 {
            Source::Signal(self.fd.get())
        } else if self.events.get() & DESCRIPTOR != 0 && self.fd.get() >= 0 {
            Source::Fd { fd: self.fd.get(), interest: self.interest() }
        } else {
            Source::None
        }
    }

    /// What a slot is made of for it, in one word.
    fn making(&self) -> u64 {
        let [fd, events] = [self.fd.get() as u32, u32::from(self.events.get() as u16)];
        u64::from(fd) << 32 | u64::from(events) << 8 | u64::from(self.priority.get())
    }

    fn interest(&self) -> Interest {
        // The bits are the same.
        Interest::from_bits_truncate((self.events.get() & (DESCRIPTOR | ev::ET)) as u8)
    }

    /// Whether it is to wait for a descriptor and has none: libevent counts it as waiting all the same.
    pub(super) fn lacks_descriptor(&self) -> bool {
        self.events.get() & ev::SIGNAL == 0 && self.events.get() & DESCRIPTOR != 0 && self.fd.get() < 0
    }
}

/// Waiting.
impl Core {
    /// Lets an event wait for its source, and for `timeout` at most. One that fails changes nothing.
    pub(super) fn add(&mut self, event: &event, timeout: Option<&timeval>) -> Result<()> {
        if event.is(evlist::FINALIZING) {
            return Err(Error::Invalid("it is being finalized"));
        }
        let waits = event.events.get() & SOURCES != 0;
        if !waits && timeout.is_none() {
            return Ok(());
        }
        let (slot, is_new) = self.slot_for(event)?;
        let mut state = event.flags() & STATE;
        if waits && state & evlist::INSERTED == 0 {
            if let Err(error) = self.add_source(event, slot) {
                self.drop_if_new(slot, is_new);
                return Err(error);
            }
            state |= evlist::INSERTED;
        }
        if let Some(timeout) = timeout {
            self.set_timeout(slot, timeout)?;
            state = self.after_timeout(event, slot, state) | evlist::TIMEOUT;
        }
        self.set_state(event, state);
        self.note_most();
        Ok(())
    }

    /// The event's slot, and whether it has been made just now.
    fn slot_for(&mut self, event: &event) -> Result<(SlotId, bool)> {
        if let Some(slot) = event.slot() {
            return Ok((slot, false));
        }
        if let Some(kept) = self.take_kept(event) {
            return Ok((kept, true));
        }
        // A base may have fewer priorities by now than when the event was given its own.
        let least = self.reactor.priorities() - 1;
        let slot = self.reactor.insert(SlotSpec {
            owner: ptr::from_ref(event) as u64,
            source: event.source(),
            persist: event.events.get() & ev::PERSIST != 0,
            priority: Some(event.priority.get().min(least as u8)),
        })?;
        event.slot.set(slot.to_bits());
        event.made_of.set(event.making());
        Ok((slot, true))
    }

    /// The slot that is kept for an event while its callback runs, if it would be made as it was. An event that has been assigned anew
    /// has forgotten it.
    fn take_kept(&mut self, event: &event) -> Option<SlotId> {
        let kept = self.control.kept?;
        // The slot's word is the address of the event that is being called.
        let is_its_own = ptr::eq(self.control.current, event) && kept.to_bits() == event.slot.get();
        if !is_its_own || event.made_of.get() != event.making() {
            return None;
        }
        // The callback may have closed the descriptor, and opened another under its number.
        let _ = self.reactor.doubt_file(kept);
        self.control.kept.take()
    }

    fn drop_if_new(&mut self, slot: SlotId, is_new: bool) {
        if is_new {
            // It was made a moment ago.
            let _ = self.reactor.remove(slot);
        }
    }

    fn add_source(&mut self, event: &event, slot: SlotId) -> Result<()> {
        self.reactor.add_strictly(slot)?;
        self.counts.without_descriptor += u32::from(event.lacks_descriptor());
        Ok(())
    }

    fn set_timeout(&mut self, slot: SlotId, timeout: &timeval) -> Result<()> {
        if let Some(common) = self.common_timeout(timeout) {
            return self.reactor.add_common(slot, common);
        }
        self.reactor.add_for(slot, nanos(timeout))
    }

    /// A new timeout takes back the call that was due to the old one, and what is left of a signal's calls.
    fn after_timeout(&mut self, event: &event, slot: SlotId, state: c_short) -> c_short {
        if state & evlist::ACTIVE == 0 {
            return state;
        }
        let is_active = self.reactor.view(slot).is_ok_and(|view| view.pending.active);
        if is_active { state } else { self.stop_calling(event, state) }
    }

    fn stop_calling(&mut self, event: &event, state: c_short) -> c_short {
        if ptr::eq(self.control.current, event) {
            self.control.calls_left = 0;
        }
        state & !evlist::ACTIVE
    }

    /// Takes an event back from everything.
    pub(super) fn del(&mut self, event: &event) {
        if ptr::eq(self.control.current, event) {
            self.control.calls_left = 0;
        }
        if let Some(slot) = event.slot() {
            // K2.
            let _ = self.reactor.remove(slot);
            self.note_not_inserted(event);
            self.set_state(event, 0);
        }
    }

    /// An event is going to wait for its source no longer.
    pub(super) fn note_not_inserted(&mut self, event: &event) {
        if event.is(evlist::INSERTED) && event.lacks_descriptor() {
            self.counts.without_descriptor = self.counts.without_descriptor.saturating_sub(1);
        }
    }

    /// Makes an event called as if `what` had happened, a signal's `calls` times.
    pub(super) fn activate(&mut self, event: &event, what: c_short, calls: c_short) {
        if event.is(evlist::FINALIZING) {
            return;
        }
        let Ok((slot, _)) = self.slot_for(event) else { return };
        // K2; the bits are the same.
        let _ = self.reactor.activate(slot, What::from_bits_truncate((what & KNOWN) as u8));
        if event.is(evlist::ACTIVE) {
            event.result.set(event.result.get() | what);
            return;
        }
        event.result.set(what);
        event.calls.set(calls);
        self.set_state(event, event.flags() & STATE | evlist::ACTIVE);
        self.note_most();
    }

    /// Takes an event's timeout back.
    fn remove_timer(&mut self, event: &event) {
        let Some(slot) = event.slot().filter(|_| event.is(evlist::TIMEOUT)) else { return };
        // K2.
        let _ = self.reactor.remove_timer(slot);
        let state = event.flags() & STATE & !evlist::TIMEOUT;
        if state == 0 {
            let _ = self.reactor.remove(slot);
        }
        self.set_state(event, state);
    }
}

/// An event, as its functions get it; null is refused.
///
/// # Safety
///
/// - C1, and what is returned is not used once E4 forbids it.
#[inline(always)]
pub(super) unsafe fn event_at<'a>(event: *const event) -> Option<&'a event> {
    // SAFETY: the caller's promise, and E1.
    unsafe { event.as_ref() }
}

/// As libevent says it of an event without a base.
#[cold]
pub(super) fn warn_baseless(function: &str) {
    log::warn(format_args!("{function}: the event belongs to no base"));
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn event_assign(
    event: *mut event,
    base: *mut event_base,
    fd: Socket,
    events: c_short,
    callback: Option<EventCallback>,
    arg: *mut c_void,
) -> c_int {
    if event.is_null() {
        return -1;
    }
    let base = if base.is_null() { current_base() } else { base };
    debug::check_assigned(event, fd, events);
    // SAFETY: C1; the memory is written and not read, whatever is in it.
    unsafe { event.cast::<u8>().write_bytes(0, size_of::<event>()) };
    let itself = event.cast::<c_void>();
    // SAFETY: C1; it is all zeroes now, which is a valid value; E1.
    let event = unsafe { &*event };
    event.base.set(base);
    event.callback.set(callback);
    event.arg.set(if arg == event_self_cbarg() { itself } else { arg });
    event.fd.set(fd);
    event.events.set(events);
    event.set_flags(evlist::INIT);
    if events & ev::SIGNAL != 0 && events & DESCRIPTOR != 0 {
        log::warn(format_args!("event_assign: no event waits for a signal and for a descriptor"));
        return -1;
    }
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    if let Some(core) = unsafe { enter(base) } {
        event.priority.set(middle(&core));
    }
    debug::note_setup(event);
    0
}

fn middle(core: &Core) -> u8 {
    (core.reactor.priorities() / 2) as u8
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_set(
    event: *mut event,
    fd: Socket,
    events: c_short,
    callback: Option<EventCallback>,
    arg: *mut c_void,
) {
    // SAFETY: the caller's promise is the same.
    let assigned = unsafe { event_assign(event, current_base(), fd, events, callback, arg) };
    if assigned != 0 {
        log::broken(format_args!("event_set: the arguments are invalid"));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_set(base: *mut event_base, event: *mut event) -> c_int {
    // SAFETY: C1.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    if event.flags() != evlist::INIT {
        return -1;
    }
    debug::check_setup(event, "event_base_set");
    // SAFETY: as in `event_assign`.
    let Some(core) = (unsafe { enter(base) }) else { return -1 };
    event.base.set(base);
    // A slot that the base it leaves keeps for it is not this one's.
    event.slot.set(0);
    event.priority.set(middle(&core));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_new(
    base: *mut event_base,
    fd: Socket,
    events: c_short,
    callback: Option<EventCallback>,
    arg: *mut c_void,
) -> *mut event {
    let event = memory::allocate(size_of::<event>()).cast::<event>();
    // SAFETY: the memory is null, which is refused, or as large as an event.
    let assigned = unsafe { event_assign(event, base, fd, events, callback, arg) };
    if assigned == 0 {
        return event;
    }
    // SAFETY: it was allocated above, and nobody else knows it.
    unsafe { memory::free(event.cast()) };
    ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_free(event: *mut event) {
    // SAFETY: the caller's promise is the same.
    unsafe { super::del::event_del(event) };
    debug::note_teardown(event);
    // SAFETY: C1; it came from `event_new`, which allocated it.
    unsafe { memory::free(event.cast()) };
}

static SELF: u8 = 0;

/// Stands for the event itself where an argument is asked for.
#[unsafe(no_mangle)]
extern "C-unwind" fn event_self_cbarg() -> *mut c_void {
    ptr::from_ref(&SELF).cast_mut().cast()
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn event_add(
    event: *mut event,
    timeout: *const timeval,
) -> c_int {
    // SAFETY: C1.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    if event.base.get().is_null() {
        warn_baseless("event_add");
        return -1;
    }
    debug::check_setup(event, "event_add");
    if event.events.get() & ev::SIGNAL != 0 {
        // Its calls are counted while they are made: another thread waits for that to be over.
        // SAFETY: C1.
        unsafe { super::del::wait_while_running(event.base.get(), event) };
    }
    // SAFETY: C2.
    let timeout = unsafe { timeout.as_ref() };
    // SAFETY: as in `event_assign`; the base is not null.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else { return -1 };
    // Before the lock goes (E4).
    debug::note_added(event, timeout);
    match core.add(event, timeout) {
        Ok(()) => {
            core.notify();
            0
        }
        Err(error) => {
            drop(core);
            refuse(event, &error)
        }
    }
}

#[cold]
fn refuse(event: &event, error: &Error) -> c_int {
    if event.is(evlist::FINALIZING) {
        return -1;
    }
    log::warn(format_args!("event_add: fd {} cannot be waited for: {error}", event.fd.get()));
    errno::set_from(error);
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_remove_timer(event: *mut event) -> c_int {
    // SAFETY: C1.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    debug::check_setup(event, "event_remove_timer");
    // SAFETY: as in `event_assign`.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else {
        warn_baseless("event_remove_timer");
        return -1;
    };
    core.remove_timer(event);
    0
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn event_active(event: *mut event, what: c_int, calls: c_short) {
    // SAFETY: C1.
    let Some(event) = (unsafe { event_at(event) }) else { return };
    if event.base.get().is_null() {
        return warn_baseless("event_active");
    }
    debug::check_setup(event, "event_active");
    if event.events.get() & ev::SIGNAL != 0 {
        // SAFETY: C1; as in `event_add`.
        unsafe { super::del::wait_while_running(event.base.get(), event) };
    }
    // SAFETY: as in `event_assign`.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else { return };
    core.activate(event, what as c_short, calls);
    core.notify();
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_priority_set(event: *mut event, priority: c_int) -> c_int {
    // SAFETY: C1.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    debug::check_setup(event, "event_priority_set");
    // SAFETY: as in `event_assign`.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else { return -1 };
    let is_in_range = usize::try_from(priority).is_ok_and(|priority| priority < core.reactor.priorities());
    if event.is(evlist::ACTIVE) || !is_in_range {
        return -1;
    }
    let priority = priority as u8;
    if let Some(slot) = event.slot()
        && core.reactor.set_priority(slot, priority).is_err()
    {
        return -1;
    }
    event.priority.set(priority);
    0
}
