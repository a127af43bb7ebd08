//! What a buffer lends and takes by the traits of std and of `bytes`, how it is split, and what it says to absurd arguments.

mod support;

use std::fmt::Write as _;
use std::io::{BufRead, IoSlice, IoSliceMut, Read, Write};

use bytes::{Buf, BufMut, Bytes};
use support::alloc::{self, Counting};
use zerovent::buffer::{CopyStats, End, Eol, Extents, FileSegment};
use zerovent::{Error, Evbuffer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `text` in nodes of `size` bytes, of all kinds in turn.
fn in_nodes_of(size: usize, text: &[u8]) -> Evbuffer {
    let mut buf = Evbuffer::new();
    for (index, piece) in text.chunks(size).enumerate() {
        match index % 3 {
            0 => buf.add(piece).unwrap(),
            1 => buf.add_reference(piece.to_vec()).unwrap(),
            _ => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(piece).unwrap();
                buf.add_file(file, 0, None).unwrap();
            }
        }
    }
    buf
}

fn content(buf: &mut Evbuffer) -> Vec<u8> {
    buf.pullup(buf.len()).unwrap().to_vec()
}

#[test]
fn every_split_point_of_splitting_off_and_of_readers() {
    let text: Vec<u8> = (0..40).collect();
    for size in [1, 2, 3, 7, 13, 20, 40] {
        for at in 0..=text.len() {
            let mut front = in_nodes_of(size, &text);
            let mut back = front.split_off(at).unwrap();
            back.add(b"tail").unwrap();
            front.add(b"more").unwrap();
            assert_eq!(content(&mut front), [&text[..at], b"more"].concat());
            assert_eq!(content(&mut back), [&text[at..], b"tail"].concat());

            let mut buf = in_nodes_of(size, &text);
            let mut reader = buf.reader(at + 3).unwrap();
            assert_eq!(reader.remaining(), (at + 3).min(40));
            assert_eq!(reader.copy_to_bytes(at), text[..at]);
            reader.advance(reader.remaining());
            assert_eq!((reader.chunk(), reader.has_remaining()), (&b""[..], false));
            drop(reader);
            assert_eq!(content(&mut buf), text[(at + 3).min(40)..]);
        }
    }
}

#[test]
fn what_is_split_off_shared_or_extended_by_is_not_copied() {
    let big = Bytes::from(vec![5; 1 << 20]);
    let before = CopyStats::now();
    let mut buf: Evbuffer = [big.clone(), big.clone()].into_iter().collect();
    buf.extend([big]);
    let mut back = buf.split_off(1_500_000).unwrap();
    let mut reader = back.reader(usize::MAX).unwrap();
    assert_eq!(reader.copy_to_bytes(500_000), vec![5; 500_000]);
    let mut slices = [IoSlice::new(&[]); 8];
    assert_eq!(reader.chunks_vectored(&mut slices), 2);
    drop(reader);
    buf.add_reference_range(Bytes::from_static(b"0123456789"), 2..=4).unwrap();
    assert_eq!((CopyStats::now() - before).copied, 0);
    assert_eq!((buf.len(), back.len()), (1_500_003, (3 << 20) - 2_000_000));

    let mut chunk = Evbuffer::new();
    chunk.add(&[1; 1000]).unwrap();
    let before = CopyStats::now();
    let mut reader = chunk.reader(1000).unwrap();
    let (few, many) = (reader.copy_to_bytes(64), reader.copy_to_bytes(900));
    drop(reader);
    assert_eq!((CopyStats::now() - before).copied, 64, "few are copied, and said to be");
    chunk.add(&[2; 5000]).unwrap();
    assert!(few == [1; 64][..] && many == [1; 900][..]);
}

#[test]
fn a_reader_that_is_kept_or_frozen_out_takes_nothing() {
    let mut buf = Evbuffer::from("message");
    let mut reader = buf.reader(4).unwrap();
    reader.advance(3);
    assert_eq!(reader.taken(), 3);
    reader.keep();
    assert_eq!(buf.len(), 7);
    buf.freeze(End::Front);
    assert!(matches!(buf.reader(1), Err(Error::Frozen)));
    assert_eq!(buf.reader(0).unwrap().remaining(), 0);
    let mut shrunk = Evbuffer::new();
    let file = tempfile::tempfile().unwrap();
    file.set_len(100).unwrap();
    shrunk.add_file(file.try_clone().unwrap(), 0, None).unwrap();
    file.set_len(10).unwrap();
    assert!(matches!(shrunk.reader(50), Err(Error::ShortFile)), "before a trait that cannot fail is in play");
    assert!(matches!(shrunk.peek_lines(Eol::Lf), Err(Error::ShortFile)));
}

