//! C libevent's evbuffer, for comparing: the library of the Debian package `libevent-2.1-7`, loaded at run time.
//!
//! The verbs take and give what C's do, in Rust's types: -1 is `None`, a count beyond `ssize_t` is the largest one.
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use libc::{iovec, size_t, ssize_t};
use zerovent::buffer::Eol;

use crate::foreign::library;

/// `struct evbuffer`, of which only addresses are known.
#[repr(C)]
struct Opaque {
    private: [u8; 0],
}

/// `struct evbuffer_ptr`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Place {
    offset: ssize_t,
    chain: *mut c_void,
    in_chain: size_t,
}

impl Place {
    const NONE: Place = Place { offset: -1, chain: ptr::null_mut(), in_chain: 0 };

    /// Bytes in front of it; `None` for the position of nothing.
    pub fn offset(self) -> Option<usize> {
        usize::try_from(self.offset).ok()
    }
}

/// What libevent calls when the memory of a reference is no longer used.
type Cleanup = unsafe extern "C" fn(*const c_void, size_t, *mut c_void);

// The types are those of event2/buffer.h and event2/event.h of this version.
library! {
    // Its name in every Linux distribution that has this version.
    "libevent-2.1.so.7";
    event_get_version: () -> *const c_char;
    evbuffer_new: () -> *mut Opaque;
    evbuffer_free: (*mut Opaque);
    evbuffer_get_length: (*const Opaque) -> size_t;
    evbuffer_add: (*mut Opaque, *const c_void, size_t) -> c_int;
    evbuffer_prepend: (*mut Opaque, *const c_void, size_t) -> c_int;
    evbuffer_add_reference: (*mut Opaque, *const c_void, size_t, Option<Cleanup>, *mut c_void) -> c_int;
    evbuffer_add_buffer: (*mut Opaque, *mut Opaque) -> c_int;
    evbuffer_prepend_buffer: (*mut Opaque, *mut Opaque) -> c_int;
    evbuffer_add_buffer_reference: (*mut Opaque, *mut Opaque) -> c_int;
    evbuffer_file_segment_new: (c_int, libc::off_t, libc::off_t, c_uint) -> *mut c_void;
    evbuffer_file_segment_free: (*mut c_void);
    evbuffer_add_file_segment: (*mut Opaque, *mut c_void, libc::off_t, libc::off_t) -> c_int;
    evbuffer_drain: (*mut Opaque, size_t) -> c_int;
    evbuffer_remove: (*mut Opaque, *mut c_void, size_t) -> c_int;
    evbuffer_remove_buffer: (*mut Opaque, *mut Opaque, size_t) -> c_int;
    evbuffer_copyout_from: (*mut Opaque, *const Place, *mut c_void, size_t) -> ssize_t;
    evbuffer_pullup: (*mut Opaque, ssize_t) -> *mut u8;
    evbuffer_expand: (*mut Opaque, size_t) -> c_int;
    evbuffer_reserve_space: (*mut Opaque, ssize_t, *mut iovec, c_int) -> c_int;
    evbuffer_commit_space: (*mut Opaque, *mut iovec, c_int) -> c_int;
    evbuffer_peek: (*mut Opaque, ssize_t, *mut Place, *mut iovec, c_int) -> c_int;
    evbuffer_ptr_set: (*mut Opaque, *mut Place, size_t, c_int) -> c_int;
    evbuffer_search_range: (*mut Opaque, *const c_char, size_t, *const Place, *const Place) -> Place;
    evbuffer_search_eol: (*mut Opaque, *mut Place, *mut size_t, c_int) -> Place;
    evbuffer_readln: (*mut Opaque, *mut size_t, c_int) -> *mut c_char;
    evbuffer_freeze: (*mut Opaque, c_int) -> c_int;
    evbuffer_unfreeze: (*mut Opaque, c_int) -> c_int;
    evbuffer_write_atmost: (*mut Opaque, c_int, ssize_t) -> c_int;
    evbuffer_read: (*mut Opaque, c_int, c_int) -> c_int;
}

