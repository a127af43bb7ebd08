//! Addresses as text, in exactly the forms that libevent reads and writes: it has parsers of its own, which take some that the C
//! library and std do not.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::net::Ipv6Addr;
use std::ptr;

use libc::{AF_INET, AF_INET6, in_addr, in6_addr, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6};

/// The longest address in front of a port, or between brackets.
const HOST_MAX: usize = 127;

/// Null when there is no room for all of it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_inet_ntop(
    family: c_int,
    address: *const c_void,
    target: *mut c_char,
    len: usize,
) -> *const c_char {
    let text = match family {
        AF_INET => {
            // SAFETY: C2, an address of the family.
            let [a, b, c, d] = unsafe { address.cast::<[u8; 4]>().read() };
            format!("{a}.{b}.{c}.{d}")
        }
        AF_INET6 => {
            // SAFETY: C2, an address of the family.
            let bytes = unsafe { address.cast::<[u8; 16]>().read() };
            text_of(Ipv6Addr::from(bytes))
        }
        _ => return ptr::null(),
    };
    if text.len() >= len {
        return ptr::null();
    }
    // SAFETY: C2.
    unsafe { super::text::put(target, len, &text) };
    target
}

/// Two zero words or more in a row are left out once, where most are; an address that stands for one of IPv4 ends like one.
fn text_of(address: Ipv6Addr) -> String {
    let words = address.segments();
    let [.., a, b, c, d] = address.octets();
    match words {
        [0, 0, 0, 0, 0, 0, six, seven] if six != 0 && seven != 0 => return format!("::{a}.{b}.{c}.{d}"),
        [0, 0, 0, 0, 0, 0xffff, ..] => return format!("::ffff:{a}.{b}.{c}.{d}"),
        _ => {}
    }
    let (start, len) = longest_gap(&words);
    let mut text = String::new();
    let hex = |text: &mut String, words: &[u16]| {
        for (index, word) in words.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{word:x}", if index > 0 { ":" } else { "" });
        }
    };
    if len < 2 {
        hex(&mut text, &words);
        return text;
    }
    hex(&mut text, &words[..start]);
    text.push_str("::");
    hex(&mut text, &words[start + len..]);
    text
}

/// Where the first of the longest runs of zero words starts, and how long it is.
fn longest_gap(words: &[u16; 8]) -> (usize, usize) {
    let mut longest = (0, 0);
    for start in 0..words.len() {
        let len = words[start..].iter().take_while(|word| **word == 0).count();
        if len > longest.1 {
            longest = (start, len);
        }
    }
    longest
}

/// 1 for an address, 0 for none, -1 for a family that has no text.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_inet_pton(
    family: c_int,
    text: *const c_char,
    target: *mut c_void,
) -> c_int {
    if text.is_null() || target.is_null() {
        return 0;
    }
    // SAFETY: C2.
    let text = unsafe { CStr::from_ptr(text) };
    match family {
        AF_INET => v4_of(text).map_or(0, |address| {
            // SAFETY: C2, room for an address of the family.
            unsafe { target.cast::<in_addr>().write_unaligned(address) };
            1
        }),
        AF_INET6 => v6_of(text).map_or(0, |address| {
            // SAFETY: C2, room for an address of the family.
            unsafe { target.cast::<in6_addr>().write_unaligned(address) };
            1
        }),
        _ => -1,
    }
}

fn v4_of(text: &CStr) -> Option<in_addr> {
    octets_of(text).map(|octets| in_addr { s_addr: u32::from_ne_bytes(octets) })
}

/// Four numbers, as scanf(3) reads them, and nothing behind.
fn octets_of(text: &CStr) -> Option<[u8; 4]> {
    let mut numbers: [c_uint; 4] = [0; 4];
    let mut more: c_char = 0;
    let [a, b, c, d] = numbers.each_mut().map(ptr::from_mut);
    // SAFETY: the text ends in a zero byte, and each place has the type that the format says.
    let read = unsafe { libc::sscanf(text.as_ptr(), c"%u.%u.%u.%u%c".as_ptr(), a, b, c, d, &raw mut more) };
    let [a, b, c, d] = numbers.map(|number| u8::try_from(number).ok());
    (read == 4).then_some([a?, b?, c?, d?])
}

/// Words of up to four digits with colons between them, one `::` for those that are left out, and perhaps an address of IPv4 at
/// the end.
fn v6_of(text: &CStr) -> Option<in6_addr> {
    let bytes = text.to_bytes();
    let dot = bytes.iter().position(|byte| *byte == b'.');
    let mut end = bytes.len();
    let mut tail: Option<[u8; 4]> = None;
    if let Some(dot) = dot {
        if dot == 0 {
            return None;
        }
        let digits = bytes[..dot].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        end = dot - digits;
        tail = Some(octets_of(&text[end..])?);
    }
    let words = Words::read(&bytes[..end], tail.is_some())?;
    words.address(tail)
}

