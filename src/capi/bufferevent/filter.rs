//! Filters: two functions of C's through which the bytes of another bufferevent pass. They are called with nothing entered, so they
//! may use whatever they like.
//!
//! A filter is asked again whenever it might have something to do: its source has grown, its destination has shrunk, a mark has moved,
//! a direction was enabled. So nothing stays behind, as it does in libevent when an input at its mark is drained or writing is enabled
//! again. One that answers `BEV_OK` and does nothing is not asked for ever, and `BEV_ERROR` is told to the event callback.

use std::cell::Cell;
use std::ffi::{c_int, c_short, c_void};
use std::ptr;

use super::super::buffer::{evbuffer, evbuffer_get_length, evbuffer_remove_buffer};
use super::super::frame::{Frame, Here};
use super::super::layout::{bufferevent, ev, evbuffer_cb_info};
use super::dispatch::bufferevent_trigger;
use super::pair::{NORMAL, reset_timeout, stop_timeouts};
use super::{BOTH, Bev, Kind, Reference, log, option, verbs, what};

/// Transforms bytes, from the first buffer to the second: at most so many (-1: any number), as hard as the mode says.
type Filter = unsafe extern "C-unwind" fn(*mut evbuffer, *mut evbuffer, isize, c_int, *mut c_void) -> c_int;
type Free = unsafe extern "C-unwind" fn(*mut c_void);

/// `BEV_OK` and `BEV_ERROR`.
const OK: c_int = 0;
const ERROR: c_int = 2;

/// The transport of a filter.
pub(super) struct Layer {
    underlying: *mut bufferevent,
    input: Filter,
    output: Filter,
    free_context: Option<Free>,
    context: *mut c_void,
    /// The frames that call the functions: what those add must not make them be called again from inside themselves. Under the lock.
    input_busy: Cell<Option<Frame>>,
    output_busy: Cell<Option<Frame>>,
}

impl Layer {
    pub(super) fn beneath(&self) -> *mut bufferevent {
        self.underlying
    }

    /// The filter is gone: so is what its functions use, and then what it stood on.
    pub(super) fn free(self) {
        let _below = Reference(self.underlying);
        if let Some(free) = self.free_context {
            // SAFETY: C3; nothing is entered, and it is called once.
            unsafe { free(self.context) };
        }
    }
}

