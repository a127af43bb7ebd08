//! C libevent's evbuffer and its helpers, for comparing: the library of the Debian package `libevent-2.1-7`, loaded at run time.
//!
//! The verbs take and give what C's do, in Rust's types: -1 is `None`, a count beyond `ssize_t` is the largest one.
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::cmp::Ordering;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
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

/// `struct evbuffer_cb_info`.
#[repr(C)]
struct ChangeInfo {
    orig_size: size_t,
    n_added: size_t,
    n_deleted: size_t,
}

/// What libevent calls when a buffer has changed.
type Told = unsafe extern "C" fn(*mut Opaque, *const ChangeInfo, *mut c_void);

/// What libevent calls when the memory of a reference is no longer used.
type Cleanup = unsafe extern "C" fn(*const c_void, size_t, *mut c_void);

/// The library to compare with: its name in every Linux distribution that has this version, or what ZEROVENT_LIBEVENT says, which may be
/// our own C interface.
fn file() -> std::ffi::OsString {
    std::env::var_os("ZEROVENT_LIBEVENT").unwrap_or_else(|| "libevent-2.1.so.7".into())
}

/// Whether the library is our own C interface: it is to do what libevent's code does, but shares our buffers.
pub fn is_ours() -> bool {
    file().to_string_lossy().contains("zerovent")
}

