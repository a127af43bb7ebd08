//! Finding bytes, finding line ends, and taking lines.
//!
//! Every search walks the memory runs once. Inside a run it is `memchr`'s vectorised search, guarded by a search for the needle's first byte:
//! a run without it is skipped at memory speed. A match can also begin in one run and end in a later one; only the last
//! `needle - 1` bytes of a run can begin such a match, and only those are compared across the border.

use std::fmt;
use std::ops::Deref;

use memchr::{memchr, memchr2, memmem};

use super::{Evbuffer, Position};
use crate::{Error, Result};

/// What ends a line.
#[doc(alias = "evbuffer_eol_style")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eol {
    /// Any run of CR and LF bytes. A run that continues in bytes still to come ends another, empty line then.
    #[doc(alias = "EVBUFFER_EOL_ANY")]
    Any,
    /// LF, with or without a CR in front.
    #[doc(alias = "EVBUFFER_EOL_CRLF")]
    Crlf,
    /// Exactly CR LF.
    #[doc(alias = "EVBUFFER_EOL_CRLF_STRICT")]
    CrlfStrict,
    /// LF.
    #[doc(alias = "EVBUFFER_EOL_LF")]
    Lf,
    /// A zero byte.
    #[doc(alias = "EVBUFFER_EOL_NUL")]
    Nul,
}

/// Searching.
impl Evbuffer {
    /// The first place at or behind `start` (the front, if `None`) where `needle` stands. An empty needle stands everywhere.
    ///
    /// # Errors
    /// [`Error::Stale`] when `start` is outdated, and as [`peek`](Self::peek) when a file node has to be read.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"head\r\n\r")?;
    /// buf.add_reference(&b"\nbody"[..])?;
    /// let end = buf.search(b"\r\n\r\n", None)?.expect("the head is complete");
    /// assert_eq!(end.offset(), 4);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_search")]
    pub fn search(&mut self, needle: &[u8], start: Option<Position>) -> Result<Option<Position>> {
        self.search_range(needle, start, None)
    }

    /// [`search`](Self::search) for a match that ends at or before `end`.
    ///
    /// # Errors
    /// As `search`, for either position.
    #[doc(alias = "evbuffer_search_range")]
    pub fn search_range(
        &mut self,
        needle: &[u8],
        start: Option<Position>,
        end: Option<Position>,
    ) -> Result<Option<Position>> {
        let start = start.map_or(Ok(0), |position| self.offset_of(position))?;
        let end = end.map_or(Ok(self.len), |position| self.offset_of(position))?;
        let found = self.find(needle, start, end)?;
        Ok(found.map(|offset| self.position_at(offset)))
    }

