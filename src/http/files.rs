//! The directory that is served: from a decoded path to an open regular file beneath the root, or a status
//! that says why not. Files stay open for the next request (`cache`), and when descriptors run out this is
//! where some are found.

use std::ffi::CStr;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::Status;
use super::cache::Cache;
use super::{content_type, date};
use crate::buffer::FileSegment;
use crate::{Error, Result, sys};

/// A directory to serve.
///
/// Requests name files beneath it and nothing else: `..` in any spelling, absolute paths, NUL and symbolic
/// links that point outside are refused, the last by the kernel (`openat2`). Where the kernel or a sandbox
/// does not offer that call, every symbolic link is refused. Links that stay inside are followed otherwise,
/// unless they are absolute. Only regular files are served; a directory stands for the `index.html` in it.
///
/// # Examples
/// ```
/// let files = zerovent::http::StaticFiles::new(".")?.cache_max(64);
/// # Ok::<(), zerovent::Error>(())
/// ```
pub struct StaticFiles {
    root: File,
    /// `openat2` turned out to be missing or forbidden.
    walks: bool,
    cache: Cache,
    /// A descriptor that holds a place in the process's table, given up for a file when there is no other.
    spare: Option<OwnedFd>,
    /// A NUL-terminated path on its way to the kernel; kept for its memory.
    name: Vec<u8>,
}

/// Why there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    Refused(Status),
    /// The process has no descriptor left; it may have one later.
    NoDescriptor,
}

/// How many files are kept open unless told otherwise.
const CACHE_MAX: usize = 256;

impl StaticFiles {
    /// Serves the directory `root`, which stays the same one even if it is renamed.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such directory or it may not be entered.
    pub fn new(root: impl AsRef<Path>) -> Result<StaticFiles> {
        let root = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(root)?;
        let spare = root.try_clone().ok().map(OwnedFd::from);
        Ok(StaticFiles { root, walks: false, cache: Cache::new(CACHE_MAX), spare, name: Vec::new() })
    }

    /// Keeps at most `count` files open between requests (256, and at least 1).
    #[must_use]
    pub fn cache_max(mut self, count: usize) -> Self {
        self.cache = Cache::new(count);
        self
    }

    /// The file of `path`, which [`target::decode`](super::target::decode) made. A file that was looked at
    /// within the last second costs no system call.
    pub(crate) fn find(&mut self, path: &[u8], now_ns: u64, unix_seconds: u64) -> Result<&OpenFile, Miss> {
        let index = match self.cache.fresh(path, now_ns) {
            Some(index) => index,
            None => self.load(path, now_ns, unix_seconds)?,
        };
        Ok(self.cache.file(index, now_ns))
    }

    /// How many files are held open for later requests.
    pub(crate) fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Closes files that have not been asked for since `since_ns`, unless they are being sent.
    pub(crate) fn release_unused(&mut self, since_ns: u64) {
        self.cache.release_unused(since_ns);
    }

    /// Closes every file that is not being sent.
    pub(crate) fn release_all(&mut self) {
        self.cache.clear();
    }

    /// Holds a place for a file again, after [`find`](Self::find) had to give it up.
    pub(crate) fn restore_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = self.root.try_clone().ok().map(OwnedFd::from);
        }
    }

    /// Opens `path` anew; keeps the file that is held already if it turns out to be the same and unchanged.
    fn load(&mut self, path: &[u8], now_ns: u64, unix_seconds: u64) -> Result<usize, Miss> {
        let opened = self.open(path).inspect_err(|_| self.cache.remove(path))?;
        let unchanged = self.cache.stale(path).is_some_and(|held| held.identity == opened.identity);
        if unchanged && let Some(index) = self.cache.confirm(path, now_ns) {
            return Ok(index);
        }
        let served_name = if opened.is_index { INDEX } else { path };
        let file = OpenFile::from_parts(opened.fd, opened.identity, served_name, unix_seconds);
        Ok(self.cache.insert(path, file.map_err(refuse)?, now_ns))
    }

    /// Opens `path`, or the index in it when it is a directory.
    fn open(&mut self, path: &[u8]) -> Result<Opened, Miss> {
        let (fd, metadata) = self.open_named(path, b"").map_err(refuse)?;
        if !metadata.is_dir() {
            return Opened::regular(fd, &metadata, false);
        }
        drop(fd); // before the next one is opened, since there may be only one to have
        let directory = path.strip_suffix(b"/").unwrap_or(path);
        match self.open_named(directory, INDEX).map_err(refuse) {
            Ok((fd, metadata)) => Opened::regular(fd, &metadata, true),
            Err(Miss::Refused(Status::NotFound)) => Err(Miss::Refused(Status::Forbidden)),
            Err(miss) => Err(miss),
        }
    }

    /// Opens `directory/file`, or `directory` alone, with whatever descriptor can be found.
    fn open_named(&mut self, directory: &[u8], file: &[u8]) -> io::Result<(OwnedFd, Metadata)> {
        self.name.clear();
        self.name.extend_from_slice(directory);
        if !file.is_empty() {
            self.name.push(b'/');
            self.name.extend_from_slice(file);
        }
        self.name.push(0);
        loop {
            match self.open_once() {
                Err(error) if is_descriptor_shortage(&error) && self.give_up_descriptor() => continue,
                Err(error) => return Err(error),
                Ok(fd) => {
                    let file = File::from(fd);
                    let metadata = file.metadata()?;
                    return Ok((file.into(), metadata));
                }
            }
        }
    }

    fn open_once(&mut self) -> io::Result<OwnedFd> {
        let name = CStr::from_bytes_with_nul(&self.name).map_err(|_| io::ErrorKind::InvalidFilename)?;
        if !self.walks {
            match sys::fs::open_beneath(self.root.as_fd(), name) {
                Err(error) if is_unavailable(&error) => self.walks = true,
                result => return result,
            }
        }
        sys::fs::walk_beneath(self.root.as_fd(), name)
    }

    /// Closes something that is only kept for speed or for this moment. Files that are being sent stay open,
    /// so it may take more than one try, and may be in vain.
    fn give_up_descriptor(&mut self) -> bool {
        if self.cache.len() > 0 {
            self.cache.clear();
            return true;
        }
        self.spare.take().is_some()
    }
}

