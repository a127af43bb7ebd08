//! `event2/tag.h`: tagged data in buffers. A tag is its bits by sevens, lowest first, with the high bit set on all bytes but the last; a
//! length follows, and as many bytes. Lengths and integers are nibbles, lowest first: how many there are less one, and then each.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use libc::timeval;

use super::buffer::{Pin, bytes, evbuffer, handle};
use super::frame::Here;
use super::memory;
use crate::buffer::Evbuffer;

/// An integer of up to 16 nibbles takes 9 bytes.
const INTEGER_MAX: usize = 9;
/// A tag of 32 bits takes 5 bytes.
const TAG_MAX: usize = 5;

/// What was encoded, on the stack.
#[derive(Debug, Clone, Copy, Default)]
struct Encoded {
    bytes: [u8; INTEGER_MAX],
    len: usize,
}

impl Encoded {
    fn integer(mut number: u64) -> Encoded {
        let nibbles = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        let mut encoded = Encoded { len: nibbles as usize / 2 + 1, ..Encoded::default() };
        encoded.bytes[0] = ((nibbles - 1) as u8) << 4;
        for place in 1..=nibbles as usize {
            let nibble = (number & 0xf) as u8;
            // Every odd place is the low half of its byte.
            encoded.bytes[place / 2] |= if place % 2 == 1 { nibble } else { nibble << 4 };
            number >>= 4;
        }
        encoded
    }

    fn tag(mut tag: u32) -> Encoded {
        let mut encoded = Encoded::default();
        loop {
            let more = tag > 0x7f;
            encoded.bytes[encoded.len] = (tag & 0x7f) as u8 | if more { 0x80 } else { 0 };
            encoded.len += 1;
            tag >>= 7;
            if !more {
                return encoded;
            }
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The integer at `from`, of up to `nibbles_max` nibbles, and how many bytes it takes.
fn integer_at(buffer: &mut Evbuffer, from: usize, nibbles_max: usize) -> Option<(u64, usize)> {
    let mut bytes = [0; INTEGER_MAX];
    let position = buffer.position(from).ok()?;
    let there = buffer.copy_out_from(position, &mut bytes).ok()?;
    let nibbles = usize::from(*bytes[..there].first()? >> 4) + 1;
    let len = nibbles / 2 + 1;
    if nibbles > nibbles_max || len > there {
        return None;
    }
    let nibble =
        |place: usize| u64::from(if place % 2 == 1 { bytes[place / 2] & 0xf } else { bytes[place / 2] >> 4 });
    Some(((1..=nibbles).rev().fold(0, |number, place| number << 4 | nibble(place)), len))
}

/// The tag at the front, and how many bytes it takes.
fn tag_at(buffer: &mut Evbuffer) -> Option<(u32, usize)> {
    let mut bytes = [0; TAG_MAX];
    let there = buffer.copy_out(&mut bytes).ok()?;
    let last = bytes[..there].iter().position(|byte| byte & 0x80 == 0)?;
    let number = bytes[..=last].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((u32::try_from(number).ok()?, last + 1))
}

/// The `Integer` kinds: how many nibbles they have.
const NIBBLES_32: usize = 8;
const NIBBLES_64: usize = 16;

/// The front of what a tagged item holds.
struct Header {
    tag: u32,
    /// How long the item is, and what stands in front of it.
    len: u32,
    header_len: usize,
}

impl Header {
    fn at(buffer: &mut Evbuffer) -> Option<Header> {
        let (tag, tag_len) = tag_at(buffer)?;
        let (len, len_len) = integer_at(buffer, tag_len, NIBBLES_32)?;
        Some(Header { tag, len: len as u32, header_len: tag_len + len_len })
    }
}

impl evbuffer {
    fn put(&self, data: &[u8]) {
        // libevent does not say whether that went well, either.
        self.change_status(|buffer| buffer.add(data));
    }

    fn put_item(&self, tag: u32, data: &[u8]) {
        self.put(Encoded::tag(tag).as_slice());
        self.put(Encoded::integer(data.len() as u64 & u64::from(u32::MAX)).as_slice());
        self.put(data);
    }

    /// Takes the header away, also when what follows is not all there.
    fn take_header(&self) -> Option<Header> {
        let header = self.access(Header::at).flatten();
        let Some(header) = header else {
            // A tag that was there is gone all the same, as with libevent.
            let tag = self.access(tag_at).flatten();
            tag.map(|(_, len)| self.change_status(|buffer| buffer.drain(len)));
            return None;
        };
        self.change_status(|buffer| buffer.drain(header.header_len));
        let there = self.look(|buffer| buffer.len()).unwrap_or(0);
        (there >= header.len as usize).then_some(header)
    }

    fn take_item(&self, target: &mut [u8]) -> bool {
        self.change(|buffer| buffer.remove(target)).is_some_and(|count| count.is_ok())
    }

    fn drop_item(&self, len: u32) {
        self.change_status(|buffer| buffer.drain(len as usize));
    }
}

/// The handle, for as long as several operations on it take: a callback that one makes due may free it.
///
/// # Safety
///
/// - C1.
unsafe fn pinned<'a>(buf: *const evbuffer, here: &Here) -> Option<Pin<'a>> {
    // SAFETY: the caller's promise.
    unsafe { handle(buf) }.map(|buf| buf.pin(here))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evtag_init() {}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_encode_int(buf: *mut evbuffer, number: u32) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        buf.put(Encoded::integer(number.into()).as_slice());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_encode_int64(buf: *mut evbuffer, number: u64) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        buf.put(Encoded::integer(number).as_slice());
    }
}

/// How many bytes the tag takes; without a buffer that is all.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_encode_tag(buf: *mut evbuffer, tag: u32) -> c_int {
    let here = Here::default();
    let encoded = Encoded::tag(tag);
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        buf.put(encoded.as_slice());
    }
    encoded.len as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal(buf: *mut evbuffer, tag: u32, data: *const c_void, len: u32) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        // SAFETY: C2.
        buf.put_item(tag, unsafe { bytes(data, len as usize) });
    }
}

