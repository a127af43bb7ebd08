//! The book's chapter "Working with an event loop".

mod support;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use support::alloc::{self, Counting};
use support::events::*;
use support::net::PATIENCE;
use zerovent::bufferevent::Options;
use zerovent::event_base::{Config, Ended, Event, EventId, Interest, Run, What};
use zerovent::{Error, EventBase};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MS: Duration = Duration::from_millis(1);

fn with_priorities(priorities: u8) -> Base {
    EventBase::with_config(&Config::new().priorities(priorities), Calls::new()).unwrap()
}

/// An event that is called with `call` and notes it; active at once.
fn active(base: &mut Base, name: &'static str, call: impl Fn(&mut Base, EventId) + 'static) -> EventId {
    let id = base
        .new_timer(move |base: &mut Base, id, what| {
            base.context_mut().push((name, what));
            call(base, id);
        })
        .unwrap();
    base.activate(id, READ).unwrap();
    id
}

fn quiet(_: &mut Base, _: EventId) {}

fn taken(base: &mut Base) -> Vec<&'static str> {
    names(&std::mem::take(base.context_mut()))
}

#[test]
fn an_empty_base_has_nothing_to_run_for() {
    let mut base = base();
    for how in [Run::empty(), Run::ONCE, Run::NONBLOCK, Run::ONCE | Run::NONBLOCK] {
        assert_eq!(base.run(how).unwrap(), Ended::Empty);
    }
    idle(&mut base, "never added");
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn it_says_why_it_ended_and_forgets_that_when_it_starts() {
    let mut base = base();
    active(&mut base, "break", |base, _| base.loop_break());
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert_eq!((base.got_break(), base.got_exit()), (true, false));
    active(&mut base, "exit", |base, _| {
        assert_eq!((base.got_break(), base.got_exit()), (false, false));
        base.loop_exit(None).unwrap();
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert_eq!((base.got_break(), base.got_exit()), (false, true));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!((base.got_break(), base.got_exit()), (false, false));
    active(&mut base, "both", |base, _| {
        base.loop_exit(None).unwrap();
        base.loop_break();
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Break, "breaking is the stronger");
}

#[test]
fn once_waits_for_something_and_calls_all_of_it() {
    let mut base = with_priorities(3);
    for (name, priority) in [("c", 2), ("a", 0), ("b", 1), ("a2", 0)] {
        noted(&mut base, name, Event::timer().priority(priority), Some(MS));
    }
    let later = noted(&mut base, "later", Event::timer(), Some(NEVER));
    let start = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
        assert!(!base.context().is_empty(), "it returned without having called anything");
        seen.extend(taken(&mut base));
    }
    assert!(start.elapsed() >= MS);
    seen.sort_unstable();
    assert_eq!(seen, ["a", "a2", "b", "c"]);
    base.free(later).unwrap();
    assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Empty);
}

#[test]
fn once_and_nonblock_call_all_priorities_that_are_active() {
    for how in [Run::ONCE, Run::NONBLOCK] {
        let mut base = with_priorities(4);
        for (name, priority) in [("d", 3), ("b", 1), ("a", 0)] {
            let id = base.new_event(Event::timer().priority(priority), note(name)).unwrap();
            base.activate(id, READ).unwrap();
        }
        assert_eq!(base.run(how).unwrap(), Ended::Done);
        assert_eq!(taken(&mut base), ["a", "b", "d"]);
    }
}

#[test]
fn nonblock_does_not_wait_and_does_not_stay() {
    let mut base = with_priorities(2);
    let (near, far) = pair();
    noted(&mut base, "reader", reading(&near).persist(), Some(NEVER));
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done);
    assert_eq!(taken(&mut base), [""; 0]);
    noted(&mut base, "always", Event::fd(&far, Interest::WRITE).persist().priority(0), None);
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done);
    assert!(taken(&mut base).contains(&"always"));
    active(&mut base, "forever", |base, id| base.activate(id, READ).unwrap());
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done, "nor for one that activates itself");
}

