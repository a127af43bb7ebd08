//! Groups of bufferevents that share rate limits. Only sockets take part; pairs and filters are members without consequences, as in
//! libevent. Members have the base of their group.

use std::cell::RefCell;
use std::ffi::c_int;
use std::ptr;

use super::super::base::{Entered, event_base};
use super::super::free::is_alive;
use super::super::layout::bufferevent;
use super::super::lock::Held;
use super::Bev;
use super::rate_limit::ev_token_bucket_cfg;
use crate::bufferevent::{RateLimitGroup, RateLimitGroupId};

/// A group, as C holds it: a pointer to this. It is only ever borrowed shared. Its members have its base, whose lock guards the list.
pub(super) struct bufferevent_rate_limit_group {
    base: *mut event_base,
    id: RateLimitGroupId,
    /// Of any kind.
    members: RefCell<Vec<*mut bufferevent>>,
}

impl bufferevent_rate_limit_group {
    fn enter<'a>(&self) -> Option<Entered<'a>> {
        if !is_alive(self.base) {
            return None;
        }
        // SAFETY: it is alive.
        let base = unsafe { self.base.as_ref() }?;
        // SAFETY: K1: nothing is entered when a function of C's is called.
        Some(unsafe { base.enter() })
    }

    /// Its lock, unless its base has gone.
    fn lock<'a>(&self) -> Option<Held<'a>> {
        if !is_alive(self.base) {
            return None;
        }
        // SAFETY: it is alive.
        let base = unsafe { self.base.as_ref() }?;
        Some(base.lock().hold())
    }

    fn with<T>(&self, work: impl FnOnce(&mut RateLimitGroup) -> T) -> Option<T> {
        let mut core = self.enter()?;
        let now_ns = core.reactor.now();
        let result = core.bufferevents.group(self.id, now_ns).ok().map(work);
        core.notify();
        result
    }
}

