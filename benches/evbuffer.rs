//! What the buffer's operations cost, each beside the best peer: `BytesMut`, `Bytes`, or a flat slice.
//!
//! The rows are those of the first table of `docs/benchmarks.md`.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use memchr::memmem;
use zerovent::Evbuffer;
use zerovent::buffer::Eol;

/// A buffer of `count` separate nodes with the same `size` bytes.
fn nodes(count: usize, size: usize) -> Evbuffer {
    let data = vec![b'n'; size];
    let mut buf = Evbuffer::new();
    for _ in 0..count {
        let mut one = Evbuffer::new();
        one.add(&data).expect("added");
        buf.add_buffer(&mut one).expect("moved");
    }
    buf
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    let data = [7_u8; 64];
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 x 64 B, then drain/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter(|| {
            for _ in 0..1000 {
                buf.add(black_box(&data)).expect("added");
            }
            buf.drain(usize::MAX).expect("drained");
        });
    });
    group.bench_function("1000 x 64 B, then drain/BytesMut", |b| {
        let mut buf = BytesMut::new();
        b.iter(|| {
            for _ in 0..1000 {
                buf.extend_from_slice(black_box(&data));
            }
            black_box(&mut buf).clear();
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("64 B ping-pong/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter(|| {
            buf.add(black_box(&data)).expect("added");
            buf.drain(black_box(64)).expect("drained");
        });
    });
    group.bench_function("64 B ping-pong/BytesMut", |b| {
        let mut buf = BytesMut::new();
        b.iter(|| {
            buf.extend_from_slice(black_box(&data));
            black_box(&mut buf).advance(64);
        });
    });
    group.finish();
}

fn space(c: &mut Criterion) {
    let mut group = c.benchmark_group("space");
    let data = [7_u8; 64];
    let large = vec![7_u8; 16 * 1024];
    group.bench_function("16 KiB ping-pong/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter(|| {
            buf.add(black_box(&large)).expect("added");
            buf.drain(usize::MAX).expect("drained");
        });
    });
    group.bench_function("16 KiB ping-pong/BytesMut", |b| {
        let mut buf = BytesMut::new();
        b.iter(|| {
            buf.extend_from_slice(black_box(&large));
            black_box(&mut buf).advance(large.len());
        });
    });
    group.bench_function("prepend 16 B/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter_custom(|rounds| {
            buf.drain(usize::MAX).expect("drained");
            let start = std::time::Instant::now();
            for round in 0..rounds {
                buf.prepend(black_box(&data[..16])).expect("prepended");
                if round % 4096 == 4095 {
                    buf.drain(usize::MAX).expect("drained");
                }
            }
            start.elapsed()
        });
    });
    group.bench_function("reserve and commit 64 B/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        let mut round = 0;
        b.iter(|| {
            buf.reserve(black_box(64)).expect("space").commit(64).expect("committed");
            round += 1;
            if round % 4096 == 0 {
                buf.drain(usize::MAX).expect("drained");
            }
        });
    });
    group.bench_function("reserve and commit 64 B/BytesMut", |b| {
        let mut buf = BytesMut::new();
        let mut round = 0;
        b.iter(|| {
            buf.reserve(black_box(64));
            buf.put_bytes(0, 64);
            round += 1;
            if round % 4096 == 0 {
                buf.clear();
            }
        });
    });
    group.finish();
}

fn reference(c: &mut Criterion) {
    let mut group = c.benchmark_group("reference");
    static BYTES: [u8; 1 << 20] = [1; 1 << 20];
    group.bench_function("1 MiB static/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter(|| {
            buf.add_reference(Bytes::from_static(black_box(&BYTES))).expect("added");
            buf.drain(usize::MAX).expect("drained");
        });
    });
    let counted = Bytes::from(vec![1; 1 << 20]);
    drop(counted.clone());
    group.bench_function("1 MiB counted/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        b.iter(|| {
            buf.add_reference(black_box(&counted).clone()).expect("added");
            buf.drain(usize::MAX).expect("drained");
        });
    });
    group.bench_function("1 MiB counted/VecDeque<Bytes>", |b| {
        let mut buf = VecDeque::new();
        b.iter(|| {
            buf.push_back(black_box(&counted).clone());
            drop(black_box(&mut buf).pop_front());
        });
    });
    group.finish();
}

