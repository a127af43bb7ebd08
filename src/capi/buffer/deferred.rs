//! Callbacks that wait for the loop: an event of ours stands in the loop's queue for the buffer, and while it does the buffer stays, even
//! if it is freed.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use libc::c_short;

use super::callbacks::{ENABLED, NODEFER};
use super::{evbuffer, handle};
use crate::capi::base::{enter, event_base};
use crate::capi::event::closure;
use crate::capi::frame::Here;
use crate::capi::free::is_alive;
use crate::capi::layout::{Socket, ev, event, evlist};

/// What a buffer has in the loop. It does not move, because the loop knows its event by its address, and is shared as that is (E1).
pub(super) struct Deferral {
    event: event,
    /// Whether the event is active: then it has a use of the handle. Under the buffer's lock.
    scheduled: Cell<bool>,
    /// The buffer was freed while it was scheduled. Under the buffer's lock.
    freed: Cell<bool>,
}

impl Deferral {
    fn new(base: *mut event_base, priority: u8, buf: *const evbuffer) -> Deferral {
        // SAFETY: an event may be all zeroes (C1 has it of C's, too).
        let event: event = unsafe { MaybeUninit::zeroed().assume_init() };
        event.set_flags(evlist::INIT);
        event.priority.set(priority);
        event.closure.set(closure::TOLD_OF_THE_END);
        event.callback.set(Some(run));
        event.arg.set(buf.cast_mut().cast());
        event.fd.set(-1);
        event.base.set(base);
        Deferral { event, scheduled: Cell::new(false), freed: Cell::new(false) }
    }
}

impl evbuffer {
    /// Whether callbacks wait for the loop, except those that asked not to.
    pub(super) fn is_deferred(&self) -> bool {
        self.with_calls(|calls| calls.deferral.is_some())
    }

    /// Has the loop make the callbacks that are due.
    pub(super) fn schedule(&self) {
        self.notice_base();
        let event = self.with_calls(|calls| {
            let due = calls.has_untold();
            let deferral = calls.deferral.as_ref().filter(|deferral| due && !deferral.scheduled.get())?;
            deferral.scheduled.set(true);
            Some(&raw const deferral.event)
        });
        let Some(event) = event else { return };
        // Until it has run; `run` gives it back.
        self.keep();
        // SAFETY: the use of the handle that was taken a line above keeps it there; E1.
        let event = unsafe { &*event };
        // SAFETY: the base was given for this, and nothing of it is entered.
        if let Some(mut core) = unsafe { enter(event.base.get()) } {
            core.activate(event, ev::TIMEOUT, 1);
            // A base that cannot be woken has one thread.
            let _ = core.notify();
        }
    }

    /// Whether the buffer has to stay until its callbacks were made; it is freed then.
    pub(super) fn postpone_free(&self) -> bool {
        self.with_calls(|calls| match &calls.deferral {
            Some(deferral) if deferral.scheduled.get() => {
                deferral.freed.set(true);
                true
            }
            _ => false,
        })
    }

    /// A base that has gone makes no callbacks any more, and whoever has callbacks left to it makes them alone.
    pub(super) fn notice_base(&self) {
        self.with_calls(|calls| {
            let gone = |deferral: &mut Box<Deferral>| !is_alive(deferral.event.base.get());
            calls.deferral.take_if(gone)
        });
    }
}

/// The loop has come to the buffer `arg`, or its base goes, and then nothing has `happened`.
unsafe extern "C-unwind" fn run(_: Socket, happened: c_short, arg: *mut c_void) {
    // SAFETY: `schedule` has a use of the handle for this.
    let Some(buf) = (unsafe { handle(arg.cast::<evbuffer>()) }) else { return };
    let here = Here::default();
    let _pin = buf.adopt(&here);
    buf.with_calls(|calls| calls.deferral.as_ref().map(|deferral| deferral.scheduled.set(false)));
    if happened != 0 {
        let _held = buf.hold();
        buf.run_callbacks(NODEFER | ENABLED, ENABLED, true);
    }
    let freed = buf.with_calls(|calls| {
        let deferral = calls.deferral.as_ref().filter(|deferral| !deferral.scheduled.get())?;
        deferral.freed.take().then_some(())
    });
    if freed.is_some() {
        buf.dispose();
    }
}

/// From here on callbacks are made by the loop of `base`, and told of all that has happened until then as one change.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_defer_callbacks(buf: *mut evbuffer, base: *mut event_base) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C1, and nothing is entered.
    let Some(core) = (unsafe { enter(base) }) else { return -1 };
    let priority = (core.reactor.priorities() / 2) as u8;
    drop(core);
    let address = ptr::from_ref(buf);
    buf.with_calls(|calls| {
        calls.deferral.get_or_insert_with(|| Box::new(Deferral::new(base, priority, address)));
    });
    0
}
