//! Callbacks of buffers: who is told of changes, at once or later, in which order.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::frame::Here;
use super::super::layout::evbuffer_cb_info;
use super::deferred::Deferral;
use super::{Growth, evbuffer, handle, owed};
use crate::buffer::{CallbackId, Change};

type ChangeCallback = unsafe extern "C-unwind" fn(*mut evbuffer, *const evbuffer_cb_info, *mut c_void);
type ObsoleteCallback = unsafe extern "C-unwind" fn(*mut evbuffer, usize, usize, *mut c_void);

/// `EVBUFFER_CB_ENABLED`.
pub(super) const ENABLED: u32 = 1;
/// `EVBUFFER_CB_NODEFER`: it is told at once although the others wait.
pub(super) const NODEFER: u32 = 2;
/// Flags that programs do not set.
const INTERNAL: u32 = 0xffff_0000;

/// A callback, as C holds it: a pointer to this.
pub(in crate::capi) struct evbuffer_cb_entry {
    /// Rises from entry to entry.
    serial: u64,
    callback: Callback,
    arg: *mut c_void,
    flags: u32,
}

#[derive(Clone, Copy)]
enum Callback {
    Change(Option<ChangeCallback>),
    Obsolete(ObsoleteCallback),
}

/// Who is to be told, and of what.
pub(super) struct Calls {
    /// The oldest first. Boxed, because C has their addresses.
    #[expect(clippy::vec_box, reason = "C has the addresses of the entries")]
    entries: Vec<Box<evbuffer_cb_entry>>,
    next_serial: u64,
    /// What has happened that nobody was told.
    untold: Untold,
    /// What listens inside the engine for a bufferevent's buffer.
    ear: Option<CallbackId>,
    /// In this thread's list of buffers that the engine has changed.
    listed: bool,
    /// What the buffer has in a loop, if its callbacks wait for one.
    pub(super) deferral: Option<Box<Deferral>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Untold {
    added: usize,
    removed: usize,
}

/// One call to be made.
struct Call {
    serial: u64,
    callback: Callback,
    arg: *mut c_void,
}

impl Calls {
    pub(super) fn new() -> Calls {
        Calls {
            entries: Vec::new(),
            next_serial: 0,
            untold: Untold::default(),
            ear: None,
            listed: false,
            deferral: None,
        }
    }

    /// Whether nobody listens, nor has anything to be told later.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.deferral.is_none() && !self.listed
    }

    /// Whether something has happened that nobody was told.
    pub(super) fn has_untold(&self) -> bool {
        self.untold != Untold::default()
    }

    fn add(&mut self, callback: Callback, arg: *mut c_void) -> *mut evbuffer_cb_entry {
        let serial = self.next_serial;
        self.next_serial += 1;
        let mut entry = Box::new(evbuffer_cb_entry { serial, callback, arg, flags: ENABLED });
        let address: *mut evbuffer_cb_entry = &mut *entry;
        self.entries.push(entry);
        address
    }

    fn position(&self, entry: *const evbuffer_cb_entry) -> Option<usize> {
        self.entries.iter().position(|one| ptr::eq(&raw const **one, entry))
    }

    /// The newest entry older than `below` whose flags under `mask` are `wanted`.
    fn next(&self, below: u64, mask: u32, wanted: u32) -> Option<Call> {
        let older = self.entries.partition_point(|entry| entry.serial < below);
        let mut due = self.entries[..older].iter().rev().filter(|entry| entry.flags & mask == wanted);
        due.next().map(|entry| Call { serial: entry.serial, callback: entry.callback, arg: entry.arg })
    }

    fn note(&mut self, added: usize, removed: usize) {
        if self.entries.is_empty() {
            self.untold = Untold::default();
            return;
        }
        self.untold.added = self.untold.added.wrapping_add(added);
        self.untold.removed = self.untold.removed.wrapping_add(removed);
    }
}

/// Telling.
impl evbuffer {
    #[inline]
    pub(super) fn with_calls<T>(&self, work: impl FnOnce(&mut Calls) -> T) -> T {
        let _held = self.lock().hold();
        // SAFETY: H2; `work` is ours and comes to no other reference.
        work(unsafe { &mut *self.calls.get() })
    }

