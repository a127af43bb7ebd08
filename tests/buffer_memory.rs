//! What buffers allocate, keep and copy: counted, and with an allocator that refuses at every possible place.

mod support;

use std::io::Write;

use support::alloc::{self, Counting};
use zerovent::buffer::{ChunkPool, CopyStats, Eol, FileSegment};
use zerovent::{Error, Evbuffer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes by which the live heap of this thread grows in `call`, with an empty pool before.
fn heap_after<T>(call: impl FnOnce() -> T) -> (isize, T) {
    ChunkPool::trim(0);
    let before = alloc::live_bytes();
    let kept = call();
    (alloc::live_bytes() - before, kept)
}

fn buffer_with(len: usize) -> Evbuffer {
    let mut buf = Evbuffer::new();
    buf.add(&vec![7; len]).expect("added");
    buf
}

#[test]
fn storage_is_about_as_large_as_what_it_holds() {
    for (len, most) in
        [(1, 256), (224, 256), (225, 512), (1000, 2048), (4096, 4160), (16_384, 16_448), (65_536, 65_600)]
    {
        let (heap, _buf) = heap_after(|| buffer_with(len));
        assert!(heap <= most, "add of {len} bytes holds {heap}");
        let (heap, _buf) = heap_after(|| {
            let mut buf = Evbuffer::new();
            buf.expand(len).expect("expanded");
            buf
        });
        assert!(heap <= most, "expand of {len} bytes holds {heap}");
    }
    let (heap, buf) = heap_after(|| buffer_with(10 << 20));
    assert!(heap <= (10 << 20) * 102 / 100 + 40 * 256, "10 MiB take {heap}");
    assert_eq!(buf.len(), 10 << 20);
}

#[test]
fn many_small_additions_make_few_allocations() {
    ChunkPool::trim(0);
    let mut buf = Evbuffer::new();
    let before = alloc::allocations();
    for _ in 0..10_000 {
        buf.add(&[1; 100]).expect("added");
    }
    let made = alloc::allocations() - before;
    assert!(made <= 90, "10,000 additions of 100 bytes made {made} allocations");
}

#[test]
fn what_many_pieces_held_is_gone_however_the_buffer_became_empty() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(100).expect("sparse");
    let segment = FileSegment::new(file, 0, None).expect("a segment");
    let ways: [fn(&mut Evbuffer); 7] = [
        |buf| buf.drain(usize::MAX).expect("drained"),
        |buf| drop(buf.remove_bytes(buf.len()).expect("removed")),
        |buf| drop(buf.split_to(buf.len()).expect("split off")),
        |buf| assert!(buf.remove(&mut vec![0; 200_000]).expect("removed") > 0),
        |buf| {
            while buf.line(Eol::Lf).expect("readable").is_some() {}
            buf.drain(usize::MAX).expect("drained");
        },
        |buf| {
            buf.drain(buf.len() - 1).expect("drained");
            buf.expand(50_000).expect("expanded");
            buf.drain(1).expect("drained");
        },
        |buf| drop(Evbuffer::new().add_buffer(buf).map(|()| buf.reserve(10_000).is_ok())),
    ];
    for (index, way) in ways.into_iter().enumerate() {
        let mut buf = Evbuffer::new();
        // Once round, so that what is kept for reuse by the thread is there already.
        for round in 0..2 {
            let before = alloc::live_bytes();
            for _ in 0..20 {
                buf.add(b"line\n").expect("added");
                buf.add_reference(&b"reference"[..]).expect("added");
                buf.add_file_segment(&segment, 0, None).expect("added");
            }
            way(&mut buf);
            ChunkPool::trim(0);
            assert!(buf.is_empty());
            assert!(round == 0 || alloc::live_bytes() == before, "way {index} leaves something behind");
        }
    }
}

