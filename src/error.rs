//! What can go wrong, as one small type: an error names the rule that was broken, and the object it was
//! returned from is exactly as it was before the call.

use std::fmt;
use std::io;

use crate::features::Features;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The id, position or handle names something that no longer exists or has changed since.
    Stale,
    /// This end of the buffer is frozen.
    Frozen,
    /// A length or offset does not fit the type that holds it.
    Overflow,
    /// The allocator refused.
    OutOfMemory,
    /// A position, range or priority lies outside what exists.
    OutOfRange,
    /// A file ended before the bytes that a segment promises.
    ShortFile,
    /// A limit that the caller set would be exceeded.
    Limit,
    /// The arguments contradict each other; the text says how.
    Invalid(&'static str),
    /// The loop is already running: a callback may not run it again.
    Reentrant,
    /// No backend that may be used has all the features that are required. These are missing from the one that comes
    /// nearest; none are if no backend may be used at all.
    NoBackend(Features),
    /// The operating system refused.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Stale => f.write_str("the handle is stale: what it named is gone or has changed"),
            Error::Frozen => f.write_str("this end of the buffer is frozen"),
            Error::Overflow => f.write_str("a length or offset overflows"),
            Error::OutOfMemory => f.write_str("out of memory"),
            Error::OutOfRange => f.write_str("outside the valid range"),
            Error::ShortFile => f.write_str("the file is shorter than its segment promises"),
            Error::Limit => f.write_str("a limit set by the caller would be exceeded"),
            Error::Invalid(why) => write!(f, "invalid arguments: {why}"),
            Error::Reentrant => f.write_str("the loop is already running"),
            Error::NoBackend(missing) if missing.is_empty() => f.write_str("no backend is left to be used"),
            Error::NoBackend(missing) => {
                f.write_str("no backend that may be used has all of the features required; missing: ")?;
                bitflags::parser::to_writer(missing, f)
            }
            Error::Io(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Error::Io(source)
    }
}

impl From<Error> for io::Error {
    /// Keeps an operating-system error as it was and wraps the others, so that `?` works in `io::Result` functions.
    fn from(error: Error) -> Self {
        match error {
            Error::Io(source) => source,
            Error::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            Error::ShortFile => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            other => io::Error::new(io::ErrorKind::InvalidInput, other),
        }
    }
}
