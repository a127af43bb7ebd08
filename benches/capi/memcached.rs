//! memcached, as Debian ships it, and its load: every connection has one question outstanding, by turns to set 64 bytes and to get them,
//! and every answer is checked. The process becomes memcached, so that it says where it will listen before it does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;

use super::library::Library;
use crate::measure::{Work, is_smoke};
use crate::traffic::client::wait_for;
use crate::traffic::process::have;
use crate::traffic::{self, Server, net};

const KEYS: usize = 1000;
const VALUE_LEN: usize = 64;
const ANSWER_MAX: usize = 2 * VALUE_LEN;
/// A measurement makes at least so many operations, whatever it was asked for: what the machine does meanwhile has less weight then.
const OPERATIONS_MIN: u64 = 20_000;
/// What addresses a start happens to get makes more of a difference here than the libraries do.
pub(super) const STARTS: usize = 12;
/// Instructions are those of this many operations, which come after as many as it takes until nothing is new.
const COUNTED: u64 = 40_000;
const WARM_UP: u64 = 2000;

/// What memcached's default is.
const CONNECTIONS_MAX: u64 = 1024;

/// How many connect to how many threads.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) connections: usize,
    pub(super) threads: usize,
}

/// Of memcached's threads those look after memory by the clock, and count however long an operation takes.
const WITHOUT_HOUSEKEEPERS: &str = "no_lru_maintainer,no_lru_crawler";

/// Becomes memcached, on the servers' core, with `options` of its own if there are any.
pub(super) fn serve(library: Library, threads: &str, options: Option<&String>) {
    traffic::take_server_core();
    let address = net::free_address();
    println!("listening on {address}");
    let mut command = library.command("memcached").expect("who asks for it has looked whether it is there");
    let port = address.port().to_string();
    command.args(["-u", "root", "-l", "127.0.0.1", "-p", &port, "-t", threads]);
    command.args(options.into_iter().flat_map(|options| ["-o", options.as_str()]));
    // It asks for so many descriptors and no more, and ends if it does not get them.
    let error = command.args(["-c", &traffic::limit_descriptors(CONNECTIONS_MAX).to_string()]).exec();
    panic!("memcached cannot be started: {error}");
}

/// Processor time of a server of its own, on `library`.
pub(super) fn work(size: Size, subject: &str, library: Library) -> Option<Work> {
    if !have("memcached") {
        return None;
    }
    let server = traffic::start("capi", &[subject, &size.threads.to_string()]);
    let mut load = Load::new(&server, size, library);
    let least = if is_smoke() { 1 } else { OPERATIONS_MIN };
    load.run(least);
    Some(Box::new(move |count| traffic::server_time(&server, count, || load.run(count.max(least)))))
}

/// Instructions that the server takes for an operation.
pub(super) fn instructions(size: Size, subject: &str, library: Library) -> Option<f64> {
    if !have("memcached") {
        return None;
    }
    let words = [subject, &size.threads.to_string(), WITHOUT_HOUSEKEEPERS];
    let counts = [WARM_UP, WARM_UP + COUNTED];
    traffic::instructions_each("capi", &words, counts, |server, count| {
        Load::new(server, size, library).run(count)
    })
}

/// Connections that are all busy at once.
struct Load {
    connections: Vec<Connection>,
    exchanges: Vec<Exchange>,
}

impl Load {
    /// Connects to a server, which has to be on `library`, and sets all the values.
    fn new(server: &Server, size: Size, library: Library) -> Load {
        wait_for(server);
        library.check_mapped(server.id());
        let exchanges: Vec<Exchange> = (0..KEYS).flat_map(Exchange::of_key).collect();
        let open = |number| Connection::open(server, number * exchanges.len() / size.connections);
        let mut connections: Vec<Connection> = (0..size.connections).map(open).collect();
        for _ in 0..exchanges.len() {
            connections[0].ask(&exchanges);
            connections[0].hear(&exchanges);
        }
        Load { connections, exchanges }
    }

    /// Each connection asks again when it has its answer, one after the other; says how many answers that were.
    fn run(&mut self, operations: u64) -> u64 {
        let rounds = operations.div_ceil(self.connections.len() as u64);
        self.connections.iter_mut().for_each(|connection| connection.ask(&self.exchanges));
        for _ in 1..rounds {
            for connection in &mut self.connections {
                connection.hear(&self.exchanges);
                connection.ask(&self.exchanges);
            }
        }
        self.connections.iter_mut().for_each(|connection| connection.hear(&self.exchanges));
        rounds * self.connections.len() as u64
    }
}

/// A connection, and the number of the exchange that is next, or outstanding.
struct Connection {
    stream: TcpStream,
    exchange: usize,
}

impl Connection {
    fn open(server: &Server, exchange: usize) -> Connection {
        Connection { stream: server.connect(), exchange }
    }

    fn ask(&mut self, exchanges: &[Exchange]) {
        self.stream.write_all(&exchanges[self.exchange].question).expect("the server reads");
    }

    fn hear(&mut self, exchanges: &[Exchange]) {
        let answer = &exchanges[self.exchange].answer;
        let mut said = [0; ANSWER_MAX];
        let said = &mut said[..answer.len()];
        self.stream.read_exact(said).expect("the server answers");
        assert!(said == answer, "{}", String::from_utf8_lossy(said));
        self.exchange = (self.exchange + 1) % exchanges.len();
    }
}

/// What is asked, and what has to be answered.
struct Exchange {
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Exchange {
    /// A value is set, and got.
    fn of_key(key: usize) -> [Exchange; 2] {
        let value = format!("{key:0VALUE_LEN$}");
        let set = format!("set key{key} 0 0 {VALUE_LEN}\r\n{value}\r\n");
        let get = format!("get key{key}\r\n");
        let got = format!("VALUE key{key} 0 {VALUE_LEN}\r\n{value}\r\nEND\r\n");
        [(set, "STORED\r\n".to_owned()), (get, got)]
            .map(|(question, answer)| Exchange { question: question.into(), answer: answer.into() })
    }
}
