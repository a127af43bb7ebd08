//! unbound: allocates and frees its events itself, and writes their fields between deleting and adding; one base a thread, UDP
//! and TCP with timeouts, signals.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use super::each_library;
use crate::support::net::{PATIENCE, any_port, free_address};
use crate::support::programs::{Program, connect};

/// A question for the address of `name`.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

/// The answer carries the question's number, no error, and ends in the address.
fn check(answer: &[u8], id: u16, address: Ipv4Addr) {
    assert_eq!(answer[..2], id.to_be_bytes());
    assert_eq!(answer[3] & 0x0f, 0, "no error");
    let mut wanted = vec![0, 4];
    wanted.extend_from_slice(&address.octets());
    assert!(answer.windows(6).any(|window| window == wanted), "{answer:?}");
}

fn ask_by_udp(server: SocketAddr, id: u16, number: u8) {
    let socket = UdpSocket::bind(any_port()).expect("there are ports left");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
    socket.send_to(&question(id, &format!("host{number}.example.test")), server).expect("it can be asked");
    let mut answer = [0; 512];
    let (len, _) = socket.recv_from(&mut answer).expect("it answers");
    check(&answer[..len], id, Ipv4Addr::new(192, 0, 2, number));
}

/// Several questions over one connection, sent at once.
fn ask_by_tcp(server: SocketAddr, numbers: std::ops::Range<u8>) {
    let mut stream = connect(server);
    for number in numbers.clone() {
        let packet = question(number.into(), &format!("host{number}.example.test"));
        stream.write_all(&(packet.len() as u16).to_be_bytes()).expect("it can be asked");
        stream.write_all(&packet).expect("it can be asked");
    }
    for _ in numbers {
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("it answers");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut answer).expect("it answers");
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        check(&answer, id, Ipv4Addr::new(192, 0, 2, id as u8));
    }
}

fn configuration(port: u16) -> String {
    let mut text = format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n num-threads: 2\n username: \"\"\n chroot: \"\"\n \
         directory: \"\"\n pidfile: \"\"\n do-daemonize: no\n use-syslog: no\n logfile: \"\"\n verbosity: 0\n \
         module-config: \"iterator\"\n do-not-query-localhost: no\n tcp-idle-timeout: 1000\n \
         local-zone: \"example.test.\" static\n"
    );
    for number in 0..=200 {
        text += &format!(" local-data: \"host{number}.example.test. A 192.0.2.{number}\"\n");
    }
    text + "remote-control:\n control-enable: no\n"
}

#[test]
fn answers_by_udp_and_tcp_on_its_threads() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let config = folder.path().join("unbound.conf");
        let server = free_address();
        fs::write(&config, configuration(server.port())).expect("there is room");
        let arguments = ["-d".as_ref(), "-c".as_ref(), config.as_os_str()];
        let Some(mut program) = Program::start(library, "unbound", &arguments) else { return };
        program.await_port(server);
        thread::scope(|scope| {
            for part in 0..4u8 {
                scope.spawn(move || {
                    for number in part * 50..part * 50 + 50 {
                        ask_by_udp(server, u16::from(number) | 0x4000, number);
                    }
                    ask_by_tcp(server, part * 50..part * 50 + 50);
                });
            }
        });
        assert!(program.stop("TERM").success());
    });
}
