//! Programs of Debian's, unmodified, on either library: started, proven to have it mapped, asked, and ended.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::capi::Library;
use super::net::PATIENCE;
use super::process::have;

/// How long to wait before something is looked at again.
pub const A_MOMENT: Duration = Duration::from_millis(10);

/// A program that runs on a library, killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    library: Library,
}

impl Program {
    /// Starts a program of Debian's. `None`, with a line that says why, if it or the library is not there.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        library: Library,
        name: &str,
        arguments: &[A],
    ) -> Option<Program> {
        let mut command = library.command(find(name)?)?;
        Some(Self::run(library, command.args(arguments)))
    }

    /// Starts what `command` is, which has been led to `library`.
    pub fn run(library: Library, command: &mut Command) -> Program {
        Self::run_into(library, command, Stdio::null())
    }

    /// As [`run`](Self::run); what it says goes where `stdout` leads.
    pub fn run_into(library: Library, command: &mut Command, stdout: impl Into<Stdio>) -> Program {
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        Program { child: command.spawn().expect("it starts"), library }
    }

    /// Waits until it accepts connections, and sees to it that it does so on the library that is meant.
    pub fn await_port(&mut self, address: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        while try_connect(address).is_none() {
            self.check_alive();
            assert!(Instant::now() < deadline, "nobody listens at {address}");
            thread::sleep(A_MOMENT);
        }
        self.library.check_mapped(self.child.id());
    }

    /// Waits until it has a library mapped, which has to be the one that is meant.
    pub fn await_mapped(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !Library::is_any_mapped(self.child.id()) {
            self.check_alive();
            assert!(Instant::now() < deadline, "it maps no library");
            thread::sleep(A_MOMENT);
        }
        self.library.check_mapped(self.child.id());
    }

    pub fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            panic!("it has ended: {status}");
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end by `signal` (`TERM`, `INT`) and waits until it has.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        self.check_alive();
        send_signal(self.child.id(), signal);
        self.finished()
    }

    /// Waits until it has ended by itself.
    pub fn finished(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(A_MOMENT);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that is ours.
pub fn send_signal(process: u32, signal: &str) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
}

/// Where a program is; daemons are not in everybody's path. `None`, with a line that says so, if it is not installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let daemon = Path::new("/usr/sbin").join(name);
    if daemon.is_file() {
        return Some(daemon);
    }
    have(name).then(|| PathBuf::from(name))
}

/// A connection, unless nobody listens: a socket may also connect to itself, if it happens to get the very port.
pub fn try_connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    if stream.local_addr().ok()? == address {
        return None;
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a read timeout");
    stream.set_nodelay(true).expect("a socket has TCP_NODELAY");
    Some(stream)
}

/// A connection to somebody who listens.
pub fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).expect("it listens")
}

/// Sends `question` and reads as many bytes as `answer` has, which they must be.
pub fn ask(stream: &mut TcpStream, question: &[u8], answer: &[u8]) {
    stream.write_all(question).expect("it can be asked");
    let mut said = vec![0; answer.len()];
    stream.read_exact(&mut said).expect("it answers");
    assert!(
        said == answer,
        "{:?} to {:?}",
        String::from_utf8_lossy(&said),
        String::from_utf8_lossy(question)
    );
}

/// Whether the other end closes the connection in time, without saying anything more.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0))
}
