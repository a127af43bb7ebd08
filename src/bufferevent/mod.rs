//! Bufferevents: a transport with an input and an output [`Evbuffer`], and the rules of when to read, when to
//! write and what to tell the user.
//!
//! # The idea
//!
//! A bufferevent is a slot in an arena and calls nobody. Readiness comes in through `Engine::on_ready`, which
//! does the reading; what the user asks for through `&mut Bufferevent` only changes fields and marks the slot
//! *touched*; and `Engine::settle`, once a turn, carries all of it out just before the loop waits:
//!
//! ```text
//!   epoll says ready ──► on_ready: one read into `input` ──► due: {read, write, connected, events}
//!                                                                 │ event_base takes them one by one
//!                                                                 ▼ and calls the user's closures
//!   base.bufferevent(id) ──► fields change, slot is touched
//!                                    │ once a turn, before the wait
//!                                    ▼
//!   settle: flush `output`, take up reading again, set the deadline, queue what has become due
//! ```
//!
//! So a hundred writes from callbacks leave in one system call, an echo costs one `recv` and one `sendmsg`, and
//! nothing the user does inside a callback can re-enter the engine.
//!
//! # One registration for life
//!
//! The socket is registered edge-triggered for everything, once. What the kernel last said is remembered in
//! `State::READABLE` and `State::WRITABLE`: a full read leaves `READABLE` set and a short one clears it (an
//! edge comes when more arrives); a write that the kernel takes only in part clears `WRITABLE`. Whoever has
//! work left after its share of a turn goes to the back of the reactor's ready list.
//!
//! # Other transports
//!
//! Half a pair (`pair`) and a filter (`filter`) have another bufferevent where this one has its socket (`link`). They have
//! the same buffers, marks, timers and callbacks, and do their work in `settle`.
//!
//! # One timer for five purposes
//!
//! The read timeout, the write timeout, the time a closing connection may linger, the stagger between the addresses
//! of a host (`race`) and the tick that a rate limit makes it wait for share the slot's one timer, set to whichever
//! comes first. Moving a deadline later is free, so activity costs nothing.

mod connect;
mod descriptor;
mod filter;
mod flush;
mod link;
mod options;
mod pair;
mod pause;
mod race;
mod rate_group;
mod rate_limit;
mod rate_line;
mod relay;
mod settle;
mod socket;
mod storage;
mod token_bucket;
mod trigger;

use std::os::fd::OwnedFd;
use std::time::Duration;

use bitflags::bitflags;

use crate::buffer::{End, Evbuffer, ReadSpace};
use crate::error::{Error, Result};
use crate::reactor::{Arena, Interest, RawId, Reactor, SlotId, SlotSpec, Source, owner};
use crate::util;
use link::Link;
use race::Race;
use rate_group::Groups;
use rate_limit::Rates;
use relay::Relay;
use storage::Stored;

pub use filter::{Filter, FilterResult};
pub use flush::FlushMode;
pub use options::Options;
pub use rate_group::{RateLimitGroup, RateLimitGroupId};
pub use relay::{RELAY_MARK, RelayEnd, RelayId, RelayOptions, Splicing};
pub(crate) use token_bucket::Direction;
pub use token_bucket::{RATE_LIMIT_MAX, TokenBucket};
pub use trigger::Trigger;

/// How much one bufferevent reads in a turn before the others have had theirs, unless it says otherwise.
pub const MAX_SINGLE_READ: usize = 64 * 1024;

/// How much one bufferevent writes in a turn before the others have had theirs, unless it says otherwise: 1 MiB, and a little more, so
/// that a head does not push the end of its body into another turn.
pub const MAX_SINGLE_WRITE: usize = (1024 + 16) * 1024;

/// Names a bufferevent of one [`EventBase`](crate::EventBase). Small, `Copy`, and never another connection's:
/// once the bufferevent is freed every use of its id is [`Error::Stale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuffereventId(pub(crate) RawId);

