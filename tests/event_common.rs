//! Common timeouts: one queue a duration, and everything else as with timeouts of an event's own.

mod support;

use std::time::{Duration, Instant};

use support::alloc::{self, Counting};
use support::events::*;
use zerovent::event_base::{CommonTimeout, Ended, Event, EventId, Run};
use zerovent::{Error, EventBase};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MS: Duration = Duration::from_millis(1);

fn common(base: &mut Base, name: &'static str, event: Event, timeout: CommonTimeout) -> EventId {
    let id = base.new_event(event, note(name)).unwrap();
    base.add_common(id, timeout).unwrap();
    id
}

#[test]
fn the_same_duration_is_the_same_timeout_and_there_may_be_thousands() {
    let mut base = base();
    let timeouts: Vec<_> = (0..2000).map(|index| base.common_timeout(Duration::from_micros(index))).collect();
    for (index, timeout) in timeouts.iter().enumerate() {
        assert_eq!(timeout.duration(), Duration::from_micros(index as u64));
    }
    assert_eq!(base.common_timeout(Duration::from_micros(700)), timeouts[700]);
    assert_eq!(base.common_timeout(Duration::MAX), base.common_timeout(Duration::MAX));
    timeouts.iter().rev().for_each(|&timeout| {
        common(&mut base, "it", Event::timer(), timeout);
    });
    assert_eq!(run_dry(&mut base).len(), 2000);
}

#[test]
fn another_bases_timeout_is_refused() {
    let (mut base, mut other) = (base(), base());
    let theirs = other.common_timeout(MS);
    let id = idle(&mut base, "never");
    assert!(matches!(base.add_common(id, theirs), Err(Error::Invalid(_))));
    base.common_timeout(2 * MS);
    assert!(matches!(base.add_common(id, theirs), Err(Error::Invalid(_))));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn they_come_in_order_among_themselves_and_with_others() {
    let mut base = base();
    let (two, three) = (base.common_timeout(2 * MS), base.common_timeout(3 * MS));
    let start = base
        .new_timer(move |base: &mut Base, _, _| {
            common(base, "f", Event::timer(), three);
            noted(base, "a", Event::timer(), Some(MS));
            common(base, "b", Event::timer(), two);
            noted(base, "c", Event::timer(), Some(2 * MS));
            let moved = common(base, "e", Event::timer(), two);
            common(base, "d", Event::timer(), two);
            base.add_common(moved, two).unwrap();
            let from_queue = common(base, "h", Event::timer(), two);
            base.add(from_queue, Some(4 * MS)).unwrap();
            let to_queue = noted(base, "g", Event::timer(), Some(MS));
            base.add_common(to_queue, three).unwrap();
            let gone = common(base, "gone", Event::timer(), two);
            base.del(gone).unwrap();
            let freed = common(base, "freed", Event::timer(), three);
            base.free(freed).unwrap();
        })
        .unwrap();
    base.activate(start, TIMEOUT).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn none_is_early_and_pending_tells_what_is_left() {
    let mut base = EventBase::with_context(0).unwrap();
    for micros in [0, 1, 300, 999, 7_001] {
        let timeout = base.common_timeout(Duration::from_micros(micros));
        for _ in 0..20 {
            let start = Instant::now();
            let id = base
                .new_timer(move |base: &mut EventBase<usize>, _, what| {
                    assert!(start.elapsed() >= timeout.duration(), "{timeout:?} after {:?}", start.elapsed());
                    assert_eq!(what, TIMEOUT);
                    *base.context_mut() += 1;
                })
                .unwrap();
            base.add_common(id, timeout).unwrap();
            let pending = base.pending(id).unwrap();
            assert_eq!(pending.what, TIMEOUT);
            assert!(pending.remaining.unwrap() <= timeout.duration());
        }
    }
    base.dispatch().unwrap();
    assert_eq!(*base.context(), 100);
}

#[test]
fn a_persistent_event_starts_again_with_it_until_it_is_given_another() {
    let mut base = base();
    let often = base.common_timeout(2 * MS);
    let id = common(&mut base, "tick", Event::timer().persist(), often);
    let other = common(&mut base, "tock", Event::timer().persist(), often);
    let start = Instant::now();
    for round in 1..=5 {
        while base.context().len() < 2 * round {
            base.run(Run::ONCE).unwrap();
        }
        assert!(start.elapsed() >= 2 * MS * (round as u32 - 1));
    }
    assert_eq!(names(base.context())[..4], ["tick", "tock", "tick", "tock"]);
    base.del(other).unwrap();
    base.add(id, Some(NEVER)).unwrap();
    base.context_mut().clear();
    std::thread::sleep(5 * MS);
    assert_eq!(pass(&mut base), []);
    base.add_common(id, often).unwrap();
    base.remove_timer(id).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn beside_a_descriptor_it_starts_again_with_each_activity() {
    let mut base = base();
    let (near, far) = pair();
    let idle_out = base.common_timeout(40 * MS);
    let id = common(&mut base, "peer", reading(&near).persist(), idle_out);
    let silent = common(&mut base, "silent", Event::timer(), idle_out);
    std::thread::sleep(20 * MS);
    poke(&far);
    let start = Instant::now();
    assert_eq!(pass(&mut base), [("peer", READ)]);
    empty(&near);
    let left = base.pending(id).unwrap().remaining.unwrap();
    assert!(left > base.pending(silent).unwrap().remaining.unwrap());
    while names(base.context()) != ["silent", "peer"] {
        base.run(Run::ONCE).unwrap();
    }
    assert!(start.elapsed() >= 40 * MS);
}

#[test]
fn work_with_common_timeouts_allocates_nothing() {
    let mut base = EventBase::with_context(0usize).unwrap();
    let soon = base.common_timeout(Duration::from_nanos(1));
    let later = base.common_timeout(NEVER);
    let mut moved = Vec::new();
    for _ in 0..100 {
        let again = move |base: &mut EventBase<usize>, id, _| {
            *base.context_mut() += 1;
            base.add_common(id, soon).unwrap();
        };
        let id = base.new_timer(again).unwrap();
        base.add_common(id, soon).unwrap();
        let tick = base.new_event(Event::timer().persist(), |base, _, _| *base.context_mut() += 1).unwrap();
        base.add_common(tick, soon).unwrap();
        moved.push(base.new_timer(|_, _, _| {}).unwrap());
    }
    let turns = |base: &mut EventBase<usize>, count| {
        for _ in 0..count {
            moved.iter().for_each(|&id| base.add_common(id, later).unwrap());
            assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done);
            moved.iter().step_by(2).for_each(|&id| base.del(id).unwrap());
        }
    };
    turns(&mut base, 100);
    let (before, calls) = (alloc::allocations(), *base.context());
    turns(&mut base, 1000);
    assert_eq!(alloc::allocations() - before, 0);
    assert!(*base.context() - calls > 100_000, "there was work");
}
