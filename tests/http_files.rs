//! What becomes of a file that changes while it is served, and of a port that two servers want.
#![cfg(feature = "http")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::http::{Running, sha256};
use support::net::pattern;
use zerovent::http::{Server, ServerOptions};

/// Keeps what the library logs, for the test that wants to see a warning.
struct Kept(Mutex<Vec<String>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_that_connection_alone() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let root = tempfile::tempdir().unwrap();
    let bytes = pattern(64 << 20, 3);
    fs::write(root.path().join("cut.bin"), &bytes).unwrap();
    fs::write(root.path().join("good.bin"), &bytes[..20 << 20]).unwrap();
    let server = Running::start(root.path(), ServerOptions::new());
    let mut cut = server.connect();
    let mut good = server.connect();
    let cut_head = cut.send_get("/cut.bin", "").head();
    let good_head = good.send_get("/good.bin", "").head();
    let file = File::options().write(true).open(root.path().join("cut.bin")).unwrap();
    file.set_len(30 << 20).unwrap();
    assert_eq!(cut.digest(cut_head.length, 64 << 10, || {}), None, "the connection ends before the length");
    assert_eq!(good.digest(good_head.length, 64 << 10, || {}), Some(sha256(&bytes[..20 << 20])));
    assert_eq!(good.get("/good.bin").status, 200);
    let logged = KEPT.0.lock().unwrap().join("\n");
    assert!(logged.contains("WARN a connection is closed: its file was written to"), "{logged}");
    // And once the cache has looked again, the file is served as it is now.
    thread::sleep(Duration::from_millis(1100));
    let now = server.connect().send_get("/cut.bin", "").head();
    assert_eq!((now.status, now.length), (200, 30 << 20));
    server.stop();
}

#[test]
fn a_cut_that_precedes_the_answer_is_noticed_too() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.bin"), pattern(300_000, 3)).unwrap();
    let server = Running::start(root.path(), ServerOptions::new());
    assert_eq!(server.connect().get("/a.bin").body.len(), 300_000);
    fs::write(root.path().join("a.bin"), "short").unwrap();
    // Also within the second in which the cache is believed.
    assert_eq!(server.connect().get("/a.bin").text(), "short");
}

#[test]
fn a_replaced_file_is_served_old_or_new_and_never_mixed() {
    let root = tempfile::tempdir().unwrap();
    let replace = |root: &Path, fill: u8| {
        let mut file = File::create(root.join("new")).unwrap();
        file.write_all(&vec![fill; 50_000 + usize::from(fill)]).unwrap();
        fs::rename(root.join("new"), root.join("a.bin")).unwrap();
    };
    replace(root.path(), 0);
    let server = Running::start(root.path(), ServerOptions::new());
    let mut client = server.connect();
    let began = Instant::now();
    let (mut fill, mut seen) = (0, 0);
    while began.elapsed() < Duration::from_millis(2500) {
        fill = (fill + 1) % 200;
        replace(root.path(), fill);
        let body = client.get("/a.bin").body;
        assert!(body.iter().all(|byte| *byte == body[0]) && body.len() == 50_000 + usize::from(body[0]));
        seen = seen.max(body[0]);
    }
    assert!(seen > 0, "a new file was served in the end");
}

#[test]
fn two_servers_share_a_port_when_both_agree() {
    let root = tempfile::tempdir().unwrap();
    let files = || zerovent::http::StaticFiles::new(root.path()).unwrap();
    let mut base = zerovent::EventBase::new().unwrap();
    let sharing = || ServerOptions::new().reuse_port(true);
    let first = Server::bind(&mut base, support::net::any_port(), sharing(), files()).unwrap();
    let address = first.local_addr();
    assert!(Server::bind(&mut base, address, ServerOptions::new(), files()).is_err(), "one does not agree");
    let second = Server::bind(&mut base, address, sharing(), files()).unwrap();
    assert_eq!(second.local_addr(), address);
    for server in [first, second] {
        server.shutdown(&mut base).unwrap();
        server.shutdown(&mut base).unwrap();
    }
    base.dispatch().unwrap();
}
