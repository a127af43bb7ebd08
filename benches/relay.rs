//! What it costs to pass 1 GiB from one socket to another, in time of the processor, beside C libevent and the least that could do
//! the job. A measurement is always of the whole stream.
//!
//! `cargo bench --features compare --bench relay -- --table` makes the table "Relay" of docs/benchmarks.md.

#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
#[path = "relay/mod.rs"]
mod relay;
mod traffic;

fn main() {
    measure::run(&relay::plan());
}
