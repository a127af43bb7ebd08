//! Telling the content of a body from its framing, and finding its end, up to a limit. It sees each piece as it
//! arrives and keeps none: who wants the content moves it elsewhere, and what nobody wants (a GET may carry a
//! body) is thrown away.

use super::Status;
use super::request::Framing;
use crate::{Evbuffer, Result};

/// The longest chunk-size line or trailer section that is put up with.
const LINES_MAX: u16 = 4096;

/// Pieces of content that are shorter are copied together: a node for each byte, which is what a client gets who sends
/// chunks of one, would take up forty times the memory.
const PIECE_MIN: usize = 256;

/// Moves `len` bytes of content from the front of `input` to the end of `content`.
pub(crate) fn move_content(input: &mut Evbuffer, content: &mut Evbuffer, len: usize) -> Result<()> {
    if len >= PIECE_MIN {
        return input.remove_buffer(content, len).map(drop);
    }
    content.add(input.pullup(len)?)?;
    input.drain(len)
}

/// Bytes at the front of what was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Framing(usize),
    Content(usize),
}

/// What is still to come of a request's body. Sixteen bytes, since every connection carries one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Body {
    state: State,
    /// What the chunks that are still to come may amount to.
    allowance: u32,
    /// What the size lines and the trailer may still amount to, until the next chunk.
    lines_left: u16,
}

const _: () = assert!(size_of::<Body>() <= 16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    /// Bytes of a body whose length was announced.
    Length(u32),
    /// At the first digit of a chunk-size line.
    SizeStart,
    /// Behind a digit; the digits so far make the number.
    Size(u32),
    /// Behind the number: an extension, which is skipped to the end of the line.
    Extension(u32),
    /// The line feed that must end a size line.
    SizeFeed(u32),
    /// Bytes of a chunk.
    Data(u32),
    /// The line break that must follow a chunk's data.
    DataReturn,
    DataFeed,
    /// At the start of a trailer line: an empty one is the end.
    Trailer,
    TrailerLine,
    TrailerFeed,
    /// The line feed of the empty line.
    LastFeed,
}

impl Body {
    /// No body, or one that has been skipped to its end.
    pub(crate) const DONE: Body = Body { state: State::Done, allowance: 0, lines_left: 0 };

    /// A body framed as `framing` says, of which at most `max` bytes will be skipped.
    pub(crate) fn new(framing: Framing, max: u32) -> Result<Body, Status> {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(at_most(length, max)?),
            Framing::Chunked => State::SizeStart,
        };
        Ok(Body { state, allowance: max, lines_left: LINES_MAX })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the body's share from the front of `bytes` and says how much that was: all of it, unless the
    /// body ends within.
    pub(crate) fn skip(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            at += match self.next(&bytes[at..])? {
                Piece::Framing(len) | Piece::Content(len) => len,
            };
        }
        Ok(at)
    }

    /// The next piece of the body at the front of `bytes`, all of it that is of one kind; an empty one when there
    /// are no bytes or the body is done.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Status> {
        match self.state {
            State::Length(left) => {
                Ok(Piece::Content(self.take_run(left, bytes.len(), State::Length, State::Done)))
            }
            State::Data(left) => {
                Ok(Piece::Content(self.take_run(left, bytes.len(), State::Data, State::DataReturn)))
            }
            _ => self.framing(bytes).map(Piece::Framing),
        }
    }

    fn framing(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        let mut at = 0;
        while at < bytes.len() && !matches!(self.state, State::Data(_) | State::Done) {
            self.line_byte(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn take_run(&mut self, left: u32, available: usize, more: fn(u32) -> State, end: State) -> usize {
        let taken = available.min(left as usize);
        self.state = if taken == left as usize { end } else { more(left - taken as u32) };
        taken
    }

    /// One byte of the framing of a chunked body. Strict on purpose: only CR LF ends a line, and nothing may
    /// stand between a chunk's size and its extension but blanks and a semicolon.
    fn line_byte(&mut self, byte: u8) -> Result<(), Status> {
        self.lines_left = self.lines_left.checked_sub(1).ok_or(Status::ContentTooLarge)?;
        self.state = match (self.state, byte) {
            (State::SizeStart, digit) if digit.is_ascii_hexdigit() => State::Size(longer(0, digit)?),
            (State::Size(size), digit) if digit.is_ascii_hexdigit() => State::Size(longer(size, digit)?),
            (State::Size(size) | State::Extension(size), b'\r') => State::SizeFeed(size),
            (State::Size(size), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Extension(size), byte) if byte != b'\n' => State::Extension(size),
            (State::SizeFeed(0), b'\n') => State::Trailer,
            (State::SizeFeed(size), b'\n') => self.chunk(size)?,
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::SizeStart,
            (State::Trailer, b'\r') => State::LastFeed,
            (State::Trailer, byte) if byte != b'\n' => State::TrailerLine,
            (State::TrailerLine, b'\r') => State::TrailerFeed,
            (State::TrailerLine, byte) if byte != b'\n' => State::TrailerLine,
            (State::TrailerFeed, b'\n') => State::Trailer,
            (State::LastFeed, b'\n') => State::Done,
            _ => return Err(Status::BadRequest),
        };
        Ok(())
    }

    fn chunk(&mut self, size: u32) -> Result<State, Status> {
        self.allowance = self.allowance.checked_sub(size).ok_or(Status::ContentTooLarge)?;
        self.lines_left = LINES_MAX;
        Ok(State::Data(size))
    }
}

fn at_most(length: u64, max: u32) -> Result<u32, Status> {
    match u32::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Status::ContentTooLarge),
    }
}

