//! Descriptors whose numbers are closed and used again, and what the kernel is told of them. Each test has numbers of
//! its own, far from those that the others get.

mod support;

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::events::*;
use zerovent::bufferevent::Options;
use zerovent::event_base::{Ended, Event, EventId, Interest, Run};

/// Far more than a loop needs in the time that the tests give it, and far less than one that spins makes.
const WAITS_MAX: u64 = 40;

/// A persistent event for a number, pending.
fn watching(base: &mut Base, name: &'static str, number: i32) -> EventId {
    noted(base, name, Event::raw_fd(number, Interest::READ).persist(), None)
}

/// Lets the loop run for a while and says how often it waited.
fn waits_in_a_while(base: &mut Base) -> u64 {
    let before = base.stats().waits;
    base.loop_exit(Some(Duration::from_millis(60))).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    base.stats().waits - before
}

/// Two connections: one to close, one to have its number.
fn two_pairs() -> ((UnixStream, UnixStream), (UnixStream, UnixStream)) {
    (pair(), pair())
}

#[test]
fn an_event_that_comes_back_before_the_wait_costs_no_system_call() {
    let mut base = base();
    let (near, far) = pair();
    let id = noted(&mut base, "it", reading(&near).persist(), None);
    pass(&mut base);
    let before = base.stats();
    assert_eq!(before.changes_applied, 1);
    for _ in 0..100 {
        base.del(id).unwrap();
        base.add(id, None).unwrap();
    }
    poke(&far);
    assert_eq!(pass(&mut base), [("it", READ)]);
    assert_eq!(base.stats().changes_applied, 1);
    assert_eq!(base.stats().changes_asked - before.changes_asked, 200);
    base.free(id).unwrap();
    pass(&mut base);
    noted(&mut base, "gone", reading(&near), None);
    assert_eq!(names(&pass(&mut base)), ["gone"]);
}

#[test]
fn deleting_and_adding_descriptors_within_a_turn_costs_no_system_call() {
    /// As many as one wait reports.
    const COUNT: usize = 32;
    let mut base = base();
    let pairs: Vec<_> = (0..COUNT).map(|_| pair()).collect();
    let ids: Vec<_> = pairs
        .iter()
        .map(|(near, _)| noted(&mut base, "one of many", reading(near).persist(), None))
        .collect();
    let again = move |base: &mut Base, _, _| {
        for &id in &ids {
            base.del(id).unwrap();
            base.add(id, None).unwrap();
        }
    };
    let driver = base.new_timer(again).unwrap();
    pass(&mut base);
    let before = base.stats();
    assert_eq!(before.changes_applied, COUNT as u64, "one call each when they came");
    for _ in 0..10 {
        base.activate(driver, TIMEOUT).unwrap();
        pass(&mut base);
    }
    assert_eq!(base.stats().changes_asked - before.changes_asked, 10 * 2 * COUNT as u64);
    assert_eq!(base.stats().changes_applied, before.changes_applied, "and none since");
    pairs.iter().for_each(|(_, far)| poke(far));
    assert_eq!(pass(&mut base).len(), COUNT, "all of them are still watched");
}

#[test]
fn one_shot_events_that_add_themselves_again_cost_no_system_call() {
    let mut base = base();
    let (near, far) = pair();
    let again = |base: &mut Base, id, what| {
        base.context_mut().push(("again", what));
        base.add(id, None).unwrap();
    };
    for event in [reading(&near), reading(&near), Event::fd(&near, Interest::WRITE)] {
        let id = base.new_event(event, again).unwrap();
        base.add(id, None).unwrap();
    }
    poke(&far);
    pass(&mut base);
    let before = base.stats().changes_applied;
    for _ in 0..10 {
        assert_eq!(pass(&mut base).len(), 3);
    }
    assert_eq!(base.stats().changes_applied, before);
}

#[test]
fn a_number_that_is_reused_within_a_turn_is_another_file() {
    let number = 11_000;
    let mut base = base();
    let ((old, old_far), (new, new_far)) = two_pairs();
    // `old` itself stays open: the registration of the old file outlives its number.
    let fd = at_number(&old, number);
    let gone = watching(&mut base, "gone", number);
    pass(&mut base);
    base.free(gone).unwrap();
    drop(fd);
    let _fd = at_number(&new, number);
    let before = base.stats().changes_applied;
    watching(&mut base, "heir", number);
    assert_eq!(pass(&mut base), []);
    assert_eq!(base.stats().changes_applied - before, 1);
    poke(&old_far);
    assert_eq!(pass(&mut base), [], "what the old file has is not the heir's");
    assert!(base.stats().stale_events > 0);
    poke(&new_far);
    assert_eq!(pass(&mut base), [("heir", READ)]);
}

#[test]
fn a_number_closed_without_a_word_and_reused_reaches_its_new_event() {
    let number = 11_010;
    let mut base = base();
    let ((old, old_far), (new, new_far)) = two_pairs();
    let fd = at_number(&old, number);
    let forgotten = watching(&mut base, "forgotten", number);
    pass(&mut base);
    drop(fd);
    let _fd = at_number(&new, number);
    watching(&mut base, "heir", number);
    poke(&new_far);
    let mut called = names(&pass(&mut base));
    called.sort_unstable();
    assert_eq!(called, ["forgotten", "heir"], "by its number, the forgotten one waits for the same");
    empty(&new);
    poke(&old_far);
    assert_eq!(pass(&mut base), []);
    assert!(base.stats().stale_events > 0);
    base.free(forgotten).unwrap();
    poke(&new_far);
    assert_eq!(pass(&mut base), [("heir", READ)]);
    empty(&new);
    assert!(waits_in_a_while(&mut base) < WAITS_MAX);
}

