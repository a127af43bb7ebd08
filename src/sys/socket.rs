//! Stream sockets: made non-blocking and close-on-exec from birth, addressed by [`Address`].

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::time::Duration;

use libc::{c_int, sa_family_t, socklen_t};

use super::check;
use crate::address::Address;

/// A socket address as the kernel has it.
///
/// INV-1: every member is plain integers, so any bytes are a valid value of each of them, and the union is
/// as large as the largest (`sockaddr_storage`), zeroed before use: no member is ever uninitialised.
#[derive(Clone, Copy)]
#[repr(C)]
union Storage {
    family: sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    unix: libc::sockaddr_un,
    any: libc::sockaddr_storage,
}

/// Where `sun_path` begins inside `sockaddr_un`.
const PATH_OFFSET: usize = mem::offset_of!(libc::sockaddr_un, sun_path);

/// A connection that `connect` has made or only begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connect {
    /// The socket is connected already (Unix sockets, some loopback cases).
    Done,
    /// The kernel goes on; the socket turns writable when it has succeeded or failed.
    InProgress,
}

/// Whether calls on an accepted connection wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Blocking = 0,
    NonBlocking = libc::SOCK_NONBLOCK as isize,
}

/// Makes a non-blocking, close-on-exec stream socket of the family that `address` needs.
pub(crate) fn stream(address: &Address) -> io::Result<OwnedFd> {
    let family = match address {
        Address::Inet(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Inet(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix(_) => libc::AF_UNIX,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `socket` takes three integers and no memory.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    Ok(own(fd))
}

/// Gives the socket its name.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &Address) -> io::Result<()> {
    let (storage, len) = encode(address)?;
    let pointer = (&raw const storage).cast();
    // SAFETY: `pointer` is to `storage`, which outlives the call, and `len` is at most its size (see `encode`).
    check(unsafe { libc::bind(fd.as_raw_fd(), pointer, len) })?;
    Ok(())
}

/// Starts listening; the kernel clips `backlog` to `net.core.somaxconn`.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: c_int) -> io::Result<()> {
    // SAFETY: `listen` takes two integers and no memory.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Whether programs that this one turns into get a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExec {
    Close = libc::SOCK_CLOEXEC as isize,
    Keep = 0,
}

/// An address as the kernel has given it, of whatever family.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    storage: Storage,
    len: usize,
}

impl RawAddress {
    /// The kernel's form of `address`.
    #[cfg(feature = "capi")]
    pub(crate) fn of(address: &Address) -> io::Result<RawAddress> {
        let (storage, len) = encode(address)?;
        Ok(RawAddress { storage, len: len as usize })
    }

    /// What it means; an error for a family that is not known here.
    pub(crate) fn address(&self) -> io::Result<Address> {
        decode(&self.storage, self.len)
    }

    /// What the kernel has written.
    #[cfg(any(feature = "capi", test))]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let first = (&raw const self.storage).cast();
        // SAFETY: INV-1: every byte of the union is initialised; and `len` is at most its size, as `accept` makes sure.
        unsafe { std::slice::from_raw_parts(first, self.len) }
    }
}

impl std::fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address().fmt(f)
    }
}

/// Takes one connection off the queue.
pub(crate) fn accept(fd: BorrowedFd<'_>, mode: Mode, on_exec: OnExec) -> io::Result<(OwnedFd, RawAddress)> {
    let mut storage = zeroed();
    let mut len = size_of::<Storage>() as socklen_t;
    let pointer = (&raw mut storage).cast();
    let flags = on_exec as c_int | mode as c_int;
    // SAFETY: `pointer` and `len` describe `storage`, which outlives the call; the kernel writes at most `len` bytes.
    let accepted = check(unsafe { libc::accept4(fd.as_raw_fd(), pointer, &raw mut len, flags) })?;
    // The kernel says how long the address is, also when it has cut it short.
    Ok((own(accepted), RawAddress { storage, len: (len as usize).min(size_of::<Storage>()) }))
}