#[test]
fn an_empty_buffer_keeps_one_small_chunk_at_most() {
    for (len, most) in [(1, 256), (224, 256), (225, 512), (992, 1024), (993, 0), (4096, 0), (65_536, 0)] {
        let (heap, _buf) = heap_after(|| {
            let mut buf = buffer_with(len);
            buf.drain(usize::MAX).expect("drained");
            ChunkPool::trim(0);
            buf
        });
        assert!(heap <= most, "{heap} bytes are held after {len}");
    }
}

#[test]
fn a_chunk_that_others_see_is_not_kept() {
    let mut buf = buffer_with(100);
    let mut other = Evbuffer::new();
    other.add_buffer_reference(&buf).expect("shared");
    buf.drain(usize::MAX).expect("drained");
    assert_eq!(buf.storage_bytes(), 0);
    buf.add(&[8; 100]).expect("added");
    assert_eq!(other.pullup(100).expect("there"), [7; 100]);
}

#[test]
fn what_a_kept_chunk_is_too_small_for_lies_in_one_piece_all_the_same() {
    for len in [224, 225, 1000, 5000, 65_536] {
        let mut buf = buffer_with(10);
        buf.drain(10).expect("drained");
        buf.add(&vec![1; len]).expect("added");
        assert_eq!(buf.contiguous_len(), len);
    }
}

#[test]
fn the_pool_makes_the_steady_state_free_of_allocations() {
    let data = vec![3; 20_000];
    let round = |buf: &mut Evbuffer, other: &mut Evbuffer| {
        for len in [1, 100, 1000, 5000, 20_000] {
            buf.add(&data[..len]).expect("added");
            buf.add_reference(&b"static"[..]).expect("added");
            buf.prepend(&data[..10]).expect("prepended");
            buf.pullup(len + 12).expect("contiguous");
            buf.remove_buffer(other, len / 2).expect("moved");
            other.add_buffer(buf).expect("moved");
            other.reserve(3000).expect("space").commit(10).expect("committed");
            other.search(b"static", None).expect("memory");
            other.drain(usize::MAX).expect("drained");
        }
    };
    let (mut buf, mut other) = (Evbuffer::new(), Evbuffer::new());
    round(&mut buf, &mut other);
    let before = alloc::allocations();
    for _ in 0..1000 {
        round(&mut buf, &mut other);
    }
    assert_eq!(alloc::allocations(), before);
}

#[test]
fn what_promises_not_to_copy_does_not() {
    let big = vec![5; 1 << 20];
    let mut buf = Evbuffer::new();
    let mut other = Evbuffer::new();
    let before = CopyStats::now();
    buf.add_reference(big).expect("added");
    assert_eq!(buf.remove_buffer(&mut other, 400_000).expect("moved"), 400_000);
    buf.add_buffer(&mut other).expect("moved");
    buf.prepend_buffer(&mut other).expect("nothing to move");
    other.add_buffer_reference(&buf).expect("shared");
    buf.split_to(300_000).expect("split off");
    buf.remove_bytes(100_000).expect("in one piece");
    buf.drain(1000).expect("drained");
    buf.peek(usize::MAX).expect("memory").for_each(drop);
    buf.pullup(buf.contiguous_len()).expect("contiguous already");
    buf.search(b"\x05\x06", None).expect("memory");
    let spent = CopyStats::now() - before;
    assert_eq!(spent.copied, 0);
    assert_eq!(spent.referenced, 2 << 20);

    let mut chunks = buffer_with(1 << 20);
    let before = CopyStats::now();
    chunks.remove_buffer(&mut other, 333_333).expect("moved");
    other.add_buffer(&mut chunks).expect("moved");
    other.remove_bytes(1000).expect("in one piece");
    assert_eq!((CopyStats::now() - before).copied, 0);
    chunks.add_buffer_reference(&buffer_with(100)).expect("shared");
    let before = CopyStats::now();
    chunks.remove_bytes(10).expect("few bytes are copied, and said to be");
    assert_eq!((CopyStats::now() - before).copied, 10);
}

