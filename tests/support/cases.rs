//! Two narrower interpreters beside the model, for the fuzzer and the tests that replay its corpora: one lays bytes out in nodes of
//! every kind and searches them, one makes file segments with arguments of every kind.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zerovent::buffer::{Eol, FileSegment};
use zerovent::{Error, Evbuffer};

use super::model::{naive_eol, naive_find};

const EOLS: [Eol; 5] = [Eol::Any, Eol::Crlf, Eol::CrlfStrict, Eol::Lf, Eol::Nul];

/// Takes the first byte, or 0.
fn byte(bytes: &mut &[u8]) -> u8 {
    let Some((&first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    first
}

/// The first bytes say the needle and how the rest is laid out; then every search must agree with the slow one.
pub fn search(mut bytes: &[u8]) {
    let (needle_len, layout) = (usize::from(byte(&mut bytes)) % 12, byte(&mut bytes));
    let (needle, text) = bytes.split_at(needle_len.min(bytes.len()));
    let text = &text[..text.len().min(2000)];
    let mut buf = lay_out(text, layout);
    let middle = usize::from(layout) % (text.len() + 1);
    for (start, end) in [(0, text.len()), (middle, text.len()), (0, middle)] {
        let places = [start, end].map(|at| Some(buf.position(at).expect("inside")));
        let found = buf.search_range(needle, places[0], places[1]).expect("readable");
        let expected = naive_find(&text[start..end], needle).map(|at| start + at);
        assert_eq!(found.map(|place| place.offset()), expected, "{needle:?} in {start}..{end}");
    }
    for eol in EOLS {
        let place = buf.position(middle).expect("inside");
        let found = buf.search_eol(Some(place), eol).expect("readable");
        assert_eq!(found.map(|(place, len)| (place.offset(), len)), naive_eol(text, middle, eol), "{eol:?}");
        check_lines(text, layout, eol);
    }
}

/// All four ways of taking lines give the same ones.
fn check_lines(text: &[u8], layout: u8, eol: Eol) {
    let (mut read, mut lent, mut all) = (lay_out(text, layout), lay_out(text, layout), lay_out(text, layout));
    let mut lines = all.peek_lines(eol).expect("readable");
    let mut start = 0;
    let mut into = Vec::new();
    while let Some((at, eol_len)) = naive_eol(text, start, eol) {
        let line = &text[start..at];
        assert_eq!(lines.next().as_deref(), Some(line), "peek_lines({eol:?})");
        assert_eq!(lent.line(eol).expect("readable").as_deref(), Some(line), "line({eol:?})");
        if line.len().is_multiple_of(2) {
            assert_eq!(read.read_line(eol).expect("readable").as_deref(), Some(line), "read_line({eol:?})");
        } else {
            into.clear();
            assert_eq!(read.read_line_into(eol, &mut into).expect("readable"), Some(line.len()));
            assert_eq!(into, line, "read_line_into({eol:?})");
        }
        start = at + eol_len;
    }
    assert_eq!((lines.next(), lines.consumed()), (None, start));
    assert!(lent.line(eol).expect("readable").is_none() && read.read_line(eol).expect("readable").is_none());
    assert_eq!((read.len(), lent.len()), (text.len() - start, text.len() - start));
}

/// `text` in pieces of the lengths and kinds that `layout` leads to.
fn lay_out(text: &[u8], layout: u8) -> Evbuffer {
    let mut buf = Evbuffer::new();
    let (mut rest, mut state) = (text, u32::from(layout) + 1);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, behind) = rest.split_at(rest.len().min(1 + (state >> 24) as usize % 17));
        rest = behind;
        match (state >> 16) % 8 {
            0..4 => {
                let mut one = Evbuffer::new();
                one.add(piece).expect("memory");
                buf.add_buffer_reference(&one).expect("memory");
            }
            4 if layout.is_multiple_of(4) => {
                let mut file = tempfile::tempfile().expect("a file");
                file.write_all(piece).expect("room for it");
                buf.add_file(file, 0, None).expect("a segment");
            }
            4..7 => buf.add_reference(piece.to_vec()).expect("memory"),
            _ => buf.add(piece).expect("memory"),
        }
    }
    buf.check_invariants();
    buf
}

/// A number that is small, near the length of the file, or absurd.
fn number(bytes: &mut &[u8], near: u64) -> u64 {
    match byte(bytes) {
        small @ 0..160 => u64::from(small),
        close @ 160..240 => near.saturating_add(u64::from(close)).saturating_sub(200),
        240..246 => u64::MAX - u64::from(byte(bytes)),
        246..251 => (i64::MAX as u64).saturating_add(u64::from(byte(bytes))).saturating_sub(100),
        _ => u64::from(byte(bytes)) << 40,
    }
}