    /// Whether nobody listens.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.with_calls(|calls| calls.entries.is_empty())
    }

    /// Writes down how a buffer of its own has changed. What happens to a bufferevent's, its ear hears.
    pub(super) fn note_own(&self, change: Growth) {
        if self.is_own() {
            self.with_calls(|calls| calls.note(change.added, change.removed));
        }
    }

    /// Makes the callbacks that are due for what was written down, or has the loop make them. Nothing is borrowed.
    pub(super) fn call_callbacks(&self) {
        self.unlist();
        if self.is_deferred() {
            self.schedule();
            self.run_callbacks(NODEFER | ENABLED, NODEFER | ENABLED, false);
        } else {
            self.run_callbacks(ENABLED, ENABLED, true);
        }
    }

    /// Makes those whose flags under `mask` are `wanted`. What they are told was `told` then, or others still wait to hear it.
    pub(super) fn run_callbacks(&self, mask: u32, wanted: u32, told: bool) {
        let untold = self.with_calls(|calls| {
            let untold = calls.untold;
            if told {
                calls.untold = Untold::default();
            }
            untold
        });
        if untold == Untold::default() {
            return;
        }
        let len = self.look(|buffer| buffer.len()).unwrap_or(0);
        let info = evbuffer_cb_info {
            orig_size: len.wrapping_add(untold.removed).wrapping_sub(untold.added),
            n_added: untold.added,
            n_deleted: untold.removed,
        };
        let mut below = u64::MAX;
        while let Some(call) = self.with_calls(|calls| calls.next(below, mask, wanted)) {
            below = call.serial;
            // SAFETY: nothing is borrowed, and the caller has pinned the handle.
            unsafe { self.make(&call, &info, len) };
        }
    }

    /// # Safety
    ///
    /// - Nothing of the buffer is borrowed: the callback may do anything with it.
    unsafe fn make(&self, call: &Call, info: &evbuffer_cb_info, len: usize) {
        let buf = ptr::from_ref(self).cast_mut();
        match call.callback {
            Callback::Change(Some(callback)) => {
                // SAFETY: C3.
                unsafe { callback(buf, info, call.arg) }
            }
            Callback::Obsolete(callback) => {
                // SAFETY: C3.
                unsafe { callback(buf, info.orig_size, len, call.arg) }
            }
            Callback::Change(None) => {}
        }
    }

    pub(super) fn forget_callbacks(&self) {
        self.with_calls(|calls| {
            calls.entries.clear();
            calls.untold = Untold::default();
        });
        self.listen();
        self.unlist();
    }
}

/// How many buffers have been changed on all threads. Most turns of a loop change no buffer that C listens to, and this is all they look at.
static CHANGED_COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Buffers that the engine has changed on this thread, each with a use of its handle.
    static CHANGED: RefCell<ManuallyDrop<Vec<*const evbuffer>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// Whether [`settle_accounts`] has nothing to do.
#[inline(always)]
pub(in crate::capi) fn accounts_are_settled() -> bool {
    !owed::exist() && first_changed().is_none()
}

/// The first of the buffers that have been changed on this thread.
#[inline]
fn first_changed() -> Option<*const evbuffer> {
    // Relaxed: a thread looks for what it has added itself.
    if CHANGED_COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    // A thread that is ending has no list.
    CHANGED.try_with(|changed| changed.borrow().first().copied()).ok().flatten()
}

/// Makes the clean-ups and callbacks that the engine's last step has made due on this thread. Nothing is borrowed or entered.
pub(in crate::capi) fn settle_accounts() {
    owed::pay();
    while let Some(buf) = first_changed() {
        // SAFETY: the list has a use of each handle in it (H3).
        let buf = unsafe { &*buf };
        let here = Here::default();
        let _pin = buf.pin(&here);
        buf.call_callbacks();
    }
}

/// Listening to the engine.
impl evbuffer {
    /// Has an ear in a bufferevent's buffer as long as somebody of C's listens.
    fn listen(&self) {
        if self.is_own() {
            return;
        }
        let (heard, ear) = self.with_calls(|calls| (!calls.entries.is_empty(), calls.ear));
        let address = ptr::from_ref(self).expose_provenance();
        let ear = match (heard, ear) {
            (true, None) => {
                self.look(|buffer| buffer.add_callback(move |_, change| hear(address, change)).ok()).flatten()
            }
            (false, Some(id)) => {
                self.look(|buffer| buffer.remove_callback(id).ok());
                None
            }
            (_, ear) => ear,
        };
        self.with_calls(|calls| calls.ear = ear);
    }

