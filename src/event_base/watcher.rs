//! Watchers: closures that the loop calls just before it waits and just after.

use std::fmt;
use std::time::Duration;

use super::EventBase;
use super::callback::Taken;
use crate::error::{Error, Result};

type Prepare<C> = Box<dyn FnMut(&mut EventBase<C>, WatcherId, Option<Duration>)>;
type Check<C> = Box<dyn FnMut(&mut EventBase<C>, WatcherId)>;

/// Names a watcher of one base. Watchers are numbered in the order of their making, and no number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatcherId(u64);

enum Callback<C> {
    Prepare(Prepare<C>),
    Check(Check<C>),
}

/// When watchers are called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// Before a wait, and how long that would be.
    BeforeWait(Option<Duration>),
    AfterWait,
}

struct Watcher<C> {
    id: WatcherId,
    callback: Option<Callback<C>>,
}

/// All watchers of a base, in the order of their making.
pub(super) struct Watchers<C> {
    list: Vec<Watcher<C>>,
    next_id: u64,
}

impl<C> Watchers<C> {
    pub(super) fn new() -> Self {
        Watchers { list: Vec::new(), next_id: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn push(&mut self, callback: Callback<C>) -> WatcherId {
        let id = WatcherId(self.next_id);
        self.next_id += 1;
        self.list.push(Watcher { id, callback: Some(callback) });
        id
    }

    fn place(&self, id: WatcherId) -> Result<usize> {
        self.list.binary_search_by_key(&id, |watcher| watcher.id).map_err(|_| Error::Stale)
    }

    fn callback(&mut self, id: WatcherId) -> Option<&mut Option<Callback<C>>> {
        let place = self.place(id).ok()?;
        Some(&mut self.list[place].callback)
    }

    /// The first watcher with a number from `from` up to, not including, `end`.
    fn next(&self, from: u64, end: u64) -> Option<WatcherId> {
        let place = self.list.partition_point(|watcher| watcher.id.0 < from);
        self.list.get(place).map(|watcher| watcher.id).filter(|id| id.0 < end)
    }
}

impl<C> fmt::Debug for Watchers<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|watcher| watcher.id)).finish()
    }
}

impl<C> EventBase<C> {
    /// Calls `callback` in each turn, just before the loop looks for what is ready, with how long it is going to wait
    /// (`None`: until something happens). What the callback adds or activates counts for this wait already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    ///
    /// let mut base = EventBase::with_context(Vec::new())?;
    /// base.new_prepare_watcher(|base, _, wait| base.context_mut().push(wait));
    /// let timer = base.new_timer(|_, _, _| {})?;
    /// base.add(timer, Some(Duration::from_millis(5)))?;
    /// base.dispatch()?;
    /// assert!(base.context()[0].unwrap() <= Duration::from_millis(5));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evwatch_prepare_new")]
    #[doc(alias = "evwatch_prepare_get_timeout")]
    pub fn new_prepare_watcher<F>(&mut self, callback: F) -> WatcherId
    where
        F: FnMut(&mut EventBase<C>, WatcherId, Option<Duration>) + 'static,
    {
        self.watchers.push(Callback::Prepare(Box::new(callback)))
    }

    /// Calls `callback` in each turn, just after the loop has looked for what is ready and before any event is called.
    #[doc(alias = "evwatch_check_new")]
    pub fn new_check_watcher<F>(&mut self, callback: F) -> WatcherId
    where
        F: FnMut(&mut EventBase<C>, WatcherId) + 'static,
    {
        self.watchers.push(Callback::Check(Box::new(callback)))
    }

    /// Frees a watcher, also from inside its own callback.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if it has been freed before.
    #[doc(alias = "evwatch_free")]
    pub fn free_watcher(&mut self, id: WatcherId) -> Result<()> {
        let place = self.watchers.place(id)?;
        self.watchers.list.remove(place);
        Ok(())
    }

    /// Calls the watchers of a moment; those that are made meanwhile have their turn the next time.
    pub(super) fn call_watchers(&mut self, moment: Moment) {
        let (mut from, end) = (0, self.watchers.next_id);
        while let Some(id) = self.watchers.next(from, end) {
            from = id.0 + 1;
            self.call_watcher(id, moment);
        }
    }

    fn call_watcher(&mut self, id: WatcherId, moment: Moment) {
        let call = |base: &mut EventBase<C>, callback: &mut Callback<C>| match (callback, moment) {
            (Callback::Prepare(callback), Moment::BeforeWait(wait)) => callback(base, id, wait),
            (Callback::Check(callback), Moment::AfterWait) => callback(base, id),
            _ => {}
        };
        Taken::call(self, move |base| base.watchers.callback(id), call);
    }
}
