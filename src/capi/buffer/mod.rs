//! `event2/buffer.h`: a handle is a buffer of its own, or one of the two buffers of a bufferevent.
//!
//! # How a call goes
//!
//! ```text
//!   evbuffer_drain(buf, n)
//!        │ handle            null is the function's error
//!        ▼
//!   evbuffer::change         takes the lock, lends the `Evbuffer` to one closure of ours, and notes by how much it grew or shrank
//!        │                   (a clean-up that this made due, of a reference or a file, only goes into `owed`)
//!        ▼                   nothing is borrowed any more
//!   evbuffer::follow         makes the clean-ups, then the callbacks
//! ```
//!
//! C code may do anything meanwhile, also free the buffer: its content goes at once, the handle when the last frame that uses it
//! has returned (`Pin`), or is known to have been left by a `longjmp`.
//!
//! What happens to a bufferevent's buffer in the loop is heard by a callback of ours inside the engine, which writes it down in
//! the handle; `settle_accounts` makes C's callbacks once the engine is done.

mod add;
mod callbacks;
mod deferred;
mod files;
mod owed;
mod pin;
mod remove;
mod search;
mod space;

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::base::event_base;
use super::frame::Here;
use super::lock::{Held, Lock};
use crate::buffer::{Detached, End, Evbuffer};
use crate::bufferevent::{Bufferevent, BuffereventId};
use callbacks::Calls;

pub(super) use add::{bytes, evbuffer_add, evbuffer_add_buffer};
pub(super) use callbacks::{accounts_are_settled, evbuffer_add_cb, settle_accounts};
pub(super) use pin::Pin;
pub(super) use remove::{evbuffer_remove, evbuffer_remove_buffer};

/// A buffer, as C holds it: a pointer to this.
///
/// - **H1**: C and other threads have pointers to the same handle, and whoever gives back the last use of it frees it, perhaps while a
///   function of it is on its way out. So all of it lies in a cell: only shared references are made to it, and one that is left over does no
///   harm as long as nobody looks through it.
/// - **H2**: The cells within are looked into under the lock, one look at a time: a look calls nothing that could come to another.
/// - **H3**: Whoever looks at a handle after code of C's has run has a use of it ([`Pin`]).
#[repr(transparent)]
pub(super) struct evbuffer(UnsafeCell<Handle>);

pub(super) struct Handle {
    /// Of a buffer of its own. A bufferevent's buffers have their base's.
    lock: UnsafeCell<Lock>,
    home: Home,
    calls: UnsafeCell<Calls>,
    flags: Cell<u64>,
    /// What `evbuffer_reserve_space` has handed out beyond the chain.
    reserved: UnsafeCell<Option<Box<Detached>>>,
    /// Who still uses the handle: its owner is one, and each frame that calls C is.
    users: AtomicU32,
    /// Called when the last user has gone.
    gone: unsafe fn(*const evbuffer),
}

impl Deref for evbuffer {
    type Target = Handle;

    #[inline(always)]
    fn deref(&self) -> &Handle {
        // SAFETY: H1: there are only shared references to it.
        unsafe { &*self.0.get() }
    }
}

/// Where the bytes are.
enum Home {
    Own(UnsafeCell<Evbuffer>),
    Part(Part),
}

/// A buffer of a bufferevent, which is looked up for each call.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Part {
    base: *const event_base,
    id: BuffereventId,
    side: Side,
}

/// Which of its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

impl Side {
    fn of(self, bufferevent: &mut Bufferevent) -> &mut Evbuffer {
        match self {
            Side::Input => bufferevent.input(),
            Side::Output => bufferevent.output(),
        }
    }
}

/// The handle that `buf` points to, or none for null.
///
/// # Safety
///
/// - C1 holds for `buf`, and the handle stays until its user's pin is gone.
pub(super) unsafe fn handle<'a>(buf: *const evbuffer) -> Option<&'a evbuffer> {
    // SAFETY: C1, H1.
    unsafe { buf.as_ref() }
}

