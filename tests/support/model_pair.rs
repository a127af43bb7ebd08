//! One buffer of the model: what it should hold, what it should refuse, and whom it should tell of what.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};

use zerovent::buffer::{CallbackId, Change};
use zerovent::{Evbuffer, Result};

/// The rounds of callbacks that one change can make.
const ROUNDS_MAX: usize = 64;
/// Room in the log for what one operation can tell, so that writing it down allocates nothing.
const LOG_LEN: usize = 4096;

/// One call of one callback: its number, and the change.
pub type Told = (u32, Change);

/// What was told, and what should have been.
#[derive(Clone)]
pub struct Logs {
    actual: Arc<Mutex<Vec<Told>>>,
    expected: Rc<RefCell<Vec<Told>>>,
    next: Rc<RefCell<u32>>,
}

impl Logs {
    pub fn new() -> Logs {
        let actual = Arc::new(Mutex::new(Vec::with_capacity(LOG_LEN)));
        Logs { actual, expected: Rc::default(), next: Rc::default() }
    }

    /// Compares the two and starts again.
    pub fn compare(&self, op: impl std::fmt::Debug) {
        let mut actual = self.actual.lock().expect("nobody panicked");
        let mut expected = self.expected.borrow_mut();
        assert!(*actual == *expected, "told {actual:?} instead of {expected:?} after {op:?}");
        actual.clear();
        expected.clear();
    }
}

/// What a callback does beside writing down that it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Drains up to three of the bytes that were added.
    Eater,
    /// Adds two bytes when a hundred or more were removed.
    Adder,
    /// Removes itself.
    Once,
}

/// A callback as it should behave.
struct Watcher {
    id: CallbackId,
    number: u32,
    kind: Kind,
    enabled: bool,
    untold: Change,
}

/// Why a call should be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Frozen,
    Limit,
}

/// One buffer, and what it should hold.
pub struct Pair {
    pub real: Evbuffer,
    pub model: VecDeque<u8>,
    pub frozen_front: bool,
    pub frozen_back: bool,
    pub limit: Option<usize>,
    pub edits: u64,
    watchers: Vec<Watcher>,
    deferred: bool,
    running: bool,
    logs: Logs,
}

impl Pair {
    pub fn new(logs: &Logs) -> Pair {
        Pair {
            real: Evbuffer::new(),
            model: VecDeque::new(),
            frozen_front: false,
            frozen_back: false,
            limit: None,
            edits: 0,
            watchers: Vec::new(),
            deferred: false,
            running: false,
            logs: logs.clone(),
        }
    }

    pub fn contents(&mut self) -> &[u8] {
        self.model.make_contiguous()
    }

    pub fn append(&mut self, data: &[u8]) {
        self.model.extend(data);
        self.changed(data.len(), 0);
    }

    pub fn prepend(&mut self, data: &[u8]) {
        data.iter().rev().for_each(|&byte| self.model.push_front(byte));
        self.changed(data.len(), 0);
    }

    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.model.len());
        let taken = self.model.drain(..count).collect();
        self.changed(0, count);
        taken
    }

    pub fn truncate(&mut self, len: usize) -> Vec<u8> {
        let taken: Vec<u8> = self.model.drain(len..).collect();
        self.changed(0, taken.len());
        taken
    }

    /// How many bytes the limit still admits.
    pub fn room(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.model.len()))
    }

    pub fn refuses_back(&self, count: usize) -> Option<Refusal> {
        self.refuses(self.frozen_back, count)
    }

    pub fn refuses_front(&self, count: usize) -> Option<Refusal> {
        self.refuses(self.frozen_front, count)
    }

    pub fn refuses(&self, frozen: bool, count: usize) -> Option<Refusal> {
        let over = count > 0 && count > self.room();
        if frozen { Some(Refusal::Frozen) } else { over.then_some(Refusal::Limit) }
    }
}

