//! Addresses out of text, in exactly the forms that the book's helper accepts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::str::FromStr;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::sys;

const NO_ADDRESS: Error = Error::Invalid("not an address");
const NO_PORT: Error = Error::Invalid("not a port from 1 to 65535");

/// Reads an address with or without a port: `[ipv6]:port`, `[ipv6]`, `ipv6`, `ipv4:port` or `ipv4`. Without one the port is 0.
/// An IPv6 address may have a zone, `%` and the name or the number of an interface.
///
/// As libevent does, it passes over what stands behind `]` unless it is a colon, and over what follows the digits of a port.
///
/// # Errors
///
/// [`Error::Invalid`] if there is no address, or a port that is not from 1 to 65535.
///
/// # Examples
///
/// ```
/// use zerovent::util::parse_sockaddr_port;
///
/// assert_eq!(parse_sockaddr_port("[::1]:80")?, "[::1]:80".parse().unwrap());
/// assert_eq!(parse_sockaddr_port("1.2.3.4")?, "1.2.3.4:0".parse().unwrap());
/// assert!(parse_sockaddr_port("localhost:80").is_err(), "names are for EventBase::resolve");
/// assert!(parse_sockaddr_port("1.2.3.4:0").is_err());
/// # Ok::<(), zerovent::Error>(())
/// ```
///
/// # Differences from libevent
///
/// A port or a zone too large for C's `int` is an error, and not what is left of it. The four numbers of an IPv4 address have no signs,
/// spaces or zeros in front, which others read in other ways, nor has the number of a zone; no group of an IPv6 address begins with `0x`,
/// and the address does not end in a single colon.
#[doc(alias = "evutil_parse_sockaddr_port")]
pub fn parse_sockaddr_port(text: &str) -> Result<SocketAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or(NO_ADDRESS)?;
        return v6(host, port(behind.strip_prefix(':'))?);
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => v6(text, 0),
        Some((host, digits)) => v4(host, port(Some(digits))?),
        None => v4(text, 0),
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads what [`Display`](std::fmt::Display) writes, and whatever [`parse_sockaddr_port`] accepts.
    fn from_str(text: &str) -> Result<Self> {
        let Some(name) = text.strip_prefix("unix:") else {
            return parse_sockaddr_port(text).map(Address::Inet);
        };
        let address = match name.strip_prefix('@') {
            Some(name) => UnixAddr::from_abstract_name(name),
            None => UnixAddr::from_pathname(name),
        };
        Ok(Address::Unix(address?))
    }
}

/// Reads an address without a port, and gives it `port`; an IPv6 address may have a zone.
pub(crate) fn parse_ip(text: &str, port: u16) -> Option<SocketAddr> {
    v4(text, port).or_else(|_| v6(text, port)).ok()
}

fn v4(host: &str, port: u16) -> Result<SocketAddr> {
    let ip: Ipv4Addr = host.parse().map_err(|_| NO_ADDRESS)?;
    Ok(SocketAddr::new(IpAddr::V4(ip), port))
}

fn v6(host: &str, port: u16) -> Result<SocketAddr> {
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip.parse().map_err(|_| NO_ADDRESS)?;
    let scope_id = zone.map_or(Ok(0), interface)?;
    Ok(SocketAddrV6::new(ip, port, 0, scope_id).into())
}

fn interface(zone: &str) -> Result<u32> {
    let is_number = zone.bytes().all(|byte| byte.is_ascii_digit());
    let number = || if zone.is_empty() { Some(0) } else { zone.parse().ok().filter(|_| is_number) };
    sys::resolve::interface_index(zone).or_else(number).ok_or(Error::Invalid("no such interface"))
}

/// What C's `atoi` makes of it, if that is a port.
fn port(text: Option<&str>) -> Result<u16> {
    let Some(text) = text else { return Ok(0) };
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok().filter(|&port| port != 0).ok_or(NO_PORT)
}
