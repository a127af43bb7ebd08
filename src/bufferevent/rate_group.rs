//! Groups: bufferevents that share a pair of token buckets.
//!
//! # The idea
//!
//! A member moves nothing on its own account. When it has work it stands in line, and once a turn, when the loop
//! settles, the group goes along the line and gives each its share of what is in the bucket:
//!
//! ```text
//!   the kernel says ready, or output is added
//!        └─► settle_one: the member stands in line ──► serve: share, one read or write, back in line if work is left
//!                                                        │ the bucket is empty, somebody stands in line
//!                                                        ▼
//!                                              the group's one timer: the next tick
//! ```
//!
//! So a tick costs those who have something to move and no one else, be the group as large as it may, and as no interest
//! changes, the kernel is told nothing. A share is what is there divided by those who stand in line, and at least the
//! minimum share; what one leaves falls to those behind it. What is moved is never more than what is in the bucket.

use super::rate_line::{Coins, Line, Member, Places};
use super::token_bucket::{Both, Direction, Limit, TokenBucket};
use super::{Bufferevent, BuffereventId, Due, Engine, State};
use crate::error::{Error, Result};
use crate::reactor::{Arena, Queue, RawId, Reactor, SlotId, SlotSpec, Source, What, owner};

/// The share that a member gets at least, unless the group says otherwise, in bytes.
const MIN_SHARE: usize = 64;

/// Tells a group's word from a bufferevent's, whose index has 32 bits.
const GROUP: u64 = 1 << 32;

/// Names a group of one [`EventBase`](crate::EventBase); stale once the group has been freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimitGroupId(RawId);

/// Bufferevents that share a pair of buckets, reached through
/// [`EventBase::rate_limit_group`](crate::EventBase::rate_limit_group).
///
/// Only members that have something to move take part in sharing, each once before any of them twice, in an
/// order that chance decides.
#[derive(Debug)]
#[doc(alias = "bufferevent_rate_limit_group")]
pub struct RateLimitGroup {
    limit: Limit,
    min_share: usize,
    totals: Both<u64>,
    lines: Both<Line>,
    members: Queue,
    /// Has the timer.
    slot: SlotId,
    /// In the list of those to serve before the next wait.
    is_due: bool,
}

impl RateLimitGroup {
    /// What is in the read bucket, in bytes; less than 0 after more was taken by hand than there was.
    #[doc(alias = "bufferevent_rate_limit_group_get_read_limit")]
    #[must_use]
    pub fn read_limit(&self) -> isize {
        self.limit.tokens(Direction::Read)
    }

    /// What is in the write bucket, in bytes; less than 0 after more was taken by hand than there was.
    #[doc(alias = "bufferevent_rate_limit_group_get_write_limit")]
    #[must_use]
    pub fn write_limit(&self) -> isize {
        self.limit.tokens(Direction::Write)
    }

