//! Files that change while they are served, in every way in which files change: each answer is of one state of the
//! file, or is cut short and its connection closed.
#![cfg(feature = "http")]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::http::{Client, Running};
use support::net::PATIENCE;
use zerovent::http::ServerOptions;

/// Each block says which state of the file it belongs to, and where.
const BLOCK: usize = 512;

/// How long a file is left alone before it counts as being at rest.
const REST: Duration = Duration::from_millis(2100);

/// A change that took the writer longer than this was interrupted by whatever else this machine does, and may have been seen
/// half-done: a server waits 20 ms for the next write.
const AT_ONCE: Duration = Duration::from_millis(12);

const FILLER: [u8; BLOCK - 16] = [0x5a; BLOCK - 16];

fn state(version: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; len];
    for (index, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
        block[..8].copy_from_slice(&version.to_le_bytes());
        block[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    }
    bytes
}

/// Which state `bytes` are of, which start with the block `first`; or the versions that they were put together from.
fn version_of(bytes: &[u8], first: usize) -> Result<Option<u64>, Vec<u64>> {
    let mut versions = Vec::new();
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        let number = |at: usize| block.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
        let (Some(version), Some(place)) = (number(0), number(8)) else { continue };
        let is_block = place == (first + index) as u64 && block[16..] == FILLER[..block.len() - 16];
        versions.push(if is_block { version } else { u64::MAX });
    }
    versions.dedup();
    match versions[..] {
        [] => Ok(None),
        [version] if version != u64::MAX => Ok(Some(version)),
        _ => Err(versions),
    }
}

/// A way in which files change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A new file is renamed over it.
    Replaced,
    /// It is emptied and written anew.
    Rewritten,
    /// It is written over where it lies.
    Overwritten,
    /// It loses its end, and then gets that of another state.
    CutAndGrown,
    /// It goes away, and another comes.
    Deleted,
    /// It may not be read for a while; then it is replaced.
    Unreadable,
}

use Change::*;

const CHANGES: [Change; 6] = [Replaced, Rewritten, Overwritten, CutAndGrown, Deleted, Unreadable];

/// Two sizes that are kept in memory, and two that are not.
const SIZES: [usize; 4] = [20 << 10, 120 << 10, 160 << 10, 400 << 10];

impl Change {
    /// Those that a reader cannot see half-done leave no time between two of them.
    fn is_atomic(self) -> bool {
        matches!(self, Replaced | Deleted | Unreadable)
    }

    fn len(self, size: usize, version: u64) -> usize {
        match self {
            Overwritten => size,
            _ => size + (version % 7) as usize * BLOCK,
        }
    }

    fn bring(self, path: &Path, size: usize, version: u64) {
        let bytes = state(version, self.len(size, version));
        let open = || File::options().write(true).open(path).unwrap();
        let replace = || {
            let new = path.with_extension("new");
            fs::write(&new, &bytes).unwrap();
            fs::rename(&new, path).unwrap();
        };
        match self {
            Replaced => replace(),
            Rewritten => fs::write(path, &bytes).unwrap(),
            Overwritten => {
                let file = open();
                let pieces = bytes.chunks(64 << 10).enumerate();
                pieces.for_each(|(at, piece)| file.write_all_at(piece, (at as u64) << 16).unwrap());
            }
            CutAndGrown => {
                let mut file = open();
                file.set_len(0).unwrap();
                file.write_all(&bytes).unwrap();
            }
            Deleted => {
                fs::remove_file(path).unwrap();
                thread::sleep(Duration::from_millis(3));
                replace();
            }
            Unreadable => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
                thread::sleep(Duration::from_millis(3));
                replace();
            }
        }
    }
}

/// A file that changes, and which of its states may have been seen half-done.
struct Subject {
    change: Change,
    size: usize,
    path: PathBuf,
    name: String,
    interrupted: Mutex<HashSet<u64>>,
    versions: AtomicUsize,
    /// The state that a strong tag stands for.
    tags: Mutex<HashMap<String, u64>>,
}

impl Subject {
    fn new(root: &Path, change: Change, size: usize) -> Subject {
        let name = format!("{change:?}-{size}");
        let path = root.join(&name);
        fs::write(&path, state(1, change.len(size, 1))).unwrap();
        let (interrupted, tags) = (Mutex::default(), Mutex::default());
        Subject { change, size, path, name, interrupted, versions: AtomicUsize::new(0), tags }
    }

