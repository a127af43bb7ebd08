//! Bytes that pass through kernel pipes: in order with everything around them, cut, moved, shared, inspected, refused, and
//! never more pipes than a thread may have.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use zerovent::buffer::{CopyStats, End, Eol, PipePool};
use zerovent::{Error, Evbuffer};

/// Bytes in which a shift by any small amount shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (client, listener.accept().expect("the same connection").0)
}

/// Both ends of every kind of stream: the one to read from, and the one to write to.
fn streams() -> Vec<(&'static str, OwnedFd, OwnedFd)> {
    let (tcp_from, tcp_to) = tcp_pair();
    let (unix_from, unix_to) = UnixStream::pair().expect("a pair");
    let (pipe_from, pipe_to) = std::io::pipe().expect("a pipe");
    vec![
        ("TCP", tcp_from.into(), tcp_to.into()),
        ("Unix", unix_from.into(), unix_to.into()),
        ("pipe", pipe_from.into(), pipe_to.into()),
    ]
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    file
}

/// A buffer that holds `bytes` in kernel pipes, and nothing else.
fn spliced(bytes: &[u8]) -> Evbuffer {
    let (from, mut to) = UnixStream::pair().expect("a pair");
    let copy = bytes.to_vec();
    let writer = thread::spawn(move || to.write_all(&copy).expect("read in the end"));
    let mut buf = Evbuffer::new();
    let before = CopyStats::now();
    while buf.splice_from(&from, usize::MAX).expect("a socket is for splicing") > 0 {}
    writer.join().expect("done");
    // A call that had to wait for the end of the stream did so with a pipe of its own.
    PipePool::trim(0);
    let spent = CopyStats::now() - before;
    assert_eq!((buf.len(), spent.spliced_in), (bytes.len(), bytes.len() as u64));
    assert_eq!((spent.received, spent.read, spent.copied), (0, 0, 0), "{buf:?}");
    buf
}

/// Memory, file, pipe and memory again.
fn mixed(middle: &[u8]) -> (Evbuffer, Vec<u8>) {
    let mut buf = Evbuffer::new();
    buf.add(b"head").expect("added");
    buf.add_file(file_with(b"file"), 0, None).expect("added");
    buf.add_buffer(&mut spliced(middle)).expect("moved");
    buf.add_reference(&b"tail"[..]).expect("added");
    (buf, [b"headfile", middle, b"tail"].concat())
}

/// Writes everything in `buf` to `to`, reads all that comes out of `from`, and returns it.
fn through(mut buf: Evbuffer, to: OwnedFd, from: OwnedFd) -> Vec<u8> {
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        File::from(from).read_to_end(&mut all).expect("readable");
        all
    });
    let mut left = buf.len();
    while !buf.is_empty() {
        left -= buf.write_to(&to).expect("a blocking descriptor takes all");
    }
    assert_eq!(left, 0);
    drop(to);
    reader.join().expect("the reader is done")
}

