//! The proxy as a process: what passes it, what it holds of what nobody reads, and how it ends.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::net::{PATIENCE, any_port, dead, pattern, read_exact, server};
use support::process::{Server, example};

/// How bytes get across; what holds must hold for both.
const MODES: [&[&str]; 2] = [&[], &["--splice"]];

fn proxy(target: &str, options: &[&str]) -> Server {
    Server::start("proxy", &[&["127.0.0.1:0", target], options].concat())
}

fn proxy_to(target: SocketAddr, options: &[&str]) -> Server {
    proxy(&target.to_string(), options)
}

/// A proxy, and both ends of one connection through it.
fn tunnel(options: &[&str]) -> (Server, TcpStream, TcpStream) {
    let (listener, address) = server();
    let proxy = proxy_to(address, options);
    let near = proxy.connect();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (proxy, near, far)
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends `bytes` from a thread of its own, in pieces of all sizes, and ends its half.
fn send(stream: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        let (mut rest, mut len) = (bytes.as_slice(), 1);
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(len.min(rest.len()));
            stream.write_all(piece).unwrap();
            (rest, len) = (others, len * 3 % 500_009 + 1);
        }
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn both_ways_arrive_byte_for_byte_at_once() {
    for mode in MODES {
        let (proxy, mut near, mut far) = tunnel(mode);
        let (there, back) = (pattern(24 << 20, 1), pattern(16 << 20, 2));
        let sending = [send(&near, there.clone()), send(&far, back.clone())];
        let arriving = thread::spawn(move || read_to_end(&mut far));
        assert!(read_to_end(&mut near) == back, "{mode:?}: back");
        assert!(arriving.join().unwrap() == there, "{mode:?}: there");
        sending.into_iter().for_each(|sending| sending.join().unwrap());
        let (status, last) = proxy.stop_with_last_line("TERM");
        assert!(status.success());
        let expected =
            format!("1 connections, 0 failed, {} bytes there, {} bytes back", there.len(), back.len());
        assert_eq!(last, expected, "{mode:?}");
    }
}

#[test]
fn a_message_does_not_wait_for_the_next() {
    for mode in MODES {
        let (_proxy, mut near, mut far) = tunnel(mode);
        for len in [1, 100, 20_000] {
            near.write_all(&pattern(len, 3)).unwrap();
            assert!(read_exact(&mut far, len) == pattern(len, 3), "{mode:?}");
            far.write_all(&pattern(len, 4)).unwrap();
            assert!(read_exact(&mut near, len) == pattern(len, 4), "{mode:?}");
        }
    }
}

#[test]
fn the_other_way_stays_open_after_the_one_has_ended() {
    for mode in MODES {
        let (_proxy, mut near, mut far) = tunnel(mode);
        near.write_all(b"question").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut far), b"question", "{mode:?}");
        let answer = pattern(3 << 20, 5);
        send(&far, answer.clone());
        assert!(read_to_end(&mut near) == answer, "{mode:?}");
    }
}

/// Writes until nothing more is taken for a while, and says how much was.
fn fill(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut taken = 0;
    while let Ok(len) = stream.write(&bytes[taken..]) {
        taken += len;
    }
    taken
}

#[test]
fn of_a_fast_source_a_slow_reader_makes_it_hold_no_more_than_the_marks() {
    // The most that the kernel keeps for one socket to send, and what is below both marks.
    const SENDING: u64 = 4 << 20;
    const MARKS: u64 = 2 << 20;
    for mode in MODES {
        let (proxy, mut near, far) = tunnel(mode);
        let idle = proxy.resident_bytes();
        let taken = fill(&mut near, &pattern(64 << 20, 6));
        assert!(taken > 1 << 20, "{mode:?}: {taken} bytes");
        // What the allocator keeps is in this, too.
        let grown = proxy.resident_bytes().saturating_sub(idle);
        assert!(grown < 4 << 20, "{mode:?}: it has grown by {grown} bytes");
        let unread = {
            let mut piece = vec![0; 16 << 20];
            far.peek(&mut piece).unwrap() as u64
        };
        drop((near, far));
        let (_, last) = proxy.stop_with_last_line("TERM");
        let there: u64 = last.split_once(" failed, ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(there <= SENDING + MARKS + unread, "{mode:?}: {last}, and {unread} were not read");
    }
}

#[test]
fn a_slow_reader_misses_nothing() {
    for mode in MODES {
        let (_proxy, mut near, mut far) = tunnel(mode);
        let bytes = pattern(48 << 20, 8);
        let taken = fill(&mut near, &bytes);
        near.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(&mut far) == bytes[..taken], "{mode:?}");
    }
}

/// What the peer of a connection sees that was not closed, but cut.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 16]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_connection_that_is_cut_is_cut_on_the_other_side() {
    for mode in MODES {
        let (_proxy, mut near, far) = tunnel(mode);
        near.write_all(b"unread").unwrap();
        far.peek(&mut [0; 6]).unwrap();
        // Closing with something unread resets.
        drop(far);
        assert!(is_reset(&mut near), "{mode:?}");
    }
}

