//! What the server answers, through real sockets: every status, every rule of persistence, and the clients
//! that a server on an open network gets to see.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use support::http::{Client, Running};
use support::net::pattern;
use zerovent::http::{ServerOptions, Status};

/// A directory with files, and a secret beside it that no request may reach.
fn tree() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(root.join("a.txt"), "0123456789").unwrap();
    fs::write(root.join("with space.html"), "<p>space").unwrap();
    fs::write(root.join("empty.bin"), "").unwrap();
    fs::write(root.join("sub/index.html"), "<p>index").unwrap();
    fs::write(root.join("big.bin"), pattern(300_000, 7)).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("a.txt", root.join("in")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    outside
}

fn serve(outside: &tempfile::TempDir, options: ServerOptions) -> Running {
    Running::start(&outside.path().join("root"), options)
}

fn serve_default() -> (tempfile::TempDir, Running) {
    let outside = tree();
    let server = serve(&outside, ServerOptions::new());
    (outside, server)
}

const SOON: Duration = Duration::from_millis(150);

#[test]
fn files_are_served_with_their_fields() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    let table = [
        ("/a.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/a.txt?query=1", "0123456789", "text/plain; charset=utf-8"),
        ("/%61.txt", "0123456789", "text/plain; charset=utf-8"),
        ("http://anything/a.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/with%20space.html", "<p>space", "text/html; charset=utf-8"),
        ("/empty.bin", "", "application/octet-stream"),
        ("/in", "0123456789", "application/octet-stream"),
        ("/sub/", "<p>index", "text/html; charset=utf-8"),
    ];
    for (target, body, content_type) in table {
        let response = client.get(target);
        assert_eq!((response.status, response.text()), (200, body), "{target}");
        assert_eq!(response.field("Content-Type"), Some(content_type), "{target}");
        assert_eq!(response.field("Accept-Ranges"), Some("bytes"), "{target}");
        for date in ["Date", "Last-Modified"] {
            let value = response.field(date).expect("a date");
            assert!(httpdate_like(value), "{target}: {date}: {value}");
        }
        assert_eq!(response.field("Connection"), None, "{target}");
    }
}

fn httpdate_like(value: &str) -> bool {
    value.len() == 29 && value.ends_with(" GMT") && value.as_bytes()[3] == b','
}

#[test]
fn a_large_body_arrives_whole() {
    let (_tree, server) = serve_default();
    assert!(server.connect().get("/big.bin").body == pattern(300_000, 7));
}

#[test]
fn nothing_outside_the_root_is_readable() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    let table = [
        ("/..", 403),
        ("/../secret", 403),
        ("/../../../../../../etc/passwd", 403),
        ("/%2e%2e/secret", 403),
        ("/%2E%2E/%2E%2E/etc/passwd", 403),
        ("/.%2e/secret", 403),
        ("/sub/../../secret", 403),
        ("/sub/%2e%2e/%2e%2e/secret", 403),
        ("//../secret", 403),
        ("http://host/../secret", 403),
        ("/out", 403),
        ("/slash", 403),
        ("/slash/etc/passwd", 403),
        ("/sub/empty/", 403),
        ("/", 403),
        ("//etc/passwd", 404),
        ("/./a.txt", 404),
        ("/sub//index.html", 404),
        ("/%2fetc/passwd", 404),
        ("/..%2fsecret", 404),
        ("/..%5csecret", 404),
        ("/..\\secret", 404),
        ("/%252e%252e/secret", 404),
        ("/..;/secret", 404),
        ("/%c0%ae%c0%ae/secret", 404),
        ("/a.txt/", 404),
        ("/a.txt/../a.txt", 403),
        ("/missing", 404),
        ("/a.txt%00", 400),
        ("/a.txt%00.html", 400),
        ("/%", 400),
        ("/%zz", 400),
        ("secret", 400),
        ("*", 400),
        ("file:///etc/passwd", 400),
    ];
    for (target, status) in table {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}");
        assert!(!response.text().contains("secret"), "{target}");
    }
    assert_eq!(client.get(&format!("/{}", "a/".repeat(3000))).status, 404);
}

