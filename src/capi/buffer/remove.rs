//! Taking bytes out, copying them out, and making them contiguous.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::slice;

use super::super::layout::evbuffer_ptr;
use super::add::{Order, bytes, follow_move, is_data};
use super::search::{Eol, eol_of};
use super::{evbuffer, exchange, handle, handles};
use crate::buffer::Evbuffer;
use crate::capi::frame::Here;
use crate::capi::memory;
use crate::{Error, Result};

/// On a frozen front this fails also for no bytes, unless there are none.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_drain(buf: *mut evbuffer, len: usize) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    buf.change_status(|buffer| {
        refuse_frozen(buffer)?;
        buffer.drain(len)
    })
}

/// libevent asks whether the front is frozen before it looks how much is wanted.
fn refuse_frozen(buffer: &Evbuffer) -> Result<()> {
    if buffer.is_front_frozen() && !buffer.is_empty() { Err(Error::Frozen) } else { Ok(()) }
}

#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_remove(
    buf: *mut evbuffer,
    target: *mut c_void,
    len: usize,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let remove = |buffer: &mut Evbuffer| {
        if target.is_null() && len > 0 && !buffer.is_empty() {
            return -1;
        }
        // SAFETY: C2.
        let target = unsafe { target_of(buffer, target, len) };
        // libevent returns an int of a length, too.
        buffer.remove(target).map_or(-1, |count| count as c_int)
    };
    buf.change(remove).unwrap_or(-1)
}