/// [`handle`] for two.
///
/// # Safety
///
/// - As [`handle`], for each.
pub(super) unsafe fn handles<'a>(
    one: *const evbuffer,
    other: *const evbuffer,
) -> Option<(&'a evbuffer, &'a evbuffer)> {
    // SAFETY: the caller's promise.
    let one = unsafe { handle(one) }?;
    // SAFETY: the caller's promise.
    let other = unsafe { handle(other) }?;
    Some((one, other))
}

/// Making and freeing.
impl evbuffer {
    #[inline(always)]
    fn with_home(home: Home, gone: unsafe fn(*const evbuffer)) -> evbuffer {
        evbuffer(UnsafeCell::new(Handle {
            lock: UnsafeCell::new(Lock::none()),
            home,
            calls: UnsafeCell::new(Calls::new()),
            flags: Cell::new(0),
            reserved: UnsafeCell::new(None),
            users: AtomicU32::new(1),
            gone,
        }))
    }

    /// The handle of one of the buffers of a bufferevent of `base`. It must not move once anybody has its address. When the bufferevent
    /// goes it is [retired](Self::retire).
    pub(super) fn of_bufferevent(
        base: *const event_base,
        id: BuffereventId,
        side: Side,
        gone: unsafe fn(*const evbuffer),
    ) -> evbuffer {
        evbuffer::with_home(Home::Part(Part { base, id, side }), gone)
    }

    /// Ends the owner's use: no callback is made any more, and `gone` is called now, or when the last frame that uses it has returned.
    ///
    /// # Safety
    ///
    /// - It is the owner's last use of the handle, and nothing of it is borrowed.
    pub(super) unsafe fn retire(&self) {
        self.forget_callbacks();
        self.release();
    }

    fn release(&self) {
        // AcqRel: what all others did with it happens before it goes.
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: this was the last use; `gone` was given with the handle for this.
            unsafe { (self.gone)(self) };
        }
    }
}

/// # Safety
///
/// - `buf` came from `evbuffer_new`, and nobody uses it any more.
unsafe fn free_own(buf: *const evbuffer) {
    // SAFETY: `evbuffer_new` made it with a box.
    drop(unsafe { Box::from_raw(buf.cast_mut()) });
}

/// Reaching the bytes.
impl evbuffer {
    /// The lock that guards it.
    #[inline]
    fn lock(&self) -> &Lock {
        match &self.home {
            // SAFETY: it is only replaced by `evbuffer_enable_locking`, which by C4 nobody calls while another uses the buffer.
            Home::Own(_) => unsafe { &*self.lock.get() },
            // SAFETY: C1, a base outlives its bufferevents.
            Home::Part(part) => unsafe { (*part.base).lock() },
        }
    }

