//! Relays: two sockets joined, so that what one receives the other sends, without anybody looking at it.
//!
//! A relay lies above its two sockets as a filter lies above one: what becomes due there is told to the relay. Reading goes
//! straight into the *output* of the other side, as a kernel pipe where that pays; limits, timeouts and the deadlines of
//! both sockets work as they always do, because each still reads and writes on its own account. The pauses of `pause` keep
//! the outputs small, and [`Bufferevent::shutdown_after_flush`] passes the end of a stream on.
//!
//! # What is spliced
//!
//! A splice costs about as much as a read, and does not tell when a socket has been emptied, so short messages are cheaper
//! read into the loop's hot chunk. A read that fills its room says that there is more: from then on the direction is spliced,
//! until a splice brings little.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::pause::Reason;
use super::{BevEvents, Bufferevent, BuffereventId, Direction, Due, Engine, MAX_SINGLE_READ, State};
use crate::buffer::{Evbuffer, Filled, ReadSpace, is_refusal};
use crate::error::{Error, Result};
use crate::reactor::{Interest, RawId, Reactor, SlotId, SlotSpec, Source, What, owner};

/// How much the output of one side may hold before the other side is not read any more, in bytes, unless the options say
/// otherwise: what a kernel pipe holds.
pub const RELAY_MARK: usize = 1 << 20;

/// A splice that brings less than this, in bytes, was not worth it.
const BULK_MIN: usize = 16 * 1024;

/// Tells a relay's word from a bufferevent's, whose index has 32 bits, and from a group's.
const RELAY: u64 = 1 << 33;

/// Names a relay of one [`EventBase`](crate::EventBase); stale once it has been told how it ended, or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelayId(RawId);

impl RelayId {
    pub(crate) fn index(self) -> u32 {
        self.0.index()
    }
}

/// When bytes pass a relay in a kernel pipe, which costs no copy but more for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Splicing {
    /// While there is much to move at a time.
    #[default]
    Bulk,
    /// Whenever a pipe is to be had.
    Always,
    /// Not at all: bytes are read into memory.
    Never,
}

/// How a relay works.
///
/// # Examples
///
/// ```
/// use zerovent::bufferevent::{RelayOptions, Splicing};
///
/// let options = RelayOptions::new().mark(64 * 1024).splicing(Splicing::Never);
/// ```
#[derive(Debug, Clone)]
pub struct RelayOptions {
    mark: usize,
    splicing: Splicing,
}

impl Default for RelayOptions {
    fn default() -> Self {
        RelayOptions { mark: RELAY_MARK, splicing: Splicing::default() }
    }
}

impl RelayOptions {
    /// A mark of [`RELAY_MARK`], and splicing in bulk.
    #[must_use]
    pub fn new() -> Self {
        RelayOptions::default()
    }

    /// How many bytes wait in each output at most; the other side is read again when half of that has left. 0 counts as 1.
    #[must_use]
    pub fn mark(mut self, bytes: usize) -> Self {
        self.mark = bytes.max(1);
        self
    }

    /// When bytes pass in a kernel pipe.
    #[must_use]
    pub fn splicing(mut self, splicing: Splicing) -> Self {
        self.splicing = splicing;
        self
    }
}

/// How a relay ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct RelayEnd {
    /// The two that were joined, as they were given.
    pub a: BuffereventId,
    /// The other one.
    pub b: BuffereventId,
    /// How many bytes came from `a` and were given to the output of `b`, those included that `a` had read before.
    pub a_to_b: u64,
    /// How many bytes went the other way.
    pub b_to_a: u64,
    /// Who failed, and how; `None` after both ends of the stream have been passed on, or when the relay was stopped. A timeout
    /// is [`TimedOut`](io::ErrorKind::TimedOut); a side that was freed is [`Error::Stale`].
    pub failed: Option<(BuffereventId, Error)>,
}

/// Two sockets that are joined.
#[derive(Debug)]
pub(super) struct Relay {
    sides: [RawId; 2],
    /// Each from the side with the same place.
    courses: [Course; 2],
    mark: usize,
    /// By it the end is told.
    slot: SlotId,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    Joined,
    Over(Option<(BuffereventId, Error)>),
}

