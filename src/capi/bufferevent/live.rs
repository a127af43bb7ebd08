//! The part of a bufferevent that C sees, kept true both ways: what the engine changes is shown after each call and before each callback, and what
//! a program writes into callbacks and marks is told to the engine before it acts on it.

use std::cell::Cell;
use std::ffi::{c_short, c_void};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use super::super::base::{Core, event_base};
use super::super::layout::{bufferevent, ev, event, event_watermark, evlist};
use super::{BOTH, Bev};
use crate::bufferevent::{Bufferevent, Due, Engine};
use crate::reactor::{Interest, SlotId, extend_to};

/// Which bufferevent of C's stands at which place of the engine's; null is none.
#[derive(Default)]
pub(in crate::capi) struct Table(Vec<*mut bufferevent>);

impl Table {
    pub(super) fn set(&mut self, index: u32, bev: *mut bufferevent) {
        extend_to(&mut self.0, index as usize + 1, std::ptr::null_mut);
        self.0[index as usize] = bev;
    }

    pub(super) fn at(&self, index: u64) -> *mut bufferevent {
        let place = usize::try_from(index).ok().and_then(|index| self.0.get(index));
        place.copied().unwrap_or_default()
    }

    /// All there are.
    pub(super) fn all(&self) -> Vec<*mut bufferevent> {
        self.0.iter().copied().filter(|bev| !bev.is_null()).collect()
    }
}

/// What the engine was told of the visible part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    heard: Due,
    marks: [usize; 4],
}

impl Default for Told {
    fn default() -> Self {
        Told { heard: Due::empty(), marks: [0; 4] }
    }
}

impl Told {
    fn of(seen: &bufferevent) -> Told {
        let mut heard = Due::empty();
        heard.set(Due::READ, seen.readcb.get().is_some());
        heard.set(Due::WRITE, seen.writecb.get().is_some());
        heard.set(Due::CONNECTED | Due::EVENTS, seen.errorcb.get().is_some());
        let marks = [&seen.wm_read.low, &seen.wm_read.high, &seen.wm_write.low, &seen.wm_write.high];
        let marks = marks.map(Cell::get);
        Told { heard, marks }
    }
}

/// Settles the base's bufferevents, as their visible parts say.
pub(in crate::capi) fn settle(core: &mut Core) {
    let mut place = 0;
    while let Some(index) = core.bufferevents.touched(place) {
        // SAFETY: C1: what is in the table lives, and the lock is held.
        if let Some(bev) = unsafe { Bev::at(core.table.at(u64::from(index))) } {
            bev.tell(&mut core.bufferevents);
        }
        place += 1;
    }
    core.bufferevents.settle(&mut core.reactor);
}

impl Bev {
    /// Tells the engine what a program may have changed.
    pub(super) fn tell(&self, engine: &mut Engine) {
        let (Some(id), now) = (self.socket_id(), Told::of(&self.seen)) else { return };
        if now == self.told.get() {
            return;
        }
        engine.hear_only(id, now.heard);
        if now.marks != self.told.get().marks
            && let Ok(bufferevent) = engine.get(id)
        {
            let [read_low, read_high, write_low, write_high] = now.marks;
            bufferevent.set_watermark(Interest::READ, read_low, read_high);
            bufferevent.set_watermark(Interest::WRITE, write_low, write_high);
        }
        self.told.set(now);
    }

    /// Shows what the engine has changed.
    pub(super) fn show(&self, core: &Core) {
        let Some(bufferevent) = self.socket_id().and_then(|id| core.bufferevents.look(id)) else { return };
        let enabled = directions_of(bufferevent.enabled());
        // What is suspended is not enabled in the engine, and still is for C.
        self.seen.enabled.set(self.seen.enabled.get() & (enabled | self.suspended.get() | !BOTH));
        self.show_fd(bufferevent);
        if !self.has_slots(core) {
            self.show_pending(enabled);
        }
    }

    /// Whether one of the two events is in the loop by itself: a program has activated or added it. Then its flags are the loop's.
    fn has_slots(&self, core: &Core) -> bool {
        [&self.seen.ev_read, &self.seen.ev_write].into_iter().any(|event| slot_of(core, event).is_some())
    }

    /// The two events go: the loop must not find them any more.
    pub(super) fn remove_slots(&self, core: &mut Core) {
        for event in [&self.seen.ev_read, &self.seen.ev_write] {
            if let Some(slot) = slot_of(core, event) {
                // It was found a line above.
                let _ = core.reactor.remove(slot);
                core.set_state(event, 0);
            }
        }
    }

    fn show_fd(&self, bufferevent: &Bufferevent) {
        // A descriptor that could not be watched is nobody's but C's, which still finds it here.
        if let Some(fd) = bufferevent.fd() {
            self.seen.set_fd(fd.as_raw_fd());
        }
    }

    /// The two events count as pending as long as their direction is wanted.
    fn show_pending(&self, enabled: c_short) {
        let has_fd = self.seen.ev_read.fd.get() >= 0;
        let pending = |direction: c_short, has_timeout: bool| match has_fd && enabled & direction != 0 {
            true if has_timeout => evlist::INIT | evlist::INSERTED | evlist::TIMEOUT,
            true => evlist::INIT | evlist::INSERTED,
            false => evlist::INIT,
        };
        let is_set = |time: &libc::timeval| time.tv_sec != 0 || time.tv_usec != 0;
        self.seen.ev_read.set_flags(pending(ev::READ, is_set(&self.seen.timeout_read.get())));
        self.seen.ev_write.set_flags(pending(ev::WRITE, is_set(&self.seen.timeout_write.get())));
    }
}

/// The slot that stands for an event whose flags say nothing about that. Mostly it never had one.
fn slot_of(core: &Core, event: &event) -> Option<SlotId> {
    let slot = SlotId::from_bits(event.slot.get())?;
    let owner = std::ptr::from_ref(event) as u64;
    core.reactor.view(slot).is_ok_and(|view| view.spec.owner == owner).then_some(slot)
}

pub(super) fn directions_of(interest: Interest) -> c_short {
    c_short::from(interest.bits()) & BOTH
}

pub(super) fn interest_of(directions: c_short) -> Interest {
    // EV_READ and EV_WRITE have the same bits there, in the lower byte.
    Interest::from_bits_truncate((directions & BOTH) as u8)
}

/// The visible part of a bufferevent that nothing has happened to. Writing is enabled from the start.
pub(super) fn nothing_seen(base: *mut event_base, ops: *const c_void) -> bufferevent {
    const NO_TIME: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 0 };
    bufferevent {
        base: Cell::new(base),
        ops: Cell::new(ops),
        ev_read: unassigned(),
        ev_write: unassigned(),
        input: Cell::new(std::ptr::null_mut()),
        output: Cell::new(std::ptr::null_mut()),
        wm_read: event_watermark::default(),
        wm_write: event_watermark::default(),
        readcb: Cell::new(None),
        writecb: Cell::new(None),
        errorcb: Cell::new(None),
        cbarg: Cell::new(std::ptr::null_mut()),
        timeout_read: Cell::new(NO_TIME),
        timeout_write: Cell::new(NO_TIME),
        enabled: Cell::new(ev::WRITE),
    }
}

/// An event that is still to be assigned.
pub(super) fn unassigned() -> event {
    // SAFETY: an event may be all zero (C1), and so may each of its fields.
    unsafe { MaybeUninit::zeroed().assume_init() }
}
