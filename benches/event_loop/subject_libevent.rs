//! The rows' loop, by C libevent, loaded at run time. Its events lie in arrays, as those of a C program that embeds
//! them do.
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::ffi::{CStr, c_char, c_int, c_short, c_void};
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

use libc::{size_t, timeval};

use super::engine::{Engine, Job, State};
use crate::foreign::library;

type Callback = unsafe extern "C" fn(c_int, c_short, *mut c_void);

// The types are those of event2/event.h of this version.
library! {
    // Its name in every Linux distribution that has this version.
    "libevent-2.1.so.7";
    event_get_version: () -> *const c_char;
    event_base_new: () -> *mut c_void;
    event_base_free: (*mut c_void);
    event_base_loop: (*mut c_void, c_int) -> c_int;
    event_base_init_common_timeout: (*mut c_void, *const timeval) -> *const timeval;
    event_get_struct_event_size: () -> size_t;
    event_assign: (*mut Event, *mut c_void, c_int, c_short, Callback, *mut c_void) -> c_int;
    event_add: (*mut Event, *const timeval) -> c_int;
    event_del: (*mut Event) -> c_int;
    event_active: (*mut Event, c_int, c_short);
}

const EVLOOP_ONCE: c_int = 1;
const EVLOOP_NONBLOCK: c_int = 2;
const EV_TIMEOUT: c_short = 1;
const EV_READ: c_short = 2;
const EV_PERSIST: c_short = 16;

