//! The rows of the table and who is measured in them, with what they share: data, and a way to take the time.

use std::time::Duration;

pub(crate) use crate::measure::Work;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Append,
    AppendMany,
    PingPong,
    Large,
    LargeMany,
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

pub(crate) const ROWS: [(Row, &str); 20] = [
    (Row::Append, "64 B x 1000 added, then drained"),
    (Row::AppendMany, "64 B x 8192 added, then drained"),
    (Row::PingPong, "64 B add, drain ping-pong"),
    (Row::Large, "16 KiB add, drain"),
    (Row::LargeMany, "16 KiB x 16 added, then drained"),
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

/// How often something is added before all of it is drained. The longer ones need more heap than malloc keeps when it is given back.
pub(crate) const APPENDED: u64 = 1000;
pub(crate) const APPENDED_MANY: u64 = 8192;
pub(crate) const LARGE_MANY: u64 = 16;

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

/// What this thread has spent of a processor's time. Others that want the processor too do not count, unlike on a wall clock.
#[allow(unsafe_code, reason = "std has no clock but the wall's")]
fn cpu_time() -> Duration {
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spent` is a timespec that may be written.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut spent) };
    assert_eq!(answer, 0, "Linux has this clock");
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Work in which nothing has to be prepared between two operations.
pub(crate) fn each(mut operation: impl FnMut() + 'static) -> Work {
    Box::new(move |count| {
        let start = cpu_time();
        for _ in 0..count {
            operation();
        }
        cpu_time() - start
    })
}

/// [`each_cleared_after`] the usual number of operations.
pub(crate) fn each_cleared<T: 'static>(
    state: T,
    operation: impl FnMut(&mut T) + 'static,
    clear: impl FnMut(&mut T) + 'static,
) -> Work {
    each_cleared_after(CLEAR_EVERY, state, operation, clear)
}

/// Work that is cleared after so many operations, inside the time: what grows has to go.
pub(crate) fn each_cleared_after<T: 'static>(
    count: u64,
    mut state: T,
    mut operation: impl FnMut(&mut T) + 'static,
    mut clear: impl FnMut(&mut T) + 'static,
) -> Work {
    let mut round = 0;
    each(move || {
        operation(&mut state);
        round += 1;
        if round == count {
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
            let start = cpu_time();
            for _ in 0..part {
                operation(&mut state);
            }
            total += cpu_time() - start;
            left -= part;
        }
        total
    })
}
