//! `FileSegment`: a range of a file that buffers can hold without reading it.
//!
//! A segment stays a descriptor for as long as nobody looks at its bytes; it leaves through `sendfile`. When its bytes
//! are inspected they are *read* (`pread`) into chunks, because a mapping of a file that anybody may truncate turns
//! the truncation into SIGBUS, and a mapping of one that anybody may write breaks the promise that bytes in a
//! buffer do not change. A mapping is used in the one case where the kernel rules both out: a memfd that is sealed
//! against shrinking and writing.

use std::fmt;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::stats;
use crate::{Error, Result, sys};

/// A range of a file, shared by refcount: a clone costs one atomic increment, and the file is closed when the last
/// clone and the last buffer that holds a part of it are gone.
///
/// # Examples
/// ```
/// use std::io::Write;
/// use zerovent::{Evbuffer, buffer::FileSegment};
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"head and tail")?;
/// let segment = FileSegment::new(file, 0, None)?;
/// assert_eq!(segment.len(), 13);
///
/// let mut buf = Evbuffer::new();
/// buf.add_file_segment(&segment, 9, None)?;
/// assert_eq!(buf.pullup(4)?, b"tail");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from libevent
/// The descriptor is always owned and always closed (`EVBUF_FS_CLOSE_ON_FREE`); to keep one, pass a duplicate
/// (`File::try_clone`). A length "to the end" is the size of the file minus the offset, where libevent takes the whole
/// size. `EVBUF_FS_DISABLE_LOCKING` has no counterpart: a segment has no lock.
#[doc(alias = "evbuffer_file_segment")]
#[doc(alias = "evbuffer_file_segment_free")]
#[derive(Clone)]
pub struct FileSegment(Arc<Inner>);

struct Inner {
    file: File,
    offset: u64,
    len: u64,
    sendfile: bool,
    mmap: bool,
    /// What the file has to be like for its bytes to be used; anything when there is none.
    promised: Option<FileState>,
    /// It was found to be otherwise: for good, since what has left cannot be made true again.
    broken: AtomicBool,
    /// Filled at the first inspection; `None` inside when the file may not be mapped safely.
    mapping: OnceLock<Option<Bytes>>,
    cleanup: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// What a file's content has to do with what the file system says of it: whoever writes or truncates moves the time
/// on, or the length. The time of the inode is left out, since it moves when a file is renamed over, linked or
/// unlinked as well, none of which touches a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    len: u64,
    modified: (i64, i64),
}

impl FileState {
    fn of(metadata: &Metadata) -> FileState {
        FileState { len: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// How a [`FileSegment`] may reach its bytes.
#[doc(alias = "EVBUF_FS_DISABLE_LOCKING")]
#[derive(Default)]
pub struct FileSegmentOptions {
    no_sendfile: bool,
    no_mmap: bool,
    promised: Option<FileState>,
    cleanup: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl FileSegment {
    /// The range of `file` that starts at `offset` and is `len` bytes long, or reaches to the end of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when this is neither a regular file nor a block device, [`Error::OutOfRange`] when `offset` lies behind the
    /// end, [`Error::ShortFile`] when the file does not have `len` bytes there, [`Error::Overflow`] when the range
    /// ends beyond what a file offset can say, [`Error::Io`] when the file cannot be examined.
    #[doc(alias = "evbuffer_file_segment_new")]
    #[doc(alias = "EVBUF_FS_CLOSE_ON_FREE")]
    pub fn new(file: impl Into<OwnedFd>, offset: u64, len: Option<u64>) -> Result<FileSegment> {
        FileSegment::options().open(file, offset, len)
    }

    /// The settings of a segment, to be changed before it is opened.
    #[must_use]
    pub fn options() -> FileSegmentOptions {
        FileSegmentOptions::default()
    }

    /// Bytes in the segment.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// True when the segment holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Where the segment starts in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The file underneath.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0.file
    }

    /// What the file system says about the file now.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn metadata(&self) -> std::io::Result<Metadata> {
        self.0.file.metadata()
    }

    /// True when both are clones of one segment.
    pub(super) fn same(a: &FileSegment, b: &FileSegment) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// True when the bytes may leave by `sendfile`.
    pub(super) fn may_sendfile(&self) -> bool {
        self.0.sendfile
    }

    /// Whether what has been read or sent of the file so far is of the state that was promised: asked behind the bytes, and
    /// before the last of them are let go.
    ///
    /// # Errors
    /// [`Error::FileChanged`] when the file has been written to or truncated, [`Error::Io`] when it cannot be examined.
    pub(crate) fn keeps_promise(&self) -> Result<()> {
        let Some(promised) = &self.0.promised else { return Ok(()) };
        // Relaxed: the flag stands for itself.
        if !self.0.broken.load(Ordering::Relaxed) {
            if FileState::of(&self.metadata()?) == *promised {
                return Ok(());
            }
            self.0.broken.store(true, Ordering::Relaxed);
        }
        Err(Error::FileChanged)
    }

    /// Whether [`keeps_promise`](Self::keeps_promise) has ever said no.
    pub(super) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }

    /// Fills `target` from `offset` inside the segment.
    ///
    /// # Errors
    /// [`Error::ShortFile`] when the file ends first, [`Error::FileChanged`] when it is not as promised, [`Error::Io`] when
    /// reading fails.
    pub(super) fn read_exact(&self, target: &mut [u8], offset: u64) -> Result<()> {
        let read = self.0.file.read_exact_at(target, self.0.offset + offset);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::ShortFile,
            _ => Error::Io(error),
        })?;
        self.keeps_promise()
    }

    /// The whole segment as memory, when the kernel guarantees that it can neither shrink nor change.
    pub(super) fn mapped(&self) -> Option<&Bytes> {
        self.0.mapping.get_or_init(|| self.map()).as_ref()
    }

    fn map(&self) -> Option<Bytes> {
        let len = usize::try_from(self.0.len).ok()?;
        if !self.0.mmap || len == 0 {
            return None;
        }
        let mapping = sys::io::map_sealed(self.0.file.as_fd(), self.0.offset, len).ok()??;
        stats::count(|totals| &totals.mapped, len);
        Some(Bytes::from_owner(mapping))
    }
}

