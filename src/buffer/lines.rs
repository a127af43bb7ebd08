//! `Lines`: all complete lines of a buffer, looked at where they lie.

use std::borrow::Cow;
use std::fmt;
use std::iter;

use memchr::{memchr, memchr_iter, memchr2};

use super::{Eol, Evbuffer, Runs, stats};
use crate::Result;

impl Evbuffer {
    /// The complete lines, without their ends, one after the other. Nothing is removed; [`Lines::consumed`] says what to drain.
    ///
    /// A line that lies in one piece is borrowed, one that does not is copied together. (It is not called `lines`, because `BufRead::lines`
    /// would be taken for it.)
    ///
    /// # Errors
    /// As [`peek`](Self::peek) when a file node has to be read.
    ///
    /// # Examples
    /// ```
    /// use zerovent::{Evbuffer, buffer::Eol};
    ///
    /// let mut buf = Evbuffer::new();
    /// buf.add(b"one\r\ntwo\nthr")?;
    /// let mut lines = buf.peek_lines(Eol::Crlf)?;
    /// assert_eq!(lines.next().as_deref(), Some(&b"one"[..]));
    /// assert_eq!(lines.next().as_deref(), Some(&b"two"[..]));
    /// assert_eq!(lines.next(), None);
    /// let consumed = lines.consumed();
    /// buf.drain(consumed)?;
    /// assert_eq!(buf.len(), 3);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn peek_lines(&mut self, eol: Eol) -> Result<Lines<'_>> {
        let runs = self.peek(usize::MAX)?;
        Ok(Lines { head: &[], behind: runs, eol, consumed: 0 })
    }
}

/// The complete lines of a buffer: what [`Evbuffer::peek_lines`] returns.
#[derive(Clone)]
pub struct Lines<'a> {
    /// What is left of the run in which the next line begins.
    head: &'a [u8],
    behind: Runs<'a>,
    eol: Eol,
    consumed: usize,
}

impl<'a> Lines<'a> {
    /// Bytes that the lines so far take up, their ends included.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Goes on to the next run when this one is used up.
    fn refill(&mut self) {
        if self.head.is_empty() {
            self.head = self.behind.next().unwrap_or_default();
        }
    }

    /// Takes the next piece of what lies in front, at most `count` bytes.
    fn take_piece(&mut self, count: usize) -> &'a [u8] {
        self.refill();
        let (piece, rest) = self.head.split_at(count.min(self.head.len()));
        self.head = rest;
        self.consumed += piece.len();
        piece
    }

    /// Takes `count` bytes, which are there.
    fn take(&mut self, count: usize) -> Cow<'a, [u8]> {
        let first = self.take_piece(count);
        if first.len() == count {
            return Cow::Borrowed(first);
        }
        let mut line = Vec::with_capacity(count);
        line.extend_from_slice(first);
        while line.len() < count {
            line.extend_from_slice(self.take_piece(count - line.len()));
        }
        stats::copied(count);
        Cow::Owned(line)
    }

    fn skip(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            left -= self.take_piece(left).len();
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        self.refill();
        let (len, eol_len) = find_eol(self.head, &self.behind, self.eol)?;
        let line = self.take(len);
        self.skip(eol_len);
        Some(line)
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({:?}, {} bytes consumed)", self.eol, self.consumed)
    }
}

/// The first line end in `head` and the runs behind it: its offset and its length.
fn find_eol(head: &[u8], behind: &Runs<'_>, eol: Eol) -> Option<(usize, usize)> {
    let (mut offset, mut last) = (0, None);
    let mut runs = iter::once(head).chain(behind.clone());
    while let Some(run) = runs.next() {
        let found = match eol {
            Eol::Lf => memchr(b'\n', run).map(|at| (offset + at, 1)),
            Eol::Nul => memchr(0, run).map(|at| (offset + at, 1)),
            Eol::Crlf | Eol::CrlfStrict => {
                find_crlf(run, last, eol == Eol::CrlfStrict).map(|(lf, len)| (offset + lf + 1 - len, len))
            }
            Eol::Any => memchr2(b'\r', b'\n', run).map(|at| {
                let rest = iter::once(&run[at..]).chain(runs.clone()).flatten();
                (offset + at, rest.take_while(|byte| matches!(byte, b'\r' | b'\n')).count())
            }),
        };
        if found.is_some() {
            return found;
        }
        offset += run.len();
        last = run.last().copied().or(last);
    }
    None
}

/// The first LF in `run` that ends a line, and how long that line end is; `last` is the byte in front of the run.
fn find_crlf(run: &[u8], last: Option<u8>, strict: bool) -> Option<(usize, usize)> {
    memchr_iter(b'\n', run).find_map(|lf| {
        let before = if lf > 0 { Some(run[lf - 1]) } else { last };
        match before {
            Some(b'\r') => Some((lf, 2)),
            _ if strict => None,
            _ => Some((lf, 1)),
        }
    })
}
