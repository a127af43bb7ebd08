//! `event2/listener.h`: listeners of the engine's, whose sockets are the program's unless it says otherwise.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_uint, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use libc::{sockaddr, sockaddr_storage, socklen_t};

use super::base::{Core, Entered, current_base, event_base};
use super::layout::{ListenerCallback, Socket};
use super::lock::Held;
use super::{errno, log};
use crate::listener::{Accepted, ListenOptions, ListenerId};
use crate::reactor::{What, extend_to};
use crate::sys::socket::RawAddress;

/// `LEV_OPT_*`.
const LEAVE_SOCKETS_BLOCKING: c_uint = 1;
const CLOSE_ON_FREE: c_uint = 1 << 1;
const CLOSE_ON_EXEC: c_uint = 1 << 2;
const REUSEABLE: c_uint = 1 << 3;
const DISABLED: c_uint = 1 << 5;
const DEFERRED_ACCEPT: c_uint = 1 << 6;
const REUSEABLE_PORT: c_uint = 1 << 7;
const BIND_IPV6ONLY: c_uint = 1 << 8;

/// The backlog of those who leave it to us.
const BACKLOG: c_int = 128;

/// Called when accepting has begun to fail; `errno` says how.
type ErrorCallback = unsafe extern "C-unwind" fn(*mut evconnlistener, *mut c_void);

/// A listener, as C holds it: a pointer to this.
///
/// - **L1**: C and other threads have pointers to the same memory, and whoever gives back the last reference frees it. So all of it lies in a
///   cell, and only shared references are made to it.
/// - **L2**: `base`, `fd` and `flags` change only when the base goes, while by C1 nobody else uses the listener. Everything else is
///   touched under the lock of its base.
/// - **L3**: Nothing here looks at a listener after code of C's has run, unless it has a reference of its own ([`Reference`]).
#[repr(transparent)]
pub(super) struct evconnlistener(UnsafeCell<Parts>);

pub(super) struct Parts {
    base: Cell<*mut event_base>,
    /// `None` once it has been freed, or its base has gone.
    id: Cell<Option<ListenerId>>,
    fd: Socket,
    flags: c_uint,
    callback: Cell<Option<ListenerCallback>>,
    error_callback: Cell<Option<ErrorCallback>>,
    arg: Cell<*mut c_void>,
    /// Whether the program wants it to accept. Without a callback it does not, even so.
    enabled: Cell<bool>,
    /// Its maker's, and one for each callback that is running.
    references: Cell<u32>,
}

impl Deref for evconnlistener {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        // SAFETY: L1: there are only shared references to it.
        unsafe { &*self.0.get() }
    }
}

/// Which listener of C's stands at which place of the engine's; null is none.
#[derive(Default)]
pub(super) struct Table(Vec<*mut evconnlistener>);

impl Table {
    fn set(&mut self, id: ListenerId, listener: *mut evconnlistener) {
        let index = id.0.index() as usize;
        extend_to(&mut self.0, index + 1, ptr::null_mut);
        self.0[index] = listener;
    }

    fn at(&self, id: ListenerId) -> *mut evconnlistener {
        self.0.get(id.0.index() as usize).copied().unwrap_or_default()
    }
}

/// Making.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_new(
    base: *mut event_base,
    callback: Option<ListenerCallback>,
    arg: *mut c_void,
    flags: c_uint,
    backlog: c_int,
    fd: Socket,
) -> *mut evconnlistener {
    let base = if base.is_null() { current_base() } else { base };
    let backlog = if backlog < 0 { BACKLOG } else { backlog };
    // SAFETY: it takes two integers; 0 says that the socket listens already.
    if base.is_null() || (backlog > 0 && unsafe { libc::listen(fd, backlog) } < 0) || fd < 0 {
        return ptr::null_mut();
    }
    let parts = Parts {
        base: Cell::new(base),
        id: Cell::new(None),
        fd,
        flags,
        callback: Cell::new(callback),
        error_callback: Cell::new(None),
        arg: Cell::new(arg),
        enabled: Cell::new(flags & DISABLED == 0),
        references: Cell::new(1),
    };
    let listener = Box::into_raw(Box::new(evconnlistener(UnsafeCell::new(parts))));
    // SAFETY: it was made above.
    if unsafe { at(listener) }.is_some_and(evconnlistener::begin) {
        return listener;
    }
    // SAFETY: it was made above, and nobody else knows it.
    drop(unsafe { Box::from_raw(listener) });
    ptr::null_mut()
}

