//! Which answer a file gets: all of it, a part, or the news that there is none. RFC 9110, section 13.2.2, for
//! a server whose only validator is the date of the last change.

use super::date;
use super::range::{self, Selection};
use super::request::{Conditions, Method};

/// The answer to a request for a file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Whole,
    Part { first: u64, length: u64 },
    NotModified,
    Unsatisfiable,
}

/// Decides for a file of `length` bytes that was last modified at `modified`, in seconds since 1970.
pub(crate) fn decide(method: Method, conditions: &Conditions<'_>, length: u64, modified: u64) -> Decision {
    if is_unmodified(conditions, modified) {
        return Decision::NotModified;
    }
    match conditions.range {
        // A range is defined for GET alone.
        Some(value) if method == Method::Get && range_applies(conditions, modified) => {
            match range::select(value, length) {
                Selection::Whole => Decision::Whole,
                Selection::Part { first, length } => Decision::Part { first, length },
                Selection::Unsatisfiable => Decision::Unsatisfiable,
            }
        }
        _ => Decision::Whole,
    }
}

/// If-None-Match, where there is one, takes the place of If-Modified-Since; and no entity tag matches a file
/// that has none.
fn is_unmodified(conditions: &Conditions<'_>, modified: u64) -> bool {
    let since = conditions.if_modified_since.filter(|_| !conditions.has_if_none_match);
    since.and_then(date::parse).is_some_and(|since| since >= modified)
}

/// If-Range asks for the part only if the file is still the one of which the client has the rest. An entity
/// tag is never that of this file, so it selects the whole.
fn range_applies(conditions: &Conditions<'_>, modified: u64) -> bool {
    conditions.if_range.is_none_or(|value| date::parse(value) == Some(modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: u64 = 784_111_777;
    const SAME: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";

    fn decided(method: Method, conditions: Conditions<'_>) -> Decision {
        decide(method, &conditions, 10, MODIFIED)
    }

    #[test]
    fn if_modified_since() {
        let since = |value| Conditions { if_modified_since: Some(value), ..Conditions::default() };
        for method in [Method::Get, Method::Head] {
            assert_eq!(decided(method, since(SAME)), Decision::NotModified);
            assert_eq!(decided(method, since(AFTER)), Decision::NotModified);
            assert_eq!(decided(method, since(BEFORE)), Decision::Whole);
            assert_eq!(decided(method, since(b"yesterday")), Decision::Whole);
            let tagged = Conditions { has_if_none_match: true, ..since(SAME) };
            assert_eq!(decided(method, tagged), Decision::Whole);
        }
    }

    #[test]
    fn ranges() {
        let ranged = |value| Conditions { range: Some(value), ..Conditions::default() };
        let part = Decision::Part { first: 2, length: 3 };
        assert_eq!(decided(Method::Get, ranged(b"bytes=2-4")), part);
        assert_eq!(decided(Method::Head, ranged(b"bytes=2-4")), Decision::Whole);
        assert_eq!(decided(Method::Get, ranged(b"bytes=10-")), Decision::Unsatisfiable);
        let unmodified = Conditions { if_modified_since: Some(SAME), ..ranged(b"bytes=2-4") };
        assert_eq!(decided(Method::Get, unmodified), Decision::NotModified);
        let if_range = |value| Conditions { if_range: Some(value), ..ranged(b"bytes=2-4") };
        assert_eq!(decided(Method::Get, if_range(SAME)), part);
        for other in [BEFORE, AFTER, &b"\"tag\""[..], b"W/\"tag\"", b""] {
            assert_eq!(decided(Method::Get, if_range(other)), Decision::Whole);
        }
    }
}