fn would_block<T: std::fmt::Debug>(result: zerovent::Result<T>) -> bool {
    matches!(result, Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn what_is_spliced_arrives_in_order_on_every_kind_of_descriptor() {
    for len in [1, 4095, 4096, 4097, 70_000, 1 << 20, (2 << 20) + 17] {
        let middle = pattern(len);
        for (kind, from, to) in streams() {
            let (buf, expected) = mixed(&middle);
            let before = CopyStats::now();
            assert!(through(buf, to, from) == expected, "{kind}, {len}");
            let spent = CopyStats::now() - before;
            assert_eq!((spent.spliced_out, spent.copied), (len as u64, 0), "{kind}, {len}");
        }
        let (mut buf, expected) = mixed(&middle);
        let mut to = tempfile::tempfile().expect("a file");
        let before = CopyStats::now();
        while !buf.is_empty() {
            buf.write_to(&to).expect("a file takes all");
        }
        assert_eq!((CopyStats::now() - before).spliced_out, len as u64);
        to.rewind().expect("rewound");
        let mut copy = Vec::new();
        to.read_to_end(&mut copy).expect("readable");
        assert!(copy == expected, "file, {len}");
    }
}

#[test]
fn every_kind_of_stream_can_be_spliced_from_until_its_end() {
    for (kind, from, to) in streams() {
        let bytes = pattern(300_000);
        let copy = bytes.clone();
        let writer = thread::spawn(move || File::from(to).write_all(&copy).expect("read in the end"));
        let before = CopyStats::now();
        let mut buf = Evbuffer::new();
        while buf.splice_from(&from, 100_000).expect("for splicing") > 0 {}
        writer.join().expect("done");
        assert_eq!((CopyStats::now() - before).spliced_in, 300_000, "{kind}");
        assert!(buf.pullup(300_000).expect("readable") == bytes, "{kind}");
        assert_eq!(buf.splice_from(&from, 10).expect("the end stays the end"), 0, "{kind}");
    }
}

#[test]
fn a_splice_takes_no_more_than_it_was_asked_for() {
    let (from, mut to) = UnixStream::pair().expect("a pair");
    to.write_all(&pattern(50_000)).expect("room in the socket");
    let mut buf = Evbuffer::new();
    assert_eq!(buf.splice_from(&from, 0).expect("nothing asked"), 0);
    for max in [1, 10, 4095, 4096, 4097, 20_000] {
        let before = buf.len();
        assert_eq!(buf.splice_from(&from, max).expect("there is more"), max);
        assert_eq!(buf.len(), before + max);
    }
    assert_eq!(PipePool::open(), 1, "neighbours share a pipe");
    let len = buf.len();
    assert!(buf.pullup(len).expect("readable") == &pattern(50_000)[..len]);
}

#[test]
fn nothing_to_take_is_told_from_a_full_pipe() {
    let (from, mut to) = UnixStream::pair().expect("a pair");
    from.set_nonblocking(true).expect("non-blocking");
    let mut buf = Evbuffer::new();
    assert!(would_block(buf.splice_from(&from, 100)) && buf.is_empty());
    // Each of these takes a page's place in the pipe, so it is full long before its bytes say so.
    let mut expected = Vec::new();
    for round in 0..600_u32 {
        to.write_all(&round.to_le_bytes()).expect("room");
        expected.extend(round.to_le_bytes());
        assert_eq!(buf.splice_from(&from, 100).expect("there are four"), 4);
        assert!(would_block(buf.splice_from(&from, 100)));
        assert_eq!(buf.len(), expected.len());
    }
    assert!(PipePool::open() <= 5, "{} pipes", PipePool::open());
    assert!(buf.pullup(expected.len()).expect("readable") == expected);
    buf.freeze(End::Back);
    assert!(matches!(buf.splice_from(&from, 1), Err(Error::Frozen)));
}

/// Every place to cut, and what can be done with the halves.
#[test]
fn a_cut_anywhere_keeps_every_byte() {
    let (_, expected) = mixed(b"0123456789");
    for cut in 0..=expected.len() {
        let (mut rest, _) = mixed(b"0123456789");
        let before = CopyStats::now();
        let mut front = rest.split_to(cut).expect("that many are there");
        assert_eq!((CopyStats::now() - before).read, 0, "a cut reads nothing");
        // The later half first, so that the pipe is not where it stands.
        let mut later = rest.split_to((expected.len() - cut) / 2).expect("that many are there");
        assert!(rest.pullup(rest.len()).expect("readable") == &expected[cut + later.len()..], "{cut}");
        assert!(front.pullup(cut).expect("readable") == &expected[..cut], "{cut}");
        let middle = &expected[cut..cut + later.len()];
        assert!(later.pullup(middle.len()).expect("readable") == middle, "{cut}");

        let (mut buf, _) = mixed(b"0123456789");
        buf.drain(cut).expect("not frozen");
        assert_eq!(buf.copy_out(&mut [0; 40]).expect("readable"), expected.len() - cut);
        let (from, to) = UnixStream::pair().expect("a pair");
        assert!(through(buf, to.into(), from.into()) == expected[cut..], "drained by {cut}");

        let (mut buf, _) = mixed(b"0123456789");
        buf.drain(cut).expect("not frozen");
        let (from, to) = UnixStream::pair().expect("a pair");
        assert!(through(buf, to.into(), from.into()) == expected[cut..], "drained by {cut}, not looked at");
    }
}

#[test]
fn a_pipe_that_is_cut_and_sent_in_order_is_never_read() {
    let bytes = pattern(500_000);
    let mut buf = spliced(&bytes);
    let (to, mut from) = tcp_pair();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all
    });
    let before = CopyStats::now();
    while !buf.is_empty() {
        let mut part = Evbuffer::new();
        buf.remove_buffer(&mut part, 77_777).expect("moved");
        while !part.is_empty() {
            part.write_to(&to).expect("blocking");
        }
    }
    let spent = CopyStats::now() - before;
    assert_eq!((spent.spliced_out, spent.read, spent.copied), (500_000, 0, 0));
    drop(to);
    assert!(reader.join().expect("done") == bytes);
}

#[test]
fn a_limit_binds_pipe_nodes_too() {
    let (_, expected) = mixed(b"0123456789");
    for limit in 1..=expected.len() + 1 {
        let (to, mut from) = UnixStream::pair().expect("a pair");
        let (mut buf, _) = mixed(b"0123456789");
        let mut all = Vec::new();
        while !buf.is_empty() {
            let count = buf.write_to_at_most(&to, limit).expect("room in the socket");
            assert_eq!(count, limit.min(expected.len() - all.len()), "limit {limit}");
            let mut part = vec![0; count];
            from.read_exact(&mut part).expect("what was sent");
            all.extend(part);
        }
        assert_eq!(all, expected, "limit {limit}");
    }
}

