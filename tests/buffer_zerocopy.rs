//! Sending without a copy: the memory is held until the kernel lets go of it, and never a moment less.
//!
//! Over the loopback the kernel copies and says so, which is one of the things to be tested.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use zerovent::buffer::{ChunkPool, CopyStats, End, ZeroCopyWriter};
use zerovent::{Error, Evbuffer};

const PATIENCE: Duration = Duration::from_secs(20);

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
}

fn tcp_pair_at(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (client, listener.accept().expect("the same connection").0)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    tcp_pair_at("127.0.0.1:0")
}

/// A reference of `bytes` that counts its clean-up.
fn counted(buf: &mut Evbuffer, bytes: Vec<u8>, cleaned: &Arc<AtomicUsize>) {
    let cleaned = Arc::clone(cleaned);
    let note = move |_: Vec<u8>| {
        cleaned.fetch_add(1, Ordering::Relaxed);
    };
    buf.add_reference_with_cleanup(bytes, note).expect("added");
}

#[test]
fn memory_is_held_until_the_notice_and_then_let_go() {
    let (to, mut from) = tcp_pair();
    let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it").at_least(1);
    let cleaned = Arc::default();
    let mut buf = Evbuffer::new();
    counted(&mut buf, pattern(50_000), &cleaned);
    let before = CopyStats::now();
    assert_eq!(writer.write(&mut buf, usize::MAX).expect("room in the socket"), 50_000);
    let spent = CopyStats::now() - before;
    assert_eq!((spent.zerocopy, spent.sent, spent.copied), (50_000, 0, 0));
    assert!(buf.is_empty());
    assert_eq!((writer.outstanding(), cleaned.load(Ordering::Relaxed)), (1, 0), "nobody has collected yet");
    let mut all = vec![0; 50_000];
    from.read_exact(&mut all).expect("all of it");
    assert!(all == pattern(50_000));
    writer.finish(PATIENCE).expect("the peer has it all");
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
}

#[test]
fn a_kernel_that_copies_is_not_asked_again() {
    let (to, mut from) = tcp_pair();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all
    });
    let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it").at_least(1000);
    let before = CopyStats::now();
    let mut expected = Vec::new();
    for round in 0..200 {
        let mut buf = Evbuffer::new();
        buf.add(b"head").expect("added");
        buf.add_reference(pattern(20_000 + round)).expect("added");
        expected.extend_from_slice(b"head");
        expected.extend(pattern(20_000 + round));
        while !buf.is_empty() {
            writer.write(&mut buf, 7777).expect("a blocking socket takes all");
        }
        thread::sleep(Duration::from_micros(200));
    }
    assert!(!writer.is_on(), "the loopback copies, and says so");
    writer.finish(PATIENCE).expect("the peer reads all");
    let spent = CopyStats::now() - before;
    assert!(spent.zerocopy > 0 && spent.sent > 0, "{spent:?}");
    assert_eq!(spent.zerocopy + spent.sent, expected.len() as u64);
    assert!(spent.zerocopy_copied > 0 && spent.zerocopy_copied <= spent.zerocopy, "{spent:?}");
    drop(to);
    assert!(reader.join().expect("done") == expected);
}

/// A chunk goes back to the pool when nobody views it; one that the kernel may still send from is in the writer's view.
#[test]
fn a_chunk_is_not_reused_before_the_notice() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (to, mut from) = tcp_pair_at(address);
        let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it").at_least(1);
        let mut buf = Evbuffer::new();
        buf.add(&pattern(10_000)).expect("added");
        let idle = ChunkPool::idle_bytes();
        assert_eq!(writer.write(&mut buf, usize::MAX).expect("room in the socket"), 10_000);
        drop(buf);
        assert_eq!(ChunkPool::idle_bytes(), idle, "{address}");
        let mut all = vec![0; 10_000];
        from.read_exact(&mut all).expect("all of it");
        assert!(all == pattern(10_000));
        writer.finish(PATIENCE).expect("the peer has it all");
        assert!(ChunkPool::idle_bytes() > idle, "{address}");
        ChunkPool::trim(0);
    }
}

