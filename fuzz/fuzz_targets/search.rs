//! Feeds the fuzzer's bytes to the search cases of the tests, which also replay the corpus.
#![no_main]
#![allow(dead_code, reason = "each target uses its own part of the support code")]

#[path = "../../tests/support/cases.rs"]
mod cases;
#[path = "../../tests/support/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cases::search(bytes));
