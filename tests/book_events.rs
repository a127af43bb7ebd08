//! The programs of the book's chapters "Working with an event loop" and "Working with events", translated. Others of them
//! are among the examples (`rot13_events`) and in the tests of what they show.

mod support;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use support::events::*;
use zerovent::event_base::{CommonTimeout, Config, Ended, Event, EventId, Features, Interest, Run};
use zerovent::{Error, EventBase};

const MS: Duration = Duration::from_millis(1);

/// "The following code shuts down immediately": without calling what else is active.
#[test]
fn a_watchdog_shuts_down_immediately() {
    let mut base = base();
    let (near, far) = pair();
    let watchdog = base.new_event(reading(&near), |base: &mut Base, _, _| base.loop_break()).unwrap();
    base.add(watchdog, None).unwrap();
    let behind = noted(&mut base, "behind", reading(&near).persist(), None);
    poke(&far);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert!(base.context().is_empty() && base.pending(behind).unwrap().active);
}

/// "The following code runs an event loop for 10 seconds", thrice, and prints "Tick" after each.
#[test]
fn a_loop_ticks_each_time_it_exits() {
    let mut base = EventBase::new().unwrap();
    let start = Instant::now();
    for tick in 1..=3 {
        base.loop_exit(Some(10 * MS)).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Exit);
        assert!(start.elapsed() >= 10 * MS * tick, "tick {tick}");
        assert!(base.got_exit() && !base.got_break());
    }
}

/// The reading event waits five seconds at most each time, the writing one as long as it takes.
#[test]
fn two_events_of_one_connection_are_told_apart() {
    let mut base = base();
    let (near, far) = pair();
    noted(&mut base, "reading", reading(&near).persist(), Some(5 * MS));
    noted(&mut base, "writing", Event::fd(&near, Interest::WRITE).persist(), None);
    poke(&far);
    assert_eq!(pass(&mut base), [("reading", READ), ("writing", WRITE)]);
    empty(&near);
    std::thread::sleep(6 * MS);
    // The clock is looked at when the wait is over, so what is ready comes first.
    assert_eq!(pass(&mut base), [("writing", WRITE), ("reading", TIMEOUT)]);
}

/// "We're going to set up a repeating timer to get called 100 times."
#[test]
fn a_repeating_timer_deletes_itself_after_a_hundred_calls() {
    let mut base = EventBase::with_context(0).unwrap();
    let callback = |base: &mut EventBase<i32>, me, _| {
        *base.context_mut() += 1;
        if *base.context() == 100 {
            base.del(me).unwrap();
        }
    };
    let id = base.new_event(Event::timer().persist(), callback).unwrap();
    base.add(id, Some(Duration::from_micros(50))).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 100);
}

/// "Now, whenever the fd is ready for writing, the write callback will happen before the read callback."
#[test]
fn the_important_event_of_a_descriptor_keeps_the_other_waiting() {
    let mut base = EventBase::with_config(&Config::new().priorities(2), Calls::new()).unwrap();
    let (near, far) = pair();
    let add = |base: &mut Base, name, interest, priority| {
        let event = Event::fd(&near, interest).persist().priority(priority);
        noted(base, name, event, None)
    };
    add(&mut base, "unimportant", Interest::READ, 1);
    let important = add(&mut base, "important", Interest::WRITE, 0);
    poke(&far);
    for _ in 0..5 {
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    }
    assert!(names(base.context()).iter().all(|name| *name == "important"));
    base.del(important).unwrap();
    assert_eq!(names(&pass(&mut base)).last(), Some(&"unimportant"));
}

/// The alternative to an event that activates itself for ever: a timer that adds itself, with which others have their turn.
#[test]
fn a_timer_that_adds_itself_lets_others_be_called() {
    let mut base = base();
    let timer = base
        .new_timer(|base: &mut Base, me, _| {
            if base.pending(me).unwrap().what.is_empty() {
                base.add(me, Some(Duration::ZERO)).unwrap();
            }
        })
        .unwrap();
    base.add(timer, Some(Duration::ZERO)).unwrap();
    let other = base.new_timer(|base: &mut Base, _, _| base.loop_break()).unwrap();
    base.add(other, Some(2 * MS)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
}

/// "We're going to create a very large number of events on a given base, nearly all of which have a ten-second timeout."
#[test]
fn a_wrapper_uses_the_common_timeout_where_it_fits() {
    fn my_event_add(base: &mut Base, ten: CommonTimeout, id: EventId, timeout: Option<Duration>) {
        match timeout {
            Some(timeout) if timeout == ten.duration() => base.add_common(id, ten).unwrap(),
            other => base.add(id, other).unwrap(),
        }
    }
    let mut base = base();
    let ten = base.common_timeout(10 * MS);
    for place in 0..10_000 {
        let id = idle(&mut base, "it");
        my_event_add(&mut base, ten, id, Some(if place % 100 == 0 { 3 * MS } else { 10 * MS }));
    }
    assert!(base.stats().timers <= 101, "nearly all are in line: {:?}", base.stats());
    assert_eq!(run_dry(&mut base).len(), 10_000);
}

/// "Okay, that method wasn't available": asks for edge-triggered events and no select, and then takes whatever there is.
#[test]
fn a_program_falls_back_when_there_are_no_edges() {
    fn make(mut config: Config) -> (Base, bool) {
        for wants_edges in [true, false] {
            let required = if wants_edges { Features::EDGE } else { Features::empty() };
            config = config.require_features(required).avoid_method("select").ignore_env(true);
            match EventBase::with_config(&config, Calls::new()) {
                Ok(base) => return (base, wants_edges),
                Err(Error::NoBackend(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("not even without edges")
    }
    for (config, has_edges) in [(Config::new(), true), (Config::new().avoid_method("epoll"), false)] {
        let (mut base, edges) = make(config);
        assert_eq!((edges, base.features().contains(Features::EDGE)), (has_edges, has_edges));
        let (near, far) = pair();
        let edge = if edges { Interest::EDGE } else { Interest::empty() };
        noted(&mut base, "reader", Event::fd(&near, Interest::READ | edge).persist(), None);
        poke(&far);
        assert_eq!(pass(&mut base).len(), 1);
        assert_eq!(pass(&mut base).len(), usize::from(!edges), "a state is told again, an edge is not");
    }
}

/// Reads and writes are events of their own, made from a number as in `struct event_pair`.
#[test]
fn a_pair_of_events_lives_in_a_structure() {
    struct EventPair {
        read: EventId,
        write: EventId,
    }
    fn event_pair_new(base: &mut Base, fd: BorrowedFd<'_>) -> zerovent::Result<EventPair> {
        let read = base.new_event(Event::fd(&fd, Interest::READ).persist(), note("read"))?;
        let write = base.new_event(Event::fd(&fd, Interest::WRITE).persist(), note("write"))?;
        Ok(EventPair { read, write })
    }
    use std::os::fd::AsFd;
    let mut base = base();
    let (near, far) = pair();
    let pair = event_pair_new(&mut base, near.as_fd()).unwrap();
    base.add(pair.read, None).unwrap();
    base.add(pair.write, None).unwrap();
    poke(&far);
    assert_eq!(names(&pass(&mut base)), ["read", "write"]);
}
