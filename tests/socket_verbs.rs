//! The rarer verbs of socket bufferevents: connecting with a socket of one's own, exchanging sockets, priorities, callbacks by
//! hand, closing in one direction, and writing from another thread.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::net::{self, PATIENCE};
use zerovent::bufferevent::{BevEvents, Options, Trigger};
use zerovent::event_base::{Config, Ended, Features, Interest, Run};
use zerovent::{Error, EventBase};

/// A socket that has begun to connect to `address`.
fn begun(address: SocketAddr) -> OwnedFd {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&address.into());
    socket.into()
}

#[test]
fn a_connect_that_the_caller_began_is_finished() {
    let (mut base, id) = net::connecting();
    let (_server, address) = net::server();
    base.connect_begun(id, begun(address)).unwrap();
    assert!(matches!(base.connect_begun(id, begun(address)), Err(Error::Invalid(_))));
    net::run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
}

#[test]
fn a_connect_that_the_caller_began_may_fail() {
    let (mut base, id) = net::connecting();
    base.connect_begun(id, begun(net::dead())).unwrap();
    net::run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::ERROR));
    assert!(base.bufferevent(id).unwrap().fd().is_none(), "another one may be tried");
}

#[test]
fn a_refused_socket_stays_if_asked_and_holds_nothing() {
    let mut base = EventBase::with_context(None).unwrap();
    let id = base.new_socket(None, &Options::new().keep_refused(true)).unwrap();
    base.set_event_callback(id, |base, _, events| *base.context_mut() = Some(events)).unwrap();
    base.bufferevent(id).unwrap().write(b"never sent").unwrap();
    let socket = begun(net::dead());
    let number = socket.as_raw_fd();
    base.connect_begun(id, socket).unwrap();
    assert!(base.bufferevent(id).unwrap().is_connecting());
    assert_eq!(base.dispatch().unwrap(), Ended::Empty, "nobody waits for a socket that was refused");
    assert_eq!(*base.context(), Some(BevEvents::ERROR));
    assert!(!base.bufferevent(id).unwrap().is_connecting());
    assert!(matches!(base.connect_begun(id, begun(net::dead())), Err(Error::Invalid(_))));
    let kept = base.set_bufferevent_fd(id, None).unwrap().expect("it was kept");
    assert_eq!(kept.as_raw_fd(), number);
    let (_server, address) = net::server();
    base.connect(id, address).unwrap();
    base.dispatch().unwrap();
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
}

#[test]
fn a_timeout_that_starts_anew_is_later() {
    let (most, step) = (Duration::from_millis(200), Duration::from_millis(80));
    let mut base = EventBase::new().unwrap();
    let (id, _peer) = net::bufferevent(&mut base, &Options::new());
    base.set_event_callback(id, |base, _, _| base.loop_break()).unwrap();
    base.bufferevent(id).unwrap().set_timeouts(Some(most), None);
    base.bufferevent(id).unwrap().enable(Interest::READ);
    let start = Instant::now();
    for _ in 0..3 {
        net::run_for(&mut base, step);
        base.bufferevent(id).unwrap().restart_timeouts(Interest::READ);
    }
    net::run(&mut base);
    assert!(start.elapsed() >= step * 3 + most);
}

#[test]
fn an_end_and_an_error_can_be_read_again() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (id, peer) = net::bufferevent(&mut base, &Options::new());
    base.set_event_callback(id, |base, _, events| base.context_mut().push(events)).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    // Unread bytes make the kernel reset the connection.
    base.bufferevent(id).unwrap().write(b"unread").unwrap();
    net::run_for(&mut base, Duration::from_millis(20));
    drop(peer);
    base.dispatch().unwrap();
    assert_eq!(base.context()[..], [BevEvents::ERROR | BevEvents::READING]);
    base.bufferevent(id).unwrap().enable(Interest::READ);
    net::run_for(&mut base, Duration::from_millis(20));
    assert_eq!(base.context().len(), 1, "nothing is read by itself: {:?}", base.context());
    assert_eq!(base.run(Run::empty()).unwrap(), Ended::Empty, "nor waited for");
    let end = BevEvents::EOF | BevEvents::READING;
    for told in 1..3 {
        base.bufferevent(id).unwrap().read_again();
        base.bufferevent(id).unwrap().enable(Interest::READ);
        base.dispatch().unwrap();
        assert_eq!(base.context()[1..], vec![end; told], "the error was told once");
        base.bufferevent(id).unwrap().enable(Interest::READ);
        net::run_for(&mut base, Duration::from_millis(20));
        assert_eq!(base.context().len(), 1 + told);
    }
}