#[test]
fn once_counts_what_settling_called() {
    let mut base = base();
    let (near, mut far) = pair();
    let id = base.new_socket(Some(near.into()), &Options::new()).unwrap();
    base.set_write_callback(id, |base, _| base.context_mut().push(("written", WRITE))).unwrap();
    base.bufferevent(id).unwrap().write(b"hello").unwrap();
    noted(&mut base, "too late", Event::timer(), Some(PATIENCE));
    assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    assert_eq!(taken(&mut base), ["written"]);
    let mut bytes = [0; 5];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn without_an_end_on_empty_it_waits_for_other_threads() {
    let mut base = base();
    let remote = base.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(20 * MS);
        remote.loop_exit(None).unwrap();
    });
    let start = Instant::now();
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Exit);
    assert!(start.elapsed() >= 20 * MS);
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY | Run::NONBLOCK).unwrap(), Ended::Done);
    thread.join().unwrap();
}

#[test]
fn exit_comes_after_all_that_is_active_and_calls_nothing_twice() {
    let mut base = with_priorities(3);
    let (near, far) = pair();
    poke(&far);
    let leaver = base
        .new_event(reading(&near).persist(), |base: &mut Base, _, what| {
            base.context_mut().push(("leaver", what));
            base.loop_exit(None).unwrap();
        })
        .unwrap();
    base.add(leaver, None).unwrap();
    noted(&mut base, "behind", reading(&near).persist(), None);
    noted(&mut base, "unimportant", reading(&near).persist().priority(2), None);
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert_eq!(taken(&mut base), ["leaver", "behind", "unimportant"]);
    base.free(leaver).unwrap();
    assert_eq!(names(&pass(&mut base))[0], "behind", "it waits in the next run as before");
}

