//! Looking at events and at the base: getters, `for_each_event`, the dump, counts, the time, and the hook of the turns.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use support::events::*;
use support::net::any_port;
use zerovent::event_base::{Config, Ended, Event, EventCounts, EventId, Interest, Run, Turn};
use zerovent::listener::ListenOptions;
use zerovent::{Error, EventBase};

const MS: Duration = Duration::from_millis(1);

#[test]
fn getters_tell_what_an_event_was_made_of() {
    let mut base = EventBase::with_config(&Config::new().priorities(5), ()).unwrap();
    let (near, _far) = pair();
    let both = Interest::READ | Interest::CLOSED | Interest::EDGE;
    let on_fd = Event::fd(&near, both).persist().priority(4).name("on fd");
    let reader = base.new_event(on_fd, |_, _, _| {}).unwrap();
    let signal = base.new_signal(libc::SIGHUP, |_, _, _| {}).unwrap();
    let timer = base.new_timer(|_, _, _| {}).unwrap();
    let told = |id: EventId| {
        (base.event_fd(id).unwrap(), base.event_signal(id).unwrap(), base.event_interest(id).unwrap())
    };
    assert_eq!(told(reader), (Some(near.as_raw_fd()), None, both));
    assert_eq!(told(signal), (None, Some(libc::SIGHUP), Interest::empty()));
    assert_eq!(told(timer), (None, None, Interest::empty()));
    assert_eq!([reader, signal, timer].map(|id| base.priority(id).unwrap()), [4, 2, 2], "half of five");
    assert_eq!(base.event_name(reader).unwrap(), Some("on fd"));
    assert_eq!(base.event_name(timer).unwrap(), None);
    assert_eq!(base.event_spec(reader).unwrap(), on_fd);
    assert_eq!(base.event_spec(signal).unwrap(), Event::signal(libc::SIGHUP).persist().priority(2));
    assert_eq!(base.event_spec(timer).unwrap(), Event::timer().one_shot().priority(2));
    base.set_priority(timer, 0).unwrap();
    assert_eq!(base.event_spec(timer).unwrap(), Event::timer().one_shot().priority(0));
    base.free(timer).unwrap();
    assert!(!base.is_alive(timer) && base.is_alive(reader));
    assert!(matches!(base.event_fd(timer), Err(Error::Stale)));
    assert!(matches!(base.event_spec(timer), Err(Error::Stale)));
    assert!(matches!(base.pending(timer), Err(Error::Stale)));
}

/// The book's way to give an event another callback: look, and refuse what is pending.
#[test]
fn an_event_is_made_again_from_what_it_was_made_of() {
    fn replace(base: &mut Base, id: EventId) -> Option<EventId> {
        let pending = base.pending(id).unwrap();
        if pending.active || !pending.what.is_empty() {
            return None;
        }
        let event = base.event_spec(id).unwrap();
        base.free(id).unwrap();
        Some(base.new_event(event, note("new")).unwrap())
    }
    let mut base = base();
    let old = noted(&mut base, "old", Event::timer().persist(), Some(NEVER));
    assert_eq!(replace(&mut base, old), None);
    base.del(old).unwrap();
    base.activate(old, READ).unwrap();
    assert_eq!(replace(&mut base, old), None);
    base.del(old).unwrap();
    let new = replace(&mut base, old).unwrap();
    base.add(new, Some(Duration::ZERO)).unwrap();
    assert_eq!(pass(&mut base), [("new", TIMEOUT)]);
    assert!(base.pending(new).unwrap().remaining.is_none(), "a timeout of zero does not restart");
}

#[test]
fn the_running_event_is_known_while_it_runs() {
    let mut base = base();
    assert_eq!(base.running_event(), None);
    for _ in 0..2 {
        let id = base
            .new_timer(|base: &mut Base, id, _| {
                assert_eq!(base.running_event(), Some(id));
                base.free(id).unwrap();
                assert_eq!(base.running_event(), Some(id));
            })
            .unwrap();
        base.activate(id, READ).unwrap();
    }
    base.remote().run(|base| assert_eq!(base.running_event(), None)).unwrap();
    base.new_check_watcher(|base, _| assert_eq!(base.running_event(), None));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(base.running_event(), None);
    let bad = base.new_timer(|_, _, _| panic!("expected")).unwrap();
    base.activate(bad, READ).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| base.dispatch()));
    assert!(result.is_err());
    assert_eq!(base.running_event(), None);
}

