//! Looking at events: what they were made with, what they wait for, and all of a base's in turn.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::ptr;

use libc::{FILE, c_short, size_t, timeval};

use super::base::{Core, current_base, enter, event_base};
use super::debug;
use super::event::{event_at, warn_baseless};
use super::layout::{EventCallback, Socket, ev, event, evlist};
use super::time::wall_at;

#[unsafe(no_mangle)]
extern "C-unwind" fn event_get_version() -> *const c_char {
    c"2.1.12-stable".as_ptr()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn event_get_version_number() -> c_uint {
    0x0201_0c00
}

#[unsafe(no_mangle)]
extern "C-unwind" fn event_get_struct_event_size() -> size_t {
    size_of::<event>()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_initialized(event: *const event) -> c_int {
    // SAFETY: C1.
    unsafe { event.as_ref() }.map_or(0, |event| c_int::from(event.is(evlist::INIT)))
}

/// What `get` finds in an event, or `otherwise`.
///
/// # Safety
///
/// - C1.
unsafe fn of<T>(event: *const event, name: &str, otherwise: T, get: impl FnOnce(&event) -> T) -> T {
    // SAFETY: the caller's promise.
    let Some(event) = (unsafe { event.as_ref() }) else { return otherwise };
    debug::check_setup(event, name);
    get(event)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_fd(event: *const event) -> Socket {
    // SAFETY: C1.
    unsafe { of(event, "event_get_fd", -1, |event| event.fd.get()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_base(event: *const event) -> *mut event_base {
    // SAFETY: C1.
    unsafe { of(event, "event_get_base", ptr::null_mut(), |event| event.base.get()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_events(event: *const event) -> c_short {
    // SAFETY: C1.
    unsafe { of(event, "event_get_events", 0, |event| event.events.get()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_callback(event: *const event) -> Option<EventCallback> {
    // SAFETY: C1.
    unsafe { of(event, "event_get_callback", None, |event| event.callback.get()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_callback_arg(event: *const event) -> *mut c_void {
    // SAFETY: C1.
    unsafe { of(event, "event_get_callback_arg", ptr::null_mut(), |event| event.arg.get()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_priority(event: *const event) -> c_int {
    // SAFETY: C1.
    unsafe { of(event, "event_get_priority", -1, |event| c_int::from(event.priority.get())) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_get_assignment(
    event: *const event,
    base: *mut *mut event_base,
    fd: *mut Socket,
    events: *mut c_short,
    callback: *mut Option<EventCallback>,
    arg: *mut *mut c_void,
) {
    // SAFETY: C1.
    let Some(event) = (unsafe { event.as_ref() }) else { return };
    debug::check_setup(event, "event_get_assignment");
    // SAFETY: C2, here and below: each is null or to be written.
    unsafe { tell(base, event.base.get()) };
    // SAFETY: C2.
    unsafe { tell(fd, event.fd.get()) };
    // SAFETY: C2.
    unsafe { tell(events, event.events.get()) };
    // SAFETY: C2.
    unsafe { tell(callback, event.callback.get()) };
    // SAFETY: C2.
    unsafe { tell(arg, event.arg.get()) };
}

/// # Safety
///
/// - C2, or `place` is null.
unsafe fn tell<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place.write(value) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_pending(event: *const event, kinds: c_short, until: *mut timeval) -> c_int {
    // SAFETY: C1.
    let Some(event) = (unsafe { event.as_ref() }) else { return 0 };
    // SAFETY: C1; this thread has not entered, because no code of C's runs while it has.
    let Some(core) = (unsafe { enter(event.base.get()) }) else {
        warn_baseless("event_pending");
        return 0;
    };
    debug::check_setup(event, "event_pending");
    let found = core.pending(event) & kinds;
    if found & ev::TIMEOUT != 0
        && let Some(slot) = event.slot()
        && let Ok((_, Some(deadline_ns))) = core.reactor.waits(slot)
    {
        // SAFETY: C2, or null.
        unsafe { tell(until, wall_at(deadline_ns)) };
    }
    c_int::from(found)
}

impl Core {
    /// What an event waits for or is active with.
    fn pending(&self, event: &event) -> c_short {
        let mut found = 0;
        if event.is(evlist::INSERTED) {
            found |= event.events.get() & (ev::READ | ev::WRITE | ev::CLOSED | ev::SIGNAL);
        }
        if event.is(evlist::ACTIVE) {
            let called_for = event.slot().and_then(|slot| self.reactor.view(slot).ok());
            found |= event.result.get() | called_for.map_or(0, |view| c_short::from(view.called_for.bits()));
        }
        if event.is(evlist::TIMEOUT) {
            found |= ev::TIMEOUT;
        }
        found & (ev::TIMEOUT | ev::READ | ev::WRITE | ev::CLOSED | ev::SIGNAL)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_get_running_event(base: *mut event_base) -> *mut event {
    // SAFETY: as in `event_pending`.
    let Some(core) = (unsafe { enter(base) }) else { return ptr::null_mut() };
    if core.control.is_own_thread() { core.control.current } else { ptr::null_mut() }
}

/// Called with each event; what it returns, unless 0, ends the round.
type EachCallback = unsafe extern "C-unwind" fn(*const event_base, *const event, *mut c_void) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_foreach_event(
    base: *mut event_base,
    each: Option<EachCallback>,
    arg: *mut c_void,
) -> c_int {
    let Some(each) = each else { return -1 };
    // SAFETY: C1.
    let Some(base) = (unsafe { base.as_ref() }) else { return -1 };
    // The lock is held all the while, so no other thread takes away what has been found.
    let held = base.lock().hold();
    // SAFETY: as in `event_pending`.
    let words = unsafe { base.enter() }.event_words();
    for word in words {
        // SAFETY: C3, and the header forbids it to change any event, so all of them live (K2); nothing is entered.
        let result = unsafe { each(base, word as *const event, arg) };
        if result != 0 {
            return result;
        }
    }
    drop(held);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_dump_events(base: *mut event_base, output: *mut FILE) {
    // SAFETY: as in `event_pending`.
    let Some(core) = (unsafe { enter(base) }) else { return };
    let mut text = String::from("Inserted events:\n");
    let words = core.event_words();
    // SAFETY: K2, here and below.
    let events = || words.iter().map(|&word| unsafe { &*(word as *const event) });
    for event in events().filter(|event| event.is(evlist::INSERTED | evlist::TIMEOUT)) {
        core.describe_waiting(&mut text, event);
    }
    text.push_str("Active events:\n");
    for event in events().filter(|event| event.is(evlist::ACTIVE)) {
        core.describe_active(&mut text, event);
    }
    drop(core);
    let text = CString::new(text).unwrap_or_default();
    if !output.is_null() {
        // SAFETY: C1 for the stream; the text ends in a zero byte.
        unsafe { libc::fputs(text.as_ptr(), output) };
    }
}

/// The words for what an event waits for.
const WAITS: [(c_short, &str); 6] = [
    (ev::READ, " Read"),
    (ev::WRITE, " Write"),
    (ev::CLOSED, " EOF"),
    (ev::SIGNAL, " Signal"),
    (ev::PERSIST, " Persist"),
    (ev::ET, " ET"),
];
/// The words for what it is active with.
const HAPPENED: [(c_short, &str); 5] = [
    (ev::READ, " Read"),
    (ev::WRITE, " Write"),
    (ev::CLOSED, " EOF"),
    (ev::SIGNAL, " Signal"),
    (ev::TIMEOUT, " Timeout"),
];

fn words(table: &[(c_short, &'static str)], flags: c_short) -> String {
    table.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, word)| *word).collect()
}

fn kind(event: &event) -> &'static str {
    if event.events.get() & ev::SIGNAL == 0 { "fd " } else { "sig" }
}

impl Core {
    fn describe_waiting(&self, text: &mut String, event: &event) {
        let waits = words(&WAITS, event.events.get());
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "  {:p} [{} {}]{waits}", ptr::from_ref(event), kind(event), event.fd.get());
        if let Some(slot) = event.slot()
            && let Ok((_, Some(deadline_ns))) = self.reactor.waits(slot)
        {
            let timeval { tv_sec, tv_usec } = wall_at(deadline_ns);
            let _ = write!(text, " Timeout={tv_sec}.{tv_usec:06}");
        }
        text.push('\n');
    }

    fn describe_active(&self, text: &mut String, event: &event) {
        let happened = words(&HAPPENED, self.pending(event) | event.result.get());
        let address = ptr::from_ref(event);
        let _ = writeln!(
            text,
            "  {address:p} [{} {}, priority={}]{happened} active",
            kind(event),
            event.fd.get(),
            event.priority.get()
        );
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_active_by_fd(base: *mut event_base, fd: Socket, kinds: c_short) {
    let descriptor = ev::READ | ev::WRITE | ev::CLOSED;
    let what = |event: &event| {
        if event.fd.get() != fd || event.events.get() & ev::SIGNAL != 0 {
            0
        } else if kinds & ev::TIMEOUT != 0 {
            if event.is(evlist::TIMEOUT) { ev::TIMEOUT } else { 0 }
        } else if event.is(evlist::INSERTED) {
            event.events.get() & kinds & descriptor
        } else {
            0
        }
    };
    // SAFETY: the caller's promise is the same.
    unsafe { activate_all(base, what) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_base_active_by_signal(base: *mut event_base, signal: c_int) {
    let what = |event: &event| {
        let watches = event.fd.get() == signal && event.is(evlist::INSERTED);
        if watches { event.events.get() & ev::SIGNAL } else { 0 }
    };
    // SAFETY: the caller's promise is the same.
    unsafe { activate_all(base, what) };
}

/// Activates each event with what `what` says of it, if that is anything.
///
/// # Safety
///
/// - C1.
unsafe fn activate_all(base: *mut event_base, what: impl Fn(&event) -> c_short) {
    let base = if base.is_null() { current_base() } else { base };
    // SAFETY: the caller's promise; as in `event_pending`.
    let Some(mut core) = (unsafe { enter(base) }) else { return };
    for word in core.event_words() {
        // SAFETY: K2.
        if let Some(event) = unsafe { event_at(word as *const event) } {
            let what = what(event);
            if what != 0 {
                core.activate(event, what, 1);
            }
        }
    }
    core.notify();
}