/// Callbacks.
impl Pair {
    /// Adds a callback to the real buffer.
    pub fn add_real_callback(
        &mut self,
        kind: Kind,
    ) -> (u32, Arc<OnceLock<CallbackId>>, impl FnOnce(&mut Evbuffer) -> Result<CallbackId> + use<>) {
        let number = *self.logs.next.borrow();
        *self.logs.next.borrow_mut() += 1;
        let (own, log) = (Arc::new(OnceLock::new()), Arc::clone(&self.logs.actual));
        let id: Arc<OnceLock<CallbackId>> = Arc::clone(&own);
        let note = move |buf: &mut Evbuffer, change: Change| {
            assert_eq!(change.orig_len + change.added - change.removed, buf.len(), "what is told adds up");
            buf.check_invariants();
            let mut log = log.lock().expect("nobody panicked");
            assert!(log.len() < LOG_LEN, "the log is full");
            log.push((number, change));
            drop(log);
            match kind {
                Kind::Plain => {}
                Kind::Eater => drop(buf.drain(change.added.min(3))),
                Kind::Adder if change.removed >= 100 => drop(buf.add(b"+\n")),
                Kind::Adder => {}
                Kind::Once => buf.remove_callback(*id.get().expect("known by now")).expect("still there"),
            }
        };
        (number, own, move |buf| buf.add_callback(note))
    }

    pub fn add_model_callback(&mut self, id: CallbackId, number: u32, kind: Kind) {
        self.watchers.push(Watcher { id, number, kind, enabled: true, untold: Change::default() });
    }

    /// The handle of one of the callbacks.
    pub fn callback(&self, which: usize) -> Option<CallbackId> {
        Some(self.watchers.get(which % self.watchers.len().max(1))?.id)
    }

    pub fn callbacks(&self) -> usize {
        self.watchers.len()
    }

    pub fn remove_callback(&mut self, id: CallbackId) {
        self.watchers.retain(|watcher| watcher.id != id);
    }

    pub fn enable_callback(&mut self, id: CallbackId, enabled: bool) {
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.id == id) {
            watcher.enabled = enabled;
            if !enabled {
                watcher.untold = Change::default();
            }
        }
    }

    pub fn defer(&mut self, deferred: bool) {
        self.deferred = deferred;
    }

    pub fn is_due(&self) -> bool {
        self.watchers.iter().any(Watcher::is_due)
    }

    pub fn changed(&mut self, added: usize, removed: usize) {
        if added == 0 && removed == 0 {
            return;
        }
        self.edits += 1;
        let orig_len = self.model.len() + removed - added;
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.enabled) {
            if watcher.untold.added + watcher.untold.removed == 0 {
                watcher.untold.orig_len = orig_len;
            }
            watcher.untold.added += added;
            watcher.untold.removed += removed;
        }
        for _ in 0..ROUNDS_MAX {
            if self.running || self.deferred || !self.is_due() {
                break;
            }
            self.run_round();
        }
    }

    /// Tells each callback once, the newest first.
    pub fn run_round(&mut self) {
        let mut below = u32::MAX;
        while let Some(watcher) = self.watchers.iter_mut().rfind(|w| w.number < below && w.is_due()) {
            let change = std::mem::take(&mut watcher.untold);
            let (id, kind) = (watcher.id, watcher.kind);
            below = watcher.number;
            self.logs.expected.borrow_mut().push((below, change));
            self.running = true;
            match kind {
                Kind::Eater if !self.frozen_front => drop(self.take(change.added.min(3))),
                Kind::Adder if change.removed >= 100 && self.refuses_back(2).is_none() => self.append(b"+\n"),
                Kind::Once => self.remove_callback(id),
                _ => {}
            }
            self.running = false;
        }
    }
}

impl Watcher {
    fn is_due(&self) -> bool {
        self.enabled && self.untold.added + self.untold.removed > 0
    }
}
