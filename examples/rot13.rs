//! The libevent book's line server: every line comes back with its letters turned by 13 places.
//!
//! A line may be as long as it likes, but no more than 16 KiB of one are held: that much without a line end is
//! answered as if it were a line, as the book does, so that no client makes the buffer grow.
//!
//! `cargo run --release --example rot13 -- --addr 127.0.0.1:40713`

mod support;

use std::os::fd::OwnedFd;

use zerovent::buffer::Eol;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::util::Address;
use zerovent::{Evbuffer, EventBase};

const LINE_LEN_MAX: usize = 16 * 1024;

fn main() -> zerovent::Result<()> {
    let address = support::listen_address("rot13 [--addr HOST:PORT]");
    let mut base = EventBase::new()?;
    support::stop_on_signals(&mut base)?;
    let listener = base.listen(address, &ListenOptions::new(), accept)?;
    println!("listening on {}", base.listener(listener)?.address());
    base.dispatch()?;
    Ok(())
}

fn accept(base: &mut EventBase, _: ListenerId, socket: OwnedFd, peer: Address) {
    if let Err(error) = serve(base, socket) {
        eprintln!("rot13: {peer}: {error}");
    }
}

fn serve(base: &mut EventBase, socket: OwnedFd) -> zerovent::Result<()> {
    let id = base.new_socket(Some(socket), &Options::new())?;
    base.set_read_callback(id, on_read)?;
    base.set_event_callback(id, |base, id, _: BevEvents| {
        // The answer to its last line may still be on its way.
        let _ = base.free_after_flush(id, support::LINGER);
    })?;
    let connection = base.bufferevent(id)?;
    connection.set_watermark(Interest::READ, 0, LINE_LEN_MAX);
    connection.enable(Interest::READ | Interest::WRITE);
    Ok(())
}

fn on_read(base: &mut EventBase, id: BuffereventId) {
    let Ok(connection) = base.bufferevent(id) else { return };
    let (input, output) = connection.buffers();
    if let Err(error) = answer(input, output) {
        eprintln!("rot13: {error}");
        let _ = base.free_bufferevent(id);
    }
}

fn answer(input: &mut Evbuffer, output: &mut Evbuffer) -> zerovent::Result<()> {
    while let Some(line) = input.read_line(Eol::Lf)? {
        add_turned(output, line)?;
    }
    if input.len() >= LINE_LEN_MAX {
        let piece = input.remove_bytes(input.len())?;
        add_turned(output, piece.into())?;
    }
    Ok(())
}

/// The line was copied out of the input once; turned where it is, it becomes part of the output.
fn add_turned(output: &mut Evbuffer, mut line: Vec<u8>) -> zerovent::Result<()> {
    line.iter_mut().for_each(|byte| *byte = rot13(*byte));
    line.push(b'\n');
    output.add_reference(line)
}

fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'm' | b'A'..=b'M' => byte + 13,
        b'n'..=b'z' | b'N'..=b'Z' => byte - 13,
        other => other,
    }
}
