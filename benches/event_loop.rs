//! What the event engine's operations cost, in time of the processor, beside C libevent, libev, and the least that could do the job.
//!
//! The rows are those of the table "Event engine" of docs/benchmarks.md. Criterion measures them one by one (`cargo bench --bench
//! event_loop`). With `--features compare` the C libraries are among them, and two more ways to run make the tables of that
//! document: `-- --table` measures all of them in interleaved rounds, `-- --instructions` has callgrind count.

#[path = "event_loop/mod.rs"]
mod event_loop;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;

fn main() {
    measure::run(&event_loop::plan());
}
