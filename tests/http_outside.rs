//! Nothing outside the root is readable: not by any spelling, not through links, not while the tree is changed under the
//! server; with the kernel's `openat2`, and with the walk that stands in for it.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::http::{Client, Running};
use zerovent::http::{StaticFiles, Status};

const HIDDEN: &str = "what nobody may read";

/// Where a link of the tree leads; `$` is the directory that the root lies in.
const LINKS: [(&str, &str); 38] = [
    ("out", "../secret"),
    ("out-absolute", "$/secret"),
    ("up", ".."),
    ("upup", "../.."),
    ("slash", "/"),
    ("etc", "/etc"),
    ("sub/out", "../../secret"),
    ("sub/deep/out", "../../../secret"),
    ("chain", "chain-2"),
    ("chain-2", "sub/chain-3"),
    ("sub/chain-3", "../out"),
    ("loop", "loop"),
    ("loop-a", "loop-b"),
    ("loop-b", "loop-a"),
    ("dir", "../secrets"),
    ("dir-absolute", "$/secrets"),
    ("dir-chain", "sub/dir"),
    ("sub/dir", "../../secrets"),
    ("sub/deep/around", "../../../root-sibling"),
    ("out-and-in", "../root/a.txt"),
    ("absolute-in", "$/root/a.txt"),
    ("bad-index/index.html", "../../secret"),
    ("dangling-out", "../not-there"),
    ("sub/to-dir", "../dir"),
    ("sub/to-chain", "../chain"),
    ("long-way", "sub/deep/../../sub/deep/../../../secrets"),
    ("proc-root", "/proc/self/root"),
    ("proc-cwd", "/proc/self/cwd"),
    ("proc-exe", "/proc/self/exe"),
    ("proc-fd", "/proc/self/fd"),
    ("proc-environ", "/proc/self/environ"),
    ("fd", "/dev/fd"),
    ("null", "/dev/null"),
    ("zero", "/dev/zero"),
    ("tty", "/dev/tty"),
    ("a.txt.gz", "../secret"),
    ("missing.html", "../secret"),
    ("plain.txt.br", "/proc/self/environ"),
];

/// A root with files in it, secrets beside it, and links to those.
fn tree() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    for directory in ["root/sub/deep", "root/bad-index", "root/good", "secrets", "root-sibling"] {
        fs::create_dir_all(outside.path().join(directory)).unwrap();
    }
    for secret in ["secret", "secrets/secret", "secrets/index.html", "root-sibling/secret"] {
        fs::write(outside.path().join(secret), HIDDEN).unwrap();
    }
    for name in ["a.txt", "plain.txt", "sub/index.html", "sub/deep/b.txt", "good/index.html"] {
        fs::write(root.join(name), "public").unwrap();
    }
    for (name, target) in LINKS {
        symlink(target.replace('$', outside.path().to_str().unwrap()), root.join(name)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    outside
}

/// Targets as they stand in the table.
fn targets() -> Vec<Vec<u8>> {
    let table = include_str!("data/hostile_targets.txt");
    table.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).map(unescaped).collect()
}

