//! The rows of the table and who is measured in them, with what they share: data, and a way to take the time.

use std::time::{Duration, Instant};

pub(crate) use crate::measure::Work;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Append,
    PingPong,
    Large,
    ReferenceStatic,
    ReferenceCounted,
    MoveOne,
    MoveHundred,
    MoveBehind,
    LineOwned,
    LineBorrowed,
    Search,
    SearchAbsent,
    Pullup,
    Remove,
    RemoveBuffer,
    Prepend,
    Reserve,
    Peek,
}

pub(crate) const ROWS: [(Row, &str); 18] = [
    (Row::Append, "64 B x 1000 added, then drained"),
    (Row::PingPong, "64 B add, drain ping-pong"),
    (Row::Large, "16 KiB add, drain"),
    (Row::ReferenceStatic, "add_reference of 1 MiB, static"),
    (Row::ReferenceCounted, "add_reference of 1 MiB, counted"),
    (Row::MoveOne, "add_buffer of 1 chunk"),
    (Row::MoveHundred, "add_buffer of 100 chunks"),
    (Row::MoveBehind, "64 B add, move to a non-empty buffer"),
    (Row::LineOwned, "read_line, 60 B CRLF lines, owned"),
    (Row::LineBorrowed, "read_line, 60 B CRLF lines, borrowed"),
    (Row::Search, "search, 16 B at the end of 16 MiB in 4 KiB chunks"),
    (Row::SearchAbsent, "the same, first byte absent"),
    (Row::Pullup, "pullup of 64 KiB over 4 KiB chunks"),
    (Row::Remove, "remove 4 KiB"),
    (Row::RemoveBuffer, "remove_buffer in 4 KiB slices of 1 MiB"),
    (Row::Prepend, "prepend 16 B"),
    (Row::Reserve, "reserve and commit 64 B"),
    (Row::Peek, "peek of 16 vectors"),
];

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Zerovent,
    C,
    Bytes,
    Floor,
}

impl Subject {
    pub(crate) const ALL: [Subject; 4] = [Subject::Zerovent, Subject::C, Subject::Bytes, Subject::Floor];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Subject::Zerovent => "zerovent",
            Subject::C => "libevent",
            Subject::Bytes => "bytes",
            Subject::Floor => "floor",
        }
    }
}

/// What is added by reference.
pub(crate) static MIB: [u8; 1 << 20] = [1; 1 << 20];
pub(crate) const SMALL: [u8; 64] = [7; 64];
pub(crate) static LARGE: [u8; 16 * 1024] = [7; 16 * 1024];
/// Operations between two clearings of a buffer that would grow without end.
pub(crate) const CLEAR_EVERY: u64 = 1000;

pub(crate) const NEEDLE: &[u8; 16] = b"needle-at-the-en";
pub(crate) const ABSENT: &[u8; 16] = b"#eedle-at-the-en";

/// 16 MiB of a to z with the needle at the end.
pub(crate) fn haystack() -> &'static [u8] {
    static TEXT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text: Vec<u8> =
            (0..16_u32 << 20).map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 % 26).collect();
        let start = text.len() - NEEDLE.len();
        text[start..].copy_from_slice(NEEDLE);
        text
    })
}

pub(crate) const LINES: u64 = 1000;

/// 1000 lines of 60 bytes.
pub(crate) fn lines() -> &'static [u8] {
    static TEXT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| [&[b'l'; 60][..], b"\r\n"].concat().repeat(LINES as usize))
}

/// Work in which nothing has to be prepared between two operations.
pub(crate) fn each(mut operation: impl FnMut() + 'static) -> Work {
    Box::new(move |count| {
        let start = Instant::now();
        for _ in 0..count {
            operation();
        }
        start.elapsed()
    })
}

/// Work that is cleared every so often, inside the time: what grows has to go.
pub(crate) fn each_cleared<T: 'static>(
    mut state: T,
    mut operation: impl FnMut(&mut T) + 'static,
    mut clear: impl FnMut(&mut T) + 'static,
) -> Work {
    let mut round = 0;
    each(move || {
        operation(&mut state);
        round += 1;
        if round == CLEAR_EVERY {
            round = 0;
            clear(&mut state);
        }
    })
}

/// Work in batches: `prepare` is not in the time, `operation` is done at most `size` times to what was prepared.
pub(crate) fn batched<T: 'static>(
    size: u64,
    mut prepare: impl FnMut() -> T + 'static,
    mut operation: impl FnMut(&mut T) + 'static,
) -> Work {
    Box::new(move |count| {
        let (mut total, mut left) = (Duration::ZERO, count);
        while left > 0 {
            let mut state = prepare();
            let part = left.min(size);
            let start = Instant::now();
            for _ in 0..part {
                operation(&mut state);
            }
            total += start.elapsed();
            left -= part;
        }
        total
    })
}
