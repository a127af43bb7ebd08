//! The rows by the least that does the job: raw epoll, told of every change at once; a wheel of unordered timers; an array of
//! what is to be called. No priorities, no ids that go stale, no errors, no order among timers that are due. Nobody could
//! use it; it says what the machine takes.
#![allow(unsafe_code, reason = "raw system calls are what this is about")]

use std::os::fd::RawFd;

use libc::{c_int, epoll_event};

use super::engine::{Engine, Job, State};

const NOBODY: u32 = u32::MAX;
/// A slot of the wheel is 2^20 ns, about a millisecond, wide; the wheel turns in four seconds.
const TICK_BITS: u32 = 20;
const WHEEL: u64 = 4096;

/// A timer, in the ring of its wheel's slot; not pending if its neighbours are nobody.
#[derive(Clone, Copy)]
struct Timer {
    deadline_ns: u64,
    previous: u32,
    next: u32,
}

type Callback = fn(&mut Floor, u32);

pub(crate) struct Floor {
    state: State<u64>,
    set: c_int,
    events: [epoll_event; 64],
    fds: Vec<RawFd>,
    /// The first `WHEEL` are the heads of the rings.
    timers: Vec<Timer>,
    common: u64,
    now_ns: u64,
    tick: u64,
    active: Vec<(Callback, u32)>,
    job: Option<Job<Floor>>,
}

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Floor {
    fn control(&self, operation: c_int, index: usize) {
        let mut event = epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        // SAFETY: `event` is live and writable; the set is open.
        let result = unsafe { libc::epoll_ctl(self.set, operation, self.fds[index], &raw mut event) };
        assert_eq!(result, 0, "the descriptor is open");
    }

    fn wait(&mut self) -> usize {
        let (first, most) = (self.events.as_mut_ptr(), self.events.len() as c_int);
        // SAFETY: there is room for `most` events, and the set is open.
        let count = unsafe { libc::epoll_wait(self.set, first, most, 0) };
        usize::try_from(count).expect("waiting works")
    }

    fn unlink(&mut self, timer: u32) {
        let Timer { previous, next, .. } = self.timers[timer as usize];
        self.timers[previous as usize].next = next;
        self.timers[next as usize].previous = previous;
    }

    fn link(&mut self, timer: u32, deadline_ns: u64) {
        let head = ((deadline_ns >> TICK_BITS) % WHEEL) as u32;
        let previous = std::mem::replace(&mut self.timers[head as usize].previous, timer);
        self.timers[previous as usize].next = timer;
        self.timers[timer as usize] = Timer { deadline_ns, previous, next: head };
    }

    /// Calls the timers that are due, slot by slot, from where the wheel stood.
    fn turn_wheel(&mut self) {
        let end = self.now_ns >> TICK_BITS;
        for tick in self.tick.max(end.saturating_sub(WHEEL))..=end {
            let head = (tick % WHEEL) as u32;
            let mut timer = self.timers[head as usize].next;
            while timer != head {
                let Timer { deadline_ns, next, .. } = self.timers[timer as usize];
                if deadline_ns <= self.now_ns {
                    self.unlink(timer);
                    self.timers[timer as usize].next = NOBODY;
                    self.active.push((fired, timer));
                }
                timer = next;
            }
        }
        self.tick = end;
    }

    fn call_active(&mut self) {
        let mut at = 0;
        while let Some(&(callback, argument)) = self.active.get(at) {
            callback(self, argument);
            at += 1;
        }
        self.active.clear();
    }
}

fn fired(floor: &mut Floor, _: u32) {
    floor.state.fired += 1;
}

fn readable(floor: &mut Floor, index: u32) {
    floor.state.on_readable(index as usize);
}

fn driven(floor: &mut Floor, _: u32) {
    if let Some(job) = floor.job.take() {
        job(floor);
    }
}

impl Engine for Floor {
    /// Nanoseconds.
    type Span = u64;

    fn new() -> Self {
        // SAFETY: it takes an integer.
        let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(set >= 0, "a descriptor for the set");
        let head = |head| Timer { deadline_ns: 0, previous: head, next: head };
        Floor {
            state: State::new(),
            set,
            events: [epoll_event { events: 0, u64: 0 }; 64],
            fds: Vec::new(),
            timers: (0..WHEEL as u32).map(head).collect(),
            common: 0,
            now_ns: now_ns(),
            tick: now_ns() >> TICK_BITS,
            active: Vec::with_capacity(1024),
            job: None,
        }
    }

    fn span(us: u64) -> u64 {
        us * 1000
    }

    fn make_common(&mut self, us: u64) -> bool {
        self.common = Self::span(us);
        true
    }

    fn state(&mut self) -> &mut State<u64> {
        &mut self.state
    }

    fn make_timers(&mut self, count: usize) {
        let idle = Timer { deadline_ns: 0, previous: NOBODY, next: NOBODY };
        self.timers.resize(WHEEL as usize + count, idle);
    }

    fn add_timer(&mut self, index: usize, after: u64) {
        self.link(index as u32 + WHEEL as u32, self.now_ns + after);
    }

    fn rearm_timer(&mut self, index: usize, after: u64) {
        self.unlink(index as u32 + WHEEL as u32);
        self.add_timer(index, after);
    }

    fn rearm_common(&mut self, index: usize) {
        if self.timers[index + WHEEL as usize].next == NOBODY {
            return self.add_timer(index, self.common);
        }
        self.rearm_timer(index, self.common);
    }

    fn del_timer(&mut self, index: usize) {
        self.unlink(index as u32 + WHEEL as u32);
    }

    fn activate(&mut self, index: usize) {
        self.active.push((fired, index as u32));
    }

    fn watch(&mut self, fds: &[RawFd]) {
        self.fds.extend(fds);
        (0..fds.len()).for_each(|index| self.add_fd(index));
    }

    fn add_fd(&mut self, index: usize) {
        self.control(libc::EPOLL_CTL_ADD, index);
    }

    fn del_fd(&mut self, index: usize) {
        self.control(libc::EPOLL_CTL_DEL, index);
    }

    fn inside(&mut self, job: Job<Self>) {
        self.job = Some(job);
        self.active.push((driven, 0));
        self.turn();
    }

    fn turn(&mut self) {
        let count = self.wait();
        self.now_ns = now_ns();
        for at in 0..count {
            let index = self.events[at].u64 as u32;
            self.active.push((readable, index));
        }
        self.turn_wheel();
        self.call_active();
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // SAFETY: the set is ours, and nobody uses it afterwards.
        unsafe { libc::close(self.set) };
    }
}
