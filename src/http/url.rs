//! As much of a URL as a client needs: where to connect, and what to ask for.

use crate::{Error, Result};

/// The parts of an `http` URL, as they stand in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// Host and port as they were written: the value of the `Host` field.
    pub(crate) authority: &'a str,
    /// The host to look up, without the brackets of an IPv6 address.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// The path and the query: what the request line asks for.
    pub(crate) target: &'a str,
}

impl<'a> Url<'a> {
    /// Takes `text` apart. It has to be written as it is to be sent: blanks and control characters are errors, and
    /// what is not ASCII too.
    pub(crate) fn parse(text: &'a str) -> Result<Url<'a>> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Invalid("a URL consists of visible ASCII characters"));
        }
        let text = text.split('#').next().unwrap_or_default();
        let rest = strip_scheme(text).ok_or(Error::Invalid("the URL does not start with http://"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = match target {
            "" => "/",
            target if target.starts_with('/') => target,
            _ => return Err(Error::Invalid("a query needs a path before it")),
        };
        let (host, port) = split_authority(authority)?;
        Ok(Url { authority, host, port, target })
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked("http://".len())?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}

fn split_authority(authority: &str) -> Result<(&str, u16)> {
    if authority.contains('@') {
        return Err(Error::Invalid("a URL with a user or a password"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            bracketed.split_once(']').ok_or(Error::Invalid("the bracket of the host is not closed"))?
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Some(80),
        Some("") => Some(80),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    match port.filter(|&port| port != 0) {
        Some(port) if !host.is_empty() => Ok((host, port)),
        _ => Err(Error::Invalid("the host or the port of the URL makes no sense")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url() {
        let table = [
            ("http://a", ("a", "a", 80, "/")),
            ("HTTP://a.b:8080/c/d?e=f#g", ("a.b:8080", "a.b", 8080, "/c/d?e=f")),
            ("http://[::1]:81/", ("[::1]:81", "::1", 81, "/")),
            ("http://[::1]", ("[::1]", "::1", 80, "/")),
            ("http://a:/x", ("a:", "a", 80, "/x")),
            ("http://a#b", ("a", "a", 80, "/")),
        ];
        for (text, (authority, host, port, target)) in table {
            assert_eq!(Url::parse(text).expect(text), Url { authority, host, port, target }, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_ours() {
        let table = [
            "",
            "a",
            "https://a/",
            "http://",
            "http:///x",
            "http://a?b",
            "http://a:0/",
            "http://a:99999/",
            "http://a:+1/",
            "http://u@a/",
            "http://[::1/",
            "http://[::1]x/",
            "http://a/ b",
            "http://a/\r\nX: y",
            "http://a/é",
            "http://:80/",
        ];
        for text in table {
            assert!(matches!(Url::parse(text), Err(Error::Invalid(_))), "{text:?}");
        }
    }
}
