//! What a server tells of each answer once it has left, what it counts, and how fast its connections may be.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::http::{Client, Running};
use support::net::{PATIENCE, pattern};
use zerovent::bufferevent::{RATE_LIMIT_MAX, TokenBucket};
use zerovent::http::{Response, Routes, Server, ServerOptions, StaticFiles, Status};

/// What was told of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    peer: Option<SocketAddr>,
    line: String,
    status: Option<u16>,
    bytes: u64,
    complete: bool,
    duration: Duration,
    referer: Option<Vec<u8>>,
    user_agent: Option<Vec<u8>>,
}

const LEN: usize = 8 << 20;

/// A server of two files and two handlers, one of which never answers.
fn start(options: ServerOptions) -> (tempfile::TempDir, Running, Receiver<Told>) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "0123456789").unwrap();
    fs::write(root.path().join("large"), pattern(LEN, 1)).unwrap();
    let files = root.path().to_owned();
    let (sender, told) = mpsc::channel();
    let mut kept = Vec::new();
    let routes = move || {
        Routes::new()
            .route("GET", "/made", |_, _, responder| {
                responder.answer(Response::text(Status::Created, "made").unwrap()).unwrap();
            })
            .route("GET", "/never", move |_, _, responder| kept.push(responder))
            .files(StaticFiles::new(files).unwrap())
    };
    let server = Running::serve(options, routes);
    server.ask(move |base| {
        let server = base.context().as_ref().unwrap();
        server.on_served(move |served| {
            let _ = sender.send(Told {
                peer: served.peer,
                line: [served.method, served.target, served.version].join(" "),
                status: served.status.map(Status::code),
                bytes: served.bytes,
                complete: served.complete,
                duration: served.duration,
                referer: served.referer.map(<[u8]>::to_vec),
                user_agent: served.user_agent.map(<[u8]>::to_vec),
            });
        });
    });
    (root, server, told)
}

/// Leaves for good: a client that only closes might still be reading.
fn reset(client: Client) {
    SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("it is told")
}

#[test]
fn everything_that_was_asked_is_told() {
    let (_root, server, told) = start(ServerOptions::new());
    let mut client = server.connect();
    let peer = client.stream().local_addr().unwrap();
    client.get_with("/small?\"quoted\"", "Referer: http://x/\\\"\r\nUser-Agent: a\tb \u{e9}\r\n");
    let first = next(&told);
    assert_eq!((first.peer, first.line.as_str()), (Some(peer), "GET /small?\"quoted\" HTTP/1.1"));
    assert_eq!((first.status, first.bytes, first.complete), (Some(200), 10, true));
    assert_eq!(first.referer.as_deref(), Some(&b"http://x/\\\""[..]));
    assert_eq!(first.user_agent.as_deref(), Some("a\tb \u{e9}".as_bytes()));
    let table = [
        ("GET /made HTTP/1.1", Some(201), 4),
        ("HEAD /large HTTP/1.1", Some(200), 0),
        ("GET /large HTTP/1.1", Some(200), LEN as u64),
        ("GET /none HTTP/1.0", Some(404), 0),
    ];
    for (line, status, bytes) in table {
        client.send(format!("{line}\r\nHost: x\r\n\r\n"));
        let head = client.head();
        if !line.starts_with("HEAD") {
            client.digest(head.length, 64 << 10, || {}).expect("all of it");
        }
        let told = next(&told);
        assert_eq!((told.line.as_str(), told.status, told.complete), (line, status, true));
        assert_eq!(told.bytes, if status == Some(404) { head.length } else { bytes });
        assert_eq!((told.referer, told.user_agent), (None, None));
    }
}

#[test]
fn answers_are_told_in_the_order_of_their_requests() {
    let (_root, server, told) = start(ServerOptions::new());
    let mut client = server.connect();
    let paths = ["/small", "/made", "/small", "/large", "/made", "/none"];
    for path in paths {
        client.send_get(path, "");
    }
    client.send("\r\n\r\nno request\r\n\r\n");
    let statuses: Vec<u16> = (0..=paths.len()).map(|_| client.response().status).collect();
    assert_eq!(statuses, [200, 201, 200, 200, 201, 404, 400]);
    for (path, status) in paths.iter().zip(&statuses) {
        let told = next(&told);
        assert_eq!((told.line, told.status), (format!("GET {path} HTTP/1.1"), Some(*status)));
    }
    let last = next(&told);
    assert_eq!((last.line.as_str(), last.status, last.complete), ("- - -", Some(400), true));
}

#[test]
fn of_a_client_that_leaves_it_is_told_how_much_was_sent() {
    let (_root, server, told) = start(ServerOptions::new());
    let mut client = server.connect();
    client.send_get("/large", "").head();
    let mut taken = 0;
    client.digest(100 << 10, 10 << 10, || taken += 10 << 10).expect("a part of it");
    drop(client);
    let cut = next(&told);
    assert!(!cut.complete && (taken..LEN as u64).contains(&cut.bytes), "{cut:?}");
    assert_eq!(cut.status, Some(200));
    let mut client = server.connect();
    client.send_get("/never", "");
    reset(client);
    let unanswered = next(&told);
    assert_eq!(unanswered.line, "GET /never HTTP/1.1");
    assert_eq!((unanswered.status, unanswered.bytes, unanswered.complete), (None, 0, false));
}

#[test]
fn a_rate_binds_each_connection_and_shows_in_the_duration() {
    const RATE: usize = 64 << 10;
    let tick = Duration::from_millis(50);
    let bucket = TokenBucket::new(RATE_LIMIT_MAX, RATE_LIMIT_MAX, RATE / 20, RATE / 20, tick).unwrap();
    let (_root, server, told) = start(ServerOptions::new().rate_limit(bucket));
    let began = Instant::now();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let address = server.address();
            std::thread::spawn(move || {
                Client::connect(address).get_with("/large", &format!("Range: bytes=0-{}\r\n", RATE - 1))
            })
        })
        .collect();
    clients.into_iter().for_each(|client| assert_eq!(client.join().unwrap().body.len(), RATE));
    // The first twentieth is there at once, and a tick may have begun before.
    let least = Duration::from_millis(850);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    for told in [next(&told), next(&told)] {
        assert!(told.duration >= least && told.bytes == RATE as u64, "{told:?}");
    }
}

#[test]
fn a_server_counts_what_it_does() {
    let (_root, server, _told) = start(ServerOptions::new().connections_max(2));
    let stats = || server.ask(|base| base.context().as_ref().map(Server::stats).unwrap());
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.get("/small");
        client.get("/small");
        client.get("/made");
        client.get("/none");
    }
    let counted = stats();
    assert_eq!((counted.answers, counted.accepted, counted.connections), (8, 2, 2));
    assert_eq!((counted.cached_files, counted.cached_bytes, counted.turned_away), (1, 10, 0));
    assert!(counted.cache_hits >= 1 && counted.cache_hits + counted.cache_misses == 6, "{counted:?}");
    for client in &mut clients {
        client.send_get("/never", "");
    }
    while stats().turned_away == 0 {
        drop(server.connect()); // nobody is idle, so nobody makes room
    }
    assert_eq!(stats().connections, 2);
    clients.into_iter().for_each(reset);
}