/// What was read in front of the IPv4 part.
struct Words {
    words: [u16; 8],
    count: usize,
    /// How many stand in front of the `::`.
    gap: Option<usize>,
}

impl Words {
    fn read(text: &[u8], has_tail: bool) -> Option<Words> {
        let mut words = Words { words: [0; 8], count: 0, gap: None };
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            if words.count > 7 {
                return None;
            }
            if byte.is_ascii_hexdigit() {
                let (word, len) = word_at(&text[at..])?;
                words.words[words.count] = word;
                words.count += 1;
                at += len;
                match text.get(at) {
                    Some(b':') => at += 1,
                    None if !has_tail => break,
                    _ => return None,
                }
            } else if byte == b':' && words.gap.is_none() {
                words.gap = Some(words.count);
                let first = words.count == 0;
                if first && text.get(at + 1) != Some(&b':') {
                    return None;
                }
                at += if first { 2 } else { 1 };
            } else {
                return None;
            }
        }
        Some(words)
    }

    fn address(self, tail: Option<[u8; 4]>) -> Option<in6_addr> {
        let set = self.count + if tail.is_some() { 2 } else { 0 };
        if set > 8 || (set == 8) == self.gap.is_some() {
            return None;
        }
        let mut words = [0; 8];
        let gap = self.gap.unwrap_or(self.count);
        words[..gap].copy_from_slice(&self.words[..gap]);
        let behind = gap + 8 - set;
        words[behind..behind + self.count - gap].copy_from_slice(&self.words[gap..self.count]);
        let mut octets = Ipv6Addr::from(words).octets();
        if let Some(tail) = tail {
            octets[12..].copy_from_slice(&tail);
        }
        Some(in6_addr { s6_addr: octets })
    }
}

/// A word and how long it is; as strtol(3) has it, `0x` in front is part of it.
fn word_at(text: &[u8]) -> Option<(u16, usize)> {
    let prefixed = matches!(text, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let start = if prefixed { 2 } else { 0 };
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let len = start + digits;
    if len > 4 {
        return None;
    }
    let digits = std::str::from_utf8(&text[start..len]).ok()?;
    u16::from_str_radix(digits, 16).ok().map(|word| (word, len))
}

/// As [`evutil_inet_pton`], with the number of the interface that may stand behind a `%`, by name or number.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_inet_pton_scope(
    family: c_int,
    text: *const c_char,
    target: *mut c_void,
    scope: *mut c_uint,
) -> c_int {
    if text.is_null() || target.is_null() || scope.is_null() {
        return 0;
    }
    // SAFETY: C2.
    unsafe { scope.write(0) };
    // SAFETY: C2.
    let whole = unsafe { CStr::from_ptr(text) };
    let zone = whole.to_bytes().iter().position(|byte| *byte == b'%');
    let Some(at) = zone.filter(|_| family == AF_INET6) else {
        // SAFETY: C2.
        return unsafe { evutil_inet_pton(family, text, target) };
    };
    let Some(index) = interface_of(&whole[at + 1..]) else { return 0 };
    // SAFETY: C2.
    unsafe { scope.write(index) };
    let mut address = whole.to_bytes()[..at].to_vec();
    address.push(0);
    // SAFETY: the copy ends in a zero byte; C2 for the target.
    unsafe { evutil_inet_pton(family, address.as_ptr().cast(), target) }
}

fn interface_of(zone: &CStr) -> Option<c_uint> {
    // SAFETY: the name ends in a zero byte.
    let index = unsafe { libc::if_nametoindex(zone.as_ptr()) };
    if index != 0 {
        return Some(index);
    }
    let mut end = ptr::null_mut();
    // SAFETY: the text ends in a zero byte, and the end is ours to be written.
    let number = unsafe { libc::strtoul(zone.as_ptr(), &raw mut end, 10) };
    // SAFETY: the end lies in the text, or is its zero byte.
    (unsafe { *end } == 0).then_some(number as c_uint)
}

/// `[v6]:port`, `[v6]`, `v6`, `v4:port` or `v4`, into a `sockaddr` of up to `*len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_parse_sockaddr_port(
    text: *const c_char,
    target: *mut sockaddr,
    len: *mut c_int,
) -> c_int {
    if text.is_null() || target.is_null() {
        return -1;
    }
    // SAFETY: C2.
    let text = unsafe { CStr::from_ptr(text) };
    // SAFETY: C2.
    let Some(len) = (unsafe { len.as_mut() }) else { return -1 };
    let Some(parts) = Parts::of(text) else { return -1 };
    let Some(port) = parts.port() else { return -1 };
    let mut host = parts.host.to_vec();
    host.push(0);
    let host: *const c_char = host.as_ptr().cast();
    let put = if parts.is_v6 { put_v6 } else { put_v4 };
    // SAFETY: the host ends in a zero byte; C2, the target has room for `*len` bytes.
    let written = unsafe { put(host, port, target, *len) };
    match written {
        Some(written) => {
            *len = written;
            0
        }
        None => -1,
    }
}

