//! Small cases, all of them: every way to cut a text into nodes, every read size, every split point.

mod support;

use std::io::{IoSlice, PipeReader, PipeWriter};

use support::model::{naive_eol, naive_find};
use zerovent::buffer::{Eol, FileSegment, PipePool};
use zerovent::{Error, Evbuffer};

const EOLS: [Eol; 5] = [Eol::Any, Eol::Crlf, Eol::CrlfStrict, Eol::Lf, Eol::Nul];

/// How a piece of text becomes a node.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Chunk,
    Reference,
    File,
    Pipe,
}

const KINDS: [Kind; 4] = [Kind::Chunk, Kind::Reference, Kind::File, Kind::Pipe];
const IN_MEMORY: [Kind; 2] = [Kind::Chunk, Kind::Reference];
const UNREAD: [Kind; 2] = [Kind::File, Kind::Pipe];

/// `text` in a node for each of the pieces, whose lengths are given and add up to its own.
fn in_nodes(lengths: &[usize], text: &[u8], kind: Kind) -> Evbuffer {
    let mut buf = Evbuffer::new();
    let mut rest = text;
    let segments = if matches!(kind, Kind::File) { segments(text) } else { Vec::new() };
    for (index, len) in lengths.iter().enumerate() {
        let offset = text.len() - rest.len();
        let (piece, behind) = rest.split_at(*len);
        rest = behind;
        match kind {
            Kind::Chunk => {
                let mut one = Evbuffer::new();
                one.add(piece).expect("added");
                // A buffer that shares the chunk keeps later pieces out of its tailroom.
                buf.add_buffer_reference(&one).expect("added");
            }
            Kind::Reference => buf.add_reference(piece.to_vec()).expect("added"),
            // Neighbours of one segment would become one node.
            Kind::File => {
                let segment = &segments[index % segments.len()];
                buf.add_file_segment(segment, offset as u64, Some(*len as u64)).expect("added");
            }
            Kind::Pipe => buf.add_buffer(&mut in_a_pipe(piece)).expect("added"),
        }
    }
    assert!(rest.is_empty());
    buf
}

/// Two segments of one file with `text` in it.
fn segments(text: &[u8]) -> Vec<FileSegment> {
    let mut file = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut file, text).expect("room for it");
    let again = file.try_clone().expect("a duplicate");
    [file, again].map(|file| FileSegment::new(file, 0, None).expect("a segment")).into()
}

fn in_a_pipe(piece: &[u8]) -> Evbuffer {
    thread_local! {
        static SOURCE: (PipeReader, PipeWriter) = std::io::pipe().expect("a pipe");
    }
    PipePool::set_limit(200);
    let mut buf = Evbuffer::new();
    SOURCE.with(|(reader, writer)| {
        std::io::Write::write_all(&mut { writer }, piece).expect("room in the pipe");
        assert_eq!(buf.splice_from(reader, piece.len()).expect("spliced"), piece.len());
    });
    buf
}

/// The lengths of pieces of `size` bytes that make up `len`.
fn pieces_of(size: usize, len: usize) -> Vec<usize> {
    (0..len).step_by(size).map(|at| size.min(len - at)).collect()
}

/// `text` in nodes of `size` bytes.
fn in_nodes_of(size: usize, text: &[u8], kind: Kind) -> Evbuffer {
    in_nodes(&pieces_of(size, text.len()), text, kind)
}

/// Every way to cut `len` bytes into at most three pieces, and into pieces of one size.
fn every_cut(len: usize) -> Vec<Vec<usize>> {
    let mut cuts: Vec<Vec<usize>> = (1..=len).map(|size| pieces_of(size, len)).collect();
    for first in 1..len {
        cuts.push(vec![first, len - first]);
        cuts.extend((first + 1..len).map(|second| vec![first, second - first, len - second]));
    }
    cuts
}

fn content(buf: &mut Evbuffer) -> Vec<u8> {
    let len = buf.len();
    buf.pullup(len).expect("its own length").to_vec()
}

#[test]
fn every_node_size_with_every_read_size() {
    let text: Vec<u8> = (0..150).collect();
    for kind in KINDS {
        for size in 1..=64 {
            for read in 1..=64 {
                let mut buf = in_nodes_of(size, &text, kind);
                let mut all = Vec::new();
                let mut part = vec![0; read];
                loop {
                    let count = buf.remove(&mut part).expect("not frozen");
                    all.extend_from_slice(&part[..count]);
                    if count == 0 {
                        break;
                    }
                    assert!(count == read || buf.is_empty());
                }
                assert_eq!(all, text, "{kind:?} of {size}, reads of {read}");
            }
        }
    }
}

