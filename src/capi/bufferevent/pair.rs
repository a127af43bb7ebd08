//! Pairs: what one half writes is at the other half when the call returns, unless that half does not read or has enough.

use std::ffi::{c_int, c_short, c_void};
use std::ptr;

use libc::timeval;

use super::super::base::{current_base, event_base};
use super::super::buffer::{
    evbuffer, evbuffer_add_cb, evbuffer_free, evbuffer_freeze, evbuffer_new, evbuffer_remove_buffer,
    evbuffer_unfreeze,
};
use super::super::del::event_del_noblock;
use super::super::event::{closure, event_add, event_assign};
use super::super::free::is_alive;
use super::super::layout::{EventCallback, Socket, bufferevent, ev, evbuffer_cb_info, event};
use super::super::lock::Lock;
use super::dispatch::bufferevent_trigger;
use super::{BOTH, Bev, Kind, Reference, marks, option, verbs, what};

/// `BEV_NORMAL` and `BEV_FINISHED`.
pub(super) const NORMAL: c_int = 0;
pub(super) const FINISHED: c_int = 2;

/// Callbacks of pairs always wait for the loop, or two halves would answer each other without end.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_pair_new(
    base: *mut event_base,
    options: c_int,
    pair: *mut *mut bufferevent,
) -> c_int {
    let base = if base.is_null() { current_base() } else { base };
    if base.is_null() || pair.is_null() {
        return -1;
    }
    let options = options | option::DEFER_CALLBACKS;
    let halves = [0; 2].map(|_| Bev::make(base, Kind::Pair, None, options));
    for (place, bev) in halves.into_iter().enumerate() {
        // SAFETY: both were made above.
        if let Some(bev) = unsafe { Bev::at(bev) } {
            bev.partner.set(halves[1 - place]);
            bev.make_buffers(out_changed, in_changed);
            bev.freeze(true);
        }
        // SAFETY: C2: there is room for two.
        let place = unsafe { pair.add(place) };
        // SAFETY: as above.
        unsafe { place.write(bev) };
    }
    0
}

type BufferCallback = unsafe extern "C-unwind" fn(*mut evbuffer, *const evbuffer_cb_info, *mut c_void);

/// What pairs and filters have in common.
impl Bev {
    /// Makes the buffers, and the events for the timeouts.
    pub(super) fn make_buffers(&self, out_changed: BufferCallback, in_changed: BufferCallback) {
        let bev = self.as_c().cast::<c_void>();
        // SAFETY: it makes a buffer, or none.
        let (input, output) = (unsafe { evbuffer_new() }, unsafe { evbuffer_new() });
        self.seen.input.set(input);
        self.seen.output.set(output);
        self.share_lock();
        // SAFETY: the buffer was made above, and ends with the bufferevent.
        unsafe { evbuffer_add_cb(input, Some(in_changed), bev) };
        // SAFETY: as above.
        unsafe { evbuffer_add_cb(output, Some(out_changed), bev) };
        self.assign_timeouts();
    }

    fn guard_buffers(&self, lock: impl Fn() -> Lock) {
        for buffer in [self.seen.input.get(), self.seen.output.get()] {
            // SAFETY: the buffers live as long as the bufferevent (B2).
            if let Some(buffer) = unsafe { buffer.as_ref() } {
                // SAFETY: C1: when a bufferevent is made or ends, nobody else uses its buffers.
                unsafe { buffer.guard_with(lock()) };
            }
        }
    }

    /// The buffers are guarded by the lock that guards the bufferevent.
    fn share_lock(&self) {
        // SAFETY: C1.
        if let Some(base) = unsafe { self.seen.base.get().as_ref() }.filter(|_| self.is_locked()) {
            self.guard_buffers(|| base.lock().lend());
        }
    }

    fn assign_timeouts(&self) {
        let events: [(&event, EventCallback); 2] =
            [(&self.seen.ev_read, read_timeout), (&self.seen.ev_write, write_timeout)];
        for (event, callback) in events {
            self.assign(event, callback);
        }
    }

