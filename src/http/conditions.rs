//! Which answer a file gets: all of it, a part, or the news that there is none. RFC 9110, section 13.2.2: the
//! fields are looked at in the order that it gives, and one of them can decide alone.

use super::date;
use super::range::{self, Part, Parts, Selection};
use super::request::{Conditions, Method};

/// The answer to a request for a file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Whole,
    Part(Part),
    Parts(Parts),
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
}

/// What tells whether a client's copy is the file as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validators<'a> {
    /// The entity tag with its quotes, and without a `W/`.
    pub(crate) tag: &'a [u8],
    /// Seconds since 1970, as `Last-Modified` says it.
    pub(crate) modified: u64,
    /// Two states of the file cannot share these validators. A file that was changed just now may be changed
    /// again within the same tick of its clock.
    pub(crate) are_strong: bool,
}

/// Decides for a file of `length` bytes.
pub(crate) fn decide(
    method: Method,
    conditions: &Conditions<'_>,
    validators: Validators<'_>,
    length: u64,
) -> Decision {
    if !is_expected_state(conditions, validators) {
        return Decision::PreconditionFailed;
    }
    if is_held_already(conditions, validators) {
        return Decision::NotModified;
    }
    match conditions.range {
        // A range is defined for GET alone.
        Some(value) if method == Method::Get && range_applies(conditions, validators) => {
            match range::select(value, length) {
                Selection::Whole => Decision::Whole,
                Selection::Part(part) => Decision::Part(part),
                Selection::Parts(parts) => Decision::Parts(parts),
                Selection::Unsatisfiable => Decision::Unsatisfiable,
            }
        }
        _ => Decision::Whole,
    }
}

/// If-Match, and in its absence If-Unmodified-Since. A date that cannot be read is no condition.
fn is_expected_state(conditions: &Conditions<'_>, validators: Validators<'_>) -> bool {
    if !conditions.if_match.as_slice().is_empty() {
        return lists(conditions.if_match.as_slice(), |tag| tag.is_strongly(validators));
    }
    let since = conditions.if_unmodified_since.and_then(date::parse);
    since.is_none_or(|since| validators.modified <= since)
}

/// If-None-Match, and in its absence If-Modified-Since.
fn is_held_already(conditions: &Conditions<'_>, validators: Validators<'_>) -> bool {
    if !conditions.if_none_match.as_slice().is_empty() {
        return lists(conditions.if_none_match.as_slice(), |tag| tag.is_weakly(validators));
    }
    let since = conditions.if_modified_since.and_then(date::parse);
    since.is_some_and(|since| validators.modified <= since)
}

/// If-Range asks for the part only if the file is still the one of which the client has the rest, to the
/// byte: only a strong validator says that.
fn range_applies(conditions: &Conditions<'_>, validators: Validators<'_>) -> bool {
    conditions.if_range.is_none_or(|value| match Tag::parse(value) {
        Some((tag, rest)) => rest.is_empty() && tag.is_strongly(validators),
        None => validators.are_strong && date::parse(value) == Some(validators.modified),
    })
}

/// An entity tag in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    quoted: &'a [u8],
    is_weak: bool,
}

impl<'a> Tag<'a> {
    /// The tag at the start of `text`, and what follows it.
    fn parse(text: &'a [u8]) -> Option<(Tag<'a>, &'a [u8])> {
        let unmarked = text.strip_prefix(b"W/");
        let tag = unmarked.unwrap_or(text);
        let inside = tag.strip_prefix(b"\"")?;
        let (quoted, rest) = tag.split_at(memchr::memchr(b'"', inside)? + 2);
        Some((Tag { quoted, is_weak: unmarked.is_some() }, rest))
    }

    fn is_weakly(self, validators: Validators<'_>) -> bool {
        self.quoted == validators.tag
    }

    fn is_strongly(self, validators: Validators<'_>) -> bool {
        self.is_weakly(validators) && validators.are_strong && !self.is_weak
    }
}

