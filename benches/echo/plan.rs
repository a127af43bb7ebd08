//! The rows, the columns and the goals of the tables, and the load.

use crate::measure::{self, Column, Goal, Plan, Work};
use crate::traffic::echo::{Load, TRIPS_MIN};
use crate::traffic::process::{have, read_summary};
use crate::traffic::{self, Server};
use crate::{server_floor, server_libevent, server_tokio, server_zerovent};

const ZEROVENT: &str = "zerovent";
const LIBEVENT: &str = "libevent";
const TOKIO: &str = "tokio";
const FLOOR: &str = "floor";

const fn column(name: &'static str) -> Column {
    Column { name, subject: name, process: name }
}

const COLUMNS: [Column; 4] = [column(ZEROVENT), column(LIBEVENT), column(TOKIO), column(FLOOR)];

/// Connections, bytes of a message, and how that reads.
const ROWS: [(usize, usize, &str); 5] = [
    (1, 64, "1 x 64 B"),
    (50, 64, "50 x 64 B"),
    (500, 64, "500 x 64 B"),
    (50, 16 * 1024, "50 x 16 KiB"),
    (500, 16 * 1024, "500 x 16 KiB"),
];

fn goals(connections: usize, len: usize) -> Vec<Goal> {
    let of = |of, most| Goal { of, most };
    match (connections, len) {
        (1, _) => vec![of(FLOOR, 1.02)],
        (50, 64) => vec![of(LIBEVENT, 0.75), of(TOKIO, 1.05)],
        (_, 64) => vec![of(LIBEVENT, 0.78), of(TOKIO, 1.05)],
        (50, _) => vec![of(LIBEVENT, 0.20), of(FLOOR, 1.1)],
        _ => vec![of(LIBEVENT, 0.22), of(FLOOR, 1.1)],
    }
}

pub(crate) fn plan() -> Plan {
    let planned = |(connections, len, text)| measure::Row {
        name: format!("{connections}x{len}"),
        text,
        goals: goals(connections, len),
        counted: false,
    };
    let settle = |_: &str| traffic::step_aside();
    Plan { rows: ROWS.into_iter().map(planned).collect(), columns: &COLUMNS, work, missing, settle }
}

fn missing(subject: &str) -> Option<String> {
    if subject == LIBEVENT { traffic::libevent::missing() } else { None }
}

/// What a process with `--server` does.
pub(crate) fn serve(which: &str) {
    let listener = traffic::listen();
    match which {
        LIBEVENT => server_libevent::serve(listener),
        TOKIO => server_tokio::serve(listener),
        FLOOR => server_floor::serve(&listener),
        _ => server_zerovent::serve(listener),
    }
}

fn load_of(server: &Server, row: usize) -> Load {
    let (connections, len, _) = ROWS[row];
    Load::new(server, connections, len)
}

fn work(row: usize, subject: &str) -> Option<Work> {
    let server = traffic::start(subject);
    let mut load = load_of(&server, row);
    load.rounds(10);
    Some(Box::new(move |count| {
        let trips = count.max(TRIPS_MIN);
        traffic::server_time(&server, count, || load.rounds(trips.div_ceil(load.connections())))
    }))
}

/// The table of system calls a round trip: those of 2N round trips without those of N.
pub(crate) fn print_calls() {
    if !have("strace") {
        return;
    }
    let columns: Vec<&str> =
        COLUMNS.iter().map(|column| column.subject).filter(|subject| missing(subject).is_none()).collect();
    measure::table_head("connections x size", &columns, "");
    for (row, (connections, _, text)) in ROWS.into_iter().enumerate() {
        let rounds = TRIPS_MIN.div_ceil(connections as u64);
        let cells = columns.iter().map(|subject| {
            let [once, twice] = [rounds, 2 * rounds].map(|rounds| calls(row, subject, rounds));
            format!("{:.2}", (twice as f64 - once as f64) / (rounds * connections as u64) as f64)
        });
        println!("| {text} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn calls(row: usize, subject: &str, rounds: u64) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let summary = directory.path().join("summary");
    let program = std::env::current_exe().expect("this program has a path");
    let server = Server::run_traced(&program, &["--server", subject], &summary);
    load_of(&server, row).rounds(rounds);
    drop(server);
    read_summary(&summary).into_iter().map(|(_, calls)| calls).sum()
}