#[test]
fn a_target_that_cannot_be_had_ends_its_connection_and_no_other() {
    for mode in MODES {
        for target in [dead().to_string(), "no-such-host.invalid:80".to_owned()] {
            let proxy = proxy(&target, mode);
            for _ in 0..3 {
                assert!(is_reset(&mut proxy.connect()), "{mode:?} {target}");
            }
            let (status, last) = proxy.stop_with_last_line("INT");
            assert!(status.success());
            assert_eq!(last, "3 connections, 3 failed, 0 bytes there, 0 bytes back");
        }
    }
}

#[test]
fn it_connects_by_name_and_on_every_thread() {
    let (listener, address) = server();
    let echoing = thread::spawn(move || {
        for _ in 0..40 {
            let (mut stream, _) = listener.accept().unwrap();
            let message = read_exact(&mut stream, 1000);
            stream.write_all(&message).unwrap();
        }
    });
    let proxy = proxy(&format!("localhost:{}", address.port()), &["--threads", "3"]);
    let mut clients: Vec<TcpStream> = (0..40).map(|_| proxy.connect()).collect();
    for (seed, client) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(1000, seed as u64)).unwrap();
    }
    for (seed, client) in clients.iter_mut().enumerate() {
        assert!(read_exact(client, 1000) == pattern(1000, seed as u64));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(client), b"");
    }
    echoing.join().unwrap();
    let (status, last) = proxy.stop_with_last_line("TERM");
    assert!(status.success());
    assert_eq!(last, "40 connections, 0 failed, 40000 bytes there, 40000 bytes back");
}

#[test]
fn a_rate_is_kept() {
    const RATE: usize = 1_000_000;
    const BYTES: usize = 2_000_000;
    for mode in MODES {
        let (_proxy, near, mut far) = tunnel(&[mode, &["--rate", "1000000"]].concat());
        let start = Instant::now();
        let sending = send(&near, pattern(BYTES, 7));
        let mut arrived = 0;
        let mut piece = vec![0; 64 * 1024];
        loop {
            let len = far.read(&mut piece).unwrap();
            if len == 0 {
                break;
            }
            arrived += len;
            // A tick brings a tenth. One may have come just before the start, and one more comes in any part of a tick.
            let most = RATE / 10 * (start.elapsed().as_millis() as usize / 100 + 2);
            assert!(arrived <= most, "{mode:?}: {arrived} bytes in {:?}", start.elapsed());
        }
        assert_eq!(arrived, BYTES);
        assert!(start.elapsed() < Duration::from_secs(10), "{mode:?}: {:?}", start.elapsed());
        sending.join().unwrap();
    }
}

#[test]
fn what_is_of_no_use_is_cut() {
    for mode in MODES {
        let options = [mode, &["--timeout", "1"]].concat();
        let (proxy, mut near, _far) = tunnel(&options);
        let start = Instant::now();
        assert!(is_reset(&mut near), "{mode:?}");
        assert!(start.elapsed() > Duration::from_millis(900), "{mode:?}");
        let (_, last) = proxy.stop_with_last_line("TERM");
        assert_eq!(last, "1 connections, 1 failed, 0 bytes there, 0 bytes back");
    }
}

#[test]
fn one_end_may_be_silent_for_as_long_as_the_other_speaks() {
    for mode in MODES {
        let (_proxy, mut near, mut far) = tunnel(&[mode, &["--timeout", "1"]].concat());
        for _ in 0..12 {
            far.write_all(b"still here").unwrap();
            assert_eq!(read_exact(&mut near, 10), b"still here", "{mode:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn what_is_in_flight_finishes_before_it_ends() {
    for mode in MODES {
        let (proxy, mut near, mut far) = tunnel(mode);
        near.write_all(b"question").unwrap();
        assert_eq!(read_exact(&mut far, 8), b"question");
        let address = proxy.address();
        proxy.signal("TERM");
        let (ended, end) = mpsc::channel();
        let stopping = thread::spawn(move || {
            let mut proxy = proxy;
            ended.send(proxy.wait()).unwrap();
        });
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < deadline, "it still accepts");
            thread::sleep(Duration::from_millis(10));
        }
        far.write_all(b"answer").unwrap();
        assert_eq!(read_exact(&mut near, 6), b"answer", "{mode:?}");
        assert!(end.try_recv().is_err(), "{mode:?}: it has ended too early");
        drop((near, far));
        assert!(end.recv_timeout(PATIENCE).unwrap().success(), "{mode:?}");
        stopping.join().unwrap();
    }
}

#[test]
fn what_cannot_work_is_said_in_one_line() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let bad: [(&[&str], &str); 9] = [
        (&[], "where to listen"),
        (&["127.0.0.1:0"], "where to connect"),
        (&["127.0.0.1:0", "nowhere"], "which port"),
        (&["127.0.0.1:0", "nowhere:0"], "no port"),
        (&["no-such-host.invalid:0", "localhost:80"], "no-such-host.invalid"),
        (&["127.0.0.1:0", "localhost:80", "more"], "unexpected"),
        (&["127.0.0.1:0", "localhost:80", "--rate", "0"], "--rate"),
        (&["127.0.0.1:0", "localhost:80", "--threads", "many"], "--threads"),
        (&[&taken, "localhost:80"], "cannot listen"),
    ];
    for (arguments, why) in bad {
        let output = Command::new(example("proxy")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("proxy: ") && text.contains(why), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
