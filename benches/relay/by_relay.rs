//! zerovent's relay.

use std::os::fd::OwnedFd;

use zerovent::EventBase;
use zerovent::bufferevent::{Options, RelayOptions, Splicing};

/// Relays with `EventBase::relay`, by splicing or not at all.
pub(crate) fn relay(splices: bool) -> Box<dyn FnMut(OwnedFd, OwnedFd)> {
    let splicing = if splices { Splicing::Bulk } else { Splicing::Never };
    let mut base = EventBase::new().expect("a loop");
    Box::new(move |from, to| {
        let [from, to] =
            [from, to].map(|fd| base.new_socket(Some(fd), &Options::new()).expect("a bufferevent"));
        let options = RelayOptions::new().splicing(splicing);
        let joined = base.relay(from, to, &options, |base, end| {
            assert!(end.failed.is_none(), "{:?}", end.failed);
            base.free_bufferevent(end.a).expect("it lives");
            base.free_bufferevent(end.b).expect("it lives");
        });
        joined.expect("two sockets");
        base.dispatch().expect("the loop runs");
    })
}
