//! The examples as processes: started the way a person starts them, asked where they listen, and never left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::net::PATIENCE;

/// The program of an example, built by the `cargo test` that built this test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --example {name}`", program.display());
    program
}

/// Whether a command can be found. The test that needs it returns early when not, and has then said so in one
/// line; where the gate has installed everything (CI=true) a command that is missing is a failure.
pub fn have(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    is_installed(std::env::split_paths(&path).any(|dir| dir.join(command).is_file()), command)
}

/// What [`have`] says and does about something of which it is known whether it was `found`.
pub fn is_installed(found: bool, what: &str) -> bool {
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "{what} is missing: .ci/run installs it");
    if !found {
        eprintln!("skipped: {what} is not installed");
    }
    found
}

/// A server among the examples, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
}

impl Server {
    /// Starts an example on a free port and waits until it says where it listens.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(example(name)).args(arguments))
    }

    /// Starts an example under strace, which counts its system calls (those of all its threads) into `summary`.
    /// The tracer is detached (`-D`), so that the child is the example itself.
    pub fn start_traced(name: &str, arguments: &[&str], summary: &Path) -> Self {
        Self::run_traced(&example(name), arguments, summary)
    }

    /// As [`start_traced`](Self::start_traced), with any program.
    pub fn run_traced(program: &Path, arguments: &[&str], summary: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-c", "-o"]).arg(summary).arg(program).args(arguments);
        Self::run(&mut command)
    }

    /// Starts whatever `command` is, as long as it becomes a server that says where it listens.
    pub fn run(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = forward_lines(child.stdout.take().expect("it is piped"));
        let mut server = Server { child, address: SocketAddr::from(([0; 4], 0)), lines };
        let first = server.lines.recv_timeout(PATIENCE).expect("a server prints where it listens");
        let address = first.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        server.address = address.unwrap_or_else(|| panic!("the first line is {first:?}"));
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to it, blocking, on which a read that waits too long fails.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a read timeout");
        stream.set_nodelay(true).expect("a socket has TCP_NODELAY");
        stream
    }

    /// Sends it a signal (`TERM`, `INT`) without waiting for what comes of it.
    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    }

    /// Bytes of memory that it has in use.
    pub fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }

    /// Asks it to end by `signal` (`TERM`, `INT`) and waits until it has.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn finished(mut self) -> ExitStatus {
        self.wait()
    }

    /// Sends it a signal, and gives all that it printed after its first line until it ended.
    pub fn stop_with_lines(mut self, signal: &str) -> (ExitStatus, Vec<String>) {
        self.signal(signal);
        let status = self.wait();
        (status, self.lines.iter().collect())
    }

    /// As [`stop`](Self::stop); the last line that it printed comes with the status.
    pub fn stop_with_last_line(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let status = self.wait();
        (status, self.lines.iter().last().expect("it says something at its end"))
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on to the end, so that the program never blocks on a full pipe.
fn forward_lines(stdout: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// What strace counted, once the program has ended: system calls by name.
pub fn read_summary(summary: &Path) -> Vec<(String, u64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(summary).unwrap_or_default();
        if text.lines().any(|line| line.ends_with(" total")) {
            return text.lines().filter_map(summary_line).collect();
        }
        assert!(Instant::now() < deadline, "strace wrote no summary:\n{text}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A line is: share, seconds, microseconds a call, calls, errors (or blank), name.
fn summary_line(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = words.last().filter(|name| **name != "total" && words.len() >= 5)?;
    Some(((*name).to_owned(), words[3].parse().ok()?))
}