#[test]
fn each_event_that_waits_or_is_active_is_shown_once() {
    let mut base = base();
    let (near, _far) = pair();
    let waits = noted(&mut base, "", reading(&near), Some(NEVER));
    let active = idle(&mut base, "");
    base.activate(active, READ).unwrap();
    let active_for_nothing = idle(&mut base, "");
    base.activate(active_for_nothing, zerovent::event_base::What::empty()).unwrap();
    let both = noted(&mut base, "", Event::timer(), Some(NEVER));
    base.activate(both, WRITE).unwrap();
    let _idle = idle(&mut base, "");
    base.listen(any_port(), &ListenOptions::new(), |_, _, _, _| {}).unwrap();
    let mut shown = Vec::new();
    let all = base.for_each_event(|id, pending| {
        assert_eq!(base.pending(id).unwrap().what, pending.what);
        shown.push(id);
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(all, ControlFlow::Continue(()));
    assert_eq!(shown.len(), 4);
    let index_of = |id| shown.iter().position(|other| *other == id);
    let found: BTreeSet<_> =
        [waits, active, active_for_nothing, both].into_iter().filter_map(index_of).collect();
    assert_eq!(found.len(), 4);
    let mut seen = 0;
    let stopped = base.for_each_event(|_, _| {
        seen += 1;
        if seen == 2 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
    });
    assert_eq!((stopped, seen), (ControlFlow::Break("enough"), 2));
}

#[test]
fn the_dump_names_what_waits_and_what_is_active() {
    let mut base = base();
    let (near, _far) = pair();
    let interest = Interest::READ | Interest::CLOSED;
    noted(&mut base, "", Event::fd(&near, interest).persist().name("peer"), Some(NEVER));
    let timer = noted(&mut base, "", Event::timer().name("with \"quotes\""), None);
    base.activate(timer, READ | TIMEOUT).unwrap();
    noted(&mut base, "", Event::signal(libc::SIGUSR2), None);
    base.listen(any_port(), &ListenOptions::new(), |_, _, _, _| {}).unwrap();
    let mut text = String::new();
    base.dump_events(&mut text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let fd = near.as_raw_fd();
    assert_eq!(lines[0], "Waiting:");
    let reader =
        format!("  event 0 \"peer\": descriptor {fd}, READ | CLOSED, persistent, priority 0, due in 999.");
    assert!(lines[1].starts_with(&reader), "{text}");
    assert_eq!(lines[2], format!("  event 2: signal {}, persistent, priority 0", libc::SIGUSR2));
    assert!(lines[3].starts_with("  listener 0: descriptor "), "{text}");
    assert_eq!(
        lines[4..],
        ["Active:", "  event 1 \"with \\\"quotes\\\"\": timer, priority 0, for TIMEOUT | READ"]
    );
}

/// Takes so many bytes and then no more.
struct Narrow(usize);

impl fmt::Write for Narrow {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn a_dump_that_cannot_be_written_says_so() {
    let mut base = base();
    let timer = noted(&mut base, "", Event::timer(), Some(NEVER));
    base.activate(timer, READ).unwrap();
    for room in 0..40 {
        assert!(base.dump_events(&mut Narrow(room)).is_err(), "{room}");
    }
    assert!(base.dump_events(&mut Narrow(1000)).is_ok());
}

fn counts(added: usize, active: usize, engines: usize) -> EventCounts {
    let mut counts = EventCounts::default();
    (counts.added, counts.active, counts.virtual_) = (added, active, engines);
    counts
}

#[test]
fn events_are_counted_and_so_are_their_maxima() {
    let mut base = base();
    assert_eq!((base.event_counts(), base.event_maxima()), (counts(0, 0, 0), counts(0, 0, 0)));
    let (near, _far) = pair();
    let listener = base.listen(any_port(), &ListenOptions::new(), |_, _, _, _| {}).unwrap();
    let reader = noted(&mut base, "", reading(&near), Some(NEVER));
    let timers: Vec<_> = (0..3).map(|_| noted(&mut base, "", Event::timer(), Some(NEVER))).collect();
    assert_eq!(base.event_counts(), counts(4, 0, 1), "with a timeout as well it is one event");
    let stats = base.stats();
    assert_eq!((stats.on_descriptors, stats.on_signals, stats.on_time), (2, 0, 4));
    timers.iter().for_each(|&id| base.activate(id, READ).unwrap());
    assert_eq!(base.event_counts(), counts(4, 3, 1));
    pass(&mut base);
    assert_eq!(base.event_counts(), counts(1, 0, 1));
    base.del(reader).unwrap();
    base.free_listener(listener).unwrap();
    pass(&mut base);
    assert_eq!(base.event_counts(), counts(0, 0, 0));
    assert_eq!(base.event_maxima(), counts(4, 3, 1));
    base.set_priorities(3).unwrap();
    assert_eq!(base.event_maxima(), counts(4, 3, 1));
    base.add(reader, None).unwrap();
    base.reset_event_maxima();
    assert_eq!(base.event_maxima(), counts(1, 0, 0));
}

#[test]
fn the_cached_time_stands_still_in_a_turn_until_it_is_updated() {
    let mut base = EventBase::new().unwrap();
    base.update_cached_time();
    let before = SystemTime::now();
    let outside = base.cached_time();
    assert!(outside >= before);
    let id = base
        .new_timer(move |base, _, _| {
            let first = base.cached_time();
            std::thread::sleep(5 * MS);
            assert_eq!(base.cached_time(), first);
            base.update_cached_time();
            let second = base.cached_time();
            assert!(second.duration_since(first).unwrap() >= 4 * MS, "{first:?}, {second:?}");
            std::thread::sleep(MS);
            assert_eq!(base.cached_time(), second);
        })
        .unwrap();
    base.activate(id, TIMEOUT).unwrap();
    base.dispatch().unwrap();
    std::thread::sleep(MS);
    assert!(base.cached_time() > outside, "outside the loop it is the clock's");
}

#[test]
fn timeouts_count_from_the_updated_time() {
    let mut base = base();
    let id = base
        .new_timer(|base: &mut Base, _, _| {
            std::thread::sleep(20 * MS);
            noted(base, "from the turn's time", Event::timer(), Some(10 * MS));
            base.update_cached_time();
            let late = noted(base, "from now", Event::timer(), Some(10 * MS));
            assert_eq!(base.pending(late).unwrap().remaining, Some(10 * MS));
        })
        .unwrap();
    base.activate(id, TIMEOUT).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["from the turn's time", "from now"]);
}

#[test]
fn the_hook_hears_of_each_turn_how_long_it_waited_and_worked() {
    let mut base = EventBase::new().unwrap();
    let turns = Rc::new(RefCell::new(Vec::<Turn>::new()));
    let seen = Rc::clone(&turns);
    base.set_turn_hook(move |turn| seen.borrow_mut().push(turn));
    let id = base.new_timer(|_, _, _| std::thread::sleep(10 * MS)).unwrap();
    base.add(id, Some(20 * MS)).unwrap();
    let before = base.stats().turns;
    base.dispatch().unwrap();
    let told = turns.take();
    assert_eq!(told.len() as u64, base.stats().turns - before);
    let (waited, worked) = told
        .iter()
        .fold((Duration::ZERO, Duration::ZERO), |sum, turn| (sum.0 + turn.waited, sum.1 + turn.worked));
    assert!(waited >= 19 * MS && worked >= 10 * MS, "{told:?}");
    base.clear_turn_hook();
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(turns.take(), []);
}

/// The rule that the book leaves open is a promise here.
#[test]
fn within_a_priority_events_are_called_in_the_order_they_became_active() {
    let mut base = EventBase::with_config(&Config::new().priorities(255), Calls::new()).unwrap();
    let names_in_order = ["a", "b", "c", "d", "e"];
    let ids: Vec<_> = names_in_order.iter().map(|name| base.new_timer(note(name)).unwrap()).collect();
    assert_eq!(base.priority(ids[0]).unwrap(), 127);
    for place in [3, 0, 4, 1, 2] {
        base.activate(ids[place], READ).unwrap();
    }
    base.del(ids[4]).unwrap();
    base.activate(ids[4], READ).unwrap();
    let last = base.new_event(Event::timer().priority(254), note("last")).unwrap();
    base.activate(last, READ).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["d", "a", "b", "c", "e", "last"]);
}
