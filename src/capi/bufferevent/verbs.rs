//! What all bufferevents have: callbacks, directions that are enabled, buffers, and what they say of themselves.

use std::ffi::{c_int, c_short, c_void};

use super::super::base::event_base;
use super::super::buffer::{evbuffer_add, evbuffer_add_buffer, evbuffer_remove};
use super::super::layout::{BuffereventCallback, DataCallback, Socket, bufferevent, evbuffer};
use super::{BOTH, Bev, Kind, filter, live, pair, socket};

impl Bev {
    pub(super) fn set_callbacks(
        &self,
        read: Option<DataCallback>,
        write: Option<DataCallback>,
        event: Option<BuffereventCallback>,
        arg: *mut c_void,
    ) {
        let _held = self.lock();
        self.seen.readcb.set(read);
        self.seen.writecb.set(write);
        self.seen.errorcb.set(event);
        self.seen.cbarg.set(arg);
        if let (Some(_), Some(mut core)) = (self.socket_id(), self.enter()) {
            self.tell(&mut core.bufferevents);
        }
    }
}

/// Enables directions.
///
/// # Safety
///
/// - The caller has a reference to `bev`, and nothing is entered: a pair or a filter may have something to move.
pub(super) unsafe fn enable(bev: &Bev, directions: c_short) -> c_int {
    let held = bev.lock();
    bev.seen.enabled.set(bev.seen.enabled.get() | directions);
    let wanted = directions & BOTH & !bev.suspended.get();
    drop(held);
    // SAFETY: the caller's promise.
    unsafe { start(bev, wanted) }
}

/// Lets directions go that are enabled and not suspended.
///
/// # Safety
///
/// - As [`enable`].
unsafe fn start(bev: &Bev, directions: c_short) -> c_int {
    match bev.kind.get() {
        Kind::Socket(_) => return socket::start(bev, directions),
        // SAFETY: the caller's promise.
        Kind::Pair => unsafe { pair::start(bev, directions) },
        // SAFETY: the caller's promise.
        Kind::Filter => unsafe { filter::start(bev, directions) },
    }
    0
}

/// Disables directions.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn disable(bev: &Bev, directions: c_short) {
    let held = bev.lock();
    bev.seen.enabled.set(bev.seen.enabled.get() & !directions);
    drop(held);
    // SAFETY: the caller's promise.
    unsafe { stop(bev, directions & BOTH) };
}

/// # Safety
///
/// - As [`enable`].
unsafe fn stop(bev: &Bev, directions: c_short) {
    match bev.kind.get() {
        Kind::Socket(_) => {
            bev.with(|bufferevent| bufferevent.disable(live::interest_of(directions)));
        }
        Kind::Pair => pair::stop_timeouts(bev, directions),
        // SAFETY: the caller's promise.
        Kind::Filter => unsafe { filter::stop(bev, directions) },
    }
}

/// Lets directions move nothing although they are enabled.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn suspend(bev: &Bev, directions: c_short) {
    let held = bev.lock();
    let news = directions & !bev.suspended.get();
    bev.suspended.set(bev.suspended.get() | directions);
    drop(held);
    // SAFETY: the caller's promise.
    unsafe { stop(bev, news) };
}

