//! Feeds the fuzzer's bytes to the buffer's model. The interpreter is the one of the tests, which also replay the corpus.
#![no_main]

#[path = "../../tests/support/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    model::run_bytes(bytes);
});
