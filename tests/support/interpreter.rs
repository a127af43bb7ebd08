//! One interpreter of the model's operations for two subjects: zerovent's buffer and C libevent's.
//!
//! A [`Subject`] does an operation and says what came of it as an [`Answer`], in terms that both can say. What only one of the
//! two can do is put in terms of the other here, and nowhere else, so that whoever compares sees the same questions
//! asked twice.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use zerovent::buffer::{CallbackId, End, Eol};
use zerovent::{Error, Evbuffer, Result};

use crate::libevent::{CBase, CBuffer, CCallback};
use crate::support::model::Op;

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An error, -1, NULL.
    Refused,
    Done,
    Count(usize),
    Bytes(Vec<u8>),
    /// Where something is, and its length; nothing when it is nowhere.
    Found(Option<(usize, usize)>),
    /// The subjects have no such operation in common.
    NotCompared,
}

/// The owners whose memory was let go of, in order: their numbers and lengths.
pub type Log = Arc<Mutex<Vec<(usize, usize)>>>;

/// One call of one callback: its number, how long the buffer was before, what was added and what was removed.
pub type Call = (usize, usize, usize, usize);

/// The calls of callbacks, in order.
pub type Told = Arc<Mutex<Vec<Call>>>;

/// What an operation needs beside its counts.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// Bytes to put in, as many as the operation asks for.
    pub data: &'a [u8],
    pub needle: &'a [u8],
    /// The number of the owner or callback, when the operation adds one.
    pub number: usize,
}

/// A buffer of either kind. Every verb is refused as a whole or done as a whole.
pub trait Subject: Sized {
    /// What names a callback.
    type Callback;
    /// What runs deferred callbacks.
    type Base;

    fn new() -> Self;
    fn new_base() -> Self::Base;
    fn len(&self) -> usize;
    fn contents(&mut self) -> Vec<u8>;
    fn add(&mut self, data: &[u8]) -> Answer;
    fn prepend(&mut self, data: &[u8]) -> Answer;
    fn add_owned(&mut self, data: &[u8], owner: usize, log: &Log) -> Answer;
    fn add_file(&mut self, file: &std::fs::File, offset: usize, len: usize) -> Answer;
    fn add_buffer(&mut self, src: &mut Self) -> Answer;
    fn prepend_buffer(&mut self, src: &mut Self) -> Answer;
    fn share_buffer(&mut self, src: &mut Self) -> Answer;
    fn drain(&mut self, count: usize) -> Answer;
    fn remove(&mut self, count: usize) -> Answer;
    fn remove_buffer(&mut self, dst: &mut Self, count: usize) -> Answer;
    fn copy_out(&mut self, from: usize, count: usize) -> Answer;
    fn pullup(&mut self, count: usize) -> Answer;
    fn expand(&mut self, count: usize) -> Answer;
    fn reserve(&mut self, count: usize, data: &[u8]) -> Answer;
    fn peek(&mut self, from: usize, count: usize) -> Answer;
    fn search(&mut self, needle: &[u8], start: usize, end: usize) -> Answer;
    fn search_eol(&mut self, start: usize, eol: Eol) -> Answer;
    fn read_line(&mut self, eol: Eol) -> Answer;
    fn freeze(&mut self, end: End, frozen: bool);
    fn advance(&mut self, offset: usize, count: usize) -> Answer;
    /// One write, and how much it took.
    fn write(&mut self, socket: &UnixStream, limit: usize) -> Answer;
    /// One read, and how much it brought.
    fn read(&mut self, socket: &UnixStream, limit: usize) -> Answer;
    /// The same, without looking if it can.
    fn splice(&mut self, socket: &UnixStream, limit: usize) -> Answer;
    fn add_text(&mut self, text: &str) -> Answer;
    fn add_pieces(&mut self, pieces: &[&[u8]]) -> Answer;
    fn reserve_pieces(&mut self, count: usize, max: usize, data: &[u8]) -> Answer;
    fn add_callback(&mut self, number: usize, told: &Told) -> Self::Callback;
    fn remove_callback(&mut self, callback: Self::Callback) -> Answer;
    fn enable_callback(&mut self, callback: &Self::Callback, enabled: bool) -> Answer;
    fn defer(&mut self, base: &Self::Base) -> Answer;
    fn run_deferred(buffers: &mut [Self], base: &Self::Base);
}

