//! The rows for what a Rust program would use otherwise: `BytesMut`, `Bytes`, a queue of them. A row that has no such peer
//! has none here.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memmem};

use super::rows::{self, APPENDED, APPENDED_MANY, LARGE, LARGE_MANY, LINES, MIB, Row, SMALL, Work};
use super::rows::{batched, each, each_cleared, each_cleared_after};

pub(crate) fn work(row: Row) -> Option<Work> {
    Some(match row {
        Row::Append => adding(APPENDED, &SMALL),
        Row::AppendMany => adding(APPENDED_MANY, &SMALL),
        Row::LargeMany => adding(LARGE_MANY, &LARGE),
        Row::PingPong => ping_pong(&SMALL),
        Row::Large => ping_pong(&LARGE),
        Row::ReferenceStatic => references(Bytes::from_static(&MIB)),
        Row::ReferenceCounted => {
            let counted = Bytes::copy_from_slice(&MIB);
            drop(counted.clone());
            references(counted)
        }
        Row::MoveOne => moving(1),
        Row::MoveHundred => moving(100),
        Row::MoveBehind => each_cleared(
            (BytesMut::new(), VecDeque::new()),
            |(src, dst)| {
                src.extend_from_slice(black_box(&SMALL));
                dst.push_back(src.split());
            },
            |(_, dst)| dst.clear(),
        ),
        Row::Reserve => each_cleared(
            BytesMut::new(),
            |buf| {
                buf.reserve(black_box(64));
                buf.put_bytes(0, 64);
            },
            BytesMut::clear,
        ),
        row => return reading(row),
    })
}

fn reading(row: Row) -> Option<Work> {
    Some(match row {
        Row::LineOwned => {
            batched(LINES, || Bytes::from_static(rows::lines()), |rest| drop(black_box(line(rest).to_vec())))
        }
        Row::LineBorrowed => {
            batched(LINES, || Bytes::from_static(rows::lines()), |rest| drop(black_box(line(rest))))
        }
        Row::Search => {
            let chunks: Vec<Bytes> = rows::haystack().chunks(4096).map(Bytes::copy_from_slice).collect();
            each(move || {
                let finder = memmem::Finder::new(black_box(rows::NEEDLE));
                black_box(chunks.iter().position(|chunk| finder.find(chunk).is_some()));
            })
        }
        Row::Pullup => {
            let pieces = || (0..16).map(|_| Bytes::from(vec![b'n'; 4096])).collect::<Vec<_>>();
            batched(1, pieces, |pieces| {
                black_box(pieces.concat());
            })
        }
        Row::Remove => {
            let mut target = [0; 4096];
            batched(
                256,
                || BytesMut::from(&MIB[..]),
                move |buf| {
                    buf.copy_to_slice(black_box(&mut target));
                },
            )
        }
        Row::RemoveBuffer => {
            let counted = Bytes::copy_from_slice(&MIB);
            batched(255, move || counted.clone(), |src| drop(black_box(src.split_to(4096))))
        }
        Row::Peek => {
            let queue: VecDeque<Bytes> = (0..16).map(|_| Bytes::from(vec![b'n'; 100])).collect();
            let mut out = [(std::ptr::null(), 0); 16];
            each(move || {
                for (slot, run) in out.iter_mut().zip(black_box(&queue)) {
                    *slot = (run.as_ptr(), run.len());
                }
                black_box(&mut out);
            })
        }
        _ => return None,
    })
}

/// Adds so many times, then drains.
fn adding<const LEN: usize>(times: u64, data: &'static [u8; LEN]) -> Work {
    let add = move |buf: &mut BytesMut| buf.extend_from_slice(black_box(data));
    each_cleared_after(times, BytesMut::new(), add, |buf| black_box(buf).clear())
}

fn ping_pong(data: &'static [u8]) -> Work {
    let mut buf = BytesMut::new();
    each(move || {
        buf.extend_from_slice(black_box(data));
        black_box(&mut buf).advance(data.len());
    })
}

fn references(data: Bytes) -> Work {
    let mut queue = VecDeque::new();
    each(move || {
        queue.push_back(black_box(&data).clone());
        drop(black_box(&mut queue).pop_front());
    })
}

fn moving(count: usize) -> Work {
    let mut one: VecDeque<Bytes> = (0..count).map(|_| Bytes::from(vec![b'n'; 100])).collect();
    let mut two = VecDeque::new();
    let mut there = false;
    each(move || {
        let (from, to) = if there { (&mut two, &mut one) } else { (&mut one, &mut two) };
        to.append(black_box(from));
        there = !there;
    })
}

/// Takes a line off the front.
fn line(rest: &mut Bytes) -> Bytes {
    let end = memchr(b'\n', rest).expect("there are lines left");
    let mut line = rest.split_to(end + 1);
    line.truncate(end - 1);
    line
}
