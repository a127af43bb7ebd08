//! The book's chapter "Bufferevents: concepts and basics", over real TCP connections.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::net::{any_port, bufferevent, pattern, read_exact, run, run_for, run_while};
use zerovent::bufferevent::{BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::{Error, EventBase};

/// What the callbacks of a test saw, in order.
#[derive(Default)]
struct Seen {
    calls: Vec<String>,
    bytes: Vec<u8>,
}

type Base = EventBase<Seen>;

fn base() -> Base {
    EventBase::with_context(Seen::default()).unwrap()
}

fn both_kinds() -> [Options; 2] {
    [Options::new(), Options::new().deferred(true)]
}

fn take_all(base: &mut Base, id: BuffereventId) -> usize {
    let bufferevent = base.bufferevent(id).unwrap();
    let mut bytes = vec![0; bufferevent.input().len()];
    let count = bufferevent.read(&mut bytes).unwrap();
    base.context_mut().bytes.extend_from_slice(&bytes[..count]);
    count
}

fn note_events(base: &mut Base, id: BuffereventId) {
    base.set_event_callback(id, |base, _, events| {
        base.context_mut().calls.push(format!("{events:?}"));
        base.loop_break();
    })
    .unwrap();
}

fn enable_reading(base: &mut Base, id: BuffereventId) {
    base.bufferevent(id).unwrap().enable(Interest::READ);
}

fn echo(base: &mut Base, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).unwrap().buffers();
    output.add_buffer(input).unwrap();
}

#[test]
fn what_arrives_is_echoed_in_order() {
    for options in both_kinds() {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        base.set_read_callback(id, echo).unwrap();
        note_events(&mut base, id);
        enable_reading(&mut base, id);
        let sent = pattern(3 << 20, 7);
        let expected = sent.clone();
        let client = std::thread::spawn(move || {
            let mut writer = peer.try_clone().unwrap();
            let feeder = std::thread::spawn(move || {
                writer.write_all(&sent).unwrap();
            });
            let received = read_exact(&mut peer, expected.len());
            feeder.join().unwrap();
            assert!(received == expected, "the echo differs from what was sent");
        });
        run(&mut base);
        client.join().unwrap();
        assert_eq!(base.context().calls, ["BevEvents(READING | EOF)"]);
    }
}

/// Otherwise what hundreds of connections have sent would be in memory at once.
#[test]
fn what_comes_of_much_is_sent_before_all_is_read() {
    const CONNECTIONS: usize = 40;
    let mut base = EventBase::with_context((0, 0)).unwrap();
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (id, mut peer) = bufferevent(&mut base, &Options::new());
        peer.write_all(&[b'x'; 16 * 1024]).unwrap();
        base.bufferevent(id).unwrap().enable(Interest::READ);
        peers.push((id, peer));
    }
    let first = peers[0].1.try_clone().unwrap();
    first.set_nonblocking(true).unwrap();
    let first = std::rc::Rc::new(first);
    for (id, _) in &peers {
        let first = std::rc::Rc::clone(&first);
        base.set_read_callback(*id, move |base, id| {
            let (input, output) = base.bufferevent(id).unwrap().buffers();
            output.add_buffer(input).unwrap();
            let (called, called_unanswered) = base.context_mut();
            *called += 1;
            if first.peek(&mut [0]).is_err() {
                *called_unanswered += 1;
            }
        })
        .unwrap();
    }
    run_while(&mut base, |base| base.context().0 < CONNECTIONS);
    let (_, called_unanswered) = *base.context();
    assert!(called_unanswered < CONNECTIONS - 8, "{called_unanswered} calls before the first answer");
}

#[test]
fn the_low_mark_holds_the_read_callback_back() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().set_watermark(Interest::READ, 5, 0);
    base.set_read_callback(id, |base, id| {
        let count = take_all(base, id);
        base.context_mut().calls.push(count.to_string());
        base.loop_break();
    })
    .unwrap();
    enable_reading(&mut base, id);
    peer.write_all(b"1234").unwrap();
    run_for(&mut base, Duration::from_millis(50));
    assert!(base.context().calls.is_empty(), "called below the mark");
    peer.write_all(b"5").unwrap();
    run(&mut base);
    assert_eq!(base.context().calls, ["5"]);
}

