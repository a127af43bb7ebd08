//! The buffer against its model: long seeded runs, proptest, and the fuzzer's corpus.

mod support;

use proptest::prelude::*;
use support::alloc::{self, Counting};
use support::{cases, model, random};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One allocation of a call fails.
fn faults(nth: usize, call: &mut dyn FnMut()) -> bool {
    alloc::failing(nth, call).1
}

/// 200,000 operations, every other run of them with an allocator that fails now and then; ZEROVENT_MODEL_OPS asks for more.
#[test]
fn the_buffer_agrees_with_the_model_over_long_seeded_runs() {
    let wanted = std::env::var("ZEROVENT_MODEL_OPS").ok().and_then(|ops| ops.parse().ok()).unwrap_or(200_000);
    let (mut done, mut seed) = (0, 1);
    while done < wanted {
        let failing = (seed % 2 == 0).then_some(faults as model::Faults);
        done += model::run_bytes_with(&random::bytes(seed, 16 * 1024), failing);
        seed += 1;
    }
    assert!(done >= wanted);
}

/// Runs that are small enough to be shrunk to something readable.
#[test]
fn the_buffer_agrees_with_the_model_under_proptest() {
    let config = ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() };
    let seed = [7; 32];
    let rng = prop::test_runner::TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
    let mut runner = prop::test_runner::TestRunner::new_with_rng(config, rng);
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    runner
        .run(&bytes, |bytes| {
            model::run_bytes(&bytes);
            Ok(())
        })
        .expect("no difference");
}

/// Runs every file of a corpus: what the fuzzer found worth keeping, and what found a defect once, without the fuzzer.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is part of the tree") {
        run(&std::fs::read(entry.expect("an entry").path()).expect("a readable file"));
        files += 1;
    }
    assert!(files >= 8, "the corpus of {target} holds {files} files");
}

#[test]
fn the_corpus_of_operations_is_replayed() {
    replay("ops", |bytes| {
        model::run_bytes(bytes);
    });
}

#[test]
fn the_corpus_of_searches_is_replayed() {
    replay("search", cases::search);
}

#[test]
fn the_corpus_of_segments_is_replayed() {
    replay("segment", cases::segment);
}

/// The cases of the fuzzer with seeded bytes instead of grown ones.
#[test]
fn searches_and_segments_hold_for_random_bytes() {
    for seed in 0..400 {
        let mut bytes = random::bytes(seed, 300);
        cases::segment(&bytes);
        let letters = b"aab\r\n\0bc";
        bytes[2..].iter_mut().for_each(|byte| *byte = letters[usize::from(*byte) % letters.len()]);
        cases::search(&bytes);
    }
}
