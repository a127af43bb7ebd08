//! Sockets: bufferevents of the engine's. The descriptor stays the program's in the end: the engine, which owns what it watches, only
//! closes it when `BEV_OPT_CLOSE_ON_FREE` says so, and else gives it back.

use std::ffi::{c_int, c_short, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use libc::sockaddr;

use super::super::base::{Core, current_base, event_base};
use super::super::buffer::{Side, evbuffer, evbuffer_add_buffer, evbuffer_new};
use super::super::errno;
use super::super::event::event_assign;
use super::super::layout::{BuffereventCallback, DataCallback, Socket, bufferevent, ev};
use super::{BOTH, Bev, Kind, live, option, resolve, what};
use crate::bufferevent::{BuffereventId, Options, Trigger};
use crate::reactor::Interest;
use crate::util;

/// Null if there is no base, or the options contradict each other. No descriptor is one that is still to come.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_socket_new(
    base: *mut event_base,
    fd: Socket,
    options: c_int,
) -> *mut bufferevent {
    let base = if base.is_null() { current_base() } else { base };
    // SAFETY: C1.
    let Some(owner) = (unsafe { base.as_ref() }).filter(|_| Bev::check(options)) else {
        return ptr::null_mut();
    };
    // SAFETY: K1: nothing is entered when a function of C's is called.
    let mut core = unsafe { owner.enter() };
    let Some(id) = insert(&mut core, options) else { return ptr::null_mut() };
    let bev = Bev::make(base, Kind::Socket(Some(id)), None, options);
    // SAFETY: it was made a line above.
    let Some(object) = (unsafe { Bev::at(bev) }) else { return ptr::null_mut() };
    object.settle_in(&mut core, id);
    drop(core);
    object.assign_events(fd);
    object.give_fd(fd);
    bev
}

/// A bufferevent of the engine's, without a descriptor.
fn insert(core: &mut Core, options: c_int) -> Option<BuffereventId> {
    let is_deferred = options & option::DEFER_CALLBACKS != 0;
    // Whoever has made a socket that is refused may still need it.
    let options = Options::new().deferred(is_deferred).keep_refused(true);
    core.bufferevents.insert(&mut core.reactor, None, &options).ok()
}

impl Bev {
    /// Takes the place of the engine's bufferevent in C's world.
    fn settle_in(&self, core: &mut Core, id: BuffereventId) {
        core.table.set(id.0.index(), self.as_c());
        self.kind.set(Kind::Socket(Some(id)));
        self.told.set(live::Told::default());
        let handle = |side| {
            Box::into_raw(Box::new(evbuffer::of_bufferevent(self.seen.base.get(), id, side, free_handle)))
        };
        self.seen.input.set(handle(Side::Input));
        self.seen.output.set(handle(Side::Output));
        let priority = core.bufferevents.priority(&core.reactor, id).unwrap_or_default();
        self.seen.set_priority(priority);
    }

    /// The two events that old programs look at. They stand for the descriptor and are never added.
    fn assign_events(&self, fd: Socket) {
        if let Some(mut core) = self.enter() {
            self.remove_slots(&mut core);
        }
        let (base, bev) = (self.seen.base.get(), self.as_c().cast());
        let priorities = (self.seen.ev_read.priority.get(), self.seen.ev_write.priority.get());
        let (read, write) = (ev::READ | ev::PERSIST | ev::FINALIZE, ev::WRITE | ev::PERSIST | ev::FINALIZE);
        // SAFETY: the event is ours, and nothing waits for it.
        unsafe {
            event_assign(ptr::from_ref(&self.seen.ev_read).cast_mut(), base, fd, read, Some(look), bev)
        };
        // SAFETY: as above.
        unsafe {
            event_assign(ptr::from_ref(&self.seen.ev_write).cast_mut(), base, fd, write, Some(look), bev)
        };
        self.seen.ev_read.priority.set(priorities.0);
        self.seen.ev_write.priority.set(priorities.1);
    }

