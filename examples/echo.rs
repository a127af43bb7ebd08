//! The libevent book's echo server: what arrives in a connection's input moves to its output, and no byte of it
//! is copied.
//!
//! `cargo run --release --example echo -- --addr 127.0.0.1:9876`

mod support;

use std::os::fd::OwnedFd;

use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::util::Address;

fn main() -> zerovent::Result<()> {
    let address = support::listen_address("echo [--addr HOST:PORT]");
    let mut base = EventBase::new()?;
    support::stop_on_signals(&mut base)?;
    let listener = base.listen(address, &ListenOptions::new(), accept)?;
    base.set_listener_error_callback(listener, |base, _, error| {
        eprintln!("echo: accepting failed, shutting down: {error}");
        base.loop_break();
    })?;
    println!("listening on {}", base.listener(listener)?.address());
    base.dispatch()?;
    Ok(())
}

/// A new connection gets a bufferevent of its own; a connection that cannot have one is closed here.
fn accept(base: &mut EventBase, _: ListenerId, socket: OwnedFd, peer: Address) {
    if let Err(error) = serve(base, socket) {
        eprintln!("echo: {peer}: {error}");
    }
}

fn serve(base: &mut EventBase, socket: OwnedFd) -> zerovent::Result<()> {
    let id = base.new_socket(Some(socket), &Options::new())?;
    base.set_read_callback(id, echo)?;
    base.set_event_callback(id, on_event)?;
    base.bufferevent(id)?.enable(Interest::READ | Interest::WRITE);
    Ok(())
}

fn echo(base: &mut EventBase, id: BuffereventId) {
    let moved = base.bufferevent(id).and_then(|connection| {
        let (input, output) = connection.buffers();
        output.add_buffer(input)
    });
    moved.expect("a connection exists in its own callback, and its output accepts bytes");
}

fn on_event(base: &mut EventBase, id: BuffereventId, events: BevEvents) {
    if let Ok(connection) = base.bufferevent(id)
        && let Some(error) = connection.last_error()
    {
        eprintln!("echo: {error}");
    }
    if events.intersects(BevEvents::EOF | BevEvents::ERROR) {
        // What it sent last may still be on its way back.
        let _ = base.free_after_flush(id, support::LINGER);
    }
}
