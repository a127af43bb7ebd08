//! Conditional requests through real sockets: the order of precedence of RFC 9110, section 13.2.2, with the
//! validators that the server itself gave out.
#![cfg(feature = "http")]

mod support;

use std::fs;
use std::thread;
use std::time::Duration;

use support::http::{Response, Running};

/// Longer than a file needs to be at rest, which is what makes its validators strong.
const REST: Duration = Duration::from_millis(2100);

fn serve_a_file() -> (tempfile::TempDir, Running) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.txt"), "0123456789").unwrap();
    let server =
        Running::start_files(root.path(), |files| files.cache_control("*.txt", "max-age=60").unwrap());
    (root, server)
}

fn tag_of(response: &Response) -> String {
    response.field("ETag").expect("a tag").to_owned()
}

#[test]
fn every_condition_in_its_order() {
    let (_root, server) = serve_a_file();
    thread::sleep(REST);
    let mut client = server.connect();
    let full = client.get("/a.txt");
    let (tag, date) = (tag_of(&full), full.field("Last-Modified").unwrap().to_owned());
    assert!(tag.starts_with('"'), "strong: {tag}");
    let (before, after) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT");
    let table = [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: W/{tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {after}\r\n"), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        (format!("If-Modified-Since: {before}\r\n"), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Match: *\r\n".to_owned(), 200),
        (format!("If-Match: W/{tag}\r\n"), 412),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"), 412),
        (format!("If-Match: {tag}\r\nIf-None-Match: {tag}\r\n"), 304),
        (format!("If-Match: {tag}\r\nIf-Unmodified-Since: {before}\r\n"), 200),
        (format!("If-Unmodified-Since: {before}\r\n"), 412),
        (format!("If-Unmodified-Since: {date}\r\n"), 200),
        ("If-Unmodified-Since: whenever\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1\r\nIf-None-Match: {tag}\r\n"), 304),
        (format!("Range: bytes=0-1\r\nIf-Match: {tag}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: W/{tag}\r\n"), 200),
        ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: {before}\r\n"), 200),
        ("Range: bytes=0-1\r\nIf-Match: \"x\"\r\n".to_owned(), 412),
    ];
    for (fields, status) in table {
        let response = client.get_with("/a.txt", &fields);
        assert_eq!(response.status, status, "{fields}");
        match status {
            200 => assert_eq!(response.text(), "0123456789", "{fields}"),
            206 => assert_eq!(response.text(), "01", "{fields}"),
            304 => {
                assert!(response.body.is_empty() && response.field("Content-Length").is_none(), "{fields}")
            }
            _ => assert!(response.text().contains("412 Precondition Failed"), "{fields}"),
        }
        if status != 412 {
            let same = ["ETag", "Last-Modified", "Cache-Control"]
                .map(|name| response.field(name) == full.field(name));
            assert_eq!(same, [true; 3], "{fields}");
        }
        let head = client.request("HEAD", "/a.txt", &fields);
        assert_eq!(head.status, if status == 206 { 200 } else { status }, "HEAD {fields}");
    }
}

#[test]
fn a_file_that_was_changed_just_now_proves_nothing_to_the_byte() {
    let (root, server) = serve_a_file();
    let mut client = server.connect();
    fs::write(root.path().join("b.txt"), "0123456789").unwrap();
    let tag = tag_of(&client.get("/b.txt"));
    if let Some(strong) = tag.strip_prefix("W/") {
        assert_eq!(client.get_with("/b.txt", &format!("If-None-Match: {strong}\r\n")).status, 304);
        let ranged = format!("Range: bytes=0-1\r\nIf-Range: {strong}\r\n");
        assert_eq!(client.get_with("/b.txt", &ranged).status, 200);
        thread::sleep(REST);
        assert_eq!(tag_of(&client.get("/b.txt")), strong, "it matures");
        assert_eq!(client.get_with("/b.txt", &ranged).status, 206);
    }
}

#[test]
fn another_file_of_the_same_length_and_date_has_another_tag() {
    let (root, server) = serve_a_file();
    let mut client = server.connect();
    let (old, new) = (root.path().join("a.txt"), root.path().join("new.txt"));
    fs::write(&new, "9876543210").unwrap();
    let modified = fs::metadata(&old).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
    let first = client.get("/a.txt");
    fs::rename(new, old).unwrap();
    thread::sleep(REST);
    let second = client.get_with("/a.txt", &format!("If-None-Match: {}\r\n", tag_of(&first)));
    assert_eq!((second.status, second.text()), (200, "9876543210"));
    assert_eq!(first.field("Last-Modified"), second.field("Last-Modified"));
}