#[test]
fn exit_is_not_kept_waiting_by_what_activates_itself() {
    let mut base = with_priorities(2);
    active(&mut base, "forever", |base, id| {
        base.activate(id, READ).unwrap();
        base.loop_exit(None).unwrap();
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
}

#[test]
fn break_stops_an_exit_too() {
    let mut base = base();
    active(&mut base, "exit", |base, _| base.loop_exit(None).unwrap());
    active(&mut base, "break", |base, _| base.loop_break());
    active(&mut base, "left", quiet);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert_eq!(taken(&mut base), ["exit", "break"]);
    assert_eq!(names(&run_dry(&mut base)), ["left"]);
}

#[test]
fn exit_on_a_stopped_base_gives_the_next_run_one_turn() {
    for priorities in [1, 3] {
        let mut base = with_priorities(priorities);
        base.loop_exit(None).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Exit, "an empty one has it too");
        let (near, far) = pair();
        let reader = noted(&mut base, "reader", reading(&near).persist(), None);
        poke(&far);
        base.loop_exit(None).unwrap();
        assert!(!base.got_exit() || base.context().is_empty());
        assert_eq!(base.dispatch().unwrap(), Ended::Exit);
        assert!(base.got_exit());
        assert_eq!(taken(&mut base), ["reader"]);
        base.free(reader).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    }
}

#[test]
fn exit_after_a_while_is_never_early_and_the_earliest_counts() {
    let mut base = base();
    let start = Instant::now();
    base.loop_exit(Some(NEVER)).unwrap();
    base.loop_exit(Some(20 * MS)).unwrap();
    base.loop_exit(Some(Duration::MAX)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit, "the base is empty, but its end has been set");
    let waited = start.elapsed();
    assert!(waited >= 20 * MS && waited < PATIENCE, "{waited:?}");
    assert_eq!(base.dispatch().unwrap(), Ended::Empty, "the others are forgotten");
}

#[test]
fn an_exit_that_a_break_forestalled_does_not_end_a_later_run() {
    let mut base = base();
    base.loop_exit(Some(5 * MS)).unwrap();
    active(&mut base, "break", |base, _| base.loop_break());
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    std::thread::sleep(10 * MS);
    noted(&mut base, "timer", Event::timer(), Some(10 * MS));
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(taken(&mut base), ["break", "timer"]);
}

#[test]
fn exit_in_a_callback_counts_from_there() {
    let mut base = base();
    let (near, _far) = pair();
    noted(&mut base, "reader", reading(&near), None);
    let start = Instant::now();
    let timer = base.new_timer(|base: &mut Base, _, _| base.loop_exit(Some(15 * MS)).unwrap()).unwrap();
    base.add(timer, Some(10 * MS)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert!(start.elapsed() >= 25 * MS);
}

#[test]
fn break_leaves_the_rest_for_the_next_run() {
    let mut base = base();
    active(&mut base, "first", |base, _| base.loop_break());
    active(&mut base, "second", quiet);
    active(&mut base, "third", quiet);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert_eq!(taken(&mut base), ["first"]);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(taken(&mut base), ["second", "third"]);
}

#[test]
fn break_and_continue_on_a_stopped_base_do_nothing() {
    let mut base = base();
    base.loop_break();
    base.loop_continue();
    assert!(!base.got_break());
    active(&mut base, "first", quiet);
    active(&mut base, "second", quiet);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(taken(&mut base), ["first", "second"]);
}

#[test]
fn continue_looks_for_what_is_ready_before_the_rest_is_called() {
    let mut base = with_priorities(2);
    let (near, far) = pair();
    let important = base.new_event(reading(&near).priority(0), note("important")).unwrap();
    base.add(important, None).unwrap();
    active(&mut base, "first", move |base, _| {
        poke(&far);
        base.loop_continue();
    });
    active(&mut base, "second", quiet);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(taken(&mut base), ["first", "important", "second"]);
}

#[test]
fn continue_without_anything_to_skip_skips_nothing_later() {
    let mut base = base();
    base.remote().run(|base: &mut Base| base.loop_continue()).unwrap();
    base.once(Event::timer(), Some(MS), |base, what| base.context_mut().push(("timer", what))).unwrap();
    base.once(Event::timer(), Some(10 * MS), |base, what| base.context_mut().push(("later", what))).unwrap();
    while base.context().is_empty() {
        base.run(Run::ONCE).unwrap();
        assert!(base.stats().waits <= 2, "the timer was due, and passed over");
    }
    assert_eq!(names(&run_dry(&mut base)), ["timer", "later"]);
}

#[test]
fn running_inside_a_callback_is_refused_and_the_loop_goes_on() {
    let mut base = base();
    active(&mut base, "first", |base, _| {
        for how in [Run::empty(), Run::ONCE, Run::NONBLOCK] {
            assert!(matches!(base.run(how), Err(Error::Reentrant)));
        }
        assert!(matches!(base.dispatch(), Err(Error::Reentrant)));
        assert!(!base.got_break() && !base.got_exit());
    });
    active(&mut base, "second", quiet);
    assert_eq!(names(&run_dry(&mut base)), ["first", "second"]);
}

#[test]
fn a_panic_unwinds_out_of_the_loop_and_takes_nothing_with_it() {
    let mut base = with_priorities(2);
    let bad = active(&mut base, "bad", |_, _| panic!("expected"));
    active(&mut base, "behind", quiet);
    base.loop_exit(Some(NEVER)).unwrap();
    for _ in 0..2 {
        let result = catch_unwind(AssertUnwindSafe(|| base.dispatch()));
        assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "expected");
        assert_eq!(taken(&mut base), ["bad"], "its closure is back in its place");
        base.activate(bad, READ).unwrap();
        base.del(bad).unwrap();
        assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done);
        assert_eq!(taken(&mut base), ["behind"], "what was active behind it is still called");
        active(&mut base, "behind", quiet);
        base.del(bad).unwrap();
        let id =
            base.new_event(Event::timer().priority(0), |base: &mut Base, _, _| base.loop_break()).unwrap();
        base.activate(id, READ).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Break, "nothing is left over of the run that panicked");
        base.activate(bad, READ).unwrap();
        // Bad goes first again.
        base.set_priority(bad, 0).unwrap_err();
        base.del(bad).unwrap();
        base.set_priority(bad, 0).unwrap();
        base.activate(bad, READ).unwrap();
    }
}

