//! A host with several addresses: which of them is connected to, and that nothing of the other attempts is left.

mod support;

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::net::{Told, any_port, connecting, dead, open_descriptors, run, server};
use zerovent::bufferevent::{BevEvents, BuffereventId};
use zerovent::event_base::{Ended, Interest};
use zerovent::{Error, EventBase};

/// The tests count the descriptors of the process, so each of them runs alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server whose queue is full: the kernel lets whoever connects wait. The streams fill the queue.
fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&any_port().into()).unwrap();
    socket.listen(0).unwrap();
    let server = TcpListener::from(socket);
    let address = server.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    (server, queue, address)
}

#[test]
fn of_ten_addresses_the_last_works() {
    let _alone = alone();
    let (server, address) = server();
    let (mut base, id) = connecting();
    let descriptors = open_descriptors();
    let addresses = (0..9).map(|_| dead()).chain([address]);
    base.connect_any(id, addresses).unwrap();
    let start = Instant::now();
    run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
    assert!(start.elapsed() < Duration::from_secs(2), "a refusal makes room for the next at once");
    assert_eq!(open_descriptors(), descriptors + 1, "the sockets of the losers are closed");
    assert_connected(&mut base, id, &server);
}

/// Accepts the connection and sees that bytes arrive.
fn assert_connected(base: &mut EventBase<Told>, id: BuffereventId, server: &TcpListener) {
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"x").unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    base.set_read_callback(id, |base, _| base.loop_break()).unwrap();
    run(base);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 1);
}

#[test]
fn ipv6_is_tried_first_when_it_comes_first_and_ipv4_when_it_is_refused() {
    let _alone = alone();
    let (server, address) = server();
    let (mut base, id) = connecting();
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, dead().port()));
    base.connect_any(id, [v6, address]).unwrap();
    run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
    assert_connected(&mut base, id, &server);
}

#[test]
fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
    let _alone = alone();
    let (_silent, _queue, silence) = silent();
    let (server, address) = server();
    let (mut base, id) = connecting();
    let start = Instant::now();
    base.connect_any(id, [silence, address]).unwrap();
    run(&mut base);
    assert!(start.elapsed() >= Duration::from_millis(250), "the first address had its time");
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
    let fd = base.bufferevent(id).unwrap().fd().unwrap().try_clone_to_owned().unwrap();
    assert_eq!(TcpStream::from(fd).peer_addr().unwrap(), address);
    assert_connected(&mut base, id, &server);
}

#[test]
fn when_every_address_refuses_it_is_told_once_with_the_reason() {
    let _alone = alone();
    let (mut base, id) = connecting();
    let descriptors = open_descriptors();
    base.connect_any(id, [dead(), dead(), dead()]).unwrap();
    run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::ERROR));
    let bufferevent = base.bufferevent(id).unwrap();
    let Some(Error::Io(error)) = bufferevent.last_error() else { panic!("an error of the system") };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!((bufferevent.dns_error(), bufferevent.fd().is_none()), (None, true));
    *base.context_mut() = None;
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!((*base.context(), open_descriptors()), (None, descriptors));
}

#[test]
fn the_write_timeout_bounds_the_connecting() {
    let _alone = alone();
    let (_silent, _queue, silence) = silent();
    let (mut base, id) = connecting();
    base.bufferevent(id).unwrap().set_timeouts(None, Some(Duration::from_millis(50)));
    base.connect_any(id, [silence, silence]).unwrap();
    run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::TIMEOUT | BevEvents::WRITING));
    let descriptors = open_descriptors();
    base.free_bufferevent(id).unwrap();
    assert_eq!(open_descriptors(), descriptors - 1, "the attempt under way is closed");
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn freed_in_the_middle_of_a_race_it_leaves_nothing_open() {
    let _alone = alone();
    let (_silent, _queue, silence) = silent();
    let (mut base, id) = connecting();
    let (descriptors, slots) = (open_descriptors(), base.stats().slots);
    base.connect_any(id, [silence, silence, silence]).unwrap();
    base.loop_exit(Some(Duration::from_millis(300))).unwrap();
    base.dispatch().unwrap();
    assert_eq!(open_descriptors(), descriptors + 2, "the second attempt began beside the first");
    base.free_bufferevent(id).unwrap();
    assert_eq!((open_descriptors(), base.stats().slots), (descriptors, slots - 1));
    base.dispatch().unwrap();
    assert_eq!(*base.context(), None);
}

#[test]
fn freed_after_flush_with_a_host_that_is_silent_it_ends_in_time() {
    let _alone = alone();
    let (_silent, _queue, silence) = silent();
    let (mut base, id) = connecting();
    let descriptors = open_descriptors();
    base.connect_any(id, [silence, silence]).unwrap();
    base.bufferevent(id).unwrap().write(b"nobody reads this").unwrap();
    base.free_after_flush(id, Duration::from_millis(50)).unwrap();
    let start = Instant::now();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(open_descriptors(), descriptors);
}
