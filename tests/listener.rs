//! The book's chapter "Connection listeners", over real sockets.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use support::net::{PATIENCE, any_port, run, run_for};
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::{Error, EventBase};

/// Counts what was accepted, and stops the loop when it is enough.
#[derive(Default)]
struct Accepting {
    accepted: usize,
    wanted: usize,
}

fn base(wanted: usize) -> EventBase<Accepting> {
    EventBase::with_context(Accepting { accepted: 0, wanted }).unwrap()
}

fn count(base: &mut EventBase<Accepting>) {
    base.context_mut().accepted += 1;
    if base.context().accepted == base.context().wanted {
        base.loop_break();
    }
}

fn listen(base: &mut EventBase<Accepting>, options: &ListenOptions) -> ListenerId {
    base.listen(any_port(), options, |base, _, _, _| count(base)).unwrap()
}

fn connect(base: &EventBase<Accepting>, id: ListenerId) -> TcpStream {
    let address = base.listener(id).unwrap().address().as_inet().unwrap();
    TcpStream::connect_timeout(&address, PATIENCE).unwrap()
}

#[test]
fn every_connection_is_accepted_and_owned_by_the_callback() {
    let mut base = base(200);
    let id = base
        .listen(any_port(), &ListenOptions::new(), |base, _, fd, peer| {
            let mut stream = TcpStream::from(fd);
            assert_eq!(stream.peer_addr().unwrap(), peer.as_inet().unwrap());
            assert!(stream.nodelay().unwrap(), "small answers must not wait");
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            stream.write_all(b"!").unwrap();
            count(base);
        })
        .unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| connect(&base, id)).collect();
    run(&mut base);
    for client in &mut clients {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"!");
    }
}

#[test]
fn a_lone_connection_costs_one_accept_and_a_flood_is_taken_in_shares() {
    let mut base = base(300);
    let id = listen(&mut base, &ListenOptions::new());
    let _clients: Vec<_> = (0..300).map(|_| connect(&base, id)).collect();
    let before = base.stats().turns;
    run(&mut base);
    // 1 + 2 + 4 + ... + 64 is 127; the other 173 come in shares of 64.
    let turns = base.stats().turns - before;
    assert!((8..=14).contains(&turns), "{turns} turns for 300 connections");
}

#[test]
fn disabling_inside_the_callback_stops_at_once() {
    let mut base = base(usize::MAX);
    let id = base
        .listen(any_port(), &ListenOptions::new(), |base, id, _, _| {
            count(base);
            base.disable_listener(id).unwrap();
        })
        .unwrap();
    let _clients: Vec<_> = (0..5).map(|_| connect(&base, id)).collect();
    for expected in 1..=5 {
        base.enable_listener(id).unwrap();
        run_for(&mut base, Duration::from_millis(20));
        assert_eq!(base.context().accepted, expected);
    }
}

#[test]
fn a_listener_may_start_disabled_and_is_freed_inside_its_callback() {
    let mut base = base(usize::MAX);
    let id = base
        .listen(any_port(), &ListenOptions::new().disabled(true), |base, id, _, _| {
            count(base);
            base.free_listener(id).unwrap();
            assert!(matches!(base.listener(id), Err(Error::Stale)));
        })
        .unwrap();
    assert!(!base.listener(id).unwrap().is_enabled());
    let _clients: Vec<_> = (0..3).map(|_| connect(&base, id)).collect();
    run_for(&mut base, Duration::from_millis(20));
    assert_eq!(base.context().accepted, 0);
    base.enable_listener(id).unwrap();
    base.dispatch().unwrap();
    assert_eq!(base.context().accepted, 1);
    assert!(matches!(base.free_listener(id), Err(Error::Stale)));
}

#[test]
fn two_bases_share_a_port_only_when_both_ask_for_it() {
    let mut first = base(1);
    let shared = ListenOptions::new().reuse_port(true);
    let id = listen(&mut first, &shared);
    let address = first.listener(id).unwrap().address().clone();
    let mut second = base(1);
    second.listen(address.clone(), &shared, |base, _, _, _| count(base)).unwrap();
    let refused = second.listen(address, &ListenOptions::new(), |_, _, _, _| {});
    let Err(Error::Io(error)) = refused else { panic!("bound twice") };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn unix_sockets_are_accepted_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut base = base(1);
    let address = UnixAddr::from_pathname(&path).unwrap();
    let id = base.listen(address, &ListenOptions::new(), |base, _, _, _| count(base)).unwrap();
    assert_eq!(base.listener(id).unwrap().address().to_string(), format!("unix:{}", path.display()));
    let _client = UnixStream::connect(&path).unwrap();
    run(&mut base);
    assert_eq!(base.context().accepted, 1);
}

#[test]
fn the_accept_callback_can_be_replaced() {
    let mut base = base(usize::MAX);
    let id = listen(&mut base, &ListenOptions::new());
    base.set_accept_callback(id, |base, _, _, _| base.loop_break()).unwrap();
    let _client = connect(&base, id);
    run(&mut base);
    assert_eq!(base.context().accepted, 0);
}
