//! Compressed siblings through real sockets: who gets which, and what is said of them.
#![cfg(feature = "http")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use support::http::Running;

fn serve() -> (tempfile::TempDir, Running) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(outside.path().join("secret.gz"), "secret").unwrap();
    for (name, text) in [
        ("a.css", "plain"),
        ("a.css.br", "brotli"),
        ("a.css.zst", "zstandard"),
        ("a.css.gz", "gz"),
        ("only.js", "plain"),
        ("only.js.gz", "0123456789"),
        ("none.txt", "plain"),
        ("stale.txt", "plain"),
        ("stale.txt.gz", "old"),
        ("out.txt", "plain"),
        ("sub/index.html", "plain"),
        ("sub/index.html.gz", "index"),
    ] {
        fs::write(root.join(name), text).unwrap();
    }
    fs::create_dir(root.join("none.txt.gz")).unwrap();
    symlink("../secret.gz", root.join("out.txt.gz")).unwrap();
    let stale = File::options().write(true).open(root.join("stale.txt.gz")).unwrap();
    stale.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let server = Running::start_files(&root, |files| files.precompressed(true));
    (outside, server)
}

#[test]
fn each_client_gets_what_it_accepts() {
    let (_tree, server) = serve();
    let mut client = server.connect();
    let table = [
        ("/a.css", "gzip, deflate, br, zstd", "brotli", Some("br")),
        ("/a.css", "gzip, zstd", "zstandard", Some("zstd")),
        ("/a.css", "br;q=0.1, gzip;q=0.2", "gz", Some("gzip")),
        ("/a.css", "br;q=0, *", "zstandard", Some("zstd")),
        ("/a.css", "identity, br;q=0.5", "plain", None),
        ("/a.css", "deflate", "plain", None),
        ("/only.js", "br, gzip", "0123456789", Some("gzip")),
        ("/only.js", "br", "plain", None),
        ("/sub/", "gzip", "index", Some("gzip")),
    ];
    for (target, accept, body, coding) in table {
        let response = client.get_with(target, &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((response.status, response.text()), (200, body), "{target} {accept}");
        assert_eq!(response.field("Content-Encoding"), coding, "{target} {accept}");
        assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{target} {accept}");
    }
    let silent = client.get("/a.css");
    assert_eq!((silent.text(), silent.field("Vary")), ("plain", Some("Accept-Encoding")));
    assert_eq!(client.get("/a.css").field("Content-Type"), Some("text/css; charset=utf-8"));
    let coded = client.get_with("/a.css", "Accept-Encoding: br\r\n");
    assert_eq!(coded.field("Content-Type"), Some("text/css; charset=utf-8"));
    let itself = client.get_with("/a.css.gz", "Accept-Encoding: gzip\r\n");
    assert_eq!((itself.text(), itself.field("Content-Encoding")), ("gz", None), "a file under its own name");
}

#[test]
fn a_sibling_that_is_old_or_outside_or_no_file_is_left_alone() {
    let (_tree, server) = serve();
    let mut client = server.connect();
    for target in ["/none.txt", "/stale.txt", "/out.txt"] {
        let response = client.get_with(target, "Accept-Encoding: gzip, br\r\n");
        assert_eq!((response.text(), response.field("Content-Encoding")), ("plain", None), "{target}");
        assert_eq!(response.field("Vary"), None, "{target}");
    }
    assert_eq!(client.get("/out.txt.gz").status, 403);
}

#[test]
fn ranges_and_validators_are_those_of_the_variant() {
    let (_tree, server) = serve();
    thread::sleep(Duration::from_millis(2100));
    let mut client = server.connect();
    let gzip = "Accept-Encoding: gzip\r\n";
    let plain = client.get("/only.js");
    let coded = client.get_with("/only.js", gzip);
    let (plain_tag, coded_tag) = (plain.field("ETag").unwrap(), coded.field("ETag").unwrap());
    assert_ne!(plain_tag, coded_tag);
    let with_tag = |tag: &str| format!("{gzip}If-None-Match: {tag}\r\n");
    let unchanged = client.get_with("/only.js", &with_tag(coded_tag));
    assert_eq!((unchanged.status, unchanged.field("Vary")), (304, Some("Accept-Encoding")));
    assert_eq!(client.get_with("/only.js", &with_tag(plain_tag)).status, 200);
    let part = client.get_with("/only.js", &format!("{gzip}Range: bytes=2-4\r\nIf-Range: {coded_tag}\r\n"));
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("Content-Range"), Some("bytes 2-4/10"));
    assert_eq!(part.field("Content-Encoding"), Some("gzip"));
    let other = client.get_with("/only.js", &format!("{gzip}Range: bytes=2-4\r\nIf-Range: {plain_tag}\r\n"));
    assert_eq!((other.status, other.text()), (200, "0123456789"), "parts of two variants are never mixed");
    let several = client.get_with("/only.js", &format!("{gzip}Range: bytes=0-0,9-9\r\n"));
    assert_eq!((several.status, several.field("Content-Encoding")), (206, Some("gzip")));
    let head = client.request("HEAD", "/only.js", gzip);
    assert_eq!((head.field("Content-Length"), head.field("Content-Encoding")), (Some("10"), Some("gzip")));
}

#[test]
fn without_the_setting_siblings_are_files_like_others() {
    let (tree, _) = serve();
    let server = Running::start_files(&tree.path().join("root"), |files| files);
    let response = server.connect().get_with("/a.css", "Accept-Encoding: br\r\n");
    assert_eq!((response.text(), response.field("Vary")), ("plain", None));
}
