//! Clients that others have written, against the example `serve`: curl, wget, wrk and Python's http.client.
#![cfg(feature = "http")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::net::pattern;
use support::process::{Server, have};

const LEN: usize = 300_000;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("large.bin"), pattern(LEN, 1)).unwrap();
    fs::write(root.path().join("a.txt"), "0123456789").unwrap();
    fs::write(root.path().join("b.txt"), "abcdef").unwrap();
    root
}

fn start(root: &Path, more: &[&str]) -> Server {
    let root = root.to_str().unwrap();
    Server::start("serve", &[&[root, "--addr", "127.0.0.1:0"], more].concat())
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// What curl writes to stdout. It is told to fail on an error status, and not to take for ever.
fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"])
        .args(arguments);
    String::from_utf8(run(&mut command).stdout).unwrap()
}

#[test]
fn curl_gets_ranges_and_goes_on_where_it_stopped() {
    if !have("curl") {
        return;
    }
    let root = root();
    let server = start(root.path(), &[]);
    let url = |path: &str| format!("http://{}/{path}", server.address());
    assert_eq!(curl(&["--range", "2-4", &url("a.txt")]), "234");
    assert_eq!(curl(&["--range", "-3", &url("a.txt")]), "789");
    let parts = curl(&["--range", "0-1,8-9", &url("a.txt")]);
    assert!(parts.contains("\r\n\r\n01\r\n--") && parts.contains("\r\n\r\n89\r\n--"), "{parts}");
    let code = ["--write-out", "%{http_code}", "--output", "/dev/null"];
    let refused =
        Command::new("curl").args(["-s"]).args(code).args(["--range", "10-", &url("a.txt")]).output();
    assert_eq!(refused.unwrap().stdout, b"416");
    // What was left of a download that broke off is fetched, and nothing else.
    let copy = root.path().join("copy");
    fs::write(&copy, &pattern(LEN, 1)[..LEN / 3]).unwrap();
    let size = ["--write-out", "%{http_code} %{size_download}", "--continue-at", "-", "--output"];
    let fetched = curl(&[&size[..], &[copy.to_str().unwrap(), &url("large.bin")]].concat());
    assert_eq!(fetched, format!("206 {}", LEN - LEN / 3));
    assert!(fs::read(&copy).unwrap() == pattern(LEN, 1));
}

#[test]
fn curl_asks_again_only_for_what_has_changed() {
    if !have("curl") {
        return;
    }
    let root = root();
    let server = start(root.path(), &[]);
    let url = format!("http://{}/a.txt", server.address());
    let (tag, copy) = (root.path().join("tag"), root.path().join("copy"));
    let (tag, copy) = (tag.to_str().unwrap(), copy.to_str().unwrap());
    let code = ["--write-out", "%{http_code}", "--output", copy];
    assert_eq!(curl(&[&code[..], &["--remote-time", "--etag-save", tag, &url]].concat()), "200");
    assert_eq!(curl(&[&code[..], &["--etag-compare", tag, &url]].concat()), "304");
    assert_eq!(curl(&[&code[..], &["--time-cond", copy, &url]].concat()), "304");
    fs::write(root.path().join("new"), "something else").unwrap();
    fs::rename(root.path().join("new"), root.path().join("a.txt")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100)); // a file is believed for a second
    assert_eq!(curl(&[&code[..], &["--etag-compare", tag, &url]].concat()), "200");
    assert_eq!(fs::read_to_string(copy).unwrap(), "something else");
}

#[test]
fn curl_speaks_every_http_1_to_it() {
    if !have("curl") {
        return;
    }
    let root = root();
    let server = start(root.path(), &[]);
    let url = |path: &str| format!("http://{}/{path}", server.address());
    assert_eq!(curl(&["--http1.0", &url("a.txt")]), "0123456789");
    let connections = ["--write-out", "[%{num_connects}]"];
    let one = [&url("a.txt"), "--next", "--silent", connections[0], connections[1], &url("b.txt"), "--next"];
    let three =
        [&connections[..], &one, &["--silent", "--head", connections[0], connections[1], &url("a.txt")]];
    let text = curl(&three.concat());
    assert!(text.starts_with("0123456789[1]abcdef[0]HTTP/1.1 200 OK\r\n") && text.ends_with("[0]"), "{text}");
    let over_1_0 = curl(&["--http1.0", "-H", "Connection: keep-alive", &url("a.txt"), &url("b.txt")]);
    assert_eq!(over_1_0, "0123456789abcdef");
    // A body that is waited for, and not wanted: the answer comes first, and curl does not wait its second for it.
    let arguments = ["-H", "Expect: 100-continue", "--data-binary", "@-", "--request", "GET"];
    let mut command = Command::new("curl");
    command.args(["-sS", "-v", "--max-time", "20", "--expect100-timeout", "15"]).args(arguments);
    let output = run(command.arg(url("a.txt")).stdin(fs::File::open(root.path().join("large.bin")).unwrap()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("413 Content Too Large"), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("100 Continue"), "a body of that size is refused before it is sent: {said}");
    let small = fs::File::open(root.path().join("b.txt")).unwrap();
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "10", "--expect100-timeout", "15"]).args(arguments);
    assert_eq!(run(command.arg(url("a.txt")).stdin(small)).stdout, b"0123456789");
}

