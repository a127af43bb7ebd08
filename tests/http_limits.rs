//! Limits and timeouts that somebody tries to get around: by trickling, by staying when it is time to go, by asking for
//! what is dear.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::http::{Client, Running};
use support::net::{PATIENCE, pattern};
use zerovent::http::{Get, Response, Routes, ServerOptions, StaticFiles, Status};
use zerovent::{Error, EventBase};

/// A connection that has room for a few kilobytes.
fn connect_narrowly(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn who_takes_a_little_now_and_then_is_closed_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large"), pattern(16 << 20, 1)).unwrap();
    let options = ServerOptions::new()
        .write_timeout(Duration::from_millis(600))
        .idle_timeout(Duration::from_millis(200))
        .write_rate_min(10 << 20);
    let server = Running::start(root.path(), options);
    let mut slow = connect_narrowly(server.address());
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut taken = 0;
    let began = Instant::now();
    // Every bite is progress, and none comes late enough for the write timeout. At this pace it would take minutes.
    let mut bite = vec![0; 8 << 10];
    while let Ok(read @ 1..) = slow.read(&mut bite) {
        taken += read;
        assert!(began.elapsed() < PATIENCE, "still served after {taken} bytes");
        thread::sleep(Duration::from_millis(40));
    }
    assert!(taken < 16 << 20, "{taken} bytes");
    // Who keeps up is served to the end, however long it takes.
    let mut good = server.connect();
    assert_eq!(good.get("/large").body.len(), 16 << 20);
}

#[test]
fn those_who_have_had_their_last_answer_and_stay_count_until_they_go() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.txt"), "a").unwrap();
    let options = ServerOptions::new().connections_each_max(4).linger(Duration::from_secs(30));
    let server = Running::start(root.path(), options);
    let refused = || {
        let mut client = server.connect();
        client.send("garbage\r\n\r\n");
        assert_eq!(client.response().status, 400);
        client
    };
    let mut staying: Vec<_> = (0..4).map(|_| refused()).collect();
    assert_eq!(server.connections(), 0, "no requests come from them");
    assert!(server.connect().is_closed(), "and yet they are there");
    let mut last = staying.pop().unwrap();
    assert!(last.is_closed(), "the server has said goodbye");
    drop(last);
    let began = Instant::now();
    loop {
        let mut client = server.connect();
        client.send_get("/a.txt", "");
        match client.try_head() {
            Some(head) => break assert_eq!(head.status, 200),
            None => assert!(began.elapsed() < PATIENCE),
        }
    }
    // Where all connections together are limited, those that leave make room.
    let options = ServerOptions::new().connections_max(4).linger(Duration::from_secs(30));
    let server = Running::start(root.path(), options);
    let _staying: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.connect();
            client.send("garbage\r\n\r\n");
            assert_eq!(client.response().status, 400);
            client
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(server.connect().get("/a.txt").text(), "a");
    }
}

#[test]
fn a_listing_is_made_once_a_second_whoever_asks_for_it() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..300 {
        fs::write(root.path().join(format!("{number:03}")), "").unwrap();
    }
    let server = Running::start_files(root.path(), |files| files.listing(true));
    let mut client = server.connect();
    let first = client.get("/").body;
    let began = Instant::now();
    fs::write(root.path().join("new"), "").unwrap();
    let second = client.get("/?sort=name&order=asc&and=whatever").body;
    assert!(first == second || began.elapsed() > Duration::from_millis(900));
    assert!(client.get("/?sort=size").body != first, "another order is another page");
    thread::sleep(Duration::from_millis(1100));
    assert!(client.get("/").text().contains("\"new\""));
}

