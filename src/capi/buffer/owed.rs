//! Clean-ups that are due: functions of C's, which an operation of a buffer, or of the loop on one, has made due while nobody else's
//! code may run. Whoever lets go of the buffer makes them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::add::Reference;
use super::files::SegmentEnd;

/// How many clean-ups are due on all threads. Most operations make nothing due, and this is all they look at.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWED: RefCell<VecDeque<Cleanup>> = const { RefCell::new(VecDeque::new()) };
}

/// A call of a clean-up. It lies on the stack when it is made, so one that leaves by `longjmp` costs nothing.
pub(super) enum Cleanup {
    Reference(Reference),
    Segment(SegmentEnd),
}

impl Cleanup {
    fn call(self) {
        match self {
            Cleanup::Reference(reference) => reference.clean_up(),
            Cleanup::Segment(end) => end.clean_up(),
        }
    }
}

/// Leaves a clean-up to be made by [`pay`].
pub(super) fn add(cleanup: Cleanup) {
    let mut cleanup = Some(cleanup);
    let _ = OWED.try_with(|owed| {
        if let Ok(mut owed) = owed.try_borrow_mut() {
            owed.extend(cleanup.take());
            // Relaxed: a thread looks for what it has added itself.
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
    });
    // A thread that is ending has no list, and the destructors of C's that run there get their clean-ups at once.
    if let Some(cleanup) = cleanup {
        cleanup.call();
    }
}

/// Whether any clean-up of this thread is due.
#[inline]
pub(super) fn exist() -> bool {
    COUNT.load(Ordering::Relaxed) > 0 && OWED.try_with(|owed| !owed.borrow().is_empty()).unwrap_or(false)
}

/// Makes the clean-ups that are due, oldest first. Nothing is borrowed while one runs: it may use any buffer, and need not return.
pub(super) fn pay() {
    if !exist() {
        return;
    }
    while let Some(cleanup) = next() {
        cleanup.call();
    }
}

fn next() -> Option<Cleanup> {
    let cleanup = OWED.try_with(|owed| owed.borrow_mut().pop_front()).ok()??;
    COUNT.fetch_sub(1, Ordering::Relaxed);
    Some(cleanup)
}