#[test]
fn the_traits_of_std_agree_with_the_verbs() {
    let mut buf = Evbuffer::new();
    Write::write_all(&mut buf, b"line one\nli").unwrap();
    assert_eq!(
        buf.write_vectored(&[IoSlice::new(b"ne "), IoSlice::new(b""), IoSlice::new(b"two")]).unwrap(),
        6
    );
    buf.write_str("\nrest").unwrap();
    buf.write_char('!').unwrap();
    write!(buf, " {:03}", 7).unwrap();
    let mut line = String::new();
    assert_eq!(buf.read_line(Eol::Lf).unwrap().as_deref(), Some(&b"line one"[..]));
    BufRead::read_line(&mut buf, &mut line).unwrap();
    assert_eq!(line, "line two\n");
    let (mut two, mut many) = ([0; 2], [0; 20]);
    let read = buf.read_vectored(&mut [IoSliceMut::new(&mut two), IoSliceMut::new(&mut many)]).unwrap();
    assert_eq!((read, &two, &many[..7]), (9, b"re", &b"st! 007"[..]));
    buf.freeze(End::Back);
    assert!(buf.write_str("x").is_err() && buf.write_vectored(&[IoSlice::new(b"x")]).is_err());
    assert!(matches!(write!(buf, "x"), Err(Error::Frozen)));
}

#[test]
fn text_that_cannot_be_formatted_whole_is_not_added_at_all() {
    struct Refuses;
    impl std::fmt::Display for Refuses {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("some of it")?;
            Err(std::fmt::Error)
        }
    }
    struct Panics;
    impl std::fmt::Display for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("on purpose")
        }
    }
    let mut buf = Evbuffer::from("kept");
    buf.add(b", too").unwrap();
    let place = buf.position(3).unwrap();
    let long = "x".repeat(1000);
    assert!(matches!(write!(buf, "{long}{Refuses}"), Err(Error::Invalid(_))));
    buf.set_capacity_limit(Some(500)).unwrap();
    assert!(matches!(write!(buf, "first{long}"), Err(Error::Limit)));
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write!(buf, "{long:.400}{Panics}")));
    assert!(panicked.is_err());
    buf.check_invariants();
    assert!(buf.advance_position(place, 1).is_ok(), "nothing has changed");
    assert_eq!(content(&mut buf), b"kept, too");
    assert_eq!(buf.add_fmt(format_args!("")).unwrap(), 0);
}

#[test]
fn a_reservation_is_a_buf_mut_of_fixed_size() {
    let mut buf = Evbuffer::from("front");
    let mut space = buf.reserve(20).unwrap();
    let room = space.remaining_mut();
    assert!(room >= 20);
    space.put_u32(7);
    space.put_bytes(b'x', 16);
    assert_eq!(space.remaining_mut(), room - 20);
    assert_eq!(space.commit_written().unwrap(), 20);
    assert_eq!(content(&mut buf), [&b"front\0\0\0\x07"[..], &[b'x'; 16]].concat());
    drop(buf.reserve(5).map(|mut space| space.put_u8(1)));
    assert_eq!(buf.len(), 25, "a reservation that is dropped adds nothing");
}

