//! Descriptors that some wait for by edges and others by states: a bufferevent's socket, say, for which an event of the user's waits too.
//!
//! A set of epoll's has one registration a descriptor, and that has one mode. So the states of such a descriptor are asked for in a second set,
//! which is made when the first such descriptor comes up, and which the first set watches:
//!
//! ```text
//!   first set      fd 5, edges      fd 6, states      the second set, states
//!                                                          │ has something to report: it is asked, too
//!   second set     fd 5, states                            ▼
//! ```
//!
//! So each mode has a registration of its own, as exact as any, and goes with the file as any does; and who has no such descriptor
//! pays nothing. Tokens of such descriptors have a mark that is beyond all numbers, so their reports fall out of the usual way by
//! themselves ([`take_unusual`](Reactor::take_unusual)). A mark stays until the number is closed or no edges are wanted: what the
//! kernel was told of edges is not told again, as an edge of its own, because a slot that waits for states comes or leaves. (A slot
//! that was not there before may mean another file, so both sets are told anew, and an edge that is still true is reported once more.)
//!
//! Rejected: a duplicate of the descriptor, which keeps the file open when its owner closes it; and asking poll(2) before each wait
//! about those whose edge was reported, which asks the kernel for what it tells by itself.

use std::io;
use std::os::fd::RawFd;

use super::super::backend::{Backend, Ready};
use super::super::{Arena, Interest, Reactor, Slot, SlotId, What};
use super::{FdMap, GENERATIONS, Known, NOBODY, register, wanted_apart};
use crate::features::Features;

/// In a token: its descriptor is waited for in both modes. No number has this bit, so no table has such a place.
const MIXED: u64 = 1 << 31;

/// In such a token: it reports states. No generation has this bit.
const STATES: u64 = 1 << 63;

/// The token of the second set, which is the number of nothing.
const SECOND_SET: u64 = u64::MAX - STATES;

/// What the second set was told if telling it something else has failed: never what is wanted of it.
const DOUBTFUL: Interest = Interest::EDGE;

/// What marks the token of a registration of a descriptor that is waited for in both modes.
pub(super) fn mark(wanted: Interest) -> u64 {
    if wanted.contains(Interest::EDGE) { MIXED } else { MIXED | STATES }
}

/// The second set, once there is one.
#[derive(Debug, Default)]
pub(super) struct Beside {
    set: Option<Box<dyn Backend>>,
    /// Its number. Whoever had that before has closed it, and may still be on the dirty list.
    pub(super) number: Option<RawFd>,
    /// Kept for its storage.
    ready: Vec<Ready>,
}

impl FdMap {
    /// Makes the second set if there is none.
    fn make_beside(&mut self, backend: &mut dyn Backend) -> io::Result<()> {
        if self.beside.set.is_none() {
            let (number, set) = backend.beside(SECOND_SET)?;
            (self.beside.number, self.beside.set) = (Some(number), Some(set));
        }
        Ok(())
    }
}

impl FdMap {
    /// Tells the kernel of a descriptor that is, or was, waited for in both modes.
    #[cold]
    pub(super) fn apply_mixed(
        &mut self,
        slots: &mut Arena<Slot>,
        backend: &mut dyn Backend,
        fd: RawFd,
    ) -> io::Result<()> {
        let [edges, states] = wanted_apart(slots, self.entries[fd as usize].first);
        if self.entries[fd as usize].known == Known::Refused && (edges.is_none() || states.is_none()) {
            // Refused again, it goes only to the list of those who are left.
            self.set_known(fd, Known::Nothing);
        }
        let told = |states: Option<Interest>| states.unwrap_or_default();
        // One who wants nothing but edges waits for nothing.
        let Some(edges) = edges.filter(|edges| *edges != Interest::EDGE) else {
            self.entries[fd as usize].is_mixed = false;
            self.tell_beside(backend, fd, Interest::empty(), true)?;
            return self.want(backend, fd, told(states));
        };
        if !backend.method().features.contains(Features::EDGE) {
            // All are told of states, in the usual way.
            self.entries[fd as usize].is_mixed = false;
            return self.want(backend, fd, (edges | told(states)) - Interest::EDGE);
        }
        let generation = self.entries[fd as usize].generation;
        self.want(backend, fd, edges)?;
        let entry = &self.entries[fd as usize];
        if !matches!(entry.known, Known::Told(_)) {
            return Ok(());
        }
        let is_sure = entry.generation == generation;
        self.tell_beside(backend, fd, told(states), is_sure)
    }

