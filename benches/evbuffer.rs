//! What the buffer's operations cost, beside C libevent, the best of `bytes`, and the least that could do the job.
//!
//! The rows are those of the first table of docs/benchmarks.md. Criterion measures them one by one (`cargo bench --bench evbuffer`).
//! With `--features compare` C libevent is among them, and two more ways to run make the tables of that document:
//! `-- --table` measures all of them in interleaved rounds, `-- --instructions` has callgrind count.

#[path = "evbuffer/floor.rs"]
mod floor;
#[path = "../tests/support/foreign.rs"]
mod foreign;
#[path = "../tests/support/libevent.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod libevent;
mod measure;
#[path = "evbuffer/peers.rs"]
mod peers;
#[path = "evbuffer/plan.rs"]
mod plan;
#[path = "evbuffer/rows.rs"]
mod rows;
#[path = "evbuffer/subject_c.rs"]
mod subject_c;
#[path = "evbuffer/subject_zerovent.rs"]
mod subject_zerovent;

use rows::{Row, Subject};

/// The work of a row for one of the subjects, where there is any.
fn work(row: Row, subject: Subject) -> Option<rows::Work> {
    match subject {
        Subject::Zerovent => Some(subject_zerovent::work(row)),
        Subject::C => Some(subject_c::work(row)),
        Subject::Bytes => peers::work(row),
        Subject::Floor => Some(floor::work(row)),
    }
}

fn main() {
    measure::run(&plan::plan());
}
