//! Timers that share a duration, in one line a duration. Who joins last is due last, so joining, leaving and coming due
//! are a few stores each, however many wait.
//!
//! The heads of the lines are kept in a heap of their own, as lazily as the timers of single slots are: an entry is never
//! later than the head of its line, and is put right when it comes up front.

use std::time::Duration;

use super::Wanted;
use super::heap::{Entry, Heap};
use crate::reactor::arena::extend_to;
use crate::reactor::queue::{Items, Links, Queue};

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

#[derive(Debug)]
struct Line {
    duration_ns: u64,
    waiting: Queue,
}

const NO_LINE: u32 = u32::MAX;

/// A slot among the lines.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The line it waits in, if it waits in any, and the one it goes back to when its timer starts again.
    line: u32,
    home: u32,
    links: Links,
}

const NOWHERE: Place = Place { line: NO_LINE, home: NO_LINE, links: Links::UNLINKED };

impl Items for Vec<Place> {
    #[inline]
    fn links(&mut self, slot: u32) -> &mut Links {
        &mut self[slot as usize].links
    }
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// By slot, up to the highest that ever had a common timeout.
    places: Vec<Place>,
    /// The heads, by line.
    heads: Heap,
}

impl Lines {
    /// The line of a duration, made if there is none yet.
    pub(super) fn of(&mut self, duration_ns: u64) -> CommonTimeout {
        let found = self.lines.iter().position(|line| line.duration_ns == duration_ns);
        let line = found.unwrap_or_else(|| {
            self.lines.push(Line { duration_ns, waiting: Queue::new() });
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
        self.places.get(slot as usize).map(|place| place.home).filter(|&home| home != NO_LINE)
    }

    #[inline]
    pub(super) fn set_home(&mut self, slot: u32, home: Option<u32>) {
        if home.is_some() {
            extend_to(&mut self.places, slot as usize + 1, || NOWHERE);
        }
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.home = home.unwrap_or(NO_LINE);
        }
    }

    /// Who waits at the end of a line.
    #[inline]
    pub(super) fn last(&self, line: u32) -> Option<u32> {
        self.lines[line as usize].waiting.back()
    }

    /// Puts a slot, which is in no line, at the end of one; nobody there may be due later than `entry`, with
    /// which it leads the line if nobody is there.
    #[inline]
    pub(super) fn join(&mut self, slot: u32, line: u32, entry: Entry) {
        extend_to(&mut self.places, slot as usize + 1, || NOWHERE);
        let waiting = &mut self.lines[line as usize].waiting;
        let leads = waiting.front().is_none();
        waiting.push_back(&mut self.places, slot);
        self.places[slot as usize].line = line;
        if leads {
            self.heads.hasten(entry);
        }
    }

    /// Moves a slot, which waits in some line, to the end of this one if it is this one.
    #[inline]
    pub(super) fn move_back(&mut self, slot: u32, line: u32) -> bool {
        let is_there = self.places[slot as usize].line == line;
        if is_there {
            let waiting = &mut self.lines[line as usize].waiting;
            waiting.remove(&mut self.places, slot);
            waiting.push_back(&mut self.places, slot);
        }
        is_there
    }

    /// Takes a slot out of the line it waits in.
    pub(super) fn leave(&mut self, slot: u32) {
        let line = self.places[slot as usize].line;
        self.lines[line as usize].waiting.remove(&mut self.places, slot);
    }

    /// Who is due first of all lines.
    pub(super) fn first(&mut self, wanted: &[Wanted]) -> Option<Entry> {
        loop {
            let head = *self.heads.first()?;
            let line = head.slot;
            let Some(slot) = self.lines[line as usize].waiting.front() else {
                self.heads.remove(line);
                continue;
            };
            let wanted = wanted[slot as usize];
            if wanted.order == head.order {
                return Some(wanted.entry(slot));
            }
            self.heads.set(wanted.entry(line));
        }
    }
}
