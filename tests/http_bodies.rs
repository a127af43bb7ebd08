//! Request bodies: fixed and chunked, cut anywhere, limited in bytes and in time, and announced beforehand.
#![cfg(feature = "http")]

mod support;

use std::time::{Duration, Instant};

use support::http::{Client, Running};
use support::net::pattern;
use zerovent::http::{Response, Routes, ServerOptions, Status};

const SOON: Duration = Duration::from_millis(150);

/// Sends every body back.
fn echo(options: ServerOptions) -> Running {
    Running::serve(options, || {
        Routes::new().route("POST", "/", |_, mut request, responder| {
            let mut response = Response::new(Status::Ok);
            response.body().add_buffer(request.body()).unwrap();
            responder.answer(response).unwrap();
        })
    })
}

fn head(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

/// The status of an interim answer, and nothing else of it.
fn interim(client: &mut Client) -> u16 {
    let head = client.head();
    assert!(head.fields.is_empty(), "{head:?}");
    head.status
}

#[test]
fn a_body_arrives_whole_however_it_is_framed_and_cut() {
    let server = echo(ServerOptions::new().body_max(1 << 20));
    let mut client = server.connect();
    for len in [0, 1, 100, 5000, 300_000] {
        let bytes = pattern(len, 3);
        client.send(head(&format!("Content-Length: {len}\r\n"))).send(&bytes);
        assert!(client.response().body == bytes, "{len} bytes at once");
        client.send(head("Transfer-Encoding: chunked\r\n"));
        for piece in bytes.chunks(7001) {
            client.send(format!("{:x};name=\"value\"\r\n", piece.len())).send(piece).send("\r\n");
        }
        client.send("0\r\nTrailer: ignored\r\n\r\n");
        assert!(client.response().body == bytes, "{len} bytes in chunks");
    }
    for byte in format!("{}5\r\nhello\r\n0\r\n\r\n", head("Transfer-Encoding: chunked\r\n")).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn too_much_is_413_however_it_is_announced() {
    let server = echo(ServerOptions::new().body_max(1000));
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    let table = [
        head("Content-Length: 1001\r\n"),
        head("Content-Length: 99999999999999999999999999\r\n"),
        format!("{}3e9\r\n", head("Transfer-Encoding: chunked\r\n")),
        format!("{}{}", head("Transfer-Encoding: chunked\r\n"), chunk.repeat(2)),
        format!("{}ffffffffffffffff1\r\n", head("Transfer-Encoding: chunked\r\n")),
        format!("{}0\r\n{}", head("Transfer-Encoding: chunked\r\n"), "T: x\r\n".repeat(1000)),
        format!("{}1;{}", head("Transfer-Encoding: chunked\r\n"), "x".repeat(5000)),
    ];
    for request in table {
        let mut client = server.connect();
        let response = client.send(&request).response();
        assert!(response.status == 413 && response.closes(), "{request:.80}: {response:?}");
        assert!(client.is_closed());
    }
    let mut client = server.connect();
    client.send(head("Content-Length: 1000\r\n")).send(pattern(1000, 1));
    assert_eq!(client.response().status, 200);
}

#[test]
fn who_asks_before_sending_is_told_to_go_on_when_the_body_is_wanted() {
    let server = echo(ServerOptions::new().body_max(1000));
    let mut client = server.connect();
    client.send(head("Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert_eq!(interim(&mut client), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    client.send(head("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n"));
    assert_eq!(interim(&mut client), 100);
    client.send("2\r\nhi\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hi");
    // Nothing is to come, so nobody needs to be asked for it.
    client.send(head("Expect: 100-continue\r\n"));
    assert_eq!(client.response().status, 200);
}

#[test]
fn who_asks_before_sending_what_is_not_wanted_is_told_why() {
    let server = echo(ServerOptions::new().body_max(1000));
    let expects = "Expect: 100-continue\r\nContent-Length:";
    let table = [
        (head(&format!("{expects} 1001\r\n")), 413),
        (format!("PUT / HTTP/1.1\r\nHost: x\r\n{expects} 5\r\n\r\n"), 405),
        (format!("POST /missing HTTP/1.1\r\nHost: x\r\n{expects} 5\r\n\r\n"), 404),
        (head("Expect: a-miracle\r\nContent-Length: 5\r\n"), 417),
    ];
    for (request, status) in table {
        let mut client = server.connect();
        let response = client.send(&request).response();
        assert!(response.status == status && response.closes(), "{request}: {response:?}");
        assert!(client.is_closed());
    }
    let mut old = server.connect();
    old.send("POST / HTTP/1.0\r\nExpect: anything\r\nContent-Length: 2\r\n\r\n").send("ok");
    assert_eq!(old.response().text(), "ok", "HTTP/1.0 knows no expectations");
}

#[test]
fn an_invitation_waits_for_its_turn() {
    let (sender, responders) = std::sync::mpsc::channel();
    let server = Running::serve(ServerOptions::new(), move || {
        Routes::new().route("GET", "/held", move |_, _, responder| sender.send(responder).unwrap()).route(
            "POST",
            "/",
            |_, _, responder| responder.answer(Response::new(Status::NoContent)).unwrap(),
        )
    });
    let mut client = server.connect();
    client.send_get("/held", "").send(head("Expect: 100-continue\r\nContent-Length: 1\r\n"));
    let held = responders.recv_timeout(support::net::PATIENCE).unwrap();
    held.answer(Response::text(Status::Ok, "first").unwrap()).unwrap();
    assert_eq!(client.response().text(), "first");
    assert_eq!(interim(&mut client), 100);
    let done = client.send("x").head_response();
    assert!(done.status == 204 && done.field("Content-Length").is_none());
}

#[test]
fn a_body_that_trickles_is_given_up_in_time_and_a_body_that_is_cut_is_nobodys() {
    let server = echo(ServerOptions::new().body_timeout(SOON));
    let began = Instant::now();
    let mut client = server.connect();
    client.send(head("Content-Length: 10\r\n")).send("12345");
    let response = client.response();
    assert!(response.status == 408 && response.closes() && client.is_closed());
    assert!(began.elapsed() >= SOON);
    let mut cut = server.connect();
    cut.send(head("Content-Length: 10\r\n")).send("12345").finish_sending();
    assert!(cut.is_closed());
}
