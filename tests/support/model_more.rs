//! The model's interpreter, continued: adding in pieces, splitting, several extents, what is lent, callbacks and limits.

use std::io::{IoSlice, IoSliceMut, Read};

use bytes::{Buf, Bytes};
use zerovent::Error;
use zerovent::buffer::Eol;

use super::ops::Op;
use super::pair::Kind;
use super::{Machine, SHORT, frozen, naive_eol, permitted};

impl Machine {
    pub(super) fn add_pieces(&mut self, op: Op) {
        let (Op::AddFmt { buf, len }
        | Op::AddIoSlices { buf, len, .. }
        | Op::AddReferenceRange { buf, len, .. }) = op
        else {
            unreachable!("{op:?}")
        };
        let mut data = self.data(len);
        let pair = &mut self.pairs[buf];
        let result = match op {
            Op::AddFmt { .. } => {
                let text = String::from_utf8(data.clone()).expect("ASCII");
                let (head, tail) = text.split_at(len / 3);
                self.memory.call(|| pair.real.add_fmt(format_args!("{head}{tail}")))
            }
            Op::AddIoSlices { size, .. } => {
                let slices: Vec<IoSlice<'_>> = data.chunks(size.max(1)).map(IoSlice::new).collect();
                self.memory.call(|| pair.real.add_io_slices(&slices))
            }
            Op::AddReferenceRange { start, end, .. } => {
                let bytes = Bytes::from_owner(data.clone());
                let result = self.memory.call(|| pair.real.add_reference_range(bytes, start..end));
                let Some(part) = data.get(start..end) else {
                    return assert!(matches!(result, Err(Error::OutOfRange)));
                };
                data = part.to_vec();
                result.map(|()| data.len())
            }
            _ => unreachable!("{op:?}"),
        };
        if let Some(added) = permitted(result, pair.refuses_back(data.len())) {
            assert_eq!(added, data.len());
            pair.append(&data);
        }
    }

    pub(super) fn split_off(&mut self, buf: usize, at: usize) {
        let pair = &mut self.pairs[buf];
        let there = pair.model.len();
        let result = self.memory.call(|| pair.real.split_off(at));
        if at > there {
            return assert!(matches!(result, Err(Error::OutOfRange)));
        }
        let Some(mut back) = permitted(result, frozen(pair.frozen_back && at < there)) else { return };
        back.check_invariants();
        let back = back.pullup(back.len()).expect("its own length").to_vec();
        assert!(back == pair.truncate(at), "split_off({at})");
    }

    pub(super) fn reserve_many(&mut self, buf: usize, count: usize, max: usize, commit: usize) {
        let data = self.data(count.min(70_000));
        let pair = &mut self.pairs[buf];
        let absurd = count > 1 << 40;
        let refusal = pair.refuses_back(if absurd { 0 } else { count });
        let room = pair.room();
        let result = self.memory.call(|| pair.real.reserve_vectored(count, max));
        if max == 0 || (absurd && refusal.is_none()) {
            return assert!(matches!(result, Err(Error::Overflow | Error::Invalid(_))));
        }
        let Some(mut space) = permitted(result, refusal) else { return };
        let lengths: Vec<usize> = space.lengths().collect();
        let total: usize = lengths.iter().sum();
        assert!(lengths.len() <= max && total >= count && total <= room);
        if commit > total {
            let refused = if commit.is_multiple_of(2) {
                space.commit_first(commit)
            } else {
                space.commit(&[commit]).map(drop)
            };
            return assert!(matches!(refused, Err(Error::OutOfRange)));
        }
        let mut slices: Vec<IoSliceMut<'_>> = space.iter_mut().map(IoSliceMut::new).collect();
        let filled = data.as_slice().read_vectored(&mut slices).expect("memory");
        if commit.is_multiple_of(3) {
            space.commit_first(filled.min(commit)).expect("as much as there is");
            return pair.append(&data[..filled.min(commit)]);
        }
        // Half of each extent, so that there are gaps between them.
        let mut expected = Vec::new();
        let mut rest = data.as_slice();
        let halves: Vec<usize> = lengths
            .iter()
            .map(|len| {
                let (part, behind) = rest.split_at(rest.len().min(*len));
                rest = behind;
                expected.extend_from_slice(&part[..part.len() / 2]);
                part.len() / 2
            })
            .collect();
        assert_eq!(space.commit(&halves).expect("inside"), expected.len());
        pair.append(&expected);
    }