    /// The first line end at or behind `start` (the front, if `None`), and how many bytes it is long.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    ///
    /// # Examples
    /// ```
    /// use zerovent::buffer::Eol;
    ///
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"line\r\nrest")?;
    /// let (place, len) = buf.search_eol(None, Eol::Crlf)?.expect("there is a line");
    /// assert_eq!((place.offset(), len), (4, 2));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_search_eol")]
    pub fn search_eol(&mut self, start: Option<Position>, eol: Eol) -> Result<Option<(Position, usize)>> {
        let start = start.map_or(Ok(0), |position| self.offset_of(position))?;
        let found = self.find_eol(start, eol)?;
        Ok(found.map(|(offset, len)| (self.position_at(offset), len)))
    }

    /// The offset of the first match inside `start..end`.
    fn find(&mut self, needle: &[u8], start: usize, end: usize) -> Result<Option<usize>> {
        if start > end || needle.len() > end - start {
            return Ok(None);
        }
        let Some((&first, rest)) = needle.split_first() else { return Ok(Some(start)) };
        if rest.is_empty() {
            return self.find_with(start, end, |run| memchr(first, run));
        }
        if !self.has_unread {
            return Ok(self.find_in_memory(needle, start, end));
        }
        self.find_among_files(needle, start, end)
    }

    /// [`find`](Self::find) that reads files only as far as it has to: a chunk's worth at a time, until the match is there.
    fn find_among_files(&mut self, needle: &[u8], start: usize, end: usize) -> Result<Option<usize>> {
        let mut from = start;
        loop {
            let until = self.memory_until(from).min(end);
            if let Some(found) = self.find_in_memory(needle, from, until) {
                return Ok(Some(found));
            }
            if until == end {
                return Ok(None);
            }
            self.materialise(until, 1)?;
            // A match may have begun in the last bytes of what was searched.
            from = from.max((until + 1).saturating_sub(needle.len()));
        }
    }

    /// Where the first file node at or behind `from` starts, or the end of the buffer.
    fn memory_until(&self, from: usize) -> usize {
        let mut offset = 0;
        for node in self.chain.iter() {
            let end = offset + node.len();
            if node.is_unread() && end > from {
                return offset.max(from);
            }
            offset = end;
        }
        offset
    }

    fn find_in_memory(&self, needle: &[u8], start: usize, end: usize) -> Option<usize> {
        let finder = memmem::Finder::new(needle);
        let mut runs = self.runs(start, end.saturating_sub(start));
        let mut offset = start;
        while let Some(run) = runs.next() {
            if let Some(found) = find_in_run(&finder, needle, run) {
                return Some(offset + found);
            }
            if let Some(found) = find_across(needle, run, &runs) {
                return Some(offset + found);
            }
            offset += run.len();
        }
        None
    }

    /// The first offset in `start..end` that `find` reports in one of the runs; files are read as they are reached.
    #[inline]
    fn find_with(
        &mut self,
        start: usize,
        end: usize,
        find: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Option<usize>> {
        let mut offset = start;
        loop {
            let until = if self.has_unread { self.memory_until(offset).min(end) } else { end };
            for run in self.runs(offset, until.saturating_sub(offset)) {
                if let Some(found) = find(run) {
                    return Ok(Some(offset + found));
                }
                offset += run.len();
            }
            if offset >= end {
                return Ok(None);
            }
            self.materialise(offset, 1)?;
        }
    }

    /// The byte at `offset`, reading a file node for it if it must.
    fn byte_at(&mut self, offset: usize) -> Result<Option<u8>> {
        if offset >= self.len {
            return Ok(None);
        }
        self.materialise(offset, 1)?;
        Ok(self.runs(offset, 1).next().and_then(|run| run.first().copied()))
    }

    /// The first line end of a buffer: most lines end with an LF in the node they begin in.
    #[inline]
    fn first_eol(&mut self, eol: Eol) -> Result<Option<(usize, usize)>> {
        let first = self.chain.front_memory();
        if !matches!(eol, Eol::Crlf | Eol::Lf) {
            return self.find_eol(0, eol);
        }
        let Some(lf) = memchr(b'\n', first) else {
            // The last byte there may be the CR of an LF behind it.
            let searched = first.len().saturating_sub(1);
            return self.find_eol(searched, eol);
        };
        let cr = eol == Eol::Crlf && lf > 0 && first[lf - 1] == b'\r';
        Ok(Some(if cr { (lf - 1, 2) } else { (lf, 1) }))
    }

    fn find_eol(&mut self, start: usize, eol: Eol) -> Result<Option<(usize, usize)>> {
        let end = self.len;
        match eol {
            Eol::Lf => Ok(self.find_with(start, end, |run| memchr(b'\n', run))?.map(|at| (at, 1))),
            Eol::Nul => Ok(self.find_with(start, end, |run| memchr(0, run))?.map(|at| (at, 1))),
            Eol::CrlfStrict => Ok(self.find(b"\r\n", start, end)?.map(|at| (at, 2))),
            Eol::Crlf => self.find_crlf(start),
            Eol::Any => self.find_any_eol(start),
        }
    }

    fn find_crlf(&mut self, start: usize) -> Result<Option<(usize, usize)>> {
        let Some(lf) = self.find_with(start, self.len, |run| memchr(b'\n', run))? else { return Ok(None) };
        if lf > start && self.byte_at(lf - 1)? == Some(b'\r') {
            return Ok(Some((lf - 1, 2)));
        }
        Ok(Some((lf, 1)))
    }

    fn find_any_eol(&mut self, start: usize) -> Result<Option<(usize, usize)>> {
        let Some(first) = self.find_with(start, self.len, |run| memchr2(b'\r', b'\n', run))? else {
            return Ok(None);
        };
        let ordinary = |run: &[u8]| run.iter().position(|&byte| byte != b'\r' && byte != b'\n');
        let end = self.find_with(first, self.len, ordinary)?.unwrap_or(self.len);
        Ok(Some((first, end - first)))
    }
}

/// The first match that lies inside `run`.
#[inline]
fn find_in_run(finder: &memmem::Finder<'_>, needle: &[u8], run: &[u8]) -> Option<usize> {
    let first = memchr(needle[0], run)?;
    finder.find(&run[first..]).map(|found| first + found)
}

