//! The reactor against a kernel that is a table: whatever is opened, duplicated, closed and opened again under the same
//! number, the right slots are told and the wrong ones are not. And its accounts, after every kind of verb.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::backend::Ready;
use super::*;

/// An open file: which one, and whether it can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    number: u32,
    waitable: bool,
}

/// Where a registration stands: whether in the second set, of which file, under which number.
type Place = (bool, FileId, RawFd);

#[derive(Debug, Default)]
pub(super) struct Table {
    open: HashMap<RawFd, FileId>,
    registered: HashMap<Place, (Interest, u64)>,
    /// What the kernel says of files that cannot be waited for; 0 is `EPERM`.
    refusal: i32,
    /// Fail the next so many calls for lack of memory.
    short_of_memory: u32,
    /// Fail to make the second set once.
    pub(super) short_of_descriptors: bool,
    /// The token of the second set.
    pub(super) second_set: u64,
    pub(super) reports: Vec<Ready>,
    pub(super) second_reports: Vec<Ready>,
    wait_fails: bool,
    calls: u32,
}

impl Table {
    fn control(
        &mut self,
        second: bool,
        fd: RawFd,
        exists: bool,
        entry: Option<(Interest, u64)>,
    ) -> std::result::Result<(), i32> {
        self.calls += 1;
        // Forgetting takes none.
        if self.short_of_memory > 0 && entry.is_some() {
            self.short_of_memory -= 1;
            return Err(libc::ENOMEM);
        }
        let file = *self.open.get(&fd).ok_or(libc::EBADF)?;
        if !file.waitable {
            return Err(if self.refusal == 0 { libc::EPERM } else { self.refusal });
        }
        let place = (second, file, fd);
        if self.registered.contains_key(&place) != exists {
            return Err(if exists { libc::ENOENT } else { libc::EEXIST });
        }
        match entry {
            Some(entry) => self.registered.insert(place, entry),
            None => self.registered.remove(&place),
        };
        Ok(())
    }

    /// The number is closed; the file lives on if something else holds it.
    fn close(&mut self, fd: RawFd, is_held: bool) {
        let Some(file) = self.open.remove(&fd) else { return };
        if !is_held {
            self.registered.retain(|&(_, other, number), _| (other, number) != (file, fd));
        }
    }

    /// What stands in one of the sets of the file that has the number now.
    pub(super) fn registration(&self, second: bool, fd: RawFd) -> Option<(Interest, u64)> {
        self.registered.get(&(second, *self.open.get(&fd)?, fd)).copied()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Kernel {
    table: Arc<Mutex<Table>>,
    is_second: bool,
}

impl Kernel {
    /// Opens a file.
    pub(super) fn open(&self, fd: RawFd, waitable: bool) {
        self.table().open.insert(fd, FileId { number: fd as u32, waitable });
    }

    /// How often it was told something.
    pub(super) fn calls(&self) -> u32 {
        self.table().calls
    }
}

#[cfg(feature = "capi")]
impl Kernel {
    /// Reports what an open file is ready for.
    pub(super) fn make_ready(&self, fd: RawFd, what: What) {
        let mut table = self.table();
        let (_, token) = table.registered[&(false, table.open[&fd], fd)];
        table.reports.push(Ready { token, what });
    }
}

impl Kernel {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }

    fn control(&self, fd: RawFd, exists: bool, entry: Option<(Interest, u64)>) -> io::Result<()> {
        os(self.table().control(self.is_second, fd, exists, entry))
    }
}

fn os<T>(result: std::result::Result<T, i32>) -> io::Result<T> {
    result.map_err(io::Error::from_raw_os_error)
}

impl Backend for Kernel {
    fn method(&self) -> &'static Method {
        &TABLE
    }

    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(fd, false, Some((interest, token)))
    }

    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(fd, true, Some((interest, token)))
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        self.control(fd, true, None)
    }

    fn beside(&mut self, token: u64) -> io::Result<(RawFd, Box<dyn Backend>)> {
        let mut table = self.table();
        table.second_set = token;
        if std::mem::take(&mut table.short_of_descriptors) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok((RawFd::MAX, Box::new(Kernel { table: Arc::clone(&self.table), is_second: true })))
    }

    fn wait(&mut self, _timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut table = self.table();
        if table.wait_fails {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let Table { reports, second_reports, .. } = &mut *table;
        ready.append(if self.is_second { second_reports } else { reports });
        Ok(())
    }
}

