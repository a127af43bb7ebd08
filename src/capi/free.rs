//! The end of events and bases: `event_finalize`, `event_base_free`.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::base::{Core, current_base, enter, event_base, set_current_base};
use super::event::{closure, event_at, warn_baseless};
use super::layout::{EventCallback, ev, event, evlist};
use super::run::{Finalizer, finalize};
use super::{buffer, bufferevent, debug, listener, log, memory};
use crate::reactor::owner;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_finalize(
    _: c_uint,
    event: *mut event,
    finalizer: Option<Finalizer>,
) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { prepare(event, finalizer, closure::FINALIZE) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_free_finalize(
    _: c_uint,
    event: *mut event,
    finalizer: Option<Finalizer>,
) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { prepare(event, finalizer, closure::FINALIZE_FREE) }
}

/// Lets the loop call the finalizer in the event's place, once its callback cannot be running.
///
/// # Safety
///
/// - C1, C3.
unsafe fn prepare(event: *mut event, finalizer: Option<Finalizer>, closure: u8) -> c_int {
    // SAFETY: the caller's promise.
    let Some(event) = (unsafe { event_at(event) }) else { return -1 };
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    let Some(mut core) = (unsafe { enter(event.base.get()) }) else {
        warn_baseless("event_finalize");
        return -1;
    };
    if !event.is(evlist::FINALIZING) {
        core.del(event);
    }
    event.closure.set(closure);
    // SAFETY: a finalizer is as large as a callback, and is turned back before it is called.
    let callback = unsafe { std::mem::transmute::<Option<Finalizer>, Option<EventCallback>>(finalizer) };
    event.callback.set(callback);
    core.activate(event, ev::FINALIZE, 1);
    event.set_flags(event.flags() | evlist::FINALIZING);
    core.notify();
    0
}

/// The bases there are. Programs free what belongs to a base after it, and then the base must not be looked for.
///
/// A list that only grows, whose places are used again: a lock could be held by a thread that a fork leaves behind.
static ALIVE: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

struct Place {
    /// Null is none.
    base: AtomicPtr<event_base>,
    next: *mut Place,
}

/// All places, the newest first.
fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: what is in the list stays there; Acquire: its fields were written before it came there.
    let first = unsafe { ALIVE.load(Ordering::Acquire).as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |place| unsafe { place.next.as_ref() })
}

// Relaxed, here and below: whoever asks for a base has been told of it by the thread that made or freed it.
fn exchange(before: *mut event_base, after: *mut event_base) -> bool {
    places()
        .any(|place| place.base.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok())
}

/// A base has been made.
pub(super) fn note_made(base: *mut event_base) {
    if exchange(ptr::null_mut(), base) {
        return;
    }
    let place = Box::leak(Box::new(Place { base: AtomicPtr::new(base), next: ptr::null_mut() }));
    loop {
        place.next = ALIVE.load(Ordering::Relaxed);
        // Release: as in `places`.
        if ALIVE.compare_exchange(place.next, place, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

fn note_freed(base: *mut event_base) {
    exchange(base, ptr::null_mut());
}

/// Whether there is a base at that address.
pub(super) fn is_alive(base: *const event_base) -> bool {
    places().any(|place| ptr::eq(place.base.load(Ordering::Relaxed), base))
}

/// A call that the loop has not come to.
enum Left {
    Finalizer {
        event: *mut event,
        finalizer: Option<Finalizer>,
        arg: *mut c_void,
        frees: bool,
    },
    /// An event of ours, whose callback gives back what it has.
    Ours {
        callback: EventCallback,
        arg: *mut c_void,
    },
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_free(base: *mut event_base) {
    // SAFETY: the caller's promise is the same.
    unsafe { free(base, true) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_free_nofinalize(base: *mut event_base) {
    // SAFETY: the caller's promise is the same.
    unsafe { free(base, false) };
}

/// # Safety
///
/// - C1.
unsafe fn free(base: *mut event_base, finalizes: bool) {
    let current = current_base();
    let base = if base.is_null() { current } else { base };
    if base.is_null() {
        return log::warn(format_args!("event_base_free_: no base to free"));
    }
    loop {
        // SAFETY: C1; this thread has not entered.
        let Some(mut core) = (unsafe { enter(base) }) else { return };
        let left = core.release_events();
        if left.is_empty() {
            break;
        }
        drop(core);
        // They may activate others.
        for left in left {
            match left {
                Left::Finalizer { event, finalizer, arg, frees } if finalizes => {
                    // SAFETY: C1, C3; nothing is entered.
                    unsafe { finalize(finalizer, event, arg, frees) };
                }
                Left::Finalizer { .. } => {}
                Left::Ours { callback, arg } => {
                    // SAFETY: C3; nothing is entered.
                    unsafe { callback(-1, 0, arg) };
                }
            }
        }
    }
    bufferevent::abandon(base);
    listener::abandon(base);
    if base == current {
        set_current_base(ptr::null_mut());
    }
    note_freed(base);
    // SAFETY: C1; it was boxed when it was made.
    drop(unsafe { Box::from_raw(base) });
    // What its bufferevents still held may have been lent by C.
    buffer::settle_accounts();
}

impl Core {
    /// Lets all events wait for nothing, and says who is still to be called. What was to be called once is forgotten.
    fn release_events(&mut self) -> Vec<Left> {
        let mut left = Vec::new();
        for word in self.event_words() {
            // SAFETY: K2, E1.
            let event = unsafe { &*(word as *const event) };
            self.del(event);
            debug::note_deleted(event);
            if event.is(evlist::FINALIZING) {
                let (finalizer, frees) = event.finalizer();
                let (event, arg) = (ptr::from_ref(event).cast_mut(), event.arg.get());
                left.push(Left::Finalizer { event, finalizer, arg, frees });
            } else if let (closure::TOLD_OF_THE_END, Some(callback)) =
                (event.closure.get(), event.callback.get())
            {
                left.push(Left::Ours { callback, arg: event.arg.get() });
            }
        }
        for once in std::mem::take(&mut self.once) {
            // SAFETY: it was allocated by `event_base_once`, and its event waits for nothing any more.
            unsafe { memory::free(once.cast()) };
        }
        left
    }

    /// The addresses of all events that wait or are active.
    pub(super) fn event_words(&self) -> Vec<u64> {
        let kept = self.control.kept;
        let words = self.reactor.views().filter(|view| Some(view.id) != kept).map(|view| view.spec.owner);
        words.filter(|word| word & owner::MASK == owner::EVENT).collect()
    }
}