#[test]
fn an_event_that_frees_or_replaces_itself_and_panics_is_gone_or_replaced() {
    let mut base = base();
    let freed = active(&mut base, "freed", |base, id| {
        base.free(id).unwrap();
        panic!("expected");
    });
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    assert!(matches!(base.activate(freed, READ), Err(Error::Stale)));
    let replaced = active(&mut base, "replaced", |base, id| {
        base.set_callback(id, note("new")).unwrap();
        panic!("expected");
    });
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    base.activate(replaced, READ).unwrap();
    assert_eq!(names(&run_dry(&mut base)), ["freed", "replaced", "new"]);
}

#[test]
fn the_default_priority_is_the_middle() {
    for (priorities, middle) in [(1, 0), (2, 1), (3, 1), (4, 2), (255, 127)] {
        let mut base = with_priorities(priorities);
        assert_eq!(base.priorities(), usize::from(priorities));
        for (name, event) in [
            ("more", Event::timer().priority(middle.max(1) - 1)),
            ("default", Event::timer()),
            ("same", Event::timer().priority(middle)),
        ]
        .into_iter()
        .rev()
        {
            let id = base.new_event(event, note(name)).unwrap();
            base.activate(id, READ).unwrap();
        }
        let calls = names(&run_dry(&mut base));
        match middle {
            0 => assert_eq!(calls, ["same", "default", "more"]),
            _ => assert_eq!(calls, ["more", "same", "default"]),
        }
    }
}

#[test]
fn the_most_important_goes_first_and_the_others_wait_while_it_keeps_coming() {
    let mut base = with_priorities(2);
    let (near, far) = pair();
    poke(&far);
    // The book's own example: whenever the descriptor is writable, reading has to wait.
    noted(&mut base, "read", reading(&near).persist().priority(1), None);
    let write = base
        .new_event(Event::fd(&near, Interest::WRITE).persist().priority(0), |base: &mut Base, id, what| {
            base.context_mut().push(("write", what));
            if base.context().len() == 50 {
                base.del(id).unwrap();
            }
        })
        .unwrap();
    base.add(write, None).unwrap();
    for _ in 0..50 {
        assert_eq!(base.run(Run::ONCE | Run::NONBLOCK).unwrap(), Ended::Done);
    }
    let calls = taken(&mut base);
    let writes = calls.iter().take_while(|&&name| name == "write").count();
    assert_eq!(writes, 50, "{calls:?}");
    assert!(calls[50..].iter().all(|&name| name == "read"));
    assert!(names(&pass(&mut base)).contains(&"read"));
}

#[test]
fn what_turns_up_more_important_goes_before_the_rest() {
    let mut base = with_priorities(3);
    let important = base.new_event(Event::timer().priority(0), note("important")).unwrap();
    active(&mut base, "first", move |base, _| base.activate(important, READ).unwrap());
    active(&mut base, "second", quiet);
    assert_eq!(names(&run_dry(&mut base)), ["first", "important", "second"]);
}

#[test]
fn priorities_that_do_not_exist_or_cannot_change_are_refused() {
    let mut base = with_priorities(3);
    let id = idle(&mut base, "it");
    assert!(matches!(base.set_priority(id, 3), Err(Error::OutOfRange)));
    base.set_priority(id, 2).unwrap();
    assert!(matches!(base.set_priorities(0), Err(Error::OutOfRange)));
    assert!(matches!(base.set_priorities(2), Err(Error::Invalid(_))), "the event would be out of range");
    base.activate(id, READ).unwrap();
    assert!(matches!(base.set_priority(id, 0), Err(Error::Invalid(_))));
    assert!(matches!(base.set_priorities(5), Err(Error::Invalid(_))));
    assert_eq!(base.priorities(), 3);
    assert_eq!(names(&pass(&mut base)), ["it"]);
    base.set_priorities(255).unwrap();
    base.set_priority(id, 254).unwrap();
    base.activate(id, READ).unwrap();
    assert_eq!(names(&pass(&mut base)), ["it"]);
}

