//! Hosts by name: looked up without blocking the loop, their addresses raced, and every way in which that ends.

mod support;

use std::cell::Cell;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Instant;

use support::net::{PATIENCE, Told, connecting, dead, run, server};
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Ended;
use zerovent::resolve::{Family, ResolveError};
use zerovent::{Error, EventBase};

/// A name that is nobody's (RFC 2606).
const NOBODY: &str = "no-such-host.invalid";

/// Accepts the connection and sees that bytes pass both ways.
fn assert_connected(base: &mut EventBase<Told>, id: BuffereventId, server: &TcpListener) {
    run(base);
    assert_eq!(*base.context(), Some(BevEvents::CONNECTED));
    let (mut peer, _) = server.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    base.bufferevent(id).unwrap().write(b"hello").unwrap();
    base.free_after_flush(id, PATIENCE).unwrap();
    base.run(zerovent::event_base::Run::NONBLOCK).unwrap();
    let mut hello = [0; 5];
    peer.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    drop(peer);
    base.dispatch().unwrap();
}

#[test]
fn the_loopback_has_a_name() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    base.resolve("localhost", 80, |base, answer| *base.context_mut() = answer.unwrap()).unwrap();
    assert!(base.context().is_empty(), "answers come from the loop");
    assert_eq!(
        base.dispatch().unwrap(),
        Ended::Empty,
        "the question keeps the loop running until it is answered"
    );
    assert!(!base.context().is_empty());
    assert!(base.context().iter().all(|address| address.ip().is_loopback() && address.port() == 80));
}

#[test]
fn an_address_is_its_own_answer_and_comes_from_the_loop_too() {
    let mut base = EventBase::with_context(0).unwrap();
    let id = base
        .resolve("::1", 443, |base, answer| {
            assert_eq!(answer.unwrap(), ["[::1]:443".parse().unwrap()]);
            *base.context_mut() += 1;
        })
        .unwrap();
    assert_eq!(*base.context(), 0);
    base.dispatch().unwrap();
    assert_eq!(*base.context(), 1);
    assert!(matches!(base.cancel_resolve(id), Err(Error::Stale)));
}

/// Without a name server it is `Again`, with one `NoName`.
fn is_typed(error: ResolveError) -> bool {
    assert!(!error.to_string().is_empty());
    matches!(error, ResolveError::NoName | ResolveError::Again | ResolveError::Fail)
}

#[test]
fn a_name_of_nobody_is_a_typed_error() {
    let mut base = EventBase::with_context(None).unwrap();
    base.resolve(NOBODY, 80, |base, answer| *base.context_mut() = answer.err()).unwrap();
    base.dispatch().unwrap();
    assert!(is_typed(base.context().expect("an error")), "{:?}", base.context());
    assert!(matches!(base.resolve("nul\0", 80, |_, _| {}), Err(Error::Invalid(_))));
}

#[test]
fn a_question_that_is_taken_back_is_not_answered_and_holds_nobody_up() {
    let mut base = EventBase::new().unwrap();
    let answered = Rc::new(Cell::new(false));
    for host in ["localhost", "127.0.0.1", NOBODY] {
        let answered = Rc::clone(&answered);
        let id = base.resolve(host, 80, move |_, _| answered.set(true)).unwrap();
        base.cancel_resolve(id).unwrap();
        assert!(matches!(base.cancel_resolve(id), Err(Error::Stale)));
    }
    assert_eq!(Rc::strong_count(&answered), 1, "the callbacks are dropped with their questions");
    base.dispatch().unwrap();
    assert!(!answered.get());
}

#[test]
fn a_base_is_dropped_while_names_are_looked_up() {
    let waiting = Rc::new(());
    let start = Instant::now();
    for _ in 0..20 {
        let mut base = EventBase::new().unwrap();
        for host in ["localhost", NOBODY, "localhost"] {
            let waiting = Rc::clone(&waiting);
            base.resolve(host, 80, move |_, _| panic!("the base is gone: {waiting:?}")).unwrap();
        }
    }
    assert!(start.elapsed() < PATIENCE, "dropping a base waits for nobody");
    assert_eq!(Rc::strong_count(&waiting), 1, "the callbacks are dropped with it");
}

