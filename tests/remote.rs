//! Reaching a base from other threads.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use support::alloc::{self, Counting};
use support::events::*;
use support::net::PATIENCE;
use zerovent::event_base::{Ended, Event, Remote, Run};
use zerovent::{Error, EventBase};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn is_thread_safe<T: Send + Sync + Clone>() {}

#[test]
fn a_handle_may_go_anywhere() {
    is_thread_safe::<Remote>();
    is_thread_safe::<Remote<std::rc::Rc<()>>>();
}

#[test]
fn a_million_calls_of_four_threads_all_arrive_each_threads_in_order() {
    const THREADS: usize = 4;
    const CALLS: usize = 250_000;
    let mut base = EventBase::with_context([0usize; THREADS]).unwrap();
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (remote, start) = (base.remote(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for call in 0..CALLS {
                    let task = move |base: &mut EventBase<[usize; THREADS]>| {
                        assert_eq!(base.context()[thread], call);
                        base.context_mut()[thread] += 1;
                        if base.context().iter().all(|&count| count == CALLS) {
                            base.loop_break();
                        }
                    };
                    remote.run(task).unwrap();
                }
            })
        })
        .collect();
    base.loop_exit(Some(PATIENCE * 3)).unwrap();
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Break);
    assert_eq!(base.context(), &[CALLS; THREADS]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = base.stats();
    // The last write may be one that the loop did not wait for any more.
    assert!(stats.wake_writes <= stats.wakes + 1, "more than one write a wake: {stats:?}");
    assert!(stats.wakes > 0 && stats.waits >= stats.wakes, "{stats:?}");
}

#[test]
fn of_a_million_activations_by_four_threads_the_last_of_each_is_never_lost() {
    const THREADS: usize = 4;
    const CALLS: usize = 250_000;
    let mut base = EventBase::with_context([0usize; THREADS]).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let written = Arc::new(AtomicUsize::new(0));
            let latest = Arc::clone(&written);
            let event = Event::timer();
            let id = base.new_event(event, move |base: &mut EventBase<[usize; THREADS]>, _, _| {
                base.context_mut()[thread] = latest.load(Ordering::Acquire);
                if base.context().iter().all(|&seen| seen == CALLS) {
                    base.loop_break();
                }
            });
            let (id, remote) = (id.unwrap(), base.remote());
            std::thread::spawn(move || {
                for call in 1..=CALLS {
                    written.store(call, Ordering::Release);
                    remote.activate(id, TIMEOUT).unwrap();
                }
            })
        })
        .collect();
    base.loop_exit(Some(PATIENCE * 3)).unwrap();
    let ended = base.run(Run::NO_EXIT_ON_EMPTY).unwrap();
    assert_eq!((ended, base.context()), (Ended::Break, &[CALLS; THREADS]));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = base.stats();
    assert!(stats.wake_writes <= stats.wakes + 1, "more than one write a wake: {stats:?}");
}

#[test]
fn however_much_is_sent_a_loop_is_woken_once() {
    let mut base = EventBase::with_context(0).unwrap();
    let remote = base.remote();
    for _ in 0..1000 {
        remote.run(|base: &mut EventBase<i32>| *base.context_mut() += 1).unwrap();
    }
    let before = base.stats().waits;
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(*base.context(), 1000);
    assert_eq!(base.stats().waits - before, 1);
    base.loop_exit(Some(Duration::from_millis(20))).unwrap();
    base.run(Run::NO_EXIT_ON_EMPTY).unwrap();
    assert!(base.stats().waits - before <= 3, "a wake that was elided is not made up for");
}

#[test]
fn what_was_sent_before_is_done_by_a_loop_that_has_nothing_else_to_do() {
    let mut base = base();
    let id = idle(&mut base, "it");
    let remote = base.remote();
    remote.activate(id, READ).unwrap();
    remote.run(|base: &mut Base| base.context_mut().push(("task", TIMEOUT))).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), [("task", TIMEOUT), ("it", READ)]);
    remote.loop_break().unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    remote.loop_exit(None).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
}