    /// Holds the buffer's own lock; that of a base is taken for each look only.
    fn hold(&self) -> Option<Held<'_>> {
        (self.is_own() && self.lock().exists()).then(|| self.lock().hold())
    }

    /// The bytes, if the buffer is one of its own without a lock, as most are: what is done to it is then part of the exported function.
    #[inline(always)]
    fn plain(&self) -> Option<&UnsafeCell<Evbuffer>> {
        let Home::Own(buffer) = &self.home else { return None };
        self.lock().is_nothing().then_some(buffer)
    }

    /// Lends the buffer to `work`, which calls no code of C's. None if its bufferevent is gone.
    ///
    /// Looking may let go of memory, too: pulling up copies it together, and a file may be read to its end. Clean-ups are made then.
    #[inline]
    pub(super) fn access<T>(&self, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        let Some(buffer) = self.plain() else { return self.access_guarded(work) };
        // SAFETY: K1 and C4: this is the only reference while `work` runs.
        let result = work(unsafe { &mut *buffer.get() });
        // Nothing of the handle is used after this.
        owed::pay();
        Some(result)
    }

    /// [`access`](Self::access) for work that lets go of nothing: no code of C's is run, not even what others have made due.
    #[inline]
    pub(super) fn look<T>(&self, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        let Some(buffer) = self.plain() else { return self.reach(Purpose::Look, work) };
        // SAFETY: K1 and C4: this is the only reference while `work` runs.
        Some(work(unsafe { &mut *buffer.get() }))
    }

    #[inline(never)]
    fn access_guarded<T>(&self, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        let held = self.hold();
        let result = self.reach(Purpose::Look, work);
        if owed::exist() {
            // It goes after the lock, which is in the handle.
            let here = Here::default();
            let _pin = self.pin(&here);
            let _held = held;
            owed::pay();
        }
        result
    }

    /// Lends the buffer to `work`, and leaves what follows from that to the caller.
    fn reach<T>(&self, purpose: Purpose, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        match &self.home {
            Home::Own(buffer) => {
                let _held = self.lock().hold();
                // SAFETY: K1 and the lock: this is the only reference while `work` runs.
                Some(work(unsafe { &mut *buffer.get() }))
            }
            Home::Part(part) => part.reach(purpose, work),
        }
    }

    /// [`access`](Self::access) for work that may add or remove bytes, followed by what follows from that.
    #[inline]
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        let Some(buffer) = self.plain().filter(|_| self.is_quiet()) else { return self.change_watched(work) };
        // SAFETY: K1 and C4: this is the only reference while `work` runs.
        let result = work(unsafe { &mut *buffer.get() });
        // Nothing of the handle is used after this, and nobody is to be told.
        owed::pay();
        Some(result)
    }

    #[inline(never)]
    fn change_watched<T>(&self, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        let held = self.hold();
        let (result, change) = self.reach(Purpose::Change, |buffer| measured(buffer, work))?;
        self.follow(change, held);
        Some(result)
    }

    /// [`change`](Self::change) that says whether it went well, as C wants to hear it.
    #[inline]
    pub(super) fn change_status<T, E>(&self, work: impl FnOnce(&mut Evbuffer) -> Result<T, E>) -> c_int {
        let went_well = self.change(|buffer| work(buffer).is_ok()).unwrap_or(false);
        if went_well { 0 } else { -1 }
    }

    /// What has to happen once a change is over and nothing is borrowed: clean-ups and callbacks, with the lock still held.
    #[inline]
    fn follow(&self, change: Growth, held: Option<Held<'_>>) {
        if !self.is_quiet() || owed::exist() {
            self.make_calls(change, held);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_calls(&self, change: Growth, held: Option<Held<'_>>) {
        // It goes after the lock, which is in the handle.
        let here = Here::default();
        let _pin = self.pin(&here);
        let _held = held;
        owed::pay();
        self.note_own(change);
        self.call_callbacks();
    }

    #[inline]
    fn is_own(&self) -> bool {
        matches!(self.home, Home::Own(_))
    }
}

/// What a bufferevent's buffer is reached for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Look,
    Change,
}

impl Part {
    fn reach<T>(self, purpose: Purpose, work: impl FnOnce(&mut Evbuffer) -> T) -> Option<T> {
        // SAFETY: C1, a base outlives its bufferevents.
        let base = unsafe { &*self.base };
        // SAFETY: K1, nothing of the core is borrowed when a function of C's is entered, and `work` enters nothing.
        let mut core = unsafe { base.enter() };
        let result = core.bufferevents.get(self.id).ok().map(|bufferevent| work(self.side.of(bufferevent)));
        if purpose == Purpose::Change {
            // A base that cannot be woken has one thread.
            let _ = core.notify();
        }
        result
    }
}

/// By how much a buffer became longer or shorter.
#[derive(Debug, Clone, Copy)]
struct Growth {
    added: usize,
    removed: usize,
}

/// Does `work`, which adds or removes but not both, and says how much.
fn measured<T>(buffer: &mut Evbuffer, work: impl FnOnce(&mut Evbuffer) -> T) -> (T, Growth) {
    let before = buffer.len();
    let result = work(buffer);
    (result, Growth::between(before, buffer.len()))
}

impl Growth {
    fn between(before: usize, after: usize) -> Growth {
        Growth { added: after.saturating_sub(before), removed: before.saturating_sub(after) }
    }
}

