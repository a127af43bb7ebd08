//! The book's chapter "Working with events": descriptors, activation, and what callbacks may do to events.

mod support;

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use support::events::*;
use zerovent::event_base::{Ended, Event, EventId, Interest, Pending, Run, What};
use zerovent::{Error, EventBase};

#[test]
fn a_persistent_event_stays_and_another_is_called_once() {
    let mut base = base();
    let (near, far) = pair();
    let stays = noted(&mut base, "stays", reading(&near).persist(), None);
    let once = noted(&mut base, "once", reading(&near), None);
    assert_eq!(pass(&mut base), []);
    poke(&far);
    assert_eq!(pass(&mut base), [("stays", READ), ("once", READ)]);
    assert_eq!(base.pending(once).unwrap(), Pending::default());
    assert_eq!(base.pending(stays).unwrap().what, READ);
    assert_eq!(pass(&mut base), [("stays", READ)], "what is left unread is reported again");
    empty(&near);
    assert_eq!(pass(&mut base), []);
    base.add(once, None).unwrap();
    poke(&far);
    assert_eq!(pass(&mut base), [("stays", READ), ("once", READ)]);
}

#[test]
fn all_events_of_a_descriptor_are_called_each_for_what_it_waits_for() {
    let mut base = base();
    let (near, far) = pair();
    let reader = noted(&mut base, "reader", reading(&near), None);
    let both = Event::fd(&near, Interest::READ | Interest::WRITE);
    noted(&mut base, "writer", Event::fd(&near, Interest::WRITE), None);
    noted(&mut base, "reader 2", reading(&near), None);
    assert_eq!(pass(&mut base), [("writer", WRITE)], "nothing has arrived");
    noted(&mut base, "both", both, None);
    poke(&far);
    let mut calls = pass(&mut base);
    calls.sort_by_key(|call| call.0);
    assert_eq!(calls, [("both", READ | WRITE), ("reader", READ), ("reader 2", READ)]);
    assert_eq!(base.pending(reader).unwrap(), Pending::default());
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn leaving_one_event_of_a_descriptor_leaves_the_others() {
    let mut base = base();
    let (near, far) = pair();
    let ids: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| noted(&mut base, name, reading(&near).persist(), None))
        .into_iter()
        .collect();
    poke(&far);
    base.del(ids[1]).unwrap();
    assert_eq!(names(&pass(&mut base)), ["a", "c", "d"]);
    base.free(ids[0]).unwrap();
    assert_eq!(names(&pass(&mut base)), ["c", "d"]);
    base.free(ids[3]).unwrap();
    base.add(ids[1], None).unwrap();
    assert_eq!(names(&pass(&mut base)), ["c", "b"]);
    base.free(ids[1]).unwrap();
    base.free(ids[2]).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn an_edge_triggered_event_is_called_once_each_time_something_arrives() {
    let mut base = base();
    let (near, far) = pair();
    noted(&mut base, "edge", Event::fd(&near, Interest::READ | Interest::EDGE).persist(), None);
    for _ in 0..3 {
        poke(&far);
        assert_eq!(pass(&mut base), [("edge", READ)]);
        assert_eq!(pass(&mut base), [], "nothing new");
    }
    assert_eq!(empty(&near), 3);
}

#[test]
fn an_edge_triggered_event_that_is_added_again_hears_what_is_left() {
    let mut base = base();
    let (near, far) = pair();
    let event = Event::fd(&near, Interest::READ | Interest::EDGE);
    let id = base
        .new_event(event, |base: &mut Base, id, what| {
            base.context_mut().push(("edge", what));
            if base.context().len() < 3 {
                base.add(id, None).unwrap();
            }
        })
        .unwrap();
    base.add(id, None).unwrap();
    poke(&far);
    assert_eq!(names(&run_dry(&mut base)), ["edge"; 3]);

    let first = noted(&mut base, "first", event.persist(), None);
    assert_eq!(names(&pass(&mut base)), ["first"]);
    noted(&mut base, "second", event, None);
    assert!(names(&pass(&mut base)).contains(&"second"), "it is there already when the second is added");
    base.free(first).unwrap();
}

#[test]
fn the_peers_leaving_is_reported_as_closed_to_those_who_ask() {
    let mut base = base();
    let (near, far) = pair();
    let interest = Interest::READ | Interest::CLOSED;
    noted(&mut base, "both", Event::fd(&near, interest), None);
    noted(&mut base, "closed", Event::fd(&near, Interest::CLOSED), None);
    assert_eq!(pass(&mut base), []);
    far.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(pass(&mut base), [("both", READ | CLOSED), ("closed", CLOSED)]);
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn an_error_reaches_an_event_that_waits_for_the_close_alone() {
    let mut base = base();
    let (reader, writer) = std::io::pipe().unwrap();
    noted(&mut base, "closed", Event::fd(&writer, Interest::CLOSED), None);
    assert_eq!(pass(&mut base), []);
    drop(reader);
    assert_eq!(run_dry(&mut base), [("closed", CLOSED)]);
}

#[test]
fn arguments_that_make_no_sense_are_refused_or_mean_a_timer() {
    let mut base = base();
    let (near, _far) = pair();
    let negative = base.new_event(Event::raw_fd(-1, Interest::READ), note("never"));
    assert!(matches!(negative, Err(Error::Invalid(_))));
    let priority = base.new_event(Event::timer().priority(1), note("never"));
    assert!(matches!(priority, Err(Error::OutOfRange)));
    for interest in [Interest::empty(), Interest::EDGE] {
        let id = noted(&mut base, "timer", Event::fd(&near, interest), None);
        assert_eq!(base.pending(id).unwrap(), Pending::default(), "there is nothing that it waits for");
        assert_eq!(run_dry(&mut base), []);
        base.add(id, Some(Duration::ZERO)).unwrap();
        assert_eq!(run_dry(&mut base), [("timer", TIMEOUT)]);
    }
}

#[test]
fn descriptors_that_epoll_refuses_are_always_ready() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "content").unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    for file in [File::open(&path).unwrap(), File::open(directory.path()).unwrap(), null] {
        let mut base = base();
        let (near, far) = pair();
        noted(&mut base, "socket", reading(&near), None);
        let id = noted(&mut base, "file", Event::fd(&file, Interest::READ | Interest::WRITE).persist(), None);
        for _ in 0..3 {
            assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
        }
        poke(&far);
        assert_eq!(pass(&mut base).iter().filter(|call| **call == ("file", READ | WRITE)).count(), 4);
        base.del(id).unwrap();
        assert_eq!(run_dry(&mut base), []);
        base.add(id, None).unwrap();
        assert_eq!(pass(&mut base), [("file", READ | WRITE)], "as before");
        base.free(id).unwrap();
        assert_eq!(run_dry(&mut base), []);
    }
}