#[test]
fn the_high_mark_suspends_reading_without_spinning_and_draining_resumes_it() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().set_watermark(Interest::READ, 0, 1000);
    base.set_read_callback(id, |base, _| base.context_mut().calls.push("read".into())).unwrap();
    enable_reading(&mut base, id);
    peer.write_all(&pattern(5000, 1)).unwrap();
    run_for(&mut base, Duration::from_millis(50));
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 1000);
    assert_eq!(base.context().calls.len(), 1, "one callback for one arrival");

    let turns = base.stats().turns;
    run_for(&mut base, Duration::from_millis(100));
    assert!(base.stats().turns - turns < 10, "a suspended reader must cost nothing");
    assert_eq!(base.context().calls.len(), 1);

    let mut received = Vec::new();
    while received.len() < 5000 {
        take_all(&mut base, id);
        received = base.context().bytes.clone();
        run_for(&mut base, Duration::from_millis(20));
        assert!(base.bufferevent(id).unwrap().input().len() <= 1000, "the mark was passed");
    }
    assert_eq!(received, pattern(5000, 1));
}

#[test]
fn the_write_callback_comes_when_the_output_has_left_and_never_before_there_was_any() {
    for options in both_kinds() {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        base.set_write_callback(id, |base, id| {
            assert!(base.bufferevent(id).unwrap().output().is_empty());
            base.context_mut().calls.push("write".into());
            base.loop_break();
        })
        .unwrap();
        base.bufferevent(id).unwrap().enable(Interest::READ | Interest::WRITE);
        run_for(&mut base, Duration::from_millis(30));
        assert!(base.context().calls.is_empty(), "nothing had been written");
        base.bufferevent(id).unwrap().write(b"hello").unwrap();
        run(&mut base);
        assert_eq!(read_exact(&mut peer, 5), b"hello");
        assert_eq!(base.context().calls, ["write"]);
    }
}

#[test]
fn a_write_low_mark_brings_the_callback_earlier() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_watermark(Interest::WRITE, 1 << 20, 0);
    bufferevent.set_max_single_write(256 << 10);
    bufferevent.write(&pattern(2 << 20, 3)).unwrap();
    base.set_write_callback(id, |base, id| {
        let left = base.bufferevent(id).unwrap().output().len();
        assert!(left <= 1 << 20);
        base.context_mut().calls.push(left.to_string());
        base.loop_break();
    })
    .unwrap();
    let reader = std::thread::spawn(move || read_exact(&mut peer, 2 << 20));
    run(&mut base);
    assert_ne!(base.context().calls, ["0"], "only told when everything had left");
    base.set_write_callback(id, |base, id| {
        if base.bufferevent(id).unwrap().output().is_empty() {
            base.loop_break();
        }
    })
    .unwrap();
    run(&mut base);
    assert!(reader.join().unwrap() == pattern(2 << 20, 3));
}

#[test]
fn one_flooding_connection_does_not_starve_another() {
    let mut base = base();
    let (flood, mut flooder) = bufferevent(&mut base, &Options::new());
    let (quiet, mut asker) = bufferevent(&mut base, &Options::new());
    base.bufferevent(flood).unwrap().set_max_single_read(4096);
    for id in [flood, quiet] {
        enable_reading(&mut base, id);
    }
    base.set_read_callback(flood, |base, id| {
        let count = take_all(base, id);
        assert!(count <= 4096, "more than its share in a turn");
    })
    .unwrap();
    base.set_read_callback(quiet, |base, _| base.loop_break()).unwrap();
    flooder.write_all(&pattern(1 << 18, 5)).unwrap();
    asker.write_all(b"?").unwrap();
    run(&mut base);
    assert!(base.context().bytes.len() < 1 << 18, "the flood was read to its end first");
}

#[test]
fn what_the_shared_read_chunk_had_no_room_for_is_read_all_the_same() {
    let mut base = base();
    let (holder, mut first) = bufferevent(&mut base, &Options::new());
    let (reader, mut second) = bufferevent(&mut base, &Options::new());
    for id in [holder, reader] {
        enable_reading(&mut base, id);
    }
    // The first connection keeps 40,000 bytes of the chunk; what arrives on the second is more than the rest of it.
    first.write_all(&pattern(40_000, 1)).unwrap();
    run_for(&mut base, Duration::from_millis(30));
    second.write_all(&pattern(60_000, 2)).unwrap();
    base.bufferevent(reader).unwrap().set_watermark(Interest::READ, 60_000, 0);
    base.set_read_callback(reader, |base, _| base.loop_break()).unwrap();
    run(&mut base);
    assert_eq!(take_all(&mut base, reader), 60_000);
    assert!(base.context().bytes == pattern(60_000, 2));
}

