//! Request streams as an open network sends them: each gets the right status, or is closed, and good connections
//! beside them notice nothing. And the corpus of the fuzz target `request`, replayed.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::http::{Client, Running};
use support::net::pattern;
use zerovent::http::{Response, Routes, ServerOptions, StaticFiles, Status, exercise_connection};

/// What a stream deserves.
#[derive(Debug, Clone, Copy)]
enum Deserves {
    /// This status, and then the end.
    Only(u16),
    /// An answer to a first good request, then this status, and then the end.
    AfterGood(u16),
    /// The end, without a word.
    Silence,
    /// This status, and then answers to further good requests: it is odd, but not dangerous.
    GoesOn(u16),
}

use Deserves::{AfterGood, GoesOn, Only, Silence};

const OPTIONS_TIMEOUT: Duration = Duration::from_millis(300);

/// What the file `/file.bin` holds: more than is kept in memory.
fn file() -> Vec<u8> {
    pattern(200_000, 9)
}

fn server(root: &Path) -> Running {
    fs::write(root.join("file.bin"), file()).unwrap();
    let root = root.to_owned();
    let options = ServerOptions::new()
        .head_max(4096)
        .body_max(10_000)
        .header_timeout(OPTIONS_TIMEOUT)
        .body_timeout(OPTIONS_TIMEOUT)
        .idle_timeout(Duration::from_secs(20));
    Running::serve(options, move || {
        Routes::new()
            .files(StaticFiles::new(root).unwrap())
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

/// What asks for more than there is, or for it in odd ways.
fn absurd() -> Vec<(Vec<u8>, Deserves)> {
    let range = |value: &str| raw(&format!("GET /file.bin HTTP/1.1\r\nHost: x\r\nRange: {value}\r\n\r\n"));
    let many: Vec<String> = (0..300).map(|number| format!("{number}-{number}")).collect();
    let get = |fields: &str| raw(&format!("GET /good HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    let line = |line: &str| raw(&format!("{line}\r\nHost: x\r\n\r\n"));
    vec![
        (range("bytes=200000-"), GoesOn(416)),
        (range("bytes=-0"), GoesOn(416)),
        (range("bytes=99999999999999999999-"), GoesOn(416)),
        (range("bytes=0-99999999999999999999999999"), GoesOn(206)),
        (range("bytes=-99999999999999999999999999"), GoesOn(206)),
        (range("bytes=5-2"), GoesOn(200)),
        (range("bytes=--1"), GoesOn(200)),
        (range("bytes=0-0x10"), GoesOn(200)),
        (range("bytes="), GoesOn(200)),
        (range("bytes=,,,,,"), GoesOn(200)),
        (range("lines=1-2"), GoesOn(200)),
        (range(&format!("bytes={}", many.join(","))), GoesOn(200)),
        (range(&format!("bytes={}", ["0-"; 16].join(","))), GoesOn(206)),
        (get(&"If-None-Match: \"a\"\r\n".repeat(90)), GoesOn(200)),
        (get(&format!("Accept-Encoding: {}\r\n", "gzip;q=0.1,".repeat(300))), GoesOn(200)),
        (get("If-Modified-Since: Sat, 99 Foo 99999 99:99:99 GMT\r\n"), GoesOn(200)),
        (get("Content-Length: 0\r\n"), GoesOn(200)),
        (get("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"), GoesOn(200)),
        (line("TRACE /file.bin HTTP/1.1"), GoesOn(405)),
        (line("get /file.bin HTTP/1.1"), GoesOn(405)),
        (line("CONNECT x:443 HTTP/1.1"), GoesOn(405)),
        (line(&format!("{} /file.bin HTTP/1.1", "A".repeat(3000))), GoesOn(405)),
        (line("GET /../../etc/passwd HTTP/1.1"), GoesOn(403)),
        (line("GET /file.bin%00 HTTP/1.1"), GoesOn(400)),
        (line(&format!("GET /{} HTTP/1.1", "%41".repeat(1000))), GoesOn(404)),
        (line(&format!("GET /{} HTTP/1.1", "a/".repeat(1900))), GoesOn(404)),
        (line("GE\tT /good HTTP/1.1"), Only(400)),
        (line("GET\t/good\tHTTP/1.1"), Only(400)),
        (line("GET /good"), Only(400)),
        (line("GET /good HTTP/0.9"), Only(505)),
        (post("Content-Length: 18446744073709551617\r\n", "x"), Only(413)),
        (post("Content-Length: -5\r\n", "hello"), Only(400)),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), Only(400)),
        (post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), Only(400)),
        (raw(&"\r\n".repeat(3000)), Only(431)),
        (raw(&format!("GET /good HTTP/1.1\r\nHost: x\r\n{}", "A:\r\n".repeat(2000))), Only(431)),
        (raw(&format!("GET /good HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(6000))), Only(431)),
        (raw(&format!("GET /good HTTP/1.1\r\nHost: {}\r\n\r\n", "h@".repeat(100))), Only(400)),
    ]
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
    [smuggling(), bad_chunks(), bad_heads(), absurd()].concat()
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
        GoesOn(status) => {
            assert_eq!(client.response().status, status, "{what}");
            return assert_eq!(client.get("/good").text(), "good", "{what}");
        }
        AfterGood(status) => {
            assert_eq!(client.response().text(), "good", "{what}");
            status
        }
    };
    let response = client.response();
    assert!(response.status == status && response.closes(), "{what}: {response:?}");
    assert!(client.is_closed(), "{what}: something follows");
}

/// How many good connections there are, and how many threads take turns on them.
const GOOD_CONNECTIONS: usize = 200;
const GOOD_THREADS: usize = 8;

/// Goes round a share of the good connections until told to stop, and gives how many times and the longest wait for an
/// answer.
fn ask_on(server: &Running, stop: &AtomicBool) -> (usize, Duration) {
    let expected = file();
    // A connection on which nothing comes is closed soon, so each asks at once.
    let connect = |_| {
        let mut client = server.connect();
        assert_eq!(client.get("/good").text(), "good");
        client
    };
    let mut clients: Vec<Client> = (0..GOOD_CONNECTIONS / GOOD_THREADS).map(connect).collect();
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) || rounds == 0 {
        for (number, client) in clients.iter_mut().enumerate() {
            let began = Instant::now();
            match (number + rounds) % 4 {
                0 => assert!(client.get("/file.bin").body == expected),
                1 => {
                    let part = client.get_with("/file.bin", "Range: bytes=1000-150000\r\n");
                    assert!(part.status == 206 && part.body == expected[1000..=150_000]);
                }
                2 => assert_eq!(client.get("/good").text(), "good"),
                _ => {
                    client.send(post("Content-Length: 5\r\n", "hello"));
                    assert_eq!(client.response().text(), "hello");
                }
            }
            longest = longest.max(began.elapsed());
        }
        rounds += 1;
        thread::sleep(Duration::from_millis(5));
    }
    (rounds, longest)
}

/// Those who come and go while the streams are judged: some ask a lot and read nothing, some leave in the middle.
fn pester(server: &Running, stop: &AtomicBool) {
    let mut silent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let client = server.connect();
        // What is not taken any more is not sent: the server stops reading, which is what it should do.
        client.stream().set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        let flood = "GET /file.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
        let _ = client.stream().write_all(flood.as_bytes());
        silent.push(client);
        let leaving = server.connect();
        let _ = leaving.stream().write_all(&post("Content-Length: 9000\r\n", "and away"));
        let reset = socket2::SockRef::from(leaving.stream()).set_linger(Some(Duration::ZERO));
        assert!(reset.is_ok());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn hostile_streams_get_what_they_deserve_and_good_connections_notice_nothing() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let streams = hostile();
    assert!(streams.len() >= 90, "{} streams", streams.len());
    let stop = AtomicBool::new(false);
    let (rounds, longest) = thread::scope(|scope| {
        let good: Vec<_> = (0..GOOD_THREADS).map(|_| scope.spawn(|| ask_on(&server, &stop))).collect();
        scope.spawn(|| pester(&server, &stop));
        // Stopped whatever happens, so that what has failed is told.
        let judged = catch_unwind(AssertUnwindSafe(|| judge_all(&server, &streams)));
        stop.store(true, Ordering::Relaxed);
        let ends: Vec<_> = good.into_iter().map(thread::ScopedJoinHandle::join).collect();
        judged.unwrap_or_else(|panic| resume_unwind(panic));
        let ends = ends.into_iter().map(|end| end.expect("good clients have nothing to complain of"));
        ends.fold((usize::MAX, Duration::ZERO), |(least, most), (rounds, longest)| {
            (least.min(rounds), most.max(longest))
        })
    });
    println!(
        "{} streams; {rounds} rounds of {GOOD_CONNECTIONS} good connections, {longest:?} at most",
        streams.len()
    );
    assert!(rounds >= 2 && longest < Duration::from_secs(8), "{rounds} rounds, {longest:?}");
    assert_eq!(server.connect().get("/good").text(), "good");
}

/// All of them at once, then each a byte at a time.
fn judge_all(server: &Running, streams: &[(Vec<u8>, Deserves)]) {
    let mut clients: Vec<Client> =
        streams.iter().map(|(bytes, _)| send(server, bytes, bytes.len())).collect();
    for ((bytes, deserves), client) in streams.iter().zip(&mut clients) {
        judge(client, *deserves, &String::from_utf8_lossy(bytes));
    }
    for (bytes, deserves) in streams.iter().filter(|(bytes, _)| bytes.len() < 300) {
        let mut client = send(server, bytes, 1);
        judge(&mut client, *deserves, &String::from_utf8_lossy(bytes));
    }
}

#[test]
fn the_corpus_of_requests_is_replayed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request");
    let files = fs::read_dir(corpus).expect("the corpus is part of the tree");
    let count = files.map(|entry| exercise_connection(&fs::read(entry.unwrap().path()).unwrap())).count();
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
