//! The book's chapter "Working with events": signals. They belong to the process, so each test has its own.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::alloc::{self, Counting};
use support::events::*;
use zerovent::event_base::{Ended, Event, EventId, Pending, Run, What};
use zerovent::{Error, EventBase};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Counter = EventBase<usize>;

fn counter() -> Counter {
    EventBase::with_context(0).unwrap()
}

fn count(base: &mut Counter, _: EventId, what: What) {
    assert_eq!(what, SIGNAL);
    *base.context_mut() += 1;
}

fn counting(base: &mut Counter, event: Event) -> EventId {
    let id = base.new_event(event, count).unwrap();
    base.add(id, None).unwrap();
    id
}

/// A signal of this test's own; what it does by default is to end the process.
fn own(place: i32) -> i32 {
    libc::SIGRTMIN() + place
}

/// The address of what handles a signal now.
fn handler(signal: i32) -> usize {
    // SAFETY: `sigaction` is plain data, and all zeroes are a valid value.
    #[allow(unsafe_code, reason = "the test looks at what is installed")]
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is installed, and `action` is live and writable.
    #[allow(unsafe_code, reason = "the test looks at what is installed")]
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    assert_eq!(result, 0);
    action.sa_sigaction
}

fn poll<C>(base: &mut EventBase<C>) {
    base.run(Run::NONBLOCK).unwrap();
}

#[test]
fn a_signal_is_delivered_as_often_as_it_came() {
    let mut base = counter();
    let id = counting(&mut base, Event::signal(own(1)));
    assert_eq!(base.pending(id).unwrap(), Pending { what: SIGNAL, ..Pending::default() });
    for raised in [1, 3, 0, 100] {
        *base.context_mut() = 0;
        (0..raised).for_each(|_| raise(own(1)));
        poll(&mut base);
        assert_eq!(*base.context(), raised);
    }
}

#[test]
fn a_signal_wakes_a_loop_that_waits() {
    let mut base = counter();
    let signal = own(2);
    let id = base.new_signal(signal, |base: &mut Counter, _, _| base.loop_break()).unwrap();
    base.add(id, None).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        raise(signal);
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    thread.join().unwrap();
}

#[test]
fn any_number_of_bases_and_events_see_the_same_signal() {
    let signal = own(3);
    let mut bases: Vec<_> = (0..40).map(|_| counter()).collect();
    for base in &mut bases {
        counting(base, Event::signal(signal));
        counting(base, Event::signal(signal));
    }
    raise(signal);
    raise(signal);
    for base in &mut bases {
        poll(base);
        assert_eq!(*base.context(), 4, "two events, two deliveries");
    }
    bases.truncate(1);
    raise(signal);
    poll(&mut bases[0]);
    assert_eq!(*bases[0].context(), 6, "the others are gone, it still watches");
}

#[test]
fn what_handled_the_signal_before_comes_back_with_the_last_event() {
    let signal = own(4);
    assert_eq!(handler(signal), libc::SIG_DFL);
    let (mut one, mut two) = (counter(), counter());
    let first = counting(&mut one, Event::signal(signal));
    let second = counting(&mut one, Event::signal(signal));
    counting(&mut two, Event::signal(signal));
    let ours = handler(signal);
    assert_ne!(ours, libc::SIG_DFL);
    one.del(first).unwrap();
    assert_eq!(handler(signal), ours);
    one.free(second).unwrap();
    assert_eq!(handler(signal), ours, "the other base watches");
    drop(two);
    assert_eq!(handler(signal), libc::SIG_DFL);
    one.add(first, None).unwrap();
    assert_eq!(handler(signal), ours);
    drop(one);
    assert_eq!(handler(signal), libc::SIG_DFL);
}

#[test]
fn a_one_shot_event_is_called_once_and_gives_the_signal_back() {
    let signal = own(5);
    let mut base = counter();
    let id = counting(&mut base, Event::signal(signal).one_shot());
    (0..3).for_each(|_| raise(signal));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 1);
    assert_eq!(handler(signal), libc::SIG_DFL);
    base.add(id, None).unwrap();
    raise(signal);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 2);
}

#[test]
fn an_event_that_takes_itself_back_is_not_called_for_what_is_left() {
    let signal = own(6);
    let verbs: [fn(&mut Counter, EventId); 3] = [
        |base, id| base.del(id).unwrap(),
        |base, id| base.free(id).unwrap(),
        |base, id| {
            base.del(id).unwrap();
            base.add(id, None).unwrap();
            base.loop_exit(None).unwrap();
        },
    ];
    for verb in verbs {
        let mut base = counter();
        let id = base
            .new_signal(signal, move |base: &mut Counter, id, what| {
                count(base, id, what);
                verb(base, id);
            })
            .unwrap();
        base.add(id, None).unwrap();
        (0..5).for_each(|_| raise(signal));
        base.dispatch().unwrap();
        assert_eq!(*base.context(), 1);
    }
}

#[test]
fn what_is_left_survives_a_break_and_a_panic() {
    let signal = own(7);
    let mut base = counter();
    let id = base
        .new_signal(signal, |base: &mut Counter, id, what| {
            count(base, id, what);
            match *base.context() {
                2 => base.loop_break(),
                3 => panic!("expected"),
                5 => base.del(id).unwrap(),
                _ => {}
            }
        })
        .unwrap();
    base.add(id, None).unwrap();
    (0..5).for_each(|_| raise(signal));
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert_eq!(*base.context(), 2);
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 5);
}

