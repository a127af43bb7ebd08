//! What the book's helper chapter asks for and std does not have. For the rest of that chapter,
//! `docs/libevent-map.md` names the item of std.

mod parse;
mod socket;
mod text;

use std::io;
use std::time::Duration;

pub use crate::address::Address;

pub(crate) use parse::parse_ip;
pub use parse::parse_sockaddr_port;
pub use socket::{make_close_on_exec, make_nonblocking, make_reuseable, socketpair};
pub use text::{ascii_case_cmp, ascii_case_cmp_n, format_bounded};

/// The time on the clock that the loop goes by: since some fixed point in the past, and never set back. The time of day is
/// [`SystemTime::now`](std::time::SystemTime::now).
///
/// # Examples
///
/// ```
/// let before = zerovent::util::monotonic_time();
/// assert!(zerovent::util::monotonic_time() >= before);
/// ```
#[doc(alias = "evutil_gettime_monotonic")]
#[must_use]
pub fn monotonic_time() -> Duration {
    Duration::from_nanos(crate::sys::clock::now_ns())
}

/// Fills `place` with bytes that nobody can predict: the kernel's, which needs no seeding.
///
/// # Errors
///
/// The operating system's; on Linux only where its generator is forbidden by a filter of system calls.
///
/// # Examples
///
/// ```
/// let mut key = [0; 32];
/// zerovent::util::secure_random_bytes(&mut key)?;
/// assert_ne!(key, [0; 32]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "evutil_secure_rng_get_bytes")]
#[doc(alias = "evutil_secure_rng_init")]
#[doc(alias = "evutil_secure_rng_add_bytes")]
pub fn secure_random_bytes(place: &mut [u8]) -> io::Result<()> {
    getrandom::fill(place).map_err(io::Error::from)
}
