//! Networks of a test's own, in which there is a loopback and whatever is put there, and nobody else.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::programs::find;

/// A network, which is there until this is dropped, or the last process in it has ended.
#[derive(Debug)]
pub struct Namespace(Child);

impl Namespace {
    /// `None`, with a line that says why, where it is not permitted.
    pub fn new() -> Option<Namespace> {
        find("ip")?;
        let mut command = Command::new("unshare");
        // It says that it is there, and stays until its input ends.
        command.args(["--net", "sh", "-c", "ip link set lo up && echo there && exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = Namespace(command.spawn().expect("unshare is everywhere"));
        let mut said = String::new();
        let answers = holder.0.stdout.take().expect("it is piped");
        BufReader::new(answers).read_line(&mut said).expect("it speaks or ends");
        if said.is_empty() {
            eprintln!("skipped: no network of its own is permitted");
            return None;
        }
        Some(holder)
    }

    /// How a process names it.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// A command that will run in it, whose first argument is the program.
    pub fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.id().to_string()]);
        command
    }

    /// Runs a command of `ip` in it.
    pub fn ip(&self, words: &[&str]) {
        let output = self.enter().arg("ip").args(words).output().expect("nsenter is everywhere");
        assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
