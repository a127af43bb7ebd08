//! Everything a callback may do to the base, from inside every kind of callback.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::events::{READ, TIMEOUT, pair, poke, raise, reading};
use zerovent::event_base::{Config, Ended, Event, EventId, Run};
use zerovent::{Error, EventBase};

#[derive(Debug, Default)]
struct World {
    /// What was called, in order.
    called: Vec<&'static str>,
    /// The event that is active when the act begins, and how often it is called if nobody minds.
    next: Option<EventId>,
    /// The event whose callback acts, if it is one.
    me: Option<EventId>,
}

type Base = EventBase<World>;
type Act = fn(&mut Base);

/// Makes something whose callback does `act`, the first time it is called, and sees to it that it is called.
type Arrange = fn(&mut Base, Act);

const KINDS: [(&str, Arrange); 9] = [
    ("descriptor", |base, act| {
        let (near, far) = pair();
        poke(&far);
        let id = acting(base, reading(&near), act, (near, far));
        base.add(id, None).unwrap();
    }),
    ("timer", |base, act| {
        let id = acting(base, Event::timer(), act, ());
        base.add(id, Some(Duration::ZERO)).unwrap();
    }),
    ("persistent timer", |base, act| {
        let id = acting(base, Event::timer().persist(), act, ());
        base.add(id, Some(Duration::ZERO)).unwrap();
    }),
    ("signal", |base, act| {
        let id = acting(base, Event::signal(libc::SIGRTMIN() + 20).one_shot(), act, ());
        base.add(id, None).unwrap();
        raise(libc::SIGRTMIN() + 20);
    }),
    ("once", |base, act| base.once(Event::timer(), None, move |base, _| acted(base, act)).unwrap()),
    ("prepare watcher", |base, act| {
        base.new_prepare_watcher(move |base, id, _| {
            base.free_watcher(id).unwrap();
            acted(base, act);
        });
    }),
    ("check watcher", |base, act| {
        base.new_check_watcher(move |base, id| {
            base.free_watcher(id).unwrap();
            acted(base, act);
        });
    }),
    ("finalizer", |base, act| {
        let id = base.new_timer(|_, _, _| {}).unwrap();
        base.free_finalize(id, move |base| acted(base, act)).unwrap();
    }),
    ("task", |base, act| base.remote().run(move |base| acted(base, act)).unwrap()),
];

fn acted(base: &mut Base, act: Act) {
    base.context_mut().called.push("act");
    act(base);
}

/// An event that acts when it is called first and is only counted after that; it keeps `held` open.
fn acting<T: 'static>(base: &mut Base, event: Event, act: Act, held: T) -> EventId {
    let mut act = Some(act);
    let callback = move |base: &mut Base, id, _| {
        let _open = &held;
        base.context_mut().me = Some(id);
        match act.take() {
            Some(act) => acted(base, act),
            None => base.context_mut().called.push("again"),
        }
    };
    base.new_event(event.priority(1), callback).unwrap()
}