/// Nothing is open in a new one, so that even the notifier cannot be watched.
static TABLE: Method =
    Method { name: "table", features: Features::all(), open: || Ok(Box::new(Kernel::default())) };

/// A reactor on the fastest backend.
pub(super) fn reactor(priorities: u8) -> Reactor {
    Reactor::new(open_backend(METHODS, Features::empty()).unwrap(), 0, priorities).unwrap()
}

pub(super) fn reactor_on(kernel: &Kernel) -> Reactor {
    let mut reactor = reactor(1);
    reactor.set_backend(Box::new(kernel.clone()));
    reactor.method = &TABLE;
    reactor
}

pub(super) fn slot(reactor: &mut Reactor, source: Source, persist: bool) -> SlotId {
    reactor.insert(SlotSpec { owner: 0, source, persist, priority: None }).unwrap()
}

pub(super) fn reading(fd: RawFd) -> Source {
    Source::Fd { fd, interest: Interest::READ }
}

pub(super) fn turn(reactor: &mut Reactor) -> io::Result<()> {
    let mut wait = reactor.prepare(true, None);
    let result = wait.wait();
    reactor.complete(wait, |_, _| {});
    result
}

impl Reactor {
    /// What must hold between any two calls.
    fn check_invariants(&self) {
        let slots = || self.slots.iter().map(|(_, slot)| slot);
        assert_eq!(self.tally.holding(), slots().filter(|slot| slot.state.holds_loop()).count());
        assert_eq!(self.active.len(), slots().filter(|slot| slot.state.contains(State::ACTIVE)).count());
        for (id, slot) in self.slots.iter() {
            let timed = self.timers.deadline(id.index()).is_some();
            assert_eq!(slot.state.contains(State::TIMED), timed);
            assert!(slot.state.contains(State::ACTIVE) || slot.deliveries == 0);
            if slot.state.contains(State::LATER) {
                assert!(self.later.contains(&SlotId(id)));
            }
        }
    }
}

/// Small pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A slot, and the file that its number meant when it was made.
struct Watch {
    id: SlotId,
    fd: RawFd,
    file: FileId,
    pending: bool,
    interest: Interest,
}

struct World {
    kernel: Kernel,
    reactor: Reactor,
    random: Random,
    watches: Vec<Watch>,
    files: u32,
    /// How some wait: by edges, unless all wait alike.
    edges: Interest,
}

const NUMBERS: usize = 4;

impl World {
    fn step(&mut self) {
        let fd = self.random.below(NUMBERS) as RawFd;
        let place = self.random.below(self.watches.len().max(1));
        match self.random.below(10) {
            0 => self.open(fd),
            1 => self.close(fd),
            2..=4 => self.make(fd),
            5 | 6 => self.add(place),
            7 => self.del(place),
            8 => self.free(place),
            _ => self.turn(),
        }
        self.reactor.check_invariants();
    }

    fn open(&mut self, fd: RawFd) {
        if self.kernel.table().open.contains_key(&fd) {
            return;
        }
        self.files += 1;
        let file = FileId { number: self.files, waitable: self.random.below(4) > 0 };
        self.kernel.table().open.insert(fd, file);
    }

    /// Closes a number, as its owner should, without having told anybody, or with a duplicate left.
    fn close(&mut self, fd: RawFd) {
        let is_held = self.random.below(2) == 0;
        let mut watches = self.watches.iter_mut().filter(|watch| watch.fd == fd && watch.pending);
        match self.random.below(3) {
            0 => watches.for_each(|watch| {
                watch.pending = false;
                self.reactor.del(watch.id).unwrap();
            }),
            1 => watches.take(1).for_each(|watch| {
                watch.pending = false;
                self.reactor.forget_fd(watch.id).unwrap();
            }),
            _ => assert!(watches.all(|watch| watch.pending)),
        }
        self.kernel.table().close(fd, is_held);
    }

