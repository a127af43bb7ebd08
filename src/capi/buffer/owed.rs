//! Clean-ups that are due: functions of C's, which an operation of a buffer, or of the loop on one, has made due while nobody else's
//! code may run. Whoever lets go of the buffer makes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::add::Reference;
use super::files::SegmentEnd;
use crate::buffer::Freed;

/// How many clean-ups are due on all threads. Most operations make nothing due, and this is all they look at.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The oldest of the clean-ups, if it is of memory that is referred to: mostly it is the only one. It has not been moved from where
    /// the buffer had it.
    static FIRST: Cell<Option<Freed<Reference>>> = const { Cell::new(None) };
    /// The others.
    static OWED: RefCell<VecDeque<Cleanup>> = const { RefCell::new(VecDeque::new()) };
}

/// A call of a clean-up. It lies on the stack when it is made, so one that leaves by `longjmp` costs nothing.
enum Cleanup {
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

/// Leaves the clean-up of memory that was referred to, to be made by [`pay`].
#[inline]
pub(super) fn add_reference(freed: Freed<Reference>) {
    if is_any_due() {
        return add_reference_behind(freed);
    }
    FIRST.set(Some(freed));
    // Relaxed: a thread looks for what it has added itself.
    COUNT.fetch_add(1, Ordering::Relaxed);
}

#[cold]
#[inline(never)]
fn add_reference_behind(freed: Freed<Reference>) {
    add_behind(Cleanup::Reference(freed.take()));
}

/// Leaves the clean-up of a file, to be made by [`pay`].
pub(super) fn add_segment(end: SegmentEnd) {
    add_behind(Cleanup::Segment(end));
}

fn add_behind(cleanup: Cleanup) {
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
    is_any_due() && (has_first() || OWED.try_with(|owed| !owed.borrow().is_empty()).unwrap_or(false))
}

fn has_first() -> bool {
    FIRST.with(|first| {
        let freed = first.take();
        let exists = freed.is_some();
        first.set(freed);
        exists
    })
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
    while let Some(freed) = FIRST.take() {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        freed.take().clean_up();
        if !is_any_due() {
            return;
        }
    }
    pay_others();
}

#[inline(never)]
fn pay_others() {
    let next = || OWED.try_with(|owed| owed.borrow_mut().pop_front()).ok()?;
    while let Some(cleanup) = next() {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        cleanup.call();
    }
}

/// Whether any thread has a clean-up that is due.
#[inline]
fn is_any_due() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}
