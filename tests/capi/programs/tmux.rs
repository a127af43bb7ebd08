//! tmux: looks into bufferevents, on terminals and sockets alike, asks for another backend by an environment variable, and has a signal
//! for every child.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::each_library;
use crate::support::capi::Library;
use crate::support::net::{PATIENCE, pattern};
use crate::support::process::have;
use crate::support::programs::A_MOMENT;

const WINDOWS: usize = 20;
const PASTED: usize = 2_000_000;

/// A server of its own, ended when dropped.
struct Tmux {
    folder: TempDir,
    library: Library,
}

impl Tmux {
    /// `None`, with a line that says why, if it or the library is not there.
    fn start(library: Library) -> Option<Tmux> {
        if !have("tmux") {
            return None;
        }
        let tmux = Tmux { folder: tempfile::tempdir().expect("there is room"), library };
        let mut command = tmux.command()?;
        command.args(["new-session", "-d", "-x", "80", "-y", "24", "-s", "main", "sh"]);
        assert!(command.status().expect("it runs").success());
        let process = tmux.ask(&["display-message", "-p", "#{pid}"]);
        library.check_mapped(process.trim().parse().expect("a number"));
        Some(tmux)
    }

    fn command(&self) -> Option<Command> {
        let mut command = self.library.command("tmux")?;
        command.args(["-f", "/dev/null", "-L", "test"]).env("TMUX_TMPDIR", self.folder.path());
        command.env("LANG", "C.UTF-8").env("TERM", "xterm").env_remove("TMUX").stdin(Stdio::null());
        Some(command)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().expect("it was there a moment ago").args(arguments).output().expect("it runs")
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Tmux) -> bool) {
        let deadline = Instant::now() + PATIENCE * 3;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} does not happen on {:?}", self.library);
            thread::sleep(A_MOMENT);
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Its sessions may have ended it already.
        let _ = self.command().map(|mut command| command.arg("kill-server").output());
    }
}

fn len_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn has_many_windows_and_passes_on_what_is_typed() {
    each_library(|library| {
        let Some(tmux) = Tmux::start(library) else { return };
        for window in 0..WINDOWS {
            tmux.ask(&["new-window", "-d", "-n", &format!("w{window}"), "sh"]);
        }
        assert_eq!(tmux.ask(&["list-windows"]).lines().count(), WINDOWS + 1);
        for window in 0..WINDOWS {
            tmux.ask(&[
                "send-keys",
                "-t",
                &format!("w{window}"),
                &format!("echo window-$(({window}))"),
                "Enter",
            ]);
        }
        for window in 0..WINDOWS {
            let said = format!("window-{window}");
            tmux.wait_until("an answer", |tmux| {
                let shown = tmux.ask(&["capture-pane", "-p", "-t", &format!("w{window}")]);
                shown.lines().any(|line| line.trim_end() == said)
            });
        }
        tmux.ask(&["send-keys", "-t", "w0", "exit", "Enter"]);
        tmux.wait_until("the end of a window", |tmux| tmux.ask(&["list-windows"]).lines().count() == WINDOWS);
    });
}

#[test]
fn pastes_megabytes() {
    each_library(|library| {
        let Some(tmux) = Tmux::start(library) else { return };
        let (source, target) = (tmux.folder.path().join("source"), tmux.folder.path().join("target"));
        let letters = |byte: u8| if byte < 4 { b'\n' } else { b'a' + byte % 26 };
        let text: Vec<u8> = pattern(PASTED, 7).into_iter().map(letters).collect();
        fs::write(&source, &text).expect("there is room");
        let read = format!("stty raw -echo; echo ready; head -c {PASTED} > {}", target.display());
        tmux.ask(&["send-keys", "-t", "main", &read, "Enter"]);
        tmux.wait_until("a raw terminal", |tmux| {
            tmux.ask(&["capture-pane", "-p", "-t", "main"]).lines().any(|line| line.trim() == "ready")
        });
        tmux.ask(&["load-buffer", source.to_str().expect("it is text")]);
        tmux.ask(&["paste-buffer", "-r", "-t", "main"]);
        tmux.wait_until("the last byte", |_| len_of(&target) == PASTED as u64);
        assert!(fs::read(&target).expect("it is there") == text, "what arrives is what was pasted");
    });
}

#[test]
fn attaches_and_detaches() {
    each_library(|library| {
        let Some(tmux) = Tmux::start(library) else { return };
        if !have("script") {
            return;
        }
        let typescript = tmux.folder.path().join("typescript");
        let mut terminal = library.command("script").expect("it was there a moment ago");
        terminal.args(["-qefc", "tmux -f /dev/null -L test attach -t main"]).arg(&typescript);
        terminal.env("TMUX_TMPDIR", tmux.folder.path()).env("LANG", "C.UTF-8").env("TERM", "xterm");
        terminal.env_remove("TMUX").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = terminal.spawn().expect("it starts");
        tmux.wait_until("a client", |tmux| tmux.ask(&["list-clients"]).lines().count() == 1);
        tmux.ask(&["send-keys", "-t", "main", "echo shown-$((1+1))", "Enter"]);
        let shows = |text: &str| {
            let shown = fs::read(&typescript).unwrap_or_default();
            String::from_utf8_lossy(&shown).contains(text)
        };
        tmux.wait_until("an answer on the terminal", |_| shows("shown-2"));
        tmux.ask(&["detach-client", "-s", "main"]);
        tmux.wait_until("the end of the client", |_| client.try_wait().expect("it is our child").is_some());
        assert!(shows("[detached (from session main)]"));
    });
}
