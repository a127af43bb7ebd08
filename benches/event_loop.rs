//! What the event engine's operations cost, in time of the processor, beside C libevent, libev, and the least that could do the job.
//!
//! The rows are those of the table "Event engine" of docs/benchmarks.md. Criterion measures them one by one (`cargo bench --bench
//! event_loop`). With `--features compare` the C libraries are among them, and two more ways to run make the tables of that
//! document: `-- --table` measures all of them in interleaved rounds, `-- --instructions` has callgrind count.

#[path = "event_loop/cpu.rs"]
mod cpu;
#[path = "event_loop/engine.rs"]
mod engine;
#[path = "event_loop/floor.rs"]
mod floor;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
#[path = "event_loop/plan.rs"]
mod plan;
#[path = "event_loop/rows.rs"]
mod rows;
#[path = "event_loop/subject_libev.rs"]
mod subject_libev;
#[path = "event_loop/subject_libevent.rs"]
mod subject_libevent;
#[path = "event_loop/subject_zerovent.rs"]
mod subject_zerovent;

fn main() {
    measure::run(&plan::plan());
}
