//! The directory that is served: from a decoded path to an open regular file beneath the root, a directory,
//! or a status that says why neither. Files stay open for the next request (`cache`), and when descriptors
//! run out this is where some are found.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;

use super::Status;
use super::cache::Cache;
use super::encoding::{self, Coding, Codings};
use super::listing::{self, Item, Kind, Sorting};
use super::open_file::{IN_MEMORY_MAX, Identity, Keeping, OpenFile, Role};
use super::pages::Pages;
use super::patience::Patience;
use super::policy::Policy;
use super::stats::ServerStats;
use crate::{Result, sys};

/// A directory to serve.
///
/// Requests name files beneath it and nothing else: `..` in any spelling, absolute paths, NUL and symbolic
/// links that point outside are refused, the last by the kernel (`openat2`). Where the kernel or a sandbox
/// does not offer that call, every symbolic link is refused. Links that stay inside are followed otherwise,
/// unless they are absolute. Only regular files are served; a directory stands for the `index.html` in it, or
/// for a [`listing`](Self::listing) if that is allowed, and is redirected to when its slash is missing. All of
/// this holds for indexes, error pages, compressed siblings and what listings show as well.
///
/// # Examples
/// ```
/// use zerovent::http::{StaticFiles, Status};
///
/// let files = StaticFiles::new(".")?
///     .listing(true)
///     .precompressed(true)
///     .cache_control("assets/**", "public, max-age=31536000, immutable")?
///     .cache_control("*.html", "no-cache")?
///     .error_page(Status::NotFound, "/404.html")?;
/// # Ok::<(), zerovent::Error>(())
/// ```
pub struct StaticFiles {
    root: File,
    /// `openat2` turned out to be missing or forbidden.
    walks: bool,
    cache: Cache,
    policy: Policy,
    patience: Patience,
    pages: Pages,
    /// A descriptor that holds a place in the process's table, given up for a file when there is no other.
    spare: Option<OwnedFd>,
    /// A NUL-terminated path on its way to the kernel; kept for its memory.
    name: Vec<u8>,
}

/// What a path turned out to name.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    File(&'a OpenFile),
    /// A directory that may be listed.
    Directory(OwnedFd),
    /// A directory, by a name that lacks the slash at its end.
    MissingSlash,
}

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    Refused(Status),
    /// The process has no descriptor left; it may have one later.
    NoDescriptor,
    /// The file is being written to; it will be quiet in a moment.
    Restless,
}

/// When a request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The loop's time in nanoseconds.
    pub(crate) loop_ns: u64,
    pub(crate) unix_seconds: u64,
}

/// How many files are kept unless told otherwise.
const CACHE_MAX: usize = 256;

/// How many bytes of them are kept in memory unless told otherwise.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// Settings.
impl StaticFiles {
    /// Serves the directory `root`, which stays the same one even if it is renamed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when there is no such directory or it may not be entered.
    pub fn new(root: impl AsRef<Path>) -> Result<StaticFiles> {
        let root = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(root)?;
        // Such a descriptor can be had of a directory that one may not enter.
        sys::fs::stat_entry(root.as_fd(), c".")?;
        let spare = root.try_clone().ok().map(OwnedFd::from);
        let cache = Cache::new(CACHE_MAX, CACHE_BYTES_MAX);
        Ok(StaticFiles {
            root,
            walks: false,
            cache,
            policy: Policy::default(),
            patience: Patience::default(),
            pages: Pages::default(),
            spare,
            name: Vec::new(),
        })
    }

    /// Keeps at most `count` files between requests (256, and at least 1).
    #[must_use]
    pub fn cache_max(mut self, count: usize) -> Self {
        self.cache.set_entries_max(count);
        self
    }

    /// Keeps at most `bytes` of small files (up to 128 KiB) in memory between requests (16 MiB). Those of up to 8 KiB
    /// leave in one system call with their heads; with 0 every file is kept as a descriptor.
    #[must_use]
    pub fn cache_bytes_max(mut self, bytes: usize) -> Self {
        self.cache.set_bytes_max(bytes);
        self
    }

    /// Whether a directory without an `index.html` is answered with a page that lists it (no). Names that
    /// begin with a dot are left out, and so are links that lead outside.
    #[must_use]
    pub fn listing(mut self, on: bool) -> Self {
        self.policy.listing = on;
        self
    }

    /// The most entries that a listing shows (5,000); it says when there are more.
    #[must_use]
    pub fn listing_max(mut self, count: usize) -> Self {
        self.policy.listing_max = count;
        self
    }

