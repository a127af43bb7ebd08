//! Making callbacks due by hand.

use super::{BevEvents, Bufferevent, Due};
use crate::reactor::Interest;

/// Whether the low marks have a say in what [`Bufferevent::trigger`] makes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "bufferevent_trigger_options")]
pub enum Trigger {
    /// A callback is made only if its low mark allows it.
    WithinMarks,
    /// It is made in any case.
    #[doc(alias = "BEV_TRIG_IGNORE_WATERMARKS")]
    Always,
}

impl Bufferevent {
    /// Has the read or write callback made, or both, as if bytes had just arrived or left. They come from the loop, in any
    /// case after this call, and each once, however often it is asked for.
    ///
    /// # Differences from libevent
    ///
    /// All callbacks come from the loop, so there is no `BEV_TRIG_DEFER_CALLBACKS`.
    #[doc(alias = "bufferevent_trigger")]
    #[doc(alias = "BEV_TRIG_DEFER_CALLBACKS")]
    pub fn trigger(&mut self, directions: Interest, how: Trigger) {
        let marks = &self.rare().marks;
        let always = how == Trigger::Always;
        let mut due = Due::empty();
        due.set(Due::READ, always || self.input.len() >= marks.read_low);
        due.set(Due::WRITE, always || self.output.len() <= marks.write_low);
        let mut asked = Due::empty();
        asked.set(Due::READ, directions.contains(Interest::READ));
        asked.set(Due::WRITE, directions.contains(Interest::WRITE));
        self.owe(due & asked);
    }

    /// Has the event callback told `events`, together with what else has happened by then.
    #[doc(alias = "bufferevent_trigger_event")]
    pub fn trigger_event(&mut self, events: BevEvents) {
        if events.contains(BevEvents::CONNECTED) {
            self.owe(Due::CONNECTED);
        }
        let others = events - BevEvents::CONNECTED;
        if !others.is_empty() {
            self.report(others);
        }
    }
}
