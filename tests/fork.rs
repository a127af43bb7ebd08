//! After fork: the child makes the base its own and goes on with it, and the parent's is as it was.

mod support;

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::events::*;
use zerovent::EventBase;
use zerovent::event_base::{Config, Ended, Event, EventId, Interest, Run, supported_methods};

/// One fork at a time, so that a child holds no descriptors but its own test's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Does `work` in a child, and returns when it has; panics if it panicked.
fn in_a_child(work: impl FnOnce()) {
    match fork() {
        Some(child) => join(child),
        None => leave(work),
    }
}

/// The child's number, in the parent.
fn fork() -> Option<i32> {
    // SAFETY: the child calls only what it may: this thread holds no lock of std's, and the allocator of the C library
    // is made to survive a fork.
    #[allow(unsafe_code, reason = "std has no fork")]
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    (child > 0).then_some(child)
}

/// The child's end.
fn leave(work: impl FnOnce()) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: it takes an integer, and ends the process without running what belongs to the parent.
    #[allow(unsafe_code, reason = "the harness must not go on in the child")]
    unsafe {
        libc::_exit(i32::from(outcome.is_err()))
    }
}

fn join(child: i32) {
    let mut status = 0;
    // SAFETY: `status` is a live, writable integer.
    #[allow(unsafe_code, reason = "std waits only for what it has started")]
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child failed");
}

fn on_each_backend(test: impl Fn(Base)) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for method in supported_methods() {
        let others = supported_methods().filter(|name| *name != method);
        let config = others.fold(Config::new().ignore_env(true), Config::avoid_method);
        test(EventBase::with_config(&config, Calls::new()).unwrap());
    }
}

/// What every epoll set of this process watches, as the kernel has it.
fn watched_by_the_kernel() -> String {
    let mut watched = String::new();
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let info = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let targets = info.lines().filter(|line| line.starts_with("tfd:"));
        watched.extend(targets.map(|line| format!("{:?}: {line}\n", entry.file_name())));
    }
    watched
}

