//! The process itself.

/// Whether the program runs with more rights than whoever started it: then what the environment says is not to be trusted.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: `getauxval` takes an integer and no memory; an entry that is not there is 0.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
