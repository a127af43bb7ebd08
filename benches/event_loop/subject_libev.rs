//! The rows' loop, by libev, loaded at run time.
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::ffi::{c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

use super::engine::{Engine, Job, State};
use crate::foreign::library;

type Callback = unsafe extern "C" fn(*mut c_void, *mut Watcher, c_int);

// The types are those of ev.h of version 4.
library! {
    // Its name in every Linux distribution that has this version.
    "libev.so.4";
    ev_loop_new: (c_uint) -> *mut c_void;
    ev_loop_destroy: (*mut c_void);
    ev_run: (*mut c_void, c_int) -> c_int;
    ev_timer_start: (*mut c_void, *mut Timer);
    ev_timer_again: (*mut c_void, *mut Timer);
    ev_timer_stop: (*mut c_void, *mut Timer);
    ev_io_start: (*mut c_void, *mut Io);
    ev_io_stop: (*mut c_void, *mut Io);
    ev_feed_event: (*mut c_void, *mut Watcher, c_int);
    ev_version_major: () -> c_int;
    ev_version_minor: () -> c_int;
}

const EVBACKEND_EPOLL: c_uint = 4;
const EVRUN_NOWAIT: c_int = 1;
const EV_READ: c_int = 1;
const EV_IOFDSET: c_int = 0x80;
const EV_CUSTOM: c_int = 0x0100_0000;

/// The version of the library.
///
/// # Errors
/// Why there is none, in the loader's words.
pub(crate) fn version() -> Result<String, String> {
    let api = loaded().as_ref().map_err(Clone::clone)?;
    // SAFETY: it takes nothing.
    let major = unsafe { (api.ev_version_major)() };
    // SAFETY: it takes nothing.
    let minor = unsafe { (api.ev_version_minor)() };
    Ok(format!("{major}.{minor}"))
}

/// `struct ev_watcher`, with what Debian's build puts into it.
#[repr(C)]
struct Watcher {
    active: c_int,
    pending: c_int,
    priority: c_int,
    data: *mut c_void,
    callback: Callback,
}

/// `struct ev_timer`.
#[repr(C)]
struct Timer {
    watcher: Watcher,
    at: f64,
    repeat: f64,
}

/// `struct ev_io`.
#[repr(C)]
struct Io {
    watcher: Watcher,
    next: *mut c_void,
    fd: c_int,
    events: c_int,
}

impl Watcher {
    fn new(callback: Callback, data: *mut c_void) -> Watcher {
        Watcher { active: 0, pending: 0, priority: 0, data, callback }
    }
}

/// A loop. The callbacks reach it by its address, so what it consists of lies outside it.
///
/// INV-1: the pointer is to a live `Parts` until the owner's drop. Nobody keeps a reference into it over a call of the library.
pub(crate) struct Libev(NonNull<Parts>);

struct Parts {
    raw: *mut c_void,
    state: State<f64>,
    driver: Timer,
    job: Option<Job<Libev>>,
    timers: Box<[Timer]>,
    fds: Box<[Io]>,
    seats: Box<[Seat]>,
}

/// Which descriptor of which loop a callback is for.
struct Seat {
    engine: NonNull<Parts>,
    index: usize,
}

impl Libev {
    fn parts(&mut self) -> &mut Parts {
        // SAFETY: INV-1, and `&mut self` lends it out once at a time.
        unsafe { self.0.as_mut() }
    }
}

/// # Safety
/// `watcher` belongs to a live loop and has its `Parts` for data.
unsafe extern "C" fn on_driver(_: *mut c_void, watcher: *mut Watcher, _: c_int) {
    // SAFETY: see above.
    let data = unsafe { &*watcher }.data;
    // The owner is another, so this one is not dropped.
    let mut engine = ManuallyDrop::new(Libev(NonNull::new(data.cast()).expect("it was given")));
    if let Some(job) = engine.parts().job.take() {
        job(&mut engine);
    }
}

/// # Safety
/// As [`on_driver`].
unsafe extern "C" fn on_timer(_: *mut c_void, watcher: *mut Watcher, _: c_int) {
    // SAFETY: see above.
    let data = unsafe { &*watcher }.data;
    // SAFETY: see above, and INV-1.
    let parts = unsafe { &mut *data.cast::<Parts>() };
    parts.state.fired += 1;
}

/// # Safety
/// `watcher` belongs to a live loop and has one of its seats for data.
unsafe extern "C" fn on_readable(_: *mut c_void, watcher: *mut Watcher, _: c_int) {
    // SAFETY: see above.
    let data = unsafe { &*watcher }.data;
    // SAFETY: see above.
    let Seat { mut engine, index } = *unsafe { &*data.cast::<Seat>() };
    // SAFETY: INV-1.
    unsafe { engine.as_mut() }.state.on_readable(index);
}

impl Engine for Libev {
    type Span = f64;

    fn new() -> Self {
        // SAFETY: it takes a number.
        let raw = unsafe { (api().ev_loop_new)(EVBACKEND_EPOLL) };
        assert!(!raw.is_null(), "descriptors for a loop");
        let parts = Parts {
            raw,
            state: State::new(),
            driver: Timer { watcher: Watcher::new(on_driver, ptr::null_mut()), at: 0.0, repeat: 0.0 },
            job: None,
            timers: Box::new([]),
            fds: Box::new([]),
            seats: Box::new([]),
        };
        let mut engine = Libev(NonNull::from(Box::leak(Box::new(parts))));
        engine.parts().driver.watcher.data = engine.0.as_ptr().cast();
        engine
    }

    fn span(us: u64) -> f64 {
        us as f64 / 1e6
    }

    fn make_common(&mut self, _: u64) -> bool {
        false
    }

    fn state(&mut self) -> &mut State<f64> {
        &mut self.parts().state
    }

    fn make_timers(&mut self, count: usize) {
        let data = self.0.as_ptr().cast();
        let timer = |_| Timer { watcher: Watcher::new(on_timer, data), at: 0.0, repeat: 0.0 };
        self.parts().timers = (0..count).map(timer).collect();
    }

    fn add_timer(&mut self, index: usize, after: f64) {
        let raw = self.parts().raw;
        let timer = &mut self.parts().timers[index];
        (timer.at, timer.repeat) = (after, 0.0);
        // SAFETY: the loop is live, and the timer stays where it is.
        unsafe { (api().ev_timer_start)(raw, timer) };
    }

    fn rearm_timer(&mut self, index: usize, after: f64) {
        let raw = self.parts().raw;
        let timer = &mut self.parts().timers[index];
        timer.repeat = after;
        // SAFETY: the loop is live, and the timer stays where it is.
        unsafe { (api().ev_timer_again)(raw, timer) };
    }

    fn rearm_common(&mut self, _: usize) {
        unreachable!("it makes nothing of a common timeout");
    }

    fn del_timer(&mut self, index: usize) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live, and the timer stays where it is.
        unsafe { (api().ev_timer_stop)(raw, &mut self.parts().timers[index]) };
    }

    fn activate(&mut self, index: usize) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live, and the watcher stays where it is.
        unsafe { (api().ev_feed_event)(raw, &mut self.parts().timers[index].watcher, EV_CUSTOM) };
    }

    fn watch(&mut self, fds: &[RawFd]) {
        let engine = self.0;
        self.parts().seats = (0..fds.len()).map(|index| Seat { engine, index }).collect();
        let seats = self.parts().seats.as_mut_ptr();
        let io = |(index, fd): (usize, &RawFd)| {
            let data = seats.wrapping_add(index).cast();
            let watcher = Watcher::new(on_readable, data);
            Io { watcher, next: ptr::null_mut(), fd: *fd, events: EV_READ | EV_IOFDSET }
        };
        self.parts().fds = fds.iter().enumerate().map(io).collect();
        (0..fds.len()).for_each(|index| self.add_fd(index));
    }

    fn add_fd(&mut self, index: usize) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live, and the watcher stays where it is.
        unsafe { (api().ev_io_start)(raw, &mut self.parts().fds[index]) };
    }

    fn del_fd(&mut self, index: usize) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live, and the watcher stays where it is.
        unsafe { (api().ev_io_stop)(raw, &mut self.parts().fds[index]) };
    }

    fn inside(&mut self, job: Job<Self>) {
        self.parts().job = Some(job);
        let raw = self.parts().raw;
        // What is fed is called before the turn looks at the clock, so it is a timer that is due.
        self.parts().driver.at = 0.0;
        // SAFETY: the loop is live, and the timer stays where it is.
        unsafe { (api().ev_timer_start)(raw, &mut self.parts().driver) };
        while self.parts().job.is_some() {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live, and nothing of it is borrowed.
        unsafe { (api().ev_run)(raw, EVRUN_NOWAIT) };
    }
}

impl Drop for Libev {
    fn drop(&mut self) {
        let raw = self.parts().raw;
        // SAFETY: the loop is live and nobody uses it afterwards.
        unsafe { (api().ev_loop_destroy)(raw) };
        // SAFETY: it came from a box, and the owner is the only one that drops it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