    /// Tells the second set what is wanted, unless it is sure to know.
    fn tell_beside(
        &mut self,
        backend: &mut dyn Backend,
        fd: RawFd,
        wanted: Interest,
        is_sure: bool,
    ) -> io::Result<()> {
        let entry = &mut self.entries[fd as usize];
        if entry.beside == wanted && (is_sure || wanted.is_empty()) {
            return Ok(());
        }
        self.changes_applied += 1;
        if wanted.is_empty() {
            entry.beside = wanted;
            // Whatever the kernel says, the descriptor is not registered any more: at worst it has been closed.
            let _ = self.beside.set.as_mut().map(|set| set.remove(fd));
            return Ok(());
        }
        let before = std::mem::replace(&mut entry.beside, DOUBTFUL);
        let token = u64::from(entry.generation) << 32 | u64::from(fd as u32) | mark(wanted);
        self.make_beside(backend)?;
        if let Some(set) = &mut self.beside.set {
            register(&mut **set, !before.is_empty(), fd, wanted, token)?;
        }
        self.entries[fd as usize].beside = wanted;
        Ok(())
    }

    /// The descriptor is about to be closed: the kernel forgets both registrations.
    pub(super) fn forget_beside(&mut self, fd: RawFd) {
        let entry = &mut self.entries[fd as usize];
        entry.beside = Interest::empty();
        entry.is_mixed &= entry.first != NOBODY;
    }

    /// For a report of a descriptor that is waited for in both modes, unless it is stale: the first who waits, and the mode of those who
    /// are meant.
    pub(in crate::reactor) fn mixed_waiting(&self, token: u64) -> Option<(u32, Interest)> {
        let number = (token as u32) ^ MIXED as u32;
        let entry = self.entries.get(number as usize)?;
        let is_watched = matches!(entry.known, Known::Told(_) | Known::Doubtful);
        let is_current = (token >> 32) as u32 & GENERATIONS == entry.generation;
        let mode = if token & STATES == 0 { Interest::EDGE } else { Interest::empty() };
        let is_wanted = mode == Interest::EDGE || !entry.beside.is_empty();
        (is_watched && is_current && is_wanted && entry.first != NOBODY).then_some((entry.first, mode))
    }
}

impl Reactor {
    /// Takes a report of which the usual way knows nothing: of the second set, of a descriptor that is waited for in both modes, or a
    /// stale one.
    #[cold]
    pub(in crate::reactor) fn take_unusual(&mut self, report: Ready, tell: &mut impl FnMut(u64, What)) {
        if report.token != SECOND_SET {
            return self.take_mixed(report, tell);
        }
        let mut ready = std::mem::take(&mut self.fds.beside.ready);
        if let Some(set) = &mut self.fds.beside.set
            && let Err(error) = set.wait(Some(0), &mut ready)
        {
            // As a report for a descriptor that is gone: if it goes on, all is made anew.
            self.counters.stale_events += 1;
            log::warn!("the second set cannot be asked: {error}");
        }
        ready.drain(..).for_each(|report| self.take_mixed(report, tell));
        self.fds.beside.ready = ready;
    }

    fn take_mixed(&mut self, Ready { token, what }: Ready, tell: &mut impl FnMut(u64, What)) {
        match self.fds.mixed_waiting(token) {
            Some((first, mode)) => self.activate_mode(first, what, mode, tell),
            None => self.counters.stale_events += 1,
        }
    }

    /// Activates, of the slots that wait for one descriptor in one mode, those that wait for what it is ready for.
    pub(in crate::reactor) fn activate_mode(
        &mut self,
        first: u32,
        what: What,
        mode: Interest,
        tell: &mut impl FnMut(u64, What),
    ) {
        let mut next = first;
        while let Some((id, slot)) = self.slots.tenant_at(next) {
            let hit = what & What::from_bits_truncate(slot.interest.bits());
            let is_meant = slot.interest & Interest::EDGE == mode;
            next = slot.next_peer;
            if is_meant && !hit.is_empty() {
                self.bring(SlotId(id), hit, tell);
            }
        }
    }
}
