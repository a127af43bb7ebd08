//! Uses of handles: a frame that calls C keeps the handles that it goes on with. A frame that a callback has left by `longjmp` gives its
//! uses back at the next one that can tell (`frame`).

use std::cell::RefCell;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::Ordering;

use super::evbuffer;
use crate::capi::frame::{Frame, Here};

/// As many uses of frames that lie within each other are known. Others are lost with their frame.
const MOST: usize = 16;

thread_local! {
    /// The uses of this thread's frames, the outermost first. Nothing has to be freed when the thread ends: its destructors may
    /// free buffers.
    static PINS: RefCell<Pins> = const { RefCell::new(Pins { len: 0, uses: [None; MOST] }) };
}

type Use = (Frame, *const evbuffer);

struct Pins {
    len: usize,
    uses: [Option<Use>; MOST],
}

/// A use of a handle by a frame.
pub(in crate::capi) struct Pin<'a> {
    buf: &'a evbuffer,
    /// None if it is not in the list.
    frame: Option<Frame>,
}

impl evbuffer {
    /// Keeps the handle in memory until what is returned is dropped, in the frame that has `here`, or that frame has gone.
    pub(in crate::capi) fn pin(&self, here: &Here) -> Pin<'_> {
        self.keep();
        self.adopt(here)
    }

    /// [`pin`](Self::pin), once more in the same frame.
    pub(in crate::capi) fn pin_too(&self, here: &Here) -> Pin<'_> {
        self.keep();
        self.list(here.frame())
    }

    /// A use of the handle that somebody gives back by [`release`](evbuffer::release), or a frame [adopts](Self::adopt).
    pub(super) fn keep(&self) {
        // Relaxed: whoever keeps it uses it already.
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes a use that there is already the frame's.
    pub(super) fn adopt(&self, here: &Here) -> Pin<'_> {
        sweep(|frame| frame.has_gone(here.frame()));
        self.list(here.frame())
    }

    fn list(&self, frame: Frame) -> Pin<'_> {
        let is_listed = PINS.with_borrow_mut(|pins| pins.push((frame, self)));
        Pin { buf: self, frame: is_listed.then_some(frame) }
    }
}

/// Gives back what frames had that have gone.
fn sweep(has_gone: impl Fn(Frame) -> bool) {
    while let Some(buf) = PINS.with_borrow_mut(|pins| pins.pop_if(&has_gone)) {
        // SAFETY: H3: the use that is given back here has kept it.
        unsafe { &*buf }.release();
    }
}

impl Pins {
    fn push(&mut self, new: Use) -> bool {
        let Some(place) = self.uses.get_mut(self.len) else { return false };
        *place = Some(new);
        self.len += 1;
        true
    }

    /// Takes the innermost, if its frame has gone.
    fn pop_if(&mut self, has_gone: impl Fn(Frame) -> bool) -> Option<*const evbuffer> {
        let (frame, buf) = self.uses[self.len.checked_sub(1)?]?;
        if !has_gone(frame) {
            return None;
        }
        self.len -= 1;
        Some(buf)
    }

    fn remove(&mut self, wanted: Use) -> bool {
        let known = &mut self.uses[..self.len];
        let Some(index) = known.iter().rposition(|one| *one == Some(wanted)) else { return false };
        known[index..].rotate_left(1);
        self.len -= 1;
        true
    }
}

impl Deref for Pin<'_> {
    type Target = evbuffer;

    fn deref(&self) -> &evbuffer {
        self.buf
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let Some(frame) = self.frame else { return self.buf.release() };
        // Those of this frame are to be dropped themselves.
        sweep(|other| other != frame && other.has_gone(frame));
        if PINS.with_borrow_mut(|pins| pins.remove((frame, ptr::from_ref(self.buf)))) {
            self.buf.release();
        }
    }
}