#[test]
fn a_bufferevent_that_could_not_be_read_does_not_wait_for_an_end_when_it_is_closed() {
    let mut base = EventBase::with_context(false).unwrap();
    let (id, peer) = net::bufferevent(&mut base, &Options::new());
    base.set_event_callback(id, |base, _, events| {
        assert_eq!(events, BevEvents::ERROR | BevEvents::READING);
        *base.context_mut() = true;
    })
    .unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    base.bufferevent(id).unwrap().write(b"unread").unwrap();
    net::run_for(&mut base, Duration::from_millis(20));
    drop(peer);
    base.dispatch().unwrap();
    assert!(*base.context());
    base.free_after_flush(id, PATIENCE).unwrap();
    let begun = Instant::now();
    assert_eq!(base.run(Run::empty()).unwrap(), Ended::Empty);
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_socket_that_blocks_does_not_block_the_loop() {
    let mut base = EventBase::new().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let id = base.new_socket(Some(near.into()), &Options::new()).unwrap();
    // More than any socket takes while nobody reads, and nothing comes.
    base.bufferevent(id).unwrap().write(&vec![0; 8 << 20]).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    net::run_for(&mut base, Duration::from_millis(20));
    assert!(!base.bufferevent(id).unwrap().output().is_empty());
    drop(far);
}

#[test]
fn an_exchanged_socket_comes_back_and_the_buffers_stay() {
    let mut base = EventBase::new().unwrap();
    let (id, mut old_peer) = net::bufferevent(&mut base, &Options::new());
    base.set_read_callback(id, |base, _| base.loop_break()).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    old_peer.write_all(b"from the old").unwrap();
    net::run(&mut base);
    let number = base.bufferevent(id).unwrap().fd().unwrap().as_raw_fd();

    let (mut new_peer, near) = net::tcp_pair();
    let old = base.set_bufferevent_fd(id, Some(near.into())).unwrap().unwrap();
    assert_eq!(old.as_raw_fd(), number);
    new_peer.write_all(b", from the new").unwrap();
    base.bufferevent(id).unwrap().write(b"to the new").unwrap();
    old_peer.write_all(b"nobody hears it").unwrap();
    net::run(&mut base);
    assert_eq!(base.bufferevent(id).unwrap().input().pullup(26).unwrap(), b"from the old, from the new");
    assert_eq!(net::read_exact(&mut new_peer, 10), b"to the new");

    // The old one is as it was: a socket with something to be read.
    let mut bytes = [0; 15];
    TcpStream::from(old).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"nobody hears it");

    assert!(base.set_bufferevent_fd(id, None).unwrap().is_some());
    assert!(base.bufferevent_fd(id).unwrap().is_none());
    assert_eq!(base.run(Run::empty()).unwrap(), Ended::Empty, "without a socket it waits for nothing");
    base.connect(id, net::server().1).unwrap();
}

#[test]
fn a_socket_at_its_end_is_exchanged_for_one_that_goes_on() {
    let mut base = EventBase::new().unwrap();
    let (id, peer) = net::bufferevent(&mut base, &Options::new());
    base.set_event_callback(id, |base, _, _| base.loop_break()).unwrap();
    base.set_read_callback(id, |base, _| base.loop_break()).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    drop(peer);
    net::run(&mut base);
    let (mut peer, near) = net::tcp_pair();
    base.set_bufferevent_fd(id, Some(near.into())).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    peer.write_all(b"again").unwrap();
    net::run(&mut base);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 5);
}

#[test]
fn a_filter_has_the_socket_beneath_it_and_a_pair_none() {
    let mut base = EventBase::new().unwrap();
    let (id, _peer) = net::bufferevent(&mut base, &Options::new());
    let filter = base.new_filter(id, None, None, &Options::new()).unwrap();
    let top = base.new_filter(filter, None, None, &Options::new()).unwrap();
    let number = base.bufferevent(id).unwrap().fd().unwrap().as_raw_fd();
    assert_eq!(base.bufferevent_fd(top).unwrap().unwrap().as_raw_fd(), number);
    let (near, mut peer) = UnixStream::pair().unwrap();
    base.set_bufferevent_fd(top, Some(near.into())).unwrap();
    base.bufferevent(top).unwrap().write(b"through both").unwrap();
    net::run_for(&mut base, Duration::from_millis(10));
    let mut bytes = [0; 12];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"through both");

    let (half, _other) = base.new_pair(&Options::new()).unwrap();
    assert!(base.bufferevent_fd(half).unwrap().is_none());
    assert!(matches!(base.set_bufferevent_fd(half, None), Err(Error::Invalid(_))));
}

#[test]
fn a_priority_orders_callbacks() {
    let mut base = EventBase::with_config(&Config::new().priorities(3), Vec::new()).unwrap();
    let ids = [2, 0, 1].map(|priority| {
        let (id, mut peer) = net::bufferevent(&mut base, &Options::new());
        assert_eq!(base.bufferevent_priority(id).unwrap(), 1, "the middle one");
        base.set_bufferevent_priority(id, priority).unwrap();
        assert_eq!(base.bufferevent_priority(id).unwrap(), priority);
        base.set_read_callback(id, move |base, _| {
            base.context_mut().push(priority);
            if base.context().len() == 3 {
                base.loop_break();
            }
        })
        .unwrap();
        base.bufferevent(id).unwrap().enable(Interest::READ);
        peer.write_all(b"x").unwrap();
        (id, peer)
    });
    assert!(matches!(base.set_bufferevent_priority(ids[0].0, 3), Err(Error::OutOfRange)));
    net::run(&mut base);
    assert_eq!(base.context()[..], [0, 1, 2]);
}

