//! `event_base_once` and `event_base_loopexit`: events of ours that are called once; and the other ways to end the loop.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use libc::{c_short, timeval};

use super::base::{enter, event_base};
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::{errno, memory};

/// An event that is called once, and what for. The base knows where it is until then. It is shared as its event is (E1).
pub(super) struct Once {
    event: event,
    base: *const event_base,
    callback: EventCallback,
    arg: *mut c_void,
    /// Its place in the base's list.
    place: Cell<usize>,
}

const WAITS: c_short = ev::READ | ev::WRITE | ev::CLOSED;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_once(
    base: *mut event_base,
    fd: Socket,
    events: c_short,
    callback: Option<EventCallback>,
    arg: *mut c_void,
    timeout: *const timeval,
) -> c_int {
    let (Some(callback), false) = (callback, base.is_null()) else { return -1 };
    if events & (ev::SIGNAL | ev::PERSIST) != 0 || events & (WAITS | ev::TIMEOUT) == 0 {
        return -1;
    }
    // SAFETY: C2.
    let timeout = unsafe { timeout.as_ref() };
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    let record = memory::allocate(size_of::<Once>()).cast::<Once>();
    if record.is_null() {
        return -1;
    }
    let place = Cell::new(core.once.len());
    // SAFETY: it is ours, and large enough.
    unsafe { record.write(Once { event: blank(base), base, callback, arg, place }) };
    // SAFETY: it was written a line above, and lives until it has been called, for which the lock is needed.
    let once = unsafe { &*record };
    let is_timer = events & WAITS == 0;
    let (fd, events) = if is_timer { (-1, 0) } else { (fd, events & WAITS) };
    once.event.fd.set(fd);
    once.event.events.set(events);
    once.event.priority.set((core.reactor.priorities() / 2) as u8);
    once.event.arg.set(record.cast());
    let is_due = is_timer && timeout.is_none_or(|timeout| timeout.tv_sec == 0 && timeout.tv_usec == 0);
    let added = if is_due {
        core.activate(&once.event, ev::TIMEOUT, 1);
        Ok(())
    } else {
        core.add(&once.event, timeout)
    };
    match added {
        Ok(()) => {
            core.once.push(record);
            core.notify();
            0
        }
        Err(error) => {
            drop(core);
            // SAFETY: it was allocated above, and waits for nothing.
            unsafe { memory::free(record.cast()) };
            errno::set_from(&error);
            -1
        }
    }
}

/// An event that calls what its record says.
fn blank(base: *mut event_base) -> event {
    // SAFETY: an event is plain data, and all zeroes are a valid one.
    let event: event = unsafe { MaybeUninit::zeroed().assume_init() };
    event.base.set(base);
    event.set_flags(evlist::INIT);
    event.callback.set(Some(call));
    event
}

/// Forgets the record before its callback is called, which may leave for good.
unsafe extern "C-unwind" fn call(fd: Socket, what: c_short, record: *mut c_void) {
    let record = record.cast::<Once>();
    // SAFETY: the record is `event_base_once`'s, and lives until it is forgotten below.
    let once = unsafe { &*record };
    let (callback, arg) = (once.callback, once.arg);
    // SAFETY: C1; callbacks are called with nothing entered.
    if let Some(mut core) = unsafe { enter(once.base) } {
        let place = once.place.get();
        core.once.swap_remove(place);
        if let Some(&moved) = core.once.get(place) {
            // SAFETY: what is in the list has not been called, and lives.
            let moved = unsafe { &*moved };
            moved.place.set(place);
        }
    }
    // SAFETY: nobody knows it any more.
    unsafe { memory::free(record.cast()) };
    // SAFETY: C3.
    unsafe { callback(fd, what, arg) };
}

/// Tells the loop to end as soon as what is active now has been called, or then.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_loopexit(
    base: *mut event_base,
    after: *const timeval,
) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { event_base_once(base, -1, ev::TIMEOUT, Some(exit), base.cast(), after) }
}

unsafe extern "C-unwind" fn exit(_: Socket, _: c_short, base: *mut c_void) {
    // SAFETY: `event_base_loopexit` has passed the base; callbacks are called with nothing entered.
    if let Some(mut core) = unsafe { enter(base.cast()) } {
        core.control.exit = true;
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_loopbreak(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    core.control.breaking = true;
    core.notify()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_loopcontinue(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    core.control.continuing = true;
    core.notify()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_got_exit(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    unsafe { enter(base) }.map_or(0, |core| c_int::from(core.control.exit))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_got_break(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    unsafe { enter(base) }.map_or(0, |core| c_int::from(core.control.breaking))
}