/// Three buffers of one kind, and what they work with. The buffers go first: C's must go before what it calls.
pub struct Machine<S: Subject> {
    pub buffers: [S; 3],
    callbacks: [Vec<S::Callback>; 3],
    base: S::Base,
    pub log: Log,
    pub told: Told,
    file: std::fs::File,
    sockets: (UnixStream, UnixStream),
}

impl<S: Subject> Machine<S> {
    pub fn new(file: std::fs::File) -> Machine<S> {
        let sockets = UnixStream::pair().expect("a pair of sockets");
        sockets.0.set_nonblocking(true).expect("non-blocking");
        Machine {
            buffers: [S::new(), S::new(), S::new()],
            callbacks: Default::default(),
            base: S::new_base(),
            log: Log::default(),
            told: Told::default(),
            file,
            sockets,
        }
    }

    /// Two different buffers.
    fn two(&mut self, a: usize, b: usize) -> (&mut S, &mut S) {
        let [first, second] = self.buffers.get_disjoint_mut([a, b]).expect("two different buffers");
        (first, second)
    }

    /// Carries out one operation.
    pub fn apply(&mut self, op: Op, with: Material<'_>) -> Answer {
        match op {
            Op::Add { buf, .. } => self.buffers[buf].add(with.data),
            Op::AddReference { buf, .. } | Op::AddOwned { buf, .. } => {
                self.buffers[buf].add_owned(with.data, with.number, &self.log)
            }
            Op::AddFile { buf, offset, len } => self.buffers[buf].add_file(&self.file, offset, len),
            Op::Prepend { buf, .. } => self.buffers[buf].prepend(with.data),
            Op::Drain { buf, count } => self.buffers[buf].drain(count),
            Op::Remove { buf, count } => self.buffers[buf].remove(count),
            Op::Expand { buf, count } => self.buffers[buf].expand(count),
            Op::Reserve { buf, count, .. } => self.buffers[buf].reserve(count, with.data),
            Op::Write { buf, limit } => self.write(buf, limit),
            Op::Read { buf, max, .. } => self.read(buf, max, with.data, S::read),
            Op::Splice { buf, max, .. } => self.read(buf, max, with.data, S::splice),
            Op::Replace { buf } => {
                self.buffers[buf] = S::new();
                self.callbacks[buf].clear();
                Answer::Done
            }
            Op::Freeze { buf, end, frozen } => {
                self.buffers[buf].freeze(end, frozen);
                Answer::Done
            }
            _ => self.apply_to_two(op, with),
        }
    }

    fn apply_to_two(&mut self, op: Op, with: Material<'_>) -> Answer {
        let (dst, src) = match op {
            Op::AddBuffer { dst, src }
            | Op::PrependBuffer { dst, src }
            | Op::ShareBuffer { dst, src }
            | Op::RemoveBuffer { dst, src, .. } => self.two(dst, src),
            Op::AddFmt { .. } | Op::AddIoSlices { .. } | Op::ReserveMany { .. } => {
                return self.apply_in_pieces(op, with);
            }
            _ => return self.look(op, with),
        };
        match op {
            Op::AddBuffer { .. } => dst.add_buffer(src),
            Op::PrependBuffer { .. } => dst.prepend_buffer(src),
            Op::ShareBuffer { .. } => dst.share_buffer(src),
            Op::RemoveBuffer { count, .. } => src.remove_buffer(dst, count),
            _ => Answer::NotCompared,
        }
    }

    fn look(&mut self, op: Op, with: Material<'_>) -> Answer {
        match op {
            Op::CopyOut { buf, from, count } => self.buffers[buf].copy_out(from, count),
            Op::Pullup { buf, count } => self.buffers[buf].pullup(count),
            Op::Peek { buf, from, count } => self.buffers[buf].peek(from, count),
            Op::Search { buf, start, end, .. } => self.buffers[buf].search(with.needle, start, end),
            Op::SearchEol { buf, start, eol } => self.buffers[buf].search_eol(start, eol),
            Op::ReadLine { buf, eol } => self.buffers[buf].read_line(eol),
            Op::Mark { buf, offset } => self.buffers[buf].advance(offset / 2, offset - offset / 2),
            _ => self.watch(op, with),
        }
    }

