//! What the example `serve` is asked for on its command line, as a process: its logs, its figures, its limits.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::Client;
use support::net::{PATIENCE, pattern};
use support::process::{Server, example, have};

const LARGE: usize = 4 << 20;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.txt"), "0123456789").unwrap();
    fs::write(root.path().join("large.bin"), pattern(LARGE, 1)).unwrap();
    root
}

fn start(root: &Path, more: &[&str]) -> Server {
    let root = root.to_str().unwrap();
    Server::start("serve", &[&[root, "--addr", "127.0.0.1:0"], more].concat())
}

/// Requests of all kinds, those of a hostile client among them.
fn ask(server: &Server) {
    let mut client = Client::over(server.connect());
    client.get_with("/a.txt", "Referer: http://x/\r\nUser-Agent: tester/1.0\r\n");
    client.get_with("/a.txt?\"q\"\\", "Range: bytes=2-4\r\nUser-Agent: \"\\ \u{9b}2J \u{e9}\t\u{1f980}\r\n");
    client.send(b"GET /none HTTP/1.0\r\nConnection: keep-alive\r\nUser-Agent: \xff\x80\"\r\n\r\n").response();
    client.request("HEAD", "/a.txt", "");
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n GET /forged HTTP/1.1\r\n\r\n").response();
    assert!(client.is_closed());
}

#[test]
fn the_common_log_has_a_line_a_request_and_no_more() {
    let root = root();
    let server = start(root.path(), &["--log", "common"]);
    ask(&server);
    let (status, lines) = server.stop_with_lines("TERM");
    assert!(status.success());
    let expected = [
        "\"GET /a.txt HTTP/1.1\" 200 10",
        "\"GET /a.txt?\\\"q\\\"\\\\ HTTP/1.1\" 206 3",
        "\"GET /none HTTP/1.0\" 404 86",
        "\"HEAD /a.txt HTTP/1.1\" 200 -",
        "\"-\" 400 90",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        let (before, after) = line.split_once("] ").unwrap();
        let date = before.strip_prefix("127.0.0.1 - - [").unwrap();
        let shape: String = date.chars().map(|c| if c.is_ascii_alphanumeric() { 'x' } else { c }).collect();
        assert_eq!(shape.replace('-', "+"), "xx/xxx/xxxx:xx:xx:xx +xxxx", "{line}");
        assert_eq!(after, expected);
    }
}

#[test]
fn the_combined_log_lets_no_client_write_what_it_likes() {
    let root = root();
    let path = root.path().join("log");
    let server = start(root.path(), &["--log", "combined", "--log-file", path.to_str().unwrap()]);
    ask(&server);
    assert!(server.stop("TERM").success());
    let log = fs::read_to_string(&path).unwrap();
    let ends = [
        " \"http://x/\" \"tester/1.0\"",
        " \"-\" \"\\\"\\\\ \\xc2\\x9b2J \\xc3\\xa9\\x09\\xf0\\x9f\\xa6\\x80\"",
        " \"-\" \"\\xff\\x80\\\"\"",
        " \"-\" \"-\"",
        " \"-\" \"-\"",
    ];
    assert_eq!(log.lines().count(), ends.len(), "{log}");
    log.lines().zip(ends).for_each(|(line, end)| assert!(line.ends_with(end), "{line}"));
    assert!(log.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{log:?}");
    // A log is gone on with.
    let server = start(root.path(), &["--log", "common", "--log-file", path.to_str().unwrap()]);
    Client::over(server.connect()).get("/a.txt");
    assert!(server.stop("INT").success());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), ends.len() + 1);
}

#[test]
fn the_json_log_says_what_was_really_sent_and_how_long_it_took() {
    let root = root();
    let server = start(root.path(), &["--log", "json", "--rate", "1000000", "--threads", "2"]);
    ask(&server);
    let mut leaving = Client::over(server.connect());
    leaving.send_get("/large.bin", "").head();
    leaving.digest(100_000, 10_000, || {}).unwrap();
    drop(leaving);
    let mut slow = Client::over(server.connect());
    let began = Instant::now();
    slow.get_with("/large.bin", "Range: bytes=0-299999\r\n");
    assert!(began.elapsed() >= Duration::from_millis(200), "the rate binds");
    drop(slow);
    let (status, lines) = server.stop_with_lines("TERM");
    assert!(status.success());
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let find = |what: &str| lines.iter().find(|line| line["target"] == what || line["user_agent"] == what);
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let quoted = find("/a.txt?\"q\"\\").expect("the target as it was sent");
    assert_eq!(quoted["user_agent"], "\"\\ \u{9b}2J \u{e9}\t\u{1f980}");
    assert_eq!((&quoted["status"], &quoted["bytes"]), (&206.into(), &3.into()));
    assert_eq!((&quoted["client"], quoted["port"].is_u64()), (&"127.0.0.1".into(), true));
    assert!(find("\u{fffd}\u{fffd}\"").is_some(), "what is no text is replaced");
    let large: Vec<&Value> = lines.iter().filter(|line| line["target"] == "/large.bin").collect();
    let cut = large.iter().find(|line| line["status"] == 200).unwrap();
    let sent = cut["bytes"].as_u64().unwrap();
    assert!(cut["complete"] == false && (100_000..LARGE as u64).contains(&sent), "{cut}");
    let whole = large.iter().find(|line| line["status"] == 206).unwrap();
    assert!(whole["complete"] == true && whole["bytes"] == 300_000, "{whole}");
    assert!(whole["duration_us"].as_u64().unwrap() >= 200_000, "{whole}");
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let root = root();
    let mut command = Command::new(example("serve"));
    command.arg(root.path()).args(["--addr", "127.0.0.1:0", "--log", "json", "--log-file", "stderr"]);
    let server = Server::run(command.stderr(Stdio::piped()));
    let mut client = Client::over(server.connect());
    let target = format!("/{}", "x".repeat(8000));
    // Far more than the pipe holds, and nobody takes it out.
    (0..100).for_each(|_| assert_eq!(client.get(&target).status, 404));
    assert_eq!(client.get("/a.txt").status, 200);
}