/// Null for a backlog of 0: a socket that was bound only now cannot listen already.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_new_bind(
    base: *mut event_base,
    callback: Option<ListenerCallback>,
    arg: *mut c_void,
    flags: c_uint,
    backlog: c_int,
    address: *const sockaddr,
    len: c_int,
) -> *mut evconnlistener {
    if backlog == 0 {
        return ptr::null_mut();
    }
    // SAFETY: C2.
    let fd = unsafe { bind(flags, address, len) };
    if fd < 0 {
        return ptr::null_mut();
    }
    // SAFETY: C1, C3.
    let listener = unsafe { evconnlistener_new(base, callback, arg, flags, backlog, fd) };
    if listener.is_null() {
        close(fd);
    }
    listener
}

/// A bound socket, or -1.
///
/// # Safety
///
/// - C2 for `address`, which may be null.
unsafe fn bind(flags: c_uint, address: *const sockaddr, len: c_int) -> Socket {
    // SAFETY: the caller's promise.
    let family = unsafe { address.as_ref() }.map_or(libc::AF_UNSPEC, |address| address.sa_family.into());
    let on_exec = if flags & CLOSE_ON_EXEC == 0 { 0 } else { libc::SOCK_CLOEXEC };
    // SAFETY: it takes three integers and no memory.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | on_exec, 0) };
    if fd < 0 {
        return -1;
    }
    let wanted = [
        (true, libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (flags & REUSEABLE != 0, libc::SOL_SOCKET, libc::SO_REUSEADDR),
        (flags & REUSEABLE_PORT != 0, libc::SOL_SOCKET, libc::SO_REUSEPORT),
        (flags & DEFERRED_ACCEPT != 0, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
        (flags & BIND_IPV6ONLY != 0, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    ];
    let is_set = wanted.into_iter().all(|(wanted, level, name)| !wanted || set_option(fd, level, name));
    // SAFETY: the caller's promise.
    if is_set && (address.is_null() || unsafe { libc::bind(fd, address, len as socklen_t) } == 0) {
        return fd;
    }
    close(fd);
    -1
}

fn set_option(fd: Socket, level: c_int, name: c_int) -> bool {
    let on: c_int = 1;
    let len = size_of::<c_int>() as socklen_t;
    // SAFETY: the value is live for the call, and has that length.
    unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), len) == 0 }
}

/// Closes a descriptor that is ours. `errno` stays what it was.
fn close(fd: Socket) {
    let error = errno::get();
    // SAFETY: nobody uses it any more.
    unsafe { libc::close(fd) };
    errno::set(error);
}

/// # Safety
///
/// - C1 for `listener`, and what is returned is used as L3 says.
unsafe fn at<'a>(listener: *const evconnlistener) -> Option<&'a evconnlistener> {
    // SAFETY: the caller's promise; L1.
    unsafe { listener.as_ref() }
}

impl evconnlistener {
    /// What C calls it.
    fn as_c(&self) -> *mut evconnlistener {
        self.0.get().cast()
    }

    fn enter<'a>(&self) -> Option<Entered<'a>> {
        // SAFETY: C1: the base lives, or its going has been noted here.
        let base = unsafe { self.base.get().as_ref() }?;
        // SAFETY: K1: nothing is entered when a function of C's is called.
        Some(unsafe { base.enter() })
    }

    /// The lock that guards it, which is its base's, held.
    fn lock<'a>(&self) -> Option<Held<'a>> {
        // SAFETY: as in `enter`.
        let base = unsafe { self.base.get().as_ref() }?;
        Some(base.lock().hold())
    }