/// The version of the library.
///
/// # Errors
/// Why there is none, in the loader's words.
pub(crate) fn version() -> Result<String, String> {
    let api = loaded().as_ref().map_err(Clone::clone)?;
    // SAFETY: it takes nothing and gives a constant string.
    let name = unsafe { (api.event_get_version)() };
    // SAFETY: the string ends in a NUL and lives as long as the library, which is never unloaded.
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Room for a `struct event`, of which only the size is known.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Event([u8; 128]);

const EMPTY: Event = Event([0; 128]);

/// A loop. The callbacks reach it by its address, so what it consists of lies outside it.
///
/// INV-1: the pointer is to a live `Parts` until the owner's drop. Nobody keeps a reference into it over a call of the library.
pub(crate) struct Libevent(NonNull<Parts>);

struct Parts {
    base: *mut c_void,
    state: State<timeval>,
    driver: Event,
    job: Option<Job<Libevent>>,
    common: *const timeval,
    timers: Box<[Event]>,
    fds: Box<[Event]>,
    seats: Box<[Seat]>,
}

/// Which descriptor of which loop a callback is for.
struct Seat {
    engine: NonNull<Parts>,
    index: usize,
}

impl Libevent {
    fn parts(&mut self) -> &mut Parts {
        // SAFETY: INV-1, and `&mut self` lends it out once at a time.
        unsafe { self.0.as_mut() }
    }

    /// Prepares an event that is not pending.
    fn assign(&self, event: *mut Event, fd: RawFd, what: c_short, callback: Callback, argument: *mut c_void) {
        // SAFETY: INV-1.
        let base = unsafe { self.0.as_ref() }.base;
        // SAFETY: `event` is room for one, which stays where it is, and the base is live.
        let result = unsafe { (api().event_assign)(event, base, fd, what, callback, argument) };
        assert_eq!(result, 0, "the arguments are right");
    }
}

fn add(event: &mut Event, after: *const timeval) {
    // SAFETY: the event has been assigned to a live base, and `after` is null or a time.
    let result = unsafe { (api().event_add)(event, after) };
    assert_eq!(result, 0, "an event can be added");
}

fn del(event: &mut Event) {
    // SAFETY: the event has been assigned to a live base.
    let result = unsafe { (api().event_del)(event) };
    assert_eq!(result, 0, "an event can be deleted");
}

/// # Safety
/// `argument` is the `Parts` of a live loop.
unsafe extern "C" fn on_driver(_: c_int, _: c_short, argument: *mut c_void) {
    // The owner is another, so this one is not dropped.
    let mut engine = ManuallyDrop::new(Libevent(NonNull::new(argument.cast()).expect("it was given")));
    if let Some(job) = engine.parts().job.take() {
        job(&mut engine);
    }
}

/// # Safety
/// As [`on_driver`].
unsafe extern "C" fn on_timer(_: c_int, _: c_short, argument: *mut c_void) {
    // SAFETY: see above, and INV-1.
    let parts = unsafe { &mut *argument.cast::<Parts>() };
    parts.state.fired += 1;
}

/// # Safety
/// `argument` is a `Seat` of a live loop.
unsafe extern "C" fn on_readable(_: c_int, _: c_short, argument: *mut c_void) {
    // SAFETY: see above.
    let Seat { mut engine, index } = *unsafe { &*argument.cast::<Seat>() };
    // SAFETY: INV-1.
    unsafe { engine.as_mut() }.state.on_readable(index);
}

impl Engine for Libevent {
    type Span = timeval;

    fn new() -> Self {
        // SAFETY: it takes nothing.
        let size = unsafe { (api().event_get_struct_event_size)() };
        assert!(size <= size_of::<Event>(), "there is room for a struct event");
        // SAFETY: it takes nothing.
        let base = unsafe { (api().event_base_new)() };
        assert!(!base.is_null(), "descriptors for a base");
        let parts = Parts {
            base,
            state: State::new(),
            driver: EMPTY,
            job: None,
            common: ptr::null(),
            timers: Box::new([]),
            fds: Box::new([]),
            seats: Box::new([]),
        };
        let mut engine = Libevent(NonNull::from(Box::leak(Box::new(parts))));
        let driver = &raw mut engine.parts().driver;
        engine.assign(driver, -1, 0, on_driver, engine.0.as_ptr().cast());
        engine
    }

    fn span(us: u64) -> timeval {
        timeval { tv_sec: (us / 1_000_000) as i64, tv_usec: (us % 1_000_000) as i64 }
    }

    fn make_common(&mut self, us: u64) -> bool {
        let span = Self::span(us);
        // SAFETY: the base is live, and the time can be read.
        self.parts().common = unsafe { (api().event_base_init_common_timeout)(self.parts().base, &span) };
        !self.parts().common.is_null()
    }

    fn state(&mut self) -> &mut State<timeval> {
        &mut self.parts().state
    }

    fn make_timers(&mut self, count: usize) {
        self.parts().timers = vec![EMPTY; count].into_boxed_slice();
        for index in 0..count {
            let event = &raw mut self.parts().timers[index];
            self.assign(event, -1, 0, on_timer, self.0.as_ptr().cast());
        }
    }

    fn add_timer(&mut self, index: usize, after: timeval) {
        add(&mut self.parts().timers[index], &after);
    }

    fn rearm_timer(&mut self, index: usize, after: timeval) {
        self.add_timer(index, after);
    }

    fn rearm_common(&mut self, index: usize) {
        // What the library gave lives as long as the base.
        let common = self.parts().common;
        add(&mut self.parts().timers[index], common);
    }

    fn del_timer(&mut self, index: usize) {
        del(&mut self.parts().timers[index]);
    }

    fn activate(&mut self, index: usize) {
        // SAFETY: the event has been assigned to a live base.
        unsafe { (api().event_active)(&mut self.parts().timers[index], c_int::from(EV_TIMEOUT), 0) };
    }

    fn watch(&mut self, fds: &[RawFd]) {
        let engine = self.0;
        self.parts().fds = vec![EMPTY; fds.len()].into_boxed_slice();
        self.parts().seats = (0..fds.len()).map(|index| Seat { engine, index }).collect();
        for (index, fd) in fds.iter().enumerate() {
            let (event, seat) = (&raw mut self.parts().fds[index], &raw mut self.parts().seats[index]);
            self.assign(event, *fd, EV_READ | EV_PERSIST, on_readable, seat.cast());
            self.add_fd(index);
        }
    }

    fn add_fd(&mut self, index: usize) {
        add(&mut self.parts().fds[index], ptr::null());
    }

    fn del_fd(&mut self, index: usize) {
        del(&mut self.parts().fds[index]);
    }

    fn inside(&mut self, job: Job<Self>) {
        self.parts().job = Some(job);
        // SAFETY: the event has been assigned to a live base.
        unsafe { (api().event_active)(&mut self.parts().driver, c_int::from(EV_TIMEOUT), 0) };
        self.turn();
    }

    fn turn(&mut self) {
        let base = self.parts().base;
        // SAFETY: the base is live, and nothing of the loop is borrowed.
        let result = unsafe { (api().event_base_loop)(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) };
        assert!(result >= 0, "waiting works");
    }
}

impl Drop for Libevent {
    fn drop(&mut self) {
        // SAFETY: the base is live and nobody uses it afterwards; it lets go of its events.
        unsafe { (api().event_base_free)(self.parts().base) };
        // SAFETY: it came from a box, and the owner is the only one that drops it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