/// The version of the library.
///
/// # Errors
/// Why there is none, in the loader's words.
pub fn version() -> Result<String, String> {
    let api = loaded().as_ref().map_err(Clone::clone)?;
    // SAFETY: it takes nothing and gives a constant string.
    let name = unsafe { (api.event_get_version)() };
    // SAFETY: the string ends in a NUL and lives as long as the library, which is never unloaded.
    Ok(unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// A `struct evbuffer`.
#[derive(Debug)]
pub struct CBuffer {
    raw: NonNull<Opaque>,
}

/// A count of C's signed kind.
fn signed(count: usize) -> ssize_t {
    ssize_t::try_from(count).unwrap_or(ssize_t::MAX)
}

/// What C says with 0 and -1.
fn done(result: c_int) -> Option<()> {
    (result == 0).then_some(())
}

/// What C says with a count and -1.
fn counted(result: impl TryInto<usize>) -> Option<usize> {
    result.try_into().ok()
}

fn eol_style(eol: Eol) -> c_int {
    match eol {
        Eol::Any => 0,
        Eol::Crlf => 1,
        Eol::CrlfStrict => 2,
        Eol::Lf => 3,
        Eol::Nul => 4,
    }
}

/// Its life, and adding.
impl CBuffer {
    pub fn new() -> CBuffer {
        // SAFETY: it takes nothing.
        let raw = unsafe { (api().evbuffer_new)() };
        CBuffer { raw: NonNull::new(raw).expect("memory for a buffer") }
    }

    fn raw(&self) -> *mut Opaque {
        self.raw.as_ptr()
    }

    pub fn len(&self) -> usize {
        // SAFETY: the buffer is live until the drop.
        unsafe { (api().evbuffer_get_length)(self.raw()) }
    }

    pub fn add(&mut self, data: &[u8]) -> Option<()> {
        // SAFETY: the buffer is live, and `data` can be read for its length.
        done(unsafe { (api().evbuffer_add)(self.raw(), data.as_ptr().cast(), data.len()) })
    }

    pub fn prepend(&mut self, data: &[u8]) -> Option<()> {
        // SAFETY: the buffer is live, and `data` can be read for its length.
        done(unsafe { (api().evbuffer_prepend)(self.raw(), data.as_ptr().cast(), data.len()) })
    }

    /// Adds `data` without copying it; `cleanup` is called with its length once it is no longer used.
    pub fn add_reference(&mut self, data: Vec<u8>, cleanup: impl FnOnce(usize) + 'static) -> Option<()> {
        let owner = Box::new(Owner { data, cleanup: Box::new(cleanup) });
        let (first, len) = (owner.data.as_ptr(), owner.data.len());
        let owner = Box::into_raw(owner);
        // SAFETY: the buffer is live; `first` stays readable until `clean_up` frees the owner, which libevent calls once.
        let result = unsafe {
            (api().evbuffer_add_reference)(self.raw(), first.cast(), len, Some(clean_up), owner.cast())
        };
        if result != 0 {
            // SAFETY: libevent does not call the clean-up of a reference that it did not take, so the owner is ours again.
            drop(unsafe { Box::from_raw(owner) });
        }
        done(result)
    }

    /// Adds memory that lives as long as the program.
    pub fn add_static(&mut self, data: &'static [u8]) -> Option<()> {
        // SAFETY: the buffer is live; the memory can be read for ever, so no clean-up is needed.
        done(unsafe {
            (api().evbuffer_add_reference)(
                self.raw(),
                data.as_ptr().cast(),
                data.len(),
                None,
                ptr::null_mut(),
            )
        })
    }

    /// Adds memory with a clean-up that does nothing; whoever calls keeps it in place while the buffer holds it.
    ///
    /// # Safety
    /// `data` must be readable until the buffer no longer holds it.
    pub unsafe fn add_borrowed(&mut self, data: &[u8]) -> Option<()> {
        // SAFETY: the buffer is live, and the caller keeps `data` readable.
        done(unsafe {
            (api().evbuffer_add_reference)(
                self.raw(),
                data.as_ptr().cast(),
                data.len(),
                Some(ignore),
                ptr::null_mut(),
            )
        })
    }

    pub fn add_buffer(&mut self, src: &mut CBuffer) -> Option<()> {
        // SAFETY: both buffers are live.
        done(unsafe { (api().evbuffer_add_buffer)(self.raw(), src.raw()) })
    }

    pub fn prepend_buffer(&mut self, src: &mut CBuffer) -> Option<()> {
        // SAFETY: both buffers are live.
        done(unsafe { (api().evbuffer_prepend_buffer)(self.raw(), src.raw()) })
    }

    pub fn add_buffer_reference(&mut self, src: &mut CBuffer) -> Option<()> {
        // SAFETY: both buffers are live.
        done(unsafe { (api().evbuffer_add_buffer_reference)(self.raw(), src.raw()) })
    }

    /// Adds part of a file as a segment of its own. Segments cannot outlive the call otherwise: a failing
    /// `evbuffer_add_file_segment` drops a reference that is its caller's.
    pub fn add_file(&mut self, file: OwnedFd, offset: usize, len: usize) -> Option<()> {
        const CLOSE_ON_FREE: c_uint = 1;
        let fd = std::os::fd::IntoRawFd::into_raw_fd(file);
        // SAFETY: the descriptor is open and ours to give away.
        let segment = unsafe { (api().evbuffer_file_segment_new)(fd, 0, -1, CLOSE_ON_FREE) };
        assert!(!segment.is_null(), "a segment of an open file");
        // SAFETY: the buffer and the segment are live.
        let result = unsafe {
            (api().evbuffer_add_file_segment)(self.raw(), segment, signed(offset) as i64, signed(len) as i64)
        };
        if result == 0 {
            // SAFETY: the reference of `evbuffer_file_segment_new` is still ours.
            unsafe { (api().evbuffer_file_segment_free)(segment) };
        }
        done(result)
    }
}

/// What a reference's memory belongs to.
struct Owner {
    data: Vec<u8>,
    cleanup: Box<dyn FnOnce(usize)>,
}

/// # Safety
/// `owner` is what `add_reference` gave away, and this is the only call with it.
unsafe extern "C" fn clean_up(data: *const c_void, len: size_t, owner: *mut c_void) {
    // SAFETY: see above.
    let owner = unsafe { Box::from_raw(owner.cast::<Owner>()) };
    assert_eq!(owner.data.as_ptr(), data.cast(), "the address that was added");
    (owner.cleanup)(len);
}

unsafe extern "C" fn ignore(_: *const c_void, _: size_t, _: *mut c_void) {}

impl Drop for CBuffer {
    fn drop(&mut self) {
        // SAFETY: the buffer is live and nobody uses it afterwards.
        unsafe { (api().evbuffer_free)(self.raw()) };
    }
}

/// Removing.
impl CBuffer {
    pub fn drain(&mut self, count: usize) -> Option<()> {
        // SAFETY: the buffer is live.
        done(unsafe { (api().evbuffer_drain)(self.raw(), count) })
    }

    pub fn remove(&mut self, target: &mut [u8]) -> Option<usize> {
        // SAFETY: the buffer is live, and `target` can be written for its length.
        counted(unsafe { (api().evbuffer_remove)(self.raw(), target.as_mut_ptr().cast(), target.len()) })
    }

    pub fn remove_buffer(&mut self, dst: &mut CBuffer, count: usize) -> Option<usize> {
        // SAFETY: both buffers are live.
        counted(unsafe { (api().evbuffer_remove_buffer)(self.raw(), dst.raw(), count) })
    }

    pub fn copy_out_from(&mut self, from: &Place, target: &mut [u8]) -> Option<usize> {
        let (first, len) = (target.as_mut_ptr().cast(), target.len());
        // SAFETY: the buffer is live, the position is of its present content, and `target` can be written for its length.
        counted(unsafe { (api().evbuffer_copyout_from)(self.raw(), from, first, len) })
    }

    /// The first `count` bytes; `None` when there are fewer, and for 0.
    pub fn pullup(&mut self, count: usize) -> Option<&[u8]> {
        // SAFETY: the buffer is live.
        let first = unsafe { (api().evbuffer_pullup)(self.raw(), signed(count)) };
        // SAFETY: what is not null is `count` readable bytes, which stay until the buffer is used again.
        (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first, count) })
    }

    pub fn read_line(&mut self, eol: Eol) -> Option<Vec<u8>> {
        self.line_with(eol, <[u8]>::to_vec)
    }

    /// Removes the first line and shows it.
    pub fn line_with<T>(&mut self, eol: Eol, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut len = 0;
        // SAFETY: the buffer is live, and the length has a place to go.
        let line = unsafe { (api().evbuffer_readln)(self.raw(), &mut len, eol_style(eol)) };
        if line.is_null() {
            return None;
        }
        // SAFETY: `line` is `len` bytes from malloc, and ours.
        let seen = look(unsafe { slice::from_raw_parts(line.cast(), len) });
        // SAFETY: as above; nobody uses it afterwards.
        unsafe { libc::free(line.cast()) };
        Some(seen)
    }
}

