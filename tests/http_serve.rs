//! The `serve` example as a program: its command line, its signals, and a life with too few descriptors.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use support::http::Client;
use support::net::pattern;
use support::process::{Server, example, have, read_summary};

fn root_with(files: usize, len: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..files {
        fs::write(root.path().join(format!("{number}.bin")), pattern(len, number as u64 + 1)).unwrap();
    }
    root
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn start(root: &Path, more: &[&str]) -> Server {
    Server::start("serve", &[&[text(root), "--addr", "127.0.0.1:0"], more].concat())
}

fn run(arguments: &[&str]) -> Output {
    Command::new(example("serve")).args(arguments).output().unwrap()
}

/// Ends with status 2 and one line on stderr that contains `hint`.
fn complains(arguments: &[&str], hint: &str) {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty() && stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("serve: ") && stderr.contains(hint), "{arguments:?}: {stderr}");
}

#[test]
fn listings_and_cache_control_are_asked_for_on_the_command_line() {
    let root = root_with(2, 10);
    let rules = ["--cache-control", "1.*=no-store", "--cache-control", "*=max-age=60"];
    let server = start(root.path(), &[&["--listing"], &rules[..]].concat());
    let mut client = Client::over(server.connect());
    assert!(client.get("/").text().contains("<a href=\"1.bin\">1.bin</a>"));
    assert_eq!(client.get("/0.bin").field("Cache-Control"), Some("max-age=60"));
    assert_eq!(client.get("/1.bin").field("Cache-Control"), Some("no-store"));
    assert!(server.stop("TERM").success());
    let plain = start(root.path(), &[]);
    assert_eq!(Client::over(plain.connect()).get("/").status, 403);
    assert!(plain.stop("TERM").success());
}

#[test]
fn what_cannot_work_is_said_in_one_line() {
    let root = root_with(1, 10);
    let here = text(root.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    complains(&[], "which directory?");
    complains(&[here, "another"], "another");
    complains(&[here, "--unheard-of"], "--unheard-of");
    complains(&[here, "--addr"], "--addr");
    complains(&[here, "--addr", "nowhere"], "--addr nowhere");
    complains(&[here, "--threads", "0"], "--threads");
    complains(&[here, "--threads", "many"], "--threads");
    complains(&[here, "--cache-control", "*.css"], "--cache-control");
    complains(&[here, "--cache-control", "*.css="], "--cache-control");
    complains(&[here, "--rate", "0"], "--rate");
    complains(&[here, "--io", "kqueue"], "epoll, poll, select");
    complains(&[here, "--log", "xml"], "--log takes common, combined or json");
    complains(
        &[here, "--log", "json", "--log-file", "/no/such/log"],
        "cannot log to /no/such/log: No such file",
    );
    complains(&["/no/such/directory"], "cannot serve /no/such/directory: No such file or directory");
    complains(&[text(&root.path().join("0.bin"))], "0.bin: Not a directory");
    let in_use = format!("cannot listen on {taken}: Address already in use");
    complains(&[here, "--addr", &taken], &in_use);
    complains(&[here, "--addr", &taken, "--threads", "2"], &in_use);
    complains(
        &[here, "--addr", "192.0.2.1:0"],
        "cannot listen on 192.0.2.1:0: Cannot assign requested address",
    );
}

#[test]
fn what_may_not_be_done_is_said_in_one_line() {
    let root = root_with(1, 10);
    let closed = root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    // Whoever may do everything has to become somebody else for this, and take the program along.
    let program = root.path().join("serve");
    fs::copy(example("serve"), &program).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let is_root = fs::metadata(&closed).unwrap().uid() == 0;
    if is_root && !have("setpriv") {
        return;
    }
    let mut command = match is_root {
        true => Command::new("setpriv"),
        false => Command::new(&program),
    };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    let output = command.arg(&closed).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr, format!("serve: cannot serve {}: Permission denied\n", closed.display()));
}

