//! The rows for C libevent.
#![allow(unsafe_code, reason = "a reference in C is a promise about lifetimes that no type keeps")]

use std::hint::black_box;

use zerovent::buffer::Eol;

use super::libevent::CBuffer;
use super::rows::{self, APPENDED, APPENDED_MANY, LARGE, LARGE_MANY, LINES, MIB, Row, SMALL, Work};
use super::rows::{batched, each, each_cleared, each_cleared_after};

const ADDED: &str = "memory";

pub(crate) fn work(row: Row) -> Work {
    match row {
        Row::Append => adding(APPENDED, &SMALL),
        Row::AppendMany => adding(APPENDED_MANY, &SMALL),
        Row::LargeMany => adding(LARGE_MANY, &LARGE),
        Row::PingPong => {
            let mut buf = CBuffer::new();
            each(move || {
                buf.add(black_box(&SMALL)).expect(ADDED);
                buf.drain(black_box(64)).expect(ADDED);
            })
        }
        Row::Large => {
            let mut buf = CBuffer::new();
            each(move || {
                buf.add(black_box(&LARGE)).expect(ADDED);
                drain(&mut buf);
            })
        }
        Row::ReferenceStatic | Row::ReferenceCounted => {
            let mut buf = CBuffer::new();
            each(move || {
                // SAFETY: the memory is static.
                unsafe { buf.add_borrowed(black_box(&MIB)) }.expect(ADDED);
                drain(&mut buf);
            })
        }
        Row::MoveOne => moving(1),
        Row::MoveHundred => moving(100),
        Row::MoveBehind => each_cleared(
            (CBuffer::new(), CBuffer::new()),
            |(src, dst)| {
                src.add(black_box(&SMALL)).expect(ADDED);
                dst.add_buffer(src).expect(ADDED);
            },
            |(_, dst)| drain(dst),
        ),
        Row::Prepend => {
            each_cleared(CBuffer::new(), |buf| buf.prepend(black_box(&SMALL[..16])).expect(ADDED), drain)
        }
        Row::Reserve => each_cleared(CBuffer::new(), |buf| buf.reserve_and_commit(black_box(64)), drain),
        row => reading(row),
    }
}

fn reading(row: Row) -> Work {
    match row {
        Row::LineOwned | Row::LineBorrowed => batched(LINES, text, |buf| {
            buf.line_with(Eol::Crlf, |line| {
                black_box(line);
            });
        }),
        Row::Search => searching(rows::NEEDLE),
        Row::SearchAbsent => searching(rows::ABSENT),
        Row::Pullup => batched(
            1,
            || nodes(16, 4096),
            |buf| {
                black_box(buf.pullup(1 << 16).expect(ADDED));
            },
        ),
        Row::Remove => {
            let mut target = [0; 4096];
            let filled = || {
                let mut buf = CBuffer::new();
                MIB.chunks(4096).for_each(|piece| buf.add(piece).expect(ADDED));
                buf
            };
            batched(256, filled, move |buf| {
                black_box(buf.remove(black_box(&mut target)).expect(ADDED));
            })
        }
        Row::RemoveBuffer => {
            let filled = || {
                let mut src = CBuffer::new();
                src.add_static(&MIB).expect(ADDED);
                (src, CBuffer::new())
            };
            batched(255, filled, |(src, dst)| {
                src.remove_buffer(dst, 4096).expect(ADDED);
                drain(dst);
            })
        }
        _ => peeking(),
    }
}

/// Adds so many times, then drains.
fn adding<const LEN: usize>(times: u64, data: &'static [u8; LEN]) -> Work {
    let add = move |buf: &mut CBuffer| buf.add(black_box(data)).expect(ADDED);
    each_cleared_after(times, CBuffer::new(), add, drain)
}

fn peeking() -> Work {
    let mut buf = nodes(16, 100);
    let mut out = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 16];
    each(move || {
        black_box(buf.peek_into(&mut out));
        black_box(&mut out);
    })
}

fn moving(count: usize) -> Work {
    let (mut one, mut two) = (nodes(count, 100), CBuffer::new());
    let mut there = false;
    each(move || {
        let (from, to) = if there { (&mut two, &mut one) } else { (&mut one, &mut two) };
        to.add_buffer(black_box(from)).expect(ADDED);
        there = !there;
    })
}

fn searching(needle: &'static [u8]) -> Work {
    let mut buf = CBuffer::new();
    for piece in rows::haystack().chunks(4096) {
        buf.add_reference(piece.to_vec(), drop).expect(ADDED);
    }
    each(move || {
        black_box(buf.search(black_box(needle), None));
    })
}

fn text() -> CBuffer {
    let mut buf = CBuffer::new();
    buf.add_static(rows::lines()).expect(ADDED);
    buf
}

fn drain(buf: &mut CBuffer) {
    buf.drain(usize::MAX).expect(ADDED);
}

/// A buffer of `count` separate chains with the same `size` bytes.
fn nodes(count: usize, size: usize) -> CBuffer {
    let data = vec![b'n'; size];
    let mut buf = CBuffer::new();
    for _ in 0..count {
        let mut one = CBuffer::new();
        one.add(&data).expect(ADDED);
        buf.add_buffer(&mut one).expect(ADDED);
    }
    buf
}
