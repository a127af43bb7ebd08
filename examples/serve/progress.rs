//! Once a second: what the page of figures remembers, and a line on the terminal that is rewritten in place.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zerovent::event_base::{Event, EventId};

use crate::Base;
use crate::options::{LogFile, Settings};
use crate::stats::{Fleet, Sample, Snapshot, lock};

const SECOND: Duration = Duration::from_secs(1);

/// Back to the start of the line, and away with what stands there.
const CLEAR: &str = "\r\x1b[K";

/// Whether the last line of the terminal is ours. Relaxed will do: the worst that two threads can do to each other
/// here is a line that looks odd for a second.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether there is a terminal that nobody else writes to all the time.
pub(crate) fn has_place(settings: &Settings) -> bool {
    let log_is_there = match (&settings.log, &settings.log_file) {
        (None, _) | (_, LogFile::At(_)) => false,
        (_, LogFile::Stdout) => io::stdout().is_terminal(),
        (_, LogFile::Stderr) => true,
    };
    io::stderr().is_terminal() && !log_is_there
}

/// Takes a sample each second until the event that is returned is freed.
pub(crate) fn start(base: &mut Base, fleet: Fleet, is_shown: bool) -> zerovent::Result<EventId> {
    let last = Arc::new(Mutex::new((Instant::now(), Snapshot::new())));
    let timer = base.new_event(Event::timer().persist(), move |_, _, _| {
        let (last, owner) = (Arc::clone(&last), fleet.clone());
        fleet.survey(move |now| {
            let mut last = lock(&last);
            let (sample, connections) = (sample(&last, &now), now.server.connections);
            *last = (Instant::now(), now);
            owner.remember(sample);
            if is_shown {
                show(sample, connections, last.1.server.answers);
            }
        });
    })?;
    base.add(timer, Some(SECOND))?;
    Ok(timer)
}

fn sample((began, before): &(Instant, Snapshot), now: &Snapshot) -> Sample {
    let seconds = began.elapsed().as_secs_f64().max(1e-3);
    let a_second = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    Sample {
        requests_a_second: a_second(before.server.answers, now.server.answers),
        bytes_a_second: a_second(before.sent(), now.sent()),
    }
}

fn show(sample: Sample, connections: usize, answers: u64) {
    let (requests, megabytes) = (sample.requests_a_second, sample.bytes_a_second / 1e6);
    write(format_args!(
        "{CLEAR}{requests:.0} requests/s   {megabytes:.1} MB/s   {connections} connections   {answers} requests in all"
    ));
    IS_SHOWN.store(true, Ordering::Relaxed);
}

/// Makes room for a line of somebody else's.
pub(crate) fn clear() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        write(format_args!("{CLEAR}"));
    }
}

fn write(text: std::fmt::Arguments<'_>) {
    // In one piece, so that it does not flicker. That the terminal is gone is no reason to end.
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