    /// Assigns an event of ours, which has a reference to the bufferevent while it waits or is active.
    pub(super) fn assign(&self, event: &event, callback: EventCallback) {
        let (base, bev) = (self.seen.base.get(), self.as_c().cast());
        // SAFETY: the event is ours, and nothing waits for it.
        unsafe { event_assign(ptr::from_ref(event).cast_mut(), base, -1, 0, Some(callback), bev) };
        event.closure.set(closure::TOLD_OF_THE_END);
    }

    /// Closes the ends of the buffers that are not the program's, or opens them.
    fn freeze(&self, freeze: bool) {
        let change = if freeze { evbuffer_freeze } else { evbuffer_unfreeze };
        // SAFETY: the buffers live as long as the bufferevent (B2).
        unsafe { change(self.seen.input.get(), 0) };
        // SAFETY: as above.
        unsafe { change(self.seen.output.get(), 1) };
    }

    /// Ends the buffers.
    pub(super) fn end_buffers(&self) {
        // SAFETY: the buffer is the bufferevent's, which ends.
        unsafe { evbuffer_free(self.seen.input.get()) };
        // SAFETY: as above.
        unsafe { evbuffer_free(self.seen.output.get()) };
    }
}

/// Neither half is the other's partner any more. The lock is held.
pub(super) fn part(bev: &Bev) {
    // SAFETY: a partner lives as long as it is one.
    if let Some(partner) = unsafe { Bev::at(bev.partner.get()) } {
        partner.partner.set(ptr::null_mut());
    }
    bev.partner.set(ptr::null_mut());
}

/// If the base of a pair or a filter has gone before it, all that is left to do is to free it, and what goes with it. What its events had
/// of it they gave back when the base went.
pub(super) fn orphan(bev: &Bev) {
    let base = bev.seen.base.get();
    if bev.is_socket() || base.is_null() || is_alive(base) {
        return;
    }
    bev.seen.base.set(ptr::null_mut());
    bev.seen.enabled.set(0);
    bev.guard_buffers(Lock::none);
    let other = match &bev.layer {
        Some(layer) => layer.beneath(),
        None => bev.partner.get(),
    };
    // SAFETY: a partner lives as long as it is one, and a filter has a reference to what lies beneath.
    if let Some(other) = unsafe { Bev::at(other) } {
        orphan(other);
    }
}

/// Both halves, if there are two.
fn hold_both(bev: &Bev) -> Option<(Reference, Reference)> {
    // The partner may be on its way out on another thread, which parts the two under this lock.
    let _held = bev.lock();
    // SAFETY: a partner lives as long as it is one.
    let other = unsafe { Bev::at(bev.partner.get()) }?;
    Some((bev.hold()?, other.hold()?))
}

/// # Safety
///
/// - C1 for `bev`.
pub(super) unsafe fn partner(bev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bev) }) else { return ptr::null_mut() };
    let _held = bev.lock();
    bev.partner.get()
}

/// How many bytes may go from one half to the other, if any may.
fn room(from: &Bev, to: &Bev) -> Option<usize> {
    let _held = from.lock();
    let wants = from.seen.enabled.get() & !from.suspended.get() & ev::WRITE != 0;
    let takes = to.seen.enabled.get() & !to.suspended.get() & ev::READ != 0;
    if !wants || !takes || to.is_full() || from.output_len() == 0 {
        return None;
    }
    match to.seen.wm_read.high.get() {
        0 => Some(usize::MAX),
        high => Some(high.saturating_sub(to.input_len())),
    }
}

/// Sends what may be sent.
///
/// # Safety
///
/// - The caller has references to both, and nothing is entered.
unsafe fn send(from: &Bev, to: &Bev) {
    if let Some(room) = room(from, to) {
        // SAFETY: the caller's promise.
        unsafe { transfer(from, to, room) };
    }
}

/// The buffers of both halves are open while bytes cross, and closed again also if a callback unwinds.
struct Open<'a>(&'a Bev, &'a Bev);