/// # Safety
///
/// - C1 for `group`.
unsafe fn at<'a>(group: *mut bufferevent_rate_limit_group) -> Option<&'a bufferevent_rate_limit_group> {
    // SAFETY: the caller's promise.
    unsafe { group.as_ref() }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_new(
    base: *mut event_base,
    rates: *const ev_token_bucket_cfg,
) -> *mut bufferevent_rate_limit_group {
    // SAFETY: C1.
    let (Some(owner), Some(rates)) = (unsafe { base.as_ref() }, unsafe { rates.as_ref() }) else {
        return ptr::null_mut();
    };
    // SAFETY: K1: nothing is entered when a function of C's is called.
    let mut core = unsafe { owner.enter() };
    let core = &mut *core;
    match core.bufferevents.new_group(&mut core.reactor, &rates.bucket) {
        Ok(id) => {
            Box::into_raw(Box::new(bufferevent_rate_limit_group { base, id, members: RefCell::default() }))
        }
        Err(_) => ptr::null_mut(),
    }
}

/// Members leave it, where libevent aborts.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_free(group: *mut bufferevent_rate_limit_group) {
    // SAFETY: C1.
    let Some(object) = (unsafe { at(group) }) else { return };
    let held = object.lock();
    for member in object.members.take() {
        // SAFETY: members leave before they go.
        if let Some(bev) = unsafe { Bev::at(member) } {
            bev.group.set(ptr::null_mut());
        }
    }
    drop(held);
    if let Some(mut core) = object.enter() {
        let core = &mut *core;
        // It is there until this moment.
        let _ = core.bufferevents.free_group(&mut core.reactor, object.id);
    }
    // SAFETY: C1: it was made with a box.
    drop(unsafe { Box::from_raw(group) });
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_set_cfg(
    group: *mut bufferevent_rate_limit_group,
    rates: *const ev_token_bucket_cfg,
) -> c_int {
    // SAFETY: C1.
    let (Some(group), Some(rates)) = (unsafe { at(group) }, unsafe { rates.as_ref() }) else { return -1 };
    let Some(mut core) = group.enter() else { return -1 };
    let now_ns = core.reactor.now();
    let set = core.bufferevents.set_group_limit(group.id, &rates.bucket, now_ns);
    core.notify();
    if set.is_ok() { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_set_min_share(
    group: *mut bufferevent_rate_limit_group,
    bytes: usize,
) -> c_int {
    // SAFETY: C1.
    let Some(group) = (unsafe { at(group) }).filter(|_| isize::try_from(bytes).is_ok()) else { return -1 };
    group.with(|group| group.set_min_share(bytes)).map_or(-1, |()| 0)
}

/// A null group is none.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_add_to_rate_limit_group(
    bufev: *mut bufferevent,
    group: *mut bufferevent_rate_limit_group,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    // SAFETY: C1.
    let Some(joined) = (unsafe { at(group) }) else {
        leave(bev);
        return 0;
    };
    let _held = bev.lock();
    if ptr::eq(bev.group.get(), group) {
        return 0;
    }
    if !ptr::eq(bev.seen.base.get(), joined.base) {
        return -1;
    }
    leave(bev);
    if let (Some(id), Some(mut core)) = (bev.socket_id(), bev.enter()) {
        if core.bufferevents.add_to_group(id, joined.id).is_err() {
            return -1;
        }
        core.notify();
    }
    joined.members.borrow_mut().push(bufev);
    bev.group.set(group);
    0
}

/// Being in none is no error.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_remove_from_rate_limit_group(bufev: *mut bufferevent) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return -1 };
    leave(bev);
    0
}

/// Takes a bufferevent out of its group, if it is in one.
pub(super) fn leave(bev: &Bev) {
    let _held = bev.lock();
    let (this, group) = (bev.as_c(), bev.group.replace(ptr::null_mut()));
    // SAFETY: a group takes itself from its members before it goes.
    let Some(group) = (unsafe { at(group) }) else { return };
    group.members.borrow_mut().retain(|&member| !ptr::eq(member, this));
    if let (Some(id), Some(mut core)) = (bev.socket_id(), bev.enter()) {
        // It is there as long as it has an id.
        let _ = core.bufferevents.remove_from_group(id);
        core.notify();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_get_read_limit(
    group: *mut bufferevent_rate_limit_group,
) -> isize {
    // SAFETY: C1.
    unsafe { at(group) }.and_then(|group| group.with(|group| group.read_limit())).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_get_write_limit(
    group: *mut bufferevent_rate_limit_group,
) -> isize {
    // SAFETY: C1.
    unsafe { at(group) }.and_then(|group| group.with(|group| group.write_limit())).unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_decrement_read(
    group: *mut bufferevent_rate_limit_group,
    bytes: isize,
) -> c_int {
    // SAFETY: C1.
    let done = unsafe { at(group) }.and_then(|group| group.with(|group| group.decrement_read(bytes)));
    done.map_or(-1, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_decrement_write(
    group: *mut bufferevent_rate_limit_group,
    bytes: isize,
) -> c_int {
    // SAFETY: C1.
    let done = unsafe { at(group) }.and_then(|group| group.with(|group| group.decrement_write(bytes)));
    done.map_or(-1, |()| 0)
}

/// A null pointer says that this one is not wanted.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_get_totals(
    group: *mut bufferevent_rate_limit_group,
    read: *mut u64,
    written: *mut u64,
) {
    // SAFETY: C1.
    let totals = unsafe { at(group) }.and_then(|group| group.with(|group| group.totals()));
    let Some(totals) = totals else { return };
    // SAFETY: C2.
    if let Some(read) = unsafe { read.as_mut() } {
        *read = totals.0;
    }
    // SAFETY: C2.
    if let Some(written) = unsafe { written.as_mut() } {
        *written = totals.1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_rate_limit_group_reset_totals(
    group: *mut bufferevent_rate_limit_group,
) {
    // SAFETY: C1.
    if let Some(group) = unsafe { at(group) } {
        group.with(RateLimitGroup::reset_totals);
    }
}
