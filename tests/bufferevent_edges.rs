//! Bufferevents where it hurts: what happens in the wrong order, at the wrong moment, or to the wrong descriptor.

mod support;

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::time::{Duration, Instant};

use support::net::{PATIENCE, any_port, bufferevent, pattern, read_exact, run, run_for, run_while, tcp_pair};
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::{Ended, Interest, Run};
use zerovent::{Error, EventBase};

type Base = EventBase<Vec<String>>;

fn base() -> Base {
    EventBase::with_context(Vec::new()).unwrap()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn note_events(base: &mut Base, id: BuffereventId) {
    base.set_event_callback(id, |base, _, events| base.context_mut().push(format!("{events:?}"))).unwrap();
}

/// Runs until the loop finds nothing left to wait for; panics when it is still waiting after `PATIENCE`.
fn run_until_empty<C>(base: &mut EventBase<C>) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if base.run(Run::NONBLOCK).unwrap() == Ended::Empty {
            return;
        }
        std::thread::sleep(ms(1));
    }
    panic!("the loop still waits for something");
}

fn refusing_path(directory: &tempfile::TempDir) -> UnixAddr {
    let path = directory.path().join("nobody");
    drop(UnixListener::bind(&path).unwrap());
    UnixAddr::from_pathname(path).unwrap()
}

#[test]
fn closing_while_connecting_is_bounded_by_its_deadline() {
    let mut base = base();
    let listener = TcpListener::bind(any_port()).unwrap();
    let id = base.new_socket(None, &Options::new()).unwrap();
    base.connect(id, listener.local_addr().unwrap()).unwrap();
    base.bufferevent(id).unwrap().write(b"last words").unwrap();
    base.free_after_flush(id, ms(100)).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    // The peer never closes its side.
    run_until_empty(&mut base);
    assert_eq!(read_exact(&mut accepted, 10), b"last words");
}

#[test]
fn a_closing_bufferevent_forgets_its_timeouts() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().set_timeouts(Some(ms(20)), Some(ms(20)));
    base.free_after_flush(id, ms(400)).unwrap();
    let begun = Instant::now();
    peer.write_all(b"one more thing").unwrap();
    base.dispatch().unwrap();
    assert!(begun.elapsed() >= ms(400), "it lingers for as long as it was told");
    assert!(base.stats().turns < 20, "{} turns: the loop span", base.stats().turns);
}

#[test]
fn a_timeout_of_what_was_disabled_in_the_same_turn_is_not_told() {
    let mut base = EventBase::with_context((Vec::new(), 0)).unwrap();
    let pairs: Vec<_> = (0..2).map(|_| bufferevent(&mut base, &Options::new())).collect();
    base.context_mut().0 = pairs.iter().map(|(id, _)| *id).collect();
    for (id, _) in &pairs {
        let bufferevent = base.bufferevent(*id).unwrap();
        bufferevent.set_timeouts(Some(ms(30)), None);
        bufferevent.enable(Interest::READ);
        base.set_event_callback(*id, |base, _, events| {
            assert_eq!(events, BevEvents::TIMEOUT | BevEvents::READING);
            base.context_mut().1 += 1;
            for id in base.context().0.clone() {
                base.bufferevent(id).unwrap().disable(Interest::READ);
            }
        })
        .unwrap();
    }
    run_until_empty(&mut base);
    assert_eq!(base.context().1, 1, "the second had been disabled before its turn");
}

#[test]
fn a_timeout_counts_from_the_reading_and_not_from_when_the_turn_began() {
    let mut base = EventBase::with_context(None).unwrap();
    let (slow, mut first) = bufferevent(&mut base, &Options::new());
    let (quick, mut second) = bufferevent(&mut base, &Options::new());
    base.set_read_callback(slow, |_, _| std::thread::sleep(ms(200))).unwrap();
    base.bufferevent(quick).unwrap().set_timeouts(Some(ms(150)), None);
    base.set_read_callback(quick, |base, _| *base.context_mut() = Some(Instant::now())).unwrap();
    base.set_event_callback(quick, |base, _, _| {
        let read: Instant = base.context().expect("it had something to read");
        assert!(read.elapsed() >= ms(150), "early: {:?}", read.elapsed());
        base.loop_break();
    })
    .unwrap();
    for id in [slow, quick] {
        base.bufferevent(id).unwrap().enable(Interest::READ);
    }
    first.write_all(b"x").unwrap();
    second.write_all(b"x").unwrap();
    run(&mut base);
}

