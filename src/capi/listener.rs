//! What the loop does with listeners.

use super::base::event_base;
use crate::reactor::What;

/// Accepts a turn's share of the listener at `index`. Nothing is entered.
pub(super) fn run(_base: &event_base, _index: u64, _what: What) {}