/// What stands in for a function that is not given.
unsafe extern "C-unwind" fn pass_on(
    from: *mut evbuffer,
    to: *mut evbuffer,
    limit: isize,
    _mode: c_int,
    _context: *mut c_void,
) -> c_int {
    // SAFETY: C1; no limit is a negative number.
    let moved = unsafe { evbuffer_remove_buffer(from, to, usize::try_from(limit).unwrap_or(usize::MAX)) };
    if moved < 0 { ERROR } else { OK }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_filter_new(
    underlying: *mut bufferevent,
    input: Option<Filter>,
    output: Option<Filter>,
    options: c_int,
    free_context: Option<Free>,
    context: *mut c_void,
) -> *mut bufferevent {
    // SAFETY: C1.
    let below = unsafe { Bev::at(underlying) }.filter(|_| Bev::check(options));
    let Some((below, reference)) = below.and_then(|below| Some((below, below.hold()?))) else {
        return ptr::null_mut();
    };
    // It is the filter's from here on.
    std::mem::forget(reference);
    let layer = Box::new(Layer {
        underlying,
        input: input.unwrap_or(pass_on),
        output: output.unwrap_or(pass_on),
        free_context,
        context,
        input_busy: Cell::new(None),
        output_busy: Cell::new(None),
    });
    let filter = Bev::make(below.seen.base.get(), Kind::Filter, Some(layer), options);
    // SAFETY: it was made a line above.
    if let Some(filter) = unsafe { Bev::at(filter) } {
        filter.make_buffers(out_changed, in_changed);
    }
    {
        let _held = below.lock();
        below.above.set(filter);
        below.set_callbacks(Some(has_read), Some(has_written), Some(has_happened), filter.cast());
    }
    // SAFETY: the filter has a reference.
    unsafe { verbs::suspend(below, ev::READ) };
    // SAFETY: as above.
    unsafe { verbs::enable(below, BOTH) };
    filter
}

/// Looking.
impl Bev {
    /// What a filter lies on, to which it has a reference.
    pub(super) fn underlying(&self) -> *mut bufferevent {
        self.layer.as_ref().map_or(ptr::null_mut(), |layer| layer.underlying)
    }

    fn beneath(&self) -> Option<&Bev> {
        // SAFETY: the filter has a reference to it.
        unsafe { Bev::at(self.underlying()) }
    }

    /// The lowest of a stack of filters.
    pub(super) fn bottom(&self) -> &Bev {
        let mut bottom = self;
        while let Some(below) = bottom.beneath() {
            bottom = below;
        }
        bottom
    }
}

/// What lies beneath calls the filter no more. The lock is held.
pub(super) fn part(filter: &Bev) {
    let Some(below) = filter.beneath() else { return };
    if below.above.get() != filter.as_c() {
        return;
    }
    below.above.set(ptr::null_mut());
    if below.seen.cbarg.get() == filter.as_c().cast() {
        below.set_callbacks(None, None, None, ptr::null_mut());
    }
}

pub(super) fn end(filter: &Bev) {
    filter.end_buffers();
    let Some(below) = filter.beneath() else { return };
    if filter.options & option::CLOSE_ON_FREE == 0 {
        // SAFETY: the filter has a reference; what lies beneath has no callbacks any more.
        return unsafe { verbs::resume(below, ev::READ) };
    }
    let held = below.lock();
    let has_maker = below.references.get() > 1;
    drop(held);
    if !has_maker {
        return log::warn(format_args!(
            "a filter closes what it stands on, to which only the filter has a reference"
        ));
    }
    // SAFETY: its maker's reference goes with the filter, which has another.
    unsafe { super::bufferevent_free(below.as_c()) };
}

/// Passing bytes.
///
/// # Safety
///
/// - For each: C1 for `filter`, and nothing is entered.
pub(super) unsafe fn start(filter: &Bev, directions: c_short) {
    if directions & ev::WRITE != 0 {
        reset_timeout(filter, ev::WRITE);
    }
    if directions & ev::READ != 0 {
        reset_timeout(filter, ev::READ);
        if let Some(below) = filter.beneath() {
            // SAFETY: the filter has a reference to it.
            unsafe { verbs::resume(below, ev::READ) };
        }
    }
    // SAFETY: the caller's promise.
    unsafe { pass(filter, directions) };
}

pub(super) unsafe fn stop(filter: &Bev, directions: c_short) {
    stop_timeouts(filter, directions);
    if let Some(below) = filter.beneath().filter(|_| directions & ev::READ != 0) {
        // SAFETY: the filter has a reference to it.
        unsafe { verbs::suspend(below, ev::READ) };
    }
}

/// A mark has moved, or a reader has made room.
pub(super) unsafe fn resume(filter: &Bev) {
    // SAFETY: the caller's promise.
    unsafe { pass(filter, ev::READ) };
}

/// Passes what there is to pass.
unsafe fn pass(filter: &Bev, directions: c_short) {
    let Some(_reference) = filter.hold() else { return };
    if directions & ev::READ != 0 {
        // SAFETY: it is held.
        unsafe { draw(filter, NORMAL) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: it is held.
        unsafe { send_down(filter, NORMAL) };
    }
}

/// Lets the input function work on what has come in beneath, and says whether anything came of it. The filter is held.
unsafe fn draw(filter: &Bev, mode: c_int) -> bool {
    let Some(way) = Way::of(filter, ev::READ, mode) else { return false };
    // SAFETY: the caller's promise.
    let passed = unsafe { way.run() };
    if passed {
        reset_timeout(filter, ev::READ);
        // SAFETY: the caller's reference.
        unsafe { bufferevent_trigger(filter.as_c(), ev::READ, 0) };
    }
    passed
}

/// Lets the output function work on what is to be sent, and says whether anything came of it. The filter is held.
unsafe fn send_down(filter: &Bev, mode: c_int) -> bool {
    let Some(way) = Way::of(filter, ev::WRITE, mode) else { return false };
    let mut passed_any = false;
    // SAFETY: the caller's promise.
    while unsafe { way.run() } {
        passed_any = true;
        reset_timeout(filter, ev::WRITE);
        // SAFETY: the caller's reference. The callback may write more.
        unsafe { bufferevent_trigger(filter.as_c(), ev::WRITE, 0) };
        if mode != NORMAL {
            break;
        }
    }
    passed_any
}

/// One direction of a filter that is held, at work.
#[derive(Clone, Copy)]
struct Way<'a> {
    filter: &'a Bev,
    layer: &'a Layer,
    below: &'a Bev,
    direction: c_short,
    mode: c_int,
}

impl<'a> Way<'a> {
    fn of(filter: &'a Bev, direction: c_short, mode: c_int) -> Option<Self> {
        let (layer, below) = (filter.layer.as_deref()?, filter.beneath()?);
        Some(Way { filter, layer, below, direction, mode })
    }

    /// From where to where.
    fn buffers(self) -> (*mut evbuffer, *mut evbuffer) {
        match self.direction {
            ev::READ => (self.below.seen.input.get(), self.filter.seen.input.get()),
            _ => (self.filter.seen.output.get(), self.below.seen.output.get()),
        }
    }

    /// Calls the function as often as it makes sense, and says whether it has done anything.
    ///
    /// # Safety
    ///
    /// - Nothing is entered.
    unsafe fn run(self) -> bool {
        let mut passed = false;
        while let Some(limit) = self.limit(passed) {
            let before = self.lens();
            // SAFETY: the caller's promise.
            match unsafe { self.call(limit) } {
                // What it says it has done while it has done nothing does not count, unless that is what it was told to do.
                Some(OK) => passed |= self.lens() != before || self.mode != NORMAL,
                Some(ERROR) => {
                    // SAFETY: the caller's promise.
                    unsafe { self.fail() };
                    return passed;
                }
                _ => return passed,
            }
            if self.lens() == before {
                return passed;
            }
        }
        passed
    }

    /// How many bytes may pass, if any may; -1 is any number. What is flushed or finished is called once in any case.
    fn limit(self, passed: bool) -> Option<isize> {
        let _held = self.filter.lock();
        let is_enabled = self.filter.seen.enabled.get() & self.direction != 0;
        let (there, len) = self.lens();
        if self.mode != NORMAL {
            return (!passed || (is_enabled && there > 0)).then_some(-1);
        }
        if !is_enabled || there == 0 {
            return None;
        }
        let high = match self.direction {
            ev::READ => self.filter.seen.wm_read.high.get(),
            _ => self.below.seen.wm_write.high.get(),
        };
        match high {
            0 => Some(-1),
            _ if len >= high => None,
            _ => Some(isize::try_from(high - len).unwrap_or(isize::MAX)),
        }
    }

    unsafe fn call(self, limit: isize) -> Option<c_int> {
        let here = Here::default();
        let _busy = Busy::begin(self, here.frame())?;
        let function = if self.direction == ev::READ { self.layer.input } else { self.layer.output };
        let (from, to) = self.buffers();
        // SAFETY: C3; nothing is entered.
        Some(unsafe { function(from, to, limit, self.mode, self.layer.context) })
    }

    /// The function can never go on.
    unsafe fn fail(self) {
        // SAFETY: the caller's reference.
        unsafe { verbs::disable(self.filter, self.direction) };
        let way = if self.direction == ev::READ { what::READING } else { what::WRITING };
        // SAFETY: the caller's promise.
        unsafe { self.filter.run_event(what::ERROR | way, 0) };
    }

    fn busy(self) -> &'a Cell<Option<Frame>> {
        if self.direction == ev::READ { &self.layer.input_busy } else { &self.layer.output_busy }
    }

    fn lens(self) -> (usize, usize) {
        let (from, to) = self.buffers();
        // SAFETY: both buffers live as long as the filter and what lies beneath, to which there are references.
        (unsafe { evbuffer_get_length(from) }, unsafe { evbuffer_get_length(to) })
    }
}