bitflags! {
    /// What an event callback is told: what happened, and in which direction.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct BevEvents: u8 {
        /// It happened while reading.
        #[doc(alias = "BEV_EVENT_READING")]
        const READING = 0x01;
        /// It happened while writing.
        #[doc(alias = "BEV_EVENT_WRITING")]
        const WRITING = 0x02;
        /// The peer has sent its last byte; everything before it is in the input.
        #[doc(alias = "BEV_EVENT_EOF")]
        const EOF = 0x10;
        /// An operation failed; [`Bufferevent::last_error`] says how.
        #[doc(alias = "BEV_EVENT_ERROR")]
        const ERROR = 0x20;
        /// A timeout passed; that direction is now disabled.
        #[doc(alias = "BEV_EVENT_TIMEOUT")]
        const TIMEOUT = 0x40;
        /// A connect that was asked for has succeeded.
        #[doc(alias = "BEV_EVENT_CONNECTED")]
        const CONNECTED = 0x80;
        /// The peer has shut its side down, or is gone; what it has sent before may still have to be read, and the end of the
        /// stream comes behind that. Only those hear of it who ask with [`Options::tell_close`].
        const CLOSED = 0x08;
    }
}

bitflags! {
    /// The callbacks that are due, in the order in which they are made; also which of them exist.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Due: u8 {
        const CONNECTED = 1;
        const READ = 2;
        const WRITE = 4;
        const EVENTS = 8;
    }
}

bitflags! {
    /// What is true of a bufferevent right now.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct State: u32 {
        /// Reading may find something: the last read was full, or the kernel has said so since.
        const READABLE = 1;
        /// The kernel took all of the last write, or has said since that there is room.
        const WRITABLE = 2;
        /// The peer has shut down its side, or has sent urgent data: a short read proves nothing any more, and
        /// reading goes on until the kernel has nothing.
        const READ_ON = 4;
        /// In the list of those to settle.
        const TOUCHED = 8;
        /// A connect is under way.
        const CONNECTING = 16;
        /// Callbacks are made from the queue, never straight after the reading that caused them.
        const DEFERRED = 32;
        /// Freed by its user; what is left is to flush, half-close and wait for the peer.
        const CLOSING = 64;
        /// The write half has been shut down.
        const WRITE_SHUT = 128;
        /// The end of the stream has been read.
        const EOF = 256;
        /// The slot keeps the loop alive.
        const HOLDS_LOOP = 512;
        /// Its bytes come from another bufferevent and go to it, not to a socket.
        const LINKED = 1024;
        /// A filter or a relay lies above: what becomes due is told to that.
        const COVERED = 2048;
        /// The filter above wants nothing for now.
        const SUSPENDED = 4096;
        /// The filter above needs more than the high mark lets in.
        const HUNGRY = 8192;
        /// Another bufferevent has too much to send.
        const PAUSED = 1 << 14;
        /// Its write half is to be shut down when the output is empty.
        const SHUT_ASKED = 1 << 15;
        /// Its user wants to hear that the peer has closed before the end has been read.
        const TELLS_CLOSE = 1 << 16;
        /// A socket on which connecting has failed stays with it.
        const KEEPS_REFUSED = 1 << 17;
        /// Connecting has failed on its socket, which is not watched any more.
        const REFUSED = 1 << 18;
        /// The last read has failed.
        const READ_FAILED = 1 << 19;
        /// For one of these two reasons nothing is to be read now.
        const HELD_BACK = Self::SUSPENDED.bits() | Self::PAUSED.bits();
        /// For one of these two reasons nothing more is to be read.
        const READ_OVER = Self::EOF.bits() | Self::READ_FAILED.bits();
    }
}

/// The two marks of both directions.
#[derive(Debug, Clone, Copy)]
struct Marks {
    read_low: usize,
    /// 0 is no limit.
    read_high: usize,
    write_low: usize,
    write_high: usize,
}

