//! The verbs that owners of few words need: hearing at once what the kernel refuses, ids as numbers, and seeing each slot once
//! that has become active.

use super::tests::{Kernel, reactor, reactor_on, reading, slot, turn};
use super::*;

fn code<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    match result.unwrap_err() {
        Error::Io(error) => error.raw_os_error().unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_kernel_refuses_is_heard_at_once() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(3, true);
    kernel.open(4, false);
    let [good, file, closed] = [3, 4, 5].map(|fd| slot(&mut reactor, reading(fd), false));
    reactor.add_strictly(good).unwrap();
    assert_eq!(code(reactor.add_strictly(file)), libc::EPERM);
    assert_eq!(code(reactor.add_strictly(closed)), libc::EBADF);
    assert_eq!(reactor.waits(good).unwrap(), (true, None));
    assert_eq!(reactor.waits(file).unwrap(), (false, None), "it waits for it no longer");
    let calls = kernel.calls();
    turn(&mut reactor).unwrap();
    assert_eq!(kernel.calls(), calls, "nothing is left to be told");
    assert_eq!(reactor.active_len(), 0, "and nothing counts as always ready");
}

#[test]
fn what_is_known_already_is_not_told_again() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(3, true);
    let id = slot(&mut reactor, reading(3), true);
    reactor.add_strictly(id).unwrap();
    let calls = kernel.calls();
    reactor.del(id).unwrap();
    reactor.add_strictly(id).unwrap();
    reactor.add_strictly(id).unwrap();
    turn(&mut reactor).unwrap();
    assert_eq!(kernel.calls(), calls);
}

#[test]
fn while_the_loop_waits_nobody_is_asked() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(4, false);
    let id = slot(&mut reactor, reading(4), false);
    let wait = reactor.prepare(true, None);
    reactor.add_strictly(id).unwrap();
    reactor.complete(wait, |_, _| {});
    turn(&mut reactor).unwrap();
    assert_eq!(reactor.active_len(), 1, "it counts as always ready, as with `add`");
}

#[test]
fn an_id_is_a_number_that_names_nobody_else() {
    let mut reactor = reactor(1);
    let id = slot(&mut reactor, Source::None, false);
    assert_eq!(SlotId::from_bits(id.to_bits()), Some(id));
    assert_eq!(SlotId::from_bits(0), None);
    reactor.remove(id).unwrap();
    let next = slot(&mut reactor, Source::None, false);
    assert_ne!(next.to_bits(), id.to_bits(), "though it has the same place");
}

/// A turn, and what is told of it.
fn told(reactor: &mut Reactor) -> Vec<(u64, What)> {
    let mut told = Vec::new();
    let mut wait = reactor.prepare(true, None);
    wait.wait().unwrap();
    reactor.complete(wait, |owner, what| told.push((owner, what)));
    told
}

#[test]
fn whatever_makes_a_slot_active_in_a_turn_is_told_before_it_is_handed_out() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(3, true);
    kernel.open(4, false);
    let sources = [reading(3), reading(3), reading(4), Source::None, Source::None];
    let ids = sources.map(|source| slot(&mut reactor, source, true));
    for (owner, &id) in (1..).zip(&ids) {
        reactor.set_owner(id, owner).unwrap();
    }
    ids[..3].iter().for_each(|&id| reactor.add(id, None).unwrap());
    reactor.add(ids[3], Some(Duration::ZERO)).unwrap();
    reactor.activate_later(ids[4], What::WRITE).unwrap();
    assert_eq!(told(&mut reactor), [(3, What::READ), (5, What::WRITE), (4, What::TIMEOUT)]);
    kernel.make_ready(3, What::READ | What::WRITE);
    reactor.activate_later(ids[0], What::WRITE).unwrap();
    let read = |owner| (owner, What::READ);
    assert_eq!(
        told(&mut reactor),
        [read(1), read(2), read(3), (1, What::WRITE)],
        "also what is active already"
    );
    let handed_out: Vec<_> =
        std::iter::from_fn(|| reactor.next_active(0)).map(|it| (it.owner, it.what)).collect();
    let both = What::READ | What::WRITE;
    assert_eq!(handed_out, [read(3), (5, What::WRITE), (4, What::TIMEOUT), (1, both), read(2)]);
}

#[test]
fn handing_out_says_whether_the_slot_is_watched_on() {
    let kernel = Kernel::default();
    let mut reactor = reactor_on(&kernel);
    kernel.open(3, true);
    let mut watched_on = |persist, timeout| {
        let id = slot(&mut reactor, reading(3), persist);
        reactor.add(id, timeout).unwrap();
        reactor.activate(id, What::READ).unwrap();
        let watched_on = reactor.next_active(0).unwrap().waits_on;
        let waits = reactor.waits(id).unwrap();
        reactor.remove(id).unwrap();
        (watched_on, waits.0, waits.1.is_some())
    };
    assert_eq!(watched_on(true, None), (true, true, false));
    let timeout = Some(Duration::from_secs(9));
    assert_eq!(watched_on(true, timeout), (true, true, true), "its timeout starts again");
    assert_eq!(watched_on(false, None), (false, false, false));
}

#[test]
fn a_signal_says_how_often_it_came() {
    let mut reactor = reactor(1);
    let id = slot(&mut reactor, Source::Signal(libc::SIGCONT), true);
    reactor.add(id, None).unwrap();
    for _ in 0..3 {
        crate::sys::signal::raise(libc::SIGCONT);
    }
    turn(&mut reactor).unwrap();
    let first = reactor.next_active(0).unwrap();
    assert_eq!(first.deliveries, 3);
    assert_eq!(reactor.next_active(0).unwrap().deliveries, 2);
    reactor.deactivate(id).unwrap();
    assert!(reactor.next_active(0).is_none(), "the rest was taken back");
    assert_eq!(reactor.waits(id).unwrap(), (true, None), "and it waits on");
}

#[test]
fn the_time_is_known_while_a_turn_is_under_way() {
    let mut reactor = reactor(1);
    assert!(!reactor.has_cached_time());
    let id = slot(&mut reactor, Source::None, false);
    reactor.activate(id, What::TIMEOUT).unwrap();
    turn(&mut reactor).unwrap();
    assert!(reactor.has_cached_time());
    reactor.forget_now();
    assert!(!reactor.has_cached_time());
}
