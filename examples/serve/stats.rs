//! Figures of all loops together. Nothing is shared while requests are served: whoever wants to know asks each loop to
//! add its own, and the last that does so hands over the sum.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use zerovent::buffer::CopyStats;
use zerovent::event_base::Remote;
use zerovent::http::{Served, ServerStats};

use crate::{Base, Context};

/// The longest duration that is told from longer ones, in microseconds: an hour.
const DURATION_MAX_US: u64 = 3_600_000_000;

/// How many seconds the page looks back.
const HISTORY_LEN: usize = 120;

/// How long answers have taken on one loop, in microseconds, to two digits.
#[derive(Debug, Clone)]
pub(crate) struct Durations(Histogram<u64>);

pub(crate) type SharedDurations = Rc<RefCell<Durations>>;

impl Durations {
    pub(crate) fn new() -> Durations {
        Durations(Histogram::new_with_bounds(1, DURATION_MAX_US, 2).expect("the bounds are apart"))
    }

    pub(crate) fn note(&mut self, served: &Served<'_>) {
        let us = u64::try_from(served.duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us.max(1));
    }

    /// What this part of the answers has not exceeded.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(part))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

/// The figures of a loop, or of several.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) server: ServerStats,
    pub(crate) durations: Durations,
    pub(crate) threads: usize,
    pub(crate) turns: u64,
    pub(crate) waits: u64,
    pub(crate) calls: u64,
    /// Sent from files by the kernel, and from memory, heads included.
    pub(crate) sendfile: u64,
    pub(crate) memory: u64,
    pub(crate) copied: u64,
    pub(crate) received: u64,
}

impl Snapshot {
    pub(crate) fn new() -> Snapshot {
        Snapshot {
            server: ServerStats::default(),
            durations: Durations::new(),
            threads: 0,
            turns: 0,
            waits: 0,
            calls: 0,
            sendfile: 0,
            memory: 0,
            copied: 0,
            received: 0,
        }
    }

    /// The loop of the calling thread.
    fn of(base: &Base) -> Snapshot {
        let (loop_stats, bytes, context) = (base.stats(), CopyStats::now(), base.context());
        Snapshot {
            server: context.server.as_ref().map(|server| server.stats()).unwrap_or_default(),
            durations: context.durations.borrow().clone(),
            threads: 1,
            turns: loop_stats.turns,
            waits: loop_stats.waits,
            calls: loop_stats.calls,
            sendfile: bytes.sendfile,
            memory: bytes.sent,
            copied: bytes.copied,
            received: bytes.received,
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sendfile + self.memory
    }
}

impl AddAssign for Snapshot {
    fn add_assign(&mut self, other: Snapshot) {
        self.server += other.server;
        // Both have the same bounds.
        let _ = self.durations.0.add(&other.durations.0);
        self.threads += other.threads;
        self.turns += other.turns;
        self.waits += other.waits;
        self.calls += other.calls;
        self.sendfile += other.sendfile;
        self.memory += other.memory;
        self.copied += other.copied;
        self.received += other.received;
    }
}

/// All loops of the program, and what they have done lately.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    remotes: Arc<Mutex<Vec<Remote<Context>>>>,
    history: Arc<Mutex<VecDeque<Sample>>>,
    began: Instant,
}

/// What happened in one second, or about that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) requests_a_second: f64,
    pub(crate) bytes_a_second: f64,
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        Fleet { remotes: Arc::default(), history: Arc::default(), began: Instant::now() }
    }

    pub(crate) fn join(&self, remote: Remote<Context>) {
        lock(&self.remotes).push(remote);
    }

    /// Calls `then` with the figures of all loops, on the thread of whichever is the last to add its own.
    pub(crate) fn survey(&self, then: impl FnOnce(Snapshot) + Send + 'static) {
        let survey =
            Arc::new(Survey { sum: Mutex::new(Snapshot::new()), then: Mutex::new(Some(Box::new(then))) });
        for remote in lock(&self.remotes).iter() {
            let survey = Arc::clone(&survey);
            // A loop that has ended drops its copy and adds nothing.
            let _ = remote.run(move |base| *lock(&survey.sum) += Snapshot::of(base));
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn history(&self) -> Vec<Sample> {
        lock(&self.history).iter().copied().collect()
    }

    pub(crate) fn remember(&self, sample: Sample) {
        let mut history = lock(&self.history);
        if history.len() == HISTORY_LEN {
            history.pop_front();
        }
        history.push_back(sample);
    }
}

type Then = Box<dyn FnOnce(Snapshot) + Send>;

/// A question to all loops. Each holds a share of it until it has answered.
struct Survey {
    sum: Mutex<Snapshot>,
    then: Mutex<Option<Then>>,
}

impl Drop for Survey {
    fn drop(&mut self) {
        if let Some(then) = lock(&self.then).take() {
            then(lock(&self.sum).clone());
        }
    }
}

/// Figures are of use even if a thread has panicked over them.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
