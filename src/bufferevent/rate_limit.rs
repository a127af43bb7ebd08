//! What limits one bufferevent: buckets of its own, a group, or both.
//!
//! A direction is *suspended* while the transport could move bytes, somebody wants them moved, and a limit does not let
//! it. That costs nothing: what the kernel has said last is remembered as always (`State::READABLE` and `WRITABLE`), so
//! nothing is registered anew, and the slot's one timer wakes the bufferevent when its own buckets have something
//! again. A member of a group moves bytes only when the group gives it its share (`rate_group`).

use super::rate_line::Member;
use super::token_bucket::{Direction, Limit, TokenBucket};
use super::{Bufferevent, BuffereventId, Engine, State};
use crate::error::{Error, Result};
use crate::reactor::RawId;

/// The limits of one bufferevent; most have none, and no such thing.
#[derive(Debug, Default)]
pub(super) struct Rates {
    limit: Option<Limit>,
    pub(super) member: Option<Member>,
}

impl Rates {
    /// What its own buckets allow.
    fn own_allowance(&self, direction: Direction) -> usize {
        self.limit.as_ref().map_or(usize::MAX, |limit| limit.allowance(direction))
    }
}

/// How many bytes may be moved, as of the last refill.
impl Bufferevent {
    /// How many bytes a transport may move on its own account: for a member of a group none, its group says when.
    pub(super) fn allowance(&self, direction: Direction) -> usize {
        if self.is_member() { 0 } else { self.max_to_move(direction, usize::MAX) }
    }

    /// How many bytes its own buckets let it move, whatever its group says.
    pub(super) fn own_allowance(&self, direction: Direction) -> usize {
        self.rates().map_or(usize::MAX, |rates| rates.own_allowance(direction))
    }

    /// How many bytes a transport may move when the group has `share` for it, whatever the transport is.
    pub(super) fn max_to_move(&self, direction: Direction, share: usize) -> usize {
        let single = match direction {
            Direction::Read => self.rare().max_single_read,
            Direction::Write => self.rare().max_single_write,
        };
        single.min(self.own_allowance(direction)).min(share)
    }

    /// Whether the transport has something to do in this direction that is wanted.
    pub(super) fn has_work(&self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.state.contains(State::READABLE) && self.read_room() > 0,
            Direction::Write => self.state.contains(State::WRITABLE) && self.is_open() && self.wants_write(),
        }
    }

    /// Remembers of a linked bufferevent whether only a limit keeps it from moving bytes; of a socket the kernel says such things.
    pub(super) fn set_limited(&mut self, direction: Direction, is_limited: bool) {
        let ready = match direction {
            Direction::Read => State::READABLE,
            Direction::Write => State::WRITABLE,
        };
        self.state.set(ready, is_limited);
    }

    /// Whether only a limit keeps it from moving bytes.
    pub(super) fn is_suspended(&self, direction: Direction) -> bool {
        self.allowance(direction) == 0 && self.has_work(direction)
    }

    /// When its own buckets have something again for a direction that waits for it.
    pub(super) fn refill_deadline_ns(&self) -> Option<u64> {
        let limit = self.rates()?.limit.as_ref()?;
        let waits = |&direction: &Direction| limit.allowance(direction) == 0 && self.has_work(direction);
        let waiting = Direction::ALL.into_iter().filter(waits);
        waiting.map(|direction| limit.next_refill_ns(direction)).min()
    }

    /// Lets its own buckets have what the ticks have brought.
    pub(super) fn refill(&mut self, now_ns: u64) {
        if let Some(limit) = self.limit_mut() {
            limit.refill(now_ns);
        }
    }

    /// Takes what has been moved out of its own buckets.
    pub(super) fn spend(&mut self, direction: Direction, bytes: usize) {
        if let Some(limit) = self.limit_mut() {
            limit.spend(direction, bytes);
        }
    }

    pub(super) fn rates(&self) -> Option<&Rates> {
        self.rare().rates.as_deref()
    }

    pub(super) fn rates_mut(&mut self) -> Option<&mut Rates> {
        self.rare.as_mut()?.rates.as_deref_mut()
    }

    /// Changes its limits, and keeps them only if any is left.
    pub(super) fn change_rates(&mut self, change: impl FnOnce(&mut Rates)) {
        let mut rates = self.rare_mut().rates.take().unwrap_or_default();
        change(&mut rates);
        let is_limited = rates.limit.is_some() || rates.member.is_some();
        self.rare_mut().rates = is_limited.then_some(rates);
    }

    fn limit_mut(&mut self) -> Option<&mut Limit> {
        self.rates_mut()?.limit.as_mut()
    }
}