    fn apply_in_pieces(&mut self, op: Op, with: Material<'_>) -> Answer {
        match op {
            Op::AddFmt { buf, .. } => {
                self.buffers[buf].add_text(std::str::from_utf8(with.data).expect("ASCII"))
            }
            Op::AddIoSlices { buf, size, .. } => {
                self.buffers[buf].add_pieces(&with.data.chunks(size.max(1)).collect::<Vec<_>>())
            }
            Op::ReserveMany { buf, count, max, .. } => {
                self.buffers[buf].reserve_pieces(count, max, with.data)
            }
            _ => Answer::NotCompared,
        }
    }

    /// Callbacks.
    fn watch(&mut self, op: Op, with: Material<'_>) -> Answer {
        match op {
            Op::AddCallback { buf, .. } => {
                let callback = self.buffers[buf].add_callback(with.number, &self.told);
                self.callbacks[buf].push(callback);
                Answer::Done
            }
            Op::RemoveCallback { buf, which } if !self.callbacks[buf].is_empty() => {
                let which = which % self.callbacks[buf].len();
                let callback = self.callbacks[buf].remove(which);
                self.buffers[buf].remove_callback(callback)
            }
            Op::EnableCallback { buf, which, enabled } if !self.callbacks[buf].is_empty() => {
                let callback = &self.callbacks[buf][which % self.callbacks[buf].len()];
                self.buffers[buf].enable_callback(callback, enabled)
            }
            Op::Defer { buf, .. } => self.buffers[buf].defer(&self.base),
            Op::RunDeferred { .. } => {
                S::run_deferred(&mut self.buffers, &self.base);
                Answer::Done
            }
            _ => Answer::NotCompared,
        }
    }

    /// Writes until the limit or the end, and says what arrived.
    fn write(&mut self, buf: usize, limit: usize) -> Answer {
        let mut arrived = Vec::new();
        let mut left = limit;
        loop {
            match self.buffers[buf].write(&self.sockets.0, left) {
                Answer::Count(count) if count > 0 => {
                    left -= count;
                    let start = arrived.len();
                    arrived.resize(start + count, 0);
                    let mut reader = &self.sockets.1;
                    std::io::Read::read_exact(&mut reader, &mut arrived[start..]).expect("it arrives");
                }
                Answer::Count(_) => return Answer::Bytes(arrived),
                other => return other,
            }
            if left == 0 || self.buffers[buf].len() == 0 {
                return Answer::Bytes(arrived);
            }
        }
    }

    /// Sends `data` and reads up to `max` of it with `call`s, then takes the rest away.
    fn read(
        &mut self,
        buf: usize,
        max: usize,
        data: &[u8],
        call: impl Fn(&mut S, &UnixStream, usize) -> Answer,
    ) -> Answer {
        std::io::Write::write_all(&mut &self.sockets.1, data).expect("room in the socket");
        let wanted = max.min(data.len());
        let mut total = 0;
        let mut answer = Answer::Count(0);
        while total < wanted {
            match call(&mut self.buffers[buf], &self.sockets.0, wanted - total) {
                Answer::Count(count) if count > 0 => total += count,
                other => {
                    answer = other;
                    break;
                }
            }
            answer = Answer::Count(total);
        }
        let mut rest = vec![0; data.len() - total];
        std::io::Read::read_exact(&mut &self.sockets.0, &mut rest).expect("the rest is still there");
        assert!(rest == data[total..], "a read takes from the front");
        answer
    }
}

/// Notes an owner that is let go of.
fn note(log: &Log, owner: usize, len: usize) {
    log.lock().expect("nobody panics here").push((owner, len));
}

/// zerovent's answer: what is refused is refused for a reason that the driver knows from the state.
fn answer<T>(result: Result<T>, say: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => say(value),
        Err(
            Error::Frozen
            | Error::OutOfRange
            | Error::Overflow
            | Error::OutOfMemory
            | Error::Invalid(_)
            | Error::Stale,
        ) => Answer::Refused,
        Err(error) => panic!("an error without a reason: {error}"),
    }
}

fn done(result: Result<()>) -> Answer {
    answer(result, |()| Answer::Done)
}

impl Subject for Evbuffer {
    type Callback = CallbackId;
    type Base = ();

