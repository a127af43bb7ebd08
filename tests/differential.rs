//! zerovent's buffer against C libevent's: the model's operations, carried out by both, with the same answers, lengths, contents,
//! calls of callbacks and clean-ups, apart from a list of named differences, each of which must really occur.
//!
//! It runs with the feature `compare` where the library is installed, and says so in one line where not. With `CI=true` a missing
//! library is a failure.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/interpreter.rs"]
#[allow(unreachable_pub, reason = "a test binary has no outside")]
mod interpreter;
#[path = "support/libevent.rs"]
#[allow(dead_code, unreachable_pub, reason = "the benches use other parts of it")]
mod libevent;
mod support;

use std::collections::BTreeMap;
use std::io::Write;

use interpreter::{Answer, Call, Machine, Material, Subject, Told};
use libevent::CBuffer;
use support::model::{self, Op};
use support::{random, source};
use zerovent::Evbuffer;
use zerovent::buffer::End;

/// Operations that both sides answered; ZEROVENT_DIFFERENTIAL_OPS asks for more.
const OPS: usize = 500_000;
/// Bytes of operations a run: about 3,500 of them.
const RUN_BYTES: usize = 16 * 1024;

/// What zerovent does otherwise, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    FrozenCopyOut,
    FrozenDrainOfNothing,
    FrozenMoveOfNothing,
    FrozenLine,
    FrozenVectors,
    PullupOfNothing,
    WriteOfNothing,
    EmptyNeedle,
    SharedAgain,
    EmptyReference,
    PartsAreShared,
    LineToldOnce,
    MoveToldSourceFirst,
    VectorsToldOnce,
}

impl Difference {
    /// Whether it comes from how bytes are kept: our own C interface keeps them as we do, and answers as libevent does.
    fn is_of_storage(self) -> bool {
        matches!(self, Difference::SharedAgain | Difference::EmptyReference | Difference::PartsAreShared)
    }

    /// Each of them with the row of docs/libevent-map.md that states it, and how it states it.
    const ALL: [(Difference, &'static str, &'static str); 14] = [
        (
            Difference::FrozenCopyOut,
            "evbuffer_copyout_from",
            "a frozen front does not matter, since nothing changes",
        ),
        (
            Difference::FrozenDrainOfNothing,
            "evbuffer_drain",
            "draining 0 bytes of a frozen buffer is no error",
        ),
        (
            Difference::FrozenMoveOfNothing,
            "evbuffer_remove_buffer",
            "moving nothing between frozen buffers is no error",
        ),
        (
            Difference::FrozenLine,
            "evbuffer_readln",
            "a frozen front is an error and not the absence of a line",
        ),
        (Difference::FrozenVectors, "evbuffer_add_iovec", "a frozen back is an error and not a count of 0"),
        (Difference::PullupOfNothing, "evbuffer_pullup", "0 bytes are an empty slice, not an error"),
        (Difference::WriteOfNothing, "evbuffer_write", "an empty buffer writes 0 bytes"),
        (
            Difference::EmptyNeedle,
            "evbuffer_search_range",
            "nothing is found in a range that ends before it starts",
        ),
        (
            Difference::SharedAgain,
            "evbuffer_add_buffer_reference",
            "sources that are references themselves or hold files work",
        ),
        (Difference::EmptyReference, "evbuffer_add_reference", "an owner of no bytes is cleaned up at once"),
        (Difference::PartsAreShared, "evbuffer_remove_buffer", "a part of a chunk is shared, not copied"),
        (Difference::LineToldOnce, "evbuffer_add_cb", "a line makes two in libevent"),
        (
            Difference::MoveToldSourceFirst,
            "evbuffer_remove_buffer",
            "the callbacks of the source are told before those of the target",
        ),
        (Difference::VectorsToldOnce, "evbuffer_add_iovec", "all of it or nothing, and one change"),
    ];
}

/// What a run lets happen to owners, and so how exactly their clean-ups can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// Owned bytes only ever move as a whole: clean-ups agree after every operation.
    Whole,
    /// Parts are moved too. C copies them and lets the owner go earlier, so clean-ups agree at the end.
    Parts,
    /// Buffers are shared too. C never lets go of a reference that comes back to where it is from.
    Shared,
}

