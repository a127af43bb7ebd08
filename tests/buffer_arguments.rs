//! Every public function of the buffer, with buffers of every shape and arguments of every size: none panics, none allocates more than
//! it was asked for, and one that refuses leaves everything as it was.

mod support;

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use support::alloc::{self, Counting};
use support::source;
use zerovent::buffer::{
    ChunkPool, CopyStats, End, Eol, FileSegment, PipePool, Position, WriteStrategy, ZeroCopyWriter,
};
use zerovent::{Error, Evbuffer, Result};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EOLS: [Eol; 5] = [Eol::Any, Eol::Crlf, Eol::CrlfStrict, Eol::Lf, Eol::Nul];

/// What a buffer holds in every shape that holds anything; it ends within a line.
const CONTENT: &[u8] = b"one\r\ntwo\nthree\0four";

/// The largest argument that may be granted. Those above cannot be, on any machine.
const GRANTED_MAX: usize = 1 << 20;

/// What calls need beside a buffer and a number.
struct Things {
    file: File,
    segment: FileSegment,
    reader: PipeReader,
    writer: PipeWriter,
    socket: UnixStream,
    _peer: UnixStream,
}

impl Things {
    fn new() -> Things {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(CONTENT).unwrap();
        let segment = FileSegment::new(file.try_clone().unwrap(), 0, None).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"in a pipe").unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.write_all(b"in a socket").unwrap();
        Things { file, segment, reader, writer, socket, _peer: peer }
    }

    fn file(&self) -> OwnedFd {
        self.file.try_clone().unwrap().into()
    }
}

const SHAPES: usize = 11;

