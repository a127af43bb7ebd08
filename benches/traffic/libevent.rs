//! C libevent's bufferevents, as far as a server needs them; loaded at run time.
#![allow(dead_code, reason = "each bench uses its own part")]
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::ffi::{CStr, c_char, c_int, c_short, c_uint, c_void};
use std::net::TcpListener;
use std::os::fd::{IntoRawFd, OwnedFd};

use crate::foreign::library;
use libc::size_t;

/// Addresses of C's structures.
type Raw = *mut c_void;
pub(crate) type OnData = unsafe extern "C" fn(Raw, Raw);
pub(crate) type OnEvent = unsafe extern "C" fn(Raw, c_short, Raw);
pub(crate) type OnAccept = unsafe extern "C" fn(Raw, c_int, *mut libc::sockaddr, c_int, Raw);

// The types are those of event2/event.h, bufferevent.h, buffer.h and listener.h of this version.
library! {
    // Its name in every Linux distribution that has this version.
    "libevent-2.1.so.7";
    event_get_version: () -> *const c_char;
    event_base_new: () -> Raw;
    event_base_dispatch: (Raw) -> c_int;
    event_base_loopbreak: (Raw) -> c_int;
    evconnlistener_new: (Raw, OnAccept, Raw, c_uint, c_int, c_int) -> Raw;
    bufferevent_socket_new: (Raw, c_int, c_int) -> Raw;
    bufferevent_free: (Raw);
    bufferevent_setcb: (Raw, Option<OnData>, Option<OnData>, Option<OnEvent>, Raw);
    bufferevent_enable: (Raw, c_short) -> c_int;
    bufferevent_disable: (Raw, c_short) -> c_int;
    bufferevent_setwatermark: (Raw, c_short, size_t, size_t);
    bufferevent_get_input: (Raw) -> Raw;
    bufferevent_get_output: (Raw) -> Raw;
    evbuffer_get_length: (Raw) -> size_t;
    evbuffer_add_buffer: (Raw, Raw) -> c_int;
}

pub(crate) const EV_READ: c_short = 2;
pub(crate) const EV_WRITE: c_short = 4;
const BEV_OPT_CLOSE_ON_FREE: c_int = 1;
const LEV_OPT_CLOSE_ON_FREE: c_uint = 2;

/// The version of the library.
///
/// # Errors
/// Why there is none, in the loader's words.
pub(crate) fn version() -> Result<String, String> {
    let api = loaded().as_ref().map_err(Clone::clone)?;
    // SAFETY: it takes nothing and gives a constant string.
    let name = unsafe { (api.event_get_version)() };
    // SAFETY: the string ends in a NUL and lives as long as the library, which is never unloaded.
    Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Why there is nothing to compare with, if that is so.
pub(crate) fn missing() -> Option<String> {
    if cfg!(feature = "compare") {
        version().err()
    } else {
        Some("it needs the feature `compare`".to_owned())
    }
}

/// An event base, which lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) struct CBase(pub(crate) Raw);

impl CBase {
    pub(crate) fn new() -> CBase {
        // SAFETY: it takes nothing.
        CBase(unsafe { (api().event_base_new)() })
    }

    pub(crate) fn dispatch(self) {
        // SAFETY: the base is live.
        let result = unsafe { (api().event_base_dispatch)(self.0) };
        assert!(result >= 0, "libevent's loop runs");
    }

    pub(crate) fn loop_break(self) {
        // SAFETY: the base is live.
        unsafe { (api().event_base_loopbreak)(self.0) };
    }

    /// Calls `accept` with every connection, for as long as the process lives.
    pub(crate) fn listen(self, listener: TcpListener, accept: OnAccept) {
        listener.set_nonblocking(true).expect("a socket can be that");
        let fd = listener.into_raw_fd();
        // SAFETY: the base is live and `fd` a listening socket, which is given away. It is also the callback's argument.
        let made =
            unsafe { (api().evconnlistener_new)(self.0, accept, self.0, LEV_OPT_CLOSE_ON_FREE, 0, fd) };
        assert!(!made.is_null(), "libevent has listeners");
    }

    pub(crate) fn socket(self, socket: c_int) -> CBev {
        // SAFETY: the base is live, and the socket is given away.
        let made = unsafe { (api().bufferevent_socket_new)(self.0, socket, BEV_OPT_CLOSE_ON_FREE) };
        assert!(!made.is_null(), "libevent has bufferevents");
        CBev(made)
    }

    pub(crate) fn owned_socket(self, socket: OwnedFd) -> CBev {
        self.socket(socket.into_raw_fd())
    }
}

/// A bufferevent. INV-1: it is live; whoever frees it forgets it.
#[derive(Clone, Copy)]
pub(crate) struct CBev(pub(crate) Raw);

impl CBev {
    pub(crate) fn set_callbacks(
        self,
        read: Option<OnData>,
        write: Option<OnData>,
        event: Option<OnEvent>,
        argument: Raw,
    ) {
        // SAFETY: INV-1, and the callbacks know what `argument` is.
        unsafe { (api().bufferevent_setcb)(self.0, read, write, event, argument) };
    }

    pub(crate) fn enable(self, directions: c_short) {
        // SAFETY: INV-1.
        unsafe { (api().bufferevent_enable)(self.0, directions) };
    }

    pub(crate) fn disable(self, directions: c_short) {
        // SAFETY: INV-1.
        unsafe { (api().bufferevent_disable)(self.0, directions) };
    }

    pub(crate) fn set_write_low_mark(self, bytes: usize) {
        // SAFETY: INV-1.
        unsafe { (api().bufferevent_setwatermark)(self.0, EV_WRITE, bytes, 0) };
    }

    /// Moves its input to the output of `other`, and says how long that is then.
    pub(crate) fn move_input_to(self, other: CBev) -> usize {
        // SAFETY: INV-1.
        let input = unsafe { (api().bufferevent_get_input)(self.0) };
        // SAFETY: INV-1.
        let output = unsafe { (api().bufferevent_get_output)(other.0) };
        // SAFETY: both buffers live as long as their bufferevents.
        let result = unsafe { (api().evbuffer_add_buffer)(output, input) };
        assert_eq!(result, 0, "nodes can be moved");
        other.pending()
    }

    /// Bytes in its output.
    pub(crate) fn pending(self) -> usize {
        // SAFETY: INV-1.
        let output = unsafe { (api().bufferevent_get_output)(self.0) };
        // SAFETY: it lives as long as its bufferevent.
        unsafe { (api().evbuffer_get_length)(output) }
    }

    pub(crate) fn free(self) {
        // SAFETY: INV-1; the caller forgets it.
        unsafe { (api().bufferevent_free)(self.0) };
    }
}
