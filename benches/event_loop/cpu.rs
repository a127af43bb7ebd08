//! Time of the processor: what other programs do meanwhile is not in it.

use std::time::Duration;

/// What `work` takes of the thread's time, in the kernel and outside it.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = thread_time();
    work();
    thread_time() - start
}

#[allow(unsafe_code, reason = "std has no clock for a thread's time")]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "each thread has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
