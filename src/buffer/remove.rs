//! Taking bytes out: drain, remove, remove_bytes, remove_buffer; copying them out; and pullup, which makes them contiguous.

use bytes::Bytes;

use super::chunk::Run;
use super::node::Node;
use super::{Evbuffer, Position, stats};
use crate::{Error, Result};

/// Up to this many bytes are copied into a `Bytes` of their own: that costs no more than counting a reference
/// to the chunk would, and does not keep a whole chunk alive for a few bytes.
pub(super) const BYTES_COPIED_MAX: usize = 64;

/// Removing.
impl Evbuffer {
    /// Removes the first `count` bytes, or all there are.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front is frozen and there is something to remove.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"skip this")?;
    /// buf.drain(5)?;
    /// assert_eq!(buf.pullup(4)?, b"this");
    /// buf.drain(usize::MAX)?;
    /// assert!(buf.is_empty());
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_drain")]
    #[inline]
    pub fn drain(&mut self, count: usize) -> Result<()> {
        let count = count.min(self.len);
        if count == 0 {
            return Ok(());
        }
        self.admit_removal()?;
        self.discard(count);
        Ok(())
    }

    /// Drops the first `count` bytes, which are there. Everything is accounted for before they go: a clean-up
    /// of the user's that panics leaves a buffer that is right, outdated positions, and callbacks that hear of it later.
    #[inline(always)]
    pub(super) fn discard(&mut self, count: usize) {
        debug_assert!(count <= self.len);
        // Mostly it is part of the first node, and nobody hears of it.
        if self.watch.is_some() || !self.chain.advance_front(count) {
            return self.discard_slowly(count);
        }
        self.len -= count;
        *self.stamp.get_mut() = 0;
        self.check_invariants();
    }

    #[cold]
    #[inline(never)]
    fn discard_slowly(&mut self, count: usize) {
        self.len -= count;
        *self.stamp.get_mut() = 0;
        self.write_down(0, count);
        if self.len > 0 {
            self.chain.drop_bytes(count);
        } else {
            self.has_unread = false;
            self.chain.clear();
        }
        self.check_invariants();
        self.call_callbacks();
    }

    /// Copies the first bytes into `target` and removes them; returns how many there were.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front is frozen and there is something to remove; [`Error::ShortFile`] or
    /// [`Error::Io`] when a file node cannot be read. Nothing is removed then.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"abcdef")?;
    /// let mut four = [0; 4];
    /// assert_eq!(buf.remove(&mut four)?, 4);
    /// assert_eq!(&four, b"abcd");
    /// assert_eq!(buf.remove(&mut four)?, 2);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_remove")]
    #[inline]
    pub fn remove(&mut self, target: &mut [u8]) -> Result<usize> {
        if self.len == 0 || target.is_empty() {
            return Ok(0);
        }
        self.admit_removal()?;
        let count = self.copy_range(0, target)?;
        self.discard(count);
        Ok(count)
    }