#[test]
fn help_is_help() {
    let output = run(&["--help"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let options =
        ["--addr", "--threads", "--listing", "--cache-control", "--rate", "--io", "--log", "--log-file"];
    for word in [&options[..], &["Usage: serve DIR", "--stats", "--verbose", "--help"]].concat() {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn signals_end_it_well_whether_it_is_idle_or_not() {
    let root = root_with(1, 10);
    for (signal, threads) in [("TERM", "1"), ("INT", "1"), ("TERM", "3")] {
        let server = start(root.path(), &["--threads", threads]);
        let mut client = Client::over(server.connect());
        assert_eq!(client.get("/0.bin").status, 200);
        assert!(server.stop(signal).success(), "SIG{signal} with {threads} threads");
        assert!(client.is_closed());
    }
}

#[test]
fn every_thread_serves() {
    let root = root_with(1, 1000);
    let server = start(root.path(), &["--threads", "4"]);
    let clients: Vec<_> = (0..64).map(|_| Client::over(server.connect())).collect();
    for mut client in clients {
        assert!(client.get("/0.bin").body == pattern(1000, 1));
    }
    assert!(server.stop("TERM").success());
}

/// A download that has begun, and gives whether all of it came.
fn download(server: &Server, expected: &Arc<Vec<u8>>) -> thread::JoinHandle<bool> {
    let mut client = Client::over(server.connect());
    let head = client.send_get("/0.bin", "").head();
    assert_eq!(head.length, expected.len() as u64);
    let expected = Arc::clone(expected);
    thread::spawn(move || client.receives(&expected))
}

/// Waits until nobody listens any more.
fn wait_until_refused(server: &Server) {
    while TcpStream::connect(server.address()).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_hundred_downloads_are_finished_when_it_is_asked_to_end() {
    const LEN: usize = 2 << 20;
    const DOWNLOADS: usize = 200;
    let root = root_with(1, LEN);
    let expected = Arc::new(pattern(LEN, 1));
    for threads in ["1", "2"] {
        let log = root.path().join(format!("log-{threads}"));
        // The server itself holds them back, so that none can hide in the kernel's buffers.
        let arguments = ["--threads", threads, "--rate", "800000", "--log", "json", "--log-file", text(&log)];
        let server = start(root.path(), &arguments);
        let downloads: Vec<_> = (0..DOWNLOADS).map(|_| download(&server, &expected)).collect();
        server.signal("TERM");
        wait_until_refused(&server);
        assert!(downloads.iter().any(|download| !download.is_finished()), "they were under way");
        let whole = downloads.into_iter().map(|download| download.join().unwrap());
        assert_eq!(whole.filter(|whole| *whole).count(), DOWNLOADS, "{threads} threads");
        assert!(server.finished().success(), "{threads} threads");
        let lines = fs::read_to_string(&log).unwrap();
        let whole = format!("\"bytes\":{LEN},\"complete\":true");
        assert_eq!(lines.lines().filter(|line| line.contains(&whole)).count(), DOWNLOADS, "{lines}");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let root = root_with(1, 64 << 20);
    for (threads, signal, number) in [("1", "TERM", 15), ("2", "INT", 2)] {
        let server = start(root.path(), &["--threads", threads]);
        let mut client = Client::over(server.connect());
        client.send_get("/0.bin", "").head();
        server.signal("TERM");
        // The first has taken effect when nobody listens any more; the download goes on.
        wait_until_refused(&server);
        let status = server.stop(signal);
        assert_eq!((status.code(), status.signal()), (None, Some(number)), "ended by the signal itself");
    }
}

/// Clients that all want something else at the same time, and stay a while.
fn crowd(server: &Server, clients: usize, len: usize) {
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let address = server.address();
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let response = client.get(&format!("/{number}.bin"));
                assert_eq!(response.status, 200, "client {number}");
                assert!(response.body == pattern(len, number as u64 + 1), "client {number}");
                thread::sleep(Duration::from_millis(20));
                let _ = client.stream().shutdown(Shutdown::Both);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

const CLIENTS: usize = 200;

/// `serve` with at most 64 descriptors.
fn limited(root: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n 64; exec {before} \"$@\"");
    command.args(["-c", &script, "sh"]).arg(example("serve")).args([text(root), "--addr", "127.0.0.1:0"]);
    command
}

#[test]
fn two_hundred_clients_are_served_with_sixty_four_descriptors() {
    let root = root_with(CLIENTS, 50_000);
    let server = Server::run(&mut limited(root.path(), ""));
    crowd(&server, CLIENTS, 50_000);
    crowd(&server, CLIENTS, 50_000);
    assert!(server.stop("TERM").success());
}

#[test]
fn a_shortage_of_descriptors_does_not_make_it_spin() {
    if !have("strace") {
        return;
    }
    let root = root_with(CLIENTS, 50_000);
    let summary = root.path().join("summary");
    let strace = format!("strace -D -f -c -o {}", text(&summary));
    let server = Server::run(&mut limited(root.path(), &strace));
    crowd(&server, CLIENTS, 50_000);
    // A shortage that lasts: the table is full of connections that want nothing.
    let idle: Vec<_> = (0..100).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_secs(1));
    drop(idle);
    assert!(server.stop("TERM").success());
    let calls = read_summary(&summary);
    let waits: u64 =
        calls.iter().filter(|(name, _)| name.starts_with("epoll_")).map(|(_, count)| count).sum();
    let accepts: u64 =
        calls.iter().filter(|(name, _)| name.starts_with("accept")).map(|(_, count)| count).sum();
    println!("{waits} calls of epoll and {accepts} of accept for {CLIENTS} clients");
    assert!(waits < 20 * CLIENTS as u64, "{calls:?}");
    assert!(accepts < 10 * CLIENTS as u64, "{calls:?}");
}
