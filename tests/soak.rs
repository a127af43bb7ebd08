//! Many connections at once, for their whole lives: each echoes 256 KiB in random pieces with random pauses, one in twenty is reset
//! on the way. Every stream that survives is identical, byte by byte; no connection holds more than its marks; and nothing stays.
//!
//! The clients are a process of their own, as one process may have only so many descriptors. A debug run is small; the
//! environment variable `ZEROVENT_SOAK` says how many connections there are to be.

mod support;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use support::net;
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, MAX_SINGLE_READ, Options};
use zerovent::event_base::Interest;
use zerovent::listener::ListenOptions;

#[global_allocator]
static ALLOCATOR: support::alloc::Counting = support::alloc::Counting;

const LEN: usize = 256 * 1024;
const PIECE_MAX: usize = 16 * 1024;
/// An echo does not read while so much of its answers waits.
const MARK: usize = 32 * 1024;
/// What a connection holds beside its bytes: its slot, its callbacks, buffers with their nodes.
const OVERHEAD: usize = 8 * 1024;
/// Connections that are being set up at a time; the rest wait for their turn, not in a listener's queue.
const OPENING_MAX: usize = 500;
const CLIENTS: &str = "ZEROVENT_TEST_SOAK_CLIENTS_OF";

fn connections() -> usize {
    std::env::var("ZEROVENT_SOAK").map_or(300, |number| number.parse().unwrap())
}

#[test]
fn every_stream_survives_intact_or_is_reset_and_nothing_stays() {
    if let Ok(address) = std::env::var(CLIENTS) {
        return be_the_clients(address.parse().unwrap());
    }
    let descriptors = net::open_descriptors();
    let (stats, peak) = support::alloc::peak(serve_all);
    let bound = connections() * (MARK + MAX_SINGLE_READ + OVERHEAD);
    assert!(peak <= bound as isize, "{peak} bytes at a time, more than {bound}");
    assert!(stats.most_held <= MARK + MAX_SINGLE_READ, "one held {} bytes", stats.most_held);
    assert_eq!((stats.accepted, stats.open), (connections(), 0));
    assert!(stats.most_open > connections() / 2, "only {} at a time", stats.most_open);
    assert!(stats.resets > 0, "nobody was reset");
    assert_eq!(net::open_descriptors(), descriptors);
}

/// What the server sees.
#[derive(Debug, Default, Clone, Copy)]
struct Stats {
    accepted: usize,
    open: usize,
    resets: usize,
    most_held: usize,
    most_open: usize,
}

fn serve_all() -> Stats {
    let mut base = EventBase::with_context(Stats::default()).unwrap();
    let listener =
        base.listen(net::any_port(), &ListenOptions::new(), |base, _, fd, _| welcome(base, fd)).unwrap();
    let address = base.listener(listener).unwrap().address().as_inet().unwrap();
    let slots = base.stats().slots;
    let (remote, clients) = (base.remote(), start_clients(address));
    let watcher = thread::spawn(move || {
        let output = clients.wait_with_output().unwrap();
        remote.run(|base| base.loop_break()).unwrap();
        output
    });
    base.dispatch().unwrap();
    let output = watcher.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The last ends of streams may have come just behind the clients' own end.
    net::run_for(&mut base, Duration::from_millis(100));
    assert_eq!(base.stats().slots, slots, "a bufferevent is left");
    *base.context()
}

fn welcome(base: &mut EventBase<Stats>, fd: std::os::fd::OwnedFd) {
    let id = base.new_socket(Some(fd), &Options::new()).unwrap();
    base.set_read_callback(id, echo).unwrap();
    base.set_event_callback(id, end).unwrap();
    base.pause_while_above(id, id, Some(MARK)).unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    let stats = base.context_mut();
    (stats.accepted, stats.open) = (stats.accepted + 1, stats.open + 1);
    stats.most_open = stats.most_open.max(stats.open);
}

fn echo(base: &mut EventBase<Stats>, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).unwrap().buffers();
    output.add_buffer(input).unwrap();
    let held = output.len();
    let stats = base.context_mut();
    stats.most_held = stats.most_held.max(held);
}

fn end(base: &mut EventBase<Stats>, id: BuffereventId, events: BevEvents) {
    let stats = base.context_mut();
    stats.open -= 1;
    if events.contains(BevEvents::EOF) {
        base.free_after_flush(id, net::PATIENCE).unwrap();
    } else {
        assert!(events.contains(BevEvents::ERROR), "{events:?}");
        stats.resets += 1;
        base.free_bufferevent(id).unwrap();
    }
}

/// This very test, in a process where it finds the address in its environment.
fn start_clients(address: SocketAddr) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "every_stream_survives_intact_or_is_reset_and_nothing_stays", "--nocapture"]);
    command.env(CLIENTS, address.to_string());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

/// One connection as its client sees it.
struct Client {
    stream: TcpStream,
    chance: Chance,
    /// Where its bytes begin in what all of them have in common.
    offset: usize,
    sent: usize,
    received: usize,
    /// After so many bytes it resets the connection.
    reset_at: Option<usize>,
}

fn be_the_clients(address: SocketAddr) {
    let source = Rc::new(net::pattern(2 * LEN, 1));
    let done = Cell::new(0);
    let mut waiting = (0..connections()).collect::<Vec<_>>();
    let mut clients: Vec<Client> = Vec::new();
    while !waiting.is_empty() || !clients.is_empty() {
        for number in waiting.drain(waiting.len().saturating_sub(OPENING_MAX)..) {
            clients.push(Client::new(address, number));
        }
        let mut has_moved = false;
        clients.retain_mut(|client| {
            let before = (client.sent, client.received);
            let goes_on = client.go_on(&source);
            has_moved |= before != (client.sent, client.received);
            if !goes_on {
                done.set(done.get() + 1);
            }
            goes_on
        });
        if !has_moved {
            thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(done.get(), connections());
}

impl Client {
    fn new(address: SocketAddr, number: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut chance = Chance(number as u64 * 2 + 1);
        let reset_at = (number % 20 == 7).then(|| chance.below(LEN));
        Client { stream, offset: chance.below(LEN), chance, sent: 0, received: 0, reset_at }
    }

    /// Moves a piece or two, or pauses. Says whether there is more to do.
    fn go_on(&mut self, source: &[u8]) -> bool {
        if self.chance.below(4) == 0 {
            return true;
        }
        let expected = &source[self.offset..self.offset + LEN];
        if self.sent < LEN {
            let piece = (1 + self.chance.below(PIECE_MAX)).min(LEN - self.sent);
            self.sent += moved(self.stream.write(&expected[self.sent..self.sent + piece]));
            if self.sent == LEN {
                self.stream.shutdown(Shutdown::Write).unwrap();
            }
        }
        if self.reset_at.is_some_and(|at| self.sent >= at) {
            // Closed without lingering, a connection is reset.
            socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
            return false;
        }
        self.receive(expected)
    }

    fn receive(&mut self, expected: &[u8]) -> bool {
        let mut piece = vec![0; 1 + self.chance.below(PIECE_MAX)];
        match self.stream.read(&mut piece) {
            Ok(0) => {
                assert_eq!(self.received, LEN, "the end came early");
                false
            }
            result => {
                let count = moved(result);
                let place = self.received;
                assert!(piece[..count] == expected[place..place + count], "bytes differ after {place}");
                self.received += count;
                true
            }
        }
    }
}

/// How much a call moved that may have had nothing to move.
fn moved(result: io::Result<usize>) -> usize {
    match result {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// A xorshift generator, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}
