//! zerovent's bufferevents, whose callbacks move what has arrived to the other output, as the book's proxy does.

use std::os::fd::OwnedFd;

use zerovent::EventBase;
use zerovent::bufferevent::{BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::{Evbuffer, Result};

/// As much waits in an output as in C libevent's.
const PENDING_MAX: usize = super::by_libevent::PENDING_MAX;

pub(crate) fn relay() -> Box<dyn FnMut(OwnedFd, OwnedFd)> {
    let mut base = EventBase::new().expect("a loop");
    Box::new(move |from, to| {
        start(&mut base, from, to).expect("two sockets");
        base.dispatch().expect("the loop runs");
    })
}

fn start(base: &mut EventBase, from: OwnedFd, to: OwnedFd) -> Result<()> {
    let from = base.new_socket(Some(from), &Options::new())?;
    let to = base.new_socket(Some(to), &Options::new())?;
    base.set_read_callback(from, move |base, from| pass_on(base, from, to).expect("both live"))?;
    base.set_event_callback(from, move |base, from, _| finish(base, from, to).expect("both live"))?;
    base.pause_while_above(from, to, Some(PENDING_MAX))?;
    base.bufferevent(from)?.enable(Interest::READ);
    Ok(())
}

fn pass_on(base: &mut EventBase, from: BuffereventId, to: BuffereventId) -> Result<()> {
    let mut arrived = Evbuffer::new();
    base.bufferevent(from)?.read_buffer(&mut arrived)?;
    base.bufferevent(to)?.write_buffer(&mut arrived)
}

/// The other end is told when everything has been sent, and closes.
fn finish(base: &mut EventBase, from: BuffereventId, to: BuffereventId) -> Result<()> {
    base.free_bufferevent(from)?;
    base.free_after_flush(to, std::time::Duration::from_secs(60))
}