    fn make(&mut self, fd: RawFd) {
        let Some(&file) = self.kernel.table().open.get(&fd) else { return };
        let mode = [Interest::empty(), self.edges][self.random.below(2)];
        let interest = [Interest::READ, Interest::WRITE][self.random.below(2)] | mode;
        let id = slot(&mut self.reactor, Source::Fd { fd, interest }, true);
        self.watches.push(Watch { id, fd, file, pending: true, interest });
        self.reactor.add(id, None).unwrap();
    }

    /// A slot is added only while its number means its file; that is its owner's part.
    fn add(&mut self, place: usize) {
        let Some(watch) = self.watches.get_mut(place) else { return };
        if self.kernel.table().open.get(&watch.fd) == Some(&watch.file) {
            watch.pending = true;
            self.reactor.add(watch.id, None).unwrap();
        }
    }

    fn del(&mut self, place: usize) {
        let Some(watch) = self.watches.get_mut(place) else { return };
        watch.pending = false;
        self.reactor.del(watch.id).unwrap();
    }

    fn free(&mut self, place: usize) {
        if place < self.watches.len() {
            self.reactor.remove(self.watches.swap_remove(place).id).unwrap();
        }
    }

    fn turn(&mut self) {
        let shortage = self.random.below(8).saturating_sub(5) as u32;
        self.kernel.table().short_of_memory = shortage;
        turn(&mut self.reactor).unwrap();
        self.kernel.table().short_of_memory = 0;
        if shortage > 0 {
            turn(&mut self.reactor).unwrap();
        }
        (0..NUMBERS as RawFd).for_each(|fd| self.check(fd));
        assert!(!self.reactor.fds.has_unapplied());
    }

    /// The kernel has been told what is wanted of the file that has the number now, if anybody means that file.
    fn check(&self, fd: RawFd) {
        let table = self.kernel.table();
        let Some(&file) = table.open.get(&fd) else { return };
        let pending = || self.watches.iter().filter(|watch| watch.fd == fd && watch.pending);
        if !pending().any(|watch| watch.file == file) {
            return;
        }
        let wanted = |mode: Interest| {
            let alike = pending().filter(|watch| watch.interest & Interest::EDGE == mode);
            alike.map(|watch| watch.interest).reduce(|all, interest| all | interest)
        };
        let [states, edges] = [Interest::empty(), Interest::EDGE].map(wanted);
        if file.waitable {
            let [first, second] = [false, true].map(|second| table.registration(second, fd));
            assert_eq!(first.map(|(interest, _)| interest), edges.or(states));
            assert_eq!(second.map(|(interest, _)| interest), edges.and(states));
            for (interest, token) in first.into_iter().chain(second) {
                let told = [Interest::empty(), Interest::EDGE].map(|mode| self.told(token, fd, mode));
                let expected = [interest - Interest::EDGE == interest, interest.contains(Interest::EDGE)];
                assert_eq!(told, expected, "its reports arrive, where they belong");
            }
        } else {
            assert!(states.is_none() || self.reactor.fds.has_always_ready());
        }
        for ((_, other, number), (_, token)) in &table.registered {
            let is_stale = *number == fd && *other != file;
            let arrives = [Interest::empty(), Interest::EDGE].map(|mode| self.told(*token, fd, mode));
            assert!(!is_stale || arrives == [false; 2], "a stranger's arrive");
        }
    }

    /// Whether a report under this token reaches those who wait for this number in this mode.
    fn told(&self, token: u64, fd: RawFd, mode: Interest) -> bool {
        let fds = &self.reactor.fds;
        let alike =
            |watch: &&Watch| watch.fd == fd && watch.pending && watch.interest & Interest::EDGE == mode;
        self.watches.iter().any(|watch| alike(&watch))
            && match fds.mixed_waiting(token) {
                Some((_, meant)) => meant == mode,
                None => fds.first_waiting(token).is_some(),
            }
    }
}

#[test]
fn whatever_happens_to_numbers_the_kernel_knows_what_is_wanted_of_which_file() {
    for seed in 1..=300 {
        let kernel = Kernel::default();
        let reactor = reactor_on(&kernel);
        let edges = if seed % 3 == 0 { Interest::empty() } else { Interest::EDGE };
        let mut world = World { kernel, reactor, random: Random(seed), watches: Vec::new(), files: 0, edges };
        (0..500).for_each(|_| world.step());
        while let Some(watch) = world.watches.pop() {
            world.reactor.remove(watch.id).unwrap();
        }
        assert!(!world.reactor.has_work());
        world.turn();
        assert!(!world.reactor.fds.has_always_ready());
    }
}

