//! The rows, the columns and the goals of the table, and the load.

mod memcached;

#[path = "../../tests/support/capi.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod library;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use crate::measure::{Column, Counter, Goal, Plan, Row, Servers, Work, count};
use crate::traffic::echo::{Load, TRIPS_MIN};
use crate::traffic::{self, Server, process};
use library::{Library, compile};

const OURS: &str = "zerovent";
const DEBIANS: &str = "libevent";

const COLUMNS: [Column; 2] = [Column::alone(OURS), Column::alone(DEBIANS)];

/// Connections, bytes of a message, how that reads, and what it may cost of what it costs on Debian's library.
const ECHOES: [(usize, usize, &str, f64); 2] =
    [(50, 64, "50 x 64 B", 0.80), (50, 16 * 1024, "50 x 16 KiB", 0.25)];

/// memcached, which may cost no more than on Debian's library.
const MEMCACHED: [(memcached::Size, &str); 2] = [
    (memcached::Size { connections: 50, threads: 1 }, "memcached, 50 connections, 1 thread"),
    (memcached::Size { connections: 100, threads: 4 }, "memcached, 100 connections, 4 threads"),
];

/// Operations of a buffer of the program's own, as `strokes.c` names them, and how they read. None may cost more than on Debian's library.
const STROKES: [(&str, &str); 14] = [
    ("add_drain", "add 64, drain"),
    ("add_ten", "add 100 ten times, drain"),
    ("add_remove", "add 1 KiB, remove"),
    ("reserve_one", "reserve 1 KiB in one vector, commit, drain"),
    ("reserve_two", "reserve 4 KiB in two vectors, commit, drain"),
    ("add_reference", "add a reference with a clean-up, drain"),
    ("add_constant", "add a reference without, drain"),
    ("new_free", "new, free"),
    ("new_add_free", "new, add 100, free"),
    ("pullup", "add 100, length, pullup, drain"),
    ("peek", "add 100, peek, drain"),
    ("read_line", "add a line, readln"),
    ("print", "add_printf, drain"),
    ("move", "add 1 KiB, add_buffer, drain"),
];

/// What a row measures.
enum Operation {
    Echo { connections: usize, len: usize },
    Memcached(memcached::Size),
    Stroke(&'static str),
}

/// The rows, in the order of the table: first those of servers.
fn operation(row: usize) -> Operation {
    let strokes_at = ECHOES.len() + MEMCACHED.len();
    match row {
        _ if row < ECHOES.len() => Operation::Echo { connections: ECHOES[row].0, len: ECHOES[row].1 },
        _ if row < strokes_at => Operation::Memcached(MEMCACHED[row - ECHOES.len()].0),
        _ => Operation::Stroke(STROKES[row - strokes_at].0),
    }
}

pub(crate) fn plan() -> Plan {
    let goal = |most| vec![Goal { of: DEBIANS, most }];
    let row = |name: String, text, most, counter| Row { counter, ..Row::new(name, text, goal(most)) };
    let echoes = ECHOES
        .into_iter()
        .map(|(connections, len, text, most)| row(format!("{connections}x{len}"), text, most, None));
    let counter: Counter = |_, row, subject| match operation(row) {
        Operation::Memcached(size) => memcached::instructions(size, subject, library(subject)),
        Operation::Echo { .. } | Operation::Stroke(_) => None,
    };
    let memcached = MEMCACHED.into_iter().map(|(size, text)| Row {
        starts: memcached::STARTS,
        ..row(format!("memcached{}", size.connections), text, 1.0, Some(counter))
    });
    let strokes = STROKES
        .into_iter()
        .map(|(name, text)| row(name.to_owned(), text, 1.0, Some(count::INSTRUCTIONS_EACH)));
    Plan {
        name: "capi",
        rows: echoes.chain(memcached).chain(strokes).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| traffic::step_aside(),
        servers: Some(Servers { serve, calls: None }),
    }
}

/// What a process with `--server` becomes: memcached is the only server that does not know of cores by itself.
fn serve(words: &[String]) {
    let [subject, threads, options @ ..] = words else { panic!("--server capi SUBJECT THREADS [OPTIONS]") };
    memcached::serve(library(subject), threads, options.first());
}

/// The C programs, each compiled once.
fn server() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("echo")).as_ref()
}

fn operator() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("strokes")).as_ref()
}

fn missing(subject: &str) -> Option<String> {
    let Some(program) = server() else { return Some("the C program cannot be compiled".to_owned()) };
    let is_there = library(subject).command(program).is_some();
    (!is_there).then(|| "the library is not built".to_owned())
}

fn library(subject: &str) -> Library {
    if subject == OURS { Library::Zerovent } else { Library::Debian }
}

fn work(row: usize, subject: &str) -> Option<Work> {
    match operation(row) {
        Operation::Echo { connections, len } => echo(connections, len, subject),
        Operation::Memcached(size) => memcached::work(size, subject, library(subject)),
        Operation::Stroke(name) => strokes(name, library(subject)),
    }
}

fn echo(connections: usize, len: usize, subject: &str) -> Option<Work> {
    let mut command = library(subject).command(server()?)?;
    let server = Server::run(command.arg(traffic::SERVER_CORE.to_string()));
    let mut load = Load::new(&server, connections, len);
    load.rounds(10);
    Some(Box::new(move |count| {
        let trips = count.max(TRIPS_MIN);
        traffic::server_time(&server, count, || load.rounds(trips.div_ceil(load.connections())))
    }))
}

/// Each measure is a process of its own, which says itself how long it took: starting it is not part of that.
fn strokes(name: &'static str, library: Library) -> Option<Work> {
    let program = operator()?;
    library.command(program)?;
    Some(Box::new(move |count| {
        let mut command = library.command(program).expect("it was there a moment ago");
        // What callgrind says of it goes where callgrind's caller looks.
        command.args([name, &count.to_string()]).stderr(Stdio::inherit());
        let output = command.output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("a number is text");
        Duration::from_nanos(said.trim().parse().expect("it says how long it took"))
    }))
}
