//! Requests and responses as handlers see them: owned, so that they can be kept and sent to other threads.

use std::fmt;
use std::ops::Range;

use super::request::FIELDS_CEILING;
use super::{Status, target};
use crate::{Error, Evbuffer, Result};

/// A request that a handler is to answer.
///
/// Its head is what the client sent, in one piece; its body is whole, and lies where it was received.
pub struct Request {
    head: Box<RequestHead>,
    body: Evbuffer,
}

/// The text of a request head, and where its parts lie in it.
#[derive(Debug)]
pub(crate) struct RequestHead {
    bytes: Box<[u8]>,
    method: Range<usize>,
    target: Range<usize>,
    path: String,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl RequestHead {
    /// Copies a head that [`request::parse`](super::request::parse) has accepted.
    pub(crate) fn copy(bytes: &[u8]) -> Result<RequestHead, Status> {
        let mut table = [httparse::EMPTY_HEADER; FIELDS_CEILING];
        let mut head = httparse::Request::new(&mut table);
        head.parse(bytes).map_err(|_| Status::BadRequest)?;
        let (Some(method), Some(target)) = (head.method, head.path) else { return Err(Status::BadRequest) };
        let span = |part: &[u8]| {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + part.len()
        };
        let mut path = Vec::new();
        target::decode(target.as_bytes(), &mut path).map_err(target::Refusal::status)?;
        let path = if path == b"." { Vec::new() } else { path };
        Ok(RequestHead {
            method: span(method.as_bytes()),
            target: span(target.as_bytes()),
            path: format!("/{}", std::str::from_utf8(&path).map_err(|_| Status::BadRequest)?),
            fields: head
                .headers
                .iter()
                .map(|field| (span(field.name.as_bytes()), span(field.value)))
                .collect(),
            bytes: bytes.into(),
        })
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory_len(&self) -> usize {
        self.bytes.len() + self.path.len() + self.fields.len() * size_of::<(Range<usize>, Range<usize>)>()
    }

    pub(crate) fn method(&self) -> &str {
        self.text(&self.method)
    }

    pub(crate) fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The path, decoded.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A part that the parser has found to be ASCII or UTF-8.
    fn text(&self, span: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[span.clone()]).unwrap_or_default()
    }
}

impl Request {
    pub(crate) fn new(head: Box<RequestHead>) -> Request {
        Request { head, body: Evbuffer::new() }
    }

    /// The method as it was sent: methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// The target as it was sent, usually the path and the query, not decoded.
    #[must_use]
    #[doc(alias = "evhttp_request_get_uri")]
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// The path, decoded, with its leading slash. It contains no `.` or `..` segment and no empty one but the
    /// last.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What follows the question mark of the target, not decoded, since what `+` and `&` mean in it is the
    /// handler's to know.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// The value of the first field of this name, in any case of letters.
    #[must_use]
    #[doc(alias = "evhttp_find_header")]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields in the order in which they were sent.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.fields.iter().map(|(name, value)| (self.head.text(name), &self.head.bytes[value.clone()]))
    }

    /// The body, to be looked at, moved or drained. Moving it into a response copies nothing.
    #[doc(alias = "evhttp_request_get_input_buffer")]
    pub fn body(&mut self) -> &mut Evbuffer {
        &mut self.body
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Request");
        out.field("method", &self.method()).field("target", &self.target());
        out.field("body_len", &self.body.len()).finish()
    }
}

/// What a handler answers with. The server adds `Date`, the length of the body, and what becomes of the
/// connection.
///
/// # Examples
/// ```
/// use zerovent::http::{Response, Status};
///
/// let mut response = Response::new(Status::Ok).with("Content-Type", "text/plain")?;
/// response.body().add(b"hello")?;
/// assert!(response.with("Injected", "yes\r\nSet-Cookie: a=b").is_err());
/// # Ok::<(), zerovent::Error>(())
/// ```
pub struct Response {
    pub(crate) status: Status,
    /// Lines that are ready to be sent.
    pub(crate) fields: Vec<u8>,
    pub(crate) body: Evbuffer,
}

/// Fields that say how the message is framed, and the date: the server's business.
const RESERVED: [&str; 5] = ["connection", "content-length", "date", "keep-alive", "transfer-encoding"];

impl Response {
    /// An answer without fields and with an empty body.
    #[must_use]
    pub fn new(status: Status) -> Response {
        Response { status, fields: Vec::new(), body: Evbuffer::new() }
    }

    /// An answer with `text` as its body, which is taken by reference if it is owned or static.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn text(status: Status, text: impl Into<bytes::Bytes>) -> Result<Response> {
        let mut response = Response::new(status).with("Content-Type", "text/plain; charset=utf-8")?;
        response.body.add_reference(text)?;
        Ok(response)
    }

    /// Adds a field.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is no token, if the value contains a control character (whoever can put a
    /// line break into a value could write fields of his own), or if the field is the server's to set:
    /// `Connection`, `Content-Length`, `Date`, `Keep-Alive`, `Transfer-Encoding`.
    #[doc(alias = "evhttp_add_header")]
    pub fn with(mut self, name: &str, value: &str) -> Result<Response> {
        append_field(&mut self.fields, name, value)?;
        Ok(self)
    }

    /// The body, to be filled.
    #[doc(alias = "evhttp_request_get_output_buffer")]
    pub fn body(&mut self) -> &mut Evbuffer {
        &mut self.body
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Response");
        out.field("status", &self.status).field("body_len", &self.body.len()).finish_non_exhaustive()
    }
}

/// Appends one line to fields that are ready to be sent, if it is one line and leaves the framing alone.
pub(crate) fn append_field(fields: &mut Vec<u8>, name: &str, value: &str) -> Result<()> {
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    if !is_token {
        return Err(Error::Invalid("the name of a field is no token"));
    }
    if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(Error::Invalid("the value of a field contains a control character"));
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(Error::Invalid("the framing of a message is not its user's to set"));
    }
    for part in [name, ": ", value, "\r\n"] {
        fields.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, Status> {
        RequestHead::copy(text.as_bytes()).map(|head| Request::new(Box::new(head)))
    }

    #[test]
    fn the_parts_of_a_request() {
        let request =
            request("PUT /a%20b/?x=1?2 HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n").expect("good");
        assert_eq!((request.method(), request.path(), request.query()), ("PUT", "/a b/", Some("x=1?2")));
        assert_eq!(request.field("x-A"), Some(&b"1"[..]));
        assert_eq!(request.fields().count(), 3);
        assert_eq!(request.field("missing"), None);
    }

    #[test]
    fn a_path_with_two_readings_is_no_path() {
        for (target, status) in [("/%", 400), ("/../x", 403), ("/%ff", 400), ("/a//b", 404)] {
            let refused = request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).expect_err("refused");
            assert_eq!(refused.code(), status, "{target}");
        }
        assert_eq!(request("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("good").path(), "/");
    }

    #[test]
    fn fields_cannot_be_smuggled_in() {
        for (name, value) in
            [("A", "b\r\nC: d"), ("A", "b\n"), ("A", "\0"), ("A b", "c"), ("", "x"), ("A:", "x")]
        {
            assert!(Response::new(Status::Ok).with(name, value).is_err(), "{name:?}: {value:?}");
        }
        for name in ["Content-Length", "transfer-encoding", "CONNECTION", "Date"] {
            assert!(Response::new(Status::Ok).with(name, "x").is_err(), "{name}");
        }
        assert!(Response::new(Status::Ok).with("X", "a\tb é").is_ok());
    }
}
