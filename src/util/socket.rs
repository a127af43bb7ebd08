//! Properties of sockets that std sets only on types of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use socket2::SockRef;

/// Lets calls on the socket fail with `WouldBlock` instead of waiting.
///
/// # Errors
///
/// The operating system's.
///
/// # Examples
///
/// ```
/// let (socket, _peer) = std::os::unix::net::UnixDatagram::pair()?;
/// zerovent::util::make_nonblocking(&socket)?;
/// assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "evutil_make_socket_nonblocking")]
pub fn make_nonblocking(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_nonblocking(true)
}

/// Closes the descriptor in programs that this one turns into or starts. Sockets of std and of zerovent are made so.
///
/// # Errors
///
/// The operating system's.
#[doc(alias = "evutil_make_socket_closeonexec")]
pub fn make_close_on_exec(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_cloexec(true)
}

/// Lets a socket that is to listen have an address whose last connections are still fading away. To be called before it is
/// bound; listeners of zerovent do it by themselves.
///
/// # Errors
///
/// The operating system's.
#[doc(alias = "evutil_make_listen_socket_reuseable")]
pub fn make_reuseable(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_reuse_address(true)
}

/// Two connected stream sockets, non-blocking and close-on-exec: as [`EventBase::new_socket`](crate::EventBase::new_socket)
/// wants them.
///
/// # Errors
///
/// The operating system's.
///
/// # Examples
///
/// ```
/// use zerovent::bufferevent::Options;
///
/// let mut base = zerovent::EventBase::new()?;
/// let (near, far) = zerovent::util::socketpair()?;
/// let id = base.new_socket(Some(near), &Options::new())?;
/// # drop(far);
/// # Ok::<(), zerovent::Error>(())
/// ```
#[doc(alias = "evutil_socketpair")]
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one.into(), other.into()))
}