    fn change_until(&self, stop: &AtomicBool) {
        let mut version = 1;
        while !stop.load(Ordering::Relaxed) {
            version += 1;
            if self.change == CutAndGrown {
                let file = File::options().write(true).open(&self.path).unwrap();
                file.set_len((self.size / 2 + 77 * version as usize % 5000) as u64).unwrap();
                thread::sleep(Duration::from_millis(40));
            }
            let writing = Instant::now();
            self.change.bring(&self.path, self.size, version);
            if !self.change.is_atomic() && writing.elapsed() > AT_ONCE {
                self.interrupted.lock().unwrap().extend([version - 1, version]);
            }
            self.versions.fetch_add(1, Ordering::Relaxed);
            let pause = if self.change.is_atomic() { 10 + version % 50 } else { 70 + version * 13 % 80 };
            thread::sleep(Duration::from_millis(pause));
        }
    }

    /// Whether the writer was kept from going on in the middle of each of these; it may find that out a little later.
    fn was_interrupted(&self, versions: &[u64]) -> bool {
        let is_known = || versions.iter().all(|version| self.interrupted.lock().unwrap().contains(version));
        (0..40).any(|_| {
            let known = is_known();
            thread::sleep(Duration::from_millis(if known { 0 } else { 50 }));
            known
        })
    }

    /// Checks what was answered with: a whole state, or part of one.
    fn check(&self, body: &[u8], first: usize, is_range: bool, tag: Option<&str>) {
        let (name, len) = (&self.name, body.len());
        let version = match version_of(body, first) {
            Ok(Some(version)) => version,
            Ok(None) => return assert!(self.change != Overwritten && len < BLOCK, "{name}: {len} bytes"),
            Err(versions) => {
                return assert!(self.was_interrupted(&versions), "{name}: put together of {versions:?}");
            }
        };
        let is_partial = is_range || self.change == CutAndGrown;
        let is_whole = len == self.change.len(self.size, version);
        assert!(
            is_partial || is_whole || self.was_interrupted(&[version]),
            "{name}: {len} bytes of {version}"
        );
        if let Some(tag) = tag.filter(|tag| !tag.starts_with("W/")) {
            let before = *self.tags.lock().unwrap().entry(tag.to_owned()).or_insert(version);
            assert_eq!(before, version, "{name}: {tag} stands for two states");
        }
    }
}

/// How the requests ended.
#[derive(Default)]
struct Tally {
    whole: AtomicUsize,
    cut: AtomicUsize,
    absent: AtomicUsize,
}

fn ask(server: &Running, subjects: &[Subject], seed: usize, count: usize, tally: &Tally) {
    let mut client = server.connect();
    for round in 0..count {
        let mixed = ((seed * 7919 + round) * 2_654_435_761) >> 8;
        // The large ones take longest, and are asked for less often.
        let subject = &subjects[mixed % subjects.len()];
        let first = if mixed.is_multiple_of(5) { mixed / 5 % 30 } else { 0 };
        let range = if first > 0 { format!("Range: bytes={}-\r\n", first * BLOCK) } else { String::new() };
        if !ask_once(&mut client, subject, first, &range, tally) {
            client = server.connect();
        }
    }
}