    /// Gives the socket to the engine.
    fn begin(&self) -> bool {
        let options = ListenOptions::new()
            .leave_blocking(self.flags & LEAVE_SOCKETS_BLOCKING != 0)
            .inheritable_connections(self.flags & CLOSE_ON_EXEC == 0)
            .disabled(true);
        // SAFETY: whoever gave it to the listener leaves it to that, which gives it back if it is to stay open.
        let fd = unsafe { OwnedFd::from_raw_fd(self.fd) };
        let Some(mut core) = self.enter() else {
            let _still_the_programs = fd.into_raw_fd();
            return false;
        };
        let core = &mut *core;
        match core.listeners.adopt_as_is(&mut core.reactor, fd, &options) {
            Ok(id) => {
                self.id.set(Some(id));
                core.listener_table.set(id, self.as_c());
                let begun = self.apply(core);
                if !begun {
                    self.give_back(core);
                }
                begun
            }
            Err((_, fd)) => {
                let _still_the_programs = fd.into_raw_fd();
                false
            }
        }
    }

    /// Lets the engine accept if the program wants it and there is somebody to be told.
    fn apply(&self, core: &mut Core) -> bool {
        let Some(id) = self.id.get() else { return false };
        let done = if self.enabled.get() && self.callback.get().is_some() {
            core.listeners.enable(&mut core.reactor, id)
        } else {
            core.listeners.disable(&mut core.reactor, id)
        };
        core.notify();
        done.is_ok()
    }

    fn change(&self) -> c_int {
        let Some(mut core) = self.enter() else { return -1 };
        if self.apply(&mut core) { 0 } else { -1 }
    }

    /// Takes the socket back from the engine; it is closed if it is to be closed.
    fn end(&self, core: &mut Core) {
        if self.flags & CLOSE_ON_FREE == 0 {
            return self.give_back(core);
        }
        let Some(id) = self.id.take() else { return };
        core.listener_table.set(id, ptr::null_mut());
        // The engine has it as long as it has an id here.
        let _ = core.listeners.remove(&mut core.reactor, id);
    }

    /// Takes the socket back from the engine, open.
    fn give_back(&self, core: &mut Core) {
        let Some(id) = self.id.take() else { return };
        core.listener_table.set(id, ptr::null_mut());
        // The engine has it as long as it has an id here.
        if let Ok(fd) = core.listeners.take_back(&mut core.reactor, id) {
            let _still_the_programs = fd.into_raw_fd();
        }
    }
}

/// From inside its callback it ends when that returns.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_free(listener: *mut evconnlistener) {
    // SAFETY: C1.
    let Some(object) = (unsafe { at(listener) }) else { return };
    let held = object.lock();
    object.callback.set(None);
    object.error_callback.set(None);
    object.change();
    drop(held);
    // SAFETY: C1: it is its maker's reference.
    unsafe { release(listener) };
}