/// The limits of a bufferevent as its user sets and sees them.
impl Engine {
    /// Gives a bufferevent buckets of its own, changes those it has, or takes them away.
    pub(crate) fn set_rate_limit(
        &mut self,
        id: BuffereventId,
        bucket: Option<&TokenBucket>,
        now_ns: u64,
    ) -> Result<()> {
        self.get(id)?.change_rates(|rates| match (bucket, rates.limit.as_mut()) {
            (Some(&bucket), Some(limit)) => limit.change(bucket, now_ns),
            (Some(&bucket), None) => rates.limit = Some(Limit::new(bucket, now_ns)),
            (None, _) => rates.limit = None,
        });
        Ok(())
    }

    /// What is in a bucket of its own, if it has them.
    pub(crate) fn tokens(
        &mut self,
        id: BuffereventId,
        direction: Direction,
        now_ns: u64,
    ) -> Result<Option<isize>> {
        let bufferevent = self.get(id)?;
        bufferevent.refill(now_ns);
        Ok(bufferevent.limit_mut().map(|limit| limit.tokens(direction)))
    }

    /// Takes `bytes` out of a bucket of its own.
    pub(crate) fn take_tokens(
        &mut self,
        id: BuffereventId,
        direction: Direction,
        bytes: isize,
        now_ns: u64,
    ) -> Result<()> {
        let bufferevent = self.get(id)?;
        bufferevent.refill(now_ns);
        let limit = bufferevent.limit_mut().ok_or(Error::Invalid("the bufferevent has no rate limit"))?;
        limit.take(direction, bytes);
        Ok(())
    }

    /// How many bytes a bufferevent would move now at most, by everything that limits it.
    pub(crate) fn max_to_move(
        &mut self,
        id: BuffereventId,
        direction: Direction,
        now_ns: u64,
    ) -> Result<usize> {
        self.get(id)?;
        Ok(self.most_to_move(id.0, direction, now_ns))
    }

    /// How many bytes its group would let a bufferevent move now.
    #[cfg(feature = "capi")]
    pub(crate) fn share(&mut self, id: BuffereventId, direction: Direction, now_ns: u64) -> Result<usize> {
        self.get(id)?;
        Ok(self.share_of(id.0, direction, now_ns))
    }

    /// How many bytes may be moved now by everything that limits a bufferevent, its group too.
    pub(super) fn most_to_move(&mut self, id: RawId, direction: Direction, now_ns: u64) -> usize {
        let limited = self.limits_allow(id, direction, now_ns);
        self.arena.get(id).map_or(0, |bufferevent| bufferevent.max_to_move(direction, limited))
    }

    /// What its own buckets and its group allow.
    pub(super) fn limits_allow(&mut self, id: RawId, direction: Direction, now_ns: u64) -> usize {
        let Some(bufferevent) = self.arena.get_mut(id).filter(|bufferevent| bufferevent.rates().is_some())
        else {
            return usize::MAX;
        };
        bufferevent.refill(now_ns);
        let own = bufferevent.own_allowance(direction);
        own.min(self.share_of(id, direction, now_ns))
    }

    /// Takes what has crossed a link out of all buckets.
    pub(super) fn account(&mut self, id: RawId, direction: Direction, bytes: usize) {
        let Some(bufferevent) = self.arena.get_mut(id).filter(|bufferevent| bufferevent.rates().is_some())
        else {
            return;
        };
        bufferevent.spend(direction, bytes);
        self.note_moved_by(id, direction, bytes);
    }
}
