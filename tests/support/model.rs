//! The model of a buffer: one list of operations, one interpreter that runs it over `Evbuffer` and over plain deques
//! and compares them after every step. The drivers are elsewhere: random bytes, proptest, and the fuzzer, which all
//! feed [`run_bytes`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use zerovent::buffer::{End, Eol, FileSegment, Position, Runs, WriteStrategy};
use zerovent::{Error, Evbuffer, Result};

/// Buffers in play: enough for moves and shares to go in circles.
pub const BUFFERS: usize = 3;
/// A buffer beyond this length is drained before the next operation, so that comparing stays cheap.
pub const LEN_MAX: usize = 24 * 1024;
/// Bytes in the file that file nodes come from.
pub const FILE_LEN: usize = 9000;

/// One operation. Buffers are numbered, counts may be larger than what is there.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Add { buf: usize, len: usize },
    AddReference { buf: usize, len: usize },
    AddOwned { buf: usize, len: usize },
    AddFile { buf: usize, offset: usize, len: usize },
    AddBuffer { dst: usize, src: usize },
    ShareBuffer { dst: usize, src: usize },
    Prepend { buf: usize, len: usize },
    PrependBuffer { dst: usize, src: usize },
    Drain { buf: usize, count: usize },
    Remove { buf: usize, count: usize },
    RemoveBytes { buf: usize, count: usize },
    RemoveBuffer { dst: usize, src: usize, count: usize },
    SplitTo { buf: usize, count: usize },
    CopyOut { buf: usize, from: usize, count: usize },
    Pullup { buf: usize, count: usize },
    PullupMut { buf: usize, count: usize },
    Expand { buf: usize, count: usize },
    Reserve { buf: usize, count: usize, commit: usize },
    Peek { buf: usize, from: usize, count: usize },
    Search { buf: usize, from: usize, len: usize, start: usize, end: usize },
    SearchEol { buf: usize, start: usize, eol: Eol },
    ReadLine { buf: usize, eol: Eol },
    Line { buf: usize, eol: Eol, keep: bool },
    Freeze { buf: usize, end: End, frozen: bool },
    Mark { buf: usize, offset: usize },
    UseMark { count: usize },
    Write { buf: usize, limit: usize },
    Read { buf: usize, len: usize, max: usize },
    Replace { buf: usize },
    LetGo,
    Splice { buf: usize, len: usize, max: usize },
}