/// Says whether the connection can be used again.
fn ask_once(client: &mut Client, subject: &Subject, first: usize, range: &str, tally: &Tally) -> bool {
    let target = format!("/{}", subject.name);
    let Some(head) = client.send_get(&target, range).try_head() else {
        tally.cut.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    let Some(body) = client.try_body(head.length) else {
        assert!([200, 206].contains(&head.status), "{target}: {} was cut short", head.status);
        tally.cut.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    let tag = head.fields.iter().find(|(name, _)| name == "ETag").map(|(_, value)| value.as_str());
    let count = match head.status {
        200 => {
            subject.check(&body, 0, false, tag);
            &tally.whole
        }
        206 => {
            subject.check(&body, first, true, tag);
            &tally.whole
        }
        status => {
            let expected = match subject.change {
                Deleted => [404, 403],
                Unreadable => [403, 403],
                _ => [416, 416], // a range of what has been cut off
            };
            assert!(expected.contains(&status), "{target}: {status}");
            &tally.absent
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    true
}

#[test]
fn twenty_thousand_answers_are_of_one_state_each_while_every_file_changes() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 20_000;
    let root = tempfile::tempdir().unwrap();
    let subjects: Vec<Subject> = CHANGES
        .iter()
        .flat_map(|&change| SIZES.map(|size| Subject::new(root.path(), change, size)))
        .collect();
    let server = Running::start(root.path(), ServerOptions::new());
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    thread::scope(|scope| {
        for subject in &subjects {
            scope.spawn(|| subject.change_until(&stop));
        }
        let ask = |seed| ask(&server, &subjects, seed, REQUESTS / CLIENTS, &tally);
        let clients: Vec<_> = (0..CLIENTS).map(|seed| scope.spawn(move || ask(seed))).collect();
        let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (whole, cut, absent) = (count(&tally.whole), count(&tally.cut), count(&tally.absent));
    let versions: usize = subjects.iter().map(|subject| count(&subject.versions)).sum();
    let excused: usize = subjects.iter().map(|subject| subject.interrupted.lock().unwrap().len()).sum();
    println!(
        "{whole} whole, {cut} cut short, {absent} absent; {versions} states, {excused} seen half-done at most"
    );
    assert_eq!(whole + cut + absent, REQUESTS);
    assert!(whole > REQUESTS / 2 && versions > 500);
}

/// A large file that has been left alone, so that it leaves by sendfile, in part: more of it is missing than all the buffers
/// between server and client can hold.
struct Download {
    root: tempfile::TempDir,
    server: Running,
    client: Client,
    length: u64,
}

const LARGE: usize = 40 << 20;

impl Download {
    fn begin() -> Download {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("large"), state(1, LARGE)).unwrap();
        thread::sleep(REST);
        let server = Running::start(root.path(), ServerOptions::new());
        let mut client = server.connect();
        let length = client.send_get("/large", "").head().length;
        assert_eq!(length, LARGE as u64);
        Download { root, server, client, length }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("large")
    }

    fn new_file(&self, version: u64) -> PathBuf {
        let path = self.root.path().join("new");
        fs::write(&path, state(version, LARGE)).unwrap();
        path
    }
}

#[test]
fn a_download_is_cut_short_when_its_file_is_written_to() {
    let changes: [fn(&Path); 4] = [
        |path| File::options().write(true).open(path).unwrap().write_all_at(b"x", 7).unwrap(),
        |path| File::options().append(true).open(path).unwrap().write_all(b"x").unwrap(),
        |path| fs::write(path, state(2, LARGE)).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(LARGE as u64 - 1).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let Download { root, server, mut client, length } = Download::begin();
        change(&root.path().join("large"));
        assert!(client.try_body(length).is_none(), "change {number}");
        // Who asks now gets all of the new state, though the old one is known, and was looked at just now.
        let mut next = server.connect();
        let body = next.get("/large").body;
        let now = fs::metadata(root.path().join("large")).unwrap().len();
        assert_eq!(body.len() as u64, now, "change {number}");
    }
}

#[test]
fn a_download_goes_on_when_its_file_is_replaced_unlinked_or_locked() {
    let changes: [fn(&Download); 4] = [
        |download| fs::rename(download.new_file(2), download.path()).unwrap(),
        |download| fs::remove_file(download.path()).unwrap(),
        |download| fs::set_permissions(download.path(), fs::Permissions::from_mode(0o000)).unwrap(),
        |download| fs::hard_link(download.path(), download.root.path().join("link")).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut download = Download::begin();
        change(&download);
        let body = download.client.try_body(download.length).expect("all of it");
        assert_eq!(version_of(&body, 0), Ok(Some(1)), "change {number}");
    }
}

#[test]
fn a_file_that_is_just_being_written_is_waited_for() {
    for size in [20 << 10, 200 << 10] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.bin");
        let server = Running::start(root.path(), ServerOptions::new());
        let mut client = server.connect();
        let mut file = File::create(&path).unwrap();
        let writing = thread::spawn(move || {
            for piece in state(1, size).chunks(size / 10) {
                file.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(4));
            }
        });
        thread::sleep(Duration::from_millis(10));
        let body = client.get("/a.bin").body;
        writing.join().unwrap();
        // A machine that is busy elsewhere may make the writer pause for longer than the server waits.
        assert_eq!(version_of(&body, 0), Ok(Some(1)));
        assert!(body.len() > size / 2, "{} of {size}", body.len());
    }
}

#[test]
fn a_file_that_never_comes_to_rest_is_served_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    fs::write(&path, state(1, BLOCK)).unwrap();
    let server = Running::start(root.path(), ServerOptions::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&[0x5a; 16]).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut client = server.connect();
        let (mut lengths, began) = (Vec::new(), Instant::now());
        while lengths.len() < 4 && began.elapsed() < PATIENCE {
            lengths.push(client.get("/log").body.len());
            lengths.dedup();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(lengths.len() == 4 && lengths.is_sorted() && lengths[0] >= BLOCK, "{lengths:?}");
    });
}

#[test]
fn without_sendfile_a_body_is_copied_and_whole() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large"), state(1, 3 << 20)).unwrap();
    thread::sleep(REST);
    let server = Running::start_files(root.path(), |files| files.sendfile(false));
    let mut client = server.connect();
    let before = server.ask(|_| zerovent::buffer::CopyStats::now());
    assert_eq!(version_of(&client.get("/large").body, 0), Ok(Some(1)));
    let ranged = client.get_with("/large", "Range: bytes=512-5000,1000000-2000000\r\n").body;
    assert!(ranged.len() > 1_000_000);
    let moved = server.ask(move |_| zerovent::buffer::CopyStats::now() - before);
    assert!(moved.sendfile == 0 && moved.read > 4_000_000, "{moved:?}");
}