#[test]
fn a_bufferevent_that_cannot_be_made_closes_its_socket() {
    let mut base = base();
    let (mut near, far) = tcp_pair();
    let slots = base.stats().slots;
    let refused = base.new_socket(Some(OwnedFd::from(far)), &Options::new().priority(200));
    assert!(matches!(refused, Err(Error::OutOfRange)));
    assert_eq!(base.stats().slots, slots, "a slot is left behind");
    assert_eq!(near.read(&mut [0]).unwrap(), 0, "its socket is still open");
}

#[test]
fn a_callback_that_connects_again_and_is_refused_at_once_does_not_hold_the_loop_up() {
    let directory = tempfile::tempdir().unwrap();
    let address = refusing_path(&directory);
    let mut base = EventBase::with_context(0).unwrap();
    let id = base.new_socket(None, &Options::new()).unwrap();
    let again = address.clone();
    base.set_event_callback(id, move |base, id, events| {
        assert_eq!(events, BevEvents::ERROR);
        *base.context_mut() += 1;
        assert!(*base.context() < 1_000_000, "nobody else gets a turn");
        base.connect(id, again.clone()).unwrap();
    })
    .unwrap();
    base.connect(id, address).unwrap();
    run_for(&mut base, ms(50));
    assert!(*base.context() > 1, "it is told each time");
}

#[test]
fn what_happened_while_nobody_listened_is_not_told_with_what_happens_later() {
    let mut base = base();
    let (id, peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_timeouts(Some(ms(10)), None);
    bufferevent.enable(Interest::READ);
    run_until_empty(&mut base);
    assert!(!base.bufferevent(id).unwrap().enabled().contains(Interest::READ), "it timed out");
    note_events(&mut base, id);
    base.bufferevent(id).unwrap().enable(Interest::READ);
    drop(peer);
    base.dispatch().unwrap();
    assert_eq!(base.context()[..], ["BevEvents(READING | EOF)"]);
}

#[test]
fn the_outcome_of_a_connect_is_told_to_a_callback_that_is_set_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut base = base();
    let refusing = base.new_socket(None, &Options::new()).unwrap();
    base.connect(refusing, refusing_path(&directory)).unwrap();
    note_events(&mut base, refusing);
    base.dispatch().unwrap();
    let accepting = base.new_socket(None, &Options::new()).unwrap();
    base.connect(accepting, UnixAddr::from_pathname(&path).unwrap()).unwrap();
    note_events(&mut base, accepting);
    base.dispatch().unwrap();
    assert_eq!(base.context()[..], ["BevEvents(ERROR)", "BevEvents(CONNECTED)"]);
}

#[test]
fn a_low_mark_above_the_high_one_does_not_stop_the_stream() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_watermark(Interest::READ, 1000, 500);
    bufferevent.enable(Interest::READ);
    base.set_read_callback(id, |base, id| {
        let mut bytes = [0; 1000];
        let count = base.bufferevent(id).unwrap().read(&mut bytes).unwrap();
        base.context_mut().push(count.to_string());
        if base.context().len() == 2 {
            base.loop_break();
        }
    })
    .unwrap();
    peer.write_all(&pattern(1000, 1)).unwrap();
    run(&mut base);
    assert_eq!(base.context()[..], ["500", "500"]);
}

