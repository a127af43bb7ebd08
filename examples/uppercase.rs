//! A filter at work: an echo server that shouts. The filter turns what arrives into capitals before the read callback sees it, so the
//! callback is that of the echo server and moves bytes without looking at them.
//!
//! `cargo run --release --example uppercase -- --addr 127.0.0.1:9878`

mod support;

use std::os::fd::OwnedFd;

use zerovent::bufferevent::{BevEvents, BuffereventId, FilterResult, FlushMode, Options};
use zerovent::event_base::Interest;
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::util::Address;
use zerovent::{Evbuffer, EventBase};

fn main() -> zerovent::Result<()> {
    let address = support::listen_address("uppercase [--addr HOST:PORT]");
    let mut base = EventBase::new()?;
    support::stop_on_signals(&mut base)?;
    let listener = base.listen(address, &ListenOptions::new(), accept)?;
    println!("listening on {}", base.listener(listener)?.address());
    base.dispatch()?;
    Ok(())
}

fn accept(base: &mut EventBase, _: ListenerId, socket: OwnedFd, peer: Address) {
    if let Err(error) = serve(base, socket) {
        eprintln!("uppercase: {peer}: {error}");
    }
}

/// The socket is freed together with the filter over it.
fn serve(base: &mut EventBase, socket: OwnedFd) -> zerovent::Result<()> {
    let socket = base.new_socket(Some(socket), &Options::new())?;
    let id = base.new_filter(socket, Some(Box::new(shout)), None, &Options::new().close_on_free(true))?;
    base.set_read_callback(id, echo)?;
    base.set_event_callback(id, |base, id, _: BevEvents| {
        // What it shouted last may still be on its way.
        let _ = base.free_after_flush(id, support::LINGER);
    })?;
    base.bufferevent(id)?.enable(Interest::READ | Interest::WRITE);
    Ok(())
}

/// Moves what has arrived from `from` to `to`, in capitals; no more than `limit`, if there is one.
fn shout(from: &mut Evbuffer, to: &mut Evbuffer, limit: Option<usize>, _: FlushMode) -> FilterResult {
    let len = from.len().min(limit.unwrap_or(usize::MAX));
    if len == 0 {
        return FilterResult::NeedMore;
    }
    match move_in_capitals(from, to, len) {
        Ok(()) => FilterResult::Ok,
        Err(_) => FilterResult::Error,
    }
}

fn move_in_capitals(from: &mut Evbuffer, to: &mut Evbuffer, len: usize) -> zerovent::Result<()> {
    let mut text = vec![0; len];
    from.remove(&mut text)?;
    text.make_ascii_uppercase();
    to.add_reference(text)
}

fn echo(base: &mut EventBase, id: BuffereventId) {
    let moved = base.bufferevent(id).and_then(|connection| {
        let (input, output) = connection.buffers();
        output.add_buffer(input)
    });
    if let Err(error) = moved {
        eprintln!("uppercase: {error}");
        let _ = base.free_bufferevent(id);
    }
}
