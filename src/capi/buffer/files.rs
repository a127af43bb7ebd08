//! Descriptors: reading from and writing to them, and files as content.

use std::ffi::{c_int, c_uint, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{evbuffer, handle, owed};
use crate::buffer::{Evbuffer, FileSegment};
use crate::capi::errno;
use crate::{Error, Result};

/// How much is read without asking how much there is.
const UNASKED: usize = 4096;
/// The most that one read brings, where libevent stops at 4096 bytes.
const READ_MAX: usize = 64 * 1024;

/// A negative `most` is as much as there is, up to 64 KiB.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_read(buf: *mut evbuffer, fd: c_int, most: c_int) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let read = |buffer: &mut Evbuffer| {
        if buffer.is_back_frozen() {
            return Err(Error::Frozen);
        }
        let fd = borrow(fd)?;
        buffer.read_from(fd, read_size(fd, most))
    };
    counted(buf.change(read))
}

/// C's descriptor, which is open for the length of the call if it is at all: a number that is not is an error of the system's.
fn borrow<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Error::Io(std::io::Error::from_raw_os_error(libc::EBADF)));
    }
    // SAFETY: C2 in spirit: the program says that it is open; it is not -1.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// How much to read: chunks should not be much larger than what there is.
fn read_size(fd: BorrowedFd<'_>, most: c_int) -> usize {
    use std::os::fd::AsRawFd;
    let most = usize::try_from(most).unwrap_or(READ_MAX);
    if most <= UNASKED {
        return most;
    }
    let mut readable: c_int = 0;
    // SAFETY: the call writes one int.
    let asked = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut readable) };
    let there = usize::try_from(readable).unwrap_or(0);
    let there = if asked < 0 || there == 0 { UNASKED } else { there };
    most.min(there).min(READ_MAX)
}

/// What C hears of a count: -1 and `errno` for an error.
fn counted(result: Option<Result<usize>>) -> c_int {
    match result {
        Some(Ok(count)) => count as c_int,
        Some(Err(error)) => {
            errno::set_from(&error);
            -1
        }
        None => -1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_write(buf: *mut evbuffer, fd: c_int) -> c_int {
    // SAFETY: C1.
    unsafe { evbuffer_write_atmost(buf, fd, -1) }
}

/// A negative `most` is everything. To write nothing is an error that leaves `errno` as it is.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_write_atmost(buf: *mut evbuffer, fd: c_int, most: isize) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    let limit = usize::try_from(most).unwrap_or(usize::MAX).min(c_int::MAX as usize);
    let write = |buffer: &mut Evbuffer| {
        if limit == 0 || buffer.is_empty() || buffer.is_front_frozen() {
            return Err(Error::Frozen);
        }
        buffer.write_to_at_most(borrow(fd)?, limit)
    };
    counted(buf.change(write))
}

/// `EVBUF_FS_CLOSE_ON_FREE` and its like.
const CLOSE_ON_FREE: c_uint = 1;
const DISABLE_MMAP: c_uint = 2;
const DISABLE_SENDFILE: c_uint = 4;
/// Neither mapped nor sent from the file: what is in it when the segment is made.
const SNAPSHOT: c_uint = DISABLE_MMAP | DISABLE_SENDFILE;

type SegmentCleanup = unsafe extern "C-unwind" fn(*const evbuffer_file_segment, c_int, *mut c_void);

/// A segment, as C holds it: a pointer to this. It is freed when neither C nor any buffer has it any more.
pub(super) struct evbuffer_file_segment {
    flags: c_uint,
    state: Mutex<State>,
}

struct State {
    /// C's share of the content, until it is freed.
    content: Option<Content>,
    cleanup: Option<(SegmentCleanup, *mut c_void)>,
}

/// What a segment adds to buffers.
#[derive(Clone)]
enum Content {
    File(FileSegment),
    Memory(Bytes),
}

impl evbuffer_file_segment {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On an error the descriptor stays open. A length of -1 is what is behind the offset.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_file_segment_new(
    fd: c_int,
    offset: i64,
    len: i64,
    flags: c_uint,
) -> *mut evbuffer_file_segment {
    let made = new_segment(fd, offset, len, flags);
    made.unwrap_or_else(|error| {
        errno::set_from(&error);
        ptr::null_mut()
    })
}

fn new_segment(fd: c_int, offset: i64, len: i64, flags: c_uint) -> Result<*mut evbuffer_file_segment> {
    let offset = u64::try_from(offset).map_err(|_| Error::OutOfRange)?;
    let len = match len {
        -1 => None,
        len => Some(u64::try_from(len).map_err(|_| Error::OutOfRange)?),
    };
    let state = Mutex::new(State { content: None, cleanup: None });
    let segment = Box::new(evbuffer_file_segment { flags, state });
    let end = SegmentEnd(ptr::from_ref(&*segment).expose_provenance());
    let content = content_of(fd, offset, len, flags, end)?;
    segment.state().content = Some(content);
    Ok(Box::into_raw(segment))
}

fn content_of(fd: c_int, offset: u64, len: Option<u64>, flags: c_uint, end: SegmentEnd) -> Result<Content> {
    borrow(fd)?;
    // SAFETY: it is only looked at here, and never closed.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let len = FileSegment::range_len(&file, offset, len)?;
    if flags & SNAPSHOT == SNAPSHOT {
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Error::Overflow)?];
        file.read_exact_at(&mut bytes, offset)?;
        let fd = (flags & CLOSE_ON_FREE != 0).then(|| adopt(fd));
        return Ok(Content::Memory(Bytes::from_owner(Snapshot { bytes, _fd: fd, end: Some(end) })));
    }
    // Somebody else's descriptor is used through one of our own.
    let fd = if flags & CLOSE_ON_FREE != 0 { adopt(fd) } else { file.try_clone()?.into() };
    let options = FileSegment::options();
    let options = options.sendfile(flags & DISABLE_SENDFILE == 0).mmap(flags & DISABLE_MMAP == 0);
    options.cleanup(|| end.reached()).open(fd, offset, Some(len)).map(Content::File)
}

