//! The `Range` field (RFC 9110, section 14): which bytes of a file a request is content with.

/// What a `Range` field selects from a file of a known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it: there is no range, or one that the RFC tells a server to ignore.
    Whole,
    /// `length` bytes from `first`; never empty, never past the end.
    Part { first: u64, length: u64 },
    /// A well-formed range that touches no byte of the file.
    Unsatisfiable,
}

/// Reads the value of a `Range` field against a file of `total` bytes.
///
/// A unit other than bytes, a list of several ranges and anything malformed select the whole file: the field
/// is a wish, and answering 200 in full is always right. Numbers too large to hold count as "past the end".
pub(crate) fn select(value: &[u8], total: u64) -> Selection {
    let Some(range) = single_byte_range(value) else {
        return Selection::Whole;
    };
    let Some(dash) = memchr::memchr(b'-', range) else {
        return Selection::Whole;
    };
    match (number(&range[..dash]), number(&range[dash + 1..])) {
        (Bound::Number(first), Bound::Number(last)) if first <= last => part(first, last, total),
        (Bound::Number(first), Bound::Absent) => part(first, u64::MAX, total),
        (Bound::Absent, Bound::Number(count)) => suffix(count, total),
        _ => Selection::Whole,
    }
}

/// The range behind `bytes=`, unless there are several of them.
fn single_byte_range(value: &[u8]) -> Option<&[u8]> {
    let unit = value.get(..6)?;
    let range = value[6..].trim_ascii();
    (unit.eq_ignore_ascii_case(b"bytes=") && !range.contains(&b',')).then_some(range)
}

fn part(first: u64, last: u64, total: u64) -> Selection {
    if first >= total {
        return Selection::Unsatisfiable;
    }
    Selection::Part { first, length: last.min(total - 1) - first + 1 }
}

fn suffix(count: u64, total: u64) -> Selection {
    match (count, total) {
        (0, _) => Selection::Unsatisfiable,
        (_, 0) => Selection::Whole, // satisfiable by the RFC, but no Content-Range can say "nothing"
        _ => part(total - count.min(total), u64::MAX, total),
    }
}

enum Bound {
    Absent,
    Number(u64),
    Malformed,
}

fn number(digits: &[u8]) -> Bound {
    if digits.is_empty() {
        return Bound::Absent;
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Bound::Malformed;
    }
    let value =
        digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Bound::Number(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_range() {
        let part = |first, length| Selection::Part { first, length };
        let table: &[(&str, u64, Selection)] = &[
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=0-9", 10, part(0, 10)),
            ("bytes=2-5", 10, part(2, 4)),
            ("bytes=2-", 10, part(2, 8)),
            ("bytes=9-", 10, part(9, 1)),
            ("bytes=0-99", 10, part(0, 10)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-30", 10, part(0, 10)),
            ("BYTES=1-1", 10, part(1, 1)),
            ("bytes= 1-1 ", 10, part(1, 1)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=10-20", 10, Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=0-", 0, Selection::Unsatisfiable),
            ("bytes=-5", 0, Selection::Whole),
            ("bytes=5-2", 10, Selection::Whole),
            ("bytes=1-2,4-5", 10, Selection::Whole),
            ("bytes=", 10, Selection::Whole),
            ("bytes=-", 10, Selection::Whole),
            ("bytes=a-b", 10, Selection::Whole),
            ("bytes=1", 10, Selection::Whole),
            ("bytes=+1-2", 10, Selection::Whole),
            ("bytes=1--2", 10, Selection::Whole),
            ("items=1-2", 10, Selection::Whole),
            ("", 10, Selection::Whole),
            ("byt", 10, Selection::Whole),
        ];
        for (value, total, expected) in table {
            assert_eq!(select(value.as_bytes(), *total), *expected, "{value:?} of {total}");
        }
    }

    #[test]
    fn a_part_is_never_empty_and_never_past_the_end() {
        for total in 0..6 {
            for first in 0..8 {
                for last in 0..8 {
                    let value = format!("bytes={first}-{last}");
                    if let Selection::Part { first, length } = select(value.as_bytes(), total) {
                        assert!(length > 0 && first + length <= total, "{value} of {total}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_file_does_not_overflow() {
        let whole = Selection::Part { first: 0, length: u64::MAX };
        assert_eq!(select(b"bytes=0-", u64::MAX), whole);
        assert_eq!(select(format!("bytes=-{}", u64::MAX).as_bytes(), u64::MAX), whole);
    }
}
