//! C libevent's HTTP server: the way its manual and its sample have it, with `evbuffer_add_file` for every request, and the best that can be
//! made of it, with a segment that is kept, sendfile, and 1 MiB a write. Both have TCP_NODELAY from the socket that listens.
#![allow(unsafe_code, reason = "calling a C library is unsafe; each block says what the callee is owed")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::foreign::library;
use libc::{off_t, size_t};

use crate::traffic;

/// Addresses of C's structures.
type Raw = *mut c_void;
type OnRequest = unsafe extern "C" fn(Raw, Raw);

// The types are those of event2/event.h, http.h, buffer.h and bufferevent.h of this version.
library! {
    // Its name in every Linux distribution that has this version.
    "libevent-2.1.so.7";
    event_base_new: () -> Raw;
    event_base_dispatch: (Raw) -> c_int;
    evhttp_new: (Raw) -> Raw;
    evhttp_accept_socket: (Raw, c_int) -> c_int;
    evhttp_set_gencb: (Raw, OnRequest, Raw);
    evhttp_request_get_uri: (Raw) -> *const c_char;
    evhttp_request_get_connection: (Raw) -> Raw;
    evhttp_connection_get_bufferevent: (Raw) -> Raw;
    evhttp_send_reply: (Raw, c_int, *const c_char, Raw);
    evbuffer_new: () -> Raw;
    evbuffer_free: (Raw);
    evbuffer_set_flags: (Raw, u64) -> c_int;
    evbuffer_add_file: (Raw, c_int, off_t, off_t) -> c_int;
    evbuffer_file_segment_new: (c_int, off_t, off_t, c_uint) -> Raw;
    evbuffer_add_file_segment: (Raw, Raw, off_t, off_t) -> c_int;
    bufferevent_set_max_single_write: (Raw, size_t) -> c_int;
}

const EVBUFFER_FLAG_DRAINS_TO_FD: u64 = 1;
const EVBUF_FS_CLOSE_ON_FREE: c_uint = 1;
const MAX_SINGLE_WRITE: size_t = 1 << 20;

/// What the callback knows.
struct Site {
    root: PathBuf,
    /// The segments that are kept; nothing when there is to be a new file for each request.
    segments: Option<HashMap<CString, Raw>>,
}

pub(crate) fn serve(root: &Path, is_tuned: bool) {
    let listener = traffic::listen();
    listener.set_nonblocking(true).expect("a socket can be that");
    let site = Site { root: root.to_owned(), segments: is_tuned.then(HashMap::new) };
    let site: *mut Site = Box::into_raw(Box::new(site));
    // SAFETY: it takes nothing.
    let base = unsafe { (api().event_base_new)() };
    // SAFETY: the base is live.
    let http = unsafe { (api().evhttp_new)(base) };
    // SAFETY: the server is live, and so is what the callback is told, for as long as the process.
    unsafe { (api().evhttp_set_gencb)(http, answer, site.cast()) };
    // SAFETY: the server is live, and the socket is given away.
    let accepts = unsafe { (api().evhttp_accept_socket)(http, listener.into_raw_fd()) };
    assert_eq!(accepts, 0, "evhttp takes a listening socket");
    // SAFETY: the base is live.
    unsafe { (api().event_base_dispatch)(base) };
}

/// # Safety
/// As libevent calls it: `request` is live, and `site` that of the server.
unsafe extern "C" fn answer(request: Raw, site: Raw) {
    // SAFETY: as the caller owes; nobody else looks at it.
    let site = unsafe { site.cast::<Site>().as_mut() }.expect("it was given");
    // SAFETY: the request is live.
    let uri = unsafe { (api().evhttp_request_get_uri)(request) };
    // SAFETY: it is a string that lives as long as the request.
    let uri = unsafe { CStr::from_ptr(uri) };
    // SAFETY: it takes nothing.
    let body = unsafe { (api().evbuffer_new)() };
    if site.segments.is_some() {
        site.write_much(request);
        site.add_kept(body, uri);
    } else {
        site.add_file(body, uri);
    }
    // SAFETY: the request and the buffer are live, and the reason is a string.
    unsafe { (api().evhttp_send_reply)(request, 200, c"OK".as_ptr(), body) };
    // SAFETY: nobody else has the buffer.
    unsafe { (api().evbuffer_free)(body) };
}

impl Site {
    /// The file that `uri` names, open, and its length.
    fn open(&self, uri: &CStr) -> (c_int, off_t) {
        let name = uri.to_bytes().strip_prefix(b"/").expect("a path");
        let file = File::open(self.root.join(OsStr::from_bytes(name))).expect("a file of the bench");
        let len = file.metadata().expect("it is open").len();
        (file.into_raw_fd(), len as off_t)
    }

    fn add_file(&self, body: Raw, uri: &CStr) {
        let (fd, len) = self.open(uri);
        // SAFETY: the buffer is live, and the descriptor is given away.
        let added = unsafe { (api().evbuffer_add_file)(body, fd, 0, len) };
        assert_eq!(added, 0, "a file can be added");
    }

    /// Adds the segment of that file by sendfile.
    fn add_kept(&mut self, body: Raw, uri: &CStr) {
        let segment = self.kept(uri);
        // SAFETY: the buffer is live.
        unsafe { (api().evbuffer_set_flags)(body, EVBUFFER_FLAG_DRAINS_TO_FD) };
        // SAFETY: both are live; -1 stands for all of it.
        let added = unsafe { (api().evbuffer_add_file_segment)(body, segment, 0, -1) };
        assert_eq!(added, 0, "a segment can be added");
    }

    fn kept(&mut self, uri: &CStr) -> Raw {
        if let Some(segment) = self.segments.as_ref().and_then(|kept| kept.get(uri)) {
            return *segment;
        }
        let (fd, len) = self.open(uri);
        // SAFETY: the descriptor is given away.
        let segment = unsafe { (api().evbuffer_file_segment_new)(fd, 0, len, EVBUF_FS_CLOSE_ON_FREE) };
        assert_ne!(segment, ptr::null_mut(), "a file can be a segment");
        self.segments.get_or_insert_default().insert(uri.to_owned(), segment);
        segment
    }

    /// Lets the request's connection write as much at once as it can.
    fn write_much(&self, request: Raw) {
        // SAFETY: the request is live.
        let connection = unsafe { (api().evhttp_request_get_connection)(request) };
        // SAFETY: it lives as long as the request.
        let bufferevent = unsafe { (api().evhttp_connection_get_bufferevent)(connection) };
        // SAFETY: it lives as long as its connection.
        unsafe { (api().bufferevent_set_max_single_write)(bufferevent, MAX_SINGLE_WRITE) };
    }
}