/// A direction of a filter is busy for as long as this lives, also if its function unwinds, or until it is seen that its frame has gone.
struct Busy<'a>(Way<'a>);

impl<'a> Busy<'a> {
    /// `None` if it is busy already.
    fn begin(way: Way<'a>, here: Frame) -> Option<Self> {
        let _held = way.filter.lock();
        if way.busy().get().is_some_and(|frame| !frame.has_gone(here)) {
            return None;
        }
        way.busy().set(Some(here));
        Some(Busy(way))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Busy(way) = *self;
        let _held = way.filter.lock();
        way.busy().set(None);
    }
}

/// Called with nothing borrowed whenever the output of a filter has changed.
unsafe extern "C-unwind" fn out_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    let has_more = unsafe { (*info).n_added } > 0;
    // SAFETY: the callback goes with its bufferevent.
    if let Some(filter) = unsafe { Bev::at(bev.cast()) }.filter(|_| has_more) {
        // SAFETY: as above.
        unsafe { pass(filter, ev::WRITE) };
    }
}

/// The same of its input: its reader has made room.
unsafe extern "C-unwind" fn in_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    let has_room = unsafe { (*info).n_deleted } > 0;
    // SAFETY: the callback goes with its bufferevent.
    if let Some(filter) = unsafe { Bev::at(bev.cast()) }.filter(|_| has_room) {
        // SAFETY: as above.
        unsafe { resume(filter) };
    }
}

