//! epoll(7). Rests on: a registration belongs to the open file, not the number, and goes when the last descriptor
//! of the file is closed; `EPOLL_CTL_ADD` reports at once what is already true; errors and hang-ups are always reported.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use libc::epoll_event;

use super::{BROKEN, Backend, Method, Ready};
use crate::features::Features;
use crate::reactor::{Interest, What};
use crate::sys::epoll;

/// How many reports one wait takes: from few, doubling whenever all of them were used, up to a bound that keeps
/// a turn short.
const BATCH_MIN: usize = 32;
const BATCH_MAX: usize = 1024;

pub(super) static METHOD: Method =
    Method { name: "epoll", features: Features::all(), open: || Ok(Box::new(Epoll::new()?)) };

#[derive(Debug)]
pub(super) struct Epoll {
    set: OwnedFd,
    events: Vec<epoll_event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Epoll { set: epoll::create()?, events: vec![epoll_event { events: 0, u64: 0 }; BATCH_MIN] })
    }
}

/// Which other sets can watch: it can be read while it has something to report.
impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}

impl Backend for Epoll {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        epoll::control(self.set.as_fd(), libc::EPOLL_CTL_ADD, fd, events_of(interest), token)
    }

    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        epoll::control(self.set.as_fd(), libc::EPOLL_CTL_MOD, fd, events_of(interest), token)
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        epoll::control(self.set.as_fd(), libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let count = match epoll::wait(self.set.as_fd(), &mut self.events, timeout_ns) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        let reports = self.events.iter().take(count);
        ready.extend(reports.map(|event| Ready { token: event.u64, what: what_of(event.events) }));
        if count == self.events.len() && count < BATCH_MAX {
            self.events.resize(count * 2, epoll_event { events: 0, u64: 0 });
        }
        Ok(())
    }
}

pub(super) fn events_of(interest: Interest) -> u32 {
    let pairs = [
        (Interest::READ, libc::EPOLLIN),
        (Interest::WRITE, libc::EPOLLOUT),
        (Interest::URGENT, libc::EPOLLPRI),
        (Interest::CLOSED, libc::EPOLLRDHUP),
        (Interest::EDGE, libc::EPOLLET),
    ];
    pairs
        .into_iter()
        .filter(|(flag, _)| interest.contains(*flag))
        .fold(0, |all, (_, event)| all | event as u32)
}

pub(super) fn what_of(events: u32) -> What {
    let mut what = What::empty();
    what.set(What::READ, events & libc::EPOLLIN as u32 != 0);
    what.set(What::WRITE, events & libc::EPOLLOUT as u32 != 0);
    what.set(What::URGENT, events & libc::EPOLLPRI as u32 != 0);
    what.set(What::CLOSED, events & libc::EPOLLRDHUP as u32 != 0);
    let broken = events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
    if broken { what | BROKEN } else { what }
}