    /// How many bytes the members have read and written, since the group was made or the totals reset.
    #[doc(alias = "bufferevent_rate_limit_group_get_totals")]
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.totals.read, self.totals.write)
    }

    /// Lets the totals start at 0 again.
    #[doc(alias = "bufferevent_rate_limit_group_reset_totals")]
    pub fn reset_totals(&mut self) {
        self.totals = Both::default();
    }

    /// Takes `bytes` out of the read bucket, which may become less than empty; a negative number puts bytes in.
    #[doc(alias = "bufferevent_rate_limit_group_decrement_read")]
    pub fn decrement_read(&mut self, bytes: isize) {
        self.limit.take(Direction::Read, bytes);
    }

    /// Takes `bytes` out of the write bucket, which may become less than empty; a negative number puts bytes in.
    #[doc(alias = "bufferevent_rate_limit_group_decrement_write")]
    pub fn decrement_write(&mut self, bytes: isize) {
        self.limit.take(Direction::Write, bytes);
    }

    /// Sets how many bytes a member may move at least when it is its turn, so that many members do not cut what there
    /// is into pieces that are not worth a system call; 64 at first. It counts as no more than one tick's rate, of
    /// either direction, and 0 lets the pieces be as small as they become.
    ///
    /// # Differences from libevent
    ///
    /// A share never exceeds what is in the bucket, so the last member of a tick may get less than the minimum; libevent lets
    /// it overdraw.
    #[doc(alias = "bufferevent_rate_limit_group_set_min_share")]
    pub fn set_min_share(&mut self, bytes: usize) {
        self.min_share = bytes;
    }

    /// What each gets when `waiting` share what there is.
    fn share(&self, direction: Direction, waiting: usize) -> usize {
        let allowance = self.limit.allowance(direction);
        let min_share = self.min_share.min(self.limit.bucket().lower_rate());
        allowance.div_ceil(waiting.max(1)).max(min_share).min(allowance)
    }

    fn note_moved(&mut self, direction: Direction, bytes: usize) {
        self.limit.spend(direction, bytes);
        self.totals[direction] += bytes as u64;
    }

    /// Goes on next turn if there is something to share and somebody to share it, and at the next tick if there is only the
    /// latter.
    fn schedule(&self, reactor: &mut Reactor) {
        let mut deadline_ns = None;
        for direction in Direction::ALL.into_iter().filter(|&direction| self.lines[direction].len > 0) {
            if self.limit.allowance(direction) == 0 {
                let refill_ns = self.limit.next_refill_ns(direction);
                deadline_ns =
                    Some(deadline_ns.map_or(refill_ns, |earlier_ns: u64| earlier_ns.min(refill_ns)));
            } else {
                // The slot lives as long as the group.
                let _ = reactor.activate_later(self.slot, What::TIMEOUT);
            }
        }
        let _ = reactor.set_deadline(self.slot, deadline_ns);
    }
}

/// All groups of one base.
#[derive(Debug)]
pub(super) struct Groups {
    arena: Arena<RateLimitGroup>,
    /// Those to serve before the next wait, as their `is_due` says.
    due: Vec<RawId>,
    coins: Coins,
    shares: u64,
}

impl Groups {
    pub(super) fn new() -> Self {
        Groups { arena: Arena::with_capacity(0), due: Vec::new(), coins: Coins::new(), shares: 0 }
    }

    pub(super) fn are_quiet(&self) -> bool {
        self.due.is_empty()
    }

    fn make_due(&mut self, id: RawId) {
        if let Some(group) = self.arena.get_mut(id)
            && !group.is_due
        {
            group.is_due = true;
            self.due.push(id);
        }
    }
}

/// Groups as their user makes and changes them.
impl Engine {
    pub(crate) fn new_group(
        &mut self,
        reactor: &mut Reactor,
        bucket: &TokenBucket,
    ) -> Result<RateLimitGroupId> {
        let spec =
            SlotSpec { owner: owner::BUFFEREVENT, source: Source::None, persist: true, priority: None };
        let slot = reactor.insert(spec)?;
        // Members hold the loop while they wait for something; a group alone waits for nothing.
        reactor.set_holds_loop(slot, false)?;
        let id = self.groups.arena.insert(RateLimitGroup {
            limit: Limit::new(*bucket, reactor.now()),
            min_share: MIN_SHARE,
            totals: Both::default(),
            lines: Both { read: Line::new(), write: Line::new() },
            members: Queue::new(),
            slot,
            is_due: false,
        });
        reactor.set_owner(slot, owner::BUFFEREVENT | GROUP | u64::from(id.index()))?;
        Ok(RateLimitGroupId(id))
    }

    /// The group as its user reaches it: refilled, and served before the loop waits.
    pub(crate) fn group(&mut self, id: RateLimitGroupId, now_ns: u64) -> Result<&mut RateLimitGroup> {
        self.groups.make_due(id.0);
        let group = self.groups.arena.get_mut(id.0).ok_or(Error::Stale)?;
        group.limit.refill(now_ns);
        Ok(group)
    }

    pub(crate) fn set_group_limit(
        &mut self,
        id: RateLimitGroupId,
        bucket: &TokenBucket,
        now_ns: u64,
    ) -> Result<()> {
        self.group(id, now_ns)?.limit.change(*bucket, now_ns);
        Ok(())
    }

