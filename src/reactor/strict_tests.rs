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
    reactor.complete(wait);
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

#[test]
fn each_slot_that_has_become_active_is_seen_once() {
    let mut reactor = reactor(3);
    let ids = [0, 1, 2, 1, 1].map(|priority| {
        let spec = SlotSpec { owner: 0, source: Source::None, persist: false, priority: Some(priority) };
        reactor.insert(spec).unwrap()
    });
    for (owner, &id) in (1..).zip(&ids) {
        reactor.set_owner(id, owner).unwrap();
    }
    let mut seen = Vec::new();
    let mut look = |reactor: &mut Reactor| {
        let mut news = Vec::new();
        reactor.newly_active(|owner, what| {
            assert_eq!(what, What::TIMEOUT);
            let is_news = !seen.contains(&owner);
            news.extend(is_news.then_some(owner));
            is_news
        });
        seen.extend(&news);
        news
    };
    for &id in &ids[..4] {
        reactor.activate(id, What::TIMEOUT).unwrap();
    }
    assert_eq!(look(&mut reactor), [1, 4, 2, 3], "the newest first in each priority");
    assert_eq!(look(&mut reactor), []);
    reactor.activate(ids[4], What::TIMEOUT).unwrap();
    assert_eq!(look(&mut reactor), [5]);
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
