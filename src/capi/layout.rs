//! What C programs see of our objects: the layouts of libevent 2.1.12 on x86_64, to the byte, and the types of callbacks.
//!
//! Programs embed a `struct event` by value and read and write the fields of a `struct bufferevent`, so offsets are
//! asserted here at compile time, and once more against the C headers by a test.

use std::cell::Cell;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicI16, Ordering};

use libc::{c_char, c_int, c_short, c_void, size_t, sockaddr, timeval};

use super::base::event_base;

/// `evutil_socket_t`.
pub(super) type Socket = c_int;

/// Called with the descriptor or signal, what happened, and the event's argument. It may leave by unwinding or `longjmp`.
pub(super) type EventCallback = unsafe extern "C-unwind" fn(Socket, c_short, *mut c_void);

/// Flags of an event, as `event_new` takes them and callbacks are told them.
pub(super) mod ev {
    use libc::c_short;

    pub(in crate::capi) const TIMEOUT: c_short = 0x01;
    pub(in crate::capi) const READ: c_short = 0x02;
    pub(in crate::capi) const WRITE: c_short = 0x04;
    pub(in crate::capi) const SIGNAL: c_short = 0x08;
    pub(in crate::capi) const PERSIST: c_short = 0x10;
    pub(in crate::capi) const ET: c_short = 0x20;
    pub(in crate::capi) const FINALIZE: c_short = 0x40;
    pub(in crate::capi) const CLOSED: c_short = 0x80;
}

/// What `event::flags` says of an event's state.
pub(super) mod evlist {
    use libc::c_short;

    /// Waits for its timeout.
    pub(in crate::capi) const TIMEOUT: c_short = 0x01;
    /// Waits for its descriptor or signal.
    pub(in crate::capi) const INSERTED: c_short = 0x02;
    pub(in crate::capi) const ACTIVE: c_short = 0x08;
    pub(in crate::capi) const FINALIZING: c_short = 0x40;
    /// Has been assigned. Nothing else is set while nothing waits.
    pub(in crate::capi) const INIT: c_short = 0x80;
}

/// An event, in memory of the caller's. The fields that C's headers name are where they put them; what libevent keeps in the others
/// is replaced by what we keep.
///
/// - **E1**: C and other threads have pointers to the same memory. So every byte is in a cell, any number of shared references may
///   stand at a time, and there is never a mutable one.
/// - **E2**: What it is made of (`base`, `fd`, `events`, `callback`, `arg`, `priority`) changes only in functions during which, by C1, nobody
///   else uses the event. It may be read at any time.
/// - **E3**: `slot`, `closure`, `calls` and `result` are touched under the lock of its base. `flags` are written under it and read at any time.
/// - **E4**: Once the lock has been let go of after an event was added, activated or deleted, its memory is not touched again: the
///   callback, or whoever waited for it, may have freed it.
#[repr(C)]
pub(super) struct event {
    /// The slot that stands for it while `flags` says that it is pending or active; meaningless otherwise.
    pub(super) slot: Cell<u64>,
    /// What that slot was made of.
    pub(super) made_of: Cell<u64>,
    /// Atomic, because it may be read without the lock; relaxed throughout, because nothing is published with it.
    flags: AtomicI16,
    pub(super) priority: Cell<u8>,
    pub(super) closure: Cell<u8>,
    _gap: Cell<u32>,
    pub(super) callback: Cell<Option<EventCallback>>,
    pub(super) arg: Cell<*mut c_void>,
    timeout_position: Cell<[u64; 2]>,
    pub(super) fd: Cell<Socket>,
    _gap_before_base: Cell<u32>,
    pub(super) base: Cell<*mut event_base>,
    io_or_signal: Cell<[u64; 2]>,
    /// How often a signal's callback is still to be called.
    pub(super) calls: Cell<c_short>,
    _gap_before_pointer: Cell<[u16; 3]>,
    calls_pointer: Cell<*mut c_short>,
    pub(super) events: Cell<c_short>,
    /// What it is active with.
    pub(super) result: Cell<c_short>,
    _gap_before_timeout: Cell<u32>,
    timeout: Cell<timeval>,
}