#[test]
fn callbacks_are_made_by_hand_within_the_marks_or_in_any_case() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (id, _peer) = net::bufferevent(&mut base, &Options::new());
    base.set_read_callback(id, |base, _| base.context_mut().push("read")).unwrap();
    base.set_write_callback(id, |base, _| base.context_mut().push("write")).unwrap();
    base.set_event_callback(id, |base, _, events| {
        base.context_mut().push(if events == BevEvents::CONNECTED { "connected" } else { "events" });
    })
    .unwrap();
    let both = Interest::READ | Interest::WRITE;
    base.bufferevent(id).unwrap().set_watermark(Interest::READ, 1, 0);
    base.bufferevent(id).unwrap().trigger(both, Trigger::WithinMarks);
    assert!(base.context().is_empty(), "never from inside a call");
    base.dispatch().unwrap();
    assert_eq!(base.context()[..], ["write"]);

    base.context_mut().clear();
    base.bufferevent(id).unwrap().trigger(both, Trigger::Always);
    base.bufferevent(id).unwrap().trigger(Interest::READ, Trigger::Always);
    base.bufferevent(id).unwrap().trigger_event(BevEvents::CONNECTED | BevEvents::EOF | BevEvents::READING);
    base.dispatch().unwrap();
    assert_eq!(base.context()[..], ["connected", "read", "write", "events"]);
}

#[test]
fn the_write_half_is_shut_down_behind_the_last_byte_and_reading_goes_on() {
    let mut base = EventBase::new().unwrap();
    let (id, mut peer) = net::bufferevent(&mut base, &Options::new());
    let sent = net::pattern(4 << 20, 1);
    base.bufferevent(id).unwrap().write(&sent).unwrap();
    base.bufferevent(id).unwrap().shutdown_after_flush();
    base.set_read_callback(id, |base, _| base.loop_break()).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        peer.write_all(b"thanks").unwrap();
        received
    });
    net::run(&mut base);
    assert!(reader.join().unwrap() == sent);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 6);
}

#[test]
fn the_end_crosses_pairs_and_filters() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let top = base.new_filter(near, None, None, &Options::new()).unwrap();
    base.set_event_callback(far, |base, _, events| base.context_mut().push(events)).unwrap();
    base.bufferevent(far).unwrap().enable(Interest::READ);
    base.bufferevent(top).unwrap().write(b"last words").unwrap();
    base.bufferevent(top).unwrap().shutdown_after_flush();
    base.dispatch().unwrap();
    assert_eq!(base.bufferevent(far).unwrap().input().len(), 10);
    assert_eq!(base.context()[..], [BevEvents::EOF | BevEvents::READING]);
}

#[test]
fn a_peer_that_leaves_is_noticed_while_nothing_is_read() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (id, mut peer) = net::bufferevent(&mut base, &Options::new().tell_close(true));
    base.set_event_callback(id, |base, _, events| {
        base.context_mut().push(events);
        base.loop_break();
    })
    .unwrap();
    peer.write_all(b"unread").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    // Something else keeps the loop running: a bufferevent that does not read holds nothing.
    let timer = base.new_timer(|_, _, _| {}).unwrap();
    base.add(timer, Some(PATIENCE)).unwrap();
    if !base.features().contains(Features::EARLY_CLOSE) {
        net::run_for(&mut base, Duration::from_millis(20));
        assert!(base.context().is_empty(), "select knows of no such thing");
        return;
    }
    net::run(&mut base);
    assert_eq!(base.context()[..], [BevEvents::CLOSED]);
    base.bufferevent(id).unwrap().enable(Interest::READ);
    net::run(&mut base);
    assert_eq!(base.context()[1..], [BevEvents::EOF | BevEvents::READING]);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 6, "what came before is there");
}

#[test]
fn other_threads_write_bytes_in_order_and_to_nobody_else() {
    let mut base = EventBase::new().unwrap();
    let (id, mut peer) = net::bufferevent(&mut base, &Options::new());
    let (gone, _other) = net::bufferevent(&mut base, &Options::new());
    base.free_bufferevent(gone).unwrap();
    let remote = base.remote();
    let writer = std::thread::spawn(move || {
        for n in 0..1000_u32 {
            remote.write(id, n.to_be_bytes().to_vec()).unwrap();
            remote.write(gone, &b"to nobody"[..]).unwrap();
        }
        remote.loop_break().unwrap();
    });
    base.run(Run::NO_EXIT_ON_EMPTY).unwrap();
    writer.join().unwrap();
    let received = net::read_exact(&mut peer, 4000);
    let numbers = received.chunks(4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
    assert!(numbers.eq(0..1000));
}
