//! Dates as HTTP writes them: 29 bytes that are worth keeping, since the same second is sent many thousand
//! times.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// The length of an IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const DATE_LEN: usize = 29;

/// A date in text.
pub(crate) type DateText = [u8; DATE_LEN];

/// The last second that httpdate can write: the end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Writes a count of seconds since 1970 as HTTP does.
pub(crate) fn format(unix_seconds: u64) -> DateText {
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(SECONDS_MAX));
    let mut text = [b' '; DATE_LEN];
    let mut rest = &mut text[..];
    let written = write!(rest, "{}", HttpDate::from(time));
    debug_assert!(written.is_ok() && rest.is_empty(), "an IMF-fixdate has 29 bytes");
    text
}

/// Reads any of HTTP's three date formats, as seconds since 1970.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// The wall clock as HTTP needs it: the current second, and its text, made once a second.
#[derive(Debug)]
pub(crate) struct Clock {
    second: u64,
    text: DateText,
    /// When the next second begins, in the loop's time. A wall clock that is set meanwhile shows then.
    next_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { second: 0, text: format(0), next_ns: 0 }
    }

    /// Brings it to `now_ns` of the loop's time. The wall clock is read once a second: to read it for every request
    /// is dearer than anything else that a request takes outside of the kernel.
    #[inline]
    pub(crate) fn refresh(&mut self, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.read(now_ns);
        }
    }

    #[cold]
    fn read(&mut self, now_ns: u64) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.next_ns = now_ns.saturating_add(NS_PER_SECOND - u64::from(since_epoch.subsec_nanos()));
        if since_epoch.as_secs() != self.second {
            self.second = since_epoch.as_secs();
            self.text = format(self.second);
        }
    }

    pub(crate) fn second(&self) -> u64 {
        self.second
    }

    pub(crate) fn text(&self) -> &DateText {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in ["", "yesterday", "0", "Sun, 32 Nov 1994 08:49:37 GMT", "\u{e9}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
    }

    #[test]
    fn a_date_past_the_format_is_clamped() {
        assert_eq!(&format(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn the_clock_agrees_with_its_text() {
        let mut clock = Clock::new();
        clock.refresh(5);
        assert!(clock.second() > 1_700_000_000);
        assert_eq!(parse(clock.text()), Some(clock.second()));
    }

    #[test]
    fn the_wall_is_looked_at_when_its_second_is_over() {
        let mut clock = Clock::new();
        clock.refresh(5);
        assert!((6..=5 + NS_PER_SECOND).contains(&clock.next_ns));
        let next_ns = clock.next_ns;
        clock.second = 0;
        clock.refresh(next_ns - 1);
        assert_eq!(clock.second(), 0, "not before");
        clock.refresh(next_ns);
        assert!(clock.second() > 1_700_000_000 && clock.next_ns > next_ns);
    }
}
