//! The columns and the goals of the table. C libevent has two processes of its own, one with the heap as it comes and one that
//! keeps what it was given back.

mod floor;
#[path = "../../tests/support/libevent.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod libevent;
mod peers;
mod rows;
mod subject_c;
mod subject_zerovent;

use crate::measure::{self, Column, Goal, Plan, count};
use rows::{ROWS, Row, Subject};

const WARM: &str = "warm";

const COLUMNS: [Column; 5] = [
    Column { name: "zerovent", subject: Subject::Zerovent.name(), process: "shared" },
    Column { name: "C, warm heap", subject: Subject::C.name(), process: WARM },
    Column { name: "C", subject: Subject::C.name(), process: "apart" },
    Column { name: "bytes", subject: Subject::Bytes.name(), process: "shared" },
    Column { name: "floor", subject: Subject::Floor.name(), process: "shared" },
];

/// Rows of which instructions say more than times.
const COUNTED: [Row; 9] = [
    Row::Append,
    Row::PingPong,
    Row::MoveBehind,
    Row::LineOwned,
    Row::LineBorrowed,
    Row::RemoveBuffer,
    Row::Prepend,
    Row::Reserve,
    Row::Peek,
];

fn goals(row: Row) -> Vec<Goal> {
    let of = |of, most| Goal { of, most };
    let warm = |most| of("C, warm heap", most);
    match row {
        Row::Append => vec![warm(0.55)],
        Row::AppendMany => vec![warm(0.55), of("C", 0.20)],
        Row::PingPong | Row::ReferenceStatic | Row::Prepend => vec![warm(0.40)],
        Row::Large => vec![warm(1.0), of("bytes", 1.1)],
        Row::LargeMany => vec![warm(1.0), of("C", 0.05), of("bytes", 1.1)],
        Row::ReferenceCounted | Row::Peek => vec![warm(0.75)],
        Row::MoveOne | Row::MoveHundred | Row::MoveBehind | Row::LineOwned => vec![warm(0.50)],
        Row::LineBorrowed | Row::Reserve => vec![warm(0.25)],
        Row::Search => vec![warm(0.12), of("floor", 1.2)],
        Row::SearchAbsent => vec![warm(1.2)],
        Row::Pullup | Row::Remove => vec![warm(1.0)],
        Row::RemoveBuffer => vec![warm(0.35), of("bytes", 1.5)],
    }
}

pub(crate) fn plan() -> Plan {
    let planned = |(row, text): (Row, _)| measure::Row {
        counter: COUNTED.contains(&row).then_some(count::INSTRUCTIONS_EACH),
        ..measure::Row::new(format!("{row:?}"), text, goals(row))
    };
    Plan {
        name: "evbuffer",
        rows: ROWS.into_iter().map(planned).collect(),
        columns: &COLUMNS,
        work: |row, subject| work(ROWS[row].0, subject_called(subject)),
        missing: |subject| match subject_called(subject) {
            Subject::C if !cfg!(feature = "compare") => Some("it needs the feature `compare`".to_owned()),
            Subject::C => libevent::version().err(),
            _ => None,
        },
        settle: |process| {
            if process == WARM {
                keep_the_heap();
            }
        },
        servers: None,
    }
}

fn subject_called(name: &str) -> Subject {
    Subject::ALL.into_iter().find(|subject| subject.name() == name).expect("a subject")
}

/// The work of a row for one of the subjects, where there is any.
fn work(row: Row, subject: Subject) -> Option<rows::Work> {
    match subject {
        Subject::Zerovent => Some(subject_zerovent::work(row)),
        Subject::C => Some(subject_c::work(row)),
        Subject::Bytes => peers::work(row),
        Subject::Floor => Some(floor::work(row)),
    }
}

/// Has malloc keep what is freed, instead of giving it back to the kernel and asking for it again.
#[allow(unsafe_code, reason = "mallopt is a function of the C library")]
fn keep_the_heap() {
    for parameter in [libc::M_TRIM_THRESHOLD, libc::M_TOP_PAD] {
        // SAFETY: it only sets a number, and no other thread runs yet.
        let accepted = unsafe { libc::mallopt(parameter, 512 << 20) };
        assert_eq!(accepted, 1, "glibc takes the parameter");
    }
}
