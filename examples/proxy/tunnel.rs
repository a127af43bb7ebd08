//! Tunnels: two connections, and what arrives at the one leaves by the other.
//!
//! Bytes move from input to output without being copied. An output that has grown to [`PENDING_MAX`] stops the reading at
//! the other end until it has sunk to [`PENDING_LOW`], so a tunnel holds little, however fast one end sends and however slowly the
//! other one reads. When one end has said its last byte, the other one is told when it has been sent everything; the way back
//! stays open until it ends as well. A tunnel that fails is reset at both ends: nobody takes what arrived for the whole.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Display};
use std::mem;
use std::net::Shutdown;
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::resolve::Family;
use zerovent::util::Address;
use zerovent::{Evbuffer, Result};

use crate::{Base, Settings};

/// An output of this many bytes stops the reading at the other end.
const PENDING_MAX: usize = 256 * 1024;
/// One that has sunk to this many lets it go on.
const PENDING_LOW: usize = 64 * 1024;

/// What has passed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stats {
    opened: u64,
    failed: u64,
    /// Bytes from clients to the target, and back.
    up: u64,
    down: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.opened += other.opened;
        self.failed += other.failed;
        self.up += other.up;
        self.down += other.down;
    }
}

impl Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { opened, failed, up, down } = self;
        write!(f, "{opened} connections, {failed} failed, {up} bytes there, {down} bytes back")
    }
}

/// Which end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Target,
}

impl Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Client => "client",
            Side::Target => "target",
        })
    }
}

/// How far the way from an end to its peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Reading waits for the peer's output to sink.
    Paused,
    /// The last byte has arrived, and is on its way to the peer.
    Ended,
    /// The peer has been told the end.
    Shut,
}

/// One end of a tunnel.
#[derive(Debug)]
struct End {
    peer: BuffereventId,
    side: Side,
    way: Way,
    /// Bytes that have arrived here.
    arrived: u64,
    /// What the tunnel had done when a clock last ran out.
    seen: Progress,
}

/// What a tunnel has taken in, and what of it has not left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    arrived: u64,
    pending: usize,
}

/// The tunnels of one loop.
#[derive(Debug)]
pub(crate) struct Tunnels {
    settings: Arc<Settings>,
    ends: HashMap<BuffereventId, End>,
    stats: Stats,
}

impl Tunnels {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Tunnels { settings, ends: HashMap::new(), stats: Stats::default() }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    fn end(&mut self, id: BuffereventId) -> Result<&mut End> {
        self.ends.get_mut(&id).ok_or(zerovent::Error::Stale)
    }

    fn count(&mut self, id: BuffereventId, bytes: usize) -> Result<()> {
        let end = self.end(id)?;
        end.arrived += bytes as u64;
        match end.side {
            Side::Client => self.stats.up += bytes as u64,
            Side::Target => self.stats.down += bytes as u64,
        }
        Ok(())
    }
}

/// What ends a tunnel before its time.
type Failure = Box<dyn Error>;

/// Opens a tunnel from `socket` to the target.
pub(crate) fn open(base: &mut Base, socket: OwnedFd, peer: Address) {
    base.context_mut().tunnels.stats.opened += 1;
    if let Err(error) = connect(base, socket) {
        eprintln!("proxy: {peer}: {error}");
    }
}

/// Nothing is read from the client until the target is there.
fn connect(base: &mut Base, socket: OwnedFd) -> Result<()> {
    let settings = Arc::clone(&base.context().tunnels.settings);
    let client = base.new_socket(Some(socket), &Options::new())?;
    let target = base.new_socket(None, &Options::new())?;
    for (id, peer, side) in [(client, target, Side::Client), (target, client, Side::Target)] {
        let end = End { peer, side, way: Way::Open, arrived: 0, seen: Progress::default() };
        base.context_mut().tunnels.ends.insert(id, end);
        base.set_read_callback(id, |base, id| attempt(base, id, pass_on))?;
        base.set_write_callback(id, |base, id| attempt(base, id, on_sunk))?;
        base.set_event_callback(id, |base, id, events| {
            attempt(base, id, |base, id| on_event(base, id, events));
        })?;
        let bufferevent = base.bufferevent(id)?;
        bufferevent.set_watermark(Interest::WRITE, PENDING_LOW, 0);
        bufferevent.set_timeouts(Some(settings.patience), Some(settings.patience));
    }
    base.set_rate_limit(client, settings.rate.as_ref())?;
    attempt(base, target, |base, target| {
        Ok(base.connect_hostname(target, Family::Any, &settings.host, settings.port)?)
    });
    Ok(())
}