    /// Whether `file.br`, `file.zst` and `file.gz` are answered with in place of `file` when the client accepts
    /// that coding (no). One that is older than `file` is left alone.
    #[must_use]
    pub fn precompressed(mut self, on: bool) -> Self {
        self.policy.precompressed = on;
        self
    }

    /// Whether files that are not in memory may leave by `sendfile` (yes), without being copied, once they have been left
    /// alone for two seconds. Whatever is done to a file, its answers are of one state of it or are cut short; with one
    /// exception: bytes that `sendfile` has sent are pages of the file until the client has received them, and change
    /// there if a file that was at rest is overwritten in place, or cut, at that moment. Where that is how files are
    /// published, say no here; better, rename a new file over the old one.
    #[must_use]
    pub fn sendfile(mut self, on: bool) -> Self {
        self.policy.sendfile = on;
        self
    }

    /// Answers files whose path beneath the root matches `pattern` with this `Cache-Control`; the first
    /// pattern that matches decides. `*` and `?` stand for anything but a slash, `**` for whole directories,
    /// `{a,b}` for either; a pattern without a slash is one for names, in whatever directory.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when `value` cannot be sent: it is empty, or not all of it
    /// is printable ASCII.
    pub fn cache_control(mut self, pattern: &str, value: &str) -> Result<Self> {
        self.policy.add_cache_rule(pattern, value)?;
        Ok(self)
    }

    /// Answers with the file at `path` where the answer would be a short page that says `status`. When there
    /// is no such file it is the short page after all.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when `path` is not one that a request could name, such as
    /// `/404.html`.
    pub fn error_page(mut self, status: Status, path: &str) -> Result<Self> {
        self.policy.add_error_page(status, path)?;
        Ok(self)
    }
}

/// Finding.
impl StaticFiles {
    /// What `path` names, which [`target::decode`](super::target::decode) made. A file that was looked at
    /// within the last second costs no system call. Of several codings it is the one that `accept_encoding`
    /// likes best.
    pub(crate) fn find(
        &mut self,
        path: &[u8],
        accept_encoding: &[&[u8]],
        now: Moment,
    ) -> Result<Found<'_>, Miss> {
        let mut index = match self.look_up(path, now)? {
            Loaded::File(index) => index,
            Loaded::Directory(fd) => return Ok(Found::Directory(fd)),
            Loaded::MissingSlash => return Ok(Found::MissingSlash),
        };
        let siblings = self.cache.file(index, now.loop_ns).siblings();
        if !siblings.is_empty()
            && let Some(coding) = encoding::choose(accept_encoding, siblings)
        {
            index = self.find_sibling(path, coding, now)?;
        }
        Ok(Found::File(self.cache.file(index, now.loop_ns)))
    }

    /// The page for `status`, if there is one and its file is there.
    pub(crate) fn find_error_page(&mut self, status: Status, now: Moment) -> Option<&OpenFile> {
        let path = self.policy.error_page(status)?.to_vec();
        // The answer is wanted now, and a page says little that depends on its state.
        self.patience.suspended = true;
        let loaded = self.look_up(&path, now);
        self.patience.suspended = false;
        match loaded {
            Ok(Loaded::File(index)) => Some(self.cache.file(index, now.loop_ns)),
            _ => None,
        }
    }

    /// The page that lists the directory `fd`, which was found at `path`.
    pub(crate) fn listing_page(
        &mut self,
        path: &[u8],
        fd: &OwnedFd,
        sorting: Sorting,
        now: Moment,
    ) -> io::Result<Bytes> {
        if let Some(page) = self.pages.find(path, sorting, now.loop_ns) {
            return Ok(page);
        }
        let page = Bytes::from(listing::page(path, self.list(path, fd)?, sorting));
        self.pages.keep(path, sorting, page.clone(), now.loop_ns);
        Ok(page)
    }

    /// What a directory holds for the public to see.
    fn list(&mut self, path: &[u8], fd: &OwnedFd) -> io::Result<listing::Items> {
        let mut items = listing::Items::default();
        let mut names = Vec::new();
        let listing_max = self.policy.listing_max;
        sys::fs::read_directory(fd.as_fd(), |name| match listing::is_public(name.to_bytes()) {
            true if names.len() == listing_max => {
                items.are_all = false;
                ControlFlow::Break(())
            }
            true => {
                names.push(name.to_owned());
                ControlFlow::Continue(())
            }
            false => ControlFlow::Continue(()),
        })?;
        items.list.extend(names.into_iter().filter_map(|name| self.item(path, fd, name)));
        Ok(items)
    }

    /// Walks every path as where the kernel has no `openat2`, for tests of that.
    #[doc(hidden)]
    #[must_use]
    pub fn without_openat2(mut self) -> Self {
        self.walks = true;
        self
    }

    /// Takes files as they are, for tests that make them just before.
    pub(crate) fn impatient(mut self) -> Self {
        self.patience.suspended = true;
        self
    }

    /// Whether nothing is held for later requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.cache.len() == 0 && self.pages.is_empty()
    }

    /// Adds what is known of the files to `stats`.
    pub(crate) fn count(&self, stats: &mut ServerStats) {
        let tally = self.cache.tally();
        (stats.cache_hits, stats.cache_misses) = (tally.hits, tally.misses);
        (stats.cached_files, stats.cached_bytes) = (self.cache.len(), self.cache.bytes());
    }

    /// Drops files that have not been asked for since `since_ns`.
    pub(crate) fn release_unused(&mut self, since_ns: u64) {
        self.cache.release_unused(since_ns);
        self.pages.clear();
    }

    /// Closes every file that is not being sent.
    pub(crate) fn release_all(&mut self) {
        self.cache.clear();
        self.pages.clear();
    }

    /// Holds a place for a file again, after [`find`](Self::find) had to give it up.
    pub(crate) fn restore_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = self.root.try_clone().ok().map(OwnedFd::from);
        }
    }

    /// `name` in a directory, unless it is nothing that would be served. A link is looked at by opening it, as
    /// a request would: what lies outside shows neither its size nor its existence.
    fn item(&mut self, path: &[u8], directory: &OwnedFd, name: CString) -> Option<Item> {
        let stat = sys::fs::stat_entry(directory.as_fd(), &name).ok()?;
        let stat = match stat.mode & libc::S_IFMT {
            libc::S_IFLNK => {
                let (_, metadata) = self.open_parts(&[path, b"/", name.to_bytes()]).ok()?;
                let (mode, length, modified) = (metadata.mode(), metadata.len(), metadata.mtime());
                sys::fs::EntryStat { mode, length, modified }
            }
            _ => stat,
        };
        let kind = match stat.mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFREG => Kind::File,
            _ => return None,
        };
        let modified = u64::try_from(stat.modified).unwrap_or(0);
        Some(Item { name: name.into_bytes(), kind, length: stat.length, modified })
    }
}