    fn new() -> Evbuffer {
        Evbuffer::new()
    }

    fn new_base() {}

    fn len(&self) -> usize {
        self.len()
    }

    fn contents(&mut self) -> Vec<u8> {
        self.check_invariants();
        let mut bytes = vec![0; self.len()];
        let count = Evbuffer::copy_out(self, &mut bytes).expect("the file is as long as it was");
        assert_eq!(count, bytes.len());
        bytes
    }

    fn add(&mut self, data: &[u8]) -> Answer {
        done(self.add(data))
    }

    fn prepend(&mut self, data: &[u8]) -> Answer {
        done(self.prepend(data))
    }

    fn add_owned(&mut self, data: &[u8], owner: usize, log: &Log) -> Answer {
        let log = Arc::clone(log);
        let cleanup = move |bytes: Vec<u8>| note(&log, owner, bytes.len());
        done(self.add_reference_with_cleanup(data.to_vec(), cleanup))
    }

    fn add_file(&mut self, file: &std::fs::File, offset: usize, len: usize) -> Answer {
        let segment = file.try_clone().expect("a descriptor is free");
        let segment = zerovent::buffer::FileSegment::new(segment, 0, None).expect("a segment");
        done(self.add_file_segment(&segment, offset as u64, Some(len as u64)))
    }

    fn add_buffer(&mut self, src: &mut Evbuffer) -> Answer {
        done(self.add_buffer(src))
    }

    fn prepend_buffer(&mut self, src: &mut Evbuffer) -> Answer {
        done(self.prepend_buffer(src))
    }

    fn share_buffer(&mut self, src: &mut Evbuffer) -> Answer {
        done(self.add_buffer_reference(src))
    }

    fn drain(&mut self, count: usize) -> Answer {
        done(self.drain(count))
    }

    fn remove(&mut self, count: usize) -> Answer {
        let mut target = vec![0; count];
        let result = self.remove(&mut target);
        answer(result, |count| Answer::Bytes(target[..count].to_vec()))
    }

    fn remove_buffer(&mut self, dst: &mut Evbuffer, count: usize) -> Answer {
        answer(self.remove_buffer(dst, count), Answer::Count)
    }

    fn copy_out(&mut self, from: usize, count: usize) -> Answer {
        let mut target = vec![0; count];
        let result = self.position(from).and_then(|place| self.copy_out_from(place, &mut target));
        answer(result, |count| Answer::Bytes(target[..count].to_vec()))
    }

    fn pullup(&mut self, count: usize) -> Answer {
        answer(self.pullup(count), |bytes| Answer::Bytes(bytes.to_vec()))
    }

    fn expand(&mut self, count: usize) -> Answer {
        done(self.expand(count))
    }

    fn reserve(&mut self, count: usize, data: &[u8]) -> Answer {
        let result = self.reserve(count).and_then(|mut space| {
            assert!(space.len() >= count, "a reservation is as long as was asked for");
            space[..data.len()].copy_from_slice(data);
            space.commit(data.len())
        });
        done(result)
    }

    fn peek(&mut self, from: usize, count: usize) -> Answer {
        let place = match self.position(from) {
            Ok(place) => place,
            Err(error) => return done(Err(error)),
        };
        let runs = self.peek_from(place, count);
        answer(runs, |runs| Answer::Bytes(runs.collect::<Vec<_>>().concat()))
    }

    fn search(&mut self, needle: &[u8], start: usize, end: usize) -> Answer {
        let place = |offset| Some(self.position(offset).expect("inside"));
        let (start, end) = (place(start), place(end));
        let found = self.search_range(needle, start, end);
        answer(found, |place| Answer::Found(place.map(|place| (place.offset(), needle.len()))))
    }

    fn search_eol(&mut self, start: usize, eol: Eol) -> Answer {
        let found = self.position(start).and_then(|start| self.search_eol(Some(start), eol));
        answer(found, |found| Answer::Found(found.map(|(place, len)| (place.offset(), len))))
    }

    fn read_line(&mut self, eol: Eol) -> Answer {
        answer(self.read_line(eol), |line| line.map_or(Answer::Found(None), Answer::Bytes))
    }

    fn freeze(&mut self, end: End, frozen: bool) {
        if frozen { self.freeze(end) } else { self.unfreeze(end) }
    }

