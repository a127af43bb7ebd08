//! The columns and the goals of the table. Each loop has a process of its own: a pipe that several sets wait for is dearer to write to.

mod cpu;
mod engine;
mod floor;
mod rows;
mod subject_libev;
mod subject_libevent;
mod subject_zerovent;

use crate::measure::{self, Column, Goal, Plan, Work, count};
use floor::Floor;
use rows::{ROWS, Row};

const ZEROVENT: &str = "zerovent";
const LIBEVENT: &str = "libevent";
const LIBEV: &str = "libev";
const FLOOR: &str = "floor";

const COLUMNS: [Column; 4] =
    [Column::alone(ZEROVENT), Column::alone(LIBEVENT), Column::alone(LIBEV), Column::alone(FLOOR)];

fn goals(row: Row) -> Vec<Goal> {
    let of = |of, most| Goal { of, most };
    match row {
        Row::Pipes { .. } => vec![of(LIBEVENT, 1.0), of(FLOOR, 1.05)],
        Row::Descriptor => vec![of(LIBEVENT, 0.35)],
        Row::Timers { .. } | Row::TimersAcross { .. } => vec![of(LIBEVENT, 0.15), of(LIBEV, 0.6)],
        Row::Rearm { .. } | Row::Fire { .. } => vec![of(LIBEVENT, 0.20), of(LIBEV, 0.6)],
        Row::Common => vec![of(LIBEVENT, 0.5)],
        Row::Activate => vec![of(LIBEVENT, 0.40)],
        Row::EmptyTurn => vec![of(LIBEVENT, 1.0)],
    }
}

/// Whether callgrind is to count a row: not one that waits, nor one that is mostly system calls or a million of something.
fn is_counted(row: Row) -> bool {
    match row {
        Row::Timers { count } | Row::TimersAcross { count } => count <= 10_000,
        Row::Pipes { .. } | Row::Fire { .. } => false,
        _ => true,
    }
}

pub(crate) fn plan() -> Plan {
    let planned = |(row, text): (Row, _)| measure::Row {
        counter: is_counted(row).then_some(count::INSTRUCTIONS_EACH),
        ..measure::Row::new(format!("{row:?}"), text, goals(row))
    };
    Plan {
        name: "event_loop",
        rows: ROWS.into_iter().map(planned).collect(),
        columns: &COLUMNS,
        work,
        missing,
        settle: |_| {},
        servers: None,
    }
}

fn work(row: usize, subject: &str) -> Option<Work> {
    let (row, _) = ROWS[row];
    match subject {
        LIBEVENT => rows::work::<subject_libevent::Libevent>(row),
        LIBEV => rows::work::<subject_libev::Libev>(row),
        FLOOR => rows::work::<Floor>(row),
        _ => rows::work::<subject_zerovent::Zerovent>(row),
    }
}

/// The version of libev, if there is one.
#[allow(dead_code, reason = "only the bench `compare` asks")]
pub(crate) fn libev_version() -> Result<String, String> {
    subject_libev::version()
}

fn missing(subject: &str) -> Option<String> {
    let version = match subject {
        LIBEVENT | LIBEV if !cfg!(feature = "compare") => Err("it needs the feature `compare`".to_owned()),
        LIBEVENT => subject_libevent::version(),
        LIBEV => subject_libev::version(),
        _ => return None,
    };
    version.err()
}
