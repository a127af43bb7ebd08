//! `event_enable_debug_mode`: every event that has been assigned is remembered, and functions check that they are given one, and
//! that what must not be waiting is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{c_short, timeval};

use super::layout::{Socket, ev, event, evlist};
use super::log;

/// Whether it is on; and whether it is too late, because there is a base or an event already.
static ON: AtomicBool = AtomicBool::new(false);
static TOO_LATE: AtomicBool = AtomicBool::new(false);
static BASE_MADE: AtomicBool = AtomicBool::new(false);

/// Where the events are that have been assigned, and whether they have been added.
static KNOWN: Mutex<Option<HashMap<usize, bool>>> = Mutex::new(None);

// All atomics are relaxed: C4, and nothing else is published with them.

#[inline]
fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

fn known() -> MutexGuard<'static, Option<HashMap<usize, bool>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(event: *const event) -> usize {
    event as usize
}

#[unsafe(no_mangle)]
extern "C-unwind" fn event_enable_debug_mode() {
    if is_on() {
        log::fail(1, format_args!("event_enable_debug_mode: it is on already"));
    }
    if TOO_LATE.load(Ordering::Relaxed) {
        log::fail(1, format_args!("event_enable_debug_mode comes after the first event or base"));
    }
    *known() = Some(HashMap::new());
    ON.store(true, Ordering::Relaxed);
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_debug_unassign(event: *mut event) {
    // SAFETY: C1, E1.
    let Some(event) = (unsafe { event.as_ref() }) else { return };
    check_not_added(event, "event_debug_unassign");
    note_teardown(event);
    event.set_flags(event.flags() & !evlist::INIT);
}

/// What debugging remembers is all there is to be released.
#[unsafe(no_mangle)]
extern "C-unwind" fn libevent_global_shutdown() {
    ON.store(false, Ordering::Relaxed);
    *known() = None;
}

/// A base has been made.
pub(super) fn note_made() {
    TOO_LATE.store(true, Ordering::Relaxed);
    BASE_MADE.store(true, Ordering::Relaxed);
}

/// Locks must have been chosen before there is anything to be locked.
pub(super) fn check_threads_come_first() {
    if is_on() && BASE_MADE.load(Ordering::Relaxed) {
        log::fail(1, format_args!("locks are chosen after the first base was made"));
    }
}

/// What is about to be assigned must not have been added, and its descriptor must not block.
#[inline]
pub(super) fn check_assigned(event: *const event, fd: Socket, events: c_short) {
    if !is_on() {
        return;
    }
    if events & ev::SIGNAL == 0 && fd >= 0 {
        // SAFETY: it takes numbers, and no memory.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if flags >= 0 && flags & libc::O_NONBLOCK == 0 {
            log::broken(format_args!("event_assign: fd {fd} blocks"));
        }
    }
    check_not_added(event, "event_assign");
}

fn check_not_added(event: *const event, function: &str) {
    if is_on() && known().as_ref().is_some_and(|known| known.get(&place(event)) == Some(&true)) {
        log::broken(format_args!("{function}: the event {event:p} is waiting"));
    }
}

/// What a function is given must have been assigned.
#[inline]
pub(super) fn check_setup(event: *const event, function: &str) {
    if is_on() {
        check_is_setup(event, function);
    }
}

#[cold]
fn check_is_setup(event: *const event, function: &str) {
    if !is_setup(event) {
        log::broken(format_args!("{function}: nobody has assigned the event {event:p}"));
    }
}

fn is_setup(event: *const event) -> bool {
    known().as_ref().is_none_or(|known| known.contains_key(&place(event)))
}

/// An event has been assigned.
#[inline]
pub(super) fn note_setup(event: *const event) {
    TOO_LATE.store(true, Ordering::Relaxed);
    note(event, false);
}

/// An event is gone.
#[inline]
pub(super) fn note_teardown(event: *const event) {
    if is_on()
        && let Some(known) = known().as_mut()
    {
        known.remove(&place(event));
    }
}

/// An event has been added, or it was tried.
#[inline]
pub(super) fn note_added(event: &event, timeout: Option<&timeval>) {
    if log::hears_debug() {
        tell_added(event, timeout.is_some());
    }
    note(event, true);
}

#[cold]
fn tell_added(event: &event, is_timed: bool) {
    log::debug(format_args!(
        "event_add: event: {event:p} (fd {}), {}call {:?}",
        event.fd.get(),
        if is_timed { "EV_TIMEOUT " } else { "" },
        event.callback.get().map(|callback| callback as *const ())
    ));
}

/// An event has been deleted.
#[inline]
pub(super) fn note_deleted(event: &event) {
    if log::hears_debug() {
        tell_deleted(event);
    }
    note(event, false);
}

#[cold]
fn tell_deleted(event: &event) {
    log::debug(format_args!("event_del: {event:p} (fd {})", event.fd.get()));
}

#[inline]
fn note(event: *const event, is_added: bool) {
    if is_on() {
        remember(event, is_added);
    }
}

#[cold]
fn remember(event: *const event, is_added: bool) {
    if let Some(known) = known().as_mut() {
        known.insert(place(event), is_added);
    }
}
