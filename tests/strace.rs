//! System calls counted by strace, which cannot be argued with: what a round trip costs once a server is warm.
//!
//! Each server is run twice, with N and with 2N round trips on as many connections, and judged by the difference:
//! starting, accepting and ending cost the same in both runs and vanish.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::process::{Server, have, read_summary};

/// System calls by name.
type Calls = BTreeMap<String, u64>;

/// What a program does on a server: connections, and rounds on all of them.
struct Load<'a> {
    connections: usize,
    request: &'a [u8],
    answer_len: usize,
    /// How long the clients think between two rounds. A lone client that answers at once could be found by a
    /// wait that was one too many, and would hide it.
    thought: Duration,
}

impl Load<'_> {
    /// Every connection sends, then every connection reads: all of them are busy at once.
    fn drive(&self, server: &Server, rounds: usize) {
        let mut streams: Vec<TcpStream> = (0..self.connections).map(|_| server.connect()).collect();
        let mut answer = vec![0; self.answer_len];
        for _ in 0..rounds {
            streams.iter_mut().for_each(|stream| stream.write_all(self.request).unwrap());
            streams.iter_mut().for_each(|stream| stream.read_exact(&mut answer).unwrap());
            thread::sleep(self.thought);
        }
    }

    fn count(&self, name: &str, arguments: &[&str], rounds: usize) -> Calls {
        let directory = tempfile::tempdir().unwrap();
        let summary = directory.path().join("summary");
        let server = Server::start_traced(name, arguments, &summary);
        self.drive(&server, rounds);
        assert!(server.stop("TERM").success());
        read_summary(&summary).into_iter().collect()
    }

    /// What one more round trip costs: calls by name, and in total.
    fn cost(&self, name: &str, arguments: &[&str], rounds: usize) -> Cost {
        let (once, twice) = (self.count(name, arguments, rounds), self.count(name, arguments, 2 * rounds));
        let trips = (rounds * self.connections) as f64;
        let zero = 0;
        let names: Vec<_> = once.keys().chain(twice.keys()).cloned().collect();
        let more = |name: &String| {
            *twice.get(name).unwrap_or(&zero) as f64 - *once.get(name).unwrap_or(&zero) as f64
        };
        let costs = names.into_iter().map(|name| (name.clone(), more(&name) / trips));
        let by_name: BTreeMap<_, _> = costs.filter(|(_, calls)| *calls != 0.0).collect();
        let cost = Cost { total: by_name.values().sum(), by_name, once };
        eprintln!(
            "{name} {} connections: {:.3} calls a round trip {:.3?}",
            self.connections, cost.total, cost.by_name
        );
        cost
    }
}

#[derive(Debug)]
struct Cost {
    total: f64,
    by_name: BTreeMap<String, f64>,
    once: Calls,
}

impl Cost {
    fn of(&self, names: &[&str]) -> f64 {
        names.iter().filter_map(|name| self.by_name.get(*name)).sum()
    }

    #[cfg(feature = "http")]
    fn apart_from(&self, names: &[&str]) -> f64 {
        self.total - self.of(names)
    }
}

/// Longer than a server needs to go back to waiting.
const THOUGHT: Duration = Duration::from_micros(500);
/// A handful of calls in a whole run (a page fault's madvise, a growing heap) is no cost of a round trip.
const STRAY_MAX: f64 = 0.01;

#[test]
fn a_lone_echo_costs_three_calls() {
    if !have("strace") {
        return;
    }
    let load = Load { connections: 1, request: &[b'x'; 64], answer_len: 64, thought: THOUGHT };
    let cost = load.cost("echo", &[], 1000);
    assert!(cost.total <= 3.0 + STRAY_MAX, "{cost:#?}");
    assert!(cost.of(&["epoll_ctl"]) == 0.0, "{cost:#?}");
}

