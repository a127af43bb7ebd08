//! Writing response heads: into one vector that is used again and again, so that an answer allocates nothing.
//!
//! A head is begun, given its fields and finished; the pages that explain an error are written here too,
//! since they are part of the same few bytes.

use std::io::Write;

use super::Status;
use super::date::DateText;

/// The head under construction. Writing to a vector cannot fail but for memory, which `Vec` reports by
/// aborting; the few hundred bytes it needs are allocated once.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
}

/// What the response says about the connection. HTTP/1.1 keeps it open unless told otherwise, HTTP/1.0 the
/// other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    KeepAliveExplicitly,
    Close,
}

impl Head {
    pub(crate) fn new() -> Head {
        Head { bytes: Vec::with_capacity(512) }
    }

    /// Forgets the last head and starts one with a status line and the date.
    pub(crate) fn begin(&mut self, status: Status, date: &DateText) {
        self.bytes.clear();
        self.text("HTTP/1.1 ");
        self.decimal(u64::from(status.code()));
        self.text(" ");
        self.text(status.reason());
        self.text("\r\nDate: ");
        self.raw(date);
        self.text("\r\n");
    }

    /// Adds lines that are ready: each ends in CR LF.
    pub(crate) fn raw(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    pub(crate) fn content_length(&mut self, length: u64) {
        self.text("Content-Length: ");
        self.decimal(length);
        self.text("\r\n");
    }

    /// The body comes in chunks.
    pub(crate) fn chunked(&mut self) {
        self.text("Transfer-Encoding: chunked\r\n");
    }

    /// `length` bytes from `first`, of `total`.
    pub(crate) fn content_range(&mut self, first: u64, length: u64, total: u64) {
        self.text("Content-Range: bytes ");
        self.decimal(first);
        self.text("-");
        self.decimal(first + length - 1);
        self.text("/");
        self.decimal(total);
        self.text("\r\n");
    }

    /// No part of the `total` bytes could be sent.
    pub(crate) fn unsatisfied_range(&mut self, total: u64) {
        self.text("Content-Range: bytes */");
        self.decimal(total);
        self.text("\r\n");
    }

    /// The empty line, and before it what becomes of the connection.
    pub(crate) fn finish(&mut self, persistence: Persistence) -> &[u8] {
        self.end_fields(persistence);
        &self.bytes
    }

    /// Finishes with a small page that says what is wrong, or with its length alone when the method is HEAD.
    /// Gives the bytes to send, and how many of them are the page.
    pub(crate) fn finish_with_page(
        &mut self,
        status: Status,
        persistence: Persistence,
        with_body: bool,
    ) -> (&[u8], u64) {
        const BEFORE: &str = "<!doctype html><meta charset=utf-8><title>";
        const BETWEEN: &str = "</title><h1>";
        const AFTER: &str = "</h1>\n";
        let phrase_len = "000 ".len() + status.reason().len();
        let length = BEFORE.len() + BETWEEN.len() + AFTER.len() + 2 * phrase_len;
        self.text("Content-Type: text/html; charset=utf-8\r\n");
        self.content_length(length as u64);
        self.end_fields(persistence);
        if !with_body {
            return (&self.bytes, 0);
        }
        for part in [BEFORE, BETWEEN] {
            self.text(part);
            self.decimal(u64::from(status.code()));
            self.text(" ");
            self.text(status.reason());
        }
        self.text(AFTER);
        (&self.bytes, length as u64)
    }

    fn end_fields(&mut self, persistence: Persistence) {
        self.text(match persistence {
            Persistence::KeepAlive => "\r\n",
            Persistence::KeepAliveExplicitly => "Connection: keep-alive\r\n\r\n",
            Persistence::Close => "Connection: close\r\n\r\n",
        });
    }

    fn text(&mut self, text: &str) {
        self.raw(text.as_bytes());
    }

    fn decimal(&mut self, value: u64) {
        let written = write!(self.bytes, "{value}");
        debug_assert!(written.is_ok(), "a vector takes any write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::date;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("heads are ASCII")
    }

    #[test]
    fn a_head_reads_as_it_should() {
        let mut head = Head::new();
        head.begin(Status::PartialContent, &date::format(784_111_777));
        head.raw(b"Content-Type: text/plain\r\n");
        head.content_length(4);
        head.content_range(2, 4, 10);
        let expected = "HTTP/1.1 206 Partial Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Type: text/plain\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\n\r\n";
        assert_eq!(text(head.finish(Persistence::KeepAlive)), expected);
    }

    #[test]
    fn a_head_is_begun_afresh() {
        let mut head = Head::new();
        head.begin(Status::Ok, &date::format(0));
        head.raw(b"Left-Over: 1\r\n");
        head.begin(Status::RangeNotSatisfiable, &date::format(0));
        head.unsatisfied_range(7);
        let (bytes, page_len) = head.finish_with_page(Status::RangeNotSatisfiable, Persistence::Close, true);
        let whole = text(bytes);
        let (fields, page) = whole.split_once("\r\n\r\n").expect("an empty line");
        assert!(!whole.contains("Left-Over") && fields.contains("\r\nContent-Range: bytes */7\r\n"));
        assert!(fields.ends_with("\r\nConnection: close"));
        assert_eq!(page.len() as u64, page_len);
        assert!(fields.contains(&format!("\r\nContent-Length: {page_len}\r\n")));
        assert!(page.contains("416 Range Not Satisfiable"));
    }

    #[test]
    fn a_page_for_head_is_only_announced() {
        let mut head = Head::new();
        head.begin(Status::NotFound, &date::format(0));
        let (bytes, page_len) =
            head.finish_with_page(Status::NotFound, Persistence::KeepAliveExplicitly, false);
        assert_eq!(page_len, 0);
        assert!(text(bytes).ends_with("\r\nConnection: keep-alive\r\n\r\n"));
    }
}
