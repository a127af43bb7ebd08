//! Memory of somebody else's, and who keeps it for as long as a buffer views it.
//!
//! The keeper moves into a block of the pool, whose count is that of the views: to refer to such memory costs no allocation, and neither does
//! the keeper's end, which gets the block as it is and need not move anything until it likes. The numbered invariants are those of
//! [`chunk`](super), with one more:
//!
//! - **INV-8** The payload of a block that [`Kept::of_len`] made holds one `Stay<K>`, of the `K` that its `let_go` was made for, until a
//!   [`Freed`] takes it. The bytes that a view shows are those that the keeper showed once it was there, and stay until then.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::{fmt, slice};

use super::{HEADER, Header, allocate, class_for, let_go, payload_of, pool_take, release_of, retain};
use crate::Result;

/// Who keeps memory, and what happens when nobody views it any more.
pub(crate) trait Keeper: AsRef<[u8]> + Send + Sized + 'static {
    /// The last view has gone, in the middle of an operation of some buffer's.
    fn let_go(freed: Freed<Self>);
}

/// A keeper and who is called with it, as they lie in the payload of a block.
#[repr(C)]
struct Stay<K> {
    let_go: unsafe fn(NonNull<Header>),
    keeper: K,
}

/// A view of kept memory.
pub(in crate::buffer) struct Kept {
    block: NonNull<Header>,
    first: *const u8,
    len: usize,
}

// SAFETY: a keeper is `Send`, and looked at once, when it is put in; the bytes it showed do not change (INV-8), and the count is atomic (INV-2).
unsafe impl Send for Kept {}
// SAFETY: through `&Kept` a caller can read bytes that do not change (INV-8) and count up atomically (INV-2), nothing else.
unsafe impl Sync for Kept {}

impl Kept {
    /// Whether a block has a place for such a keeper.
    pub(in crate::buffer) const fn has_place_for<K>() -> bool {
        align_of::<Stay<K>>() <= HEADER
    }

    /// All that `keeper` keeps, which are `len` bytes.
    ///
    /// # Errors
    /// As [`Run::with_capacity`](super::Run::with_capacity); the keeper is dropped then.
    ///
    /// # Panics
    /// When what it keeps is no longer that long once it has been moved.
    #[inline(always)]
    pub(in crate::buffer) fn of_len<K: Keeper>(keeper: K, len: usize) -> Result<Kept> {
        assert!(Kept::has_place_for::<K>(), "a payload is aligned as the header is large");
        let class = const { class_for(size_of::<Stay<K>>()) };
        let block = match pool_take(class) {
            Some(block) => block,
            None => allocate(class, size_of::<Stay<K>>())?,
        };
        let payload = payload_of(block);
        let stay = payload.cast::<Stay<K>>();
        // SAFETY: INV-1 and INV-6: the block is ours alone, its payload is large enough, and aligned (checked above).
        unsafe { stay.write(Stay { let_go: part_with::<K>, keeper }) };
        // SAFETY: INV-1, and nobody else has the block. What a run finds there next is not initialised, as far as it is padding.
        unsafe { (*block.as_ptr()).init = payload.addr() };
        let mut kept = Kept { block, first: payload, len: 0 };
        // SAFETY: INV-8, it was put there just now, and stays until the last view is gone.
        let bytes = unsafe { &(*stay).keeper }.as_ref();
        (kept.first, kept.len) = (bytes.as_ptr(), bytes.len());
        assert_eq!(kept.len, len, "an owner keeps its bytes when it is moved");
        Ok(kept)
    }

    #[inline]
    pub(in crate::buffer) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(in crate::buffer) fn as_slice(&self) -> &[u8] {
        // SAFETY: INV-8, and the keeper stays at least as long as `self`.
        unsafe { slice::from_raw_parts(self.first, self.len) }
    }

    /// A second view of the same bytes.
    pub(in crate::buffer) fn share(&self) -> Kept {
        retain(self.block);
        Kept { block: self.block, first: self.first, len: self.len }
    }

    /// Drops the first `count` bytes from view.
    #[inline]
    pub(in crate::buffer) fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "an advance stays inside its view");
        // SAFETY: INV-8, no further than the end of the view (checked above).
        self.first = unsafe { self.first.add(count) };
        self.len -= count;
    }

    /// Splits off the first `count` bytes.
    pub(in crate::buffer) fn split_front(&mut self, count: usize) -> Kept {
        assert!(count <= self.len, "a split lies inside its view");
        let mut front = self.share();
        front.len = count;
        self.advance(count);
        front
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.len)
    }
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        if let_go(self.block) {
            // SAFETY: INV-8, what stands first in the payload is the function.
            let part_with = unsafe { payload_of(self.block).cast::<unsafe fn(NonNull<Header>)>().read() };
            // SAFETY: INV-8, it is the function of the `K` that is there, and this was the last view.
            unsafe { part_with(self.block) };
        }
    }
}

/// # Safety
///
/// - The block holds a `Stay<K>`, and nobody views what that keeps any more.
unsafe fn part_with<K: Keeper>(block: NonNull<Header>) {
    K::let_go(Freed { block, keeper: PhantomData });
}

/// A keeper whose memory nobody views any more, where it was. One that is not taken is leaked.
#[must_use]
pub(crate) struct Freed<K> {
    block: NonNull<Header>,
    keeper: PhantomData<K>,
}

impl<K> Freed<K> {
    /// The keeper; its block goes back to the pool.
    #[inline]
    pub(crate) fn take(self) -> K {
        // SAFETY: INV-8, whoever has this is the only one to know the block, which is given back here.
        let stay = unsafe { payload_of(self.block).cast::<Stay<K>>().read() };
        // What class the block is of is known when this is compiled.
        release_of(const { class_for(size_of::<Stay<K>>()) }, self.block);
        stay.keeper
    }
}
