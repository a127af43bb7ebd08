//! Timers of a process that did not run for a while: stopped altogether, or kept busy by one callback.
//!
//! That somebody sets the system's clock cannot matter: the loop's one clock is CLOCK_MONOTONIC (`sys/clock.rs`), which
//! no setting moves and which stands still in no stop of a process. How long the process is stopped here is a second, or
//! as many as ZEROVENT_SUSPEND_SECONDS says.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::events::*;
use support::net::PATIENCE;
use zerovent::EventBase;
use zerovent::event_base::{Event, Run};

const PERIODS_MS: [u64; 4] = [20, 30, 50, 170];
const CHILD: &str = "ZEROVENT_SUSPENDED_CHILD";

/// When each timer was due next whenever it was called, counted from just before it was added.
type Log = Vec<Vec<Duration>>;

fn ticking() -> (EventBase<Log>, Vec<zerovent::event_base::EventId>) {
    let mut base = EventBase::with_context(vec![Vec::new(); PERIODS_MS.len()]).unwrap();
    let add = |(place, period_ms): (usize, u64)| {
        let start = Instant::now();
        let tick = move |base: &mut EventBase<Log>, id, _| {
            let next = start.elapsed() + base.pending(id).unwrap().remaining.unwrap();
            base.context_mut()[place].push(next);
        };
        let id = base.new_event(Event::timer().persist(), tick).unwrap();
        let period = Duration::from_millis(period_ms);
        // Half of them by a common timeout.
        if place % 2 == 0 {
            base.add(id, Some(period)).unwrap();
        } else {
            let common = base.common_timeout(period);
            base.add_common(id, common).unwrap();
        }
        id
    };
    let ids = PERIODS_MS.into_iter().enumerate().map(add).collect();
    (base, ids)
}

/// No two calls of one timer belong to one period of its schedule, as a burst of those that were missed would, and a
/// schedule that was begun anew sooner or later. A call may come up to a period late without being taken for the next.
fn assert_on_schedule(log: &Log, gap: Duration) {
    for (calls, period_ms) in log.iter().zip(PERIODS_MS) {
        let period = Duration::from_millis(period_ms);
        let places: Vec<_> = calls.iter().map(|next| next.as_nanos() / period.as_nanos()).collect();
        assert!(places.first().is_none_or(|&place| place >= 2), "early: {calls:?}");
        assert!(places.is_sorted_by(|a, b| a < b), "twice in a period of {period:?}: {calls:?}");
        let longest = calls.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        assert!(longest >= gap / 2, "the gap was seen: {calls:?}");
    }
}

#[test]
fn after_a_long_callback_each_periodic_timer_is_called_once_and_keeps_its_schedule() {
    let (mut base, _) = ticking();
    let busy = Duration::from_millis(300);
    base.loop_exit(Some(Duration::from_millis(250))).unwrap();
    base.dispatch().unwrap();
    let before: Vec<_> = base.context().iter().map(Vec::len).collect();
    base.once(Event::timer(), None, move |_, _| std::thread::sleep(busy)).unwrap();
    base.run(Run::ONCE).unwrap();
    base.run(Run::ONCE).unwrap();
    let once: Vec<_> =
        base.context().iter().zip(before).map(|(calls, before)| calls.len() - before).collect();
    assert!(once.iter().all(|&calls| calls <= 2), "{once:?}");
    base.loop_exit(Some(Duration::from_millis(400))).unwrap();
    base.dispatch().unwrap();
    assert_on_schedule(base.context(), busy);
}

/// The child of the test below, and nothing when it is not started by that.
#[test]
fn suspended_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (mut base, ids) = ticking();
    base.loop_exit(Some(Duration::from_millis(200))).unwrap();
    base.dispatch().unwrap();
    println!("\nready");
    let mut latest = Instant::now();
    let mut gap = Duration::ZERO;
    // Until it has been stopped, and for a while after that.
    while gap < Duration::from_millis(500) {
        base.run(Run::ONCE).unwrap();
        gap = latest.elapsed();
        latest = Instant::now();
    }
    base.loop_exit(Some(Duration::from_millis(400))).unwrap();
    base.dispatch().unwrap();
    assert_on_schedule(base.context(), gap);
    assert!(ids.iter().all(|&id| base.pending(id).unwrap().what == TIMEOUT));
}

#[test]
fn a_stopped_process_calls_each_periodic_timer_once_and_keeps_its_schedule() {
    let seconds = std::env::var("ZEROVENT_SUSPEND_SECONDS").ok().and_then(|text| text.parse().ok());
    let pause = Duration::from_secs(seconds.unwrap_or(1));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "suspended_child", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::start({
        let id = child.id();
        move || kill(id, "KILL")
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    kill(child.id(), "STOP");
    std::thread::sleep(pause.min(PATIENCE / 2));
    kill(child.id(), "CONT");
    let said: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{}", said.join("\n"));
}

fn kill(process: u32, signal: &str) {
    let command = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}
