//! Timers that share a duration, in one line a duration. Who joins last is due last, so joining, leaving and coming due
//! are a few stores each, however many wait.
//!
//! Nobody is looked for in a line: who leaves it, or joins it again at the end, is passed over when the place comes up front. When a line
//! is full, those places go, so at most half of them are in vain.
//!
//! The heads of the lines are kept in a heap of their own, as lazily as the timers of single slots are: an entry is never
//! later than the head of its line, and is put right when it comes up front.

use std::time::Duration;

use super::Wanted;
use super::heap::{Entry, Heap};
use crate::reactor::arena::extend_to;

/// A duration that many events of one base share; adding an event with it costs the same however many wait.
///
/// Made by [`EventBase::common_timeout`](crate::EventBase::common_timeout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommonTimeout {
    line: u32,
    duration_ns: u64,
}

impl CommonTimeout {
    /// How long it is.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.duration_ns)
    }

    pub(crate) fn as_nanos(self) -> u64 {
        self.duration_ns
    }

    pub(super) fn line(self) -> u32 {
        self.line
    }
}

/// A place in a line: whose it is, and the order of the setting that it is for.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u32,
    order: u32,
}

impl Place {
    /// What the slot waits for, if it still waits here.
    #[inline]
    fn wanted(self, wanted: &[Wanted]) -> Option<&Wanted> {
        wanted.get(self.slot as usize).filter(|it| it.order == self.order && it.in_line && it.is_set)
    }
}

#[derive(Debug)]
struct Line {
    duration_ns: u64,
    /// Due in this order. Empty if nobody has a place that has not been passed over.
    places: Vec<Place>,
    /// The first place that has not been passed over.
    front: usize,
    /// When the last of them is due, or was before it left.
    last_ns: u64,
}

impl Line {
    /// Who is first, when those before who have left are gone.
    fn first<'a>(&mut self, wanted: &'a [Wanted]) -> Option<(u32, &'a Wanted)> {
        while let Some(&place) = self.places.get(self.front) {
            if let Some(wanted) = place.wanted(wanted) {
                return Some((place.slot, wanted));
            }
            self.front += 1;
        }
        self.places.clear();
        self.front = 0;
        None
    }

    /// Makes room in a full line.
    fn close_up(&mut self, wanted: &[Wanted]) {
        self.places.drain(..self.front);
        self.front = 0;
        self.places.retain(|place| place.wanted(wanted).is_some());
        if self.places.len() >= self.places.capacity() / 2 {
            self.places.reserve(self.places.len() + 1);
        }
    }
}

const NO_LINE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// The line that a slot goes back to when its timer starts again, by slot, up to the highest that ever had one.
    homes: Vec<u32>,
    /// The heads, by line.
    heads: Heap,
}

impl Lines {
    /// The line of a duration, made if there is none yet.
    pub(super) fn of(&mut self, duration_ns: u64) -> CommonTimeout {
        let found = self.lines.iter().position(|line| line.duration_ns == duration_ns);
        let line = found.unwrap_or_else(|| {
            self.lines.push(Line { duration_ns, places: Vec::new(), front: 0, last_ns: 0 });
            self.lines.len() - 1
        });
        CommonTimeout { line: line as u32, duration_ns }
    }

    /// Whether a timeout names a line of ours.
    #[inline]
    pub(super) fn has(&self, timeout: CommonTimeout) -> bool {
        self.lines.get(timeout.line as usize).is_some_and(|line| line.duration_ns == timeout.duration_ns)
    }

    /// How many lines have somebody waiting, or had a moment ago.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// The line a slot goes back to.
    #[inline]
    pub(super) fn home(&self, slot: u32) -> Option<u32> {
        self.homes.get(slot as usize).copied().filter(|&home| home != NO_LINE)
    }

    pub(super) fn set_home(&mut self, slot: u32, home: Option<u32>) {
        if home.is_some() {
            extend_to(&mut self.homes, slot as usize + 1, || NO_LINE);
        }
        if let Some(place) = self.homes.get_mut(slot as usize) {
            *place = home.unwrap_or(NO_LINE);
        }
    }

    /// Gives a slot, which is being set to that deadline with that order, the place at the end of the line of a timeout, if that
    /// line has room and somebody is there who is not due later. Says whether it did.
    #[inline]
    pub(super) fn try_join(
        &mut self,
        slot: u32,
        timeout: CommonTimeout,
        deadline_ns: u64,
        order: u32,
    ) -> bool {
        let Some(line) = self.lines.get_mut(timeout.line as usize) else { return false };
        let len = line.places.len();
        let is_usual = line.duration_ns == timeout.duration_ns && deadline_ns >= line.last_ns;
        if !is_usual || len == 0 || len == line.places.capacity() {
            return false;
        }
        line.places.push(Place { slot, order });
        line.last_ns = deadline_ns;
        true
    }

    /// Whether who is due then can join a line without being before anybody there.
    pub(super) fn may_join(&self, line: u32, deadline_ns: u64) -> bool {
        let line = &self.lines[line as usize];
        deadline_ns >= line.last_ns || line.places.is_empty()
    }

    /// Gives a slot, which has been set to wait in line, the place at the end of this one; nobody there may be due later.
    pub(super) fn join(&mut self, slot: u32, line: u32, wanted: &[Wanted]) {
        let Wanted { deadline_ns, order, .. } = wanted[slot as usize];
        let there = &mut self.lines[line as usize];
        if there.places.len() == there.places.capacity() {
            there.close_up(wanted);
        }
        there.places.push(Place { slot, order });
        there.last_ns = deadline_ns;
        if there.places.len() == 1 {
            self.heads.hasten(Entry { deadline_ns, order, slot: line });
        }
    }

    /// Whether anybody in line may be due by `now_ns`.
    #[inline]
    pub(super) fn may_be_due(&self, now_ns: u64) -> bool {
        self.heads.first().is_some_and(|head| head.deadline_ns <= now_ns)
    }

    /// Who is due first of all lines.
    pub(super) fn first(&mut self, wanted: &[Wanted]) -> Option<Entry> {
        loop {
            let head = *self.heads.first()?;
            let line = head.slot;
            match self.lines[line as usize].first(wanted) {
                None => self.heads.remove(line),
                Some((slot, first)) if first.order == head.order => return Some(first.entry(slot)),
                Some((_, first)) => self.heads.set(first.entry(line)),
            }
        }
    }
}