    fn advance(&mut self, offset: usize, count: usize) -> Answer {
        let moved = self.position(offset).and_then(|place| self.advance_position(place, count));
        answer(moved, |place| Answer::Count(place.offset()))
    }

    fn write(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        answer(self.write_to_at_most(socket, limit), Answer::Count)
    }

    fn read(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        answer(self.read_from(socket, limit), Answer::Count)
    }

    fn splice(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        answer(self.splice_from(socket, limit), Answer::Count)
    }

    fn add_text(&mut self, text: &str) -> Answer {
        let (head, tail) = text.split_at(text.len() / 3);
        answer(self.add_fmt(format_args!("{head}{tail}")), Answer::Count)
    }

    fn add_pieces(&mut self, pieces: &[&[u8]]) -> Answer {
        let slices: Vec<_> = pieces.iter().map(|piece| std::io::IoSlice::new(piece)).collect();
        answer(self.add_io_slices(&slices), Answer::Count)
    }

    fn reserve_pieces(&mut self, count: usize, max: usize, data: &[u8]) -> Answer {
        let result = self.reserve_vectored(count, max).and_then(|mut space| {
            let mut rest = data;
            for extent in space.iter_mut() {
                let (part, behind) = rest.split_at(rest.len().min(extent.len()));
                extent[..part.len()].copy_from_slice(part);
                rest = behind;
            }
            assert!(rest.is_empty(), "a reservation is as long as was asked for");
            space.commit_first(data.len())
        });
        done(result)
    }

    fn add_callback(&mut self, number: usize, told: &Told) -> CallbackId {
        let told = Arc::clone(told);
        let note = move |buf: &mut Evbuffer, change: zerovent::buffer::Change| {
            assert_eq!(change.orig_len + change.added - change.removed, buf.len(), "what is told adds up");
            let call = (number, change.orig_len, change.added, change.removed);
            told.lock().expect("nobody panics here").push(call);
        };
        self.add_callback(note).expect("memory")
    }

    fn remove_callback(&mut self, callback: CallbackId) -> Answer {
        done(self.remove_callback(callback))
    }

    fn enable_callback(&mut self, callback: &CallbackId, enabled: bool) -> Answer {
        done(if enabled { self.enable_callback(*callback) } else { self.disable_callback(*callback) })
    }

    fn defer(&mut self, (): &()) -> Answer {
        done(self.defer_callbacks(true))
    }

    fn run_deferred(buffers: &mut [Evbuffer], (): &()) {
        buffers.iter_mut().for_each(Evbuffer::run_deferred);
    }
}

/// libevent's answer.
fn said<T>(result: Option<T>, say: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or(Answer::Refused, say)
}

fn said_done(result: Option<()>) -> Answer {
    said(result, |()| Answer::Done)
}

impl Subject for CBuffer {
    type Callback = CCallback;
    type Base = CBase;

    fn new() -> CBuffer {
        CBuffer::new()
    }

