//! Opening files that a stranger named: a path that came from the network is resolved beneath one directory,
//! and nowhere else. The kernel does that by itself (`openat2` with `RESOLVE_BENEATH`, Linux 5.6), free of
//! races; where it cannot, or a sandbox forbids the call, the path is walked a component at a time without
//! following any link. And making one that has no name and does not change.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Read only; never inherited by a child; a fifo does not block the loop; a terminal does not become ours.
const OPEN_FLAGS: libc::c_int = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;

/// How a directory on the way is held by [`walk_beneath`]: a handle to step from, whatever its permissions to
/// list.
const STEP_FLAGS: libc::c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// How often `openat2` is asked again when the tree was being renamed under it (`EAGAIN`) before the error is
/// passed on.
const ATTEMPTS_MAX: usize = 16;

/// The kernel's `struct open_how`, whose size goes with each call so that it can grow.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path`, relative to `root`, for reading. Links are followed as long as they stay beneath `root`; one
/// that leaves it, or an absolute path, or a `..` past the top, is `EXDEV`. `ENOSYS` and `EPERM` can mean
/// that the call itself is missing or forbidden: then [`walk_beneath`] decides.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let how = OpenHow {
        flags: OPEN_FLAGS as u64,
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(root, path, &how) {
            Err(error) if is_transient(&error) && attempts < ATTEMPTS_MAX => continue,
            result => return result,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn openat2(root: BorrowedFd<'_>, path: &CStr, how: &OpenHow) -> io::Result<OwnedFd> {
    // SAFETY: `path` is NUL-terminated and `how` is a live `struct open_how` of the size passed with it; the
    // kernel only reads both, and only during the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            std::ptr::from_ref(how),
            size_of::<OpenHow>(),
        )
    };
    own(super::check(fd as libc::c_int)?)
}

/// Opens `path` beneath `root` without `openat2`: each component is opened from the one before it and none
/// may be a symbolic link, so there is no name the kernel could resolve elsewhere. Stricter than
/// [`open_beneath`]: links that stay inside are refused too, with `ELOOP` at the end of the path and
/// `ENOTDIR` on the way.
pub(crate) fn walk_beneath(root: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    if bytes[0] == b'/' || bytes.split(|&byte| byte == b'/').any(|component| component == b"..") {
        return Err(io::Error::from_raw_os_error(libc::EXDEV));
    }
    let must_be_directory = bytes.ends_with(b"/");
    let mut components =
        bytes.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        let from = at.as_ref().map_or(root, |fd| fd.as_fd());
        let name = CString::new(component)?;
        if components.peek().is_none() {
            let directory = if must_be_directory { libc::O_DIRECTORY } else { 0 };
            return openat(from, &name, OPEN_FLAGS | libc::O_NOFOLLOW | directory);
        }
        at = Some(openat(from, &name, STEP_FLAGS)?);
    }
    openat(root, c".", OPEN_FLAGS | libc::O_DIRECTORY)
}

fn openat(from: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    loop {
        // SAFETY: `name` is NUL-terminated and only read during the call; without O_CREAT no mode is read.
        let fd = unsafe { libc::openat(from.as_raw_fd(), name.as_ptr(), flags) };
        match super::check(fd) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return own(result?),
        }
    }
}

/// What [`stat_entry`] says of a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryStat {
    pub(crate) mode: libc::mode_t,
    pub(crate) length: u64,
    pub(crate) modified: i64,
}

/// Looks at `name` in `directory`; at a link itself, not at what it points to.
pub(crate) fn stat_entry(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<EntryStat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `name` is NUL-terminated and only read, and `stat` has room for what the call writes.
    let result = unsafe {
        libc::fstatat(directory.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    };
    super::check(result)?;
    // SAFETY: the call succeeded, and has then filled the structure in.
    let stat = unsafe { stat.assume_init() };
    Ok(EntryStat { mode: stat.st_mode, length: stat.st_size as u64, modified: stat.st_mtime })
}

/// Calls `each` with every name in `directory`, which stands at its beginning, until it says `Break`.
pub(crate) fn read_directory(
    directory: BorrowedFd<'_>,
    mut each: impl FnMut(&CStr) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut records = vec![0; RECORDS_LEN];
    loop {
        // SAFETY: the kernel writes at most the length that is passed, to memory of that length.
        let filled = unsafe {
            libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), records.as_mut_ptr(), records.len())
        };
        let filled = super::check_len(filled as isize)?;
        let mut rest = &records[..filled];
        if rest.is_empty() {
            return Ok(());
        }
        while let Some((name, behind)) = first_record(rest) {
            if each(name).is_break() {
                return Ok(());
            }
            rest = behind;
        }
    }
}

/// Room for what one `getdents64` gives.
const RECORDS_LEN: usize = 32 << 10;

/// The name in the first `struct linux_dirent64` of `records`, and the records behind it.
fn first_record(records: &[u8]) -> Option<(&CStr, &[u8])> {
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let length = u16::from_ne_bytes([*records.get(LENGTH_AT)?, *records.get(LENGTH_AT + 1)?]);
    let (record, behind) = records.split_at_checked(usize::from(length))?;
    Some((CStr::from_bytes_until_nul(record.get(NAME_AT..)?).ok()?, behind))
}

