//! The address of a stream socket, whatever its family: what `struct sockaddr` is in the book.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

/// Where a stream socket listens or connects to: an IP address with a port, or a Unix socket's name.
///
/// # Examples
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use zerovent::util::Address;
///
/// let address = Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
/// assert_eq!(address.to_string(), "127.0.0.1:8080");
/// assert_eq!(address.as_inet().map(|inet| inet.port()), Some(8080));
/// ```
#[derive(Debug, Clone)]
pub enum Address {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix socket: by path, by abstract name, or unnamed.
    Unix(UnixAddr),
}

impl Address {
    /// The IP address and port, unless this is a Unix socket.
    #[must_use]
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(inet) => Some(*inet),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    /// `1.2.3.4:80`, `[::1]:80`, `unix:/path`, `unix:@abstract` or `unix:` for an unnamed socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(inet) => inet.fmt(f),
            Address::Unix(unix) => match (unix.as_pathname(), unix.as_abstract_name()) {
                (Some(path), _) => write!(f, "unix:{}", path.display()),
                (None, Some(name)) => write!(f, "unix:@{}", name.escape_ascii()),
                (None, None) => f.write_str("unix:"),
            },
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(inet: SocketAddr) -> Self {
        Address::Inet(inet)
    }
}

impl From<SocketAddrV4> for Address {
    fn from(inet: SocketAddrV4) -> Self {
        Address::Inet(inet.into())
    }
}

impl From<SocketAddrV6> for Address {
    fn from(inet: SocketAddrV6) -> Self {
        Address::Inet(inet.into())
    }
}

impl From<UnixAddr> for Address {
    fn from(unix: UnixAddr) -> Self {
        Address::Unix(unix)
    }
}