#[test]
fn a_full_descriptor_blocks_in_the_middle_of_a_pipe() {
    let bytes = pattern(3 << 20);
    let mut buf = spliced(&bytes);
    let (to, mut from) = UnixStream::pair().expect("a pair");
    to.set_nonblocking(true).expect("non-blocking");
    let mut all = Vec::new();
    while !buf.is_empty() {
        let count = buf.write_to(&to).expect("there is room");
        assert!(count > 0);
        if !buf.is_empty() {
            assert!(would_block(buf.write_to(&to)), "a full socket takes nothing");
        }
        let mut part = vec![0; count];
        from.read_exact(&mut part).expect("what was sent");
        all.extend(part);
    }
    assert!(all == bytes);
}

#[test]
fn inspecting_reads_the_bytes_in_once_wherever_they_stand() {
    let middle = pattern(300_000);
    let open = || mixed(&middle).0;
    let expected = mixed(&middle).1;
    assert!(open().pullup(expected.len()).expect("readable") == expected);
    assert!(open().remove_bytes(expected.len()).expect("readable") == expected);
    assert!(open().pullup_mut(expected.len()).expect("readable") == expected);
    let needle = &middle[250_000..250_040];
    let place = expected.windows(40).position(|window| window == needle);
    assert_eq!(open().search(needle, None).expect("readable").map(|found| found.offset()), place);
    let mut buf = spliced(b"one\r\ntwo\r\n");
    assert_eq!(buf.read_line(Eol::Crlf).expect("readable").as_deref(), Some(&b"one"[..]));
    assert_eq!(&buf.line(Eol::Crlf).expect("readable").expect("a line")[..], b"two");

    let mut buf = open();
    let mut copy = vec![0; expected.len()];
    let before = CopyStats::now();
    for _ in 0..2 {
        assert_eq!(buf.copy_out(&mut copy).expect("readable"), expected.len());
        assert!(copy == expected);
        let runs: Vec<u8> = buf.peek(usize::MAX).expect("readable").flatten().copied().collect();
        assert!(runs == expected);
    }
    // The file's four bytes are read each time they are copied out, until somebody peeks.
    assert_eq!((CopyStats::now() - before).read, 300_000 + 8);

    let mut buf = spliced(&middle);
    let before = CopyStats::now();
    assert_eq!(buf.pullup(3).expect("readable"), &middle[..3]);
    assert!(
        (CopyStats::now() - before).read <= 64 * 1024,
        "a glance at the front leaves the rest where it is"
    );
    let (from, to) = UnixStream::pair().expect("a pair");
    assert!(through(buf, to.into(), from.into()) == middle);
    assert!((CopyStats::now() - before).spliced_out >= 300_000 - 64 * 1024);
}

#[test]
fn shared_bytes_are_the_same_for_all_who_share_them() {
    let bytes = pattern(100_000);
    let (mut one, mut two) = (spliced(&bytes), Evbuffer::new());
    let before = CopyStats::now();
    two.add_buffer_reference(&one).expect("shared");
    two.add_buffer_reference(&one).expect("shared");
    let mut part = one.split_to(30_000).expect("that many are there");
    assert_eq!((CopyStats::now() - before).read, 0, "nobody has looked yet");
    let (from, to) = UnixStream::pair().expect("a pair");
    part.add_buffer(&mut one).expect("moved back");
    assert!(through(part, to.into(), from.into()) == bytes);
    assert_eq!((CopyStats::now() - before).read, 100_000, "read in once, by the first who sent them");
    assert!(two.pullup(200_000).expect("readable") == [&bytes[..], &bytes].concat());
    assert_eq!((CopyStats::now() - before).read, 100_000);

    // Once the others are gone, what is left can go by splice again.
    let (one, mut two) = (spliced(&bytes), Evbuffer::new());
    two.add_buffer_reference(&one).expect("shared");
    drop(one);
    let before = CopyStats::now();
    let (from, to) = UnixStream::pair().expect("a pair");
    assert!(through(two, to.into(), from.into()) == bytes);
    assert_eq!((CopyStats::now() - before).spliced_out, 100_000);
}

