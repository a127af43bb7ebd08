//! Descriptors that some wait for by states and others by edges: each hears what it has asked for, whatever becomes of the others, of the
//! number and of the file. Numbers are far from those that other tests get.

mod support;

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use support::events::*;
use support::net::any_port;
use zerovent::bufferevent::Options;
use zerovent::event_base::{Event, EventId, Interest};
use zerovent::listener::ListenOptions;

/// A persistent event for a number that is told of states, and one that is told of edges, both pending.
fn both(base: &mut Base, number: i32) -> (EventId, EventId) {
    (state(base, "state", number), edge(base, "edge", number))
}

fn state(base: &mut Base, name: &'static str, number: i32) -> EventId {
    noted(base, name, Event::raw_fd(number, Interest::READ).persist(), None)
}

fn edge(base: &mut Base, name: &'static str, number: i32) -> EventId {
    noted(base, name, Event::raw_fd(number, Interest::READ | Interest::EDGE).persist(), None)
}

/// Who is called in one pass, in the order of the alphabet.
fn who(base: &mut Base) -> Vec<&'static str> {
    let mut names = names(&pass(base));
    names.sort_unstable();
    names
}

#[test]
fn an_edge_is_not_told_again_because_the_same_waiter_for_states_comes_or_goes() {
    let mut base = base();
    let (near, far) = pair();
    let number = near.as_raw_fd();
    let (state, _) = both(&mut base, number);
    poke(&far);
    assert_eq!(who(&mut base), ["edge", "state"]);
    let before = base.stats();
    for _ in 0..3 {
        base.del(state).unwrap();
        assert_eq!(who(&mut base), [""; 0]);
        base.add(state, None).unwrap();
        assert_eq!(who(&mut base), ["state"]);
        base.del(state).unwrap();
        base.add(state, None).unwrap();
        assert_eq!(who(&mut base), ["state"], "what is taken back in time costs nothing");
    }
    assert_eq!(base.stats().changes_applied - before.changes_applied, 6);
}

#[test]
fn an_edge_added_again_in_its_own_callback_hears_what_is_there_and_nothing_spins() {
    let mut base = base();
    let (near, far) = pair();
    let number = near.as_raw_fd();
    noted(&mut base, "state", Event::raw_fd(number, Interest::WRITE).persist(), None);
    let rounds = Rc::new(Cell::new(0));
    let seen = Rc::clone(&rounds);
    let once = Event::raw_fd(number, Interest::READ | Interest::EDGE);
    let id = base
        .new_event(once, move |base, id, _| {
            seen.set(seen.get() + 1);
            if seen.get() < 3 {
                base.add(id, None).unwrap();
            }
        })
        .unwrap();
    base.add(id, None).unwrap();
    poke(&far);
    for _ in 0..5 {
        assert_eq!(pass(&mut base), [("state", WRITE)]);
    }
    assert_eq!(rounds.get(), 3, "each time that it was added it heard of the byte that is there");
}

#[test]
fn a_number_that_is_closed_and_used_again_is_another_file_in_both_modes() {
    let number = 11_100;
    let mut base = base();
    let ((old, old_far), (new, new_far)) = (pair(), pair());
    let fd = at_number(&old, number);
    let gone = both(&mut base, number);
    pass(&mut base);
    // One is taken back before the close and the other forgotten.
    base.free(gone.0).unwrap();
    drop(fd);
    let _fd = at_number(&new, number);
    let heirs = both(&mut base, number);
    poke(&old_far);
    assert_eq!(who(&mut base), [""; 0]);
    base.free(gone.1).unwrap();
    poke(&new_far);
    assert_eq!(who(&mut base), ["edge", "state"]);
    assert_eq!(who(&mut base), ["state"]);
    base.del(heirs.1).unwrap();
    assert_eq!(who(&mut base), ["state"]);
}

#[test]
fn the_number_of_one_that_was_closed_may_become_the_second_sets() {
    let mut base = base();
    let ((near, far), (gone, _)) = (pair(), pair());
    edge(&mut base, "edge", near.as_raw_fd());
    let deleted = state(&mut base, "deleted", gone.as_raw_fd());
    pass(&mut base);
    // In one turn the second set is wanted, and a number is free that the first one still has on its list.
    state(&mut base, "state", near.as_raw_fd());
    base.del(deleted).unwrap();
    drop(gone);
    poke(&far);
    assert_eq!(who(&mut base), ["edge", "state"]);
    assert_eq!(who(&mut base), ["state"]);
}

#[test]
fn reports_of_states_that_nobody_waits_for_do_not_go_on_for_ever() {
    let number = 11_105;
    let mut base = base();
    let (near, far) = pair();
    let fd = at_number(&near, number);
    let (state, _) = both(&mut base, number);
    pass(&mut base);
    poke(&far);
    // The number is gone before the kernel could be told that nobody wants states any more; the file lives on.
    drop(fd);
    base.del(state).unwrap();
    assert_eq!(who(&mut base), ["edge"]);
    for _ in 0..20 {
        pass(&mut base);
    }
    assert_eq!(base.stats().rebuilds, 1, "what nobody takes is noticed, and got rid of");
}