/// `size` with one more hexadecimal digit, unless that would wrap: a size that wraps is an attack.
fn longer(size: u32, digit: u8) -> Result<u32, Status> {
    let value = (digit as char).to_digit(16).unwrap_or(0);
    if size >> 28 != 0 { Err(Status::ContentTooLarge) } else { Ok(size << 4 | value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1000;

    /// Skips `bytes` in pieces of `step` and says how much of them belonged to the body, if it ended.
    fn skipped(framing: Framing, bytes: &[u8], step: usize) -> Result<Option<usize>, Status> {
        let mut body = Body::new(framing, MAX)?;
        let mut total = 0;
        for piece in bytes.chunks(step) {
            let taken = body.skip(piece)?;
            total += taken;
            if body.is_done() {
                return Ok(Some(total));
            }
            assert_eq!(taken, piece.len(), "an unfinished body takes everything");
        }
        Ok(body.is_done().then_some(total))
    }

    #[test]
    fn a_body_ends_where_it_should_however_it_is_cut() {
        let table: &[(Framing, &str, &str)] = &[
            (Framing::Length(5), "12345", "GET /"),
            (Framing::Chunked, "0\r\n\r\n", "GET /"),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n", "GET /"),
            (Framing::Chunked, "A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n", "x"),
            (Framing::Chunked, "3;a=b\r\nabc\r\n0 ; c\r\n\r\n", "x"),
            (Framing::Chunked, "1\r\n\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", "x"),
        ];
        for (framing, body, next) in table {
            let text = format!("{body}{next}");
            for step in 1..=text.len() {
                let end = skipped(*framing, text.as_bytes(), step);
                assert_eq!(end, Ok(Some(body.len())), "{text:?} by {step}");
            }
            let cut = &body.as_bytes()[..body.len() - 1];
            assert_eq!(skipped(*framing, cut, 1), Ok(None), "{body:?} without its end");
        }
    }

    #[test]
    fn content_is_told_from_framing_however_it_is_cut() {
        let text = b"3;x=y\r\nabc\r\n00B\r\nabcdefghijk\r\n0\r\nTrailer: x\r\n\r\n";
        for step in 1..=text.len() {
            let mut body = Body::new(Framing::Chunked, MAX).expect("a body");
            let mut content = Vec::new();
            for mut rest in text.chunks(step) {
                while !rest.is_empty() {
                    let len = match body.next(rest).expect("well-formed") {
                        Piece::Framing(len) => len,
                        Piece::Content(len) => {
                            content.extend_from_slice(&rest[..len]);
                            len
                        }
                    };
                    rest = &rest[len..];
                }
            }
            assert!(body.is_done() && content == b"abcabcdefghijk", "by {step}: {content:?}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused_however_they_are_cut() {
        let table = [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\nx\r\n",
            "0x1\r\nx\r\n",
            " 1\r\nx\r\n",
            "1\nx\r\n0\r\n\r\n",
            "1;a\nx\r\n0\r\n\r\n",
            "1\rx",
            "1\r\nxy\r\n0\r\n\r\n",
            "1\r\nx\n0\r\n\r\n",
            "1\r\nx0\r\n\r\n",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nTrailer: x\r\n\n",
            "0\r\nTrailer: x\n\r\n",
            "0\r\nTrailer: x\ry\r\n\r\n",
        ];
        for text in table {
            for step in 1..=text.len() {
                assert_eq!(
                    skipped(Framing::Chunked, text.as_bytes(), step),
                    Err(Status::BadRequest),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn too_much_is_refused() {
        let too_large = Err(Status::ContentTooLarge);
        assert_eq!(skipped(Framing::Length(u64::from(MAX) + 1), b"", 1), too_large);
        assert_eq!(skipped(Framing::Length(u64::MAX), b"", 1), too_large);
        for size in ["3e9", "ffffffff", "100000000", "10000000000000000", "ffffffffffffffffff"] {
            assert_eq!(skipped(Framing::Chunked, format!("{size}\r\n").as_bytes(), 1), too_large, "{size}");
        }
        let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
        assert_eq!(skipped(Framing::Chunked, chunk.repeat(2).as_bytes(), 7), too_large);
        let extension = format!("1;{}", "x".repeat(5000));
        assert_eq!(skipped(Framing::Chunked, extension.as_bytes(), 100), too_large);
        let trailer = format!("0\r\n{}", "X: y\r\n".repeat(1000));
        assert_eq!(skipped(Framing::Chunked, trailer.as_bytes(), 100), too_large);
    }
}
