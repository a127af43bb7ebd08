//! The book's programs, run as processes: what they answer, how they end, and what they say to a bad command line.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

use support::net::{any_port, pattern, read_exact};
use support::process::{Server, example};

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name)).args(arguments).output().unwrap()
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends everything and reads at the same time: nobody's socket buffer holds it all.
fn exchange(mut stream: TcpStream, sent: Vec<u8>) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let len = sent.len();
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    let received = read_exact(&mut stream, len);
    writing.join().unwrap();
    received
}

#[test]
fn echo_returns_every_byte_on_every_connection() {
    let server = Server::start("echo", &[]);
    let clients: Vec<_> = (0..8)
        .map(|seed| (server.connect(), pattern(1 << 20, seed + 1)))
        .map(|(stream, sent)| thread::spawn(move || assert!(exchange(stream, sent.clone()) == sent)))
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn echo_closes_after_the_peer_has() {
    let server = Server::start("echo", &["--addr", "127.0.0.1:0"]);
    let mut stream = server.connect();
    stream.write_all(b"last words").unwrap();
    assert_eq!(read_exact(&mut stream, 10), b"last words");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
}

#[test]
fn echo_loses_nothing_of_a_peer_that_closes_its_half_before_it_reads() {
    let server = Server::start("echo", &[]);
    let mut stream = server.connect();
    // More than the sockets between the two can hold, so that most of it waits in the server when the end arrives.
    let sent = pattern(24 << 20, 9);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut stream) == sent);
}

#[test]
fn servers_end_well_when_asked() {
    for (name, signal) in [("echo", "TERM"), ("echo", "INT"), ("rot13", "TERM"), ("rot13_events", "INT")] {
        let server = Server::start(name, &[]);
        let _connected = server.connect();
        assert!(server.stop(signal).success(), "{name} on SIG{signal}");
    }
}

#[test]
fn a_bad_command_line_gets_the_usage() {
    let bad: [(&str, &[&str]); 5] = [
        ("echo", &["--port", "1"]),
        ("echo", &["--addr"]),
        ("rot13", &["--addr", "nowhere"]),
        ("client", &["localhost"]),
        ("client", &["localhost", "many"]),
    ];
    for (name, arguments) in bad {
        let output = run(name, arguments);
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: "), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let output = run("echo", &["--addr", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
}

#[test]
fn rot13_answers_line_by_line() {
    for name in ["rot13", "rot13_events"] {
        let server = Server::start(name, &[]);
        let mut stream = server.connect();
        stream.write_all(b"Hello, World 13!\n\nNOPQRSTUVWXYZ nopq").unwrap();
        assert_eq!(read_exact(&mut stream, 18), b"Uryyb, Jbeyq 13!\n\n");
        stream.write_all(b"rstuvwxyz\r\n").unwrap();
        assert_eq!(read_exact(&mut stream, 29), b"ABCDEFGHIJKLM abcdefghijklm\r\n"[..29]);
    }
}

#[test]
fn rot13_events_closes_after_the_peer_has_and_serves_the_next() {
    let server = Server::start("rot13_events", &[]);
    for _ in 0..3 {
        let mut stream = server.connect();
        stream.write_all(b"a\n").unwrap();
        assert_eq!(read_exact(&mut stream, 2), b"n\n");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream), b"");
    }
}

#[test]
fn rot13_answers_an_overlong_line_in_pieces() {
    let server = Server::start("rot13", &[]);
    let mut stream = server.connect();
    stream.write_all(&[b'a'; 16 * 1024]).unwrap();
    let answer = read_exact(&mut stream, 16 * 1024 + 1);
    assert!(answer[..16 * 1024].iter().all(|byte| *byte == b'n') && answer[16 * 1024] == b'\n');
    stream.write_all(b"bc\n").unwrap();
    assert_eq!(read_exact(&mut stream, 3), b"op\n");
}

/// Serves one connection: reads until `request` has arrived, answers, closes.
fn serve_once(request: &'static [u8], answer: Vec<u8>) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_exact(&mut stream, request.len()), request);
        stream.write_all(&answer).unwrap();
    });
    (port, serving)
}

#[test]
fn client_prints_what_it_is_sent() {
    let answer = pattern(300_000, 7);
    let (port, serving) = serve_once(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", answer.clone());
    let output = run("client", &["127.0.0.1", &port.to_string()]);
    serving.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == answer);
}

#[test]
fn client_sends_the_lines_it_is_given() {
    let (port, serving) = serve_once(b"one\ntwo words\n", b"done".to_vec());
    let output = run("client", &["localhost", &port.to_string(), "one", "two words"]);
    serving.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"done".as_slice()));
}

#[test]
fn client_says_why_it_could_not_connect() {
    let closed = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let output = run("client", &["127.0.0.1", &closed.port().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"), "{output:?}");
}
