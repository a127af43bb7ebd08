//! Descriptors: which slots wait for each, what the kernel was last told, and what it must be told before the
//! next wait.
//!
//! Changes are only noted, on the dirty list, and applied once a turn; one that has been taken back by then costs
//! nothing. What makes that safe when numbers are closed and reused is that each descriptor is in one of five states
//! ([`Known`]), and that a doubt costs one question:
//!
//! ```text
//!             something is wanted      a slot comes      nothing is wanted    its owner closes it
//!  Nothing    add: Told, or Refused    -                 -                    -
//!  Told       modify if it differs     Doubtful          remove: Nothing      Nothing, or Closed
//!  Doubtful   modify, or add: Told     -                 remove: Nothing      Nothing, or Closed
//!  Refused    -                        Nothing           Nothing              Nothing, or Closed
//!  Closed     as Nothing               -                 Nothing              -
//! ```
//!
//! - A slot is bound to its open file. When the only slot of a descriptor leaves and the *same* slot comes back, the file
//!   is the same, and so is what the kernel knows.
//! - When *another* slot comes, the number may stand for another file by now, whether the old slot left or was
//!   forgotten: one `modify` finds out, and turns into an `add` when the kernel knows nothing of it.
//! - An edge-triggered slot that comes wants to hear what is true already, and `modify` makes the kernel say it.
//! - Each telling has a generation in its token. A report under an old one, from a file that a duplicate keeps open after
//!   its number was closed here, reaches nobody.
//! - Of a descriptor whose slots disagree about edges this is what the kernel knows of the edges; the rest is [`beside`].

mod beside;

use std::io;
use std::os::fd::RawFd;

use super::backend::Backend;
use super::{Arena, Interest, RawId, Slot, arena::extend_to, queue::NOBODY};
use crate::error::{Error, Result};
use crate::sys::descriptor;
use beside::Beside;

/// What the kernel knows of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing, as far as we know.
    Nothing,
    /// What is wanted of it, and of the file that the slots mean.
    Told(Interest),
    /// It was told something, but the number may stand for another file by now, or an edge may be owed.
    Doubtful,
    /// That it cannot be waited for. It counts as always ready, as poll(2) has it, and is on one of those lists.
    Refused,
    /// Its owner has closed it while the backend was away. The kernel has forgotten it then, unless a duplicate is left.
    Closed,
}

/// What is known of one descriptor.
#[derive(Debug, Clone, Copy)]
struct FdEntry {
    /// The first of the slots that wait for it; the others follow by `Slot::next_peer`.
    first: u32,
    generation: u32,
    /// The slot that left last.
    bound: Option<RawId>,
    known: Known,
    /// What the second set was told of it.
    beside: Interest,
    /// Whether it was waited for in both modes since its number came up: its reports tell which one they are for.
    is_mixed: bool,
    /// Whether it is on the dirty list.
    dirty: bool,
}

const UNKNOWN: FdEntry = FdEntry {
    first: NOBODY,
    generation: 0,
    bound: None,
    known: Known::Nothing,
    beside: Interest::empty(),
    is_mixed: false,
    dirty: false,
};

const _: () = assert!(size_of::<FdEntry>() <= 24, "every descriptor up to the highest one has one");

#[derive(Debug, Default)]
pub(super) struct FdMap {
    entries: Vec<FdEntry>,
    dirty: Vec<RawFd>,
    refused: Vec<RawFd>,
    /// Refused ones that are watched for edges: told once that they are ready.
    refused_edges: Vec<RawFd>,
    beside: Beside,
    /// How many changes were noted, and how many reached the kernel.
    pub(super) changes_asked: u64,
    pub(super) changes_applied: u64,
}

/// The slots that wait for something.
impl FdMap {
    pub(super) fn with_capacity(descriptors: usize) -> Self {
        FdMap {
            entries: Vec::with_capacity(descriptors),
            dirty: Vec::with_capacity(descriptors),
            ..FdMap::default()
        }
    }

