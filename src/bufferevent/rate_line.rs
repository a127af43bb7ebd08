//! Who of a group waits to move bytes, and whose turn it is.
//!
//! A line is two queues. Who comes, or comes again, joins the second, in front or at the back as a coin decides; the
//! first is served until it is empty, then they change places. So everybody is served once before anybody is served
//! twice, nobody starves however small the bucket is, and nobody is always first.

use std::hash::{BuildHasher, RandomState};

use super::Bufferevent;
use super::token_bucket::{Both, Direction};
use crate::reactor::{Arena, Items, Links, Queue, RawId};

/// Who waits for a group in one direction.
#[derive(Debug)]
pub(super) struct Line {
    /// One is served from, the other joined.
    queues: [Queue; 2],
    serving: u8,
    pub(super) len: usize,
}

impl Line {
    pub(super) const fn new() -> Self {
        Line { queues: [Queue::new(), Queue::new()], serving: 0, len: 0 }
    }

    /// Joins, and says which queue it was.
    pub(super) fn join(&mut self, seats: &mut impl Items, member: u32, in_front: bool) -> u8 {
        let joined = 1 - self.serving;
        let queue = &mut self.queues[usize::from(joined)];
        if in_front {
            queue.push_front(seats, member)
        } else {
            queue.push_back(seats, member)
        }
        self.len += 1;
        joined
    }

    pub(super) fn leave(&mut self, seats: &mut impl Items, member: u32, queue: u8) {
        self.queues[usize::from(queue)].remove(seats, member);
        self.len -= 1;
    }

    /// Whose turn it is; begins a new round if this one is over.
    pub(super) fn front(&mut self) -> Option<u32> {
        if self.queues[usize::from(self.serving)].front().is_none() {
            self.serving = 1 - self.serving;
        }
        self.queues[usize::from(self.serving)].front()
    }
}

/// A bufferevent's places in the lists of its group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: RawId,
    links: Links,
    pub(super) seats: Both<Seat>,
}

/// A place in a line.
#[derive(Debug)]
pub(super) struct Seat {
    links: Links,
    /// Of the line's two, if it is in one.
    pub(super) queue: Option<u8>,
}

impl Member {
    pub(super) fn of(group: RawId) -> Self {
        let seat = || Seat { links: Links::UNLINKED, queue: None };
        Member { group, links: Links::UNLINKED, seats: Both { read: seat(), write: seat() } }
    }
}

/// The members of groups as the items of one kind of list.
pub(super) struct Places<'a> {
    pub(super) arena: &'a mut Arena<Bufferevent>,
    /// Of a line, or else of the list of all members.
    pub(super) line: Option<Direction>,
}

impl Items for Places<'_> {
    fn links(&mut self, index: u32) -> &mut Links {
        let member = self.arena.at_mut(index).and_then(Bufferevent::member_mut);
        let member = member.expect("a bufferevent leaves its group before it is freed");
        match self.line {
            Some(direction) => &mut member.seats[direction].links,
            None => &mut member.links,
        }
    }
}

impl Bufferevent {
    pub(super) fn is_member(&self) -> bool {
        self.member().is_some()
    }

    pub(super) fn member(&self) -> Option<&Member> {
        self.rates()?.member.as_ref()
    }

    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        self.rates_mut()?.member.as_mut()
    }
}

/// Chance, as far as fairness needs it.
#[derive(Debug)]
pub(super) struct Coins(u64);

impl Coins {
    pub(super) fn new() -> Self {
        Coins(RandomState::new().hash_one(0) | 1)
    }

    /// One bit of a xorshift generator.
    pub(super) fn toss(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 63 == 1
    }
}