#[test]
fn fifty_busy_connections_share_their_waits() {
    if !have("strace") {
        return;
    }
    let load = Load { connections: 50, request: &[b'x'; 64], answer_len: 64, thought: Duration::ZERO };
    let cost = load.cost("echo", &[], 100);
    assert!(cost.total <= 2.2, "{cost:#?}");
    assert!(cost.of(&["epoll_ctl"]) == 0.0, "{cost:#?}");
    // One registration a connection, and a few for the listener, the signals and the wake-up.
    let registrations = cost.once.get("epoll_ctl").copied().unwrap_or(0);
    assert!(registrations <= 50 + 4, "{cost:#?}");
}

#[test]
fn long_messages_cost_no_more_calls_than_short_ones() {
    if !have("strace") {
        return;
    }
    let request = vec![b'x'; 16 * 1024];
    for (connections, rounds, thought, bound) in
        [(1, 500, THOUGHT, 3.0 + STRAY_MAX), (50, 60, Duration::ZERO, 2.2), (500, 8, Duration::ZERO, 2.4)]
    {
        let load = Load { connections, request: &request, answer_len: request.len(), thought };
        let cost = load.cost("echo", &[], rounds);
        assert!(cost.total <= bound, "{cost:#?}");
        assert!(cost.of(&["epoll_ctl"]) == 0.0, "{cost:#?}");
    }
}

#[test]
fn five_hundred_busy_connections_share_their_waits() {
    if !have("strace") {
        return;
    }
    let load = Load { connections: 500, request: &[b'x'; 64], answer_len: 64, thought: Duration::ZERO };
    let cost = load.cost("echo", &[], 10);
    assert!(cost.total <= 2.4, "{cost:#?}");
    assert!(cost.of(&["epoll_ctl"]) == 0.0, "{cost:#?}");
}

#[cfg(feature = "http")]
mod serve {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::{Load, STRAY_MAX, THOUGHT};
    use crate::support::net::pattern;
    use crate::support::process::{Server, have};

    const WAITS: [&str; 3] = ["epoll_wait", "epoll_pwait", "epoll_pwait2"];
    const READS: [&str; 4] = ["recvfrom", "recvmsg", "read", "readv"];
    const SENDS: [&str; 3] = ["sendmsg", "sendto", "writev"];

    /// How long the whole answer to `request` is, head and body, once the file is at rest: until then its tag is a weak one, and
    /// longer. Asked of a server that is not traced.
    fn answer_len(root: &str, request: &[u8], body: &[u8]) -> usize {
        let server = Server::start("serve", &[root, "--addr", "127.0.0.1:0"]);
        let mut stream = server.connect();
        loop {
            let answer = answer(&mut stream, request, body);
            if !answer.windows(8).any(|part| part == b"ETag: W/") {
                return answer.len();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn answer(stream: &mut TcpStream, request: &[u8], body: &[u8]) -> Vec<u8> {
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(body) {
            let len = stream.read(&mut piece).unwrap();
            assert!(len > 0, "the answer ended early: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..len]);
        }
        answer
    }

    #[test]
    fn a_kept_file_costs_one_call_of_each_kind() {
        if !have("strace") {
            return;
        }
        // From memory the head and the body leave in one call.
        let small = [&WAITS[..], &READS[..], &SENDS[..]];
        assert_one_of_each(8 * 1024, &small);
        assert_one_of_each(16 * 1024, &[&small[..], &[&["sendfile"]]].concat());
    }

    /// A file of `len` bytes takes one call of each of these families, and hardly any other.
    fn assert_one_of_each(len: usize, families: &[&[&str]]) {
        let body = pattern(len, 3);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file.bin"), &body).unwrap();
        let root = directory.path().to_str().unwrap();
        let request = b"GET /file.bin HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer_len = answer_len(root, request, &body);
        let load = Load { connections: 1, request, answer_len, thought: THOUGHT };
        let cost = load.cost("serve", &[root, "--addr", "127.0.0.1:0"], 500);
        for names in families {
            assert!(cost.of(names) <= 1.0 + STRAY_MAX, "{names:?}: {cost:#?}");
        }
        // Once a second the path is looked at again: some calls, in one of the two runs.
        assert!(cost.apart_from(&families.concat()) <= 3.0 * STRAY_MAX, "{cost:#?}");
    }
}