    /// Lets a slot wait for its descriptor.
    pub(super) fn attach(&mut self, slots: &mut Arena<Slot>, id: RawId) -> Result<()> {
        let slot = slots.get_mut(id).ok_or(Error::Stale)?;
        slot.next_peer = NOBODY;
        let (fd, edge) = (slot.fd, slot.interest.contains(Interest::EDGE));
        let entry = self.entry(fd)?;
        let mut is_news = edge || entry.bound != Some(id);
        if entry.first == NOBODY {
            entry.first = id.index();
        } else {
            let (last, agrees) = last_peer(slots, entry.first, edge);
            peer(slots, last).next_peer = id.index();
            if !agrees && !entry.is_mixed {
                // Its reports are to tell from now on which mode they are for.
                (entry.is_mixed, is_news) = (true, true);
            }
        }
        self.doubt(fd, is_news);
        self.changed(fd);
        Ok(())
    }

    /// The entry of a descriptor. One whose number is so high that the table would grow out of all proportion must be
    /// open, because a wild number must not cost gigabytes.
    fn entry(&mut self, fd: RawFd) -> Result<&mut FdEntry> {
        let index = usize::try_from(fd).map_err(|_| Error::Invalid("a descriptor is not negative"))?;
        if index >= self.entries.len().max(COMMON_NUMBERS) && !descriptor::is_open(fd) {
            return Err(Error::Io(io::Error::from_raw_os_error(libc::EBADF)));
        }
        extend_to(&mut self.entries, index + 1, || UNKNOWN);
        Ok(&mut self.entries[index])
    }

    /// A slot comes. What the kernel was told stands if `is_news` is false; what it refused is always asked again, because
    /// the number may have been closed, or the wrong one, and its owner has mended that.
    fn doubt(&mut self, fd: RawFd, is_news: bool) {
        match self.entries[fd as usize].known {
            Known::Told(_) if is_news => self.entries[fd as usize].known = Known::Doubtful,
            Known::Refused => self.set_known(fd, Known::Nothing),
            _ => {}
        }
    }

    /// A slot that does not wait is going to stand for another file, perhaps under the same number.
    pub(super) fn unbind(&mut self, fd: RawFd, id: RawId) {
        if let Some(entry) = self.entries.get_mut(fd as usize)
            && entry.bound == Some(id)
        {
            entry.bound = None;
        }
    }

    /// Takes a slot that waits from its descriptor.
    pub(super) fn detach(&mut self, slots: &mut Arena<Slot>, id: RawId) {
        let Some(slot) = slots.get_mut(id) else { return };
        let (fd, next) = (slot.fd, slot.next_peer);
        let Some(entry) = self.entries.get_mut(fd as usize) else { return };
        entry.bound = Some(id);
        if entry.first == id.index() {
            entry.first = next;
        } else {
            let mut before = entry.first;
            while peer(slots, before).next_peer != id.index() {
                before = peer(slots, before).next_peer;
            }
            peer(slots, before).next_peer = next;
        }
        self.changed(fd);
    }

    /// Notes that what is wanted of a descriptor may have changed.
    pub(super) fn changed(&mut self, fd: RawFd) {
        self.changes_asked += 1;
        self.list(fd);
    }

    fn list(&mut self, fd: RawFd) {
        let Some(entry) = self.entries.get_mut(fd as usize) else { return };
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(fd);
        }
    }

    /// The descriptor is about to be closed, and its registration goes with it: at once, or before the next wait if the backend is
    /// away in one.
    pub(super) fn forget(&mut self, fd: RawFd, backend: Option<&mut Box<dyn Backend>>) {
        if self.entries.get(fd as usize).is_none_or(|entry| entry.known == Known::Nothing) {
            return;
        }
        self.forget_beside(fd);
        match backend {
            Some(backend) => {
                backend.closed(fd);
                self.set_known(fd, Known::Nothing);
            }
            None => {
                self.set_known(fd, Known::Closed);
                self.list(fd);
            }
        }
    }

    /// The first slot that waits for the descriptor of a report, unless the report is stale.
    pub(super) fn first_waiting(&self, token: u64) -> Option<u32> {
        let entry = self.entries.get(token as u32 as usize)?;
        let is_watched = matches!(entry.known, Known::Told(_) | Known::Doubtful);
        let current = u64::from(entry.generation) == token >> 32 && is_watched;
        (current && entry.first != NOBODY).then_some(entry.first)
    }

    /// Whether any descriptor cannot be waited for.
    #[inline]
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty() || !self.refused_edges.is_empty()
    }

    /// How many descriptors are always ready.
    pub(super) fn always_ready_len(&self) -> usize {
        self.refused.len()
    }

    /// The first slot that waits for one of them, if any still does.
    pub(super) fn always_ready(&self, place: usize) -> Option<u32> {
        let fd = *self.refused.get(place)?;
        let first = self.entries[fd as usize].first;
        (first != NOBODY).then_some(first)
    }

    /// The first slot that waits for the next one that is to be told once.
    pub(super) fn next_refused_edge(&mut self) -> Option<u32> {
        let fd = self.refused_edges.pop()?;
        Some(self.entries[fd as usize].first)
    }

    pub(super) fn has_always_ready(&self) -> bool {
        !self.refused_edges.is_empty()
            || (0..self.refused.len()).any(|place| self.always_ready(place).is_some())
    }

    /// Whether a change has not been applied: before the wait all that were noted, and then those that wait for another try.
    pub(super) fn has_unapplied(&self) -> bool {
        !self.dirty.is_empty()
    }
}

