//! memcached: embeds its events, one base a thread without locks, wakes its threads by descriptors, deletes and sets events
//! again for each change of mind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::each_library;
use crate::support::capi::Library;
use crate::support::net::{PATIENCE, free_address};
use crate::support::programs::{Program, ask, connect, is_closed};

const THREADS: usize = 4;
const CONNECTIONS: usize = 100;

fn start(library: Library, options: &[&str]) -> Option<(Program, SocketAddr)> {
    let address = free_address();
    let port = address.port().to_string();
    let arguments = ["-u", "root", "-l", "127.0.0.1", "-p", &port, "-m", "64", "-I", "4m"];
    let mut program = Program::start(library, "memcached", &[&arguments, options].concat())?;
    program.await_port(address);
    Some((program, address))
}

fn set(stream: &mut TcpStream, key: &str, value: &[u8]) {
    let mut question = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
    question.extend_from_slice(value);
    question.extend_from_slice(b"\r\n");
    ask(stream, &question, b"STORED\r\n");
}

fn get(stream: &mut TcpStream, key: &str, value: &[u8]) {
    let mut answer = format!("VALUE {key} 0 {}\r\n", value.len()).into_bytes();
    answer.extend_from_slice(value);
    answer.extend_from_slice(b"\r\nEND\r\n");
    ask(stream, format!("get {key}\r\n").as_bytes(), &answer);
}

/// Values that no socket takes at once, so that memcached waits for room and for bytes in turn.
#[test]
fn keeps_large_values() {
    each_library(|library| {
        let Some((program, address)) = start(library, &["-t", "2"]) else { return };
        let value: Vec<u8> = (0..1_500_000u32).map(|place| ((place * 31) >> 7) as u8).collect();
        let mut stream = connect(address);
        for key in ["one", "two", "three"] {
            set(&mut stream, key, &value);
        }
        for key in ["two", "one", "three"] {
            get(&mut stream, key, &value);
        }
        assert!(program.stop("TERM").success());
    });
}

#[test]
fn serves_many_connections_on_its_threads() {
    each_library(|library| {
        let Some((program, address)) = start(library, &["-t", &THREADS.to_string()]) else { return };
        thread::scope(|scope| {
            for part in 0..THREADS {
                scope.spawn(move || serve_part(address, part));
            }
        });
        assert!(program.stop("INT").success());
    });
}

fn serve_part(address: SocketAddr, part: usize) {
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS / THREADS).map(|_| connect(address)).collect();
    for round in 0..20 {
        for (number, stream) in streams.iter_mut().enumerate() {
            let (key, value) = (format!("{part}-{number}"), format!("{round}").repeat(1 + number * 40));
            set(stream, &key, value.as_bytes());
            get(stream, &key, value.as_bytes());
        }
    }
}

/// Its timer thread tells the workers to look for connections that are idle for too long.
#[test]
fn closes_idle_connections() {
    each_library(|library| {
        let Some((_program, address)) = start(library, &["-t", "1", "-o", "idle_timeout=1"]) else { return };
        let mut stream = connect(address);
        set(&mut stream, "key", b"value");
        let begun = Instant::now();
        assert!(is_closed(&mut stream), "nobody closes it");
        assert!(begun.elapsed().as_secs() >= 1, "it had a second");
        get(&mut connect(address), "key", b"value");
    });
}

/// At its limit it deletes its listening event and lets nobody queue, and a timer adds it again when there is room.
#[test]
fn waits_for_room_at_its_limit() {
    each_library(|library| {
        let options = ["-t", "1", "-c", "64", "-o", "no_maxconns_fast"];
        let Some((_program, address)) = start(library, &options) else { return };
        let served: Vec<TcpStream> = std::iter::from_fn(|| served(address)).take(CONNECTIONS).collect();
        assert!((32..CONNECTIONS).contains(&served.len()), "{} are served", served.len());
        drop(served);
        let deadline = Instant::now() + PATIENCE;
        while self::served(address).is_none() {
            assert!(Instant::now() < deadline, "nobody is served any more");
        }
    });
}

/// A connection that is served, if there is room for it.
fn served(address: SocketAddr) -> Option<TcpStream> {
    const LONG_ENOUGH: Duration = Duration::from_millis(300);
    let mut stream = TcpStream::connect_timeout(&address, LONG_ENOUGH).ok()?;
    stream.set_read_timeout(Some(LONG_ENOUGH)).expect("a socket has one");
    stream.write_all(b"mn\r\n").ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    assert_eq!(&answer, b"MN\r\n");
    Some(stream)
}