/// As much of C's memory as the buffer could fill. C may say that more can be written than there is, as long as the buffer holds less.
///
/// # Safety
///
/// - C2 for `target` and as many bytes as the buffer holds, `len` at most; they have been written before, or nobody reads them.
unsafe fn target_of<'a>(buffer: &Evbuffer, target: *mut c_void, len: usize) -> &'a mut [u8] {
    let len = len.min(buffer.len());
    if target.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(target.cast(), len) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_copyout(buf: *mut evbuffer, target: *mut c_void, len: usize) -> isize {
    // SAFETY: C1, C2.
    unsafe { evbuffer_copyout_from(buf, ptr::null(), target, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_copyout_from(
    buf: *mut evbuffer,
    from: *const evbuffer_ptr,
    target: *mut c_void,
    len: usize,
) -> isize {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C1.
    let from = unsafe { from.as_ref() }.map_or(0, |from| from.position);
    let Ok(offset) = usize::try_from(from) else { return -1 };
    if len > (isize::MAX as usize) - offset && from > 0 {
        return -1;
    }
    let copied = buf.access(|buffer| {
        let from = buffer.position(offset)?;
        let len = len.min(buffer.len() - offset);
        if len > 0 {
            refuse_frozen(buffer)?;
        }
        // SAFETY: C2.
        buffer.copy_out_from(from, unsafe { target_of(buffer, target, len) })
    });
    copied.and_then(Result::ok).map_or(-1, |count| count as isize)
}

/// Of two buffers the target's callbacks are made first, except when everything is moved.
#[unsafe(no_mangle)]
pub(in crate::capi) unsafe extern "C-unwind" fn evbuffer_remove_buffer(
    source: *mut evbuffer,
    target: *mut evbuffer,
    len: usize,
) -> c_int {
    // SAFETY: C1.
    let Some((source, target)) = (unsafe { handles(source, target) }) else { return -1 };
    if len == 0 || ptr::eq(source, target) {
        return 0;
    }
    let moved = exchange(source, target, |from, to| {
        if from.is_front_frozen() || to.is_back_frozen() {
            return Err(Error::Frozen);
        }
        let all = len >= from.len();
        from.remove_buffer(to, len).map(|count| (count, all))
    });
    let Some(Ok((count, all))) = moved else { return -1 };
    let order = if all { Order::SourceFirst } else { Order::TargetFirst };
    follow_move(source, target, count, order);
    count as c_int
}

/// The bytes may be written to: who else has a part of the same memory sees that, as with libevent. They stay where they are until
/// the content changes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_pullup(buf: *mut evbuffer, len: isize) -> *mut u8 {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return ptr::null_mut() };
    buf.pullup(usize::try_from(len).ok())
}

impl evbuffer {
    /// The address of the first `len` bytes, or of all; null when there are fewer, and for none.
    fn pullup(&self, len: Option<usize>) -> *mut u8 {
        let pulled = self.access(|buffer| {
            self.prepare_lending(buffer);
            let len = len.unwrap_or(buffer.len());
            buffer.lend_front(len).unwrap_or(ptr::null_mut())
        });
        pulled.unwrap_or(ptr::null_mut())
    }

    /// What is lent must not move while the content stays as it is. A bufferevent moves small pieces of large chunks when it is settled;
    /// doing it now leaves nothing to move.
    pub(super) fn prepare_lending(&self, buffer: &mut Evbuffer) {
        if !self.is_own() {
            buffer.settle_storage();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_find(buf: *mut evbuffer, what: *const u8, len: usize) -> *mut u8 {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return ptr::null_mut() };
    if !is_data(what.cast(), len) {
        return ptr::null_mut();
    }
    // SAFETY: C2.
    let needle = unsafe { bytes(what.cast(), len) };
    let here = Here::default();
    let _pin = buf.pin(&here);
    let found = buf.access(|buffer| buffer.search(needle, None).ok().flatten());
    let Some(at) = found.flatten().map(|position| position.offset()) else { return ptr::null_mut() };
    let first = buf.pullup(Some(at + len));
    // The match is inside what was pulled up.
    if first.is_null() { first } else { first.wrapping_add(at) }
}

/// The line without its end, and a zero byte behind it, in memory that the caller frees; null if there is no whole line.
///
/// The line and its end are removed one after the other, so there are two callbacks.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_readln(
    buf: *mut evbuffer,
    len_out: *mut usize,
    style: c_int,
) -> *mut c_char {
    // SAFETY: C1.
    let line = unsafe { handle(buf) }.zip(eol_of(style)).and_then(|(buf, eol)| buf.read_line(eol));
    let (line, len) = line.unwrap_or((ptr::null_mut(), 0));
    if !len_out.is_null() {
        // SAFETY: C2.
        unsafe { len_out.write(len) };
    }
    line
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_readline(buf: *mut evbuffer) -> *mut c_char {
    const ANY: c_int = 0;
    // SAFETY: C1.
    unsafe { evbuffer_readln(buf, ptr::null_mut(), ANY) }
}

impl evbuffer {
    fn read_line(&self, eol: Eol) -> Option<(*mut c_char, usize)> {
        let here = Here::default();
        let _pin = self.pin(&here);
        let _held = self.hold();
        let (line, len, end_len) = self.access(|buffer| copy_line(buffer, eol))??;
        for count in [len, end_len] {
            // There was that much, and nothing is frozen, unless a callback has changed that.
            self.change_status(|buffer| buffer.drain(count));
        }
        Some((line, len))
    }
}

/// A copy of the first line for C, how long it is, and its end.
fn copy_line(buffer: &mut Evbuffer, eol: Eol) -> Option<(*mut c_char, usize, usize)> {
    if buffer.is_front_frozen() {
        return None;
    }
    let (end, end_len) = buffer.search_eol(None, eol).ok()??;
    let len = end.offset();
    let line = memory::allocate(len + 1).cast::<u8>();
    if line.is_null() {
        return None;
    }
    // SAFETY: the block is ours, that long, and written before it is read.
    let target = unsafe { slice::from_raw_parts_mut(line, len + 1) };
    target[len] = 0;
    if buffer.copy_out(&mut target[..len]).is_err() {
        // SAFETY: it came from `allocate`, and nobody has it.
        unsafe { memory::free(line.cast()) };
        return None;
    }
    Some((line.cast(), len, end_len))
}
