//! What happens when descriptors run out. A process has one limit, so this binary has one test.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use support::net::{any_port, open_descriptors, run_for};
use zerovent::EventBase;
use zerovent::listener::ListenOptions;

#[test]
fn a_listener_without_descriptors_backs_off_reports_once_and_recovers() {
    #[derive(Default)]
    struct State {
        held: Vec<std::os::fd::OwnedFd>,
        errors: Vec<Option<i32>>,
    }
    let mut base = EventBase::with_context(State::default()).unwrap();
    let listener = base
        .listen(any_port(), &ListenOptions::new(), |base, _, fd, _| base.context_mut().held.push(fd))
        .unwrap();
    base.set_listener_error_callback(listener, |base, _, error| {
        base.context_mut().errors.push(error.raw_os_error());
    })
    .unwrap();
    let address = base.listener(listener).unwrap().address().as_inet().unwrap();
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();

    let unlimited = limit_descriptors_to(open_descriptors() as u64 + 5);
    let waits = base.stats().waits;
    run_for(&mut base, Duration::from_millis(500));
    let during = base.stats().waits - waits;
    limit_descriptors_to(unlimited);
    assert!(base.context().held.len() < 20, "the limit did not bind");
    assert_eq!(base.context().errors, [Some(libc::EMFILE)], "once an episode");
    assert!(during < 40, "{during} waits in half a second: it spins");

    run_for(&mut base, Duration::from_millis(1200));
    assert_eq!(base.context().held.len(), 20, "all are served in the end");
    assert_eq!(base.context().errors.len(), 1);
    drop(clients);
}

/// Sets the soft limit and returns what it was.
fn limit_descriptors_to(soft: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, writable `rlimit`.
    #[allow(unsafe_code, reason = "the test lowers its own descriptor limit")]
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(got, 0);
    let before = std::mem::replace(&mut limit.rlim_cur, soft);
    // SAFETY: `limit` is a live `rlimit`.
    #[allow(unsafe_code, reason = "the test lowers its own descriptor limit")]
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
    before
}
