//! Looking at the bytes where they are, and space to be written directly.

use std::ffi::c_int;
use std::slice;

use libc::iovec;
use smallvec::SmallVec;

use super::super::layout::evbuffer_ptr;
use super::{evbuffer, handle};
use crate::buffer::{Detached, Evbuffer};

/// C's vectors; none if there are none.
///
/// # Safety
///
/// - C2 holds for `vectors` and `count`, as long as the slice is used.
pub(super) unsafe fn vectors<'a>(vectors: *mut iovec, count: c_int) -> &'a mut [iovec] {
    let count = usize::try_from(count).unwrap_or(0);
    if vectors.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(vectors, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_expand(buf: *mut evbuffer, len: usize) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    buf.change_status(|buffer| buffer.expand(len))
}

/// Fills as many of the vectors as `len` bytes need, or all for a negative `len`, and says how many it would have taken. The last may be
/// longer than was asked for. A negative `len` and no vectors counts what there is.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_peek(
    buf: *mut evbuffer,
    len: isize,
    start: *mut evbuffer_ptr,
    vectors: *mut iovec,
    count: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C2.
    let start = unsafe { start.as_ref() };
    // SAFETY: C2.
    let vectors = unsafe { self::vectors(vectors, count) };
    let Ok(from) = usize::try_from(start.map_or(0, |start| start.position)) else { return 0 };
    let wanted = match usize::try_from(len) {
        Ok(len) => Wanted::Bytes(len),
        Err(_) if vectors.is_empty() => Wanted::Everything,
        Err(_) => Wanted::Vectors,
    };
    let peeked = buf.access(|buffer| {
        buf.prepare_lending(buffer);
        peek(buffer, from, wanted, start.is_some(), vectors)
    });
    peeked.flatten().map_or(-1, |needed| c_int::try_from(needed).unwrap_or(c_int::MAX))
}

/// How far a peek goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bytes(usize),
    Everything,
    /// As far as the vectors reach.
    Vectors,
}

/// How many vectors are needed. With a start, one is given in any case, as libevent does.
fn peek(
    buffer: &mut Evbuffer,
    from: usize,
    wanted: Wanted,
    has_start: bool,
    vectors: &mut [iovec],
) -> Option<usize> {
    if from >= buffer.len() {
        return Some(0);
    }
    let len = match wanted {
        Wanted::Bytes(0) if has_start => 1,
        Wanted::Bytes(len) => len,
        Wanted::Everything | Wanted::Vectors => buffer.len() - from,
    };
    let (mut index, mut bytes) = (0, 0);
    for run in buffer.lend_runs(from, len).ok()? {
        if bytes >= len || (wanted == Wanted::Vectors && index == vectors.len()) {
            break;
        }
        if let Some(vector) = vectors.get_mut(index) {
            *vector = iovec { iov_base: run.as_ptr().cast_mut().cast(), iov_len: run.len() };
        }
        index += 1;
        bytes += run.len();
    }
    Some(index)
}

/// Gives at least `len` bytes in up to `count` vectors; in one, if only one is allowed. The same space is given again until it is committed
/// or the content changes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_reserve_space(
    buf: *mut evbuffer,
    len: isize,
    vectors: *mut iovec,
    count: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C2.
    let vectors = unsafe { self::vectors(vectors, count) };
    let Ok(len) = usize::try_from(len) else { return -1 };
    let filled = buf.access(|buffer| match vectors {
        [] => None,
        _ if buffer.is_back_frozen() => None,
        [only] => {
            // Space for nothing would be nowhere, and could not be committed.
            *only = vector_of(buffer.lend_space(len.max(1)).ok()?);
            Some(1)
        }
        vectors => buf.reserve(buffer, len, vectors),
    });
    filled.flatten().and_then(|filled| c_int::try_from(filled).ok()).unwrap_or(-1)
}

fn vector_of((base, len): (*mut u8, usize)) -> iovec {
    iovec { iov_base: base.cast(), iov_len: len }
}

