//! Feeds the fuzzer's bytes to the segment cases of the tests, which also replay the corpus.
#![no_main]

#[path = "../../tests/support/cases.rs"]
mod cases;
#[path = "../../tests/support/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cases::segment(bytes));
