//! nsd: a process for each core and one for transfers and control, all of which fork with their events; UDP, TCP with timeouts, and signals.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::dns::{ask_all, hosts, is_at, transfer};
use super::each_library;
use crate::support::capi::Library;
use crate::support::net::{PATIENCE, free_address};
use crate::support::programs::{A_MOMENT, Program, connect, find, is_closed};

const NETWORK: [u8; 3] = [192, 0, 2];
const NEW_NETWORK: [u8; 3] = [198, 51, 100];
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(2);

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n database: \"\"\n \
         pidfile: \"\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n zonelistfile: \"{folder}/zones\"\n server-count: 2\n \
         tcp-timeout: {}\n\
         remote-control:\n control-enable: yes\n control-interface: {folder}/control\n\
         zone:\n name: example.test\n zonefile: zone\n provide-xfr: 127.0.0.1 NOKEY\n",
        IDLE.as_secs()
    )
}

/// The zone, and how many records its transfer has: the first one ends it, too.
fn zone(serial: u32, network: [u8; 3]) -> (String, usize) {
    let mut lines = vec![
        format!("example.test. SOA ns.example.test. admin.example.test. {serial} 60 60 60 60"),
        "example.test. NS ns.example.test.".to_owned(),
        "ns.example.test. A 192.0.2.253".to_owned(),
    ];
    lines.extend(hosts(network));
    (format!("$TTL 60\n{}\n", lines.join("\n")), lines.len() + 1)
}

/// Has nsd do something, and says what it says to that.
fn control(config: &Path, words: &[&str]) -> String {
    let program = find("nsd-control").expect("it comes with nsd");
    let output = Command::new(program).arg("-c").arg(config).args(words).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it speaks")
}

#[test]
fn answers_transfers_and_reloads() {
    each_library(serve);
}

fn serve(library: Library) {
    let folder = tempfile::tempdir().expect("there is room");
    let (config, file, server) = (folder.path().join("nsd.conf"), folder.path().join("zone"), free_address());
    fs::write(&config, configuration(folder.path(), server.port())).expect("there is room");
    let (text, records) = zone(1, NETWORK);
    fs::write(&file, text).expect("there is room");
    let arguments = ["-d".as_ref(), "-c".as_ref(), config.as_os_str()];
    let Some(mut program) = Program::start(library, "nsd", &arguments) else { return };
    program.await_port(server);
    ask_all(server, NETWORK);
    assert_eq!(transfer(server, records), records);
    fs::write(&file, zone(2, NEW_NETWORK).0).expect("there is room");
    assert_eq!(control(&config, &["reload", "example.test"]), "ok\n");
    let deadline = Instant::now() + PATIENCE;
    while !is_at(server, 1, NEW_NETWORK) {
        assert!(Instant::now() < deadline, "it does not read the zone again");
        thread::sleep(A_MOMENT);
    }
    ask_all(server, NEW_NETWORK);
    let begun = Instant::now();
    assert!(is_closed(&mut connect(server)), "nobody closes an idle connection");
    assert!(begun.elapsed() >= IDLE, "it had its time");
    assert!(control(&config, &["status"]).starts_with("version: "));
    assert_eq!(control(&config, &["stop"]), "ok\n");
    assert!(program.finished().success());
}