impl event {
    /// What it waits for, whether it is active, and whether it was assigned at all: of `evlist`.
    #[inline(always)]
    pub(super) fn flags(&self) -> c_short {
        self.flags.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn set_flags(&self, flags: c_short) {
        self.flags.store(flags, Ordering::Relaxed);
    }
}

const _: () = {
    assert!(size_of::<event>() == 128);
    assert!(offset_of!(event, flags) == 16);
    assert!(offset_of!(event, priority) == 18);
    assert!(offset_of!(event, closure) == 19);
    assert!(offset_of!(event, callback) == 24);
    assert!(offset_of!(event, arg) == 32);
    assert!(offset_of!(event, timeout_position) == 40);
    assert!(offset_of!(event, fd) == 56);
    assert!(offset_of!(event, base) == 64);
    assert!(offset_of!(event, io_or_signal) == 72);
    assert!(offset_of!(event, calls) == 88);
    assert!(offset_of!(event, calls_pointer) == 96);
    assert!(offset_of!(event, events) == 104);
    assert!(offset_of!(event, result) == 106);
    assert!(offset_of!(event, timeout) == 112);
};

/// A buffer's handle; see `buffer`.
pub(super) use super::buffer::evbuffer;

/// What a bufferevent calls when it has read or written.
pub(super) type DataCallback = unsafe extern "C-unwind" fn(*mut bufferevent, *mut c_void);
/// What a bufferevent calls on a connect, an end, an error or a timeout.
pub(super) type BuffereventCallback = unsafe extern "C-unwind" fn(*mut bufferevent, c_short, *mut c_void);

#[repr(C)]
#[derive(Default)]
pub(super) struct event_watermark {
    pub(super) low: Cell<size_t>,
    pub(super) high: Cell<size_t>,
}

/// The part of a bufferevent that C sees. Programs read all of it and write the callbacks, so it is read anew for each call. As to
/// who may touch what, see `Bev`.
#[repr(C)]
pub(super) struct bufferevent {
    pub(super) base: Cell<*mut event_base>,
    pub(super) ops: Cell<*const c_void>,
    pub(super) ev_read: event,
    pub(super) ev_write: event,
    pub(super) input: Cell<*mut evbuffer>,
    pub(super) output: Cell<*mut evbuffer>,
    pub(super) wm_read: event_watermark,
    pub(super) wm_write: event_watermark,
    pub(super) readcb: Cell<Option<DataCallback>>,
    pub(super) writecb: Cell<Option<DataCallback>>,
    pub(super) errorcb: Cell<Option<BuffereventCallback>>,
    pub(super) cbarg: Cell<*mut c_void>,
    pub(super) timeout_read: Cell<timeval>,
    pub(super) timeout_write: Cell<timeval>,
    pub(super) enabled: Cell<c_short>,
}

impl bufferevent {
    /// Its two events are of this descriptor.
    pub(super) fn set_fd(&self, fd: Socket) {
        self.ev_read.fd.set(fd);
        self.ev_write.fd.set(fd);
    }

    pub(super) fn set_priority(&self, priority: u8) {
        self.ev_read.priority.set(priority);
        self.ev_write.priority.set(priority);
    }
}

impl event_watermark {
    pub(super) fn set(&self, low: size_t, high: size_t) {
        self.low.set(low);
        self.high.set(high);
    }
}

const _: () = {
    assert!(size_of::<bufferevent>() == 392);
    assert!(offset_of!(bufferevent, ops) == 8);
    assert!(offset_of!(bufferevent, ev_read) == 16);
    assert!(offset_of!(bufferevent, ev_write) == 144);
    assert!(offset_of!(bufferevent, input) == 272);
    assert!(offset_of!(bufferevent, output) == 280);
    assert!(offset_of!(bufferevent, wm_read) == 288);
    assert!(offset_of!(bufferevent, wm_write) == 304);
    assert!(offset_of!(bufferevent, readcb) == 320);
    assert!(offset_of!(bufferevent, writecb) == 328);
    assert!(offset_of!(bufferevent, errorcb) == 336);
    assert!(offset_of!(bufferevent, cbarg) == 344);
    assert!(offset_of!(bufferevent, timeout_read) == 352);
    assert!(offset_of!(bufferevent, timeout_write) == 368);
    assert!(offset_of!(bufferevent, enabled) == 384);
};

/// A place in a buffer, returned by value. `position` is -1 for none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct evbuffer_ptr {
    pub(super) position: isize,
    pub(super) chain: *mut c_void,
    pub(super) within_chain: size_t,
}

/// What happened to a buffer since its callback was last told.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct evbuffer_cb_info {
    pub(super) orig_size: size_t,
    pub(super) n_added: size_t,
    pub(super) n_deleted: size_t,
}

/// The lock functions that a program gives us. They do not throw: they are called from destructors.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct evthread_lock_callbacks {
    pub(super) lock_api_version: c_int,
    pub(super) supported_locktypes: std::ffi::c_uint,
    pub(super) alloc: Option<unsafe extern "C" fn(std::ffi::c_uint) -> *mut c_void>,
    pub(super) free: Option<unsafe extern "C" fn(*mut c_void, std::ffi::c_uint)>,
    pub(super) lock: Option<unsafe extern "C" fn(std::ffi::c_uint, *mut c_void) -> c_int>,
    pub(super) unlock: Option<unsafe extern "C" fn(std::ffi::c_uint, *mut c_void) -> c_int>,
}

/// The condition functions that a program gives us.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct evthread_condition_callbacks {
    pub(super) condition_api_version: c_int,
    pub(super) alloc_condition: Option<unsafe extern "C" fn(std::ffi::c_uint) -> *mut c_void>,
    pub(super) free_condition: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(super) signal_condition: Option<unsafe extern "C" fn(*mut c_void, c_int) -> c_int>,
    pub(super) wait_condition:
        Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *const timeval) -> c_int>,
}

const _: () = {
    assert!(size_of::<evbuffer_ptr>() == 24);
    assert!(size_of::<evbuffer_cb_info>() == 24);
    assert!(size_of::<evthread_lock_callbacks>() == 40);
    assert!(size_of::<evthread_condition_callbacks>() == 40);
};

/// What a listener calls with each connection.
pub(super) type ListenerCallback =
    unsafe extern "C-unwind" fn(*mut c_void, Socket, *mut sockaddr, c_int, *mut c_void);
/// What is called with warnings: how serious, and the text.
pub(super) type LogCallback = unsafe extern "C-unwind" fn(c_int, *const c_char);