/// The two machines, and what the comparison knows about both.
struct Comparison {
    ours: Machine<Evbuffer>,
    theirs: Machine<CBuffer>,
    /// Front and back of each buffer.
    frozen: [(bool, bool); model::BUFFERS],
    owners: Owners,
    /// Owners and callbacks so far.
    number: usize,
    /// How many callbacks each buffer has, and whether they are deferred.
    callbacks: [(usize, bool); model::BUFFERS],
    state: u32,
    seen: BTreeMap<Difference, usize>,
    ops: usize,
}

#[test]
fn the_buffer_agrees_with_c_libevent() {
    let Some(version) = libevent::library() else { return };
    let wanted =
        std::env::var("ZEROVENT_DIFFERENTIAL_OPS").ok().and_then(|ops| ops.parse().ok()).unwrap_or(OPS);
    let (mut ops, mut seed, mut seen) = (0, 0, BTreeMap::new());
    while ops < wanted {
        let owners = [Owners::Whole, Owners::Parts, Owners::Shared][seed as usize % 3];
        let mut run = Comparison::new(owners, seed as u32);
        let bytes = random::bytes(seed + 1, RUN_BYTES);
        model::ops(&bytes).for_each(|op| run.step(op));
        let (count, differences) = run.finish();
        ops += count;
        differences.into_iter().for_each(|(difference, times)| *seen.entry(difference).or_insert(0) += times);
        seed += 1;
    }
    println!("{ops} operations agree with libevent {version}; differences: {seen:?}");
    for (difference, ..) in Difference::ALL {
        let expected = !libevent::is_ours() || !difference.is_of_storage();
        assert_eq!(seen.contains_key(&difference), expected, "{difference:?} happened, or did not");
    }
}

/// A build with the C ABI defines the same names. They must not stand in for the library's, neither here nor inside it.
#[test]
fn the_library_is_compared_and_not_this_program() {
    let Some(_) = libevent::library() else { return };
    let file = libevent::loaded_from();
    assert_eq!(file.contains("zerovent"), libevent::is_ours(), "evbuffer_new comes from {file}");
    assert!(!libevent::is_exported_here("evbuffer_new"), "this program hands its own evbuffer_new out");
}

#[test]
fn every_named_difference_has_its_row_in_the_map() {
    let map = source::read("docs/libevent-map.md");
    for (difference, name, text) in Difference::ALL {
        let row = map.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("the map has no row {name}"));
        assert!(row.contains(text), "{difference:?}: the row of {name} should say: {text}");
    }
}

impl Comparison {
    fn new(owners: Owners, state: u32) -> Comparison {
        let mut disk = tempfile::tempfile().expect("a temporary file");
        disk.write_all(&model::text(&mut 1, model::FILE_LEN)).expect("room for it");
        Comparison {
            ours: Machine::new(disk.try_clone().expect("a descriptor is free")),
            theirs: Machine::new(disk),
            frozen: Default::default(),
            owners,
            number: 0,
            callbacks: Default::default(),
            state,
            seen: BTreeMap::new(),
            ops: 0,
        }
    }

    /// Has both sides carry out one operation, and compares all that can be seen.
    fn step(&mut self, op: Op) {
        self.trim();
        let op = self.in_common(op);
        if self.forgets_untold(op) {
            self.carry_out(Op::RunDeferred { buf: 0 });
        }
        self.carry_out(op);
    }

    /// Whether deferred callbacks have to be called first: C keeps one account a buffer, and zerovent one a callback, so a callback
    /// that comes, goes or changes in their midst hears of different changes.
    fn forgets_untold(&self, op: Op) -> bool {
        match op {
            Op::AddCallback { buf, .. }
            | Op::RemoveCallback { buf, .. }
            | Op::EnableCallback { buf, .. }
            | Op::Replace { buf } => self.callbacks[buf].1,
            _ => false,
        }
    }