/// What most connections never set, and so keep behind a pointer.
#[derive(Debug)]
struct Rare {
    marks: Marks,
    max_single_read: usize,
    max_single_write: usize,
    rates: Option<Box<Rates>>,
    error: Option<Error>,
    link: Option<Box<Link>>,
    /// Attempts to connect to one of several addresses.
    race: Option<Box<Race>>,
}

impl Rare {
    const fn usual() -> Self {
        let marks = Marks { read_low: 0, read_high: 0, write_low: 0, write_high: 0 };
        Rare {
            marks,
            max_single_read: MAX_SINGLE_READ,
            max_single_write: MAX_SINGLE_WRITE,
            rates: None,
            error: None,
            link: None,
            race: None,
        }
    }
}

const USUAL: &Rare = &Rare::usual();

/// A transport with its buffers and rules, reached through [`EventBase::bufferevent`](crate::EventBase::bufferevent).
///
/// Whatever is changed here takes effect before the loop waits next: output that was added is sent, reading that
/// was suspended is taken up.
///
/// # Differences from libevent
///
/// A socket bufferevent owns its descriptor and closes it when it is freed. Setting a bufferevent up costs no call but the one that
/// makes sure that the descriptor does not block, and enabling writing with nothing to write calls nobody.
#[derive(Debug)]
#[doc(alias = "bufferevent")]
pub struct Bufferevent {
    input: Stored,
    output: Stored,
    rare: Option<Box<Rare>>,
    /// Absolute, on the loop's clock; 0 is none. `write_deadline` bounds the lingering of a closing one too.
    read_deadline_ns: u64,
    write_deadline_ns: u64,
    /// 0 is none.
    read_timeout_ms: u32,
    write_timeout_ms: u32,
    slot: SlotId,
    fd: Option<OwnedFd>,
    state: State,
    enabled: Interest,
    due: Due,
    /// Which callbacks somebody has set: what nobody listens to never becomes due.
    heard: Due,
    events: BevEvents,
}

/// The heap that an idle bufferevent costs is its slot alone; the budget of a whole idle connection is 512 bytes.
const _: () = assert!(size_of::<Bufferevent>() <= 96);

impl Bufferevent {
    fn new(slot: SlotId, fd: Option<OwnedFd>, options: &Options) -> Self {
        let mut state = State::WRITABLE | State::HOLDS_LOOP;
        state.set(State::DEFERRED, options.deferred);
        state.set(State::TELLS_CLOSE, options.tell_close);
        state.set(State::KEEPS_REFUSED, options.keep_refused);
        Bufferevent {
            input: Stored::new(End::Back),
            output: Stored::new(End::Front),
            rare: None,
            read_deadline_ns: 0,
            write_deadline_ns: 0,
            read_timeout_ms: 0,
            write_timeout_ms: 0,
            slot,
            fd,
            state,
            enabled: Interest::WRITE,
            due: Due::empty(),
            heard: Due::empty(),
            events: BevEvents::empty(),
        }
    }

    /// What has arrived and has not been taken. Its end is frozen: only the transport adds here.
    #[doc(alias = "bufferevent_get_input")]
    pub fn input(&mut self) -> &mut Evbuffer {
        self.input.get()
    }

    /// What waits to be sent. Its front is frozen: only the transport takes from here.
    #[doc(alias = "bufferevent_get_output")]
    pub fn output(&mut self) -> &mut Evbuffer {
        self.output.get()
    }

    /// Input and output at once, to move bytes from one to the other without copying.
    pub fn buffers(&mut self) -> (&mut Evbuffer, &mut Evbuffer) {
        (self.input.get(), self.output.get())
    }

