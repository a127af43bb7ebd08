//! The client: against this crate's server, and against servers that misbehave.
#![cfg(feature = "http")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use support::http::Running;
use support::net::{PATIENCE, any_port, pattern};
use zerovent::http::{self, Fetched, Get, Response, Routes, ServerOptions, Status};
use zerovent::{Error, Evbuffer, EventBase, Result};

/// Sends one request on a loop of its own and gives what the callback was told.
fn fetch(get: Get) -> Result<Fetched> {
    let mut base = EventBase::with_context(None)?;
    get.send(&mut base, |base, fetched| *base.context_mut() = Some(fetched))?;
    base.dispatch()?;
    base.context_mut().take().expect("the callback is called before the loop has nothing left to do")
}

fn body(fetched: &mut Fetched) -> Vec<u8> {
    let len = fetched.body().len();
    fetched.body().pullup(len).unwrap().to_vec()
}

/// Somebody who answers one request with these bytes, and then closes.
fn answering(bytes: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let bytes = bytes.into();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let _ = stream.write_all(&bytes);
    });
    address
}

fn kind(result: Result<Fetched>) -> std::io::ErrorKind {
    match result {
        Err(Error::Io(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_every_framing_arrive() {
    let server = Running::serve(ServerOptions::new(), || {
        Routes::new()
            .route("GET", "/fixed", |_, request, responder| {
                let host = String::from_utf8(request.field("Host").unwrap().to_vec()).unwrap();
                let own = request.field("X-Own").map(<[u8]>::to_vec);
                assert_eq!((request.query(), own.as_deref()), (Some("q=1"), Some(&b"mine"[..])));
                responder.answer(Response::text(Status::Ok, host).unwrap()).unwrap();
            })
            .route("GET", "/chunked", |_, _, responder| {
                let mut writer = responder.stream(Response::new(Status::Ok)).unwrap();
                for number in 0..10 {
                    let mut piece = Evbuffer::new();
                    piece.add(&pattern(30_000, number)).unwrap();
                    writer.write(&mut piece).unwrap();
                }
                writer.finish().unwrap();
            })
            .route("GET", "/elsewhere", |_, _, responder| {
                let found = Response::new(Status::Found).with("Location", "/fixed").unwrap();
                responder.answer(found).unwrap();
            })
    });
    let port = server.address().port();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let mut fixed = fetch(Get::new(&url("/fixed?q=1#part")).with("X-Own", "mine")).unwrap();
    assert_eq!(body(&mut fixed), format!("127.0.0.1:{port}").as_bytes());
    assert_eq!((fixed.status(), fixed.field("content-type")), (200, Some(&b"text/plain; charset=utf-8"[..])));
    let mut chunked = fetch(Get::new(&url("/chunked"))).unwrap();
    assert!(body(&mut chunked) == (0..10).flat_map(|number| pattern(30_000, number)).collect::<Vec<u8>>());
    let elsewhere = fetch(Get::new(&url("/elsewhere"))).unwrap();
    assert_eq!((elsewhere.status(), elsewhere.field("Location")), (302, Some(&b"/fixed"[..])));
    assert_eq!(fetch(Get::new(&url("/missing"))).unwrap().status(), 404);
    let mut closing =
        fetch(Get::new(&format!("http://{}", answering("HTTP/1.0 200 OK\r\n\r\nthe end")))).unwrap();
    assert_eq!(body(&mut closing), b"the end");
}

#[test]
fn a_host_is_found_by_its_name() {
    let server = Running::serve(ServerOptions::new(), || {
        Routes::new().fallback(|_, _, responder| responder.answer(Response::new(Status::NoContent)).unwrap())
    });
    let fetched = fetch(Get::new(&format!("http://localhost:{}/", server.address().port())));
    assert_eq!(fetched.unwrap().status(), 204);
    let nowhere = fetch(Get::new("http://no-such-host.invalid/"));
    assert!(matches!(nowhere, Err(Error::Resolve(_))), "{nowhere:?}");
}

#[test]
fn a_server_and_its_client_live_on_one_loop() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let routes = Routes::new().route("GET", "/*", |_, request, responder| {
        responder.answer(Response::text(Status::Ok, request.path().to_owned()).unwrap()).unwrap();
    });
    let server = http::Server::bind(&mut base, any_port(), ServerOptions::new(), routes).unwrap();
    for number in 0..20 {
        let (url, server) = (format!("http://{}/{number}", server.local_addr()), server.clone());
        http::get(&mut base, &url, move |base: &mut EventBase<Vec<Vec<u8>>>, fetched| {
            base.context_mut().push(body(&mut fetched.unwrap()));
            if base.context().len() == 20 {
                server.shutdown(base).unwrap();
            }
        })
        .unwrap();
    }
    base.dispatch().unwrap();
    let mut bodies = std::mem::take(base.context_mut());
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20);
}

#[test]
fn servers_that_misbehave_are_errors_and_not_answers() {
    use std::io::ErrorKind::{ConnectionRefused, InvalidData, UnexpectedEof};
    let at = |bytes: &str| Get::new(&format!("http://{}/", answering(bytes)));
    assert_eq!(kind(fetch(at("nonsense\r\n\r\n"))), InvalidData);
    assert_eq!(kind(fetch(at(""))), UnexpectedEof);
    assert_eq!(kind(fetch(at("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"))), UnexpectedEof);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    assert_eq!(kind(fetch(at(chunked))), UnexpectedEof);
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
    assert_eq!(kind(fetch(at(both))), InvalidData);
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5000));
    assert!(matches!(fetch(at(&endless).body_max(4999)), Err(Error::Limit)));
    assert_eq!(fetch(at(&endless).body_max(5000)).unwrap().body().len(), 5000);
    let nobody = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    assert_eq!(kind(fetch(Get::new(&format!("http://{nobody}/")))), ConnectionRefused);
}

#[test]
fn who_does_not_answer_is_given_up_in_time() {
    let silent = TcpListener::bind(any_port()).unwrap();
    let timeout = Duration::from_millis(150);
    let began = Instant::now();
    let get = Get::new(&format!("http://{}/", silent.local_addr().unwrap())).timeout(timeout);
    assert_eq!(kind(fetch(get)), std::io::ErrorKind::TimedOut);
    assert!(began.elapsed() >= timeout);
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let table = [
        Get::new("https://localhost/"),
        Get::new("http://localhost/a b"),
        Get::new("http://localhost/").with("Host", "elsewhere"),
        Get::new("http://localhost/").with("X", "y\r\nZ: injected"),
        Get::new("http://localhost/").with("Content-Length", "5"),
    ];
    for get in table {
        let mut base = EventBase::new().unwrap();
        let text = format!("{get:?}");
        let sent = get.send(&mut base, |_: &mut EventBase, _| panic!("it was not sent"));
        assert!(matches!(sent, Err(Error::Invalid(_))), "{text}");
        base.dispatch().unwrap();
    }
}
