//! What a round trip on bufferevents, an operation of memcached, and one of a buffer, cost a C program on our library and on Debian's libevent: one
//! binary, two libraries, and the processor time of its process. `-- --table` measures both in interleaved rounds, `-- --instructions` counts; without
//! either criterion measures row by row.

#[path = "capi/mod.rs"]
mod capi;
#[path = "../tests/support/foreign.rs"]
mod foreign;
mod measure;
mod traffic;

fn main() {
    measure::run(&capi::plan());
}