    pub(super) fn lines(&mut self, buf: usize, eol: Eol) {
        let pair = &mut self.pairs[buf];
        let mut lines = match self.memory.call(|| pair.real.peek_lines(eol)) {
            Err(Error::OutOfMemory) => return assert!(SHORT.take()),
            lines => lines.expect("readable"),
        };
        let contents = pair.model.make_contiguous();
        let mut start = 0;
        while let Some((at, eol_len)) = naive_eol(contents, start, eol) {
            assert_eq!(lines.next().as_deref(), Some(&contents[start..at]), "peek_lines({eol:?})");
            start = at + eol_len;
            assert_eq!(lines.consumed(), start);
        }
        assert_eq!(lines.next(), None, "peek_lines({eol:?})");
    }

    pub(super) fn lend_reader(&mut self, buf: usize, len: usize, take: usize, keep: bool) {
        let pair = &mut self.pairs[buf];
        let lent = len.min(pair.model.len());
        let result = self.memory.call(|| pair.real.reader(len));
        let Some(mut reader) = permitted(result, frozen(pair.frozen_front && lent > 0)) else { return };
        let contents = &pair.model.make_contiguous()[..lent];
        let mut slices = [IoSlice::new(&[]); 5];
        let filled = reader.chunks_vectored(&mut slices);
        let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
        assert!(contents.starts_with(&seen) && (filled > 0 || lent == 0));
        let mut done = 0;
        while done < take.min(lent) {
            let run = reader.chunk();
            assert!(!run.is_empty() && contents[done..].starts_with(run), "chunk");
            let part = (take.min(lent) - done).min(1 + take / 3);
            if part.is_multiple_of(2) {
                let bytes = reader.copy_to_bytes(part);
                assert!(bytes == contents[done..done + part], "copy_to_bytes");
                self.held.push((bytes, contents[done..done + part].to_vec()));
            } else {
                reader.advance(part);
            }
            done += part;
            assert_eq!((reader.remaining(), reader.taken()), (lent - done, done));
        }
        if keep {
            reader.keep();
        } else {
            drop(reader);
            pair.take(done);
        }
    }

    pub(super) fn watch(&mut self, op: Op) {
        match op {
            Op::AddCallback { buf, kind } => self.add_callback(buf, kind),
            Op::RemoveCallback { buf, which } => {
                let Some(id) = self.pairs[buf].callback(which) else { return };
                for (index, pair) in self.pairs.iter_mut().enumerate() {
                    let removed = pair.real.remove_callback(id);
                    assert_eq!(removed.is_ok(), index == buf, "a handle is good for its buffer alone");
                }
                self.pairs[buf].remove_callback(id);
                assert!(matches!(self.pairs[buf].real.remove_callback(id), Err(Error::Stale)));
            }
            Op::EnableCallback { buf, which, enabled } => {
                let pair = &mut self.pairs[buf];
                let Some(id) = pair.callback(which) else { return };
                let real = &mut pair.real;
                let result = if enabled { real.enable_callback(id) } else { real.disable_callback(id) };
                result.expect("it is there");
                pair.enable_callback(id, enabled);
            }
            Op::Defer { buf, deferred } => {
                let pair = &mut self.pairs[buf];
                let result = self.memory.call(|| pair.real.defer_callbacks(deferred));
                if permitted(result, None).is_some() {
                    pair.defer(deferred);
                }
            }
            Op::RunDeferred { buf } => {
                let pair = &mut self.pairs[buf];
                assert_eq!(pair.real.callbacks_due(), pair.is_due());
                pair.real.run_deferred();
                pair.run_round();
            }
            Op::Limit { buf, limit } => {
                let pair = &mut self.pairs[buf];
                let result = self.memory.call(|| pair.real.set_capacity_limit(limit));
                if permitted(result, None).is_some() {
                    pair.limit = limit.filter(|limit| *limit < 1 << 40);
                }
                assert_eq!(pair.real.capacity_limit(), pair.limit);
            }
            _ => unreachable!("{op:?}"),
        }
    }

    pub(super) fn add_callback(&mut self, buf: usize, kind: Kind) {
        // Whether an addition from inside a callback finds memory is not for the model to know.
        let kind = if self.memory.faults.is_some() && kind == Kind::Adder { Kind::Plain } else { kind };
        let pair = &mut self.pairs[buf];
        if pair.callbacks() >= 4 {
            return;
        }
        let (number, own, add) = pair.add_real_callback(kind);
        let result = self.memory.call(|| add(&mut pair.real));
        if let Some(id) = permitted(result, None) {
            own.set(id).expect("set once");
            pair.add_model_callback(id, number, kind);
        }
    }
}