#[test]
fn the_figures_are_those_of_all_threads() {
    let root = root();
    // What was changed within two seconds is copied, and not sent as a file.
    std::thread::sleep(Duration::from_millis(2100));
    let server = start(root.path(), &["--stats", "--threads", "3"]);
    let mut clients: Vec<Client> = (0..24).map(|_| Client::over(server.connect())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").status, 200);
        assert_eq!(client.get("/large.bin").body.len(), LARGE);
    }
    let response = clients[0].get("/-/stats.json");
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    let figures: Value = serde_json::from_str(response.text()).unwrap();
    let number = |path: &str| figures.pointer(path).and_then(Value::as_f64).expect(path) as usize;
    assert_eq!(number("/threads"), 3);
    assert_eq!(number("/requests/total"), 48);
    assert_eq!(number("/connections/open"), 24);
    assert_eq!((number("/connections/accepted"), number("/connections/turned_away")), (24, 0));
    // The last page of each answer waits in memory.
    assert_eq!(number("/bytes/sendfile"), 24 * (LARGE - 4096), "{figures:#}");
    assert!(number("/bytes/memory") > 24 * 10 && number("/bytes/copied") < LARGE, "{figures:#}");
    assert_eq!(number("/bytes/sent"), number("/bytes/sendfile") + number("/bytes/memory"));
    assert_eq!(number("/cache/hits") + number("/cache/misses"), 48);
    assert!(number("/cache/files") >= 2 && number("/cache/bytes") >= 10, "{figures:#}");
    assert!((40..=48).contains(&number("/duration_us/count")), "{figures:#}");
    assert!(number("/duration_us/p50") <= number("/duration_us/max") && number("/duration_us/max") > 0);
    assert!(number("/loop/turns") > 0 && number("/loop/waits") > 0);
    // The files are reached as ever, and what is no figure is no file.
    assert_eq!(clients[1].get("/-/").status, 404);
    assert_eq!(clients[1].request("POST", "/-/stats", "").status, 405);
    assert!(server.stop("TERM").success());
}

#[test]
fn the_page_of_figures_needs_no_script_and_fetches_nothing() {
    let root = root();
    let server = start(root.path(), &["--stats"]);
    let mut client = Client::over(server.connect());
    client.get("/a.txt");
    let page = client.get("/-/stats");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.field("Content-Security-Policy").unwrap().starts_with("default-src 'none';"));
    let text = page.text();
    for word in
        ["color-scheme:light dark", "http-equiv=\"refresh\"", "sendfile", "99.9 % within", "turned away"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    for word in ["<script", "src=", "href=", "url(", "@import", "http:", "https:"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    drop(server);
    let plain = start(root.path(), &[]);
    assert_eq!(Client::over(plain.connect()).get("/-/stats").status, 404);
}

#[test]
fn each_way_of_waiting_serves() {
    let root = root();
    for (method, calls) in [("epoll", "epoll_"), ("poll", "ppoll"), ("select", "pselect6")] {
        let server = start(root.path(), &["--io", method]);
        let mut client = Client::over(server.connect());
        assert!(client.get("/large.bin").body == pattern(LARGE, 1), "{method}");
        assert!(server.stop("TERM").success());
        if !have("strace") {
            continue;
        }
        let summary = root.path().join(method);
        let arguments = [root.path().to_str().unwrap(), "--addr", "127.0.0.1:0", "--io", method];
        let server = Server::start_traced("serve", &arguments, &summary);
        Client::over(server.connect()).get("/a.txt");
        assert!(server.stop("TERM").success());
        let counted = support::process::read_summary(&summary);
        let waits = ["epoll_", "ppoll", "pselect6"];
        let used = |prefix: &str| counted.iter().any(|(name, _)| name.starts_with(prefix));
        waits.iter().for_each(|wait| assert_eq!(used(wait), *wait == calls, "{method}: {counted:?}"));
    }
}

/// `serve` on a terminal that `script` makes and writes down. When `script` goes, the terminal hangs up on `serve`.
fn on_a_terminal(root: &Path, typescript: &Path) -> Server {
    let line = format!("exec {} {} --addr 127.0.0.1:0", example("serve").display(), root.display());
    Server::run(Command::new("script").args(["-qfec", &line]).arg(typescript))
}

#[test]
fn a_terminal_gets_a_line_of_figures_and_a_pipe_gets_none() {
    let root = root();
    let mut command = Command::new(example("serve"));
    command.arg(root.path()).args(["--addr", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1300));
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "", "a pipe is no terminal");
    if !have("script") {
        return;
    }
    let typescript = root.path().join("typescript");
    let server = on_a_terminal(root.path(), &typescript);
    let mut client = Client::over(server.connect());
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = fs::read_to_string(&typescript).unwrap_or_default();
        if text.contains("1 connections") {
            break text;
        }
        assert!(Instant::now() < deadline, "{text:?}");
        client.get("/a.txt");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(
        text.contains("\r\u{1b}[K") && text.contains(" requests/s") && text.contains(" MB/s"),
        "{text:?}"
    );
}
