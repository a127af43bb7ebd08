//! Single and several ranges through real sockets, from memory and from descriptors.
#![cfg(feature = "http")]

mod support;

use std::fs;

use support::http::{Response, Running};
use support::net::pattern;

/// One file that is kept in memory and one that is not.
const SIZES: [(&str, usize); 2] = [("/small.bin", 1000), ("/large.bin", 300_000)];

fn serve() -> (tempfile::TempDir, Running) {
    let root = tempfile::tempdir().unwrap();
    for (target, size) in SIZES {
        fs::write(root.path().join(&target[1..]), pattern(size, 5)).unwrap();
    }
    let server = Running::start_files(root.path(), |files| files);
    (root, server)
}

/// The parts of a multipart body: what each says of itself, and its bytes.
fn parts(response: &Response) -> Vec<(String, Vec<u8>)> {
    let content_type = response.field("Content-Type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    let mut rest = &response.body[..];
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(format!("\r\n--{boundary}").as_bytes()).expect("a boundary");
        if rest == b"--\r\n" {
            return parts;
        }
        let head_end = memchr::memmem::find(rest, b"\r\n\r\n").expect("an empty line");
        let head = std::str::from_utf8(&rest[2..head_end]).unwrap().to_owned();
        rest = &rest[head_end + 4..];
        let range = head.split_once("Content-Range: bytes ").unwrap().1;
        let (first, last) = range.split_once('/').unwrap().0.split_once('-').unwrap();
        let length = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        let (bytes, behind) = rest.split_at(length);
        parts.push((head, bytes.to_vec()));
        rest = behind;
    }
}

#[test]
fn one_range() {
    let (_root, server) = serve();
    let mut client = server.connect();
    for (target, size) in SIZES {
        let bytes = pattern(size, 5);
        let last = size - 1;
        let table = [
            ("0-0".to_owned(), 0, 0),
            ("5-9".to_owned(), 5, 9),
            ("-10".to_owned(), size - 10, last),
            (format!("{last}-"), last, last),
            ("100-99999999".to_owned(), 100, last),
            ("0-4,5-9,2-3".to_owned(), 0, 9),
            ("5-9,99999999-".to_owned(), 5, 9),
        ];
        for (range, first, last) in table {
            let response = client.get_with(target, &format!("Range: bytes={range}\r\n"));
            assert_eq!(response.status, 206, "{range}");
            let expected = format!("bytes {first}-{last}/{size}");
            assert_eq!(response.field("Content-Range"), Some(expected.as_str()), "{range}");
            assert!(response.body == bytes[first..=last], "{range}");
        }
    }
}

#[test]
fn several_ranges() {
    let (_root, server) = serve();
    let mut client = server.connect();
    for (target, size) in SIZES {
        let bytes = pattern(size, 5);
        let response = client.get_with(target, "Range: bytes=900-909, 0-1 ,-1,200-300,250-310\r\n");
        assert_eq!(response.status, 206);
        assert_eq!(response.field("Content-Range"), None, "each part has its own");
        let found = parts(&response);
        // Two of them meet, and then the order is that of the file.
        let expected = [(0, 1), (200, 310), (900, 909), (size - 1, size - 1)];
        assert_eq!(found.len(), expected.len());
        for ((head, part), (first, last)) in found.iter().zip(expected) {
            let fields = format!(
                "Content-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{size}"
            );
            assert_eq!(*head, fields);
            assert!(*part == bytes[first..=last], "{head}");
        }
        let kept_order = parts(&client.get_with(target, "Range: bytes=900-909,0-1\r\n"));
        assert!(kept_order[0].1 == bytes[900..910] && kept_order[1].1 == bytes[..2]);
        assert_eq!(client.get(target).status, 200, "the length was right");
    }
}

#[test]
fn what_is_no_range_gets_the_whole_and_what_lies_outside_nothing() {
    let (_root, server) = serve();
    let mut client = server.connect();
    let many: Vec<_> = (0..17).map(|at| format!("{0}-{0}", 2 * at)).collect();
    let many = format!("bytes={}", many.join(","));
    for (value, status) in [
        (many.as_str(), 200),
        ("bytes=0-0,x", 200),
        ("bytes=", 200),
        ("lines=1-2", 200),
        ("bytes=5-1", 200),
        ("bytes=1000-,2000-", 416),
        ("bytes=-0", 416),
    ] {
        let response = client.get_with("/small.bin", &format!("Range: {value}\r\n"));
        assert_eq!(response.status, status, "{value}");
        let unsatisfied = (status == 416).then_some("bytes */1000");
        assert_eq!(response.field("Content-Range"), unsatisfied, "{value}");
    }
    let head = client.request("HEAD", "/small.bin", "Range: bytes=0-1,5-6\r\n");
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("1000")));
}

#[test]
fn greed_is_no_amplifier() {
    let (_root, server) = serve();
    let greedy = vec!["0-"; 16].join(",");
    let response = server.connect().get_with("/large.bin", &format!("Range: bytes={greedy}\r\n"));
    assert_eq!((response.status, response.body.len()), (206, 300_000));
}
