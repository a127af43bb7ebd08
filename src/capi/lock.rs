//! Locks, if the program wants any: recursive, and made by its own functions if it has set some.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_uint, c_ulong, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use super::layout::{evthread_condition_callbacks, evthread_lock_callbacks};
use super::log;
use super::thread::{self, Choice, Conditions};

/// `EVTHREAD_LOCKTYPE_RECURSIVE`.
const RECURSIVE: c_uint = 1;

/// A recursive lock, or none: what threads were prepared for when it was made decides.
pub(super) struct Lock {
    /// Whether there is anything to be done. Most objects have no lock, and this is all that they look at.
    is_something: bool,
    /// The mutex, if taking that is all.
    mutex: *mut libc::pthread_mutex_t,
    kind: Kind,
    /// How it is used, if the program wants that to be checked.
    check: Option<Box<Check>>,
}

enum Kind {
    /// C4 holds.
    None,
    /// A mutex out of a box, because it must not move.
    Pthread(*mut libc::pthread_mutex_t),
    /// What the program's own functions made.
    Program(*mut c_void, evthread_lock_callbacks),
    /// A mutex of somebody else's, that is not freed with this.
    LentPthread(*mut libc::pthread_mutex_t),
    /// The same of the program's functions.
    LentProgram(*mut c_void, evthread_lock_callbacks),
}

/// Guarded by the lock that it checks.
#[derive(Default)]
struct Check {
    depth: Cell<u32>,
    holder: Cell<Option<c_ulong>>,
}

/// The lock is held for as long as this lives.
pub(super) struct Held<'a>(&'a Lock);

impl Lock {
    /// A lock, if the program has asked for locks by now.
    pub(super) fn new() -> Lock {
        let kind = match thread::choice() {
            Choice::None => Kind::None,
            Choice::Pthreads => Kind::Pthread(recursive_mutex()),
            Choice::Program(functions) => made_by(functions),
        };
        Lock::of(kind, thread::checks_locks().then(Box::default))
    }

    fn of(kind: Kind, check: Option<Box<Check>>) -> Lock {
        let is_something = !matches!(kind, Kind::None) || check.is_some();
        let mutex = match &kind {
            Kind::Pthread(mutex) | Kind::LentPthread(mutex) if check.is_none() => *mutex,
            _ => ptr::null_mut(),
        };
        Lock { is_something, mutex, kind, check }
    }

    /// No lock at all.
    pub(super) const fn none() -> Lock {
        Lock { is_something: false, mutex: ptr::null_mut(), kind: Kind::None, check: None }
    }

    /// A lock of the program's, made by the functions that it has set, or libevent's, which are of pthreads. It is not freed with this.
    pub(super) fn lent(made: *mut c_void) -> Lock {
        let kind = match thread::choice() {
            Choice::None => Kind::None,
            Choice::Pthreads => Kind::LentPthread(made.cast()),
            Choice::Program(functions) => Kind::LentProgram(made, functions),
        };
        Lock::of(kind, None)
    }

    /// The same lock once more, for another object; it must outlive that.
    pub(super) fn lend(&self) -> Lock {
        let kind = match &self.kind {
            Kind::None => Kind::None,
            Kind::Pthread(mutex) | Kind::LentPthread(mutex) => Kind::LentPthread(*mutex),
            Kind::Program(made, functions) | Kind::LentProgram(made, functions) => {
                Kind::LentProgram(*made, *functions)
            }
        };
        Lock::of(kind, None)
    }

    /// Locks that are taken together are taken by rising order; two that are one have the same.
    pub(super) fn order(&self) -> usize {
        match &self.kind {
            Kind::None => 0,
            Kind::Pthread(mutex) | Kind::LentPthread(mutex) => mutex.addr(),
            Kind::Program(made, _) | Kind::LentProgram(made, _) => made.addr(),
        }
    }

    /// Whether there is a lock.
    pub(super) fn exists(&self) -> bool {
        !matches!(self.kind, Kind::None)
    }

    /// Takes the lock, which this thread may hold already, until what is returned is dropped.
    #[inline]
    pub(super) fn hold(&self) -> Held<'_> {
        self.acquire();
        Held(self)
    }

    /// Takes the lock; [`release`](Self::release) must follow.
    #[inline(always)]
    pub(super) fn acquire(&self) {
        if !self.is_something {
            return;
        }
        if self.mutex.is_null() {
            return self.acquire_some();
        }
        // SAFETY: it is the mutex of `kind`.
        unsafe { libc::pthread_mutex_lock(self.mutex) };
    }

    /// Most objects have no lock, and then so much is part of the caller.
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        !self.is_something
    }

    #[inline(never)]
    fn acquire_some(&self) {
        match &self.kind {
            Kind::None => {}
            Kind::Pthread(mutex) | Kind::LentPthread(mutex) => {
                // SAFETY: it was initialised when it was made, and lives as long as this: what is lent does by C1.
                unsafe { libc::pthread_mutex_lock(*mutex) };
            }
            Kind::Program(made, functions) | Kind::LentProgram(made, functions) => {
                if let Some(lock) = functions.lock {
                    // SAFETY: C3; the lock was made by the same program's `alloc`.
                    unsafe { lock(0, *made) };
                }
            }
        }
        if let Some(check) = &self.check {
            check.acquired();
        }
    }

    /// Gives the lock back once.
    #[inline(always)]
    pub(super) fn release(&self) {
        if !self.is_something {
            return;
        }
        if self.mutex.is_null() {
            return self.release_some();
        }
        // SAFETY: it is the mutex of `kind`, and this thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.mutex) };
    }

    #[inline(never)]
    fn release_some(&self) {
        if let Some(check) = &self.check {
            check.releasing();
        }
        match &self.kind {
            Kind::None => {}
            Kind::Pthread(mutex) | Kind::LentPthread(mutex) => {
                // SAFETY: as in `acquire`; this thread holds it.
                unsafe { libc::pthread_mutex_unlock(*mutex) };
            }
            Kind::Program(made, functions) | Kind::LentProgram(made, functions) => {
                if let Some(unlock) = functions.unlock {
                    // SAFETY: C3; this thread holds it.
                    unsafe { unlock(0, *made) };
                }
            }
        }
    }
}

