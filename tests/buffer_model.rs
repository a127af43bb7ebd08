//! The buffer against its model: long seeded runs, proptest, and the fuzzer's corpus.

mod support;

use proptest::prelude::*;
use support::{model, random};

/// 200,000 operations; ZEROVENT_MODEL_OPS asks for more.
#[test]
fn the_buffer_agrees_with_the_model_over_long_seeded_runs() {
    let wanted = std::env::var("ZEROVENT_MODEL_OPS").ok().and_then(|ops| ops.parse().ok()).unwrap_or(200_000);
    let (mut done, mut seed) = (0, 1);
    while done < wanted {
        done += model::run_bytes(&random::bytes(seed, 16 * 1024));
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

/// What the fuzzer found worth keeping, and what found a defect once, without the fuzzer.
#[test]
fn the_corpus_of_the_fuzzer_is_replayed() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ops");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is part of the tree") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a readable file");
        model::run_bytes(&bytes);
        files += 1;
    }
    assert!(files >= 8, "the corpus holds {files} files");
}