    /// Lets the engine watch a descriptor of the program's. One that cannot be watched is remembered all the same, and found out when a
    /// direction is enabled.
    fn give_fd(&self, fd: Socket) -> bool {
        self.seen.set_fd(fd);
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return false };
        let Some(owned) = own(fd) else { return false };
        let core = &mut *core;
        let given = core.bufferevents.give_fd(&mut core.reactor, id, owned);
        if let Err((_, fd)) = given {
            let _still_the_programs = fd.into_raw_fd();
            return false;
        }
        true
    }

    /// Takes the descriptor back from the engine, open.
    fn take_fd(&self) -> Socket {
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else {
            return self.seen.ev_read.fd.get();
        };
        let core = &mut *core;
        let taken = core.bufferevents.replace_fd(&mut core.reactor, id, None);
        resolve::forget(core, id);
        taken.ok().flatten().map_or(self.seen.ev_read.fd.get(), IntoRawFd::into_raw_fd)
    }
}

/// A descriptor as the engine wants it: owned, though its owner will give it back, and such that it does not block.
fn own(fd: Socket) -> Option<OwnedFd> {
    if fd < 0 {
        return None;
    }
    // SAFETY: it is only borrowed for the call, which finds out whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    util::make_nonblocking(borrowed).ok()?;
    // SAFETY: it is open, and whoever gave it to the bufferevent leaves it to that; it is closed only if the program says so.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program has activated one of the two events by hand: the engine looks at the descriptor.
unsafe extern "C-unwind" fn look(_fd: Socket, _what: c_short, bev: *mut c_void) {
    // SAFETY: C1.
    if let Some(bev) = unsafe { Bev::at(bev.cast::<bufferevent>()) } {
        bev.with(|bufferevent| bufferevent.look_again());
    }
}

/// # Safety
///
/// - `handle` came from `settle_in`, and nobody uses it any more.
unsafe fn free_handle(handle: *const evbuffer) {
    // SAFETY: it was made with a box.
    drop(unsafe { Box::from_raw(handle.cast_mut()) });
}

/// The loop does not find it any more.
pub(super) fn unlist(bev: &Bev) {
    if let (Some(id), Some(mut core)) = (bev.socket_id(), bev.enter()) {
        core.table.set(id.0.index(), ptr::null_mut());
    }
}

/// It is gone for the program: the engine's bufferevent goes, and the descriptor stays if it is to stay.
pub(super) fn end(bev: &Bev) {
    retire_buffers(bev);
    let closes = bev.options & option::CLOSE_ON_FREE != 0;
    let is_engines = bev.with(|bufferevent| bufferevent.fd().is_some()) == Some(true);
    if !closes {
        bev.take_fd();
    } else if !is_engines && bev.seen.ev_read.fd.get() >= 0 {
        // SAFETY: by its option the descriptor is the bufferevent's, and nothing else is to use it.
        unsafe { libc::close(bev.seen.ev_read.fd.get()) };
    }
    if let (Some(id), Some(mut core)) = (bev.socket_id(), bev.enter()) {
        let core = &mut *core;
        bev.remove_slots(core);
        resolve::forget(core, id);
        // It is in the engine as long as it has an id; a descriptor that it has left is closed.
        let _ = core.bufferevents.remove(&mut core.reactor, id);
    }
}

fn retire_buffers(bev: &Bev) {
    for handle in [bev.seen.input.get(), bev.seen.output.get()] {
        // SAFETY: the handles are the bufferevent's, which ends, or gets other ones.
        if let Some(handle) = unsafe { handle.as_ref() } {
            // SAFETY: as above.
            unsafe { handle.retire() };
        }
    }
}

/// Its base is about to go: what the bufferevent held of it goes, and the program can still free it.
pub(super) fn orphan(bev: &Bev) {
    let fd = bev.take_fd();
    if let Some(mut core) = bev.enter() {
        bev.remove_slots(&mut core);
    }
    retire_buffers(bev);
    bev.seen.set_fd(fd);
    bev.kind.set(Kind::Socket(None));
    bev.seen.base.set(ptr::null_mut());
    // SAFETY: it makes a buffer, or none.
    bev.seen.input.set(unsafe { evbuffer_new() });
    // SAFETY: as above.
    bev.seen.output.set(unsafe { evbuffer_new() });
}

/// Enables directions that are not suspended.
pub(super) fn start(bev: &Bev, directions: c_short) -> c_int {
    let wanted = live::interest_of(directions);
    let Some(id) = bev.socket_id() else { return -1 };
    let Some(mut core) = bev.enter() else { return -1 };
    bev.tell(&mut core.bufferevents);
    let Ok(bufferevent) = core.bufferevents.get(id) else { return -1 };
    if wanted.contains(Interest::READ) && !bufferevent.enabled().contains(Interest::READ) {
        bufferevent.read_again();
    }
    bufferevent.enable(wanted);
    bufferevent.restart_timeouts(wanted);
    let is_open = bufferevent.fd().is_some();
    let is_idle = is_open && !bufferevent.is_connecting() && bufferevent.output().is_empty();
    if wanted.contains(Interest::WRITE) && is_idle {
        // A program that enables writing with nothing to write is asked for something, once.
        bufferevent.trigger(Interest::WRITE, Trigger::WithinMarks);
    }
    core.notify();
    bev.show(&core);
    // What cannot be watched cannot be enabled.
    if bev.seen.ev_read.fd.get() >= 0 && !is_open && directions != 0 { -1 } else { 0 }
}

/// Another descriptor; the old one stays open.
pub(super) fn set_fd(bev: &Bev, fd: Socket) -> c_int {
    bev.take_fd();
    bev.give_fd(fd);
    bev.unfreeze();
    if fd >= 0 {
        let directions = bev.seen.enabled.get() & BOTH & !bev.suspended.get();
        start(bev, directions);
    }
    bev.assign_events(fd);
    if let Some(core) = bev.enter() {
        bev.show(&core);
    }
    0
}

/// Connects to an address, or with none takes the descriptor to be connecting already. A refusal that is known at once is told
/// through the event callback like a later one; everything else that goes wrong at once is told here.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn bufferevent_socket_connect(
    bufev: *mut bufferevent,
    address: *const sockaddr,
    len: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }).filter(|bev| bev.socket_id().is_some()) else { return -1 };
    let old = bev.take_fd();
    // SAFETY: C2; null is none.
    let family = unsafe { address.as_ref() }.map(|address| c_int::from(address.sa_family));
    let fd = match (old, family) {
        (-1, None) => return -1,
        (-1, Some(family)) => make_socket(family),
        (fd, _) => fd,
    };
    if fd < 0 {
        return -1;
    }
    let begun = match family {
        // SAFETY: C2.
        Some(_) => unsafe { begin(fd, address, len) },
        None => Begun::UnderWay,
    };
    if begun == Begun::Failed && old < 0 {
        let error = errno::get();
        // SAFETY: it was made above, and nobody else knows it.
        unsafe { libc::close(fd) };
        errno::set(error);
        return -1;
    }
    bev.go_on(fd, begun)
}