/// What opening a path came to; a file is then in the cache.
enum Loaded {
    File(usize),
    Directory(OwnedFd),
    MissingSlash,
}

/// Between the kernel and the cache.
impl StaticFiles {
    fn look_up(&mut self, path: &[u8], now: Moment) -> Result<Loaded, Miss> {
        match self.cache.fresh(path, now.loop_ns) {
            Some(index) => Ok(Loaded::File(index)),
            None => self.load(path, now),
        }
    }

    /// The sibling of `path` in that coding, or the file itself if it has gone since it was seen.
    fn find_sibling(&mut self, path: &[u8], coding: Coding, now: Moment) -> Result<usize, Miss> {
        // No path has a NUL, so this is no other file's place.
        let key = [path, b"\0", coding.suffix()].concat();
        if let Some(index) = self.cache.fresh(&key, now.loop_ns) {
            return Ok(index);
        }
        let name = [&file_name(path), coding.suffix()].concat();
        let opened = self.open_parts(&[&name]).map_err(refuse);
        match opened.and_then(|(fd, metadata)| Opened::regular(fd, &metadata)) {
            Ok(opened) => self.keep(&key, path, opened, Some(coding), now),
            Err(miss @ (Miss::NoDescriptor | Miss::Restless)) => Err(miss),
            Err(_) => match self.look_up(path, now)? {
                Loaded::File(index) => Ok(index),
                _ => Err(Miss::Refused(Status::NotFound)),
            },
        }
    }

    /// Opens `path` anew; keeps the file that is held already if it turns out to be the same and unchanged.
    fn load(&mut self, path: &[u8], now: Moment) -> Result<Loaded, Miss> {
        match self.open(path).inspect_err(|_| self.cache.remove(path))? {
            Target::File(opened) => self.keep(path, path, opened, None, now).map(Loaded::File),
            Target::Directory(fd) => Ok(Loaded::Directory(fd)),
            Target::MissingSlash => Ok(Loaded::MissingSlash),
        }
    }

