//! The rows done by the least that does the job: one arena, one array of descriptors, no sharing, no errors, no growth. Nobody
//! could use it; it says what the machine takes.

use std::hint::black_box;

use memchr::{memchr, memmem};

use super::rows::{self, APPENDED, APPENDED_MANY, CLEAR_EVERY, LARGE, LARGE_MANY, LINES, MIB, Row};
use super::rows::{SMALL, Work, batched, each, each_cleared, each_cleared_after};

/// A fixed block of bytes that are added at one end and taken from the other.
struct Arena {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Arena {
    fn new(size: usize) -> Arena {
        Arena { block: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    #[inline]
    fn add(&mut self, data: &[u8]) {
        self.block[self.end..self.end + data.len()].copy_from_slice(data);
        self.end += data.len();
    }

    #[inline]
    fn drain(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

/// A descriptor: where bytes lie, and how many.
type Piece = (usize, usize);

/// A fixed ring of descriptors.
struct Ring<T> {
    slots: Box<[T]>,
    head: usize,
    count: usize,
}

impl<T: Copy> Ring<T> {
    fn new(size: usize, empty: T) -> Ring<T> {
        Ring { slots: vec![empty; size.next_power_of_two()].into_boxed_slice(), head: 0, count: 0 }
    }

    #[inline]
    fn push(&mut self, item: T) {
        let mask = self.slots.len() - 1;
        self.slots[(self.head + self.count) & mask] = item;
        self.count += 1;
    }

    #[inline]
    fn pop(&mut self) -> T {
        let item = self.slots[self.head & (self.slots.len() - 1)];
        self.head += 1;
        self.count -= 1;
        item
    }
}

pub(crate) fn work(row: Row) -> Work {
    match row {
        Row::Append => adding(APPENDED, &SMALL),
        Row::AppendMany => adding(APPENDED_MANY, &SMALL),
        Row::LargeMany => adding(LARGE_MANY, &LARGE),
        Row::PingPong => ping_pong(&SMALL),
        Row::Large => ping_pong(&LARGE),
        Row::ReferenceStatic | Row::ReferenceCounted => {
            let mut ring: Ring<&'static [u8]> = Ring::new(16, &[]);
            each(move || {
                black_box(&mut ring).push(black_box(&MIB));
                black_box(black_box(&mut ring).pop());
            })
        }
        Row::MoveOne => moving(1),
        Row::MoveHundred => moving(100),
        Row::MoveBehind => each_cleared(
            (Arena::new(64 * CLEAR_EVERY as usize), Ring::<Piece>::new(CLEAR_EVERY as usize, (0, 0))),
            |(arena, ring)| {
                let at = arena.end;
                arena.add(black_box(&SMALL));
                black_box(ring).push((at, 64));
            },
            |(arena, ring)| (arena.end, ring.count) = (0, 0),
        ),
        Row::Prepend => {
            let size = 16 * CLEAR_EVERY as usize;
            let mut arena = Arena::new(size);
            arena.start = size;
            let prepend = |arena: &mut Arena| {
                arena.start -= 16;
                arena.block[arena.start..arena.start + 16].copy_from_slice(black_box(&SMALL[..16]));
                black_box(arena);
            };
            each_cleared(arena, prepend, move |arena| arena.start = size)
        }
        Row::Reserve => each_cleared(
            Arena::new(64 * CLEAR_EVERY as usize),
            |arena| {
                let count = black_box(64);
                black_box(arena.block[arena.end..arena.end + count].first_mut());
                arena.end += count;
                black_box(arena);
            },
            |arena| arena.end = 0,
        ),
        row => reading(row),
    }
}

fn reading(row: Row) -> Work {
    match row {
        Row::LineOwned => batched(LINES, rows::lines, |rest| drop(black_box(line(rest).to_vec()))),
        Row::LineBorrowed => batched(LINES, rows::lines, |rest| {
            black_box(line(rest));
        }),
        Row::Search => each(|| {
            black_box(memmem::find(black_box(rows::haystack()), rows::NEEDLE));
        }),
        Row::SearchAbsent => each(|| {
            black_box(memchr(rows::ABSENT[0], black_box(rows::haystack())));
        }),
        Row::Pullup => {
            let pieces = || (0..16).map(|_| vec![b'n'; 4096]).collect::<Vec<_>>();
            let mut target = vec![0; 1 << 16];
            batched(1, pieces, move |pieces| {
                target.chunks_mut(4096).zip(pieces).for_each(|(to, from)| to.copy_from_slice(from));
                black_box(&mut target);
            })
        }
        Row::Remove => {
            let mut target = [0; 4096];
            batched(
                256,
                || (MIB.to_vec(), 0),
                move |(block, start)| {
                    black_box(&mut target).copy_from_slice(&block[*start..*start + 4096]);
                    *start += 4096;
                },
            )
        }
        Row::RemoveBuffer => {
            let mut ring: Ring<Piece> = Ring::new(16, (0, 0));
            batched(
                255,
                || 0,
                move |start| {
                    black_box(&mut ring).push((*start, 4096));
                    *start += 4096;
                    black_box(black_box(&mut ring).pop());
                },
            )
        }
        _ => peeking(),
    }
}

fn peeking() -> Work {
    let block = vec![b'n'; 1600];
    let mut ring: Ring<Piece> = Ring::new(16, (0, 0));
    (0..16).for_each(|index| ring.push((index * 100, 100)));
    let mut out = [(std::ptr::null(), 0); 16];
    each(move || {
        let ring = black_box(&ring);
        for (slot, index) in out.iter_mut().zip(0..ring.count) {
            let (start, len) = ring.slots[(ring.head + index) & (ring.slots.len() - 1)];
            let run = &block[start..start + len];
            *slot = (run.as_ptr(), run.len());
        }
        black_box(&mut out);
    })
}

/// Adds so many times, then drains.
fn adding<const LEN: usize>(times: u64, data: &'static [u8; LEN]) -> Work {
    let arena = Arena::new(times as usize * LEN);
    let add = move |arena: &mut Arena| black_box(arena).add(black_box(data));
    each_cleared_after(times, arena, add, |arena| arena.drain(arena.end))
}

fn ping_pong(data: &'static [u8]) -> Work {
    let mut arena = Arena::new(data.len());
    each(move || {
        black_box(&mut arena).add(black_box(data));
        black_box(&mut arena).drain(data.len());
    })
}

fn moving(count: usize) -> Work {
    let (mut one, mut two) = (Ring::<Piece>::new(count, (0, 0)), Ring::<Piece>::new(count, (0, 0)));
    (0..count).for_each(|index| one.push((index, 100)));
    each(move || std::mem::swap(black_box(&mut one), black_box(&mut two)))
}

/// Takes a line off the front.
fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr(b'\n', rest).expect("there are lines left");
    let line = &rest[..end - 1];
    *rest = &rest[end + 1..];
    line
}
