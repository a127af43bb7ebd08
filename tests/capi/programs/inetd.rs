//! openbsd-inetd: starts a program for each connection, and so forks without telling the library; signals tell it of children
//! that end and of a new configuration.

use std::fs;
use std::io::Read;
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::net::{PATIENCE, free_address};
use crate::support::programs::{A_MOMENT, Program, ask, connect, send_signal, try_connect};

fn line(port: u16, program: &str) -> String {
    format!("127.0.0.1:{port} stream tcp4 nowait root {program}\n")
}

#[test]
fn starts_a_program_for_each_connection() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let config = folder.path().join("inetd.conf");
        let (cat, new) = (free_address(), free_address());
        let lines = line(cat.port(), "/bin/cat cat");
        fs::write(&config, &lines).expect("there is room");
        let arguments = ["-d".as_ref(), config.as_os_str()];
        let Some(mut program) = Program::start(library, "inetd", &arguments) else { return };
        program.await_port(cat);
        let mut streams: Vec<_> = (0..10).map(|_| connect(cat)).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            ask(stream, format!("line {number}\n").as_bytes(), format!("line {number}\n").as_bytes());
        }
        for mut stream in streams {
            stream.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!(stream.read(&mut [0; 8]).expect("it ends"), 0, "cat has ended");
        }
        fs::write(&config, lines + &line(new.port(), "/bin/echo echo hello")).expect("there is room");
        send_signal(program.id(), "HUP");
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            if let Some(stream) = try_connect(new) {
                break stream;
            }
            assert!(Instant::now() < deadline, "the new service is not there");
            thread::sleep(A_MOMENT);
        };
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it ends");
        assert_eq!(said, "hello\n");
        ask(&mut connect(cat), b"still\n", b"still\n");
        program.check_alive();
    });
}