/// Ends what [`suspend`] began.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn resume(bev: &Bev, directions: c_short) {
    let held = bev.lock();
    let news = directions & bev.suspended.get() & bev.seen.enabled.get();
    bev.suspended.set(bev.suspended.get() & !directions);
    drop(held);
    if news != 0 {
        // SAFETY: the caller's promise.
        unsafe { start(bev, news) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_setcb(
    bufev: *mut bufferevent,
    read: Option<DataCallback>,
    write: Option<DataCallback>,
    event: Option<BuffereventCallback>,
    arg: *mut c_void,
) {
    // SAFETY: C1.
    if let Some(bev) = unsafe { Bev::at(bufev) } {
        bev.set_callbacks(read, write, event, arg);
    }
}

/// A null pointer says that this one is not wanted.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_getcb(
    bufev: *mut bufferevent,
    read: *mut Option<DataCallback>,
    write: *mut Option<DataCallback>,
    event: *mut Option<BuffereventCallback>,
    arg: *mut *mut c_void,
) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let _held = bev.lock();
    // SAFETY: C2.
    if let Some(read) = unsafe { read.as_mut() } {
        *read = bev.seen.readcb.get();
    }
    // SAFETY: C2.
    if let Some(write) = unsafe { write.as_mut() } {
        *write = bev.seen.writecb.get();
    }
    // SAFETY: C2.
    if let Some(event) = unsafe { event.as_mut() } {
        *event = bev.seen.errorcb.get();
    }
    // SAFETY: C2.
    if let Some(arg) = unsafe { arg.as_mut() } {
        *arg = bev.seen.cbarg.get();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_enable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: C1.
    let held = unsafe { Bev::at(bufev) }.and_then(|bev| Some((bev, bev.hold()?)));
    let Some((bev, _reference)) = held else { return -1 };
    // SAFETY: it is held.
    unsafe { enable(bev, directions) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_disable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1: the program has a reference; nothing is entered.
    unsafe { disable(bev, directions) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_enabled(bufev: *mut bufferevent) -> c_short {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return 0 };
    let _held = bev.lock();
    if let (Some(_), Some(core)) = (bev.socket_id(), bev.enter()) {
        bev.show(&core);
    }
    bev.seen.enabled.get()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_base(bufev: *mut bufferevent) -> *mut event_base {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.base.get())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_input(bufev: *mut bufferevent) -> *mut evbuffer {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.input.get())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_output(bufev: *mut bufferevent) -> *mut evbuffer {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.output.get())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_write(
    bufev: *mut bufferevent,
    data: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C2; nothing is entered.
    unsafe { evbuffer_add(bev.seen.output.get(), data, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_write_buffer(bufev: *mut bufferevent, from: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1; nothing is entered.
    unsafe { evbuffer_add_buffer(bev.seen.output.get(), from) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_read(
    bufev: *mut bufferevent,
    data: *mut c_void,
    len: usize,
) -> usize {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return 0 };
    // SAFETY: C2; nothing is entered.
    let count = unsafe { evbuffer_remove(bev.seen.input.get(), data, len) };
    usize::try_from(count).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_read_buffer(bufev: *mut bufferevent, to: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1; nothing is entered.
    unsafe { evbuffer_add_buffer(to, bev.seen.input.get()) }
}

/// Of a socket it has nothing to do: what can be sent always is.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn bufferevent_flush(
    bufev: *mut bufferevent,
    directions: c_short,
    mode: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    match bev.kind.get() {
        Kind::Socket(_) => 0,
        // SAFETY: C1; nothing is entered.
        Kind::Pair => unsafe { pair::flush(bev, directions, mode) },
        // SAFETY: C1; nothing is entered.
        Kind::Filter => unsafe { filter::flush(bev, directions, mode) },
    }
}

/// Of a filter it is the descriptor beneath.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_getfd(bufev: *mut bufferevent) -> Socket {
    // SAFETY: C1.
    match unsafe { Bev::at(bufev) }.map(Bev::bottom) {
        Some(bev) if bev.is_socket() => bev.fd(),
        _ => -1,
    }
}

/// The old descriptor stays open. Of a filter it is the one beneath that is exchanged.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_setfd(bufev: *mut bufferevent, fd: Socket) -> c_int {
    // SAFETY: C1.
    match unsafe { Bev::at(bufev) }.map(Bev::bottom) {
        Some(bev) if bev.is_socket() => socket::set_fd(bev, fd),
        _ => -1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_underlying(bufev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), Bev::underlying)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_pair_get_partner(bufev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: C1.
    unsafe { pair::partner(bufev) }
}

/// Of sockets alone.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_priority_set(bufev: *mut bufferevent, priority: c_int) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    let (Some(id), Ok(priority)) = (bev.socket_id(), u8::try_from(priority)) else { return -1 };
    let _held = bev.lock();
    let Some(mut core) = bev.enter() else { return -1 };
    let core = &mut *core;
    if core.bufferevents.set_priority(&mut core.reactor, id, priority).is_err() {
        return -1;
    }
    bev.seen.set_priority(priority);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_priority(bufev: *const bufferevent) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    c_int::from(bev.seen.ev_read.priority.get())
}