/// For each kind of callback: what was called when it did `act`, and the base after that.
fn in_every_callback(act: Act, mut check: impl FnMut(&str, &mut Base, Vec<&'static str>)) {
    for (kind, arrange) in KINDS {
        let mut base = EventBase::with_config(&Config::new().priorities(3), World::default()).unwrap();
        arrange(&mut base, act);
        let next = |base: &mut Base, _, _| base.context_mut().called.push("next");
        let next = base.new_timer(next).unwrap();
        base.add(next, Some(Duration::ZERO)).unwrap();
        base.context_mut().next = Some(next);
        // A callback may panic or end the loop; whatever it does, running on finds the rest.
        for _ in 0..8 {
            let _ = catch_unwind(AssertUnwindSafe(|| base.run(Run::NONBLOCK).unwrap()));
        }
        let called = std::mem::take(&mut base.context_mut().called);
        assert_eq!(called.iter().filter(|name| **name == "act").count(), 1, "{kind}");
        check(kind, &mut base, called);
        still_works(kind, &mut base);
    }
}

fn still_works(kind: &str, base: &mut Base) {
    base.context_mut().called.clear();
    base.once(Event::timer(), Some(Duration::from_micros(1)), |base, _| {
        base.context_mut().called.push("works")
    })
    .unwrap();
    while base.context().called.is_empty() {
        base.run(Run::ONCE).unwrap();
    }
    assert!(base.context().called.contains(&"works"), "{kind}");
}

fn count(called: &[&str], name: &str) -> usize {
    called.iter().filter(|other| **other == name).count()
}

#[test]
fn freeing_itself() {
    in_every_callback(
        |base| {
            if let Some(me) = base.context().me {
                base.free(me).unwrap();
                assert!(matches!(base.add(me, None), Err(Error::Stale)));
            }
        },
        |kind, base, called| {
            assert_eq!((count(&called, "next"), count(&called, "again")), (1, 0), "{kind}");
            assert!(base.context().me.is_none_or(|me| !base.is_alive(me)));
        },
    );
}

#[test]
fn finalizing_itself() {
    in_every_callback(
        |base| {
            if let Some(me) = base.context().me {
                base.free_finalize(me, |base| base.context_mut().called.push("finalized")).unwrap();
            }
        },
        |kind, base, called| {
            let expected = usize::from(base.context().me.is_some());
            assert_eq!((count(&called, "next"), count(&called, "finalized")), (1, expected), "{kind}");
        },
    );
}

#[test]
fn freeing_the_next_one() {
    in_every_callback(
        |base| base.free(base.context().next.unwrap()).unwrap(),
        |kind, _, called| assert_eq!(called, ["act"], "{kind}"),
    );
}

#[test]
fn deleting_the_next_one_and_adding_it_again() {
    in_every_callback(
        |base| {
            let next = base.context().next.unwrap();
            base.del(next).unwrap();
            base.add(next, Some(Duration::ZERO)).unwrap();
        },
        |kind, _, called| assert_eq!(called, ["act", "next"], "{kind}"),
    );
}

#[test]
fn adding_and_activating_itself_again() {
    in_every_callback(
        |base| {
            if let Some(me) = base.context().me {
                base.add(me, Some(Duration::ZERO)).unwrap();
                base.activate(me, READ).unwrap();
            }
        },
        |kind, base, called| {
            assert_eq!(count(&called, "next"), 1, "{kind}");
            assert_eq!(count(&called, "again") > 0, base.context().me.is_some(), "{kind}");
        },
    );
}

#[test]
fn changing_priorities() {
    in_every_callback(
        |base| {
            let World { me, next, .. } = *base.context();
            if let Some(me) = me {
                base.set_priority(me, 2).unwrap();
            }
            let next = next.unwrap();
            if base.pending(next).unwrap().active {
                assert!(matches!(base.set_priority(next, 2), Err(Error::Invalid(_))));
                assert!(matches!(base.set_priorities(200), Err(Error::Invalid(_))));
            } else {
                base.set_priority(next, 2).unwrap();
                base.set_priorities(200).unwrap();
            }
        },
        |kind, _, called| assert_eq!(called, ["act", "next"], "{kind}"),
    );
}

#[test]
fn replacing_its_own_closure() {
    in_every_callback(
        |base| {
            if let Some(me) = base.context().me {
                base.set_callback(me, |base, _, _| base.context_mut().called.push("replaced")).unwrap();
                base.activate(me, TIMEOUT).unwrap();
            }
        },
        |kind, base, called| {
            let expected = usize::from(base.context().me.is_some());
            assert_eq!((count(&called, "next"), count(&called, "replaced")), (1, expected), "{kind}");
        },
    );
}

#[test]
fn adding_a_thousand_events() {
    in_every_callback(
        |base| {
            let soon = base.common_timeout(Duration::ZERO);
            for place in 0..1000 {
                let id = base.new_timer(|base, id, _| {
                    base.context_mut().called.push("new");
                    base.free(id).unwrap();
                });
                match place % 3 {
                    0 => base.add(id.unwrap(), Some(Duration::ZERO)).unwrap(),
                    1 => base.add_common(id.unwrap(), soon).unwrap(),
                    _ => base.activate(id.unwrap(), READ).unwrap(),
                }
            }
        },
        |kind, base, called| {
            assert_eq!((count(&called, "next"), count(&called, "new")), (1, 1000), "{kind}");
            let mine = base.context().me.map_or(0, |me| usize::from(base.is_alive(me)));
            assert_eq!(base.stats().slots, 1 + mine, "{kind}");
        },
    );
}

#[test]
fn making_and_freeing_everything_else() {
    in_every_callback(
        |base| {
            let check = base.new_check_watcher(|base, id| base.free_watcher(id).unwrap());
            let prepare = base.new_prepare_watcher(|_, _, _| panic!("it was freed"));
            base.free_watcher(prepare).unwrap();
            assert_ne!(check, prepare);
            base.once(Event::timer(), None, |base, _| base.context_mut().called.push("once")).unwrap();
            let doomed = base.new_timer(|_, _, _| {}).unwrap();
            base.free_finalize(doomed, |base| base.context_mut().called.push("finalizer")).unwrap();
            base.remote().run(|base| base.context_mut().called.push("task")).unwrap();
            base.update_cached_time();
            base.set_turn_hook(|_| {});
            base.clear_turn_hook();
        },
        |kind, _, called| {
            for name in ["next", "once", "finalizer", "task"] {
                assert_eq!(count(&called, name), 1, "{name} in {kind}");
            }
        },
    );
}

#[test]
fn making_the_base_anew() {
    in_every_callback(
        |base| base.reinit().unwrap(),
        |kind, _, called| assert_eq!(called, ["act", "next"], "{kind}"),
    );
}

#[test]
fn running_the_loop_again() {
    in_every_callback(
        |base| {
            assert!(matches!(base.dispatch(), Err(Error::Reentrant)));
            assert!(matches!(base.run(Run::NONBLOCK), Err(Error::Reentrant)));
        },
        |kind, _, called| assert_eq!(called, ["act", "next"], "{kind}"),
    );
}

#[test]
fn stopping_the_loop() {
    let stops: [Act; 3] =
        [|base| base.loop_break(), |base| base.loop_continue(), |base| base.loop_exit(None).unwrap()];
    for stop in stops {
        in_every_callback(stop, |kind, _, called| assert_eq!(called, ["act", "next"], "{kind}"));
    }
}

#[test]
fn panicking() {
    in_every_callback(
        |_| panic!("expected"),
        |kind, base, called| {
            assert_eq!(called, ["act", "next"], "{kind}");
            assert_eq!(base.running_event(), None);
            assert_eq!(base.dispatch().unwrap(), Ended::Empty, "{kind}");
        },
    );
}