#[test]
fn a_read_timeout_counts_only_while_reading_is_wanted() {
    let mut base = base();
    let (id, _peer) = bufferevent(&mut base, &Options::new());
    note_events(&mut base, id);
    base.bufferevent(id).unwrap().set_timeouts(Some(Duration::from_millis(40)), None);
    run_for(&mut base, Duration::from_millis(120));
    assert!(base.context().calls.is_empty(), "reading was not enabled");
    let begun = Instant::now();
    enable_reading(&mut base, id);
    run(&mut base);
    assert!(begun.elapsed() >= Duration::from_millis(40), "early");
    assert_eq!(base.context().calls, ["BevEvents(READING | TIMEOUT)"]);
    assert!(!base.bufferevent(id).unwrap().enabled().contains(Interest::READ));
}

#[test]
fn a_write_timeout_counts_while_output_waits_for_the_peer() {
    let mut base = base();
    let (id, _peer) = bufferevent(&mut base, &Options::new());
    note_events(&mut base, id);
    base.bufferevent(id).unwrap().set_timeouts(None, Some(Duration::from_millis(60)));
    run_for(&mut base, Duration::from_millis(150));
    assert!(base.context().calls.is_empty(), "there was nothing to write");
    base.bufferevent(id).unwrap().write(&vec![0; 32 << 20]).unwrap();
    run(&mut base);
    assert_eq!(base.context().calls, ["BevEvents(WRITING | TIMEOUT)"]);
    assert!(!base.bufferevent(id).unwrap().output().is_empty(), "unsent output is kept");
}

#[test]
fn the_end_comes_after_the_last_bytes_and_once() {
    for options in both_kinds() {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        base.set_read_callback(id, |base, id| {
            take_all(base, id);
            base.context_mut().calls.push("read".into());
        })
        .unwrap();
        note_events(&mut base, id);
        enable_reading(&mut base, id);
        peer.write_all(b"bye").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        run(&mut base);
        run_for(&mut base, Duration::from_millis(30));
        assert_eq!(base.context().calls.last().unwrap(), "BevEvents(READING | EOF)");
        assert_eq!(base.context().calls.iter().filter(|call| call.contains("EOF")).count(), 1);
        assert_eq!(base.context().bytes, b"bye");

        base.bufferevent(id).unwrap().write(b"still here").unwrap();
        run_for(&mut base, Duration::from_millis(30));
        assert_eq!(read_exact(&mut peer, 10), b"still here", "a half-closed connection can be answered");
    }
}

