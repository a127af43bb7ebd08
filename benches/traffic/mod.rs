//! Servers to be measured, each a process of its own: this program, started with `--server` and a word that says which. Servers have
//! the first core to themselves, and whoever drives them the second. What counts is the processor time of the server's process.
#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod client;
pub(crate) mod echo;
pub(crate) mod libevent;
#[path = "../../tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
pub(crate) mod net;
#[path = "../../tests/support/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "a binary has no outside, and the tests use other parts of it")]
pub(crate) mod process;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use socket2::SockRef;

use crate::measure::count::collected;
pub(crate) use process::Server;

pub(crate) const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

/// The socket of a server, which is told to who has started it. Connections inherit that small pieces leave at once.
pub(crate) fn listen() -> TcpListener {
    take_server_core();
    let listener = TcpListener::bind(net::any_port()).expect("a free port");
    SockRef::from(&listener).set_tcp_nodelay(true).expect("a TCP socket");
    println!("listening on {}", listener.local_addr().expect("it is bound"));
    listener
}

/// Keeps this process to the servers' core.
pub(crate) fn take_server_core() {
    pin(SERVER_CORE);
}

/// Lets this process, and those that it will start, have as many descriptors as they may.
pub(crate) fn allow_many_descriptors() {
    let most = descriptors_max();
    assert!(set_descriptors_max(most), "as many as allowed are allowed");
}

/// Lets this process have `most` descriptors, and never again more; says how many it may have then. Callgrind keeps it from that.
pub(crate) fn limit_descriptors(most: u64) -> u64 {
    if set_descriptors_max(most) { most } else { descriptors_max() }
}

#[allow(unsafe_code, reason = "std does not know of limits")]
fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and writable.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(told, 0, "each process has limits");
    limit.rlim_max
}

#[allow(unsafe_code, reason = "std does not know of limits")]
fn set_descriptors_max(most: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` is live.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 }
}

/// Starts a server of a plan.
pub(crate) fn start(plan: &str, words: &[&str]) -> Server {
    Server::run(Command::new(this_program()).args(["--server", plan]).args(words))
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program has a path")
}

/// System calls that a server makes for an operation: strace counts those for `count` of them and those for twice as many.
pub(crate) fn calls_each(plan: &str, words: &[&str], count: u64, work: impl Fn(&Server, u64)) -> f64 {
    let words = [&["--server", plan], words].concat();
    let [once, twice] = [count, 2 * count].map(|count| {
        let directory = tempfile::tempdir().expect("a directory");
        let summary = directory.path().join("summary");
        let server = Server::run_traced(&this_program(), &words, &summary);
        work(&server, count);
        drop(server);
        process::read_summary(&summary).into_iter().map(|(_, calls)| calls).sum::<u64>()
    });
    (twice as f64 - once as f64) / count as f64
}

/// Instructions that a server takes for an operation: callgrind counts those for either number of them, and what both have in common is nobody's.
/// `work` says how many operations it did.
pub(crate) fn instructions_each(
    plan: &str,
    words: &[&str],
    counts: [u64; 2],
    work: impl Fn(&Server, u64) -> u64,
) -> Option<f64> {
    let counted = |count| {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--trace-children=yes", "--callgrind-out-file=/dev/null"]);
        command.arg(format!("--log-file={}", log.display())).arg(this_program());
        let server = Server::run(command.args(["--server", plan]).args(words));
        let done = work(&server, count);
        server.stop("TERM");
        let instructions = collected(&fs::read_to_string(log).expect("callgrind reports"))?;
        Some((done as f64, instructions as f64))
    };
    let ((few, of_few), (many, of_many)) = (counted(counts[0])?, counted(counts[1])?);
    Some((of_many - of_few) / (many - few))
}

/// Keeps this process, and the threads that it will start, away from the servers' core.
pub(crate) fn step_aside() {
    pin(CLIENT_CORE);
}

/// What `work` takes of the server's processor time. It was done for `done` operations, and `count` were asked for.
pub(crate) fn server_time(server: &Server, count: u64, work: impl FnOnce() -> u64) -> Duration {
    let start = cpu_time(server.id());
    let done = work();
    (cpu_time(server.id()) - start).mul_f64(count as f64 / done as f64)
}

/// The same with the processor time of this process, which drives it.
pub(crate) fn time_of_both(server: &Server, count: u64, work: impl FnOnce() -> u64) -> Duration {
    let start = cpu_time(server.id()) + own_time();
    let done = work();
    (cpu_time(server.id()) + own_time() - start).mul_f64(count as f64 / done as f64)
}

/// Processor time of this process so far. The scheduler's count of a thread that runs is not up to date.
#[allow(unsafe_code, reason = "std has no clock but the wall's")]
fn own_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live and writable.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(told, 0, "each process has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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

/// Processor time of a process so far, in the kernel and outside it: what the scheduler counted for its threads. It does so when they
/// go to sleep, for which they get a moment.
pub(crate) fn cpu_time(process: u32) -> Duration {
    std::thread::sleep(Duration::from_millis(1));
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the server runs");
    let times = threads.flatten().map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|spent| spent.parse().ok())
            .map_or(Duration::ZERO, Duration::from_nanos)
    });
    times.sum()
}