    fn carry_out(&mut self, op: Op) {
        let mut data = model::text(&mut self.state, data_len(op));
        if matches!(op, Op::AddFmt { .. }) {
            // C's text ends at a NUL.
            data.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'0');
        }
        let needle = self.needle(op);
        let with = Material { data: &data, needle: &needle, number: self.next_number(op) };
        let expected = self.difference(op, with);
        let ours = self.ours.apply(op, with);
        let theirs = self.theirs.apply(op, with);
        if theirs == Answer::NotCompared {
            return;
        }
        self.note_state(op);
        match expected.filter(|_| ours != theirs) {
            Some(difference) => self.reconcile(difference, op, &ours, &theirs),
            None => assert_eq!(ours, theirs, "answers (zerovent, libevent) to {op:?}"),
        }
        self.compare(op);
        self.ops += 1;
    }

    /// The number of the owner or callback that the operation adds; that of a callback says whose it is.
    fn next_number(&mut self, op: Op) -> usize {
        match op {
            Op::AddOwned { .. } | Op::AddReference { .. } => self.number += 1,
            Op::AddCallback { buf, .. } => {
                self.number += 1;
                return self.number * model::BUFFERS + buf;
            }
            _ => {}
        }
        self.number
    }

    /// Keeps contents short, so that comparing stays cheap.
    fn trim(&mut self) {
        for index in 0..model::BUFFERS {
            let (ours, theirs) = (&mut self.ours.buffers[index], &mut self.theirs.buffers[index]);
            if ours.len() > model::LEN_MAX {
                Subject::freeze(ours, End::Front, false);
                Subject::freeze(theirs, End::Front, false);
                self.frozen[index].0 = false;
                assert_eq!(Subject::drain(ours, model::LEN_MAX), Subject::drain(theirs, model::LEN_MAX));
            }
        }
    }

    /// The operation in terms that C has too, and within what a run lets happen to owners.
    fn in_common(&self, op: Op) -> Op {
        let there = |buf: usize| Subject::len(&self.ours.buffers[buf]);
        match op {
            Op::RemoveBytes { buf, count } | Op::SplitTo { buf, count } => {
                Op::Remove { buf, count: count.min(there(buf)) }
            }
            Op::PullupMut { buf, count } => Op::Pullup { buf, count },
            Op::Line { buf, eol, .. } => Op::ReadLine { buf, eol },
            Op::Search { buf, from, len, start, end } => {
                Op::Search { buf, from, len, start: start.min(there(buf)), end: end.min(there(buf)) }
            }
            Op::Reserve { buf, count, commit } => {
                Op::Reserve { buf, count, commit: commit.min(count).min(70_000) }
            }
            // One read of C's brings at most 4096 bytes, whatever it is asked for.
            Op::Read { buf, len, max } => {
                Op::Read { buf, len: len.clamp(1, 60_000), max: max.clamp(1, 4096) }
            }
            Op::Splice { buf, len, max } => {
                Op::Splice { buf, len: len.clamp(1, 60_000), max: max.clamp(1, 4096) }
            }
            Op::ReserveMany { buf, count, max, commit } => {
                Op::ReserveMany { buf, count, max, commit: commit.min(count).min(70_000) }
            }
            Op::AddReferenceRange { buf, len, start, end } if start <= end && end <= len => {
                self.in_common(Op::AddReference { buf, len: end - start })
            }
            // C does not take deferring twice, nor back.
            Op::Defer { buf, .. } if self.callbacks[buf].1 => Op::RunDeferred { buf },
            Op::AddCallback { buf, .. } if self.callbacks[buf].0 >= 4 => Op::RemoveCallback { buf, which: 1 },
            Op::AddOwned { buf, len } if self.owners == Owners::Whole => {
                Op::AddOwned { buf, len: len.max(1) }
            }
            Op::AddReference { buf, len } if self.owners == Owners::Whole => {
                Op::AddReference { buf, len: len.max(1) }
            }
            Op::RemoveBuffer { dst, src, .. } if self.owners == Owners::Whole => {
                Op::RemoveBuffer { dst, src, count: usize::MAX }
            }
            Op::ShareBuffer { dst, src } if self.owners != Owners::Shared => Op::AddBuffer { dst, src },
            other => other,
        }
    }

    /// What to search for: a piece of the content when there is one at the place, else something that may not be there.
    fn needle(&mut self, op: Op) -> Vec<u8> {
        let Op::Search { buf, from, len, .. } = op else { return Vec::new() };
        let len = len % 40;
        let contents = self.ours.buffers[buf].contents();
        match contents.get(from..from + len) {
            Some(piece) => piece.to_vec(),
            None => model::text(&mut self.state, len),
        }
    }

    /// The difference that this operation may show in this state.
    fn difference(&self, op: Op, with: Material<'_>) -> Option<Difference> {
        let len = |buf: usize| Subject::len(&self.ours.buffers[buf]);
        let frozen = |buf: usize| self.frozen[buf];
        match op {
            Op::CopyOut { buf, .. } if frozen(buf).0 => Some(Difference::FrozenCopyOut),
            Op::Drain { buf, count: 0 } if frozen(buf).0 => Some(Difference::FrozenDrainOfNothing),
            Op::RemoveBuffer { dst, src, .. } if len(src) == 0 && (frozen(src).0 || frozen(dst).1) => {
                Some(Difference::FrozenMoveOfNothing)
            }
            Op::AddIoSlices { buf, .. } if frozen(buf).1 => Some(Difference::FrozenVectors),
            Op::ReadLine { buf, .. } if frozen(buf).0 => Some(Difference::FrozenLine),
            Op::Pullup { count: 0, .. } => Some(Difference::PullupOfNothing),
            Op::Write { buf, limit } if limit == 0 || len(buf) == 0 => Some(Difference::WriteOfNothing),
            Op::Search { start, end, .. } if start > end && with.needle.is_empty() => {
                Some(Difference::EmptyNeedle)
            }
            Op::ShareBuffer { dst, src } if len(src) > 0 && !frozen(dst).1 => Some(Difference::SharedAgain),
            _ => None,
        }
    }

    /// Checks that the answers differ as they should, and brings C's side along where it could not follow.
    fn reconcile(&mut self, difference: Difference, op: Op, ours: &Answer, theirs: &Answer) {
        let nothing = Answer::Bytes(Vec::new());
        let as_stated = match difference {
            Difference::FrozenCopyOut => matches!(ours, Answer::Bytes(_)) && *theirs == Answer::Refused,
            Difference::FrozenDrainOfNothing | Difference::SharedAgain => {
                *ours == Answer::Done && *theirs == Answer::Refused
            }
            Difference::FrozenMoveOfNothing => *ours == Answer::Count(0) && *theirs == Answer::Refused,
            Difference::FrozenVectors => *ours == Answer::Refused && *theirs == Answer::Count(0),
            Difference::FrozenLine => *ours == Answer::Refused && *theirs == Answer::Found(None),
            Difference::PullupOfNothing | Difference::WriteOfNothing => {
                *ours == nothing && *theirs == Answer::Refused
            }
            Difference::EmptyNeedle => {
                *ours == Answer::Found(None) && matches!(theirs, Answer::Found(Some(_)))
            }
            // These show in clean-ups and callbacks, never in an answer.
            _ => false,
        };
        assert!(as_stated, "{difference:?} at {op:?}: zerovent {ours:?}, libevent {theirs:?}");
        self.see(difference);
        if let (Difference::SharedAgain, Op::ShareBuffer { dst, src }) = (difference, op) {
            let shared = self.ours.buffers[src].contents();
            assert_eq!(Subject::add(&mut self.theirs.buffers[dst], &shared), Answer::Done);
        }
    }

    fn see(&mut self, difference: Difference) {
        *self.seen.entry(difference).or_insert(0) += 1;
    }

    fn note_state(&mut self, op: Op) {
        match op {
            Op::Freeze { buf, end: End::Front, frozen } => self.frozen[buf].0 = frozen,
            Op::Freeze { buf, end: End::Back, frozen } => self.frozen[buf].1 = frozen,
            Op::Replace { buf } => {
                self.frozen[buf] = (false, false);
                self.callbacks[buf] = (0, false);
            }
            Op::AddCallback { buf, .. } => self.callbacks[buf].0 += 1,
            Op::RemoveCallback { buf, .. } => self.callbacks[buf].0 -= 1,
            Op::Defer { buf, .. } => self.callbacks[buf].1 = true,
            _ => {}
        }
    }

    /// Compares which callbacks were called, in which order, with what.
    fn compare_told(&mut self, op: Op) {
        let [mut ours, mut theirs] = [&self.ours.told, &self.theirs.told].map(taken);
        if let Op::RunDeferred { .. } = op {
            // C takes the buffers in the order in which they changed.
            for calls in [&mut ours, &mut theirs] {
                calls.sort_by_key(|call| call.0 % model::BUFFERS);
            }
        }
        if ours == theirs {
            return;
        }
        let difference = match op {
            Op::ReadLine { .. } => Difference::LineToldOnce,
            Op::RemoveBuffer { .. } => Difference::MoveToldSourceFirst,
            Op::AddIoSlices { .. } => Difference::VectorsToldOnce,
            _ => panic!("callbacks told {ours:?} by zerovent and {theirs:?} by libevent after {op:?}"),
        };
        assert_eq!(summaries(&ours), summaries(&theirs), "{difference:?} after {op:?}");
        self.see(difference);
    }

    /// Compares lengths, contents, callbacks and clean-ups.
    fn compare(&mut self, op: Op) {
        self.compare_told(op);
        for index in 0..model::BUFFERS {
            let (ours, theirs) = (&mut self.ours.buffers[index], &mut self.theirs.buffers[index]);
            assert_eq!(Subject::len(ours), Subject::len(theirs), "length of {index} after {op:?}");
            assert!(ours.contents() == theirs.contents(), "content of {index} after {op:?}: {ours:?}");
        }
        let (ours, theirs) = (self.cleaned_by_us(), self.cleaned_by_them());
        if ours != theirs {
            let difference = match op {
                Op::AddOwned { len: 0, .. } | Op::AddReference { len: 0, .. } => Difference::EmptyReference,
                _ => Difference::PartsAreShared,
            };
            assert_ne!(self.owners, Owners::Whole, "clean-ups after {op:?}");
            self.see(difference);
        }
    }

    fn cleaned_by_us(&self) -> Vec<(usize, usize)> {
        sorted(&self.ours.log)
    }

    fn cleaned_by_them(&self) -> Vec<(usize, usize)> {
        sorted(&self.theirs.log)
    }

    /// Drops everything, and compares who was cleaned up in the end.
    fn finish(mut self) -> (usize, BTreeMap<Difference, usize>) {
        self.carry_out(Op::RunDeferred { buf: 0 });
        let (log, their_log) = (self.ours.log.clone(), self.theirs.log.clone());
        drop((self.ours, self.theirs));
        let (ours, theirs) = (sorted(&log), sorted(&their_log));
        assert!(ours.windows(2).all(|two| two[0].0 != two[1].0), "each of our owners is cleaned up once");
        if self.owners == Owners::Shared {
            assert!(theirs.iter().all(|owner| ours.contains(owner)), "we clean up what C cleans up");
        } else {
            assert_eq!(ours, theirs, "clean-ups in the end");
        }
        (self.ops, self.seen)
    }
}