#[test]
fn an_event_is_not_told_of_what_came_before_it_was_added() {
    let signal = own(8);
    let (mut base, mut other) = (base(), counter());
    noted(&mut base, "early", Event::signal(signal), None);
    raise(signal);
    noted(&mut base, "late", Event::signal(signal), None);
    counting(&mut other, Event::signal(signal));
    poll(&mut other);
    assert_eq!(*other.context(), 0);
    assert_eq!(pass(&mut base), [("early", SIGNAL)]);
    raise(signal);
    assert_eq!(pass(&mut base), [("early", SIGNAL), ("late", SIGNAL)]);
}

#[test]
fn a_signal_that_comes_while_nothing_runs_is_delivered_in_the_next_run() {
    let signal = own(9);
    let mut base = counter();
    let id = counting(&mut base, Event::signal(signal).one_shot());
    poll(&mut base);
    raise(signal);
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 1);
    base.add(id, None).unwrap();
    poll(&mut base);
    assert_eq!(*base.context(), 1, "it was not for this one");
}

#[test]
fn a_million_are_counted_and_the_last_is_heard() {
    const RAISED: usize = 1_000_000;
    let signal = own(10);
    let mut base = counter();
    counting(&mut base, Event::signal(signal));
    (0..RAISED).for_each(|_| raise(signal));
    while *base.context() < RAISED {
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    }
    poll(&mut base);
    assert_eq!(*base.context(), RAISED);
}

#[test]
fn signals_from_many_threads_are_all_counted() {
    let signal = own(11);
    let mut base = counter();
    let id = base
        .new_signal(signal, |base: &mut Counter, id, what| {
            count(base, id, what);
            if *base.context() == 20_000 {
                base.loop_break();
            }
        })
        .unwrap();
    base.add(id, None).unwrap();
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || (0..5000).for_each(|_| raise(signal)))).collect();
    base.loop_exit(Some(support::net::PATIENCE)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    poll(&mut base);
    assert_eq!(*base.context(), 20_000);
}

#[test]
fn bases_come_and_go_under_a_storm_of_signals() {
    let signal = own(12);
    let mut keeper = counter();
    counting(&mut keeper, Event::signal(signal));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let storm = std::thread::spawn(move || {
        let mut raised = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            raise(signal);
            raised += 1;
        }
        raised
    });
    for _ in 0..200 {
        let mut base = counter();
        counting(&mut base, Event::signal(signal));
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
        assert!(*base.context() > 0);
    }
    drop(stop);
    let raised = storm.join().unwrap();
    while *keeper.context() < raised {
        assert_eq!(keeper.run(Run::ONCE).unwrap(), Ended::Done);
    }
    poll(&mut keeper);
    assert_eq!(*keeper.context(), raised);
}

#[test]
fn signals_that_cannot_be_caught_are_refused_and_nothing_has_changed() {
    let mut base = base();
    let good = noted(&mut base, "good", Event::signal(own(14)), None);
    for signal in [0, -1, 65, i32::MAX, i32::MIN] {
        let before = base.stats();
        assert!(matches!(base.new_signal(signal, note("never")), Err(Error::Invalid(_))), "{signal}");
        assert_eq!(base.stats(), before);
    }
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        let id = base.new_signal(signal, note("never")).unwrap();
        let before = base.stats();
        assert!(matches!(base.add(id, Some(Duration::ZERO)), Err(Error::Io(_))), "{signal}");
        assert_eq!(base.pending(id).unwrap(), Pending::default());
        assert_eq!(base.stats(), before);
        base.del(id).unwrap();
        base.free(id).unwrap();
    }
    raise(own(14));
    assert_eq!(pass(&mut base), [("good", SIGNAL)]);
    base.free(good).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn a_timeout_beside_a_signal_works() {
    let signal = own(15);
    let mut base = base();
    let id = noted(&mut base, "it", Event::signal(signal), Some(NEVER));
    raise(signal);
    assert_eq!(pass(&mut base), [("it", SIGNAL)]);
    base.add(id, Some(Duration::from_millis(5))).unwrap();
    assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    assert_eq!(base.context()[..], [("it", TIMEOUT)]);
    base.context_mut().clear();
    base.activate(id, TIMEOUT).unwrap();
    raise(signal);
    base.remove_timer(id).unwrap();
    assert_eq!(pass(&mut base), [("it", TIMEOUT | SIGNAL)], "one delivery is one call");
}

#[test]
fn steady_signals_allocate_nothing() {
    let signal = own(16);
    let mut base = counter();
    counting(&mut base, Event::signal(signal));
    let again = base
        .new_event(Event::signal(signal).one_shot(), |base: &mut Counter, id, _| base.add(id, None).unwrap())
        .unwrap();
    base.add(again, None).unwrap();
    raise(signal);
    poll(&mut base);
    let before = alloc::allocations();
    for _ in 0..1000 {
        raise(signal);
        poll(&mut base);
    }
    assert_eq!(alloc::allocations() - before, 0);
    assert_eq!(*base.context(), 1001);
}
