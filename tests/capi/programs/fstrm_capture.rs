//! fstrm_capture: a listener, bufferevents with marks, and evbuffers that it looks into and drains; it writes the frames that it is sent to a
//! file.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::net::PATIENCE;
use crate::support::programs::{A_MOMENT, Program, check_mapped};

const CONTENT: &[u8] = b"test:frames";
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// A control frame: a length of 0, its own length, its kind, and what the stream holds.
fn control(kind: u32, with_content: bool) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if with_content {
        body.extend_from_slice(&1u32.to_be_bytes());
        body.extend_from_slice(&(CONTENT.len() as u32).to_be_bytes());
        body.extend_from_slice(CONTENT);
    }
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn expect(stream: &mut UnixStream, frame: &[u8]) {
    let mut said = vec![0; frame.len()];
    stream.read_exact(&mut said).expect("it answers");
    assert_eq!(said, frame);
}

fn frames() -> Vec<u8> {
    let mut all = Vec::new();
    for number in 0..3000usize {
        let payload = vec![number as u8; 1 + number * 7 % 2000];
        all.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        all.extend_from_slice(&payload);
    }
    all
}

#[test]
fn writes_down_what_it_is_sent() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let (socket, file) = (folder.path().join("socket"), folder.path().join("file"));
        let arguments = ["-t", "test:frames", "-u", socket.to_str().unwrap(), "-w", file.to_str().unwrap()];
        let Some(mut program) = Program::start(library, "fstrm_capture", &arguments) else { return };
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            program.check_alive();
            assert!(Instant::now() < deadline, "nobody listens");
            thread::sleep(A_MOMENT);
        };
        check_mapped(program.id(), library);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
        stream.write_all(&control(READY, true)).expect("it reads");
        expect(&mut stream, &control(ACCEPT, true));
        stream.write_all(&control(START, true)).expect("it reads");
        stream.write_all(&frames()).expect("it reads");
        stream.write_all(&control(STOP, false)).expect("it reads");
        expect(&mut stream, &control(FINISH, false));
        assert!(program.stop("TERM").success());
        let wanted = [control(START, true), frames(), control(STOP, false)].concat();
        assert!(fs::read(&file).expect("it has been written") == wanted);
    });
}
