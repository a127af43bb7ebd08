//! The book's programs, run as processes: what they answer, how they end, and what they say to a bad command line.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

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
    let servers = [
        ("echo", "TERM"),
        ("echo", "INT"),
        ("rot13", "TERM"),
        ("rot13_events", "INT"),
        ("uppercase", "TERM"),
        ("fibonacci", "INT"),
    ];
    for (name, signal) in servers {
        let server = Server::start(name, &[]);
        let _connected = server.connect();
        assert!(server.stop(signal).success(), "{name} on SIG{signal}");
    }
}

#[test]
fn a_bad_command_line_gets_the_usage() {
    let bad: [(&str, &[&str]); 8] = [
        ("echo", &["--port", "1"]),
        ("echo", &["--addr"]),
        ("rot13", &["--addr", "nowhere"]),
        ("uppercase", &["--addr=nowhere"]),
        ("fibonacci", &["--addr", "127.0.0.1:0", "more"]),
        ("echo", &["--version"]),
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
fn help_is_not_an_error() {
    for name in
        ["echo", "rot13", "rot13_events", "uppercase", "fibonacci", "client", "framing", "http09", "proxy"]
    {
        let output = run(name, &["--help"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).to_lowercase().contains("usage: "), "{output:?}");
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

#[test]
fn uppercase_shouts_what_it_hears() {
    let server = Server::start("uppercase", &[]);
    let sent = pattern(4 << 20, 5);
    let shouted = sent.to_ascii_uppercase();
    assert!(exchange(server.connect(), sent) == shouted);
}

#[test]
fn uppercase_says_everything_before_it_closes() {
    let server = Server::start("uppercase", &[]);
    let mut stream = server.connect();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"LAST WORDS");
}

/// The lines of the Fibonacci numbers that fit 128 bits.
fn fibonacci_lines() -> String {
    let numbers = std::iter::successors(Some((0_u128, 1_u128)), |(last, next)| {
        last.checked_add(*next).map(|sum| (*next, sum))
    });
    numbers.map(|(number, _)| format!("{number}\n")).collect()
}

#[test]
fn fibonacci_counts_right_for_every_reader() {
    let server = Server::start("fibonacci", &[]);
    let expected = fibonacci_lines();
    for _ in 0..3 {
        let lines = read_exact(&mut server.connect(), expected.len());
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }
}

#[test]
fn fibonacci_goes_on_where_a_reader_paused() {
    let server = Server::start("fibonacci", &[]);
    let mut stream = server.connect();
    let mut text = String::from_utf8(read_exact(&mut stream, 1 << 20)).unwrap();
    thread::sleep(Duration::from_millis(200));
    text += &String::from_utf8(read_exact(&mut stream, 6 << 20)).unwrap();
    // A number is the sum of the two before it, also of their last digits.
    let last_digits: Vec<u8> = text.lines().map(|line| line.as_bytes()[line.len() - 1] - b'0').collect();
    let whole = &last_digits[..last_digits.len() - 1];
    assert!(whole.len() > 1000);
    assert!(whole.windows(3).all(|three| (three[0] + three[1]) % 10 == three[2]));
}

#[test]
fn fibonacci_makes_no_numbers_that_nobody_reads() {
    let server = Server::start("fibonacci", &[]);
    let _silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_millis(500));
    // A second of numbers would be hundreds of megabytes.
    assert!(server.resident_bytes() < 32 << 20, "{} bytes", server.resident_bytes());
}

#[test]
fn http09_prints_the_page_of_a_host_by_name() {
    for (arguments, request) in
        [(vec!["localhost"], &b"GET /\r\n"[..]), (vec!["localhost", "/a/page"], b"GET /a/page\r\n")]
    {
        let page = pattern(300_000, 11);
        let (port, serving) = serve_once(request, page.clone());
        let port = port.to_string();
        let output = run("http09", &[&arguments[..], &["--port", &port]].concat());
        serving.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == page);
    }
}

#[test]
fn http09_says_why_there_is_no_page() {
    let closed = TcpListener::bind(any_port()).unwrap().local_addr().unwrap().port().to_string();
    let cases = [
        (vec!["127.0.0.1", "--port", closed.as_str()], 1, "refused"),
        (vec!["no-such-host.invalid"], 1, "no-such-host.invalid"),
        (vec![], 2, "which host"),
        (vec!["localhost", "/", "/more"], 2, "unexpected"),
        (vec!["localhost", "a b"], 2, "blanks"),
        (vec!["localhost", "--port", "many"], 2, "many"),
    ];
    for (arguments, code, why) in cases {
        let output = run("http09", &arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{why}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
