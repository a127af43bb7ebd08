//! Files in buffers: sent without being seen, inspected wherever they stand, and found out when they are shorter than they promised.
#![allow(unsafe_code, reason = "TCP_INFO, memfd and seals have no safe interface in std")]

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zerovent::buffer::{CopyStats, Eol, FileSegment, WriteStrategy};
use zerovent::{Error, Evbuffer};

/// Bytes in which a shift by any small amount shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    file
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (client, listener.accept().expect("the same connection").0)
}

/// Writes everything in `buf` to `to`, reads all that comes out of `from`, and returns it.
fn through(mut buf: Evbuffer, to: impl AsFd, mut from: impl Read + Send + 'static) -> Vec<u8> {
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all
    });
    let wanted = buf.len();
    let mut sent = 0;
    while !buf.is_empty() {
        sent += buf.write_to(&to).expect("a blocking descriptor takes all");
    }
    assert_eq!(sent, wanted);
    drop(to);
    reader.join().expect("the reader is done")
}

/// Sends `buf` over every kind of descriptor.
fn arrives_everywhere(open: impl Fn() -> Evbuffer, expected: &[u8], what: &str) {
    let (to, from) = tcp_pair();
    assert!(through(open(), to, from) == expected, "TCP, {what}");
    let (to, from) = UnixStream::pair().expect("a pair");
    assert!(through(open(), to, from) == expected, "Unix, {what}");
    let (from, to) = std::io::pipe().expect("a pipe");
    assert!(through(open(), to, from) == expected, "pipe, {what}");
    let mut to = tempfile::tempfile().expect("a file");
    let mut buf = open();
    let mut written = 0;
    while !buf.is_empty() {
        written += buf.write_to(&to).expect("a file takes all");
    }
    assert_eq!(written, expected.len());
    to.rewind().expect("rewound");
    let mut copy = Vec::new();
    to.read_to_end(&mut copy).expect("readable");
    assert!(copy == expected, "file, {what}");
}

/// Every combination of flags, between memory.
fn with_every_flag(file: &File, offset: u64, middle: &[u8]) {
    for (sendfile, mmap) in [(true, true), (true, false), (false, true), (false, false)] {
        let cleaned = Arc::new(AtomicUsize::new(0));
        let opened = Cell::new(0);
        let open = || {
            opened.set(opened.get() + 1);
            let cleaned = Arc::clone(&cleaned);
            let cleanup = move || {
                cleaned.fetch_add(1, Ordering::Relaxed);
            };
            let options = FileSegment::options().sendfile(sendfile).mmap(mmap).cleanup(cleanup);
            let file = file.try_clone().expect("a duplicate");
            let segment = options.open(file, offset, Some(middle.len() as u64)).expect("a segment");
            let mut buf = Evbuffer::new();
            buf.add(b"head").expect("added");
            buf.add_file_segment(&segment, 0, None).expect("added");
            buf.add_reference(&b"tail"[..]).expect("added");
            buf
        };
        let expected = [b"head", middle, b"tail"].concat();
        let what = format!("{} at {offset}, sendfile {sendfile}, mmap {mmap}", middle.len());
        arrives_everywhere(open, &expected, &what);
        assert_eq!(cleaned.load(Ordering::Relaxed), opened.get(), "{what}: cleaned up once each");
    }
}

/// Every kind of descriptor x every awkward size x every flag, and the one kind of file that is mapped.
#[test]
fn files_between_memory_arrive_intact_on_every_kind_of_descriptor() {
    let sealed = libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE;
    for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
        let whole = pattern(len + 10);
        with_every_flag(&file_with(&whole), 7, &whole[7..7 + len]);
        with_every_flag(&memfd(&whole, sealed).into(), 7, &whole[7..7 + len]);
    }
}

#[test]
fn a_range_beyond_four_gibibytes_arrives_on_every_kind_of_descriptor() {
    let file = tempfile::tempfile().expect("a file");
    let (place, bytes) = ((4 << 30) + 12_345_u64, pattern(1 << 20));
    FileExt::write_all_at(&file, &bytes, place).expect("sparse");
    with_every_flag(&file, place, &bytes);
}

