//! `struct event_base`: a lock, and what it guards.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_short, timeval};

use super::bufferevent::Askers;
use super::config::{Limit, env, event_config, features_of};
use super::count::Counts;
use super::layout::{ev, event};
use super::lock::{Condition, Lock};
use super::once::Once;
use super::{debug, free, log, thread};
use crate::bufferevent;
use crate::error::{Error, Result};
use crate::features::Features;
use crate::listener;
use crate::reactor::{CommonTimeout, Reactor, SlotId, open_backend};

/// A base, as C holds it: a pointer to this.
pub(super) struct event_base {
    lock: Lock,
    /// Notified when a callback has returned that another thread waits for.
    returned: Condition,
    core: UnsafeCell<Core>,
    /// Whether a core is entered, so that a debug build finds out who enters twice.
    #[cfg(debug_assertions)]
    entered: std::cell::Cell<bool>,
}

/// What a base owns. C's objects refer to what is in here by ids.
pub(super) struct Core {
    pub(super) reactor: Reactor,
    pub(super) bufferevents: bufferevent::Engine,
    pub(super) listeners: listener::Engine,
    pub(super) control: Control,
    pub(super) counts: Counts,
    /// The records of `event_base_once` that have not been called.
    pub(super) once: Vec<*mut Once>,
    /// Boxed, because C keeps pointers to them.
    #[expect(clippy::vec_box, reason = "C keeps pointers to them")]
    pub(super) common: Vec<Box<Common>>,
    pub(super) table: super::bufferevent::Table,
    /// Who waits for the addresses of a host.
    pub(super) askers: Askers,
    pub(super) listener_table: super::listener::Table,
    method: &'static CStr,
    /// What of an event's `events` its callback is told beside what has happened: `EV_ET`, if the backend honours it.
    pub(super) edge: c_short,
}

/// A timeout that many events share: what C hands us for it, and what the reactor knows it by.
pub(super) struct Common {
    pub(super) marked: timeval,
    pub(super) timeout: CommonTimeout,
}

/// What the loop has been told, and what it is doing.
pub(super) struct Control {
    pub(super) running: bool,
    pub(super) exit: bool,
    pub(super) breaking: bool,
    /// Whether the turn's remaining calls are to wait.
    pub(super) continuing: bool,
    pub(super) limit: Limit,
    /// The thread that ran the loop last, if threads have names.
    thread: Option<c_ulong>,
    /// Whether other threads can wake the loop.
    pub(super) notifiable: bool,
    /// The event whose callback is running; null for none.
    pub(super) current: *mut event,
    /// The slot of the event whose callback is running, if the event neither waits nor is active: it may be added again.
    pub(super) kept: Option<SlotId>,
    /// How often the callback of the signal that is running is still to be called.
    pub(super) calls_left: u32,
    /// How many callbacks have been called, so that one can be told from its next run.
    pub(super) calls: u64,
    /// How many threads wait for the callback to return.
    pub(super) waiting: u32,
    /// The wall clock's time at an instant of the loop's clock, when somebody asked for it last.
    pub(super) wall: Option<(u64, timeval)>,
}

impl Control {
    fn new(limit: Limit, notifiable: bool) -> Control {
        Control {
            running: false,
            exit: false,
            breaking: false,
            continuing: false,
            limit,
            thread: None,
            notifiable,
            current: ptr::null_mut(),
            kept: None,
            calls_left: 0,
            calls: 0,
            waiting: 0,
            wall: None,
        }
    }

    /// The loop begins, on this thread.
    pub(super) fn begin(&mut self) {
        self.running = true;
        (self.exit, self.breaking, self.continuing) = (false, false, false);
        self.thread = thread::id();
    }

    /// Whether the calls of this turn that are left are to wait.
    pub(super) fn is_stopping(&self) -> bool {
        self.breaking || self.continuing
    }

    /// Whether this is the loop's thread, or there is only one.
    pub(super) fn is_own_thread(&self) -> bool {
        self.thread.is_none() || self.thread == thread::id()
    }
}

/// The core, while this thread has it: no code of C's runs meanwhile (K1).
pub(super) struct Entered<'a> {
    base: &'a event_base,
    core: &'a mut Core,
}

impl event_base {
    fn new(config: &event_config) -> Result<event_base> {
        let backend = open_backend(&config.methods(), Features::empty())?;
        let method = config.name_of(backend.method());
        let mut reactor = Reactor::new(backend, 0, 1)?;
        reactor.set_caches_time(config.caches_time());
        let edge = if reactor.edge_triggered() { ev::ET } else { 0 };
        let lock = if config.is_locked() { Lock::new() } else { Lock::none() };
        let core = Core {
            reactor,
            bufferevents: bufferevent::Engine::with_capacity(0),
            listeners: listener::Engine::new(),
            control: Control::new(config.limit(), lock.exists()),
            counts: Counts::default(),
            once: Vec::new(),
            common: Vec::new(),
            table: super::bufferevent::Table::default(),
            askers: Askers::new(),
            listener_table: super::listener::Table::default(),
            method,
            edge,
        };
        Ok(event_base {
            returned: Condition::of(&lock),
            lock,
            core: UnsafeCell::new(core),
            #[cfg(debug_assertions)]
            entered: std::cell::Cell::new(false),
        })
    }