/// Where operations come from: bytes, and zeros when they have run out.
struct Source<'a> {
    bytes: &'a [u8],
}

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    fn buffer(&mut self) -> usize {
        usize::from(self.byte()) % BUFFERS
    }

    fn wide(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// A length of data: mostly small, often next to a size class, rarely more than a chunk.
    fn len(&mut self) -> usize {
        const EDGES: [usize; 8] = [96, 224, 480, 992, 2016, 4096, 8192, 65536];
        match self.byte() {
            small @ 0..=179 => usize::from(small) % 90,
            180..=239 => self.wide() % 3000,
            edge @ 240..=253 => EDGES[usize::from(edge) % 7] - 1 + self.buffer(),
            _ => EDGES[7] - 1 + self.buffer(),
        }
    }

    /// A count that an operation is asked for: as a length, or absurd.
    fn count(&mut self) -> usize {
        match self.byte() {
            0..=3 => usize::MAX - usize::from(self.byte() & 1),
            _ => self.len(),
        }
    }

    fn eol(&mut self) -> Eol {
        [Eol::Any, Eol::Crlf, Eol::CrlfStrict, Eol::Lf, Eol::Nul][usize::from(self.byte()) % 5]
    }

    fn op(&mut self) -> Op {
        let code = self.byte() % 43;
        let buf = self.buffer();
        let (dst, src) = (buf, (buf + 1 + usize::from(self.byte() % 2)) % BUFFERS);
        match code {
            0..=4 => Op::Add { buf, len: self.len() },
            5 | 6 => Op::AddReference { buf, len: self.len() },
            7 => Op::AddOwned { buf, len: self.len() },
            8 | 9 => Op::AddFile { buf, offset: self.wide() % (FILE_LEN + 9), len: self.len() },
            10 | 11 => Op::AddBuffer { dst, src },
            12 => Op::ShareBuffer { dst, src },
            13 | 14 => Op::Prepend { buf, len: self.len() },
            15 => Op::PrependBuffer { dst, src },
            16 | 17 => Op::Drain { buf, count: self.count() },
            18 | 19 => Op::Remove { buf, count: self.len() },
            20 => Op::RemoveBytes { buf, count: self.count() },
            21 | 22 => Op::RemoveBuffer { dst, src, count: self.count() },
            23 => Op::SplitTo { buf, count: self.count() },
            24 => Op::CopyOut { buf, from: self.len(), count: self.len() },
            25 | 26 => Op::Pullup { buf, count: self.count() },
            27 => Op::PullupMut { buf, count: self.len() },
            28 => Op::Expand { buf, count: self.count() },
            29 => Op::Reserve { buf, count: self.count(), commit: self.count() },
            30 => Op::Peek { buf, from: self.len(), count: self.count() },
            31 => Op::Search { buf, from: self.len(), len: self.len(), start: self.len(), end: self.count() },
            32 => Op::SearchEol { buf, start: self.len(), eol: self.eol() },
            33 => Op::ReadLine { buf, eol: self.eol() },
            34 => Op::Line { buf, eol: self.eol(), keep: self.byte().is_multiple_of(4) },
            35 => {
                let end = if self.byte().is_multiple_of(2) { End::Front } else { End::Back };
                Op::Freeze { buf, end, frozen: self.byte().is_multiple_of(4) }
            }
            36 => Op::Mark { buf, offset: self.len() },
            37 => Op::UseMark { count: self.count() },
            38 if src == 0 => Op::Read { buf, len: self.len(), max: self.count() },
            38 => Op::Write { buf, limit: self.count() },
            39 if dst == 0 => Op::Replace { buf },
            39 => Op::LetGo,
            _ => Op::Splice { buf, len: self.len(), max: self.count() },
        }
    }
}

/// One buffer, and what it should hold.
#[derive(Default)]
struct Pair {
    real: Evbuffer,
    model: VecDeque<u8>,
    frozen_front: bool,
    frozen_back: bool,
    edits: u64,
}

impl Pair {
    fn contents(&mut self) -> &[u8] {
        self.model.make_contiguous()
    }

    fn append(&mut self, data: &[u8]) {
        self.model.extend(data);
        self.edits += u64::from(!data.is_empty());
    }

    fn prepend(&mut self, data: &[u8]) {
        data.iter().rev().for_each(|&byte| self.model.push_front(byte));
        self.edits += u64::from(!data.is_empty());
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.model.len());
        self.edits += u64::from(count > 0);
        self.model.drain(..count).collect()
    }
}

/// The interpreter.
pub struct Machine {
    pairs: [Pair; BUFFERS],
    /// Bytes taken out without copying, with what they must go on saying.
    held: Vec<(Bytes, Vec<u8>)>,
    mark: Option<(usize, Position, usize, u64)>,
    segment: FileSegment,
    file: Vec<u8>,
    sockets: (UnixStream, UnixStream),
    state: u32,
    /// What was copied out last, kept for its allocation.
    scratch: Vec<u8>,
    owners: usize,
    cleanups: Arc<AtomicUsize>,
    /// Operations for which contents are not compared, because that would read pipes in.
    unseen: u32,
}

/// The operations that `bytes` say, for other interpreters than this one.
pub fn ops(bytes: &[u8]) -> impl Iterator<Item = Op> {
    let mut source = Source { bytes };
    std::iter::from_fn(move || (!source.bytes.is_empty()).then(|| source.op()))
}

/// Runs the operations that `bytes` say, and panics at the first difference; returns how many there were.
pub fn run_bytes(bytes: &[u8]) -> usize {
    let mut machine = Machine::new();
    let mut count = 0;
    for op in ops(bytes) {
        machine.step(op);
        count += 1;
    }
    machine.finish();
    count
}

