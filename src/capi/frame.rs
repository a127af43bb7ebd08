//! Frames that call C: a callback may leave them by `longjmp`, and then nothing after the call is done. What such a frame held is put right
//! at the next entry that can tell.
//!
//! A frame is known by the address of something in it. Stacks grow down, so whoever finds himself at or above that address on the same
//! stack knows that the frame has gone. Only a thread's own stack is judged: on a stack that the program has made, one frame may be
//! suspended while another one runs, wherever they are. (One that it has made out of an array on the thread's own stack is taken for
//! a part of that.) Of two places in one frame either may be the higher one: a function that has one and calls
//! another that has one, of the same handle, is not to have it inlined.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

/// Something in a frame, whose address is that of the frame.
#[derive(Default)]
pub(super) struct Here(Cell<u8>);

/// Where a frame is, or was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame(usize);

impl Here {
    #[inline(always)]
    pub(super) fn frame(&self) -> Frame {
        Frame(ptr::from_ref(&self.0).addr())
    }
}

impl Frame {
    /// Whether this frame, which was one of this thread's, has certainly gone, as seen from `here`.
    pub(super) fn has_gone(self, here: Frame) -> bool {
        let Frame(here) = here;
        self.0 <= here && is_on_own_stack(self.0) && is_on_own_stack(here)
    }
}

fn is_on_own_stack(address: usize) -> bool {
    thread_local! {
        /// From where to where the thread's stack reaches.
        static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    }
    let known = STACK.try_with(|stack| {
        let bounds = stack.get().unwrap_or_else(own_stack);
        stack.set(Some(bounds));
        bounds
    });
    known.is_ok_and(|(first, end)| (first..end).contains(&address))
}

/// Nothing, if the system does not say.
fn own_stack() -> (usize, usize) {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: it takes nothing.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the thread is this one; the attributes are ours, to be initialised.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return (0, 0);
    }
    let (mut first, mut len) = (ptr::null_mut(), 0);
    // SAFETY: they were initialised above, and it writes the two.
    let told = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut first, &raw mut len) };
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if told == 0 { (first.addr(), first.addr() + len) } else { (0, 0) }
}