#[test]
fn a_slot_that_is_given_another_source_is_bound_to_that() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.table().open.insert(5, FileId { number: 1, waitable: true });
    let id = slot(&mut reactor, reading(5), true);
    reactor.add(id, None).unwrap();
    turn(&mut reactor).unwrap();
    kernel.table().close(5, false);
    let file = FileId { number: 2, waitable: true };
    kernel.table().open.insert(5, file);
    reactor.set_source(id, reading(5)).unwrap();
    reactor.add(id, None).unwrap();
    turn(&mut reactor).unwrap();
    assert!(kernel.table().registered.contains_key(&(false, file, 5)));
}

#[test]
fn what_cannot_be_registered_for_lack_of_memory_is_tried_again_soon() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    let file = FileId { number: 1, waitable: true };
    kernel.table().open.insert(5, file);
    kernel.table().short_of_memory = 1;
    let id = slot(&mut reactor, reading(5), true);
    reactor.add(id, None).unwrap();
    let wait = reactor.prepare(false, None);
    assert_eq!(wait.timeout_ns, Some(RETRY_NS));
    reactor.complete(wait, |_, _| {});
    let wait = reactor.prepare(false, None);
    assert_eq!(wait.timeout_ns, None);
    reactor.complete(wait, |_, _| {});
    assert!(kernel.table().registered.contains_key(&(false, file, 5)));
}

#[test]
fn an_error_that_never_gets_better_is_told_to_the_owner_and_not_tried_again() {
    for refusal in [libc::EPERM, libc::ELOOP, libc::EINVAL, libc::EIO] {
        let kernel = Kernel::default();
        let mut reactor = reactor_on(&kernel);
        kernel.table().open.insert(5, FileId { number: 1, waitable: false });
        kernel.table().refusal = refusal;
        let id = slot(&mut reactor, reading(5), true);
        reactor.add(id, None).unwrap();
        for _ in 0..3 {
            let wait = reactor.prepare(false, None);
            assert_eq!(wait.timeout_ns, Some(0), "{refusal}");
            reactor.complete(wait, |_, _| {});
            assert_eq!(reactor.next_active(0).unwrap().what, What::READ, "its next read tells");
        }
        assert_eq!(kernel.table().calls, 1, "asked once");
        reactor.del(id).unwrap();
        let wait = reactor.prepare(false, None);
        assert_eq!(wait.timeout_ns, None);
        reactor.complete(wait, |_, _| {});
    }
}

#[test]
fn a_wait_that_fails_loses_nothing() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    let file = FileId { number: 1, waitable: true };
    kernel.table().open.insert(5, file);
    let id = slot(&mut reactor, reading(5), true);
    reactor.add(id, Some(Duration::ZERO)).unwrap();
    kernel.table().wait_fails = true;
    turn(&mut reactor).unwrap_err();
    kernel.table().wait_fails = false;
    reactor.check_invariants();
    let token = kernel.table().registered[&(false, file, 5)].1;
    kernel.table().reports.push(Ready { token, what: What::READ });
    turn(&mut reactor).unwrap();
    let active = reactor.next_active(0).unwrap();
    assert_eq!(active.what, What::READ | What::TIMEOUT, "each was kept for the turn that could tell");
    assert!(reactor.next_active(0).is_none());
}

#[test]
fn a_turn_that_unwinds_leaves_a_reactor_that_goes_on() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(5, true);
    let id = slot(&mut reactor, reading(5), true);
    reactor.add(id, None).unwrap();
    turn(&mut reactor).unwrap();
    let (_, token) = kernel.table().registration(false, 5).unwrap();
    for unwinds in [true, false] {
        kernel.table().reports.push(Ready { token, what: What::READ });
        let mut wait = reactor.prepare(true, None);
        wait.wait().unwrap();
        let told = std::panic::AssertUnwindSafe(|| reactor.complete(wait, |_, _| assert!(!unwinds)));
        assert_eq!(std::panic::catch_unwind(told).is_err(), unwinds);
    }
    assert_eq!(reactor.next_active(0).map(|active| active.slot), Some(id), "a state is reported again");
}

