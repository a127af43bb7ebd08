//! What the buffer's operations cost, beside C libevent, the best of `bytes`, and the least that could do the job.
//!
//! The rows are those of the first table of docs/benchmarks.md. Criterion measures them one by one (`cargo bench --bench evbuffer`).
//! With `--features compare` C libevent is among them, and two more ways to run make the tables of that document:
//! `-- --table` measures all of them in interleaved rounds, `-- --instructions` has callgrind count.

#[path = "evbuffer/mod.rs"]
mod evbuffer;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;

fn main() {
    measure::run(&evbuffer::plan());
}
