//! The rows, the columns and the goals of the tables, and the load.

mod server_floor;
mod server_libevent;
mod server_tokio;
mod server_zerovent;

use crate::measure::{self, Column, Goal, Plan, Servers, Work};
use crate::traffic::echo::{Load, TRIPS_MIN};
use crate::traffic::{self, Server};

const ZEROVENT: &str = "zerovent";
const LIBEVENT: &str = "libevent";
const TOKIO: &str = "tokio";
const FLOOR: &str = "floor";

const COLUMNS: [Column; 4] =
    [Column::alone(ZEROVENT), Column::alone(LIBEVENT), Column::alone(TOKIO), Column::alone(FLOOR)];

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

/// The most system calls a round trip.
fn calls_max(connections: usize, len: usize) -> Option<f64> {
    match (connections, len) {
        (1, _) => Some(3.0),
        (50, 64) => Some(2.2),
        (500, 64) => Some(2.4),
        _ => None,
    }
}

pub(crate) fn plan() -> Plan {
    let planned = |(connections, len, text)| measure::Row {
        calls_max: calls_max(connections, len),
        ..measure::Row::new(format!("{connections}x{len}"), text, goals(connections, len))
    };
    Plan {
        name: "echo",
        rows: ROWS.into_iter().map(planned).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| traffic::step_aside(),
        servers: Some(Servers { serve, calls: Some(calls) }),
    }
}

fn missing(subject: &str) -> Option<String> {
    if subject == LIBEVENT { traffic::libevent::missing() } else { None }
}

/// What a process with `--server` does.
fn serve(words: &[String]) {
    let listener = traffic::listen();
    match words[0].as_str() {
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
    let server = traffic::start("echo", &[subject]);
    let mut load = load_of(&server, row);
    load.rounds(10);
    Some(Box::new(move |count| {
        let trips = count.max(TRIPS_MIN);
        traffic::server_time(&server, count, || load.rounds(trips.div_ceil(load.connections())))
    }))
}

/// System calls a round trip: those of 2N round trips without those of N.
fn calls(row: usize, subject: &str) -> f64 {
    let trips = ROWS[row].0 as u64 * TRIPS_MIN.div_ceil(ROWS[row].0 as u64);
    traffic::calls_each("echo", &[subject], trips, |server, trips| {
        let mut load = load_of(server, row);
        load.rounds(trips / load.connections());
    })
}
