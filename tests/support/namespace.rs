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

    /// Joins it and another one by a pair of interfaces, each end of which is up; false, with a line that says so, where the kernel has none.
    pub fn join(&self, name: &str, other: &Namespace, other_name: &str) -> bool {
        let other_id = other.id().to_string();
        let words = ["link", "add", name, "type", "veth", "peer", "name", other_name, "netns", &other_id];
        let is_made = self.ip(&words);
        if !is_made {
            eprintln!("skipped: there are no pairs of interfaces");
        }
        is_made && self.ip(&["link", "set", name, "up"]) && other.ip(&["link", "set", other_name, "up"])
    }

    /// Runs a command of `ip` in it, and says whether that did what it was told.
    pub fn ip(&self, words: &[&str]) -> bool {
        let mut command = self.enter();
        command.arg("ip").args(words).stderr(Stdio::null());
        command.status().expect("nsenter is everywhere").success()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
