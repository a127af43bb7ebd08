//! Request streams as an open network sends them: each gets the right status, or is closed, and good connections
//! beside them notice nothing. And the corpus of the fuzz target `request`, replayed.
#![cfg(feature = "http")]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::http::{Client, Running};
use zerovent::http::{Response, Routes, ServerOptions, Status, exercise_connection};

/// What a stream deserves.
#[derive(Debug, Clone, Copy)]
enum Deserves {
    /// This status, and then the end.
    Only(u16),
    /// An answer to a first good request, then this status, and then the end.
    AfterGood(u16),
    /// The end, without a word.
    Silence,
}

use Deserves::{AfterGood, Only, Silence};

const OPTIONS_TIMEOUT: Duration = Duration::from_millis(300);

fn server() -> Running {
    let options = ServerOptions::new()
        .head_max(4096)
        .body_max(10_000)
        .header_timeout(OPTIONS_TIMEOUT)
        .body_timeout(OPTIONS_TIMEOUT)
        .idle_timeout(Duration::from_secs(20));
    Running::serve(options, || {
        Routes::new()
            .route("POST", "/", |_, mut request, responder| {
                let mut response = Response::new(Status::Ok);
                response.body().add_buffer(request.body()).unwrap();
                responder.answer(response).unwrap();
            })
            .route("GET", "/good", |_, _, responder| {
                responder.answer(Response::text(Status::Ok, "good").unwrap()).unwrap();
            })
    })
}

/// A POST with these fields and this body.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").into_bytes()
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const GOOD: &str = "GET /good HTTP/1.1\r\nHost: x\r\n\r\n";
const SMUGGLED: &str = "GET /good HTTP/1.1\r\nHost: smuggled\r\n\r\n";

