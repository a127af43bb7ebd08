//! Receiving: into the buffer's own tailroom, or by carving runs off a chunk that many buffers share; and giving that chunk
//! back when only little of it is still in use.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};

use crate::buffer::chunk::{CHUNK_MAX, Run};
use crate::buffer::node::Node;
use crate::buffer::{Evbuffer, stats};
use crate::{Result, sys};

/// A read chunk with less room than this is left to those who hold parts of it.
const CARVE_MIN: usize = 16 * 1024;

/// Chunks that one read of much fills: 256 KiB, which stay in the nearest cache until they are sent.
const BULK_CHUNKS: usize = 4;

/// Chunks up to this payload are never too large for what they hold.
const SETTLED_MAX: usize = 1024;
/// A larger chunk is too large when less than one part in this many is in view.
const SETTLED_RATIO: usize = 4;

/// What one [`Evbuffer::fill_from`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Bytes that were added; 0 is the end of the stream.
    pub(crate) bytes: usize,
    /// Whether it is a stream socket that gave less than there was room for, and so has nothing more for now.
    pub(crate) drained: bool,
}

/// The current read chunk of an event loop: reads take runs off its front, one after the other.
///
/// When nobody holds a run of it any more, the next read starts at its beginning again: the same 64 KiB serve one message after
/// the other and stay in the cache.
#[derive(Debug, Default)]
pub(crate) struct ReadSpace {
    /// An empty run that owns the tailroom of the chunk.
    rest: Option<Run>,
}

impl ReadSpace {
    pub(crate) const fn new() -> ReadSpace {
        ReadSpace { rest: None }
    }

    /// The chunk to read into, with room for `wanted` bytes or at least [`CARVE_MIN`].
    #[inline]
    fn prepare(&mut self, wanted: usize) -> Result<&mut Run> {
        let fits = match &mut self.rest {
            Some(run) => run.reset() || run.tailroom() >= wanted.min(CARVE_MIN),
            None => false,
        };
        if !fits {
            self.rest = None;
        }
        match &mut self.rest {
            Some(run) => Ok(run),
            empty => Ok(empty.insert(Run::with_capacity(CHUNK_MAX)?)),
        }
    }

    /// Takes the `count` bytes that were read off the chunk, as a run of their own.
    #[inline]
    fn carve(&mut self, count: usize) -> Option<Run> {
        let run = self.rest.as_mut()?;
        run.commit(count);
        if run.tailroom() > 0 {
            return Some(run.split_front(count));
        }
        // Nothing is left to carve: the buffer gets the chunk.
        self.rest.take()
    }
}

impl Evbuffer {
    /// Receives up to `max` bytes with exactly one call, into the chunk of `space`, whatever is frozen. The
    /// chunk may have less room than `max` left, so whether more waits is told apart.
    ///
    /// # Errors
    /// What the call answered, `WouldBlock` included, or `OutOfMemory`; the buffer is then as it was.
    pub(crate) fn fill_from(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        space: &mut ReadSpace,
    ) -> io::Result<Filled> {
        debug_assert!(max > 0, "a read of nothing would look like the end of the stream");
        self.admit(false, 1)?;
        let max = max.min(CHUNK_MAX).min(self.room());
        // What cannot be undone after the call is done before it.
        self.chain.reserve(1)?;
        let room = space.prepare(max)?.spare(max);
        let max = max.min(room.len());
        let (count, is_socket) = sys::io::receive(fd, &mut room[..max])?;
        if count > 0 {
            if let Some(run) = space.carve(count) {
                self.attach(Node::Chunk(run))?;
            }
            stats::count(|totals| &totals.received, count);
            self.note_added(count);
        }
        // A terminal gives a line at a time, however many there are.
        Ok(Filled { bytes: count, drained: is_socket && count < max })
    }
}