fn moving(c: &mut Criterion) {
    let mut group = c.benchmark_group("move");
    for count in [1, 100] {
        group.bench_function(format!("add_buffer of {count} chunks to an empty one/evbuffer"), |b| {
            let (mut one, mut two) = (nodes(count, 100), Evbuffer::new());
            b.iter(|| {
                two.add_buffer(black_box(&mut one)).expect("moved");
                std::mem::swap(&mut one, &mut two);
            });
        });
    }
    let data = [7_u8; 64];
    group.bench_function("64 B add, move to a non-empty one/evbuffer", |b| {
        let (mut src, mut dst) = (Evbuffer::new(), Evbuffer::new());
        let mut round = 0;
        b.iter(|| {
            src.add(black_box(&data)).expect("added");
            dst.add_buffer(&mut src).expect("moved");
            round += 1;
            if round % 1000 == 0 {
                dst.drain(usize::MAX).expect("drained");
            }
        });
    });
    group.bench_function("remove_buffer of 4 KiB slices/evbuffer", |b| {
        let big = Bytes::from(vec![1; 1 << 20]);
        let (mut src, mut dst) = (Evbuffer::new(), Evbuffer::new());
        b.iter(|| {
            if src.is_empty() {
                src.add_reference(big.clone()).expect("added");
            }
            src.remove_buffer(&mut dst, 4096).expect("moved");
            dst.drain(usize::MAX).expect("drained");
        });
    });
    group.bench_function("remove_buffer of 4 KiB slices of chunks/evbuffer", |b| {
        let (mut src, mut dst) = (Evbuffer::new(), Evbuffer::new());
        let data = vec![1; 1 << 16];
        b.iter(|| {
            if src.is_empty() {
                src.add(&data).expect("added");
            }
            src.remove_buffer(&mut dst, 4096).expect("moved");
            dst.drain(usize::MAX).expect("drained");
        });
    });
    group.bench_function("remove_buffer of 4 KiB slices/Bytes::split_to", |b| {
        let big = Bytes::from(vec![1; 1 << 20]);
        let mut src = Bytes::new();
        b.iter(|| {
            if src.is_empty() {
                src = big.clone();
            }
            black_box(src.split_to(4096));
        });
    });
    group.finish();
}

fn searching(c: &mut Criterion) {
    let mut group = c.benchmark_group("search");
    let mut text: Vec<u8> =
        (0..16_u32 << 20).map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 % 26).collect();
    let needle = b"needle-at-the-en";
    let start = text.len() - needle.len();
    text[start..].copy_from_slice(needle);
    let mut buf = Evbuffer::new();
    for piece in text.chunks(4096) {
        buf.add_reference(piece.to_vec()).expect("added");
    }
    group.sample_size(20);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("16 B at the end of 16 MiB in 4 KiB chunks/evbuffer", |b| {
        b.iter(|| buf.search(black_box(needle), None).expect("memory"));
    });
    group.bench_function("16 B at the end of 16 MiB in 4 KiB chunks/memmem, flat", |b| {
        b.iter(|| memmem::find(black_box(&text), needle));
    });
    group.bench_function("first byte absent/evbuffer", |b| {
        b.iter(|| buf.search(black_box(b"#eedle-at-the-en"), None).expect("memory"));
    });
    group.bench_function("first byte absent/memchr, flat", |b| {
        b.iter(|| memchr::memchr(b'#', black_box(&text)));
    });
    group.finish();
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("read_line");
    let mut text = Vec::new();
    for _ in 0..1000 {
        text.extend_from_slice(&[b'l'; 60]);
        text.extend_from_slice(b"\r\n");
    }
    let text = Bytes::from(text);
    group.throughput(Throughput::Elements(1000));
    let fill = || Evbuffer::from(text.clone());
    group.bench_function("60 B lines, owned/evbuffer", |b| {
        b.iter_batched(
            fill,
            |mut buf| while black_box(buf.read_line(Eol::Crlf).expect("memory")).is_some() {},
            BatchSize::SmallInput,
        );
    });
    group.bench_function("60 B lines, borrowed/evbuffer", |b| {
        b.iter_batched(
            fill,
            |mut buf| {
                while let Some(line) = buf.line(Eol::Crlf).expect("memory") {
                    black_box(&line[..]);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("60 B lines, owned/flat slice", |b| {
        b.iter(|| {
            let mut rest = black_box(&text[..]);
            while let Some(at) = memchr::memchr(b'\n', rest) {
                black_box(rest[..at - 1].to_vec());
                rest = &rest[at + 1..];
            }
        });
    });
    group.finish();
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.bench_function("pullup of 64 KiB over 4 KiB chunks/evbuffer", |b| {
        b.iter_batched(
            || nodes(16, 4096),
            |mut buf| black_box(buf.pullup(1 << 16).map(<[u8]>::len)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("64 KiB over 4 KiB chunks/memcpy", |b| {
        let (from, mut to) = (vec![1_u8; 1 << 16], vec![0_u8; 1 << 16]);
        b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    });
    group.bench_function("remove 4 KiB/evbuffer", |b| {
        let mut buf = Evbuffer::new();
        let data = vec![1; 1 << 20];
        let mut target = [0; 4096];
        b.iter(|| {
            if buf.is_empty() {
                buf.add_reference(Bytes::copy_from_slice(&data)).expect("added");
            }
            buf.remove(black_box(&mut target)).expect("memory")
        });
    });
    group.bench_function("peek of 16 vectors/evbuffer", |b| {
        let mut buf = nodes(16, 100);
        let mut out = [(std::ptr::null(), 0); 16];
        b.iter(|| {
            for (slot, run) in out.iter_mut().zip(buf.peek(usize::MAX).expect("memory")) {
                *slot = (run.as_ptr(), run.len());
            }
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, append, space, reference, moving, searching, lines, reading);
criterion_main!(benches);