    /// Puts what was opened into the cache under `key`: the file of `path` itself, or its sibling.
    fn keep(
        &mut self,
        key: &[u8],
        path: &[u8],
        opened: Opened,
        coding: Option<Coding>,
        now: Moment,
    ) -> Result<usize, Miss> {
        let siblings = match coding {
            None if self.policy.precompressed => self.siblings(&file_name(path), &opened.identity),
            _ => Codings::NONE,
        };
        let held = self.cache.stale(key).is_some_and(|held| held.is_still(&opened.identity, siblings));
        if held && let Some(index) = self.cache.confirm(key, now.loop_ns) {
            return Ok(index);
        }
        if self.patience.waits_for(key, opened.identity.modified(), now.loop_ns) {
            // What is held of before the change, if anything is, is served until the change is over.
            let held = self.cache.stale(key).is_some_and(OpenFile::is_whole);
            return self.cache.place(key).filter(|_| held).ok_or(Miss::Restless);
        }
        let name = file_name(path);
        let role = Role { name: &name, coding, siblings, cache_control: self.policy.cache_control(&name) };
        let memory_max = IN_MEMORY_MAX.min(self.cache.bytes_max() as u64);
        let keeping = Keeping { memory_max, sendfile: self.policy.sendfile };
        let file = OpenFile::new(opened.fd, opened.identity, &role, keeping, now.unix_seconds);
        Ok(self.cache.insert(key, file.map_err(refuse)?, now.loop_ns))
    }

    /// The codings in which the file `name` lies beside itself, and not from before it was changed.
    fn siblings(&mut self, name: &[u8], original: &Identity) -> Codings {
        let mut found = Codings::NONE;
        for coding in Coding::ALL {
            let opened = self.open_parts(&[name, coding.suffix()]);
            if opened.is_ok_and(|(_, sibling)| {
                sibling.is_file() && !Identity::of(&sibling).is_older_than(original)
            }) {
                found.insert(coding);
            }
        }
        found
    }

    /// Opens `path`, or the index in it when it is a directory.
    fn open(&mut self, path: &[u8]) -> Result<Target, Miss> {
        let (fd, metadata) = self.open_parts(&[path]).map_err(refuse)?;
        if !metadata.is_dir() {
            return Opened::regular(fd, &metadata).map(Target::File);
        }
        drop(fd); // before the next one is opened, since there may be only one to have
        if !is_directory_name(path) {
            return Ok(Target::MissingSlash);
        }
        match self.open_parts(&index_parts(path)).map_err(refuse) {
            Ok((fd, metadata)) => Opened::regular(fd, &metadata).map(Target::File),
            Err(Miss::Refused(Status::NotFound)) if self.policy.listing => {
                self.open_parts(&[path]).map(|(fd, _)| Target::Directory(fd)).map_err(refuse)
            }
            Err(Miss::Refused(Status::NotFound)) => Err(Miss::Refused(Status::Forbidden)),
            Err(miss) => Err(miss),
        }
    }

    /// Opens the path that consists of `parts`, with whatever descriptor can be found.
    fn open_parts(&mut self, parts: &[&[u8]]) -> io::Result<(OwnedFd, Metadata)> {
        self.name.clear();
        parts.iter().for_each(|part| self.name.extend_from_slice(part));
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

/// Whether `path` is that of a directory, by its spelling.
fn is_directory_name(path: &[u8]) -> bool {
    path == b"." || path.ends_with(b"/")
}

/// The name of the index in `directory`, in two parts.
fn index_parts(directory: &[u8]) -> [&[u8]; 2] {
    match directory {
        b"." => [b"", INDEX],
        _ => [directory, INDEX],
    }
}

/// The name of the file that `path` stands for.
fn file_name(path: &[u8]) -> Cow<'_, [u8]> {
    match is_directory_name(path) {
        true => index_parts(path).concat().into(),
        false => path.into(),
    }
}

impl fmt::Debug for StaticFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticFiles").field("root", &self.root).field("cached", &self.cache.len()).finish()
    }
}

/// What a path was opened as.
enum Target {
    File(Opened),
    Directory(OwnedFd),
    MissingSlash,
}

/// A descriptor that turned out to be a regular file.
struct Opened {
    fd: OwnedFd,
    identity: Identity,
}