    /// Removes exactly the first `count` bytes and returns them, without copying them when they lie in one piece.
    ///
    /// Up to 64 bytes are copied, unless they came as `Bytes`: that is no dearer than sharing, and does not keep their chunk alive. Bytes from
    /// several nodes are copied together.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer, [`Error::Frozen`], [`Error::OutOfMemory`], and as
    /// [`peek`](Self::peek) when a file node has to be read; nothing is removed then.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(&[7; 1000])?;
    /// let bytes: bytes::Bytes = buf.remove_bytes(600)?;
    /// assert_eq!((bytes.len(), buf.len()), (600, 400));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn remove_bytes(&mut self, count: usize) -> Result<Bytes> {
        if count > self.len {
            return Err(Error::OutOfRange);
        }
        if count == 0 {
            return Ok(Bytes::new());
        }
        self.admit_removal()?;
        if count <= BYTES_COPIED_MAX && !matches!(self.chain.front(), Some(Node::Reference(_))) {
            return self.remove_vec(count).map(Bytes::from);
        }
        self.pullup(count)?;
        let taken = match self.chain.front_mut() {
            Some(node) if count < node.len() => Some(node.split_front(count)),
            _ => self.chain.pop_front(),
        };
        self.note_removed(count);
        Ok(taken.and_then(Node::into_bytes).unwrap_or_default())
    }

    /// Removes the first `count` bytes, which are there, as a vector of exactly that capacity; nothing is removed on an error.
    #[inline]
    pub(super) fn remove_vec(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        self.copy_to_vec(0, count, &mut copy)?;
        self.discard(count);
        Ok(copy)
    }

    /// Moves the first `count` bytes, or all there are, to the end of `dst` without copying them; returns how many.
    ///
    /// A node that lies across the border is shared by the two buffers.
    ///
    /// # Errors
    /// [`Error::Frozen`] when the front of this buffer or the end of `dst` is frozen, [`Error::Overflow`], [`Error::Limit`] or
    /// [`Error::OutOfMemory`]; both are then as they were.
    ///
    /// # Examples
    /// ```
    /// use zerovent::Evbuffer;
    ///
    /// let (mut input, mut record) = (Evbuffer::new(), Evbuffer::new());
    /// input.add(b"recordrest")?;
    /// assert_eq!(input.remove_buffer(&mut record, 6)?, 6);
    /// assert_eq!(record.pullup(6)?, b"record");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evbuffer_remove_buffer")]
    #[inline]
    pub fn remove_buffer(&mut self, dst: &mut Evbuffer, count: usize) -> Result<usize> {
        if count >= self.len {
            let all = self.len;
            dst.add_buffer(self)?;
            return Ok(all);
        }
        if count == 0 {
            return Ok(0);
        }
        self.admit_removal()?;
        dst.admit(dst.frozen_back, count)?;
        // Most often it is part of the first node.
        let nodes = if count < self.front_len() { 1 } else { self.nodes_covering(count) };
        dst.chain.reserve(nodes)?;
        self.move_part(dst, count)?;
        dst.has_unread |= self.has_unread;
        Evbuffer::note_moved(self, dst, count);
        Ok(count)
    }

    #[inline]
    fn front_len(&self) -> usize {
        self.chain.front().map_or(0, Node::len)
    }

    /// How many nodes the first `count` bytes lie in; `count` is less than the length.
    fn nodes_covering(&self, count: usize) -> usize {
        let (mut nodes, mut bytes) = (0, 0);
        for node in self.chain.iter() {
            nodes += 1;
            bytes += node.len();
            if bytes >= count {
                break;
            }
        }
        nodes
    }

    /// Moves nodes and part of one to `dst`, which has room for them.
    #[inline]
    fn move_part(&mut self, dst: &mut Evbuffer, count: usize) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let node = match self.chain.front_mut() {
                Some(node) if left < node.len() && dst.chain.is_empty() => {
                    return dst.chain.push_back_with(|| node.split_front(left));
                }
                Some(node) if left < node.len() => Some(node.split_front(left)),
                _ => self.chain.pop_front(),
            };
            let Some(node) = node else { break };
            left -= node.len();
            dst.attach(node)?;
        }
        Ok(())
    }

    /// Removes the first `count` bytes and returns them as a buffer of their own, without copying them.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer, and as [`remove_buffer`](Self::remove_buffer).
    pub fn split_to(&mut self, count: usize) -> Result<Evbuffer> {
        if count > self.len {
            return Err(Error::OutOfRange);
        }
        let mut front = Evbuffer::new();
        self.remove_buffer(&mut front, count)?;
        Ok(front)
    }

    /// Removes what stands behind the first `at` bytes and returns it as a buffer of its own, without copying it.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer, [`Error::Frozen`] when the back is frozen and there is something to remove, and
    /// [`Error::OutOfMemory`]; nothing is removed then.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"front and back")?;
    /// let mut back = buf.split_off(5)?;
    /// assert_eq!((buf.pullup(5)?, back.pullup(9)?), (&b"front"[..], &b" and back"[..]));
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn split_off(&mut self, at: usize) -> Result<Evbuffer> {
        let count = self.len.checked_sub(at).ok_or(Error::OutOfRange)?;
        let mut back = Evbuffer::new();
        if count == 0 {
            return Ok(back);
        }
        if self.frozen_back {
            return Err(Error::Frozen);
        }
        back.chain.reserve(self.chain.count())?;
        self.release_reserved();
        self.move_back_part(&mut back, count)?;
        back.has_unread = self.has_unread;
        back.account_added(count);
        self.note_removed(count);
        Ok(back)
    }

    /// Moves the nodes of the last `count` bytes, and part of one, to the front of `back`, which has room for them.
    fn move_back_part(&mut self, back: &mut Evbuffer, count: usize) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let node = match self.chain.back_mut() {
                Some(node) if left < node.len() => {
                    // The tailroom goes with the later half.
                    let front = node.split_front(node.len() - left);
                    Some(std::mem::replace(node, front))
                }
                _ => self.chain.pop_back(),
            };
            let Some(node) = node else { break };
            left -= node.len();
            back.chain.push_front(node)?;
        }
        Ok(())
    }
}

