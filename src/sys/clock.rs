//! CLOCK_MONOTONIC, as nanoseconds: the one clock of the loop. Setting the system's clock does not move it.

/// Nanoseconds since some fixed point in the past. Never 0, so 0 can stand for "no instant".
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Linux has had this clock since 2.6; the call fails only for a clock that does not exist.
    assert_eq!(result, 0, "CLOCK_MONOTONIC cannot be read");
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}