/// One direction.
#[derive(Debug)]
struct Course {
    splicing: Splicing,
    /// The last call brought much.
    in_bulk: bool,
    bytes: u64,
    /// The end of the stream has been passed on.
    ended: bool,
}

/// What ties a bufferevent to its relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tie {
    relay: RawId,
    side: usize,
    /// What its user listened to, and will again.
    heard: Due,
    /// What a turn may read meanwhile, if its user had not said.
    raised_to: Option<usize>,
}

impl Course {
    fn new(splicing: Splicing) -> Self {
        Course { splicing, in_bulk: false, bytes: 0, ended: false }
    }

    /// Receives up to `room` bytes, in the way that pays.
    fn receive(
        &mut self,
        from: BorrowedFd<'_>,
        into: &mut Evbuffer,
        room: usize,
        space: &mut ReadSpace,
    ) -> io::Result<Filled> {
        if self.splicing == Splicing::Always || (self.splicing == Splicing::Bulk && self.in_bulk) {
            match into.splice_into_buffer(from, room) {
                Ok(Some(bytes)) => {
                    self.in_bulk = bytes >= BULK_MIN;
                    return Ok(Filled { bytes, drained: false });
                }
                // No pipe is to be had now.
                Ok(None) => {}
                Err(error) if is_refusal(&error) => self.splicing = Splicing::Never,
                Err(error) => return Err(error),
            }
        }
        if self.splicing == Splicing::Never && self.in_bulk {
            let filled = into.fill_bulk_from(from, room)?;
            self.in_bulk = filled.bytes >= BULK_MIN;
            return Ok(filled);
        }
        let filled = into.fill_from(from, room, space)?;
        self.in_bulk = !filled.drained && filled.bytes >= BULK_MIN;
        Ok(filled)
    }
}

/// Joining and parting.
impl Engine {
    /// Joins two sockets; what they have read already goes first.
    pub(crate) fn join(
        &mut self,
        reactor: &mut Reactor,
        sides: [BuffereventId; 2],
        options: &RelayOptions,
    ) -> Result<RelayId> {
        let [a, b] = sides;
        if a == b {
            return Err(Error::Invalid("a relay needs two bufferevents"));
        }
        self.get(a)?.check_relayable()?;
        self.get(b)?.check_relayable()?;
        let spec =
            SlotSpec { owner: owner::BUFFEREVENT, source: Source::None, persist: true, priority: None };
        let slot = reactor.insert(spec)?;
        // Its sides hold the loop while they wait for something.
        reactor.set_holds_loop(slot, false)?;
        let relay = self.relays.insert(Relay {
            sides: [a.0, b.0],
            courses: [Course::new(options.splicing), Course::new(options.splicing)],
            mark: options.mark,
            slot,
            standing: Standing::Joined,
        });
        reactor.set_owner(slot, owner::BUFFEREVENT | RELAY | u64::from(relay.index()))?;
        for (side, id) in sides.into_iter().enumerate() {
            self.alive(id)?.tie(relay, side, options.mark);
        }
        self.begin_pause(a.0, b.0, options.mark, Reason::Relay);
        self.begin_pause(b.0, a.0, options.mark, Reason::Relay);
        let id = RelayId(relay);
        if let Err(error) = self.pass_on_inputs(relay) {
            self.part(reactor, id)?;
            return Err(error);
        }
        Ok(id)
    }

    fn pass_on_inputs(&mut self, relay: RawId) -> Result<()> {
        let Some(relay) = self.relays.get_mut(relay) else { return Ok(()) };
        let [a, b] = relay.sides;
        let Some((a, b)) = self.arena.get_two_mut(a, b) else { return Ok(()) };
        relay.courses[0].bytes += a.give_input_to(b)?;
        relay.courses[1].bytes += b.give_input_to(a)?;
        Ok(())
    }

