//! Reserving space in several pieces, so that what is free at the end of the last chunk is not lost to a large reservation.

use std::fmt;

use smallvec::SmallVec;

use super::Evbuffer;
use super::chain::Chain;
use super::chunk::{CHUNK_MAX, Run};
use super::node::Node;
use crate::sys::io::IOV_MAX;
use crate::{Error, Result};

impl Evbuffer {
    /// Gives at least `count` writable bytes at the end in at most `max_extents` pieces: what is free in the last chunk first, then
    /// new chunks of up to 64 KiB, of which the last is as large as it has to be. With one extent the bytes are contiguous. There
    /// are never more than 1024: one call reads into no more.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no extent is allowed, [`Error::Frozen`], [`Error::Overflow`], [`Error::Limit`] or [`Error::OutOfMemory`]; the
    /// buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// use std::io::{IoSliceMut, Read, Write};
    ///
    /// let (mut reader, mut writer) = std::io::pipe()?;
    /// writer.write_all(&[7; 300])?;
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"something in front")?;
    ///
    /// let mut space = buf.reserve_vectored(300, 2)?;
    /// let mut slices: Vec<IoSliceMut> = space.iter_mut().map(IoSliceMut::new).collect();
    /// let count = reader.read_vectored(&mut slices)?;
    /// space.commit_first(count)?;
    /// assert_eq!(buf.len(), 318);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from libevent
    /// The extents borrow the buffer, so they cannot be used after it has changed, and lengths alone say what is committed.
    #[doc(alias = "evbuffer_reserve_space")]
    pub fn reserve_vectored(&mut self, count: usize, max_extents: usize) -> Result<Extents<'_>> {
        if max_extents == 0 {
            return Err(Error::Invalid("a reservation has at least one extent"));
        }
        self.admit(self.frozen_back, count)?;
        let tailroom = self.tailroom();
        let uses_tail = tailroom > 0 && (max_extents > 1 || count <= tailroom);
        let rest = if uses_tail { count.saturating_sub(tailroom) } else { count };
        let fresh =
            fresh_extents(rest, max_extents.min(IOV_MAX) - usize::from(uses_tail), self.next_chunk(0))?;
        // What cannot fail later is done before anything is shown.
        let mut places = Chain::new();
        let chain = if self.chain.is_empty() { &mut places } else { &mut self.chain };
        chain.reserve(fresh.len())?;
        if uses_tail {
            self.tail_mut(count.min(tailroom));
        }
        let most = self.room();
        Ok(Extents { buffer: self, uses_tail, fresh, places, most })
    }
}

/// New runs with room for `count` bytes, the first in a chunk of at least `first_chunk`; `max` is 0 only when nothing is asked for.
fn fresh_extents(count: usize, max: usize, first_chunk: usize) -> Result<SmallVec<[Run; 2]>> {
    let mut fresh = SmallVec::new();
    let extents = count.div_ceil(CHUNK_MAX).min(max);
    fresh.try_reserve(extents).map_err(|_| Error::OutOfMemory)?;
    // The last one first: it may be too large to be had, and nothing should be cleared in vain.
    for index in (0..extents).rev() {
        let wanted = if index + 1 < extents { CHUNK_MAX } else { count - index * CHUNK_MAX };
        let capacity = if index == 0 { wanted.max(first_chunk) } else { wanted };
        let mut run = Run::with_capacity(capacity)?;
        run.spare(wanted);
        fresh.push(run);
    }
    fresh.reverse();
    Ok(fresh)
}

/// Writable space at the end of a buffer in several pieces, which become content when they are committed.
///
/// What the space holds before it is written is unspecified. Dropping the extents adds nothing.
pub struct Extents<'a> {
    buffer: &'a mut Evbuffer,
    /// The first extent is the tailroom of the last chunk.
    uses_tail: bool,
    fresh: SmallVec<[Run; 2]>,
    /// The chain that an empty buffer gets, with places for all of `fresh`: an empty one of its own holds no heap block.
    places: Chain,
    /// As much as the buffer's limit still allows.
    most: usize,
}

