//! The cache of open files through real sockets: what is kept, for how long, and that what is sent is always one
//! state of a file.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use support::http::Running;
use support::net::{open_descriptors, pattern};
use zerovent::buffer::CopyStats;

/// The largest file that is kept as bytes, and the largest that is kept in memory.
const TINY: usize = 8 << 10;
const SMALL: usize = 128 << 10;

#[test]
fn tiny_files_leave_as_bytes_small_ones_as_copies_and_large_ones_from_their_descriptors() {
    let root = tempfile::tempdir().unwrap();
    for size in [TINY, TINY + 1, SMALL, SMALL + 1] {
        fs::write(root.path().join(size.to_string()), pattern(size, 1)).unwrap();
    }
    // What was changed just now is copied.
    thread::sleep(Duration::from_millis(2100));
    // The end of an answer waits in memory while the file could still change: not so with a copy that cannot.
    let ways = [(TINY, TINY, 0), (TINY + 1, 0, TINY + 1), (SMALL, 0, SMALL), (SMALL + 1, 1, SMALL)];
    let of_files = [(TINY, TINY - 4096), (SMALL, SMALL - 4096)];
    let server = Running::start_files(root.path(), |files| files);
    for (size, referenced, by_sendfile) in ways {
        assert_eq!(moved_by_ten(&server, size), (10 * referenced, 10 * by_sendfile), "{size} bytes");
    }
    server.stop();
    // One server after the other, so that descriptors are not those of the other.
    let server = Running::start_files(root.path(), |files| files.cache_bytes_max(0));
    for (size, by_sendfile) in of_files {
        assert_eq!(moved_by_ten(&server, size), (10 * 4096, 10 * by_sendfile), "{size} bytes");
    }
    server.stop();
}

/// Bytes that leave by reference and by sendfile when the file of that size is got ten times; the heads alone are copied.
fn moved_by_ten(server: &Running, size: usize) -> (usize, usize) {
    let mut client = server.connect();
    client.get(&format!("/{size}"));
    let before = server.ask(|_| CopyStats::now());
    for _ in 0..10 {
        assert!(client.get(&format!("/{size}")).body == pattern(size, 1));
    }
    let moved = server.ask(move |_| CopyStats::now() - before);
    assert!(moved.copied < 10 * 2048, "{moved:?}");
    (moved.referenced as usize, moved.sendfile as usize)
}

#[test]
fn memory_is_bounded_by_bytes() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..50u64 {
        fs::write(root.path().join(format!("{number}")), pattern(5_000, number)).unwrap();
    }
    let server = Running::start_files(root.path(), |files| files.cache_bytes_max(15_000).cache_max(1000));
    let mut client = server.connect();
    let before = open_descriptors();
    for _ in 0..3 {
        for number in 0..50u64 {
            assert!(client.get(&format!("/{number}")).body == pattern(5_000, number));
        }
    }
    // The other tests of this file run beside this one and open a few of their own.
    assert!(open_descriptors() < before + 40, "what is in memory needs no descriptor");
}

#[test]
fn a_file_that_appears_is_served_at_once() {
    let root = tempfile::tempdir().unwrap();
    let server = Running::start_files(root.path(), |files| files.precompressed(true));
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").status, 404);
    fs::write(root.path().join("a.txt"), "now").unwrap();
    assert_eq!(client.get("/a.txt").text(), "now");
}

#[test]
fn a_change_in_place_is_seen_after_its_moment_even_within_one_tick() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.txt");
    let server = Running::start_files(root.path(), |files| files);
    let mut client = server.connect();
    for round in 0..20 {
        fs::write(&path, format!("old {round:02}")).unwrap();
        client.get("/a.txt");
        fs::write(&path, format!("new {round:02}")).unwrap();
    }
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(client.get("/a.txt").text(), "new 19");
    fs::remove_file(&path).unwrap();
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(client.get("/a.txt").status, 404);
}

#[test]
fn what_is_kept_in_memory_is_never_torn() {
    // Replaced, over and over: each answer is one state, with that state's length and tag. A state is a byte and
    // a length that belong together, so what is put together of two shows.
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.bin");
    let state = |fill: u8| vec![fill; 4000 + usize::from(fill)];
    fs::write(&path, state(1)).unwrap();
    let server = Running::start_files(root.path(), |files| files);
    let mut client = server.connect();
    let replacement = root.path().join("new");
    let began = Instant::now();
    let (mut fill, mut tags) = (1, std::collections::HashMap::new());
    while began.elapsed() < Duration::from_millis(2500) {
        fill = fill % 200 + 1;
        fs::write(&replacement, state(fill)).unwrap();
        fs::rename(&replacement, &path).unwrap();
        let response = client.get("/a.bin");
        assert!(response.body == state(response.body[0]), "{} bytes", response.body.len());
        let tag = response.field("ETag").unwrap().to_owned();
        assert_eq!(*tags.entry(tag).or_insert(response.body[0]), response.body[0], "a tag is of one state");
    }
    assert!(tags.len() > 1, "a new state was served in the end");
}

#[test]
fn cache_control_follows_the_path_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("assets/deep")).unwrap();
    for name in ["index.html", "assets/a.js", "assets/deep/b.png", "other.txt"] {
        fs::write(root.path().join(name), "x").unwrap();
    }
    let server = Running::start_files(root.path(), |files| {
        let files = files.cache_control("*.html", "no-cache").unwrap();
        files.cache_control("/assets/**", "public, max-age=31536000, immutable").unwrap()
    });
    let mut client = server.connect();
    let long = Some("public, max-age=31536000, immutable");
    let table = [
        ("/", Some("no-cache")),
        ("/index.html", Some("no-cache")),
        ("/assets/a.js", long),
        ("/assets/deep/b.png", long),
        ("/other.txt", None),
        ("/missing.html", None),
    ];
    for (target, value) in table {
        assert_eq!(client.get(target).field("Cache-Control"), value, "{target}");
        assert_eq!(client.request("HEAD", target, "").field("Cache-Control"), value, "{target}");
    }
}