impl Evbuffer {
    /// As [`fill_from`](Self::fill_from) for those who move much: one call fills up to [`BULK_CHUNKS`] chunks that nobody else reads into.
    ///
    /// # Errors
    /// As `fill_from`.
    pub(crate) fn fill_bulk_from(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<Filled> {
        debug_assert!(max > 0, "a read of nothing would look like the end of the stream");
        self.admit(false, 1)?;
        self.chain.reserve(BULK_CHUNKS)?;
        let mut left = max.min(self.room());
        let first = Run::with_capacity(CHUNK_MAX)?;
        // The first is enough to go on with when there is no memory for more.
        let further = || Run::with_capacity(CHUNK_MAX).ok();
        let mut runs: [Option<Run>; BULK_CHUNKS] = [Some(first), further(), further(), further()];
        let mut parts = runs.each_mut().map(|run| {
            let room = run.as_mut().map_or(&mut [][..], |run| run.spare(CHUNK_MAX));
            let len = room.len().min(left);
            left -= len;
            IoSliceMut::new(&mut room[..len])
        });
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        let count = sys::io::readv(fd, &mut parts)?;
        let filled = parts.map(|part| part.len());
        self.attach_filled(runs, filled, count)?;
        Ok(Filled { bytes: count, drained: count < offered })
    }

    /// Takes in `count` bytes that were read into `runs`, of which each had been offered so many bytes of.
    fn attach_filled(
        &mut self,
        runs: [Option<Run>; BULK_CHUNKS],
        offered: [usize; BULK_CHUNKS],
        count: usize,
    ) -> Result<()> {
        let mut left = count;
        for (run, offered) in runs.into_iter().zip(offered) {
            let part = left.min(offered);
            let Some(mut run) = run.filter(|_| part > 0) else { continue };
            run.commit(part);
            self.attach(Node::Chunk(run))?;
            left -= part;
        }
        if count > 0 {
            stats::count(|totals| &totals.received, count);
            self.note_added(count);
        }
        Ok(())
    }
}

impl Evbuffer {
    /// Reads up to `max` bytes from a descriptor of any kind with one call and adds them; returns how many, 0 at the end of the
    /// stream. One call brings at most what is free in the last chunk and 64 KiB more, and no more than the limit allows.
    ///
    /// # Errors
    /// [`Error::Frozen`](crate::Error::Frozen) when the back is frozen, [`Error::Limit`](crate::Error::Limit) when the buffer is full,
    /// [`Error::Io`](crate::Error::Io) for what the call answered (`WouldBlock` included), [`Error::Overflow`](crate::Error::Overflow) or
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); the buffer is then as it was.
    ///
    /// # Examples
    /// ```
    /// use std::io::Write;
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// writer.write_all(b"hello")?;
    /// drop(writer);
    /// let mut buf = zerovent::Evbuffer::new();
    /// assert_eq!(buf.read_from(&reader, usize::MAX)?, 5);
    /// assert_eq!(buf.read_from(&reader, usize::MAX)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from libevent
    /// The size of a read is not guessed with FIONREAD; a `max` of `usize::MAX` stands for a negative one.
    #[doc(alias = "evbuffer_read")]
    pub fn read_from(&mut self, fd: impl AsFd, max: usize) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        self.admit(self.frozen_back, 1)?;
        let max = max.min(self.room());
        let tail = self.tailroom().min(max);
        let mut fresh = None;
        if max > tail {
            self.chain.reserve(1)?;
            fresh = Some(Run::with_capacity((max - tail).min(CHUNK_MAX))?);
        }
        let count = self.read_vectored(fd.as_fd(), max, tail, fresh.as_mut())?;
        self.take_read(count, tail, fresh)?;
        Ok(count)
    }

    /// Makes the call, into `tail` bytes of tailroom and a fresh chunk.
    fn read_vectored(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        tail: usize,
        fresh: Option<&mut Run>,
    ) -> Result<usize> {
        let first = &mut self.tail_mut(tail)[..tail];
        let Some(run) = fresh else { return Ok(sys::io::readv(fd, &mut [IoSliceMut::new(first)])?) };
        let rest = max - tail;
        let second = run.spare(rest.min(CHUNK_MAX));
        let room = rest.min(second.len());
        let second = &mut second[..room];
        if tail == 0 {
            return Ok(sys::io::readv(fd, &mut [IoSliceMut::new(second)])?);
        }
        Ok(sys::io::readv(fd, &mut [IoSliceMut::new(first), IoSliceMut::new(second)])?)
    }

    /// Takes what was read into the buffer.
    fn take_read(&mut self, count: usize, tail: usize, fresh: Option<Run>) -> Result<()> {
        if let Some(Node::Chunk(run)) = self.chain.back_mut() {
            run.commit(count.min(tail));
        }
        if let Some(mut run) = fresh.filter(|_| count > tail) {
            run.commit(count - tail);
            self.attach(Node::Chunk(run))?;
        }
        stats::count(|totals| &totals.received, count);
        self.note_added(count);
        Ok(())
    }
}