#[test]
fn extents_are_as_many_as_allowed_and_only_one_when_it_must_be() {
    for (count, max) in [(1, 1), (100, 1), (300_000, 1), (100, 2), (300_000, 2), (300_000, 64), (300_000, 3)]
    {
        let mut buf = Evbuffer::new();
        buf.add(&[1; 200]).unwrap();
        let space = buf.reserve_vectored(count, max).unwrap();
        let lengths: Vec<usize> = space.lengths().collect();
        assert!(!lengths.is_empty() && lengths.len() <= max, "{lengths:?} for {count} in {max}");
        assert!(lengths.iter().sum::<usize>() >= count);
        if max == 64 {
            assert!(lengths.len() >= 4, "large ones are made of chunks: {lengths:?}");
        }
        drop(space);
        assert_eq!((buf.len(), content(&mut buf)), (200, vec![1; 200]));
    }
    let mut buf = Evbuffer::new();
    assert!(matches!(buf.reserve_vectored(1, 0), Err(Error::Invalid(_))));
    buf.add(&[1; 200]).unwrap();
    buf.set_capacity_limit(Some(260)).unwrap();
    let mut space = buf.reserve_vectored(60, 2).unwrap();
    assert_eq!(space.lengths().sum::<usize>(), 60, "not more than the limit leaves");
    space.iter_mut().for_each(|extent| extent.fill(2));
    assert!(matches!(space.commit(&[usize::MAX, 1]), Err(Error::OutOfRange)));
    assert!(matches!(buf.reserve_vectored(60, 2).unwrap().commit(&[0, 0, 0]), Err(Error::OutOfRange)));
    buf.reserve_vectored(60, 2).unwrap().commit(&[]).unwrap();
    assert_eq!(buf.len(), 200);
}

/// What becomes of extents, by its name.
type Outcome = (&'static str, fn(Extents<'_>));

/// Extents that are given up, forgotten or committed empty leave a buffer that was empty as good as new.
#[test]
fn an_empty_buffer_survives_extents_that_come_to_nothing() {
    let ways: [Outcome; 4] = [
        ("dropped", |space| drop(space)),
        ("forgotten", |space| std::mem::forget(space)),
        ("committed empty", |space| assert_eq!(space.commit(&[0, 0, 0]).unwrap(), 0)),
        ("committed first", |space| space.commit_first(0).unwrap()),
    ];
    for (name, way) in ways {
        let mut buf = Evbuffer::new();
        way(buf.reserve_vectored(1_000_000, 64).unwrap());
        buf.check_invariants();
        buf.add(b"first").unwrap();
        assert_eq!(content(&mut buf), b"first", "{name}");
        way(buf.reserve_vectored(1_000_000, 64).unwrap());
        let mut other = Evbuffer::new();
        way(other.reserve_vectored(1_000_000, 64).unwrap());
        other.add_buffer(&mut buf).unwrap();
        other.check_invariants();
        assert_eq!((content(&mut other), buf.len()), (b"first".to_vec(), 0), "{name}");
    }
    let mut buf = Evbuffer::new();
    let mut space = buf.reserve_vectored(1_000_000, 64).unwrap();
    space.iter_mut().for_each(|extent| extent.fill(7));
    assert_eq!(space.commit(&[0, 10, 0, 65_536]).unwrap(), 65_546);
    assert_eq!(content(&mut buf), [7; 65_546]);
}

/// However much is asked for in however many pieces, an empty buffer included: it is refused at once, and nothing is filled up before.
#[test]
fn space_that_cannot_be_had_is_refused_at_once() {
    for huge in [isize::MAX as usize, isize::MAX as usize / 2, 1 << 60] {
        for mut buf in [Evbuffer::new(), Evbuffer::from("content")] {
            let before = (buf.len(), alloc::live_bytes(), alloc::allocations());
            for max in [1, 2, 1024, usize::MAX] {
                let refused = buf.reserve_vectored(huge, max);
                assert!(matches!(refused, Err(Error::OutOfMemory | Error::Overflow)), "{huge} in {max}");
            }
            assert!(buf.reserve(huge).is_err() && buf.expand(huge).is_err());
            assert_eq!((buf.len(), alloc::live_bytes()), (before.0, before.1));
            assert!(alloc::allocations() - before.2 < 20, "nothing is tried chunk by chunk");
        }
    }
    let lengths: Vec<usize> = {
        let mut buf = Evbuffer::new();
        buf.reserve_vectored(100 << 20, usize::MAX).unwrap().lengths().collect()
    };
    assert_eq!(lengths.len(), 1024, "as many as one call can read into");
}

