//! Servers to be measured, each a process of its own: this program, started with `--server` and a word that says which. Servers have
//! the first core to themselves, and whoever drives them the second. What counts is the processor time of the server's process.

pub(crate) mod echo;
pub(crate) mod libevent;
#[path = "../../tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
mod net;
#[path = "../../tests/support/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
pub(crate) mod process;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use socket2::SockRef;

pub(crate) use process::Server;

pub(crate) const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

/// Whether this process is to be a server, and which.
pub(crate) fn asked_to_serve() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    arguments.next().filter(|word| word == "--server").and_then(|_| arguments.next())
}

/// The socket of a server, which is told to who has started it. Connections inherit that small pieces leave at once.
pub(crate) fn listen() -> TcpListener {
    pin(SERVER_CORE);
    let listener = TcpListener::bind(net::any_port()).expect("a free port");
    SockRef::from(&listener).set_tcp_nodelay(true).expect("a TCP socket");
    println!("listening on {}", listener.local_addr().expect("it is bound"));
    listener
}

pub(crate) fn start(which: &str) -> Server {
    let program = std::env::current_exe().expect("this program has a path");
    Server::run(Command::new(program).args(["--server", which]))
}

/// Keeps this process, and the threads that it will start, away from the servers' core.
pub(crate) fn step_aside() {
    pin(CLIENT_CORE);
}

/// What `work` takes of the server's processor time. It was done for `done` operations, and `count` were asked for.
pub(crate) fn server_time(server: &Server, count: u64, work: impl FnOnce() -> u64) -> Duration {
    let start = cpu_time(server);
    let done = work();
    (cpu_time(server) - start).mul_f64(count as f64 / done as f64)
}

/// Runs this thread on one core, if there is such a core.
#[allow(unsafe_code, reason = "std does not say where a thread runs")]
fn pin(core: usize) {
    let mut set = no_cores();
    // SAFETY: the number of a core is within the set's 1024.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a live set of the size given.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result != 0 {
        eprintln!("no core {core}: {}", std::io::Error::last_os_error());
    }
}

#[allow(unsafe_code, reason = "the fields of a set are private")]
fn no_cores() -> libc::cpu_set_t {
    // SAFETY: a set is an array of numbers.
    unsafe { std::mem::zeroed() }
}

/// Processor time of a process so far, in the kernel and outside it.
#[allow(unsafe_code, reason = "std has no clock for another process's time")]
fn cpu_time(server: &Server) -> Duration {
    let mut clock = 0;
    // SAFETY: `clock` is live and writable.
    let found = unsafe { libc::clock_getcpuclockid(server.id() as libc::pid_t, &raw mut clock) };
    assert_eq!(found, 0, "the server runs");
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live and writable.
    let told = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(told, 0, "the server runs");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
