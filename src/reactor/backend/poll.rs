//! poll(2): a list that the kernel walks at every wait. Rests on: an entry belongs to a number and means whatever file has
//! it at the time; a number that is not open is reported as `POLLNVAL`; errors and hang-ups are always reported.

use std::io;
use std::os::fd::RawFd;

use libc::{c_short, pollfd};

use super::{BROKEN, Backend, Method, Ready};
use crate::features::Features;
use crate::reactor::arena::extend_to;
use crate::reactor::{Interest, What};
use crate::sys::poll;

pub(super) static METHOD: Method = Method {
    name: "poll",
    features: Features::ANY_DESCRIPTOR.union(Features::EARLY_CLOSE),
    open: || Ok(Box::new(Poll::default())),
};

#[derive(Debug, Default)]
struct Poll {
    list: Vec<pollfd>,
    /// The token of each entry of the list.
    tokens: Vec<u64>,
    /// Where in the list each number has its entry.
    places: Vec<Option<u32>>,
}

impl Poll {
    fn place(&self, fd: RawFd) -> Option<usize> {
        let place = *self.places.get(usize::try_from(fd).ok()?)?;
        place.map(|place| place as usize)
    }
}

impl Backend for Poll {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        let number = usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        if self.place(fd).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        extend_to(&mut self.places, number + 1, || None);
        self.places[number] = Some(self.list.len() as u32);
        self.list.push(pollfd { fd, events: events_of(interest), revents: 0 });
        self.tokens.push(token);
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        let place = self.place(fd).ok_or(io::ErrorKind::NotFound)?;
        self.list[place].events = events_of(interest);
        self.tokens[place] = token;
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        let place = self.place(fd).ok_or(io::ErrorKind::NotFound)?;
        self.places[fd as usize] = None;
        self.list.swap_remove(place);
        self.tokens.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places[moved.fd as usize] = Some(place as u32);
        }
        Ok(())
    }

    fn closed(&mut self, fd: RawFd) {
        // It may never have been watched.
        let _ = self.remove(fd);
    }

    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let count = match poll::wait(&mut self.list, timeout_ns) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        let entries = self.list.iter().zip(&self.tokens).filter(|(entry, _)| entry.revents != 0);
        let reports = entries.map(|(entry, &token)| Ready { token, what: what_of(entry.revents) });
        ready.extend(reports.take(count));
        Ok(())
    }
}

fn events_of(interest: Interest) -> c_short {
    let pairs = [
        (Interest::READ, libc::POLLIN),
        (Interest::WRITE, libc::POLLOUT),
        (Interest::URGENT, libc::POLLPRI),
        (Interest::CLOSED, libc::POLLRDHUP),
    ];
    pairs.into_iter().filter(|(flag, _)| interest.contains(*flag)).fold(0, |all, (_, event)| all | event)
}

fn what_of(events: c_short) -> What {
    let mut what = What::empty();
    what.set(What::READ, events & libc::POLLIN != 0);
    what.set(What::WRITE, events & libc::POLLOUT != 0);
    what.set(What::URGENT, events & libc::POLLPRI != 0);
    what.set(What::CLOSED, events & libc::POLLRDHUP != 0);
    let broken = events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
    if broken { what | BROKEN } else { what }
}
