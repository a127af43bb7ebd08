//! What is asked of name servers, who know the addresses of 201 hosts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::Range;
use std::thread;

use crate::support::net::{PATIENCE, any_port};
use crate::support::programs::connect;

/// What is wanted to know of a name.
const ADDRESS: u16 = 1;
const ALL: u16 = 252;

/// The records of the hosts, in the network that they are in.
pub(super) fn hosts(network: [u8; 3]) -> impl Iterator<Item = String> {
    let [a, b, c] = network;
    (0..=200).map(move |number| format!("host{number}.example.test. A {a}.{b}.{c}.{number}"))
}

fn question(id: u16, name: &str, wanted: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&wanted.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

/// Whether the answer, which carries the question's number and no error, has the address.
fn has(answer: &[u8], id: u16, address: Ipv4Addr) -> bool {
    assert_eq!(answer[..2], id.to_be_bytes());
    assert_eq!(answer[3] & 0x0f, 0, "no error");
    let mut wanted = vec![0, 4];
    wanted.extend_from_slice(&address.octets());
    answer.windows(6).any(|window| window == wanted)
}

/// Whether a host has the address, by UDP.
pub(super) fn is_at(server: SocketAddr, number: u8, [a, b, c]: [u8; 3]) -> bool {
    let socket = UdpSocket::bind(any_port()).expect("there are ports left");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
    let id = u16::from(number) | 0x4000;
    let packet = question(id, &format!("host{number}.example.test"), ADDRESS);
    socket.send_to(&packet, server).expect("it can be asked");
    let mut answer = [0; 512];
    let (len, _) = socket.recv_from(&mut answer).expect("it answers");
    has(&answer[..len], id, Ipv4Addr::new(a, b, c, number))
}

/// Asks for all of the hosts, several at a time.
pub(super) fn ask_all(server: SocketAddr, network: [u8; 3]) {
    thread::scope(|scope| {
        for part in 0..4u8 {
            scope.spawn(move || {
                ask_by_udp(server, part * 50..part * 50 + 50, network);
                ask_by_tcp(server, part * 50..part * 50 + 50, network);
            });
        }
    });
}

/// One question after the other, each from a socket of its own.
fn ask_by_udp(server: SocketAddr, numbers: Range<u8>, network: [u8; 3]) {
    for number in numbers {
        assert!(is_at(server, number, network), "host{number}");
    }
}

/// Several questions over one connection, sent at once.
fn ask_by_tcp(server: SocketAddr, numbers: Range<u8>, [a, b, c]: [u8; 3]) {
    let mut stream = connect(server);
    for number in numbers.clone() {
        send(&mut stream, &question(number.into(), &format!("host{number}.example.test"), ADDRESS));
    }
    for _ in numbers {
        let answer = receive(&mut stream);
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        assert!(has(&answer, id, Ipv4Addr::new(a, b, c, id as u8)), "{answer:?}");
    }
}

/// How many records a transfer of the zone has, if it has no more than `most`.
pub(super) fn transfer(server: SocketAddr, most: usize) -> usize {
    let mut stream = connect(server);
    send(&mut stream, &question(7, "example.test", ALL));
    let mut count = 0;
    while count < most {
        let answer = receive(&mut stream);
        assert_eq!(answer[3] & 0x0f, 0, "no error");
        count += usize::from(u16::from_be_bytes([answer[6], answer[7]]));
    }
    count
}

fn send(stream: &mut TcpStream, packet: &[u8]) {
    stream.write_all(&(packet.len() as u16).to_be_bytes()).expect("it can be asked");
    stream.write_all(packet).expect("it can be asked");
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("it answers");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).expect("it answers");
    answer
}
