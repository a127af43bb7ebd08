//! From the target of a request line to a path beneath the root: decoded exactly once, and refused, with a
//! reason, when two readers could disagree about what it names. The kernel guards the root as well
//! (`sys::fs`); this is the first fence, and the one that can say why.

use super::Status;

/// Why a target names no file. Each reason has one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Neither `/path` nor `http://host/path`.
    Form,
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// A NUL byte, which would end the path early in the kernel.
    Nul,
    /// A `..` segment, written out or encoded.
    Parent,
    /// A `.` or an empty segment: a second name for a file that has one.
    Alias,
    /// An encoded `/` or a backslash, which some readers take for a separator.
    Separator,
}

impl Refusal {
    pub(crate) fn status(self) -> Status {
        match self {
            Refusal::Form | Refusal::Escape | Refusal::Nul => Status::BadRequest,
            Refusal::Parent => Status::Forbidden,
            Refusal::Alias | Refusal::Separator => Status::NotFound,
        }
    }
}

/// Decodes `target` into `path`, replacing what was there: no leading `/`, no query, `.` for the root itself.
/// A slash at the end is kept, since `file/` is not `file`. `path` is the caller's to reuse, so that a
/// request allocates nothing.
pub(crate) fn decode(target: &[u8], path: &mut Vec<u8>) -> Result<(), Refusal> {
    path.clear();
    let absolute = origin_form(target)?;
    let end = memchr::memchr2(b'?', b'#', absolute).unwrap_or(absolute.len());
    if absolute.get(end) == Some(&b'#') {
        return Err(Refusal::Form);
    }
    let encoded = &absolute[1..end];
    if encoded.is_empty() {
        path.push(b'.');
        return Ok(());
    }
    for (index, segment) in encoded.split(|&byte| byte == b'/').enumerate() {
        if index > 0 {
            path.push(b'/');
        }
        let start = path.len();
        decode_segment(segment, path)?;
        check_segment(&path[start..])?;
    }
    check_empty_segments(encoded)
}

/// The path and the query of `target`, as they were sent.
pub(crate) fn split(target: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let absolute = origin_form(target)?;
    Ok(absolute.split_at(memchr::memchr(b'?', absolute).unwrap_or(absolute.len())))
}

