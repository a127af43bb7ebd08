//! tmux: sets `EVENT_NOEPOLL` because epoll refuses /dev/null, forks its server and calls `event_reinit` there, reads bufferevents'
//! fields, and linearises buffers often.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::capi::Library;
use crate::support::net::PATIENCE;
use crate::support::process::have;
use crate::support::programs::{A_MOMENT, check_mapped};

const WINDOWS: usize = 20;
const PASTE_BYTES: usize = 2_000_000;

/// A server of its own, ended when dropped.
struct Tmux<'a> {
    library: Library,
    folder: &'a Path,
}

impl Tmux<'_> {
    fn command(&self) -> Command {
        let mut command = self.library.command("tmux").expect("the library has been found");
        command.arg("-S").arg(self.folder.join("socket")).args(["-f", "/dev/null"]);
        command.env("TERM", "xterm").env_remove("TMUX").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn await_that(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(A_MOMENT * 5);
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        // It may never have started.
        let _ = self.command().arg("kill-server").output();
    }
}

fn each_server(test: impl Fn(&Tmux<'_>)) {
    if !have("tmux") {
        return;
    }
    each_library(|library| {
        if library.command("tmux").is_none() {
            return;
        }
        let folder = tempfile::tempdir().expect("there is room");
        let tmux = Tmux { library, folder: folder.path() };
        tmux.run(&["new-session", "-d", "-x", "100", "-y", "40", "sh"]);
        let process = tmux.run(&["display-message", "-p", "#{pid}"]);
        check_mapped(process.trim().parse().expect("a number"), library);
        test(&tmux);
    });
}

#[test]
fn runs_many_windows_and_a_client() {
    each_server(|tmux| {
        for _ in 0..WINDOWS {
            tmux.run(&["new-window", "-d", "sh"]);
        }
        assert_eq!(tmux.run(&["list-windows"]).lines().count(), WINDOWS + 1);
        for window in 1..=WINDOWS {
            tmux.run(&[
                "send-keys",
                "-t",
                &format!(":{window}"),
                &format!("echo $(({window}*100))"),
                "Enter",
            ]);
        }
        for window in 1..=WINDOWS {
            let shows = || tmux.run(&["capture-pane", "-p", "-t", &format!(":{window}")]);
            let answer = format!("{}", window * 100);
            tmux.await_that("a window does not answer", || shows().lines().any(|line| line == answer));
        }
        let attach = format!("tmux -S {} attach", tmux.folder.join("socket").display());
        let mut client = Command::new("script");
        assert!(tmux.library.lead(&mut client));
        client.args(["-qc", &attach, "/dev/null"]).env("TERM", "xterm");
        client.stdin(Stdio::null()).stdout(Stdio::null());
        let mut client = client.spawn().expect("script is everywhere");
        tmux.await_that("nobody attaches", || tmux.run(&["list-clients"]).lines().count() == 1);
        tmux.run(&["detach-client", "-a"]);
        tmux.run(&["kill-server"]);
        assert!(
            client.wait().expect("it is our child").code().is_some(),
            "the client leaves with the server"
        );
    });
}

/// A buffer of two million bytes goes in through a file, out to another, and through a terminal.
#[test]
fn pastes_much_at_once() {
    each_server(|tmux| {
        let (big, saved, got) = (tmux.folder.join("big"), tmux.folder.join("saved"), tmux.folder.join("got"));
        let line = b"what is pasted comes out of the terminal as it went in\n";
        let bytes: Vec<u8> = line.iter().copied().cycle().take(PASTE_BYTES).collect();
        fs::write(&big, &bytes).expect("there is room");
        tmux.run(&["load-buffer", big.to_str().expect("it is text")]);
        tmux.run(&["save-buffer", saved.to_str().expect("it is text")]);
        assert!(fs::read(&saved).expect("it was saved") == bytes);
        let ready = tmux.folder.join("ready");
        let command =
            format!("stty -echo raw; touch {}; head -c {PASTE_BYTES} > {}", ready.display(), got.display());
        tmux.run(&["send-keys", &command, "Enter"]);
        tmux.await_that("the shell does not get ready", || ready.exists());
        tmux.run(&["paste-buffer", "-r"]);
        let has_all = || fs::metadata(&got).is_ok_and(|file| file.len() == PASTE_BYTES as u64);
        tmux.await_that("not all of it arrives", has_all);
        assert!(fs::read(&got).expect("it is there") == bytes);
    });
}
