//! A counting allocator: what this thread allocated, freed and still holds, and a way to make one allocation fail.
//!
//! A test binary that wants it says so once:
//! `#[global_allocator] static ALLOCATOR: support::alloc::Counting = support::alloc::Counting;`
#![allow(
    unsafe_code,
    reason = "a global allocator is unsafe to implement; each call is handed on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocator of the system, counted a thread.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static FREES: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
    /// Allocations until one fails; 0 means never.
    static FAIL_IN: Cell<usize> = const { Cell::new(0) };
}

/// Allocations this thread has made, reallocations included.
pub fn allocations() -> usize {
    ALLOCATIONS.get()
}

/// Frees this thread has made.
pub fn frees() -> usize {
    FREES.get()
}

/// Bytes this thread has allocated less those it has freed.
pub fn live_bytes() -> isize {
    LIVE_BYTES.get()
}

/// Runs `call`; returns its result, and by how many bytes this thread held more at some time in it than before.
pub fn peak<T>(call: impl FnOnce() -> T) -> (T, isize) {
    let before = live_bytes();
    PEAK_BYTES.set(before);
    let result = call();
    (result, PEAK_BYTES.get() - before)
}

/// Runs `call` with the `nth` allocation in it failing (1 is the first); returns its result, and whether one did fail.
pub fn failing<T>(nth: usize, call: impl FnOnce() -> T) -> (T, bool) {
    FAIL_IN.set(nth);
    let result = call();
    (result, FAIL_IN.replace(0) == 0)
}

/// Whether the next allocation is to be made, and not to fail.
fn admit() -> bool {
    let left = FAIL_IN.get();
    FAIL_IN.set(left.saturating_sub(1));
    left != 1
}

/// Counts an allocation of `grown` bytes, if the system made it.
fn counted(memory: *mut u8, grown: isize) -> *mut u8 {
    if !memory.is_null() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + grown);
        PEAK_BYTES.set(PEAK_BYTES.get().max(LIVE_BYTES.get()));
    }
    memory
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, or is refused with null.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !admit() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        counted(unsafe { System.alloc(layout) }, layout.size() as isize)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !admit() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        counted(unsafe { System.alloc_zeroed(layout) }, layout.size() as isize)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !admit() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        counted(unsafe { System.realloc(memory, layout, size) }, size as isize - layout.size() as isize)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREES.set(FREES.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as isize);
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(memory, layout) }
    }
}
