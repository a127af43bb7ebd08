//! Reading a request head out of contiguous bytes. The grammar is httparse's; this file adds the limits, the
//! meaning of the few fields that a file server obeys, and the refusals: whatever two parsers in a row could
//! understand differently (two lengths, a folded line, a length that is no number) is an error and ends the
//! connection.

use std::mem::MaybeUninit;

use super::Status;
use super::options::Limits;

/// The most fields that [`Limits::fields_max`] can allow; their table lives on the stack while a head is
/// parsed.
pub(crate) const FIELDS_CEILING: usize = 128;

/// A request head that is complete and can be understood in one way only.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) method_name: &'a str,
    pub(crate) target: &'a str,
    /// The bytes of the head, the empty line included.
    pub(crate) head_len: usize,
    pub(crate) http_1_0: bool,
    /// Whether the client wants to go on with this connection.
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    /// `Expect: 100-continue`: the body will not come before an answer.
    pub(crate) expects_continue: bool,
    pub(crate) conditions: Conditions<'a>,
    /// For a log, and for nothing else.
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
}

/// The fields that decide which answer a file gets: 200, 206, 304, 412 or 416, and in which coding.
#[derive(Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) range: Option<&'a [u8]>,
    pub(crate) if_range: Option<&'a [u8]>,
    pub(crate) if_modified_since: Option<&'a [u8]>,
    pub(crate) if_unmodified_since: Option<&'a [u8]>,
    pub(crate) if_match: Lines<'a>,
    pub(crate) if_none_match: Lines<'a>,
    pub(crate) accept_encoding: Lines<'a>,
}

/// The values of a field that is a list, and may therefore be sent in several lines. Lines beyond the fourth
/// are ignored: each of these fields then asks for less.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lines<'a> {
    values: [&'a [u8]; 4],
    count: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn push(&mut self, value: &'a [u8]) {
        if let Some(place) = self.values.get_mut(self.count) {
            *place = value;
            self.count += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[&'a [u8]] {
        &self.values[..self.count]
    }
}

/// What a request wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Options,
    Other,
}

/// How the end of a request's body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Parses the head at the start of `bytes`.
///
/// `Ok(None)` means that the head is not there in full yet. After an `Err` nothing behind these bytes can be
/// trusted: the status is the last thing to send on the connection.
pub(crate) fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Option<Request<'a>>, Status> {
    let mut table = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let fields = &mut table[..limits.fields_max.min(FIELDS_CEILING)];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(bytes, fields) {
        Ok(httparse::Status::Complete(head_len)) if head_len > limits.head_max => {
            Err(Status::HeaderFieldsTooLarge)
        }
        Ok(httparse::Status::Complete(head_len)) => understand(&head, head_len).map(Some),
        Ok(httparse::Status::Partial) if bytes.len() >= limits.head_max => Err(Status::HeaderFieldsTooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Status::HeaderFieldsTooLarge),
        Err(httparse::Error::Version) => Err(version_error(bytes)),
        Err(_) => Err(Status::BadRequest),
    }
}

