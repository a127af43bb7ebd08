//! Buffers and descriptors: many runs a call, blocking and refusing descriptors, and the signal that must not come.
#![allow(unsafe_code, reason = "restoring the default of SIGPIPE has no safe interface in std")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use zerovent::{Error, Evbuffer};

fn would_block<T: std::fmt::Debug>(result: zerovent::Result<T>) -> bool {
    matches!(result, Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn thousands_of_runs_leave_in_order() {
    for runs in [1, 2, 15, 16, 17, 1023, 1024, 1025, 5000] {
        let (to, mut from) = UnixStream::pair().expect("a pair");
        let mut buf = Evbuffer::new();
        let mut expected = Vec::new();
        for index in 0..runs {
            let run = format!("{index};").into_bytes();
            expected.extend_from_slice(&run);
            buf.add_reference(run).expect("added");
        }
        let len = expected.len();
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; len];
            from.read_exact(&mut all).expect("all of it");
            all
        });
        assert_eq!(buf.write_to(&to).expect("blocking"), len);
        assert!(reader.join().expect("done") == expected, "{runs} runs");
    }
}

/// Each send on a socket that keeps records is a record, so they can be counted.
#[test]
fn many_runs_leave_in_as_few_calls_as_the_kernel_allows() {
    for (runs, calls) in [(1, 1), (17, 1), (1024, 1), (1025, 2), (5000, 5)] {
        let (to, from) = record_pair();
        let mut buf = Evbuffer::new();
        for _ in 0..runs {
            buf.add_reference(&b"run"[..]).expect("added");
        }
        assert_eq!(buf.write_to(&to).expect("room in the socket"), 3 * runs);
        drop(to);
        let mut records = 0;
        let mut from = std::fs::File::from(from);
        let mut record = [0; 4096];
        while from.read(&mut record).expect("readable") > 0 {
            records += 1;
        }
        assert_eq!(records, calls, "{runs} runs");
    }
}

fn record_pair() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    let done = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, ends.as_mut_ptr()) };
    assert_eq!(done, 0, "socketpair");
    // SAFETY: the call succeeded, so these are new descriptors that belong to nobody.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) }).into()
}

#[test]
fn a_full_socket_takes_a_part_and_then_blocks() {
    let (to, mut from) = UnixStream::pair().expect("a pair");
    to.set_nonblocking(true).expect("non-blocking");
    let data: Vec<u8> = (0..4 << 20).map(|at| (at / 7) as u8).collect();
    let mut buf = Evbuffer::new();
    buf.add(&data[..1 << 20]).expect("added");
    buf.add_reference(data[1 << 20..].to_vec()).expect("added");
    let mut arrived = Vec::new();
    while !buf.is_empty() {
        let before = buf.len();
        let count = buf.write_to(&to).expect("there is room");
        assert!(count > 0 && buf.len() == before - count);
        if !buf.is_empty() {
            assert!(would_block(buf.write_to(&to)), "a full socket takes nothing");
        }
        let mut part = vec![0; count];
        from.read_exact(&mut part).expect("what was sent");
        arrived.extend(part);
    }
    assert!(arrived == data);
}

#[test]
fn a_full_pipe_blocks_too() {
    let (mut from, to) = std::io::pipe().expect("a pipe");
    let flags = libc::O_NONBLOCK;
    let number = std::os::fd::AsRawFd::as_raw_fd(&to);
    // SAFETY: F_SETFL takes an integer and touches no memory.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_SETFL, flags) }, 0);
    let mut buf = Evbuffer::new();
    buf.add(&vec![7; 1 << 20]).expect("added");
    let count = buf.write_to(&to).expect("there is room");
    assert!(count > 0 && count < 1 << 20);
    assert!(would_block(buf.write_to(&to)));
    from.read_exact(&mut vec![0; count]).expect("what was written");
    assert!(buf.write_to(&to).expect("room again") > 0);
}

#[test]
fn reading_fills_the_tailroom_first_and_stops_at_the_maximum() {
    let (from, mut to) = UnixStream::pair().expect("a pair");
    let data: Vec<u8> = (0..150_000).map(|at| (at / 3) as u8).collect();
    to.write_all(&data).expect("room in the socket");
    let mut buf = Evbuffer::new();
    for max in [1, 10, 300, 4096, 50_000] {
        let before = buf.len();
        assert_eq!(buf.read_from(&from, max).expect("readable"), max);
        assert_eq!(buf.len(), before + max);
    }
    let len = buf.len();
    assert!(buf.pullup(len).expect("there") == &data[..len]);
    let count = buf.read_from(&from, usize::MAX).expect("readable");
    assert!(count >= 64 * 1024);
    from.set_nonblocking(true).expect("non-blocking");
    while buf.len() < data.len() {
        buf.read_from(&from, usize::MAX).expect("readable");
    }
    assert!(would_block(buf.read_from(&from, 1)));
    drop(to);
    assert_eq!(buf.read_from(&from, 100).expect("the end"), 0);
    assert!(buf.pullup(data.len()).expect("there") == data);
}