    /// How many bytes have gone each way.
    pub(crate) fn relay_bytes(&self, id: RelayId) -> Result<(u64, u64)> {
        let relay = self.relays.get(id.0).ok_or(Error::Stale)?;
        Ok((relay.courses[0].bytes, relay.courses[1].bytes))
    }

    /// Parts the two, if they are still joined, and says how it ended; nobody will be told again.
    pub(crate) fn part(&mut self, reactor: &mut Reactor, id: RelayId) -> Result<RelayEnd> {
        self.relays.get(id.0).ok_or(Error::Stale)?;
        self.end_relay(reactor, id.0, None);
        let gone = self.relays.remove(id.0).ok_or(Error::Stale)?;
        reactor.remove(gone.slot)?;
        let [a, b] = gone.sides.map(BuffereventId);
        let [a_to_b, b_to_a] = gone.courses.map(|course| course.bytes);
        let Standing::Over(failed) = gone.standing else { return Err(Error::Stale) };
        Ok(RelayEnd { a, b, a_to_b, b_to_a, failed })
    }

    /// The relay that has ended, if `index` is the word of one.
    pub(crate) fn ended_relay(&self, index: u64) -> Option<RelayId> {
        let index = u32::try_from(index.checked_sub(RELAY)?).ok()?;
        let id = self.relays.id_at(index)?;
        matches!(self.relays.get(id)?.standing, Standing::Over(_)).then_some(RelayId(id))
    }

    /// Ends a relay that has not ended; its sides are again as they were, and the loop will tell.
    fn end_relay(&mut self, reactor: &mut Reactor, id: RawId, failed: Option<(BuffereventId, Error)>) {
        let Some(relay) = self.relays.get_mut(id) else { return };
        if matches!(relay.standing, Standing::Over(_)) {
            return;
        }
        relay.standing = Standing::Over(failed);
        // The slot lives as long as the relay.
        let _ = reactor.activate(relay.slot, What::empty());
        let [a, b] = relay.sides;
        for (side, other) in [(a, b), (b, a)] {
            if let Some(bufferevent) = self.arena.get_mut(side) {
                bufferevent.untie();
            }
            self.end_pause(side, other, Reason::Relay);
            self.touch(BuffereventId(side));
        }
    }

    /// Ends the relay of a bufferevent that leaves it.
    pub(super) fn leave_relay(&mut self, reactor: &mut Reactor, id: RawId, tie: Option<Tie>) {
        if let Some(tie) = tie {
            self.end_relay(reactor, tie.relay, Some((BuffereventId(id), Error::Stale)));
        }
    }
}

/// At work.
impl Engine {
    /// Reads up to `allowed` bytes, this turn's share, and passes them on at once while the other side takes everything: the
    /// bytes are still near, and a wait for each piece would cost as much as moving it.
    pub(super) fn pump(&mut self, id: RawId, tie: Tie, allowed: usize, now_ns: u64) -> usize {
        let mut moved = 0;
        loop {
            let bytes = self.read_across(id, tie, allowed - moved);
            moved += bytes;
            if bytes == 0 || !self.pass_on(tie, now_ns) {
                return moved;
            }
        }
    }

    /// Sends what waits on the other side, and says whether that was all.
    fn pass_on(&mut self, tie: Tie, now_ns: u64) -> bool {
        let sink = self.relays.get(tie.relay).map(|relay| relay.sides[1 - tie.side]);
        let Some(sink) = sink.and_then(|id| self.arena.get_mut(id)) else { return false };
        sink.refill(now_ns);
        sink.write_once(now_ns, sink.allowance(Direction::Write));
        sink.output.is_empty()
    }

    /// Reads once, into the output of the other side.
    fn read_across(&mut self, id: RawId, tie: Tie, allowed: usize) -> usize {
        let Some(relay) = self.relays.get_mut(tie.relay) else { return 0 };
        let other = relay.sides[1 - tie.side];
        let Some((source, sink)) = self.arena.get_two_mut(id, other) else { return 0 };
        let below_mark = relay.mark.saturating_sub(sink.output.len()).min(sink.output.room());
        let room = source.read_room().min(below_mark).min(allowed);
        if room == 0 || !source.state.contains(State::READABLE) {
            return 0;
        }
        let Some(fd) = source.fd.as_ref() else { return 0 };
        let course = &mut relay.courses[tie.side];
        let received = course.receive(fd.as_fd(), sink.output.get(), room, &mut self.space);
        let bytes = source.take_in(received);
        course.bytes += bytes as u64;
        self.touch(BuffereventId(other));
        bytes
    }

