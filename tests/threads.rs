//! One loop a thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zerovent::event_base::{Ended, Event, EventId, Remote, Run, What};
use zerovent::threads::{self, Failure};
use zerovent::{Error, EventBase};

#[test]
fn each_thread_has_its_number_and_a_base_of_its_own() {
    let borrowed = AtomicUsize::new(0);
    let results = threads::run(4, |index, base| {
        base.once(Event::timer(), Some(Duration::from_millis(1)), |_, _| {})?;
        assert_eq!(base.dispatch()?, Ended::Empty);
        borrowed.fetch_add(index, Ordering::Relaxed);
        let name = std::thread::current().name().map(str::to_owned);
        Ok((index, name.unwrap()))
    });
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [0, 1, 2, 3].map(|index| (index, format!("loop {index}"))));
    assert_eq!(borrowed.into_inner(), 6);
}

#[test]
fn no_threads_are_no_results() {
    assert!(threads::run(0, |_, _| Ok(())).is_empty());
}

#[test]
fn errors_and_panics_are_told_each_by_itself() {
    let results = threads::run(5, |index, base| match index {
        0 => Err(Error::Limit),
        1 => panic!("thread {index}"),
        2 => {
            base.once(Event::timer(), None, |_, _| panic!("inside a callback"))?;
            base.dispatch().map(|_| 2)
        }
        3 => std::panic::panic_any(3u8),
        _ => base.dispatch().map(|_| index),
    });
    assert!(matches!(results[0], Err(Failure::Error(Error::Limit))));
    let panics = results[1..4].iter().map(|result| result.as_ref().unwrap_err());
    let messages: Vec<_> = panics.map(|failure| (failure.panic_message(), failure.to_string())).collect();
    assert_eq!(messages[0], (Some("thread 1"), "panicked: thread 1".to_owned()));
    assert_eq!(messages[1], (Some("inside a callback"), "panicked: inside a callback".to_owned()));
    assert_eq!(messages[2], (None, "panicked: not with text".to_owned()));
    assert!(matches!(&results[3], Err(Failure::Panic(payload)) if payload.downcast_ref() == Some(&3u8)));
    assert_eq!(*results[4].as_ref().unwrap(), 4, "the others' ends are not its own");
}

/// A ring of loops: each passes a token on to the next one's base, until it has gone round often enough.
#[test]
fn loops_reach_each_other_by_their_remotes() {
    const THREADS: usize = 4;
    const HOPS: usize = 2000;
    let ring: Mutex<Vec<Option<(Remote, EventId)>>> = Mutex::new(vec![None; THREADS]);
    // Closures of a base own what they use.
    let (hops, ready) = (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Barrier::new(THREADS));
    let results = threads::run(THREADS, |index, base| {
        let next: std::rc::Rc<std::cell::OnceCell<(Remote, EventId)>> = Default::default();
        let (known, hops) = (std::rc::Rc::clone(&next), std::sync::Arc::clone(&hops));
        let token = base.new_timer(move |base: &mut EventBase, _, what| {
            // Counted before it is passed on: else the others may take it round and past the end meanwhile, and it would be
            // dropped here, where they wait for it.
            if hops.fetch_add(1, Ordering::Relaxed) >= HOPS {
                base.loop_break();
            }
            let (remote, token) = known.get().unwrap();
            remote.activate(*token, what).ok();
        })?;
        ring.lock().unwrap()[index] = Some((base.remote(), token));
        ready.wait();
        next.set(ring.lock().unwrap()[(index + 1) % THREADS].clone().unwrap()).ok();
        if index == 0 {
            base.activate(token, What::READ)?;
        }
        base.run(Run::NO_EXIT_ON_EMPTY)
    });
    assert!(results.into_iter().all(|result| result.unwrap() == Ended::Break));
}
