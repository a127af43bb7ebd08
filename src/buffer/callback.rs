//! Telling of changes: callbacks, at once or summarised; and the limit on a buffer's length. What few buffers have stands in a
//! box of its own, so that the others pay eight bytes and one comparison for it.
//!
//! A callback is handed the buffer itself and may do anything with it. Three rules make that sound and finite:
//!
//! - It is called last. The operation that made the change is over; nothing of it is left on the stack but its return.
//! - Its closure is out of its entry while it runs, so it may remove itself, and no closure is ever entered twice.
//! - A change that is made while a callback runs is only written down, with every callback that is to hear of it. Whoever
//!   called the callbacks finds it there and calls them again: a loop and no recursion, with a bound on its rounds.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Evbuffer, LEN_MAX};
use crate::{Error, Result};

/// How often one change can make the round of the callbacks, when they answer each round with another change.
const ROUNDS_MAX: usize = 64;

/// What happened to a buffer since a callback was last told: how long it was before, what was added and what was removed.
///
/// `orig_len + added - removed` is the length at the time of the call.
#[doc(alias = "evbuffer_cb_info")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes in the buffer before the change.
    pub orig_len: usize,
    /// Bytes added since, at either end.
    pub added: usize,
    /// Bytes removed since.
    pub removed: usize,
}

impl Change {
    fn is_nothing(&self) -> bool {
        self.added == 0 && self.removed == 0
    }

    /// Becomes the summary of this change and `next`, which came after it.
    fn join(&mut self, next: Change) {
        if self.is_nothing() {
            *self = next;
        } else {
            self.added = self.added.wrapping_add(next.added);
            self.removed = self.removed.wrapping_add(next.removed);
        }
    }
}

/// Names a callback of one buffer. It is [`Error::Stale`] for every other buffer, and once the callback was removed.
#[doc(alias = "evbuffer_cb_entry")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallbackId(u64);

/// Ids are handed out once in the life of the process, in rising order.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A box that holds one value: unlike `Box<T>`, it can be made without aborting when there is no memory for it.
type OneBox<T> = Box<[T; 1]>;

pub(super) type Watched = OneBox<Watch>;

/// What is remembered of a buffer that has callbacks or a limit.
pub(super) struct Watch {
    /// The longest the buffer may become.
    limit: usize,
    /// By rising id, so the newest is the last.
    callbacks: Vec<Entry>,
    deferred: bool,
    /// A callback of this buffer is on the stack, or a call that makes several changes at once.
    busy: bool,
}

struct Entry {
    id: u64,
    enabled: bool,
    /// What it has not been told yet.
    untold: Change,
    /// The closure, except while it runs. The mutex is never locked; it lets buffers be shared between threads although closures
    /// need not be.
    closure: Mutex<Option<Box<dyn Callback>>>,
}

impl Entry {
    fn is_due(&self) -> bool {
        self.enabled && !self.untold.is_nothing()
    }

