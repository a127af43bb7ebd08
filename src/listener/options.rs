//! How a listener is made: its options, and the socket that comes of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, Type};

use crate::error::{Error, Result};
use crate::sys;
use crate::sys::socket::{Mode, OnExec};
use crate::util::Address;

/// How a listener is bound, and what its connections are like. Its socket is its own, closed when it is freed and in programs
/// that this one turns into, as its connections are; and no option is needed for use from other threads, which speak
/// through [`Remote`](crate::event_base::Remote).
///
/// # Examples
///
/// ```
/// use zerovent::listener::ListenOptions;
///
/// let options = ListenOptions::new().backlog(512).reuse_port(true);
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "LEV_OPT_CLOSE_ON_FREE")]
#[doc(alias = "LEV_OPT_CLOSE_ON_EXEC")]
#[doc(alias = "LEV_OPT_THREADSAFE")]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    ipv6_only: Option<bool>,
    replace_stale: bool,
    deferred_accept: Option<Duration>,
    pub(super) mode: Mode,
    pub(super) on_exec: OnExec,
    pub(super) disabled: bool,
    pub(super) priority: Option<u8>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions::new()
    }
}

impl ListenOptions {
    /// A backlog of 1024 and `SO_REUSEADDR`.
    #[must_use]
    pub fn new() -> Self {
        ListenOptions {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            ipv6_only: None,
            replace_stale: false,
            deferred_accept: None,
            mode: Mode::NonBlocking,
            on_exec: OnExec::Close,
            disabled: false,
            priority: None,
        }
    }

    /// How many connections may wait to be accepted; the kernel clips it to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether an address whose last connections are still fading away may be bound again at once.
    #[doc(alias = "LEV_OPT_REUSEABLE")]
    #[must_use]
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Whether several listeners, one a thread, may share the address; the kernel spreads connections over them.
    #[doc(alias = "LEV_OPT_REUSEABLE_PORT")]
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether an IPv6 listener takes IPv6 connections alone, or those of both families, IPv4 peers with addresses like
    /// `::ffff:1.2.3.4`. Without it the system decides (`net.ipv6.bindv6only`). Other listeners have no use for it.
    #[doc(alias = "LEV_OPT_BIND_IPV6ONLY")]
    #[doc(alias = "LEV_OPT_BIND_IPV4_AND_IPV6")]
    #[must_use]
    pub fn ipv6_only(mut self, only: bool) -> Self {
        self.ipv6_only = Some(only);
        self
    }

    /// Whether the socket file that a Unix listener has left behind, to which nobody listens any more, is removed when another
    /// one is bound to its path. What is no socket, or has somebody listening, is never removed.
    #[must_use]
    pub fn replace_stale(mut self, replace: bool) -> Self {
        self.replace_stale = replace;
        self
    }

    /// Hands TCP connections over only when their first bytes have arrived, or `within` has passed: whole seconds, rounded
    /// up.
    #[doc(alias = "LEV_OPT_DEFERRED_ACCEPT")]
    #[must_use]
    pub fn deferred_accept(mut self, within: Duration) -> Self {
        self.deferred_accept = Some(within);
        self
    }

    /// Whether its connections are left blocking, for threads that wait for them; a bufferevent needs one that is not.
    #[doc(alias = "LEV_OPT_LEAVE_SOCKETS_BLOCKING")]
    #[must_use]
    pub fn leave_blocking(mut self, blocking: bool) -> Self {
        self.mode = if blocking { Mode::Blocking } else { Mode::NonBlocking };
        self
    }

    /// Whether programs that this one turns into, or starts, get its connections, for servers that hand them to such programs;
    /// else they are closed there.
    #[must_use]
    pub fn inheritable_connections(mut self, inheritable: bool) -> Self {
        self.on_exec = if inheritable { OnExec::Keep } else { OnExec::Close };
        self
    }

    /// Whether it waits for [`enable_listener`](crate::EventBase::enable_listener) before it accepts.
    #[doc(alias = "LEV_OPT_DISABLED")]
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// The priority of its accepting; the base's default is the middle one.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }
}

/// Makes a socket that listens at `address`.
pub(super) fn bind(address: &Address, options: &ListenOptions) -> io::Result<OwnedFd> {
    let fd = sys::socket::stream(address)?;
    let socket = SockRef::from(&fd);
    if let Address::Inet(inet) = address {
        // What is set on a listening socket its connections inherit: small answers leave at once, and a peer
        // that vanished is found out in the end. Set here, neither costs a system call a connection.
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(true)?;
        if let Some(only) = options.ipv6_only.filter(|_| inet.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        if let Some(within) = options.deferred_accept {
            sys::socket::defer_accept(fd.as_fd(), within)?;
        }
    }
    socket.set_reuse_address(options.reuse_address)?;
    socket.set_reuse_port(options.reuse_port)?;
    bind_to(fd.as_fd(), address, options.replace_stale)?;
    sys::socket::listen(fd.as_fd(), options.backlog)?;
    Ok(fd)
}

fn bind_to(fd: BorrowedFd<'_>, address: &Address, replace_stale: bool) -> io::Result<()> {
    match (sys::socket::bind(fd, address), address) {
        (Err(error), Address::Unix(unix)) if replace_stale && error.kind() == io::ErrorKind::AddrInUse => {
            let Some(path) = unix.as_pathname().filter(|path| is_stale(path, address)) else {
                return Err(error);
            };
            std::fs::remove_file(path)?;
            sys::socket::bind(fd, address)
        }
        (bound, _) => bound,
    }
}

/// Whether a socket stands at `path` to which nobody listens: only of such a one a connect is refused.
fn is_stale(path: &Path, address: &Address) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let probe = sys::socket::stream(address)?;
        sys::socket::connect(probe.as_fd(), address)
    };
    is_socket && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Takes in a socket that somebody else has made listen.
pub(super) fn check_listening(fd: BorrowedFd<'_>) -> Result<()> {
    let socket = SockRef::from(&fd);
    if socket.r#type()? != Type::STREAM {
        return Err(Error::Invalid("the socket is not a stream socket"));
    }
    if !socket.is_listener()? {
        return Err(Error::Invalid("the socket does not listen"));
    }
    // Blocking mode belongs to the open socket, which may be shared; but a loop that may block in accept is none.
    socket.set_nonblocking(true)?;
    Ok(socket.set_cloexec(true)?)
}