/// The part of `target` that starts at the path's `/`. A host in an absolute target is not compared with
/// anything: this server has one root for all names.
fn origin_form(target: &[u8]) -> Result<&[u8], Refusal> {
    if target.first() == Some(&b'/') {
        return Ok(target);
    }
    let authority = ["http://", "https://"]
        .iter()
        .find_map(|scheme| strip_prefix_ignore_case(target, scheme.as_bytes()))
        .ok_or(Refusal::Form)?;
    let host_len = authority.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(authority.len());
    match authority.get(host_len) {
        _ if host_len == 0 => Err(Refusal::Form),
        Some(b'/') => Ok(&authority[host_len..]),
        Some(b'#') => Err(Refusal::Form),
        _ => Ok(b"/"), // an empty path, with or without a query, means the root
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn decode_segment(segment: &[u8], path: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut rest = segment;
    while let Some(at) = memchr::memchr(b'%', rest) {
        path.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(Refusal::Escape)?;
        let byte = hex(digits[0])? << 4 | hex(digits[1])?;
        if byte == b'/' {
            return Err(Refusal::Separator);
        }
        path.push(byte);
        rest = &rest[at + 3..];
    }
    path.extend_from_slice(rest);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, Refusal> {
    match (digit as char).to_digit(16) {
        Some(value) => Ok(value as u8),
        None => Err(Refusal::Escape),
    }
}

fn check_segment(segment: &[u8]) -> Result<(), Refusal> {
    match segment {
        b".." => Err(Refusal::Parent),
        b"." => Err(Refusal::Alias),
        _ if segment.contains(&0) => Err(Refusal::Nul),
        _ if segment.contains(&b'\\') => Err(Refusal::Separator),
        _ => Ok(()),
    }
}

/// Only the last segment may be empty. Looked at last, so that `//..` is called what it is.
fn check_empty_segments(encoded: &[u8]) -> Result<(), Refusal> {
    let doubled = encoded.first() == Some(&b'/') || encoded.windows(2).any(|pair| pair == b"//");
    if doubled { Err(Refusal::Alias) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(target: &str) -> Result<String, Refusal> {
        let mut path = b"left over".to_vec();
        decode(target.as_bytes(), &mut path)?;
        Ok(String::from_utf8(path).expect("the table holds UTF-8"))
    }

    #[test]
    fn good_targets() {
        let table = [
            ("/", "."),
            ("/?q=1", "."),
            ("/a", "a"),
            ("/a/", "a/"),
            ("/a/b.txt?x=/../y", "a/b.txt"),
            ("/a%20b", "a b"),
            ("/%61%2e%74xt", "a.txt"),
            ("/100%25", "100%"),
            ("/%252e%252e", "%2e%2e"),
            ("/%C3%A9", "é"),
            ("/...", "..."),
            ("/..a/b..", "..a/b.."),
            ("/.hidden", ".hidden"),
            ("/a+b", "a+b"),
            ("/a:b;c=d", "a:b;c=d"),
            ("http://host/a", "a"),
            ("HTTP://host:80/a/b?q", "a/b"),
            ("https://host", "."),
            ("http://host?q", "."),
        ];
        for (target, path) in table {
            assert_eq!(decoded(target).as_deref(), Ok(path), "{target}");
        }
    }

    #[test]
    fn hostile_targets() {
        use Refusal::*;
        let table = [
            ("", Form),
            ("*", Form),
            ("a", Form),
            ("host:80", Form),
            ("ftp://host/a", Form),
            ("http:///a", Form),
            ("http://", Form),
            ("/a#b", Form),
            ("http://host#a", Form),
            ("/%", Escape),
            ("/%2", Escape),
            ("/%zz", Escape),
            ("/a%2/b", Escape),
            ("/%+1", Escape),
            ("/a%00", Nul),
            ("/a%00.txt", Nul),
            ("/..", Parent),
            ("/../", Parent),
            ("/../etc/passwd", Parent),
            ("/a/../../etc/passwd", Parent),
            ("/%2e%2e/etc/passwd", Parent),
            ("/%2E./etc/passwd", Parent),
            ("/.%2e", Parent),
            ("/a/..", Parent),
            ("//../etc/passwd", Parent),
            ("http://host/../a", Parent),
            ("/.", Alias),
            ("/./a", Alias),
            ("/%2e/a", Alias),
            ("/a/./b", Alias),
            ("//a", Alias),
            ("//", Alias),
            ("/a//b", Alias),
            ("/a//", Alias),
            ("//etc/passwd", Alias),
            ("/..%2fetc", Separator),
            ("/%2fetc%2fpasswd", Separator),
            ("/a\\..\\b", Separator),
            ("/..%5cetc", Separator),
            ("/%5c", Separator),
        ];
        for (target, refusal) in table {
            assert_eq!(decoded(target), Err(refusal), "{target}");
        }
    }

    #[test]
    fn no_decoded_path_can_climb() {
        // Every target of up to six of these pieces: whatever is accepted has no way up and no way out.
        let pieces = ["/", "..", ".", "%2e", "%2f", "a"];
        for code in 0..6usize.pow(6) {
            let mut target = String::from("/");
            let mut rest = code;
            for _ in 0..6 {
                target.push_str(pieces[rest % 6]);
                rest /= 6;
            }
            if let Ok(path) = decoded(&target) {
                assert!(!path.starts_with('/'), "{target} became {path}");
                assert!(path.split('/').all(|segment| segment != ".."), "{target} became {path}");
            }
        }
    }
}