fn adopt(fd: c_int) -> OwnedFd {
    // SAFETY: the flag says that it is ours now, and it is open: it has just been looked at.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Content that was read when the segment was made.
struct Snapshot {
    bytes: Vec<u8>,
    _fd: Option<OwnedFd>,
    end: Option<SegmentEnd>,
}

impl AsRef<[u8]> for Snapshot {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.reached();
        }
    }
}

/// The address of a segment, to be freed when nobody has its content any more.
pub(super) struct SegmentEnd(usize);

impl SegmentEnd {
    fn reached(self) {
        owed::add_segment(self);
    }

    pub(super) fn clean_up(self) {
        let segment = ptr::with_exposed_provenance_mut::<evbuffer_file_segment>(self.0);
        // SAFETY: `new_segment` made it with a box, and this happens once: when C's share and all buffers' are gone.
        let segment = unsafe { Box::from_raw(segment) };
        let cleanup = segment.state().cleanup.take();
        if let Some((cleanup, arg)) = cleanup {
            // SAFETY: C3.
            unsafe { cleanup(&raw const *segment, segment.flags as c_int, arg) };
        }
    }
}

/// # Safety
///
/// - C1.
unsafe fn segment_at<'a>(segment: *const evbuffer_file_segment) -> Option<&'a evbuffer_file_segment> {
    // SAFETY: the caller's promise; segments are only ever borrowed shared until they are freed.
    unsafe { segment.as_ref() }
}

/// Gives up C's share. It is freed at once if no buffer has a part of it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_file_segment_free(segment: *mut evbuffer_file_segment) {
    // SAFETY: C1.
    if let Some(segment) = unsafe { segment_at(segment) } {
        let content = segment.state().content.take();
        drop(content);
        owed::pay();
    }
}

/// One clean-up; another one replaces it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_file_segment_add_cleanup_cb(
    segment: *mut evbuffer_file_segment,
    cleanup: Option<SegmentCleanup>,
    arg: *mut c_void,
) {
    // SAFETY: C1.
    if let Some(segment) = unsafe { segment_at(segment) } {
        segment.state().cleanup = cleanup.map(|cleanup| (cleanup, arg));
    }
}

/// As with libevent, a failure takes C's share of the segment.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_file_segment(
    buf: *mut evbuffer,
    segment: *mut evbuffer_file_segment,
    offset: i64,
    len: i64,
) -> c_int {
    // SAFETY: C1.
    let Some(buf) = (unsafe { handle(buf) }) else { return -1 };
    // SAFETY: C1.
    let Some(segment) = (unsafe { segment_at(segment) }) else { return -1 };
    let content = segment.state().content.clone();
    let Some(content) = content else { return -1 };
    let added = buf.change(|buffer| content.add_to(buffer, offset, len));
    let failed = !matches!(added, Some(Ok(())));
    let share = if failed { segment.state().content.take() } else { None };
    drop((content, share));
    owed::pay();
    if failed { -1 } else { 0 }
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Content::File(segment) => segment.len(),
            Content::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn add_to(&self, buffer: &mut Evbuffer, offset: i64, len: i64) -> Result<()> {
        let offset = u64::try_from(offset).map_err(|_| Error::OutOfRange)?;
        let rest = self.len().checked_sub(offset).ok_or(Error::OutOfRange)?;
        let len = u64::try_from(len).unwrap_or(rest);
        match self {
            Content::File(segment) => buffer.add_file_segment(segment, offset, Some(len)),
            Content::Memory(_) if len > rest => Err(Error::OutOfRange),
            Content::Memory(bytes) => {
                let first = offset as usize;
                buffer.add_reference_range(bytes.clone(), first..first + len as usize)
            }
        }
    }
}

/// The descriptor belongs to the buffer, unless the file cannot be used at all.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evbuffer_add_file(buf: *mut evbuffer, fd: c_int, offset: i64, len: i64) -> c_int {
    // SAFETY: it takes any numbers.
    let segment = unsafe { evbuffer_file_segment_new(fd, offset, len, CLOSE_ON_FREE) };
    if segment.is_null() {
        return -1;
    }
    // SAFETY: C1, and the segment has just been made.
    let result = unsafe { evbuffer_add_file_segment(buf, segment, 0, len) };
    if result == 0 {
        // SAFETY: C's share of it is ours; a failure would have taken it.
        unsafe { evbuffer_file_segment_free(segment) };
    }
    result
}
