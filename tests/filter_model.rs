//! Random bytes through random stacks of filters, with random marks, enabling, reading and flushing: what arrives is exactly
//! what was sent, and nothing stays behind.

mod support;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use support::events::Random;
use support::filters::{KINDS, Kind, closures};
use support::net::{PATIENCE, pattern, tcp_pair};
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, FlushMode, Options};
use zerovent::event_base::{Interest, Run};

const BOTH: Interest = Interest::READ.union(Interest::WRITE);

/// How the receiver's stream has ended, if it has.
type Base = EventBase<Option<BevEvents>>;

struct Stacks {
    base: Base,
    random: Random,
    /// From the bottom to the top.
    sender: Vec<BuffereventId>,
    receiver: Vec<BuffereventId>,
    received: Vec<u8>,
}

impl Stacks {
    fn new(seed: u64, kinds: &[Kind], sockets: bool) -> Self {
        let mut base = EventBase::with_context(None).unwrap();
        let (near, far) =
            if sockets { socket_ends(&mut base) } else { base.new_pair(&Options::new()).unwrap() };
        let sender = stack(&mut base, near, kinds);
        let receiver = stack(&mut base, far, kinds);
        let top = *receiver.last().unwrap();
        base.set_event_callback(top, |base, _, events| *base.context_mut() = Some(events)).unwrap();
        base.bufferevent(top).unwrap().enable(Interest::READ);
        Stacks { base, random: Random(seed), sender, receiver, received: Vec::new() }
    }

    fn top(&self) -> BuffereventId {
        *self.receiver.last().unwrap()
    }

    /// Takes up to `most` bytes of what has arrived.
    fn receive(&mut self, most: usize) {
        let top = self.top();
        let input = self.base.bufferevent(top).unwrap().input();
        let count = input.len().min(most);
        self.received.extend_from_slice(&input.remove_bytes(count).unwrap());
    }

    fn any_layer(&mut self) -> BuffereventId {
        let stack = if self.random.below(2) == 0 { &self.sender } else { &self.receiver };
        stack[self.random.below(stack.len())]
    }

    fn set_a_mark(&mut self) {
        let id = self.any_layer();
        let high = if self.random.below(4) == 0 { 0 } else { 10 + self.random.below(200) };
        let direction = if self.random.below(2) == 0 { Interest::READ } else { Interest::WRITE };
        self.base.bufferevent(id).unwrap().set_watermark(direction, 0, high);
    }

    fn enable_or_disable(&mut self) {
        let (id, enable) = (self.any_layer(), self.random.below(2) == 0);
        let direction = if self.random.below(2) == 0 { Interest::READ } else { Interest::WRITE };
        let bufferevent = self.base.bufferevent(id).unwrap();
        if enable { bufferevent.enable(direction) } else { bufferevent.disable(direction) }
    }

    fn flush(&mut self) {
        let id = self.any_layer();
        let mode = if self.random.below(2) == 0 { FlushMode::Normal } else { FlushMode::Flush };
        self.base.bufferevent(id).unwrap().flush(BOTH, mode).unwrap();
    }

    /// Sends `bytes` in random pieces and does whatever comes to mind in between.
    fn send(&mut self, mut bytes: &[u8]) {
        let top = *self.sender.last().unwrap();
        while !bytes.is_empty() {
            match self.random.below(8) {
                0 => self.set_a_mark(),
                1 => self.enable_or_disable(),
                2 => self.flush(),
                3 => {
                    let most = self.random.below(300);
                    self.receive(most);
                }
                4 | 5 => drop(self.base.run(Run::NONBLOCK).unwrap()),
                _ => {
                    let (now, later) = bytes.split_at(self.random.below(400).min(bytes.len()));
                    self.base.bufferevent(top).unwrap().write(now).unwrap();
                    bytes = later;
                }
            }
        }
    }

    /// Enables everything, leaves the marks as they are, and reads until the end.
    fn finish(&mut self) {
        for &id in self.sender.iter().chain(&self.receiver) {
            self.base.bufferevent(id).unwrap().enable(BOTH);
        }
        let top = *self.sender.last().unwrap();
        self.base.free_after_flush(top, PATIENCE).unwrap();
        let start = Instant::now();
        while self.base.context().is_none() {
            self.base.run(Run::NONBLOCK).unwrap();
            let most = self.random.below(1000);
            self.receive(most);
            assert!(start.elapsed() < PATIENCE, "stuck with {} bytes received", self.received.len());
        }
        self.receive(usize::MAX);
    }
}

fn socket_ends(base: &mut Base) -> (BuffereventId, BuffereventId) {
    let (near, far) = tcp_pair();
    let mut wrap = |stream: std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        base.new_socket(Some(OwnedFd::from(stream)), &Options::new()).unwrap()
    };
    (wrap(near), wrap(far))
}

/// Filters on top of each other, each of which takes what is beneath it along; the first of `kinds` is the lowest.
fn stack(base: &mut Base, bottom: BuffereventId, kinds: &[Kind]) -> Vec<BuffereventId> {
    let mut stack = vec![bottom];
    for &kind in kinds {
        let (input, output) = closures(kind);
        let below = *stack.last().unwrap();
        stack.push(base.new_filter(below, input, output, &Options::new().close_on_free(true)).unwrap());
    }
    stack
}

fn kinds(random: &mut Random) -> Vec<Kind> {
    let mut kinds: Vec<_> = (0..=random.below(8)).map(|_| KINDS[random.below(KINDS.len())]).collect();
    // Three layers of these multiply by 27, which is enough.
    let mut tripled = 0;
    kinds.retain(|kind| {
        tripled += usize::from(*kind == Kind::Tripled);
        *kind != Kind::Tripled || tripled <= 3
    });
    kinds.push(Kind::Plain);
    kinds
}

fn what_is_sent_arrives(seeds: std::ops::Range<u64>, len: usize, sockets: bool) {
    for seed in seeds {
        let mut random = Random(seed);
        let kinds = kinds(&mut random);
        let sent = pattern(random.below(len), seed + 1);
        println!("seed {seed}: {} bytes through {kinds:?}", sent.len());
        let mut stacks = Stacks::new(seed, &kinds, sockets);
        stacks.send(&sent);
        stacks.finish();
        assert_eq!(*stacks.base.context(), Some(BevEvents::EOF | BevEvents::READING), "seed {seed}");
        assert_eq!(stacks.received.len(), sent.len(), "seed {seed}");
        assert!(stacks.received == sent, "seed {seed}: other bytes arrived");
        stacks.base.free_bufferevent(stacks.top()).unwrap();
        stacks.base.loop_exit(Some(Duration::ZERO)).unwrap();
        stacks.base.dispatch().unwrap();
        assert_eq!(stacks.base.stats().slots, 0, "seed {seed}");
    }
}

#[test]
fn over_a_pair_what_is_sent_arrives() {
    what_is_sent_arrives(0..120, 8_000, false);
}

#[test]
fn over_sockets_what_is_sent_arrives() {
    what_is_sent_arrives(1000..1050, 20_000, true);
}
