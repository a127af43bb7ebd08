//! What the buffer's operations cost, beside C libevent, the best of `bytes`, and the least that could do the job.
//!
//! The rows are those of the first table of docs/benchmarks.md. Criterion measures them one by one (`cargo bench --bench evbuffer`).
//! With `--features compare` C libevent is among them, and two more ways to run make the tables of that document:
//! `-- --table` measures all of them in interleaved rounds, `-- --instructions` has callgrind count.

#[path = "evbuffer/floor.rs"]
mod floor;
#[path = "../tests/support/libevent.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod libevent;
#[path = "evbuffer/peers.rs"]
mod peers;
#[path = "evbuffer/rounds.rs"]
mod rounds;
#[path = "evbuffer/rows.rs"]
mod rows;
#[path = "evbuffer/subject_c.rs"]
mod subject_c;
#[path = "evbuffer/subject_zerovent.rs"]
mod subject_zerovent;

use criterion::Criterion;
use rows::{ROWS, Row, Subject};

/// The work of a row for one of the subjects, where there is any.
fn work(row: Row, subject: Subject) -> Option<rows::Work> {
    match subject {
        Subject::Zerovent => Some(subject_zerovent::work(row)),
        Subject::C if cfg!(feature = "compare") && libevent::version().is_ok() => Some(subject_c::work(row)),
        Subject::C => None,
        Subject::Bytes => peers::work(row),
        Subject::Floor => Some(floor::work(row)),
    }
}

/// Every row, subject by subject, under criterion.
fn measure(criterion: &mut Criterion) {
    for (row, text) in ROWS {
        let mut group = criterion.benchmark_group(text);
        group.sample_size(20).measurement_time(std::time::Duration::from_secs(2));
        for subject in Subject::ALL {
            if let Some(mut work) = work(row, subject) {
                group.bench_function(subject.name(), |bencher| bencher.iter_custom(&mut work));
            }
        }
        group.finish();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--table") => rounds::print_table(),
        Some("--instructions") => rounds::print_instructions(),
        Some("--serve") => rounds::serve(arguments.get(1).is_some_and(|heap| heap == "warm")),
        Some("--count") => rounds::run_once(&arguments[1..]),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            measure(&mut criterion);
            criterion.final_summary();
        }
    }
}