impl<'a> Open<'a> {
    fn these(one: &'a Bev, other: &'a Bev) -> Open<'a> {
        one.freeze(false);
        other.freeze(false);
        Open(one, other)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.freeze(true);
        self.1.freeze(true);
    }
}

/// Sends up to `most` bytes, whatever holds them back.
///
/// # Safety
///
/// - As [`send`].
unsafe fn transfer(source: &Bev, sink: &Bev, most: usize) {
    let moved = {
        // Another thread must not close what this one has opened.
        let _held = source.shared_lock();
        let _open = Open::these(source, sink);
        // SAFETY: both buffers live as long as their bufferevents, and nothing is entered.
        unsafe { evbuffer_remove_buffer(source.seen.output.get(), sink.seen.input.get(), most) }
    };
    if moved <= 0 {
        return;
    }
    reset_timeout(sink, ev::READ);
    if source.output_len() > 0 {
        reset_timeout(source, ev::WRITE);
    } else {
        stop_timeouts(source, ev::WRITE);
    }
    // SAFETY: the caller's promise.
    unsafe { bufferevent_trigger(sink.as_c(), ev::READ, 0) };
    // SAFETY: the caller's promise.
    unsafe { bufferevent_trigger(source.as_c(), ev::WRITE, 0) };
}

/// Enables directions that are not suspended: there may be something to move.
///
/// # Safety
///
/// - The caller has a reference to `half`, and nothing is entered.
pub(super) unsafe fn start(half: &Bev, directions: c_short) {
    if directions & ev::READ != 0 {
        reset_timeout(half, ev::READ);
    }
    if directions & ev::WRITE != 0 && half.output_len() > 0 {
        reset_timeout(half, ev::WRITE);
    }
    // SAFETY: the caller's promise.
    unsafe { exchange(half, directions) };
}

/// Lets bytes cross in the named directions, as seen from `half`.
///
/// # Safety
///
/// - C1 for `half`; nothing is entered.
unsafe fn exchange(half: &Bev, directions: c_short) {
    let Some((_half, reference)) = hold_both(half) else { return };
    // SAFETY: it is held.
    let Some(other) = (unsafe { Bev::at(reference.0) }) else { return };
    if directions & ev::READ != 0 {
        // SAFETY: both are held.
        unsafe { send(other, half) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: both are held.
        unsafe { send(half, other) };
    }
}

/// There may be room for what the partner has to send.
///
/// # Safety
///
/// - As [`exchange`].
pub(super) unsafe fn resume(half: &Bev) {
    // SAFETY: the caller's promise.
    unsafe { exchange(half, ev::READ) };
}

/// Called with nothing borrowed whenever the output of a half has changed.
unsafe extern "C-unwind" fn out_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    let has_more = unsafe { (*info).n_added } > 0;
    // SAFETY: the callback goes with its bufferevent.
    if let Some(half) = unsafe { Bev::at(bev.cast()) }.filter(|_| has_more) {
        // SAFETY: as above.
        unsafe { exchange(half, ev::WRITE) };
    }
}

/// The same of its input: its reader has made room.
unsafe extern "C-unwind" fn in_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    let has_room = unsafe { (*info).n_deleted } > 0;
    // SAFETY: the callback goes with its bufferevent.
    if let Some(half) = unsafe { Bev::at(bev.cast()) }.filter(|_| has_room) {
        // SAFETY: as above.
        unsafe { resume(half) };
    }
}

/// Sends everything, whatever the marks are; with `BEV_FINISHED` the partner is told the end. `BEV_NORMAL` does nothing.
///
/// # Safety
///
/// - As [`exchange`].
pub(super) unsafe fn flush(half: &Bev, directions: c_short, mode: c_int) -> c_int {
    let Some((_half, reference)) = hold_both(half) else { return -1 };
    // SAFETY: it is held.
    let Some(other) = (unsafe { Bev::at(reference.0) }) else { return -1 };
    if mode == NORMAL {
        return 0;
    }
    let mut end = what::EOF;
    if directions & ev::READ != 0 {
        end |= what::WRITING;
        // SAFETY: both are held.
        unsafe { transfer(other, half, usize::MAX) };
    }
    if directions & ev::WRITE != 0 {
        end |= what::READING;
        // SAFETY: both are held.
        unsafe { transfer(half, other, usize::MAX) };
    }
    if mode == FINISHED {
        // SAFETY: it is held; being deferred it calls nobody.
        unsafe { other.run_event(end, option::DEFER_CALLBACKS) };
    }
    0
}