fn status<T, E>(result: &Result<T, E>) -> c_int {
    if result.is_ok() { 0 } else { -1 }
}

/// Two buffers at once.
///
/// Their locks are taken in the order of their addresses, so that two threads that move bytes in opposite directions do not wait for
/// each other. Each combination of homes has its way to two references: two cells, a cell and an engine, one bufferevent's two buffers,
/// two bufferevents of an engine, two engines.
#[inline]
fn exchange<T>(
    one: &evbuffer,
    other: &evbuffer,
    work: impl FnOnce(&mut Evbuffer, &mut Evbuffer) -> T,
) -> Option<T> {
    if ptr::eq(one, other) {
        return None;
    }
    if let (Some(one), Some(other)) = (one.plain(), other.plain()) {
        // SAFETY: K1 and C4: this is the only reference to this buffer.
        let one = unsafe { &mut *one.get() };
        // SAFETY: as above; the handles are two, so the buffers are.
        let other = unsafe { &mut *other.get() };
        return Some(work(one, other));
    }
    exchange_guarded(one, other, work)
}

#[inline(never)]
fn exchange_guarded<T>(
    one: &evbuffer,
    other: &evbuffer,
    work: impl FnOnce(&mut Evbuffer, &mut Evbuffer) -> T,
) -> Option<T> {
    let _held = hold_both(one, other);
    match (&one.home, &other.home) {
        (Home::Own(one), Home::Own(other)) => {
            // SAFETY: K1 and the lock: this is the only reference to this buffer.
            let one = unsafe { &mut *one.get() };
            // SAFETY: as above; the handles are two, so the buffers are.
            let other = unsafe { &mut *other.get() };
            Some(work(one, other))
        }
        (Home::Own(one), Home::Part(part)) => {
            // SAFETY: K1 and the lock: this is the only reference to this buffer.
            let one = unsafe { &mut *one.get() };
            part.reach(Purpose::Change, |other| work(one, other))
        }
        (Home::Part(part), Home::Own(other)) => {
            // SAFETY: K1 and the lock: this is the only reference to this buffer.
            let other = unsafe { &mut *other.get() };
            part.reach(Purpose::Change, |one| work(one, other))
        }
        (Home::Part(one), Home::Part(other)) if one.base == other.base => within_base(*one, *other, work),
        (Home::Part(one), Home::Part(other)) => {
            let work = |one: &mut Evbuffer| other.reach(Purpose::Change, |other| work(one, other));
            one.reach(Purpose::Change, work).flatten()
        }
    }
}

/// Two buffers of bufferevents of one base.
fn within_base<T>(one: Part, other: Part, work: impl FnOnce(&mut Evbuffer, &mut Evbuffer) -> T) -> Option<T> {
    // SAFETY: C1, a base outlives its bufferevents.
    let base = unsafe { &*one.base };
    // SAFETY: K1, nothing of the core is borrowed when a function of C's is entered, and `work` enters nothing.
    let mut core = unsafe { base.enter() };
    if one.id == other.id {
        let (input, output) = core.bufferevents.get(one.id).ok()?.buffers();
        let result = match one.side {
            Side::Input => work(input, output),
            Side::Output => work(output, input),
        };
        let _ = core.notify();
        return Some(result);
    }
    let (first, second) = core.bufferevents.get_two(one.id, other.id).ok()?;
    let result = work(one.side.of(first), other.side.of(second));
    let _ = core.notify();
    Some(result)
}

fn hold_both<'a>(one: &'a evbuffer, other: &'a evbuffer) -> (Held<'a>, Held<'a>) {
    let (one, other) = (one.lock(), other.lock());
    let (first, second) = if one.order() <= other.order() { (one, other) } else { (other, one) };
    (first.hold(), second.hold())
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_new() -> *mut evbuffer {
    let home = Home::Own(UnsafeCell::new(Evbuffer::new()));
    Box::into_raw(Box::new(evbuffer::with_home(home, free_own)))
}

