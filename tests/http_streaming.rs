//! Answers whose length is not known when they begin: chunked, or ended by the connection, and never made faster than
//! they are read.
#![cfg(feature = "http")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::http::Running;
use support::net::pattern;
use zerovent::Evbuffer;
use zerovent::http::{BodyWriter, Response, Routes, ServerOptions, Status};

const PIECE: usize = 64 << 10;
const PIECES: usize = 320;

fn buffer(bytes: &[u8]) -> Evbuffer {
    let mut buffer = Evbuffer::new();
    buffer.add(bytes).unwrap();
    buffer
}

/// Writes the pieces from `number` on, each when the one before has left.
fn write_on(writer: BodyWriter, number: usize, made: Arc<AtomicUsize>) {
    if number == PIECES {
        return writer.finish().unwrap();
    }
    made.fetch_add(1, Ordering::Relaxed);
    let mut piece = buffer(&pattern(PIECE, number as u64));
    let _ = writer.write_then(&mut piece, move |writer| write_on(writer, number + 1, made));
}

fn server(made: &Arc<AtomicUsize>) -> Running {
    let made = Arc::clone(made);
    Running::serve(ServerOptions::new().write_timeout(Duration::from_secs(60)), move || {
        Routes::new()
            .route("GET", "/large", move |_, _, responder| {
                write_on(responder.stream(Response::new(Status::Ok)).unwrap(), 0, Arc::clone(&made));
            })
            .route("GET", "/words", |_, _, responder| {
                let mut head = Response::new(Status::Ok).with("X-Kind", "words").unwrap();
                head.body().add(b"one ").unwrap();
                let mut writer = responder.stream(head).unwrap();
                thread::spawn(move || {
                    for word in ["two ", "", "three"] {
                        if writer.write(&mut buffer(word.as_bytes())).is_err() {
                            return;
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                    let _ = writer.finish();
                });
            })
            .route("GET", "/broken", |_, _, responder| {
                let mut writer = responder.stream(Response::new(Status::Ok)).unwrap();
                writer.write(&mut buffer(b"half")).unwrap();
            })
    })
}

#[test]
fn pieces_arrive_as_one_body_and_the_connection_goes_on() {
    let server = server(&Arc::default());
    let mut client = server.connect();
    for _ in 0..3 {
        let head = client.send_get("/words", "").head();
        assert!(head.fields.contains(&("X-Kind".into(), "words".into())), "{head:?}");
        assert_eq!(client.body(&head), b"one two three");
    }
    client.send("HEAD /words HTTP/1.1\r\nHost: x\r\n\r\n").send_get("/words", "");
    let announced = client.head_response();
    assert_eq!(announced.field("Transfer-Encoding"), Some("chunked"));
    let head = client.head();
    assert_eq!(client.body(&head), b"one two three", "a HEAD has no body");
}

#[test]
fn for_http_1_0_the_connection_ends_the_body() {
    let server = server(&Arc::default());
    let mut client = server.connect();
    client.send("GET /words HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = client.head();
    assert!(head.fields.contains(&("Connection".into(), "close".into())), "{head:?}");
    assert!(!head.fields.iter().any(|(name, _)| name == "Transfer-Encoding"));
    assert_eq!(client.body(&head), b"one two three");
}

#[test]
fn a_body_is_not_made_faster_than_it_is_read() {
    let made = Arc::new(AtomicUsize::new(0));
    let server = server(&made);
    let mut client = server.connect();
    let head = client.send_get("/large", "").head();
    thread::sleep(Duration::from_millis(300));
    let ahead = made.load(Ordering::Relaxed);
    assert!(ahead < PIECES, "all {PIECES} pieces were made for a client that reads nothing");
    let body = client.body(&head);
    let expected: Vec<u8> = (0..PIECES).flat_map(|number| pattern(PIECE, number as u64)).collect();
    assert!(body == expected);
    assert_eq!(made.load(Ordering::Relaxed), PIECES);
    let head = client.send_get("/words", "").head();
    assert_eq!(client.body(&head), b"one two three");
}

#[test]
fn a_body_that_is_given_up_ends_the_connection_without_its_last_chunk() {
    let server = server(&Arc::default());
    let mut client = server.connect();
    client.send_get("/broken", "").send_get("/words", "").head();
    assert_eq!(client.rest(), b"4\r\nhalf\r\n", "no last chunk, and no answer behind it");
}

#[test]
fn who_leaves_in_the_middle_stops_the_writing() {
    let made = Arc::new(AtomicUsize::new(0));
    let server = server(&made);
    let mut client = server.connect();
    client.send_get("/large", "").head();
    drop(client);
    while server.connections() > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(made.load(Ordering::Relaxed) < PIECES);
    let mut next = server.connect();
    let head = next.send_get("/words", "").head();
    assert_eq!(next.body(&head), b"one two three");
}
