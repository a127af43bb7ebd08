//! Clean-ups that are due: functions of C's, which an operation of a buffer, or of the loop on one, has made due while nobody else's
//! code may run. Whoever lets go of the buffer makes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
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
    /// The others. The list has no destructor, so it is there for the destructors of C's, too; it is given back when it is empty.
    static OWED: RefCell<ManuallyDrop<VecDeque<Cleanup>>> = const { RefCell::new(ManuallyDrop::new(VecDeque::new())) };
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
    OWED.with_borrow_mut(|owed| owed.push_back(cleanup));
    // Relaxed: a thread looks for what it has added itself.
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Whether any clean-up of this thread is due.
#[inline]
pub(super) fn exist() -> bool {
    is_any_due() && (has_first() || OWED.with_borrow(|owed| !owed.is_empty()))
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
    let next = || {
        OWED.with_borrow_mut(|owed| {
            let next = owed.pop_front();
            if owed.is_empty() {
                **owed = VecDeque::new();
            }
            next
        })
    };
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