/// The content goes now, also when this is called by a callback of the buffer. Callbacks that were deferred are still made.
#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_free(buf: *mut evbuffer) {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }).filter(|buf| buf.is_own()) else { return };
    if buf.is_sole() {
        // SAFETY: C1: `evbuffer_new` made it, and this is its last use; what its content makes due only goes into `owed`.
        unsafe { free_own(buf) };
        return owed::pay();
    }
    buf.notice_base();
    if !buf.postpone_free() {
        buf.dispose();
    }
}

impl evbuffer {
    /// Whether nobody but its owner uses it, and nobody listens to it or waits for its lock.
    #[inline]
    fn is_sole(&self) -> bool {
        // Relaxed: C4, a buffer without a lock is used by one thread at a time.
        self.plain().is_some()
            && self.users.load(Ordering::Relaxed) == 1
            && self.with_calls(|calls| calls.is_idle())
    }

    /// Drops content and callbacks of a buffer of its own; the handle goes when nobody uses it any more.
    #[inline(never)]
    fn dispose(&self) {
        let here = Here::default();
        let _pin = self.pin(&here);
        {
            let _held = self.hold();
            self.forget_callbacks();
            self.access(|buffer| *buffer = Evbuffer::new());
            owed::pay();
        }
        self.release();
    }
}

/// A lock that the caller gives stays the caller's; null makes one.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_enable_locking(buf: *mut evbuffer, lock: *mut c_void) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let made = if lock.is_null() { Lock::new() } else { Lock::lent(lock) };
    if !buf.is_own() || buf.lock().exists() || !made.exists() {
        return -1;
    }
    // SAFETY: C4, nobody uses the buffer meanwhile, so nobody holds the lock that is replaced, which is none.
    unsafe { *buf.lock.get() = made };
    0
}

impl evbuffer {
    /// Has a new buffer guarded by a lock that guards something else too.
    ///
    /// # Safety
    ///
    /// - Nobody holds the lock that is replaced or uses the buffer, and what the lock was lent by outlives it.
    pub(super) unsafe fn guard_with(&self, lock: Lock) {
        // SAFETY: the caller's promise: nobody holds the lock that is replaced.
        unsafe { *self.lock.get() = lock };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_lock(buf: *mut evbuffer) {
    // SAFETY: C1.
    if let Some(buf) = unsafe { handle(buf) } {
        buf.lock().acquire();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_unlock(buf: *mut evbuffer) {
    // SAFETY: C1.
    if let Some(buf) = unsafe { handle(buf) } {
        buf.lock().release();
    }
}

/// Flags say how a buffer is going to be used, which ours need not be told: files are left unread until somebody looks in any case.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_set_flags(buf: *mut evbuffer, flags: u64) -> c_int {
    // SAFETY: C1.
    unsafe { change_flags(buf, |all| all | flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_clear_flags(buf: *mut evbuffer, flags: u64) -> c_int {
    // SAFETY: C1.
    unsafe { change_flags(buf, |all| all & !flags) }
}

/// # Safety
///
/// - C1.
unsafe fn change_flags(buf: *mut evbuffer, change: impl FnOnce(u64) -> u64) -> c_int {
    // SAFETY: the caller's promise.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let _held = buf.lock().hold();
    buf.flags.set(change(buf.flags.get()));
    0
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_get_length(buf: *const evbuffer) -> usize {
    // SAFETY: C1.
    unsafe { handle(buf) }.and_then(|buf| buf.look(|buffer| buffer.len())).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_get_contiguous_space(buf: *const evbuffer) -> usize {
    // SAFETY: C1.
    unsafe { handle(buf) }.and_then(|buf| buf.look(|buffer| buffer.contiguous_len())).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_freeze(
    buf: *mut evbuffer,
    at_front: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    buf.look(|buffer| buffer.freeze(end(at_front))).map_or(-1, |()| 0)
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_unfreeze(
    buf: *mut evbuffer,
    at_front: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    buf.look(|buffer| buffer.unfreeze(end(at_front))).map_or(-1, |()| 0)
}

fn end(at_front: c_int) -> End {
    if at_front == 0 { End::Back } else { End::Front }
}
