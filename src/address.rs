//! The address of a stream socket, whatever its family: what `struct sockaddr` is in the book.

use std::cmp::Ordering;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
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
/// assert_eq!("unix:/run/server".parse::<Address>()?.to_string(), "unix:/run/server");
/// # Ok::<(), zerovent::Error>(())
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

    /// Puts addresses in an order: by family (Unix, IPv4, IPv6), then by the bytes of the IP address or of the Unix
    /// socket's name, then by port. The zone and flow label of IPv6 count for nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cmp::Ordering;
    /// use std::net::SocketAddr;
    /// use zerovent::util::Address;
    ///
    /// let address = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap());
    /// assert_eq!(address("1.2.3.4:80").compare(&address("1.2.3.4:443")), Ordering::Less);
    /// assert_eq!(address("1.2.3.4:80").compare_host(&address("1.2.3.4:443")), Ordering::Equal);
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// IPv4 addresses and ports are compared as numbers, where libevent compares their bytes in the processor's order; Unix
    /// sockets are compared too.
    #[doc(alias = "evutil_sockaddr_cmp")]
    #[must_use]
    pub fn compare(&self, other: &Address) -> Ordering {
        let port = |address: &Address| address.as_inet().map(|inet| inet.port());
        self.compare_host(other).then_with(|| port(self).cmp(&port(other)))
    }

    /// Compares as [`compare`](Self::compare) does, without the port.
    #[must_use]
    pub fn compare_host(&self, other: &Address) -> Ordering {
        match (self, other) {
            (Address::Unix(one), Address::Unix(two)) => name(one).cmp(&name(two)),
            (Address::Inet(one), Address::Inet(two)) => one.ip().cmp(&two.ip()),
            (Address::Unix(_), Address::Inet(_)) => Ordering::Less,
            (Address::Inet(_), Address::Unix(_)) => Ordering::Greater,
        }
    }
}

/// What a Unix socket is called: nothing, an abstract name, which begins with a NUL, or a path.
fn name(address: &UnixAddr) -> (bool, &[u8]) {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => (true, path.as_os_str().as_bytes()),
        (None, abstract_name) => (false, abstract_name.unwrap_or_default()),
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
