//! Places in a buffer, and finding them. A place is an offset; of its other fields only that one says whether it is the end.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::super::layout::evbuffer_ptr;
use super::add::{bytes, is_data};
use super::{evbuffer, handle};
use crate::Result;
use crate::buffer::{Evbuffer, Position};

pub(super) use crate::buffer::Eol;

/// `EVBUFFER_PTR_SET`; `EVBUFFER_PTR_ADD` is 1.
const SET: c_int = 0;
const ADD: c_int = 1;

const NOT_FOUND: evbuffer_ptr = evbuffer_ptr { position: -1, chain: ptr::null_mut(), within_chain: 0 };

/// The place `offset` bytes from the front of a buffer of `len`. A program can see whether it is the end, as with libevent.
fn place(offset: usize, len: usize) -> evbuffer_ptr {
    let chain = if offset < len { ptr::dangling_mut::<c_void>() } else { ptr::null_mut() };
    // No buffer is longer than what fits.
    evbuffer_ptr { position: offset as isize, chain, within_chain: 0 }
}

/// The kind of line end with that number.
pub(super) fn eol_of(style: c_int) -> Option<Eol> {
    match style {
        0 => Some(Eol::Any),
        1 => Some(Eol::Crlf),
        2 => Some(Eol::CrlfStrict),
        3 => Some(Eol::Lf),
        4 => Some(Eol::Nul),
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_ptr_set(
    buf: *mut evbuffer,
    position: *mut evbuffer_ptr,
    distance: usize,
    how: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C2.
    let Some(position) = (unsafe { position.as_mut() }) else { return -1 };
    let offset = match how {
        SET => distance,
        ADD => {
            let from = usize::try_from(position.position).ok();
            let Some(offset) = from.and_then(|from| from.checked_add(distance)) else { return -1 };
            offset
        }
        _ => return -1,
    };
    let len = buf.look(|buffer| buffer.len()).unwrap_or(0);
    *position = if offset > len { NOT_FOUND } else { place(offset, len) };
    if offset > len { -1 } else { 0 }
}

/// An empty `what` is found where the search starts.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_search(
    buf: *mut evbuffer,
    what: *const c_char,
    len: usize,
    start: *const evbuffer_ptr,
) -> evbuffer_ptr {
    // SAFETY: C1, C2.
    unsafe { evbuffer_search_range(buf, what, len, start, ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_search_range(
    buf: *mut evbuffer,
    what: *const c_char,
    len: usize,
    start: *const evbuffer_ptr,
    end: *const evbuffer_ptr,
) -> evbuffer_ptr {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return NOT_FOUND };
    // SAFETY: C2.
    let start = unsafe { start.as_ref() };
    // SAFETY: C2.
    let end = unsafe { end.as_ref() };
    if len == 0 {
        return start.copied().unwrap_or_else(|| buf.front());
    }
    if !is_data(what.cast(), len) {
        return NOT_FOUND;
    }
    // SAFETY: C2.
    let needle = unsafe { bytes(what.cast(), len) };
    let found = buf.access(|buffer| {
        let (start, end) = (position_of(buffer, start)?, position_of(buffer, end)?);
        let found = buffer.search_range(needle, start, end)?;
        Ok(found.map(|found| place(found.offset(), buffer.len())))
    });
    found_or_not(found)
}

fn found_or_not(found: Option<Result<Option<evbuffer_ptr>>>) -> evbuffer_ptr {
    found.and_then(Result::ok).flatten().unwrap_or(NOT_FOUND)
}

/// The position that C means; an error for that of nothing.
fn position_of(buffer: &Evbuffer, place: Option<&evbuffer_ptr>) -> Result<Option<Position>> {
    let Some(place) = place else { return Ok(None) };
    let offset = usize::try_from(place.position).map_err(|_| crate::Error::OutOfRange)?;
    buffer.position(offset).map(Some)
}

impl evbuffer {
    fn front(&self) -> evbuffer_ptr {
        place(0, self.look(|buffer| buffer.len()).unwrap_or(0))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_search_eol(
    buf: *mut evbuffer,
    start: *mut evbuffer_ptr,
    eol_len_out: *mut usize,
    style: c_int,
) -> evbuffer_ptr {
    // SAFETY: C1.
    let buf = unsafe { handle(buf) };
    // SAFETY: C2.
    let start = unsafe { start.as_ref() };
    let found = buf.zip(eol_of(style)).and_then(|(buf, eol)| buf.search_eol(start, eol));
    if !eol_len_out.is_null() {
        // SAFETY: C2.
        unsafe { eol_len_out.write(found.map_or(0, |(_, len)| len)) };
    }
    found.map_or(NOT_FOUND, |(place, _)| place)
}

impl evbuffer {
    fn search_eol(&self, start: Option<&evbuffer_ptr>, eol: Eol) -> Option<(evbuffer_ptr, usize)> {
        self.access(|buffer| {
            let start = position_of(buffer, start).ok()?;
            let (found, len) = buffer.search_eol(start, eol).ok()??;
            Some((place(found.offset(), buffer.len()), len))
        })?
    }
}