#[test]
fn small_files_leave_with_the_memory_around_them_and_large_ones_by_sendfile() {
    for (len, strategy, from_memory) in [
        (32 * 1024, WriteStrategy::new(), true),
        (32 * 1024 + 1, WriteStrategy::new(), false),
        (1, WriteStrategy::new().read_files_up_to(0), false),
        (200_000, WriteStrategy::new().read_files_up_to(200_000), true),
    ] {
        let (to, from) = UnixStream::pair().expect("a pair");
        let mut buf = Evbuffer::new();
        buf.add_reference(&b"head"[..]).expect("added");
        buf.add_file(file_with(&pattern(len)), 0, None).expect("added");
        buf.add_reference(&b"tail"[..]).expect("added");
        let expected = len + 8;
        let reader = thread::spawn(move || {
            let (mut all, mut from) = (Vec::new(), from);
            from.read_to_end(&mut all).expect("readable");
            all
        });
        let before = CopyStats::now();
        assert_eq!(buf.write_with(&to, usize::MAX, strategy).expect("blocking"), expected);
        let spent = CopyStats::now() - before;
        let (read, sendfile) = if from_memory { (len, 0) } else { (0, len) };
        assert_eq!((spent.read, spent.sendfile), (read as u64, sendfile as u64), "{len} {strategy:?}");
        assert_eq!((spent.copied, spent.sent), (0, (read + 8) as u64), "{len} {strategy:?}");
        drop(to);
        assert!(reader.join().expect("done")[4..4 + len] == pattern(len));
    }
}

/// The last piece of a large file is a small piece, and still goes the way of the rest.
#[test]
fn a_large_file_goes_by_sendfile_to_its_last_byte() {
    let (to, from) = tcp_pair();
    let strategy = WriteStrategy::new().sendfile_piece(10_000);
    let mut buf = Evbuffer::new();
    buf.add(b"head").expect("added");
    buf.add_file(file_with(&pattern(100_001)), 0, None).expect("added");
    buf.add(b"next").expect("added");
    buf.add_file(file_with(&pattern(100)), 0, None).expect("added");
    let reader = thread::spawn(move || {
        let (mut all, mut from) = (Vec::new(), from);
        from.read_to_end(&mut all).expect("readable");
        all
    });
    let before = CopyStats::now();
    assert_eq!(buf.write_with(&to, usize::MAX, strategy).expect("blocking"), 100_109);
    let spent = CopyStats::now() - before;
    assert_eq!((spent.sendfile, spent.read, spent.sent), (100_001, 100, 108));
    drop(to);
    let expected = [b"head", &pattern(100_001)[..], b"next", &pattern(100)].concat();
    assert!(reader.join().expect("done") == expected);
}

#[test]
fn a_body_that_goes_by_sendfile_is_never_copied() {
    let (to, mut from) = tcp_pair();
    let mut buf = Evbuffer::new();
    buf.add_reference(&b"head"[..]).expect("added");
    buf.add_file(file_with(&pattern(200_000)), 0, None).expect("added");
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all.len()
    });
    let before = CopyStats::now();
    assert_eq!(buf.write_to(&to).expect("blocking"), 200_004);
    let spent = CopyStats::now() - before;
    drop(to);
    assert_eq!(reader.join().expect("done"), 200_004);
    assert_eq!((spent.copied, spent.read, spent.sent, spent.sendfile), (0, 0, 4, 200_000));
}

#[test]
fn a_range_beyond_four_gibibytes_of_a_sparse_file_arrives() {
    let file = tempfile::tempfile().expect("a file");
    let place = (4 << 30) + 12_345_u64;
    FileExt::write_all_at(&file, &pattern(1 << 20), place).expect("sparse");
    let mut buf = Evbuffer::new();
    buf.add_file(file.try_clone().expect("a duplicate"), place, None).expect("added");
    let (to, from) = tcp_pair();
    assert!(through(buf, to, from) == pattern(1 << 20));

    // Looking at the front of a huge file reads a chunk of it and not the whole.
    let mut buf = Evbuffer::new();
    buf.add_file(file, 0, None).expect("added");
    let before = CopyStats::now();
    assert_eq!(buf.pullup(3).expect("there"), [0, 0, 0]);
    assert!((CopyStats::now() - before).read <= 64 * 1024);
    assert_eq!(buf.len() as u64, place + (1 << 20));
}