    /// Appends a copy of `data` to the output.
    ///
    /// # Errors
    ///
    /// As [`Evbuffer::add`].
    #[doc(alias = "bufferevent_write")]
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.output.get().add(data)
    }

    /// Moves all of `source` to the end of the output.
    ///
    /// # Errors
    ///
    /// As [`Evbuffer::add_buffer`].
    #[doc(alias = "bufferevent_write_buffer")]
    pub fn write_buffer(&mut self, source: &mut Evbuffer) -> Result<()> {
        self.output.get().add_buffer(source)
    }

    /// Takes up to `into.len()` bytes from the input and says how many.
    ///
    /// # Errors
    ///
    /// As [`Evbuffer::remove`].
    #[doc(alias = "bufferevent_read")]
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.input.get().remove(into)
    }

    /// Moves the whole input to the end of `into`.
    ///
    /// # Errors
    ///
    /// As [`Evbuffer::add_buffer`].
    #[doc(alias = "bufferevent_read_buffer")]
    pub fn read_buffer(&mut self, into: &mut Evbuffer) -> Result<()> {
        into.add_buffer(self.input.get())
    }

    /// Lets the transport read, write or both. Writing is enabled from the start, reading is not.
    #[doc(alias = "bufferevent_enable")]
    pub fn enable(&mut self, directions: Interest) {
        self.enabled |= directions & (Interest::READ | Interest::WRITE);
    }

    /// Stops the transport from reading, writing or both. A connect under way goes on.
    #[doc(alias = "bufferevent_disable")]
    pub fn disable(&mut self, directions: Interest) {
        self.enabled -= directions;
    }

    /// Which directions are enabled.
    #[doc(alias = "bufferevent_get_enabled")]
    #[must_use]
    pub fn enabled(&self) -> Interest {
        self.enabled
    }

    /// Sets the marks, in bytes, of each direction named.
    ///
    /// Reading: the read callback is made once the input holds `low` bytes or more, and the transport stops
    /// reading when it holds `high` (0: never). Writing: the write callback is made when the output has sunk to
    /// `low` or less; `high` is how much a filter above lets the output hold.
    ///
    /// # Differences from libevent
    ///
    /// With a low mark above the high one the read callback is made at the high one: no more will come.
    #[doc(alias = "bufferevent_setwatermark")]
    pub fn set_watermark(&mut self, directions: Interest, low: usize, high: usize) {
        let marks = &mut self.rare_mut().marks;
        if directions.contains(Interest::READ) {
            (marks.read_low, marks.read_high) = (low, high);
        }
        if directions.contains(Interest::WRITE) {
            (marks.write_low, marks.write_high) = (low, high);
        }
    }

    /// The low and high mark of one direction, in bytes.
    #[doc(alias = "bufferevent_getwatermark")]
    #[must_use]
    pub fn watermark(&self, direction: Interest) -> (usize, usize) {
        let marks = &self.rare().marks;
        if direction.contains(Interest::READ) {
            (marks.read_low, marks.read_high)
        } else {
            (marks.write_low, marks.write_high)
        }
    }

    /// Sets how long reading and writing may make no progress, each `None` or zero for no limit.
    ///
    /// A timeout counts only while its direction is wanted: reading while it is enabled and not suspended by the
    /// high mark, writing while it is enabled and there is output (or a connect under way). Nor does it count while there
    /// is something to read, or room to write, and a rate limit suspends the direction: it is the peer's time that is
    /// measured. When it passes, that direction is disabled and the event callback gets [`BevEvents::TIMEOUT`]. Whole milliseconds, rounded up;
    /// the longest is 49 days.
    #[doc(alias = "bufferevent_set_timeouts")]
    #[doc(alias = "bufferevent_settimeout")]
    pub fn set_timeouts(&mut self, read: Option<Duration>, write: Option<Duration>) {
        self.read_timeout_ms = whole_ms(read);
        self.write_timeout_ms = whole_ms(write);
        self.read_deadline_ns = 0;
        self.write_deadline_ns = 0;
    }

    /// Sets how many bytes a turn may read at most; 0 is [`MAX_SINGLE_READ`].
    #[doc(alias = "bufferevent_set_max_single_read")]
    pub fn set_max_single_read(&mut self, bytes: usize) {
        self.rare_mut().max_single_read = if bytes == 0 { MAX_SINGLE_READ } else { bytes };
    }

    /// Sets how many bytes a turn may write at most, of whatever kind; 0 is [`MAX_SINGLE_WRITE`].
    #[doc(alias = "bufferevent_set_max_single_write")]
    pub fn set_max_single_write(&mut self, bytes: usize) {
        self.rare_mut().max_single_write = if bytes == 0 { MAX_SINGLE_WRITE } else { bytes };
    }

    /// How many bytes a turn may read at most.
    #[doc(alias = "bufferevent_get_max_single_read")]
    #[must_use]
    pub fn max_single_read(&self) -> usize {
        self.rare().max_single_read
    }

    /// How many bytes a turn may write at most.
    #[doc(alias = "bufferevent_get_max_single_write")]
    #[must_use]
    pub fn max_single_write(&self) -> usize {
        self.rare().max_single_write
    }

    /// The error behind the last [`BevEvents::ERROR`].
    #[must_use]
    pub fn last_error(&self) -> Option<&Error> {
        self.rare().error.as_ref()
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(Rare::usual()))
    }

    fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(USUAL)
    }

    /// Whether the transport is there to be read and written.
    fn is_open(&self) -> bool {
        self.has_transport() && !self.state.contains(State::CONNECTING)
    }

    fn has_transport(&self) -> bool {
        let has_socket = self.fd.is_some() && !self.state.contains(State::REFUSED);
        has_socket || self.state.contains(State::LINKED)
    }

    /// Whether a connect is under way.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        self.state.contains(State::CONNECTING)
    }

    /// Lets the time that reading or writing may make no progress start anew, as if there had been some.
    pub fn restart_timeouts(&mut self, directions: Interest) {
        if directions.contains(Interest::READ) {
            self.read_deadline_ns = 0;
        }
        if directions.contains(Interest::WRITE) {
            self.write_deadline_ns = 0;
        }
    }

    /// Asks the kernel again whether there is anything to read and any room to write, whatever it has said.
    #[cfg(feature = "capi")]
    pub(crate) fn look_again(&mut self) {
        if self.is_open() {
            self.state |= State::READABLE | State::WRITABLE;
        }
    }

    /// Opens those ends of the buffers that are the transport's, or closes them again.
    #[cfg(feature = "capi")]
    pub(crate) fn thaw_buffers(&mut self, thaw: bool) {
        self.input.freeze(End::Back, !thaw);
        self.output.freeze(End::Front, !thaw);
    }

    /// If the end of the stream has been read, or reading has failed, tries once more: there may be more, of a terminal or
    /// a FIFO for example that somebody else has opened; or the end, or the error, is told again. Reading has to be enabled
    /// for it, which alone would not do.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::bufferevent::{BevEvents, Options};
    /// use zerovent::event_base::Interest;
    ///
    /// let mut base = zerovent::EventBase::with_context(0)?;
    /// let (near, far) = zerovent::util::socketpair()?;
    /// let id = base.new_socket(Some(near), &Options::new())?;
    /// base.set_event_callback(id, |base, id, events| {
    ///     assert!(events.contains(BevEvents::EOF));
    ///     *base.context_mut() += 1;
    ///     if *base.context() < 3 {
    ///         base.bufferevent(id).unwrap().read_again();
    ///         base.bufferevent(id).unwrap().enable(Interest::READ);
    ///     }
    /// })?;
    /// base.bufferevent(id)?.enable(Interest::READ);
    /// drop(far);
    /// base.dispatch()?;
    /// assert_eq!(*base.context(), 3);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn read_again(&mut self) {
        if self.fd.is_some() && self.state.intersects(State::READ_OVER) {
            self.state -= State::READ_OVER;
            self.state |= State::READABLE;
        }
    }

    /// How many bytes reading may take in now; 0 while nobody wants any.
    fn read_room(&self) -> usize {
        let stopped = self.state.intersects(State::READ_OVER | State::HELD_BACK);
        if !self.enabled.contains(Interest::READ) || stopped || !self.is_open() {
            return 0;
        }
        let rare = self.rare();
        let high = rare.marks.read_high;
        let unlimited = high == 0 || self.state.contains(State::HUNGRY);
        let room = if unlimited { usize::MAX } else { high.saturating_sub(self.input.len()) };
        room.min(rare.max_single_read).min(self.input.room())
    }

    /// Whether writing is something this bufferevent waits for; connecting is.
    fn wants_write(&self) -> bool {
        let connecting = self.state.contains(State::CONNECTING);
        let sending = self.has_transport() && !self.output.is_empty();
        self.enabled.contains(Interest::WRITE) && (connecting || sending)
    }

    /// Makes callbacks due, as far as somebody listens.
    fn owe(&mut self, due: Due) {
        self.due |= due & self.heard;
    }

    /// Makes the event callback due; what happened meanwhile is told in one call. What nobody hears is forgotten,
    /// or it would be told together with what happens once somebody does.
    fn report(&mut self, events: BevEvents) {
        if self.heard.contains(Due::EVENTS) {
            self.events |= events;
            self.due |= Due::EVENTS;
        }
    }

    /// Keeps `error` for [`last_error`](Self::last_error), stops the direction it happened in, and reports it.
    fn fail(&mut self, direction: BevEvents, error: Error) {
        self.rare_mut().error = Some(error);
        if direction.contains(BevEvents::READING) {
            self.enabled -= Interest::READ;
        }
        if direction.contains(BevEvents::WRITING) {
            self.enabled -= Interest::WRITE;
        }
        self.report(direction | BevEvents::ERROR);
    }
}