#[test]
fn it_wakes_a_loop_that_waits_for_ever() {
    let mut base = base();
    let id = base.new_timer(|base: &mut Base, _, _| base.loop_break()).unwrap();
    let remote = base.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        remote.activate(id, READ).unwrap();
    });
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Break);
    thread.join().unwrap();
}

#[test]
fn exit_after_a_while_counts_from_when_it_is_taken() {
    let mut base = base();
    let remote = base.remote();
    remote.loop_exit(Some(Duration::from_millis(10))).unwrap();
    std::thread::sleep(Duration::from_millis(15));
    let start = std::time::Instant::now();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert!(start.elapsed() >= Duration::from_millis(10));
}

#[test]
fn a_freed_event_is_passed_over() {
    let mut base = base();
    let id = idle(&mut base, "never");
    let remote = base.remote();
    remote.activate(id, READ).unwrap();
    base.free(id).unwrap();
    let heir = idle(&mut base, "never either");
    assert_eq!(pass(&mut base), []);
    assert!(!base.pending(heir).unwrap().active);
}

#[test]
fn events_are_added_and_deleted_from_afar() {
    let mut base = base();
    let id = idle(&mut base, "timer");
    let remote = base.remote();
    remote.add(id, Some(Duration::from_millis(1))).unwrap();
    assert_eq!(run_dry(&mut base), [("timer", TIMEOUT)]);
    base.add(id, Some(NEVER)).unwrap();
    remote.del(id).unwrap();
    assert_eq!(run_dry(&mut base), []);
    // What cannot be done any more is passed over.
    base.free(id).unwrap();
    remote.add(id, None).unwrap();
    remote.del(id).unwrap();
    remote.del_blocking(id).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

#[test]
fn deleting_and_waiting_returns_when_the_callback_has() {
    for round in 0..200 {
        let (began, begun) = channel();
        let inside = Arc::new(AtomicUsize::new(0));
        let mut base = EventBase::new().unwrap();
        let seen = Arc::clone(&inside);
        let id = base
            .new_event(Event::timer().persist(), move |_, _, _| {
                seen.fetch_add(1, Ordering::SeqCst);
                began.send(()).ok();
                std::thread::sleep(Duration::from_micros(round));
                seen.fetch_sub(1, Ordering::SeqCst);
            })
            .unwrap();
        base.add(id, Some(Duration::from_micros(10))).unwrap();
        let remote = base.remote();
        let thread = std::thread::spawn(move || {
            begun.recv().unwrap();
            remote.del_blocking(id).unwrap();
            assert_eq!(inside.load(Ordering::SeqCst), 0, "the callback is still running");
            let calls = begun.try_iter().count();
            std::thread::sleep(Duration::from_micros(100));
            assert_eq!(begun.try_iter().count(), 0, "it was called again, after {calls}");
        });
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
        thread.join().unwrap();
    }
}

#[test]
fn waiting_for_oneself_is_refused_and_waiting_for_nobody_does_not_last() {
    let mut base = base();
    let id = noted(&mut base, "timer", Event::timer(), Some(Duration::ZERO));
    let remote = base.remote();
    remote.del_blocking(id).unwrap();
    assert_eq!(run_dry(&mut base), [], "it was deleted before anything was called");
    let inner = remote.clone();
    let own = base
        .new_timer(move |base: &mut Base, own, _| {
            assert!(matches!(inner.del_blocking(own), Err(Error::Reentrant)));
            assert!(!base.pending(own).unwrap().active);
            base.context_mut().push(("own", TIMEOUT));
        })
        .unwrap();
    base.activate(own, TIMEOUT).unwrap();
    assert_eq!(run_dry(&mut base), [("own", TIMEOUT)]);
}

#[test]
fn who_waits_is_let_go_when_the_loop_ends_or_panics_or_the_base_goes() {
    let ends: [fn(&mut EventBase); 3] = [
        |base| base.loop_break(),
        |_| panic!("expected"),
        |base| base.remote().run(|_| panic!("expected")).unwrap(),
    ];
    for end in ends {
        let mut base = EventBase::new().unwrap();
        let (began, begun) = channel();
        let id = base
            .new_timer(move |base, _, _| {
                began.send(()).unwrap();
                // The other thread is asking meanwhile, or will be; either way it must be let go.
                std::thread::sleep(Duration::from_millis(5));
                end(base);
            })
            .unwrap();
        base.activate(id, TIMEOUT).unwrap();
        let remote = base.remote();
        let thread = std::thread::spawn(move || {
            begun.recv().unwrap();
            remote.del_blocking(id)
        });
        let run = catch_unwind(AssertUnwindSafe(|| base.run(Run::NO_EXIT_ON_EMPTY)));
        assert!(!matches!(run, Ok(Err(_))));
        thread.join().unwrap().unwrap();
    }
}

/// Counts its drops; the last thing it does is to use its remote.
struct Dropped(Arc<AtomicUsize>, Remote);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        assert!(matches!(self.1.loop_break(), Err(Error::Stale)));
    }
}