/// What promises to copy nothing, by its name, on a buffer of 1 MiB.
type Moving = (&'static str, fn(&mut Evbuffer, &mut Evbuffer));

const MOVING: [Moving; 21] = [
    ("add_buffer", |buf, other| other.add_buffer(buf).unwrap()),
    ("prepend_buffer", |buf, other| other.prepend_buffer(buf).unwrap()),
    ("add_buffer_reference", |buf, other| other.add_buffer_reference(buf).unwrap()),
    ("remove_buffer, part", |buf, other| assert_eq!(buf.remove_buffer(other, 400_001).unwrap(), 400_001)),
    ("remove_buffer, all", |buf, other| assert_eq!(buf.remove_buffer(other, usize::MAX).unwrap(), 1 << 20)),
    ("split_to", |buf, other| *other = buf.split_to(700_001).unwrap()),
    ("split_off", |buf, other| *other = buf.split_off(300_001).unwrap()),
    ("remove_bytes", |buf, _| assert_eq!(buf.remove_bytes(65_000).unwrap().len(), 65_000)),
    ("drain", |buf, _| buf.drain(999_999).unwrap()),
    ("peek", |buf, _| assert!(buf.peek(usize::MAX).unwrap().count() <= 16)),
    ("peek_from", |buf, _| assert!(buf.peek_from(buf.position(7).unwrap(), 1 << 20).unwrap().count() <= 16)),
    ("peek_io_slices", |buf, _| {
        assert!(buf.peek_io_slices(1 << 20, &mut [std::io::IoSlice::new(&[]); 16]).unwrap() > 0);
    }),
    ("peek_lines", |buf, _| assert_eq!(buf.peek_lines(Eol::Nul).unwrap().count(), 0)),
    ("line", |buf, _| drop(buf.line(Eol::Nul).unwrap())),
    ("pullup", |buf, _| assert_eq!(buf.pullup(buf.contiguous_len()).unwrap()[0], 7)),
    ("pullup_mut", |buf, _| {
        // In place, where nobody else sees the bytes.
        if format!("{buf:?}").contains("Chunk") {
            buf.pullup_mut(buf.contiguous_len()).unwrap().fill(7);
        }
    }),
    ("search", |buf, _| assert!(buf.search(b"\x07\x08", None).unwrap().is_none())),
    ("search_eol", |buf, _| assert!(buf.search_eol(None, Eol::Crlf).unwrap().is_none())),
    ("reader", |buf, _| {
        let mut reader = buf.reader(usize::MAX).unwrap();
        assert_eq!(bytes::Buf::copy_to_bytes(&mut reader, 65_000).len(), 65_000);
        bytes::Buf::advance(&mut reader, 400_000);
    }),
    ("write_to", |buf, _| {
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(buf.write_to_at_most(&writer, 60_000).unwrap(), 60_000);
    }),
    ("add_reference", |buf, other| other.add_reference(buf.remove_bytes(65_000).unwrap()).unwrap()),
];

#[test]
fn what_promises_not_to_copy_allocates_no_room_for_it_either() {
    let reference: fn() -> Evbuffer = || Evbuffer::from(vec![7; 1 << 20]);
    for (what, open) in [("a reference", reference), ("chunks", || buffer_with(1 << 20))] {
        for (name, act) in MOVING {
            let (mut buf, mut other) = (open(), buffer_with(300));
            ChunkPool::trim(0);
            let before = CopyStats::now();
            let ((), peak) = alloc::peak(|| act(&mut buf, &mut other));
            let spent = CopyStats::now() - before;
            assert_eq!((spent.copied, spent.read, spent.mapped), (0, 0, 0), "{name} of {what}");
            assert!(peak < 4096, "{name} of {what} took {peak} bytes");
        }
    }
}

#[test]
fn a_file_that_is_moved_cut_and_sent_is_never_read() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    ChunkPool::trim(0);
    let (before, (mut buf, mut other)) = (CopyStats::now(), (Evbuffer::new(), Evbuffer::new()));
    let ((), peak) = alloc::peak(|| {
        buf.add_file(file, 0, None).unwrap();
        buf.remove_buffer(&mut other, 500_000).unwrap();
        let mut back = buf.split_off(100_000).unwrap();
        other.add_buffer_reference(&back).unwrap();
        other.prepend_buffer(&mut back).unwrap();
        let mut front = other.split_to(600_000).unwrap();
        front.drain(1).unwrap();
        assert_eq!(front.write_to_at_most(&writer, 60_000).unwrap(), 60_000);
    });
    let spent = CopyStats::now() - before;
    assert_eq!((spent.copied, spent.read, spent.mapped, spent.sendfile), (0, 0, 0, 60_000));
    assert!(peak < 4096, "{peak} bytes");
}

