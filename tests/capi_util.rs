//! The helpers of the C ABI against Debian's: both libraries in one process, a hundred thousand inputs out of the pieces that matter, the
//! same answers to the byte.
#![cfg(feature = "capi")]
#![allow(unsafe_code, reason = "calling C libraries is unsafe; each block says what the callee is owed")]

#[path = "support/foreign.rs"]
mod foreign;
mod support;

use std::ffi::{CString, c_int};

use support::inputs::{self, Input, PIECES_OF_ADDRESSES, inputs};

/// Both libraries have these; the types are those of event2/util.h.
macro_rules! helpers {
    ($file:expr) => {
        super::foreign::library! {
            $file;
            evutil_inet_pton: (c_int, *const c_char, *mut c_void) -> c_int;
            evutil_inet_pton_scope: (c_int, *const c_char, *mut c_void, *mut c_uint) -> c_int;
            evutil_inet_ntop: (c_int, *const c_void, *mut c_char, usize) -> *const c_char;
            evutil_parse_sockaddr_port: (*const c_char, *mut libc::sockaddr, *mut c_int) -> c_int;
            evutil_sockaddr_cmp: (*const libc::sockaddr, *const libc::sockaddr, c_int) -> c_int;
            evutil_ascii_strcasecmp: (*const c_char, *const c_char) -> c_int;
            evutil_ascii_strncasecmp: (*const c_char, *const c_char, usize) -> c_int;
        }

        /// Whether it is there.
        pub(super) fn is_there() -> bool {
            loaded().is_ok()
        }

        /// What `evutil_inet_pton` and its variant with a scope say, and write.
        pub(super) fn pton(family: c_int, text: &CStr) -> (c_int, [u8; 16], c_int, [u8; 16], c_uint) {
            let (mut plain, mut scoped, mut scope) = ([7; 16], [7; 16], 7);
            // SAFETY: the text ends in a NUL, and there is room for the longest address.
            let one = unsafe { (api().evutil_inet_pton)(family, text.as_ptr(), plain.as_mut_ptr().cast()) };
            // SAFETY: as above, and the scope has a place to go.
            let other = unsafe {
                let target = scoped.as_mut_ptr().cast();
                (api().evutil_inet_pton_scope)(family, text.as_ptr(), target, &raw mut scope)
            };
            (one, plain, other, scoped, scope)
        }

        /// The text of an address, if there is room.
        pub(super) fn ntop(family: c_int, address: &[u8; 16], room: usize) -> Option<CString> {
            let mut text = [0xff_u8; 64];
            let target = text.as_mut_ptr().cast();
            // SAFETY: the address is as long as the longest kind, and the text is longer than `room`.
            let written = unsafe { (api().evutil_inet_ntop)(family, address.as_ptr().cast(), target, room) };
            let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| !written.is_null());
            text.map(CStr::to_owned)
        }

        /// What `evutil_parse_sockaddr_port` says and writes into a place of `room` bytes.
        pub(super) fn parse(text: &CStr, room: usize) -> (c_int, [u64; 16], c_int) {
            let (mut storage, mut len) = ([0x0707_0707_0707_0707_u64; 16], room as c_int);
            let target = storage.as_mut_ptr().cast();
            // SAFETY: the text ends in a NUL, and the storage is longer than `room`.
            let result = unsafe { (api().evutil_parse_sockaddr_port)(text.as_ptr(), target, &raw mut len) };
            (result, storage, len)
        }

        /// How two addresses compare, without and with their ports.
        pub(super) fn compare(one: &[u64; 4], other: &[u64; 4]) -> [c_int; 2] {
            [0, 1].map(|with_port| {
                // SAFETY: both are as long as the longest kind of address that is looked into.
                unsafe { (api().evutil_sockaddr_cmp)(one.as_ptr().cast(), other.as_ptr().cast(), with_port) }
            })
        }

        /// How two texts compare, whole and up to a length.
        pub(super) fn compare_text(one: &CStr, other: &CStr, len: usize) -> [c_int; 2] {
            let (one, other) = (one.as_ptr(), other.as_ptr());
            // SAFETY: both end in a NUL.
            let whole = unsafe { (api().evutil_ascii_strcasecmp)(one, other) };
            // SAFETY: as above.
            [whole, unsafe { (api().evutil_ascii_strncasecmp)(one, other, len) }]
        }
    };
}

