//! Handlers: who is called with what, and answers that come later, from elsewhere, out of order or never.
#![cfg(feature = "http")]

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::{ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use support::http::{Running, Served};
use support::net::PATIENCE;
use zerovent::Error;
use zerovent::event_base::Event;
use zerovent::http::{Responder, Response, Routes, ServerOptions, StaticFiles, Status};

fn text(text: impl Into<String>) -> Response {
    Response::text(Status::Ok, text.into()).unwrap()
}

/// A server whose `/held` hands its responders to the test.
fn with_held(more: impl FnOnce(Served) -> Served + Send + 'static) -> (Running, Receiver<Responder>) {
    with_held_by(ServerOptions::new(), more)
}

fn with_held_by(
    options: ServerOptions,
    more: impl FnOnce(Served) -> Served + Send + 'static,
) -> (Running, Receiver<Responder>) {
    let (sender, responders): (Sender<Responder>, _) = mpsc::channel();
    let routes = move || {
        more(Routes::new())
            .route("GET", "/held", move |_, _, responder| sender.send(responder).unwrap())
            .route("GET", "/now", |_, _, responder| responder.answer(text("now")).unwrap())
    };
    (Running::serve(options, routes), responders)
}

#[test]
fn a_handler_sees_the_request_and_its_answer_arrives() {
    let server = Running::serve(ServerOptions::new(), || {
        Routes::new().route("POST", "/echo/*", |_, mut request, responder| {
            let line = format!("{} {} {:?}", request.method(), request.path(), request.query());
            let field = String::from_utf8(request.field("x-own").unwrap().to_vec()).unwrap();
            let mut response =
                Response::new(Status::Created).with("X-Line", &line).unwrap().with("X-Own", &field).unwrap();
            response.body().add_buffer(request.body()).unwrap();
            responder.answer(response).unwrap();
        })
    });
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(
            "POST /echo/a%20b?q=1 HTTP/1.1\r\nHost: x\r\nX-OWN: mine\r\nContent-Length: 5\r\n\r\nhello",
        );
        let response = client.response();
        assert_eq!((response.status, response.text()), (201, "hello"));
        assert_eq!(response.field("X-Line"), Some("POST /echo/a b Some(\"q=1\")"));
        assert_eq!(response.field("X-Own"), Some("mine"));
        assert_eq!(response.field("Connection"), None);
    }
}

#[test]
fn what_has_no_route_goes_to_the_fallback_and_what_has_no_such_method_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file.txt"), "from a file").unwrap();
    let path = root.path().to_owned();
    let answer = |words: &'static str| {
        move |_: &mut _, _, responder: Responder| responder.answer(text(words)).unwrap()
    };
    let with_files = Running::serve(ServerOptions::new(), move || {
        Routes::new().route("GET", "/a", answer("a")).files(StaticFiles::new(path).unwrap())
    });
    let with_handler =
        Running::serve(ServerOptions::new(), move || Routes::new().fallback(answer("all else")));
    let with_nothing =
        Running::serve(ServerOptions::new(), move || Routes::new().route("GET", "/a", answer("a")));
    let mut client = with_files.connect();
    assert_eq!(client.get("/a").text(), "a");
    assert_eq!(client.get("/file.txt").text(), "from a file");
    assert_eq!(client.get("/../a").status, 403);
    client.send("DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("Allow")), (405, Some("GET, HEAD")));
    client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head_response().field("Content-Length"), Some("1"));
    assert_eq!(client.get("/a").text(), "a");
    assert_eq!(with_handler.connect().get("/anything").text(), "all else");
    let mut client = with_nothing.connect();
    assert_eq!((client.get("/b").status, client.get("/a").status), (404, 200));
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_order_handlers_answer_in() {
    let (server, responders) = with_held(|routes| routes);
    let mut client = server.connect();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send([request("/held"), request("/now"), request("/missing"), request("/held")].concat());
    let first = responders.recv_timeout(PATIENCE).unwrap();
    first.answer(text("first")).unwrap();
    let second = responders.recv_timeout(PATIENCE).unwrap();
    assert_eq!(client.response().text(), "first");
    assert_eq!(client.response().text(), "now");
    assert_eq!(client.response().status, 404);
    second.answer(text("second")).unwrap();
    assert_eq!(client.response().text(), "second");
    // Five at once, answered backwards.
    client.send(request("/held").repeat(5));
    let mut held: Vec<_> = (0..5).map(|_| responders.recv_timeout(PATIENCE).unwrap()).collect();
    while let Some(responder) = held.pop() {
        responder.answer(text(held.len().to_string())).unwrap();
    }
    for number in 0..5 {
        assert_eq!(client.response().text(), number.to_string());
    }
}

