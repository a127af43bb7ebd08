//! An answer as a client reads it: a state machine over the input, as `connection` is for the server, and as
//! strict: an answer whose end could be read in two ways is an error.

use std::io;

use super::Status;
use super::body::{Body, Piece, move_content};
use super::request::{FIELDS_CEILING, Framing, worth_parsing};
use crate::{Error, Evbuffer, Result};

/// The longest head that is taken, interim answers counted one by one.
const HEAD_MAX: usize = 64 << 10;

/// How many interim answers (1xx) are put up with.
const INTERIM_MAX: u8 = 16;

/// What a server has answered.
#[derive(Debug)]
pub struct Fetched {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Evbuffer,
}

impl Fetched {
    /// The status; a redirect is one like any other.
    #[must_use]
    #[doc(alias = "evhttp_request_get_response_code")]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the first field of this name, in any case of letters.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields in the order in which they were sent.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The body, without its framing, where it was received.
    pub fn body(&mut self) -> &mut Evbuffer {
        &mut self.body
    }
}

/// An answer that is arriving.
#[derive(Debug)]
pub(crate) struct Answer {
    body_max: usize,
    interim: u8,
    /// How many bytes at the front of the input are known to hold no complete head.
    seen: usize,
    /// The head, once it is there, and what ends the body.
    begun: Option<(Fetched, End)>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Framed(Body),
    WithConnection,
}

impl Answer {
    pub(crate) fn new(body_max: usize) -> Answer {
        Answer { body_max, interim: 0, seen: 0, begun: None }
    }

    /// Takes in what has arrived; gives the answer when it is whole.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `InvalidData` when it is not HTTP, [`Error::Limit`] when it is too long.
    pub(crate) fn advance(&mut self, input: &mut Evbuffer) -> Result<Option<Fetched>> {
        while self.begun.is_none() {
            if !self.take_head(input)? {
                return Ok(None);
            }
        }
        let Some((fetched, end)) = &mut self.begun else { return Ok(None) };
        let is_whole = match end {
            End::WithConnection => {
                fetched.body.add_buffer(input)?;
                false
            }
            End::Framed(body) => {
                take_framed(body, input, &mut fetched.body)?;
                body.is_done()
            }
        };
        if fetched.body.len() > self.body_max {
            return Err(Error::Limit);
        }
        fetched.body.settle_storage();
        Ok(if is_whole { self.begun.take().map(|(fetched, _)| fetched) } else { None })
    }

    /// The connection has ended: the answer too, if that is what ends it.
    pub(crate) fn end(&mut self) -> Result<Fetched> {
        match self.begun.take() {
            Some((fetched, End::WithConnection)) => Ok(fetched),
            _ => Err(Error::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Takes the head from the front of the input, if it is there in full.
    fn take_head(&mut self, input: &mut Evbuffer) -> Result<bool> {
        let len = input.len().min(HEAD_MAX);
        let mut table = [httparse::EMPTY_HEADER; FIELDS_CEILING];
        let mut head = httparse::Response::new(&mut table);
        let bytes = input.pullup(len)?;
        let seen = std::mem::replace(&mut self.seen, len);
        if len < HEAD_MAX && (len == 0 || !worth_parsing(bytes, seen.min(len))) {
            return Ok(false);
        }
        let head_len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(head_len)) => head_len,
            Ok(httparse::Status::Partial) if len < HEAD_MAX => return Ok(false),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Error::Limit),
            Err(_) => return Err(invalid()),
        };
        self.seen = 0;
        let status = head.code.ok_or_else(invalid)?;
        if (100..200).contains(&status) && status != 101 {
            self.interim += 1;
            input.drain(head_len)?;
            return if self.interim > INTERIM_MAX { Err(Error::Limit) } else { Ok(true) };
        }
        let end = find_end(status, head.headers, self.body_max)?;
        let field = |field: &httparse::Header<'_>| (field.name.to_owned(), field.value.to_owned());
        let fields = head.headers.iter().map(field).collect();
        self.begun = Some((Fetched { status, fields, body: Evbuffer::new() }, end));
        input.drain(head_len)?;
        Ok(true)
    }
}

