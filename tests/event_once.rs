//! Closures that are called once: `once` and `free_finalize`, and when they are dropped.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::events::*;
use zerovent::event_base::{Ended, Event, Interest, Run};
use zerovent::{Error, EventBase};

const MS: Duration = Duration::from_millis(1);

#[test]
fn once_is_called_for_a_descriptor_a_timer_and_a_signal() {
    let mut base = base();
    let (near, far) = pair();
    base.once(reading(&near), None, |base, what| base.context_mut().push(("reader", what))).unwrap();
    base.once(reading(&near), Some(MS), |base, what| base.context_mut().push(("late", what))).unwrap();
    assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    assert_eq!(std::mem::take(base.context_mut()), [("late", TIMEOUT)]);
    poke(&far);
    base.once(Event::timer(), Some(MS), |base, what| base.context_mut().push(("timer", what))).unwrap();
    let signal = libc::SIGRTMIN() + 30;
    base.once(Event::signal(signal), None, |base, what| base.context_mut().push(("signal", what))).unwrap();
    (0..3).for_each(|_| raise(signal));
    assert_eq!(run_dry(&mut base), [("reader", READ), ("signal", SIGNAL), ("timer", TIMEOUT)]);
    assert_eq!(base.stats().slots, 0, "nobody had to free them");
}

#[test]
fn a_timer_without_a_timeout_is_called_at_once_in_the_order_of_the_calls() {
    let mut base = base();
    for (name, timeout) in [("a", None), ("b", Some(Duration::ZERO)), ("c", None)] {
        base.once(Event::timer(), timeout, move |base, what| base.context_mut().push((name, what))).unwrap();
    }
    assert_eq!(pass(&mut base), [("a", TIMEOUT), ("b", TIMEOUT), ("c", TIMEOUT)]);
}

#[test]
fn what_never_fires_is_freed_with_the_base_and_what_fires_before() {
    let token = Rc::new(());
    let hold = |base: &mut EventBase, event, timeout| {
        let held = Rc::clone(&token);
        base.once(event, timeout, move |_, _| drop(held)).unwrap();
    };
    let (near, _far) = pair();
    let mut base = EventBase::new().unwrap();
    hold(&mut base, reading(&near), None);
    hold(&mut base, Event::timer(), Some(NEVER));
    hold(&mut base, Event::signal(libc::SIGRTMIN() + 29), None);
    hold(&mut base, Event::timer(), None);
    assert_eq!(Rc::strong_count(&token), 5);
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(Rc::strong_count(&token), 4);
    drop(base);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_nothing_behind() {
    let token = Rc::new(());
    let mut base = EventBase::new().unwrap();
    let before = base.stats();
    let bad = [
        Event::timer().persist(),
        Event::signal(libc::SIGUSR1).persist(),
        Event::signal(0),
        Event::signal(libc::SIGKILL),
        Event::raw_fd(-1, Interest::READ),
        Event::raw_fd(1 << 22, Interest::READ),
        Event::timer().priority(9),
    ];
    for event in bad {
        let held = Rc::clone(&token);
        assert!(base.once(event, Some(MS), move |_, _| drop(held)).is_err(), "{event:?}");
        assert_eq!(base.stats().slots, before.slots);
    }
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn one_that_panics_is_gone() {
    let mut base = base();
    base.once(Event::timer(), None, |_, _| panic!("expected")).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    assert_eq!(base.stats().slots, 0);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn a_finalizer_comes_after_the_last_use_and_after_the_closure_is_gone() {
    let token = Rc::new(());
    let held = Rc::clone(&token);
    let watch = Rc::downgrade(&token);
    let mut base = base();
    let id = base
        .new_event(Event::timer().persist(), move |base: &mut Base, id, what| {
            let watch = watch.clone();
            let finalizer = move |base: &mut Base| {
                assert_eq!(watch.strong_count(), 1, "the closure, which held another, was dropped");
                base.context_mut().push(("finalizer", TIMEOUT));
            };
            base.free_finalize(id, finalizer).unwrap();
            assert!(!base.is_alive(id));
            assert!(matches!(base.free_finalize(id, |_| {}), Err(Error::Stale)));
            assert_eq!(Rc::strong_count(&held), 2, "it is still in use");
            base.context_mut().push(("event", what));
        })
        .unwrap();
    base.add(id, Some(Duration::ZERO)).unwrap();
    let behind = idle(&mut base, "behind");
    base.activate(behind, READ).unwrap();
    base.activate(id, READ).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["behind", "event", "finalizer"]);
}

#[test]
fn a_finalizer_from_outside_the_loop_is_called_by_the_next_run_or_by_the_drop() {
    let mut base = EventBase::with_context(()).unwrap();
    let calls = Rc::new(std::cell::Cell::new(0));
    let freed = |base: &mut EventBase| {
        let (id, calls) = (base.new_timer(|_, _, _| panic!("it was freed")).unwrap(), Rc::clone(&calls));
        base.activate(id, READ).unwrap();
        base.free_finalize(id, move |base| {
            assert!(matches!(base.dispatch(), Err(Error::Reentrant)));
            calls.set(calls.get() + 1);
        })
        .unwrap();
    };
    freed(&mut base);
    assert_eq!(calls.get(), 0);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(calls.get(), 1);
    freed(&mut base);
    freed(&mut base);
    drop(base);
    assert_eq!(calls.get(), 3);
}

#[test]
fn a_finalizer_may_finalize_add_and_stop() {
    let mut base = base();
    let (first, second) = (idle(&mut base, "first"), idle(&mut base, "second"));
    base.free_finalize(first, move |base| {
        base.context_mut().push(("one", READ));
        base.free_finalize(second, |base| {
            base.context_mut().push(("two", READ));
            base.once(Event::timer(), None, |base, _| base.context_mut().push(("once", READ))).unwrap();
        })
        .unwrap();
    })
    .unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["one", "two", "once"]);
}

#[test]
fn a_user_triggered_event_needs_no_descriptor_and_no_timeout() {
    let mut base = base();
    let id = idle(&mut base, "user");
    let persistent = base.new_event(Event::timer().persist(), note("persistent")).unwrap();
    for what in [READ, WRITE, TIMEOUT | READ] {
        base.activate(id, what).unwrap();
        base.activate(persistent, what).unwrap();
        assert_eq!(pass(&mut base), [("user", what), ("persistent", what)]);
        assert!(base.pending(id).unwrap().what.is_empty(), "activating makes nothing pending");
    }
    base.activate(id, READ).unwrap();
    base.activate(id, WRITE).unwrap();
    assert_eq!(pass(&mut base), [("user", READ | WRITE)]);
}