    fn closure(&mut self) -> &mut Option<Box<dyn Callback>> {
        self.closure.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What a callback is to the buffer. It is implemented for arrays of one closure because those are what can be boxed without
/// aborting.
trait Callback: Send {
    fn call(&mut self, buffer: &mut Evbuffer, change: Change);
}

impl<F: FnMut(&mut Evbuffer, Change) + Send> Callback for [F; 1] {
    fn call(&mut self, buffer: &mut Evbuffer, change: Change) {
        self[0](buffer, change);
    }
}

/// Boxes `value`.
///
/// # Errors
/// [`Error::OutOfMemory`]; the value is then dropped.
fn try_box<T>(value: T) -> Result<OneBox<T>> {
    let mut one = Vec::new();
    one.try_reserve_exact(1).map_err(|_| Error::OutOfMemory)?;
    one.push(value);
    one.into_boxed_slice().try_into().map_err(|_| Error::OutOfMemory)
}

/// Callbacks.
impl Evbuffer {
    /// Has `callback` called after every change of the content, with the buffer and what changed. The newest callback is called first.
    ///
    /// It may do anything with the buffer, its callbacks included. What it changes is told to all callbacks, itself among them, once it
    /// has returned; callbacks that answer every change with another one stop being called after 64 rounds, and hear of the rest
    /// with the next change. Callbacks are not told when a buffer is dropped, nor when bytes are made contiguous or changed in place. They
    /// belong to the buffer and not to its content: moving the bytes elsewhere leaves them here, and a callback that puts another
    /// buffer in the place of the one it was handed (`mem::take`) ends those of the old one.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; the callback is then dropped.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    /// use zerovent::Evbuffer;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let mut buf = Evbuffer::new();
    /// let id = buf.add_callback(move |_, change| tell.send(change).unwrap())?;
    /// buf.add(b"seven..")?;
    /// buf.drain(3)?;
    /// buf.remove_callback(id)?;
    /// buf.drain(4)?;
    ///
    /// let changes: Vec<_> = told.iter().map(|change| (change.orig_len, change.added, change.removed)).collect();
    /// assert_eq!(changes, [(0, 7, 0), (7, 0, 3)]);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// A callback that changes the buffer is not called from inside itself. One call makes one call of each callback: libevent makes two
    /// for a line (the line and its end), and one for each vector of `evbuffer_add_iovec`.
    #[doc(alias = "evbuffer_add_cb")]
    #[doc(alias = "evbuffer_cb_func")]
    pub fn add_callback<F>(&mut self, callback: F) -> Result<CallbackId>
    where
        F: FnMut(&mut Evbuffer, Change) + Send + 'static,
    {
        let closure: Box<dyn Callback> = try_box(callback)?;
        let watch = self.watch_or_new()?;
        if watch.callbacks.try_reserve(1).is_err() {
            self.forget_idle_watch();
            return Err(Error::OutOfMemory);
        }
        // Relaxed: ids only have to differ.
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let closure = Mutex::new(Some(closure));
        watch.callbacks.push(Entry { id, enabled: true, untold: Change::default(), closure });
        Ok(CallbackId(id))
    }

    /// Removes a callback; from inside itself, too. It is not told of anything any more.
    ///
    /// # Errors
    /// [`Error::Stale`] when this buffer has no such callback.
    #[doc(alias = "evbuffer_remove_cb")]
    #[doc(alias = "evbuffer_remove_cb_entry")]
    pub fn remove_callback(&mut self, id: CallbackId) -> Result<()> {
        let watch = self.watch_mut().ok_or(Error::Stale)?;
        let index =
            watch.callbacks.binary_search_by_key(&id.0, |entry| entry.id).map_err(|_| Error::Stale)?;
        let entry = watch.callbacks.remove(index);
        self.forget_idle_watch();
        // Dropping the closure is the user's code: the buffer is whole by now.
        drop(entry);
        Ok(())
    }

    /// Has a callback called again that was disabled. It is not told of what happened meanwhile.
    ///
    /// # Errors
    /// [`Error::Stale`] when this buffer has no such callback.
    #[doc(alias = "evbuffer_cb_set_flags")]
    #[doc(alias = "EVBUFFER_CB_ENABLED")]
    pub fn enable_callback(&mut self, id: CallbackId) -> Result<()> {
        self.entry_mut(id.0)?.enabled = true;
        Ok(())
    }

    /// Has a callback not called until it is enabled again. It never hears of what changes meanwhile, nor of what it has not been told yet.
    ///
    /// # Errors
    /// [`Error::Stale`] when this buffer has no such callback.
    #[doc(alias = "evbuffer_cb_clear_flags")]
    pub fn disable_callback(&mut self, id: CallbackId) -> Result<()> {
        let entry = self.entry_mut(id.0)?;
        (entry.enabled, entry.untold) = (false, Change::default());
        Ok(())
    }

    /// Whether callbacks wait for [`run_deferred`](Self::run_deferred), which tells each of them of everything since the last time
    /// as one change, instead of being called at once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    /// use zerovent::Evbuffer;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let mut buf = Evbuffer::new();
    /// buf.defer_callbacks(true)?;
    /// buf.add_callback(move |_, change| tell.send((change.orig_len, change.added, change.removed)).unwrap())?;
    /// buf.add(b"several")?;
    /// buf.add(b" changes")?;
    /// buf.drain(7)?;
    /// assert!(buf.callbacks_due() && told.try_recv().is_err());
    /// buf.run_deferred();
    /// assert_eq!(told.recv(), Ok((0, 15, 7)));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// A buffer knows no event base. The loop sees to the buffers of its bufferevents at the end of each turn; for a buffer that stands
    /// alone its owner looks for [`callbacks_due`](Self::callbacks_due) and calls `run_deferred`.
    #[doc(alias = "evbuffer_defer_callbacks")]
    pub fn defer_callbacks(&mut self, deferred: bool) -> Result<()> {
        if deferred {
            self.watch_or_new()?.deferred = true;
        } else if let Some(watch) = self.watch_mut() {
            watch.deferred = false;
            self.forget_idle_watch();
        }
        Ok(())
    }

    /// Whether a callback has something to hear that it was not told yet.
    #[must_use]
    pub fn callbacks_due(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch[0].is_due())
    }

    /// Calls the callbacks that wait, the newest first, each once. What they change waits for the next time.
    ///
    /// From inside a callback of the same buffer this does nothing.
    pub fn run_deferred(&mut self) {
        if self.callbacks_due() {
            self.run_round();
        }
    }
}

/// The limit.
impl Evbuffer {
    /// Refuses whatever would make the buffer longer than `limit` bytes: [`Error::Limit`], and nothing is added. Reading from a descriptor
    /// stops at the limit. A buffer that is longer already stays so. `None` lifts the limit.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use zerovent::{Error, Evbuffer};
    ///
    /// let mut buf = Evbuffer::new();
    /// buf.set_capacity_limit(Some(8))?;
    /// buf.add(b"five.")?;
    /// assert!(matches!(buf.add(b"four"), Err(Error::Limit)));
    /// assert_eq!(buf.len(), 5);
    /// buf.add(b"3..")?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn set_capacity_limit(&mut self, limit: Option<usize>) -> Result<()> {
        match limit {
            Some(limit) => self.watch_or_new()?.limit = limit.min(LEN_MAX),
            None => {
                if let Some(watch) = self.watch_mut() {
                    watch.limit = LEN_MAX;
                    self.forget_idle_watch();
                }
            }
        }
        Ok(())
    }