impl Extents<'_> {
    /// How long each extent is, in order.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let tail = self.uses_tail.then(|| match self.buffer.chain.back() {
            Some(Node::Chunk(run)) => run.spare_shown().len(),
            _ => 0,
        });
        let all = tail.into_iter().chain(self.fresh.iter().map(|run| run.spare_shown().len()));
        clip(all, self.most)
    }

    /// The extents, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let tail = self.uses_tail.then(|| self.buffer.tail_mut(0));
        let mut left = self.most;
        tail.into_iter().chain(self.fresh.iter_mut().map(|run| run.spare(0))).map(move |extent| {
            let len = extent.len().min(left);
            left -= len;
            &mut extent[..len]
        })
    }

    /// Adds the first `lengths[i]` bytes of extent `i` to the buffer and returns how many they are. Extents may be left out at the
    /// end, and be empty in between.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer or shorter extents; nothing is added then.
    #[doc(alias = "evbuffer_commit_space")]
    pub fn commit(self, lengths: &[usize]) -> Result<usize> {
        let mut shown = self.lengths();
        if lengths.iter().any(|&len| shown.next().is_none_or(|room| len > room)) {
            return Err(Error::OutOfRange);
        }
        drop(shown);
        let mut lengths = lengths.iter().copied();
        self.commit_each(|_| lengths.next().unwrap_or_default())
    }

    /// Adds of each extent as many bytes as `len_of` says when it is told how long the extent is.
    fn commit_each(mut self, mut len_of: impl FnMut(usize) -> usize) -> Result<usize> {
        let mut total = 0;
        if self.uses_tail
            && let Some(Node::Chunk(run)) = self.buffer.chain.back_mut()
        {
            let len = len_of(run.spare_shown().len());
            run.commit(len);
            total += len;
        }
        for mut run in self.fresh {
            let len = len_of(run.spare_shown().len());
            if len > 0 {
                run.commit(len);
                if self.buffer.chain.is_empty() {
                    std::mem::swap(&mut self.buffer.chain, &mut self.places);
                }
                // There is a place for each.
                self.buffer.attach(Node::Chunk(run))?;
                total += len;
            }
        }
        self.buffer.note_added(total);
        Ok(total)
    }

    /// Adds the first `count` bytes of all extents together, as a vectored read fills them.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer; nothing is added then.
    pub fn commit_first(self, count: usize) -> Result<()> {
        if self.lengths().sum::<usize>() < count {
            return Err(Error::OutOfRange);
        }
        let mut left = count;
        let fill = |room: usize| {
            let len = room.min(left);
            left -= len;
            len
        };
        self.commit_each(fill).map(drop)
    }
}

/// Extents without their buffer: what was reserved and is to be committed by a later call.
#[cfg(feature = "capi")]
pub(crate) struct Detached {
    uses_tail: bool,
    fresh: SmallVec<[Run; 2]>,
    places: Chain,
    most: usize,
}

#[cfg(feature = "capi")]
impl<'a> Extents<'a> {
    pub(super) fn detach(self) -> Detached {
        Detached { uses_tail: self.uses_tail, fresh: self.fresh, places: self.places, most: self.most }
    }
}

#[cfg(feature = "capi")]
impl Detached {
    /// The extents of `buffer` again. If the buffer has changed meanwhile, so may have the first of them.
    pub(crate) fn attach(self, buffer: &mut Evbuffer) -> Extents<'_> {
        let most = self.most.min(buffer.room());
        Extents { buffer, uses_tail: self.uses_tail, fresh: self.fresh, places: self.places, most }
    }

    /// Where the extents of `buffer` are, in order, and how long.
    pub(crate) fn places(&mut self, buffer: &mut Evbuffer) -> SmallVec<[(*mut u8, usize); 4]> {
        let tail = self.uses_tail.then(|| buffer.tail_mut(0));
        let mut left = self.most;
        let extents = tail.into_iter().chain(self.fresh.iter_mut().map(|run| run.spare(0)));
        let place = |extent: &mut [u8]| {
            let len = extent.len().min(left);
            left -= len;
            (extent.as_mut_ptr(), len)
        };
        extents.map(place).collect()
    }
}

impl fmt::Debug for Extents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extents")?;
        f.debug_list().entries(self.lengths()).finish()
    }
}

/// The lengths, as far as they fit into `most` together.
fn clip(lengths: impl Iterator<Item = usize>, most: usize) -> impl Iterator<Item = usize> {
    lengths.scan(most, |left, len| {
        let len = len.min(*left);
        *left -= len;
        Some(len)
    })
}