/// The event that measures a direction's time.
fn timeout_of(bev: &Bev, direction: c_short) -> (&event, timeval) {
    match direction {
        ev::READ => (&bev.seen.ev_read, bev.seen.timeout_read.get()),
        _ => (&bev.seen.ev_write, bev.seen.timeout_write.get()),
    }
}

/// How many references the timeouts have that nobody has been told of. They alone do not keep a bufferevent. The lock is held.
pub(super) fn waiting_timeouts(bev: &Bev) -> u32 {
    if bev.is_socket() {
        return 0;
    }
    let events = [&bev.seen.ev_read, &bev.seen.ev_write];
    events.into_iter().map(|event| u32::from(event.slot().is_some())).sum()
}

/// Lets the time of a direction begin anew, if it has any.
pub(super) fn reset_timeout(bev: &Bev, direction: c_short) {
    let _held = bev.lock();
    let (event, time) = timeout_of(bev, direction);
    if marks::duration(&time).is_none() {
        return;
    }
    let before = waiting_timeouts(bev);
    // SAFETY: it was assigned when the bufferevent was made, and nothing is entered.
    unsafe { event_add(ptr::from_ref(event).cast_mut(), &time) };
    bev.references.set(bev.references.get() + waiting_timeouts(bev) - before);
}

/// The caller has a reference, or ends the bufferevent.
pub(super) fn stop_timeouts(bev: &Bev, directions: c_short) {
    let _held = bev.lock();
    let before = waiting_timeouts(bev);
    for direction in [ev::READ, ev::WRITE] {
        let (event, _) = timeout_of(bev, direction);
        if directions & direction != 0 && event.slot().is_some() {
            // SAFETY: it was assigned when the bufferevent was made, and nothing is entered. Nobody waits for one that is being
            // called: it has a reference.
            unsafe { event_del_noblock(ptr::from_ref(event).cast_mut()) };
        }
    }
    bev.references.set(bev.references.get() + waiting_timeouts(bev) - before);
}

/// The timeouts have changed.
pub(super) fn adjust_timeouts(bev: &Bev) -> c_int {
    stop_timeouts(bev, BOTH);
    let wanted = bev.seen.enabled.get() & !bev.suspended.get();
    if wanted & ev::READ != 0 {
        reset_timeout(bev, ev::READ);
    }
    if wanted & ev::WRITE != 0 && bev.output_len() > 0 {
        reset_timeout(bev, ev::WRITE);
    }
    0
}

unsafe extern "C-unwind" fn read_timeout(_fd: Socket, what: c_short, bev: *mut c_void) {
    // SAFETY: it is the event's reference.
    unsafe { time_is_up(bev.cast(), ev::READ, what::READING, what) };
}

unsafe extern "C-unwind" fn write_timeout(_fd: Socket, what: c_short, bev: *mut c_void) {
    // SAFETY: it is the event's reference.
    unsafe { time_is_up(bev.cast(), ev::WRITE, what::WRITING, what) };
}

/// `happened` is nothing if the base goes.
///
/// # Safety
///
/// - The caller has a reference to `bev`, which it gives away; nothing is entered.
unsafe fn time_is_up(bev: *mut bufferevent, direction: c_short, way: c_short, happened: c_short) {
    let _reference = Reference(bev);
    // SAFETY: the reference.
    let Some(bev) = (unsafe { Bev::at(bev) }).filter(|_| happened != 0) else { return };
    // SAFETY: the reference.
    unsafe { verbs::disable(bev, direction) };
    // SAFETY: the reference.
    unsafe { bev.run_event(what::TIMEOUT | way, 0) };
}