/// Data segments this side of the connection has sent, from TCP_INFO.
fn data_segments_out(socket: &TcpStream) -> u32 {
    const DATA_SEGS_OUT: usize = 156;
    let mut info = [0_u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: `info` and `len` are live, and `len` says how large `info` is.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    assert!(done == 0 && len as usize >= DATA_SEGS_OUT + 4, "this kernel counts data segments");
    u32::from_ne_bytes(info[DATA_SEGS_OUT..DATA_SEGS_OUT + 4].try_into().expect("four bytes"))
}

#[test]
fn a_head_and_a_small_file_leave_in_one_segment() {
    let (to, mut from) = tcp_pair();
    to.set_nodelay(true).expect("TCP_NODELAY");
    let add_both = |buf: &mut Evbuffer| {
        buf.add(&[b'h'; 200]).expect("added");
        buf.add_file(file_with(&pattern(1000)), 0, None).expect("added");
    };
    let mut buf = Evbuffer::new();
    add_both(&mut buf);
    let before = data_segments_out(&to);
    assert_eq!(buf.write_to(&to).expect("blocking"), 1200);
    assert_eq!(data_segments_out(&to) - before, 1, "head and body share a segment");

    // A limit that ends with the head must not leave it corked, waiting for a body that does not come.
    add_both(&mut buf);
    let before = data_segments_out(&to);
    assert_eq!(buf.write_to_at_most(&to, 200).expect("blocking"), 200);
    assert_eq!(data_segments_out(&to) - before, 1, "the head left at once");
    assert_eq!(buf.write_to(&to).expect("blocking"), 1000);
    assert_eq!(data_segments_out(&to) - before, 2);
    let mut all = vec![0; 2400];
    from.read_exact(&mut all).expect("all of it");
}

#[test]
fn a_limit_binds_every_kind_of_node() {
    let expected = [&b"chunk"[..], b"reference", &pattern(50), b"end"].concat();
    for limit in 1..=expected.len() + 1 {
        let (to, mut from) = UnixStream::pair().expect("a pair");
        let mut buf = Evbuffer::new();
        buf.add(b"chunk").expect("added");
        buf.add_reference(&b"reference"[..]).expect("added");
        buf.add_file(file_with(&pattern(50)), 0, None).expect("added");
        buf.add(b"end").expect("added");
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
fn a_file_that_shrank_is_an_error_and_the_rest_stays() {
    let file = file_with(&pattern(100_000));
    let mut buf = Evbuffer::new();
    buf.add(b"head").expect("added");
    buf.add_file(file.try_clone().expect("a duplicate"), 0, None).expect("added");
    buf.add(b"tail").expect("added");
    file.set_len(40_000).expect("truncated");

    let whole = buf.len();
    assert!(matches!(buf.pullup(whole), Err(Error::ShortFile)));
    assert!(matches!(buf.copy_out(&mut vec![0; whole]), Err(Error::ShortFile)));
    assert!(matches!(buf.remove(&mut vec![0; whole]), Err(Error::ShortFile)));
    assert!(matches!(buf.search(b"not there", None), Err(Error::ShortFile)));
    assert!(matches!(buf.peek(usize::MAX).map(|_| ()), Err(Error::ShortFile)));
    assert!(matches!(buf.read_line(Eol::CrlfStrict), Err(Error::ShortFile)));
    assert_eq!(buf.len(), whole);
    assert_eq!(buf.pullup(4).expect("memory"), b"head");

    let (to, mut from) = UnixStream::pair().expect("a pair");
    assert_eq!(buf.write_to(&to).expect("what was sent before the error is reported first"), 40_004);
    assert!(matches!(buf.write_to(&to), Err(Error::ShortFile)));
    assert_eq!(buf.len(), 60_004);
    let mut arrived = vec![0; 40_004];
    from.read_exact(&mut arrived).expect("all of it");
    assert!(arrived[4..] == pattern(40_000)[..]);

    // Memory behind the node that cannot be sent is not lost, only stuck.
    buf.drain(60_000).expect("not frozen");
    assert_eq!(buf.pullup(4).expect("memory"), b"tail");
}

/// Ends of every kind of descriptor: where to write, and where that can be read.
fn every_kind() -> Vec<(&'static str, OwnedFd, OwnedFd)> {
    let (to, from) = tcp_pair();
    let (unix_to, unix_from) = UnixStream::pair().expect("a pair");
    let (pipe_from, pipe_to) = std::io::pipe().expect("a pipe");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let again = File::open(file.path()).expect("the same file");
    vec![
        ("TCP", to.into(), from.into()),
        ("Unix", unix_to.into(), unix_from.into()),
        ("pipe", pipe_to.into(), pipe_from.into()),
        ("file", file.into_file().into(), again.into()),
    ]
}

/// Whatever the flags and the descriptor: what is there arrives, and then there is an error; no signal, and not one wrong byte.
#[test]
fn a_file_that_shrinks_while_it_is_sent_is_an_error_at_its_new_end() {
    for (sendfile, mmap) in [(true, true), (true, false), (false, true), (false, false)] {
        for (name, to, from) in every_kind() {
            let file = file_with(&pattern(300_000));
            let options = FileSegment::options().sendfile(sendfile).mmap(mmap);
            let segment = options.open(file.try_clone().expect("a duplicate"), 0, None).expect("a segment");
            let mut buf = Evbuffer::new();
            buf.add_file_segment(&segment, 0, None).expect("added");
            assert_eq!(buf.write_to_at_most(&to, 1000).expect("room"), 1000);
            file.set_len(60_000).expect("truncated");
            let what = format!("{name}, sendfile {sendfile}, mmap {mmap}");
            let read = move || {
                let mut all = Vec::new();
                File::from(from).read_to_end(&mut all).expect("readable");
                all
            };
            // A file ends where it is written to so far; all others must be emptied while they are filled.
            let is_file = name == "file";
            let (early, late) = if is_file { (None, Some(read)) } else { (Some(thread::spawn(read)), None) };
            let mut sent = 1000;
            let error = loop {
                match buf.write_to(&to) {
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::ShortFile), "{what}: {error}");
            assert_eq!(buf.len(), 300_000 - sent, "{what}");
            drop(to);
            let arrived = early.map(|reader| reader.join().expect("read"));
            let arrived = arrived.or_else(|| late.map(|read| read())).expect("one of the two");
            // What had been read ahead before the file shrank is sent too.
            assert!((60_000..=66_000).contains(&arrived.len()) && arrived.len() == sent, "{what}: {sent}");
            assert!(arrived == pattern(sent), "{what}");
        }
    }
}

#[test]
fn a_small_file_that_shrank_is_found_before_its_head_is_sent() {
    let file = file_with(&pattern(1000));
    let mut buf = Evbuffer::new();
    buf.add(b"head").expect("added");
    buf.add_file(file.try_clone().expect("a duplicate"), 0, None).expect("added");
    file.set_len(999).expect("truncated");
    let (to, mut from) = UnixStream::pair().expect("a pair");
    from.set_nonblocking(true).expect("non-blocking");
    assert!(matches!(buf.write_to(&to), Err(Error::ShortFile)));
    assert_eq!(buf.len(), 1004);
    assert!(from.read(&mut [0]).is_err(), "nothing was sent");

    // A good answer in front of a bad one is not held back.
    let mut both = Evbuffer::new();
    both.add_file(file_with(b"good"), 0, None).expect("added");
    both.add_buffer(&mut buf).expect("moved");
    assert_eq!(both.write_to(&to).expect("what can be sent is"), 8);
    assert!(matches!(both.write_to(&to), Err(Error::ShortFile)));
    let mut sent = [0; 8];
    from.read_exact(&mut sent).expect("all of it");
    assert_eq!(&sent, b"goodhead");
}

#[test]
fn a_file_that_was_written_to_is_an_error_for_good_if_that_was_promised_not_to_happen() {
    for (len, sendfile) in [(1000, true), (200_000, true), (200_000, false)] {
        let file = file_with(&pattern(len));
        let metadata = file.metadata().expect("metadata");
        let options = FileSegment::options().unchanged_since(&metadata).sendfile(sendfile);
        let segment = options.open(file.try_clone().expect("a duplicate"), 0, None).expect("a segment");
        let buffer = || {
            let mut buf = Evbuffer::new();
            buf.add_file_segment(&segment, 0, None).expect("added");
            buf.add(b"tail").expect("added");
            buf
        };
        let (to, mut from) = UnixStream::pair().expect("a pair");
        let receiver = thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).map(|_| all)
        });
        let (mut good, mut sent_late, mut read_late) = (buffer(), buffer(), buffer());
        while !good.is_empty() {
            good.write_to(&to).expect("it is unchanged");
        }
        file.write_all_at(b"x", 0).expect("written");
        let strategy = WriteStrategy::new().read_files_up_to(0);
        let error = loop {
            match sent_late.write_with(&to, usize::MAX, strategy) {
                Ok(count) => assert!(count < len, "what stands behind does not leave"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::FileChanged), "{error}");
        assert!(matches!(sent_late.write_to(&to), Err(Error::FileChanged)), "and stays one");
        assert!(sent_late.len() > 4);
        assert!(matches!(read_late.pullup(1), Err(Error::FileChanged)));
        drop(to);
        let arrived = receiver.join().expect("it ends").expect("no reset");
        // Of what sendfile has sent nobody can say when it is read; what stands behind it is there once.
        assert!(&arrived[len..len + 4] == b"tail" && !arrived[len + 4..].ends_with(b"tail"));
    }
}

/// Replacing a file means renaming another over it: the one that was opened goes on being sent.
#[test]
fn a_file_that_is_replaced_goes_on_being_the_file_it_was() {
    for len in [1000, 200_000] {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        std::fs::write(&path, pattern(len)).expect("written");
        std::fs::write(&other, b"short").expect("written");
        let (to, from) = UnixStream::pair().expect("a pair");
        let mut buf = Evbuffer::new();
        buf.add_file(File::open(&path).expect("there"), 0, None).expect("added");
        assert_eq!(buf.write_to_at_most(&to, 100).expect("room"), 100);
        std::fs::rename(&other, &path).expect("replaced");
        assert!(through(buf, to, from) == pattern(len));
    }
}

#[test]
fn ranges_of_files_are_checked_when_they_are_made() {
    let open =
        |offset, len| FileSegment::new(file_with(&pattern(65_536)), offset, len).map(|made| made.len());
    assert_eq!(open(60_000, None).expect("to the end"), 5_536);
    assert_eq!(open(65_536, None).expect("nothing"), 0);
    assert_eq!(open(0, Some(0)).expect("nothing"), 0);
    assert!(matches!(open(65_537, None), Err(Error::OutOfRange)));
    assert!(matches!(open(1, Some(65_536)), Err(Error::ShortFile)));
    assert!(matches!(open(u64::MAX, Some(1)), Err(Error::Overflow)));
    assert!(matches!(open(i64::MAX as u64, Some(1)), Err(Error::Overflow)));
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    assert!(matches!(FileSegment::new(pipe, 0, Some(1)), Err(Error::Invalid(_))));

    let segment = FileSegment::new(file_with(&pattern(100)), 10, Some(50)).expect("a segment");
    let mut buf = Evbuffer::new();
    assert!(matches!(buf.add_file_segment(&segment, 51, None), Err(Error::OutOfRange)));
    assert!(matches!(buf.add_file_segment(&segment, 1, Some(50)), Err(Error::OutOfRange)));
    assert!(matches!(buf.add_file_segment(&segment, u64::MAX, Some(u64::MAX)), Err(Error::OutOfRange)));
    buf.add_file_segment(&segment, 50, None).expect("an empty piece");
    assert!(buf.is_empty());
    buf.add_file_segment(&segment, 20, Some(5)).expect("a piece");
    assert_eq!(buf.pullup(5).expect("readable"), &pattern(100)[30..35]);
}

#[test]
fn the_file_is_closed_when_the_last_of_it_has_left() {
    let file = file_with(b"some bytes");
    let identity = file.metadata().map(|found| (found.dev(), found.ino())).expect("metadata");
    // By identity and not by number: another test may be given the number at once.
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").expect("a list of descriptors");
        open.flatten()
            .filter_map(|entry| std::fs::metadata(entry.path()).ok())
            .any(|found| (found.dev(), found.ino()) == identity)
    };
    let (tell, told) = std::sync::mpsc::channel();
    let options = FileSegment::options().cleanup(move || tell.send(()).expect("listening"));
    let segment = options.open(file, 0, None).expect("a segment");
    let (mut one, mut two) = (Evbuffer::new(), Evbuffer::new());
    one.add_file_segment(&segment, 0, None).expect("added");
    drop(segment);
    two.add_buffer_reference(&one).expect("shared");
    one.drain(10).expect("not frozen");
    assert!(is_open() && told.try_recv().is_err(), "the other buffer still holds it");
    two.pullup(10).expect("readable");
    assert!(!is_open(), "once it was read nothing needs the file");
    assert_eq!(told.try_iter().count(), 1, "cleaned up once");
}