    /// The most bytes the buffer may hold, if that was limited.
    #[must_use]
    pub fn capacity_limit(&self) -> Option<usize> {
        self.watch.as_ref().map(|watch| watch[0].limit).filter(|limit| *limit < LEN_MAX)
    }

    /// How many bytes may still be added.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        let most = self.watch.as_ref().map_or(LEN_MAX, |watch| watch[0].limit);
        most.saturating_sub(self.len)
    }

    #[cold]
    pub(super) fn admit_within_limit(&self, count: usize) -> Result<()> {
        if count > 0 && count > self.room() { Err(Error::Limit) } else { Ok(()) }
    }
}

/// The box, and who is told what.
impl Evbuffer {
    fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut().map(|watch| &mut watch[0])
    }

    fn watch_or_new(&mut self) -> Result<&mut Watch> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => try_box(Watch { limit: LEN_MAX, callbacks: Vec::new(), deferred: false, busy: false })?,
        };
        Ok(&mut self.watch.insert(watch)[0])
    }

    fn entry_mut(&mut self, id: u64) -> Result<&mut Entry> {
        let callbacks = &mut self.watch_mut().ok_or(Error::Stale)?.callbacks;
        let index = callbacks.binary_search_by_key(&id, |entry| entry.id).map_err(|_| Error::Stale)?;
        Ok(&mut callbacks[index])
    }

    /// Gives the box up when it says nothing that an absent one does not.
    fn forget_idle_watch(&mut self) {
        if self.watch_mut().is_some_and(|watch| watch.is_idle()) {
            self.watch = None;
        }
    }

    /// Tells the callbacks of a change that has just been accounted for; of nothing, when nothing has changed.
    #[inline]
    pub(super) fn tell(&mut self, added: usize, removed: usize) {
        if self.watch.is_some() && added + removed > 0 {
            self.write_down(added, removed);
            self.call_callbacks();
        }
    }

    /// Writes a change that has just been accounted for down, for every callback that is to hear of it. Whoever does it sees to
    /// [`call_callbacks`](Self::call_callbacks) too; between the two there may be a clean-up of the user's that panics, and the callbacks then
    /// hear of this change with the next.
    #[inline]
    pub(super) fn write_down(&mut self, added: usize, removed: usize) {
        if self.watch.is_some() {
            self.write_down_change(added, removed);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_down_change(&mut self, added: usize, removed: usize) {
        let change = Change { orig_len: self.len + removed - added, added, removed };
        let Some(watch) = self.watch_mut() else { return };
        for entry in watch.callbacks.iter_mut().filter(|entry| entry.enabled) {
            entry.untold.join(change);
        }
    }

    /// Tells the callbacks of what was written down, unless they wait for [`run_deferred`](Self::run_deferred).
    #[inline]
    pub(super) fn call_callbacks(&mut self) {
        if self.watch.as_ref().is_some_and(|watch| !watch[0].deferred) {
            self.run_callbacks();
        }
    }

    /// Calls the callbacks until there is nothing new to tell.
    #[cold]
    #[inline(never)]
    fn run_callbacks(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.callbacks_due() {
                return;
            }
            self.run_round();
        }
    }

    /// Calls each callback that has something to hear once, the newest first. One that is added meanwhile is not among them.
    fn run_round(&mut self) {
        let mut below = NEXT_ID.load(Ordering::Relaxed);
        while let Some((id, change, closure)) = self.watch_mut().and_then(|watch| watch.next_due(below)) {
            below = id;
            let mut turn = Turn { buffer: self, id, closure: Some(closure) };
            turn.run(change);
        }
    }

    /// Does `work`, which makes several changes, and tells the callbacks of them as one.
    pub(super) fn batched<T>(&mut self, work: impl FnOnce(&mut Evbuffer) -> T) -> T {
        let Some(watch) = self.watch_mut() else { return work(self) };
        let nested = std::mem::replace(&mut watch.busy, true);
        let batch = Batch { buffer: self, nested };
        let result = work(batch.buffer);
        drop(batch);
        self.call_callbacks();
        result
    }
}

