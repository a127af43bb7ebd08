//! The server by C libevent, as the book has it.
#![allow(unsafe_code, reason = "callbacks of a C library are told addresses")]

use std::ffi::{c_int, c_short, c_void};
use std::net::TcpListener;
use std::ptr;

use crate::traffic::libevent::{CBase, CBev, EV_READ, EV_WRITE};

pub(crate) fn serve(listener: TcpListener) {
    let base = CBase::new();
    base.listen(listener, accept);
    base.dispatch();
}

/// # Safety
/// As libevent calls it: `base` is live, `socket` open, and nobody else's.
unsafe extern "C" fn accept(
    _: *mut c_void,
    socket: c_int,
    _: *mut libc::sockaddr,
    _: c_int,
    base: *mut c_void,
) {
    let bev = CBase(base).socket(socket);
    bev.set_callbacks(Some(echo), None, Some(free), ptr::null_mut());
    bev.enable(EV_READ | EV_WRITE);
}

/// # Safety
/// As libevent calls it: `bev` is live.
unsafe extern "C" fn echo(bev: *mut c_void, _: *mut c_void) {
    CBev(bev).move_input_to(CBev(bev));
}

/// # Safety
/// As libevent calls it: `bev` is live.
unsafe extern "C" fn free(bev: *mut c_void, _: c_short, _: *mut c_void) {
    CBev(bev).free();
}