/// Space, and looking.
impl CBuffer {
    pub fn expand(&mut self, count: usize) -> Option<()> {
        // SAFETY: the buffer is live.
        done(unsafe { (api().evbuffer_expand)(self.raw(), count) })
    }

    /// Reserves `count` bytes in one piece, puts what `fill` puts there, and commits as many as it says.
    pub fn reserve(&mut self, count: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> Option<Option<()>> {
        let mut space = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: the buffer is live, and there is one vector to fill in.
        let vectors = unsafe { (api().evbuffer_reserve_space)(self.raw(), signed(count), &mut space, 1) };
        if vectors != 1 {
            return None;
        }
        // SAFETY: fresh memory may hold anything, so it is cleared before it is shown; it is `iov_len` long, at least `count`.
        unsafe { ptr::write_bytes(space.iov_base.cast::<u8>(), 0, count.min(space.iov_len)) };
        // SAFETY: the bytes are initialised now, and nobody else's until the commit.
        let bytes = unsafe { slice::from_raw_parts_mut(space.iov_base.cast(), count.min(space.iov_len)) };
        assert_eq!(bytes.len(), count, "a reservation is as long as was asked for");
        space.iov_len = fill(bytes);
        // SAFETY: the buffer is live and has not changed since it was reserved from.
        Some(done(unsafe { (api().evbuffer_commit_space)(self.raw(), &mut space, 1) }))
    }

    /// [`reserve`](Self::reserve) and commit, and nothing else: what the space holds is whatever it held.
    pub fn reserve_and_commit(&mut self, count: usize) {
        let mut space = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: the buffer is live, and there is one vector to fill in.
        unsafe { (api().evbuffer_reserve_space)(self.raw(), signed(count), &mut space, 1) };
        space.iov_len = count;
        // SAFETY: the buffer is live and has not changed since it was reserved from.
        unsafe { (api().evbuffer_commit_space)(self.raw(), &mut space, 1) };
    }

    /// The bytes that lie from `from` on, at most `count` of them, in the pieces they lie in.
    pub fn peek(&mut self, from: Option<Place>, count: usize) -> Vec<&[u8]> {
        let mut from = from;
        let from = from.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: the buffer is live, the position is of its present content, and no vector is to be filled in.
        let needed = unsafe { (api().evbuffer_peek)(self.raw(), signed(count), from, ptr::null_mut(), 0) };
        let empty = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut vectors = vec![empty; counted(needed).unwrap_or(0)];
        let first = vectors.as_mut_ptr();
        // SAFETY: as above, with the vectors that were asked for.
        unsafe { (api().evbuffer_peek)(self.raw(), signed(count), from, first, needed) };
        // SAFETY: each vector is readable memory of the buffer, which stays while it is borrowed.
        let piece = |vector: &iovec| unsafe { slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) };
        vectors.iter().filter(|vector| vector.iov_len > 0).map(piece).collect()
    }