/// Absurd lengths, offsets and ranges are refused, change nothing and allocate next to nothing.
#[test]
fn absurd_arguments_are_refused() {
    let pipe = std::io::pipe().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(1000).unwrap();
    let segment = FileSegment::new(file, 0, None).unwrap();
    for huge in [usize::MAX, usize::MAX - 1, isize::MAX as usize, isize::MAX as usize + 1, usize::MAX / 2 - 3]
    {
        let mut buf = Evbuffer::from("some bytes");
        buf.add_file_segment(&segment, 0, Some(10)).unwrap();
        let before = alloc::live_bytes();
        assert!(buf.expand(huge).is_err());
        assert!(buf.reserve(huge).is_err());
        assert!(buf.reserve_vectored(huge, huge).is_err() && buf.reserve_vectored(huge, 1).is_err());
        assert!(buf.reserve_vectored(0, huge).is_ok());
        assert!(matches!(buf.remove_bytes(huge), Err(Error::OutOfRange)));
        assert!(matches!(buf.split_to(huge), Err(Error::OutOfRange)));
        assert!(matches!(buf.split_off(huge), Err(Error::OutOfRange)));
        assert!(matches!(buf.pullup(huge), Err(Error::OutOfRange)));
        assert!(matches!(buf.pullup_mut(huge), Err(Error::OutOfRange)));
        assert!(matches!(buf.position(huge), Err(Error::OutOfRange)));
        let end = buf.position(20).unwrap();
        assert!(matches!(buf.advance_position(end, huge), Err(Error::OutOfRange)));
        for (offset, len) in [(huge as u64, None), (0, Some(huge as u64)), (huge as u64, Some(huge as u64))] {
            assert!(matches!(buf.add_file_segment(&segment, offset, len), Err(Error::OutOfRange)));
            let again = segment.file().try_clone().unwrap();
            assert!(FileSegment::new(again, offset, len).is_err());
        }
        for range in [(huge, huge), (0, huge), (huge, 0), (3, 2)] {
            let refused = buf.add_reference_range(Bytes::from_static(b"abc"), range.0..range.1);
            assert!(matches!(refused, Err(Error::OutOfRange)));
        }
        assert!(buf.add_reference_range(Bytes::from_static(b"abc"), 0..=usize::MAX).is_err());
        assert_eq!(buf.write_to_at_most(&pipe.1, 0).unwrap(), 0);
        assert_eq!(buf.read_from(&pipe.0, 0).unwrap(), 0);
        buf.set_capacity_limit(Some(huge)).unwrap();
        buf.set_capacity_limit(None).unwrap();
        assert_eq!(buf.len(), 20);
        assert!((alloc::live_bytes() - before).abs() < 4096, "{}", alloc::live_bytes() - before);
        assert_eq!(buf.peek(huge).unwrap().map(<[u8]>::len).sum::<usize>(), 20);
        assert_eq!(buf.search(&[], Some(end)).unwrap().map(|place| place.offset()), Some(20));
        assert_eq!(buf.remove_buffer(&mut Evbuffer::new(), huge).unwrap(), 20);
        buf.drain(huge).unwrap();
        assert_eq!(buf.reader(huge).unwrap().remaining(), 0);
    }
}

/// Each of the calls that take a position refuses one that is outdated, and one of another buffer.
#[test]
fn positions_that_do_not_hold_are_refused_everywhere() {
    let (mut buf, other) = (Evbuffer::from("content"), Evbuffer::from("content"));
    let outdated = buf.position(2).unwrap();
    buf.add(b"!").unwrap();
    for place in [outdated, other.position(2).unwrap()] {
        assert!(matches!(buf.advance_position(place, 0), Err(Error::Stale)));
        assert!(matches!(buf.copy_out_from(place, &mut [0]), Err(Error::Stale)));
        assert!(matches!(buf.peek_from(place, 1), Err(Error::Stale)));
        assert!(matches!(buf.search(b"t", Some(place)), Err(Error::Stale)));
        assert!(matches!(buf.search_range(b"t", None, Some(place)), Err(Error::Stale)));
        assert!(matches!(buf.search_eol(Some(place), Eol::Lf), Err(Error::Stale)));
    }
    let place = buf.position(3).unwrap();
    let moved = std::mem::take(&mut buf);
    assert!(moved.advance_position(place, 1).is_ok(), "a position goes with its buffer");
    assert!(matches!(buf.advance_position(place, 0), Err(Error::Stale)));
    let drawn: std::collections::HashSet<String> =
        (0..5000).map(|_| format!("{:?}", Evbuffer::from("x").position(0).unwrap())).collect();
    assert_eq!(drawn.len(), 5000, "no two contents have the same stamp");
}
