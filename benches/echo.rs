//! What a round trip costs an echo server in time of the processor, beside C libevent, tokio, and the least that could do the job.
//!
//! The rows are those of the table "Echo" of docs/benchmarks.md. All connections send, then all of them read what comes back. With
//! `--features compare` C libevent is among the servers, and `-- --table` measures all of them in interleaved rounds; `-- --calls`
//! has strace count their system calls. Without either criterion measures row by row.

#[path = "echo/mod.rs"]
mod echo;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
mod traffic;

fn main() {
    measure::run(&echo::plan());
}
