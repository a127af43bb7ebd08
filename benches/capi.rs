//! What a round trip on bufferevents, and an operation of a buffer, cost a C program on our library and on Debian's libevent: one binary, two
//! libraries, and the processor time of its process. `-- --table` measures both in interleaved rounds; without it criterion measures row by row.

#[path = "../tests/support/capi.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod library;
mod measure;
#[path = "capi/plan.rs"]
mod plan;
mod traffic;

use traffic::process;

fn main() {
    measure::run(&plan::plan());
}
