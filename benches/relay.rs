//! What it costs to pass 1 GiB from one socket to another, in time of the processor, beside C libevent and the least that could do
//! the job. A measurement is always of the whole stream.
//!
//! `cargo bench --features compare --bench relay -- --table` makes the table "Relay" of docs/benchmarks.md.

#[path = "relay/by_callbacks.rs"]
mod by_callbacks;
#[path = "relay/by_libevent.rs"]
mod by_libevent;
#[path = "relay/by_relay.rs"]
mod by_relay;
#[path = "relay/floor.rs"]
mod floor;
mod measure;
#[path = "relay/plan.rs"]
mod plan;
mod traffic;

fn main() {
    match traffic::asked_to_serve() {
        Some(which) => plan::serve(&which),
        None => measure::run(&plan::plan()),
    }
}
