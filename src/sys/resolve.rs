//! getaddrinfo(3), with the error that std's `ToSocketAddrs` hides, and the number of an interface. Both read files and
//! may ask other machines: the first blocks for as long as that takes.

use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use std::ptr;

use libc::{addrinfo, c_int};

use super::socket;
use crate::error::ResolveError;

/// The list that getaddrinfo made.
///
/// INV-1: `first` is what getaddrinfo has stored on success, so it is null or the first of a list of valid `addrinfo`,
/// linked by `ai_next` and ended by null, that nobody changes and that lives until `Drop` frees it, once.
struct List {
    first: *mut addrinfo,
}

impl List {
    fn iter(&self) -> impl Iterator<Item = &addrinfo> {
        // SAFETY: INV-1.
        let first = unsafe { self.first.as_ref() };
        std::iter::successors(first, |entry| {
            // SAFETY: INV-1.
            unsafe { entry.ai_next.as_ref() }
        })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: INV-1: the list is live, and this is the one place that frees it.
            unsafe { libc::freeaddrinfo(self.first) };
        }
    }
}

/// Blocks until the addresses of `host` are known, in the order in which they should be tried. `family` is an `AF_`
/// constant.
pub(crate) fn addresses(host: &CStr, family: c_int, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let hints = addrinfo {
        ai_flags: 0,
        ai_family: family,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list = List { first: ptr::null_mut() };
    let place = &raw mut list.first;
    // SAFETY: `host` ends in a NUL, `hints` and `place` are live, and no service is asked for.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &raw const hints, place) };
    if code != 0 {
        return Err(ResolveError::from_code(code, std::io::Error::last_os_error()));
    }
    Ok(list.iter().filter_map(|entry| address(entry, port)).collect())
}

/// The address of one entry; families that were not asked for are passed over.
fn address(entry: &addrinfo, port: u16) -> Option<SocketAddr> {
    // SAFETY: getaddrinfo(3) has `ai_addr` point to `ai_addrlen` bytes, which live as long as the entry.
    let raw = unsafe { std::slice::from_raw_parts(entry.ai_addr.cast::<u8>(), entry.ai_addrlen as usize) };
    let mut address = socket::address_from(raw).ok()?.as_inet()?;
    address.set_port(port);
    Some(address)
}

/// The number of the network interface of that name.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` ends in a NUL and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_nobody_else_and_keep_their_family() {
        let v4 = addresses(c"127.0.0.1", libc::AF_UNSPEC, 80).unwrap();
        assert_eq!(v4, ["127.0.0.1:80".parse().unwrap()]);
        let v6 = addresses(c"::1", libc::AF_UNSPEC, 80).unwrap();
        assert_eq!(v6, ["[::1]:80".parse().unwrap()]);
        assert_eq!(addresses(c"::1", libc::AF_INET, 80), Err(ResolveError::NoName));
    }

    #[test]
    fn the_loopback_has_a_number() {
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!(interface_index("no such thing"), None);
        assert_eq!(interface_index("lo\0"), None);
    }
}