#[test]
fn head_is_get_without_the_body() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    for (target, status) in [("/a.txt", 200), ("/missing", 404), ("/big.bin", 200)] {
        let got = client.get(target);
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let head = client.head_response();
        assert_eq!((head.status, got.status), (status, status));
        for name in ["Content-Length", "Content-Type", "Last-Modified"] {
            assert_eq!(head.field(name), got.field(name), "{target}: {name}");
        }
    }
}

#[test]
fn ranges() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    let table = [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=3-99", 206, "3456789", "bytes 3-9/10"),
        ("bytes=0-0,1-1", 206, "01", "bytes 0-1/10"),
        ("lines=1-2", 200, "0123456789", ""),
    ];
    for (range, status, body, content_range) in table {
        let response = client.get_with("/a.txt", &format!("Range: {range}\r\n"));
        assert_eq!((response.status, response.text()), (status, body), "{range}");
        assert_eq!(response.field("Content-Range").unwrap_or_default(), content_range, "{range}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let response = client.get_with("/a.txt", &format!("Range: {range}\r\n"));
        assert_eq!((response.status, response.field("Content-Range")), (416, Some("bytes */10")), "{range}");
    }
    let middle = client.get_with("/big.bin", "Range: bytes=100000-199999\r\n");
    assert!(middle.body == pattern(300_000, 7)[100_000..200_000]);
}

#[test]
fn conditional_requests() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    let modified = client.get("/a.txt").field("Last-Modified").unwrap().to_owned();
    let unmodified = client.get_with("/a.txt", &format!("If-Modified-Since: {modified}\r\n"));
    assert_eq!((unmodified.status, unmodified.body.len()), (304, 0));
    assert_eq!(unmodified.field("Content-Length"), None);
    let table = [
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
        "If-Modified-Since: whenever\r\n".to_owned(),
        format!("If-None-Match: \"tag\"\r\nIf-Modified-Since: {modified}\r\n"),
        "Range: bytes=0-1\r\nIf-Range: \"tag\"\r\n".to_owned(),
    ];
    for fields in table {
        assert_eq!(client.get_with("/a.txt", &fields).status, 200, "{fields}");
    }
    // A date proves that a file is the same to the byte once the file has been left alone for a while.
    std::thread::sleep(Duration::from_millis(2100));
    let same = format!("Range: bytes=0-1\r\nIf-Range: {modified}\r\n");
    assert_eq!(client.get_with("/a.txt", &same).status, 206);
}

