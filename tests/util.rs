//! The book's chapter "Helper functions and types", as far as std has no item for it. `tests/differential_util.rs` compares the
//! same functions with libevent's.

mod support;

use std::cmp::Ordering;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::net::open_flags;
use zerovent::util::{self, Address};

#[test]
fn the_accepted_forms_of_an_address_are_these() {
    let same = |text: &str, address: &str| {
        assert_eq!(util::parse_sockaddr_port(text).unwrap(), address.parse().unwrap(), "{text}");
    };
    same("[2001:db8::1]:443", "[2001:db8::1]:443");
    same("[2001:db8::1]", "[2001:db8::1]:0");
    same("2001:db8::1", "[2001:db8::1]:0");
    same("1.2.3.4:65535", "1.2.3.4:65535");
    same("1.2.3.4", "1.2.3.4:0");
    same("[::1]x", "[::1]:0");
    same("[fe80::1%lo]:80", "[fe80::1%1]:80");
    for refused in
        [":80", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:4294967376", "[::1", "::1]:80", "", "x"]
    {
        assert!(util::parse_sockaddr_port(refused).is_err(), "{refused}");
    }
}

#[test]
fn an_address_is_read_as_it_is_written() {
    for text in ["1.2.3.4:80", "[::1]:80", "unix:/run/socket", "unix:@name", "unix:"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    assert!(format!("unix:/{}", "x".repeat(200)).parse::<Address>().is_err());
}

#[test]
fn addresses_have_a_total_order() {
    let unix = |path: &str| Address::from(UnixAddr::from_pathname(path).unwrap());
    let inet = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap());
    let sorted = [
        unix("/a"),
        unix("/b"),
        inet("1.0.0.2:9"),
        inet("1.0.0.10:1"),
        inet("1.0.0.10:256"),
        inet("2.0.0.0:1"),
        inet("[::1]:1"),
        inet("[::2]:0"),
    ];
    for (place, one) in sorted.iter().enumerate() {
        for (other_place, other) in sorted.iter().enumerate() {
            assert_eq!(one.compare(other), place.cmp(&other_place), "{one} and {other}");
        }
    }
    assert_eq!(inet("1.0.0.10:1").compare_host(&inet("1.0.0.10:256")), Ordering::Equal);
}

#[test]
fn letters_compare_without_their_case_and_nothing_else_does() {
    for (one, other) in [("", ""), ("HOST", "host"), ("hOsT", "HoSt"), ("[", "[")] {
        assert_eq!(util::ascii_case_cmp(one.as_bytes(), other.as_bytes()), Ordering::Equal);
    }
    // Between the cases of letters stand other characters: lower case counts.
    assert_eq!(util::ascii_case_cmp(b"_", b"A"), Ordering::Less);
    assert_eq!(util::ascii_case_cmp("Ä".as_bytes(), "ä".as_bytes()), Ordering::Less);
    assert_eq!(util::ascii_case_cmp(b"ab", b"abc"), Ordering::Less);
    assert_eq!(util::ascii_case_cmp_n(b"ab", b"AXc", 1), Ordering::Equal);
    assert_eq!(util::ascii_case_cmp_n(b"ab", b"abc", 9), Ordering::Less);
    assert_eq!(util::ascii_case_cmp_n(b"x", b"y", 0), Ordering::Equal);
}

#[test]
fn formatting_is_cut_anywhere_and_says_its_whole_length() {
    struct Failing;
    impl fmt::Display for Failing {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    let whole = format!("{}-{:04}-{}", "one", 2, "drei");
    for room in 0..=whole.len() + 2 {
        let mut place = vec![b'#'; room];
        assert_eq!(
            util::format_bounded(&mut place, format_args!("{}-{:04}-{}", "one", 2, "drei")),
            whole.len()
        );
        let end = room.min(whole.len());
        assert_eq!(&place[..end], &whole.as_bytes()[..end]);
        assert!(place[end..].iter().all(|byte| *byte == b'#'));
    }
    assert_eq!(util::format_bounded(&mut [0; 9], format_args!("two{Failing}more")), 3);
}

#[test]
fn sockets_become_what_they_are_made() {
    let socket = Socket::new_raw(Domain::IPV4, Type::STREAM, None).unwrap();
    assert_eq!(open_flags(&socket) & (libc::O_NONBLOCK | libc::O_CLOEXEC), 0);
    util::make_nonblocking(&socket).unwrap();
    util::make_close_on_exec(&socket).unwrap();
    util::make_reuseable(&socket).unwrap();
    assert_eq!(open_flags(&socket), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC);
    assert!(socket.reuse_address().unwrap());
    // On a file there is no such option.
    assert!(util::make_reuseable(tempfile::tempfile().unwrap()).is_err());
}

#[test]
fn a_pair_is_connected_and_ready_for_a_bufferevent() {
    let (near, far) = util::socketpair().unwrap();
    for end in [&near, &far] {
        assert_eq!(open_flags(end), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC);
    }
    let (mut near, mut far) = (UnixStream::from(near), UnixStream::from(far));
    near.write_all(b"there").unwrap();
    let mut bytes = [0; 8];
    assert_eq!(far.read(&mut bytes).unwrap(), 5);
    assert_eq!(far.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_clock_goes_forward_as_std_says() {
    let (before, start) = (util::monotonic_time(), Instant::now());
    std::thread::sleep(Duration::from_millis(5));
    let passed = util::monotonic_time() - before;
    assert!(passed >= Duration::from_millis(5) && passed <= start.elapsed() + Duration::from_secs(1));
}

#[test]
fn random_bytes_do_not_repeat() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let mut bytes = [0; 16];
        util::secure_random_bytes(&mut bytes).unwrap();
        assert!(seen.insert(bytes), "sixteen bytes came twice");
    }
    util::secure_random_bytes(&mut []).unwrap();
}

#[test]
fn an_address_that_is_still_fading_away_can_be_bound_again() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    // The side that closes first is left in TIME_WAIT.
    drop(listener.accept().unwrap());
    drop((listener, client));
    let bind = |reuse: bool| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if reuse {
            util::make_reuseable(&socket).unwrap();
        }
        socket.bind(&address.into())
    };
    assert_eq!(bind(false).unwrap_err().kind(), ErrorKind::AddrInUse);
    bind(true).unwrap();
}