// The types are those of event2/buffer.h, event2/event.h and event2/util.h of this version.
library! {
    file();
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
    evbuffer_add_printf: (*mut Opaque, *const c_char; ...) -> c_int;
    evbuffer_add_iovec: (*mut Opaque, *mut iovec, c_int) -> size_t;
    evbuffer_add_cb: (*mut Opaque, Told, *mut c_void) -> *mut c_void;
    evbuffer_remove_cb_entry: (*mut Opaque, *mut c_void) -> c_int;
    evbuffer_cb_set_flags: (*mut Opaque, *mut c_void, u32) -> c_int;
    evbuffer_cb_clear_flags: (*mut Opaque, *mut c_void, u32) -> c_int;
    evbuffer_defer_callbacks: (*mut Opaque, *mut c_void) -> c_int;
    event_base_new: () -> *mut c_void;
    event_base_free: (*mut c_void);
    event_base_loop: (*mut c_void, c_int) -> c_int;
    evbuffer_write_atmost: (*mut Opaque, c_int, ssize_t) -> c_int;
    evbuffer_read: (*mut Opaque, c_int, c_int) -> c_int;
    evutil_parse_sockaddr_port: (*const c_char, *mut libc::sockaddr, *mut c_int) -> c_int;
    evutil_sockaddr_cmp: (*const libc::sockaddr, *const libc::sockaddr, c_int) -> c_int;
    evutil_ascii_strcasecmp: (*const c_char, *const c_char) -> c_int;
    evutil_ascii_strncasecmp: (*const c_char, *const c_char, size_t) -> c_int;
    evutil_snprintf: (*mut c_char, size_t, *const c_char; ...) -> c_int;
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
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// The file that the functions which are called lie in.
pub fn loaded_from() -> String {
    // SAFETY: all-zero bytes are a valid value of these pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the information is ours to be written; any address may be asked for.
    let found = unsafe { libc::dladdr(api().evbuffer_new as *const c_void, &raw mut info) };
    assert!(found != 0, "evbuffer_new lies in some file");
    // SAFETY: what was found has a name, which lives as long as the file is loaded.
    unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned()
}

/// Whether this program offers a function of that name to the libraries that it loads.
pub fn is_exported_here(name: &str) -> bool {
    let this = libloading::os::unix::Library::this();
    // SAFETY: the symbol is only looked for.
    unsafe { this.get::<*const c_void>(name.as_bytes()) }.is_ok()
}

/// The version of the library, or `None` when this is not to run.
pub fn library() -> Option<String> {
    if !cfg!(feature = "compare") {
        println!("skipped: the feature `compare` is off");
        return None;
    }
    match version() {
        Ok(version) => Some(version),
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("no libevent to compare with: {error}")
        }
        Err(error) => {
            println!("skipped: no libevent to compare with: {error}");
            None
        }
    }
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

/// Who is called with a change: the length before it, and what was added and removed.
type Note = Box<dyn FnMut(usize, usize, usize)>;

/// A callback of one buffer. It must stay where it is until the buffer is gone, or the callback removed.
#[derive(Debug)]
pub struct CCallback {
    entry: *mut c_void,
    note: *mut Note,
}

impl Drop for CCallback {
    fn drop(&mut self) {
        // SAFETY: it came from `Box::into_raw`, and whoever drops this has seen to it that libevent does not call it any more.
        drop(unsafe { Box::from_raw(self.note) });
    }
}

/// # Safety
/// `note` is that of a live `CCallback`, and nobody else uses it now.
unsafe extern "C" fn tell(_: *mut Opaque, info: *const ChangeInfo, note: *mut c_void) {
    // SAFETY: libevent hands over a change that lives for the length of the call.
    let info = unsafe { &*info };
    // SAFETY: see above.
    let note = unsafe { &mut *note.cast::<Note>() };
    note(info.orig_size, info.n_added, info.n_deleted);
}

/// An event base, for deferred callbacks. It must outlive the buffers that were told of it.
#[derive(Debug)]
pub struct CBase {
    raw: NonNull<c_void>,
}

impl CBase {
    pub fn new() -> CBase {
        // SAFETY: it takes nothing.
        let raw = unsafe { (api().event_base_new)() };
        CBase { raw: NonNull::new(raw).expect("memory for a base") }
    }

    /// Calls what has been deferred.
    pub fn run(&self) {
        const EVLOOP_NONBLOCK: c_int = 2;
        // SAFETY: the base is live.
        let result = unsafe { (api().event_base_loop)(self.raw.as_ptr(), EVLOOP_NONBLOCK) };
        assert!(result >= 0, "the loop ran");
    }
}

impl Drop for CBase {
    fn drop(&mut self) {
        // SAFETY: the base is live and nobody uses it afterwards.
        unsafe { (api().event_base_free)(self.raw.as_ptr()) };
    }
}

/// Callbacks.
impl CBuffer {
    pub fn add_callback(&mut self, note: impl FnMut(usize, usize, usize) + 'static) -> CCallback {
        let note: *mut Note = Box::into_raw(Box::new(Box::new(note)));
        // SAFETY: the buffer is live, and `note` lives as long as the entry does.
        let entry = unsafe { (api().evbuffer_add_cb)(self.raw(), tell, note.cast()) };
        assert!(!entry.is_null(), "memory for a callback");
        CCallback { entry, note }
    }

    pub fn remove_callback(&mut self, callback: CCallback) -> Option<()> {
        // SAFETY: the buffer is live, and so is the entry, which is this buffer's.
        done(unsafe { (api().evbuffer_remove_cb_entry)(self.raw(), callback.entry) })
    }

    pub fn enable_callback(&mut self, callback: &CCallback, enabled: bool) -> Option<()> {
        const EVBUFFER_CB_ENABLED: u32 = 1;
        let change = if enabled { api().evbuffer_cb_set_flags } else { api().evbuffer_cb_clear_flags };
        // SAFETY: the buffer is live, and so is the entry, which is this buffer's.
        done(unsafe { change(self.raw(), callback.entry, EVBUFFER_CB_ENABLED) })
    }

    pub fn defer_callbacks(&mut self, base: &CBase) -> Option<()> {
        // SAFETY: the buffer and the base are live, and the caller keeps the base for longer.
        done(unsafe { (api().evbuffer_defer_callbacks)(self.raw(), base.raw.as_ptr()) })
    }
}

/// Adding in pieces, and reserving in pieces.
impl CBuffer {
    pub fn add_text(&mut self, head: &CStr, tail: &CStr) -> Option<usize> {
        // SAFETY: the buffer is live; the format asks for two strings, and two are there.
        counted(unsafe {
            (api().evbuffer_add_printf)(self.raw(), c"%s%s".as_ptr(), head.as_ptr(), tail.as_ptr())
        })
    }

    /// Adds several pieces; says how many bytes that were.
    pub fn add_pieces(&mut self, pieces: &[&[u8]]) -> usize {
        let vector =
            |piece: &&[u8]| iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
        let mut vectors: Vec<iovec> = pieces.iter().map(vector).collect();
        // SAFETY: the buffer is live, and the vectors are readable memory.
        unsafe { (api().evbuffer_add_iovec)(self.raw(), vectors.as_mut_ptr(), vectors.len() as c_int) }
    }

    /// Reserves `count` bytes in at most `max` pieces, fills them with `data` from the front, and commits that.
    pub fn reserve_pieces(&mut self, count: usize, max: usize, data: &[u8]) -> Option<Option<()>> {
        let empty = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut vectors = vec![empty; max];
        let (first, max) = (vectors.as_mut_ptr(), max as c_int);
        // SAFETY: the buffer is live, and there are `max` vectors to fill in.
        let used = unsafe { (api().evbuffer_reserve_space)(self.raw(), signed(count), first, max) };
        let used = counted(used)?;
        let mut rest = data;
        for vector in &mut vectors[..used] {
            vector.iov_len = vector.iov_len.min(rest.len());
            let (part, behind) = rest.split_at(vector.iov_len);
            rest = behind;
            // SAFETY: the vector is writable space of the buffer, at least as long as `part`.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), vector.iov_base.cast(), part.len()) };
        }
        assert!(rest.is_empty(), "a reservation is as long as was asked for");
        // SAFETY: the buffer is live and has not changed since it was reserved from.
        Some(done(unsafe { (api().evbuffer_commit_space)(self.raw(), first, used as c_int) }))
    }
}

/// `evutil_parse_sockaddr_port`.
pub fn parse_sockaddr_port(text: &CStr) -> Option<SocketAddr> {
    // SAFETY: all-zero bytes are a valid value of these integers.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&storage) as c_int;
    let place = (&raw mut storage).cast::<libc::sockaddr>();
    // SAFETY: the text ends in a NUL, and `place` can be written for `len` bytes.
    done(unsafe { (api().evutil_parse_sockaddr_port)(text.as_ptr(), place, &raw mut len) })?;
    if c_int::from(storage.ss_family) == libc::AF_INET {
        // SAFETY: the family says that it is one, and the storage is larger and as aligned.
        let v4 = unsafe { *place.cast::<libc::sockaddr_in>() };
        let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
        return Some((ip, u16::from_be(v4.sin_port)).into());
    }
    // SAFETY: as above, of the other family that it gives.
    let v6 = unsafe { *place.cast::<libc::sockaddr_in6>() };
    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
    Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
}

/// `evutil_ascii_strcasecmp`, or `evutil_ascii_strncasecmp` with a length.
pub fn ascii_case_cmp(one: &CStr, other: &CStr, len: Option<usize>) -> Ordering {
    let (one, other) = (one.as_ptr(), other.as_ptr());
    let sign = match len {
        // SAFETY: both texts end in a NUL.
        None => unsafe { (api().evutil_ascii_strcasecmp)(one, other) },
        // SAFETY: as above.
        Some(len) => unsafe { (api().evutil_ascii_strncasecmp)(one, other, len) },
    };
    sign.cmp(&0)
}

/// `evutil_snprintf` with "%s:%d"; `place` is as long as it may use, and its NUL is among that.
pub fn format_bounded(place: &mut [u8], text: &CStr, number: i32) -> c_int {
    let (first, len) = (place.as_mut_ptr().cast(), place.len());
    // SAFETY: `first` can be written for `len` bytes, and the arguments are what the format says.
    unsafe { (api().evutil_snprintf)(first, len, c"%s:%d".as_ptr(), text.as_ptr(), number) }
}

/// `evutil_sockaddr_cmp` of two IPv6 addresses.
pub fn compare_v6(one: SocketAddrV6, other: SocketAddrV6, with_port: bool) -> Ordering {
    let raw = |address: SocketAddrV6| libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: 0,
    };
    let (one, other) = (raw(one), raw(other));
    let pointers = ((&raw const one).cast(), (&raw const other).cast());
    // SAFETY: both are live addresses of the family they say.
    unsafe { (api().evutil_sockaddr_cmp)(pointers.0, pointers.1, c_int::from(with_port)) }.cmp(&0)
}