impl Machine {
    fn new() -> Machine {
        let mut state = 1;
        let file = text(&mut state, FILE_LEN);
        let mut disk = tempfile::tempfile().expect("a temporary file");
        disk.write_all(&file).expect("room for it");
        let sockets = UnixStream::pair().expect("a pair of sockets");
        sockets.0.set_nonblocking(true).expect("non-blocking");
        Machine {
            pairs: Default::default(),
            held: Vec::new(),
            mark: None,
            segment: FileSegment::new(disk, 0, None).expect("a segment"),
            file,
            sockets,
            state,
            scratch: Vec::new(),
            owners: 0,
            cleanups: Arc::default(),
            unseen: 0,
        }
    }

    /// Applies one operation to both sides, and compares all that can be seen.
    fn step(&mut self, op: Op) {
        for pair in &mut self.pairs {
            if pair.model.len() > LEN_MAX {
                pair.real.unfreeze(End::Front);
                pair.frozen_front = false;
                pair.real.drain(LEN_MAX).expect("not frozen");
                pair.take(LEN_MAX);
            }
        }
        self.unseen = self.unseen.saturating_sub(1);
        self.apply(op);
        for index in 0..BUFFERS {
            self.compare(index, op);
        }
        for (bytes, expected) in &self.held {
            assert!(bytes == expected, "bytes that were taken out changed after {op:?}");
        }
        if self.held.len() > 8 {
            self.held.remove(0);
        }
        let cleaned = self.cleanups.load(Ordering::Relaxed);
        assert!(cleaned <= self.owners, "a clean-up ran twice after {op:?}");
        if self.held.is_empty() && self.pairs.iter().all(|pair| pair.model.is_empty()) {
            assert_eq!(cleaned, self.owners, "empty buffers hold an owner after {op:?}");
        }
    }

    /// Drops everything; then every owner must have been cleaned up.
    fn finish(self) {
        let Machine { pairs, held, owners, cleanups, .. } = self;
        drop((pairs, held));
        assert_eq!(cleanups.load(Ordering::Relaxed), owners, "every clean-up ran exactly once");
    }

    fn compare(&mut self, index: usize, op: Op) {
        let pair = &mut self.pairs[index];
        pair.real.check_invariants();
        assert_eq!(pair.real.len(), pair.model.len(), "length of {index} after {op:?}");
        assert!(pair.real.is_empty() == pair.model.is_empty());
        if self.unseen > 0 {
            return;
        }
        self.scratch.resize(pair.real.len() + 1, 0);
        let count = pair.real.copy_out(&mut self.scratch).expect("the file is as long as it was");
        assert!(
            self.scratch[..count] == *pair.contents(),
            "content of {index} after {op:?}: {:?}",
            pair.real
        );
        // Peeking reads files in, for good; so it is done in a buffer that shares the storage.
        let mut view = Evbuffer::new();
        view.add_buffer_reference(&pair.real).expect("an empty buffer takes it");
        assert_runs(view.peek(usize::MAX).expect("readable"), pair.contents(), op);
    }

    fn data(&mut self, len: usize) -> Vec<u8> {
        text(&mut self.state, len)
    }

    /// Two different buffers.
    fn two(&mut self, a: usize, b: usize) -> (&mut Pair, &mut Pair) {
        let [first, second] = self.pairs.get_disjoint_mut([a, b]).expect("two different buffers");
        (first, second)
    }
}

/// Checks that the runs, one after the other, say `expected`.
fn assert_runs(runs: Runs<'_>, expected: &[u8], op: Op) {
    let mut rest = expected;
    for run in runs {
        assert!(!run.is_empty() && rest.starts_with(run), "runs after {op:?}");
        rest = &rest[run.len()..];
    }
    assert!(rest.is_empty(), "runs are missing after {op:?}");
}

/// Checks that a call was refused because an end is frozen exactly when it should have been.
fn permitted<T>(result: Result<T>, frozen: bool) -> Option<T> {
    match result {
        Err(Error::Frozen) if frozen => None,
        Err(error) => panic!("refused without a reason: {error}"),
        Ok(_) if frozen => panic!("a frozen end was changed"),
        Ok(value) => Some(value),
    }
}

/// Reproducible text of few different bytes, with all line ends in it.
pub fn text(state: &mut u32, len: usize) -> Vec<u8> {
    const LETTERS: &[u8; 16] = b"aaaabbbcab\r\n\n\r\0x";
    (0..len)
        .map(|_| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            LETTERS[(*state >> 24) as usize & 15]
        })
        .collect()
}

