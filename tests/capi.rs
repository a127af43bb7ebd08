//! The C ABI: C programs of our own, compiled against Debian's headers, must find the same on Debian's libevent and on ours.
//!
//! A row is a program `tests/capi/NAME.c` (or `.cc`); it lists its cases, and each is run in a process of its own, on each library. Where we
//! differ on purpose, the case asks `is_zerovent()` and says why.
#![cfg(feature = "capi")]

mod support;

use support::capi::{Library, run_cases, run_under_valgrind};

/// Three tests a program: what it expects holds on Debian's library, and on ours, where valgrind finds nothing.
macro_rules! programs {
    ($($name:ident)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn on_debians_library() {
                run_cases(stringify!($name), Library::Debian);
            }

            #[test]
            fn on_ours() {
                run_cases(stringify!($name), Library::Zerovent);
            }

            #[test]
            fn under_valgrind() {
                run_under_valgrind(stringify!($name));
            }
        }
    )* };
}

programs! {
    base
    buffer
    buffer_callbacks
    buffer_files
    buffer_homes
    ends
    events
    loops
    signals
    threads
    forks
    debugs
    leaves
    exceptions
    rearm
    bufferevent
    bufferevent_connect
    bufferevent_limits
    bufferevent_links
    bufferevent_threads
    listener
    util
    tag
    variadic
    absent
}