    /// A side has been settled: passes the end of its stream on, and ends the relay when that was all, or it has failed.
    pub(super) fn follow_relay(&mut self, reactor: &mut Reactor, id: RawId) {
        let Some(tie) = self.arena.get(id).and_then(Bufferevent::tie_to_relay) else { return };
        let Some(relay) = self.relays.get_mut(tie.relay) else { return };
        let other = relay.sides[1 - tie.side];
        let Some((side, opposite)) = self.arena.get_two_mut(id, other) else { return };
        if let Some(error) = side.take_failure() {
            self.end_relay(reactor, tie.relay, Some((BuffereventId(id), error)));
            return;
        }
        let course = &mut relay.courses[tie.side];
        if side.state.contains(State::EOF) && !course.ended {
            course.ended = true;
            opposite.shutdown_after_flush();
            self.touch(BuffereventId(other));
            return;
        }
        let has_shut = side.state.contains(State::WRITE_SHUT) && opposite.state.contains(State::WRITE_SHUT);
        if has_shut && relay.courses.iter().all(|course| course.ended) {
            self.end_relay(reactor, tie.relay, None);
        }
    }
}

impl Bufferevent {
    pub(super) fn tie_to_relay(&self) -> Option<Tie> {
        self.link()?.relay
    }

    fn check_relayable(&self) -> Result<()> {
        if self.is_pair_or_filter() {
            return Err(Error::Invalid("only sockets can be relayed"));
        }
        if self.state.contains(State::COVERED) {
            return Err(Error::Invalid("a filter or a relay lies above it already"));
        }
        if self.fd.is_none() && !self.state.contains(State::CONNECTING) {
            return Err(Error::Invalid("it has no socket, and is not connecting"));
        }
        Ok(())
    }

    fn tie(&mut self, relay: RawId, side: usize, mark: usize) {
        // A pipe takes all it can in one call, and no other connection waits much longer for that.
        let raised_to = (self.max_single_read() == MAX_SINGLE_READ).then(|| mark.max(MAX_SINGLE_READ));
        if let Some(bytes) = raised_to {
            self.set_max_single_read(bytes);
        }
        self.link_mut().relay = Some(Tie { relay, side, heard: self.heard, raised_to });
        self.enabled = Interest::READ | Interest::WRITE;
        self.state |= State::COVERED;
        self.heard = Due::all();
        (self.due, self.events) = (Due::empty(), BevEvents::empty());
    }

    fn untie(&mut self) {
        let Some(tie) = self.link_mut().relay.take() else { return };
        if tie.raised_to == Some(self.max_single_read()) {
            self.set_max_single_read(MAX_SINGLE_READ);
        }
        self.state -= State::COVERED;
        self.heard = tie.heard;
        (self.due, self.events) = (Due::empty(), BevEvents::empty());
    }

    /// Moves what has been read to the output of `other`.
    fn give_input_to(&mut self, other: &mut Bufferevent) -> Result<u64> {
        let before = self.input.len();
        if before > 0 {
            other.output.get().add_buffer(&mut self.input.get().thaw())?;
        }
        Ok((before - self.input.len()) as u64)
    }

    /// What has become due, if it means that it cannot go on.
    fn take_failure(&mut self) -> Option<Error> {
        self.due = Due::empty();
        let events = std::mem::take(&mut self.events);
        if events.contains(BevEvents::ERROR) {
            let unknown = || Error::Io(io::ErrorKind::Other.into());
            return Some(self.rare_mut().error.take().unwrap_or_else(unknown));
        }
        events.contains(BevEvents::TIMEOUT).then(|| Error::Io(io::ErrorKind::TimedOut.into()))
    }
}
