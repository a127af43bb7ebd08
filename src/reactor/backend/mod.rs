//! The kernel interface as a plug: what a readiness backend must do, and nothing about who uses it.

mod epoll;

use std::fmt;
use std::io;
use std::os::fd::RawFd;

pub(crate) use epoll::Epoll;

use super::{Interest, What};

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
    /// Whether [`Interest::EDGE`] is honoured.
    fn edge_triggered(&self) -> bool;

    /// Starts watching a descriptor. `PermissionDenied` means that it cannot be waited for and is always ready.
    fn add(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()>;

    /// Changes what a descriptor is watched for, and its token.
    fn modify(&mut self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()>;

    /// Stops watching a descriptor.
    fn remove(&mut self, fd: RawFd) -> io::Result<()>;

    /// Waits up to `timeout_ns` (`None`: for ever) and appends what is ready. Being interrupted is no error.
    fn wait(&mut self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// A new, empty one of the same kind.
    fn renew(&self) -> io::Result<Box<dyn Backend>>;
}
