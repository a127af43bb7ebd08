//! unbound: allocates and frees its events itself, and writes their fields between deleting and adding; one base a thread, UDP
//! and TCP with timeouts, signals.

use std::fs;

use super::dns::{ask_all, hosts};
use super::each_library;
use crate::support::net::free_address;
use crate::support::programs::Program;

const NETWORK: [u8; 3] = [192, 0, 2];

fn configuration(port: u16) -> String {
    let mut text = format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n num-threads: 2\n username: \"\"\n chroot: \"\"\n \
         directory: \"\"\n pidfile: \"\"\n do-daemonize: no\n use-syslog: no\n logfile: \"\"\n verbosity: 0\n \
         module-config: \"iterator\"\n do-not-query-localhost: no\n tcp-idle-timeout: 1000\n \
         local-zone: \"example.test.\" static\n"
    );
    for host in hosts(NETWORK) {
        text += &format!(" local-data: \"{host}\"\n");
    }
    text + "remote-control:\n control-enable: no\n"
}

#[test]
fn answers_by_udp_and_tcp_on_its_threads() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let config = folder.path().join("unbound.conf");
        let server = free_address();
        fs::write(&config, configuration(server.port())).expect("there is room");
        let arguments = ["-d".as_ref(), "-c".as_ref(), config.as_os_str()];
        let Some(mut program) = Program::start(library, "unbound", &arguments) else { return };
        program.await_port(server);
        ask_all(server, NETWORK);
        assert!(program.stop("TERM").success());
    });
}
