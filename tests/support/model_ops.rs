//! The operations of the model, and how bytes say them.

use zerovent::buffer::{End, Eol};

use super::pair::Kind;
use super::{BUFFERS, FILE_LEN};

/// One operation. Buffers are numbered, counts may be larger than what is there.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Add {
        buf: usize,
        len: usize,
    },
    AddReference {
        buf: usize,
        len: usize,
    },
    AddOwned {
        buf: usize,
        len: usize,
    },
    AddFile {
        buf: usize,
        offset: usize,
        len: usize,
    },
    AddBuffer {
        dst: usize,
        src: usize,
    },
    ShareBuffer {
        dst: usize,
        src: usize,
    },
    Prepend {
        buf: usize,
        len: usize,
    },
    PrependBuffer {
        dst: usize,
        src: usize,
    },
    Drain {
        buf: usize,
        count: usize,
    },
    Remove {
        buf: usize,
        count: usize,
    },
    RemoveBytes {
        buf: usize,
        count: usize,
    },
    RemoveBuffer {
        dst: usize,
        src: usize,
        count: usize,
    },
    SplitTo {
        buf: usize,
        count: usize,
    },
    CopyOut {
        buf: usize,
        from: usize,
        count: usize,
    },
    Pullup {
        buf: usize,
        count: usize,
    },
    PullupMut {
        buf: usize,
        count: usize,
    },
    Expand {
        buf: usize,
        count: usize,
    },
    Reserve {
        buf: usize,
        count: usize,
        commit: usize,
    },
    Peek {
        buf: usize,
        from: usize,
        count: usize,
    },
    Search {
        buf: usize,
        from: usize,
        len: usize,
        start: usize,
        end: usize,
    },
    SearchEol {
        buf: usize,
        start: usize,
        eol: Eol,
    },
    ReadLine {
        buf: usize,
        eol: Eol,
    },
    Line {
        buf: usize,
        eol: Eol,
        keep: bool,
    },
    Freeze {
        buf: usize,
        end: End,
        frozen: bool,
    },
    Mark {
        buf: usize,
        offset: usize,
    },
    UseMark {
        count: usize,
    },
    Write {
        buf: usize,
        limit: usize,
    },
    Read {
        buf: usize,
        len: usize,
        max: usize,
    },
    Replace {
        buf: usize,
    },
    LetGo,
    AddFmt {
        buf: usize,
        len: usize,
    },
    AddIoSlices {
        buf: usize,
        len: usize,
        size: usize,
    },
    AddReferenceRange {
        buf: usize,
        len: usize,
        start: usize,
        end: usize,
    },
    SplitOff {
        buf: usize,
        at: usize,
    },
    ReserveMany {
        buf: usize,
        count: usize,
        max: usize,
        commit: usize,
    },
    Lines {
        buf: usize,
        eol: Eol,
    },
    Reader {
        buf: usize,
        len: usize,
        take: usize,
        keep: bool,
    },
    AddCallback {
        buf: usize,
        kind: Kind,
    },
    RemoveCallback {
        buf: usize,
        which: usize,
    },
    EnableCallback {
        buf: usize,
        which: usize,
        enabled: bool,
    },
    Defer {
        buf: usize,
        deferred: bool,
    },
    RunDeferred {
        buf: usize,
    },
    Limit {
        buf: usize,
        limit: Option<usize>,
    },
    Splice {
        buf: usize,
        len: usize,
        max: usize,
    },
    /// The next operation that can say so runs out of memory at its `nth` allocation.
    FailNext {
        nth: usize,
    },
}

/// Where operations come from: bytes, and zeros when they have run out.
pub struct Source<'a> {
    pub bytes: &'a [u8],
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

    pub fn op(&mut self) -> Op {
        let code = match self.byte() {
            code @ 0..190 => code % 40,
            190..200 => return Op::Splice { buf: self.buffer(), len: self.len(), max: self.count() },
            code => return self.newer_op(code - 200),
        };
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
            _ if dst == 0 => Op::Replace { buf },
            _ => Op::LetGo,
        }
    }

    fn newer_op(&mut self, code: u8) -> Op {
        let buf = self.buffer();
        match code {
            0..4 => Op::AddFmt { buf, len: self.len() },
            4..8 => Op::AddIoSlices { buf, len: self.len(), size: self.len() },
            8..11 => Op::AddReferenceRange { buf, len: self.len(), start: self.len(), end: self.count() },
            11..15 => Op::SplitOff { buf, at: self.count() },
            15..20 => {
                let count = self.count().saturating_mul(1 + self.buffer());
                Op::ReserveMany { buf, count, max: [0, 2, 64][self.buffer()], commit: self.count() }
            }
            20..23 => Op::Lines { buf, eol: self.eol() },
            23..28 => {
                let keep = self.byte().is_multiple_of(3);
                Op::Reader { buf, len: self.count(), take: self.len(), keep }
            }
            28..32 => {
                let kinds = [Kind::Plain, Kind::Eater, Kind::Adder, Kind::Once];
                Op::AddCallback { buf, kind: kinds[usize::from(self.byte()) % 4] }
            }
            32..35 => Op::RemoveCallback { buf, which: self.wide() },
            35..39 => {
                let enabled = !self.byte().is_multiple_of(3);
                Op::EnableCallback { buf, which: self.wide(), enabled }
            }
            39..42 => Op::Defer { buf, deferred: self.byte().is_multiple_of(2) },
            42..44 => Op::RunDeferred { buf },
            44..48 => {
                let limit = if self.byte().is_multiple_of(3) { Some(self.count()) } else { None };
                Op::Limit { buf, limit }
            }
            _ => Op::FailNext { nth: 1 + usize::from(self.byte()) % 4 },
        }
    }
}