/// All files beneath a directory, with what they hold.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// 2,000 files in 40 directories, some of which have names that need care.
fn plant(root: &Path) {
    for directory in 0..40 {
        let names = ["plain", "with blank", "100%", "a+b&c", "\u{e9}t\u{e9}", "q?x#y", "semi;colon"];
        let path = root.join(format!("{} {}", names[directory % names.len()], directory)).join("deep");
        fs::create_dir_all(&path).unwrap();
        for file in 0..50 {
            let place = if file % 2 == 0 { path.as_path() } else { path.parent().unwrap() };
            let name = format!("{}-{file}.bin", names[file % names.len()]);
            fs::write(place.join(name), pattern(file * 400, (directory * 50 + file + 1) as u64)).unwrap();
        }
    }
}

#[test]
fn wget_fetches_a_tree_of_two_thousand_files() {
    if !have("wget") {
        return;
    }
    let (root, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(root.path());
    let planted = contents(root.path());
    assert_eq!(planted.len(), 2000);
    let server = start(root.path(), &["--listing", "--threads", "2"]);
    let mut wget = Command::new("wget");
    wget.args([
        "--quiet",
        "--recursive",
        "--level=inf",
        "--no-parent",
        "--no-host-directories",
        "--no-proxy",
    ]);
    // The pages are not what is wanted, nor in each order that they can be sorted.
    wget.args(["--reject-regex", "[?]sort=", "--timeout=20", "--tries=1"]);
    wget.args(["--restrict-file-names=unix,nocontrol", "--execute", "robots=off", "--directory-prefix"]);
    run(wget.arg(copy.path()).arg(format!("http://{}/", server.address())).env("LC_ALL", "C.UTF-8"));
    let mut fetched = contents(copy.path());
    fetched.retain(|name, _| !name.ends_with("index.html"));
    let missing: Vec<&String> = planted.keys().filter(|name| !fetched.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let others: Vec<&String> = fetched
        .iter()
        .filter(|(name, bytes)| planted.get(*name) != Some(*bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(others.is_empty(), "these are others: {others:?}");
}

#[test]
fn wrk_sees_no_request_fail() {
    if !have("wrk") {
        return;
    }
    let root = root();
    let server = start(root.path(), &["--threads", "2"]);
    for path in ["a.txt", "large.bin"] {
        let url = format!("http://{}/{path}", server.address());
        let report = run(Command::new("wrk").args(["-t2", "-c50", "-d2s", "--timeout", "10s", &url]));
        let report = String::from_utf8(report.stdout).unwrap();
        assert!(report.contains("requests in") && !report.contains(" 0 requests"), "{report}");
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    }
    assert!(server.stop("TERM").success());
}

const PYTHON: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
def ask(method, target, status, **more):
    connection.request(method, target, **more)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == status, (method, target, answer.status)
    return answer, body
answer, body = ask("GET", "/a.txt", 200)
assert body == b"0123456789" and answer.getheader("Content-Type").startswith("text/plain")
socket = connection.sock
tag = answer.getheader("ETag")
assert ask("HEAD", "/a.txt", 200)[1] == b""
assert ask("GET", "/a.txt", 304, headers={"If-None-Match": tag})[1] == b""
answer, body = ask("GET", "/a.txt", 206, headers={"Range": "bytes=5-"})
assert body == b"56789" and answer.getheader("Content-Range") == "bytes 5-9/10"
ask("GET", "/none", 404)
ask("OPTIONS", "*", 204)
ask("POST", "/a.txt", 405, body=b"x" * 1000)
ask("POST", "/a.txt", 405, body=iter([b"abc", b"", b"defg"]), encode_chunked=True)
answer, body = ask("GET", "/large.bin", 200)
assert len(body) == int(answer.getheader("Content-Length")) == 300000
assert connection.sock is socket, "all of it went over one connection"
answer, body = ask("GET", "/-/stats.json", 200)
import json
assert json.loads(body)["connections"]["accepted"] == 1
"#;

#[test]
fn pythons_http_client_is_content() {
    if !have("python3") {
        return;
    }
    let root = root();
    let server = start(root.path(), &["--stats"]);
    run(Command::new("python3").args(["-c", PYTHON, &server.address().to_string()]));
}
