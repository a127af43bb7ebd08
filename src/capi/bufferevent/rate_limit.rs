//! Rate limits of one bufferevent. Sockets alone are limited; pairs and filters only remember what they were told, as in libevent.

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use libc::timeval;

use super::super::layout::bufferevent;
use super::{Bev, marks};
use crate::bufferevent::{Direction, RATE_LIMIT_MAX, TokenBucket};

/// What a turn may read or write as far as programs are told, unless they have said otherwise.
const MAX_SINGLE: usize = 16384;

/// Rates, as C holds them: a pointer to this.
pub(super) struct ev_token_bucket_cfg {
    pub(super) bucket: TokenBucket,
}

/// Null for a rate of 0 or above its burst, and for a tick under a millisecond; no tick is one second.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ev_token_bucket_cfg_new(
    read_rate: usize,
    read_burst: usize,
    write_rate: usize,
    write_burst: usize,
    tick: *const timeval,
) -> *mut ev_token_bucket_cfg {
    // SAFETY: C2.
    let tick = match unsafe { tick.as_ref() } {
        None => Some(Duration::from_secs(1)),
        Some(tick) => marks::duration(tick),
    };
    let bucket = tick.map(|tick| TokenBucket::new(read_rate, read_burst, write_rate, write_burst, tick));
    match bucket {
        Some(Ok(bucket)) => Box::into_raw(Box::new(ev_token_bucket_cfg { bucket })),
        _ => ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ev_token_bucket_cfg_free(rates: *mut ev_token_bucket_cfg) {
    if !rates.is_null() {
        // SAFETY: C1: `ev_token_bucket_cfg_new` made it with a box.
        drop(unsafe { Box::from_raw(rates) });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_set_rate_limit(
    bufev: *mut bufferevent,
    rates: *mut ev_token_bucket_cfg,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1; null is no limit.
    let bucket = unsafe { rates.as_ref() }.map(|rates| rates.bucket);
    let _held = bev.lock();
    bev.bucket.set(rates);
    let Some(id) = bev.socket_id() else { return 0 };
    let Some(mut core) = bev.enter() else { return -1 };
    let now_ns = core.reactor.now();
    let set = core.bufferevents.set_rate_limit(id, bucket.as_ref(), now_ns);
    core.notify();
    if set.is_ok() { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_token_bucket_cfg(
    bufev: *const bufferevent,
) -> *const ev_token_bucket_cfg {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(ptr::null(), |bev| bev.bucket.get().cast_const())
}

impl Bev {
    /// What is in a bucket of its own; as much as there can be if it has none.
    fn tokens(&self, direction: Direction) -> isize {
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return isize::MAX };
        let now_ns = core.reactor.now();
        core.bufferevents.tokens(id, direction, now_ns).ok().flatten().unwrap_or(isize::MAX)
    }

    /// What a turn may move in this direction as far as the program is concerned.
    fn max_single(&self, direction: Direction) -> isize {
        match self.max_single.get()[place(direction)] {
            0 => MAX_SINGLE as isize,
            bytes => bytes as isize,
        }
    }

    /// How much would be moved now: what is in its bucket, or else what a turn may move, and no more than the group has for it.
    fn max_to_move(&self, direction: Direction) -> isize {
        let own =
            if self.bucket.get().is_null() { self.max_single(direction) } else { self.tokens(direction) };
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return own.max(0) };
        let now_ns = core.reactor.now();
        let share = core.bufferevents.share(id, direction, now_ns).unwrap_or(usize::MAX);
        own.min(isize::try_from(share).unwrap_or(isize::MAX)).max(0)
    }

    fn set_max_single(&self, direction: Direction, bytes: usize) -> c_int {
        let bytes = if bytes > RATE_LIMIT_MAX { 0 } else { bytes };
        let _held = self.lock();
        let mut max_single = self.max_single.get();
        max_single[place(direction)] = bytes;
        self.max_single.set(max_single);
        self.with(|bufferevent| match direction {
            Direction::Read => bufferevent.set_max_single_read(bytes),
            Direction::Write => bufferevent.set_max_single_write(bytes),
        });
        0
    }

    /// Takes bytes out of a bucket of its own, or puts some in.
    fn decrement(&self, direction: Direction, bytes: isize) -> c_int {
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return -1 };
        let now_ns = core.reactor.now();
        let taken = core.bufferevents.take_tokens(id, direction, bytes, now_ns);
        core.notify();
        if taken.is_ok() { 0 } else { -1 }
    }
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::Read => 0,
        Direction::Write => 1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_set_max_single_read(bufev: *mut bufferevent, bytes: usize) -> c_int {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(-1, |bev| bev.set_max_single(Direction::Read, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_set_max_single_write(bufev: *mut bufferevent, bytes: usize) -> c_int {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(-1, |bev| bev.set_max_single(Direction::Write, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_max_single_read(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(0, |bev| bev.max_single(Direction::Read))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_max_single_write(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(0, |bev| bev.max_single(Direction::Write))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_read_limit(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(isize::MAX, |bev| bev.tokens(Direction::Read))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_write_limit(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(isize::MAX, |bev| bev.tokens(Direction::Write))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_max_to_read(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(0, |bev| bev.max_to_move(Direction::Read))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_get_max_to_write(bufev: *mut bufferevent) -> isize {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(0, |bev| bev.max_to_move(Direction::Write))
}

/// -1 without a limit, where libevent crashes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_decrement_read_limit(bufev: *mut bufferevent, bytes: isize) -> c_int {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(-1, |bev| bev.decrement(Direction::Read, bytes))
}

/// -1 without a limit, where libevent crashes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_decrement_write_limit(
    bufev: *mut bufferevent,
    bytes: isize,
) -> c_int {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(-1, |bev| bev.decrement(Direction::Write, bytes))
}