impl Machine {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Add { .. } | Op::AddReference { .. } | Op::AddOwned { .. } | Op::AddFile { .. } => {
                self.add(op)
            }
            Op::AddBuffer { .. } | Op::ShareBuffer { .. } | Op::PrependBuffer { .. } => self.combine(op),
            Op::RemoveBuffer { dst, src, count } => self.remove_buffer(dst, src, count),
            Op::Prepend { buf, len } => {
                let data = self.data(len);
                let pair = &mut self.pairs[buf];
                if permitted(pair.real.prepend(&data), pair.frozen_front).is_some() {
                    pair.prepend(&data);
                }
            }
            Op::Drain { .. } | Op::Remove { .. } | Op::RemoveBytes { .. } | Op::SplitTo { .. } => {
                self.remove(op)
            }
            Op::Expand { .. } | Op::Reserve { .. } | Op::Pullup { .. } | Op::PullupMut { .. } => {
                self.space(op)
            }
            Op::CopyOut { .. } | Op::Peek { .. } | Op::Search { .. } | Op::SearchEol { .. } => self.look(op),
            Op::ReadLine { buf, eol } => self.read_line(buf, eol),
            Op::Line { buf, eol, keep } => self.lend_line(buf, eol, keep),
            Op::Freeze { buf, end, frozen } => self.freeze(buf, end, frozen),
            Op::Mark { buf, offset } => self.set_mark(buf, offset),
            Op::UseMark { count } => self.use_mark(count),
            Op::Write { buf, limit } => self.write(buf, limit),
            Op::Read { buf, len, max } => self.read(buf, len, max),
            Op::Replace { buf } => {
                // A position cannot tell one buffer from another, so the mark goes with its buffer.
                self.mark = self.mark.filter(|mark| mark.0 != buf);
                self.pairs[buf] = Pair::default();
            }
            Op::LetGo => self.held.clear(),
            Op::Splice { buf, len, max } => self.splice(buf, len, max),
        }
    }

    fn add(&mut self, op: Op) {
        let (Op::Add { buf, len } | Op::AddReference { buf, len } | Op::AddOwned { buf, len }) = op else {
            return self.add_file(op);
        };
        let data = self.data(len);
        let copy = data.clone();
        let pair = &mut self.pairs[buf];
        let result = match op {
            Op::Add { .. } => pair.real.add(&data),
            Op::AddReference { .. } => pair.real.add_reference(copy),
            _ => {
                self.owners += usize::from(!pair.frozen_back);
                let cleanups = Arc::clone(&self.cleanups);
                let note = move |owner: Vec<u8>| {
                    assert_eq!(owner.len(), len, "the owner comes back whole");
                    cleanups.fetch_add(1, Ordering::Relaxed);
                };
                pair.real.add_reference_with_cleanup(copy, note)
            }
        };
        if permitted(result, pair.frozen_back).is_some() {
            pair.append(&data);
        }
    }

    fn add_file(&mut self, op: Op) {
        let Op::AddFile { buf, offset, len } = op else { unreachable!("{op:?}") };
        let pair = &mut self.pairs[buf];
        let result = pair.real.add_file_segment(&self.segment, offset as u64, Some(len as u64));
        match self.file.get(offset..offset.saturating_add(len)) {
            None => assert!(matches!(result, Err(Error::OutOfRange)), "{op:?}"),
            Some(part) => {
                if permitted(result, pair.frozen_back).is_some() {
                    pair.append(part);
                }
            }
        }
    }

    fn combine(&mut self, op: Op) {
        let (Op::AddBuffer { dst, src } | Op::ShareBuffer { dst, src } | Op::PrependBuffer { dst, src }) = op
        else {
            unreachable!("{op:?}")
        };
        let (dst, src) = self.two(dst, src);
        let some = !src.model.is_empty();
        let (result, frozen) = match op {
            Op::AddBuffer { .. } => (dst.real.add_buffer(&mut src.real), dst.frozen_back || src.frozen_front),
            Op::ShareBuffer { .. } => (dst.real.add_buffer_reference(&src.real), dst.frozen_back),
            _ => (dst.real.prepend_buffer(&mut src.real), dst.frozen_front || src.frozen_front),
        };
        if permitted(result, frozen && some).is_none() {
            return;
        }
        match op {
            Op::AddBuffer { .. } => dst.append(&src.take(usize::MAX)),
            Op::ShareBuffer { .. } => dst.append(src.contents()),
            _ => dst.prepend(&src.take(usize::MAX)),
        }
    }

    fn remove_buffer(&mut self, dst: usize, src: usize, count: usize) {
        let (dst, src) = self.two(dst, src);
        let expected = count.min(src.model.len());
        let frozen = expected > 0 && (dst.frozen_back || src.frozen_front);
        let result = src.real.remove_buffer(&mut dst.real, count);
        if let Some(moved) = permitted(result, frozen) {
            assert_eq!(moved, expected, "moved");
            dst.append(&src.take(count));
        }
    }

    fn remove(&mut self, op: Op) {
        let (Op::Drain { buf, count }
        | Op::Remove { buf, count }
        | Op::RemoveBytes { buf, count }
        | Op::SplitTo { buf, count }) = op
        else {
            unreachable!("{op:?}")
        };
        let pair = &mut self.pairs[buf];
        let there = pair.model.len();
        let exact = matches!(op, Op::RemoveBytes { .. } | Op::SplitTo { .. });
        if exact && count > there {
            assert!(matches!(pair.real.remove_bytes(count), Err(Error::OutOfRange)));
            assert!(matches!(pair.real.split_to(count), Err(Error::OutOfRange)));
            return;
        }
        let frozen = pair.frozen_front && count > 0 && there > 0;
        let taken = match op {
            Op::Drain { .. } => permitted(pair.real.drain(count), frozen).map(|()| None),
            Op::Remove { .. } => {
                let mut target = vec![0; count];
                permitted(pair.real.remove(&mut target), frozen).map(|count| Some(target[..count].to_vec()))
            }
            Op::RemoveBytes { .. } => permitted(pair.real.remove_bytes(count), frozen).map(|bytes| {
                self.held.push((bytes.clone(), bytes.to_vec()));
                Some(bytes.to_vec())
            }),
            _ => permitted(pair.real.split_to(count), frozen)
                .map(|mut front| Some(front.pullup(front.len()).expect("its own length").to_vec())),
        };
        let Some(taken) = taken else { return };
        let expected = pair.take(count);
        assert!(taken.is_none_or(|taken| taken == expected), "what was removed by {op:?}");
    }

    fn space(&mut self, op: Op) {
        match op {
            Op::Expand { buf, count } => match self.pairs[buf].real.expand(count) {
                Ok(()) => assert!(count < 1 << 40),
                Err(error) => assert!(count > 1 << 40, "{error}"),
            },
            Op::Reserve { buf, count, commit } => self.reserve(buf, count, commit),
            Op::Pullup { buf, count } => {
                let pair = &mut self.pairs[buf];
                match pair.real.pullup(count) {
                    Ok(bytes) => assert!(bytes == &pair.model.make_contiguous()[..count], "pullup"),
                    Err(error) => assert!(count > pair.model.len(), "{error}"),
                }
            }
            Op::PullupMut { buf, count } => {
                let pair = &mut self.pairs[buf];
                let count = count.min(pair.model.len());
                let bytes = pair.real.pullup_mut(count).expect("not more than there is");
                bytes.iter_mut().for_each(|byte| *byte = byte.rotate_left(1));
                pair.model.iter_mut().take(count).for_each(|byte| *byte = byte.rotate_left(1));
                pair.edits += u64::from(count > 0);
            }
            _ => unreachable!("{op:?}"),
        }
    }

    fn reserve(&mut self, buf: usize, count: usize, commit: usize) {
        let data = self.data(commit.min(70_000));
        let pair = &mut self.pairs[buf];
        let absurd = count > 1 << 40;
        let mut space = match pair.real.reserve(count) {
            Ok(space) => space,
            Err(Error::Frozen) => return assert!(pair.frozen_back),
            Err(error) => return assert!(absurd, "{error}"),
        };
        assert!(!pair.frozen_back && !absurd && space.len() >= count);
        let fits = commit <= space.len();
        let part = commit.min(space.len()).min(data.len());
        space[..part].copy_from_slice(&data[..part]);
        if commit % 7 == 3 {
            return drop(space);
        }
        match space.commit(if fits { part } else { commit }) {
            Ok(()) => pair.append(&data[..part]),
            Err(error) => assert!(!fits && matches!(error, Error::OutOfRange)),
        }
    }

    fn look(&mut self, op: Op) {
        match op {
            Op::CopyOut { buf, from, count } => {
                let pair = &mut self.pairs[buf];
                let Ok(place) = pair.real.position(from) else { return assert!(from > pair.model.len()) };
                let mut target = vec![0; count];
                let copied = pair.real.copy_out_from(place, &mut target).expect("current");
                let rest = &pair.contents()[from..];
                assert!(target[..copied] == rest[..count.min(rest.len())], "copy_out_from");
            }
            Op::Peek { buf, from, count } => {
                let pair = &mut self.pairs[buf];
                let Ok(place) = pair.real.position(from) else { return assert!(from > pair.model.len()) };
                let rest = &pair.model.make_contiguous()[from..];
                let part = &rest[..count.min(rest.len())];
                assert_runs(pair.real.peek_from(place, count).expect("current"), part, op);
            }
            Op::Search { buf, from, len, start, end } => self.search(buf, from, len, start, end),
            Op::SearchEol { buf, start, eol } => {
                let pair = &mut self.pairs[buf];
                let Ok(place) = pair.real.position(start) else { return assert!(start > pair.model.len()) };
                let found = pair.real.search_eol(Some(place), eol).expect("current");
                let found = found.map(|(place, len)| (place.offset(), len));
                assert_eq!(found, naive_eol(pair.contents(), start, eol), "{op:?}");
            }
            _ => unreachable!("{op:?}"),
        }
    }

    fn search(&mut self, buf: usize, from: usize, len: usize, start: usize, end: usize) {
        let unseen = self.data(len.min(40));
        let pair = &mut self.pairs[buf];
        let there = pair.model.len();
        let (start, end) = (start.min(there), end.min(there));
        let needle = match pair.contents().get(from..from.saturating_add(len.min(40))) {
            Some(part) => part.to_vec(),
            None => unseen,
        };
        let places = (pair.real.position(start).expect("inside"), pair.real.position(end).expect("inside"));
        let found = pair.real.search_range(&needle, Some(places.0), Some(places.1)).expect("current");
        let expected = if start <= end {
            naive_find(&pair.contents()[start..end], &needle).map(|at| start + at)
        } else {
            None
        };
        assert_eq!(found.map(|place| place.offset()), expected, "search for {needle:?}");
    }

    fn read_line(&mut self, buf: usize, eol: Eol) {
        let pair = &mut self.pairs[buf];
        let expected = naive_eol(pair.contents(), 0, eol);
        let result = pair.real.read_line(eol);
        let Some(line) = permitted(result, expected.is_some() && pair.frozen_front) else { return };
        let line_expected = expected.map(|(len, eol_len)| {
            let mut line = pair.take(len + eol_len);
            line.truncate(len);
            line
        });
        assert!(line == line_expected, "read_line({eol:?})");
    }

    fn lend_line(&mut self, buf: usize, eol: Eol, keep: bool) {
        let pair = &mut self.pairs[buf];
        let expected = naive_eol(pair.contents(), 0, eol);
        let frozen = expected.is_some() && pair.frozen_front;
        let Some(line) = permitted(pair.real.line(eol), frozen) else { return };
        assert_eq!(line.is_some(), expected.is_some());
        let (Some(line), Some((len, eol_len))) = (line, expected) else { return };
        assert!(line[..] == pair.model.make_contiguous()[..len], "line({eol:?})");
        if keep {
            line.keep();
        } else {
            drop(line);
            pair.take(len + eol_len);
        }
    }

    fn freeze(&mut self, buf: usize, end: End, frozen: bool) {
        let pair = &mut self.pairs[buf];
        match end {
            End::Front => pair.frozen_front = frozen,
            End::Back => pair.frozen_back = frozen,
        }
        if frozen { pair.real.freeze(end) } else { pair.real.unfreeze(end) }
    }

    fn set_mark(&mut self, buf: usize, offset: usize) {
        let pair = &self.pairs[buf];
        match pair.real.position(offset) {
            Ok(place) => self.mark = Some((buf, place, offset, pair.edits)),
            Err(error) => assert!(matches!(error, Error::OutOfRange) && offset > pair.model.len()),
        }
    }

    fn use_mark(&mut self, count: usize) {
        let Some((buf, place, offset, edits)) = self.mark else { return };
        let pair = &mut self.pairs[buf];
        let moved = pair.real.advance_position(place, count);
        match moved {
            Ok(place) => {
                assert!(
                    edits == pair.edits && offset + count <= pair.model.len(),
                    "a position that is outdated"
                );
                assert_eq!(place.offset(), offset + count);
            }
            Err(Error::Stale) => assert_ne!(edits, pair.edits, "a position that still holds"),
            Err(error) => assert!(offset.saturating_add(count) > pair.model.len(), "{error}"),
        }
    }

    fn write(&mut self, buf: usize, limit: usize) {
        let pair = &mut self.pairs[buf];
        let frozen = pair.frozen_front && limit > 0 && !pair.model.is_empty();
        // Every file by sendfile, some from memory, or all of them.
        let strategy = WriteStrategy::new().read_files_up_to([0, 1000, FILE_LEN][limit % 3]);
        let result = pair.real.write_with(&self.sockets.0, limit, strategy);
        let Some(count) = permitted(result, frozen) else { return };
        assert!(count <= limit, "the limit binds");
        assert!(count > 0 || limit == 0 || pair.model.is_empty(), "an empty socket takes something");
        let mut arrived = vec![0; count];
        self.sockets.1.read_exact(&mut arrived).expect("what was sent arrives");
        assert!(arrived == pair.take(count), "what arrived");
    }

    fn read(&mut self, buf: usize, len: usize, max: usize) {
        self.receive(buf, len, max, |buffer, from| buffer.read_from(from, max));
    }

    fn splice(&mut self, buf: usize, len: usize, max: usize) {
        self.unseen = len as u32 % 8;
        self.receive(buf, len, max, |buffer, from| buffer.splice_from(from, max));
    }

    /// Sends up to `len` bytes to a buffer that takes up to `max` of them with one `call`.
    fn receive(
        &mut self,
        buf: usize,
        len: usize,
        max: usize,
        call: impl FnOnce(&mut Evbuffer, &UnixStream) -> Result<usize>,
    ) {
        let data = self.data(len.clamp(1, 60_000));
        let pair = &mut self.pairs[buf];
        self.sockets.1.write_all(&data).expect("room in the socket");
        let result = call(&mut pair.real, &self.sockets.0);
        let count = permitted(result, pair.frozen_back && max > 0).unwrap_or(0);
        assert!(count <= max && (count > 0 || max == 0 || pair.frozen_back), "one read brings something");
        pair.append(&data[..count]);
        let mut rest = vec![0; data.len() - count];
        (&self.sockets.0).read_exact(&mut rest).expect("the rest is still there");
        assert!(rest == data[count..], "nothing was lost");
    }
}

/// The first place of `needle`, the slow and obvious way.
fn naive_find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    (0..=haystack.len().checked_sub(needle.len())?).find(|&at| haystack[at..].starts_with(needle))
}

/// The first line end at or behind `start` and its length, the slow and obvious way.
pub fn naive_eol(bytes: &[u8], start: usize, eol: Eol) -> Option<(usize, usize)> {
    let is_end = |byte: &u8| *byte == b'\r' || *byte == b'\n';
    (start..bytes.len()).find_map(|at| {
        let len = match (eol, &bytes[at..]) {
            (Eol::Any, rest) => rest.iter().take_while(|byte| is_end(byte)).count(),
            (Eol::Crlf | Eol::CrlfStrict, [b'\r', b'\n', ..]) => 2,
            (Eol::Crlf | Eol::Lf, [b'\n', ..]) => 1,
            (Eol::Nul, [0, ..]) => 1,
            _ => 0,
        };
        (len > 0).then_some((at, len))
    })
}