    /// Fills in the first vectors of the content; returns how many there are.
    pub fn peek_into(&mut self, vectors: &mut [iovec]) -> usize {
        let count = vectors.len() as c_int;
        // SAFETY: the buffer is live, and there are `count` vectors to fill in.
        let there =
            unsafe { (api().evbuffer_peek)(self.raw(), -1, ptr::null_mut(), vectors.as_mut_ptr(), count) };
        counted(there).unwrap_or(0)
    }

    pub fn freeze(&mut self, front: bool, frozen: bool) {
        let change = if frozen { api().evbuffer_freeze } else { api().evbuffer_unfreeze };
        // SAFETY: the buffer is live.
        unsafe { change(self.raw(), c_int::from(front)) };
    }
}

/// Positions and searching.
impl CBuffer {
    /// The position of `offset`; `None` beyond the end.
    pub fn place(&mut self, offset: usize) -> Option<Place> {
        let mut place = Place::NONE;
        // SAFETY: the buffer is live, and the position has a place to go.
        done(unsafe { (api().evbuffer_ptr_set)(self.raw(), &mut place, offset, 0) }).map(|()| place)
    }

    /// Moves a position of the present content on by `count`.
    pub fn advance(&mut self, mut place: Place, count: usize) -> Option<Place> {
        // SAFETY: the buffer is live, and the caller has not changed it since the position was made.
        done(unsafe { (api().evbuffer_ptr_set)(self.raw(), &mut place, count, 1) }).map(|()| place)
    }