#[test]
fn a_bufferevent_connects_by_name() {
    let (server, address) = server();
    let (mut base, id) = connecting();
    base.connect_hostname(id, Family::V4, "localhost", address.port()).unwrap();
    assert!(base.bufferevent(id).unwrap().fd().is_none());
    assert!(matches!(base.connect(id, address), Err(Error::Invalid(_))), "it is connecting already");
    assert_connected(&mut base, id, &server);
}

#[test]
fn a_numeric_host_connects_without_a_thread() {
    let (server, address) = server();
    let (mut base, id) = connecting();
    base.connect_hostname(id, Family::Any, "127.0.0.1", address.port()).unwrap();
    assert_connected(&mut base, id, &server);
}

#[test]
fn a_name_that_fails_is_told_and_another_may_be_tried() {
    let (server, address) = server();
    let (mut base, id) = connecting();
    base.connect_hostname(id, Family::Any, NOBODY, 80).unwrap();
    run(&mut base);
    assert_eq!(*base.context(), Some(BevEvents::ERROR));
    assert!(is_typed(base.bufferevent(id).unwrap().dns_error().expect("the name failed")));
    assert!(matches!(base.bufferevent(id).unwrap().last_error(), Some(Error::Resolve(_))));
    base.connect_hostname(id, Family::V6, "127.0.0.1", address.port()).unwrap();
    run(&mut base);
    assert_eq!(base.bufferevent(id).unwrap().dns_error(), Some(ResolveError::NoName), "no IPv6 address");
    base.connect_hostname(id, Family::V4, "localhost", address.port()).unwrap();
    assert_eq!(base.bufferevent(id).unwrap().dns_error(), None);
    assert_connected(&mut base, id, &server);
}

#[test]
fn what_is_wrong_from_the_start_changes_nothing() {
    let (mut base, id) = connecting();
    assert!(matches!(base.connect_hostname(id, Family::Any, "localhost", 0), Err(Error::OutOfRange)));
    assert!(matches!(base.connect_hostname(id, Family::Any, "nul\0", 80), Err(Error::Invalid(_))));
    assert!(matches!(base.connect_any(id, []), Err(Error::Invalid(_))));
    base.connect_any(id, [dead()]).unwrap();
    run(&mut base);
    base.free_bufferevent(id).unwrap();
    assert!(matches!(base.connect_hostname(id, Family::Any, "localhost", 80), Err(Error::Stale)));
    assert!(matches!(base.connect_any(id, [dead()]), Err(Error::Stale)));
}

#[test]
fn freed_while_its_name_is_looked_up_it_holds_nobody_up() {
    let mut base = EventBase::new().unwrap();
    let silent = Rc::new(());
    for host in ["localhost", NOBODY] {
        let id = base.new_socket(None, &Options::new()).unwrap();
        let silent = Rc::clone(&silent);
        base.set_event_callback(id, move |_, _, _| panic!("freed {silent:?}")).unwrap();
        base.connect_hostname(id, Family::Any, host, 80).unwrap();
        base.free_bufferevent(id).unwrap();
    }
    assert_eq!(Rc::strong_count(&silent), 1);
    let slots = base.stats().slots;
    let next = base.new_socket(None, &Options::new()).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert!(base.bufferevent(next).unwrap().fd().is_none(), "the answer was meant for somebody else");
    assert_eq!(base.stats().slots, slots + 1);
}

#[test]
fn freed_after_flush_while_connecting_its_output_still_arrives() {
    let (server, address) = server();
    let (mut base, id) = connecting();
    base.connect_hostname(id, Family::V4, "localhost", address.port()).unwrap();
    base.bufferevent(id).unwrap().write(b"last words").unwrap();
    base.free_after_flush(id, PATIENCE).unwrap();
    let peer = std::thread::spawn(move || {
        let mut words = String::new();
        server.accept().unwrap().0.read_to_string(&mut words).unwrap();
        words
    });
    base.dispatch().unwrap();
    assert_eq!(peer.join().unwrap(), "last words");
}

#[test]
fn two_hundred_names_at_once_are_all_answered() {
    let mut base = EventBase::with_context(0).unwrap();
    for place in 0..200_u16 {
        let host = if place % 2 == 0 { "localhost" } else { "127.0.0.1" };
        base.resolve(host, place, move |base, answer| {
            assert!(answer.unwrap().contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, place))));
            *base.context_mut() += 1;
        })
        .unwrap();
    }
    base.dispatch().unwrap();
    assert_eq!(*base.context(), 200);
}
