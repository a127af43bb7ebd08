//! select(2): three sets of bits that the kernel walks at every wait, made as long as the highest number needs. Rests on: a
//! bit belongs to a number and means whatever file has it at the time; one number that is not open fails the whole wait
//! with `EBADF`; a hang-up can be read and an error written.

use std::io;
use std::os::fd::RawFd;

use super::{BROKEN, Backend, Method, Ready};
use crate::features::Features;
use crate::reactor::arena::extend_to;
use crate::reactor::{Interest, What};
use crate::sys::descriptor;
use crate::sys::select::{self, Sets, WORD_BITS};

pub(super) static METHOD: Method =
    Method { name: "select", features: Features::ANY_DESCRIPTOR, open: || Ok(Box::new(Select::default())) };

/// What the three sets are for, in their order.
const KINDS: [(Interest, What); 3] =
    [(Interest::READ, What::READ), (Interest::WRITE, What::WRITE), (Interest::URGENT, What::URGENT)];

#[derive(Debug, Default)]
struct Select {
    wanted: Sets,
    /// What the kernel made of `wanted`; kept for its storage.
    found: Sets,
    /// The token of each number that is watched.
    tokens: Vec<Option<u64>>,
}

impl Select {
    fn token(&self, fd: RawFd) -> Option<u64> {
        *self.tokens.get(usize::try_from(fd).ok()?)?
    }

    /// Sets and clears the bits of a number; the sets end with the last word that has any.
    fn set(&mut self, fd: RawFd, interest: Interest) {
        let (word, bit) = (fd as usize / WORD_BITS, 1 << (fd as usize % WORD_BITS));
        for (set, (kind, _)) in self.wanted.iter_mut().zip(KINDS) {
            extend_to(set, word + 1, || 0);
            if interest.contains(kind) {
                set[word] |= bit;
            } else {
                set[word] &= !bit;
            }
        }
        while self.wanted.iter().all(|set| set.last() == Some(&0)) {
            self.wanted.iter_mut().for_each(|set| set.truncate(set.len() - 1));
        }
        // So that waiting allocates nothing.
        self.found.iter_mut().for_each(|set| extend_to(set, self.wanted[0].len(), || 0));
    }

    /// What is ready, bit by bit, of the sets that the wait left behind.
    fn collect(&self, ready: &mut Vec<Ready>) {
        let [read, write, urgent] = &self.found;
        for (place, ((read, write), urgent)) in read.iter().zip(write).zip(urgent).enumerate() {
            let mut left = read | write | urgent;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                let number = place * WORD_BITS + bit.trailing_zeros() as usize;
                let found =
                    [read, write, urgent].into_iter().zip(KINDS).filter(|(word, _)| **word & bit != 0);
                let what = found.fold(What::empty(), |all, (_, (_, what))| all | what);
                ready.extend(self.tokens[number].map(|token| Ready { token, what }));
            }
        }
    }

    fn look(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if select::wait(&mut self.found, timeout_ns)? > 0 {
            self.collect(ready);
        }
        Ok(())
    }

    /// A number that is watched is not open: whoever watches it shall find out, as poll(2) has it, and so shall those
    /// whose numbers are ready.
    fn look_past_closed(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.copy_wanted();
        for (number, token) in self.tokens.iter().enumerate() {
            if let &Some(token) = token
                && !descriptor::is_open(number as RawFd)
            {
                let bit = 1 << (number % WORD_BITS);
                self.found.iter_mut().for_each(|set| set[number / WORD_BITS] &= !bit);
                ready.push(Ready { token, what: BROKEN });
            }
        }
        self.look(Some(0), ready)
    }

    fn copy_wanted(&mut self) {
        for (found, wanted) in self.found.iter_mut().zip(&self.wanted) {
            found.clone_from(wanted);
        }
    }
}

impl Backend for Select {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        // The kernel does not look at numbers beyond its table of open files, not even to say that they are not open.
        let number = usize::try_from(fd).ok().filter(|_| descriptor::is_open(fd));
        let number = number.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        if self.token(fd).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        extend_to(&mut self.tokens, number + 1, || None);
        self.tokens[number] = Some(token);
        self.set(fd, interest);
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.token(fd).ok_or(io::ErrorKind::NotFound)?;
        self.tokens[fd as usize] = Some(token);
        self.set(fd, interest);
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        self.token(fd).ok_or(io::ErrorKind::NotFound)?;
        self.tokens[fd as usize] = None;
        self.set(fd, Interest::empty());
        Ok(())
    }

    fn closed(&mut self, fd: RawFd) {
        // It may never have been watched.
        let _ = self.remove(fd);
    }

    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.copy_wanted();
        match self.look(timeout_ns, ready) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => self.look_past_closed(ready),
            result => result,
        }
    }
}