    fn unlist(&self) {
        let listed = self.with_calls(|calls| std::mem::take(&mut calls.listed));
        if !listed {
            return;
        }
        let address = ptr::from_ref(self);
        let found = CHANGED.with(|changed| {
            let mut changed = changed.borrow_mut();
            let index = changed.iter().position(|&one| one == address)?;
            changed.remove(index);
            if changed.is_empty() {
                **changed = Vec::new();
            }
            CHANGED_COUNT.fetch_sub(1, Ordering::Relaxed);
            Some(())
        });
        if found.is_some() {
            self.release();
        }
    }
}

/// What the ear does: it is called from inside the engine, which holds the base's lock, and only writes down.
fn hear(address: usize, change: Change) {
    // SAFETY: the ear goes before its handle does (`forget_callbacks`), and the address is that of a handle that was exposed to
    // nobody but us.
    let buf = unsafe { &*ptr::with_exposed_provenance::<evbuffer>(address) };
    // SAFETY: H2; the engine, which holds the base's lock, runs in none of our `with_calls`.
    let calls = unsafe { &mut *buf.calls.get() };
    calls.note(change.added, change.removed);
    if !std::mem::replace(&mut calls.listed, true) {
        // The list's use of the handle.
        buf.keep();
        CHANGED.with(|changed| changed.borrow_mut().push(buf));
        // Relaxed: as above.
        CHANGED_COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Adding and removing.
#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_add_cb(
    buf: *mut evbuffer,
    callback: Option<ChangeCallback>,
    arg: *mut c_void,
) -> *mut evbuffer_cb_entry {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return ptr::null_mut() };
    let entry = buf.with_calls(|calls| calls.add(Callback::Change(callback), arg));
    buf.listen();
    entry
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_remove_cb_entry(
    buf: *mut evbuffer,
    entry: *mut evbuffer_cb_entry,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let removed = buf.with_calls(|calls| calls.position(entry).map(|index| calls.entries.remove(index)));
    buf.listen();
    if removed.is_some() { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_remove_cb(
    buf: *mut evbuffer,
    callback: Option<ChangeCallback>,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let removed = buf.with_calls(|calls| {
        let is_it = |entry: &evbuffer_cb_entry| {
            matches!(entry.callback, Callback::Change(one) if one.map(|f| f as usize) == callback.map(|f| f as usize))
                && entry.arg == arg
        };
        let index = calls.entries.iter().rposition(|entry| is_it(entry))?;
        Some(calls.entries.remove(index))
    });
    buf.listen();
    if removed.is_some() { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_cb_set_flags(
    buf: *mut evbuffer,
    entry: *mut evbuffer_cb_entry,
    flags: u32,
) -> c_int {
    // SAFETY: C1.
    unsafe { change_flags(buf, entry, |all| all | (flags & !INTERNAL)) }
}

/// What happens while a callback is not enabled it is never told.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_cb_clear_flags(
    buf: *mut evbuffer,
    entry: *mut evbuffer_cb_entry,
    flags: u32,
) -> c_int {
    // SAFETY: C1.
    unsafe { change_flags(buf, entry, |all| all & !(flags & !INTERNAL)) }
}

/// # Safety
///
/// - C1.
unsafe fn change_flags(
    buf: *mut evbuffer,
    entry: *mut evbuffer_cb_entry,
    change: impl FnOnce(u32) -> u32,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let changed = buf.with_calls(|calls| {
        let index = calls.position(entry)?;
        let entry = &mut calls.entries[index];
        entry.flags = change(entry.flags);
        Some(())
    });
    changed.map_or(-1, |()| 0)
}

/// Ends all other callbacks of the buffer, also when `callback` is null.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_setcb(
    buf: *mut evbuffer,
    callback: Option<ObsoleteCallback>,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    buf.with_calls(|calls| {
        calls.entries.clear();
        if let Some(callback) = callback {
            calls.add(Callback::Obsolete(callback), arg);
        }
    });
    buf.listen();
    0
}