/// Several changes that are told as one. Dropping it lets the callbacks be called again, also when a clean-up of the user's panics.
struct Batch<'a> {
    buffer: &'a mut Evbuffer,
    /// Whether it is part of a larger one, or of a callback.
    nested: bool,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.buffer.watch_mut() {
            watch.busy = self.nested;
        }
    }
}

impl Watch {
    fn is_idle(&self) -> bool {
        self.limit == LEN_MAX && self.callbacks.is_empty() && !self.deferred && !self.busy
    }

    fn is_due(&self) -> bool {
        !self.busy && self.callbacks.iter().any(Entry::is_due)
    }

    /// Takes the newest callback with an id below `below` that has something to hear out of its entry.
    fn next_due(&mut self, below: u64) -> Option<(u64, Change, Box<dyn Callback>)> {
        if self.busy {
            return None;
        }
        let older = self.callbacks.partition_point(|entry| entry.id < below);
        let entry = self.callbacks[..older].iter_mut().rev().find(|entry| entry.is_due())?;
        let closure = entry.closure().take()?;
        let change = std::mem::take(&mut entry.untold);
        self.busy = true;
        Some((entry.id, change, closure))
    }
}

/// One call of one callback. Dropping it puts the closure back, also when it panics, unless it was removed.
struct Turn<'a> {
    buffer: &'a mut Evbuffer,
    id: u64,
    closure: Option<Box<dyn Callback>>,
}

impl Turn<'_> {
    fn run(&mut self, change: Change) {
        if let Some(closure) = &mut self.closure {
            closure.call(self.buffer, change);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.buffer.watch_mut() {
            watch.busy = false;
        }
        if let Ok(entry) = self.buffer.entry_mut(self.id) {
            *entry.closure() = self.closure.take();
        }
        self.buffer.forget_idle_watch();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} callbacks, limit {})", self.callbacks.len(), self.limit)
    }
}
