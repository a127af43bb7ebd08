//! The connections of a server, and what each of them is waiting for. A place is small and holds nothing on the heap,
//! since a server may have many thousand of them and most are idle.

use super::connection::{Connection, Progress};
use super::queue::{Items, Links, Queue};
use crate::bufferevent::BuffereventId;

/// One connection of the server.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) bufferevent: BuffereventId,
    pub(crate) connection: Connection,
    /// How far it got when it was last moved on.
    pub(crate) progress: Progress,
    /// The client has sent its last byte.
    pub(crate) peer_closed: bool,
    /// To be closed as soon as its output has drained.
    pub(crate) leaving: bool,
    waiting: Waiting,
    links: Links,
    deadline_ns: u64,
}

const _: () = assert!(size_of::<Place>() <= 64, "the budget of an idle connection is 512 bytes for everything");

/// What a connection waits for; each has a queue of its own, in the order of the deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// For the rest of a request, or for the first one.
    Request,
    /// For the next request, or for its answers to be taken.
    Idle,
    /// For a descriptor.
    Descriptor,
}

/// How many kinds of waiting there are.
const QUEUES: usize = 3;

/// A place, or a link in the list of vacant ones.
#[derive(Debug)]
enum Slot {
    Vacant { next: u32 },
    Taken(Place),
}

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slots,
    queues: [Queue; QUEUES],
    vacant: u32,
    len: usize,
}

#[derive(Debug)]
struct Slots(Vec<Slot>);

/// The end of the list of vacant slots.
const NONE: u32 = u32::MAX;

impl Items for Slots {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.place(index).links
    }
}

impl Slots {
    fn place(&mut self, index: u32) -> &mut Place {
        match &mut self.0[index as usize] {
            Slot::Taken(place) => place,
            Slot::Vacant { .. } => unreachable!("callbacks and queues name places that are taken"),
        }
    }
}

impl Table {
    pub(crate) const fn new() -> Table {
        Table { slots: Slots(Vec::new()), queues: [Queue::new(); QUEUES], vacant: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A place for a new connection, whose first request has to arrive by `deadline_ns`.
    pub(crate) fn insert(&mut self, bufferevent: BuffereventId, deadline_ns: u64) -> u32 {
        let place = Place {
            bufferevent,
            connection: Connection::new(),
            progress: Progress::Idle,
            peer_closed: false,
            leaving: false,
            waiting: Waiting::Request,
            links: Links::UNLINKED,
            deadline_ns,
        };
        let index = self.take_slot(place);
        self.len += 1;
        self.queues[Waiting::Request as usize].push_back(&mut self.slots, index);
        index
    }

    /// Fills a vacant slot or makes one. Grows by a quarter: doubling would waste up to a slot a connection.
    fn take_slot(&mut self, place: Place) -> u32 {
        if let Some(slot) = self.slots.0.get_mut(self.vacant as usize)
            && let Slot::Vacant { next } = *slot
        {
            *slot = Slot::Taken(place);
            return std::mem::replace(&mut self.vacant, next);
        }
        let len = self.slots.0.len();
        if len == self.slots.0.capacity() {
            self.slots.0.reserve_exact((len / 4).max(16));
        }
        self.slots.0.push(Slot::Taken(place));
        len as u32
    }

    pub(crate) fn remove(&mut self, index: u32) {
        let waiting = self.slots.place(index).waiting;
        self.queues[waiting as usize].remove(&mut self.slots, index);
        self.slots.0[index as usize] = Slot::Vacant { next: self.vacant };
        self.vacant = index;
        self.len -= 1;
    }

    pub(crate) fn place(&mut self, index: u32) -> &mut Place {
        self.slots.place(index)
    }

    pub(crate) fn waiting(&mut self, index: u32) -> Waiting {
        self.slots.place(index).waiting
    }

    /// Puts a connection at the end of a queue. Deadlines of one queue must come in order.
    pub(crate) fn wait(&mut self, index: u32, waiting: Waiting, deadline_ns: u64) {
        let place = self.slots.place(index);
        let before = std::mem::replace(&mut place.waiting, waiting);
        place.deadline_ns = deadline_ns;
        self.queues[before as usize].remove(&mut self.slots, index);
        self.queues[waiting as usize].push_back(&mut self.slots, index);
    }

    /// The connection that has waited longest.
    pub(crate) fn front(&self, waiting: Waiting) -> Option<u32> {
        self.queues[waiting as usize].front()
    }

    /// The connection that has waited next longest after `index`.
    pub(crate) fn after(&mut self, waiting: Waiting, index: u32) -> Option<u32> {
        self.queues[waiting as usize].after(&mut self.slots, index)
    }

    /// The front of a queue, if its deadline has passed.
    pub(crate) fn due(&mut self, waiting: Waiting, now_ns: u64) -> Option<u32> {
        let front = self.front(waiting)?;
        (self.slots.place(front).deadline_ns <= now_ns).then_some(front)
    }

    /// When the next deadline of all passes.
    pub(crate) fn next_deadline(&mut self) -> u64 {
        let fronts = self.queues.map(|queue| queue.front());
        let deadlines = fronts.iter().flatten().map(|&index| self.slots.place(index).deadline_ns);
        deadlines.min().unwrap_or(u64::MAX)
    }
}
