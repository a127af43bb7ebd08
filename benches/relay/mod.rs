//! The rows, the columns and the goals of the table, and the load.

mod by_callbacks;
mod by_libevent;
mod by_relay;
mod floor;

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use socket2::SockRef;

use crate::measure::{self, Column, Goal, Plan, Servers, Work};
use crate::traffic::{self, Server};

const ZEROVENT: &str = "zerovent";
const LIBEVENT: &str = "libevent";
const FLOOR: &str = "floor";

const COLUMNS: [Column; 3] = [Column::alone(ZEROVENT), Column::alone(LIBEVENT), Column::alone(FLOOR)];

/// How the bytes pass. C libevent knows one way, so it is the same in every row.
#[derive(Debug, Clone, Copy)]
enum Way {
    Splice,
    Memory,
    Callbacks,
}

const ROWS: [(Way, &str); 3] = [
    (Way::Splice, "by splice"),
    (Way::Memory, "through memory"),
    (Way::Callbacks, "by callbacks that move buffers"),
];

/// How a server of a row and a column is called on the command line.
fn server_name(row: usize, subject: &str) -> &'static str {
    match (ROWS[row].0, subject) {
        (_, LIBEVENT) => "libevent",
        (Way::Splice, FLOOR) => "floor-splice",
        (_, FLOOR) => "floor-memory",
        (Way::Splice, _) => "splice",
        (Way::Memory, _) => "memory",
        (Way::Callbacks, _) => "callbacks",
    }
}

/// Relays between two sockets until the first has ended, and then tells the second.
type Relay = Box<dyn FnMut(OwnedFd, OwnedFd)>;

fn relay(name: &str) -> Relay {
    match name {
        "libevent" => by_libevent::relay(),
        "floor-splice" => Box::new(|from, to| floor::by_splice(&from, &to)),
        "floor-memory" => floor::through_memory(),
        "callbacks" => by_callbacks::relay(),
        way => by_relay::relay(way == "splice"),
    }
}

fn goals(way: Way) -> Vec<Goal> {
    match way {
        Way::Splice => vec![Goal { of: LIBEVENT, most: 0.18 }],
        Way::Memory | Way::Callbacks => vec![Goal { of: LIBEVENT, most: 0.25 }],
    }
}

pub(crate) fn plan() -> Plan {
    let planned = |(way, text)| measure::Row::new(format!("{way:?}"), text, goals(way));
    Plan {
        name: "relay",
        rows: ROWS.into_iter().map(planned).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| traffic::step_aside(),
        servers: Some(Servers { serve, calls: None }),
    }
}

fn missing(subject: &str) -> Option<String> {
    if subject == LIBEVENT { traffic::libevent::missing() } else { None }
}

/// What a process with `--server` does: takes connections in twos, and relays from the first to the second.
fn serve(words: &[String]) {
    let listener = traffic::listen();
    let mut relay = relay(&words[0]);
    while let (Ok(from), Ok(to)) = (accept(&listener), accept(&listener)) {
        relay(from, to);
    }
}

fn accept(listener: &TcpListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

/// A smoke run shows that it works, which takes no gigabyte.
fn stream_len() -> usize {
    if measure::is_smoke() { 16 << 20 } else { 1 << 30 }
}

fn work(row: usize, subject: &str) -> Option<Work> {
    let server = traffic::start("relay", &[server_name(row, subject)]);
    Some(Box::new(move |count| {
        traffic::server_time(&server, count, || {
            pass(&server, stream_len());
            1
        })
    }))
}

/// Sends `len` bytes into the relay and takes them out at its other end.
fn pass(server: &Server, len: usize) {
    let (source, sink) = (server.connect(), server.connect());
    let sending = thread::spawn(move || send(source, len));
    assert_eq!(discard(&sink), len, "every byte arrives");
    sending.join().expect("the sender has sent");
}

fn send(mut stream: TcpStream, len: usize) {
    let piece = vec![b'x'; 256 * 1024];
    for _ in 0..len / piece.len() {
        stream.write_all(&piece).expect("the relay reads");
    }
    stream.shutdown(Shutdown::Write).expect("it is connected");
}

/// Reads to the end without having the bytes copied, so that the relay is what takes the time.
fn discard(stream: &TcpStream) -> usize {
    let mut room = vec![MaybeUninit::uninit(); 1 << 20];
    let mut total = 0;
    loop {
        match SockRef::from(stream).recv_with_flags(&mut room, libc::MSG_TRUNC).expect("the relay sends") {
            0 => return total,
            len => total += len,
        }
    }
}