#[test]
fn a_reset_is_an_error_with_its_cause() {
    let mut base = base();
    let (id, peer) = bufferevent(&mut base, &Options::new());
    note_events(&mut base, id);
    enable_reading(&mut base, id);
    base.bufferevent(id).unwrap().write(b"unread by the peer").unwrap();
    run_for(&mut base, Duration::from_millis(20));
    // Closing with unread bytes resets the connection.
    drop(peer);
    run(&mut base);
    assert_eq!(base.context().calls, ["BevEvents(READING | ERROR)"]);
    let Some(Error::Io(error)) = base.bufferevent(id).unwrap().last_error() else { panic!("no cause") };
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_and_keeps_the_bytes() {
    let mut base = base();
    let (id, peer) = bufferevent(&mut base, &Options::new());
    note_events(&mut base, id);
    drop(peer);
    base.bufferevent(id).unwrap().write(b"first").unwrap();
    run_for(&mut base, Duration::from_millis(50));
    if base.context().calls.is_empty() {
        base.bufferevent(id).unwrap().write(b"second").unwrap();
        run(&mut base);
    }
    assert_eq!(base.context().calls, ["BevEvents(WRITING | ERROR)"]);
    assert!(!base.bufferevent(id).unwrap().output().is_empty());
}

#[test]
fn connecting_is_told_first_and_what_was_written_before_is_sent_then() {
    let mut base = base();
    let listener = TcpListener::bind(any_port()).unwrap();
    let id = base.new_socket(None, &Options::new()).unwrap();
    base.bufferevent(id).unwrap().write(b"early").unwrap();
    base.set_event_callback(id, |base, _, events| base.context_mut().calls.push(format!("{events:?}")))
        .unwrap();
    base.set_write_callback(id, |base, _| {
        base.context_mut().calls.push("write".into());
        base.loop_break();
    })
    .unwrap();
    base.connect(id, listener.local_addr().unwrap()).unwrap();
    run(&mut base);
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(read_exact(&mut accepted, 5), b"early");
    assert_eq!(base.context().calls, ["BevEvents(CONNECTED)", "write"]);
    let again = base.connect(id, listener.local_addr().unwrap());
    assert!(matches!(again, Err(Error::Invalid(_))), "it has a socket already");
}

#[test]
fn a_refused_connect_is_an_error_and_another_address_may_be_tried() {
    let mut base = base();
    let refusing = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let id = base.new_socket(None, &Options::new()).unwrap();
    note_events(&mut base, id);
    base.connect(id, refusing).unwrap();
    run(&mut base);
    assert_eq!(base.context().calls, ["BevEvents(ERROR)"]);
    let Some(Error::Io(error)) = base.bufferevent(id).unwrap().last_error() else { panic!("no cause") };
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));

    let listener = TcpListener::bind(any_port()).unwrap();
    base.connect(id, listener.local_addr().unwrap()).unwrap();
    run(&mut base);
    assert_eq!(base.context().calls, ["BevEvents(ERROR)", "BevEvents(CONNECTED)"]);
}

#[test]
fn a_connect_can_time_out() {
    let mut base = base();
    let listener = TcpListener::bind(any_port()).unwrap();
    let full = fill_backlog(&listener);
    let id = base.new_socket(None, &Options::new()).unwrap();
    note_events(&mut base, id);
    base.bufferevent(id).unwrap().set_timeouts(None, Some(Duration::from_millis(50)));
    base.connect(id, listener.local_addr().unwrap()).unwrap();
    run(&mut base);
    assert_eq!(base.context().calls, ["BevEvents(WRITING | TIMEOUT)"]);
    drop(full);
}

/// Connects until the queue of `listener` takes no more: the next connect hangs.
fn fill_backlog(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    // std listens with a backlog of 128 at least; somaxconn may be larger, so go on until one hangs.
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        streams.push(stream);
        assert!(streams.len() < 6000, "the queue never filled");
    }
    streams
}

#[test]
fn a_callback_may_free_its_bufferevent() {
    for options in both_kinds() {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        base.set_read_callback(id, |base, id| {
            base.free_bufferevent(id).unwrap();
            assert!(matches!(base.bufferevent(id), Err(Error::Stale)));
            base.loop_break();
        })
        .unwrap();
        base.set_event_callback(id, |_, _, _| panic!("called after it was freed")).unwrap();
        enable_reading(&mut base, id);
        peer.write_all(b"x").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        run(&mut base);
        assert!(matches!(base.free_bufferevent(id), Err(Error::Stale)));
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}

#[test]
fn a_callback_may_free_another_bufferevent_that_is_due_in_the_same_turn() {
    struct Two {
        ids: Vec<BuffereventId>,
        calls: usize,
    }
    for options in both_kinds() {
        let mut base = EventBase::with_context(Two { ids: Vec::new(), calls: 0 }).unwrap();
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (id, peer) = bufferevent(&mut base, &options);
            base.set_read_callback(id, |base, id| {
                let other = base.context().ids.iter().copied().find(|&other| other != id).unwrap();
                base.free_bufferevent(other).unwrap();
                base.context_mut().calls += 1;
            })
            .unwrap();
            base.bufferevent(id).unwrap().enable(Interest::READ);
            base.context_mut().ids.push(id);
            peers.push(peer);
        }
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        run_for(&mut base, Duration::from_millis(50));
        assert_eq!(base.context().calls, 1, "the freed one must not be called");
    }
}

#[test]
fn a_callback_may_replace_itself() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.set_read_callback(id, |base, id| {
        take_all(base, id);
        base.context_mut().calls.push("first".into());
        base.set_read_callback(id, |base, id| {
            take_all(base, id);
            base.context_mut().calls.push("second".into());
            base.loop_break();
        })
        .unwrap();
        base.loop_break();
    })
    .unwrap();
    enable_reading(&mut base, id);
    for _ in 0..3 {
        peer.write_all(b"x").unwrap();
        run(&mut base);
    }
    assert_eq!(base.context().calls, ["first", "second", "second"]);
}