#[test]
fn nothing_to_do_costs_nothing_and_is_no_error() {
    let (from, to) = UnixStream::pair().expect("a pair");
    let mut buf = Evbuffer::new();
    assert_eq!(buf.write_to(&to).expect("empty"), 0);
    assert_eq!(buf.read_from(&from, 0).expect("nothing asked"), 0);
    buf.add(b"x").expect("added");
    assert_eq!(buf.write_to_at_most(&to, 0).expect("nothing allowed"), 0);
    assert_eq!(buf.len(), 1);
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// Interrupts the calling thread for as long as `work` takes, with a signal whose handler does not restart calls;
/// returns how often.
fn bombarded(work: impl FnOnce()) -> usize {
    // SAFETY: all-zero bytes are a valid `sigaction`: no flags (SA_RESTART is none of them), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = do_nothing as *const () as usize;
    // SAFETY: the handler does nothing, so it is safe to be called at any time.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) }, 0);
    // SAFETY: no preconditions.
    let target = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let gunner = scope.spawn(|| {
            let mut shots = 0;
            while !done.load(Ordering::Acquire) {
                // SAFETY: the target outlives this scope.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR2) }, 0);
                shots += 1;
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            shots
        });
        work();
        done.store(true, Ordering::Release);
        gunner.join().expect("done")
    })
}

#[test]
fn interrupted_calls_are_made_again() {
    let data: Vec<u8> = (0..8 << 20).map(|at: usize| (at / 5) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&data).expect("room for it");
    let shots = bombarded(|| {
        for way in ["memory", "file", "pipe"] {
            // In from a slow writer, and out to a slow reader, so that every call has to wait.
            let (from, mut source) = UnixStream::pair().expect("a pair");
            let (to, mut sink) = UnixStream::pair().expect("a pair");
            let copy = data.clone();
            let writer = std::thread::spawn(move || {
                for piece in copy.chunks(100_000) {
                    source.write_all(piece).expect("read in the end");
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            });
            let reader = std::thread::spawn(move || {
                let (mut all, mut piece) = (Vec::new(), vec![0; 100_000]);
                loop {
                    let count = sink.read(&mut piece).expect("readable");
                    if count == 0 {
                        return all;
                    }
                    all.extend_from_slice(&piece[..count]);
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            });
            let mut buf = Evbuffer::new();
            loop {
                let count = match way {
                    "pipe" => buf.splice_from(&from, usize::MAX),
                    _ => buf.read_from(&from, usize::MAX),
                };
                if count.expect("an interrupted call is no error") == 0 {
                    break;
                }
            }
            assert_eq!(buf.len(), data.len());
            if way == "file" {
                buf = Evbuffer::new();
                buf.add_file(file.try_clone().expect("a duplicate"), 0, None).expect("added");
            }
            while !buf.is_empty() {
                buf.write_to(&to).expect("an interrupted call is no error");
            }
            drop(to);
            writer.join().expect("done");
            assert!(reader.join().expect("done") == data, "{way}");
        }
    });
    assert!(shots > 100, "{shots} interruptions");
}

/// Writes to peers that are gone, in every way there is.
fn write_to_the_dead() {
    let gone = |mut buf: Evbuffer, to: &dyn Fn(&mut Evbuffer) -> zerovent::Result<usize>| {
        let before = buf.len();
        let mut refused = None;
        for _ in 0..100 {
            match to(&mut buf) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Error::Io(error)) => refused = Some(error.kind()),
                Err(error) => panic!("{error}"),
            }
        }
        let kind = refused.expect("a dead peer is an error");
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind}");
        assert!(buf.len() <= before);
    };
    let memory = || {
        let mut buf = Evbuffer::new();
        buf.add(&[1; 10]).expect("added");
        buf.add_reference(vec![2; 4 << 20]).expect("added");
        buf
    };
    let file = || {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(4 << 20).expect("sparse");
        let mut buf = Evbuffer::new();
        buf.add_file(file, 0, None).expect("added");
        buf
    };
    let piped = || {
        let (from, mut to) = UnixStream::pair().expect("a pair");
        to.write_all(&[3; 10_000]).expect("room in the socket");
        let mut buf = Evbuffer::new();
        assert_eq!(buf.splice_from(&from, 10_000).expect("for splicing"), 10_000);
        buf
    };
    for make in [&memory as &dyn Fn() -> Evbuffer, &file, &piped] {
        let (to, from) = UnixStream::pair().expect("a pair");
        drop(from);
        gone(make(), &|buf| buf.write_to(&to));
        let (from, to) = std::io::pipe().expect("a pipe");
        drop(from);
        gone(make(), &|buf| buf.write_to(&to));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        to.shutdown(Shutdown::Write).expect("shut down");
        gone(make(), &|buf| buf.write_to(&to));
    }
}

const CHILD: &str = "ZEROVENT_TEST_SIGPIPE_CHILD";

/// In a child process, because the disposition of a signal is the process's, and its death is what is looked for.
#[test]
fn no_write_raises_sigpipe_whatever_its_disposition() {
    match std::env::var(CHILD).as_deref() {
        Err(_) => {
            for disposition in ["ignored", "default"] {
                let child = Command::new(std::env::current_exe().expect("this binary"))
                    .args(["--exact", "no_write_raises_sigpipe_whatever_its_disposition", "--nocapture"])
                    .env(CHILD, disposition)
                    .output()
                    .expect("it starts");
                let text = String::from_utf8_lossy(&child.stderr);
                assert_eq!(child.status.signal(), None, "{disposition}: killed; {text}");
                assert!(child.status.success(), "{disposition}: {text}");
                assert!(text.contains("all the dead were written to"), "{disposition}: {text}");
            }
        }
        Ok(disposition) => {
            if disposition == "default" {
                // SAFETY: restoring the default disposition runs no code of ours.
                unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            }
            write_to_the_dead();
            eprintln!("all the dead were written to");
        }
    }
}