mod debian {
    use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

    helpers! { "libevent_core-2.1.so.7" }
}

mod ours {
    use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

    helpers! { super::support::capi::cdylib().unwrap_or_default() }
}

fn are_there() -> bool {
    if support::capi::cdylib().is_none() {
        return false;
    }
    assert!(ours::is_there(), "what was built can be loaded");
    if !debian::is_there() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "Debian's libevent is missing");
        println!("skipped: no libevent to compare with");
    }
    debian::is_there()
}

/// A text of up to ten of the pieces.
fn text(input: &Input, pieces: &[&str]) -> CString {
    CString::new(inputs::text(input, pieces, 10)).expect("the pieces have no NUL")
}

#[test]
fn addresses_are_read_alike() {
    if !are_there() {
        return;
    }
    let mut accepted = [0; 3];
    for input in inputs(21) {
        let text = text(&input, &PIECES_OF_ADDRESSES);
        for (index, family) in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].into_iter().enumerate() {
            let theirs = debian::pton(family, &text);
            assert_eq!(ours::pton(family, &text), theirs, "{text:?} of family {family}");
            accepted[index] += usize::from(theirs.0 == 1);
        }
        let room = [16, 28, 15, 128][usize::from(input[15]) % 4];
        assert_eq!(ours::parse(&text, room), debian::parse(&text, room), "{text:?} into {room} bytes");
    }
    assert!(accepted[0] > 500 && accepted[1] > 500 && accepted[2] == 0, "{accepted:?} were addresses");
}

#[test]
fn addresses_are_written_alike() {
    if !are_there() {
        return;
    }
    for input in inputs(22) {
        // Many zeros, and some that stand for addresses of IPv4.
        let mut address: [u8; 16] =
            std::array::from_fn(|index| if input[index / 2] & 3 == 0 { input[index] } else { 0 });
        if input[3] & 7 == 0 {
            address[..10].fill(0);
            address[10..12].fill(if input[4] & 1 == 0 { 0xff } else { 0 });
        }
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
            let whole = debian::ntop(family, &address, 64);
            assert_eq!(ours::ntop(family, &address, 64), whole, "{address:?} of family {family}");
            let Some(whole) = whole else { continue };
            let len = whole.count_bytes();
            assert_eq!(ours::ntop(family, &address, len + 1).as_ref(), Some(&whole));
            // libevent cuts the last digit of an IPv6 address off when only the zero byte has no room.
            assert_eq!(ours::ntop(family, &address, len), None);
        }
    }
}

#[test]
fn addresses_compare_alike() {
    if !are_there() {
        return;
    }
    let address = |input: &Input| {
        let family = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX][usize::from(input[0]) % 3] as u64;
        // Few different bytes, so that many are equal.
        let few = |from: usize| {
            u64::from_ne_bytes(std::array::from_fn(|index| input[from + index] & 0x81 & input[9]))
        };
        [family | few(1) & !0xffff, few(3), few(5), few(7)]
    };
    for (one, other) in inputs(23).zip(inputs(24)) {
        let (one, other) = (address(&one), address(&other));
        // How far apart they are is the C library's to say.
        let [theirs, ours] =
            [debian::compare, ours::compare].map(|compare| compare(&one, &other).map(c_int::signum));
        assert_eq!(ours, theirs, "{one:x?} and {other:x?}");
    }
}

#[test]
fn texts_compare_alike() {
    if !are_there() {
        return;
    }
    const LETTERS: [&str; 10] = ["a", "A", "z", "Z", "[", "`", "0", "\u{e4}", "~", "Host"];
    for (one, other) in inputs(25).zip(inputs(26)) {
        let len = usize::from(one[15]) % 9;
        let (one, other) = (text(&one, &LETTERS), text(&other, &LETTERS));
        let theirs = debian::compare_text(&one, &other, len);
        assert_eq!(ours::compare_text(&one, &other, len), theirs, "{len} of {one:?} and {other:?}");
    }
}