/// What connecting has come to at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    UnderWay,
    Refused,
    Failed,
}

fn make_socket(family: c_int) -> Socket {
    // SAFETY: it takes three integers and no memory.
    unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) }
}

/// # Safety
///
/// - C2 for `address`, of `len` bytes.
unsafe fn begin(fd: Socket, address: *const sockaddr, len: c_int) -> Begun {
    let Ok(len) = libc::socklen_t::try_from(len) else { return Begun::Failed };
    // SAFETY: the caller's promise.
    if unsafe { libc::connect(fd, address, len) } == 0 {
        return Begun::UnderWay;
    }
    match errno::get() {
        libc::EINTR | libc::EINPROGRESS => Begun::UnderWay,
        libc::ECONNREFUSED => Begun::Refused,
        _ => Begun::Failed,
    }
}

impl Bev {
    fn go_on(&self, fd: Socket, begun: Begun) -> c_int {
        let refusal = errno::get();
        if begun == Begun::UnderWay {
            return self.wait_for_connect(fd);
        }
        self.give_fd(fd);
        self.assign_events(fd);
        if begun == Begun::Failed {
            return -1;
        }
        errno::set(refusal);
        // SAFETY: it lives, nothing is entered, and being deferred it calls nobody.
        unsafe { self.run_event(what::ERROR, option::DEFER_CALLBACKS) };
        let _held = self.lock();
        self.seen.enabled.set(self.seen.enabled.get() & !BOTH);
        self.with(|bufferevent| bufferevent.disable(Interest::READ | Interest::WRITE));
        0
    }

