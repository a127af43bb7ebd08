//! Putting bytes in.

use std::ffi::{c_char, c_int, c_void};
use std::slice;

use libc::iovec;

use super::{Growth, evbuffer, exchange, handle, handles, measured, owed, status};
use crate::buffer::{Evbuffer, Freed, Keeper};
use crate::capi::frame::Here;
use crate::capi::variadic::{VaList, variadic, vsnprintf};

/// The memory that `data` points to; nothing if that is null.
///
/// # Safety
///
/// - C2 holds for `data` and `len`, as long as the slice is used.
pub(in crate::capi) unsafe fn bytes<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// Whether there can be data of that length there: no slice is longer, and no buffer.
pub(super) fn is_data(data: *const c_void, len: usize) -> bool {
    isize::try_from(len).is_ok() && (len == 0 || !data.is_null())
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_add(
    buf: *mut evbuffer,
    data: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    if !is_data(data, len) {
        return -1;
    }
    // SAFETY: C2.
    let data = unsafe { bytes(data, len) };
    buf.change_status(|buffer| buffer.add(data))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_prepend(buf: *mut evbuffer, data: *const c_void, len: usize) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    if !is_data(data, len) {
        return -1;
    }
    // SAFETY: C2.
    let data = unsafe { bytes(data, len) };
    buf.change_status(|buffer| buffer.prepend(data))
}

/// Stops at the first vector that cannot be added; the ones before it stay.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_iovec(
    buf: *mut evbuffer,
    vectors: *mut iovec,
    count: c_int,
) -> usize {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return 0 };
    let count = if vectors.is_null() { 0 } else { usize::try_from(count).unwrap_or(0) };
    let here = Here::default();
    let _pin = buf.pin(&here);
    let mut added = 0;
    for index in 0..count {
        // SAFETY: C2: there are so many.
        let vector = unsafe { vectors.add(index) };
        // SAFETY: C2. A copy: callbacks are made in between.
        let vector = unsafe { vector.read() };
        if !is_data(vector.iov_base, vector.iov_len) {
            break;
        }
        // SAFETY: C2, a vector describes memory that can be read.
        let data = unsafe { bytes(vector.iov_base, vector.iov_len) };
        if buf.change_status(|buffer| buffer.add(data)) < 0 {
            break;
        }
        added += data.len();
    }
    added
}

/// How much space a text is first given.
const FORMAT_SPACE: usize = 64;

/// Formats into the space at the end, a second time if the first was too little.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_vprintf(
    buf: *mut evbuffer,
    format: *const c_char,
    arguments: VaList,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    if format.is_null() {
        return -1;
    }
    let print = |buffer: &mut Evbuffer| {
        // SAFETY: C2 for the format; the arguments are what it asks for.
        unsafe { print(buffer, format, arguments) }
    };
    buf.change(print).flatten().unwrap_or(-1)
}

variadic! {
    evbuffer_add_printf, 2, "rdx" => evbuffer_add_vprintf
}

/// # Safety
///
/// - C2 for the format, and the arguments are what it asks for.
unsafe fn print(buffer: &mut Evbuffer, format: *const c_char, arguments: VaList) -> Option<c_int> {
    let mut wanted = FORMAT_SPACE;
    loop {
        let mut space = buffer.reserve(wanted).ok()?;
        // SAFETY: the space can be written; the caller's promise.
        let len = unsafe { vsnprintf(space.as_mut_ptr().cast(), space.len(), format, arguments) };
        let needed = usize::try_from(len).ok()?;
        if needed < space.len() {
            return space.commit(needed).is_ok().then_some(len);
        }
        // The end of the text takes a byte, too.
        wanted = needed + 1;
    }
}