/// A memfd that holds `bytes`, with `seals` on it.
fn memfd(bytes: &[u8], seals: libc::c_int) -> OwnedFd {
    let flags = libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC;
    // SAFETY: the name is a C string, and the result is checked before it is owned.
    let number = unsafe { libc::memfd_create(c"segment".as_ptr(), flags) };
    assert!(number >= 0, "memfd_create");
    // SAFETY: the descriptor was just made and belongs to nobody.
    let mut file = unsafe { File::from_raw_fd(number) };
    file.write_all(bytes).expect("room for it");
    // SAFETY: F_ADD_SEALS takes an integer and touches no memory.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_ADD_SEALS, seals) }, 0, "F_ADD_SEALS");
    file.into()
}

#[test]
fn only_a_file_that_is_sealed_against_shrinking_and_writing_is_mapped() {
    let bytes = pattern(300_000);
    for (seals, mmap, mapped) in [
        (libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE, true, true),
        (libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE, false, false),
        (libc::F_SEAL_SHRINK, true, false),
        (libc::F_SEAL_WRITE, true, false),
        (0, true, false),
    ] {
        let segment =
            FileSegment::options().mmap(mmap).open(memfd(&bytes, seals), 5, None).expect("a segment");
        let mut buf = Evbuffer::new();
        buf.add(b"front").expect("added");
        buf.add_file_segment(&segment, 10, None).expect("added");
        let before = CopyStats::now();
        let runs: Vec<u8> = buf.peek(usize::MAX).expect("readable").flatten().copied().collect();
        let spent = CopyStats::now() - before;
        assert!(runs[5..] == bytes[15..], "seals {seals}");
        assert_eq!(spent.copied, 0);
        let (read, map) = if mapped { (0, 299_995) } else { (299_985, 0) };
        assert_eq!((spent.read, spent.mapped), (read, map), "seals {seals}");
    }
}

