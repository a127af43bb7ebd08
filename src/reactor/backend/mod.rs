//! The kernel interface as a plug: what a readiness backend must do, and nothing about who uses it.
//!
//! A backend is one file: a type that watches, and its line in [`METHODS`].

mod epoll;
#[cfg(feature = "io_uring")]
mod io_uring;
mod poll;
mod select;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::{Interest, What};
use crate::error::{Error, Result};
use crate::features::Features;
use epoll::Epoll;

/// A kind of backend.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) features: Features,
    pub(crate) open: fn() -> io::Result<Box<dyn Backend>>,
}

/// All kinds there are, the fastest first; what nobody has chosen is used only by those who avoid the others.
pub(crate) static METHODS: &[&Method] = &[
    &epoll::METHOD,
    &poll::METHOD,
    &select::METHOD,
    #[cfg(feature = "io_uring")]
    &io_uring::METHOD,
];

/// A report: what the descriptor registered under `token` is ready for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) what: What,
}

/// Watches descriptors. Changes take effect at once; the reactor sees to it that there are few.
///
/// `Send`, because a base may be made on one thread and run on another.
pub(crate) trait Backend: fmt::Debug + Send {
    /// What kind it is of.
    fn method(&self) -> &'static Method;

    /// Starts watching a descriptor. `AlreadyExists` means that [`modify`](Self::modify) would do it, and any other error
    /// but a lack of memory that it cannot be waited for.
    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()>;

    /// Changes what a descriptor is watched for, and its token. `NotFound` means that [`add`](Self::add) would do it.
    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()>;

    /// Stops watching a descriptor.
    fn remove(&mut self, fd: RawFd) -> io::Result<()>;

    /// A descriptor has been closed. A kernel that keeps the set knows; who goes by numbers must stop watching this one.
    fn closed(&mut self, _fd: RawFd) {}

    /// A second set, for descriptors of which this one reports edges to be watched for states too: this one reports it under `token` when
    /// it has something to report. With it goes its number, which may have been another descriptor's until now. An error if this one cannot
    /// take it now.
    fn beside(&mut self, token: u64) -> io::Result<(RawFd, Box<dyn Backend>)> {
        let second = Epoll::new()?;
        let number = second.as_raw_fd();
        self.closed(number);
        self.add(number, Interest::READ, token)?;
        Ok((number, Box::new(second)))
    }

    /// Waits up to `timeout_ns` (`None`: for ever) and appends what is ready. Being interrupted is no error.
    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()>;
}

/// Opens the fastest of `methods` that has all of `required` and that the kernel has.
pub(crate) fn open(methods: &[&'static Method], required: Features) -> Result<Box<dyn Backend>> {
    let mut lacking = None;
    for method in methods.iter().filter(|method| method.features.contains(required)) {
        match (method.open)() {
            Err(e) if is_lacking(&e) => {
                log::warn!("{} is not to be had here: {e}", method.name);
                lacking = Some(Error::Io(e));
            }
            result => return Ok(result?),
        }
    }
    Err(lacking.unwrap_or_else(|| Error::NoBackend(missing(methods, required))))
}

/// What of `required` the method lacks that comes nearest to it.
fn missing(methods: &[&'static Method], required: Features) -> Features {
    let lacks = methods.iter().map(|method| required - method.features);
    lacks.min_by_key(|lack| lack.bits().count_ones()).unwrap_or(required)
}

/// Whether the kernel, or the sandbox around the process, does not have that kind at all.
fn is_lacking(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES))
}

/// An error or a full hang-up is something that both reading and writing will find. The kernel reports both to whoever
/// watches, asked or not, so they must mean something to one that waits for the close alone: else its loop would spin.
const BROKEN: What = What::READ.union(What::WRITE).union(What::CLOSED);

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> io::Result<Box<dyn Backend>> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }

    fn exhausted() -> io::Result<Box<dyn Backend>> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    static GONE: Method = Method { name: "gone", features: Features::all(), open: gone };
    static EXHAUSTED: Method = Method { name: "exhausted", features: Features::all(), open: exhausted };

    #[test]
    fn the_fastest_that_will_do_is_opened() {
        let name = |methods: &[&'static Method], features| open(methods, features).unwrap().method().name;
        assert_eq!(name(METHODS, Features::empty()), "epoll");
        assert_eq!(name(&METHODS[1..], Features::empty()), "poll");
        assert_eq!(name(&[&select::METHOD, &poll::METHOD], Features::EARLY_CLOSE), "poll");
        assert_eq!(
            name(&[&GONE, &select::METHOD], Features::empty()),
            "select",
            "as far as the kernel has it"
        );
    }

    #[test]
    fn an_error_says_what_no_backend_has() {
        let error = |methods: &[&'static Method], features| open(methods, features).unwrap_err();
        let wanted = Features::EDGE | Features::EARLY_CLOSE;
        assert!(matches!(error(&METHODS[1..3], wanted), Error::NoBackend(Features::EDGE)));
        assert!(matches!(error(&[], wanted), Error::NoBackend(missing) if missing == wanted));
        assert!(matches!(error(&[], Features::empty()), Error::NoBackend(missing) if missing.is_empty()));
        assert!(matches!(error(&[&GONE], wanted), Error::Io(_)), "what it is that the kernel lacks");
        let both = error(&[&EXHAUSTED, &select::METHOD], Features::empty());
        assert!(matches!(both, Error::Io(_)), "a shortage is no reason to be slow for ever after");
    }
}