/// Moves all of `data` into the item.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal_buffer(buf: *mut evbuffer, tag: u32, data: *mut evbuffer) {
    let here = Here::default();
    // SAFETY: C1.
    let Some(target) = (unsafe { pinned(buf, &here) }) else { return };
    // SAFETY: C1.
    let Some(source) = (unsafe { handle(data) }).map(|source| source.pin_too(&here)) else { return };
    let len = source.look(|buffer| buffer.len()).unwrap_or(0) as u32;
    target.put(Encoded::tag(tag).as_slice());
    target.put(Encoded::integer(len.into()).as_slice());
    // SAFETY: C1.
    unsafe { super::buffer::evbuffer_add_buffer(buf, data) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal_int(buf: *mut evbuffer, tag: u32, number: u32) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        buf.put_item(tag, Encoded::integer(number.into()).as_slice());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal_int64(buf: *mut evbuffer, tag: u32, number: u64) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) } {
        buf.put_item(tag, Encoded::integer(number).as_slice());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal_string(buf: *mut evbuffer, tag: u32, text: *const c_char) {
    let here = Here::default();
    // SAFETY: C1.
    if let Some(buf) = unsafe { pinned(buf, &here) }.filter(|_| !text.is_null()) {
        // SAFETY: C2.
        buf.put_item(tag, unsafe { CStr::from_ptr(text) }.to_bytes());
    }
}

/// The two numbers of a time are of 32 bits here.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_marshal_timeval(buf: *mut evbuffer, tag: u32, time: *const timeval) {
    let here = Here::default();
    // SAFETY: C1.
    let Some(buf) = (unsafe { pinned(buf, &here) }) else { return };
    // SAFETY: C2.
    let Some(time) = (unsafe { time.as_ref() }) else { return };
    let [seconds, micros] = [time.tv_sec, time.tv_usec].map(|part| Encoded::integer(u64::from(part as u32)));
    buf.put_item(tag, &[seconds.as_slice(), micros.as_slice()].concat());
}

