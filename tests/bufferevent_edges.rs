//! Bufferevents where it hurts: what happens in the wrong order, at the wrong moment, or to the wrong descriptor.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::time::{Duration, Instant};

use support::net::{PATIENCE, any_port, bufferevent, pattern, read_exact, run, run_for, tcp_pair};
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::{Ended, Event, Interest};
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
fn run_until_empty(base: &mut Base) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if base.run(zerovent::event_base::Run::NONBLOCK).unwrap() == Ended::Empty {
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
    run_for(&mut base, ms(80));
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
    // Level-triggered, so the bufferevent cannot be registered for edges beside it.
    let event = base.new_event(Event::fd(&far, Interest::READ), |_, _, _| {}).unwrap();
    base.add(event, None).unwrap();
    let slots = base.stats().slots;
    let refused = base.new_socket(Some(OwnedFd::from(far)), &Options::new());
    assert!(matches!(refused, Err(Error::Invalid(_))));
    base.free(event).unwrap();
    assert_eq!(base.stats().slots, slots - 1, "its slot is left behind");
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
    run_for(&mut base, ms(40));
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
