//! The helpers against C libevent's own, on thousands of inputs that were made out of the pieces that matter.
//!
//! It runs with the feature `compare` where the library is installed, as `tests/differential.rs` does.

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/libevent.rs"]
#[allow(dead_code, unreachable_pub, reason = "the other tests and the benches use other parts of it")]
mod libevent;
mod support;

use std::ffi::CString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

use support::inputs::{self, INPUTS, Input, PIECES_OF_ADDRESSES, inputs};
use zerovent::util::{self, Address};

/// A text of up to seven of the pieces.
fn text(input: &Input, pieces: &[&str]) -> String {
    inputs::text(input, pieces, 7)
}

#[test]
fn addresses_are_read_as_libevent_reads_them() {
    let Some(_) = libevent::library() else { return };
    let (mut accepted, mut seen) = (0, [0; LAXITIES.len()]);
    for input in inputs(11) {
        let text = text(&input, &PIECES_OF_ADDRESSES);
        let theirs = libevent::parse_sockaddr_port(&CString::new(text.as_str()).unwrap());
        let ours = util::parse_sockaddr_port(&text).ok();
        accepted += usize::from(ours.is_some());
        if ours == theirs {
            continue;
        }
        let named = LAXITIES.iter().position(|lax| ours.is_none() && lax(&text));
        let named = named.unwrap_or_else(|| panic!("{text:?}: {ours:?}, libevent: {theirs:?}"));
        seen[named] += 1;
    }
    println!("{accepted} addresses agree; libevent alone accepts {seen:?}");
    assert!(accepted > INPUTS / 50, "{accepted} inputs were addresses: too few to mean anything");
}

/// What libevent accepts and zerovent, as its documentation says, does not.
const LAXITIES: [fn(&str) -> bool; 5] = [
    // A port or a zone that fits no `int`, of which C makes something.
    |text| {
        let digits = |number: &str| {
            number.trim_start_matches([' ', '+']).bytes().take_while(u8::is_ascii_digit).count()
        };
        text.split([':', '%']).any(|number| digits(number) > 9)
    },
    // Numbers of a dotted address with a sign, with zeros or with spaces in front.
    |text| {
        let is_odd = |dotted: &str| dotted.contains('.') && dotted.parse::<Ipv4Addr>().is_err();
        text.split([':', '[', ']', '%']).any(is_odd)
    },
    // An IPv6 address with a colon too many at its end.
    |text| {
        let host = text.trim_start_matches('[').split([']', '%']).next().unwrap_or(text);
        host.ends_with(':') && !host.ends_with("::")
    },
    // A group of an IPv6 address as C writes numbers of base 16.
    |text| text.contains("0x1"),
    // A zone that is a number with a sign or with spaces in front.
    |text| ["% ", "%-", "%+"].iter().any(|odd| text.contains(odd)),
];

#[test]
fn the_cases_that_the_book_does_not_tell_are_libevents() {
    let Some(_) = libevent::library() else { return };
    let good = ["[::1]x", "[::1]", "::1", "1.2.3.4", "1.2.3.4:80", "[::1]:80", "1.2.3.4:80x", "fe80::1%"];
    let bad =
        [":80", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "[::1]:0", "[::1", "", "localhost", "[1.2.3.4]:80"];
    for (text, accepted) in good.iter().map(|text| (text, true)).chain(bad.iter().map(|text| (text, false))) {
        let theirs = libevent::parse_sockaddr_port(&CString::new(*text).unwrap());
        let ours = util::parse_sockaddr_port(text).ok();
        assert_eq!((ours, ours.is_some()), (theirs, accepted), "{text:?}");
    }
}

#[test]
fn texts_compare_as_in_libevent() {
    let Some(_) = libevent::library() else { return };
    const PIECES: [&str; 12] = ["a", "A", "b", "Z", "z", "[", "`", "0", " ", "~", "Content", "CONTENT"];
    for (one, other) in inputs(12).zip(inputs(13)) {
        let len = usize::from(one[15]) % 9;
        let (one, other) = (text(&one, &PIECES), text(&other, &PIECES));
        let (c_one, c_other) = (CString::new(one.as_str()).unwrap(), CString::new(other.as_str()).unwrap());
        let ours = util::ascii_case_cmp(one.as_bytes(), other.as_bytes());
        assert_eq!(ours, libevent::ascii_case_cmp(&c_one, &c_other, None), "{one:?} and {other:?}");
        let ours = util::ascii_case_cmp_n(one.as_bytes(), other.as_bytes(), len);
        assert_eq!(
            ours,
            libevent::ascii_case_cmp(&c_one, &c_other, Some(len)),
            "{len} of {one:?} and {other:?}"
        );
    }
}

#[test]
fn text_is_cut_where_libevent_cuts_it() {
    let Some(_) = libevent::library() else { return };
    for input in inputs(14) {
        let number = i32::from_le_bytes([input[11], input[12], input[13], input[14]]);
        let text = text(&input, &["", "a", "hello", "%s", "0123456789"]);
        let mut theirs = [0xff; 64];
        // One for the NUL, which ours has not; with no room at all libevent says 0.
        let room = 1 + usize::from(input[15]) % 63;
        let their_len =
            libevent::format_bounded(&mut theirs[..room], &CString::new(text.as_str()).unwrap(), number);
        let mut ours = [0xff; 64];
        let our_len = util::format_bounded(&mut ours[..room - 1], format_args!("{text}:{number}"));
        assert_eq!(our_len, usize::try_from(their_len).unwrap());
        let end = our_len.min(room - 1);
        assert_eq!((&ours[..end], theirs[end]), (&theirs[..end], 0));
        assert!(ours[room - 1..].iter().all(|byte| *byte == 0xff), "written behind the end");
    }
    assert_eq!(libevent::format_bounded(&mut [], c"x", 1), 0);
    assert_eq!(util::format_bounded(&mut [], format_args!("x:1")), 3);
}

#[test]
fn ipv6_addresses_have_libevents_order() {
    let Some(_) = libevent::library() else { return };
    let address = |input: &Input| {
        // Few different bytes, so that many are equal.
        let segments: [u16; 8] =
            std::array::from_fn(|place| u16::from(input[place] & 0x81) << (input[place] & 8));
        SocketAddrV6::new(
            Ipv6Addr::from(segments.map(|segment| segment & 0x0101)),
            u16::from(input[9] & 1),
            0,
            0,
        )
    };
    for (one, other) in inputs(15).zip(inputs(16)) {
        let (one, other) = (address(&one), address(&other));
        let (ours, theirs) = (Address::from(one), Address::from(other));
        assert_eq!(ours.compare_host(&theirs), libevent::compare_v6(one, other, false), "{one} and {other}");
        if one.ip() != other.ip() {
            assert_eq!(ours.compare(&theirs), libevent::compare_v6(one, other, true), "{one} and {other}");
        }
    }
}
