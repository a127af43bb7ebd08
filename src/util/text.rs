//! Comparing and formatting text as bytes, whatever the locale.

use std::cmp::Ordering;
use std::fmt::{self, Write};

/// Compares two texts without regard to the case of ASCII letters, whatever the locale.
///
/// # Examples
///
/// ```
/// use std::cmp::Ordering;
/// use zerovent::util::ascii_case_cmp;
///
/// assert_eq!(ascii_case_cmp(b"Content-Length", b"content-length"), Ordering::Equal);
/// assert_eq!(ascii_case_cmp(b"a", b"B"), Ordering::Less);
/// ```
///
/// # Differences from libevent
///
/// Bytes above 127 are larger than those below, on every processor, and a NUL is a byte like any other.
#[doc(alias = "evutil_ascii_strcasecmp")]
#[must_use]
pub fn ascii_case_cmp(one: &[u8], other: &[u8]) -> Ordering {
    let lower = |text| <[u8]>::iter(text).map(u8::to_ascii_lowercase);
    lower(one).cmp(lower(other))
}

/// Compares as [`ascii_case_cmp`] does, but at most the first `len` bytes of each.
///
/// # Examples
///
/// ```
/// use std::cmp::Ordering;
/// use zerovent::util::ascii_case_cmp_n;
///
/// assert_eq!(ascii_case_cmp_n(b"HTTP/1.1", b"http/1.0", 5), Ordering::Equal);
/// ```
#[doc(alias = "evutil_ascii_strncasecmp")]
#[must_use]
pub fn ascii_case_cmp_n(one: &[u8], other: &[u8], len: usize) -> Ordering {
    ascii_case_cmp(&one[..len.min(one.len())], &other[..len.min(other.len())])
}

/// Formats into `place` as much as it holds, and says how long the whole is: more than `place.len()` means that the end is
/// missing. What is cut may be cut within a character.
///
/// # Examples
///
/// ```
/// use zerovent::util::format_bounded;
///
/// let mut place = [0; 8];
/// assert_eq!(format_bounded(&mut place, format_args!("{} bytes", 1200)), 10);
/// assert_eq!(&place, b"1200 byt");
/// ```
///
/// # Differences from libevent
///
/// There is no NUL at the end, and the whole length is given for an empty `place` too, where libevent says 0.
#[doc(alias = "evutil_snprintf")]
#[doc(alias = "evutil_vsnprintf")]
pub fn format_bounded(place: &mut [u8], text: fmt::Arguments<'_>) -> usize {
    let mut bounded = Bounded { place, len: 0 };
    // A value that fails to format itself ends the text where it fails.
    let _ = bounded.write_fmt(text);
    bounded.len
}

struct Bounded<'a> {
    place: &'a mut [u8],
    len: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let free = self.place.get_mut(self.len..).unwrap_or_default();
        let fits = piece.len().min(free.len());
        free[..fits].copy_from_slice(&piece.as_bytes()[..fits]);
        self.len += piece.len();
        Ok(())
    }
}