/// Copying out.
impl Evbuffer {
    /// Copies the first bytes into `target` without removing them; returns how many there were.
    ///
    /// A file node is read straight into `target` and stays a file node.
    ///
    /// # Errors
    /// [`Error::ShortFile`] or [`Error::Io`] when a file node cannot be read.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"\x00\x05hello")?;
    /// let mut len = [0; 2];
    /// buf.copy_out(&mut len)?;
    /// assert_eq!(u16::from_be_bytes(len), 5);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// A frozen front does not matter, since nothing changes.
    #[doc(alias = "evbuffer_copyout")]
    #[inline]
    pub fn copy_out(&self, target: &mut [u8]) -> Result<usize> {
        self.copy_range(0, target)
    }

    /// [`copy_out`](Self::copy_out) from a position on.
    ///
    /// # Errors
    /// As `copy_out`, and [`Error::Stale`] when the buffer has changed since the position was made.
    #[doc(alias = "evbuffer_copyout_from")]
    pub fn copy_out_from(&self, from: Position, target: &mut [u8]) -> Result<usize> {
        self.copy_range(self.offset_of(from)?, target)
    }

    /// Copies from offset `from`, which lies in the buffer, as much as `target` holds or there is.
    #[inline]
    pub(super) fn copy_range(&self, from: usize, target: &mut [u8]) -> Result<usize> {
        let count = target.len().min(self.len - from);
        // Mostly it is part of the first node.
        if let Some(part) = self.chain.front_memory().get(from..from + count) {
            target[..count].copy_from_slice(part);
            stats::copied(count);
            return Ok(count);
        }
        let (mut skip, mut done) = (from, 0);
        for node in self.chain.iter() {
            if done == count {
                break;
            }
            if skip >= node.len() {
                skip -= node.len();
                continue;
            }
            let part = (node.len() - skip).min(count - done);
            copy_node(node, skip, &mut target[done..done + part])?;
            (done, skip) = (done + part, 0);
        }
        Ok(done)
    }
}

impl Evbuffer {
    /// Appends `from..from + count`, which is there, to a vector that has room for it.
    #[inline]
    pub(super) fn copy_to_vec(&self, from: usize, count: usize, target: &mut Vec<u8>) -> Result<()> {
        if let Some(part) = self.chain.front_memory().get(from..from + count) {
            target.extend_from_slice(part);
            stats::copied(count);
            return Ok(());
        }
        if self.has_unread {
            let start = target.len();
            target.resize(start + count, 0);
            return self.copy_range(from, &mut target[start..]).map(|_| ());
        }
        self.runs(from, count).for_each(|run| target.extend_from_slice(run));
        stats::copied(count);
        Ok(())
    }
}

/// What has been made contiguous; it takes its place also when a clean-up of what it replaces panics.
struct Pulled<'a> {
    buffer: &'a mut Evbuffer,
    run: Option<Run>,
}

impl Drop for Pulled<'_> {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            let pushed = self.buffer.chain.push_front(Node::Chunk(run));
            debug_assert!(pushed.is_ok(), "a slot was kept free");
        }
    }
}

/// Copies from offset `skip` of `node`, which holds enough to fill `target`.
#[inline]
fn copy_node(node: &Node, skip: usize, target: &mut [u8]) -> Result<()> {
    match node {
        Node::File(range) => {
            range.segment.read_exact(target, range.offset + skip as u64)?;
            stats::count(|totals| &totals.read, target.len());
        }
        Node::Chunk(run) => copy_memory(run.as_slice(), skip, target),
        Node::Reference(bytes) => copy_memory(bytes, skip, target),
        Node::Kept(kept) => copy_memory(kept.as_slice(), skip, target),
        Node::Pipe(range) => copy_memory(&range.read_in()?, skip, target),
    }
    Ok(())
}

#[inline]
fn copy_memory(from: &[u8], skip: usize, target: &mut [u8]) {
    target.copy_from_slice(&from[skip..skip + target.len()]);
    stats::copied(target.len());
}