/// Telling the kernel.
impl FdMap {
    /// Applies what was noted since the last time.
    pub(super) fn apply(&mut self, slots: &mut Arena<Slot>, backend: &mut dyn Backend) {
        let mut again = 0;
        for place in 0..self.dirty.len() {
            let fd = self.dirty[place];
            self.entries[fd as usize].dirty = false;
            match self.apply_one(slots, backend, fd) {
                Ok(()) => {}
                Err(e) if is_shortage(&e) => {
                    log::warn!("descriptor {fd} cannot be watched now, trying again: {e}");
                    self.entries[fd as usize].dirty = true;
                    self.dirty[again] = fd;
                    again += 1;
                }
                Err(_) => self.refuse(slots, fd),
            }
        }
        self.dirty.truncate(again);
    }

    /// Tells the kernel at once of a descriptor that it knows nothing of, and says what it thinks of that.
    #[cfg(feature = "capi")]
    pub(super) fn introduce(
        &mut self,
        slots: &mut Arena<Slot>,
        backend: &mut dyn Backend,
        fd: RawFd,
    ) -> io::Result<()> {
        let Some(entry) = self.entries.get(fd as usize) else { return Ok(()) };
        if !matches!(entry.known, Known::Nothing | Known::Closed) {
            return Ok(());
        }
        self.apply_one(slots, backend, fd)
    }

    #[inline]
    fn apply_one(&mut self, slots: &mut Arena<Slot>, backend: &mut dyn Backend, fd: RawFd) -> io::Result<()> {
        let entry = &self.entries[fd as usize];
        if entry.is_mixed {
            return self.apply_mixed(slots, backend, fd);
        }
        let wanted = wanted(slots, entry.first);
        // Mostly somebody has left and come back.
        if entry.known == Known::Told(wanted) { Ok(()) } else { self.want(backend, fd, wanted) }
    }

    #[inline(never)]
    fn want(&mut self, backend: &mut dyn Backend, fd: RawFd, wanted: Interest) -> io::Result<()> {
        if self.beside.number == Some(fd) {
            // Its file was closed, and the kernel has forgotten it.
            self.set_known(fd, Known::Nothing);
            return Ok(());
        }
        let entry = &mut self.entries[fd as usize];
        if entry.known == Known::Closed {
            backend.closed(fd);
            entry.known = Known::Nothing;
        }
        match (entry.known, wanted.is_empty()) {
            (Known::Told(_) | Known::Doubtful, true) => {
                self.changes_applied += 1;
                entry.known = Known::Nothing;
                // Whatever the kernel says, the descriptor is not registered any more: at worst it has been closed.
                let _ = backend.remove(fd);
            }
            (Known::Told(interest), false) if interest != wanted => self.tell(backend, fd, wanted)?,
            (Known::Nothing | Known::Doubtful, false) => self.tell(backend, fd, wanted)?,
            (Known::Refused, true) => self.set_known(fd, Known::Nothing),
            // Nothing is wanted that the kernel has not been told, or nothing that it would hear of.
            _ => {}
        }
        Ok(())
    }

    /// Tells the kernel what is wanted.
    fn tell(&mut self, backend: &mut dyn Backend, fd: RawFd, wanted: Interest) -> io::Result<()> {
        self.changes_applied += 1;
        let entry = &mut self.entries[fd as usize];
        let generation = entry.generation.wrapping_add(1) & GENERATIONS;
        let mark = if entry.is_mixed { beside::mark(wanted) } else { 0 };
        let token = u64::from(generation) << 32 | u64::from(fd as u32) | mark;
        register(backend, entry.known != Known::Nothing, fd, wanted, token)?;
        (entry.generation, entry.known) = (generation, Known::Told(wanted));
        Ok(())
    }

