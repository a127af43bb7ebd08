//! coturn: a base for each of its threads, which hand sockets to one another; datagrams and streams, and a timer for all that is lent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::net::{PATIENCE, any_port, free_address, pattern};
use crate::support::programs::{A_MOMENT, Program, connect};

const CLIENTS: u64 = 10;
const MESSAGES: u64 = 50;

/// What every message of the protocol carries, and what addresses are disguised with.
const COOKIE: u32 = 0x2112_A442;

/// Kinds of messages; a success is told by its request and a bit.
const BINDING: u16 = 0x0001;
const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;
const PERMIT: u16 = 0x0008;
const SEND: u16 = 0x0016;
const DATA: u16 = 0x0017;
const SUCCESS: u16 = 0x0100;

/// Kinds of attributes.
const LIFETIME: u16 = 0x000d;
const PEER: u16 = 0x0012;
const CONTENT: u16 = 0x0013;
const RELAYED: u16 = 0x0016;
const TRANSPORT: u16 = 0x0019;
const MAPPED: u16 = 0x0020;

/// A request for relaying datagrams.
const UDP: [u8; 4] = [17, 0, 0, 0];
const HEAD_LEN: usize = 20;

/// How a client talks to the server.
enum Way {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// A socket of datagrams, on which a read that waits too long fails.
fn datagrams() -> UdpSocket {
    let socket = UdpSocket::bind(any_port()).expect("there are ports left");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
    socket
}

/// One that is for `server` alone.
fn datagrams_to(server: SocketAddr) -> UdpSocket {
    let socket = datagrams();
    socket.connect(server).expect("it has an address");
    socket
}

impl Way {
    fn address(&self) -> SocketAddr {
        match self {
            Way::Datagrams(socket) => socket.local_addr(),
            Way::Stream(stream) => stream.local_addr(),
        }
        .expect("it is bound")
    }

    fn send(&mut self, message: &[u8]) {
        match self {
            Way::Datagrams(socket) => drop(socket.send(message).expect("it can be asked")),
            Way::Stream(stream) => stream.write_all(message).expect("it can be asked"),
        }
    }

    /// The next message.
    fn receive(&mut self) -> Vec<u8> {
        match self {
            Way::Datagrams(socket) => {
                let mut message = vec![0; 2048];
                let len = socket.recv(&mut message).expect("it answers");
                message.truncate(len);
                message
            }
            Way::Stream(stream) => {
                let mut message = vec![0; HEAD_LEN];
                stream.read_exact(&mut message).expect("it answers");
                message.resize(HEAD_LEN + usize::from(word(&message, 2)), 0);
                stream.read_exact(&mut message[HEAD_LEN..]).expect("it answers");
                message
            }
        }
    }

    /// Asks for something, which has to be granted, and gives the answer.
    fn ask(&mut self, kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        self.send(&message(kind, attributes));
        let answer = self.receive();
        assert_eq!(word(&answer, 0), kind | SUCCESS, "{answer:?}");
        answer
    }
}

fn word(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&(value.len() as u16).to_be_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&(body.len() as u16).to_be_bytes());
    message.extend_from_slice(&COOKIE.to_be_bytes());
    // Nothing is asked twice at a time.
    message.extend_from_slice(b"transaction!");
    message.extend_from_slice(&body);
    message
}

/// The value of an attribute, which has to be there.
fn attribute(message: &[u8], wanted: u16) -> &[u8] {
    let mut at = HEAD_LEN;
    while word(message, at) != wanted {
        at += 4 + usize::from(word(message, at + 2)).next_multiple_of(4);
    }
    &message[at + 4..][..usize::from(word(message, at + 2))]
}

fn disguised(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else { panic!("the loopback of IPv4") };
    let mut value = vec![0, 1];
    value.extend_from_slice(&(address.port() ^ (COOKIE >> 16) as u16).to_be_bytes());
    value.extend_from_slice(&(address.ip().to_bits() ^ COOKIE).to_be_bytes());
    value
}

fn undisguised(value: &[u8]) -> SocketAddr {
    let port = word(value, 2) ^ (COOKIE >> 16) as u16;
    let address = u32::from_be_bytes([value[4], value[5], value[6], value[7]]) ^ COOKIE;
    SocketAddr::from((Ipv4Addr::from_bits(address), port))
}

/// Somebody who sends everything back, until there is nothing in it; says from how many addresses something came.
fn echo(socket: &UdpSocket) -> usize {
    let (mut bytes, mut senders) = ([0; 2048], Vec::new());
    loop {
        let (len, sender) = socket.recv_from(&mut bytes).expect("somebody sends");
        if len == 0 {
            return senders.len();
        }
        if !senders.contains(&sender) {
            senders.push(sender);
        }
        socket.send_to(&bytes[..len], sender).expect("it can be answered");
    }
}

/// Waits until datagrams are answered, which is later than connections are.
fn await_datagrams(server: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let socket = datagrams_to(server);
        let sent = socket.send(&message(BINDING, &[]));
        if sent.and_then(|_| socket.recv(&mut [0; 2048])).is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "nobody answers");
        thread::sleep(A_MOMENT);
    }
}

/// A client that has the server relay its messages to a peer, and what comes back.
fn relay(mut way: Way, peer: SocketAddr, number: u64) {
    let bound = way.ask(BINDING, &[]);
    assert_eq!(undisguised(attribute(&bound, MAPPED)), way.address());
    let allocated = way.ask(ALLOCATE, &[(TRANSPORT, &UDP)]);
    assert!(undisguised(attribute(&allocated, RELAYED)).ip().is_loopback());
    let disguise = disguised(peer);
    way.ask(PERMIT, &[(PEER, &disguise)]);
    for round in 1..=MESSAGES {
        let content = pattern(round as usize * 20, number * MESSAGES + round);
        way.send(&message(SEND, &[(PEER, &disguise), (CONTENT, &content)]));
        let data = way.receive();
        assert_eq!(word(&data, 0), DATA, "{data:?}");
        assert_eq!(undisguised(attribute(&data, PEER)), peer);
        assert!(attribute(&data, CONTENT) == content, "what comes back is what was sent");
    }
    way.ask(REFRESH, &[(LIFETIME, &[0; 4])]);
}

#[test]
fn relays_for_its_clients() {
    each_library(|library| {
        let (folder, server) = (tempfile::tempdir().expect("there is room"), free_address());
        let (port, users) = (server.port().to_string(), folder.path().join("users"));
        let mut arguments = vec!["-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", &port, "--no-auth"];
        arguments.extend(["--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--pidfile", ""]);
        arguments.extend(["--log-file", "stdout", "--userdb", users.to_str().expect("a name like others")]);
        let Some(mut program) = Program::start(library, "turnserver", &arguments) else { return };
        program.await_port(server);
        await_datagrams(server);
        let socket = datagrams();
        let peer = socket.local_addr().expect("it is bound");
        thread::scope(|scope| {
            let echo = scope.spawn(|| echo(&socket));
            let clients = (0..CLIENTS).map(|number| {
                scope.spawn(move || {
                    let is_even = number % 2 == 0;
                    let way = if is_even {
                        Way::Datagrams(datagrams_to(server))
                    } else {
                        Way::Stream(connect(server))
                    };
                    relay(way, peer, number);
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().for_each(|client| client.join().expect("each is served"));
            socket.send_to(&[], peer).expect("it can be ended");
            assert_eq!(echo.join().expect("it ends") as u64, CLIENTS, "each has an address of its own");
        });
        program.stop("TERM");
    });
}
