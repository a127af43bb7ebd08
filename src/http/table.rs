//! The connections of a server, and what each of them is waiting for. A place is small and holds nothing on
//! the heap, since a server may have many thousand of them and most are idle.

use std::num::NonZeroU32;

use super::connection::{Connection, Progress};
use super::options::ServerOptions;
use crate::bufferevent::BuffereventId;
use crate::reactor::{Items, Links, Queue, extend_to};

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
    /// Until when all that is queued has to have been taken.
    pub(crate) pace: Pace,
    links: Links,
    deadline_ns: u64,
}

const _: () =
    assert!(size_of::<Option<Place>>() <= 64, "the budget of an idle connection is 512 bytes for everything");

/// The time by which a client has to have taken what is queued for it, in tenths of a second of the loop's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace(u32);

impl Pace {
    /// `queued` bytes come behind the `before` that still wait. A client that has taken everything starts anew.
    pub(crate) fn queue(&mut self, before: usize, queued: usize, options: &ServerOptions, now_ns: u64) {
        let Some(rate) = NonZeroU32::new(options.write_rate_min) else { return };
        if before == 0 {
            let timeout_ns = u64::try_from(options.write_timeout.as_nanos()).unwrap_or(u64::MAX);
            self.0 = tenths(now_ns.saturating_add(timeout_ns)).saturating_add(1);
        }
        let needed = (queued as u64).saturating_mul(10) / u64::from(rate.get());
        self.0 = self.0.saturating_add(u32::try_from(needed).unwrap_or(u32::MAX));
    }

    /// Whether a client that has not taken everything yet is too slow.
    pub(crate) fn is_missed(self, options: &ServerOptions, now_ns: u64) -> bool {
        options.write_rate_min > 0 && tenths(now_ns) > self.0
    }
}

fn tenths(time_ns: u64) -> u32 {
    u32::try_from(time_ns / 100_000_000).unwrap_or(u32::MAX)
}

/// What a connection waits for; each has a queue of its own, in the order of the deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// For the rest of a request's head, or for the first one.
    Request,
    /// For the rest of a request's body.
    Body,
    /// For the next request, or for its answers to be taken.
    Idle,
    /// For a descriptor.
    Descriptor,
    /// For a file that is just being written to.
    Quiet,
}

impl Waiting {
    pub(crate) const ALL: [Waiting; QUEUES] =
        [Waiting::Request, Waiting::Body, Waiting::Idle, Waiting::Descriptor, Waiting::Quiet];
}

/// How many kinds of waiting there are.
const QUEUES: usize = 5;

/// All connections of a server. A connection has the index of its bufferevent, so that its callbacks need not
/// carry one; bufferevents that are not the server's leave gaps.
#[derive(Debug)]
pub(crate) struct Table {
    places: Places,
    queues: [Queue; QUEUES],
    len: usize,
}

#[derive(Debug)]
struct Places(Vec<Option<Place>>);

impl Items for Places {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self.taken(index).links
    }
}

impl Places {
    fn taken(&mut self, index: u32) -> &mut Place {
        self.0[index as usize].as_mut().expect("callbacks and queues name places that are taken")
    }
}

impl Table {
    pub(crate) const fn new() -> Table {
        Table { places: Places(Vec::new()), queues: [Queue::new(); QUEUES], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A place for a new connection, whose first request has to arrive by `deadline_ns`.
    pub(crate) fn insert(&mut self, bufferevent: BuffereventId, deadline_ns: u64) -> u32 {
        let index = bufferevent.0.index();
        extend_to(&mut self.places.0, index as usize + 1, || None);
        self.places.0[index as usize] = Some(Place {
            bufferevent,
            connection: Connection::new(),
            progress: Progress::Idle,
            peer_closed: false,
            leaving: false,
            waiting: Waiting::Request,
            links: Links::UNLINKED,
            deadline_ns,
            pace: Pace::default(),
        });
        self.len += 1;
        self.queues[Waiting::Request as usize].push_back(&mut self.places, index);
        index
    }

    pub(crate) fn remove(&mut self, index: u32) {
        let waiting = self.waiting(index);
        self.queues[waiting as usize].remove(&mut self.places, index);
        self.places.0[index as usize] = None;
        self.len -= 1;
    }

    /// The index of a connection, if it is still there.
    pub(crate) fn find(&self, bufferevent: BuffereventId) -> Option<u32> {
        let index = bufferevent.0.index();
        let place = self.places.0.get(index as usize)?.as_ref();
        place.filter(|place| place.bufferevent == bufferevent).map(|_| index)
    }

    pub(crate) fn place(&mut self, index: u32) -> &mut Place {
        self.places.taken(index)
    }

    pub(crate) fn waiting(&mut self, index: u32) -> Waiting {
        self.places.taken(index).waiting
    }

    /// Puts a connection at the end of a queue. Deadlines of one queue must come in order.
    pub(crate) fn wait(&mut self, index: u32, waiting: Waiting, deadline_ns: u64) {
        let place = self.places.taken(index);
        let before = std::mem::replace(&mut place.waiting, waiting);
        place.deadline_ns = deadline_ns;
        self.queues[before as usize].remove(&mut self.places, index);
        self.queues[waiting as usize].push_back(&mut self.places, index);
    }

    /// The connection that has waited longest.
    pub(crate) fn front(&self, waiting: Waiting) -> Option<u32> {
        self.queues[waiting as usize].front()
    }

    /// The connection that has waited next longest after `index`.
    pub(crate) fn after(&mut self, waiting: Waiting, index: u32) -> Option<u32> {
        self.queues[waiting as usize].after(&mut self.places, index)
    }

    /// The front of a queue, if its deadline has passed.
    pub(crate) fn due(&mut self, waiting: Waiting, now_ns: u64) -> Option<u32> {
        let front = self.front(waiting)?;
        (self.places.taken(front).deadline_ns <= now_ns).then_some(front)
    }

    /// When the next deadline of all passes.
    pub(crate) fn next_deadline(&mut self) -> u64 {
        let fronts = self.queues.map(|queue| queue.front());
        let deadlines = fronts.iter().flatten().map(|&index| self.places.taken(index).deadline_ns);
        deadlines.min().unwrap_or(u64::MAX)
    }
}
