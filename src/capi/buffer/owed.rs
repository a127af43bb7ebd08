//! Clean-ups that are due: functions of C's, which an operation of a buffer, or of the loop on one, has made due while nobody else's
//! code may run. Whoever lets go of the buffer makes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::add::Reference;

/// How many clean-ups are due on all threads. Most operations make nothing due, and this is all they look at.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The oldest of the clean-ups, if it is of memory that is referred to: mostly it is the only one.
    static FIRST: Cell<Option<Reference>> = const { Cell::new(None) };
    /// The others.
    static OWED: RefCell<VecDeque<Cleanup>> = const { RefCell::new(VecDeque::new()) };
}

/// A call of a clean-up.
pub(super) enum Cleanup {
    /// Of memory that is referred to. It stands in the list itself: there may be one for each operation.
    Reference(Reference),
    Other(Box<dyn FnOnce()>),
}

impl Cleanup {
    fn make(self) {
        match self {
            Cleanup::Reference(reference) => reference.give_back(),
            Cleanup::Other(cleanup) => cleanup(),
        }
    }
}

/// Leaves a clean-up to be made by [`pay`].
#[inline]
pub(super) fn add(cleanup: Cleanup) {
    if let Cleanup::Reference(reference) = cleanup
        && !is_any_due()
    {
        FIRST.set(Some(reference));
        COUNT.fetch_add(1, Ordering::Relaxed);
    } else {
        add_behind(cleanup);
    }
}

fn add_behind(cleanup: Cleanup) {
    let kept = OWED.try_with(|owed| match owed.try_borrow_mut() {
        Ok(mut owed) => {
            owed.push_back(cleanup);
            // Relaxed: a thread looks for what it has added itself.
            COUNT.fetch_add(1, Ordering::Relaxed);
            None
        }
        Err(_) => Some(cleanup),
    });
    // A thread that is ending has no list, and nothing that could be disturbed either.
    if let Ok(Some(cleanup)) = kept {
        cleanup.make();
    }
}

/// Whether any clean-up of this thread is due.
#[inline]
pub(super) fn exist() -> bool {
    is_any_due() && (FIRST.get().is_some() || OWED.with(|owed| !owed.borrow().is_empty()))
}

/// Makes the clean-ups that are due, oldest first. Nothing is borrowed while one runs: it may use any buffer, and need not return.
#[inline]
pub(super) fn pay() {
    if is_any_due() {
        pay_all();
    }
}

#[inline(never)]
fn pay_all() {
    while is_any_due()
        && let Some(cleanup) = next()
    {
        cleanup.make();
    }
}

/// Whether any thread has a clean-up that is due.
#[inline]
fn is_any_due() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}

fn next() -> Option<Cleanup> {
    let cleanup = match FIRST.take() {
        Some(reference) => Cleanup::Reference(reference),
        None => OWED.with(|owed| owed.borrow_mut().pop_front())?,
    };
    COUNT.fetch_sub(1, Ordering::Relaxed);
    Some(cleanup)
}