#[test]
fn moving_a_hundred_chunks_moves_no_more_memory_than_moving_one() {
    let mut many = Evbuffer::new();
    for _ in 0..100 {
        many.add_reference(&b"node"[..]).expect("added");
    }
    let (mut to, before) = (Evbuffer::new(), alloc::allocations());
    to.add_buffer(&mut many).expect("moved");
    assert_eq!((to.len(), many.len(), alloc::allocations()), (400, 0, before));
}

#[test]
fn the_pool_stays_within_its_limit_and_gives_back() {
    ChunkPool::trim(0);
    assert_eq!((ChunkPool::idle_bytes(), ChunkPool::limit()), (0, ChunkPool::DEFAULT_LIMIT));
    drop(buffer_with(5 << 20));
    let idle = ChunkPool::idle_bytes();
    assert!(idle > ChunkPool::DEFAULT_LIMIT / 2 && idle <= ChunkPool::DEFAULT_LIMIT, "{idle} bytes idle");
    ChunkPool::trim(100_000);
    assert!(ChunkPool::idle_bytes() <= 100_000);
    ChunkPool::set_limit(0);
    assert_eq!(ChunkPool::idle_bytes(), 0);
    drop(buffer_with(1000));
    assert_eq!(ChunkPool::idle_bytes(), 0, "nothing is kept when nothing may be");
    ChunkPool::set_limit(ChunkPool::DEFAULT_LIMIT);
}

/// One mutation, from a buffer to an answer; it must be able to fail only for want of memory.
type Mutation = fn(&mut Evbuffer, &mut Evbuffer) -> zerovent::Result<()>;

/// Mutations whose every allocation is the buffer's own. (`Bytes` allocates by itself, and then aborts.)
const MUTATIONS: [(&str, Mutation); 28] = [
    ("add", |buf, _| buf.add(&[1; 300])),
    ("add, many chunks", |buf, _| buf.add(&[1; 200_000])),
    ("prepend", |buf, _| buf.prepend(&[2; 300])),
    ("prepend, many chunks", |buf, _| buf.prepend(&[2; 200_000])),
    ("expand", |buf, _| buf.expand(5000)),
    ("expand, large", |buf, _| buf.expand(1 << 20)),
    ("reserve", |buf, _| buf.reserve(5000)?.commit(100)),
    ("pullup", |buf, _| buf.pullup(buf.len()).map(drop)),
    ("pullup_mut", |buf, _| buf.pullup_mut(20).map(drop)),
    ("add_buffer", |buf, other| buf.add_buffer(other)),
    ("prepend_buffer", |buf, other| buf.prepend_buffer(other)),
    ("remove_buffer", |buf, other| other.remove_buffer(buf, 50).map(drop)),
    ("read_line", |buf, _| buf.read_line(Eol::Lf).map(drop)),
    ("search in a file", |buf, _| buf.search(b"not there", None).map(drop)),
    ("peek", |buf, _| buf.peek(usize::MAX).map(drop)),
    ("split_to", |buf, other| buf.split_to(buf.len() / 2).map(|part| *other = part)),
    ("split_off", |buf, other| buf.split_off(buf.len() / 2).map(|part| *other = part)),
    ("add_buffer_reference", |buf, other| buf.add_buffer_reference(other)),
    ("reserve_vectored", |buf, _| buf.reserve_vectored(200_000, 9)?.commit(&[1, 0, 65_536]).map(drop)),
    ("add_fmt", |buf, _| buf.add_fmt(format_args!("{:60000}", 7)).map(drop)),
    ("add_io_slices", |buf, _| buf.add_io_slices(&[std::io::IoSlice::new(&[3; 70_000]); 3]).map(drop)),
    ("read_line_into", |buf, _| buf.read_line_into(Eol::Lf, &mut Vec::new()).map(drop)),
    ("line", |buf, _| buf.line(Eol::Nul).map(drop)),
    ("peek_lines", |buf, _| buf.peek_lines(Eol::Nul).map(drop)),
    ("reader", |buf, _| buf.reader(usize::MAX).map(zerovent::buffer::Reader::keep)),
    ("add_callback", |buf, _| buf.add_callback(|_, _| {}).map(drop)),
    ("defer_callbacks", |buf, _| buf.defer_callbacks(true)),
    ("set_capacity_limit", |buf, _| buf.set_capacity_limit(Some(1 << 30))),
];