#[test]
fn a_pipe_goes_back_empty_or_not_at_all() {
    assert_eq!((PipePool::open(), PipePool::idle()), (0, 0));
    let buf = spliced(&pattern(1000));
    assert_eq!((PipePool::open(), PipePool::idle()), (1, 0));
    drop(buf);
    assert_eq!((PipePool::open(), PipePool::idle()), (0, 0), "with bytes inside it is closed");

    let mut buf = spliced(&pattern(1000));
    let (to, _from) = UnixStream::pair().expect("a pair");
    assert_eq!(buf.write_to(&to).expect("room"), 1000);
    assert_eq!((PipePool::open(), PipePool::idle()), (1, 1), "sent");
    let (from, mut source) = UnixStream::pair().expect("a pair");
    source.write_all(&pattern(1000)).expect("room");
    let mut buf = Evbuffer::new();
    assert_eq!(buf.splice_from(&from, 1000).expect("there are as many"), 1000);
    assert_eq!((PipePool::open(), PipePool::idle()), (1, 0), "the idle one is used");
    buf.pullup(1000).expect("readable");
    assert_eq!((PipePool::open(), PipePool::idle()), (1, 1), "read in");
    PipePool::trim(0);
    assert_eq!((PipePool::open(), PipePool::idle()), (0, 0));
}

#[test]
fn when_the_pipes_are_used_up_bytes_are_read() {
    PipePool::set_limit(2);
    let held = [spliced(b"one"), spliced(b"two")];
    let (from, mut to) = UnixStream::pair().expect("a pair");
    to.write_all(b"three").expect("room");
    let before = CopyStats::now();
    let mut buf = Evbuffer::new();
    assert_eq!(buf.splice_from(&from, 100).expect("read instead"), 5);
    let spent = CopyStats::now() - before;
    assert_eq!((spent.received, spent.spliced_in, PipePool::open()), (5, 0, 2));
    from.set_nonblocking(true).expect("non-blocking");
    assert!(would_block(buf.splice_from(&from, 100)));
    drop(to);
    assert_eq!(buf.splice_from(&from, 100).expect("the end"), 0);
    assert_eq!(buf.pullup(5).expect("there"), b"three");
    drop(held);
    spliced(b"there is room again");
    PipePool::set_limit(0);
    let (from, mut to) = UnixStream::pair().expect("a pair");
    to.write_all(b"four").expect("room");
    assert_eq!(buf.splice_from(&from, 100).expect("read instead"), 4);
    assert_eq!((PipePool::open(), buf.pullup(9).expect("there")), (0, &b"threefour"[..]));
}

#[test]
fn what_cannot_be_spliced_is_read_and_written() {
    // From a file: read, from its place on.
    let mut file = file_with(b"0123456789");
    file.rewind().expect("rewound");
    let mut buf = Evbuffer::new();
    let before = CopyStats::now();
    assert_eq!(buf.splice_from(&file, 4).expect("read instead"), 4);
    assert_eq!(((CopyStats::now() - before).received, PipePool::open()), (4, 0));
    assert_eq!(buf.pullup(4).expect("there"), b"0123");

    // To a file that is open for appending, which the kernel does not splice to.
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let log = OpenOptions::new().append(true).create(true).open(&path).expect("a file");
    let (mut buf, expected) = mixed(&pattern(200_000));
    let before = CopyStats::now();
    while !buf.is_empty() {
        buf.write_to(&log).expect("a file takes all");
    }
    assert_eq!((CopyStats::now() - before).spliced_out, 0);
    assert!(std::fs::read(&path).expect("readable") == expected);

    let datagrams = std::os::unix::net::UnixDatagram::pair().expect("a pair");
    datagrams.0.send(b"datagram").expect("room");
    let mut buf = Evbuffer::new();
    assert_eq!(buf.splice_from(&datagrams.1, 100).expect("read instead"), 8);
    assert_eq!(buf.pullup(8).expect("there"), b"datagram");
}

#[test]
fn parts_of_one_pipe_are_used_on_two_threads() {
    for _ in 0..20 {
        let bytes = pattern(200_000);
        let mut rest = spliced(&bytes);
        let front = rest.split_to(120_000).expect("that many are there");
        let sender = thread::spawn(move || {
            let (from, to) = UnixStream::pair().expect("a pair");
            through(front, to.into(), from.into())
        });
        let (from, to) = UnixStream::pair().expect("a pair");
        assert!(through(rest, to.into(), from.into()) == bytes[120_000..]);
        assert!(sender.join().expect("done") == bytes[..120_000]);
        PipePool::trim(0);
        assert_eq!(PipePool::open(), 0);
    }
}

#[test]
fn a_prepended_and_replaced_front_keeps_the_order() {
    let mut buf = spliced(b"pipe");
    buf.prepend(b"memory ").expect("not frozen");
    let mut other = spliced(b"first ");
    buf.prepend_buffer(&mut other).expect("not frozen");
    buf.add(b" last").expect("added");
    let (from, to) = std::io::pipe().expect("a pipe");
    assert_eq!(through(buf, to.into(), from.into()), b"first memory pipe last");
}
