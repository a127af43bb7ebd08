//! Sockets for tests: connected pairs, a guarded run of the loop, and what a process has open.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Run;

/// Long enough for anything a test waits for on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Any free port on the loopback.
pub fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Ports that the kernel gives to nobody who does not name one.
const NAMED_PORTS: Range<u32> = 10_000..30_000;
/// How many of them a process tries before it comes to those where another one begins.
const STRIDE: u32 = 64;

/// An address at which nobody listens, for a program that has to be told where to. The kernel's own choice may be somebody else's a moment later, and
/// is, where connections by the thousand have just gone and few ports are left.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(STRIDE);
    let mut addresses = NAMED_PORTS.map(|_| {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % NAMED_PORTS.len() as u32;
        SocketAddr::from((Ipv4Addr::LOCALHOST, (NAMED_PORTS.start + place) as u16))
    });
    let is_free =
        |address: &SocketAddr| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    addresses.find(is_free).expect("there are ports left")
}

/// A TCP connection over the loopback, both ends blocking.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(any_port()).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// A bufferevent over one end of a new TCP connection, and the blocking other end.
pub fn bufferevent<C>(base: &mut EventBase<C>, options: &Options) -> (BuffereventId, TcpStream) {
    let (near, far) = tcp_pair();
    far.set_nonblocking(true).unwrap();
    let id = base.new_socket(Some(OwnedFd::from(far)), options).unwrap();
    (id, near)
}

/// The first thing that the event callback of a bufferevent is told.
pub type Told = Option<BevEvents>;

/// A bufferevent that is to be connected; what it is told breaks the loop.
pub fn connecting() -> (EventBase<Told>, BuffereventId) {
    let mut base = EventBase::with_context(None).unwrap();
    let id = base.new_socket(None, &Options::new()).unwrap();
    base.set_event_callback(id, |base, _, events| {
        *base.context_mut() = Some(events);
        base.loop_break();
    })
    .unwrap();
    (base, id)
}

/// Somebody to connect to.
pub fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind(any_port()).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// An address where nobody listens: port 1 has been reserved, and out of use, for decades.
pub fn dead() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

/// Runs the loop until somebody breaks it; panics when nobody does.
pub fn run<C>(base: &mut EventBase<C>) {
    base.loop_exit(Some(PATIENCE)).unwrap();
    base.dispatch().unwrap();
    assert!(base.got_break(), "nothing broke the loop: it waited for something that did not happen");
}

/// Lets everything that is ready happen, and returns when nothing more is for `quiet`.
pub fn run_for<C>(base: &mut EventBase<C>, quiet: Duration) {
    base.loop_exit(Some(quiet)).unwrap();
    base.dispatch().unwrap();
}

/// Runs for as long as something is still to happen, however slow the machine.
pub fn run_while<C>(base: &mut EventBase<C>, mut is_missing: impl FnMut(&mut EventBase<C>) -> bool) {
    let begun = Instant::now();
    while is_missing(base) {
        assert!(begun.elapsed() < PATIENCE, "it does not happen");
        base.run(Run::NONBLOCK).unwrap();
    }
}

/// Reads exactly `len` bytes.
pub fn read_exact(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// How many descriptors this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The `O_` flags of an open descriptor.
pub fn open_flags(fd: impl AsFd) -> i32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    i32::from_str_radix(flags.trim(), 8).unwrap()
}

/// Bytes that look random and are the same in every run.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