    pub fn search(&mut self, needle: &[u8], range: Option<(&Place, &Place)>) -> Option<usize> {
        let (start, end) = range
            .map_or((ptr::null(), ptr::null()), |(start, end)| (ptr::from_ref(start), ptr::from_ref(end)));
        let (first, len) = (needle.as_ptr().cast(), needle.len());
        // SAFETY: the buffer is live, the positions are of its present content, and the needle can be read.
        unsafe { (api().evbuffer_search_range)(self.raw(), first, len, start, end) }.offset()
    }

    /// Where the first line end at or behind `start` is, and its length.
    pub fn search_eol(&mut self, mut start: Place, eol: Eol) -> Option<(usize, usize)> {
        let mut len = 0;
        let style = eol_style(eol);
        // SAFETY: the buffer is live, the position is of its present content, and the length has a place to go.
        let found = unsafe { (api().evbuffer_search_eol)(self.raw(), &mut start, &mut len, style) };
        found.offset().map(|offset| (offset, len))
    }
}

/// Descriptors.
impl CBuffer {
    pub fn write(&mut self, fd: BorrowedFd<'_>, limit: usize) -> Option<usize> {
        // SAFETY: the buffer is live and the descriptor open.
        counted(unsafe { (api().evbuffer_write_atmost)(self.raw(), fd.as_raw_fd(), signed(limit)) })
    }

    pub fn read(&mut self, fd: BorrowedFd<'_>, limit: usize) -> Option<usize> {
        let limit = c_int::try_from(limit).unwrap_or(c_int::MAX);
        // SAFETY: the buffer is live and the descriptor open.
        counted(unsafe { (api().evbuffer_read)(self.raw(), fd.as_raw_fd(), limit) })
    }
}