#[test]
fn a_break_between_two_callbacks_of_one_bufferevent_loses_neither() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new().deferred(true));
    base.set_read_callback(id, |base, id| {
        take_all(base, id);
        base.loop_break();
    })
    .unwrap();
    note_events(&mut base, id);
    enable_reading(&mut base, id);
    peer.write_all(b"x").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    for _ in 0..3 {
        if base.context().calls.is_empty() {
            run(&mut base);
        }
    }
    assert_eq!(base.context().bytes, b"x");
    assert_eq!(base.context().calls, ["BevEvents(READING | EOF)"]);
}

#[test]
fn a_panic_in_a_callback_leaves_the_base_and_the_callback_usable() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.set_read_callback(id, |base, id| {
        take_all(base, id);
        if base.context().bytes.len() == 1 {
            panic!("on purpose");
        }
        base.loop_break();
    })
    .unwrap();
    enable_reading(&mut base, id);
    peer.write_all(b"1").unwrap();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| base.dispatch()));
    assert!(unwound.is_err());
    peer.write_all(b"2").unwrap();
    run(&mut base);
    assert_eq!(base.context().bytes, b"12");
}

#[test]
fn free_after_flush_sends_everything_then_ends_the_stream() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let sent = pattern(8 << 20, 11);
    base.bufferevent(id).unwrap().write(&sent).unwrap();
    base.free_after_flush(id, Duration::from_secs(20)).unwrap();
    assert!(matches!(base.bufferevent(id), Err(Error::Stale)), "its user has given it up");
    // Bytes that nobody will read must not turn the close into a reset.
    peer.write_all(b"unread").unwrap();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    base.dispatch().unwrap();
    assert!(reader.join().unwrap() == sent);
}

#[test]
fn free_after_flush_gives_up_at_its_deadline() {
    let mut base = base();
    let (id, _peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().write(&vec![0; 32 << 20]).unwrap();
    let begun = Instant::now();
    base.free_after_flush(id, Duration::from_millis(80)).unwrap();
    base.dispatch().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(80), "early");
    assert!(begun.elapsed() < Duration::from_secs(10), "not at all");
}

#[test]
fn the_loop_ends_when_no_bufferevent_waits_for_anything() {
    let mut base = base();
    let (id, peer) = bufferevent(&mut base, &Options::new());
    base.dispatch().unwrap();
    enable_reading(&mut base, id);
    base.set_event_callback(id, |base, _, events| base.context_mut().calls.push(format!("{events:?}")))
        .unwrap();
    drop(peer);
    base.dispatch().unwrap();
    assert_eq!(base.context().calls, ["BevEvents(READING | EOF)"]);
}

#[test]
fn the_ends_that_belong_to_the_transport_are_frozen() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let bufferevent = base.bufferevent(id).unwrap();
    assert!(matches!(bufferevent.input().add(b"x"), Err(Error::Frozen)));
    bufferevent.write(b"abc").unwrap();
    assert!(matches!(bufferevent.output().drain(1), Err(Error::Frozen)));
    assert!(matches!(bufferevent.output().prepend(b"x"), Err(Error::Frozen)));
    run_for(&mut base, Duration::from_millis(20));
    assert_eq!(read_exact(&mut peer, 3), b"abc");
}

#[test]
fn one_registration_serves_a_connection_for_life() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.set_read_callback(id, echo).unwrap();
    enable_reading(&mut base, id);
    let client = std::thread::spawn(move || {
        for round in 0..500u32 {
            peer.write_all(&round.to_be_bytes()).unwrap();
            assert_eq!(read_exact(&mut peer, 4), round.to_be_bytes());
        }
    });
    note_events(&mut base, id);
    run(&mut base);
    client.join().unwrap();
    assert_eq!(base.stats().changes_applied, 1, "one epoll_ctl for the whole connection");
}

#[test]
fn dropping_the_base_closes_what_it_owns() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    base.bufferevent(id).unwrap().write(b"unsent").unwrap();
    drop(base);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "output is dropped with its bufferevent");
}