/// Begins or makes a connection.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &Address) -> io::Result<Connect> {
    let (storage, len) = encode(address)?;
    let pointer = (&raw const storage).cast();
    // SAFETY: `pointer` is to `storage`, which outlives the call, and `len` is at most its size (see `encode`).
    match check(unsafe { libc::connect(fd.as_raw_fd(), pointer, len) }) {
        Ok(_) => Ok(Connect::Done),
        // An interrupted connect goes on in the background exactly as one in progress does.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Connect::InProgress)
        }
        Err(e) => Err(e),
    }
}

/// Takes the error that a background operation (a connect, above all) left on the socket.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    let errno = option(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
    Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
}

/// The name the socket is bound to.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    let mut storage = zeroed();
    let mut len = size_of::<Storage>() as socklen_t;
    let pointer = (&raw mut storage).cast();
    // SAFETY: `pointer` and `len` describe `storage`, which outlives the call; the kernel writes at most `len` bytes.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), pointer, &raw mut len) })?;
    decode(&storage, len as usize)
}

/// Whether the socket has a peer: of a connect that was begun and has left no error, whether it is through.
pub(crate) fn is_connected(fd: BorrowedFd<'_>) -> bool {
    let mut storage = zeroed();
    let mut len = size_of::<Storage>() as socklen_t;
    let pointer = (&raw mut storage).cast();
    // SAFETY: `pointer` and `len` describe `storage`, which outlives the call; the kernel writes at most `len` bytes.
    check(unsafe { libc::getpeername(fd.as_raw_fd(), pointer, &raw mut len) }).is_ok()
}

/// Says to the peer that nothing more will be sent.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `shutdown` takes two integers and no memory.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) })?;
    Ok(())
}

/// Switches an on/off socket option on.
pub(crate) fn enable_option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<()> {
    set_option(fd, level, name, 1)
}

/// Sets a socket option that is a number.
fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let pointer = (&raw const value).cast();
    let len = size_of::<c_int>() as socklen_t;
    // SAFETY: `pointer` is to a live `c_int` and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, pointer, len) })?;
    Ok(())
}

/// Lets a listening TCP socket hand connections over when they have sent something, or after `within`.
pub(crate) fn defer_accept(fd: BorrowedFd<'_>, within: Duration) -> io::Result<()> {
    let seconds = within.as_nanos().div_ceil(1_000_000_000).max(1);
    let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

pub(super) fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    let pointer = (&raw mut value).cast();
    // SAFETY: `pointer` is to a live `c_int` and `len` is its size; the kernel writes at most that.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, pointer, &raw mut len) })?;
    Ok(value)
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a descriptor that a system call has just made and that nothing else knows.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn zeroed() -> Storage {
    // SAFETY: INV-1: all-zero bytes are a valid value.
    unsafe { mem::zeroed() }
}

/// The address whose kernel form is `raw`.
pub(super) fn address_from(raw: &[u8]) -> io::Result<Address> {
    let mut storage = zeroed();
    let len = raw.len().min(size_of::<Storage>());
    // SAFETY: `len` bytes can be read from `raw` and written to `storage`, which is somewhere else; INV-1 allows any bytes.
    unsafe { std::ptr::copy_nonoverlapping(raw.as_ptr(), (&raw mut storage).cast(), len) };
    decode(&storage, len)
}

/// The kernel's form of `address` and its length, which never exceeds `Storage`.
fn encode(address: &Address) -> io::Result<(Storage, socklen_t)> {
    let mut storage = zeroed();
    let len = match address {
        Address::Inet(SocketAddr::V4(v4)) => {
            storage.v4 = encode_v4(v4);
            size_of::<libc::sockaddr_in>()
        }
        Address::Inet(SocketAddr::V6(v6)) => {
            storage.v6 = encode_v6(v6);
            size_of::<libc::sockaddr_in6>()
        }
        Address::Unix(unix) => {
            let (unix, len) = encode_unix(unix)?;
            storage.unix = unix;
            len
        }
    };
    Ok((storage, len as socklen_t))
}

fn encode_v4(address: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn encode_v6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

fn encode_unix(address: &UnixAddr) -> io::Result<(libc::sockaddr_un, usize)> {
    // An abstract name starts with a NUL and is as long as it says; a path ends with one; no name is nothing at all.
    let (skip, name, end) = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) if !address.is_unnamed() => (0, path.as_os_str().as_bytes(), 1),
        (_, Some(name)) => (1, name, 0),
        _ => (0, &[][..], 0),
    };
    let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as sa_family_t, sun_path: [0; 108] };
    let len = skip + name.len() + end;
    if len > raw.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in raw.sun_path[skip..].iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    Ok((raw, PATH_OFFSET + len))
}