#[test]
fn other_methods_are_refused_and_the_connection_goes_on() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    for method in ["POST", "PUT", "DELETE", "TRACE", "CONNECT", "get", "X-OWN"] {
        client.send(format!("{method} /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"));
        let response = client.response();
        assert_eq!((response.status, response.field("Allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
    }
    assert_eq!(client.get("/a.txt").status, 200);
}

#[test]
fn persistence_is_what_version_and_field_say() {
    let (_tree, server) = serve_default();
    let table = [
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
        ("GET /a.txt HTTP/1.0\r\n\r\n", false),
        ("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET /missing HTTP/1.1\r\nHost: x\r\n\r\n", true),
    ];
    for (request, persists) in table {
        let mut client = server.connect();
        let response = client.send(request).response();
        assert_eq!(response.closes(), !persists, "{request}");
        if persists {
            assert_eq!(client.get("/a.txt").status, 200, "{request}");
        } else {
            assert!(client.is_closed(), "{request}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    let targets = ["/a.txt", "/missing", "/sub/", "/big.bin", "/empty.bin"];
    let round: String =
        targets.iter().map(|target| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    client.send(round.repeat(50));
    for _ in 0..50 {
        let statuses =
            targets.map(|_| client.response()).map(|response| (response.status, response.body.len()));
        assert_eq!([statuses[0], statuses[2], statuses[4]], [(200, 10), (200, 8), (200, 0)]);
        assert_eq!([statuses[1].0, statuses[3].0], [404, 200]);
        assert_eq!(statuses[3].1, 300_000);
    }
}

#[test]
fn garbage_is_answered_and_the_connection_closed() {
    let (_tree, server) = serve_default();
    let binary: Vec<u8> = (0..2000u32).map(|number| (number * 7 % 256) as u8).collect();
    let table: [(&[u8], u16); 10] = [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (&binary, 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 413),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ];
    for (bytes, status) in table {
        let mut client = server.connect();
        let response = client.send(bytes).response();
        assert_eq!(response.status, status, "{}", String::from_utf8_lossy(bytes));
        assert!(response.closes() && client.is_closed(), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(server.connect().get("/a.txt").status, 200);
}

#[test]
fn a_header_of_a_mebibyte_is_refused_without_being_kept() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n");
    // The server stops reading in earnest at 16 KiB, answers, and lets the rest pass by.
    let filler = format!("X-Filler: {}\r\n", "y".repeat(1000));
    let mut writer = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for _ in 0..1024 {
            if writer.write_all(filler.as_bytes()).is_err() {
                return;
            }
        }
    });
    assert_eq!(client.response().status, 431);
    sending.join().unwrap();
    assert!(client.is_closed());
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(server.connect().get_with("/a.txt", &many).status, 431);
}

#[test]
fn a_byte_now_and_then_does_not_extend_the_time_for_a_header() {
    let outside = tree();
    let timeout = 3 * SOON;
    let server = serve(&outside, ServerOptions::new().header_timeout(timeout));
    // Before the connection is made: the server's time runs from when it accepts.
    let began = Instant::now();
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for byte in "GET /a.txt HTTP/1.1\r\nX-Endless: ".bytes().chain(std::iter::repeat(b'y')) {
            std::thread::sleep(SOON / 10);
            if writer.write_all(&[byte]).is_err() || began.elapsed() > Duration::from_secs(10) {
                return;
            }
        }
    });
    let response = client.response();
    assert_eq!(response.status, 408);
    assert!(response.closes());
    assert!(began.elapsed() >= timeout, "it came early");
    assert!(client.is_closed());
    trickle.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_body_that_does_not_arrive_ends_the_connection_without_a_second_answer() {
    let outside = tree();
    let server = serve(&outside, ServerOptions::new().body_timeout(SOON));
    let mut client = server.connect();
    let response = client.get_with("/a.txt", "Content-Length: 10\r\n");
    assert_eq!(response.status, 200);
    client.send("12345");
    assert!(client.is_closed());
}

#[test]
fn who_never_asks_and_who_has_nothing_more_to_ask_is_closed_without_a_word() {
    let outside = tree();
    let options = ServerOptions::new().header_timeout(SOON).idle_timeout(2 * SOON);
    let server = serve(&outside, options);
    let began = Instant::now();
    assert!(server.connect().is_closed());
    assert!(began.elapsed() >= SOON);
    let mut client = server.connect();
    assert_eq!(client.get("/a.txt").status, 200);
    let idle_since = Instant::now();
    assert!(client.is_closed());
    assert!(idle_since.elapsed() >= 2 * SOON - Duration::from_millis(20));
}

#[test]
fn who_does_not_read_is_given_up_and_costs_a_bounded_amount_meanwhile() {
    let outside = tree();
    let server = serve(&outside, ServerOptions::new().write_timeout(2 * SOON));
    let client = server.connect();
    let requests = "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let mut writer = client.stream().try_clone().unwrap();
    writer.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    // Fills the input up to its mark, then the sockets, and is cut off in the end.
    while writer.write_all(requests.as_bytes()).is_ok() {
        sent += requests.len();
        assert!(sent < 64 << 20, "the server swallows everything");
    }
    assert!(began.elapsed() >= 2 * SOON);
    assert_eq!(server.connections(), 0);
    assert_eq!(server.connect().get("/a.txt").status, 200);
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    client.send_get("/big.bin", "").send_get("/a.txt", "").finish_sending();
    assert_eq!(client.response().body.len(), 300_000);
    assert_eq!(client.response().text(), "0123456789");
    assert!(client.is_closed());
    let mut partial = server.connect();
    partial.send("GET /a.txt HT").finish_sending();
    assert!(partial.is_closed());
}

#[test]
fn resets_leave_nothing_behind() {
    let (_tree, server) = serve_default();
    for round in 0..100 {
        let mut client = server.connect();
        client.send_get("/big.bin", "");
        if round % 2 == 0 {
            client.head();
        }
        // Unread bytes make the close a reset.
        drop(client);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.connections() > 0 {
        assert!(Instant::now() < deadline, "{} connections are left", server.connections());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.connect().get("/a.txt").status, 200);
}

#[test]
fn a_request_body_is_skipped() {
    let (_tree, server) = serve_default();
    let mut client = server.connect();
    client.send_get("/a.txt", "Content-Length: 60000\r\n").send(vec![b'x'; 60_000]);
    assert_eq!(client.response().status, 200);
    client.send_get("/a.txt", "Transfer-Encoding: chunked\r\n");
    assert_eq!(client.response().status, 200);
    client.send("5\r\nhello\r\n").send("0\r\n\r\n");
    assert_eq!(client.get("/a.txt").status, 200);
    let response = client.get_with("/a.txt", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    assert!(response.status == 200 && response.closes() && client.is_closed());
}

#[test]
fn shutting_down_finishes_what_is_in_flight_and_closes_the_rest() {
    let outside = tree();
    fs::write(outside.path().join("root/huge.bin"), pattern(32 << 20, 9)).unwrap();
    let server = serve(&outside, ServerOptions::new());
    let mut idle = server.connect();
    assert_eq!(idle.get("/a.txt").status, 200);
    let mut busy = server.connect();
    let head = busy.send_get("/huge.bin", "").head();
    let mut asking = server.connect();
    asking.send("GET /a.txt HTTP/1.1\r\n");
    while server.connections() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(SOON);
    server.begin_shutdown();
    assert!(idle.is_closed());
    let last = asking.send("Host: x\r\n\r\n").response();
    assert!(last.status == 200 && last.closes());
    let digest = busy.digest(head.length, 64 << 10, || {});
    assert_eq!(digest, Some(support::http::sha256(&pattern(32 << 20, 9))));
    let sent = Instant::now();
    assert!(busy.is_closed());
    assert!(sent.elapsed() < Duration::from_secs(5), "it is closed when it is out, and not by a timeout");
    let address = server.address();
    drop((busy, asking));
    server.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn the_log_hook_sees_each_answer() {
    let outside = tree();
    let (sender, lines) = std::sync::mpsc::channel();
    let server = Running::start_with(&outside.path().join("root"), ServerOptions::new(), |server| {
        server.on_served(move |served| {
            let code = served.status.map_or(0, Status::code);
            let line = format!("{} {} {code} {}", served.method, served.target, served.bytes);
            sender.send(line).unwrap();
        });
    });
    let mut client: Client = server.connect();
    client.get("/a.txt");
    client.get_with("/a.txt", "Range: bytes=0-3\r\n");
    client.send("HEAD /big.bin HTTP/1.1\r\nHost: x\r\n\r\n").head_response();
    client.send("\0").response();
    let seen: Vec<String> = lines.iter().take(4).collect();
    assert_eq!(seen[..3], ["GET /a.txt 200 10", "GET /a.txt 206 4", "HEAD /big.bin 200 0"]);
    assert!(seen[3].starts_with("- - 400 "));
    client.stream().shutdown(Shutdown::Both).ok();
}
