//! Inputs for comparing helpers: texts out of the pieces that matter, the same in every run.

use super::random;

/// How many inputs a comparison takes.
pub const INPUTS: usize = 100_000;

/// The bytes that an input is made by.
pub type Input = [u8; 16];

pub fn inputs(seed: u64) -> impl Iterator<Item = Input> {
    let bytes = random::bytes(seed, INPUTS * size_of::<Input>());
    (0..INPUTS).map(move |place| std::array::from_fn(|index| bytes[place * size_of::<Input>() + index]))
}

/// A text of up to `most` of the pieces.
pub fn text(input: &Input, pieces: &[&str], most: u8) -> String {
    let count = usize::from(input[0] % (most + 1));
    input[1..=count].iter().map(|byte| pieces[usize::from(*byte) % pieces.len()]).collect()
}

/// What addresses with ports are written with, and what looks like it.
pub const PIECES_OF_ADDRESSES: [&str; 45] = [
    "[",
    "]",
    ":",
    ":",
    ":",
    "::",
    "::1",
    "1.2.3.4",
    "127.0.0.1",
    "256",
    "01.2.3.4",
    "80",
    "0",
    "65535",
    "65536",
    " 8",
    "+9",
    "-1",
    "x",
    "0x1",
    "%",
    "%lo",
    "%1",
    "%99",
    "%nope",
    "fe80::1",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:",
    "::ffff:1.2.3.4",
    "[::1]:",
    "a",
    "b:",
    "c0",
    "DeaD",
    ":443",
    ".",
    ".1",
    "12345",
    "4294967297",
    "1:2:3:",
    "255.255.255.256",
    "[fe80::1",
    "1.2.3.4:",
    "[::",
    "00080",
];
