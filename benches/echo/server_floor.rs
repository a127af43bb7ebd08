//! The least that does the job: epoll, one buffer, and not a thought for what does not fit into it.
#![allow(unsafe_code, reason = "it is made of system calls")]

use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::{io, ptr};

const EVENTS: usize = 256;
const BUFFER_LEN: usize = 64 * 1024;

pub(crate) fn serve(listener: &TcpListener) {
    // SAFETY: it takes a flag.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0, "{}", io::Error::last_os_error());
    watch(epoll, listener.as_raw_fd());
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        // SAFETY: `events` is live and has room for as many as are asked for.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as i32, -1) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                accept(epoll, listener);
            } else {
                echo(fd, &mut buffer);
            }
        }
    }
}

fn watch(epoll: RawFd, fd: RawFd) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
    // SAFETY: both descriptors are open, and `event` is live.
    let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn accept(epoll: RawFd, listener: &TcpListener) {
    let (stream, _) = listener.accept().expect("a connection is there");
    stream.set_nonblocking(true).expect("a socket can be that");
    watch(epoll, stream.into_raw_fd());
}

fn echo(fd: RawFd, buffer: &mut [u8]) {
    // SAFETY: `buffer` is live and as long as said.
    let len = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if len <= 0 {
        // SAFETY: the descriptor is nobody else's.
        unsafe { libc::close(fd) };
        return;
    }
    // SAFETY: `buffer` is live and holds that much.
    let sent = unsafe { libc::send(fd, ptr::from_ref(buffer).cast(), len as usize, libc::MSG_NOSIGNAL) };
    assert_eq!(sent, len, "the socket has room for what it has just brought");
}
