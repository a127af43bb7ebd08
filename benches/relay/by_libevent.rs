//! C libevent's bufferevents, whose callbacks move what has arrived to the other output, with the marks of its sample proxy.
#![allow(unsafe_code, reason = "callbacks of a C library are told addresses")]

use std::ffi::{c_short, c_void};
use std::os::fd::OwnedFd;

use crate::traffic::libevent::{CBase, CBev, EV_READ, EV_WRITE};

/// What waits in the output before the other side is not read any more.
pub(crate) const PENDING_MAX: usize = 512 * 1024;

/// What the callbacks know.
struct Course {
    base: CBase,
    from: CBev,
    to: CBev,
    ended: bool,
}

pub(crate) fn relay() -> Box<dyn FnMut(OwnedFd, OwnedFd)> {
    let base = CBase::new();
    Box::new(move |from, to| {
        let (from, to) = (base.owned_socket(from), base.owned_socket(to));
        let course = Box::into_raw(Box::new(Course { base, from, to, ended: false }));
        from.set_callbacks(Some(on_read), None, Some(on_event), course.cast());
        to.set_callbacks(None, Some(on_drained), None, course.cast());
        to.set_write_low_mark(PENDING_MAX / 2);
        to.enable(EV_WRITE);
        from.enable(EV_READ);
        base.dispatch();
        from.free();
        to.free();
        // What was freed is closed when the loop runs next.
        base.dispatch();
        // SAFETY: it was made by a box, and the callbacks that knew it are gone.
        drop(unsafe { Box::from_raw(course) });
    })
}

/// # Safety
/// `course` is that of the bufferevent, and nobody else uses it now.
unsafe extern "C" fn on_read(_: *mut c_void, course: *mut c_void) {
    // SAFETY: as the caller owes.
    let Course { from, to, .. } = unsafe { course.cast::<Course>().as_ref() }.expect("it was given");
    if from.move_input_to(*to) >= PENDING_MAX {
        from.disable(EV_READ);
    }
}

/// # Safety
/// As [`on_read`].
unsafe extern "C" fn on_drained(_: *mut c_void, course: *mut c_void) {
    // SAFETY: as the caller owes.
    let course = unsafe { course.cast::<Course>().as_ref() }.expect("it was given");
    if !course.ended {
        course.from.enable(EV_READ);
    } else if course.to.pending() == 0 {
        course.base.loop_break();
    }
}

/// # Safety
/// As [`on_read`].
unsafe extern "C" fn on_event(_: *mut c_void, _: c_short, course: *mut c_void) {
    // SAFETY: as the caller owes.
    let course = unsafe { course.cast::<Course>().as_mut() }.expect("it was given");
    course.ended = true;
    course.to.set_write_low_mark(0);
    if course.to.pending() == 0 {
        course.base.loop_break();
    }
}
