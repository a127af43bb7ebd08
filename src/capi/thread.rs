//! `event2/thread.h`: whether objects get locks, and whose.

use std::ffi::{c_int, c_ulong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::base::event_base;
use super::layout::{evthread_condition_callbacks, evthread_lock_callbacks};
use super::{debug, log};

/// Says which thread it is called on.
type IdCallback = unsafe extern "C" fn() -> c_ulong;

/// Where the locks of objects made from now on come from.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    None,
    Pthreads,
    Program(evthread_lock_callbacks),
}

/// Where the conditions of bases made from now on come from.
#[derive(Clone, Copy)]
pub(super) enum Conditions {
    None,
    Pthreads,
    Program(evthread_condition_callbacks),
}

struct Chosen {
    locks: Choice,
    conditions: Conditions,
}

static CHOSEN: Mutex<Chosen> = Mutex::new(Chosen { locks: Choice::None, conditions: Conditions::None });
static ID: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static CHECKS_LOCKS: AtomicBool = AtomicBool::new(false);
/// Whether locks have ever been chosen.
static HAS_LOCKS: AtomicBool = AtomicBool::new(false);

/// What the program has chosen by now.
pub(super) fn choice() -> Choice {
    chosen().locks
}

pub(super) fn conditions() -> Conditions {
    chosen().conditions
}

/// Whether any object may have a lock.
#[inline]
pub(super) fn has_locks() -> bool {
    HAS_LOCKS.load(Ordering::Relaxed)
}

/// Whether locks made from now on check how they are used.
pub(super) fn checks_locks() -> bool {
    // Relaxed, here and below: set before there are threads, as the header demands.
    CHECKS_LOCKS.load(Ordering::Relaxed)
}

/// Which thread this is, if the program has said how to find out.
#[inline]
pub(super) fn id() -> Option<c_ulong> {
    let chosen = ID.load(Ordering::Relaxed);
    if chosen.is_null() {
        return None;
    }
    // SAFETY: only `evthread_set_id_callback` stores here, and it stores an `IdCallback`.
    let chosen = unsafe { std::mem::transmute::<*mut c_void, IdCallback>(chosen) };
    // SAFETY: C3.
    Some(unsafe { chosen() })
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evthread_use_pthreads() -> c_int {
    debug::check_threads_come_first();
    let mut chosen = chosen();
    // As with other functions that come second, the first ones stay.
    if let Choice::None = chosen.locks {
        chosen.locks = Choice::Pthreads;
        HAS_LOCKS.store(true, Ordering::Relaxed);
    }
    if let Conditions::None = chosen.conditions {
        chosen.conditions = Conditions::Pthreads;
    }
    ID.store(pthread_id as *mut c_void, Ordering::Relaxed);
    0
}

extern "C" fn pthread_id() -> c_ulong {
    // SAFETY: it takes nothing.
    unsafe { libc::pthread_self() }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evthread_set_id_callback(callback: Option<IdCallback>) {
    ID.store(callback.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evthread_set_lock_callbacks(functions: *const evthread_lock_callbacks) -> c_int {
    debug::check_threads_come_first();
    // SAFETY: C2.
    let functions = unsafe { functions.as_ref() };
    let before = choice();
    match (functions, before) {
        (None, Choice::None) => 0,
        (None, _) => {
            log::warn(format_args!("locks are turned off although objects may have some"));
            chosen().locks = Choice::None;
            0
        }
        (Some(functions), Choice::None) if functions.are_complete() => {
            chosen().locks = Choice::Program(*functions);
            HAS_LOCKS.store(true, Ordering::Relaxed);
            0
        }
        (Some(functions), Choice::Program(before)) if functions.are(&before) => 0,
        (Some(_), Choice::None) => -1,
        (Some(_), _) => refuse("lock"),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evthread_set_condition_callbacks(
    functions: *const evthread_condition_callbacks,
) -> c_int {
    debug::check_threads_come_first();
    // SAFETY: C2.
    let functions = unsafe { functions.as_ref() };
    let before = conditions();
    match (functions, before) {
        (None, _) => chosen().conditions = Conditions::None,
        // An incomplete set is no error, and changes nothing.
        (Some(functions), Conditions::None) if !functions.are_complete() => {}
        (Some(functions), Conditions::None) => chosen().conditions = Conditions::Program(*functions),
        (Some(functions), Conditions::Program(before)) if functions.are(&before) => {}
        (Some(_), _) => return refuse("condition"),
    }
    0
}

fn refuse(kind: &str) -> c_int {
    log::warn(format_args!("the {kind} functions cannot be changed once they have been set"));
    -1
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evthread_enable_lock_debugging() {
    CHECKS_LOCKS.store(true, Ordering::Relaxed);
}

/// The name that it had by mistake.
#[unsafe(no_mangle)]
extern "C-unwind" fn evthread_enable_lock_debuging() {
    evthread_enable_lock_debugging();
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evthread_make_base_notifiable(base: *mut event_base) -> c_int {
    // SAFETY: C1.
    let Some(base) = (unsafe { base.as_ref() }) else { return -1 };
    // SAFETY: no code of C's runs while a core is entered, so this thread has not entered.
    let mut core = unsafe { base.enter() };
    core.control.notifiable = true;
    0
}

fn chosen() -> MutexGuard<'static, Chosen> {
    // Nothing that can panic is done under the lock.
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl evthread_lock_callbacks {
    fn are_complete(&self) -> bool {
        self.alloc.is_some() && self.free.is_some() && self.lock.is_some() && self.unlock.is_some()
    }

    fn are(&self, other: &Self) -> bool {
        let addresses = |functions: &Self| {
            let alloc = functions.alloc.map(|f| f as usize);
            let free = functions.free.map(|f| f as usize);
            (alloc, free, functions.lock.map(|f| f as usize), functions.unlock.map(|f| f as usize))
        };
        self.lock_api_version == other.lock_api_version
            && self.supported_locktypes == other.supported_locktypes
            && addresses(self) == addresses(other)
    }
}

impl evthread_condition_callbacks {
    fn are_complete(&self) -> bool {
        self.alloc_condition.is_some()
            && self.free_condition.is_some()
            && self.signal_condition.is_some()
            && self.wait_condition.is_some()
    }

    fn are(&self, other: &Self) -> bool {
        let addresses = |functions: &Self| {
            let alloc = functions.alloc_condition.map(|f| f as usize);
            let free = functions.free_condition.map(|f| f as usize);
            let signal = functions.signal_condition.map(|f| f as usize);
            (alloc, free, signal, functions.wait_condition.map(|f| f as usize))
        };
        self.condition_api_version == other.condition_api_version && addresses(self) == addresses(other)
    }
}
