//! The book's chapter "Working with events": timeouts.

mod support;

use std::time::{Duration, Instant};

use support::events::*;
use zerovent::EventBase;
use zerovent::event_base::{Ended, Event, Pending, Run};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_timer_is_never_early() {
    let mut base = EventBase::with_context(Vec::<(Duration, Duration)>::new()).unwrap();
    let durations = [0, 1, 999, 1_000, 300_000, 999_999, 1_000_000, 1_000_001, 7_654_321, 20_000_000];
    for _ in 0..3 {
        for timeout in durations.map(Duration::from_nanos) {
            let start = Instant::now();
            let id = base
                .new_timer(move |base: &mut EventBase<Vec<_>>, id, what| {
                    base.context_mut().push((timeout, start.elapsed()));
                    assert_eq!(what, TIMEOUT);
                    base.free(id).unwrap();
                })
                .unwrap();
            base.add(id, Some(timeout)).unwrap();
        }
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    }
    assert_eq!(base.context().len(), 30);
    for (timeout, waited) in base.context() {
        assert!(waited >= timeout, "{timeout:?} was up after {waited:?}");
    }
}

#[test]
fn timers_are_never_early_after_something_else_refreshed_the_time() {
    let mut base = EventBase::with_context(None).unwrap();
    let (near, _far) = pair();
    let doomed = base.new_socket(Some(near.into()), &Default::default()).unwrap();
    base.free_after_flush(doomed, Duration::ZERO).unwrap();
    std::thread::sleep(30 * MS);
    let start = Instant::now();
    let id = base
        .new_timer(move |base: &mut EventBase<Option<Duration>>, _, _| {
            *base.context_mut() = Some(start.elapsed());
        })
        .unwrap();
    base.add(id, Some(20 * MS)).unwrap();
    base.dispatch().unwrap();
    let waited = base.context().unwrap();
    assert!(waited >= 20 * MS, "{waited:?}");
}

#[test]
fn timers_come_in_the_order_of_their_deadlines_and_ties_in_the_order_of_adding() {
    let mut base = base();
    // Inside a callback time stands still, so equal timeouts are equal deadlines.
    let id = base
        .new_timer(|base: &mut Base, _, _| {
            let moved = noted(base, "moved", Event::timer(), Some(2 * MS));
            noted(base, "d", Event::timer(), Some(3 * MS));
            noted(base, "b", Event::timer(), Some(2 * MS));
            noted(base, "c", Event::timer(), Some(2 * MS));
            noted(base, "a", Event::timer(), Some(MS));
            base.add(moved, Some(2 * MS)).unwrap();
        })
        .unwrap();
    base.add(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["a", "b", "c", "moved", "d"]);
}

#[test]
fn a_thousand_timers_come_in_order_whatever_their_order_of_adding() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let mut random = Random(5);
    let start = base
        .new_timer(move |base: &mut EventBase<Vec<(usize, usize)>>, _, _| {
            for order in 0..1000 {
                let ticks = random.below(50);
                let id = base
                    .new_timer(move |base: &mut EventBase<Vec<_>>, _, _| {
                        base.context_mut().push((ticks, order))
                    })
                    .unwrap();
                base.add(id, Some(Duration::from_micros(ticks as u64 * 100))).unwrap();
            }
        })
        .unwrap();
    base.add(start, Some(Duration::ZERO)).unwrap();
    base.dispatch().unwrap();
    assert_eq!(base.context().len(), 1000);
    assert!(base.context().is_sorted());
}

