//! An HTTP client as blunt as a test needs it, and a server of this crate on a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use zerovent::EventBase;
use zerovent::event_base::Remote;
use zerovent::http::{Routes, Server, ServerOptions, StaticFiles};

use super::net::{PATIENCE, any_port};

/// One response, its body included.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field that is there once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Whether the server said that this was the last response.
    pub fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }
}

/// The head of a response, with the length of the body that follows.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub length: u64,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).expect("it accepts"))
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Client { reader: BufReader::with_capacity(64 << 10, stream) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Client {
        self.reader.get_mut().write_all(text.as_ref()).expect("it is taken");
        self
    }

    /// Sends a GET with further `fields`, each with its line break.
    pub fn send_get(&mut self, target: &str, fields: &str) -> &mut Client {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send_get(target, "").response()
    }

    pub fn get_with(&mut self, target: &str, fields: &str) -> Response {
        self.send_get(target, fields).response()
    }

    /// A request without a body, by any method.
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        if method == "HEAD" { self.head_response() } else { self.response() }
    }

    pub fn finish_sending(&mut self) -> &mut Client {
        self.stream().shutdown(Shutdown::Write).expect("it is connected");
        self
    }

    /// The next response to a request that is no HEAD.
    pub fn response(&mut self) -> Response {
        let head = self.head();
        let mut body = vec![0; usize::try_from(head.length).expect("it fits")];
        self.reader.read_exact(&mut body).expect("the body is there in full");
        Response { status: head.status, fields: head.fields, body }
    }

    /// `length` bytes of a body, unless the connection ends before.
    pub fn try_body(&mut self, length: u64) -> Option<Vec<u8>> {
        let mut body = vec![0; usize::try_from(length).expect("it fits")];
        self.reader.read_exact(&mut body).ok().map(|()| body)
    }

    /// The body of a response whose head has been read: chunked, or up to the end of the connection.
    pub fn body(&mut self, head: &Head) -> Vec<u8> {
        let mut body = Vec::new();
        if !head.fields.iter().any(|(name, value)| name == "Transfer-Encoding" && value == "chunked") {
            return self.rest();
        }
        loop {
            let size = self.line().expect("the size of a chunk");
            let size = usize::from_str_radix(&size, 16).expect("a hexadecimal size");
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..]).expect("the chunk is there in full");
            assert_eq!(self.line().as_deref(), Some(""), "an empty line ends a chunk");
            if size == 0 {
                return body;
            }
        }
    }

    /// Whatever comes until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).expect("it ends");
        rest
    }

    /// The next response to a HEAD: its head, which must have no body behind it.
    pub fn head_response(&mut self) -> Response {
        let head = self.head();
        Response { status: head.status, fields: head.fields, body: Vec::new() }
    }

    /// The head of the next response.
    pub fn head(&mut self) -> Head {
        self.try_head().expect("there is a response")
    }

    /// The head of the next response, unless the connection has ended.
    pub fn try_head(&mut self) -> Option<Head> {
        let status_line = self.line()?;
        let mut words = status_line.splitn(3, ' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{status_line}");
        let status = words.next().and_then(|word| word.parse().ok()).expect("a status");
        assert!(words.next().is_some_and(|reason| !reason.is_empty()), "{status_line}");
        let mut fields = Vec::new();
        loop {
            let line = self.line().expect("the head is there in full");
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").expect("a field");
            fields.push((name.to_owned(), value.to_owned()));
        }
        let length = fields.iter().find(|(name, _)| name == "Content-Length");
        let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        Some(Head { status, fields, length })
    }

    /// A line without its CR LF, unless the connection has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.strip_suffix("\r\n").expect("CR LF ends a line").to_owned()),
        }
    }

    /// The SHA-256 of the next `length` bytes, read `step` at a time with `pause` after each; `None` when the
    /// connection ends first.
    pub fn digest(&mut self, length: u64, step: usize, mut pause: impl FnMut()) -> Option<[u8; 32]> {
        let mut hasher = Sha256::new();
        let mut left = length;
        let mut piece = vec![0; step];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(step).min(step);
            match self.reader.read(&mut piece[..wanted]) {
                Ok(0) | Err(_) => return None,
                Ok(read) => {
                    hasher.update(&piece[..read]);
                    left -= read as u64;
                }
            }
            pause();
        }
        Some(hasher.finalize().into())
    }

    /// Whether the next bytes are these, all of them.
    pub fn receives(&mut self, expected: &[u8]) -> bool {
        let mut piece = vec![0; 64 << 10];
        expected.chunks(piece.len()).all(|expected| {
            let piece = &mut piece[..expected.len()];
            self.reader.read_exact(piece).is_ok() && piece == expected
        })
    }

    /// Whether the server closes without sending anything more. A reset counts: it is a close.
    pub fn is_closed(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The routes of such a server.
pub type Served = Routes<Option<Server>>;

/// A server of this crate on a loop of its own thread, shut down when dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    remote: Remote<Option<Server>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves `root` with the given settings.
    pub fn start(root: &Path, options: ServerOptions) -> Running {
        Running::start_with(root, options, |_| {})
    }

    /// Serves `root`, after `prepare` has been called with the server on its thread.
    pub fn start_with(
        root: &Path,
        options: ServerOptions,
        prepare: impl FnOnce(&Server) + Send + 'static,
    ) -> Running {
        let root = root.to_owned();
        Running::spawn(options, move || StaticFiles::new(root).expect("a directory").into(), prepare)
    }

    /// Serves `root` with the default settings, as `configure` has changed what becomes of its files.
    pub fn start_files(
        root: &Path,
        configure: impl FnOnce(StaticFiles) -> StaticFiles + Send + 'static,
    ) -> Running {
        let root = root.to_owned();
        let files = move || configure(StaticFiles::new(root).expect("a directory")).into();
        Running::spawn(ServerOptions::new(), files, |_| {})
    }

    /// Serves what `routes` gives, which is called on the server's thread.
    pub fn serve(options: ServerOptions, routes: impl FnOnce() -> Served + Send + 'static) -> Running {
        Running::spawn(options, routes, |_| {})
    }

    fn spawn(
        options: ServerOptions,
        routes: impl FnOnce() -> Served + Send + 'static,
        prepare: impl FnOnce(&Server) + Send + 'static,
    ) -> Running {
        let (started, starts) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut base = EventBase::with_context(None).expect("a base");
            let server = Server::bind(&mut base, any_port(), options, routes()).expect("a free port");
            prepare(&server);
            started.send((server.local_addr(), base.remote())).expect("somebody waits");
            *base.context_mut() = Some(server);
            base.dispatch().expect("the loop works");
        });
        let (address, remote) = starts.recv().expect("it starts");
        Running { address, remote, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Runs `task` on the server's thread and gives what it returns. Of the memory that this costs, the
    /// server's thread allocates nothing.
    pub fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut EventBase<Option<Server>>) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = mpsc::sync_channel(1);
        let ask = move |base: &mut EventBase<Option<Server>>| drop(sender.send(task(base)));
        self.remote.run(ask).expect("it runs");
        answer.recv_timeout(PATIENCE).expect("it answers")
    }

    /// How many connections the server has.
    pub fn connections(&self) -> usize {
        self.ask(|base| base.context().as_ref().map_or(0, Server::connections))
    }

    /// Asks the server to finish, without waiting for it.
    pub fn begin_shutdown(&self) {
        let shut_down = |base: &mut EventBase<Option<Server>>| {
            if let Some(server) = base.context_mut().take() {
                server.shutdown(base).expect("it is this base");
            }
        };
        // The loop may have ended by itself already.
        let _ = self.remote.run(shut_down);
    }

    /// Asks the server to finish and waits until its loop has run out of work.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.begin_shutdown();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}