fn own(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the caller got `fd` from a successful open just now, so it is open and nobody else knows the
    // number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file in memory with these bytes, which nobody can change or cut any more.
///
/// # Errors
/// When there is no descriptor or no memory, or the kernel has no such files.
pub(crate) fn sealed_copy(bytes: &[u8]) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a string that ends in a NUL.
    let fd = super::check(unsafe { libc::memfd_create(c"zerovent".as_ptr(), flags) })?;
    // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes a number.
    super::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &CStr) -> io::Result<OwnedFd>;

    /// A directory `root` with files, and secrets beside and above it that no path may reach.
    fn tree() -> (tempfile::TempDir, File) {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("sub/deep")).expect("directories");
        fs::create_dir(outside.path().join("root-sibling")).expect("a directory");
        fs::write(outside.path().join("secret"), "secret").expect("a file");
        fs::write(outside.path().join("root-sibling/secret"), "secret").expect("a file");
        fs::write(root.join("a"), "inside").expect("a file");
        fs::write(root.join("sub/b"), "inside").expect("a file");
        fs::write(root.join("sub/deep/.."), "").unwrap_err();
        symlink("../secret", root.join("out")).expect("a link");
        symlink(outside.path().join("secret"), root.join("out-absolute")).expect("a link");
        symlink("..", root.join("up")).expect("a link");
        symlink("/", root.join("slash")).expect("a link");
        symlink("/proc/self/root", root.join("magic")).expect("a link");
        symlink("../../secret", root.join("sub/out")).expect("a link");
        symlink("sub/out", root.join("out-in-two")).expect("a link");
        symlink("../root-sibling", root.join("sibling")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        symlink("sub/b", root.join("in")).expect("a link");
        let handle = File::open(&root).expect("the root");
        (outside, handle)
    }

    const HOSTILE: &[&str] = &[
        "",
        "..",
        "../",
        "../secret",
        "../root/a",
        "../root-sibling/secret",
        "sub/../../secret",
        "sub/../..",
        "sub/deep/../../../secret",
        "./../secret",
        "/etc/passwd",
        "//etc/passwd",
        "/",
        "out",
        "out/",
        "out-absolute",
        "out-in-two",
        "up",
        "up/secret",
        "up/root/a",
        "slash",
        "slash/etc/passwd",
        "magic",
        "magic/etc/passwd",
        "sub/out",
        "sibling",
        "sibling/secret",
        "loop",
        "loop/a",
        "a/",
        "a/..",
        "a/../a",
        "missing",
        "missing/../a",
        "sub/missing",
        "sub/b/c",
    ];

    fn ways() -> [(&'static str, Open); 2] {
        [("openat2", open_beneath), ("walk", walk_beneath)]
    }

    #[test]
    fn hostile_paths_are_refused_either_way() {
        let (_outside, root) = tree();
        for (way, open) in ways() {
            for path in HOSTILE {
                let c_path = CString::new(*path).expect("no NUL");
                assert!(open(root.as_fd(), &c_path).is_err(), "{way} opened {path:?}");
            }
            let long = CString::new("x/".repeat(3000)).expect("no NUL");
            assert!(open(root.as_fd(), &long).is_err(), "{way} opened an endless path");
        }
    }

    #[test]
    fn honest_paths_open_either_way() {
        let (_outside, root) = tree();
        for (way, open) in ways() {
            for path in [c"a", c"sub/b", c"./a", c"sub/./b", c"sub//b"] {
                let mut text = String::new();
                let fd = open(root.as_fd(), path).unwrap_or_else(|error| panic!("{way} {path:?}: {error}"));
                File::from(fd).read_to_string(&mut text).expect("readable");
                assert_eq!(text, "inside", "{way} {path:?}");
            }
            for path in [c".", c"sub", c"sub/", c"sub/deep"] {
                let fd = open(root.as_fd(), path).unwrap_or_else(|error| panic!("{way} {path:?}: {error}"));
                assert!(File::from(fd).metadata().expect("metadata").is_dir(), "{way} {path:?}");
            }
        }
    }

    #[test]
    fn a_link_that_stays_inside_is_followed_by_the_kernel_and_refused_by_the_walk() {
        let (_outside, root) = tree();
        assert!(open_beneath(root.as_fd(), c"in").is_ok());
        let refused = walk_beneath(root.as_fd(), c"in").expect_err("the walk follows nothing");
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_fifo_does_not_block_and_the_descriptor_is_close_on_exec() {
        let (outside, root) = tree();
        let fifo = CString::new(outside.path().join("root/fifo").to_str().expect("utf-8")).expect("no NUL");
        // SAFETY: `fifo` is NUL-terminated and only read during the call.
        let made = unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) };
        assert_eq!(made, 0);
        for (way, open) in ways() {
            let fd = open(root.as_fd(), c"fifo").unwrap_or_else(|error| panic!("{way}: {error}"));
            // SAFETY: F_GETFD takes no further argument and touches no memory.
            let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC, "{way}");
        }
    }

    #[test]
    fn every_name_of_a_directory_is_read_and_links_are_not_followed() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut expected: Vec<_> =
            (0..2000).map(|number| format!("a-name-that-takes-room-{number}")).collect();
        expected.iter().for_each(|name| fs::write(root.path().join(name), "12345").expect("a file"));
        symlink("/etc/passwd", root.path().join("link")).expect("a link");
        expected.extend([".", "..", "link"].map(str::to_owned));
        let directory = File::open(root.path()).expect("it is there");
        let mut found = Vec::new();
        read_directory(directory.as_fd(), |name| {
            found.push(name.to_str().expect("UTF-8").to_owned());
            ControlFlow::Continue(())
        })
        .expect("readable");
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let file = stat_entry(directory.as_fd(), c"a-name-that-takes-room-7").expect("it is there");
        assert_eq!((file.mode & libc::S_IFMT, file.length), (libc::S_IFREG, 5));
        let link = stat_entry(directory.as_fd(), c"link").expect("it is there");
        assert_eq!(link.mode & libc::S_IFMT, libc::S_IFLNK);
        assert!(stat_entry(directory.as_fd(), c"missing").is_err());
    }
}