#[test]
fn a_suspended_reader_does_not_keep_the_loop_alive() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_watermark(Interest::READ, 0, 10);
    bufferevent.enable(Interest::READ);
    peer.write_all(&[0; 100]).unwrap();
    run_until_empty(&mut base);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 10);
    base.bufferevent(id).unwrap().set_watermark(Interest::READ, 0, 0);
    note_events(&mut base, id);
    drop(peer);
    run_until_empty(&mut base);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 100, "raising the mark takes reading up again");
    assert_eq!(base.context()[..], ["BevEvents(READING | EOF)"]);
}

#[test]
fn a_panic_while_one_is_settled_loses_no_other() {
    let mut base = base();
    let pairs: Vec<_> = (0..3).map(|_| bufferevent(&mut base, &Options::new())).collect();
    for (id, _) in &pairs {
        base.bufferevent(*id).unwrap().write(b"before").unwrap();
    }
    let (bad, _) = pairs[0];
    let output = base.bufferevent(bad).unwrap().output();
    output.add_reference_with_cleanup(&b"bang"[..], |_| panic!("on purpose")).unwrap();
    output.add(b"after").unwrap();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| base.dispatch()));
    assert!(unwound.is_err());
    run_until_empty(&mut base);
    for (id, mut peer) in pairs {
        let expected = if id == bad { &b"beforebangafter"[..] } else { b"before" };
        assert!(base.bufferevent(id).unwrap().output().is_empty());
        assert_eq!(read_exact(&mut peer, expected.len()), expected);
    }
}

/// Every descriptor that is not a connected socket: an error or the end, told, and never a loop that spins or hangs.
#[test]
fn strange_descriptors_are_errors_and_not_endless_loops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"content").unwrap();
    let regular = || OwnedFd::from(std::fs::File::open(&path).unwrap());
    let listening = TcpListener::bind(any_port()).unwrap();
    listening.set_nonblocking(true).unwrap();
    let (near, _far) = tcp_pair();
    near.set_nonblocking(true).unwrap();
    near.shutdown(std::net::Shutdown::Both).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (gone_reader, gone_writer) = std::io::pipe().unwrap();
    drop(gone_writer);
    let descriptors: [(&str, OwnedFd, bool); 7] = [
        ("a regular file", regular(), false),
        ("a regular file, written to", regular(), true),
        ("a listening socket", listening.try_clone().unwrap().into(), false),
        ("a listening socket, written to", listening.into(), true),
        ("a socket that was shut down", near.into(), false),
        ("a pipe that nobody reads", writer.into(), true),
        ("a pipe that nobody writes", gone_reader.into(), false),
    ];
    for (name, fd, write) in descriptors {
        let mut base = base();
        let id = base.new_socket(Some(fd), &Options::new()).unwrap();
        note_events(&mut base, id);
        if write {
            base.bufferevent(id).unwrap().write(b"hello").unwrap();
        } else {
            base.bufferevent(id).unwrap().enable(Interest::READ);
        }
        // A listening socket says nothing until somebody connects, and so a reader waits.
        if name != "a listening socket" {
            run_while(&mut base, |base| base.context().is_empty());
        }
        run_for(&mut base, ms(20));
        base.bufferevent(id).unwrap().disable(Interest::READ | Interest::WRITE);
        assert!(base.context().len() <= 1, "{name}: {:?}", base.context());
        base.free_after_flush(id, ms(10)).unwrap();
        run_until_empty(&mut base);
    }
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_an_error_and_the_next_try_may_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let mut base = base();
    let address = UnixAddr::from_pathname(directory.path().join("socket")).unwrap();
    let options = zerovent::listener::ListenOptions::new().backlog(0).disabled(true);
    let accepted = |base: &mut Base, _, _, _| base.context_mut().push("accepted".into());
    let listener = base.listen(address.clone(), &options, accepted).unwrap();
    let ids: Vec<_> = (0..4)
        .map(|_| {
            let id = base.new_socket(None, &Options::new()).unwrap();
            note_events(&mut base, id);
            base.connect(id, address.clone()).unwrap();
            id
        })
        .collect();
    run_while(&mut base, |base| base.context().len() < ids.len());
    assert!(base.context().contains(&"BevEvents(ERROR)".to_owned()), "{:?}", base.context());
    let last = *ids.last().unwrap();
    let Some(Error::Io(error)) = base.bufferevent(last).unwrap().last_error() else { panic!("no cause") };
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    base.enable_listener(listener).unwrap();
    run_while(&mut base, |base| !base.context().contains(&"accepted".to_owned()));
    run_for(&mut base, ms(20));
    base.context_mut().clear();
    base.connect(last, address).unwrap();
    run_while(&mut base, |base| base.context().is_empty());
    assert_eq!(base.context()[0], "BevEvents(CONNECTED)");
}

