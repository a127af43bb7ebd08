//! zerovent beside C libevent, nginx, tokio and the least that could do each job: everything that the other benches measure, in one run.
//!
//! `cargo bench --bench compare --features compare` measures all of it, writes the tables of docs/benchmarks.md between their markers, where
//! what people wrote around them stays, and draws docs/charts. Words behind `--` choose sections: `-- files relay`. Who is not installed
//! is left out by name. `-- --test` shows within seconds that it works, and writes nothing into the repository.

#[path = "compare/mod.rs"]
mod compare;
#[path = "echo/mod.rs"]
mod echo;
#[path = "evbuffer/mod.rs"]
mod evbuffer;
#[path = "event_loop/mod.rs"]
mod event_loop;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
#[path = "relay/mod.rs"]
mod relay;
#[path = "serve/mod.rs"]
mod serve;
mod traffic;

fn main() {
    let plans = [evbuffer::plan(), event_loop::plan(), echo::plan(), serve::plan(), relay::plan()];
    if !measure::obey(&plans.each_ref()) {
        compare::run(&plans);
    }
}
