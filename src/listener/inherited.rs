//! Sockets that a service manager has opened for the program: systemd's socket activation.

use std::os::fd::OwnedFd;

use crate::sys;

/// A descriptor that the service manager has handed over.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListenFd {
    /// Its name in the manager's configuration (`FileDescriptorName=`), if it has given names.
    pub name: Option<String>,
    /// The descriptor, close-on-exec now.
    pub fd: OwnedFd,
}

/// Takes over the descriptors that the service manager has opened for this process, in their order, by the protocol of
/// sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. The first call takes all of them; later ones,
/// and those in processes that were meant for somebody else, get none.
///
/// The variables stay as they are: that they name another process than its own tells every child that they are not for it.
///
/// # Examples
///
/// ```
/// use zerovent::listener::{ListenOptions, listen_fds};
///
/// let mut base = zerovent::EventBase::new()?;
/// for inherited in listen_fds() {
///     base.adopt_listener(inherited.fd, &ListenOptions::new(), |_, _, _socket, _peer| {})?;
/// }
/// # Ok::<(), zerovent::Error>(())
/// ```
#[must_use]
pub fn listen_fds() -> Vec<ListenFd> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let mut names = names.iter().flat_map(|names| names.split(':')).map(str::to_owned);
    let inherited = sys::inherited::take(number("LISTEN_FDS").unwrap_or(0)).into_iter();
    inherited.filter_map(|fd| Some((names.next(), fd?))).map(|(name, fd)| ListenFd { name, fd }).collect()
}