fn unescaped(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line);
    while let Some((before, behind)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (byte, len) = match behind.strip_prefix('x') {
            Some(digits) => (u8::from_str_radix(&digits[..2], 16).unwrap(), 3),
            None => (b'\\', 1),
        };
        bytes.push(byte);
        rest = &behind[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn serve(root: &Path, walks: bool) -> Running {
    Running::start_files(root, move |files| {
        let files = files.listing(true).precompressed(true);
        let files = files.error_page(Status::NotFound, "/missing.html").unwrap();
        if walks { files.without_openat2() } else { files }
    })
}

fn ask(client: &mut Client, method: &str, target: &[u8]) -> (u16, Vec<u8>) {
    let fields = " HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\n\r\n";
    client.send([method.as_bytes(), b" ", target, fields.as_bytes()].concat());
    let response = if method == "HEAD" { client.head_response() } else { client.response() };
    (response.status, response.body)
}

fn shows(body: &[u8], what: &str) -> bool {
    body.windows(what.len()).any(|window| window == what.as_bytes())
}

#[test]
fn no_spelling_and_no_link_leads_out_of_the_root() {
    let tree = tree();
    let targets = targets();
    assert!(targets.len() >= 200, "{} targets", targets.len());
    for walks in [false, true] {
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("root/socket")).unwrap();
        let server = serve(&tree.path().join("root"), walks);
        for target in &targets {
            let name = target.escape_ascii();
            for method in ["GET", "HEAD", "OPTIONS"] {
                let (status, body) = ask(&mut server.connect(), method, target);
                let is_about_all = method == "OPTIONS" && target == b"*";
                let is_refused = [400, 403, 404].contains(&status) || (is_about_all && status == 204);
                assert!(is_refused, "{method} {name} (walks: {walks}): {status}");
                for what in [HIDDEN, "root:x:", "[package]", "PATH="] {
                    assert!(!shows(&body, what), "{method} {name} (walks: {walks}) shows {what}");
                }
            }
        }
        fs::remove_file(tree.path().join("root/socket")).unwrap();
    }
}

#[test]
fn what_is_inside_is_readable_either_way_and_shows_nothing_of_what_is_not() {
    let tree = tree();
    for walks in [false, true] {
        let server = serve(&tree.path().join("root"), walks);
        let mut client = server.connect();
        for target in
            ["/a.txt", "/plain.txt", "/sub/", "/sub/deep/b.txt", "/good/", "/%61.txt", "http://host/a.txt"]
        {
            assert_eq!(ask(&mut client, "GET", target.as_bytes()), (200, b"public".to_vec()), "{target}");
        }
        let (status, page) = ask(&mut client, "GET", b"/");
        assert_eq!(status, 200);
        for (name, _) in LINKS.iter().filter(|(name, _)| !name.contains('/')) {
            assert!(!shows(&page, &format!("\"{name}\"")), "{name} is listed (walks: {walks})");
        }
    }
}

/// How many files a directory has that is swapped for a link: enough for the cache never to know the one that is asked for.
const FILES: usize = 50;

/// A root in which `top/one` and `whole` are directories, each beside a link to another, whose files have the same names.
fn swapping_tree() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    for (directory, content) in [
        ("root/top/one", "public"),
        ("root/whole/one", "public"),
        ("secrets", HIDDEN),
        ("secrets/one", HIDDEN),
    ] {
        let directory = outside.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        (0..FILES).for_each(|number| fs::write(directory.join(format!("{number}")), content).unwrap());
    }
    symlink("../../secrets", outside.path().join("root/top/link")).unwrap();
    symlink("../secrets", outside.path().join("root/whole-link")).unwrap();
    // What was written just now would be waited for, and then kept.
    thread::sleep(Duration::from_millis(50));
    outside
}

/// Exchanges `name` in `directory` for `other` and back until it is told to stop.
fn swap(directory: &Path, name: &str, other: &str, stop: &AtomicBool) {
    let rename = |from: &str, to: &str| fs::rename(directory.join(from), directory.join(to)).unwrap();
    while !stop.load(Ordering::Relaxed) {
        rename(name, "aside");
        rename(other, name);
        thread::yield_now();
        rename(name, other);
        rename("aside", name);
        thread::yield_now();
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_during_ten_thousand_requests_never_leads_out() {
    const REQUESTS: usize = 10_000;
    for walks in [false, true] {
        let tree = swapping_tree();
        let root = tree.path().join("root");
        let configure = move |files: StaticFiles| {
            let files = files.cache_max(1).cache_bytes_max(0);
            if walks { files.without_openat2() } else { files }
        };
        let server = Running::start_files(&root, configure);
        let stop = AtomicBool::new(false);
        let counts = thread::scope(|scope| {
            scope.spawn(|| swap(&root.join("top"), "one", "link", &stop));
            scope.spawn(|| swap(&root, "whole", "whole-link", &stop));
            let asking = || {
                let mut client = server.connect();
                let mut counts = [0; 2];
                for round in 0..REQUESTS / 4 {
                    let (status, body) = ask(
                        &mut client,
                        "GET",
                        format!("/{}/one/{}", ["top", "whole"][round % 2], round % FILES).as_bytes(),
                    );
                    assert!(!shows(&body, HIDDEN) && [200, 403, 404].contains(&status), "{status}");
                    assert!(status != 200 || body == b"public");
                    counts[usize::from(status == 200)] += 1;
                }
                counts
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(asking)).collect();
            let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
            stop.store(true, Ordering::Relaxed);
            let counts: Vec<_> = results.into_iter().map(|result| result.unwrap()).collect();
            counts.into_iter().fold([0; 2], |sum, each| [sum[0] + each[0], sum[1] + each[1]])
        });
        println!("walks: {walks}: {} refused, {} answered", counts[0], counts[1]);
        assert!(counts.iter().all(|&count| count > 0), "both kinds of moment were met: {counts:?}");
    }
}
