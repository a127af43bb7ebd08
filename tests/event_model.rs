//! Random work on events, inside and outside callbacks, against a model that says who may be called and who must.

mod support;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::events::{NEVER, Random, TIMEOUT, empty, pair, poke, reading};
use zerovent::event_base::{Ended, Event, EventId, Run, What};
use zerovent::{Error, EventBase};

const PLACES: usize = 24;
const SHORT: Duration = Duration::from_micros(300);

/// What the model knows of an event.
#[derive(Debug)]
struct Shadow {
    id: EventId,
    /// Which connection it reads; none is a timer.
    pair: Option<usize>,
    persists: bool,
    waits: bool,
    timer: Option<Duration>,
    activated: bool,
    /// Its timer was removed when it was active, perhaps by that timer.
    has_passed: bool,
    /// It must be called before the run is over, unless it is taken back.
    owed: bool,
}

struct World {
    random: Random,
    events: Vec<Option<Shadow>>,
    freed: Vec<EventId>,
    pairs: Vec<(UnixStream, UnixStream)>,
    calls: usize,
    /// Random work goes on inside callbacks.
    wild: bool,
}

type Base = EventBase<World>;

fn called(base: &mut Base, place: usize, id: EventId, what: What) {
    let world = base.context_mut();
    world.calls += 1;
    let event = world.events[place].as_mut().unwrap_or_else(|| panic!("{place} was freed"));
    assert_eq!(event.id, id, "an earlier tenant of {place} was called");
    let reason = event.activated
        || (what.contains(TIMEOUT) && (event.timer == Some(SHORT) || event.has_passed))
        || (what.contains(What::READ) && event.waits);
    assert!(reason, "{event:?} was called for {what:?}");
    if !event.persists {
        (event.waits, event.timer) = (false, None);
    }
    (event.activated, event.has_passed, event.owed) = (false, false, false);
    if world.wild && world.random.below(3) == 0 {
        act(base);
    }
}

fn make(base: &mut Base, place: usize) {
    let world = base.context_mut();
    let pairs = world.pairs.len();
    let pair = Some(world.random.below(pairs * 2)).filter(|&pair| pair < pairs);
    let persists = world.random.below(2) == 0;
    let mut event = pair.map_or(Event::timer(), |pair| reading(&world.pairs[pair].0));
    if persists {
        event = event.persist();
    }
    let id = base.new_event(event, move |base: &mut Base, id, what| called(base, place, id, what)).unwrap();
    let shadow = Shadow {
        id,
        pair,
        persists,
        waits: false,
        timer: None,
        activated: false,
        has_passed: false,
        owed: false,
    };
    base.context_mut().events[place] = Some(shadow);
}

/// One random thing to a random event.
fn act(base: &mut Base) {
    let world = base.context_mut();
    let place = world.random.below(PLACES);
    let choice = world.random.below(12);
    let Some(event) = world.events[place].as_mut() else { return make(base, place) };
    let id = event.id;
    match choice {
        0 | 1 => {
            event.waits = event.pair.is_some();
            base.add(id, None).unwrap();
        }
        2..=4 => {
            let timeout = if choice == 4 { NEVER } else { SHORT };
            event.waits = event.pair.is_some();
            // A timeout that has passed but was not told of is taken back; an activation is not.
            (event.timer, event.has_passed, event.owed) = (Some(timeout), false, event.activated);
            base.add(id, Some(timeout)).unwrap();
        }
        5 => {
            (event.waits, event.timer) = (false, None);
            (event.activated, event.has_passed, event.owed) = (false, false, false);
            base.del(id).unwrap();
        }
        6 => {
            (event.activated, event.owed) = (true, true);
            base.activate(id, What::WRITE).unwrap();
        }
        7 => {
            world.freed.push(id);
            world.events[place] = None;
            base.free(id).unwrap();
        }
        8 => {
            // One that is active by its timeout, or was activated, stays so.
            (event.timer, event.owed) = (None, event.activated);
            let is_active = base.pending(id).unwrap().active;
            base.remove_timer(id).unwrap();
            base.context_mut().events[place].as_mut().unwrap().has_passed |= is_active;
        }
        9 => base.set_callback(id, move |base: &mut Base, id, what| called(base, place, id, what)).unwrap(),
        10 => {
            let pair = world.random.below(world.pairs.len());
            poke(&world.pairs[pair].1);
        }
        _ => {
            let pair = world.random.below(world.pairs.len());
            empty(&world.pairs[pair].0);
        }
    }
}

/// Runs what is due, then compares what the base says of each event with the model.
fn run_and_compare(base: &mut Base) {
    assert_ne!(base.run(Run::NONBLOCK).unwrap(), Ended::Break);
    for place in 0..PLACES {
        let Some(event) = &base.context().events[place] else { continue };
        assert!(!event.owed, "{event:?} was not called");
        let (id, waits, timed) = (event.id, event.waits, event.timer.is_some());
        let pending = base.pending(id).unwrap();
        assert!(!pending.active);
        assert_eq!(pending.what.contains(What::READ), waits);
        assert_eq!(pending.what.contains(TIMEOUT), timed);
        assert_eq!(pending.remaining.is_some(), timed);
    }
    if let Some(&id) = base.context().freed.last() {
        assert!(matches!(base.pending(id), Err(Error::Stale)));
    }
}

/// Everything that is due by now must be called in the next run.
fn let_time_pass(base: &mut Base) {
    std::thread::sleep(SHORT * 2);
    for event in base.context_mut().events.iter_mut().flatten() {
        event.owed |= event.timer == Some(SHORT);
    }
}

fn work(seed: u64, rounds: usize) {
    let world = World {
        random: Random(seed),
        events: (0..PLACES).map(|_| None).collect(),
        freed: Vec::new(),
        pairs: (0..6).map(|_| pair()).collect(),
        calls: 0,
        wild: false,
    };
    let mut base = EventBase::with_context(world).unwrap();
    for round in 0..rounds {
        for _ in 0..base.context_mut().random.below(8) {
            act(&mut base);
        }
        base.context_mut().wild = round % 3 != 0;
        if round % 2 == 0 {
            let_time_pass(&mut base);
        }
        // What is done in callbacks may owe a call to somebody for whom this run is too late: the next has it.
        if base.context().wild {
            assert_ne!(base.run(Run::NONBLOCK).unwrap(), Ended::Break);
            base.context_mut().wild = false;
        }
        run_and_compare(&mut base);
    }
    assert!(base.context().calls > rounds / 2, "{} calls", base.context().calls);
    wind_up(base);
}

/// Without data, long timers and periods the loop comes to an end by itself.
fn wind_up(mut base: Base) {
    for (near, _) in &base.context().pairs {
        empty(near);
    }
    for place in 0..PLACES {
        let Some(event) = base.context_mut().events[place].as_mut() else { continue };
        if event.persists || event.waits || event.timer == Some(NEVER) {
            let id = event.id;
            base.context_mut().events[place] = None;
            base.free(id).unwrap();
        }
    }
    let_time_pass(&mut base);
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    let left: Vec<_> = base.context().events.iter().flatten().collect();
    assert!(left.iter().all(|event| !event.owed && event.timer.is_none()), "{left:?}");
}

#[test]
fn random_work_calls_whom_it_must_and_nobody_else() {
    for seed in 1..=12 {
        work(seed, 600);
    }
}