/// The first match that begins in the last bytes of `run` and ends in the runs behind it.
#[inline]
fn find_across(needle: &[u8], run: &[u8], behind: &super::Runs<'_>) -> Option<usize> {
    let mut at = run.len().saturating_sub(needle.len() - 1);
    while let Some(found) = memchr(needle[0], &run[at..]) {
        at += found;
        if continues(needle, &run[at..], behind) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether `head`, which is shorter than `needle`, and the runs behind it start with `needle`.
fn continues(needle: &[u8], head: &[u8], behind: &super::Runs<'_>) -> bool {
    let Some(mut rest) = needle.strip_prefix(head) else { return false };
    for run in behind.clone() {
        let part = rest.len().min(run.len());
        if rest[..part] != run[..part] {
            return false;
        }
        rest = &rest[part..];
        if rest.is_empty() {
            return true;
        }
    }
    false
}

/// Lines.
impl Evbuffer {
    /// Removes the first line and returns it without its end; `None` when there is no complete line yet.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front is frozen and there is a line, [`Error::OutOfMemory`], and as
    /// [`peek`](Self::peek) when a file node has to be read. Nothing is removed then.
    ///
    /// # Examples
    /// ```
    /// use zerovent::{Evbuffer, buffer::Eol};
    ///
    /// let mut buf = Evbuffer::new();
    /// buf.add(b"one\r\ntwo")?;
    /// assert_eq!(buf.read_line(Eol::Crlf)?, Some(b"one".to_vec()));
    /// assert_eq!(buf.read_line(Eol::Crlf)?, None);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// No NUL is put behind the line. [`line`](Self::line) lends the line instead of copying it.
    #[doc(alias = "evbuffer_readln")]
    #[inline]
    pub fn read_line(&mut self, eol: Eol) -> Result<Option<Vec<u8>>> {
        let Some((len, eol_len)) = self.first_eol(eol)? else { return Ok(None) };
        self.admit_removal()?;
        let mut line = Vec::new();
        line.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
        self.copy_to_vec(0, len, &mut line)?;
        self.discard(len + eol_len);
        Ok(Some(line))
    }

    /// Appends the first line to `target` and removes it with its end; returns its length, or `None` when there is no complete line yet.
    ///
    /// # Errors
    /// As [`read_line`](Self::read_line); `target` is then as it was.
    pub fn read_line_into(&mut self, eol: Eol, target: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some((len, eol_len)) = self.first_eol(eol)? else { return Ok(None) };
        self.admit_removal()?;
        target.try_reserve(len).map_err(|_| Error::OutOfMemory)?;
        let before = target.len();
        self.copy_to_vec(0, len, target).inspect_err(|_| target.truncate(before))?;
        self.discard(len + eol_len);
        Ok(Some(len))
    }

    /// Lends the first line without copying it, if it lies in one piece; it and its end are removed when the loan ends.
    ///
    /// # Errors
    /// As [`read_line`](Self::read_line).
    ///
    /// # Examples
    /// ```
    /// use zerovent::{Evbuffer, buffer::Eol};
    ///
    /// let mut buf = Evbuffer::new();
    /// buf.add(b"one\ntwo\nthr")?;
    /// let mut lengths = Vec::new();
    /// while let Some(line) = buf.line(Eol::Lf)? {
    ///     lengths.push(line.len());
    /// }
    /// assert_eq!((lengths, buf.len()), (vec![3, 3], 3));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[inline]
    pub fn line(&mut self, eol: Eol) -> Result<Option<Line<'_>>> {
        let Some((len, eol_len)) = self.first_eol(eol)? else { return Ok(None) };
        self.admit_removal()?;
        self.make_contiguous(len)?;
        Ok(Some(Line { buffer: self, len, eol_len }))
    }
}

/// A line that is still in its buffer: what [`Evbuffer::line`] lends. Dropping it removes the line and its end.
pub struct Line<'a> {
    buffer: &'a mut Evbuffer,
    len: usize,
    eol_len: usize,
}

impl Line<'_> {
    /// Ends the loan and leaves the line in the buffer.
    pub fn keep(mut self) {
        (self.len, self.eol_len) = (0, 0);
    }
}

impl Deref for Line<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buffer.chain.front_memory()[..self.len]
    }
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} bytes)", self.len)
    }
}

impl Drop for Line<'_> {
    #[inline]
    fn drop(&mut self) {
        let count = self.len + self.eol_len;
        if count > 0 {
            self.buffer.discard(count);
        }
    }
}
