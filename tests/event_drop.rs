//! Dropping a base, in any state. A process has one table of descriptors, so this binary has one test.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::events::*;
use support::net::{any_port, open_descriptors};
use zerovent::EventBase;
use zerovent::bufferevent::Options;
use zerovent::event_base::{Ended, Event, Interest, Run};
use zerovent::listener::ListenOptions;

/// Counts how often it is dropped.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

type Base = EventBase<Vec<Counted>>;

/// What the base is doing when it is dropped.
const STATES: [fn(&mut Base); 6] = [
    |_| {},
    |base| assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Done),
    |base| {
        let id = base.new_timer(|_, _, _| panic!("expected")).unwrap();
        base.activate(id, READ).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    },
    |base| {
        base.loop_exit(Some(NEVER)).unwrap();
        let id = base.new_timer(|base, _, _| base.loop_break()).unwrap();
        base.activate(id, READ).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Break);
    },
    |base| {
        let remote = base.remote();
        remote.run(|_| panic!("expected")).unwrap();
        remote.run(|_| unreachable!("the base is dropped before")).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| base.dispatch())).is_err());
    },
    |base| {
        base.loop_exit(None).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    },
];

#[test]
fn a_dropped_base_closes_what_it_owns_and_drops_closures_once() {
    let before = open_descriptors();
    for state in STATES {
        let drops = Rc::new(Cell::new(0));
        let counted = || Counted(Rc::clone(&drops));
        let mut base = Base::with_context(vec![counted()]).unwrap();
        let remote = base.remote();
        let (near, far) = pair();
        let sources = [
            Event::timer(),
            Event::timer().persist(),
            Event::fd(&near, Interest::READ).persist(),
            Event::fd(&near, Interest::WRITE),
            Event::signal(libc::SIGUSR1),
        ];
        for source in sources {
            for timeout in [None, Some(Duration::ZERO), Some(NEVER)] {
                let captured = counted();
                let id = base
                    .new_event(source, move |_, _, _| {
                        let _ = &captured;
                    })
                    .unwrap();
                base.add(id, timeout).unwrap();
            }
        }
        poke(&far);
        let captured = counted();
        let freed = base
            .new_timer(move |_, _, _| {
                let _ = &captured;
            })
            .unwrap();
        base.free(freed).unwrap();
        let captured = counted();
        base.listen(any_port(), &ListenOptions::new(), move |_, _, _, _| {
            let _ = &captured;
        })
        .unwrap();
        let id = base.new_socket(Some(far.into()), &Options::new()).unwrap();
        let captured = counted();
        base.set_read_callback(id, move |_, _| {
            let _ = &captured;
        })
        .unwrap();
        base.bufferevent(id).unwrap().write(b"unsent").unwrap();
        state(&mut base);
        assert_eq!(drops.get(), 1, "the freed one alone");
        drop(base);
        assert_eq!(drops.get(), 1 + 1 + 15 + 1 + 1, "the context, and each closure");
        drop(near);
        assert_eq!(open_descriptors(), before, "a remote is left, but nothing is open for it");
        assert!(remote.loop_break().is_err());
    }
}
