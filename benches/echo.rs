//! What a round trip costs an echo server in time of the processor, beside C libevent, tokio, and the least that could do the job.
//!
//! The rows are those of the table "Echo" of docs/benchmarks.md. All connections send, then all of them read what comes back. With
//! `--features compare` C libevent is among the servers, and `-- --table` measures all of them in interleaved rounds; `-- --calls`
//! has strace count their system calls. Without either criterion measures row by row.

mod measure;
#[path = "echo/plan.rs"]
mod plan;
#[path = "echo/server_floor.rs"]
mod server_floor;
#[path = "echo/server_libevent.rs"]
mod server_libevent;
#[path = "echo/server_tokio.rs"]
mod server_tokio;
#[path = "echo/server_zerovent.rs"]
mod server_zerovent;
mod traffic;

fn main() {
    if let Some(which) = traffic::asked_to_serve() {
        return plan::serve(&which);
    }
    match std::env::args().nth(1).as_deref() {
        Some("--calls") => plan::print_calls(),
        _ => measure::run(&plan::plan()),
    }
}