#[test]
fn what_activates_itself_for_ever_does_not_keep_the_loop_from_its_descriptors() {
    let mut base = base();
    let (near, far) = pair();
    active(&mut base, "forever", |base, id| base.activate(id, READ).unwrap());
    let reader = base.new_event(reading(&near), |base: &mut Base, _, _| base.loop_break()).unwrap();
    base.add(reader, None).unwrap();
    poke(&far);
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
}

#[test]
fn an_event_may_call_itself_a_hundred_times_by_its_timer() {
    let mut base = EventBase::with_context(0).unwrap();
    let id = base
        .new_timer(|base: &mut EventBase<usize>, id, _| {
            *base.context_mut() += 1;
            if *base.context() < 100 {
                base.del(id).unwrap();
                base.add(id, Some(Duration::ZERO)).unwrap();
            }
        })
        .unwrap();
    base.add(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), 100);
}

#[test]
fn an_idle_loop_waits_in_the_kernel() {
    let mut base = base();
    let (near, _far) = pair();
    noted(&mut base, "reader", reading(&near), Some(NEVER));
    base.loop_exit(Some(50 * MS)).unwrap();
    base.dispatch().unwrap();
    assert!(base.stats().waits <= 3, "{:?}", base.stats());
}

/// Counts its calls, and adds itself again until told otherwise.
fn rearm(base: &mut EventBase<usize>, id: EventId, what: What) {
    *base.context_mut() += 1;
    if what.contains(TIMEOUT) {
        base.add(id, Some(Duration::from_nanos(1))).unwrap();
    } else {
        base.add(id, None).unwrap();
        base.activate(id, WRITE).unwrap();
    }
}

#[test]
fn steady_work_allocates_nothing() {
    let mut base = EventBase::with_context(0usize).unwrap();
    let (near, far) = pair();
    poke(&far);
    for _ in 0..100 {
        let timer = base.new_timer(rearm).unwrap();
        base.add(timer, Some(Duration::ZERO)).unwrap();
        let moved = base.new_timer(|base, id, _| base.add(id, Some(MS)).unwrap()).unwrap();
        base.add(moved, Some(NEVER)).unwrap();
        let reader = base.new_event(reading(&near), rearm).unwrap();
        base.add(reader, None).unwrap();
        let period = base.new_event(Event::timer().persist(), |base, _, _| *base.context_mut() += 1).unwrap();
        base.add(period, Some(Duration::from_micros(50))).unwrap();
    }
    let turns = |base: &mut EventBase<usize>, count| {
        (0..count).for_each(|_| assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done));
    };
    turns(&mut base, 100);
    let (before, calls) = (alloc::allocations(), *base.context());
    turns(&mut base, 1000);
    assert_eq!(alloc::allocations() - before, 0);
    assert!(*base.context() - calls > 100_000, "there was work");
}

#[test]
fn a_base_with_capacity_makes_and_runs_its_events_without_allocating() {
    let config = Config::new().capacity(500).priorities(2);
    let mut base = EventBase::with_config(&config, 0usize).unwrap();
    let before = alloc::allocations();
    let count = |base: &mut EventBase<usize>, _, _| *base.context_mut() += 1;
    for place in 0..500 {
        let event = if place % 2 == 0 { Event::timer() } else { Event::timer().persist() };
        let id = base.new_event(event.priority(place as u8 % 2), count).unwrap();
        base.add(id, Some(MS)).unwrap();
    }
    std::thread::sleep(2 * MS);
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(alloc::allocations() - before, 0);
    assert!(*base.context() >= 500);
}
