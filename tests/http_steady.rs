//! What a request costs once the server is warm, counted exactly: allocations, copies, and heap bytes an idle
//! connection.
#![cfg(feature = "http")]

mod support;

use std::fs;

use support::alloc::{self, Counting};
use support::http::{Client, Running};
use support::net::pattern;
use zerovent::buffer::CopyStats;
use zerovent::http::ServerOptions;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] = b"GET /file.bin HTTP/1.1\r\nHost: test\r\nUser-Agent: steady\r\n\r\n";

fn root_with(len: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file.bin"), pattern(len, 5)).unwrap();
    root
}

/// Asks for the file `rounds` times, and gives the length of the last head.
fn fetch(client: &mut Client, rounds: usize, len: u64) {
    for _ in 0..rounds {
        let head = client.send(REQUEST).head();
        assert_eq!((head.status, head.length), (200, len));
        assert!(client.digest(len, 64 << 10, || {}).is_some());
    }
}

#[test]
fn ten_thousand_requests_allocate_nothing() {
    const LEN: u64 = 16 << 10;
    let root = root_with(LEN as usize);
    // A file that was changed just now is read anew each second.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let server = Running::start(root.path(), ServerOptions::new());
    let mut client = server.connect();
    fetch(&mut client, 1000, LEN);
    // The second question finds everything warm that asking itself needs.
    server.ask(|_| alloc::allocations());
    let before = server.ask(|_| (alloc::allocations(), alloc::live_bytes()));
    fetch(&mut client, 10_000, LEN);
    let after = server.ask(|_| (alloc::allocations(), alloc::live_bytes()));
    // What the first answer's way out of the server's thread costs is counted by asking twice in a row.
    let again = server.ask(|_| alloc::allocations());
    let asking = again - after.0;
    assert_eq!(after.0 - before.0, asking, "allocations in 10,000 requests");
    assert!(asking <= 4, "asking costs {asking} allocations");
}

#[test]
fn a_body_is_never_copied() {
    const LEN: u64 = 1 << 20;
    const ROUNDS: u64 = 20;
    let root = root_with(LEN as usize);
    // A file that was changed just now may be changed again, and is copied.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let server = Running::start(root.path(), ServerOptions::new());
    let mut client = server.connect();
    fetch(&mut client, 1, LEN);
    let before = server.ask(|_| CopyStats::now());
    fetch(&mut client, ROUNDS as usize, LEN);
    let spent = server.ask(move |_| CopyStats::now() - before);
    // The last page waits in memory until the file turns out to be unchanged.
    assert_eq!(spent.sendfile, ROUNDS * (LEN - 4096));
    assert_eq!((spent.read, spent.mapped), (0, 0));
    // The heads are copied into the output, and that is all.
    assert_eq!(spent.copied, spent.sent - ROUNDS * 4096);
    assert!(spent.copied / ROUNDS < 300, "{spent:?}");
}

/// The budget of one idle connection, everything together.
const IDLE_BYTES_MAX: isize = 512;

#[test]
fn an_idle_connection_keeps_within_its_budget() {
    const CONNECTIONS: usize = 5000;
    let root = root_with(100);
    let server = Running::start(root.path(), ServerOptions::new());
    let mut first = server.connect();
    fetch(&mut first, 10, 100);
    let before = server.ask(|_| alloc::live_bytes());
    // Each has asked for something before it idles.
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
            std::io::Write::write_all(&mut stream, REQUEST).unwrap();
            let mut answer = [0; 1000];
            let mut len = 0;
            while !answer[..len].ends_with(&pattern(100, 5)) {
                len += std::io::Read::read(&mut stream, &mut answer[len..]).unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(server.connections(), CONNECTIONS + 1);
    let each = (server.ask(|_| alloc::live_bytes()) - before) / CONNECTIONS as isize;
    println!("{each} bytes of heap an idle connection of the server");
    assert!((100..=IDLE_BYTES_MAX).contains(&each), "{each} bytes an idle connection");
    drop(clients);
}
