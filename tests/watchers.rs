//! Prepare and check watchers.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::alloc::{self, Counting};
use support::events::*;
use zerovent::event_base::{Ended, Event, Run};
use zerovent::{Error, EventBase};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MS: Duration = Duration::from_millis(1);

fn watch(base: &mut Base) {
    base.new_prepare_watcher(|base: &mut Base, _, _| base.context_mut().push(("prepare", TIMEOUT)));
    base.new_check_watcher(|base: &mut Base, _| base.context_mut().push(("check", TIMEOUT)));
}

#[test]
fn they_stand_around_the_wait_and_before_the_calls() {
    let mut base = base();
    watch(&mut base);
    watch(&mut base);
    let id = idle(&mut base, "event");
    base.activate(id, READ).unwrap();
    assert_eq!(names(&pass(&mut base)), ["prepare", "prepare", "check", "check", "event"]);
    assert_eq!(pass(&mut base), [], "a watcher alone keeps no loop running");
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn a_prepare_watcher_is_told_how_long_the_wait_will_be() {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    base.new_prepare_watcher(|base: &mut EventBase<Vec<_>>, _, wait| base.context_mut().push(wait));
    let waits = |base: &mut EventBase<Vec<_>>, how| {
        base.run(how).unwrap();
        std::mem::take(base.context_mut())
    };
    let timer = base.new_timer(|_, _, _| {}).unwrap();
    base.add(timer, Some(20 * MS)).unwrap();
    assert_eq!(waits(&mut base, Run::NONBLOCK), [Some(Duration::ZERO)], "it is not going to wait");
    let told = waits(&mut base, Run::ONCE)[0].unwrap();
    assert!(told > Duration::ZERO && told <= 20 * MS, "{told:?}");
    base.activate(timer, READ).unwrap();
    assert_eq!(waits(&mut base, Run::empty()), [Some(Duration::ZERO)], "something is active");
    let (near, far) = pair();
    let reader = base.new_event(reading(&near), |_, _, _| {}).unwrap();
    base.add(reader, None).unwrap();
    poke(&far);
    assert_eq!(waits(&mut base, Run::empty()), [None], "for ever");
    base.loop_exit(Some(10 * MS)).unwrap();
    assert!(waits(&mut base, Run::empty())[0].unwrap() <= 10 * MS, "the loop's end counts as well");
}

#[test]
fn what_a_prepare_watcher_does_counts_for_the_wait_that_follows() {
    let acts: [fn(&mut Base); 4] = [
        |base| base.once(Event::timer(), None, |base, _| base.loop_break()).unwrap(),
        |base| base.once(Event::timer(), Some(MS), |base, _| base.loop_break()).unwrap(),
        |base| base.loop_break(),
        |base| {
            let id = idle(base, "");
            base.free_finalize(id, |base| base.loop_break()).unwrap();
        },
    ];
    for act in acts {
        let mut base = base();
        base.new_prepare_watcher(move |base: &mut Base, id, _| {
            base.free_watcher(id).unwrap();
            act(base);
        });
        let _guard = Watchdog::start({
            let remote = base.remote();
            move || remote.run(|_| panic!("the loop waits although a watcher gave it something")).unwrap()
        });
        assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Break);
    }
    let mut base = base();
    base.new_prepare_watcher(|base: &mut Base, _, _| base.loop_exit(None).unwrap());
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Exit);
}

#[test]
fn a_watcher_may_free_itself_and_others_and_make_new_ones() {
    let mut base = base();
    let others: Vec<_> = (0..3)
        .map(|_| base.new_check_watcher(|base: &mut Base, _| base.context_mut().push(("other", READ))))
        .collect();
    let (first, last) = (others[0], others[2]);
    base.new_prepare_watcher(move |base: &mut Base, id, _| {
        base.free_watcher(first).unwrap();
        base.free_watcher(last).unwrap();
        base.free_watcher(id).unwrap();
        assert!(matches!(base.free_watcher(id), Err(Error::Stale)));
        base.new_prepare_watcher(|base: &mut Base, _, _| base.context_mut().push(("new", READ)));
    });
    let id = idle(&mut base, "event");
    base.activate(id, READ).unwrap();
    assert_eq!(names(&pass(&mut base)), ["other", "event"], "a new one has its turn the next time");
    base.activate(id, READ).unwrap();
    assert_eq!(names(&pass(&mut base)), ["new", "other", "event"]);
}

#[test]
fn a_watcher_that_panics_stays_and_the_loop_can_go_on() {
    let mut base = base();
    let mut panics = true;
    base.new_check_watcher(move |base: &mut Base, _| {
        base.context_mut().push(("check", READ));
        assert!(!std::mem::take(&mut panics), "expected");
    });
    let id = idle(&mut base, "event");
    base.activate(id, READ).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(names(base.context()), ["check", "check", "event"]);
}

#[test]
fn watching_allocates_nothing() {
    let mut base = EventBase::with_context(0usize).unwrap();
    base.new_prepare_watcher(|base: &mut EventBase<usize>, _, _| *base.context_mut() += 1);
    base.new_check_watcher(|base: &mut EventBase<usize>, _| *base.context_mut() += 1);
    let id = base.new_timer(|base, id, what| base.activate(id, what).unwrap()).unwrap();
    base.activate(id, READ).unwrap();
    let turns = |base: &mut EventBase<usize>, count| {
        (0..count).for_each(|_| assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done));
    };
    turns(&mut base, 10);
    let before = alloc::allocations();
    turns(&mut base, 100);
    assert_eq!(alloc::allocations() - before, 0);
    assert_eq!(*base.context(), 220);
}