/// The parts of an address with a port.
struct Parts<'a> {
    host: &'a [u8],
    /// With a zero byte behind it.
    port: Option<&'a CStr>,
    is_v6: bool,
}

impl Parts<'_> {
    fn of(text: &CStr) -> Option<Parts<'_>> {
        let bytes = text.to_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        if let Some(b'[') = bytes.first() {
            let end = bytes.iter().position(|byte| *byte == b']')?;
            let port = (bytes.get(end + 1) == Some(&b':')).then(|| &text[end + 2..]);
            return Some(Parts { host: &bytes[1..end], port, is_v6: true }).filter(Parts::fits);
        }
        match colon {
            Some(at) if bytes[at + 1..].contains(&b':') => {
                Some(Parts { host: bytes, port: None, is_v6: true })
            }
            Some(at) => Some(Parts { host: &bytes[..at], port: Some(&text[at + 1..]), is_v6: false })
                .filter(Parts::fits),
            None => Some(Parts { host: bytes, port: None, is_v6: false }),
        }
    }

    fn fits(&self) -> bool {
        self.host.len() <= HOST_MAX
    }

    /// The port, 0 if none is given; none if what is given is not one.
    fn port(&self) -> Option<u16> {
        let Some(text) = self.port else { return Some(0) };
        // SAFETY: the text ends in a zero byte.
        let number = unsafe { libc::atoi(text.as_ptr()) };
        u16::try_from(number).ok().filter(|port| *port != 0)
    }
}

/// How many bytes were written; none if the host is no address or there is no room.
///
/// # Safety
///
/// - The host ends in a zero byte; C2 for `target` and `len`.
unsafe fn put_v4(host: *const c_char, port: u16, target: *mut sockaddr, len: c_int) -> Option<c_int> {
    let mut address = in_addr { s_addr: 0 };
    // SAFETY: the caller's promise.
    if unsafe { evutil_inet_pton(AF_INET, host, (&raw mut address).cast()) } != 1 {
        return None;
    }
    let socket = sockaddr_in {
        sin_family: AF_INET as sa_family_t,
        sin_port: port.to_be(),
        sin_addr: address,
        sin_zero: [0; 8],
    };
    // SAFETY: the caller's promise.
    unsafe { put(socket, target, len) }
}

/// # Safety
///
/// - As [`put_v4`].
unsafe fn put_v6(host: *const c_char, port: u16, target: *mut sockaddr, len: c_int) -> Option<c_int> {
    let mut address = in6_addr { s6_addr: [0; 16] };
    let mut scope = 0;
    // SAFETY: the caller's promise.
    if unsafe { evutil_inet_pton_scope(AF_INET6, host, (&raw mut address).cast(), &raw mut scope) } != 1 {
        return None;
    }
    let socket = sockaddr_in6 {
        sin6_family: AF_INET6 as sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: address,
        sin6_scope_id: scope,
    };
    // SAFETY: the caller's promise.
    unsafe { put(socket, target, len) }
}

/// # Safety
///
/// - C2 for `target` and `len`.
unsafe fn put<T: Copy>(socket: T, target: *mut sockaddr, len: c_int) -> Option<c_int> {
    let room = usize::try_from(len).ok().filter(|room| size_of::<T>() <= *room)?;
    // SAFETY: the caller's promise.
    unsafe { target.cast::<u8>().write_bytes(0, room) };
    // SAFETY: the caller's promise, and there is room.
    unsafe { target.cast::<T>().write_unaligned(socket) };
    c_int::try_from(size_of::<T>()).ok()
}

/// Less than 0, 0 or more than 0. Ports are compared as they stand in memory.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_sockaddr_cmp(
    one: *const sockaddr,
    other: *const sockaddr,
    with_port: c_int,
) -> c_int {
    let families = [one, other].map(|address| {
        // SAFETY: C2, an address is at least that long.
        c_int::from(unsafe { address.cast::<sa_family_t>().read() })
    });
    if families[0] != families[1] {
        return families[0] - families[1];
    }
    let (order, ports) = match families[0] {
        AF_INET => {
            let [one, other] = [one, other].map(|address| {
                // SAFETY: C2, it is as long as its family says.
                unsafe { address.cast::<sockaddr_in>().read_unaligned() }
            });
            (one.sin_addr.s_addr.cmp(&other.sin_addr.s_addr), (one.sin_port, other.sin_port))
        }
        AF_INET6 => {
            let [one, other] = [one, other].map(|address| {
                // SAFETY: C2, it is as long as its family says.
                unsafe { address.cast::<sockaddr_in6>().read_unaligned() }
            });
            (one.sin6_addr.s6_addr.cmp(&other.sin6_addr.s6_addr), (one.sin6_port, other.sin6_port))
        }
        _ => return 1,
    };
    if order.is_eq() && with_port != 0 {
        return c_int::from(ports.0) - c_int::from(ports.1);
    }
    order as c_int
}
