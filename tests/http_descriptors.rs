//! The great fetch, and what is left of it: every byte of every file arrives, however fast, slow or faithless
//! the clients are, and afterwards the process has as many descriptors open as before.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use support::http::{Client, Running, sha256};
use support::net::{open_descriptors, pattern};
use zerovent::http::ServerOptions;

/// Descriptors are counted for the whole process, so these tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const FILES: usize = 300;
const CONNECTIONS: usize = 50;

/// From nothing to 64 MiB: many small ones, every power of two and its neighbours, and a few that no socket
/// holds.
fn size_of_file(number: usize) -> usize {
    match number {
        0..=4 => [0, 1, 64 << 20, 16 << 20, 5_000_001][number],
        5..=119 => {
            let power = 1usize << ((number - 5) / 6 + 2);
            (power + number % 3).saturating_sub(1)
        }
        _ => (number * 7919) % 60_000,
    }
}

struct Corpus {
    root: tempfile::TempDir,
    files: Vec<(String, u64, [u8; 32])>,
}

fn corpus() -> Corpus {
    let root = tempfile::tempdir().unwrap();
    let files = (0..FILES).map(|number| {
        let bytes = pattern(size_of_file(number), number as u64 + 1);
        let name = format!("{number}.bin");
        fs::write(root.path().join(&name), &bytes).unwrap();
        (format!("/{name}"), bytes.len() as u64, sha256(&bytes))
    });
    let files = files.collect();
    Corpus { root, files }
}

impl Corpus {
    /// Which files a connection fetches: all of them between all connections, and some twice.
    fn share(&self, connection: usize) -> impl Iterator<Item = &(String, u64, [u8; 32])> {
        self.files.iter().skip(connection % CONNECTIONS).step_by(CONNECTIONS / 2)
    }
}

/// One request after the other, reading as fast as it goes.
fn fetch_in_turn(corpus: &Corpus, connection: usize, client: &mut Client) -> usize {
    corpus.share(connection).map(|file| check(client.send_get(&file.0, ""), file, 64 << 10, || {})).count()
}

/// All requests at once.
fn fetch_pipelined(corpus: &Corpus, connection: usize, client: &mut Client) -> usize {
    let requests = corpus.share(connection).map(|file| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", file.0));
    client.send(requests.collect::<String>());
    corpus.share(connection).map(|file| check(client, file, 64 << 10, || {})).count()
}

/// In small bites with rests between, so that the server's socket is full most of the time.
fn fetch_slowly(corpus: &Corpus, connection: usize, client: &mut Client) -> usize {
    let slowly = corpus.share(connection).filter(|file| file.1 < 3_000_000);
    slowly
        .map(|file| {
            let mut bites = 0;
            check(client.send_get(&file.0, ""), file, 4096, || {
                bites += 1;
                if bites % 16 == 0 {
                    thread::sleep(Duration::from_micros(500));
                }
            });
        })
        .count()
}

/// Asks for a large file on a connection of its own, and goes when it has seen a part of it.
fn leave_in_the_middle(corpus: &Corpus, connection: usize, server: &Running) {
    let mut client = server.connect();
    let (target, length, _) = &corpus.files[2 + connection % 3];
    client.send_get(target, "").head();
    assert!(client.digest(length / 50, 64 << 10, || {}).is_some());
}

fn check(client: &mut Client, file: &(String, u64, [u8; 32]), step: usize, pause: impl FnMut()) {
    let head = client.head();
    assert_eq!((head.status, head.length), (200, file.1), "{}", file.0);
    assert_eq!(client.digest(head.length, step, pause), Some(file.2), "{}", file.0);
}

#[test]
fn every_body_arrives_whole_and_no_descriptor_stays() {
    let _alone = alone();
    let corpus = Arc::new(corpus());
    let before = open_descriptors();
    let server = Arc::new(Running::start(corpus.root.path(), ServerOptions::new()));
    let fetched = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (corpus, server, fetched) = (Arc::clone(&corpus), Arc::clone(&server), Arc::clone(&fetched));
            thread::spawn(move || {
                let mut client = server.connect();
                let count = match connection % 4 {
                    0 => fetch_pipelined(&corpus, connection, &mut client),
                    1 => fetch_slowly(&corpus, connection, &mut client),
                    _ => fetch_in_turn(&corpus, connection, &mut client),
                };
                fetched.fetch_add(count, Ordering::Relaxed);
                leave_in_the_middle(&corpus, connection, &server);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    // Every file is in two shares, and at most one of the two is a slow reader's, who leaves out the largest.
    assert!(fetched.load(Ordering::Relaxed) >= FILES + FILES / 2, "{fetched:?}");
    Arc::into_inner(server).expect("the clients are gone").stop();
    assert_eq!(open_descriptors(), before);
}

#[test]
fn files_that_nobody_asks_for_any_more_are_closed_with_the_server() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    for number in 0..400 {
        // Larger than what is kept in memory.
        fs::write(root.path().join(format!("{number}")), [0; 129 << 10]).unwrap();
    }
    let before = open_descriptors();
    let server = Running::start(root.path(), ServerOptions::new());
    let mut client = server.connect();
    for number in 0..400 {
        assert_eq!(client.get(&format!("/{number}")).status, 200);
    }
    // The cache holds 256 at most; a base, a listener, the root, a spare and both ends of the connection come
    // on top.
    let open = open_descriptors() - before;
    assert!((200..=256 + 16).contains(&open), "{open} descriptors");
    drop(client);
    server.stop();
    assert_eq!(open_descriptors(), before);
}