unsafe extern "C-unwind" fn has_read(_below: *mut bufferevent, filter: *mut c_void) {
    // SAFETY: whoever calls this has a reference to the filter (`dispatch::call`).
    if let Some(filter) = unsafe { Bev::at(filter.cast()) } {
        // SAFETY: as above; callbacks are made with nothing entered.
        unsafe { pass(filter, ev::READ) };
    }
}

unsafe extern "C-unwind" fn has_written(_below: *mut bufferevent, filter: *mut c_void) {
    // SAFETY: as in `has_read`.
    if let Some(filter) = unsafe { Bev::at(filter.cast()) } {
        // SAFETY: as in `has_read`.
        unsafe { pass(filter, ev::WRITE) };
    }
}

unsafe extern "C-unwind" fn has_happened(_below: *mut bufferevent, events: c_short, filter: *mut c_void) {
    // SAFETY: as in `has_read`.
    let Some(filter) = (unsafe { Bev::at(filter.cast()) }) else { return };
    if events & what::READING != 0 {
        // SAFETY: it is held. What came before the end comes first.
        unsafe { pass(filter, ev::READ) };
    }
    // SAFETY: it is held.
    unsafe { filter.run_event(events, 0) };
}

/// Calls the functions once at least, past the marks, and then flushes what lies beneath. 1 if anything has passed.
pub(super) unsafe fn flush(filter: &Bev, directions: c_short, mode: c_int) -> c_int {
    let Some(_reference) = filter.hold() else { return 0 };
    let mut passed = false;
    if directions & ev::READ != 0 {
        // SAFETY: it is held.
        passed |= unsafe { draw(filter, mode) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: it is held.
        passed |= unsafe { send_down(filter, mode) };
    }
    // SAFETY: the filter has a reference to it.
    unsafe { verbs::bufferevent_flush(filter.underlying(), directions, mode) };
    c_int::from(passed)
}