    /// The lock of the base, which is that of its bufferevents too.
    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// What is notified when a callback has returned.
    pub(super) fn returned(&self) -> &Condition {
        &self.returned
    }

    /// Takes the lock and the core.
    ///
    /// # Safety
    ///
    /// - This thread has not entered already (K1).
    #[inline]
    pub(super) unsafe fn enter(&self) -> Entered<'_> {
        self.lock.acquire();
        #[cfg(debug_assertions)]
        assert!(!self.entered.replace(true), "a core is entered twice (K1)");
        // SAFETY: the lock, or C4, keeps other threads out, and the caller this one.
        let core = unsafe { &mut *self.core.get() };
        Entered { base: self, core }
    }
}

impl Core {
    /// Lets the loop know of a change that another thread has made. -1 if it cannot be reached.
    pub(super) fn notify(&self) -> c_int {
        if !self.control.running || self.control.is_own_thread() {
            return 0;
        }
        if self.control.notifiable && self.reactor.notifier().wake().is_ok() { 0 } else { -1 }
    }
}

impl Deref for Entered<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        self.core
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        self.core
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.base.entered.set(false);
        self.base.lock.release();
    }
}

/// The base that functions mean which take none.
static CURRENT: AtomicPtr<event_base> = AtomicPtr::new(ptr::null_mut());

/// The base that `event_init` made last, or null.
pub(super) fn current_base() -> *mut event_base {
    // Relaxed: C4; the old functions are for programs of one thread.
    CURRENT.load(Ordering::Relaxed)
}

/// Makes `base` the one that is meant where none is named.
pub(super) fn set_current_base(base: *mut event_base) {
    CURRENT.store(base, Ordering::Relaxed);
}

/// The core of a base, entered; `None` for a null pointer.
///
/// # Safety
///
/// - C1, and as [`event_base::enter`].
pub(super) unsafe fn enter<'a>(base: *const event_base) -> Option<Entered<'a>> {
    // SAFETY: the caller's promise.
    let base = unsafe { base.as_ref() }?;
    // SAFETY: the caller's promise.
    Some(unsafe { base.enter() })
}

#[unsafe(no_mangle)]
pub(super) extern "C-unwind" fn event_base_new() -> *mut event_base {
    make(&event_config::default())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_new_with_config(config: *const event_config) -> *mut event_base {
    // SAFETY: C1.
    match unsafe { config.as_ref() } {
        Some(config) => make(config),
        None => event_base_new(),
    }
}

fn make(config: &event_config) -> *mut event_base {
    log::listen();
    debug::note_made();
    match event_base::new(config) {
        Ok(base) => {
            let base = Box::into_raw(Box::new(base));
            free::note_made(base);
            if env("EVENT_SHOW_METHOD") {
                // SAFETY: it was made a moment ago, and nobody else knows it yet.
                let method = unsafe { enter(base) }.map_or(c"", |core| core.method);
                log::msg(format_args!("libevent using: {}", method.to_string_lossy()));
            }
            base
        }
        Err(Error::NoBackend(_)) => {
            log::warn(format_args!("event_base_new_with_config: no event mechanism available"));
            ptr::null_mut()
        }
        Err(error) => {
            log::warn(format_args!("event_base_new_with_config: {error}"));
            ptr::null_mut()
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_get_method(base: *const event_base) -> *const c_char {
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    unsafe { enter(base) }.map_or(ptr::null(), |core| core.method.as_ptr())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_get_features(base: *const event_base) -> c_int {
    // SAFETY: as in `event_base_get_method`.
    unsafe { enter(base) }.map_or(0, |core| c_int::from(features_of(core.reactor.method()).bits()))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn event_base_priority_init(
    base: *mut event_base,
    priorities: c_int,
) -> c_int {
    // SAFETY: as in `event_base_get_method`.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    let wanted = u8::try_from(priorities).unwrap_or(0);
    // An event that waits for nothing has no priority that would have to go on existing.
    core.drop_kept();
    if core.reactor.set_priorities(wanted).is_ok() { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_get_npriorities(base: *mut event_base) -> c_int {
    let base = if base.is_null() { current_base() } else { base };
    // SAFETY: as in `event_base_get_method`.
    unsafe { enter(base) }.map_or(-1, |core| core.reactor.priorities() as c_int)
}

/// The child of a fork shares nothing with its parent from here on; what waits goes on waiting.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_reinit(base: *mut event_base) -> c_int {
    // SAFETY: as in `event_base_get_method`.
    let Some(mut core) = (unsafe { enter(base) }) else { return -1 };
    super::bufferevent::forget_threads(&mut core);
    match core.reactor.renew() {
        Ok(()) => 0,
        Err(error) => {
            drop(core);
            log::fail(1, format_args!("event_reinit: the child has no backend of its own: {error}"));
            -1
        }
    }
}