/// Decodes an integer and takes it away.
///
/// # Safety
///
/// - C1.
unsafe fn decode_integer(buf: *mut evbuffer, nibbles_max: usize) -> Option<u64> {
    let here = Here::default();
    // SAFETY: the caller's promise.
    let buf = unsafe { pinned(buf, &here) }?;
    let (number, len) = buf.access(|buffer| integer_at(buffer, 0, nibbles_max)).flatten()?;
    buf.change_status(|buffer| buffer.drain(len));
    Some(number)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_decode_int(number: *mut u32, buf: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let decoded = unsafe { decode_integer(buf, NIBBLES_32) };
    // SAFETY: C2.
    unsafe { give(number, decoded.map(|number| number as u32)) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_decode_int64(number: *mut u64, buf: *mut evbuffer) -> c_int {
    // SAFETY: C1.
    let decoded = unsafe { decode_integer(buf, NIBBLES_64) };
    // SAFETY: C2.
    unsafe { give(number, decoded) }
}

/// Writes what was found, if somebody wants it: 0, or -1 for nothing.
///
/// # Safety
///
/// - C2 for `target`, which may be null.
unsafe fn give<T>(target: *mut T, found: Option<T>) -> c_int {
    let Some(found) = found else { return -1 };
    if !target.is_null() {
        // SAFETY: the caller's promise.
        unsafe { target.write(found) };
    }
    0
}

/// How many bytes the tag takes, which stays where it is.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_peek(buf: *mut evbuffer, tag: *mut u32) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let found = unsafe { pinned(buf, &here) }.and_then(|buf| buf.access(tag_at).flatten());
    let Some((number, len)) = found else { return -1 };
    // SAFETY: C2.
    unsafe { give(tag, Some(number)) };
    len as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_decode_tag(tag: *mut u32, buf: *mut evbuffer) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let Some(handle) = (unsafe { pinned(buf, &here) }) else { return -1 };
    // SAFETY: C1, C2.
    let len = unsafe { evtag_peek(buf, tag) };
    if let Ok(count) = usize::try_from(len) {
        handle.change_status(|buffer| buffer.drain(count));
    }
    len
}

/// How long the whole item is, its tag and length included.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_peek_length(buf: *mut evbuffer, len: *mut u32) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let found = unsafe { pinned(buf, &here) }.and_then(|buf| buf.access(Header::at).flatten());
    // SAFETY: C2.
    unsafe { give(len, found.map(|header| header.len.wrapping_add(header.header_len as u32))) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_payload_length(buf: *mut evbuffer, len: *mut u32) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let found = unsafe { pinned(buf, &here) }.and_then(|buf| buf.access(Header::at).flatten());
    // SAFETY: C2.
    unsafe { give(len, found.map(|header| header.len)) }
}

/// Takes tag and length away and says how long the item is, all of which has to be there.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_header(buf: *mut evbuffer, tag: *mut u32) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let Some(header) = (unsafe { pinned(buf, &here) }).and_then(|buf| buf.take_header()) else { return -1 };
    // SAFETY: C2.
    unsafe { give(tag, Some(header.tag)) };
    header.len as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_consume(buf: *mut evbuffer) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let Some(buf) = (unsafe { pinned(buf, &here) }) else { return -1 };
    let Some(header) = buf.take_header() else { return -1 };
    buf.drop_item(header.len);
    0
}

/// Moves the item to the end of `target` and says how long it is.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal(
    buf: *mut evbuffer,
    tag: *mut u32,
    target: *mut evbuffer,
) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let _pin = unsafe { pinned(buf, &here) };
    // SAFETY: C1, C2.
    let len = unsafe { evtag_unmarshal_header(buf, tag) };
    let Ok(count) = usize::try_from(len) else { return -1 };
    // SAFETY: C1.
    if unsafe { super::buffer::evbuffer_remove_buffer(buf, target, count) } == len { len } else { -1 }
}

