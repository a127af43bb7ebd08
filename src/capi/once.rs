//! `event_base_once` and `event_base_loopexit`: events of ours that are called once; and the other ways to end the loop.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_short, timeval};

use super::base::{enter, event_base};
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::{errno, memory};

/// An event that is called once, and what for. The base knows where it is until then.
pub(super) struct Once {
    event: event,
    base: *const event_base,
    callback: EventCallback,
    arg: *mut c_void,
    /// Its place in the base's list.
    place: usize,
}

const WAITS: c_short = ev::READ | ev::WRITE | ev::CLOSED;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn event_base_once(
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
    let once = memory::allocate(size_of::<Once>()).cast::<MaybeUninit<Once>>();
    // SAFETY: it is null or ours, and large enough.
    let Some(once) = (unsafe { once.as_mut() }) else { return -1 };
    let place = core.once.len();
    let once = once.write(Once { event: blank(base), base, callback, arg, place });
    let is_timer = events & WAITS == 0;
    (once.event.fd, once.event.events) = if is_timer { (-1, 0) } else { (fd, events & WAITS) };
    once.event.priority = (core.reactor.priorities() / 2) as u8;
    once.event.arg = ptr::from_mut(once).cast();
    let is_due = is_timer && timeout.is_none_or(|timeout| timeout.tv_sec == 0 && timeout.tv_usec == 0);
    let added = if is_due {
        core.activate(&mut once.event, ev::TIMEOUT, 1);
        Ok(())
    } else {
        core.add(&mut once.event, timeout)
    };
    let once = ptr::from_mut(once);
    match added {
        Ok(()) => {
            core.once.push(once);
            core.notify();
            0
        }
        Err(error) => {
            drop(core);
            // SAFETY: it was allocated above, and waits for nothing.
            unsafe { memory::free(once.cast()) };
            errno::set_from(&error);
            -1
        }
    }
}

/// An event that calls what its record says.
fn blank(base: *mut event_base) -> event {
    // SAFETY: an event is plain data, and all zeroes are a valid one.
    let mut event: event = unsafe { MaybeUninit::zeroed().assume_init() };
    event.base = base;
    event.flags = evlist::INIT;
    event.callback = Some(call);
    event
}

/// Forgets the record before its callback is called, which may leave for good.
unsafe extern "C-unwind" fn call(fd: Socket, what: c_short, record: *mut c_void) {
    let record = record.cast::<Once>();
    // SAFETY: the record is `event_base_once`'s, and lives until it is forgotten below.
    let Once { base, callback, arg, place, .. } = *unsafe { &*record };
    // SAFETY: C1; callbacks are called with nothing entered.
    if let Some(mut core) = unsafe { enter(base) } {
        core.once.swap_remove(place);
        if let Some(&moved) = core.once.get(place) {
            // SAFETY: what is in the list has not been called, and lives.
            unsafe { (*moved).place = place };
        }
    }
    // SAFETY: nobody knows it any more.
    unsafe { memory::free(record.cast()) };
    // SAFETY: C3.
    unsafe { callback(fd, what, arg) };
}

/// Tells the loop to end as soon as what is active now has been called, or then.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn event_base_loopexit(base: *mut event_base, after: *const timeval) -> c_int {
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
pub(super) unsafe extern "C" fn event_base_loopbreak(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    core.control.breaking = true;
    core.notify()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn event_base_loopcontinue(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    core.control.continuing = true;
    core.notify()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn event_base_got_exit(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    unsafe { enter(base) }.map_or(0, |core| c_int::from(core.control.exit))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn event_base_got_break(base: *mut event_base) -> c_int {
    // SAFETY: C1; this thread has not entered.
    unsafe { enter(base) }.map_or(0, |core| c_int::from(core.control.breaking))
}