fn take_framed(body: &mut Body, input: &mut Evbuffer, content: &mut Evbuffer) -> Result<()> {
    while !body.is_done() && !input.is_empty() {
        let contiguous = input.contiguous_len();
        match body.next(input.pullup(contiguous)?).map_err(refused)? {
            Piece::Content(len) => move_content(input, content, len)?,
            Piece::Framing(len) => input.drain(len)?,
        }
    }
    Ok(())
}

/// What ends the body of an answer, by RFC 9112, 6.3.
fn find_end(status: u16, fields: &[httparse::Header<'_>], body_max: usize) -> Result<End> {
    let mut length = None;
    let mut chunked = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            let value =
                std::str::from_utf8(field.value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let value = value.and_then(|text| text.parse::<u64>().ok()).ok_or_else(invalid)?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(invalid());
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let is_chunked = field.value.eq_ignore_ascii_case(b"chunked");
            if chunked.replace(is_chunked).is_some() || !is_chunked {
                return Err(invalid());
            }
        }
    }
    let framing = match (chunked, length) {
        _ if matches!(status, 101 | 204 | 304) => Framing::None,
        (Some(_), Some(_)) => return Err(invalid()),
        (Some(_), None) => Framing::Chunked,
        (None, Some(0)) => Framing::None,
        (None, Some(length)) => Framing::Length(length),
        (None, None) => return Ok(End::WithConnection),
    };
    let max = u32::try_from(body_max).unwrap_or(u32::MAX);
    Body::new(framing, max).map(End::Framed).map_err(refused)
}

fn refused(status: Status) -> Error {
    if status == Status::ContentTooLarge { Error::Limit } else { invalid() }
}

fn invalid() -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step`, then the end of the connection.
    fn fetched(text: &str, step: usize) -> Result<(u16, String)> {
        let mut answer = Answer::new(100);
        let mut input = Evbuffer::new();
        let whole = text.as_bytes().chunks(step).find_map(|piece| {
            input.add_reference(piece.to_vec()).expect("memory");
            answer.advance(&mut input).transpose()
        });
        let mut fetched = whole.unwrap_or_else(|| answer.end())?;
        let len = fetched.body.len();
        let body = String::from_utf8(fetched.body.pullup(len)?.to_vec()).expect("UTF-8");
        Ok((fetched.status, body))
    }

    #[test]
    fn every_kind_of_body_however_it_is_cut() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, "hello")),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
                (200, "hello"),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nhello", (200, "hello")),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, "")),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, "")),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", (302, "")),
        ];
        for (text, (status, body)) in table {
            for step in 1..=text.len() {
                assert_eq!(fetched(text, step).expect(text), (status, body.to_owned()), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_no_answer() {
        let head = "HTTP/1.1 200 OK\r\n";
        let invalid = [
            "hello\r\n\r\n".to_owned(),
            format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
            format!("{head}Content-Length: +1\r\n\r\nx"),
            format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{head}Transfer-Encoding: gzip\r\n\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
        ];
        for text in invalid {
            let error = fetched(&text, text.len()).expect_err(&text);
            assert!(
                matches!(&error, Error::Io(e) if e.kind() == io::ErrorKind::InvalidData),
                "{text:?}: {error}"
            );
        }
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"] {
            let error = fetched(text, 100).expect_err(text);
            assert!(
                matches!(&error, Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof),
                "{text:?}: {error}"
            );
        }
        let long = [
            format!("{head}Content-Length: 101\r\n\r\n"),
            format!("{head}\r\n{}", "x".repeat(101)),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n65\r\n"),
            format!("{head}X: {}", "y".repeat(HEAD_MAX)),
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20),
        ];
        for text in long {
            assert!(matches!(fetched(&text, text.len()), Err(Error::Limit)), "{text:.60?}");
        }
    }
}