#[test]
fn handlers_hold_so_many_bytes_of_requests_and_then_the_client_waits() {
    let (sender, receiver) = mpsc::channel();
    let server = Running::serve(ServerOptions::new(), move || {
        Routes::new().route("POST", "/", move |_, request, responder| {
            sender.send((request.field("X").map_or(0, <[u8]>::len), responder)).unwrap();
        })
    });
    let mut client = server.connect();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX: {}\r\nContent-Length: 30000\r\n\r\n{}",
        "x".repeat(10_000),
        "y".repeat(30_000)
    );
    let mut writer = client.stream().try_clone().unwrap();
    let writing = thread::spawn(move || (0..40).for_each(|_| writer.write_all(request.as_bytes()).unwrap()));
    let mut held = vec![receiver.recv_timeout(PATIENCE).unwrap()];
    while let Ok(more) = receiver.recv_timeout(Duration::from_millis(300)) {
        held.push(more);
    }
    assert!((3..=5).contains(&held.len()), "{} requests of 40 KB are under work", held.len());
    for _ in 0..40 {
        let (_, responder) =
            if held.is_empty() { receiver.recv_timeout(PATIENCE).unwrap() } else { held.remove(0) };
        responder.answer(Response::new(Status::NoContent)).unwrap();
        assert_eq!(client.response().status, 204);
    }
    writing.join().unwrap();
}

/// A server that sends `head`, and then `piece` over and over until it is left.
fn endless(head: &'static str, piece: &'static str, pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(head.as_bytes());
        let piece = if pause.is_zero() { piece.repeat(500) } else { piece.to_owned() };
        let began = Instant::now();
        while began.elapsed() < PATIENCE && stream.write_all(piece.as_bytes()).is_ok() {
            thread::sleep(pause);
        }
    });
    address
}

#[test]
fn a_server_that_does_not_come_to_an_end_is_left_at_a_limit_or_in_time() {
    let limit = |result: &Result<_, Error>| matches!(result, Err(Error::Limit));
    let late = |result: &Result<_, Error>| matches!(result, Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::TimedOut);
    type Verdict = fn(&Result<zerovent::http::Fetched, Error>) -> bool;
    let (limit, late): (Verdict, Verdict) = (limit, late);
    let (at_once, slowly) = (Duration::ZERO, Duration::from_millis(1));
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        (ok, "X: y\r\n", at_once, limit),
        (ok, "X", slowly, late),
        ("", "HTTP/1.1 102 Processing\r\n\r\n", at_once, limit),
        (chunked, "1\r\nx\r\n", at_once, limit),
        (chunked, "1;extension=", at_once, limit),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "T: x\r\n", at_once, limit),
        ("HTTP/1.1 200 OK\r\n\r\n", "more", at_once, limit),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n", "more", at_once, limit),
        ("HTTP/1.1 200 OK\r\nContent-Length: 19999\r\n\r\n", "x", slowly, late),
    ];
    for (head, piece, pause, verdict) in table {
        let address = endless(head, piece, pause);
        let mut base = EventBase::with_context(None).unwrap();
        let get = Get::new(&format!("http://{address}/")).body_max(20_000).timeout(if pause.is_zero() {
            PATIENCE
        } else {
            Duration::from_millis(1500)
        });
        get.send(&mut base, |base, fetched| *base.context_mut() = Some(fetched)).unwrap();
        base.dispatch().unwrap();
        let result = base.context_mut().take().expect("it was called back");
        assert!(verdict(&result), "{head:?} and then {piece:?}: {result:?}");
    }
}

#[test]
fn files_and_their_absence_are_served_beside_a_thousand_connections_that_do_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.txt"), "a").unwrap();
    let server = Running::serve(ServerOptions::new().connections_max(300), {
        let root = root.path().to_owned();
        move || StaticFiles::new(root).unwrap().into()
    });
    let silent: Vec<_> = (0..250).map(|_| server.connect()).collect();
    let partial: Vec<_> = (0..40)
        .map(|_| {
            let mut client = server.connect();
            client.send("GET /a.txt HTTP/1.1\r\nHos");
            client
        })
        .collect();
    let mut good: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut good {
        assert_eq!(client.get("/a.txt").text(), "a");
        assert_eq!(client.get("/b.txt").status, 404);
    }
    drop((silent, partial));
}
