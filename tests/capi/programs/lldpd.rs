//! lldpd: one process that may do everything and one that may do nothing, both with the library; raw sockets, a socket for control, netlink,
//! timers. Two of them at the ends of a pair of interfaces: the other one is always on Debian's library.

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
        // By default it has somebody say to it what it is to do, which comes between what we say.
        command.arg(find("lldpd")?).args(["-d", "-L", "/bin/true", "-S", name, "-u"]).arg(&socket);
        let mut program = Program::run(library, &mut command);
        program.await_mapped();
        let mut end = End { program, socket };
        // Who comes later has to hear it too, and not half a minute later.
        end.await_said(&["configure", "lldp", "tx-interval", "1"], |_| true);
        end.await_said(&["resume"], |_| true);
        Some(end)
    }

    /// What the daemon answers, line by line, unless it does not listen yet.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new(find("lldpcli").expect("it comes with lldpd"));
        let output = command.arg("-u").arg(&self.socket).args(["-f", "keyvalue"]).args(words).output();
        let output = output.expect("it runs");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("it speaks"))
    }

    /// Asks until the answer is as it should be.
    #[track_caller]
    fn await_said(&mut self, words: &[&str], is_right: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.ask(words);
            if said.as_deref().is_some_and(&is_right) {
                return;
            }
            self.program.check_alive();
            assert!(Instant::now() < deadline, "{words:?}: {said:?}");
            thread::sleep(A_MOMENT);
        }
    }
}

#[test]
fn knows_its_neighbor() {
    each_library(|library| {
        let (Some(near), Some(far)) = (Namespace::new(), Namespace::new()) else { return };
        if !near.join("one", &far, "two") {
            return;
        }
        let folder = tempfile::tempdir().expect("there is room");
        let Some(mut one) = End::start(library, &near, folder.path(), "near") else { return };
        let Some(mut two) = End::start(Library::Debian, &far, folder.path(), "far") else { return };
        one.await_said(NEIGHBORS, |said| said.contains("lldp.one.chassis.descr=far\n"));
        two.await_said(NEIGHBORS, |said| said.contains("lldp.two.chassis.descr=near\n"));
        let heard = received(&two.ask(STATISTICS).expect("it listens"));
        two.await_said(STATISTICS, |said| received(said) >= heard + 2);
        assert!(far.ip(&["link", "set", "two", "down"]));
        one.await_said(NEIGHBORS, |said| !said.contains("far"));
        assert!(far.ip(&["link", "set", "two", "up"]));
        one.await_said(NEIGHBORS, |said| said.contains("lldp.one.chassis.descr=far\n"));
        two.await_said(NEIGHBORS, |said| said.contains("near"));
        // How it ends says nothing: the process that watches over the other one may find it gone twice, and takes that for an error. That it
        // takes its leave says that all was well.
        one.program.stop("TERM");
        two.await_said(NEIGHBORS, |said| !said.contains("near"));
        two.await_said(STATISTICS, |said| said.contains("lldp.two.ageout_cnt.ageout_cnt=0\n"));
    });
}

/// How many frames have come.
fn received(statistics: &str) -> u64 {
    let count = statistics.lines().find_map(|line| line.strip_prefix("lldp.two.rx.rx="));
    count.expect("it counts").parse().expect("a number")
}
