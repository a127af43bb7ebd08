//! Socket activation as systemd does it: a program is started with sockets that listen already. The tests start this very
//! binary, by a shell that plays the service manager.

mod support;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use support::net::{PATIENCE, any_port};
use zerovent::EventBase;
use zerovent::listener::{ListenOptions, listen_fds};

/// Set for the process that is started; a test that finds it is that process.
const STARTED: &str = "ZEROVENT_TEST_STARTED";

/// Starts `test` of this binary with a socket that listens as descriptor 3, and, as 4, the same once more.
fn start(test: &str, environment: &str, socket: TcpListener) -> Child {
    let script = format!("{environment} exec \"$0\" --exact --nocapture {test} 3<&0 4<&0");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(STARTED, "1");
    shell.stdin(OwnedFd::from(socket)).stdout(Stdio::null()).spawn().unwrap()
}

fn is_started() -> bool {
    std::env::var_os(STARTED).is_some()
}

#[test]
fn sockets_of_the_service_manager_are_taken_over_once_and_served() {
    if is_started() {
        let inherited = listen_fds();
        let names: Vec<_> = inherited.iter().map(|inherited| inherited.name.as_deref()).collect();
        assert_eq!(names, [Some("web"), Some("spare")]);
        assert!(listen_fds().is_empty(), "they are taken once");
        serve(inherited.into_iter().next().unwrap().fd);
        return;
    }
    let socket = TcpListener::bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();
    let environment = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:spare";
    let mut child =
        start("sockets_of_the_service_manager_are_taken_over_once_and_served", environment, socket);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut end = Vec::new();
    client.read_to_end(&mut end).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Takes one connection, and closes it.
fn serve(socket: OwnedFd) {
    let mut base = EventBase::new().unwrap();
    base.adopt_listener(socket, &ListenOptions::new(), |base, _, _, _| base.loop_break()).unwrap();
    base.loop_exit(Some(PATIENCE)).unwrap();
    base.dispatch().unwrap();
    assert!(base.got_break(), "nobody connected");
}

#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    if is_started() {
        assert!(listen_fds().is_empty());
        return;
    }
    let socket = TcpListener::bind(any_port()).unwrap();
    let mut child =
        start("what_is_meant_for_another_process_is_left_alone", "LISTEN_PID=1 LISTEN_FDS=2", socket);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_the_process_has_opened_itself_is_not_taken() {
    if is_started() {
        // The variables promise more than there is: descriptors from 5 on are this process's own.
        let own: Vec<_> = (0..4).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert_eq!(listen_fds().len(), 2);
        assert!(own.iter().all(|file| file.metadata().is_ok()));
        return;
    }
    let socket = TcpListener::bind(any_port()).unwrap();
    let mut child =
        start("what_the_process_has_opened_itself_is_not_taken", "LISTEN_PID=$$ LISTEN_FDS=1000000", socket);
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_a_service_manager_there_is_nothing() {
    if !is_started() {
        assert!(listen_fds().is_empty());
    }
}