/// A file, a segment of it, parts of the segment in a buffer, and ways out of it; the content must be the file's.
pub fn segment(mut bytes: &[u8]) {
    let len = u64::from(byte(&mut bytes)) * 40;
    let content: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&content).expect("room for it");
    let flags = byte(&mut bytes);
    let (offset, rest) = (number(&mut bytes, len), number(&mut bytes, len));
    let wanted = (flags & 4 == 0).then_some(rest);
    let (gone, note) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, live) = (Arc::clone(&gone), Arc::downgrade(&note));
    let options = FileSegment::options().sendfile(flags & 1 == 0).mmap(flags & 2 == 0).cleanup(move || {
        let _still = &note;
        count.fetch_add(1, Ordering::Relaxed);
    });
    let expected = part(&content, offset, wanted);
    let segment = match options.open(file, offset, wanted) {
        Ok(segment) => segment,
        Err(error) => {
            assert!(
                expected.is_none() && matches!(error, Error::OutOfRange | Error::ShortFile | Error::Overflow)
            );
            assert!(live.upgrade().is_none() && gone.load(Ordering::Relaxed) == 0, "dropped and not run");
            return;
        }
    };
    let expected = expected.expect("it would have been refused");
    assert_eq!((segment.len(), segment.offset()), (expected.len() as u64, offset));
    use_segment(&segment, expected, &mut bytes);
    assert_eq!(gone.load(Ordering::Relaxed), 0, "the segment is still held");
    drop(segment);
    assert_eq!(gone.load(Ordering::Relaxed), 1, "the clean-up runs once");
}

/// The part of `content` that a range means, if it has it.
fn part(content: &[u8], offset: u64, len: Option<u64>) -> Option<&[u8]> {
    let rest = content.get(usize::try_from(offset).ok()?..)?;
    match len {
        None => Some(rest),
        Some(len) => rest.get(..usize::try_from(len).ok()?),
    }
}

/// Adds parts of the segment between memory, and takes everything out again in one of several ways.
fn use_segment(segment: &FileSegment, content: &[u8], bytes: &mut &[u8]) {
    let (mut buf, mut expected) = (Evbuffer::new(), Vec::new());
    for _ in 0..byte(bytes) % 6 {
        let near = segment.len();
        let (offset, len) = (number(bytes, near), number(bytes, near));
        let len = (!byte(bytes).is_multiple_of(3)).then_some(len);
        match (buf.add_file_segment(segment, offset, len), part(content, offset, len)) {
            (Ok(()), Some(part)) => expected.extend_from_slice(part),
            (Err(Error::OutOfRange), None) => {}
            (result, part) => panic!("{result:?} for {offset} and {len:?}, which is {part:?}"),
        }
        buf.add(b"between").expect("memory");
        expected.extend_from_slice(b"between");
    }
    assert_eq!(buf.len(), expected.len());
    let cut = usize::from(byte(bytes)) * 8;
    match byte(bytes) % 5 {
        0 => {
            let mut back = buf.split_off(cut.min(expected.len())).expect("inside");
            back.prepend_buffer(&mut buf).expect("moved");
            assert!(back.pullup(expected.len()).expect("readable") == expected);
        }
        1 => assert!(buf.peek(usize::MAX).expect("readable").collect::<Vec<_>>().concat() == expected),
        2 => {
            let (to, mut from) = UnixStream::pair().expect("a pair");
            to.set_nonblocking(true).expect("non-blocking");
            let mut arrived = Vec::new();
            while !buf.is_empty() {
                let count = buf.write_to_at_most(&to, cut.max(1)).expect("room");
                let mut piece = vec![0; count];
                from.read_exact(&mut piece).expect("sent");
                arrived.extend_from_slice(&piece);
            }
            assert!(arrived == expected);
        }
        3 => {
            let mut target = vec![0; expected.len() + 1];
            assert_eq!(buf.remove(&mut target).expect("readable"), expected.len());
            assert!(target[..expected.len()] == expected);
        }
        _ => {
            let cut = cut.min(expected.len());
            assert!(buf.remove_bytes(cut).expect("readable") == expected[..cut]);
            let mut left = vec![0; expected.len() - cut];
            buf.copy_out(&mut left).expect("readable");
            assert!(left == expected[cut..]);
        }
    }
    buf.check_invariants();
}