/// Gives a reference back, and says whether it was the last: then the listener is gone.
///
/// # Safety
///
/// - C1 for `listener`, nothing is entered, and the reference is the caller's.
unsafe fn release(listener: *mut evconnlistener) -> bool {
    // SAFETY: the caller's promise.
    let Some(object) = (unsafe { at(listener) }) else { return false };
    let core = object.enter();
    object.references.set(object.references.get() - 1);
    if object.references.get() > 0 {
        return false;
    }
    match core {
        Some(mut core) => object.end(&mut core),
        // Its base, when it went, gave the socket back.
        None if object.flags & CLOSE_ON_FREE != 0 => close(object.fd),
        None => {}
    }
    // SAFETY: it was the last reference, and it was made with a box.
    drop(unsafe { Box::from_raw(listener) });
    true
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_enable(listener: *mut evconnlistener) -> c_int {
    // SAFETY: C1.
    let Some(listener) = (unsafe { at(listener) }) else { return -1 };
    let _held = listener.lock();
    listener.enabled.set(true);
    listener.change()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_disable(listener: *mut evconnlistener) -> c_int {
    // SAFETY: C1.
    let Some(listener) = (unsafe { at(listener) }) else { return -1 };
    let _held = listener.lock();
    listener.enabled.set(false);
    listener.change()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_get_base(listener: *mut evconnlistener) -> *mut event_base {
    // SAFETY: C1.
    unsafe { at(listener) }.map_or(ptr::null_mut(), |listener| listener.base.get())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_get_fd(listener: *mut evconnlistener) -> Socket {
    // SAFETY: C1.
    unsafe { at(listener) }.map_or(-1, |listener| listener.fd)
}

/// Without a callback connections wait until there is one.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_set_cb(
    listener: *mut evconnlistener,
    callback: Option<ListenerCallback>,
    arg: *mut c_void,
) {
    // SAFETY: C1.
    if let Some(listener) = unsafe { at(listener) } {
        let _held = listener.lock();
        listener.callback.set(callback);
        listener.arg.set(arg);
        listener.change();
    }
}

/// It is called once an episode; the listener tries again by itself.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evconnlistener_set_error_cb(
    listener: *mut evconnlistener,
    callback: Option<ErrorCallback>,
) {
    // SAFETY: C1.
    if let Some(listener) = unsafe { at(listener) } {
        let _held = listener.lock();
        listener.error_callback.set(callback);
    }
}

/// Accepts a turn's share, one connection at a time. Nothing is entered.
pub(super) fn run(base: &event_base, index: u64, what: What) {
    // SAFETY: K1: nothing is entered.
    let mut core = unsafe { base.enter() };
    let ready = {
        let core = &mut *core;
        core.listeners.on_ready(&mut core.reactor, index, what)
    };
    let Some(id) = ready else { return };
    drop(core);
    loop {
        // SAFETY: K1: nothing is entered; C1: a callback does not free the base that calls it.
        let mut core = unsafe { base.enter() };
        let listener = core.listener_table.at(id);
        let next = {
            let core = &mut *core;
            core.listeners.next(&mut core.reactor, id)
        };
        // SAFETY: what is in the table lives; the lock is held.
        let Some(object) = (unsafe { at(listener) }) else { return };
        object.references.set(object.references.get() + 1);
        drop(core);
        let reference = Reference(listener);
        // SAFETY: it is held, and nothing is entered.
        let goes_on = unsafe { tell(listener, next) };
        if reference.give_back() || !goes_on {
            return;
        }
    }
}

/// A reference of the loop's, which is given back also if a callback unwinds.
struct Reference(*mut evconnlistener);

impl Reference {
    /// Whether it was the last.
    fn give_back(self) -> bool {
        let listener = ManuallyDrop::new(self).0;
        // SAFETY: it was taken for this, and is not given back a second time.
        unsafe { release(listener) }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: as in `give_back`.
        unsafe { release(self.0) };
    }
}

/// Calls C about what has come, and says whether there may be more.
///
/// # Safety
///
/// - The caller has a reference to `listener`, and nothing is entered.
unsafe fn tell(listener: *mut evconnlistener, next: Accepted) -> bool {
    // SAFETY: the caller's reference.
    let Some(object) = (unsafe { at(listener) }) else { return false };
    let held = object.lock();
    let (callback, error_callback) = (object.callback.get(), object.error_callback.get());
    let arg = object.arg.get();
    drop(held);
    match next {
        Accepted::Nothing => false,
        Accepted::Connection(fd, peer) => {
            let Some(callback) = callback else { return false };
            let (mut address, len) = for_c(&peer);
            // SAFETY: C3; the address lives for the call.
            unsafe { callback(listener.cast(), fd.into_raw_fd(), (&raw mut address).cast(), len, arg) };
            true
        }
        Accepted::Failed(error) => {
            let Some(callback) = error_callback else {
                log::warn(format_args!("Error from accept() call: {error}"));
                return true;
            };
            errno::set_from_io(&error);
            // SAFETY: C3.
            unsafe { callback(listener, arg) };
            true
        }
    }
}

/// The address of a peer where C may write, with its length.
fn for_c(peer: &RawAddress) -> (sockaddr_storage, c_int) {
    // SAFETY: all-zero bytes are an address of no family.
    let mut storage: sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let bytes = peer.as_bytes();
    let len = bytes.len().min(size_of::<sockaddr_storage>());
    // SAFETY: so many bytes are there, and there is room for them.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut storage).cast(), len) };
    (storage, len as c_int)
}

/// A base is about to go: its listeners give their sockets back, and can still be freed.
pub(super) fn abandon(base: *mut event_base) {
    // SAFETY: C1: it has not gone yet.
    let Some(base) = (unsafe { base.as_ref() }) else { return };
    // SAFETY: K1: nothing is entered when a function of C's is called.
    let mut core = unsafe { base.enter() };
    for listener in std::mem::take(&mut core.listener_table.0) {
        // SAFETY: what is in the table lives.
        if let Some(listener) = unsafe { at(listener) } {
            listener.give_back(&mut core);
            listener.base.set(ptr::null_mut());
        }
    }
}