#[test]
fn reports_of_the_past_reach_nobody_and_a_backend_that_cannot_be_replaced_stays() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.table().open.insert(5, FileId { number: 1, waitable: true });
    let id = slot(&mut reactor, reading(5), true);
    reactor.add(id, None).unwrap();
    turn(&mut reactor).unwrap();
    let token = kernel.table().registered.values().next().unwrap().1;
    reactor.forget_fd(id).unwrap();
    reactor.add(id, None).unwrap();
    for round in 1..STALE_WAITS_MAX {
        kernel.table().reports.push(Ready { token, what: What::READ });
        turn(&mut reactor).unwrap();
        assert_eq!(reactor.counters().stale_events, u64::from(round));
        assert!(reactor.next_active(0).is_none());
    }
    turn(&mut reactor).unwrap();
    assert_eq!(reactor.counters().rebuilds, 0, "a wait without one starts the count again");
    for _ in 0..STALE_WAITS_MAX {
        kernel.table().reports.push(Ready { token, what: What::READ });
        turn(&mut reactor).unwrap();
    }
    assert_eq!(reactor.counters().rebuilds, 0, "the new one was of no use");
    let token = kernel.table().registered.values().next().unwrap().1;
    kernel.table().reports.push(Ready { token, what: What::READ });
    turn(&mut reactor).unwrap();
    assert_eq!(reactor.next_active(0).unwrap().what, What::READ);
}

#[test]
fn the_ready_list_forgets_what_is_taken_back_and_takes_it_anew() {
    let mut reactor = reactor(1);
    let ids: Vec<_> = (0..4).map(|_| slot(&mut reactor, Source::None, true)).collect();
    ids.iter().for_each(|&id| reactor.activate_later(id, What::READ).unwrap());
    reactor.del(ids[1]).unwrap();
    reactor.remove(ids[2]).unwrap();
    reactor.del(ids[3]).unwrap();
    reactor.activate_later(ids[3], What::WRITE).unwrap();
    reactor.activate_later(ids[3], What::CLOSED).unwrap();
    let heir = slot(&mut reactor, Source::None, true);
    assert_eq!(heir.0.index(), ids[2].0.index());
    reactor.check_invariants();
    assert!(reactor.has_work());
    turn(&mut reactor).unwrap();
    let whats: Vec<_> = std::iter::from_fn(|| reactor.next_active(0)).map(|active| active.what).collect();
    assert_eq!(whats, [What::READ, What::WRITE | What::CLOSED]);
    assert!(!reactor.has_work());
    turn(&mut reactor).unwrap();
    assert!(reactor.next_active(0).is_none());
    reactor.check_invariants();
}

#[test]
fn accounts_balance_after_any_verbs() {
    let mut random = Random(9);
    let mut reactor = reactor(3);
    let mut ids: Vec<SlotId> = Vec::new();
    for _ in 0..20_000 {
        let priority = Some(random.below(3) as u8);
        let spec = SlotSpec { owner: 0, source: Source::None, persist: random.below(2) == 0, priority };
        if ids.len() < 20 {
            ids.push(reactor.insert(spec).unwrap());
        }
        let place = random.below(ids.len());
        let id = ids[place];
        match random.below(11) {
            0 => reactor.add(id, Some(Duration::from_micros(random.below(50) as u64))).unwrap(),
            1 => reactor.add(id, Some(Duration::MAX)).unwrap(),
            2 => reactor.del(id).unwrap(),
            3 => reactor.remove_timer(id).unwrap(),
            4 => reactor.activate(id, What::READ).unwrap(),
            5 => reactor.activate_later(id, What::WRITE).unwrap(),
            6 => reactor.set_holds_loop(id, random.below(2) == 0).unwrap(),
            7 => reactor.remove(ids.swap_remove(place)).unwrap(),
            8 => drop(reactor.set_priority(id, random.below(4) as u8)),
            9 => turn(&mut reactor).unwrap(),
            _ => {
                if let Some(priority) = reactor.first_priority() {
                    assert!(reactor.next_active(priority).is_some());
                }
            }
        }
        reactor.check_invariants();
    }
    ids.iter().for_each(|&id| reactor.remove(id).unwrap());
    turn(&mut reactor).unwrap();
    assert!(!reactor.has_work());
    assert_eq!(reactor.sizes(), (0, 0));
}