/// Buffers that hold nothing or [`CONTENT`], by what is peculiar about them.
fn shapes(things: &Things) -> [(&'static str, Evbuffer); SHAPES] {
    let content = || {
        let mut buf = Evbuffer::new();
        buf.add(CONTENT).unwrap();
        buf
    };
    let mut reserved = Evbuffer::new();
    reserved.expand(100).unwrap();
    let mut pieces = Evbuffer::new();
    for piece in CONTENT.chunks(3) {
        pieces.add_reference(piece.to_vec()).unwrap();
    }
    let mut file = Evbuffer::new();
    file.add_file_segment(&things.segment, 0, None).unwrap();
    let (mut shared, mut frozen, mut limited) = (content(), content(), content());
    let mut share = Evbuffer::new();
    share.add_buffer_reference(&shared).unwrap();
    shared.add_buffer_reference(&share).unwrap();
    shared.drain(CONTENT.len()).unwrap();
    frozen.freeze(End::Front);
    frozen.freeze(End::Back);
    limited.set_capacity_limit(Some(CONTENT.len() + 5)).unwrap();
    let mut watched = content();
    watched
        .add_callback(|buf, change| assert_eq!(change.orig_len + change.added - change.removed, buf.len()))
        .unwrap();
    let mut mixed = content().split_to(5).unwrap();
    mixed.add_file_segment(&things.segment, 5, Some(5)).unwrap();
    mixed.add_buffer(&mut spliced(&CONTENT[10..15])).unwrap();
    mixed.add_reference(&CONTENT[15..]).unwrap();
    [
        ("empty", Evbuffer::new()),
        ("empty with space", reserved),
        ("one chunk", content()),
        ("pieces", pieces),
        ("a file", file),
        ("a pipe", spliced(CONTENT)),
        ("all kinds", mixed),
        ("shared", shared),
        ("frozen", frozen),
        ("limited", limited),
        ("watched", watched),
    ]
}

fn spliced(bytes: &[u8]) -> Evbuffer {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(bytes).unwrap();
    let mut buf = Evbuffer::new();
    assert_eq!(buf.splice_from(&reader, bytes.len()).unwrap(), bytes.len());
    buf
}

/// A call with a number, by the name of its function.
type Call = (&'static str, fn(&mut Evbuffer, usize, &Things) -> Result<()>);

/// As many bytes as are asked for, but not more than can be had.
fn some_bytes(count: usize) -> Vec<u8> {
    vec![b'x'; count.min(GRANTED_MAX)]
}

/// What is read and lent.
const READING: [Call; 22] = [
    ("drain", |buf, n, _| buf.drain(n)),
    ("remove", |buf, n, _| buf.remove(&mut some_bytes(n)).map(drop)),
    ("remove_bytes", |buf, n, _| buf.remove_bytes(n).map(drop)),
    ("remove_buffer", |buf, n, _| buf.remove_buffer(&mut Evbuffer::new(), n).map(drop)),
    ("split_to", |buf, n, _| buf.split_to(n).map(drop)),
    ("split_off", |buf, n, _| buf.split_off(n).map(drop)),
    ("copy_out", |buf, n, _| buf.copy_out(&mut some_bytes(n)).map(drop)),
    ("copy_out_from", |buf, n, _| buf.copy_out_from(buf.position(n)?, &mut some_bytes(n)).map(drop)),
    ("pullup", |buf, n, _| buf.pullup(n).map(drop)),
    ("pullup_mut", |buf, n, _| buf.pullup_mut(n).map(drop)),
    ("search", |buf, n, _| {
        let start = buf.position(n).ok();
        buf.search(&some_bytes(n), start).map(drop)
    }),
    ("search_range", |buf, n, _| {
        let place: Option<Position> = buf.position(n).ok();
        buf.search_range(b"", place, Some(buf.position(0)?))?;
        buf.search_range(b"two", Some(buf.position(0)?), place).map(drop)
    }),
    ("search_eol", |buf, n, _| {
        let start = buf.position(n)?;
        assert_eq!(start.offset(), n);
        EOLS.into_iter().try_for_each(|eol| buf.search_eol(Some(start), eol).map(drop))
    }),
    ("read_line", |buf, n, _| buf.read_line(EOLS[n % 5]).map(drop)),
    ("read_line_into", |buf, n, _| buf.read_line_into(EOLS[n % 5], &mut Vec::new()).map(drop)),
    ("line", |buf, n, _| {
        if let Some(line) = buf.line(EOLS[n % 5])? {
            line.keep();
        }
        buf.line(EOLS[n % 5]).map(drop)
    }),
    ("peek_lines", |buf, n, _| {
        let mut lines = buf.peek_lines(EOLS[n % 5])?;
        while lines.next().is_some() {}
        assert!(lines.consumed() <= CONTENT.len());
        Ok(())
    }),
    ("peek", |buf, n, _| buf.peek(n).map(|runs| runs.for_each(drop))),
    ("peek_from", |buf, n, _| buf.peek_from(buf.position(n / 2)?, n).map(|runs| runs.for_each(drop))),
    ("peek_io_slices", |buf, n, _| buf.peek_io_slices(n, &mut vec![IoSlice::new(&[]); n % 4]).map(drop)),
    ("reader", |buf, n, _| {
        buf.reader(n)?.keep();
        let mut reader = buf.reader(n)?;
        reader.chunks_vectored(&mut []);
        drop(reader.copy_to_bytes(reader.remaining() / 2));
        reader.advance(reader.remaining());
        assert!(reader.taken() <= n);
        Ok(())
    }),
    ("advance_position", |buf, n, _| {
        let place = buf.position(0)?;
        buf.advance_position(place, n).map(drop)
    }),
];

/// What is added, and the space for it.
const ADDING: [Call; 22] = [
    ("add", |buf, n, _| buf.add(&some_bytes(n))),
    ("prepend", |buf, n, _| buf.prepend(&some_bytes(n))),
    ("add_reference", |buf, n, _| buf.add_reference(some_bytes(n))),
    ("add_reference_range", |buf, n, _| buf.add_reference_range(Bytes::from_static(CONTENT), n..)),
    ("add_reference_range", |buf, n, _| buf.add_reference_range(Bytes::from_static(CONTENT), ..=n)),
    ("add_reference_with_cleanup", |buf, n, _| buf.add_reference_with_cleanup(some_bytes(n), drop)),
    ("add_buffer", |buf, n, _| buf.add_buffer(&mut Evbuffer::from(some_bytes(n)))),
    ("prepend_buffer", |buf, n, _| buf.prepend_buffer(&mut Evbuffer::from(some_bytes(n)))),
    ("add_buffer_reference", |buf, n, _| buf.add_buffer_reference(&Evbuffer::from(some_bytes(n)))),
    ("add_file", |buf, n, things| buf.add_file(things.file(), n as u64, None)),
    ("add_file", |buf, n, things| buf.add_file(things.file(), n as u64 / 2, Some(n as u64 / 2))),
    ("add_file_segment", |buf, n, things| buf.add_file_segment(&things.segment, n as u64, None)),
    ("add_file_segment", |buf, n, things| buf.add_file_segment(&things.segment, 1, Some(n as u64))),
    ("add_fmt", |buf, n, _| buf.add_fmt(format_args!("{:1$}", "", n.min(1000))).map(drop)),
    ("write_fmt", |buf, n, _| buf.write_fmt(format_args!("{n}"))),
    ("add_io_slices", |buf, n, _| {
        let bytes = some_bytes(n);
        buf.add_io_slices(&[IoSlice::new(&bytes), IoSlice::new(b""), IoSlice::new(b"x")]).map(drop)
    }),
    ("expand", |buf, n, _| buf.expand(n)),
    ("reserve", |buf, n, _| {
        drop(buf.reserve(n)?);
        let space = buf.reserve(n)?;
        let beyond = space.len() + 1;
        assert!(matches!(space.commit(beyond), Err(Error::OutOfRange)));
        buf.reserve(n)?.commit(n)
    }),
    ("commit_written", |buf, n, _| {
        let mut space = buf.reserve(n)?;
        space.put_bytes(7, n / 2);
        space.commit_written().map(drop)
    }),
    ("reserve_vectored", |buf, n, _| {
        for extents in [0, 1, 2, 1024, n] {
            let Ok(mut space) = buf.reserve_vectored(n, extents) else { continue };
            let total: usize = space.lengths().sum();
            assert_eq!(space.iter_mut().map(|extent| extent.len()).sum::<usize>(), total);
            assert!(space.commit_first(usize::MAX).is_err());
        }
        buf.reserve_vectored(n, 3)?.commit(&[n.min(1)]).map(drop)
    }),
    ("commit", |buf, n, _| buf.reserve_vectored(10, 2)?.commit(&[n, n, n]).map(drop)),
    ("set_capacity_limit", |buf, n, _| {
        buf.set_capacity_limit(Some(n))?;
        assert!(buf.capacity_limit().is_none_or(|limit| limit == n));
        let added = buf.add(b"xyz");
        buf.set_capacity_limit(None)?;
        added
    }),
];

/// What goes to descriptors and comes from them, and what changes nothing of the content.
const OTHERS: [Call; 10] = [
    ("write_to", |buf, _, things| buf.write_to(&things.writer).map(drop)),
    ("write_to_at_most", |buf, n, things| buf.write_to_at_most(&things.socket, n).map(drop)),
    ("write_with", |buf, n, things| {
        let strategy = WriteStrategy::new().read_files_up_to(n).sendfile_piece(n);
        buf.write_with(&things.socket, n, strategy).map(drop)
    }),
    ("read_from", |buf, n, things| buf.read_from(&things.reader, n).map(drop)),
    ("read_from", |buf, n, things| buf.read_from(&things.socket, n).map(drop)),
    ("splice_from", |buf, n, things| buf.splice_from(&things.reader, n).map(drop)),
    ("splice_from", |buf, n, things| buf.splice_from(&things.socket, n).map(drop)),
    ("callbacks", |buf, n, _| {
        let id = buf.add_callback(|_, _| {})?;
        buf.disable_callback(id)?;
        buf.enable_callback(id)?;
        buf.defer_callbacks(n.is_multiple_of(2))?;
        buf.run_deferred();
        buf.defer_callbacks(false)?;
        assert!(!buf.callbacks_due());
        buf.remove_callback(id)?;
        assert!(buf.remove_callback(id).is_err() && buf.enable_callback(id).is_err());
        Ok(())
    }),
    ("read_vectored", |buf, n, _| {
        let (mut first, mut second) = (some_bytes(n / 2), some_bytes(n));
        let mut targets =
            [IoSliceMut::new(&mut first), IoSliceMut::new(&mut []), IoSliceMut::new(&mut second)];
        Ok(std::io::Read::read_vectored(buf, &mut targets).map(drop)?)
    }),
    ("consume", |buf, n, _| {
        std::io::BufRead::fill_buf(buf)?;
        std::io::BufRead::consume(buf, n);
        Ok(())
    }),
];

fn content(buf: &Evbuffer) -> Vec<u8> {
    let mut bytes = vec![0; buf.len()];
    assert_eq!(buf.copy_out(&mut bytes).unwrap(), bytes.len());
    bytes
}

/// Numbers around everything that could matter.
fn numbers() -> Vec<usize> {
    let len = CONTENT.len();
    let mut numbers = vec![0, 1, 2, 63, 64, 65, len - 1, len, len + 1, 65_535, 65_536, 65_537, GRANTED_MAX];
    let absurd = [isize::MAX as usize, i64::MAX as usize / 2, usize::MAX];
    numbers.extend(absurd.into_iter().flat_map(|edge| [edge - 64, edge - 1, edge, edge.saturating_add(1)]));
    numbers
}

#[test]
fn no_call_panics_or_allocates_more_than_it_is_asked_for_and_a_refusal_changes_nothing() {
    let mut refused = 0;
    for number in numbers() {
        // Twice what is granted, for what is copied, and what the largest chunk and a full pipe hold.
        let most = 3 * number.min(GRANTED_MAX) as isize + (3 << 17);
        for &(name, call) in READING.iter().chain(&ADDING).chain(&OTHERS) {
            // What is waiting in a pipe waits for one call, so each shape has things of its own.
            for index in 0..SHAPES {
                let things = Things::new();
                let (shape, mut buf) = shapes(&things).into_iter().nth(index).expect("a shape");
                let before = content(&buf);
                let (result, peak) = alloc::peak(|| call(&mut buf, number, &things));
                let what = format!("{name}({number}) on {shape}");
                assert!(peak <= most, "{what} took {peak} bytes");
                buf.check_invariants();
                if result.is_err() {
                    refused += 1;
                    assert!(content(&buf) == before, "{what} was refused and changed something");
                }
                buf.unfreeze(End::Front);
                buf.unfreeze(End::Back);
                buf.set_capacity_limit(None).unwrap();
                buf.drain(usize::MAX).unwrap();
                buf.add(b"as good as new").unwrap();
                assert_eq!(buf.pullup(14).unwrap(), b"as good as new", "after {what}");
                assert!(buf.contiguous_len() == 14 && buf.storage_bytes() >= 14, "after {what}");
            }
        }
    }
    assert!(refused > 2000, "{refused} refusals");
}

#[test]
fn what_is_no_buffer_takes_every_number_too() {
    let things = Things::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for number in numbers() {
        for (offset, len) in [(number, None), (0, Some(number)), (number, Some(number))] {
            let metadata = things.file.metadata().unwrap();
            let options =
                FileSegment::options().sendfile(true).mmap(true).unchanged_since(&metadata).cleanup(|| ());
            let segment = options.open(things.file(), offset as u64, len.map(|len| len as u64));
            let fits = offset <= CONTENT.len() && len.is_none_or(|len| len <= CONTENT.len() - offset);
            assert_eq!(segment.is_ok(), fits, "{offset}, {len:?}");
            if let Ok(segment) = segment {
                let expected = len.unwrap_or(CONTENT.len() - offset);
                assert_eq!(segment.is_empty(), expected == 0);
                assert_eq!(
                    (segment.offset(), segment.metadata().unwrap().len()),
                    (offset as u64, CONTENT.len() as u64)
                );
                assert_eq!(segment.file().metadata().unwrap().len(), CONTENT.len() as u64);
            }
        }
        ChunkPool::set_limit(number);
        assert_eq!(ChunkPool::limit(), number);
        drop(Evbuffer::from(some_bytes(number)).pullup_mut(number.min(GRANTED_MAX)).map(drop));
        ChunkPool::trim(number);
        assert!(ChunkPool::idle_bytes() <= number);
        PipePool::set_limit(number);
        assert_eq!(PipePool::limit(), number);
        drop(spliced(CONTENT));
        PipePool::trim(number);
        assert!(PipePool::idle() <= number && PipePool::open() <= number);
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut writer =
            ZeroCopyWriter::new(&socket).unwrap().at_least(number).strategy(WriteStrategy::new());
        writer.write(&mut Evbuffer::from(some_bytes(100)), number).unwrap();
        writer.collect().unwrap();
        assert!(writer.is_on() || writer.outstanding() == 0);
        // Nobody reads; closing the other side makes the kernel let go.
        drop(listener.accept().unwrap());
        writer.finish(Duration::from_secs(20)).unwrap();
    }
    ChunkPool::set_limit(ChunkPool::DEFAULT_LIMIT);
    assert_ne!(CopyStats::now(), CopyStats::default());
}

/// A public function that this file does not name is one that nobody has tried.
#[test]
fn every_public_function_of_the_buffer_is_tried_here() {
    let here =
        source::rust_files("tests").into_iter().find(|file| file.path.ends_with("buffer_arguments.rs"));
    let here = here.expect("this file");
    let mut missing = Vec::new();
    for file in source::rust_files("src/buffer") {
        for line in file.text.lines().map(str::trim_start) {
            let Some(rest) = line.strip_prefix("pub fn ").or_else(|| line.strip_prefix("pub const fn "))
            else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| source::in_name(*c)).collect();
            if here.words(&name).is_empty() {
                missing.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