#[test]
fn what_was_not_run_is_dropped_with_the_base_and_may_use_its_remote_meanwhile() {
    let (done, finished) = channel();
    std::thread::spawn(move || {
        let base = EventBase::new().unwrap();
        let remote = base.remote();
        let drops = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let captured = Dropped(Arc::clone(&drops), base.remote());
            remote.run(move |_| drop(captured)).unwrap();
        }
        drop(base);
        assert_eq!(drops.load(Ordering::Relaxed), 3);
        // Sent to a base that is gone, it is dropped as well.
        let captured = Dropped(Arc::clone(&drops), remote.clone());
        assert!(matches!(remote.run(move |_| drop(captured)), Err(Error::Stale)));
        assert_eq!(drops.load(Ordering::Relaxed), 4);
        done.send(()).unwrap();
    });
    finished.recv_timeout(PATIENCE).expect("dropping the base neither hangs nor panics");
}

#[test]
fn every_call_on_a_base_that_is_gone_is_stale() {
    let mut base = base();
    let id = idle(&mut base, "never");
    let remote = base.remote();
    drop(base);
    let results = [
        remote.activate(id, READ),
        remote.add(id, None),
        remote.del(id),
        remote.del_blocking(id),
        remote.loop_exit(None),
        remote.loop_break(),
        remote.clone().run(|_| {}),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(Error::Stale))), "{results:?}");
}

#[test]
fn a_task_that_panics_takes_nothing_with_it() {
    let mut base = base();
    let id = idle(&mut base, "event");
    let remote = base.remote();
    remote.run(|_| panic!("expected")).unwrap();
    remote.run(|base| base.context_mut().push(("task", READ))).unwrap();
    remote.activate(id, READ).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    remote.run(|base| base.context_mut().push(("sent later", READ))).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(names(base.context()), ["task", "sent later", "event"]);
}

#[test]
fn a_task_may_send_and_stop() {
    let mut base = base();
    let remote = base.remote();
    let inner = remote.clone();
    remote
        .run(move |base| {
            base.context_mut().push(("outer", READ));
            assert!(matches!(base.dispatch(), Err(Error::Reentrant)));
            inner.run(|base| base.context_mut().push(("inner", READ))).unwrap();
            base.loop_break();
        })
        .unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Break);
    assert_eq!(names(base.context()), ["outer"]);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(names(base.context()), ["outer", "inner"]);
}

#[test]
fn steady_activation_from_afar_allocates_nothing() {
    let mut base = EventBase::with_context(0usize).unwrap();
    let count = |base: &mut EventBase<usize>, _, _| *base.context_mut() += 1;
    let ids: Vec<_> = (0..64).map(|_| base.new_timer(count).unwrap()).collect();
    let remote = base.remote();
    let mut round = || {
        ids.iter().for_each(|&id| remote.activate(id, READ).unwrap());
        base.run(Run::NONBLOCK).unwrap();
    };
    (0..4).for_each(|_| round());
    let before = alloc::allocations();
    (0..1000).for_each(|_| round());
    assert_eq!(alloc::allocations() - before, 0);
    assert_eq!(*base.context(), 64 * 1004);
}
