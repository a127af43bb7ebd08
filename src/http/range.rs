//! The `Range` field (RFC 9110, section 14): which bytes of a file a request is content with.

use smallvec::SmallVec;

/// The most ranges that one request may ask for; with more, the whole file is cheaper for everybody.
const RANGES_MAX: usize = 16;

/// What a `Range` field selects from a file of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it: there is no range, or one that the RFC tells a server to ignore.
    Whole,
    Part(Part),
    /// At least two parts, none of which overlaps or touches another: together no more than the file.
    Parts(Parts),
    /// Well-formed ranges that touch no byte of the file.
    Unsatisfiable,
}

/// `length` bytes from `first`; never empty, never past the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) length: u64,
}

pub(crate) type Parts = SmallVec<[Part; 2]>;

impl Part {
    fn end(self) -> u64 {
        self.first + self.length
    }
}

/// Reads the value of a `Range` field against a file of `total` bytes.
///
/// A unit other than bytes, more than 16 ranges and anything malformed select the whole file: the field is a
/// wish, and answering 200 in full is always right. Numbers too large to hold count as "past the end". Ranges
/// that overlap or touch are made one, so that no request makes a server send a byte twice.
pub(crate) fn select(value: &[u8], total: u64) -> Selection {
    let Some(ranges) = byte_ranges(value) else { return Selection::Whole };
    let (mut parts, mut count) = (Parts::new(), 0);
    for range in ranges.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|range| !range.is_empty())
    {
        count += 1;
        match one(range, total) {
            Selection::Part(part) if count <= RANGES_MAX => parts.push(part),
            Selection::Unsatisfiable => {}
            _ => return Selection::Whole,
        }
    }
    coalesce(&mut parts);
    match (parts.as_slice(), count) {
        (_, 0) => Selection::Whole,
        ([], _) => Selection::Unsatisfiable,
        ([part], _) => Selection::Part(*part),
        _ => Selection::Parts(parts),
    }
}

/// What stands behind `bytes=`.
fn byte_ranges(value: &[u8]) -> Option<&[u8]> {
    let (unit, ranges) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(ranges)
}

fn one(range: &[u8], total: u64) -> Selection {
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

fn part(first: u64, last: u64, total: u64) -> Selection {
    if first >= total {
        return Selection::Unsatisfiable;
    }
    Selection::Part(Part { first, length: last.min(total - 1) - first + 1 })
}

fn suffix(count: u64, total: u64) -> Selection {
    match (count, total) {
        (0, _) => Selection::Unsatisfiable,
        (_, 0) => Selection::Whole, // satisfiable by the RFC, but no Content-Range can say "nothing"
        _ => part(total - count.min(total), u64::MAX, total),
    }
}

/// Makes one of parts that overlap or touch. Parts that do not stay in the order that was asked for.
fn coalesce(parts: &mut Parts) {
    let mut sorted = parts.clone();
    sorted.sort_unstable_by_key(|part| part.first);
    if sorted.windows(2).all(|pair| pair[0].end() < pair[1].first) {
        return;
    }
    parts.clear();
    for part in sorted {
        match parts.last_mut() {
            Some(last) if part.first <= last.end() => last.length = last.end().max(part.end()) - last.first,
            _ => parts.push(part),
        }
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
        let part = |first, length| Selection::Part(Part { first, length });
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
            ("bytes=,0-0, ,", 10, part(0, 1)),
            ("bytes=,", 10, Selection::Whole),
            ("bytes=1-2,x", 10, Selection::Whole),
            ("bytes=1-2,20-", 10, part(1, 2)),
            ("bytes=10-,20-", 10, Selection::Unsatisfiable),
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
                    if let Selection::Part(Part { first, length }) = select(value.as_bytes(), total) {
                        assert!(length > 0 && first + length <= total, "{value} of {total}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_file_does_not_overflow() {
        let whole = Selection::Part(Part { first: 0, length: u64::MAX });
        assert_eq!(select(b"bytes=0-", u64::MAX), whole);
        assert_eq!(select(format!("bytes=-{}", u64::MAX).as_bytes(), u64::MAX), whole);
    }

    fn parts(value: &str, total: u64) -> Vec<(u64, u64)> {
        match select(value.as_bytes(), total) {
            Selection::Part(part) => vec![(part.first, part.length)],
            Selection::Parts(parts) => parts.iter().map(|part| (part.first, part.length)).collect(),
            other => panic!("{value} of {total}: {other:?}"),
        }
    }

    #[test]
    fn several_ranges_keep_their_order_unless_they_meet() {
        let table: &[(&str, &[(u64, u64)])] = &[
            ("bytes=0-0,2-2", &[(0, 1), (2, 1)]),
            ("bytes=8-9, 0-1", &[(8, 2), (0, 2)]),
            ("bytes=0-1,-1,50-", &[(0, 2), (9, 1)]),
            ("bytes=0-1,2-3", &[(0, 4)]),
            ("bytes=5-,0-1,4-6", &[(0, 2), (4, 6)]),
            ("bytes=0-,0-,0-", &[(0, 10)]),
            ("bytes=3-4,0-9", &[(0, 10)]),
        ];
        for (value, expected) in table {
            assert_eq!(parts(value, 10), *expected, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_get_the_whole() {
        let list = |count: u64| {
            let ranges: Vec<_> = (0..count).map(|at| format!("{}-{}", 4 * at, 4 * at)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert_eq!(parts(&list(16), 1000).len(), 16);
        assert_eq!(select(list(17).as_bytes(), 1000), Selection::Whole);
    }

    #[test]
    fn no_list_sends_a_byte_twice() {
        for code in 0..6u64.pow(6) {
            let digits: Vec<_> = (0..6).map(|place| code / 6u64.pow(place) % 6).collect();
            let ranges: Vec<_> = digits.chunks(2).map(|pair| format!("{}-{}", pair[0], pair[1])).collect();
            if let Selection::Parts(parts) = select(format!("bytes={}", ranges.join(",")).as_bytes(), 6) {
                let mut seen = [false; 6];
                for at in parts.iter().flat_map(|part| part.first..part.end()) {
                    assert!(!std::mem::replace(&mut seen[at as usize], true), "{ranges:?}");
                }
            }
        }
    }
}