#[test]
fn files_pipes_and_short_runs_leave_as_always() {
    let (to, mut from) = tcp_pair();
    let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it");
    let mut buf = Evbuffer::new();
    buf.add(b"head").expect("added");
    let mut file = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut file, &pattern(40_000)).expect("room");
    buf.add_file(file, 0, None).expect("added");
    let (source, mut fill) = UnixStream::pair().expect("a pair");
    std::io::Write::write_all(&mut fill, b"piped").expect("room");
    buf.splice_from(&source, 5).expect("for splicing");
    buf.add(b"tail").expect("added");
    let before = CopyStats::now();
    assert_eq!(writer.write(&mut buf, usize::MAX).expect("room in the socket"), 40_013);
    let spent = CopyStats::now() - before;
    assert_eq!((spent.zerocopy, spent.sent, spent.sendfile, spent.spliced_out), (0, 8, 40_000, 5));
    let mut all = vec![0; 40_013];
    from.read_exact(&mut all).expect("all of it");
    assert!(all == [b"head", &pattern(40_000)[..], b"piped", b"tail"].concat());
    assert_eq!(writer.outstanding(), 0);
}

#[test]
fn it_is_refused_where_it_cannot_be_kept_right() {
    let (to, _from) = tcp_pair();
    let first = ZeroCopyWriter::new(&to).expect("TCP has it");
    assert!(
        matches!(ZeroCopyWriter::new(&to), Err(Error::Invalid(_))),
        "two would take each other's notices"
    );
    drop(first);
    assert!(matches!(ZeroCopyWriter::new(&to), Err(Error::Invalid(_))), "the kernel's numbers went on");
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    assert!(matches!(ZeroCopyWriter::new(&reader), Err(Error::Io(_))));
    let (unix, _peer) = UnixStream::pair().expect("a pair");
    assert!(matches!(ZeroCopyWriter::new(&unix), Err(Error::Io(_))));
}

#[test]
fn a_frozen_front_and_a_full_socket_are_as_for_any_writer() {
    let (to, from) = tcp_pair();
    to.set_nonblocking(true).expect("non-blocking");
    let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it").at_least(1);
    let mut buf = Evbuffer::new();
    assert_eq!(writer.write(&mut buf, usize::MAX).expect("nothing to do"), 0);
    buf.add_reference(vec![7; 64 << 20]).expect("added");
    buf.freeze(End::Front);
    assert!(matches!(writer.write(&mut buf, 1), Err(Error::Frozen)));
    buf.unfreeze(End::Front);
    let refused = loop {
        match writer.write(&mut buf, usize::MAX) {
            Ok(count) => assert!(count > 0),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Io(error) if error.kind() == ErrorKind::WouldBlock));
    assert!(!buf.is_empty());
    assert!(writer.outstanding() > 0, "the peer has not read");
    let writer = writer.finish(Duration::ZERO).expect_err("the peer has not read");
    drop(from);
    writer.finish(PATIENCE).expect("a connection that is reset lets go");
}

/// Memory that nobody will hear a notice for is never used again.
#[test]
fn a_writer_that_is_dropped_early_leaks_what_is_outstanding() {
    let (to, _from) = tcp_pair();
    to.set_nonblocking(true).expect("non-blocking");
    let mut writer = ZeroCopyWriter::new(&to).expect("TCP has it").at_least(1);
    let cleaned = Arc::default();
    let mut buf = Evbuffer::new();
    // More than the two sockets hold, so that some of it must be waiting in this one.
    counted(&mut buf, vec![7; 64 << 20], &cleaned);
    while writer.write(&mut buf, usize::MAX).is_ok() {}
    assert!(writer.outstanding() > 0);
    drop((buf, writer));
    assert_eq!(cleaned.load(Ordering::Relaxed), 0);
}
