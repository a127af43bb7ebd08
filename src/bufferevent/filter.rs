//! Filters: bufferevents whose transport is another bufferevent, with a closure for each direction that transforms what
//! passes. They can be stacked.
//!
//! # What keeps bytes moving
//!
//! A filter is asked again whenever something has changed that could change its answer: the length of its source, or the room
//! that the mark leaves it. So nothing stays behind when a reader drains its input or is enabled again. While the
//! filter wants nothing, reading beneath it is suspended; while a closure needs more than the high mark beneath lets
//! in, that mark is lifted.
//!
//! The end of the stream beneath becomes the filter's own once everything before it has passed, and the closure has
//! been called with [`FlushMode::Finished`] to give what it still holds.

use std::fmt;

use super::link::{Link, Step, Transport};
use super::storage::Stored;
use super::{BevEvents, Bufferevent, BuffereventId, Direction, Due, Engine, FlushMode, Options, Rare, State};
use crate::buffer::Evbuffer;
use crate::error::{Error, Result};
use crate::reactor::{Interest, RawId, Reactor};

/// What a filter's closure has achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "bufferevent_filter_result")]
pub enum FilterResult {
    /// It has moved something, and is to be called again while there is anything left.
    #[doc(alias = "BEV_OK")]
    Ok,
    /// It can do nothing more without more input, or another mode.
    #[doc(alias = "BEV_NEED_MORE")]
    NeedMore,
    /// It can never go on. The direction is disabled and the event callback told [`BevEvents::ERROR`]; the error is
    /// [`Error::Filter`].
    #[doc(alias = "BEV_ERROR")]
    Error,
}

/// Transforms bytes: takes them from the first buffer, its source, and adds what becomes of them to the second.
///
/// It is also told how many bytes to add at most if a mark says so, which it may exceed (and should, when nothing
/// smaller than one unit can be added and the second buffer is empty), and how hard to try. It is called as long as it
/// answers [`FilterResult::Ok`], the source is not empty, and the mark is not reached; with [`FlushMode::Flush`] and
/// [`FlushMode::Finished`] once at least, and without a limit.
#[doc(alias = "bufferevent_filter_cb")]
pub type Filter = Box<dyn FnMut(&mut Evbuffer, &mut Evbuffer, Option<usize>, FlushMode) -> FilterResult>;

/// The transport of a filter.
#[derive(Debug)]
pub(super) struct Layer {
    /// Gone when that has been freed.
    pub(super) underlying: Option<RawId>,
    /// The underlying bufferevent is freed with this one.
    pub(super) closes: bool,
    input: Way,
    output: Way,
    /// Directions that were stopped beneath by a timeout or an error, and go on there when they are enabled here.
    stopped: Interest,
}

/// One direction of a filter.
struct Way {
    filter: Filter,
    /// The length of the source and the limit with which the filter could do nothing.
    starved: Option<(usize, Option<usize>)>,
    /// It has been told that nothing more comes.
    finished: bool,
    /// The settling in which it has passed its share.
    spent_ns: u64,
}

/// How much may pass.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The length that the destination is not to exceed.
    mark: Option<usize>,
    /// After so many bytes in one settling the others have their turn.
    share: usize,
    /// So many bytes the rate limits let pass.
    allowed: usize,
    now_ns: u64,
}

/// Why a filter is not called any more for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Empty,
    Starved,
    Full,
    Share,
    /// By a rate limit.
    Limited,
    Failed,
    /// The direction is not wanted.
    Idle,
}

impl Bounds {
    /// For what is forced.
    const NONE: Bounds = Bounds { mark: None, share: usize::MAX, allowed: usize::MAX, now_ns: 0 };

    fn limit(&self, destination: &Evbuffer) -> Option<usize> {
        let capacity = destination.capacity_limit();
        let most = self.mark.into_iter().chain(capacity).min()?;
        Some(most.saturating_sub(destination.len()))
    }

    /// What may still be added when `passed` bytes have been.
    fn limit_after(&self, passed: usize, destination: &Evbuffer) -> Option<usize> {
        let rates = (self.allowed < usize::MAX).then(|| self.allowed - passed);
        self.limit(destination).into_iter().chain(rates).min()
    }
}