/// Retention.
impl Evbuffer {
    /// Copies what is left of large chunks into small ones, and gives up reserved space, so that a reader who leaves a few
    /// bytes of each message in the buffer does not keep a whole read chunk alive for each.
    ///
    /// Afterwards every chunk in the buffer either has at most 1 KiB of payload, or shows at least a quarter of it here. Neighbours
    /// that are copied share a chunk, so 10,000 one-byte messages, settled one after the other, take about 10,000 bytes. Each
    /// byte is copied at most once on its way through a buffer, and never when at least 16 KiB of a read chunk are kept.
    ///
    /// When memory is short the buffer stays as it is: the content is not in danger.
    pub(crate) fn settle_storage(&mut self) {
        if self.chain.is_empty() {
            return;
        }
        self.release_reserved();
        if self.chain.iter().any(is_oversized) {
            self.compact();
        }
        self.check_invariants();
    }

    /// Turns the ring once round, replacing what is oversized on the way.
    #[cold]
    fn compact(&mut self) {
        for done in 0..self.chain.count() {
            let Some(node) = self.chain.pop_front() else { return };
            let Some(node) = self.shrink(node, done > 0) else { continue };
            let pushed = self.chain.push_back(node);
            debug_assert!(pushed.is_ok(), "a slot has just become free");
        }
    }

    /// What to put in the place of `node`: nothing, when the node at the back (which stands in front of it) took its bytes.
    fn shrink(&mut self, node: Node, has_previous: bool) -> Option<Node> {
        if !is_oversized(&node) {
            return Some(node);
        }
        let bytes = node.memory().unwrap_or_default();
        if has_previous
            && let Some(Node::Chunk(previous)) = self.chain.back_mut()
            && previous.append(bytes)
        {
            stats::copied(bytes.len());
            return None;
        }
        let Ok(mut run) = Run::with_capacity(bytes.len()) else { return Some(node) };
        run.append(bytes);
        stats::copied(bytes.len());
        Some(Node::Chunk(run))
    }
}

