//! `event_del`, which waits for a callback that runs on another thread, so that what it uses may be freed.

use std::ffi::c_int;
use std::ptr;

use super::base::{Core, enter, event_base};
use super::count::STATE;
use super::event::{event_at, warn_baseless};
use super::free::is_alive;
use super::layout::{ev, event, evlist};
use super::{debug, thread};

/// Whether to wait for a callback that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
    /// Unless the event was made to be finalized.
    AsMade,
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_del(event: *mut event) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { del(event, Wait::AsMade) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_del_block(event: *mut event) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { del(event, Wait::Yes) }
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn event_del_noblock(event: *mut event) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { del(event, Wait::No) }
}

/// # Safety
///
/// - C1.
unsafe fn del(event: *mut event, wait: Wait) -> c_int {
    // SAFETY: the caller's promise.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    if event.base.get().is_null() {
        warn_baseless("event_del");
        return -1;
    }
    debug::note_deleted(event);
    if is_nothing_to_delete(event) {
        return 0;
    }
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else { return -1 };
    if event.is(evlist::FINALIZING) {
        return 0;
    }
    let was_inserted = event.is(evlist::INSERTED);
    core.del(event);
    if was_inserted {
        core.notify();
    }
    let waits = wait == Wait::Yes || (wait == Wait::AsMade && event.events.get() & ev::FINALIZE == 0);
    if waits && core.is_running_elsewhere(event) {
        let base = event.base.get();
        drop(core);
        // SAFETY: C1: the base of an event that is in use; the event itself is not looked at any more (E4).
        unsafe { wait_while_running(base, event) };
    }
    0
}

/// Programs free events after their base: one that waits for nothing, and that nobody can be calling, needs none.
fn is_nothing_to_delete(event: &event) -> bool {
    let may_be_called = event.events.get() & ev::SIGNAL != 0 || thread::has_locks();
    event.flags() & STATE == 0 && (!may_be_called || !is_alive(event.base.get()))
}

/// Waits, on another thread than the loop's, until the callback of `event` has returned, if it is running. Only the address of the event
/// counts: the callback may free it.
///
/// # Safety
///
/// - C1 for `base`, of which nothing is entered.
pub(super) unsafe fn wait_while_running(base: *const event_base, event: *const event) {
    // SAFETY: the caller's promise.
    let Some(base) = (unsafe { base.as_ref() }) else { return };
    if !base.returned().exists() {
        return;
    }
    let held = base.lock().hold();
    if let Some(call) = running_call(base, event) {
        // Nothing is entered, and the lock is held once.
        base.returned().wait(base.lock());
        while running_call(base, event) == Some(call) {
            base.returned().wait(base.lock());
        }
    }
    drop(held);
}

/// Which call it is that is running, if it is `event`'s and this is another thread: then whoever asks is going to wait.
fn running_call(base: &event_base, event: *const event) -> Option<u64> {
    // SAFETY: K1: nothing is entered while something of ours waits or begins.
    let mut core = unsafe { base.enter() };
    if !core.is_running_elsewhere(event) {
        return None;
    }
    core.control.waiting += 1;
    Some(core.control.calls)
}

impl Core {
    /// Whether an event's callback runs on another thread.
    fn is_running_elsewhere(&self, event: *const event) -> bool {
        ptr::eq(self.control.current, event) && !self.control.is_own_thread()
    }
}