/// Whether bytes that arrived behind the first `seen` can have completed a head, or are so many more that a
/// malformed one should be noticed: a head that trickles in is parsed a logarithmic number of times, not once
/// a byte.
pub(crate) fn worth_parsing(bytes: &[u8], seen: usize) -> bool {
    if seen == 0 || bytes.len().ilog2() != seen.ilog2() {
        return true;
    }
    let fresh = &bytes[seen.saturating_sub(3).min(bytes.len())..];
    memchr::memchr_iter(b'\n', fresh).any(|at| {
        let rest = &fresh[at + 1..];
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

fn understand<'a>(head: &httparse::Request<'_, 'a>, head_len: usize) -> Result<Request<'a>, Status> {
    let (Some(method_name), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(Status::BadRequest);
    };
    let mut fields = Fields::default();
    for field in head.headers.iter() {
        fields.note(field.name, field.value)?;
    }
    let http_1_0 = minor == 0;
    fields.check_host(http_1_0)?;
    Ok(Request {
        method: method(method_name),
        method_name,
        target,
        head_len,
        http_1_0,
        keep_alive: !fields.close && (!http_1_0 || fields.keep_alive),
        framing: fields.framing(http_1_0)?,
        expects_continue: fields.expects_continue(http_1_0)?,
        referer: fields.referer,
        user_agent: fields.user_agent,
        conditions: fields.conditions,
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// What the transfer codings so far come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    Chunked,
    /// None of them is `chunked`.
    Other,
    /// One that this server does not decode, then `chunked`.
    OtherAndChunked,
    /// Something follows `chunked`.
    Endless,
}

/// The fields that matter, gathered in one pass.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    close: bool,
    keep_alive: bool,
    length: Option<u64>,
    codings: Codings,
    expects_continue: bool,
    expects_the_unknown: bool,
    conditions: Conditions<'a>,
    referer: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Status> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => self.note_host(value)?,
            5 if is("range") => self.conditions.range = Some(value),
            6 if is("expect") => self.note_expectation(value),
            7 if is("referer") => self.referer = Some(value),
            8 if is("if-range") => self.conditions.if_range = Some(value),
            8 if is("if-match") => self.conditions.if_match.push(value),
            10 if is("connection") => self.note_connection(value),
            10 if is("user-agent") => self.user_agent = Some(value),
            13 if is("if-none-match") => self.conditions.if_none_match.push(value),
            14 if is("content-length") => self.note_length(value)?,
            15 if is("accept-encoding") => self.conditions.accept_encoding.push(value),
            17 if is("transfer-encoding") => self.note_transfer_encoding(value),
            17 if is("if-modified-since") => self.conditions.if_modified_since = Some(value),
            19 if is("if-unmodified-since") => self.conditions.if_unmodified_since = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn note_host(&mut self, value: &[u8]) -> Result<(), Status> {
        self.hosts += 1;
        if value.iter().all(|&byte| is_host_byte(byte)) { Ok(()) } else { Err(Status::BadRequest) }
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// One field, digits only: a sign, a list or a second field is where smuggling starts. A number too large
    /// to hold is merely too large.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Status> {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.length.is_some() {
            return Err(Status::BadRequest);
        }
        let append = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        self.length = Some(value.iter().fold(0, append));
        Ok(())
    }

    /// Codings are applied in the order in which they are named, so only the last one may be `chunked`: another
    /// one there leaves the end of the body open.
    fn note_transfer_encoding(&mut self, value: &[u8]) {
        for coding in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.codings = match (self.codings, coding.eq_ignore_ascii_case(b"chunked")) {
                (Codings::None, true) => Codings::Chunked,
                (Codings::None | Codings::Other, false) => Codings::Other,
                (Codings::Other, true) => Codings::OtherAndChunked,
                _ => Codings::Endless,
            };
        }
    }

    fn note_expectation(&mut self, value: &[u8]) {
        let is_known = value.eq_ignore_ascii_case(b"100-continue");
        self.expects_continue |= is_known;
        self.expects_the_unknown |= !is_known;
    }

    /// HTTP/1.0 knows no expectations, and a server has to ignore what is called one there.
    fn expects_continue(&self, http_1_0: bool) -> Result<bool, Status> {
        match self.expects_the_unknown {
            _ if http_1_0 => Ok(false),
            true => Err(Status::ExpectationFailed),
            false => Ok(self.expects_continue),
        }
    }

    /// HTTP/1.1 has exactly one `Host` field; HTTP/1.0 may do without.
    fn check_host(&self, http_1_0: bool) -> Result<(), Status> {
        match self.hosts {
            1 => Ok(()),
            0 if http_1_0 => Ok(()),
            _ => Err(Status::BadRequest),
        }
    }

    fn framing(&self, http_1_0: bool) -> Result<Framing, Status> {
        match (self.codings, self.length) {
            (Codings::None, None | Some(0)) => Ok(Framing::None),
            (Codings::None, Some(length)) => Ok(Framing::Length(length)),
            (_, Some(_)) => Err(Status::BadRequest),
            (_, None) if http_1_0 => Err(Status::BadRequest),
            (Codings::Chunked, None) => Ok(Framing::Chunked),
            (Codings::OtherAndChunked, None) => Err(Status::NotImplemented),
            (Codings::Other | Codings::Endless, None) => Err(Status::BadRequest),
        }
    }
}

/// What RFC 3986 lets a host and a port be made of: no blank, no slash, no `@`, nothing above ASCII.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// httparse could not read the version: 505 if the line is whole but for another HTTP, else it is no request.
fn version_error(bytes: &[u8]) -> Status {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    let line = bytes[start..].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line.trim_ascii_end().split(|&byte| byte == b' ');
    let version = words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/")).unwrap_or_default();
    let is_version = match version {
        b"1.0" | b"1.1" => false,
        [major] | [major, b'.'] => major.is_ascii_digit(),
        [major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    };
    if is_version && words.next().is_none() { Status::VersionNotSupported } else { Status::BadRequest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Request<'_>>, Status> {
        parse(text.as_bytes(), &Limits::default())
    }

    fn complete(text: &str) -> Request<'_> {
        parsed(text).expect("well-formed").expect("complete")
    }

    #[test]
    fn a_plain_request() {
        let text = "GET /a?b HTTP/1.1\r\nHost: example.org:80\r\nRange: bytes=1-2\r\n\r\nGET /next";
        let request = complete(text);
        assert_eq!((request.method, request.target), (Method::Get, "/a?b"));
        assert_eq!(&text[request.head_len..], "GET /next");
        assert_eq!(request.conditions.range, Some(&b"bytes=1-2"[..]));
        assert!(request.keep_alive && request.framing == Framing::None);
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        let text = "\r\nHEAD /some/file HTTP/1.0\r\nUser-Agent: x\r\nConnection: keep-alive\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(parsed(&text[..end]), Ok(None)), "{:?}", &text[..end]);
        }
        assert!(complete(text).keep_alive);
    }

    #[test]
    fn persistence_follows_the_version_and_the_connection_field() {
        let table = [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
            ("1.1", "connection: upgrade\r\nConnection: close\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: foo , Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ];
        for (version, fields, keep_alive) in table {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(complete(&text).keep_alive, keep_alive, "{text}");
        }
    }

    #[test]
    fn the_length_of_a_body() {
        let table = [
            ("", Ok(Framing::None)),
            ("Content-Length: 0\r\n", Ok(Framing::None)),
            ("Content-Length: 12\r\n", Ok(Framing::Length(12))),
            ("Content-Length: 99999999999999999999999\r\n", Ok(Framing::Length(u64::MAX))),
            ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
            ("Transfer-Encoding: CHUNKED\r\n", Ok(Framing::Chunked)),
            ("Transfer-Encoding: gzip\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(Status::NotImplemented)),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(Status::NotImplemented)),
            ("Transfer-Encoding: chunked, gzip\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding:\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding: \x0bchunked\r\n", Err(Status::BadRequest)),
            ("Transfer-Encoding: xchunked\r\n", Err(Status::BadRequest)),
            ("Expect: 100-continue\r\nContent-Length: 1\r\n", Ok(Framing::Length(1))),
            ("Expect: 200-ok\r\nContent-Length: 1\r\n", Err(Status::ExpectationFailed)),
            ("Expect: 100-continue\r\nExpect: more\r\n", Err(Status::ExpectationFailed)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Err(Status::BadRequest)),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Err(Status::BadRequest)),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", Err(Status::BadRequest)),
            ("Content-Length: 3\r\nContent-Length: 4\r\n", Err(Status::BadRequest)),
            ("Content-Length: 3, 3\r\n", Err(Status::BadRequest)),
            ("Content-Length: +3\r\n", Err(Status::BadRequest)),
            ("Content-Length: -3\r\n", Err(Status::BadRequest)),
            ("Content-Length: 0x3\r\n", Err(Status::BadRequest)),
            ("Content-Length:\r\n", Err(Status::BadRequest)),
        ];
        for (fields, framing) in table {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(parsed(&text).map(|request| request.expect("complete").framing), framing, "{text}");
        }
        let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parsed(old).map(|_| ()), Err(Status::BadRequest));
    }

    #[test]
    fn requests_that_end_the_connection() {
        let bad = Status::BadRequest;
        let table = [
            ("GET / HTTP/1.1\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tfolded\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", bad),
            ("GET / HTTP/1.1\rHost: a\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", bad),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", bad),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", bad),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", bad),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/2.0 x\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTP/two\r\nHost: a\r\n\r\n", bad),
            ("GET / HTTX/1.1\r\nHost: a\r\n\r\n", bad),
            ("GET /\r\n\r\n", bad),
            ("G\x01T / HTTP/1.1\r\n\r\n", bad),
            ("\x16\x03\x01\x02\x00\x01", bad),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/2\r\nHost: a\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Status::VersionNotSupported),
        ];
        for (text, status) in table {
            assert_eq!(parsed(text).map(|_| ()), Err(status), "{text:?}");
        }
    }

    #[test]
    fn limits_on_bytes_and_fields() {
        let limits = Limits { head_max: 100, fields_max: 3, ..Limits::default() };
        let status = |text: &str| parse(text.as_bytes(), &limits).map(|request| request.is_some());
        let field = "X: 1\r\n";
        let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(status(&head(&field.repeat(2))), Ok(true));
        assert_eq!(status(&head(&field.repeat(3))), Err(Status::HeaderFieldsTooLarge));
        let longest = format!("X: {}\r\n", "y".repeat(100 - head("X: \r\n").len()));
        assert_eq!(status(&head(&longest)), Ok(true));
        assert_eq!(status(&head(&format!("X{longest}"))), Err(Status::HeaderFieldsTooLarge));
        assert_eq!(status(&format!("GET /{}", "a".repeat(94))), Ok(false));
        assert_eq!(status(&format!("GET /{}", "a".repeat(95))), Err(Status::HeaderFieldsTooLarge));
    }

    #[test]
    fn a_trickle_is_parsed_when_it_is_complete_and_not_once_a_byte() {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(5000));
        let bytes = text.as_bytes();
        let parses = (1..=bytes.len()).filter(|&end| worth_parsing(&bytes[..end], end - 1)).count();
        assert!(worth_parsing(bytes, bytes.len() - 1));
        assert!(parses <= 16, "{parses} times");
    }

    #[test]
    fn the_end_of_a_head_is_seen_however_it_is_cut() {
        for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n"] {
            for seen in 1..text.len() {
                assert!(worth_parsing(text.as_bytes(), seen), "{text:?} after {seen}");
            }
        }
    }
}