/// What the callbacks of a buffer were told: how long it was, what was added, what was removed.
type Told = std::sync::Arc<std::sync::Mutex<Vec<(usize, usize, usize)>>>;

/// Has every change of `buffer` written down, in summaries.
fn note_deferred(buffer: &mut zerovent::Evbuffer) -> Told {
    let told = Told::default();
    let log = Told::clone(&told);
    buffer.defer_callbacks(true).unwrap();
    buffer
        .add_callback(move |_, change| {
            log.lock().unwrap().push((change.orig_len, change.added, change.removed));
        })
        .unwrap();
    told
}

#[test]
fn deferred_callbacks_of_both_buffers_get_one_summary_a_turn() {
    for options in both_kinds() {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &options);
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        let (arrived, sent) = (note_deferred(input), note_deferred(output));
        base.set_read_callback(id, |base, id| {
            echo(base, id);
            base.bufferevent(id).unwrap().write(b"!").unwrap();
        })
        .unwrap();
        enable_reading(&mut base, id);
        for round in 1..=3 {
            peer.write_all(b"hello").unwrap();
            run_while(&mut base, |_| arrived.lock().unwrap().len() < round);
            assert_eq!(read_exact(&mut peer, 6), b"hello!");
            assert_eq!(*arrived.lock().unwrap(), vec![(0, 5, 5); round], "arrived and echoed");
            assert_eq!(*sent.lock().unwrap(), vec![(0, 6, 6); round], "echoed, added to and sent");
        }
    }
}

#[test]
fn what_a_deferred_callback_changes_is_carried_out_and_told_in_the_next_turn() {
    let mut base = base();
    let (id, mut peer) = bufferevent(&mut base, &Options::new());
    let output = base.bufferevent(id).unwrap().output();
    let told = note_deferred(output);
    let mut answers = 3;
    output
        .add_callback(move |output, change| {
            if change.removed > 0 && answers > 0 {
                answers -= 1;
                output.add(b"more").unwrap();
            }
        })
        .unwrap();
    base.bufferevent(id).unwrap().write(b"first").unwrap();
    // Nothing but the callbacks keeps this going: the peer sends nothing, and nobody touches the bufferevent.
    run_while(&mut base, |_| told.lock().unwrap().len() < 4);
    assert_eq!(read_exact(&mut peer, 17), b"firstmoremoremore");
    let told = told.lock().unwrap();
    assert_eq!(told.iter().map(|change| change.1).sum::<usize>(), 17);
    assert_eq!(told.iter().map(|change| change.2).sum::<usize>(), 17);
}

/// An output drains to a socket; a file in it is looked at like everything else, and arrives all the same.
#[test]
fn a_file_in_the_output_can_be_looked_at_and_still_arrives() {
    let bytes = pattern(100_000, 3);
    let looks: [fn(&mut zerovent::Evbuffer, &[u8]); 5] = [
        |output, all| assert!(output.pullup(all.len()).unwrap() == all),
        |output, all| assert!(output.peek(usize::MAX).unwrap().flatten().eq(all)),
        |output, all| {
            let place = output.search(&all[70_000..70_020], None).unwrap().expect("it is there");
            assert_eq!(place.offset(), 70_000);
        },
        |output, all| {
            let mut copy = vec![0; all.len()];
            assert_eq!(output.copy_out(&mut copy).unwrap(), all.len());
            assert!(copy == all);
        },
        |output, all| {
            let mut share = zerovent::Evbuffer::new();
            share.add_buffer_reference(output).unwrap();
            assert!(share.remove_bytes(all.len()).unwrap() == all);
            assert!(matches!(output.remove_bytes(1), Err(Error::Frozen)));
        },
    ];
    for look in looks {
        let mut base = base();
        let (id, mut peer) = bufferevent(&mut base, &Options::new());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let output = base.bufferevent(id).unwrap().output();
        output.add(b"head").unwrap();
        output.add_file(file, 0, None).unwrap();
        output.add(b"tail").unwrap();
        let all = [b"head", &bytes[..], b"tail"].concat();
        look(output, &all);
        let len = all.len();
        let reader = std::thread::spawn(move || read_exact(&mut peer, len));
        run_while(&mut base, |_| !reader.is_finished());
        assert!(reader.join().unwrap() == all);
    }
}
