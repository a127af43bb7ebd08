//! The least that does the job: epoll, one file, a head that was made beforehand and leaves with MSG_MORE, and sendfile. Whatever is asked
//! for in one piece, it is that file.
#![allow(unsafe_code, reason = "it is made of system calls")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::path::Path;
use std::{io, ptr};

use crate::traffic;

const EVENTS: usize = 256;
const REQUEST_MAX: usize = 4096;
/// The most that one sendfile sends.
const PIECE: u64 = 1 << 20;

struct Site {
    epoll: RawFd,
    listener: TcpListener,
    file: File,
    head: Vec<u8>,
    len: u64,
    /// What has not been sent yet, of connections that are not done.
    left: HashMap<RawFd, u64>,
}

pub(crate) fn serve(root: &Path) {
    let mut site = Site::new(root);
    site.watch(site.listener.as_raw_fd(), libc::EPOLLIN);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        // SAFETY: `events` is live and has room for as many as are asked for.
        let ready = unsafe { libc::epoll_wait(site.epoll, events.as_mut_ptr(), EVENTS as i32, -1) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            site.act(event.u64 as RawFd);
        }
    }
}

impl Site {
    fn new(root: &Path) -> Site {
        let listener = traffic::listen();
        let mut entries = fs::read_dir(root).expect("a directory");
        let path = entries.next().expect("one file").expect("one file").path();
        let file = File::open(path).expect("a file of the bench");
        let len = file.metadata().expect("it is open").len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
        // SAFETY: it takes a flag.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0, "{}", io::Error::last_os_error());
        Site { epoll, listener, file, head, len, left: HashMap::new() }
    }

    fn watch(&self, fd: RawFd, events: i32) {
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        // SAFETY: both descriptors are open, and `event` is live.
        let result = unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    fn act(&mut self, fd: RawFd) {
        if fd == self.listener.as_raw_fd() {
            let (stream, _) = self.listener.accept().expect("a connection is there");
            stream.set_nonblocking(true).expect("a socket can be that");
            self.watch(stream.into_raw_fd(), libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET);
        } else if self.left.contains_key(&fd) {
            self.send_file(fd);
        } else {
            self.answer(fd);
        }
    }

    fn answer(&mut self, fd: RawFd) {
        let mut request = [0_u8; REQUEST_MAX];
        // SAFETY: `request` is live and as long as said.
        match unsafe { libc::recv(fd, request.as_mut_ptr().cast(), REQUEST_MAX, 0) } {
            0 => {
                // SAFETY: the descriptor is nobody else's.
                unsafe { libc::close(fd) };
            }
            1.. => {
                let flags = libc::MSG_NOSIGNAL | libc::MSG_MORE;
                // SAFETY: the head is live and as long as said.
                let sent = unsafe { libc::send(fd, self.head.as_ptr().cast(), self.head.len(), flags) };
                assert_eq!(sent, self.head.len() as isize, "an idle socket has room for a head");
                self.left.insert(fd, self.len);
                self.send_file(fd);
            }
            _ => {}
        }
    }

    fn send_file(&mut self, fd: RawFd) {
        let left = self.left.get_mut(&fd).expect("it was asked for");
        while *left > 0 {
            let mut offset = (self.len - *left) as libc::off_t;
            let piece = (*left).min(PIECE) as usize;
            // SAFETY: both descriptors are open, and `offset` is live.
            let sent =
                unsafe { libc::sendfile(fd, self.file.as_raw_fd(), ptr::from_mut(&mut offset), piece) };
            match u64::try_from(sent) {
                Ok(sent) => *left -= sent,
                Err(_) => return, // the next edge says when there is room
            }
        }
        self.left.remove(&fd);
    }
}