/// Takes a step of the tunnel to which `id` belongs. A step that fails is its last.
fn attempt<F>(base: &mut Base, id: BuffereventId, step: F)
where
    F: FnOnce(&mut Base, BuffereventId) -> Result<(), Failure>,
{
    if let Err(failure) = step(base, id) {
        reset(base, id, &*failure);
    }
}

/// Moves what has arrived to the other end.
fn pass_on(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let peer = base.context_mut().tunnels.end(id)?.peer;
    let mut arrived = Evbuffer::new();
    base.bufferevent(id)?.read_buffer(&mut arrived)?;
    base.context_mut().tunnels.count(id, arrived.len())?;
    let output = base.bufferevent(peer)?.output();
    output.add_buffer(&mut arrived)?;
    if output.len() >= PENDING_MAX {
        base.bufferevent(id)?.disable(Interest::READ);
        base.context_mut().tunnels.end(id)?.way = Way::Paused;
    }
    Ok(())
}

/// The output of `id` has sunk to its mark: its peer may go on, or the end is near.
fn on_sunk(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let peer = base.context_mut().tunnels.end(id)?.peer;
    let from = base.context_mut().tunnels.end(peer)?;
    match from.way {
        Way::Paused => {
            from.way = Way::Open;
            base.bufferevent(peer)?.enable(Interest::READ);
            Ok(())
        }
        Way::Ended => shut_when_sent(base, id),
        Way::Open | Way::Shut => Ok(()),
    }
}

fn on_event(base: &mut Base, id: BuffereventId, events: BevEvents) -> Result<(), Failure> {
    if events.contains(BevEvents::ERROR) {
        let error = base.bufferevent(id)?.last_error().map(ToString::to_string);
        return Err(error.unwrap_or_else(|| "the connection failed".to_owned()).into());
    }
    if events.contains(BevEvents::TIMEOUT) {
        return check_progress(base, id, events);
    }
    let peer = base.context_mut().tunnels.end(id)?.peer;
    if events.contains(BevEvents::CONNECTED) {
        base.bufferevent(id)?.enable(Interest::READ);
        base.bufferevent(peer)?.enable(Interest::READ);
        return Ok(());
    }
    // The last byte has arrived, and the callback before this one has passed it on.
    base.context_mut().tunnels.end(id)?.way = Way::Ended;
    base.bufferevent(peer)?.set_watermark(Interest::WRITE, 0, 0);
    shut_when_sent(base, peer)
}

/// Tells `id` that its peer has ended, if it has been sent all that came before.
fn shut_when_sent(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let bufferevent = base.bufferevent(id)?;
    if !bufferevent.output().is_empty() {
        return Ok(());
    }
    if let Some(socket) = bufferevent.fd() {
        SockRef::from(&socket).shutdown(Shutdown::Write)?;
    }
    let tunnels = &mut base.context_mut().tunnels;
    let End { peer, way, .. } = *tunnels.end(id)?;
    tunnels.end(peer)?.way = Way::Shut;
    if way == Way::Shut {
        free(base, id);
        free(base, peer);
    }
    Ok(())
}

/// A clock has run out at `id`. One end may well be silent for long while the other one speaks.
fn check_progress(base: &mut Base, id: BuffereventId, events: BevEvents) -> Result<(), Failure> {
    let peer = base.context_mut().tunnels.end(id)?.peer;
    let mut now = Progress::default();
    for end in [id, peer] {
        now.arrived += base.context_mut().tunnels.end(end)?.arrived;
        now.pending += base.bufferevent(end)?.output().len();
    }
    let before = mem::replace(&mut base.context_mut().tunnels.end(id)?.seen, now);
    if events.contains(BevEvents::WRITING) || now == before {
        return Err("timed out".into());
    }
    base.bufferevent(id)?.enable(Interest::READ);
    Ok(())
}

/// Ends a tunnel that cannot go on.
fn reset(base: &mut Base, id: BuffereventId, why: &dyn Error) {
    let tunnels = &mut base.context_mut().tunnels;
    let Some(&End { peer, side, .. }) = tunnels.ends.get(&id) else { return };
    tunnels.stats.failed += 1;
    eprintln!("proxy: {side}: {why}");
    for end in [id, peer] {
        if let Some(socket) = base.bufferevent(end).ok().and_then(|bufferevent| bufferevent.fd()) {
            // Closing a socket that does not linger resets the connection.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        free(base, end);
    }
}

fn free(base: &mut Base, id: BuffereventId) {
    base.context_mut().tunnels.ends.remove(&id);
    let _ = base.free_bufferevent(id);
}