/// Whether a list of entity tags, over any number of lines, is `*` or has one that `matches`. What stands
/// behind something that is no tag is not looked at.
fn lists(lines: &[&[u8]], matches: impl Fn(Tag<'_>) -> bool) -> bool {
    lines.iter().any(|line| line.trim_ascii() == b"*" || tags(line).any(&matches))
}

fn tags(line: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !b", \t".contains(byte))?;
        let (tag, behind) = Tag::parse(&rest[start..])?;
        rest = behind;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Lines;

    const SAME: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";
    const STRONG: Validators<'_> = Validators { tag: b"\"a,b\"", modified: 784_111_777, are_strong: true };
    const WEAK: Validators<'_> = Validators { are_strong: false, ..STRONG };

    fn lines<'a>(values: &[&'a [u8]]) -> Lines<'a> {
        let mut lines = Lines::default();
        values.iter().for_each(|value| lines.push(value));
        lines
    }

    fn get(conditions: &Conditions<'_>, validators: Validators<'_>) -> Decision {
        decide(Method::Get, conditions, validators, 10)
    }

    #[test]
    fn if_modified_since() {
        let since = |value| Conditions { if_modified_since: Some(value), ..Conditions::default() };
        for method in [Method::Get, Method::Head] {
            for (value, expected) in [
                (SAME, Decision::NotModified),
                (AFTER, Decision::NotModified),
                (BEFORE, Decision::Whole),
                (b"yesterday", Decision::Whole),
            ] {
                assert_eq!(decide(method, &since(value), STRONG, 10), expected);
            }
        }
        let tagged = Conditions { if_none_match: lines(&[b"\"other\""]), ..since(SAME) };
        assert_eq!(get(&tagged, STRONG), Decision::Whole, "the tag decides alone");
    }

    #[test]
    fn tags_are_compared_weakly_for_a_copy_and_strongly_for_a_change() {
        let table: &[(&[u8], bool, bool)] = &[
            (b"*", true, true),
            (b" * ", true, true),
            (b"\"a,b\"", true, true),
            (b"W/\"a,b\"", true, false),
            (b"\"x\", \"a,b\"", true, true),
            (b"\"x\",W/\"y\" ,\t\"a,b\"", true, true),
            (b",,\"a,b\"", true, true),
            (b"\"a\"", false, false),
            (b"\"a,b", false, false),
            (b"a,b", false, false),
            (b"w/\"a,b\"", false, false),
            (b"x, \"a,b\"", false, false),
            (b"\"x*\"", false, false),
            (b"", false, false),
        ];
        for (list, weakly, strongly) in table {
            let none = Conditions { if_none_match: lines(&[*list]), ..Conditions::default() };
            let any = Conditions { if_match: lines(&[*list]), ..Conditions::default() };
            for validators in [STRONG, WEAK] {
                let expected = if *weakly { Decision::NotModified } else { Decision::Whole };
                assert_eq!(get(&none, validators), expected, "{}", list.escape_ascii());
            }
            let expected = if *strongly { Decision::Whole } else { Decision::PreconditionFailed };
            assert_eq!(get(&any, STRONG), expected, "{}", list.escape_ascii());
        }
        let two: Conditions<'_> =
            Conditions { if_none_match: lines(&[b"\"x\"", b"\"a,b\""]), ..Conditions::default() };
        assert_eq!(get(&two, STRONG), Decision::NotModified, "a list in two lines");
        let mine = Conditions { if_match: lines(&[STRONG.tag]), ..Conditions::default() };
        assert_eq!(get(&mine, WEAK), Decision::PreconditionFailed, "a weak validator proves nothing");
    }

    #[test]
    fn the_order_of_precedence() {
        let failed = Conditions { if_unmodified_since: Some(BEFORE), ..Conditions::default() };
        assert_eq!(get(&failed, STRONG), Decision::PreconditionFailed);
        let unreadable = Conditions { if_unmodified_since: Some(b"x"), ..Conditions::default() };
        assert_eq!(get(&unreadable, STRONG), Decision::Whole);
        let matched = Conditions { if_match: lines(&[STRONG.tag]), ..failed };
        assert_eq!(get(&matched, STRONG), Decision::Whole, "If-Match takes the place of the date");
        let held = Conditions { if_none_match: lines(&[STRONG.tag]), range: Some(b"bytes=0-1"), ..matched };
        assert_eq!(get(&held, STRONG), Decision::NotModified, "a copy comes before a range");
        let neither = Conditions { if_match: lines(&[b"\"x\""]), ..held };
        assert_eq!(get(&neither, STRONG), Decision::PreconditionFailed, "and If-Match before both");
    }

    #[test]
    fn ranges() {
        let ranged = |value| Conditions { range: Some(value), ..Conditions::default() };
        let part = Decision::Part(Part { first: 2, length: 3 });
        assert_eq!(get(&ranged(b"bytes=2-4"), STRONG), part);
        assert_eq!(decide(Method::Head, &ranged(b"bytes=2-4"), STRONG, 10), Decision::Whole);
        assert_eq!(get(&ranged(b"bytes=10-"), STRONG), Decision::Unsatisfiable);
        let if_range = |value| Conditions { if_range: Some(value), ..ranged(b"bytes=2-4") };
        for same in [SAME, STRONG.tag] {
            assert_eq!(get(&if_range(same), STRONG), part);
            assert_eq!(get(&if_range(same), WEAK), Decision::Whole);
        }
        for other in [BEFORE, AFTER, b"\"tag\"", b"W/\"a,b\"", b"\"a,b\", \"a,b\"", b"*", b""] {
            assert_eq!(get(&if_range(other), STRONG), Decision::Whole, "{}", other.escape_ascii());
        }
    }
}
