//! What a static file costs a server in time of the processor, beside C libevent's HTTP server, nginx, and the least that could do the job.
//!
//! The rows are those of the table "Static files" of docs/benchmarks.md. Connections are kept open, and each sends its next request when it
//! has the whole answer. With `--features compare` C libevent and nginx are among the servers, and `-- --table` measures all of them in
//! interleaved rounds; `-- --calls` has strace count their system calls. Without either criterion measures row by row.

#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
#[path = "serve/mod.rs"]
mod serve;
mod traffic;

fn main() {
    measure::run(&serve::plan());
}
