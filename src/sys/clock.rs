//! CLOCK_MONOTONIC, as nanoseconds: the one clock of the loop. Setting the system's clock does not move it.

const NS_A_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since some fixed point in the past. Never 0, so 0 can stand for "no instant".
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Linux has had this clock since 2.6; the call fails only for a clock that does not exist.
    assert_eq!(result, 0, "CLOCK_MONOTONIC cannot be read");
    (time.tv_sec as u64 * NS_A_SECOND + time.tv_nsec as u64).max(1)
}

/// A span of time as the kernel takes it.
pub(super) fn timespec(ns: u64) -> libc::timespec {
    libc::timespec { tv_sec: (ns / NS_A_SECOND) as libc::time_t, tv_nsec: (ns % NS_A_SECOND) as libc::c_long }
}
