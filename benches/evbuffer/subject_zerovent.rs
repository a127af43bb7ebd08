//! The rows for zerovent's buffer.

use std::hint::black_box;
use std::io::IoSlice;

use bytes::Bytes;
use zerovent::Evbuffer;
use zerovent::buffer::Eol;

use super::rows::{self, APPENDED, APPENDED_MANY, LARGE, LARGE_MANY, LINES, MIB, Row, SMALL, Work};
use super::rows::{batched, each, each_cleared, each_cleared_after};

const ADDED: &str = "memory";

pub(crate) fn work(row: Row) -> Work {
    match row {
        Row::Append => adding(APPENDED, &SMALL),
        Row::AppendMany => adding(APPENDED_MANY, &SMALL),
        Row::LargeMany => adding(LARGE_MANY, &LARGE),
        Row::PingPong => {
            let mut buf = Evbuffer::new();
            each(move || {
                buf.add(black_box(&SMALL)).expect(ADDED);
                buf.drain(black_box(64)).expect(ADDED);
            })
        }
        Row::Large => {
            let mut buf = Evbuffer::new();
            each(move || {
                buf.add(black_box(&LARGE)).expect(ADDED);
                buf.drain(usize::MAX).expect(ADDED);
            })
        }
        Row::ReferenceStatic => {
            let mut buf = Evbuffer::new();
            each(move || {
                buf.add_reference(Bytes::from_static(black_box::<&'static [u8; 1 << 20]>(&MIB)))
                    .expect(ADDED);
                buf.drain(usize::MAX).expect(ADDED);
            })
        }
        Row::ReferenceCounted => {
            let (mut buf, counted) = (Evbuffer::new(), Bytes::copy_from_slice(&MIB));
            drop(counted.clone());
            each(move || {
                buf.add_reference(black_box(&counted).clone()).expect(ADDED);
                buf.drain(usize::MAX).expect(ADDED);
            })
        }
        Row::MoveOne => moving(1),
        Row::MoveHundred => moving(100),
        Row::MoveBehind => each_cleared(
            (Evbuffer::new(), Evbuffer::new()),
            |(src, dst)| {
                src.add(black_box(&SMALL)).expect(ADDED);
                dst.add_buffer(src).expect(ADDED);
            },
            |(_, dst)| dst.drain(usize::MAX).expect(ADDED),
        ),
        Row::Prepend => each_cleared(
            Evbuffer::new(),
            |buf| buf.prepend(black_box(&SMALL[..16])).expect(ADDED),
            |buf| buf.drain(usize::MAX).expect(ADDED),
        ),
        Row::Reserve => each_cleared(
            Evbuffer::new(),
            |buf| {
                let mut space = buf.reserve(black_box(64)).expect(ADDED);
                black_box(space.first_mut());
                space.commit(64).expect(ADDED);
            },
            |buf| buf.drain(usize::MAX).expect(ADDED),
        ),
        row => reading(row),
    }
}

/// Adds so many times, then drains.
fn adding<const LEN: usize>(times: u64, data: &'static [u8; LEN]) -> Work {
    let add = move |buf: &mut Evbuffer| buf.add(black_box(data)).expect(ADDED);
    each_cleared_after(times, Evbuffer::new(), add, |buf| buf.drain(usize::MAX).expect(ADDED))
}

fn reading(row: Row) -> Work {
    match row {
        Row::LineOwned => batched(LINES, text, |buf| {
            black_box(buf.read_line(Eol::Crlf).expect(ADDED));
        }),
        Row::LineBorrowed => batched(LINES, text, |buf| {
            if let Some(line) = buf.line(Eol::Crlf).expect(ADDED) {
                black_box(&line[..]);
            }
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
            batched(
                256,
                || {
                    let mut buf = Evbuffer::new();
                    buf.add(&MIB).expect(ADDED);
                    buf
                },
                move |buf| {
                    black_box(buf.remove(black_box(&mut target)).expect(ADDED));
                },
            )
        }
        Row::RemoveBuffer => {
            let counted = Bytes::copy_from_slice(&MIB);
            let filled = move || (Evbuffer::from(counted.clone()), Evbuffer::new());
            batched(255, filled, |(src, dst)| {
                src.remove_buffer(dst, 4096).expect(ADDED);
                dst.drain(usize::MAX).expect(ADDED);
            })
        }
        _ => peeking(),
    }
}

fn peeking() -> Work {
    let mut buf = nodes(16, 100);
    each(move || {
        let mut out = [IoSlice::new(&[]); 16];
        black_box(buf.peek_io_slices(usize::MAX, &mut out).expect(ADDED));
        black_box(&mut out);
    })
}

fn moving(count: usize) -> Work {
    let (mut one, mut two) = (nodes(count, 100), Evbuffer::new());
    let mut there = false;
    each(move || {
        let (from, to) = if there { (&mut two, &mut one) } else { (&mut one, &mut two) };
        to.add_buffer(black_box(from)).expect(ADDED);
        there = !there;
    })
}

fn searching(needle: &'static [u8]) -> Work {
    let mut buf = Evbuffer::new();
    for piece in rows::haystack().chunks(4096) {
        buf.add_reference(piece.to_vec()).expect(ADDED);
    }
    each(move || {
        black_box(buf.search(black_box(needle), None).expect(ADDED));
    })
}

fn text() -> Evbuffer {
    Evbuffer::from(rows::lines())
}

/// A buffer of `count` separate nodes with the same `size` bytes.
fn nodes(count: usize, size: usize) -> Evbuffer {
    let data = vec![b'n'; size];
    let mut buf = Evbuffer::new();
    for _ in 0..count {
        let mut one = Evbuffer::new();
        one.add(&data).expect(ADDED);
        buf.add_buffer(&mut one).expect(ADDED);
    }
    buf
}
