//! io_uring(7): readiness as completions. Rests on: a poll request refers to an open file, whatever becomes of its number,
//! and lives until it is cancelled; one that is made while its condition is true completes at once; requests end with the
//! thread that made them.
//!
//! All changes of a turn are entries of the submission queue, so they and the wait are one system call. Who asks for edges has
//! one request that completes again and again; who asks for states has one that completes once, and is made anew before the
//! next wait, which finds out whether the state still holds. Each request has a serial number, and what comes of one
//! that has been cancelled is passed over.
#![allow(unsafe_code, reason = "requests are handed to the kernel; each block cites what it rests on")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;

use ::io_uring::types::{Fd, SubmitArgs, Timespec};
use ::io_uring::{IoUring, cqueue, opcode, squeue};

// Requests and their results have the bits of epoll(7).
use super::epoll::{events_of, what_of};
use super::{BROKEN, Backend, Method, Ready};
use crate::features::Features;
use crate::reactor::Interest;
use crate::reactor::arena::extend_to;

pub(super) static METHOD: Method =
    Method { name: "io_uring", features: Features::all(), open: || Ok(Box::new(Uring::new()?)) };

/// How many requests fit into one submission; more are submitted in several calls.
const ENTRIES: u32 = 256;

/// How many completions fit into the ring; the kernel keeps what does not.
const COMPLETIONS: u32 = 4096;

/// What a cancellation is known by, which tells only of its failure.
const CANCELLATION: u64 = u64::MAX;

/// What is watched under a number.
#[derive(Debug, Clone, Copy)]
struct Watch {
    token: u64,
    interest: Interest,
    /// Of the request that was made last.
    serial: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unwatched,
    /// Is to have a request before the next wait.
    Due,
    /// Has a request.
    Armed,
}

const UNWATCHED: Watch = Watch { token: 0, interest: Interest::empty(), serial: 0, state: State::Unwatched };

/// What is watched, by number.
#[derive(Debug, Default)]
struct Watches {
    all: Vec<Watch>,
    /// Numbers that may be due, in the order in which they came to be: what is ready is told in that order.
    due: VecDeque<RawFd>,
}

struct Uring {
    ring: IoUring,
    watches: Watches,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("watches", &self.watches).finish_non_exhaustive()
    }
}

impl Watches {
    fn get(&mut self, fd: RawFd) -> Option<&mut Watch> {
        let watch = self.all.get_mut(usize::try_from(fd).ok()?)?;
        (watch.state != State::Unwatched).then_some(watch)
    }

    /// Sees to it that a number has a request before the next wait.
    fn make_due(&mut self, fd: RawFd) {
        if let Some(watch) = self.get(fd)
            && watch.state != State::Due
        {
            watch.state = State::Due;
            self.due.push_back(fd);
        }
    }

    /// The next request that is due.
    fn next_request(&mut self) -> Option<squeue::Entry> {
        while let Some(fd) = self.due.pop_front() {
            // It may have been taken back, or listed twice.
            let Some(watch) = self.get(fd).filter(|watch| watch.state == State::Due) else { continue };
            watch.serial = watch.serial.wrapping_add(1);
            watch.state = State::Armed;
            let poll = opcode::PollAdd::new(Fd(fd), events_of(watch.interest))
                .multi(watch.interest.contains(Interest::EDGE));
            return Some(poll.build().user_data(name_of(fd, watch.serial)));
        }
        None
    }

    /// What takes back the request of a number that has one.
    fn cancellation(&mut self, fd: RawFd) -> Option<squeue::Entry> {
        let watch = self.get(fd).filter(|watch| watch.state == State::Armed)?;
        let cancellation = opcode::PollRemove::new(name_of(fd, watch.serial)).build();
        // What it completes with meanwhile has an old serial.
        watch.serial = watch.serial.wrapping_add(1);
        Some(cancellation.user_data(CANCELLATION).flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// What a completion tells, if it is of a request that still counts.
    fn take_in(&mut self, completion: &cqueue::Entry) -> Option<(Interest, Ready)> {
        let name = completion.user_data();
        let fd = name as u32 as RawFd;
        let watch = self.get(fd).filter(|watch| watch.state == State::Armed)?;
        if name_of(fd, watch.serial) != name {
            return None;
        }
        let (interest, token) = (watch.interest, watch.token);
        if !cqueue::more(completion.flags()) {
            self.make_due(fd);
        }
        let what = match completion.result() {
            // The thread that made it is gone: it is made anew.
            error if error == -libc::ECANCELED => return None,
            // A number that is not open, say. Whoever reads it or writes to it will find out.
            error if error < 0 => BROKEN,
            events => what_of(events as u32),
        };
        Some((interest, Ready { token, what }))
    }
}

impl Uring {
    fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_cqsize(COMPLETIONS).build(ENTRIES)?;
        Ok(Uring { ring, watches: Watches::default() })
    }

    fn cancel(&mut self, fd: RawFd) -> io::Result<()> {
        self.watches.cancellation(fd).map_or(Ok(()), |entry| self.queue(&entry))
    }

    fn queue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: polls and their cancellations refer to no memory.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }

    /// Takes what has completed, and tells it to those whose interest `counts`.
    fn reap(&mut self, counts: impl Fn(Interest) -> bool, ready: &mut Vec<Ready>) {
        let completions = self.ring.completion().filter(|entry| entry.user_data() != CANCELLATION);
        let told = completions.filter_map(|entry| self.watches.take_in(&entry));
        ready.extend(told.filter(|(interest, _)| counts(*interest)).map(|(_, report)| report));
    }

    /// Submits what there is, and waits for a completion.
    fn enter(&mut self, timeout_ns: Option<u64>) -> io::Result<usize> {
        match timeout_ns {
            None => self.ring.submit_and_wait(1),
            Some(0) => self.ring.submitter().submit_with_args(0, &SubmitArgs::new()),
            Some(ns) => {
                let timeout = Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        }
    }
}

impl Backend for Uring {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        let number = usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        if self.watches.get(fd).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        extend_to(&mut self.watches.all, number + 1, || UNWATCHED);
        let serial = self.watches.all[number].serial;
        self.watches.all[number] = Watch { token, interest, serial, state: State::Due };
        self.watches.due.push_back(fd);
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.cancel(fd)?;
        let watch = self.watches.get(fd).ok_or(io::ErrorKind::NotFound)?;
        (watch.interest, watch.token) = (interest, token);
        self.watches.make_due(fd);
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        self.cancel(fd)?;
        self.watches.get(fd).ok_or(io::ErrorKind::NotFound)?.state = State::Unwatched;
        Ok(())
    }

    fn closed(&mut self, fd: RawFd) {
        // The request keeps the file open, so it must not wait for the next submission. It may never have been watched.
        let _ = self.remove(fd).and_then(|()| self.ring.submit());
    }

    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        // A state that was reached before may be over by now: whoever asks for it is asked about again. An edge is told.
        self.reap(|interest| interest.contains(Interest::EDGE), ready);
        let timeout_ns = if ready.is_empty() { timeout_ns } else { Some(0) };
        while let Some(request) = self.watches.next_request() {
            self.queue(&request)?;
        }
        match self.enter(timeout_ns) {
            Err(e) if is_no_failure(&e) => {}
            result => drop(result?),
        }
        self.reap(|_| true, ready);
        Ok(())
    }
}

/// The time has passed, a signal came, or completions are to be taken before more is submitted.
fn is_no_failure(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// What a request is known by.
fn name_of(fd: RawFd, serial: u32) -> u64 {
    u64::from(serial) << 32 | u64::from(fd as u32)
}