/// Bytes of data that an operation puts in.
fn data_len(op: Op) -> usize {
    match op {
        Op::Add { len, .. }
        | Op::AddReference { len, .. }
        | Op::AddOwned { len, .. }
        | Op::Prepend { len, .. }
        | Op::AddFmt { len, .. }
        | Op::AddIoSlices { len, .. }
        | Op::Splice { len, .. }
        | Op::Read { len, .. } => len,
        Op::Reserve { commit, .. } | Op::ReserveMany { commit, .. } => commit,
        _ => 0,
    }
}

fn sorted(log: &interpreter::Log) -> Vec<(usize, usize)> {
    let mut cleaned = log.lock().expect("nobody panics here").clone();
    cleaned.sort_unstable();
    cleaned
}

/// The calls so far; they count from none again.
fn taken(told: &Told) -> Vec<Call> {
    std::mem::take(&mut told.lock().expect("nobody panics here"))
}

/// What each callback was told, as one change each, by their numbers.
fn summaries(calls: &[Call]) -> BTreeMap<usize, (usize, usize, usize)> {
    let mut all = BTreeMap::new();
    for &(number, orig_len, added, removed) in calls {
        let sum = all.entry(number).or_insert((orig_len, 0, 0));
        (sum.1, sum.2) = (sum.1 + added, sum.2 + removed);
    }
    all
}