/// Moves everything from `source`. Of two buffers the source's callbacks are made first.
#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_add_buffer(
    target: *mut evbuffer,
    source: *mut evbuffer,
) -> c_int {
    // SAFETY: C1.
    unsafe { move_all(target, source, Evbuffer::add_buffer) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_prepend_buffer(target: *mut evbuffer, source: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    unsafe { move_all(target, source, Evbuffer::prepend_buffer) }
}

/// # Safety
///
/// - C1.
unsafe fn move_all(
    target: *mut evbuffer,
    source: *mut evbuffer,
    verb: fn(&mut Evbuffer, &mut Evbuffer) -> crate::Result<()>,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some((target, source)) = (unsafe { handles(target, source) }) else { return -1 };
    if std::ptr::eq(target, source) {
        return 0;
    }
    let moved = exchange(target, source, |to, from| {
        let count = from.len();
        verb(to, from).map(|()| count)
    });
    let Some(Ok(count)) = moved else { return -1 };
    follow_move(source, target, count, Order::SourceFirst);
    0
}

/// Whose callbacks are made first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    SourceFirst,
    TargetFirst,
}

/// What has to happen when `count` bytes have gone from one buffer to the other.
#[inline(never)]
pub(super) fn follow_move(source: &evbuffer, target: &evbuffer, count: usize, order: Order) {
    if source.is_quiet() && target.is_quiet() && !owed::exist() {
        return;
    }
    let here = Here::default();
    let _pins = (source.pin(&here), target.pin_too(&here));
    let (added, removed) = (Growth { added: count, removed: 0 }, Growth { added: 0, removed: count });
    let mut steps = [(source, removed), (target, added)];
    if order == Order::TargetFirst {
        steps.reverse();
    }
    owed::pay();
    // Both are written down before anybody is told: a callback may look at either.
    steps.iter().for_each(|(buf, change)| buf.note_own(*change));
    for (buf, _) in steps {
        let _held = buf.hold();
        buf.call_callbacks();
    }
}

/// Shares everything that `source` holds now.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_buffer_reference(
    target: *mut evbuffer,
    source: *mut evbuffer,
) -> c_int {
    // SAFETY: C1.
    let Some((target, source)) = (unsafe { handles(target, source) }) else { return -1 };
    if std::ptr::eq(target, source) {
        let empty = target.look(|buffer| buffer.is_empty());
        return if empty == Some(true) { 0 } else { -1 };
    }
    let shared = exchange(target, source, |to, from| measured(to, |to| to.add_buffer_reference(from)));
    let Some((result, change)) = shared else { return -1 };
    target.follow(change, target.hold());
    status(&result)
}

/// What C calls when it gets memory back: where it is, how long, and the argument that came with it.
type ReferenceCleanup = unsafe extern "C-unwind" fn(*const c_void, usize, *mut c_void);

/// Memory of C's that a buffer refers to.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    data: *const c_void,
    len: usize,
    cleanup: ReferenceCleanup,
    arg: *mut c_void,
}

// SAFETY: C gives the memory away for reading, from whichever thread uses the buffer, and the argument only to its own function.
unsafe impl Send for Reference {}

impl AsRef<[u8]> for Reference {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: C2, which holds until the clean-up is called.
        unsafe { bytes(self.data, self.len) }
    }
}

/// The clean-up is left to whoever lets go of the buffer.
impl Keeper for Reference {
    fn let_go(freed: Freed<Self>) {
        owed::add_reference(freed);
    }
}

impl Reference {
    /// Calls the clean-up. Nothing refers to the memory any more, and nothing of ours is borrowed.
    #[inline]
    pub(super) fn clean_up(self) {
        let Reference { data, len, cleanup, arg } = self;
        // SAFETY: C3.
        unsafe { cleanup(data, len, arg) }
    }
}

/// The clean-up is called once, with the length that is given here, when no buffer refers to the memory any more; not when this fails.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_reference(
    buf: *mut evbuffer,
    data: *const c_void,
    len: usize,
    cleanup: Option<ReferenceCleanup>,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    if !is_data(data, len) {
        return -1;
    }
    let Some(cleanup) = cleanup else {
        // SAFETY: C2; nobody is told when nothing refers to the memory any more, so C keeps it for as long as anything could.
        let data: &'static [u8] = unsafe { bytes(data, len) };
        return buf.change_status(|buffer| buffer.add_reference(data));
    };
    let reference = Reference { data, len, cleanup, arg };
    buf.change_status(|buffer| buffer.add_kept(reference))
}
