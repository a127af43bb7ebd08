//! Filters: two functions of C's through which the bytes of another bufferevent pass. They are called with nothing entered, so they
//! may use whatever they like.
//!
//! A filter is asked again whenever it might have something to do: its source has grown, its destination has shrunk, a mark has moved,
//! a direction was enabled. So nothing stays behind, as it does in libevent when an input at its mark is drained or writing is enabled
//! again. One that answers `BEV_OK` and does nothing is not asked for ever, and `BEV_ERROR` is told to the event callback.

use std::ffi::{c_int, c_short, c_void};
use std::ptr;

use super::super::buffer::{evbuffer, evbuffer_get_length, evbuffer_remove_buffer};
use super::super::layout::{bufferevent, ev, evbuffer_cb_info};
use super::dispatch::bufferevent_trigger;
use super::pair::{NORMAL, reset_timeout, stop_timeouts};
use super::{BOTH, Bev, Kind, log, option, verbs, what};

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
    /// What the filters add must not make them be called again from inside themselves.
    busy: c_short,
}

impl Layer {
    pub(super) fn beneath(&self) -> *mut bufferevent {
        self.underlying
    }

    /// The filter is gone: so is what its functions use, and then what it stood on.
    pub(super) fn free(self) {
        if let Some(free) = self.free_context {
            // SAFETY: C3; nothing is entered, and it is called once.
            unsafe { free(self.context) };
        }
        // SAFETY: the filter had a reference.
        unsafe { Bev::release(self.underlying) };
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
    let Some(below) = (unsafe { Bev::at(underlying) }).filter(|_| Bev::check(options)) else {
        return ptr::null_mut();
    };
    let layer = Layer {
        underlying,
        input: input.unwrap_or(pass_on),
        output: output.unwrap_or(pass_on),
        free_context,
        context,
        busy: 0,
    };
    let filter = Bev::new(below.seen.base, Kind::Filter(Box::new(layer)), options).cast::<bufferevent>();
    // SAFETY: it was made a line above.
    if let Some(filter) = unsafe { Bev::at(filter) } {
        filter.make_buffers(out_changed, in_changed);
    }
    below.set_callbacks(Some(has_read), Some(has_written), Some(has_happened), filter.cast());
    // SAFETY: C1.
    unsafe { Bev::hold(underlying) };
    // SAFETY: it is held.
    unsafe { verbs::suspend(underlying, ev::READ) };
    // SAFETY: it is held.
    unsafe { verbs::enable(underlying, BOTH) };
    filter
}

/// Looking.
///
/// # Safety
///
/// - For each: C1 for `bev`, and what is returned is not used after C code has run.
unsafe fn layer<'a>(bev: *mut bufferevent) -> Option<&'a mut Layer> {
    // SAFETY: the caller's promise.
    match unsafe { Bev::at(bev) }.map(|bev| &mut bev.kind) {
        Some(Kind::Filter(layer)) => Some(layer),
        _ => None,
    }
}

pub(super) unsafe fn underlying(bev: *mut bufferevent) -> *mut bufferevent {
    // SAFETY: the caller's promise.
    unsafe { layer(bev) }.map_or(ptr::null_mut(), |layer| layer.underlying)
}

/// What a filter lies on, to which it has a reference.
unsafe fn beneath<'a>(bev: *mut bufferevent) -> Option<&'a mut Bev> {
    // SAFETY: the caller's promise.
    let below = unsafe { underlying(bev) };
    // SAFETY: the filter has a reference to it.
    unsafe { Bev::at(below) }
}

/// The lowest of a stack of filters.
pub(super) unsafe fn bottom<'a>(bev: *mut bufferevent) -> Option<&'a mut Bev> {
    let mut bottom = bev;
    // SAFETY: the caller's promise; a filter has a reference to what it stands on.
    while let below = unsafe { underlying(bottom) }
        && !below.is_null()
    {
        bottom = below;
    }
    // SAFETY: as above.
    unsafe { Bev::at(bottom) }
}

pub(super) fn end(bev: &mut Bev) {
    bev.end_buffers();
    let Kind::Filter(layer) = &bev.kind else { return };
    let below = layer.underlying;
    // SAFETY: the filter has a reference to it until the end.
    let Some(underlying) = (unsafe { Bev::at(below) }) else { return };
    if bev.options & option::CLOSE_ON_FREE != 0 {
        if underlying.references < 2 {
            log::warn(format_args!(
                "a filter closes what it stands on, to which only the filter has a reference"
            ));
            return;
        }
        // SAFETY: its maker's reference goes with the filter, which has another.
        return unsafe { super::bufferevent_free(below) };
    }
    if underlying.seen.cbarg == bev.as_c().cast() {
        underlying.set_callbacks(None, None, None, ptr::null_mut());
    }
    // SAFETY: as above; it has no callbacks any more.
    unsafe { verbs::resume(below, ev::READ) };
}

/// Passing bytes.
///
/// # Safety
///
/// - For each: C1 for `bev`, and nothing is entered.
pub(super) unsafe fn start(bev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(filter) = (unsafe { Bev::at(bev) }) else { return };
    // SAFETY: the caller's promise.
    let below = unsafe { underlying(bev) };
    if directions & ev::WRITE != 0 {
        reset_timeout(filter, ev::WRITE);
    }
    if directions & ev::READ != 0 {
        reset_timeout(filter, ev::READ);
        // SAFETY: the filter has a reference to it.
        unsafe { verbs::resume(below, ev::READ) };
    }
    // SAFETY: the caller's promise.
    unsafe { pass(bev, directions) };
}

pub(super) unsafe fn stop(bev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    let Some(filter) = (unsafe { Bev::at(bev) }) else { return };
    stop_timeouts(filter, directions);
    if directions & ev::READ != 0 {
        // SAFETY: the caller's promise.
        let below = unsafe { underlying(bev) };
        // SAFETY: the filter has a reference to it.
        unsafe { verbs::suspend(below, ev::READ) };
    }
}

/// A mark has moved, or a reader has made room.
pub(super) unsafe fn resume(bev: *mut bufferevent) {
    // SAFETY: the caller's promise.
    unsafe { pass(bev, ev::READ) };
}

/// Passes what there is to pass.
unsafe fn pass(bev: *mut bufferevent, directions: c_short) {
    // SAFETY: the caller's promise.
    unsafe { Bev::hold(bev) };
    if directions & ev::READ != 0 {
        // SAFETY: it is held.
        unsafe { draw(bev, NORMAL) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: it is held.
        unsafe { send_down(bev, NORMAL) };
    }
    // SAFETY: it was held above.
    unsafe { Bev::release(bev) };
}

/// Lets the input function work on what has come in beneath, and says whether anything came of it.
unsafe fn draw(bev: *mut bufferevent, mode: c_int) -> bool {
    // SAFETY: the caller's promise.
    let Some(filter) = (unsafe { Bev::at(bev) }) else { return false };
    // SAFETY: the caller's promise.
    let Some(below) = (unsafe { beneath(bev) }) else { return false };
    let way = Way { bev, direction: ev::READ, from: below.seen.input, to: filter.seen.input, mode };
    // SAFETY: the caller's promise.
    let passed = unsafe { way.run() };
    if passed {
        // SAFETY: the caller's reference.
        if let Some(filter) = unsafe { Bev::at(bev) } {
            reset_timeout(filter, ev::READ);
        }
        // SAFETY: as above.
        unsafe { bufferevent_trigger(bev, ev::READ, 0) };
    }
    passed
}

/// Lets the output function work on what is to be sent, and says whether anything came of it.
unsafe fn send_down(bev: *mut bufferevent, mode: c_int) -> bool {
    let mut passed_any = false;
    loop {
        // SAFETY: the caller's promise.
        let Some(filter) = (unsafe { Bev::at(bev) }) else { return passed_any };
        // SAFETY: the caller's promise.
        let Some(below) = (unsafe { beneath(bev) }) else { return passed_any };
        let way = Way { bev, direction: ev::WRITE, from: filter.seen.output, to: below.seen.output, mode };
        // SAFETY: the caller's promise.
        if !unsafe { way.run() } {
            return passed_any;
        }
        passed_any = true;
        // SAFETY: the caller's reference.
        if let Some(filter) = unsafe { Bev::at(bev) } {
            reset_timeout(filter, ev::WRITE);
        }
        // SAFETY: as above. The callback may write more.
        unsafe { bufferevent_trigger(bev, ev::WRITE, 0) };
        if mode != NORMAL {
            return true;
        }
    }
}

/// One direction of a filter, at work.
#[derive(Clone, Copy)]
struct Way {
    bev: *mut bufferevent,
    direction: c_short,
    from: *mut evbuffer,
    to: *mut evbuffer,
    mode: c_int,
}

impl Way {
    /// Calls the function as often as it makes sense, and says whether it has done anything.
    ///
    /// # Safety
    ///
    /// - The caller has a reference to the filter, and nothing is entered.
    unsafe fn run(self) -> bool {
        let mut passed = false;
        // SAFETY: the caller's reference.
        while let Some(limit) = unsafe { self.limit(passed) } {
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
    unsafe fn limit(self, passed: bool) -> Option<isize> {
        // SAFETY: the caller's reference.
        let filter = unsafe { Bev::at(self.bev) }?;
        let is_enabled = filter.seen.enabled & self.direction != 0;
        let has_source = self.lens().0 > 0;
        if self.mode != NORMAL {
            return (!passed || (is_enabled && has_source)).then_some(-1);
        }
        if !is_enabled || !has_source || filter.references == 0 {
            return None;
        }
        // SAFETY: the caller's reference.
        let high = match (self.direction, unsafe { beneath(self.bev) }) {
            (ev::READ, _) => filter.seen.wm_read.high,
            (_, Some(below)) => below.seen.wm_write.high,
            _ => return None,
        };
        let len = self.lens().1;
        match high {
            0 => Some(-1),
            _ if len >= high => None,
            _ => Some(isize::try_from(high - len).unwrap_or(isize::MAX)),
        }
    }

    unsafe fn call(self, limit: isize) -> Option<c_int> {
        // SAFETY: the caller's reference.
        let layer = unsafe { layer(self.bev) }.filter(|layer| layer.busy & self.direction == 0)?;
        let function = if self.direction == ev::READ { layer.input } else { layer.output };
        layer.busy |= self.direction;
        let context = layer.context;
        // SAFETY: C3; nothing is entered.
        let result = unsafe { function(self.from, self.to, limit, self.mode, context) };
        // SAFETY: the caller's reference.
        if let Some(layer) = unsafe { self::layer(self.bev) } {
            layer.busy &= !self.direction;
        }
        Some(result)
    }

    /// The function can never go on.
    unsafe fn fail(self) {
        // SAFETY: the caller's reference.
        unsafe { verbs::disable(self.bev, self.direction) };
        let way = if self.direction == ev::READ { what::READING } else { what::WRITING };
        // SAFETY: the caller's promise.
        unsafe { Bev::run_event(self.bev, what::ERROR | way, 0) };
    }

    fn lens(self) -> (usize, usize) {
        // SAFETY: both buffers live as long as the filter and what lies beneath, to which there are references.
        (unsafe { evbuffer_get_length(self.from) }, unsafe { evbuffer_get_length(self.to) })
    }
}

/// Called with nothing borrowed whenever the output of a filter has changed.
unsafe extern "C-unwind" fn out_changed(_: *mut evbuffer, info: *const evbuffer_cb_info, bev: *mut c_void) {
    // SAFETY: it is there for the length of the call.
    if unsafe { (*info).n_added } > 0 {
        // SAFETY: the callback goes with its bufferevent.
        unsafe { pass(bev.cast(), ev::WRITE) };
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

/// Whether a filter that is called about what lies beneath is still there; it may be on its way out.
unsafe fn is_alive(filter: *mut c_void) -> bool {
    // SAFETY: C1: it ends its callbacks before it goes.
    unsafe { Bev::at(filter.cast::<bufferevent>()) }.is_some_and(|filter| filter.references > 0)
}

unsafe extern "C-unwind" fn has_read(_below: *mut bufferevent, filter: *mut c_void) {
    // SAFETY: a filter's callbacks go before it does.
    if unsafe { is_alive(filter) } {
        // SAFETY: it is alive, and callbacks are made with nothing entered.
        unsafe { pass(filter.cast(), ev::READ) };
    }
}

unsafe extern "C-unwind" fn has_written(_below: *mut bufferevent, filter: *mut c_void) {
    // SAFETY: a filter's callbacks go before it does.
    if unsafe { is_alive(filter) } {
        // SAFETY: it is alive, and callbacks are made with nothing entered.
        unsafe { pass(filter.cast(), ev::WRITE) };
    }
}

unsafe extern "C-unwind" fn has_happened(_below: *mut bufferevent, events: c_short, filter: *mut c_void) {
    // SAFETY: a filter's callbacks go before it does.
    if !unsafe { is_alive(filter) } {
        return;
    }
    let filter = filter.cast::<bufferevent>();
    // SAFETY: it is alive.
    unsafe { Bev::hold(filter) };
    if events & what::READING != 0 {
        // SAFETY: it is held. What came before the end comes first.
        unsafe { pass(filter, ev::READ) };
    }
    // SAFETY: it is held.
    unsafe { Bev::run_event(filter, events, 0) };
    // SAFETY: it was held above.
    unsafe { Bev::release(filter) };
}

/// Calls the functions once at least, past the marks, and then flushes what lies beneath. 1 if anything has passed.
pub(super) unsafe fn flush(bev: *mut bufferevent, directions: c_short, mode: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { Bev::hold(bev) };
    let mut passed = false;
    if directions & ev::READ != 0 {
        // SAFETY: it is held.
        passed |= unsafe { draw(bev, mode) };
    }
    if directions & ev::WRITE != 0 {
        // SAFETY: it is held.
        passed |= unsafe { send_down(bev, mode) };
    }
    // SAFETY: it is held.
    let below = unsafe { underlying(bev) };
    // SAFETY: the filter has a reference to it.
    unsafe { verbs::bufferevent_flush(below, directions, mode) };
    // SAFETY: it was held above.
    unsafe { Bev::release(bev) };
    c_int::from(passed)
}