    fn new_base() -> CBase {
        CBase::new()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn contents(&mut self) -> Vec<u8> {
        self.peek(None, usize::MAX).concat()
    }

    fn add(&mut self, data: &[u8]) -> Answer {
        said_done(self.add(data))
    }

    fn prepend(&mut self, data: &[u8]) -> Answer {
        said_done(self.prepend(data))
    }

    fn add_owned(&mut self, data: &[u8], owner: usize, log: &Log) -> Answer {
        let log = Arc::clone(log);
        said_done(self.add_reference(data.to_vec(), move |len| note(&log, owner, len)))
    }

    fn add_file(&mut self, file: &std::fs::File, offset: usize, len: usize) -> Answer {
        let file = file.as_fd().try_clone_to_owned().expect("a descriptor is free");
        said_done(self.add_file(file, offset, len))
    }

    fn add_buffer(&mut self, src: &mut CBuffer) -> Answer {
        said_done(self.add_buffer(src))
    }

    fn prepend_buffer(&mut self, src: &mut CBuffer) -> Answer {
        said_done(self.prepend_buffer(src))
    }

    fn share_buffer(&mut self, src: &mut CBuffer) -> Answer {
        said_done(self.add_buffer_reference(src))
    }

    fn drain(&mut self, count: usize) -> Answer {
        said_done(self.drain(count))
    }

    fn remove(&mut self, count: usize) -> Answer {
        let mut target = vec![0; count];
        let result = self.remove(&mut target);
        said(result, |count| Answer::Bytes(target[..count].to_vec()))
    }

    fn remove_buffer(&mut self, dst: &mut CBuffer, count: usize) -> Answer {
        said(self.remove_buffer(dst, count), Answer::Count)
    }

    fn copy_out(&mut self, from: usize, count: usize) -> Answer {
        let mut target = vec![0; count];
        let result = self.place(from).and_then(|place| self.copy_out_from(&place, &mut target));
        said(result, |count| Answer::Bytes(target[..count].to_vec()))
    }

    fn pullup(&mut self, count: usize) -> Answer {
        said(self.pullup(count), |bytes| Answer::Bytes(bytes.to_vec()))
    }

    fn expand(&mut self, count: usize) -> Answer {
        said_done(self.expand(count))
    }

    fn reserve(&mut self, count: usize, data: &[u8]) -> Answer {
        let fill = |space: &mut [u8]| {
            space[..data.len()].copy_from_slice(data);
            data.len()
        };
        said_done(self.reserve(count, fill).flatten())
    }

    fn peek(&mut self, from: usize, count: usize) -> Answer {
        let Some(place) = self.place(from) else { return Answer::Refused };
        // The last vector may reach beyond what was asked for.
        let mut bytes = self.peek(Some(place), count).concat();
        bytes.truncate(count);
        Answer::Bytes(bytes)
    }

    fn search(&mut self, needle: &[u8], start: usize, end: usize) -> Answer {
        let (start, end) = (self.place(start).expect("inside"), self.place(end).expect("inside"));
        Answer::Found(self.search(needle, Some((&start, &end))).map(|offset| (offset, needle.len())))
    }

    fn search_eol(&mut self, start: usize, eol: Eol) -> Answer {
        let Some(start) = self.place(start) else { return Answer::Refused };
        Answer::Found(self.search_eol(start, eol))
    }

    fn read_line(&mut self, eol: Eol) -> Answer {
        self.read_line(eol).map_or(Answer::Found(None), Answer::Bytes)
    }

    fn freeze(&mut self, end: End, frozen: bool) {
        self.freeze(end == End::Front, frozen);
    }

    fn advance(&mut self, offset: usize, count: usize) -> Answer {
        let moved = self.place(offset).and_then(|place| self.advance(place, count));
        said(moved.and_then(crate::libevent::Place::offset), Answer::Count)
    }

    fn write(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        said(self.write(socket.as_fd(), limit), Answer::Count)
    }

    fn read(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        said(self.read(socket.as_fd(), limit), Answer::Count)
    }
    /// C has no such thing; what arrives is the same.
    fn splice(&mut self, socket: &UnixStream, limit: usize) -> Answer {
        said(self.read(socket.as_fd(), limit), Answer::Count)
    }

    fn add_text(&mut self, text: &str) -> Answer {
        let (head, tail) = text.split_at(text.len() / 3);
        let [head, tail] = [head, tail].map(|part| CString::new(part).expect("no NUL in it"));
        said(self.add_text(&head, &tail), Answer::Count)
    }

    fn add_pieces(&mut self, pieces: &[&[u8]]) -> Answer {
        Answer::Count(self.add_pieces(pieces))
    }

    fn reserve_pieces(&mut self, count: usize, max: usize, data: &[u8]) -> Answer {
        said_done(self.reserve_pieces(count, max, data).flatten())
    }

    fn add_callback(&mut self, number: usize, told: &Told) -> CCallback {
        let told = Arc::clone(told);
        self.add_callback(move |orig_len, added, removed| {
            told.lock().expect("nobody panics here").push((number, orig_len, added, removed));
        })
    }

    fn remove_callback(&mut self, callback: CCallback) -> Answer {
        said_done(self.remove_callback(callback))
    }

    fn enable_callback(&mut self, callback: &CCallback, enabled: bool) -> Answer {
        said_done(self.enable_callback(callback, enabled))
    }

    fn defer(&mut self, base: &CBase) -> Answer {
        said_done(self.defer_callbacks(base))
    }

    fn run_deferred(_: &mut [CBuffer], base: &CBase) {
        base.run();
    }
}
