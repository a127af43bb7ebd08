//! The framing example as a process: frames in any pieces, several in one, of any length, and what ends a connection.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::thread;

use support::net::{pattern, read_exact};
use support::process::{Server, example};

fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&len.to_be_bytes()[..], payload].concat()
}

#[test]
fn every_frame_comes_back_whatever_pieces_it_arrives_in() {
    let server = Server::start("framing", &["--addr", "127.0.0.1:0"]);
    let frames: Vec<Vec<u8>> =
        [0, 1, 3, 1000, 70_000, 1 << 20].map(|len| frame(&pattern(len, 3))).into_iter().collect();
    let all = frames.concat();
    let mut stream = server.connect();
    for byte in &all[..20] {
        stream.write_all(&[*byte]).unwrap();
    }
    let (mut writer, rest) = (stream.try_clone().unwrap(), all[20..].to_vec());
    let writing =
        thread::spawn(move || rest.chunks(50_000).for_each(|piece| writer.write_all(piece).unwrap()));
    assert!(read_exact(&mut stream, all.len()) == all);
    writing.join().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it closes after the peer has");
}

#[test]
fn a_frame_that_is_too_long_ends_the_connection_and_nothing_else() {
    let server = Server::start("framing", &[]);
    let (mut bad, mut good) = (server.connect(), server.connect());
    bad.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(bad.read(&mut [0]).unwrap(), 0);
    good.write_all(&frame(b"still there")).unwrap();
    assert_eq!(read_exact(&mut good, 15), frame(b"still there"));
}

#[test]
fn the_client_prints_its_answers() {
    let server = Server::start("framing", &[]);
    let address = server.address().to_string();
    let output =
        Command::new(example("framing")).args(["--connect", &address, "one", "two words"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"one\ntwo words\n");
    let usage = Command::new(example("framing")).args(["--addr"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.stderr.starts_with(b"usage: "));
}
