//! The rows, each written once for all loops.

use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::cpu;
use super::engine::{Engine, State};
use crate::measure::Work;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Pipes { count: usize, active: usize },
    Descriptor,
    Timers { count: usize },
    TimersAcross { count: usize },
    Rearm { count: usize },
    Fire { count: usize },
    Common,
    Activate,
    EmptyTurn,
}

pub(crate) const ROWS: [(Row, &str); 16] = [
    (Row::Pipes { count: 100, active: 1 }, "pipe benchmark, 100 pipes, 1 active"),
    (Row::Pipes { count: 100, active: 100 }, "pipe benchmark, 100 pipes, 100 active"),
    (Row::Pipes { count: 1000, active: 10 }, "pipe benchmark, 1000 pipes, 10 active"),
    (Row::Pipes { count: 9000, active: 1 }, "pipe benchmark, 9000 pipes, 1 active"),
    (Row::Pipes { count: 9000, active: 100 }, "pipe benchmark, 9000 pipes, 100 active"),
    (Row::Descriptor, "event_del and event_add of an fd, its interest the same at the next wait"),
    (Row::Timers { count: 1_000_000 }, "timer add and del, 1M random"),
    (Row::Timers { count: 10_000 }, "timer add and del, 10k random"),
    (Row::TimersAcross { count: 1_000_000 }, "the same, 1M, with a turn between adding and deleting"),
    (Row::TimersAcross { count: 10_000 }, "the same, 10k, with a turn between"),
    (Row::Rearm { count: 1 }, "re-arm an idle timeout, the only one"),
    (Row::Rearm { count: 10_000 }, "re-arm an idle timeout, 10k in turn"),
    (Row::Fire { count: 1_000_000 }, "fire 1M timers"),
    (Row::Common, "common timeout, 10k in turn"),
    (Row::Activate, "event_active to callback"),
    (Row::EmptyTurn, "empty turn of the loop"),
];

/// Descriptors of the row that adds and deletes them.
const DESCRIPTORS: usize = 1000;
/// Timers that share a length of time.
const COMMON: usize = 10_000;
/// How often timers are moved, at least, before the loop turns.
const REARMS: usize = 1000;
/// How many events are activated before the loop turns.
const ACTIVATED: usize = 1000;
const TURNS: usize = 100;
/// An idle timeout, and the timeout that is shared.
const MINUTE_US: u64 = 60_000_000;
const IDLE_US: Range<u64> = MINUTE_US..MINUTE_US + 1;
/// The random timers that come and go, none of which is ever due.
const RANDOM_US: Range<u64> = 60_000_000..3_600_000_000;
/// The longest of those that fire.
const FIRE_US: u64 = 20_000;

/// The work of a row for one kind of loop; `None` where it has no such thing.
pub(crate) fn work<E: Engine>(row: Row) -> Option<Work> {
    Some(match row {
        Row::Pipes { count, active } => pipes::<E>(count, active),
        Row::Descriptor => descriptor::<E>(),
        Row::Timers { count } => timers::<E>(count, |engine| {
            engine.inside(|engine| {
                add_all(engine);
                del_all(engine);
            });
        }),
        Row::TimersAcross { count } => timers::<E>(count, |engine| {
            engine.inside(add_all);
            engine.inside(del_all);
        }),
        Row::Rearm { count } => rearm::<E>(count),
        Row::Fire { count } => fire::<E>(count),
        Row::Common => return common::<E>(),
        Row::Activate => activate::<E>(),
        Row::EmptyTurn => {
            passes(idle::<E>(), TURNS, |engine| cpu::timed(|| (0..TURNS).for_each(|_| engine.turn())))
        }
    })
}

/// Work in passes of `size` operations. What is asked for is rounded up to whole passes, and the time down again.
fn passes<E: Engine>(mut engine: E, size: usize, mut pass: impl FnMut(&mut E) -> Duration + 'static) -> Work {
    Box::new(move |count| {
        let passes = count.div_ceil(size as u64);
        let total: Duration = (0..passes).map(|_| pass(&mut engine)).sum();
        total.mul_f64(count as f64 / (passes * size as u64) as f64)
    })
}

/// A loop that has something to wait for: a pipe that nobody writes to.
fn idle<E: Engine>() -> E {
    let mut engine = E::new();
    open_pipes(&mut engine, 1);
    engine
}

fn open_pipes<E: Engine>(engine: &mut E, count: usize) {
    let pipes = &mut engine.state().pipes;
    pipes.extend((0..count).map(|_| std::io::pipe().expect("descriptors for a pipe")));
    let fds: Vec<RawFd> = pipes.iter().map(|(reader, _)| reader.as_raw_fd()).collect();
    engine.watch(&fds);
}

