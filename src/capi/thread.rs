//! `event2/thread.h`: whether objects get locks, and whose.

use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

use super::layout::evthread_lock_callbacks;

/// Where the locks of objects made from now on come from.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    None,
    Pthreads,
    Program(evthread_lock_callbacks),
}

static CHOICE: Mutex<Choice> = Mutex::new(Choice::None);

/// What the program has chosen by now.
pub(super) fn choice() -> Choice {
    *CHOICE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(no_mangle)]
extern "C" fn evthread_use_pthreads() -> c_int {
    *CHOICE.lock().unwrap_or_else(PoisonError::into_inner) = Choice::Pthreads;
    0
}
