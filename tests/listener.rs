//! The book's chapter "Connection listeners", over real sockets.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use support::net::{PATIENCE, any_port, run, run_for};
use zerovent::event_base::{Config, Event};
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

#[test]
fn a_panic_in_the_accept_callback_loses_that_connection_alone() {
    let mut base = base(4);
    let id = base
        .listen(any_port(), &ListenOptions::new(), |base, _, _, _| {
            count(base);
            assert!(base.context().accepted != 2, "on purpose");
        })
        .unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| connect(&base, id)).collect();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| base.dispatch()));
    assert!(unwound.is_err());
    run(&mut base);
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "an accepted socket is left open");
    }
}

#[test]
fn a_callback_may_free_all_listeners_and_make_others_in_their_places() {
    let mut base = EventBase::with_context((Vec::new(), 0)).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let id = base
            .listen(
                any_port(),
                &ListenOptions::new(),
                |base: &mut EventBase<(Vec<ListenerId>, usize)>, _, _, _| {
                    base.context_mut().1 += 1;
                    for id in std::mem::take(&mut base.context_mut().0) {
                        base.free_listener(id).unwrap();
                        base.listen(any_port(), &ListenOptions::new(), |_, _, _, _| {
                            panic!("nobody knows it")
                        })
                        .unwrap();
                    }
                },
            )
            .unwrap();
        base.context_mut().0.push(id);
        let address = base.listener(id).unwrap().address().as_inet().unwrap();
        clients.extend((0..3).map(|_| TcpStream::connect(address).unwrap()));
    }
    while base.context().1 == 0 {
        run_for(&mut base, Duration::from_millis(50));
    }
    assert_eq!(base.context().1, 1, "the others were freed before their turn, and so were their connections");
}

#[test]
fn a_listening_socket_that_breaks_is_reported_once_and_costs_nothing() {
    let mut base = EventBase::with_context(0).unwrap();
    let id = base.listen(any_port(), &ListenOptions::new(), |_, _, _, _| {}).unwrap();
    base.set_listener_error_callback(id, |base, _, _| *base.context_mut() += 1).unwrap();
    // It stops listening behind the listener's back.
    let socket = TcpStream::from(base.listener(id).unwrap().fd().try_clone_to_owned().unwrap());
    socket.shutdown(Shutdown::Read).unwrap();
    run_for(&mut base, Duration::from_millis(300));
    assert_eq!(*base.context(), 1);
    assert!(base.stats().turns < 30, "{} turns: the loop span", base.stats().turns);
    base.disable_listener(id).unwrap();
    base.dispatch().unwrap();
}

#[test]
fn a_listener_gives_way_to_what_is_more_important() {
    let mut base = EventBase::with_config(&Config::new().priorities(2), Vec::new()).unwrap();
    let low = ListenOptions::new().priority(1);
    let id = base.listen(any_port(), &low, |base, _, _, _| base.context_mut().push("connection")).unwrap();
    let event =
        base.new_event(Event::timer().priority(0), |base, _, _| base.context_mut().push("event")).unwrap();
    base.add(event, Some(Duration::ZERO)).unwrap();
    let address = base.listener(id).unwrap().address().as_inet().unwrap();
    let _client = TcpStream::connect(address).unwrap();
    while base.context().len() < 2 {
        run_for(&mut base, Duration::from_millis(50));
    }
    assert_eq!(base.context()[..], ["event", "connection"]);
    let none = base.listen(any_port(), &ListenOptions::new().priority(2), |_, _, _, _| {});
    assert!(matches!(none, Err(Error::OutOfRange)));
}