/// The integer of the next item, which must have the tag `wanted` and is taken away, and how long it was encoded.
///
/// # Safety
///
/// - C1.
unsafe fn unmarshal_integer(buf: *mut evbuffer, wanted: u32, nibbles_max: usize) -> Option<(u64, usize)> {
    let here = Here::default();
    // SAFETY: the caller's promise.
    let buf = unsafe { pinned(buf, &here) }?;
    let (tag, tag_len) = buf.access(tag_at).flatten()?;
    buf.change_status(|buffer| buffer.drain(tag_len));
    if tag != wanted {
        return None;
    }
    let (len, len_len) = buf.access(|buffer| integer_at(buffer, 0, NIBBLES_32)).flatten()?;
    buf.change_status(|buffer| buffer.drain(len_len));
    if buf.look(|buffer| buffer.len())? < len as usize {
        return None;
    }
    let decoded = buf.access(|buffer| integer_at(buffer, 0, nibbles_max)).flatten();
    buf.drop_item(len as u32);
    decoded.filter(|(_, encoded_len)| *encoded_len <= len as usize)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_int(buf: *mut evbuffer, tag: u32, number: *mut u32) -> c_int {
    // SAFETY: C1.
    let Some((found, len)) = (unsafe { unmarshal_integer(buf, tag, NIBBLES_32) }) else { return -1 };
    // SAFETY: C2.
    unsafe { give(number, Some(found as u32)) };
    len as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_int64(buf: *mut evbuffer, tag: u32, number: *mut u64) -> c_int {
    // SAFETY: C1.
    let Some((found, len)) = (unsafe { unmarshal_integer(buf, tag, NIBBLES_64) }) else { return -1 };
    // SAFETY: C2.
    unsafe { give(number, Some(found)) };
    len as c_int
}

/// The header of the next item, if it has the tag `wanted`.
///
/// # Safety
///
/// - C1.
unsafe fn item_of<'a>(buf: *mut evbuffer, wanted: u32, here: &Here) -> Option<(Pin<'a>, usize)> {
    // SAFETY: the caller's promise.
    let buf = unsafe { pinned(buf, here) }?;
    let header = buf.take_header()?;
    (header.tag == wanted).then_some((buf, header.len as usize))
}

/// The item must be exactly as long.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_fixed(
    buf: *mut evbuffer,
    tag: u32,
    target: *mut c_void,
    len: usize,
) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let item = unsafe { item_of(buf, tag, &here) };
    let Some((buf, _)) = item.filter(|(_, there)| *there == len) else { return -1 };
    let mut item = vec![0; len];
    buf.take_item(&mut item);
    if !target.is_null() {
        // SAFETY: C2; C's memory is not ours, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(item.as_ptr(), target.cast(), len) };
    }
    0
}

/// The item with a zero byte behind it, for the caller to free.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_string(
    buf: *mut evbuffer,
    tag: u32,
    text: *mut *mut c_char,
) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let Some((buf, len)) = (unsafe { item_of(buf, tag, &here) }) else { return -1 };
    let mut item = vec![0; len];
    buf.take_item(&mut item);
    let copy = memory::allocate_text(&item);
    // SAFETY: C2.
    unsafe { give(text, (!copy.is_null()).then_some(copy)) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evtag_unmarshal_timeval(
    buf: *mut evbuffer,
    tag: u32,
    time: *mut timeval,
) -> c_int {
    let here = Here::default();
    // SAFETY: C1.
    let Some(buf) = (unsafe { pinned(buf, &here) }) else { return -1 };
    let Some(header) = buf.take_header() else { return -1 };
    let parts = buf.access(|buffer| {
        let (seconds, first) = integer_at(buffer, 0, NIBBLES_32)?;
        let (micros, second) = integer_at(buffer, first, NIBBLES_32)?;
        let whole = first + second <= header.len as usize && header.tag == tag;
        whole.then_some(timeval { tv_sec: seconds as i64, tv_usec: micros as i64 })
    });
    buf.drop_item(header.len);
    // SAFETY: C2.
    unsafe { give(time, parts.flatten()) }
}