#[test]
fn inspecting_finds_a_file_in_every_position() {
    let bytes = pattern(70_000);
    for (front, back) in [(0, 0), (10, 0), (0, 10), (10, 10)] {
        let open = || {
            let mut buf = Evbuffer::new();
            buf.add(&vec![b'F'; front]).expect("added");
            buf.add_file(file_with(&bytes), 0, None).expect("added");
            buf.add(&vec![b'B'; back]).expect("added");
            buf
        };
        let expected = [&vec![b'F'; front][..], &bytes, &vec![b'B'; back]].concat();
        assert!(open().pullup(expected.len()).expect("readable") == expected);
        assert!(open().remove_bytes(expected.len()).expect("readable") == expected);
        let needle = &bytes[66_000..66_040];
        let place = expected.windows(40).position(|window| window == needle);
        assert_eq!(open().search(needle, None).expect("readable").map(|found| found.offset()), place);
        let mut buf = open();
        let mut some = vec![0; 20];
        buf.copy_out_from(buf.position(front + 5).expect("inside"), &mut some).expect("readable");
        assert_eq!(some, expected[front + 5..front + 25]);
        let mut moved = Evbuffer::new();
        buf.remove_buffer(&mut moved, front + 30_000).expect("moved");
        let before = CopyStats::now();
        moved.add_buffer(&mut buf).expect("moved back");
        assert_eq!(CopyStats::now(), before, "moving a file reads nothing");
        assert!(moved.pullup(expected.len()).expect("readable") == expected);
    }
}
