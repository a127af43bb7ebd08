//! fstrm_capture: a listener on a Unix socket, and bufferevents that are read with marks, one for each writer.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::each_library;
use crate::support::net::PATIENCE;
use crate::support::programs::{A_MOMENT, Program};

const WRITERS: usize = 10;
const FRAMES: usize = 1000;

/// Control frames of the Frame Streams protocol.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// A control frame that names what the frames are, as far as its kind does.
fn control(kind: u32) -> Vec<u8> {
    let mut content = kind.to_be_bytes().to_vec();
    if kind == READY || kind == START {
        content.extend_from_slice(&1u32.to_be_bytes());
        content.extend_from_slice(&4u32.to_be_bytes());
        content.extend_from_slice(b"text");
    }
    let mut frame = 0u32.to_be_bytes().to_vec();
    frame.extend_from_slice(&(content.len() as u32).to_be_bytes());
    frame.extend_from_slice(&content);
    frame
}

fn expect_control(stream: &mut UnixStream, kind: u32) {
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("it answers");
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((number(0), number(8)), (0, kind));
    let mut rest = vec![0; number(4) as usize - 4];
    stream.read_exact(&mut rest).expect("it answers");
}

fn payload(writer: usize, frame: usize) -> Vec<u8> {
    format!("writer {writer} frame {frame} ").into_bytes().repeat(1 + frame % 50)
}

fn write_all(path: &Path, writer: usize) {
    let mut stream = UnixStream::connect(path).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a read timeout");
    stream.write_all(&control(READY)).expect("it reads");
    expect_control(&mut stream, ACCEPT);
    stream.write_all(&control(START)).expect("it reads");
    for frame in 0..FRAMES {
        let payload = payload(writer, frame);
        stream.write_all(&(payload.len() as u32).to_be_bytes()).expect("it reads");
        stream.write_all(&payload).expect("it reads");
    }
    stream.write_all(&control(STOP)).expect("it reads");
    expect_control(&mut stream, FINISH);
}

/// The payloads of a file, which begins and ends with a control frame.
fn payloads(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((len, rest)) = file.split_first_chunk::<4>() {
        match u32::from_be_bytes(*len) as usize {
            0 => {
                let (len, rest) = rest.split_first_chunk::<4>().expect("a length");
                file = &rest[u32::from_be_bytes(*len) as usize..];
            }
            len => {
                found.push(rest[..len].to_vec());
                file = &rest[len..];
            }
        }
    }
    found
}

#[test]
fn keeps_every_frame_of_every_writer() {
    each_library(|library| {
        let folder = tempfile::tempdir().expect("there is room");
        let (socket, file) = (folder.path().join("socket"), folder.path().join("frames"));
        let arguments = [
            "-t".as_ref(),
            "text".as_ref(),
            "-u".as_ref(),
            socket.as_os_str(),
            "-w".as_ref(),
            file.as_os_str(),
        ];
        let Some(mut program) = Program::start(library, "fstrm_capture", &arguments) else { return };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            program.check_alive();
            assert!(Instant::now() < deadline, "nobody listens");
            thread::sleep(A_MOMENT);
        }
        library.check_mapped(program.id());
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let socket = &socket;
                scope.spawn(move || write_all(socket, writer));
            }
        });
        program.stop("TERM");
        let mut found = payloads(&fs::read(&file).expect("it was written"));
        let frames = (0..WRITERS).flat_map(|writer| (0..FRAMES).map(move |frame| payload(writer, frame)));
        let mut expected: Vec<_> = frames.collect();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len());
        assert!(found == expected, "each frame once, and whole");
    });
}