/// Where pieces of space are, and how long.
type Places = SmallVec<[(*mut u8, usize); 4]>;

impl evbuffer {
    /// What is reserved beyond the chain. It goes with the content: only who lends the buffer may look.
    #[expect(clippy::mut_from_ref, reason = "it is guarded as the buffer is, which the caller has borrowed")]
    fn reserved(&self, _buffer: &Evbuffer) -> &mut Option<Box<Detached>> {
        // SAFETY: H2, with the lock that the caller of `access` has; each caller here lets go before it calls the next.
        unsafe { &mut *self.reserved.get() }
    }

    #[inline]
    fn forget_reserved(&self, buffer: &Evbuffer) {
        let reserved = self.reserved(buffer);
        if reserved.is_some() {
            *reserved = None;
        }
    }

    /// Says how many of the vectors it has filled.
    fn reserve(&self, buffer: &mut Evbuffer, len: usize, vectors: &mut [iovec]) -> Option<usize> {
        if self.reserved(buffer).is_none()
            && let Some(place) = buffer.lend_only_space(len)
        {
            vectors[0] = vector_of(place);
            return Some(1);
        }
        let places = self.reserve_several(buffer, len, vectors.len())?;
        for (vector, place) in vectors.iter_mut().zip(&places) {
            *vector = vector_of(*place);
        }
        Some(places.len())
    }

    fn reserve_several(&self, buffer: &mut Evbuffer, len: usize, most: usize) -> Option<Places> {
        if let Some(reserved) = self.reserved(buffer) {
            let places = reserved.places(buffer);
            if places.len() <= most && places.iter().map(|place| place.1).sum::<usize>() >= len.max(1) {
                return Some(places);
            }
        }
        let mut extents = buffer.lend_extents(len, most).ok()?;
        let places = extents.places(buffer);
        *self.reserved(buffer) = Some(Box::new(extents));
        Some(places)
    }
}

/// Each base must be what was given, in order, and each length at most that. A single vector may also be the last that was given.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_commit_space(
    buf: *mut evbuffer,
    vectors: *mut iovec,
    count: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C2.
    let vectors = unsafe { self::vectors(vectors, count) };
    buf.change(|buffer| {
        if buffer.is_back_frozen() {
            return None;
        }
        match vectors {
            [] => Some(()),
            [only] if buffer.commit_lent(only.iov_base.cast(), only.iov_len) => {
                buf.forget_reserved(buffer);
                Some(())
            }
            vectors => buf.commit(buffer, vectors),
        }
    })
    .flatten()
    .map_or(-1, |()| 0)
}

fn is_at(vector: &iovec, (base, len): (*mut u8, usize)) -> bool {
    vector.iov_base.cast() == base && vector.iov_len <= len
}

impl evbuffer {
    fn commit(&self, buffer: &mut Evbuffer, vectors: &[iovec]) -> Option<()> {
        let mut reserved = self.reserved(buffer).take()?;
        let places = reserved.places(buffer);
        let lengths = lengths_of(vectors, &places);
        let Some(lengths) = lengths else {
            *self.reserved(buffer) = Some(reserved);
            return None;
        };
        reserved.attach(buffer).commit(&lengths).ok().map(drop)
    }
}

/// How much of each place the vectors take; none when they do not match.
fn lengths_of(vectors: &[iovec], places: &Places) -> Option<SmallVec<[usize; 4]>> {
    if let ([only], Some(&last)) = (vectors, places.last())
        && is_at(only, last)
    {
        let mut lengths = SmallVec::from_elem(0, places.len());
        *lengths.last_mut()? = only.iov_len;
        return Some(lengths);
    }
    let matches = vectors.len() <= places.len() && vectors.iter().zip(places).all(|(v, p)| is_at(v, *p));
    matches.then(|| vectors.iter().map(|vector| vector.iov_len).collect())
}