#[test]
fn every_split_point_of_moving_splitting_and_pulling_up() {
    let text: Vec<u8> = (0..40).collect();
    for kind in KINDS {
        for size in 1..=text.len() {
            for at in 0..=text.len() {
                let (front, back) = text.split_at(at);
                let make = || in_nodes_of(size, &text, kind);

                let (mut src, mut dst) = (make(), Evbuffer::new());
                assert_eq!(src.remove_buffer(&mut dst, at).expect("moved"), at);
                assert_eq!((content(&mut dst), content(&mut src)), (front.to_vec(), back.to_vec()));
                dst.add_buffer(&mut src).expect("moved back");
                assert_eq!(content(&mut dst), text);

                let (mut src, mut dst) = (make(), in_nodes_of(3, b"before", kind));
                src.remove_buffer(&mut dst, at).expect("moved");
                assert_eq!(content(&mut dst), [b"before", front].concat());
                dst.prepend_buffer(&mut src).expect("moved to the front");
                assert_eq!(content(&mut dst), [back, b"before", front].concat());

                let mut src = make();
                assert_eq!(content(&mut src.split_to(at).expect("inside")), front);
                assert_eq!(content(&mut src), back);
                assert!(matches!(src.split_to(back.len() + 1), Err(Error::OutOfRange)));

                let mut src = make();
                assert_eq!(content(&mut src.split_off(at).expect("inside")), back);
                assert_eq!(content(&mut src), front);
                assert!(matches!(src.split_off(at + 1), Err(Error::OutOfRange)));

                let mut src = make();
                assert_eq!(src.remove_bytes(at).expect("inside"), front);
                assert_eq!(content(&mut src), back);

                let mut src = make();
                assert_eq!(src.pullup(at).expect("inside"), front);
                assert_eq!(content(&mut src), text);

                let mut src = make();
                src.pullup_mut(at).expect("inside").fill(0);
                assert_eq!(content(&mut src), [&vec![0; at][..], back].concat());

                let mut src = make();
                src.drain(at).expect("not frozen");
                src.prepend(front).expect("prepended");
                assert_eq!(content(&mut src), text);
            }
        }
    }
}

#[test]
fn a_needle_is_found_across_every_border() {
    let text = b"aababcaabcabcdaabcabcdabcabcde";
    for kind in IN_MEMORY {
        for size in 1..=text.len() {
            let mut buf = in_nodes_of(size, text, kind);
            for from in 0..text.len() {
                for to in from..=text.len() {
                    let needle = &text[from..to];
                    let expected = (0..text.len()).find(|&at| text[at..].starts_with(needle));
                    let found = buf.search(needle, None).expect("memory").map(|place| place.offset());
                    assert_eq!(found, expected, "{needle:?} in nodes of {size}");
                }
            }
        }
    }
}

/// A search that reads turns nodes into memory as it goes, so each begins with a buffer that nobody has looked at.
#[test]
fn a_needle_is_found_in_what_nobody_has_read_wherever_it_is_cut() {
    let text = b"aabcaabcabcd\r\n";
    let needles: Vec<&[u8]> =
        [1, 2, 3, 5, text.len()].into_iter().flat_map(|len| text.windows(len)).collect();
    for (kind, cut) in
        UNREAD.into_iter().flat_map(|kind| every_cut(text.len()).into_iter().map(move |cut| (kind, cut)))
    {
        for &needle in &needles {
            let mut buf = in_nodes(&cut, text, kind);
            let found = buf.search(needle, None).expect("readable").map(|place| place.offset());
            assert_eq!(found, naive_find(text, needle), "{needle:?} in {kind:?} of {cut:?}");
            assert_eq!(content(&mut buf), text);
        }
        let absent = in_nodes(&cut, text, kind).search(b"abcabcaa", None).expect("readable");
        assert!(absent.is_none(), "{kind:?} of {cut:?}");
    }
}

#[test]
fn a_search_starts_and_ends_where_it_is_told() {
    let text = b"abcabcabc";
    for size in 1..=text.len() {
        let mut buf = in_nodes_of(size, text, Kind::Reference);
        for start in 0..=text.len() {
            for end in 0..=text.len() {
                for needle in [&b""[..], b"a", b"abc", b"cab", b"bcabc", b"x"] {
                    let expected =
                        (start..=end).find(|&at| at + needle.len() <= end && text[at..].starts_with(needle));
                    let range = (buf.position(start).expect("inside"), buf.position(end).expect("inside"));
                    let found = buf.search_range(needle, Some(range.0), Some(range.1)).expect("current");
                    assert_eq!(found.map(|place| place.offset()), expected, "{needle:?} in {start}..{end}");
                }
            }
        }
    }
}

#[test]
fn lines_end_where_they_should_across_every_border() {
    let texts: [&[u8]; 8] = [
        b"a\r\nb\nc\rd\0e\r\r\nf\n\rg",
        b"\r\n\r\n\n\n\0\0",
        b"no end",
        b"\r",
        b"\n",
        b"\r\n",
        b"x\r",
        b"\r\r\n",
    ];
    for (text, eol) in texts.into_iter().flat_map(|text| EOLS.map(|eol| (text, eol))) {
        for cut in every_cut(text.len()) {
            for kind in KINDS {
                let mut buf = in_nodes(&cut, text, kind);
                for start in 0..=text.len() {
                    let place = buf.position(start).expect("inside");
                    let found = buf.search_eol(Some(place), eol).expect("readable");
                    let found = found.map(|(place, len)| (place.offset(), len));
                    assert_eq!(found, naive_eol(text, start, eol), "{text:?} {eol:?} from {start}");
                }
                check_lines(text, &cut, kind, eol);
            }
        }
    }
}