impl Opened {
    fn regular(fd: OwnedFd, metadata: &Metadata) -> Result<Opened, Miss> {
        if !metadata.is_file() {
            return Err(Miss::Refused(Status::Forbidden));
        }
        Ok(Opened { fd, identity: Identity::of(metadata) })
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
        let files = StaticFiles::new(root.path()).expect("it is a directory").impatient();
        (root, files)
    }

    fn found<'a>(
        files: &'a mut StaticFiles,
        path: &str,
        loop_ns: u64,
        unix_seconds: u64,
    ) -> Result<&'a OpenFile, Miss> {
        match files.find(path.as_bytes(), &[b"gzip, br"], Moment { loop_ns, unix_seconds })? {
            Found::File(file) => Ok(file),
            Found::MissingSlash => Err(Miss::Refused(Status::MovedPermanently)),
            Found::Directory(_) => Err(Miss::Refused(Status::NoContent)),
        }
    }

    fn length(files: &mut StaticFiles, path: &str, now_ns: u64) -> Result<u64, Miss> {
        found(files, path, now_ns, LATER).map(OpenFile::length)
    }

    #[test]
    fn files_directories_and_what_is_neither() {
        let (root, mut files) = tree();
        let status = |status| Err(Miss::Refused(status));
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("a socket");
        let table = [
            ("a.txt", Ok(5)),
            ("link", Ok(5)),
            ("site", status(Status::MovedPermanently)),
            ("site/", Ok(8)),
            ("site/index.html", Ok(8)),
            ("site/empty", status(Status::MovedPermanently)),
            ("site/empty/", status(Status::Forbidden)),
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
        assert!(files.is_idle());
    }

    #[test]
    fn an_unchanged_file_is_kept_once_it_is_at_rest() {
        let (_root, mut files) = tree();
        let at = |files: &mut StaticFiles, loop_ns| {
            std::ptr::from_ref(found(files, "a.txt", loop_ns, LATER).expect("found").fields().all())
        };
        let first = at(&mut files, 0);
        assert!(std::ptr::eq(first, at(&mut files, SECOND)));
        let fresh = found(&mut files, "site/", 0, 10).expect("found").fields().all().to_vec();
        assert!(memchr::memmem::find(&fresh, b"ETag: W/").is_some(), "it was changed just now");
        let rested = found(&mut files, "site/", SECOND, LATER).expect("found").fields().all();
        assert!(memchr::memmem::find(rested, b"ETag: W/").is_none(), "its tag matures");
    }

    #[test]
    fn the_fields_of_a_file() {
        let (root, files) = tree();
        let mut files = files.cache_control("*.txt", "max-age=60").expect("a rule");
        let handle = File::options().write(true).open(root.path().join("a.txt")).expect("a file");
        let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
        handle.set_modified(modified).expect("its time");
        let file = found(&mut files, "a.txt", 0, LATER).expect("found");
        let fields = std::str::from_utf8(file.fields().all()).expect("ASCII");
        assert!(fields.starts_with("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \""), "{fields}");
        assert!(fields.contains("\"\r\nCache-Control: max-age=60\r\nAccept-Ranges: bytes\r\n"), "{fields}");
        assert!(fields.ends_with("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{fields}");
        let index = found(&mut files, "site/", 0, LATER).expect("found");
        assert_eq!(index.fields().content_type(), b"Content-Type: text/html; charset=utf-8\r\n");
        let early = found(&mut files, "site/index.html", 0, 10).expect("found");
        assert_eq!(early.validators().modified, 10, "never later than now");
    }

    #[test]
    fn a_sibling_that_goes_or_falls_behind_is_not_sent() {
        let (root, files) = tree();
        let mut files = files.precompressed(true).cache_max(1);
        assert_eq!(length(&mut files, "a.txt", 0), Ok(5));
        fs::write(root.path().join("a.txt.gz"), "123").expect("a file");
        assert_eq!(length(&mut files, "a.txt", SECOND), Ok(3));
        fs::remove_file(root.path().join("a.txt.gz")).expect("removed");
        assert_eq!(length(&mut files, "a.txt", 2 * SECOND), Ok(5));
        fs::write(root.path().join("a.txt.br"), "12").expect("a file");
        let old = File::options().write(true).open(root.path().join("a.txt.br")).expect("a file");
        old.set_modified(UNIX_EPOCH).expect("its time");
        assert_eq!(length(&mut files, "a.txt", 3 * SECOND), Ok(5));
        symlink("/etc/passwd", root.path().join("a.txt.zst")).expect("a link");
        assert_eq!(length(&mut files, "a.txt", 4 * SECOND), Ok(5));
    }
}
