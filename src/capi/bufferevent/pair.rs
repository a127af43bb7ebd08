//! Pairs: what one half writes is at the other half when the call returns, unless that half does not read or has enough.

use std::ffi::{c_int, c_short, c_void};
use std::ptr;

use super::super::base::{current_base, event_base};
use super::super::buffer::{
    evbuffer, evbuffer_add_cb, evbuffer_free, evbuffer_freeze, evbuffer_new, evbuffer_remove_buffer,
    evbuffer_unfreeze,
};
use super::super::del::event_del;
use super::super::event::{event_add, event_assign};
use super::super::free::is_alive;
use super::super::layout::{EventCallback, Socket, bufferevent, ev, evbuffer_cb_info};
use super::super::lock::Lock;
use super::dispatch::bufferevent_trigger;
use super::{BOTH, Bev, Kind, marks, option, verbs, what};

/// `BEV_NORMAL` and `BEV_FINISHED`.
pub(super) const NORMAL: c_int = 0;
pub(super) const FINISHED: c_int = 2;

/// One of the two.
pub(super) struct Half {
    /// Null when the other has been freed.
    partner: *mut bufferevent,
}

/// Callbacks of pairs always wait for the loop, or two halves would answer each other without end.
#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_pair_new(
    base: *mut event_base,
    options: c_int,
    pair: *mut *mut bufferevent,
) -> c_int {
    let base = if base.is_null() { current_base() } else { base };
    if base.is_null() || pair.is_null() {
        return -1;
    }
    let half =
        || Bev::new(base, Kind::Pair(Half { partner: ptr::null_mut() }), options | option::DEFER_CALLBACKS);
    let halves = [half(), half()].map(<*mut Bev>::cast::<bufferevent>);
    for (place, bev) in halves.into_iter().enumerate() {
        // SAFETY: both were made above.
        if let Some(bev) = unsafe { Bev::at(bev) } {
            bev.kind = Kind::Pair(Half { partner: halves[1 - place] });
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
    pub(super) fn make_buffers(&mut self, out_changed: BufferCallback, in_changed: BufferCallback) {
        let bev = self.as_c().cast::<c_void>();
        // SAFETY: it makes a buffer, or none.
        self.seen.input = unsafe { evbuffer_new() };
        // SAFETY: as above.
        self.seen.output = unsafe { evbuffer_new() };
        self.share_lock();
        // SAFETY: the buffer was made above, and ends with the bufferevent.
        unsafe { evbuffer_add_cb(self.seen.input, Some(in_changed), bev) };
        // SAFETY: as above.
        unsafe { evbuffer_add_cb(self.seen.output, Some(out_changed), bev) };
        self.assign_timeouts();
    }

    /// The buffers are guarded by the lock that guards the bufferevent.
    fn share_lock(&mut self) {
        // SAFETY: C1.
        let Some(base) = (unsafe { self.seen.base.as_ref() }).filter(|_| self.is_locked()) else { return };
        for buffer in [self.seen.input, self.seen.output] {
            // SAFETY: the buffers were made a moment ago.
            if let Some(buffer) = unsafe { buffer.as_ref() } {
                // SAFETY: nobody else knows them yet; the base outlives them.
                unsafe { buffer.guard_with(base.lock().lend()) };
            }
        }
    }

    /// Nothing guards the buffers.
    fn unshare_lock(&self) {
        for buffer in [self.seen.input, self.seen.output] {
            // SAFETY: the buffers live as long as the bufferevent.
            if let Some(buffer) = unsafe { buffer.as_ref() } {
                // SAFETY: C1: who frees a bufferevent is the last to use its buffers, so nobody holds the lock.
                unsafe { buffer.guard_with(Lock::none()) };
            }
        }
    }

    fn assign_timeouts(&mut self) {
        let (base, bev) = (self.seen.base, self.as_c().cast());
        let read: EventCallback = read_timeout;
        let write: EventCallback = write_timeout;
        // SAFETY: the event is ours, and nothing waits for it.
        unsafe { event_assign(&mut self.seen.ev_read, base, -1, 0, Some(read), bev) };
        // SAFETY: as above.
        unsafe { event_assign(&mut self.seen.ev_write, base, -1, 0, Some(write), bev) };
    }

    /// Closes the ends of the buffers that are not the program's, or opens them.
    fn freeze(&self, freeze: bool) {
        let change = if freeze { evbuffer_freeze } else { evbuffer_unfreeze };
        // SAFETY: the buffers live as long as the bufferevent.
        unsafe { change(self.seen.input, 0) };
        // SAFETY: as above.
        unsafe { change(self.seen.output, 1) };
    }

    /// Ends buffers and events.
    pub(super) fn end_buffers(&mut self) {
        stop_timeouts(self, BOTH);
        // SAFETY: the buffer is the bufferevent's, which ends.
        unsafe { evbuffer_free(self.seen.input) };
        // SAFETY: as above.
        unsafe { evbuffer_free(self.seen.output) };
    }
}

/// Neither half is the other's partner any more. The lock is held.
pub(super) fn part(bev: &mut Bev) {
    let partner = partner_of(bev);
    for half in [partner, bev.as_c()] {
        // SAFETY: a partner lives as long as it is one.
        if let Some(Kind::Pair(half)) = unsafe { Bev::at(half) }.map(|half| &mut half.kind) {
            half.partner = ptr::null_mut();
        }
    }
}

/// If the base of a pair or a filter has gone before it, all that is left to do is to free it, and what goes with it.
pub(super) fn orphan(bev: &mut Bev) {
    if bev.is_socket() || bev.seen.base.is_null() || is_alive(bev.seen.base) {
        return;
    }
    bev.seen.base = ptr::null_mut();
    bev.seen.enabled = 0;
    bev.unshare_lock();
    if bev.waiting.forget() {
        bev.references -= 1;
    }
    let other = match &bev.kind {
        Kind::Pair(half) => half.partner,
        Kind::Filter(layer) => layer.beneath(),
        Kind::Socket(..) => return,
    };
    // SAFETY: a partner lives as long as it is one, and a filter has a reference to what lies beneath.
    if let Some(other) = unsafe { Bev::at(other) } {
        orphan(other);
    }
}

pub(super) fn end(bev: &mut Bev) {
    bev.end_buffers();
}

/// The other half, if there is one: then both are held.
///
/// # Safety
///
/// - C1 for `bev`.
unsafe fn hold_both(bev: *mut bufferevent) -> Option<*mut bufferevent> {
    // SAFETY: the caller's promise.
    let half = unsafe { Bev::at(bev) }?;
    // The partner may be on its way out on another thread, which parts the two under this lock.
    let _held = half.lock();
    let other = partner_of(half);
    if other.is_null() {
        return None;
    }
    for half in [bev, other] {
        // SAFETY: both live, and the lock is held.
        unsafe { Bev::hold(half) };
    }
    Some(other)
}

fn partner_of(bev: &Bev) -> *mut bufferevent {
    match &bev.kind {
        Kind::Pair(half) => half.partner,
        _ => ptr::null_mut(),
    }
}

/// # Safety
///
/// - C1 for `bev`.
pub(super) unsafe fn partner(bev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: the caller's promise.
    unsafe { Bev::at(bev) }.map_or(ptr::null_mut(), |bev| partner_of(bev))
}

/// Whether bytes may go from one half to the other.
fn may_send(from: &Bev, to: &Bev) -> bool {
    let wants = from.seen.enabled & !from.suspended & ev::WRITE != 0;
    let takes = to.seen.enabled & !to.suspended & ev::READ != 0;
    wants && takes && !to.is_full() && from.output_len() > 0
}

/// Sends what may be sent.
///
/// # Safety
///
/// - C1 for both, of which the caller has references; nothing is entered.
unsafe fn send(from: *mut bufferevent, to: *mut bufferevent) {
    // SAFETY: the caller's promise.
    let (Some(source), Some(sink)) = (unsafe { Bev::at(from) }, unsafe { Bev::at(to) }) else { return };
    if may_send(source, sink) {
        let high = sink.seen.wm_read.high;
        let room = if high == 0 { usize::MAX } else { high.saturating_sub(sink.input_len()) };
        // SAFETY: the caller's promise.
        unsafe { transfer(from, to, room) };
    }
}

/// Sends up to `most` bytes, whatever holds them back.
///
/// # Safety
///
/// - As [`send`].
unsafe fn transfer(from: *mut bufferevent, to: *mut bufferevent, most: usize) {
    // SAFETY: the caller's promise.
    let (Some(source), Some(sink)) = (unsafe { Bev::at(from) }, unsafe { Bev::at(to) }) else { return };
    let (output, input) = (source.seen.output, sink.seen.input);
    source.freeze(false);
    sink.freeze(false);
    // SAFETY: both buffers live as long as their bufferevents, and nothing is entered.
    let moved = unsafe { evbuffer_remove_buffer(output, input, most) };
    source.freeze(true);
    sink.freeze(true);
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
    unsafe { bufferevent_trigger(to, ev::READ, 0) };
    // SAFETY: the caller's promise.
    unsafe { bufferevent_trigger(from, ev::WRITE, 0) };
}

/// Enables directions that are not suspended: there may be something to move.
///
/// # Safety
///
/// - C1 for `bev`; nothing is entered.
pub(super) unsafe fn start(bev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(half) = (unsafe { Bev::at(bev) }) else { return };
    if directions & ev::READ != 0 {
        reset_timeout(half, ev::READ);
    }
    if directions & ev::WRITE != 0 && half.output_len() > 0 {
        reset_timeout(half, ev::WRITE);
    }
    // SAFETY: the caller's promise.
    unsafe { exchange(bev, directions) };
}

/// Lets bytes cross in the named directions, as seen from `bev`.
///
/// # Safety
///
/// - As [`start`].
unsafe fn exchange(bev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(other) = (unsafe { hold_both(bev) }) else { return };
    if directions & ev::READ != 0 {
        // SAFETY: both are held.
        unsafe { send(other, bev) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: both are held.
        unsafe { send(bev, other) };
    }
    for half in [other, bev] {
        // SAFETY: it was held above.
        unsafe { Bev::release(half) };
    }
}

/// There may be room for what the partner has to send.
///
/// # Safety
///
/// - As [`start`].
pub(super) unsafe fn resume(bev: *mut bufferevent) {
    // SAFETY: the caller's promise.
    unsafe { exchange(bev, ev::READ) };
}

/// Called with nothing borrowed whenever the output of a half has changed.
unsafe extern "C-unwind" fn out_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    if unsafe { (*info).n_added } > 0 {
        // SAFETY: the callback goes with its bufferevent.
        unsafe { exchange(bev.cast(), ev::WRITE) };
    }
}

/// The same of its input: its reader has made room.
unsafe extern "C-unwind" fn in_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    if unsafe { (*info).n_deleted } > 0 {
        // SAFETY: the callback goes with its bufferevent.
        unsafe { resume(bev.cast()) };
    }
}

/// Sends everything, whatever the marks are; with `BEV_FINISHED` the partner is told the end. `BEV_NORMAL` does nothing.
///
/// # Safety
///
/// - As [`start`].
pub(super) unsafe fn flush(bev: *mut bufferevent, directions: c_short, mode: c_int) -> c_int {
    // SAFETY: the caller's promise.
    if mode == NORMAL && !unsafe { partner(bev) }.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let Some(other) = (unsafe { hold_both(bev) }) else { return -1 };
    let mut end = what::EOF;
    if directions & ev::READ != 0 {
        end |= what::WRITING;
        // SAFETY: both are held.
        unsafe { transfer(other, bev, usize::MAX) };
    }
    if directions & ev::WRITE != 0 {
        end |= what::READING;
        // SAFETY: both are held.
        unsafe { transfer(bev, other, usize::MAX) };
    }
    if mode == FINISHED {
        // SAFETY: it is held; being deferred it calls nobody.
        unsafe { Bev::run_event(other, end, option::DEFER_CALLBACKS) };
    }
    for half in [other, bev] {
        // SAFETY: it was held above.
        unsafe { Bev::release(half) };
    }
    0
}

/// Lets the time of a direction begin anew, if it has any.
pub(super) fn reset_timeout(bev: &mut Bev, direction: c_short) {
    let (event, time) = match direction {
        ev::READ => (&mut bev.seen.ev_read, &bev.seen.timeout_read),
        _ => (&mut bev.seen.ev_write, &bev.seen.timeout_write),
    };
    if marks::duration(time).is_some() {
        // SAFETY: it was assigned when the bufferevent was made, and nothing is entered.
        unsafe { event_add(event, time) };
    }
}

pub(super) fn stop_timeouts(bev: &mut Bev, directions: c_short) {
    for (direction, event) in [(ev::READ, &mut bev.seen.ev_read), (ev::WRITE, &mut bev.seen.ev_write)] {
        if directions & direction != 0 {
            // SAFETY: it was assigned when the bufferevent was made, and nothing is entered.
            unsafe { event_del(event) };
        }
    }
}

/// The timeouts have changed.
pub(super) fn adjust_timeouts(bev: &mut Bev) -> c_int {
    stop_timeouts(bev, BOTH);
    let wanted = bev.seen.enabled & !bev.suspended;
    if wanted & ev::READ != 0 {
        reset_timeout(bev, ev::READ);
    }
    if wanted & ev::WRITE != 0 && bev.output_len() > 0 {
        reset_timeout(bev, ev::WRITE);
    }
    0
}

unsafe extern "C-unwind" fn read_timeout(_fd: Socket, _what: c_short, bev: *mut c_void) {
    // SAFETY: the event goes with its bufferevent.
    unsafe { time_is_up(bev.cast(), ev::READ, what::READING) };
}

unsafe extern "C-unwind" fn write_timeout(_fd: Socket, _what: c_short, bev: *mut c_void) {
    // SAFETY: the event goes with its bufferevent.
    unsafe { time_is_up(bev.cast(), ev::WRITE, what::WRITING) };
}

/// # Safety
///
/// - C1 for `bev`; nothing is entered.
unsafe fn time_is_up(bev: *mut bufferevent, direction: c_short, way: c_short) {
    // SAFETY: the caller's promise.
    unsafe { Bev::hold(bev) };
    // SAFETY: it is held.
    unsafe { verbs::disable(bev, direction) };
    // SAFETY: it is held.
    unsafe { Bev::run_event(bev, what::TIMEOUT | way, 0) };
    // SAFETY: it was held above.
    unsafe { Bev::release(bev) };
}