/// Runs until something has been called.
fn calls(base: &mut Base) -> Calls {
    base.loop_exit(Some(support::net::PATIENCE)).unwrap();
    assert_eq!(base.run(Run::ONCE | Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Done);
    std::mem::take(base.context_mut())
}

/// A base that watches a connection, and both its ends.
fn watching(base: &mut Base) -> (EventId, UnixStream, UnixStream) {
    let (near, far) = pair();
    let id = noted(base, "socket", reading(&near).persist(), None);
    assert_eq!(pass(base), []);
    (id, near, far)
}

#[test]
fn the_childs_loop_works_and_the_parents_is_untouched() {
    on_each_backend(|mut base| {
        let (id, near, far) = watching(&mut base);
        let before = watched_by_the_kernel();
        assert_eq!(before.contains("tfd:"), base.method() == "epoll");
        in_a_child(|| {
            base.reinit().unwrap();
            poke(&far);
            assert_eq!(calls(&mut base), [("socket", READ)]);
            empty(&near);
            base.free(id).unwrap();
            let (own, own_far) = pair();
            noted(&mut base, "own", reading(&own), None);
            noted(&mut base, "timer", Event::timer(), Some(Duration::from_millis(1)));
            poke(&own_far);
            assert_eq!(calls(&mut base), [("own", READ)]);
            assert_eq!(calls(&mut base), [("timer", TIMEOUT)]);
            assert_eq!(base.dispatch().unwrap(), Ended::Empty);
        });
        assert_eq!(watched_by_the_kernel(), before);
        assert_eq!(pass(&mut base), []);
        poke(&far);
        assert_eq!(calls(&mut base), [("socket", READ)]);
    });
}

#[test]
fn both_modes_of_a_descriptor_work_in_the_child_and_the_parents_sets_are_untouched() {
    on_each_backend(|mut base| {
        let (_, near, far) = watching(&mut base);
        let edge = Event::fd(&near, Interest::READ | Interest::EDGE).persist();
        noted(&mut base, "edge", edge, None);
        assert_eq!(pass(&mut base), []);
        let before = watched_by_the_kernel();
        let both_are_told = |base: &mut Base| {
            poke(&far);
            let mut told = names(&calls(base));
            // One wait need not bring both.
            while !(told.contains(&"edge") && told.contains(&"socket")) {
                told.extend(names(&calls(base)));
            }
            empty(&near);
        };
        in_a_child(|| {
            base.reinit().unwrap();
            both_are_told(&mut base);
        });
        assert_eq!(watched_by_the_kernel(), before);
        // The child has read the byte again; io_uring tells of each edge nevertheless.
        assert!(!names(&pass(&mut base)).contains(&"socket"));
        both_are_told(&mut base);
        base.reinit().unwrap();
        both_are_told(&mut base);
    });
}

#[test]
fn signals_and_remotes_work_in_the_child_and_do_not_wake_the_parent() {
    on_each_backend(|mut base| {
        let signal = base.new_signal(libc::SIGWINCH, note("signal")).unwrap();
        base.add(signal, None).unwrap();
        let told = idle(&mut base, "told");
        let remote = base.remote();
        pass(&mut base);
        in_a_child(|| {
            base.reinit().unwrap();
            raise(libc::SIGWINCH);
            assert_eq!(calls(&mut base), [("signal", SIGNAL)]);
            let other = remote.clone();
            std::thread::spawn(move || other.activate(told, READ).unwrap());
            assert_eq!(calls(&mut base), [("told", READ)]);
        });
        let before = base.stats().waits;
        base.loop_exit(Some(Duration::from_millis(20))).unwrap();
        base.dispatch().unwrap();
        assert_eq!(base.stats().waits - before, 1, "woken by the child");
        assert_eq!(*base.context(), []);
        remote.activate(told, READ).unwrap();
        raise(libc::SIGWINCH);
        let mut called = names(&calls(&mut base));
        called.sort_unstable();
        assert_eq!(called, ["signal", "told"]);
    });
}

#[test]
fn a_message_that_was_on_its_way_reaches_parent_and_child() {
    on_each_backend(|mut base| {
        let told = idle(&mut base, "told");
        base.remote().activate(told, READ).unwrap();
        in_a_child(|| {
            base.reinit().unwrap();
            assert_eq!(calls(&mut base), [("told", READ)]);
        });
        assert_eq!(calls(&mut base), [("told", READ)]);
    });
}

#[test]
fn a_callback_may_fork_and_make_the_base_the_childs_own() {
    on_each_backend(|mut base| {
        let (_, near, far) = watching(&mut base);
        let child = Rc::new(Cell::new(None));
        let forked = Rc::clone(&child);
        let forking = base
            .new_timer(move |base: &mut Base, _, _| {
                forked.set(fork());
                if forked.get().is_none() {
                    base.reinit().unwrap_or_else(|_| std::process::abort());
                }
                base.context_mut().push(("forking", TIMEOUT));
            })
            .unwrap();
        base.add(forking, Some(Duration::ZERO)).unwrap();
        assert_eq!(calls(&mut base), [("forking", TIMEOUT)]);
        let mut go_on = || {
            poke(&far);
            assert_eq!(calls(&mut base), [("socket", READ)]);
            empty(&near);
        };
        match child.get() {
            Some(child) => join(child),
            None => leave(go_on),
        }
        go_on();
    });
}

#[test]
fn reinit_of_a_base_that_did_not_fork_changes_nothing() {
    on_each_backend(|mut base| {
        let (_, near, far) = watching(&mut base);
        for _ in 0..3 {
            base.reinit().unwrap();
            poke(&far);
            assert_eq!(calls(&mut base), [("socket", READ)]);
            empty(&near);
        }
        let told = idle(&mut base, "told");
        base.remote().activate(told, READ).unwrap();
        assert_eq!(calls(&mut base), [("told", READ)]);
    });
}