/// Several nodes of every kind, and one fewer than the ring has places for.
fn varied(segment: &FileSegment, nodes: usize) -> Evbuffer {
    let mut buf = Evbuffer::new();
    for index in 0..nodes {
        match index % 3 {
            0 => buf.add(&[b'a'; 30]).expect("added"),
            1 => buf.add_reference(&b"reference\n"[..]).expect("added"),
            _ => buf.add_file_segment(segment, 0, None).expect("added"),
        }
    }
    buf
}

fn content(buf: &Evbuffer) -> Vec<u8> {
    let mut copy = vec![0; buf.len()];
    buf.copy_out(&mut copy).expect("readable");
    copy
}

#[test]
fn an_allocation_that_fails_leaves_everything_as_it_was() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&[b'f'; 100]).expect("room for it");
    let segment = FileSegment::new(file, 0, None).expect("a segment");
    let mut refused = 0;
    for (name, mutate) in MUTATIONS {
        for nodes in [0, 1, 2, 3, 7, 8, 9, 15, 16] {
            for nth in 1.. {
                let (mut buf, mut other) = (varied(&segment, nodes), varied(&segment, 5));
                if name == "read_line" || name == "pullup_mut" {
                    buf.add(&[b'x'; 40]).and_then(|()| buf.add(b"\n")).expect("added");
                }
                let before = (content(&buf), content(&other));
                ChunkPool::trim(0);
                let (result, failed) = alloc::failing(nth, || mutate(&mut buf, &mut other));
                buf.check_invariants();
                other.check_invariants();
                if !failed {
                    result.unwrap_or_else(|error| panic!("{name} on {nodes} nodes: {error}"));
                    break;
                }
                refused += 1;
                assert!(matches!(result, Err(Error::OutOfMemory)), "{name} on {nodes} nodes: {result:?}");
                assert!(
                    (content(&buf), content(&other)) == before,
                    "{name} on {nodes} nodes, allocation {nth}"
                );
                mutate(&mut buf, &mut other).expect("there is memory again");
            }
        }
    }
    assert!(refused > 150, "{refused} refusals");
}

#[test]
fn references_with_clean_ups_allocate_nothing_in_the_long_run() {
    static BYTES: [u8; 1000] = [5; 1000];
    let mut buf = Evbuffer::new();
    let mut other = Evbuffer::new();
    let mut round = || {
        for _ in 0..3 {
            buf.add_reference_with_cleanup(&BYTES[..], drop).expect("added");
        }
        buf.remove_buffer(&mut other, 1500).expect("moved");
        other.add_buffer_reference(&buf).expect("shared");
        buf.drain(usize::MAX).expect("drained");
        other.drain(usize::MAX).expect("drained");
    };
    round();
    let before = alloc::allocations();
    (0..100).for_each(|_| round());
    assert_eq!(alloc::allocations() - before, 0);
}