#[test]
fn what_came_while_reading_was_disabled_is_found_when_it_is_enabled() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    note_events(&mut base, id);
    let sent = pattern(300_000, 3);
    peer.write_all(&sent).unwrap();
    drop(peer);
    run_for(&mut base, ms(20));
    assert!(base.context().is_empty());
    base.bufferevent(id).unwrap().enable(Interest::READ);
    run_until_empty(&mut base);
    assert_eq!(base.context()[..], ["BevEvents(READING | EOF)"]);
    let mut bytes = vec![0; sent.len() + 1];
    assert_eq!(base.bufferevent(id).unwrap().read(&mut bytes).unwrap(), sent.len());
    assert!(bytes[..sent.len()] == sent);
}

#[test]
fn a_reset_while_everything_is_disabled_is_found_by_what_is_enabled_first() {
    for direction in [Interest::READ, Interest::WRITE] {
        let mut base = base();
        let (id, peer) = bufferevent(&mut base, &Options::new());
        note_events(&mut base, id);
        let bufferevent = base.bufferevent(id).unwrap();
        bufferevent.write(b"x").unwrap();
        run_for(&mut base, ms(10));
        base.bufferevent(id).unwrap().disable(Interest::READ | Interest::WRITE);
        base.bufferevent(id).unwrap().write(b"pending").unwrap();
        // Bytes that were not read make it a reset.
        drop(peer);
        run_until_empty(&mut base);
        assert!(base.context().is_empty(), "{:?}", base.context());
        base.bufferevent(id).unwrap().enable(direction);
        run_until_empty(&mut base);
        assert_eq!(base.context().len(), 1);
        assert!(base.context()[0].contains("ERROR"), "{:?}", base.context());
        assert_eq!(base.bufferevent(id).unwrap().output().len(), 7, "what was not sent is kept");
    }
}

#[test]
fn a_callback_that_always_writes_starves_nobody() {
    let mut base = EventBase::with_context(0_u64).unwrap();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.set_write_callback(id, |base, id| {
        *base.context_mut() += 1;
        base.bufferevent(id).unwrap().write(b"again").unwrap();
    })
    .unwrap();
    base.bufferevent(id).unwrap().write(b"first").unwrap();
    let reader = std::thread::spawn(move || {
        let mut total = 0;
        while let Ok(count @ 1..) = peer.read(&mut [0; 65536]) {
            total += count as u64;
        }
        total
    });
    let (quiet, mut asker) = bufferevent(&mut base, &Options::new());
    base.bufferevent(quiet).unwrap().enable(Interest::READ);
    base.set_read_callback(quiet, |base, _| base.loop_break()).unwrap();
    asker.write_all(b"?").unwrap();
    run(&mut base);
    run_while(&mut base, |base| *base.context() < 10);
    let calls = *base.context();
    base.free_after_flush(id, PATIENCE).unwrap();
    base.free_bufferevent(quiet).unwrap();
    base.dispatch().unwrap();
    assert_eq!(reader.join().unwrap(), 5 * (calls + 1), "each call wrote once");
}

