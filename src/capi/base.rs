//! `struct event_base`: a lock, and what it guards.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use super::lock::Lock;
use crate::bufferevent;
use crate::error::Result;
use crate::features::Features;
use crate::listener;
use crate::reactor::{METHODS, Reactor, open_backend};

/// A base, as C holds it: a pointer to this.
pub struct event_base {
    lock: Lock,
    core: UnsafeCell<Core>,
}

/// What a base owns. C's objects refer to what is in here by ids.
pub(super) struct Core {
    pub(super) reactor: Reactor,
    pub(super) bufferevents: bufferevent::Engine,
    pub(super) listeners: listener::Engine,
}

/// The core, while this thread has it: no code of C's runs meanwhile (K1).
pub(super) struct Entered<'a> {
    base: &'a event_base,
    core: &'a mut Core,
}

impl event_base {
    pub(super) fn new(locked: bool) -> Result<event_base> {
        let backend = open_backend(&METHODS, Features::empty())?;
        let core = Core {
            reactor: Reactor::new(backend, 0, 1)?,
            bufferevents: bufferevent::Engine::with_capacity(0),
            listeners: listener::Engine::new(),
        };
        let lock = if locked { Lock::new() } else { Lock::none() };
        Ok(event_base { lock, core: UnsafeCell::new(core) })
    }

    /// The lock of the base, which is that of its bufferevents too.
    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Takes the lock and the core.
    ///
    /// # Safety
    ///
    /// - This thread has not entered already (K1).
    pub(super) unsafe fn enter(&self) -> Entered<'_> {
        self.lock.acquire();
        // SAFETY: the lock, or C4, keeps other threads out, and the caller this one.
        let core = unsafe { &mut *self.core.get() };
        Entered { base: self, core }
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
    fn drop(&mut self) {
        self.base.lock.release();
    }
}
