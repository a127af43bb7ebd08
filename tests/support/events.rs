//! Events for tests: closures that note their calls, descriptors with numbers of one's choice, signals, and chance.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zerovent::EventBase;
use zerovent::event_base::{Ended, Event, EventId, Interest, Run, What};

/// What was called, and with what, in order.
pub type Calls = Vec<(&'static str, What)>;

pub type Base = EventBase<Calls>;

pub const READ: What = What::READ;
pub const WRITE: What = What::WRITE;
pub const TIMEOUT: What = What::TIMEOUT;
pub const SIGNAL: What = What::SIGNAL;
pub const CLOSED: What = What::CLOSED;

/// Long enough never to pass in a test.
pub const NEVER: Duration = Duration::from_secs(1000);

pub fn base() -> Base {
    EventBase::with_context(Calls::new()).unwrap()
}

/// A closure that notes its calls under `name`.
pub fn note(name: &'static str) -> impl FnMut(&mut Base, EventId, What) {
    move |base, _, what| base.context_mut().push((name, what))
}

/// A new event that notes its calls, pending.
pub fn noted(base: &mut Base, name: &'static str, event: Event, timeout: Option<Duration>) -> EventId {
    let id = base.new_event(event, note(name)).unwrap();
    base.add(id, timeout).unwrap();
    id
}

/// A new event that only notes its calls and waits for nothing yet.
pub fn idle(base: &mut Base, name: &'static str) -> EventId {
    base.new_timer(note(name)).unwrap()
}

/// Calls what is ready by now, and returns who was called.
pub fn pass(base: &mut Base) -> Calls {
    base.run(Run::NONBLOCK).unwrap();
    std::mem::take(base.context_mut())
}

/// The names alone.
pub fn names(calls: &Calls) -> Vec<&'static str> {
    calls.iter().map(|(name, _)| *name).collect()
}

/// Runs until nothing is pending any more; panics when that does not come about.
pub fn run_dry(base: &mut Base) -> Calls {
    let guard =
        base.new_timer(|_, _, _| panic!("the loop waits for something that does not happen")).unwrap();
    let remote = base.remote();
    let watchdog = Watchdog::start(move || {
        remote.run(move |base| base.activate(guard, TIMEOUT).unwrap()).ok();
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    drop(watchdog);
    base.free(guard).unwrap();
    std::mem::take(base.context_mut())
}

/// Does something after [`PATIENCE`](super::net::PATIENCE) unless it is dropped before.
pub struct Watchdog(Option<std::sync::mpsc::Sender<()>>);

impl Watchdog {
    pub fn start(bark: impl FnOnce() + Send + 'static) -> Self {
        let (alive, gone) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if gone.recv_timeout(super::net::PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                bark();
            }
        });
        Watchdog(Some(alive))
    }
}

/// A connected pair, non-blocking at the near end.
pub fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    (near, far)
}

/// An event for reading one end of a pair.
pub fn reading(stream: &impl AsFd) -> Event {
    Event::fd(stream, Interest::READ)
}

/// Sends one byte.
pub fn poke(mut stream: &UnixStream) {
    stream.write_all(b"x").unwrap();
}

/// Takes whatever has arrived, and says how much.
pub fn empty(mut stream: &UnixStream) -> usize {
    let mut bytes = [0; 4096];
    stream.read(&mut bytes).unwrap_or(0)
}

/// Duplicates `fd` to `number`, which is closed first if it is open.
pub fn at_number(fd: &impl AsFd, number: RawFd) -> OwnedFd {
    // SAFETY: `dup2` takes two integers and no memory.
    #[allow(unsafe_code, reason = "the test chooses its descriptor's number")]
    let got = unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) };
    assert_eq!(got, number);
    // SAFETY: the number was made just now, and tests that choose numbers choose different ones.
    #[allow(unsafe_code, reason = "the test chooses its descriptor's number")]
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}

/// Sends a signal to the calling thread.
pub fn raise(signal: i32) {
    // SAFETY: `raise` takes an integer and no memory.
    #[allow(unsafe_code, reason = "the test sends itself a signal")]
    let result = unsafe { libc::raise(signal) };
    assert_eq!(result, 0);
}

/// Small pseudo-random numbers, the same in every run.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