fn decode(storage: &Storage, len: usize) -> io::Result<Address> {
    // SAFETY: INV-1.
    let family = unsafe { storage.family };
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: INV-1.
            let v4 = unsafe { storage.v4 };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::from((ip, u16::from_be(v4.sin_port))).into())
        }
        libc::AF_INET6 => {
            // SAFETY: INV-1.
            let v6 = unsafe { storage.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            let address = SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id);
            Ok(SocketAddr::V6(address).into())
        }
        libc::AF_UNIX => {
            // SAFETY: INV-1.
            let unix = unsafe { storage.unix };
            decode_unix(&unix, len)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn decode_unix(raw: &libc::sockaddr_un, len: usize) -> io::Result<Address> {
    let name = &raw.sun_path[..len.saturating_sub(PATH_OFFSET).min(raw.sun_path.len())];
    let name: Vec<u8> = name.iter().map(|&byte| byte as u8).collect();
    let address = match name.split_first() {
        // An unnamed socket: std has no constructor for it but the empty path.
        None => UnixAddr::from_pathname("")?,
        Some((0, rest)) => UnixAddr::from_abstract_name(rest)?,
        Some(_) => {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            let path = std::ffi::OsString::from_vec(name[..end].to_vec());
            // A peer may be bound to a name that fills `sun_path` without a NUL behind it. std cannot express that, and
            // its connection is as good as any: it counts as unnamed.
            UnixAddr::from_pathname(path).or_else(|_| UnixAddr::from_pathname(""))?
        }
    };
    Ok(Address::Unix(address))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn round_trip(address: Address) {
        let (storage, len) = encode(&address).unwrap();
        assert_eq!(decode(&storage, len as usize).unwrap().to_string(), address.to_string());
    }

    #[test]
    fn addresses_survive_the_kernel_form() {
        round_trip("1.2.3.4:80".parse::<SocketAddr>().unwrap().into());
        round_trip("[fe80::1%7]:65535".parse::<SocketAddr>().unwrap().into());
        round_trip(UnixAddr::from_pathname("/tmp/a socket").unwrap().into());
        round_trip(UnixAddr::from_pathname("/".repeat(107)).unwrap().into());
        round_trip(UnixAddr::from_abstract_name(b"name\0with nul").unwrap().into());
        round_trip(UnixAddr::from_pathname("").unwrap().into());
    }
    #[test]
    fn a_peer_with_the_longest_name_there_is_can_be_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let address = UnixAddr::from_pathname(directory.path().join("socket")).unwrap().into();
        let listener = stream(&address).unwrap();
        bind(listener.as_fd(), &address).unwrap();
        listen(listener.as_fd(), 1).unwrap();
        let client = stream(&address).unwrap();
        let mut name = [b'x'; 108];
        let stem = directory.path().as_os_str().as_bytes();
        name[..stem.len()].copy_from_slice(stem);
        name[stem.len()] = b'/';
        let own = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as sa_family_t,
            sun_path: name.map(|byte| byte as libc::c_char),
        };
        let len = size_of::<libc::sockaddr_un>() as socklen_t;
        // SAFETY: `own` is live and `len` is its size.
        check(unsafe { libc::bind(client.as_raw_fd(), (&raw const own).cast(), len) }).unwrap();
        assert_eq!(connect(client.as_fd(), &address).unwrap(), Connect::Done);
        let (_accepted, peer) = accept(listener.as_fd(), Mode::NonBlocking, OnExec::Close).unwrap();
        assert_eq!(peer.address().unwrap().to_string(), "unix:");
        // The kernel has added the zero byte that did not fit.
        assert_eq!(peer.as_bytes()[PATH_OFFSET..], [&name[..], &[0]].concat());
    }
}