/// Making bytes contiguous.
impl Evbuffer {
    /// The first `count` bytes as one slice. They are copied together only when they do not lie so already.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there are fewer, [`Error::OutOfMemory`], and as [`peek`](Self::peek) when a
    /// file node has to be read. The content is the same in any case, and positions stay valid.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add(b"con")?;
    /// buf.add_reference(&b"tiguous"[..])?;
    /// assert_eq!(buf.pullup(10)?, b"contiguous");
    /// assert!(buf.pullup(11).is_err());
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    /// The slice is read-only, because its storage may be shared with other buffers, and exactly `count` bytes long;
    /// `pullup(buf.len())` stands for a negative size.
    #[doc(alias = "evbuffer_pullup")]
    #[inline]
    pub fn pullup(&mut self, count: usize) -> Result<&[u8]> {
        self.make_contiguous(count)?;
        Ok(&self.chain.front_memory()[..count])
    }

    /// [`pullup`](Self::pullup) for who looks at the bytes later.
    #[inline]
    pub(super) fn make_contiguous(&mut self, count: usize) -> Result<()> {
        if count > self.contiguous_len() { self.pullup_copying(count) } else { Ok(()) }
    }

    /// [`pullup`](Self::pullup) for changing the bytes in place. They are copied when they are shared, or not in a chunk.
    ///
    /// # Errors
    /// As `pullup`. Positions go stale.
    ///
    /// # Examples
    /// ```
    /// let mut buf = zerovent::Evbuffer::new();
    /// buf.add_reference(&b"shout"[..])?;
    /// buf.pullup_mut(5)?.make_ascii_uppercase();
    /// assert_eq!(buf.pullup(5)?, b"SHOUT");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    pub fn pullup_mut(&mut self, count: usize) -> Result<&mut [u8]> {
        self.pullup(count)?;
        if count == 0 {
            return Ok(&mut []);
        }
        let exclusive = matches!(self.chain.front(), Some(Node::Chunk(run)) if run.is_alone());
        if !exclusive {
            self.pullup_into_chunk(count)?;
        }
        self.note_changed(count);
        let first = match self.chain.front_mut() {
            Some(Node::Chunk(run)) => run.as_mut_slice().unwrap_or_default(),
            _ => &mut [],
        };
        Ok(&mut first[..count])
    }

    #[inline(never)]
    fn pullup_copying(&mut self, count: usize) -> Result<()> {
        if count > self.len {
            return Err(Error::OutOfRange);
        }
        if self.has_unread && self.map_front(count)? {
            return Ok(());
        }
        if !self.pullup_into_tailroom(count)? {
            self.pullup_into_chunk(count)?;
        }
        self.check_invariants();
        Ok(())
    }

    /// A file at the front becomes memory if that alone is enough.
    fn map_front(&mut self, count: usize) -> Result<bool> {
        if self.chain.front().is_some_and(Node::is_unread) {
            self.materialise(0, count)?;
        }
        Ok(count <= self.contiguous_len())
    }

    /// Copies what is missing behind the first node when that has the room for it.
    fn pullup_into_tailroom(&mut self, count: usize) -> Result<bool> {
        let missing = match self.chain.front() {
            Some(Node::Chunk(run)) if count - run.len() <= run.tailroom() => count - run.len(),
            _ => return Ok(false),
        };
        // The chunk leaves the chain for a moment, so that the nodes behind it can be read while it is written.
        let Some(Node::Chunk(mut run)) = self.chain.pop_front() else { return Ok(false) };
        let result = self.gather(&mut run, missing);
        let gathered = if result.is_ok() { missing } else { 0 };
        self.put_in_place(run, gathered);
        result.map(|()| true)
    }

    /// Copies the first `count` bytes into a chunk of their own, in place of the nodes they were in.
    fn pullup_into_chunk(&mut self, count: usize) -> Result<()> {
        let mut run = Run::with_capacity(count)?;
        self.gather(&mut run, count)?;
        self.chain.reserve(1)?;
        self.put_in_place(run, count);
        Ok(())
    }

    /// Puts `run` where the first `count` bytes of the chain were; there is a slot for it.
    fn put_in_place(&mut self, run: Run, count: usize) {
        let pulled = Pulled { buffer: self, run: Some(run) };
        pulled.buffer.chain.drop_bytes(count);
    }

    /// Appends the first `count` bytes of the chain to `run`, which has room for them. On an error `run` is as it was.
    fn gather(&self, run: &mut Run, count: usize) -> Result<()> {
        let before = run.len();
        let mut left = count;
        for node in self.chain.iter() {
            let part = node.len().min(left);
            let result = match node.memory() {
                Some(bytes) => {
                    run.append(&bytes[..part]);
                    stats::copied(part);
                    Ok(())
                }
                None => copy_node(node, 0, &mut run.spare(part)[..part]).map(|()| run.commit(part)),
            };
            if let Err(error) = result {
                run.truncate(before);
                return Err(error);
            }
            left -= part;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}