/// libevent's own benchmark: `active` bytes travel around a ring of pipes, and an operation is one step of one of them.
fn pipes<E: Engine>(count: usize, active: usize) -> Work {
    let mut engine = E::new();
    open_pipes(&mut engine, count);
    // The kernel is told of them before the time is taken.
    engine.turn();
    Box::new(move |steps| {
        let state = engine.state();
        (state.read, state.to_write) = (0, steps);
        cpu::timed(|| {
            for start in 0..active.min(steps as usize) {
                engine.state().write(start * (count / active));
            }
            while engine.state().read < steps {
                engine.turn();
            }
        })
    })
}

fn descriptor<E: Engine>() -> Work {
    let mut engine = E::new();
    open_pipes(&mut engine, DESCRIPTORS);
    engine.turn();
    let job = |engine: &mut E| {
        for index in 0..DESCRIPTORS {
            engine.del_fd(index);
            engine.add_fd(index);
        }
    };
    passes(engine, DESCRIPTORS, move |engine| {
        cpu::timed(|| {
            engine.inside(job);
            engine.turn();
        })
    })
}

/// A loop with so many timers, and random lengths of time for them.
fn with_timers<E: Engine>(count: usize, span_us: Range<u64>) -> E {
    let mut engine = idle::<E>();
    engine.make_timers(count);
    let mut random = Random(1);
    let state = engine.state();
    state.timers = count;
    state.spans.extend(
        (0..count.next_power_of_two())
            .map(|_| E::span(span_us.start + random.below(span_us.end - span_us.start))),
    );
    engine
}

fn add_all<E: Engine>(engine: &mut E) {
    for index in 0..engine.state().timers {
        let state = engine.state();
        let after = state.spans[(state.at + index) & (state.spans.len() - 1)];
        engine.add_timer(index, after);
    }
}

fn del_all<E: Engine>(engine: &mut E) {
    (0..engine.state().timers).for_each(|index| engine.del_timer(index));
}

/// `round` adds all and deletes all, and then the loop turns, so that nothing can be left for later.
fn timers<E: Engine>(count: usize, round: fn(&mut E)) -> Work {
    let mut random = Random(2);
    passes(with_timers::<E>(count, RANDOM_US), count, move |engine| {
        // From another start each time, so that no timer gets the length that it had before.
        engine.state().at = random.below(count as u64) as usize;
        cpu::timed(|| {
            round(engine);
            engine.turn();
        })
    })
}

/// Timeouts of a minute, each of which is moved on in every turn.
fn rearm<E: Engine>(count: usize) -> Work {
    let mut engine = with_timers::<E>(count, IDLE_US);
    engine.inside(add_all);
    // Few are moved often, so that the turns cost nothing.
    let rounds = (REARMS / count).max(1);
    engine.state().at = rounds;
    let job = |engine: &mut E| {
        let State { timers, at: rounds, spans, .. } = engine.state();
        let (count, rounds, after) = (*timers, *rounds, spans[0]);
        for _ in 0..rounds {
            (0..count).for_each(|index| engine.rearm_timer(index, after));
        }
    };
    passes(engine, rounds * count, move |engine| cpu::timed(|| engine.inside(job)))
}

/// The same with a length of time that the loop has been told is common.
fn common<E: Engine>() -> Option<Work> {
    let mut engine = with_timers::<E>(COMMON, IDLE_US);
    if !engine.make_common(MINUTE_US) {
        return None;
    }
    let job = |engine: &mut E| (0..COMMON).for_each(|index| engine.rearm_common(index));
    engine.inside(job);
    Some(passes(engine, COMMON, move |engine| cpu::timed(|| engine.inside(job))))
}

/// The time is that of the turns in which all of them fire, in order.
fn fire<E: Engine>(count: usize) -> Work {
    passes(with_timers::<E>(count, 1..FIRE_US), count, move |engine| {
        engine.inside(add_all);
        // Until the last is due, and a little longer for a clock that is behind.
        std::thread::sleep(Duration::from_micros(FIRE_US + 5_000));
        assert_eq!(engine.state().fired, 0, "timers fired before the time was taken");
        cpu::timed(|| {
            while engine.state().fired < count {
                engine.turn();
            }
            engine.state().fired = 0;
        })
    })
}

fn activate<E: Engine>() -> Work {
    passes(with_timers::<E>(ACTIVATED, IDLE_US), ACTIVATED, |engine| {
        cpu::timed(|| {
            engine.inside(|engine| (0..ACTIVATED).for_each(|index| engine.activate(index)));
            while engine.state().fired < ACTIVATED {
                engine.turn();
            }
            engine.state().fired = 0;
        })
    })
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) % end
    }
}