    /// Frees a group; its members leave it first.
    pub(crate) fn free_group(&mut self, reactor: &mut Reactor, id: RateLimitGroupId) -> Result<()> {
        while let Some(member) = self.groups.arena.get(id.0).ok_or(Error::Stale)?.members.front() {
            let Some(member) = self.arena.id_at(member) else { break };
            self.leave_group(member);
        }
        let gone = self.groups.arena.remove(id.0).ok_or(Error::Stale)?;
        reactor.remove(gone.slot)
    }

    /// Makes a bufferevent a member; it leaves the group that it was in.
    pub(crate) fn add_to_group(&mut self, id: BuffereventId, group: RateLimitGroupId) -> Result<()> {
        self.get(id)?;
        self.groups.arena.get(group.0).ok_or(Error::Stale)?;
        if self.arena.get(id.0).and_then(Bufferevent::member).is_some_and(|member| member.group == group.0) {
            return Ok(());
        }
        self.leave_group(id.0);
        self.alive(id)?.change_rates(|rates| rates.member = Some(Member::of(group.0)));
        let mut places = Places { arena: &mut self.arena, line: None };
        let joined = self.groups.arena.get_mut(group.0).ok_or(Error::Stale)?;
        joined.members.push_back(&mut places, id.0.index());
        Ok(())
    }

    pub(crate) fn remove_from_group(&mut self, id: BuffereventId) -> Result<()> {
        self.get(id)?;
        self.leave_group(id.0);
        Ok(())
    }

    /// How often a member of any group has been given its share.
    pub(crate) fn group_shares(&self) -> u64 {
        self.groups.shares
    }

    /// What a member would get if it had something to move now; without a group, everything.
    pub(super) fn share_of(&mut self, id: RawId, direction: Direction, now_ns: u64) -> usize {
        let Some(member) = self.arena.get(id).and_then(Bufferevent::member) else { return usize::MAX };
        let Some(group) = self.groups.arena.get_mut(member.group) else { return usize::MAX };
        group.limit.refill(now_ns);
        let stands_in_line = member.seats[direction].queue.is_some();
        group.share(direction, group.lines[direction].len + usize::from(!stands_in_line))
    }

    /// Takes a bufferevent out of its group, if it is in one.
    pub(super) fn leave_group(&mut self, id: RawId) {
        let Some(group) = self.arena.get(id).and_then(Bufferevent::member).map(|member| member.group) else {
            return;
        };
        Direction::ALL.into_iter().for_each(|direction| self.leave_line(id, direction));
        let mut places = Places { arena: &mut self.arena, line: None };
        if let Some(group) = self.groups.arena.get_mut(group) {
            group.members.remove(&mut places, id.index());
        }
        if let Some(bufferevent) = self.arena.get_mut(id) {
            bufferevent.change_rates(|rates| rates.member = None);
        }
        self.touch(BuffereventId(id));
    }
}

/// Standing in line, and being served.
impl Engine {
    /// The timer of a group has come due, or it has more to give this turn.
    pub(super) fn group_is_due(&mut self, index: u64) {
        let index = index.checked_sub(GROUP).and_then(|index| u32::try_from(index).ok());
        if let Some(id) = index.and_then(|index| self.groups.arena.id_at(index)) {
            self.groups.make_due(id);
        }
    }

    /// Lets a member stand in the lines where it has work to do that its own buckets allow, and in no other.
    pub(super) fn line_up(&mut self, id: RawId) {
        for direction in Direction::ALL {
            let Some(bufferevent) = self.arena.get(id) else { return };
            let Some(member) = bufferevent.member() else { return };
            let stands = member.seats[direction].queue.is_some();
            let waits = bufferevent.own_allowance(direction) > 0 && bufferevent.has_work(direction);
            match (stands, waits) {
                (false, true) => self.join_line(id, direction),
                (true, false) => self.leave_line(id, direction),
                _ => {}
            }
        }
    }

