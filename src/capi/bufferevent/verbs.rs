//! What all bufferevents have: callbacks, directions that are enabled, buffers, and what they say of themselves.

use std::ffi::{c_int, c_short, c_void};

use super::super::base::event_base;
use super::super::buffer::{evbuffer_add, evbuffer_add_buffer, evbuffer_remove};
use super::super::layout::{BuffereventCallback, DataCallback, Socket, bufferevent, evbuffer};
use super::{BOTH, Bev, Kind, filter, live, pair, socket};

impl Bev {
    pub(super) fn set_callbacks(
        &mut self,
        read: Option<DataCallback>,
        write: Option<DataCallback>,
        event: Option<BuffereventCallback>,
        arg: *mut c_void,
    ) {
        let _held = self.lock();
        let seen = &mut self.seen;
        (seen.readcb, seen.writecb, seen.errorcb, seen.cbarg) = (read, write, event, arg);
        if let (Some(_), Some(mut core)) = (self.socket_id(), self.enter()) {
            self.tell(&mut core.bufferevents);
        }
    }
}

/// Enables directions.
///
/// # Safety
///
/// - C1 for `bufev`, to which the caller has a reference, and nothing is entered: a pair or a filter may have something to move.
pub(super) unsafe fn enable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    let held = bev.lock();
    bev.seen.enabled |= directions;
    let wanted = directions & BOTH & !bev.suspended;
    drop(held);
    // SAFETY: the caller's promise.
    unsafe { start(bufev, wanted) }
}

/// Lets directions go that are enabled and not suspended.
///
/// # Safety
///
/// - As [`enable`].
unsafe fn start(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    match bev.kind {
        Kind::Socket(..) => socket::start(bev, directions),
        Kind::Pair(_) => {
            // SAFETY: the caller's promise.
            unsafe { pair::start(bufev, directions) };
            0
        }
        Kind::Filter(_) => {
            // SAFETY: the caller's promise.
            unsafe { filter::start(bufev, directions) };
            0
        }
    }
}

/// Disables directions.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn disable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    let held = bev.lock();
    bev.seen.enabled &= !directions;
    drop(held);
    // SAFETY: the caller's promise.
    unsafe { stop(bufev, directions & BOTH) };
    0
}

/// # Safety
///
/// - As [`enable`].
unsafe fn stop(bufev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    match bev.kind {
        Kind::Socket(..) => {
            bev.with(|bufferevent| bufferevent.disable(live::interest_of(directions)));
        }
        Kind::Pair(_) => pair::stop_timeouts(bev, directions),
        // SAFETY: the caller's promise.
        Kind::Filter(_) => unsafe { filter::stop(bufev, directions) },
    }
}

/// Lets directions move nothing although they are enabled.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn suspend(bufev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let news = directions & !bev.suspended;
    bev.suspended |= directions;
    // SAFETY: the caller's promise.
    unsafe { stop(bufev, news) };
}

/// Ends what [`suspend`] began.
///
/// # Safety
///
/// - As [`enable`].
pub(super) unsafe fn resume(bufev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let news = directions & bev.suspended & bev.seen.enabled;
    bev.suspended &= !directions;
    if news != 0 {
        // SAFETY: the caller's promise.
        unsafe { start(bufev, news) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_setcb(
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
unsafe extern "C" fn bufferevent_getcb(
    bufev: *mut bufferevent,
    read: *mut Option<DataCallback>,
    write: *mut Option<DataCallback>,
    event: *mut Option<BuffereventCallback>,
    arg: *mut *mut c_void,
) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    // SAFETY: C2.
    if let Some(read) = unsafe { read.as_mut() } {
        *read = bev.seen.readcb;
    }
    // SAFETY: C2.
    if let Some(write) = unsafe { write.as_mut() } {
        *write = bev.seen.writecb;
    }
    // SAFETY: C2.
    if let Some(event) = unsafe { event.as_mut() } {
        *event = bev.seen.errorcb;
    }
    // SAFETY: C2.
    if let Some(arg) = unsafe { arg.as_mut() } {
        *arg = bev.seen.cbarg;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_enable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    if bufev.is_null() {
        return -1;
    }
    // SAFETY: C1.
    unsafe { Bev::hold(bufev) };
    // SAFETY: it is held.
    let done = unsafe { enable(bufev, directions) };
    // SAFETY: it was held above.
    unsafe { Bev::release(bufev) };
    done
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_disable(bufev: *mut bufferevent, directions: c_short) -> c_int {
    // SAFETY: C1.
    unsafe { disable(bufev, directions) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_enabled(bufev: *mut bufferevent) -> c_short {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return 0 };
    if let (Some(_), Some(core)) = (bev.socket_id(), bev.enter()) {
        bev.show(&core);
    }
    bev.seen.enabled
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_base(bufev: *mut bufferevent) -> *mut event_base {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.base)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_input(bufev: *mut bufferevent) -> *mut evbuffer {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.input)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_output(bufev: *mut bufferevent) -> *mut evbuffer {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(std::ptr::null_mut(), |bev| bev.seen.output)
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
    unsafe { evbuffer_add(bev.seen.output, data, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_write_buffer(bufev: *mut bufferevent, from: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1; nothing is entered.
    unsafe { evbuffer_add_buffer(bev.seen.output, from) }
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
    let count = unsafe { evbuffer_remove(bev.seen.input, data, len) };
    usize::try_from(count).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_read_buffer(bufev: *mut bufferevent, to: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1; nothing is entered.
    unsafe { evbuffer_add_buffer(to, bev.seen.input) }
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
    match bev.kind {
        Kind::Socket(..) => 0,
        // SAFETY: C1; nothing is entered.
        Kind::Pair(_) => unsafe { pair::flush(bufev, directions, mode) },
        // SAFETY: C1; nothing is entered.
        Kind::Filter(_) => unsafe { filter::flush(bufev, directions, mode) },
    }
}

/// Of a filter it is the descriptor beneath.
#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_getfd(bufev: *mut bufferevent) -> Socket {
    // SAFETY: C1.
    match unsafe { filter::bottom(bufev) } {
        Some(bev) if bev.is_socket() => bev.seen.ev_read.fd,
        _ => -1,
    }
}

/// The old descriptor stays open. Of a filter it is the one beneath that is exchanged.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_setfd(bufev: *mut bufferevent, fd: Socket) -> c_int {
    // SAFETY: C1.
    match unsafe { filter::bottom(bufev) } {
        Some(bev) if bev.is_socket() => socket::set_fd(bev, fd),
        _ => -1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_underlying(bufev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: C1.
    unsafe { filter::underlying(bufev) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_pair_get_partner(bufev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: C1.
    unsafe { pair::partner(bufev) }
}

/// Of sockets alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_priority_set(bufev: *mut bufferevent, priority: c_int) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    let (Some(id), Ok(priority)) = (bev.socket_id(), u8::try_from(priority)) else { return -1 };
    let Some(mut core) = bev.enter() else { return -1 };
    let core = &mut *core;
    if core.bufferevents.set_priority(&mut core.reactor, id, priority).is_err() {
        return -1;
    }
    (bev.seen.ev_read.priority, bev.seen.ev_write.priority) = (priority, priority);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_get_priority(bufev: *const bufferevent) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    c_int::from(bev.seen.ev_read.priority)
}
