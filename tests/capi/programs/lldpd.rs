//! lldpd: one process that may do everything and one that may do nothing, both with the library; raw sockets, a socket for control, netlink,
//! timers. Two of them at the ends of a pair of interfaces: the other one is always on Debian's library.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::capi::Library;
use crate::support::namespace::Namespace;
use crate::support::net::PATIENCE;
use crate::support::programs::{A_MOMENT, Program, find};

const NEIGHBORS: &[&str] = &["show", "neighbors"];
const STATISTICS: &[&str] = &["show", "statistics"];

/// A daemon in a network of its own, who says that it is `name`.
struct End {
    program: Program,
    socket: PathBuf,
}

impl End {
    fn start(library: Library, namespace: &Namespace, folder: &Path, name: &str) -> Option<End> {
        let (mut command, socket) = (namespace.enter(), folder.join(name));
        if !library.lead(&mut command) {
            return None;
        }
        command.arg(find("lldpd")?).args(["-d", "-S", name, "-u"]).arg(&socket);
        let mut program = Program::run(library, &mut command);
        program.await_mapped();
        Some(End { program, socket })
    }

    /// What the daemon answers, line by line; nothing while it does not listen.
    fn ask(&self, words: &[&str]) -> String {
        let program = find("lldpcli").expect("it comes with lldpd");
        let output =
            Command::new(program).arg("-u").arg(&self.socket).args(["-f", "keyvalue"]).args(words).output();
        String::from_utf8(output.expect("it runs").stdout).expect("it speaks")
    }

    #[track_caller]
    fn await_said(&mut self, words: &[&str], is_right: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.ask(words);
            if is_right(&said) {
                return;
            }
            self.program.check_alive();
            assert!(Instant::now() < deadline, "{words:?}: {said}");
            thread::sleep(A_MOMENT);
        }
    }
}

#[test]
fn knows_its_neighbor() {
    each_library(|library| {
        let (Some(near), Some(far)) = (Namespace::new(), Namespace::new()) else { return };
        near.ip(&[
            "link",
            "add",
            "one",
            "type",
            "veth",
            "peer",
            "name",
            "two",
            "netns",
            &far.id().to_string(),
        ]);
        near.ip(&["link", "set", "one", "up"]);
        far.ip(&["link", "set", "two", "up"]);
        let folder = tempfile::tempdir().expect("there is room");
        // What is said to it at its start comes from its other self, who may do nothing but pass through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("it is ours");
        let Some(mut one) = End::start(library, &near, folder.path(), "near") else { return };
        let Some(mut two) = End::start(Library::Debian, &far, folder.path(), "far") else { return };
        one.await_said(NEIGHBORS, |said| said.contains("lldp.one.chassis.descr=far\n"));
        two.await_said(NEIGHBORS, |said| said.contains("lldp.two.chassis.descr=near\n"));
        // From now on they are heard once a second; who has not noticed that a link was gone says nothing for half a minute by default.
        for end in [&one, &two] {
            end.ask(&["configure", "lldp", "tx-interval", "1"]);
        }
        let heard = received(&two.ask(STATISTICS));
        two.await_said(STATISTICS, |said| received(said) >= heard + 2);
        far.ip(&["link", "set", "two", "down"]);
        one.await_said(NEIGHBORS, |said| !said.contains("far"));
        far.ip(&["link", "set", "two", "up"]);
        one.await_said(NEIGHBORS, |said| said.contains("lldp.one.chassis.descr=far\n"));
        two.await_said(NEIGHBORS, |said| said.contains("near"));
        assert!(one.program.stop("TERM").success());
        // It takes its leave.
        two.await_said(NEIGHBORS, |said| !said.contains("near"));
    });
}

/// How many frames have come.
fn received(statistics: &str) -> u64 {
    let count = statistics.lines().find_map(|line| line.strip_prefix("lldp.two.rx.rx="));
    count.expect("it counts").parse().expect("a number")
}
