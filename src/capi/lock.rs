//! Locks, if the program wants any: recursive, and made by its own functions if it has set some.

use std::cell::UnsafeCell;
use std::ffi::{c_uint, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use super::layout::evthread_lock_callbacks;
use super::thread::{self, Choice};

/// `EVTHREAD_LOCKTYPE_RECURSIVE`.
const RECURSIVE: c_uint = 1;

/// A recursive lock, or none: what threads were prepared for when it was made decides.
pub(super) struct Lock(Kind);

enum Kind {
    /// C4 holds.
    None,
    /// Boxed, because a mutex must not move.
    Pthread(Box<UnsafeCell<libc::pthread_mutex_t>>),
    /// What the program's own functions made.
    Program(*mut c_void),
    /// What the program has made and lends us.
    Lent(*mut c_void),
}

/// The lock is held for as long as this lives.
pub(super) struct Held<'a>(&'a Lock);

impl Lock {
    /// A lock, if the program has asked for locks by now.
    pub(super) fn new() -> Lock {
        match thread::choice() {
            Choice::None => Lock::none(),
            Choice::Pthreads => Lock(Kind::Pthread(recursive_mutex())),
            Choice::Program(functions) => {
                let made = functions.alloc.map_or(ptr::null_mut(), |alloc| {
                    // SAFETY: C3.
                    unsafe { alloc(RECURSIVE) }
                });
                if made.is_null() { Lock::none() } else { Lock(Kind::Program(made)) }
            }
        }
    }

    /// No lock at all.
    pub(super) const fn none() -> Lock {
        Lock(Kind::None)
    }

    /// A lock of the program's, made by the functions that it has set, or a `pthread_mutex_t` if it has set none. It is not freed with
    /// this.
    pub(super) fn lent(made: *mut c_void) -> Lock {
        match thread::choice() {
            Choice::None => Lock::none(),
            Choice::Pthreads | Choice::Program(_) => Lock(Kind::Lent(made)),
        }
    }

    /// Locks that are taken together are taken by rising order; two that are one have the same.
    pub(super) fn order(&self) -> usize {
        match &self.0 {
            Kind::None => 0,
            Kind::Pthread(mutex) => mutex.get().addr(),
            Kind::Program(made) | Kind::Lent(made) => made.addr(),
        }
    }

    /// Whether there is a lock.
    pub(super) fn exists(&self) -> bool {
        !matches!(self.0, Kind::None)
    }

    /// Takes the lock, which this thread may hold already, until what is returned is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        self.acquire();
        Held(self)
    }

    /// The program's functions, which only its own locks are asked about.
    fn functions(&self) -> Option<evthread_lock_callbacks> {
        if let Kind::Program(_) | Kind::Lent(_) = self.0
            && let Choice::Program(functions) = thread::choice()
        {
            return Some(functions);
        }
        None
    }

    /// Takes the lock; [`release`](Self::release) must follow.
    pub(super) fn acquire(&self) {
        match (&self.0, self.functions()) {
            (Kind::None, _) => {}
            (Kind::Pthread(mutex), _) => {
                // SAFETY: the mutex was initialised when it was made, and lives as long as this.
                unsafe { libc::pthread_mutex_lock(mutex.get()) };
            }
            (Kind::Program(made) | Kind::Lent(made), Some(functions)) => {
                if let Some(lock) = functions.lock {
                    // SAFETY: C3; the lock was made by the same program's `alloc`.
                    unsafe { lock(0, *made) };
                }
            }
            (Kind::Lent(made), _) => {
                // SAFETY: C1; without functions of its own the program's locks are libevent's, which are these.
                unsafe { libc::pthread_mutex_lock(made.cast()) };
            }
            (Kind::Program(_), _) => {}
        }
    }

    /// Gives the lock back once.
    pub(super) fn release(&self) {
        match (&self.0, self.functions()) {
            (Kind::None, _) => {}
            (Kind::Pthread(mutex), _) => {
                // SAFETY: as in `acquire`; this thread holds it.
                unsafe { libc::pthread_mutex_unlock(mutex.get()) };
            }
            (Kind::Program(made) | Kind::Lent(made), Some(functions)) => {
                if let Some(unlock) = functions.unlock {
                    // SAFETY: C3; this thread holds it.
                    unsafe { unlock(0, *made) };
                }
            }
            (Kind::Lent(made), _) => {
                // SAFETY: as in `acquire`; this thread holds it.
                unsafe { libc::pthread_mutex_unlock(made.cast()) };
            }
            (Kind::Program(_), _) => {}
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        match &self.0 {
            Kind::None | Kind::Lent(_) => {}
            Kind::Pthread(mutex) => {
                // SAFETY: nobody holds it: its object is being freed, which C1 allows once nobody uses it.
                unsafe { libc::pthread_mutex_destroy(mutex.get()) };
            }
            Kind::Program(made) => {
                if let Choice::Program(functions) = thread::choice()
                    && let Some(free) = functions.free
                {
                    // SAFETY: C3; made by the same program's `alloc`, and freed once.
                    unsafe { free(*made, RECURSIVE) };
                }
            }
        }
    }
}

fn recursive_mutex() -> Box<UnsafeCell<libc::pthread_mutex_t>> {
    let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the attributes are ours, to be initialised.
    unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
    // SAFETY: they were initialised a line above.
    unsafe { libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_RECURSIVE) };
    // SAFETY: the mutex is in its box already, where it stays, and nobody has locked it.
    unsafe { libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()) };
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_mutexattr_destroy(attributes.as_mut_ptr()) };
    mutex
}
