//! Feeds the fuzzer's bytes to the server's side of one connection, cut in several ways, which must not matter. The tests
//! replay the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    zerovent::http::exercise_connection(bytes);
});
