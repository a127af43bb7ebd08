//! How much of a server's memory one connection can pin, whatever its client does: measured for each way that we know, and
//! held to a bound that is made of the server's limits.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::alloc::{self, Counting};
use support::http::{Client, Running};
use support::net::{PATIENCE, pattern};
use zerovent::http::{Request, Responder, Routes, ServerOptions, StaticFiles};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEAD_MAX: usize = 16 << 10;
const BODY_MAX: usize = 64 << 10;
const PIPELINE_MAX: usize = 64 << 10;

/// What handlers may hold of requests, before the last one that is let in.
const REQUESTS_MAX: usize = 128 << 10;

/// One read, or one piece of a file that is copied on its way.
const READ_MAX: usize = 64 << 10;

/// What a connection costs that does nothing.
const IDLE: usize = 512;

/// The last request that is let in: its head, its path, the places of its fields, and its body.
const REQUEST: usize = 2 * HEAD_MAX + 128 * 32 + BODY_MAX;

/// The bound: what is read and not yet understood, what handlers hold, what waits to be sent, and one answer's heads and last page.
const BOUND: usize =
    IDLE + READ_MAX + HEAD_MAX + REQUESTS_MAX + REQUEST + PIPELINE_MAX + READ_MAX + (16 << 10);

/// Sends what the server takes, as long as it takes it.
fn stuff(client: &mut Client, bytes: &[u8]) {
    client.stream().set_write_timeout(Some(Duration::from_millis(30))).unwrap();
    let _ = client.stream().write_all(bytes);
}

/// A way to make a server hold memory: its name, and what is sent.
fn ways() -> Vec<(&'static str, Vec<u8>)> {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST /hold HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(HEAD_MAX - 100));
    let fields: String = (0..95).map(|number| format!("{number}: {}\r\n", "y".repeat(150))).collect();
    let ranges: Vec<_> = (0..16).map(|at| format!("{}-{}", at * 200_000, at * 200_000 + 150_000)).collect();
    let ranges = get("/large", &format!("Range: bytes={}\r\n", ranges.join(",")));
    let dribble = post("Transfer-Encoding: chunked\r\n") + &"1\r\nx\r\n".repeat(BODY_MAX - 1);
    let whole = dribble.clone() + "0\r\n\r\n";
    vec![
        ("nothing", Vec::new()),
        ("a head without an end", head.into_bytes()),
        ("a body without an end", (post("Content-Length: 65536\r\n") + &"x".repeat(65_535)).into_bytes()),
        ("a body of chunks of one byte", dribble.into_bytes()),
        ("such bodies for handlers that take their time", whole.repeat(10).into_bytes()),
        ("small requests for such handlers", post("").repeat(3000).into_bytes()),
        ("large heads for such handlers", post(&fields).repeat(100).into_bytes()),
        ("small files, not read", get("/small", "").repeat(3000).into_bytes()),
        ("large files, not read", get("/large", "").repeat(3000).into_bytes()),
        ("files that are copied, not read", get("/fresh", "").repeat(3000).into_bytes()),
        ("sixteen ranges, not read", ranges.repeat(300).into_bytes()),
        ("errors, not read", get("/missing", "").repeat(3000).into_bytes()),
        ("listings, not read", get("/many/", "").repeat(3000).into_bytes()),
    ]
}

/// What handlers have not answered yet.
type Held = Arc<Mutex<Vec<(Request, Responder)>>>;

fn serve(root: &Path, held: &Held) -> Running {
    let (root, held) = (root.to_owned(), Arc::clone(held));
    Running::serve(ServerOptions::new(), move || {
        let hold = move |request, responder| held.lock().unwrap().push((request, responder));
        Routes::new()
            .route("POST", "/hold", move |_, request, responder| hold(request, responder))
            .files(StaticFiles::new(root).unwrap().listing(true))
    })
}

#[test]
fn no_client_makes_a_connection_hold_more_than_its_bound() {
    const CONNECTIONS: usize = 3;
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("many")).unwrap();
    (0..2000).for_each(|number| fs::write(root.path().join(format!("many/{number}")), "").unwrap());
    for (name, len) in [("small", 20 << 10), ("large", 4 << 20)] {
        fs::write(root.path().join(name), pattern(len, 1)).unwrap();
    }
    thread::sleep(Duration::from_millis(2100));
    for (way, bytes) in ways() {
        fs::write(root.path().join("fresh"), pattern(4 << 20, 1)).unwrap();
        let unanswered = Held::default();
        let server = serve(root.path(), &unanswered);
        for target in ["/small", "/large", "/fresh", "/missing", "/many/"] {
            server.connect().get(target);
        }
        let live = || server.ask(|_| alloc::live_bytes());
        let before = live();
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| stuff(client, &bytes));
        // When nothing moves any more, the server holds what it is going to hold.
        let (mut held, began) = (live(), Instant::now());
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = live();
            // Asking is itself something that one thread allocates and the other frees.
            if (std::mem::replace(&mut held, now) - now).abs() < 1000 {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{way}: it does not come to rest");
        }
        let each = (held - before) / CONNECTIONS as isize;
        println!("{each:>7} bytes a connection: {way}");
        assert!(each <= BOUND as isize, "{way}: {each} bytes a connection, of {BOUND}");
        drop(clients);
        // The server waits for what handlers owe, and gets it when they give up.
        while server.connections() > 0 {
            let unanswered = Arc::clone(&unanswered);
            server.ask(move |_| unanswered.lock().unwrap().clear());
        }
    }
    println!("{BOUND:>7} bytes a connection is the bound");
}
