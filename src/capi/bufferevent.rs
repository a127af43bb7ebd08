//! What the loop does with bufferevents.

use super::base::{Core, event_base};
use crate::reactor::What;

/// Whether settling, or a step of an engine, has changed something that C is to be told of.
pub(super) fn has_news(_core: &Core) -> bool {
    false
}

/// Tells C of that. Nothing is entered.
pub(super) fn tell_news(_base: &event_base) {}

/// Lets the bufferevent at `index` take in what the reactor reports, and calls what has become due. Nothing is entered.
pub(super) fn run(_base: &event_base, _index: u64, _what: What) {}