#[test]
fn a_periodic_timer_keeps_its_schedule() {
    let mut base = EventBase::with_context(Vec::<Duration>::new()).unwrap();
    let start = Instant::now();
    let id = base
        .new_event(Event::timer().persist(), move |base: &mut EventBase<Vec<_>>, _, _| {
            base.context_mut().push(start.elapsed());
            std::thread::sleep(MS);
            if base.context().len() == 10 {
                base.loop_break();
            }
        })
        .unwrap();
    base.add(id, Some(4 * MS)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    for (place, at) in base.context().iter().enumerate() {
        assert!(*at >= 4 * MS * (place as u32 + 1), "call {place} came after {at:?}");
    }
}

#[test]
fn missed_periods_are_one_call() {
    let mut base = base();
    let id = noted(&mut base, "tick", Event::timer().persist(), Some(20 * MS));
    std::thread::sleep(130 * MS);
    assert_eq!(pass(&mut base), [("tick", TIMEOUT)]);
    let pending = base.pending(id).unwrap();
    assert_eq!(pending.what, TIMEOUT);
    assert!(pending.remaining.unwrap() <= 20 * MS);
}

#[test]
fn a_timeout_beside_a_descriptor_restarts_with_each_activity() {
    struct Seen {
        reads: usize,
        timed_out: Option<Instant>,
    }
    let mut base = EventBase::with_context(Seen { reads: 0, timed_out: None }).unwrap();
    let (near, far) = pair();
    let reader = near.try_clone().unwrap();
    let idle = base
        .new_event(reading(&near).persist(), move |base: &mut EventBase<Seen>, id, what| {
            if what.contains(TIMEOUT) {
                base.context_mut().timed_out = Some(Instant::now());
                base.free(id).unwrap();
            } else {
                empty(&reader);
                base.context_mut().reads += 1;
            }
        })
        .unwrap();
    base.add(idle, Some(40 * MS)).unwrap();
    let feeder = base
        .new_event(Event::timer().persist(), move |base: &mut EventBase<Seen>, id, _| {
            poke(&far);
            if base.context().reads >= 8 {
                base.del(id).unwrap();
            }
        })
        .unwrap();
    base.add(feeder, Some(8 * MS)).unwrap();
    // The timeout starts again at some time within the turn that brings a byte, so not before that turn began.
    let mut last_byte_after = Instant::now();
    while base.context().timed_out.is_none() {
        let (began, reads) = (Instant::now(), base.context().reads);
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
        if base.context().reads > reads && base.context().timed_out.is_none() {
            last_byte_after = began;
        }
    }
    let waited = base.context().timed_out.unwrap() - last_byte_after;
    assert!(waited >= 40 * MS, "timed out {waited:?} after the turn of the last byte");
    assert!(base.context().reads > 0);
}

#[test]
fn adding_again_moves_the_deadline_and_without_one_leaves_it() {
    let mut base = base();
    let id = noted(&mut base, "it", Event::timer(), Some(Duration::ZERO));
    base.add(id, Some(NEVER)).unwrap();
    std::thread::sleep(MS);
    assert_eq!(pass(&mut base), []);
    base.add(id, None).unwrap();
    assert!(base.pending(id).unwrap().remaining.unwrap() > NEVER / 2);
    base.add(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(run_dry(&mut base), [("it", TIMEOUT)]);
}

#[test]
fn removing_the_timer_leaves_the_rest() {
    let mut base = base();
    let (near, far) = pair();
    let reader = noted(&mut base, "reader", reading(&near).persist(), Some(MS));
    let timer = noted(&mut base, "timer", Event::timer().persist(), Some(MS));
    base.remove_timer(reader).unwrap();
    base.remove_timer(timer).unwrap();
    assert_eq!(base.pending(timer).unwrap(), Pending::default());
    std::thread::sleep(2 * MS);
    poke(&far);
    assert_eq!(pass(&mut base), [("reader", READ)]);
    assert_eq!(base.pending(reader).unwrap(), Pending { what: READ, ..Pending::default() });
    base.free(reader).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn deleted_and_added_without_a_timeout_it_has_none() {
    let mut base = base();
    let (near, far) = pair();
    let id = noted(&mut base, "it", reading(&near).persist(), Some(MS));
    base.del(id).unwrap();
    base.add(id, None).unwrap();
    assert_eq!(base.pending(id).unwrap().remaining, None);
    poke(&far);
    assert_eq!(pass(&mut base), [("it", READ)]);
    assert_eq!(base.pending(id).unwrap().remaining, None, "nor does it come back with the first call");
}

#[test]
fn adding_again_with_a_timeout_takes_back_a_timeout_not_yet_told() {
    let mut base =
        EventBase::with_config(&zerovent::event_base::Config::new().priorities(2), Calls::new()).unwrap();
    let (near, far) = pair();
    let timer = noted(&mut base, "timer", Event::timer().priority(1), Some(Duration::ZERO));
    let both = noted(&mut base, "both", reading(&near).priority(1), Some(Duration::ZERO));
    let first = base
        .new_event(Event::timer().priority(0), move |base: &mut Base, _, _| {
            for id in [timer, both] {
                assert!(base.pending(id).unwrap().active);
                base.add(id, Some(NEVER)).unwrap();
            }
        })
        .unwrap();
    base.add(first, Some(Duration::ZERO)).unwrap();
    poke(&far);
    std::thread::sleep(MS);
    assert_eq!(pass(&mut base), [("both", READ)], "what has arrived is told, the timeout is not");
    assert!(base.pending(timer).unwrap().remaining.is_some());
    base.free(timer).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn a_timeout_of_zero_is_one_call_in_the_next_turn() {
    let mut base = base();
    noted(&mut base, "once", Event::timer(), Some(Duration::ZERO));
    let persistent = noted(&mut base, "persistent", Event::timer().persist(), Some(Duration::ZERO));
    assert_eq!(pass(&mut base), [("once", TIMEOUT), ("persistent", TIMEOUT)]);
    assert_eq!(base.pending(persistent).unwrap(), Pending::default(), "it has no period to start again with");
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn a_timer_that_adds_itself_with_zero_lets_everything_else_go_on() {
    let mut base = base();
    let (near, far) = pair();
    let again = base.new_timer(|base: &mut Base, id, _| base.add(id, Some(Duration::ZERO)).unwrap()).unwrap();
    base.add(again, Some(Duration::ZERO)).unwrap();
    let reader = base.new_event(reading(&near), |base: &mut Base, _, _| base.loop_break()).unwrap();
    base.add(reader, None).unwrap();
    poke(&far);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
}

#[test]
fn the_longest_timeouts_do_not_wrap() {
    let mut base = base();
    let (near, far) = pair();
    let ids = [Duration::MAX, Duration::from_secs(u64::MAX / 1_000_000_000), Duration::from_nanos(u64::MAX)]
        .map(|timeout| noted(&mut base, "far off", reading(&near).persist(), Some(timeout)));
    assert_eq!(pass(&mut base), []);
    poke(&far);
    assert_eq!(pass(&mut base), [("far off", READ); 3], "and restarting them neither");
    empty(&near);
    assert_eq!(pass(&mut base), []);
    // A wait for that long is one that the kernel takes.
    let stop = base.new_timer(|base: &mut Base, _, _| base.loop_break()).unwrap();
    let remote = base.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(5 * MS);
        remote.activate(stop, TIMEOUT).unwrap();
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    thread.join().unwrap();
    for id in ids {
        assert!(base.pending(id).unwrap().remaining.unwrap() > NEVER);
        base.free(id).unwrap();
    }
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn the_heap_forgets_the_timers_of_freed_events() {
    let mut base = base();
    let ids: Vec<_> = (0..1000).map(|_| noted(&mut base, "it", Event::timer(), Some(NEVER))).collect();
    assert_eq!(base.stats().timers, 1000);
    ids.iter().for_each(|&id| base.free(id).unwrap());
    assert_eq!(base.stats().timers, 0);
}