impl AsFd for FileSegment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl fmt::Debug for FileSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { file, offset, len, .. } = &*self.0;
        f.debug_struct("FileSegment").field("file", file).field("offset", offset).field("len", len).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(cleanup) = self.cleanup.take() {
            cleanup();
        }
    }
}

impl FileSegmentOptions {
    /// Whether the bytes may leave by `sendfile`; they are read and sent from memory otherwise. On by default.
    #[doc(alias = "EVBUF_FS_DISABLE_SENDFILE")]
    #[must_use]
    pub fn sendfile(mut self, allowed: bool) -> Self {
        self.no_sendfile = !allowed;
        self
    }

    /// Whether a sealed memfd may be mapped when it is inspected; it is read otherwise. On by default.
    #[doc(alias = "EVBUF_FS_DISABLE_MMAP")]
    #[must_use]
    pub fn mmap(mut self, allowed: bool) -> Self {
        self.no_mmap = !allowed;
        self
    }

    /// Lets the bytes be used only while the file is as `metadata` of it says: of that length, and modified at that time.
    /// Otherwise reading and sending end in [`Error::FileChanged`], for good. What `sendfile` sends is asked about when it has
    /// been sent, so bytes of another state may have left, but nothing that stands behind them in the buffer follows.
    ///
    /// A change shows only if the clock of the file system has moved on since `metadata` was asked for: at once on Linux 6.13 and
    /// the usual file systems, else within some milliseconds. A write through a shared mapping shows when the kernel
    /// notices it.
    ///
    /// # Examples
    /// ```
    /// use std::io::Write;
    /// use zerovent::{Error, Evbuffer, buffer::FileSegment};
    ///
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(b"some words")?;
    /// let segment = FileSegment::options().unchanged_since(&file.metadata()?).open(file.try_clone()?, 0, None)?;
    /// let mut buf = Evbuffer::new();
    /// buf.add_file_segment(&segment, 0, None)?;
    /// file.write_all(b" more")?;
    /// assert!(matches!(buf.pullup(4), Err(Error::FileChanged)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unchanged_since(mut self, metadata: &Metadata) -> Self {
        self.promised = Some(FileState::of(metadata));
        self
    }

    /// Runs `cleanup` when the last reference to the segment is gone, just before the file is closed.
    #[doc(alias = "evbuffer_file_segment_add_cleanup_cb")]
    #[doc(alias = "evbuffer_file_segment_cleanup_cb")]
    #[must_use]
    pub fn cleanup(mut self, cleanup: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.cleanup = Some(Box::new(cleanup));
        self
    }

    /// Makes the segment; see [`FileSegment::new`].
    ///
    /// # Errors
    /// As [`FileSegment::new`]. The clean-up is then dropped without being run.
    pub fn open(self, file: impl Into<OwnedFd>, offset: u64, len: Option<u64>) -> Result<FileSegment> {
        let file = File::from(file.into());
        let len = FileSegment::range_len(&file, offset, len)?;
        let (sendfile, mmap) = (!self.no_sendfile, !self.no_mmap);
        let (promised, cleanup) = (self.promised, self.cleanup);
        let (broken, mapping) = (AtomicBool::new(false), OnceLock::new());
        let inner = Inner { file, offset, len, sendfile, mmap, promised, broken, mapping, cleanup };
        Ok(FileSegment(Arc::new(inner)))
    }
}

impl fmt::Debug for FileSegmentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FileSegmentOptions");
        out.field("sendfile", &!self.no_sendfile).field("mmap", &!self.no_mmap).finish_non_exhaustive()
    }
}

impl FileSegment {
    /// Checks a range against the file as it is now, and says how long it is; a file can still shrink later, which is found when it is read.
    pub(crate) fn range_len(file: &File, offset: u64, len: Option<u64>) -> Result<u64> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        let end = match len {
            Some(len) => offset.checked_add(len).ok_or(Error::Overflow)?,
            None => offset,
        };
        if end > i64::MAX as u64 {
            return Err(Error::Overflow);
        }
        if kind.is_block_device() {
            return len.ok_or(Error::Invalid("a block device does not say where it ends; give a length"));
        }
        if !kind.is_file() {
            return Err(Error::Invalid("a segment needs a regular file or a block device"));
        }
        let rest = metadata.len().checked_sub(offset).ok_or(Error::OutOfRange)?;
        match len {
            Some(len) if len > rest => Err(Error::ShortFile),
            Some(len) => Ok(len),
            None => Ok(rest),
        }
    }
}