    fn wait_for_connect(&self, fd: Socket) -> c_int {
        self.assign_events(fd);
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return -1 };
        let Some(owned) = own(fd) else { return -1 };
        {
            let core = &mut *core;
            let begun = core.bufferevents.give_connecting_fd(&mut core.reactor, id, owned);
            if let Err((_, fd)) = begun {
                let _still_the_programs = fd.into_raw_fd();
                return -1;
            }
        }
        self.tell(&mut core.bufferevents);
        core.notify();
        self.show(&core);
        0
    }

    /// After an exchange of descriptors both ends of both buffers are open, as they are in libevent.
    fn unfreeze(&self) {
        self.with(|bufferevent| bufferevent.thaw_buffers(true));
    }
}

/// Moves a socket bufferevent to another base, with all that is in it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_base_set(base: *mut event_base, bufev: *mut bufferevent) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }).filter(|bev| bev.is_socket()) else { return -1 };
    // SAFETY: C1.
    let Some(owner) = (unsafe { base.as_ref() }) else { return -1 };
    if ptr::eq(base, bev.seen.base.get()) {
        return 0;
    }
    // SAFETY: K1: nothing is entered when a function of C's is called.
    let mut core = unsafe { owner.enter() };
    let inserted = insert(&mut core, bev.options);
    drop(core);
    let Some(id) = inserted else { return -1 };
    let (fd, old_id) = (bev.take_fd(), bev.socket_id());
    let old = (bev.seen.input.get(), bev.seen.output.get());
    let old_base = bev.seen.base.replace(base);
    // SAFETY: K1: nothing is entered.
    let mut core = unsafe { owner.enter() };
    bev.settle_in(&mut core, id);
    drop(core);
    bev.with(|bufferevent| bufferevent.thaw_buffers(true));
    // SAFETY: the four handles live; nothing is entered.
    unsafe { evbuffer_add_buffer(bev.seen.input.get(), old.0) };
    // SAFETY: as above.
    unsafe { evbuffer_add_buffer(bev.seen.output.get(), old.1) };
    bev.with(|bufferevent| bufferevent.thaw_buffers(false));
    leave(old_base, old_id, old);
    bev.give_fd(fd);
    bev.assign_events(fd);
    let (read, write) = (bev.seen.timeout_read.get(), bev.seen.timeout_write.get());
    bev.with(|bufferevent| {
        bufferevent.set_timeouts(super::marks::duration(&read), super::marks::duration(&write));
    });
    bev.adopt_enabled();
    0
}

impl Bev {
    /// The new engine's bufferevent does what the old one's did.
    fn adopt_enabled(&self) {
        let directions = live::interest_of(self.seen.enabled.get() & !self.suspended.get());
        let [read, write] = self.max_single.get();
        self.with(|bufferevent| {
            bufferevent.disable(Interest::READ | Interest::WRITE);
            bufferevent.enable(directions);
            bufferevent.set_max_single_read(read);
            bufferevent.set_max_single_write(write);
        });
    }
}

/// The old base's part of a bufferevent that has moved goes.
fn leave(base: *mut event_base, id: Option<BuffereventId>, buffers: (*mut evbuffer, *mut evbuffer)) {
    for handle in [buffers.0, buffers.1] {
        // SAFETY: the handles were the bufferevent's, which has others now.
        if let Some(handle) = unsafe { handle.as_ref() } {
            // SAFETY: as above.
            unsafe { handle.retire() };
        }
    }
    // SAFETY: C1: a base outlives its bufferevents.
    let (Some(base), Some(id)) = (unsafe { base.as_ref() }, id) else { return };
    // SAFETY: K1: nothing is entered.
    let mut core = unsafe { base.enter() };
    let core = &mut *core;
    core.table.set(id.0.index(), ptr::null_mut());
    let _ = core.bufferevents.remove(&mut core.reactor, id);
}

/// The obsolete way to make one, on the base that `event_init` made last.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_new(
    fd: Socket,
    read: Option<DataCallback>,
    write: Option<DataCallback>,
    event: Option<BuffereventCallback>,
    arg: *mut c_void,
) -> *mut bufferevent {
    // SAFETY: null is the current base.
    let made = unsafe { bufferevent_socket_new(ptr::null_mut(), fd, 0) };
    // SAFETY: it was made a line above.
    if let Some(bev) = unsafe { Bev::at(made) } {
        bev.set_callbacks(read, write, event, arg);
    }
    made
}