#[test]
fn a_buffer_that_was_swapped_out_leaves_a_bufferevent_that_works() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().enable(Interest::READ);
    for round in 0..3_u8 {
        peer.write_all(&[round; 2000]).unwrap();
        run_while(&mut base, |base| base.bufferevent(id).unwrap().input().len() < 2000);
        let mut taken = std::mem::take(base.bufferevent(id).unwrap().input());
        assert_eq!(taken.pullup(2000).unwrap(), [round; 2000]);
        let mut mine = zerovent::Evbuffer::new();
        mine.add(&[round; 3000]).unwrap();
        std::mem::swap(base.bufferevent(id).unwrap().output(), &mut mine);
        run_while(&mut base, |base| !base.bufferevent(id).unwrap().output().is_empty());
        assert_eq!(read_exact(&mut peer, 3000), [round; 3000]);
        base.bufferevent(id).unwrap().input().freeze(zerovent::buffer::End::Front);
        run_for(&mut base, ms(10));
        assert!(matches!(base.bufferevent(id).unwrap().input().prepend(b"x"), Err(Error::Frozen)));
        base.bufferevent(id).unwrap().input().unfreeze(zerovent::buffer::End::Front);
    }
}

#[test]
fn callbacks_come_in_order_and_each_may_free_it_twice_over() {
    type Names = EventBase<Vec<&'static str>>;
    for deferred in [false, true] {
        for free_at in ["connected", "read", "write", "end", "never"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("socket");
            let listener = UnixListener::bind(&path).unwrap();
            let mut base: Names = EventBase::with_context(Vec::new()).unwrap();
            let id = base.new_socket(None, &Options::new().deferred(deferred)).unwrap();
            let note = move |base: &mut Names, name: &'static str| {
                base.context_mut().push(name);
                if name == free_at {
                    base.free_bufferevent(id).unwrap();
                    assert!(matches!(base.free_bufferevent(id), Err(Error::Stale)));
                    assert!(matches!(base.free_after_flush(id, PATIENCE), Err(Error::Stale)));
                }
            };
            base.set_read_callback(id, move |base, _| note(base, "read")).unwrap();
            base.set_write_callback(id, move |base, _| note(base, "write")).unwrap();
            base.set_event_callback(id, move |base, _, events| {
                let connected = events == BevEvents::CONNECTED;
                note(base, if connected { "connected" } else { "end" });
            })
            .unwrap();
            base.connect(id, UnixAddr::from_pathname(&path).unwrap()).unwrap();
            let bufferevent = base.bufferevent(id).unwrap();
            bufferevent.write(b"hello").unwrap();
            bufferevent.enable(Interest::READ);
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.write_all(b"hello").unwrap();
            accepted.shutdown(std::net::Shutdown::Write).unwrap();
            base.dispatch().unwrap();
            let called = base.context();
            assert!(called.iter().all(|name| called.iter().filter(|other| other == &name).count() == 1));
            assert_eq!(called[0], "connected");
            let read = called.iter().position(|&name| name == "read");
            let end = called.iter().position(|&name| name == "end");
            assert!(end.is_none() || read < end, "{called:?}");
            assert_eq!(called.last() == Some(&free_at), free_at != "never", "{called:?}");
        }
    }
}

#[test]
fn one_byte_at_a_time_and_extreme_settings_lose_nothing() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_max_single_read(1);
    bufferevent.set_max_single_write(1);
    bufferevent.set_watermark(Interest::READ, usize::MAX, usize::MAX);
    bufferevent.set_timeouts(Some(Duration::MAX), Some(Duration::ZERO));
    bufferevent.enable(Interest::READ);
    let sent = pattern(3000, 9);
    bufferevent.write(&sent).unwrap();
    peer.write_all(&sent).unwrap();
    run_while(&mut base, |base| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        input.len() < 3000 || !output.is_empty()
    });
    assert_eq!(read_exact(&mut peer, 3000), sent);
    base.bufferevent(id).unwrap().set_max_single_read(usize::MAX);
    base.bufferevent(id).unwrap().set_max_single_write(usize::MAX);
    peer.write_all(&sent).unwrap();
    note_events(&mut base, id);
    drop(peer);
    run_until_empty(&mut base);
    let mut bytes = vec![0; 7000];
    assert_eq!(base.bufferevent(id).unwrap().read(&mut bytes).unwrap(), 6000);
    assert!(bytes[..3000] == sent && bytes[3000..6000] == sent);
    assert_eq!(base.context()[..], ["BevEvents(READING | EOF)"]);
}

