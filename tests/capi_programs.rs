//! Programs that were built against libevent, as Debian ships them, do their work on ours: one file a program. Each is run on
//! Debian's library as well, so that a difference is ours and not the test's, and each is proven to have mapped the
//! library that is meant, and no other.
#![cfg(feature = "capi")]

mod support;

/// Unmodified programs, by name.
#[path = "capi/programs"]
mod programs {
    use crate::support::capi::Library;

    mod coturn;
    mod dns;
    mod fstrm_capture;
    mod inetd;
    mod lldpd;
    mod memcached;
    mod nsd;
    mod pgbouncer;
    mod redsocks;
    mod tcpbench;
    mod tmux;
    mod unbound;
    mod webdis;

    /// Runs `test` on Debian's library, and then on ours.
    fn each_library(test: impl Fn(Library)) {
        test(Library::Debian);
        test(Library::Zerovent);
    }
}