#[test]
fn a_file_that_a_duplicate_keeps_open_reaches_nobody_in_either_mode() {
    let number = 11_110;
    let mut base = base();
    let ((old, old_far), (other, other_far)) = (pair(), pair());
    let fd = at_number(&old, number);
    let gone = both(&mut base, number);
    both(&mut base, other.as_raw_fd());
    pass(&mut base);
    base.free(gone.0).unwrap();
    base.free(gone.1).unwrap();
    drop(fd);
    poke(&old_far);
    while base.stats().rebuilds == 0 {
        assert_eq!(who(&mut base), [""; 0]);
    }
    poke(&other_far);
    assert_eq!(who(&mut base), ["edge", "state"], "the new sets know all the others");
    assert_eq!(who(&mut base), ["state"]);
    assert_eq!(base.stats().rebuilds, 1);
}

#[test]
fn a_duplicate_that_lives_on_does_not_bring_back_what_its_number_was_watched_for() {
    let number = 11_120;
    let mut base = base();
    let ((old, old_far), (new, new_far)) = (pair(), pair());
    let fd = at_number(&old, number);
    let gone = both(&mut base, number);
    pass(&mut base);
    base.free(gone.0).unwrap();
    base.free(gone.1).unwrap();
    drop(fd);
    let _fd = at_number(&new, number);
    both(&mut base, number);
    poke(&old_far);
    for _ in 0..20 {
        assert_eq!(who(&mut base), [""; 0]);
    }
    poke(&new_far);
    assert_eq!(who(&mut base), ["edge", "state"]);
    assert_eq!(who(&mut base), ["state"]);
}

#[test]
fn what_epoll_refuses_is_told_once_to_who_wants_edges_and_always_to_who_wants_states() {
    let mut base = base();
    let null = File::open("/dev/null").unwrap();
    let (state, edge) = both(&mut base, null.as_raw_fd());
    assert_eq!(who(&mut base), ["edge", "state"]);
    assert_eq!(who(&mut base), ["state"]);
    base.del(state).unwrap();
    // It is asked about anew, and told once more, with who is left.
    pass(&mut base);
    assert_eq!(who(&mut base), [""; 0]);
    base.del(edge).unwrap();
    base.add(state, None).unwrap();
    for _ in 0..2 {
        assert_eq!(who(&mut base), ["state"]);
    }
}

#[test]
fn more_than_one_wait_reports_are_all_told() {
    const COUNT: usize = 100;
    let mut base = base();
    let pairs: Vec<_> = (0..COUNT).map(|_| pair()).collect();
    for (near, far) in &pairs {
        both(&mut base, near.as_raw_fd());
        poke(far);
    }
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.extend(names(&pass(&mut base)));
    }
    assert_eq!(calls.iter().filter(|name| **name == "edge").count(), COUNT);
    assert!(calls.iter().filter(|name| **name == "state").count() >= 4 * COUNT);
    let turn = names(&pass(&mut base));
    assert_eq!(turn, ["state"; COUNT], "the room for reports has grown");
}

#[test]
fn bufferevents_listeners_and_events_share_descriptors_whoever_comes_first() {
    let mut base = base();
    let (near, far) = pair();
    let number = near.as_raw_fd();
    state(&mut base, "before", number);
    let id = base.new_socket(Some(OwnedFd::from(near)), &Options::new()).unwrap();
    base.set_read_callback(id, |base, _| base.context_mut().push(("bufferevent", READ))).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    poke(&far);
    let told = pass(&mut base);
    assert_eq!((told.len(), told.contains(&("before", READ))), (2, true), "{told:?}");

    let accept = |base: &mut Base, _, _, _| base.context_mut().push(("listener", READ));
    let listener = base.listen(any_port(), &ListenOptions::new(), accept).unwrap();
    let number = base.listener(listener).unwrap().fd().as_raw_fd();
    edge(&mut base, "edge of a listener", number);
    let address = base.listener(listener).unwrap().address().as_inet().unwrap();
    for _ in 0..2 {
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(who(&mut base), ["edge of a listener", "listener"]);
    }
}

#[test]
fn a_descriptor_that_a_bufferevent_closes_is_no_longer_told_to_the_event_beside_it() {
    let number = 11_130;
    let mut base = base();
    let ((near, far), (new, new_far)) = (pair(), pair());
    let id = base.new_socket(Some(at_number(&near, number)), &Options::new()).unwrap();
    let beside = state(&mut base, "beside", number);
    poke(&far);
    assert_eq!(who(&mut base), ["beside"]);
    base.free(beside).unwrap();
    base.free_bufferevent(id).unwrap();
    let id = base.new_socket(Some(at_number(&new, number)), &Options::new()).unwrap();
    state(&mut base, "heir", number);
    assert_eq!(who(&mut base), [""; 0]);
    poke(&new_far);
    assert_eq!(who(&mut base), ["heir"]);
    base.free_bufferevent(id).unwrap();
}