/// Requests that two servers in a row could cut apart in different places.
fn smuggling() -> Vec<(Vec<u8>, Deserves)> {
    let both = |fields: &str| post(fields, &format!("0\r\n\r\n{SMUGGLED}"));
    vec![
        (both("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), Only(400)),
        (both("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), Only(400)),
        (both("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), Only(400)),
        (both("Content-Length: 5\r\nContent-Length: 5\r\n"), Only(400)),
        (both("Content-Length: 5\r\nContent-Length: 6\r\n"), Only(400)),
        (both("Content-Length: 5, 5\r\n"), Only(400)),
        (both("Content-Length: +5\r\n"), Only(400)),
        (both("Content-Length: 0x5\r\n"), Only(400)),
        (both("Content-Length: 5 5\r\n"), Only(400)),
        (both("Content-Length:\r\n"), Only(400)),
        (both("Content-Length : 5\r\n"), Only(400)),
        (both("Transfer-Encoding : chunked\r\n"), Only(400)),
        (both("Transfer-Encoding: gzip\r\n"), Only(400)),
        (both("Transfer-Encoding: chunked, gzip\r\n"), Only(400)),
        (both("Transfer-Encoding: chunked, chunked\r\n"), Only(400)),
        (both("Transfer-Encoding: gzip, chunked\r\n"), Only(501)),
        (both("Transfer-Encoding: xchunked\r\n"), Only(400)),
        (both("Transfer-Encoding:\r\n chunked\r\n"), Only(400)),
        (both("X: 1\r\n\tTransfer-Encoding: chunked\r\n"), Only(400)),
        (both("X: 1\rTransfer-Encoding: chunked\r\n"), Only(400)),
        (both("X: \0\r\n"), Only(400)),
        (raw("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Only(400)),
    ]
}

/// Chunks that are none.
fn bad_chunks() -> Vec<(Vec<u8>, Deserves)> {
    let bodies = [
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        " 1\r\na\r\n",
        "0x1\r\na\r\n",
        "\r\n",
        "1\na\r\n",
        "1;a\nb\r\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nTrailer: x\n\r\n",
        "1\rx",
    ];
    let bad = bodies.iter().map(|body| (post(CHUNKED, &format!("{body}{SMUGGLED}")), Only(400)));
    let long = [
        (post(CHUNKED, "2711\r\n"), Only(413)),
        (post(CHUNKED, "fffffffffffffffff\r\n"), Only(413)),
        (post(CHUNKED, &format!("1;{}", "x".repeat(5000))), Only(413)),
        (post(CHUNKED, &format!("0\r\n{}", "T: x\r\n".repeat(1000))), Only(413)),
        (post("Content-Length: 10001\r\n", ""), Only(413)),
    ];
    bad.chain(long).collect()
}

/// Heads that are none, too long, or never whole.
fn bad_heads() -> Vec<(Vec<u8>, Deserves)> {
    let binary: Vec<u8> = (0..2000u32).map(|number| (number * 7 % 256) as u8).collect();
    vec![
        (binary, Only(400)),
        (raw("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03"), Only(400)),
        (raw("GET /good HTTP/1.1\r\n\r\n"), Only(400)),
        (raw("GET /good HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Only(400)),
        (raw("GET /good HTTP/3.0\r\nHost: x\r\n\r\n"), Only(505)),
        (raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Only(505)),
        (raw(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5000))), Only(431)),
        (raw(&format!("GET /good HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(101))), Only(431)),
        (post("Expect: a-miracle\r\n", ""), Only(417)),
        (raw("GET /good HTTP/1.1\r\nHost: x\r\nX: "), Only(408)),
        (post("Content-Length: 5\r\n", "1234"), Only(408)),
        (post(CHUNKED, "5\r\n1234"), Only(408)),
        (raw(&format!("{GOOD}garbage\r\n\r\n")), AfterGood(400)),
        (raw(&format!("{GOOD}GET /good HTTP/1.1\r\nHost: x\r\nX")), AfterGood(408)),
        (raw(&format!("{GOOD}POST / HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\nz\r\n{SMUGGLED}")), AfterGood(400)),
        (raw(""), Silence),
    ]
}

fn hostile() -> Vec<(Vec<u8>, Deserves)> {
    [smuggling(), bad_chunks(), bad_heads()].concat()
}

/// Sends a stream in pieces, as far as the server takes it.
fn send(server: &Running, bytes: &[u8], step: usize) -> Client {
    let client = server.connect();
    let _ = bytes.chunks(step.max(1)).try_for_each(|piece| client.stream().write_all(piece));
    client
}

fn judge(client: &mut Client, deserves: Deserves, what: &str) {
    let status = match deserves {
        Silence => return assert!(client.is_closed(), "{what}"),
        Only(status) => status,
        AfterGood(status) => {
            assert_eq!(client.response().text(), "good", "{what}");
            status
        }
    };
    let response = client.response();
    assert!(response.status == status && response.closes(), "{what}: {response:?}");
    assert!(client.is_closed(), "{what}: something follows");
}

/// Good clients that go on asking until they are told to stop.
fn good_clients(
    server: &Running,
    stop: &'static AtomicBool,
    asked: &'static AtomicUsize,
) -> Vec<thread::JoinHandle<()>> {
    let ask_on = |mut client: Client| {
        move || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(client.get("/good").text(), "good");
                client.send(post("Content-Length: 5\r\n", "hello"));
                assert_eq!(client.response().text(), "hello");
                asked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        }
    };
    (0..20).map(|_| thread::spawn(ask_on(server.connect()))).collect()
}

#[test]
fn hostile_streams_get_what_they_deserve_and_good_connections_notice_nothing() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let server = server();
    let good = good_clients(&server, &STOP, &ASKED);
    let streams = hostile();
    assert!(streams.len() >= 50, "{} streams", streams.len());
    // All of them at once, then each a byte at a time.
    let mut clients: Vec<Client> =
        streams.iter().map(|(bytes, _)| send(&server, bytes, bytes.len())).collect();
    for ((bytes, deserves), client) in streams.iter().zip(&mut clients) {
        judge(client, *deserves, &String::from_utf8_lossy(bytes));
    }
    for (bytes, deserves) in streams.iter().filter(|(bytes, _)| bytes.len() < 300) {
        let mut client = send(&server, bytes, 1);
        judge(&mut client, *deserves, &String::from_utf8_lossy(bytes));
    }
    STOP.store(true, Ordering::Relaxed);
    good.into_iter().for_each(|client| client.join().unwrap());
    assert!(ASKED.load(Ordering::Relaxed) >= 20);
    assert_eq!(server.connect().get("/good").text(), "good");
}

#[test]
fn the_corpus_of_requests_is_replayed() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request");
    let files = std::fs::read_dir(corpus).expect("the corpus is part of the tree");
    let count =
        files.map(|entry| exercise_connection(&std::fs::read(entry.unwrap().path()).unwrap())).count();
    assert!(count >= 8, "the corpus of request holds {count} files");
}

#[test]
fn every_hostile_stream_is_answered_alike_however_it_is_cut() {
    for (stream, _) in hostile() {
        for cut in [0, 1, 6, 30] {
            for delay in [0, 1, 3] {
                exercise_connection(&[&[cut, delay], &stream[..]].concat());
            }
        }
    }
}
