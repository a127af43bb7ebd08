//! Addresses that outlive a borrow, for the C ABI: whoever takes one promises not to use it once the buffer has changed, which
//! is what C's callers promise instead of a lifetime. Space that was reserved stays reserved between two calls.

use std::ptr;

use super::extents::Detached;
use super::node::Node;
use super::{Evbuffer, Extents, Runs};
use crate::{Error, Result};

impl Evbuffer {
    /// [`pullup`](Self::pullup) for the address of the first byte; null when `count` is 0.
    pub(crate) fn lend_front(&mut self, count: usize) -> Result<*mut u8> {
        self.make_contiguous(count)?;
        Ok(match self.chain.front_mut() {
            Some(_) if count == 0 => ptr::null_mut(),
            Some(Node::Chunk(run)) => run.first_byte(),
            Some(node) => node.memory().unwrap_or_default().as_ptr().cast_mut(),
            None => ptr::null_mut(),
        })
    }

    /// Like [`peek_from`](Self::peek_from) an offset, but the last run reaches as far as its memory does, and others may follow: the
    /// caller stops when it has `len` bytes.
    pub(crate) fn lend_runs(&mut self, from: usize, len: usize) -> Result<Runs<'_>> {
        if from > self.len {
            return Err(Error::OutOfRange);
        }
        self.materialise(from, len)?;
        Ok(self.runs(from, self.len - from))
    }

    /// Makes space for `count` bytes in one piece and says where it is, and how long.
    pub(crate) fn lend_space(&mut self, count: usize) -> Result<(*mut u8, usize)> {
        let mut space = self.reserve(count)?;
        let place = (space.as_mut_ptr(), space.len());
        // Dropping it would give the space up.
        std::mem::forget(space);
        Ok(place)
    }

    /// Where the space is that can be [committed](Self::commit_lent), and how long.
    pub(crate) fn lent_space(&mut self) -> (*mut u8, usize) {
        let room = self.room();
        let space = self.tail_mut(0);
        (space.as_mut_ptr(), space.len().min(room))
    }

    /// Adds the first `count` bytes of what [`lent_space`](Self::lent_space) describes to the content.
    pub(crate) fn commit_lent(&mut self, count: usize) -> Result<()> {
        if count > self.lent_space().1 {
            return Err(Error::OutOfRange);
        }
        self.admit(self.frozen_back, count)?;
        if count > 0 {
            self.reserve(count)?.commit(count)?;
        }
        Ok(())
    }

    /// Whether nothing may be taken from the front.
    pub(crate) fn is_front_frozen(&self) -> bool {
        self.frozen_front
    }

    /// Whether nothing may be added at the end.
    pub(crate) fn is_back_frozen(&self) -> bool {
        self.frozen_back
    }

    /// [`reserve_vectored`](Self::reserve_vectored) for extents that are kept while the buffer is not borrowed.
    pub(crate) fn lend_extents(&mut self, count: usize, max: usize) -> Result<Detached> {
        self.reserve_vectored(count, max).map(Extents::detach)
    }
}