fn check_lines(text: &[u8], cut: &[usize], kind: Kind, eol: Eol) {
    let make = || in_nodes(cut, text, kind);
    let (mut owned, mut lent, mut into, mut peeked) = (make(), make(), make(), make());
    let mut peeked = peeked.peek_lines(eol).expect("readable");
    let mut rest = text;
    while let Some((len, eol_len)) = naive_eol(rest, 0, eol) {
        let expected = &rest[..len];
        assert_eq!(owned.read_line(eol).expect("readable").as_deref(), Some(expected), "{text:?} {eol:?}");
        lent.line(eol).expect("readable").expect("a line").keep();
        assert_eq!(lent.line(eol).expect("readable").as_deref(), Some(expected), "{text:?} {eol:?}");
        let mut line = b"kept".to_vec();
        assert_eq!(into.read_line_into(eol, &mut line).expect("readable"), Some(len));
        assert_eq!(line, [b"kept", expected].concat());
        assert_eq!(peeked.next().as_deref(), Some(expected), "{text:?} {eol:?}");
        rest = &rest[len + eol_len..];
    }
    assert_eq!(owned.read_line(eol).expect("readable"), None);
    assert!(lent.line(eol).expect("readable").is_none() && peeked.next().is_none());
    assert_eq!((content(&mut owned), content(&mut lent)), (rest.to_vec(), rest.to_vec()));
}

/// A terabyte of nothing, doubled until a length could not say it any more.
#[test]
fn lengths_are_refused_before_they_wrap() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1 << 43).expect("sparse");
    let mut buf = Evbuffer::new();
    buf.add_file(file, 0, None).expect("added");
    let refused = (0..64).find_map(|_| {
        let mut share = Evbuffer::new();
        share.add_buffer_reference(&buf).expect("as long as the other");
        let before = buf.len();
        let result = buf.add_buffer(&mut share);
        assert!(result.is_ok() || (buf.len(), share.len()) == (before, before));
        result.err()
    });
    assert!(matches!(refused, Some(Error::Overflow)), "{refused:?}");
    assert!(matches!(buf.reserve(isize::MAX as usize), Err(Error::Overflow)));
}

#[test]
fn an_empty_buffer_answers_everything() {
    let mut buf = Evbuffer::new();
    assert_eq!((buf.len(), buf.contiguous_len(), buf.is_empty()), (0, 0, true));
    assert_eq!(buf.pullup(0).expect("nothing"), b"");
    assert_eq!(buf.remove_bytes(0).expect("nothing"), b""[..]);
    assert_eq!(buf.copy_out(&mut [0; 4]).expect("nothing"), 0);
    assert_eq!(buf.peek(9).expect("nothing").count(), 0);
    assert_eq!(buf.search(b"", None).expect("everywhere").map(|place| place.offset()), Some(0));
    assert!(buf.search(b"x", None).expect("nowhere").is_none());
    for eol in EOLS {
        assert!(buf.read_line(eol).expect("no line").is_none());
    }
    buf.add(b"").expect("nothing added");
    buf.prepend(b"").expect("nothing added");
    buf.add_reference(&b""[..]).expect("nothing added");
    assert_eq!(format!("{buf:?}"), "Evbuffer(0 bytes) []");
}

#[test]
fn the_debug_form_shows_the_shape_and_not_the_bytes() {
    let mut buf = Evbuffer::new();
    buf.add(b"secret").expect("added");
    buf.add_reference(&b"hidden"[..]).expect("added");
    buf.add_buffer(&mut in_nodes_of(7, b"on disk", Kind::File)).expect("added");
    let shown = format!("{buf:?}");
    assert_eq!(shown, "Evbuffer(19 bytes) [Chunk(0..6 of 224), Reference(6), File(7 at 0)]");
}

/// Every length and number of places, over a ring that has wrapped round and one that has not.
#[test]
fn io_slices_show_what_fits_and_nothing_behind_it() {
    for turned in 0..8 {
        let mut buf = Evbuffer::new();
        for piece in 0..turned + 6_u8 {
            buf.add_reference(vec![piece; 3]).expect("added");
            if piece < turned {
                buf.drain(3).expect("drained");
            }
        }
        buf.expand(100).expect("expanded");
        let content: Vec<u8> = (turned..turned + 6).flat_map(|piece| [piece; 3]).collect();
        for (len, places) in (0..=20).flat_map(|len| (0..=8).map(move |places| (len, places))) {
            let mut out = vec![IoSlice::new(&[]); places];
            let filled = buf.peek_io_slices(len, &mut out).expect("memory");
            let shown: Vec<u8> = out[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(shown, content[..len.min(18).min(3 * places)], "{len} bytes in {places} places");
            assert!(out[filled..].iter().all(|slice| slice.is_empty()));
        }
    }
}
