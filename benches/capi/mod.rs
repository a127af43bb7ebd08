//! The rows, the columns and the goals of the table, and the load.

#[path = "../../tests/support/capi.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod library;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::measure::{Column, Goal, Plan, Row, Work};
use crate::traffic::echo::{Load, TRIPS_MIN};
use crate::traffic::{self, Server, process};
use library::{Library, compile};

const OURS: &str = "zerovent";
const DEBIANS: &str = "libevent";

const COLUMNS: [Column; 2] = [Column::alone(OURS), Column::alone(DEBIANS)];

/// Connections, bytes of a message, how that reads, and what it may cost of what it costs on Debian's library.
const ROWS: [(usize, usize, &str, f64); 2] =
    [(50, 64, "50 x 64 B", 0.80), (50, 16 * 1024, "50 x 16 KiB", 0.25)];

pub(crate) fn plan() -> Plan {
    let planned = |(connections, len, text, most)| {
        Row::new(format!("{connections}x{len}"), text, vec![Goal { of: DEBIANS, most }])
    };
    Plan {
        name: "capi",
        rows: ROWS.into_iter().map(planned).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| traffic::step_aside(),
        servers: None,
    }
}

/// The C program, compiled once.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("echo")).as_ref()
}

fn missing(subject: &str) -> Option<String> {
    let Some(program) = program() else { return Some("the C program cannot be compiled".to_owned()) };
    let is_there = library(subject).command(program).is_some();
    (!is_there).then(|| "the library is not built".to_owned())
}

fn library(subject: &str) -> Library {
    if subject == OURS { Library::Zerovent } else { Library::Debian }
}

fn work(row: usize, subject: &str) -> Option<Work> {
    let mut command = library(subject).command(program()?)?;
    let server = Server::run(command.arg(traffic::SERVER_CORE.to_string()));
    let (connections, len, ..) = ROWS[row];
    let mut load = Load::new(&server, connections, len);
    load.rounds(10);
    Some(Box::new(move |count| {
        let trips = count.max(TRIPS_MIN);
        traffic::server_time(&server, count, || load.rounds(trips.div_ceil(load.connections())))
    }))
}
