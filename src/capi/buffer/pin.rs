//! Uses of handles: a frame that calls C keeps the handles that it goes on with. A frame that a callback has left by `longjmp` gives its
//! uses back at the next one that can tell (`frame`).

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use super::evbuffer;
use crate::capi::frame::{Frame, Here};

thread_local! {
    /// The uses of this thread's frames, the outermost first.
    static PINS: RefCell<Vec<(Frame, *const evbuffer)>> = const { RefCell::new(Vec::new()) };
}

/// A use of a handle by a frame.
pub(in crate::capi) struct Pin<'a> {
    buf: &'a evbuffer,
    /// None if this thread has no list any more.
    frame: Option<Frame>,
}

impl evbuffer {
    /// Keeps the handle in memory until what is returned is dropped, in the frame that has `here`, or that frame has gone.
    pub(in crate::capi) fn pin(&self, here: &Here) -> Pin<'_> {
        self.keep();
        self.adopt(here)
    }

    /// A use of the handle that somebody gives back by [`release`](evbuffer::release), or a frame [adopts](Self::adopt).
    pub(super) fn keep(&self) {
        // Relaxed: whoever keeps it uses it already.
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// [`pin`](Self::pin), once more in the same frame.
    pub(in crate::capi) fn pin_too(&self, here: &Here) -> Pin<'_> {
        self.keep();
        self.list(here.frame())
    }

    /// Makes a use that there is already the frame's.
    pub(super) fn adopt(&self, here: &Here) -> Pin<'_> {
        sweep(|frame| frame.has_gone(here.frame()));
        self.list(here.frame())
    }

    fn list(&self, frame: Frame) -> Pin<'_> {
        let listed = PINS.try_with(|pins| pins.borrow_mut().push((frame, self)));
        Pin { buf: self, frame: listed.is_ok().then_some(frame) }
    }
}

/// Gives back what frames had that have gone.
fn sweep(has_gone: impl Fn(Frame) -> bool) {
    let take_gone =
        || PINS.try_with(|pins| pins.borrow_mut().pop_if(|(frame, _)| has_gone(*frame))).ok().flatten();
    while let Some((_, buf)) = take_gone() {
        // SAFETY: H3: the use that is given back here has kept it.
        unsafe { &*buf }.release();
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
        let entry = (frame, std::ptr::from_ref(self.buf));
        let taken = PINS.try_with(|pins| {
            let mut pins = pins.borrow_mut();
            let index = pins.iter().rposition(|pin| *pin == entry)?;
            Some(pins.remove(index))
        });
        if taken.ok().flatten().is_some() {
            self.buf.release();
        }
    }
}
