//! `event2/util.h`: what programs use libevent for besides its loop. Sockets and chance are here.

mod address;
mod resolve;
mod text;
mod time;

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::slice;

use super::layout::Socket;
use super::log;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_socketpair(
    family: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut Socket,
) -> c_int {
    // SAFETY: C2, two can be written; the kernel refuses an address that is none.
    unsafe { libc::socketpair(family, kind, protocol, pair) }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_closesocket(socket: Socket) -> c_int {
    // SAFETY: C says that it is its own to close.
    unsafe { libc::close(socket) }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_socket_nonblocking(socket: Socket) -> c_int {
    set_flag(socket, (libc::F_GETFL, "F_GETFL"), (libc::F_SETFL, "F_SETFL"), libc::O_NONBLOCK)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_socket_closeonexec(socket: Socket) -> c_int {
    set_flag(socket, (libc::F_GETFD, "F_GETFD"), (libc::F_SETFD, "F_SETFD"), libc::FD_CLOEXEC)
}

/// Sets a flag of a descriptor, if it is not set. An error is logged; `errno` says which.
fn set_flag(socket: Socket, get: (c_int, &str), set: (c_int, &str), flag: c_int) -> c_int {
    // SAFETY: fcntl(2) takes any numbers, and this command no argument.
    let flags = unsafe { libc::fcntl(socket, get.0) };
    if flags < 0 {
        return failed(socket, get.1);
    }
    if flags & flag != 0 {
        return 0;
    }
    // SAFETY: as above, with an int.
    if unsafe { libc::fcntl(socket, set.0, flags | flag) } < 0 { failed(socket, set.1) } else { 0 }
}

fn failed(socket: Socket, command: &str) -> c_int {
    let error = io::Error::last_os_error();
    log::warn(format_args!("fcntl({socket}, {command}): {error}"));
    super::errno::set_from_io(&error);
    -1
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_listen_socket_reuseable(socket: Socket) -> c_int {
    turn_on(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_listen_socket_reuseable_port(socket: Socket) -> c_int {
    turn_on(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_listen_socket_ipv6only(socket: Socket) -> c_int {
    turn_on(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_make_tcp_listen_socket_deferred(socket: Socket) -> c_int {
    turn_on(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT)
}

fn turn_on(socket: Socket, level: c_int, option: c_int) -> c_int {
    let one: c_int = 1;
    let (value, len) = ((&raw const one).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the option is an int, which is live.
    unsafe { libc::setsockopt(socket, level, option, value, len) }
}

/// There is nothing to make ready: the kernel is asked for each byte.
#[unsafe(no_mangle)]
extern "C-unwind" fn evutil_secure_rng_init() -> c_int {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_secure_rng_get_bytes(target: *mut c_void, len: usize) {
    if target.is_null() || len == 0 {
        return;
    }
    // SAFETY: C2; what was there is not read.
    let target = unsafe { slice::from_raw_parts_mut(target.cast::<u8>(), len) };
    if let Err(error) = crate::util::secure_random_bytes(target) {
        // There is no way to say so, and whatever is there would be taken for chance.
        log::warn(format_args!("no random bytes: {error}"));
        std::process::abort();
    }
}

/// The kernel mixes better than we could; what the caller knows adds nothing to that.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_secure_rng_add_bytes(_bytes: *const c_char, _len: usize) {}

/// No file is needed.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn evutil_secure_rng_set_urandom_device_file(_name: *mut c_char) -> c_int {
    0
}
