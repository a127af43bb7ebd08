//! tcpbench: events for its sockets, its signals, its clock and its end, at both ends of the connections. Its server listens on every
//! address, so that it gets a network of its own.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::capi::Library;
use crate::support::namespace::Namespace;
use crate::support::net::PATIENCE;
use crate::support::programs::{A_MOMENT, Program, find};

const PORT: u16 = 12345;
const CONNECTIONS: usize = 3;
/// Much more than all the buffers on the way have room for.
const BYTES_MIN: u64 = 16 << 20;

#[test]
fn measures_streams() {
    each_library(|library| {
        let options = ["-n", &CONNECTIONS.to_string()];
        let Some(said) = measure(library, "tcp", &[], &options) else { return };
        for said in said {
            let bytes = bytes_of(&said);
            assert!(bytes.iter().all(|bytes| *bytes >= BYTES_MIN), "{bytes:?}:\n{said}");
        }
    });
}

#[test]
fn measures_datagrams() {
    each_library(|library| {
        let Some(said) = measure(library, "udp", &["-u"], &["-u"]) else { return };
        for said in said {
            let rates = said.lines().filter_map(|line| line.split_once(" PPS: "));
            let rates: Vec<u64> = rates.map(|(_, rate)| rate.trim().parse().expect("a number")).collect();
            assert!(rates.iter().any(|rate| *rate > 0), "{said}");
        }
    });
}

/// What each connection moved. A line of one has milliseconds, bytes, megabits a second and its share.
fn bytes_of(said: &str) -> [u64; CONNECTIONS] {
    let mut bytes = [0; CONNECTIONS];
    let lines = said.lines().map(str::trim).filter(|line| line.ends_with('%'));
    for (number, line) in lines.enumerate() {
        let moved = line.split_whitespace().nth(1).expect("four words");
        bytes[number % CONNECTIONS] += moved.parse::<u64>().expect("a number");
    }
    bytes
}

/// What server and client say after a second.
fn measure(library: Library, protocol: &str, of_server: &[&str], of_client: &[&str]) -> Option<[String; 2]> {
    let (namespace, folder) = (Namespace::new()?, tempfile::tempdir().expect("there is room"));
    let [at_server, at_client] = ["server", "client"].map(|name| folder.path().join(name));
    let server = start(library, &namespace, &at_server, &[&["-s"], of_server].concat())?;
    await_bound(&server, protocol);
    let client = start(library, &namespace, &at_client, &[of_client, &["-t", "1", "127.0.0.1"]].concat())?;
    assert!(client.finished().success());
    server.stop("INT");
    Some([at_server, at_client].map(|path| fs::read_to_string(path).expect("it speaks")))
}

fn start(library: Library, namespace: &Namespace, output: &Path, options: &[&str]) -> Option<Program> {
    let (mut command, output) = (namespace.enter(), File::create(output).expect("there is room"));
    if !library.lead(&mut command) {
        return None;
    }
    // With IPv6 as well the server binds the same port twice, which OpenBSD allows and Linux does not.
    command.arg(find("tcpbench")?).args(["-4", "-r", "200", "-p", &PORT.to_string()]).args(options);
    let mut program = Program::run_into(library, &mut command, output);
    program.await_mapped();
    Some(program)
}

/// Waits until there is a socket for the port: a connection would be measured.
fn await_bound(server: &Program, protocol: &str) {
    let (table, deadline) = (format!("/proc/{}/net/{protocol}", server.id()), Instant::now() + PATIENCE);
    while !fs::read_to_string(&table).expect("it runs").contains(&format!(":{PORT:04X} ")) {
        assert!(Instant::now() < deadline, "nobody listens");
        thread::sleep(A_MOMENT);
    }
}