const INDEX: &[u8] = b"index.html";

impl fmt::Debug for StaticFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticFiles").field("root", &self.root).field("cached", &self.cache.len()).finish()
    }
}

/// A descriptor that turned out to be a regular file.
struct Opened {
    fd: OwnedFd,
    identity: Identity,
    is_index: bool,
}

impl Opened {
    fn regular(fd: OwnedFd, metadata: &Metadata, is_index: bool) -> Result<Opened, Miss> {
        if !metadata.is_file() {
            return Err(Miss::Refused(Status::Forbidden));
        }
        Ok(Opened { fd, identity: Identity::of(metadata), is_index })
    }
}

fn is_descriptor_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// An old kernel says `ENOSYS`, a sandbox usually `EPERM`. A file can be the reason for `EPERM` too; then the
/// walk meets it again.
fn is_unavailable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// What the client is told of an error. "Not found" and "not allowed" are told apart, as the directory's
/// owner did.
fn refuse(error: io::Error) -> Miss {
    match error.raw_os_error() {
        _ if is_descriptor_shortage(&error) => Miss::NoDescriptor,
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => Miss::Refused(Status::NotFound),
        Some(libc::EACCES | libc::EPERM | libc::EXDEV | libc::ELOOP | libc::ENXIO | libc::ENODEV) => {
            Miss::Refused(Status::Forbidden)
        }
        _ => {
            log::error!("a file could not be opened: {error}");
            Miss::Refused(Status::InternalServerError)
        }
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// An open regular file and what its responses say: the length and the dates come from the descriptor that
/// the bytes come from, so they cannot belong to two different files.
#[derive(Debug)]
pub(crate) struct OpenFile {
    segment: FileSegment,
    identity: Identity,
    modified: u64,
    /// `Last-Modified`, then the other fields that every full answer has, ready to send.
    fields: Box<[u8]>,
}

impl OpenFile {
    /// `fd`, served under the name `path`.
    #[cfg(test)]
    pub(crate) fn new(fd: OwnedFd, path: &[u8], unix_seconds: u64) -> io::Result<OpenFile> {
        let file = File::from(fd);
        let identity = Identity::of(&file.metadata()?);
        OpenFile::from_parts(file.into(), identity, path, unix_seconds)
    }

    fn from_parts(fd: OwnedFd, identity: Identity, path: &[u8], unix_seconds: u64) -> io::Result<OpenFile> {
        let segment =
            FileSegment::new(File::from(fd), 0, Some(identity.length)).map_err(|error| match error {
                Error::Io(source) => source,
                other => io::Error::other(other),
            })?;
        // A date in the future would be no use to the client, and RFC 9110 forbids it.
        let modified = u64::try_from(identity.modified.0).unwrap_or(0).min(unix_seconds);
        let (media_type, charset) = content_type::of(path);
        let mut fields = Vec::with_capacity(LAST_MODIFIED_LEN + 96);
        fields.extend_from_slice(b"Last-Modified: ");
        fields.extend_from_slice(&date::format(modified));
        for text in ["\r\nAccept-Ranges: bytes\r\nContent-Type: ", media_type, charset, "\r\n"] {
            fields.extend_from_slice(text.as_bytes());
        }
        Ok(OpenFile { segment, identity, modified, fields: fields.into_boxed_slice() })
    }

    pub(crate) fn segment(&self) -> &FileSegment {
        &self.segment
    }

    pub(crate) fn length(&self) -> u64 {
        self.identity.length
    }

    /// When it was last modified, in seconds since 1970, as responses say it.
    pub(crate) fn modified(&self) -> u64 {
        self.modified
    }

    /// The fields of an answer that has a body, but for its length.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// The one field of an answer that has none: `Last-Modified`.
    pub(crate) fn last_modified(&self) -> &[u8] {
        &self.fields[..LAST_MODIFIED_LEN]
    }
}

const LAST_MODIFIED_LEN: usize = "Last-Modified: ".len() + date::DATE_LEN + "\r\n".len();

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LATER: u64 = 4_000_000_000;

    fn tree() -> (tempfile::TempDir, StaticFiles) {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("site/empty")).expect("directories");
        fs::write(root.path().join("site/index.html"), "<p>hello").expect("a file");
        fs::write(root.path().join("a.txt"), "12345").expect("a file");
        symlink("a.txt", root.path().join("link")).expect("a link");
        symlink("/etc/passwd", root.path().join("out")).expect("a link");
        symlink("loop", root.path().join("loop")).expect("a link");
        let files = StaticFiles::new(root.path()).expect("it is a directory");
        (root, files)
    }

    fn length(files: &mut StaticFiles, path: &str, now_ns: u64) -> Result<u64, Miss> {
        files.find(path.as_bytes(), now_ns, LATER).map(OpenFile::length)
    }

    #[test]
    fn files_directories_and_what_is_neither() {
        let (root, mut files) = tree();
        let status = |status| Err(Miss::Refused(status));
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("a socket");
        let table = [
            ("a.txt", Ok(5)),
            ("link", Ok(5)),
            ("site", Ok(8)),
            ("site/", Ok(8)),
            ("site/index.html", Ok(8)),
            ("site/empty", status(Status::Forbidden)),
            (".", status(Status::Forbidden)),
            ("missing", status(Status::NotFound)),
            ("a.txt/", status(Status::NotFound)),
            ("a.txt/b", status(Status::NotFound)),
            ("out", status(Status::Forbidden)),
            ("loop", status(Status::Forbidden)),
            ("socket", status(Status::Forbidden)),
        ];
        for (path, expected) in table {
            assert_eq!(length(&mut files, path, 0), expected, "{path}");
        }
        assert_eq!(length(&mut files, &"x".repeat(300), 0), status(Status::NotFound));
    }

    #[test]
    fn an_unreadable_file_is_forbidden() {
        let (root, mut files) = tree();
        let path = root.path().join("a.txt");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions");
        let expected = match File::open(&path) {
            Err(_) => Err(Miss::Refused(Status::Forbidden)),
            Ok(_) => Ok(5), // root reads everything
        };
        assert_eq!(length(&mut files, "a.txt", 0), expected);
    }

    #[test]
    fn without_openat2_the_rules_hold_and_links_are_refused() {
        let (_root, mut files) = tree();
        files.walks = true;
        assert_eq!(length(&mut files, "a.txt", 0), Ok(5));
        assert_eq!(length(&mut files, "site/", 0), Ok(8));
        for path in ["link", "out", "loop"] {
            assert_eq!(length(&mut files, path, 0), Err(Miss::Refused(Status::Forbidden)), "{path}");
        }
    }

    #[test]
    fn a_change_is_noticed_after_a_second_and_not_before() {
        let (root, mut files) = tree();
        assert_eq!(length(&mut files, "a.txt", 0), Ok(5));
        fs::write(root.path().join("new"), "1234567").expect("a file");
        fs::rename(root.path().join("new"), root.path().join("a.txt")).expect("replaced");
        assert_eq!(length(&mut files, "a.txt", SECOND - 1), Ok(5));
        assert_eq!(length(&mut files, "a.txt", SECOND), Ok(7));
        fs::remove_file(root.path().join("a.txt")).expect("removed");
        assert_eq!(length(&mut files, "a.txt", 2 * SECOND), Err(Miss::Refused(Status::NotFound)));
        assert_eq!(files.cached(), 0);
    }

    #[test]
    fn an_unchanged_file_keeps_its_descriptor() {
        let (_root, mut files) = tree();
        let first = files.find(b"a.txt", 0, LATER).expect("found").segment().clone();
        let second = files.find(b"a.txt", SECOND, LATER).expect("found").segment().clone();
        assert!(std::ptr::eq(first.file(), second.file()));
    }

    #[test]
    fn the_fields_of_a_file() {
        let (root, mut files) = tree();
        let handle = File::options().write(true).open(root.path().join("a.txt")).expect("a file");
        let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
        handle.set_modified(modified).expect("its time");
        let file = files.find(b"a.txt", 0, LATER).expect("found");
        assert_eq!(file.modified(), 784_111_777);
        assert_eq!(file.last_modified(), b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert!(
            file.fields()
                .ends_with(b"GMT\r\nAccept-Ranges: bytes\r\nContent-Type: text/plain; charset=utf-8\r\n")
        );
        let index = files.find(b"site/", 0, LATER).expect("found");
        assert!(index.fields().ends_with(b"Content-Type: text/html; charset=utf-8\r\n"));
        let early = files.find(b"site/index.html", 0, 10).expect("found");
        assert_eq!(early.modified(), 10, "never later than now");
    }
}