#[test]
fn a_file_beside_a_socket_starves_nobody() {
    let mut base = base();
    let file = File::open("/dev/null").unwrap();
    let (near, far) = pair();
    noted(&mut base, "file", reading(&file).persist(), None);
    noted(&mut base, "socket", reading(&near), None);
    let timer = base.new_timer(|base, _, _| base.loop_break()).unwrap();
    base.add(timer, Some(Duration::from_millis(5))).unwrap();
    poke(&far);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert!(base.context().contains(&("socket", READ)));
}

#[test]
fn a_closed_number_is_ready_so_that_its_owner_finds_out() {
    let mut base = base();
    let number = 10_001;
    let id = noted(&mut base, "closed", Event::raw_fd(number, Interest::READ), None);
    assert_eq!(run_dry(&mut base), [("closed", READ)]);
    let (near, far) = pair();
    let opened = at_number(&near, number);
    base.add(id, None).unwrap();
    assert_eq!(pass(&mut base), [], "it is open now, and empty");
    poke(&far);
    assert_eq!(run_dry(&mut base), [("closed", READ)]);
    drop(opened);
}

#[test]
fn a_wild_number_costs_an_error_and_no_gigabytes() {
    let mut base = base();
    let id = base.new_event(Event::raw_fd(i32::MAX, Interest::READ), note("wild")).unwrap();
    assert!(matches!(base.add(id, None), Err(Error::Io(_))));
    assert_eq!(base.pending(id).unwrap(), Pending::default());
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn pending_tells_what_is_waited_for_and_how_long() {
    let mut base = base();
    let (near, far) = pair();
    let id = base.new_event(reading(&near), note("it")).unwrap();
    assert_eq!(base.pending(id).unwrap(), Pending::default());
    base.add(id, Some(NEVER)).unwrap();
    let pending = base.pending(id).unwrap();
    assert_eq!((pending.what, pending.active), (READ | TIMEOUT, false));
    let remaining = pending.remaining.unwrap();
    assert!(remaining <= NEVER && remaining > NEVER - support::net::PATIENCE, "{remaining:?}");
    base.remove_timer(id).unwrap();
    assert_eq!(base.pending(id).unwrap(), Pending { what: READ, ..Pending::default() });
    base.activate(id, TIMEOUT).unwrap();
    assert_eq!(base.pending(id).unwrap(), Pending { what: READ | TIMEOUT, active: true, remaining: None });
    poke(&far);
    assert_eq!(pass(&mut base), [("it", READ | TIMEOUT)], "what happens meanwhile is merged");
    assert_eq!(base.pending(id).unwrap(), Pending::default());
}

#[test]
fn activating_calls_once_and_leaves_pending_what_was() {
    let mut base = base();
    let bare = idle(&mut base, "bare");
    base.activate(bare, READ).unwrap();
    base.activate(bare, WRITE).unwrap();
    assert_eq!(pass(&mut base), [("bare", READ | WRITE)], "two activations are one call");
    assert_eq!(base.pending(bare).unwrap(), Pending::default());
    assert_eq!(pass(&mut base), []);

    let stays = noted(&mut base, "stays", Event::timer().persist(), Some(NEVER));
    let once = noted(&mut base, "once", Event::timer(), Some(NEVER));
    base.activate(stays, What::empty()).unwrap();
    base.activate(once, TIMEOUT).unwrap();
    assert_eq!(pass(&mut base), [("stays", What::empty()), ("once", TIMEOUT)]);
    assert_eq!(base.pending(stays).unwrap().what, TIMEOUT);
    assert_eq!(base.pending(once).unwrap(), Pending::default());
}

#[test]
fn what_is_taken_back_before_its_turn_is_not_called() {
    let mut base = base();
    let ids: Vec<_> = (0..4).map(|_| idle(&mut base, "it")).collect();
    ids.iter().for_each(|&id| base.activate(id, READ).unwrap());
    base.del(ids[1]).unwrap();
    base.free(ids[2]).unwrap();
    base.del(ids[3]).unwrap();
    base.activate(ids[3], WRITE).unwrap();
    assert_eq!(pass(&mut base), [("it", READ), ("it", WRITE)]);
    assert!(matches!(base.activate(ids[2], READ), Err(Error::Stale)));
}

#[test]
fn a_callback_may_take_back_and_free_what_is_queued_behind_it() {
    let mut base = base();
    let victims: Vec<_> = ["a", "b", "c"].map(|name| idle(&mut base, name)).into();
    let list = victims.clone();
    let first = base
        .new_timer(move |base: &mut Base, _, _| {
            base.free(list[0]).unwrap();
            base.del(list[2]).unwrap();
        })
        .unwrap();
    base.activate(first, TIMEOUT).unwrap();
    victims.iter().for_each(|&id| base.activate(id, READ).unwrap());
    assert_eq!(names(&pass(&mut base)), ["b"]);
}

/// Counts its drops.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_callback_may_free_itself_and_lives_until_it_returns() {
    let mut base = base();
    let drops = Rc::new(Cell::new(0));
    let captured = Dropped(Rc::clone(&drops));
    let id = base
        .new_timer(move |base: &mut Base, id, _| {
            base.free(id).unwrap();
            assert!(matches!(base.add(id, None), Err(Error::Stale)));
            let heir = idle(base, "heir");
            assert_ne!(heir, id, "the place is another's now, the id is not");
            base.activate(heir, READ).unwrap();
            assert_eq!(captured.0.get(), 0);
        })
        .unwrap();
    base.add(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(run_dry(&mut base), [("heir", READ)]);
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_callback_may_replace_itself() {
    let mut base = base();
    let drops = Rc::new(Cell::new(0));
    let captured = Dropped(Rc::clone(&drops));
    let id = base
        .new_timer(move |base: &mut Base, id, _| {
            base.set_callback(id, note("new")).unwrap();
            base.activate(id, READ).unwrap();
            assert_eq!(captured.0.get(), 0);
        })
        .unwrap();
    base.activate(id, TIMEOUT).unwrap();
    assert_eq!(run_dry(&mut base), [("new", READ)]);
    assert_eq!(drops.get(), 1);
    base.activate(id, WRITE).unwrap();
    assert_eq!(pass(&mut base), [("new", WRITE)]);
}

#[test]
fn a_callback_may_add_a_thousand_events() {
    let mut base = base();
    let id = base
        .new_timer(|base: &mut Base, _, _| {
            for _ in 0..1000 {
                noted(base, "new", Event::timer(), Some(Duration::ZERO));
            }
        })
        .unwrap();
    base.add(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(run_dry(&mut base).len(), 1000);
}

#[test]
fn every_verb_on_a_freed_event_is_stale_and_harmless() {
    let mut base = base();
    let id = noted(&mut base, "gone", Event::timer().persist(), Some(Duration::ZERO));
    base.free(id).unwrap();
    let other = idle(&mut base, "other");
    let results = [
        base.free(id),
        base.add(id, Some(Duration::ZERO)),
        base.del(id),
        base.remove_timer(id),
        base.activate(id, READ),
        base.set_priority(id, 0),
        base.set_callback(id, note("never")),
        base.pending(id).map(drop),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(Error::Stale))), "{results:?}");
    assert_eq!(base.pending(other).unwrap(), Pending::default());
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn deleting_twice_and_what_was_never_added_is_no_error() {
    let mut base = base();
    let id = idle(&mut base, "it");
    base.del(id).unwrap();
    base.remove_timer(id).unwrap();
    base.add(id, Some(NEVER)).unwrap();
    base.add(id, None).unwrap();
    assert!(
        base.pending(id).unwrap().remaining.is_some(),
        "added without a timeout, it keeps the one it has"
    );
    base.del(id).unwrap();
    base.del(id).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn an_id_is_given_to_its_own_callback() {
    let mut base = EventBase::with_context(Vec::<EventId>::new()).unwrap();
    let ids: Vec<_> =
        (0..3).map(|_| base.new_timer(|base, id, _| base.context_mut().push(id)).unwrap()).collect();
    ids.iter().for_each(|&id| base.add(id, Some(Duration::ZERO)).unwrap());
    base.dispatch().unwrap();
    assert_eq!(base.context(), &ids);
}