impl Check {
    fn acquired(&self) {
        let me = thread::id();
        if self.depth.get() > 0 && self.holder.get() != me {
            log::broken(format_args!("a lock is taken that another thread holds"));
        }
        self.depth.set(self.depth.get() + 1);
        self.holder.set(me);
    }

    fn releasing(&self) {
        if self.depth.get() == 0 || self.holder.get() != thread::id() {
            log::broken(format_args!("a lock is given back that this thread does not hold"));
        }
        self.depth.set(self.depth.get() - 1);
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        match &self.kind {
            Kind::None | Kind::LentPthread(_) | Kind::LentProgram(..) => {}
            Kind::Pthread(mutex) => {
                // SAFETY: nobody holds it: its object is being freed, which C1 allows once nobody uses it.
                unsafe { libc::pthread_mutex_destroy(*mutex) };
                // SAFETY: `recursive_mutex` took it out of a box, and it is put back once.
                drop(unsafe { Box::from_raw(*mutex) });
            }
            Kind::Program(made, functions) => {
                if let Some(free) = functions.free {
                    // SAFETY: C3; made by the same program's `alloc`, and freed once.
                    unsafe { free(*made, RECURSIVE) };
                }
            }
        }
    }
}

fn made_by(functions: evthread_lock_callbacks) -> Kind {
    let made = functions.alloc.map_or(ptr::null_mut(), |alloc| {
        // SAFETY: C3.
        unsafe { alloc(RECURSIVE) }
    });
    if made.is_null() { Kind::None } else { Kind::Program(made, functions) }
}

fn recursive_mutex() -> *mut libc::pthread_mutex_t {
    let mutex = Box::into_raw(Box::new(libc::PTHREAD_MUTEX_INITIALIZER));
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the attributes are ours, to be initialised.
    unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
    // SAFETY: they were initialised a line above.
    unsafe { libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_RECURSIVE) };
    // SAFETY: the mutex is where it stays, and nobody has locked it.
    unsafe { libc::pthread_mutex_init(mutex, attributes.as_ptr()) };
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_mutexattr_destroy(attributes.as_mut_ptr()) };
    mutex
}

/// What threads wait for while they hold a lock; without functions for it, nobody waits.
pub(super) enum Condition {
    None,
    Pthread(Box<UnsafeCell<libc::pthread_cond_t>>),
    Program(*mut c_void, evthread_condition_callbacks),
}

impl Condition {
    /// One that goes with `lock`.
    pub(super) fn of(lock: &Lock) -> Condition {
        match (&lock.kind, thread::conditions()) {
            (Kind::Pthread(_), _) => {
                Condition::Pthread(Box::new(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER)))
            }
            (Kind::Program(..), Conditions::Program(functions)) => {
                let made = functions.alloc_condition.map_or(ptr::null_mut(), |alloc| {
                    // SAFETY: C3.
                    unsafe { alloc(0) }
                });
                if made.is_null() { Condition::None } else { Condition::Program(made, functions) }
            }
            _ => Condition::None,
        }
    }

    /// Whether anybody can wait for it.
    pub(super) fn exists(&self) -> bool {
        !matches!(self, Condition::None)
    }

    /// Waits until it is notified, or for no reason. The caller holds the lock that it goes with, once, and holds it again when this
    /// returns.
    pub(super) fn wait(&self, lock: &Lock) {
        if let Some(check) = &lock.check {
            check.releasing();
        }
        match (self, &lock.kind) {
            (Condition::Pthread(condition), Kind::Pthread(mutex)) => {
                // SAFETY: both were initialised when they were made; the caller holds the mutex.
                unsafe { libc::pthread_cond_wait(condition.get(), *mutex) };
            }
            (Condition::Program(made, functions), Kind::Program(lock, _)) => {
                if let Some(wait) = functions.wait_condition {
                    // SAFETY: C3; both were made by the same program's functions.
                    unsafe { wait(*made, *lock, ptr::null()) };
                }
            }
            _ => {}
        }
        if let Some(check) = &lock.check {
            check.acquired();
        }
    }

    /// Ends the waits of all that wait.
    pub(super) fn notify_all(&self) {
        match self {
            Condition::None => {}
            Condition::Pthread(condition) => {
                // SAFETY: initialised when it was made.
                unsafe { libc::pthread_cond_broadcast(condition.get()) };
            }
            Condition::Program(made, functions) => {
                if let Some(signal) = functions.signal_condition {
                    // SAFETY: C3; made by the same program's functions.
                    unsafe { signal(*made, 1) };
                }
            }
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        match self {
            Condition::None => {}
            Condition::Pthread(condition) => {
                // SAFETY: nobody waits: its base is being freed, which C1 allows once nobody uses it.
                unsafe { libc::pthread_cond_destroy(condition.get()) };
            }
            Condition::Program(made, functions) => {
                if let Some(free) = functions.free_condition {
                    // SAFETY: C3; made by the same program's functions, and freed once.
                    unsafe { free(*made) };
                }
            }
        }
    }
}