    fn refuse(&mut self, slots: &mut Arena<Slot>, fd: RawFd) {
        let entry = &mut self.entries[fd as usize];
        entry.known = Known::Refused;
        let [edges, states] = wanted_apart(slots, entry.first);
        self.refused_edges.extend(edges.map(|_| fd));
        self.refused.extend(states.map(|_| fd));
    }

    /// What the kernel knows is something else now; what it no longer refuses is not always ready any more.
    fn set_known(&mut self, fd: RawFd, known: Known) {
        let before = std::mem::replace(&mut self.entries[fd as usize].known, known);
        if before == Known::Refused {
            self.refused.retain(|&other| other != fd);
            self.refused_edges.retain(|&other| other != fd);
        }
    }

    /// Forgets what the kernel was told: there is a new backend, which knows nothing yet.
    pub(super) fn start_over(&mut self) {
        self.beside = Beside::default();
        for fd in 0..self.entries.len() {
            let entry = &mut self.entries[fd];
            entry.beside = Interest::empty();
            if !matches!(entry.known, Known::Nothing | Known::Refused) {
                entry.known = Known::Nothing;
                self.changed(fd as RawFd);
            }
        }
    }
}

/// Linux gives no process more descriptors than this unless it is told to.
const COMMON_NUMBERS: usize = 1 << 20;

/// Generations stay below the one that would make a token look like the notifier's.
const GENERATIONS: u32 = u32::MAX >> 1;

/// What all the slots of a descriptor want together.
fn wanted(slots: &mut Arena<Slot>, first: u32) -> Interest {
    let mut all = Interest::empty();
    let mut next = first;
    while next != NOBODY {
        let slot = peer(slots, next);
        all |= slot.interest;
        next = slot.next_peer;
    }
    if all == Interest::EDGE { Interest::empty() } else { all }
}

/// The same, of those who want edges and of those who want states, as far as there are any.
fn wanted_apart(slots: &mut Arena<Slot>, first: u32) -> [Option<Interest>; 2] {
    let mut wanted = [None; 2];
    let mut next = first;
    while next != NOBODY {
        let slot = peer(slots, next);
        let kind = &mut wanted[usize::from(!slot.interest.contains(Interest::EDGE))];
        *kind = Some(kind.unwrap_or_default() | slot.interest);
        next = slot.next_peer;
    }
    wanted
}

/// The end of the list, and whether all on it agree about edges.
fn last_peer(slots: &mut Arena<Slot>, first: u32, edge: bool) -> (u32, bool) {
    let (mut last, mut agrees) = (first, true);
    loop {
        let slot = peer(slots, last);
        agrees &= slot.interest.contains(Interest::EDGE) == edge;
        if slot.next_peer == NOBODY {
            return (last, agrees);
        }
        last = slot.next_peer;
    }
}

fn peer(slots: &mut Arena<Slot>, index: u32) -> &mut Slot {
    slots.at_mut(index).expect("a slot leaves its descriptor's list before it is freed")
}

/// What may be better soon. Everything else never is: epoll refuses regular files and directories with `EPERM`, itself
/// with `EINVAL` or `ELOOP`, a closed number with `EBADF`. Those are reported as ready, so that the owner's next read or
/// write tells the rest. A second set takes a descriptor, of which there may be none left.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE))
}

/// Tells a set what is wanted, in the words that are most likely right, and else in the others.
fn register(
    set: &mut dyn Backend,
    is_known: bool,
    fd: RawFd,
    wanted: Interest,
    token: u64,
) -> io::Result<()> {
    if is_known {
        let modified = set.modify(fd, wanted, token);
        or_else(modified, io::ErrorKind::NotFound, || set.add(fd, wanted, token))
    } else {
        let added = set.add(fd, wanted, token);
        or_else(added, io::ErrorKind::AlreadyExists, || set.modify(fd, wanted, token))
    }
}

fn or_else(
    first: io::Result<()>,
    on: io::ErrorKind,
    second: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    match first {
        Err(e) if e.kind() == on => second(),
        result => result,
    }
}
