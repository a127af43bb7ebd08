//! Back-pressure: a bufferevent does not read while another one has too much to send.
//!
//! The one with the output keeps a record of whom it pauses, and looks at its marks whenever it has been settled; the
//! one that reads only counts how many pause it. Between the two marks nothing changes, so that each pause is worth its while.

use super::{Bufferevent, BuffereventId, Engine, State};
use crate::error::Result;
use crate::reactor::RawId;

/// Who is paused, and by how much output.
#[derive(Debug)]
pub(super) struct Pause {
    source: RawId,
    reason: Reason,
    /// Reading stops when the output holds so much, and goes on when it holds no more than `low`.
    high: usize,
    low: usize,
    is_on: bool,
}

/// Who asked for a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    User,
    Relay,
}

impl Pause {
    /// Changes between on and off as the output wants it, and says whether it did. One that has reached its limit takes no more,
    /// wherever the mark is.
    fn flips(&mut self, output_len: usize, is_full: bool) -> bool {
        let is_on = is_full || output_len >= self.high || (self.is_on && output_len > self.low);
        std::mem::replace(&mut self.is_on, is_on) != is_on
    }
}

impl Engine {
    /// Pauses the reading of `source` while the output of `sink` holds more than `mark`; with `None` no longer.
    pub(crate) fn pause_while_above(
        &mut self,
        source: BuffereventId,
        sink: BuffereventId,
        mark: Option<usize>,
    ) -> Result<()> {
        self.get(source)?;
        self.get(sink)?;
        self.end_pause(source.0, sink.0, Reason::User);
        if let Some(mark) = mark {
            self.begin_pause(source.0, sink.0, mark.saturating_add(1), Reason::User);
        }
        Ok(())
    }

    pub(super) fn begin_pause(&mut self, source: RawId, sink: RawId, high: usize, reason: Reason) {
        if let Some(sink) = self.arena.get_mut(sink) {
            let pause = Pause { source, reason, high, low: (high - 1) / 2, is_on: false };
            sink.link_mut().pauses.push(pause);
        }
    }

    pub(super) fn end_pause(&mut self, source: RawId, sink: RawId, reason: Reason) {
        let Some(sink) = self.arena.get_mut(sink).filter(|sink| sink.link().is_some()) else { return };
        let mut ended = Vec::new();
        let is_meant = |pause: &mut Pause| pause.source == source && pause.reason == reason;
        ended.extend(sink.link_mut().pauses.extract_if(.., is_meant));
        self.lift(&ended);
    }

    /// Lets those read again who were paused.
    pub(super) fn lift(&mut self, ended: &[Pause]) {
        for pause in ended.iter().filter(|pause| pause.is_on) {
            self.pause_source(pause.source, false);
        }
    }

    /// The output has changed: whoever depends on it is paused, or goes on.
    pub(super) fn apply_pauses(&mut self, sink: RawId) {
        let Some(bufferevent) = self.arena.get_mut(sink) else { return };
        let (len, is_full) = (bufferevent.output.len(), bufferevent.output.room() == 0);
        let mut pauses = std::mem::take(&mut bufferevent.link_mut().pauses);
        // A source that was freed needs no record any more.
        pauses.retain_mut(|pause| {
            self.arena.get(pause.source).is_some() && {
                if pause.flips(len, is_full) {
                    self.pause_source(pause.source, pause.is_on);
                }
                true
            }
        });
        if let Some(bufferevent) = self.arena.get_mut(sink) {
            bufferevent.link_mut().pauses = pauses;
        }
    }

    fn pause_source(&mut self, source: RawId, is_on: bool) {
        let Some(bufferevent) = self.arena.get_mut(source) else { return };
        bufferevent.count_pause(is_on);
        self.touch(BuffereventId(source));
    }
}

impl Bufferevent {
    fn count_pause(&mut self, is_on: bool) {
        let link = self.link_mut();
        link.paused_by = if is_on { link.paused_by + 1 } else { link.paused_by.saturating_sub(1) };
        let is_paused = link.paused_by > 0;
        // What is closing reads on, so that the peer's last bytes pass without a reset.
        self.state.set(State::PAUSED, is_paused && !self.state.contains(State::CLOSING));
    }
}