/// All bufferevents of one base.
#[derive(Debug)]
pub(crate) struct Engine {
    arena: Arena<Bufferevent>,
    /// The places of those to settle before the next wait. One that was freed meanwhile, and one whose place
    /// is listed twice because of that, is known by its `State::TOUCHED`.
    touched: Vec<u32>,
    /// Bytes that have been read since they were settled.
    unsettled: usize,
    groups: Groups,
    relays: Arena<Relay>,
    space: ReadSpace,
}

impl Engine {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Engine {
            arena: Arena::with_capacity(capacity),
            touched: Vec::new(),
            unsettled: 0,
            groups: Groups::new(),
            relays: Arena::with_capacity(0),
            space: ReadSpace::new(),
        }
    }

    /// Makes a bufferevent over `fd`, a connected socket, or over none yet. A descriptor that blocks would stop the loop.
    pub(crate) fn insert(
        &mut self,
        reactor: &mut Reactor,
        fd: Option<OwnedFd>,
        options: &Options,
    ) -> Result<BuffereventId> {
        fd.as_ref().map_or(Ok(()), util::make_nonblocking)?;
        let source = fd.as_ref().map_or(Source::None, |fd| socket::source(fd, reactor));
        let spec = SlotSpec { owner: owner::BUFFEREVENT, source, persist: true, priority: options.priority };
        let slot = reactor.insert(spec)?;
        // The slot is new, and the descriptor, if there is one, is open: it can be added.
        reactor.add(slot, None)?;
        let id = self.arena.insert(Bufferevent::new(slot, fd, options));
        reactor.set_owner(slot, owner::BUFFEREVENT | u64::from(id.index()))?;
        let id = BuffereventId(id);
        self.touch(id);
        Ok(id)
    }

    /// Frees it: unsent output is dropped and the socket closed.
    pub(crate) fn remove(&mut self, reactor: &mut Reactor, id: BuffereventId) -> Result<()> {
        let mut gone = self.take_out(reactor, id.0)?;
        if let Some(link) = gone.take_link() {
            self.unlink(reactor, id.0, *link);
        }
        Ok(())
    }

    fn take_out(&mut self, reactor: &mut Reactor, id: RawId) -> Result<Bufferevent> {
        self.leave_group(id);
        let mut gone = self.arena.remove(id).ok_or(Error::Stale)?;
        gone.stop_race(reactor);
        if gone.fd.is_some() {
            reactor.forget_fd(gone.slot)?;
        }
        reactor.remove(gone.slot)?;
        Ok(gone)
    }

    /// The bufferevent, as its user reaches it: touched, and stale once it is closing.
    pub(crate) fn get(&mut self, id: BuffereventId) -> Result<&mut Bufferevent> {
        if self.alive(id)?.state.contains(State::CLOSING) {
            return Err(Error::Stale);
        }
        self.touch(id);
        self.alive(id)
    }

    /// Whether its user has freed it, and it is still on its way.
    #[cfg(feature = "http")]
    pub(crate) fn is_closing(&self, id: BuffereventId) -> bool {
        self.arena.get(id.0).is_some_and(|bufferevent| bufferevent.state.contains(State::CLOSING))
    }

    /// Says which callbacks exist; what nobody listens to costs nothing.
    pub(crate) fn set_heard(&mut self, id: BuffereventId, which: Due, exists: bool) -> Result<()> {
        let bufferevent = self.get(id)?;
        if bufferevent.state.contains(State::COVERED) {
            return Err(Error::Invalid("its callbacks belong to what lies above it"));
        }
        bufferevent.heard.set(which, exists);
        if !exists {
            bufferevent.due -= which;
            bufferevent.events = BevEvents::empty();
        }
        Ok(())
    }

    /// The bufferevent, looked at and left as it is.
    #[cfg(feature = "capi")]
    pub(crate) fn look(&self, id: BuffereventId) -> Option<&Bufferevent> {
        self.arena.get(id.0)
    }

    /// The index of one of those that were touched since they were settled last.
    #[cfg(feature = "capi")]
    pub(crate) fn touched(&self, place: usize) -> Option<u32> {
        self.touched.get(place).copied()
    }

    /// Says which callbacks exist, for an owner who hears of all but those that nobody would be called for.
    #[cfg(feature = "capi")]
    pub(crate) fn hear_only(&mut self, id: BuffereventId, which: Due) {
        if let Ok(bufferevent) = self.alive(id) {
            bufferevent.heard = which;
        }
    }

    /// Whether it lives and somebody listens to `which`.
    pub(crate) fn hears(&self, id: BuffereventId, which: Due) -> bool {
        self.arena.get(id.0).is_some_and(|bufferevent| bufferevent.heard.contains(which))
    }

    /// Takes one callback, if it is due, with what happened; one at a time, so that each may free the bufferevent.
    pub(crate) fn take_due(&mut self, id: BuffereventId, due: Due) -> Option<BevEvents> {
        let bufferevent = self.arena.get_mut(id.0).filter(|bufferevent| bufferevent.due.contains(due))?;
        bufferevent.due -= due;
        Some(match due {
            Due::CONNECTED => BevEvents::CONNECTED,
            Due::EVENTS => std::mem::take(&mut bufferevent.events),
            _ => BevEvents::empty(),
        })
    }

    pub(crate) fn id_at(&self, index: u64) -> Option<BuffereventId> {
        self.arena.id_at(u32::try_from(index).ok()?).map(BuffereventId)
    }

    fn alive(&mut self, id: BuffereventId) -> Result<&mut Bufferevent> {
        self.arena.get_mut(id.0).ok_or(Error::Stale)
    }

    fn touch(&mut self, id: BuffereventId) {
        if let Some(bufferevent) = self.arena.get_mut(id.0)
            && !bufferevent.state.contains(State::TOUCHED)
        {
            bufferevent.state |= State::TOUCHED;
            self.touched.push(id.0.index());
        }
    }
}

/// Milliseconds, rounded up so that a timeout is never early.
fn whole_ms(timeout: Option<Duration>) -> u32 {
    let ns = timeout.map_or(0, |timeout| timeout.as_nanos());
    u32::try_from(ns.div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
