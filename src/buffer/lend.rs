//! Addresses that outlive a borrow, for the C ABI: whoever takes one promises not to use it once the buffer has changed, which
//! is what C's callers promise instead of a lifetime. Space that was reserved stays reserved between two calls.

use std::ptr;

use super::chunk::CHUNK_MAX;
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
    #[inline]
    pub(crate) fn lend_space(&mut self, count: usize) -> Result<(*mut u8, usize)> {
        let mut space = self.reserve(count)?;
        let place = (space.as_mut_ptr(), space.len());
        // Dropping it would give the space up.
        std::mem::forget(space);
        Ok(place)
    }

    /// [`lend_space`](Self::lend_space) where several pieces would hold no more: there is as much already, or nothing that would be lost.
    pub(crate) fn lend_only_space(&mut self, count: usize) -> Option<(*mut u8, usize)> {
        let is_only = match self.chain.back() {
            Some(Node::Chunk(run)) => run.tailroom() == 0 || run.len() == 0 || run.tailroom() >= count,
            _ => true,
        };
        if is_only && (1..=CHUNK_MAX).contains(&count) { self.lend_space(count).ok() } else { None }
    }

    /// Adds the first `count` bytes of the space that was lent at `place` to the content. False when there is no such space, or the end is
    /// frozen; nothing has changed then.
    #[inline]
    pub(crate) fn commit_lent(&mut self, place: *mut u8, count: usize) -> bool {
        let room = self.room();
        let Some(run) = self.chain.back_run() else { return false };
        let space = run.shown_mut();
        if self.frozen_back || space.as_mut_ptr() != place || count > space.len().min(room) {
            return false;
        }
        if count > 0 {
            run.commit(count);
            self.note_added(count);
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::End;

    /// Where the byte at `offset` is.
    fn place_of(buf: &mut Evbuffer, offset: usize) -> *mut u8 {
        let position = buf.position(offset).expect("there");
        buf.peek_from(position, 1).expect("there").next().expect("a byte").as_ptr().cast_mut()
    }

    #[test]
    fn a_lent_front_is_where_the_content_is() {
        let mut buf = Evbuffer::new();
        buf.add(b"front").expect("added");
        assert!(buf.lend_front(0).expect("nothing").is_null());
        assert!(buf.lend_front(6).is_err());
        let front = buf.lend_front(5).expect("there");
        assert_eq!(front, place_of(&mut buf, 0));
        buf.add_reference(&b"behind"[..]).expect("added");
        assert_eq!(buf.lend_front(5).expect("there"), front, "what is contiguous stays where it is");
        buf.drain(5).expect("not frozen");
        assert_eq!(buf.lend_front(6).expect("there"), place_of(&mut buf, 0));
    }

    #[test]
    fn lent_space_is_kept_until_it_is_committed() {
        let mut buf = Evbuffer::new();
        buf.add(b"text").expect("added");
        let (place, len) = buf.lend_space(1000).expect("space");
        assert!(len >= 1000);
        assert_eq!(buf.lend_space(1000).expect("space"), (place, len), "it is still there");
        assert!(!buf.commit_lent(place.wrapping_add(1), 9), "nothing was lent there");
        assert!(buf.commit_lent(place, 9));
        assert_eq!((buf.len(), place_of(&mut buf, 4)), (13, place));
        let (place, left) = buf.lend_space(1).expect("space");
        assert!(!buf.commit_lent(place, left + 1), "less was lent");
        buf.freeze(End::Back);
        assert!(!buf.commit_lent(place, 1) && buf.is_back_frozen() && !buf.is_front_frozen());
        assert_eq!(buf.len(), 13);
    }

    #[test]
    fn space_is_lent_in_one_piece_where_several_would_hold_no_more() {
        let mut buf = Evbuffer::new();
        assert!(buf.lend_only_space(0).is_none() && buf.lend_only_space(CHUNK_MAX + 1).is_none());
        assert!(buf.lend_only_space(CHUNK_MAX).is_some_and(|place| place.1 >= CHUNK_MAX));
        buf.add(b"text").expect("added");
        let (place, len) = buf.lend_only_space(1).expect("there is room behind the text");
        assert!(buf.lend_only_space(len + CHUNK_MAX / 2).is_none(), "what is free would be lost");
        assert!(buf.commit_lent(place, len));
        buf.add_reference(&b"behind"[..]).expect("added");
        assert!(
            buf.lend_only_space(1000).is_some_and(|place| place.1 >= 1000),
            "nothing is free behind a reference"
        );
    }

    #[test]
    fn detached_extents_find_their_buffer_again() {
        let mut buf = Evbuffer::new();
        buf.add(b"x").expect("added");
        let mut extents = buf.lend_extents(100_000, 4).expect("space");
        let places = extents.places(&mut buf);
        assert!(places.len() > 1 && places.iter().map(|place| place.1).sum::<usize>() >= 100_000);
        assert_eq!(buf.len(), 1);
        let lengths = vec![2; places.len()];
        assert_eq!(extents.attach(&mut buf).commit(&lengths).expect("as much"), 2 * places.len());
        for (index, (place, _)) in places.into_iter().enumerate() {
            assert_eq!(place_of(&mut buf, 1 + 2 * index), place);
        }
    }

    #[test]
    fn the_last_run_is_not_cut_off() {
        let mut buf = Evbuffer::new();
        buf.add_reference(&b"head"[..]).expect("added");
        buf.add_reference(&b"tail"[..]).expect("added");
        assert_eq!(buf.lend_runs(1, 4).expect("there").collect::<Vec<_>>(), [&b"ead"[..], b"tail"]);
        assert!(buf.lend_runs(9, 1).is_err());
    }
}