    fn join_line(&mut self, id: RawId, direction: Direction) {
        let Some(group_id) = self.arena.get(id).and_then(Bufferevent::member).map(|member| member.group)
        else {
            return;
        };
        let in_front = self.groups.coins.toss();
        let Some(group) = self.groups.arena.get_mut(group_id) else { return };
        let mut places = Places { arena: &mut self.arena, line: Some(direction) };
        let joined = group.lines[direction].join(&mut places, id.index(), in_front);
        if let Some(member) = self.arena.get_mut(id).and_then(Bufferevent::member_mut) {
            member.seats[direction].queue = Some(joined);
        }
        self.groups.make_due(group_id);
    }

    fn leave_line(&mut self, id: RawId, direction: Direction) {
        let Some(member) = self.arena.get_mut(id).and_then(Bufferevent::member_mut) else { return };
        let Some(queue) = member.seats[direction].queue.take() else { return };
        let Some(group) = self.groups.arena.get_mut(member.group) else { return };
        let mut places = Places { arena: &mut self.arena, line: Some(direction) };
        group.lines[direction].leave(&mut places, id.index(), queue);
    }

    /// Serves the groups that are due, each once along its lines.
    pub(super) fn serve_groups(&mut self, reactor: &mut Reactor, now_ns: u64) {
        // As with what is touched, the list stays in place until all of it is done.
        for place in 0..self.groups.due.len() {
            self.serve_group(reactor, self.groups.due[place], now_ns);
        }
        self.groups.due.clear();
    }

    fn serve_group(&mut self, reactor: &mut Reactor, id: RawId, now_ns: u64) {
        let Some(group) = self.groups.arena.get_mut(id) else { return };
        group.limit.refill(now_ns);
        for direction in Direction::ALL {
            self.serve_line(reactor, id, direction, now_ns);
        }
        if let Some(group) = self.groups.arena.get_mut(id) {
            group.is_due = false;
            group.schedule(reactor);
        }
    }

    /// Gives as many shares as there are members in the line now, or as the bucket lasts for.
    fn serve_line(&mut self, reactor: &mut Reactor, group: RawId, direction: Direction, now_ns: u64) {
        let waiting = self.groups.arena.get(group).map_or(0, |group| group.lines[direction].len);
        for left in (1..=waiting).rev() {
            let Some(group) = self.groups.arena.get_mut(group) else { return };
            let share = group.share(direction, left);
            if share == 0 {
                return;
            }
            let member = group.lines[direction].front().and_then(|index| self.arena.id_at(index));
            let Some(member) = member else { return };
            self.serve(reactor, member, direction, share, now_ns);
        }
    }

    /// Lets a member move its share, and stand in line again if that was not all.
    fn serve(&mut self, reactor: &mut Reactor, id: RawId, direction: Direction, share: usize, now_ns: u64) {
        let Some(bufferevent) = self.arena.get_mut(id) else { return };
        self.groups.shares += 1;
        if bufferevent.state.contains(State::LINKED) {
            // It takes its share where it meets its neighbour; should a filter panic there, it is settled again.
            self.touch(BuffereventId(id));
            self.leave_line(id, direction);
            self.settle_link(reactor, id, now_ns);
            return;
        }
        bufferevent.refill(now_ns);
        let allowed = bufferevent.max_to_move(direction, share);
        let moved = match direction {
            Direction::Read => self.read(id, allowed),
            Direction::Write => bufferevent.write_once(now_ns, allowed),
        };
        let Some(bufferevent) = self.arena.get_mut(id) else { return };
        bufferevent.settle_storage();
        self.note_moved_by(id, direction, moved);
        // Only now: had moving panicked, it would still stand in line.
        self.leave_line(id, direction);
        self.conclude(reactor, id, now_ns);
    }
}

/// Accounts.
impl Engine {
    /// Takes what a member has moved out of its group's bucket.
    pub(super) fn note_moved_by(&mut self, id: RawId, direction: Direction, bytes: usize) {
        let group = self.arena.get(id).and_then(Bufferevent::member).map(|member| member.group);
        if let Some(group) = group.and_then(|group| self.groups.arena.get_mut(group)) {
            group.note_moved(direction, bytes);
        }
    }
}

impl Bufferevent {
    /// What was read is left alone until its callback has taken what it wants.
    fn settle_storage(&mut self) {
        if !self.due.contains(Due::READ) {
            self.input.settle();
        }
        self.output.settle();
    }
}