/// True for a view of little of a large chunk.
fn is_oversized(node: &Node) -> bool {
    let storage = node.storage_bytes();
    storage > SETTLED_MAX && node.len() < storage / SETTLED_RATIO
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::buffer::chunk::ChunkPool;

    /// Sends `message` and receives it through `space`.
    fn receive(buf: &mut Evbuffer, space: &mut ReadSpace, message: &[u8]) {
        let (from, mut to) = UnixStream::pair().expect("a pair");
        to.write_all(message).expect("room in the socket");
        let count = buf.fill_from(from.as_fd(), usize::MAX, space).expect("readable").bytes;
        assert_eq!(count, message.len());
    }

    #[test]
    fn one_chunk_serves_message_after_message() {
        let (mut buf, mut space) = (Evbuffer::new(), ReadSpace::new());
        receive(&mut buf, &mut space, b"first");
        let first = buf.pullup(5).expect("there").as_ptr();
        buf.drain(5).expect("not frozen");
        let idle = ChunkPool::idle_bytes();
        for _ in 0..100 {
            receive(&mut buf, &mut space, b"again");
            let bytes = buf.pullup(5).expect("there");
            assert_eq!(
                (bytes, bytes.as_ptr()),
                (&b"again"[..], first),
                "the hot chunk is used from its start"
            );
            buf.drain(5).expect("not frozen");
            assert_eq!(ChunkPool::idle_bytes(), idle, "and no other one is taken");
        }
    }

    #[test]
    fn readers_share_a_chunk_without_seeing_each_other() {
        let mut space = ReadSpace::new();
        let mut all: Vec<Evbuffer> = (0..200_u8)
            .map(|index| {
                let mut buf = Evbuffer::new();
                receive(&mut buf, &mut space, &[index; 1000]);
                // What a buffer adds itself must not land in what the next one receives.
                buf.add(&[index; 10]).expect("added");
                buf
            })
            .collect();
        for (index, buf) in all.iter_mut().enumerate() {
            assert_eq!(buf.pullup(1010).expect("there"), [index as u8; 1010]);
        }
    }

    #[test]
    fn what_one_buffer_receives_in_pieces_is_one_node() {
        let (mut buf, mut space) = (Evbuffer::new(), ReadSpace::new());
        for piece in [&b"one "[..], b"two ", b"three"] {
            receive(&mut buf, &mut space, piece);
        }
        assert_eq!(buf.contiguous_len(), 13);
        assert_eq!(buf.pullup(13).expect("there"), b"one two three");
    }

    #[test]
    fn a_read_takes_no_more_than_it_was_told() {
        let (from, mut to) = UnixStream::pair().expect("a pair");
        to.write_all(&[1; 100_000]).expect("room in the socket");
        let (mut buf, mut space) = (Evbuffer::new(), ReadSpace::new());
        assert_eq!(buf.fill_from(from.as_fd(), 7, &mut space).expect("readable").bytes, 7);
        assert_eq!(buf.fill_from(from.as_fd(), usize::MAX, &mut space).expect("readable").bytes, CHUNK_MAX);
        from.set_nonblocking(true).expect("non-blocking");
        while buf.len() < 100_000 {
            assert!(buf.fill_from(from.as_fd(), usize::MAX, &mut space).expect("readable").bytes > 0);
        }
        let blocked = buf.fill_from(from.as_fd(), 10, &mut space).expect_err("nothing there");
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        drop(to);
        assert_eq!(buf.fill_from(from.as_fd(), 10, &mut space).expect("the end").bytes, 0);
        assert_eq!(buf.len(), 100_000);
    }

    #[test]
    fn a_read_of_much_fills_several_chunks_in_order_and_no_more_than_it_was_told() {
        let (from, mut to) = UnixStream::pair().expect("a pair");
        from.set_nonblocking(true).expect("non-blocking");
        let sent: Vec<u8> = (0..150_000_u32).map(|at| (at / 7) as u8).collect();
        to.write_all(&sent).expect("room in the socket");
        let mut buf = Evbuffer::new();
        let some = buf.fill_bulk_from(from.as_fd(), CHUNK_MAX + 1).expect("readable");
        assert_eq!((some.bytes, some.drained), (CHUNK_MAX + 1, false));
        let rest = buf.fill_bulk_from(from.as_fd(), usize::MAX).expect("readable");
        assert_eq!((rest.bytes, rest.drained), (sent.len() - CHUNK_MAX - 1, true));
        assert_eq!(buf.pullup(sent.len()).expect("there"), sent);
        let blocked = buf.fill_bulk_from(from.as_fd(), 10).expect_err("nothing there");
        assert_eq!((blocked.kind(), buf.len()), (io::ErrorKind::WouldBlock, sent.len()));
        drop(to);
        assert_eq!(buf.fill_bulk_from(from.as_fd(), 10).expect("the end").bytes, 0);
    }

    #[test]
    fn a_pipe_can_be_received_from() {
        let (from, mut to) = io::pipe().expect("a pipe");
        to.write_all(b"no socket").expect("room in the pipe");
        let (mut buf, mut space) = (Evbuffer::new(), ReadSpace::new());
        assert_eq!(buf.fill_from(from.as_fd(), 100, &mut space).expect("readable").bytes, 9);
        assert_eq!(buf.pullup(9).expect("there"), b"no socket");
    }

    /// The bound of the documentation: 10,000 one-byte messages kept from 10,000 full read chunks.
    #[test]
    fn a_slow_reader_does_not_pin_read_chunks() {
        let (mut kept, mut space) = (Evbuffer::new(), ReadSpace::new());
        let (from, mut to) = UnixStream::pair().expect("a pair");
        let message = vec![7; CHUNK_MAX];
        let mut alone = Vec::new();
        for _ in 0..10_000 {
            to.write_all(&message).expect("room in the socket");
            let mut whole = Evbuffer::new();
            while whole.len() < message.len() {
                whole.fill_from(from.as_fd(), usize::MAX, &mut space).expect("readable");
            }
            whole.drain(message.len() - 1).expect("not frozen");
            kept.add_buffer(&mut whole).expect("moved");
            kept.settle_storage();
            let mut one = Evbuffer::new();
            receive(&mut one, &mut space, b"y");
            one.settle_storage();
            alone.push(one);
        }
        assert_eq!(kept.len(), 10_000);
        assert!(kept.storage_bytes() <= 20_000, "one buffer holds {}", kept.storage_bytes());
        let most = alone.iter().map(Evbuffer::storage_bytes).max();
        assert!(most <= Some(2 * 96), "a one-byte buffer holds {most:?}");
    }

    #[test]
    fn settling_changes_no_byte_and_keeps_what_is_large_enough() {
        let (mut buf, mut space) = (Evbuffer::new(), ReadSpace::new());
        receive(&mut buf, &mut space, &[1; 20_000]);
        let place = buf.pullup(1).expect("there").as_ptr();
        buf.settle_storage();
        assert_eq!(buf.pullup(1).expect("there").as_ptr(), place, "a quarter of a chunk is worth its chunk");
        buf.add_reference(&b"reference"[..]).expect("added");
        receive(&mut buf, &mut space, &[2; 100]);
        buf.drain(19_000).expect("not frozen");
        buf.expand(5000).expect("expanded");
        let before = stats::CopyStats::now();
        buf.settle_storage();
        assert_eq!((stats::CopyStats::now() - before).copied, 1100);
        buf.settle_storage();
        assert_eq!((stats::CopyStats::now() - before).copied, 1100, "once is enough");
        assert!(buf.storage_bytes() <= 4 * 1100 + 2048, "{}", buf.storage_bytes());
        let mut expected = vec![1; 1000];
        expected.extend_from_slice(b"reference");
        expected.extend([2; 100]);
        assert_eq!(buf.pullup(1109).expect("there"), expected);
        let mut nothing = Evbuffer::new();
        nothing.settle_storage();
        assert!(nothing.is_empty());
    }

    #[test]
    fn flushing_says_whether_the_descriptor_was_full() {
        let (to, mut from) = UnixStream::pair().expect("a pair");
        to.set_nonblocking(true).expect("non-blocking");
        let mut buf = Evbuffer::new();
        buf.freeze(crate::buffer::End::Front);
        buf.add(&[5; 1000]).expect("added");
        let some = buf.flush_to(to.as_fd(), 600).expect("room");
        assert_eq!(
            (some.bytes, some.blocked),
            (600, false),
            "a limit is not a full socket, a frozen front no obstacle"
        );
        let rest = buf.flush_to(to.as_fd(), usize::MAX).expect("room");
        assert_eq!((rest.bytes, rest.blocked), (400, false));
        from.read_exact(&mut [0; 1000]).expect("all of it");
        buf.add_reference(vec![6; 4 << 20]).expect("added");
        let part = buf.flush_to(to.as_fd(), usize::MAX).expect("some room");
        assert!(part.blocked && part.bytes > 0 && buf.len() == (4 << 20) - part.bytes);
        let none = buf.flush_to(to.as_fd(), usize::MAX).expect("no error");
        assert_eq!((none.bytes, none.blocked), (0, true));
    }
}