#[test]
fn answers_come_later_from_a_timer_and_from_another_thread() {
    let server = Running::serve(ServerOptions::new(), || {
        Routes::new()
            .route("GET", "/timer", |base, _, responder| {
                let wait = Some(Duration::from_millis(20));
                base.once(Event::timer(), wait, |_, _| responder.answer(text("timer")).unwrap()).unwrap();
            })
            .route("GET", "/thread", |_, _, responder| {
                thread::spawn(|| responder.answer(text("thread")).unwrap());
            })
    });
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/timer").text(), "timer");
        assert_eq!(client.get("/thread").text(), "thread");
    }
}

#[test]
fn who_drops_a_responder_has_answered_500_and_so_has_who_panics_elsewhere() {
    let server = Running::serve(ServerOptions::new(), || {
        Routes::new().route("GET", "/drop", |_, _, _| {}).route("GET", "/panic", |_, _, responder| {
            thread::spawn(move || {
                let _kept = responder;
                std::panic::resume_unwind(Box::new("a worker gives up"));
            });
        })
    });
    let mut client = server.connect();
    for target in ["/drop", "/panic", "/drop"] {
        assert_eq!(client.get(target).status, 500, "{target}");
    }
}

#[test]
fn an_answer_to_nobody_is_stale_and_harms_nobody() {
    let (server, responders) = with_held(|routes| routes);
    let mut gone = server.connect();
    gone.send_get("/now", "").send_get("/held", "");
    let responder = responders.recv_timeout(PATIENCE).unwrap();
    assert!(gone.stream().peek(&mut [0]).is_ok_and(|len| len == 1) && !responder.is_stale());
    drop(gone); // what it has not read makes the close a reset
    let began = Instant::now();
    while !responder.is_stale() {
        assert!(began.elapsed() < PATIENCE, "nobody told the responder");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(responder.answer(text("for nobody")), Err(Error::Stale)));
    assert_eq!(server.connect().get("/now").text(), "now");
}

#[test]
fn a_handler_may_use_the_base_and_shut_its_server_down() {
    let server = Running::serve(ServerOptions::new(), || {
        let count = Rc::new(RefCell::new(0));
        Served::new()
            .route("GET", "/count", move |_, _, responder| {
                *count.borrow_mut() += 1;
                responder.answer(text(count.borrow().to_string())).unwrap();
            })
            .route("POST", "/end", |base, _, responder| {
                base.context_mut().take().unwrap().shutdown(base).unwrap();
                responder.answer(text("good night")).unwrap();
            })
    });
    let mut client = server.connect();
    assert_eq!((client.get("/count").text(), client.get("/count").text()), ("1", "2"));
    client.send("POST /end HTTP/1.1\r\nHost: x\r\n\r\n");
    let last = client.response();
    assert!(last.text() == "good night" && last.closes() && client.is_closed());
}

#[test]
fn shutting_down_waits_for_what_handlers_owe() {
    let (server, responders) = with_held(|routes| routes);
    let mut client = server.connect();
    client.send_get("/held", "");
    let responder = responders.recv_timeout(PATIENCE).unwrap();
    server.begin_shutdown();
    thread::sleep(Duration::from_millis(50));
    responder.answer(text("at last")).unwrap();
    let response = client.response();
    assert!(response.text() == "at last" && response.closes() && client.is_closed());
    server.stop();
}

#[test]
fn a_server_that_is_shut_down_waits_for_a_handler_no_longer_than_it_may() {
    let timeout = Duration::from_millis(200);
    let (server, responders) = with_held_by(ServerOptions::new().drain_timeout(timeout), |routes| routes);
    let mut client = server.connect();
    client.send_get("/held", "");
    let responder = responders.recv_timeout(PATIENCE).unwrap();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() >= timeout, "not before its time");
    let answered = client.stream().read(&mut [0]);
    assert_eq!(answered.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert!(responder.answer(text("too late")).is_err());
}

#[test]
fn a_request_that_is_to_be_the_last_is() {
    let (server, _responders) = with_held(|routes| routes);
    let mut client = server.connect();
    let last = "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.send(format!("GET /now HTTP/1.1\r\nHost: x\r\n\r\n{last}{last}"));
    assert!(!client.response().closes());
    assert!(client.response().closes() && client.is_closed());
    let mut old = server.connect();
    assert!(old.send("GET /now HTTP/1.0\r\n\r\n").response().closes() && old.is_closed());
}

#[test]
fn connections_are_limited_altogether_and_by_address() {
    let routes = || Routes::new().route("GET", "/", |_, _, responder| responder.answer(text("x")).unwrap());
    let server = Running::serve(ServerOptions::new().connections_each_max(2), routes);
    let (mut first, mut second) = (server.connect(), server.connect());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    assert!(server.connect().is_closed());
    drop(first);
    while server.connections() > 1 {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.connect().get("/").status, 200);
    let server = Running::serve(ServerOptions::new().connections_max(2), routes);
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = server.connect();
    busy.send("GET / HT");
    let mut another = server.connect();
    assert_eq!(another.get("/").status, 200, "in place of the idle one");
    assert!(idle.is_closed());
    assert_eq!(busy.send("TP/1.1\r\nHost: x\r\n\r\n").response().status, 200);
}