#[test]
fn closing_what_never_was_connected_ends_at_once() {
    let mut base = base();
    let slots = base.stats().slots;
    let id = base.new_socket(None, &Options::new()).unwrap();
    base.bufferevent(id).unwrap().write(b"to nobody").unwrap();
    base.free_after_flush(id, PATIENCE).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(base.stats().slots, slots);
}

#[test]
fn callbacks_that_are_cleared_while_due_are_not_made() {
    for options in [Options::new(), Options::new().deferred(true)] {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        base.set_read_callback(id, |base, id| {
            base.context_mut().push("read".into());
            base.clear_callbacks(id).unwrap();
        })
        .unwrap();
        base.set_event_callback(id, |_, _, _| panic!("it had been cleared")).unwrap();
        base.bufferevent(id).unwrap().enable(Interest::READ);
        peer.write_all(b"x").unwrap();
        drop(peer);
        base.dispatch().unwrap();
        assert_eq!(base.context()[..], ["read"]);
    }
}

#[test]
fn what_stands_behind_the_mark_of_urgent_data_is_read_without_another_edge() {
    let mut base = base();
    let (id, peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().enable(Interest::READ);
    base.set_read_callback(id, |base, id| {
        if base.bufferevent(id).unwrap().input().len() == 11 {
            base.loop_break();
        }
    })
    .unwrap();
    for (bytes, flags) in [(&b"before"[..], 0), (b"!", libc::MSG_OOB), (b"after", 0)] {
        // SAFETY: the bytes are readable, and the descriptor is open for as long as `peer` lives.
        #[allow(unsafe_code, reason = "std cannot send urgent data")]
        let sent = unsafe { libc::send(peer.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        assert_eq!(sent, bytes.len() as isize);
    }
    run(&mut base);
}

#[test]
fn an_idle_bufferevent_over_a_file_does_not_keep_the_loop_busy() {
    let mut base = base();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"twelve bytes").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let id = base.new_socket(Some(OwnedFd::from(file)), &Options::new()).unwrap();
    let turns = base.stats().turns;
    run_for(&mut base, ms(100));
    assert!(base.stats().turns - turns < 20, "{} turns with nothing to do", base.stats().turns - turns);
    note_events(&mut base, id);
    base.bufferevent(id).unwrap().enable(Interest::READ);
    base.dispatch().unwrap();
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 12);
    assert_eq!(base.context(), &["BevEvents(READING | EOF)"]);
}

#[test]
fn what_a_callback_writes_leaves_before_the_loop_waits_again() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    peer.set_nonblocking(true).unwrap();
    // Something to wait for after the write.
    let later = base.new_timer(|_, _, _| {}).unwrap();
    let write = move |base: &mut EventBase<Vec<String>>, _, _| {
        base.context_mut().push("called".to_owned());
        base.bufferevent(id).unwrap().write(b"sent").unwrap();
        base.add(later, Some(Duration::from_millis(20))).unwrap();
    };
    let writer = base.new_timer(write).unwrap();
    base.add(writer, Some(Duration::from_millis(5))).unwrap();
    base.new_prepare_watcher(move |base, _, _| {
        let mut bytes = [0; 8];
        if let Ok(len) = peer.read(&mut bytes) {
            base.context_mut().push(String::from_utf8_lossy(&bytes[..len]).into_owned());
        }
        base.context_mut().push("waits".to_owned());
    });
    base.dispatch().unwrap();
    let told: Vec<&str> = base.context().iter().map(String::as_str).collect();
    let called = told.iter().position(|word| *word == "called").unwrap();
    assert_eq!(told[called..][..3], ["called", "sent", "waits"], "{told:?}");
}
