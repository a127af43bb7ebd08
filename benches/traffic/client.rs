//! A client of HTTP servers: connections of which each sends its next request when it has all of the last answer. It looks at no
//! byte but those of the first answers, and has the kernel throw the others away, so that the server is what takes the time.
#![allow(unsafe_code, reason = "std cannot wait for several sockets")]

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, ptr};

use socket2::SockRef;

use super::Server;
use super::net::PATIENCE;

const EVENTS: usize = 64;
/// Most that is thrown away at once.
const ROOM: usize = 1 << 20;

/// Connections that are all busy at once.
pub(crate) struct Client {
    request: Vec<u8>,
    connections: Vec<Connection>,
    epoll: OwnedFd,
    room: Vec<MaybeUninit<u8>>,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of an answer, head and all: the same every time.
    answer_len: usize,
    /// Bytes of the answer that are still to come; 0 while nothing was asked for.
    left: usize,
}

impl Client {
    /// Connects, and gets `target` once on each connection, which must be `body_len` long.
    pub(crate) fn new(server: &Server, connections: usize, target: &str, body_len: usize) -> Client {
        let request = request_for(target);
        wait_for(server);
        // SAFETY: it takes a flag.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0, "{}", io::Error::last_os_error());
        // SAFETY: it is open, and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let connections = (0..connections).map(|_| Connection::open(server, &request, body_len)).collect();
        let client = Client { request, connections, epoll, room: vec![MaybeUninit::uninit(); ROOM] };
        (0..client.connections.len()).for_each(|index| client.watch(index));
        client
    }

    fn watch(&self, index: usize) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        let (epoll, socket) = (self.epoll.as_raw_fd(), self.connections[index].stream.as_raw_fd());
        // SAFETY: both descriptors are open, and `event` is live.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &raw mut event) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Gets the target so often, on all connections together.
    pub(crate) fn run(&mut self, requests: u64) {
        let (mut to_send, mut to_come) = (requests, requests);
        for connection in self.connections.iter_mut().take(requests as usize) {
            connection.send(&self.request);
            to_send -= 1;
        }
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        while to_come > 0 {
            for index in wait(&self.epoll, &mut events) {
                let connection = &mut self.connections[index];
                if !connection.receive(&mut self.room) {
                    continue;
                }
                to_come -= 1;
                if to_send > 0 {
                    to_send -= 1;
                    connection.send(&self.request);
                }
            }
        }
    }
}

impl Connection {
    fn open(server: &Server, request: &[u8], body_len: usize) -> Connection {
        let mut stream = server.connect();
        let head_len = ask_once(&mut stream, request);
        let mut connection = Connection { stream, answer_len: head_len + body_len, left: body_len };
        let mut room = vec![MaybeUninit::uninit(); ROOM];
        while !connection.receive(&mut room) {}
        connection
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the server reads");
        self.left = self.answer_len;
    }

    /// Throws away what has come; says whether that was the end of the answer.
    fn receive(&mut self, room: &mut [MaybeUninit<u8>]) -> bool {
        let most = self.left.min(room.len());
        let socket = SockRef::from(&self.stream);
        let len = socket.recv_with_flags(&mut room[..most], libc::MSG_TRUNC).expect("the server answers");
        assert!(len > 0, "the server keeps the connection open");
        self.left -= len;
        self.left == 0
    }
}

/// Waits until a server that is about to listen does.
pub(crate) fn wait_for(server: &Server) {
    let begun = Instant::now();
    while TcpStream::connect(server.address()).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the server accepts");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Gets `target`, which is `body_len` long and short, on a connection that is then left alone.
pub(crate) fn get_once(stream: &mut TcpStream, target: &str, body_len: usize) {
    ask_once(stream, &request_for(target));
    stream.read_exact(&mut vec![0; body_len]).expect("the server answers");
}

fn request_for(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// Sends a request and reads the head of its answer; gives how long that is.
fn ask_once(stream: &mut TcpStream, request: &[u8]) -> usize {
    stream.write_all(request).expect("the server reads");
    let head = read_head(stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    head.len()
}

/// Reads to the end of the head and no further.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server answers");
        head.extend(byte);
    }
    String::from_utf8(head).expect("heads are text")
}

/// The numbers of what can be read.
fn wait<'a>(epoll: &OwnedFd, events: &'a mut [libc::epoll_event]) -> impl Iterator<Item = usize> + 'a {
    // SAFETY: `events` is live and has room for as many as are asked for.
    let ready = unsafe {
        libc::epoll_wait(epoll.as_raw_fd(), ptr::from_mut(events).cast(), events.len() as i32, 20_000)
    };
    assert!(ready > 0, "the server answers in time");
    events[..ready as usize].iter().map(|event| event.u64 as usize)
}