impl Way {
    fn new(filter: Option<Filter>) -> Self {
        Way {
            filter: filter.unwrap_or_else(|| Box::new(pass_on)),
            starved: None,
            finished: false,
            spent_ns: 0,
        }
    }

    /// Calls the filter as often as it makes sense.
    fn run(
        &mut self,
        source: &mut Stored,
        destination: &mut Stored,
        bounds: Bounds,
        mode: FlushMode,
    ) -> Stop {
        let nothing_new = mode == FlushMode::Normal || (mode == FlushMode::Finished && self.finished);
        if source.is_empty() && nothing_new {
            return Stop::Empty;
        }
        let (mut source, mut destination) = (source.get().thaw(), destination.get().thaw());
        let start = destination.len();
        if mode == FlushMode::Normal && self.spent_ns == bounds.now_ns {
            return Stop::Share;
        }
        // A closure that cannot do with what the rate limits allow gets what it needs, and the bucket pays later.
        let mut overdraws = false;
        loop {
            let passed = destination.len().saturating_sub(start);
            if passed >= bounds.allowed {
                return Stop::Limited;
            }
            let marked = bounds.limit(&destination);
            let limit = if overdraws { marked } else { bounds.limit_after(passed, &destination) };
            if limit == Some(0) {
                return Stop::Full;
            }
            if mode == FlushMode::Normal && self.starved == Some((source.len(), limit)) {
                return Stop::Starved;
            }
            if passed >= bounds.share {
                self.spent_ns = bounds.now_ns;
                return Stop::Share;
            }
            self.finished = mode == FlushMode::Finished;
            let before = (source.len(), destination.len());
            match (self.filter)(&mut source, &mut destination, limit, mode) {
                FilterResult::Error => return Stop::Failed,
                FilterResult::Ok if before != (source.len(), destination.len()) => self.starved = None,
                FilterResult::Ok | FilterResult::NeedMore if limit != marked => overdraws = true,
                FilterResult::Ok | FilterResult::NeedMore => {
                    self.starved = Some((source.len(), bounds.limit(&destination)));
                    return if source.is_empty() { Stop::Empty } else { Stop::Starved };
                }
            }
            if source.is_empty() {
                return Stop::Empty;
            }
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way")
            .field("starved", &self.starved)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// What stands in for a filter that was not given: bytes pass without being copied.
fn pass_on(from: &mut Evbuffer, to: &mut Evbuffer, limit: Option<usize>, _mode: FlushMode) -> FilterResult {
    match from.remove_buffer(to, limit.unwrap_or(usize::MAX)) {
        Ok(_) => FilterResult::Ok,
        Err(_) => FilterResult::Error,
    }
}

impl Engine {
    /// Makes a filter over `underlying`, and takes over what is told about that.
    pub(crate) fn insert_filter(
        &mut self,
        reactor: &mut Reactor,
        underlying: BuffereventId,
        (input, output): (Option<Filter>, Option<Filter>),
        options: &Options,
    ) -> Result<BuffereventId> {
        if self.get(underlying)?.state.contains(State::COVERED) {
            return Err(Error::Invalid("a filter or a relay lies above it already"));
        }
        let id = self.insert(reactor, None, options)?;
        let layer = Layer {
            underlying: Some(underlying.0),
            closes: options.close_on_free,
            input: Way::new(input),
            output: Way::new(output),
            stopped: Interest::empty(),
        };
        self.alive(id)?.set_transport(Transport::Filter(layer));
        let below = self.alive(underlying)?;
        below.enabled = Interest::READ | Interest::WRITE;
        below.state |= State::COVERED | State::SUSPENDED;
        below.heard = Due::all();
        below.link_mut().above = Some(id.0);
        Ok(id)
    }

    /// Lets bytes and news cross between a filter and what lies beneath it.
    pub(super) fn step_filter(&mut self, id: RawId, below: RawId, now_ns: u64) -> Step {
        let to_read = self.limits_allow(id, Direction::Read, now_ns);
        let to_write = self.limits_allow(id, Direction::Write, now_ns);
        let Some((filter, underlying)) = self.arena.get_two_mut(id, below) else { return Step::default() };
        let before = underlying.as_seen();
        let lens = (filter.input.len(), underlying.output.len());
        filter.hear_from(underlying);
        let drawn = filter.draw(underlying, FlushMode::Normal, to_read, now_ns);
        let sent = filter.send_down(underlying, FlushMode::Normal, to_write, now_ns);
        filter.adjust(underlying);
        if matches!(drawn, Stop::Empty | Stop::Starved) {
            filter.take_over_end(underlying, now_ns);
        }
        let changed = before != underlying.as_seen();
        underlying.link_mut().seen = Some(underlying.outline());
        let passed =
            (filter.input.len().saturating_sub(lens.0), underlying.output.len().saturating_sub(lens.1));
        self.account(id, Direction::Read, passed.0);
        self.account(id, Direction::Write, passed.1);
        Step { neighbour: changed.then_some(below), has_more: drawn == Stop::Share || sent == Stop::Share }
    }

    /// Calls the closure of one direction, whatever holds bytes back.
    pub(super) fn flush_filter(&mut self, id: RawId, direction: Interest, mode: FlushMode, now_ns: u64) {
        let Some(below) = self.arena.get(id).and_then(Bufferevent::beneath) else { return };
        let Some((filter, underlying)) = self.arena.get_two_mut(id, below) else { return };
        let lens = (filter.input.len(), underlying.output.len());
        if direction.contains(Interest::READ) {
            filter.draw(underlying, mode, usize::MAX, now_ns);
        } else {
            filter.send_down(underlying, mode, usize::MAX, now_ns);
        }
        let passed =
            (filter.input.len().saturating_sub(lens.0), underlying.output.len().saturating_sub(lens.1));
        self.account(id, Direction::Read, passed.0);
        self.account(id, Direction::Write, passed.1);
        self.touch(BuffereventId(id));
        self.touch(BuffereventId(below));
    }
}

impl Bufferevent {
    /// What this filter lies above, until that is freed.
    #[doc(alias = "bufferevent_get_underlying")]
    #[must_use]
    pub fn underlying(&self) -> Option<BuffereventId> {
        self.beneath().map(BuffereventId)
    }

    /// How long the output may become as far as a filter above is concerned, less what it holds.
    pub(super) fn output_limit(&self) -> Option<usize> {
        let mark = self.write_mark()?;
        Some(mark.saturating_sub(self.output.len()))
    }

    fn write_mark(&self) -> Option<usize> {
        Some(self.rare().marks.write_high).filter(|&high| high != 0)
    }

    fn read_mark(&self) -> Option<usize> {
        Some(self.rare().marks.read_high).filter(|&high| high != 0 && !self.state.contains(State::HUNGRY))
    }

    /// What makes it worth settling again when a filter has changed it.
    fn as_seen(&self) -> (usize, usize, State, Interest) {
        (self.input.len(), self.output.len(), self.state, self.enabled)
    }

    /// Takes over what has happened beneath, but for the end of the stream.
    fn hear_from(&mut self, below: &mut Bufferevent) {
        if std::mem::replace(&mut below.due, Due::empty()).contains(Due::CONNECTED) {
            self.owe(Due::CONNECTED);
        }
        let mut news = std::mem::take(&mut below.events);
        if below.state.contains(State::EOF) {
            news -= BevEvents::EOF | BevEvents::READING;
        }
        let mut directions = Interest::empty();
        directions.set(Interest::READ, news.contains(BevEvents::READING));
        directions.set(Interest::WRITE, news.contains(BevEvents::WRITING));
        if news.intersects(BevEvents::EOF | BevEvents::ERROR | BevEvents::TIMEOUT) {
            if news.contains(BevEvents::ERROR) {
                self.rare_mut().error = below.rare_mut().error.take();
            }
            self.enabled -= directions;
            self.report(news);
        }
        let enabled = self.enabled;
        let Some(layer) = layer_of(&mut self.rare) else { return };
        layer.stopped |= directions;
        below.enabled |= layer.stopped & enabled;
        layer.stopped -= enabled;
    }

    /// Lets the input closure transform what has come in beneath.
    fn draw(&mut self, below: &mut Bufferevent, mode: FlushMode, allowed: usize, now_ns: u64) -> Stop {
        let wanted = self.enabled.contains(Interest::READ) && !self.state.intersects(State::HELD_BACK);
        let bounds = match mode {
            _ if self.state.contains(State::EOF) => return Stop::Idle,
            FlushMode::Normal if !wanted => return Stop::Idle,
            FlushMode::Normal => {
                Bounds { mark: self.read_mark(), share: self.max_single_read(), allowed, now_ns }
            }
            FlushMode::Flush | FlushMode::Finished => Bounds::NONE,
        };
        let before = self.input.len();
        let Some(layer) = layer_of(&mut self.rare) else { return Stop::Idle };
        let stop = layer.input.run(&mut below.input, &mut self.input, bounds, mode);
        if self.input.len() > before {
            self.read_deadline_ns = 0;
            self.received();
        }
        self.set_limited(Direction::Read, stop == Stop::Limited);
        if stop == Stop::Failed {
            self.fail(BevEvents::READING, Error::Filter);
        }
        stop
    }

    /// Lets the output closure transform what is to be sent, and gives that to what lies beneath.
    fn send_down(&mut self, below: &mut Bufferevent, mode: FlushMode, allowed: usize, now_ns: u64) -> Stop {
        let bounds = match mode {
            FlushMode::Normal if !self.enabled.contains(Interest::WRITE) => return Stop::Idle,
            FlushMode::Normal => {
                Bounds { mark: below.write_mark(), share: self.max_single_write(), allowed, now_ns }
            }
            FlushMode::Flush | FlushMode::Finished => Bounds::NONE,
        };
        let before = self.output.len();
        let Some(layer) = layer_of(&mut self.rare) else { return Stop::Idle };
        let stop = layer.output.run(&mut self.output, &mut below.output, bounds, mode);
        if self.output.len() < before {
            self.sent(now_ns);
        }
        self.set_limited(Direction::Write, stop == Stop::Limited);
        if stop == Stop::Failed {
            self.fail(BevEvents::WRITING, Error::Filter);
        }
        stop
    }

    /// Suspends reading beneath while nothing is wanted from there, and lifts the mark there while more is needed.
    fn adjust(&mut self, below: &mut Bufferevent) {
        let stopped_by_mark = self.is_stopped_by_mark();
        let has_plenty = below.input.len() >= below.max_single_read();
        let is_stopped = stopped_by_mark || self.is_suspended(Direction::Read);
        let suspended = self.read_room() == 0 || (is_stopped && has_plenty);
        let is_hungry = self.starved().is_some() && !stopped_by_mark && !below.input.is_empty();
        below.state.set(State::SUSPENDED, suspended);
        below.state.set(State::HUNGRY, is_hungry);
    }

    /// Whether it may be its own mark that stops the input closure: there is a limit, and a reader who could lift it.
    fn is_stopped_by_mark(&self) -> bool {
        let reader_is_to_drain = self.input.len() >= self.rare().marks.read_low.max(1);
        self.starved().is_some_and(|(_, limit)| limit.is_some() && reader_is_to_drain)
    }

    /// With what length and limit the input closure could do nothing.
    fn starved(&self) -> Option<(usize, Option<usize>)> {
        match &self.link()?.transport {
            Transport::Filter(layer) => layer.input.starved,
            _ => None,
        }
    }

    /// Ends as what lies beneath has ended, when all of that has passed.
    fn take_over_end(&mut self, below: &mut Bufferevent, now_ns: u64) {
        let may_pass_more = !below.input.is_empty() && self.is_stopped_by_mark();
        if !below.state.contains(State::EOF) || self.state.contains(State::EOF) || may_pass_more {
            return;
        }
        if matches!(self.draw(below, FlushMode::Finished, usize::MAX, now_ns), Stop::Empty | Stop::Starved) {
            self.reached_eof();
        }
    }
}

/// The transport of a filter.
fn layer_of(rare: &mut Option<Box<Rare>>) -> Option<&mut Layer> {
    let link: &mut Link = rare.as_mut()?.link.as_mut()?;
    match &mut link.transport {
        Transport::Filter(layer) => Some(layer),
        _ => None,
    }
}
