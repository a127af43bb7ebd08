//! A protocol of length-prefixed frames over plain blocking sockets: buffers alone, no event loop.
//!
//! A frame is a length (four bytes, big-endian) and that many bytes. The server answers each frame with the same bytes, which
//! move from its input to its output without being copied; the client sends its arguments and prints the answers.
//!
//! `cargo run --example framing -- --addr 127.0.0.1:9877`, then
//! `cargo run --example framing -- --connect 127.0.0.1:9877 hello "two words"`

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process;
use std::thread;

use bytes::Buf;
use zerovent::{Error, Evbuffer, Result};

const USAGE: &str = "usage: framing [--addr HOST:PORT] | framing --connect HOST:PORT WORD...";
/// Bytes of the length in front of a frame.
const PREFIX: usize = 4;
/// The longest frame that either side accepts; a longer one ends the connection instead of filling the memory.
const FRAME_MAX: usize = 16 << 20;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (None, None) => serve(SocketAddr::from(([127, 0, 0, 1], 0))),
        (Some("--addr"), Some(address)) if words.len() == 0 => serve(parse(&address)),
        (Some("--connect"), Some(address)) => ask(parse(&address), words),
        (Some("--help" | "-h"), None) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => usage(),
    }
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    process::exit(2)
}

fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|_| usage())
}

/// Serves every connection on a thread of its own; a buffer is `Send`, and nothing here is shared.
fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = answer_all(&stream) {
                eprintln!("framing: {peer}: {error}");
            }
        });
    }
}

/// Answers frame after frame until the peer has no more.
fn answer_all(stream: &TcpStream) -> Result<()> {
    let mut input = frame_input()?;
    let mut output = Evbuffer::new();
    while input.read_from(stream, usize::MAX)? > 0 {
        while let Some(mut frame) = next_frame(&mut input)? {
            add_frame(&mut output, &mut frame)?;
        }
        // All the answers to what one read brought leave together.
        output.write_to(stream)?;
    }
    if input.is_empty() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

/// A buffer that never holds more than the longest frame.
fn frame_input() -> Result<Evbuffer> {
    let mut input = Evbuffer::new();
    input.set_capacity_limit(Some(PREFIX + FRAME_MAX))?;
    Ok(input)
}

/// Takes the first frame out of `input` when it has arrived whole, without copying it.
fn next_frame(input: &mut Evbuffer) -> Result<Option<Evbuffer>> {
    if input.len() < PREFIX {
        return Ok(None);
    }
    let mut prefix = input.reader(PREFIX)?;
    let len = prefix.get_u32() as usize;
    prefix.keep();
    if len > FRAME_MAX {
        return Err(Error::Limit);
    }
    if input.len() < PREFIX + len {
        return Ok(None);
    }
    input.drain(PREFIX)?;
    input.split_to(len).map(Some)
}

/// Adds `payload` as a frame and leaves it empty.
fn add_frame(output: &mut Evbuffer, payload: &mut Evbuffer) -> Result<()> {
    let len = u32::try_from(payload.len()).map_err(|_| Error::Overflow)?;
    output.add(&len.to_be_bytes())?;
    output.add_buffer(payload)
}

/// Sends each word as a frame and prints what comes back, a line each.
fn ask(address: SocketAddr, words: impl Iterator<Item = String>) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    let mut input = frame_input()?;
    for word in words {
        let (mut output, mut payload) = (Evbuffer::new(), Evbuffer::from(word));
        add_frame(&mut output, &mut payload)?;
        output.write_to(&stream)?;
        let mut answer = receive(&stream, &mut input)?;
        answer.add(b"\n")?;
        answer.write_to(io::stdout())?;
    }
    Ok(())
}

/// Reads until a whole frame is there.
fn receive(stream: &TcpStream, input: &mut Evbuffer) -> Result<Evbuffer> {
    loop {
        if let Some(frame) = next_frame(input)? {
            return Ok(frame);
        }
        if input.read_from(stream, usize::MAX)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
