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
    /// A file is no longer in the state that a segment promises.
    FileChanged,
    /// A limit that the caller set would be exceeded.
    Limit,
    /// The arguments contradict each other; the text says how.
    Invalid(&'static str),
    /// A filter answered that it cannot go on.
    Filter,
    /// The loop is already running: a callback may not run it again.
    Reentrant,
    /// No backend that may be used has all the features that are required. These are missing from the one that comes
    /// nearest; none are if no backend may be used at all.
    NoBackend(Features),
    /// The name of a host has no address, or none could be found out.
    Resolve(ResolveError),
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
            Error::FileChanged => f.write_str("the file has changed since its segment was made"),
            Error::Limit => f.write_str("a limit set by the caller would be exceeded"),
            Error::Invalid(why) => write!(f, "invalid arguments: {why}"),
            Error::Filter => f.write_str("a filter cannot go on"),
            Error::Reentrant => f.write_str("the loop is already running"),
            Error::NoBackend(missing) if missing.is_empty() => f.write_str("no backend is left to be used"),
            Error::NoBackend(missing) => {
                f.write_str("no backend that may be used has all of the features required; missing: ")?;
                bitflags::parser::to_writer(missing, f)
            }
            Error::Resolve(source) => source.fmt(f),
            Error::Io(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Resolve(source) => Some(source),
            Error::Io(source) => Some(source),
            _ => None,
        }
    }
}

/// Why the name of a host could not be turned into addresses: what getaddrinfo(3) says by an `EAI_` number. Its `Display`
/// says what the number means.
///
/// # Examples
///
/// ```
/// use zerovent::resolve::ResolveError;
///
/// assert_eq!(ResolveError::NoName.to_string(), "the name is not known");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "evutil_gai_strerror")]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such name, or it has no address of the family that was asked for.
    NoName,
    /// No answer now; trying again may help.
    Again,
    /// The name service has failed, and will again.
    Fail,
    /// The family is not supported.
    Family,
    /// There is not enough memory.
    Memory,
    /// The operating system refused; its `errno`.
    System(i32),
    /// Another of getaddrinfo's numbers.
    Other(i32),
}

impl ResolveError {
    /// What a number of getaddrinfo's means; `last` is the thread's last error, to which `EAI_SYSTEM` refers.
    pub(crate) fn from_code(code: i32, last: io::Error) -> Self {
        /// There is a host, but without addresses of this family; the `libc` crate does not name it.
        const EAI_ADDRFAMILY: i32 = -9;
        match code {
            libc::EAI_NONAME | libc::EAI_NODATA | EAI_ADDRFAMILY => ResolveError::NoName,
            libc::EAI_AGAIN => ResolveError::Again,
            libc::EAI_FAIL => ResolveError::Fail,
            libc::EAI_FAMILY => ResolveError::Family,
            libc::EAI_MEMORY => ResolveError::Memory,
            libc::EAI_SYSTEM => ResolveError::System(last.raw_os_error().unwrap_or_default()),
            other => ResolveError::Other(other),
        }
    }

    /// The number that getaddrinfo(3) has for it, one of `EAI_`.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            ResolveError::NoName => libc::EAI_NONAME,
            ResolveError::Again => libc::EAI_AGAIN,
            ResolveError::Fail => libc::EAI_FAIL,
            ResolveError::Family => libc::EAI_FAMILY,
            ResolveError::Memory => libc::EAI_MEMORY,
            ResolveError::System(_) => libc::EAI_SYSTEM,
            ResolveError::Other(code) => code,
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NoName => f.write_str("the name is not known"),
            ResolveError::Again => f.write_str("the name service gives no answer now"),
            ResolveError::Fail => f.write_str("the name service has failed"),
            ResolveError::Family => f.write_str("the address family is not supported"),
            ResolveError::Memory => f.write_str("out of memory while resolving a name"),
            ResolveError::System(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            ResolveError::Other(code) => write!(f, "resolving a name failed with number {code}"),
        }
    }
}

impl std::error::Error for ResolveError {}

impl From<ResolveError> for Error {
    fn from(source: ResolveError) -> Self {
        Error::Resolve(source)
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
            Error::Resolve(_) | Error::FileChanged => io::Error::other(error),
            Error::ShortFile => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            other => io::Error::new(io::ErrorKind::InvalidInput, other),
        }
    }
}