#[test]
fn a_file_that_cannot_be_got_rid_of_makes_no_loop_spin() {
    let number = 11_020;
    let mut base = base();
    let ((old, old_far), (other, other_far)) = two_pairs();
    let fd = at_number(&old, number);
    let gone = watching(&mut base, "gone", number);
    noted(&mut base, "other", reading(&other).persist(), None);
    pass(&mut base);
    // Deleted, but closed before the kernel was told: it cannot be told any more.
    base.free(gone).unwrap();
    drop(fd);
    poke(&old_far);
    let waits = waits_in_a_while(&mut base);
    assert!(waits < WAITS_MAX, "{waits}");
    let stats = base.stats();
    assert!(stats.stale_events > 0, "{stats:?}");
    assert_eq!(stats.rebuilds, 1);
    assert_eq!(*base.context(), []);
    assert!(waits_in_a_while(&mut base) < 4);
    assert_eq!(base.stats().stale_events, stats.stale_events, "rid of it");

    poke(&other_far);
    assert_eq!(pass(&mut base), [("other", READ)], "the new set knows all the others");
    let remote = base.remote();
    remote.run(|base: &mut Base| base.context_mut().push(("woken", READ))).unwrap();
    assert!(names(&pass(&mut base)).contains(&"woken"), "and how to be woken");
}

#[test]
fn a_rebuilt_set_tells_edge_triggered_events_what_is_there() {
    let number = 11_030;
    let mut base = base();
    let ((old, old_far), (near, far)) = two_pairs();
    let fd = at_number(&old, number);
    let gone = watching(&mut base, "gone", number);
    let edge = Event::fd(&near, Interest::READ | Interest::EDGE).persist();
    noted(&mut base, "edge", edge, None);
    pass(&mut base);
    base.free(gone).unwrap();
    drop(fd);
    poke(&old_far);
    while base.stats().rebuilds == 0 {
        assert_eq!(pass(&mut base), []);
    }
    poke(&far);
    assert_eq!(pass(&mut base), [("edge", READ)]);
    assert_eq!(pass(&mut base), []);
}

#[test]
fn a_freed_bufferevents_number_may_be_used_at_once() {
    let number = 11_040;
    let mut base = base();
    let ((old, old_far), (new, new_far)) = two_pairs();
    let id = base.new_socket(Some(at_number(&old, number)), &Options::new()).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    pass(&mut base);
    base.free_bufferevent(id).unwrap();
    let _fd = at_number(&new, number);
    watching(&mut base, "heir", number);
    poke(&old_far);
    assert_eq!(pass(&mut base), []);
    poke(&new_far);
    assert_eq!(pass(&mut base), [("heir", READ)]);
}

#[test]
fn an_event_whose_descriptor_a_bufferevent_closed_finds_out() {
    let number = 11_050;
    let mut base = base();
    let (near, _far) = pair();
    let id = base.new_socket(Some(at_number(&near, number)), &Options::new()).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    noted(&mut base, "beside", Event::raw_fd(number, Interest::READ | Interest::EDGE), None);
    assert_eq!(pass(&mut base), []);
    base.free_bufferevent(id).unwrap();
    assert_eq!(run_dry(&mut base), [("beside", READ)]);
}

#[test]
fn a_refused_descriptor_may_become_one_that_can_be_waited_for() {
    let number = 11_060;
    let mut base = base();
    let fd = at_number(&File::open("/dev/null").unwrap(), number);
    let forgotten = watching(&mut base, "forgotten", number);
    assert_eq!(pass(&mut base), [("forgotten", READ)]);
    drop(fd);
    let (near, far) = pair();
    let fd = at_number(&near, number);
    let heir = watching(&mut base, "heir", number);
    assert_eq!(pass(&mut base), [], "it can wait now, both find");
    poke(&far);
    assert_eq!(pass(&mut base).len(), 2);
    base.free(forgotten).unwrap();
    base.free(heir).unwrap();
    pass(&mut base);

    drop(fd);
    let _fd = at_number(&File::open("/dev/null").unwrap(), number);
    watching(&mut base, "file", number);
    assert_eq!(pass(&mut base), [("file", READ)], "and the other way round");
}

#[test]
fn interests_are_merged_and_told_once_a_turn() {
    let mut base = base();
    let (near, far) = pair();
    poke(&far);
    let reader = noted(&mut base, "reader", reading(&near).persist(), None);
    let writer = noted(&mut base, "writer", Event::fd(&near, Interest::WRITE).persist(), None);
    assert_eq!(pass(&mut base), [("reader", READ), ("writer", WRITE)]);
    assert_eq!(base.stats().changes_applied, 1);
    base.del(writer).unwrap();
    assert_eq!(pass(&mut base), [("reader", READ)]);
    assert_eq!(base.stats().changes_applied, 2);
    base.add(writer, None).unwrap();
    base.del(reader).unwrap();
    assert_eq!(pass(&mut base), [("writer", WRITE)]);
    assert_eq!(base.stats().changes_applied, 3);
    base.del(writer).unwrap();
    noted(&mut base, "none", Event::timer(), Some(Duration::ZERO));
    assert_eq!(pass(&mut base), [("none", TIMEOUT)]);
    assert_eq!(base.stats().changes_applied, 4);
}

#[test]
fn thousands_of_reports_all_come_through() {
    let mut base = base();
    let pairs: Vec<_> = (0..2500).map(|_| pair()).collect();
    for (near, far) in &pairs {
        noted(&mut base, "it", reading(near), None);
        poke(far);
    }
    let mut called = 0;
    while called < 2500 {
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
        called += std::mem::take(base.context_mut()).len();
    }
    assert_eq!(called, 2500);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}
