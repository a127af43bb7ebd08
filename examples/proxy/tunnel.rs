//! Tunnels: two connections, and what arrives at the one leaves by the other.
//!
//! Through buffers bytes move from input to output without being copied by the proxy, and one end is not read while the output of the
//! other holds [`PENDING_MAX`]. By splicing they stay in the kernel: a relay does all of it. Either way a tunnel holds little,
//! however fast one end sends and however slowly the other one reads. When one end has said its last byte, the other one is told
//! when it has been sent everything; the way back stays open until it ends as well. A tunnel that fails is reset at both
//! ends: nobody takes what arrived for the whole.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::mem;
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options, RelayEnd, RelayOptions, Splicing};
use zerovent::event_base::Interest;
use zerovent::resolve::Family;
use zerovent::util::Address;
use zerovent::{Evbuffer, Result};

use crate::{Base, Settings};

/// An output of this many bytes stops the reading at the other end.
const PENDING_MAX: usize = 256 * 1024;

/// How bytes get across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Buffers,
    Splice,
}

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

/// One end of a tunnel.
#[derive(Debug)]
struct End {
    peer: BuffereventId,
    side: Side,
    /// Its last byte has arrived.
    ended: bool,
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

    fn count(&mut self, id: BuffereventId, bytes: u64) -> Result<()> {
        let end = self.end(id)?;
        end.arrived += bytes;
        match end.side {
            Side::Client => self.stats.up += bytes,
            Side::Target => self.stats.down += bytes,
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
        let end = End { peer, side, ended: false, arrived: 0, seen: Progress::default() };
        base.context_mut().tunnels.ends.insert(id, end);
        base.set_read_callback(id, |base, id| attempt(base, id, pass_on))?;
        base.set_event_callback(id, |base, id, events| {
            attempt(base, id, |base, id| on_event(base, id, events));
        })?;
        base.bufferevent(id)?.set_timeouts(Some(settings.patience), Some(settings.patience));
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

fn on_event(base: &mut Base, id: BuffereventId, events: BevEvents) -> Result<(), Failure> {
    if events.contains(BevEvents::ERROR) {
        let error = base.bufferevent(id)?.last_error().map(ToString::to_string);
        return Err(error.unwrap_or_else(|| "the connection failed".to_owned()).into());
    }
    if events.contains(BevEvents::TIMEOUT | BevEvents::WRITING) {
        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
    }
    if events.contains(BevEvents::TIMEOUT) {
        check_progress(base, id)?;
        base.bufferevent(id)?.enable(Interest::READ);
    }
    if events.contains(BevEvents::CONNECTED) {
        join(base, id)?;
    }
    if events.contains(BevEvents::EOF) {
        on_last_byte(base, id)?;
    }
    Ok(())
}

/// The target is there: bytes may pass.
fn join(base: &mut Base, target: BuffereventId) -> Result<(), Failure> {
    let client = base.context_mut().tunnels.end(target)?.peer;
    match base.context().tunnels.settings.transport {
        Transport::Splice => join_by_relay(base, client, target),
        Transport::Buffers => {
            for (id, peer) in [(client, target), (target, client)] {
                base.pause_while_above(id, peer, Some(PENDING_MAX))?;
                base.bufferevent(id)?.enable(Interest::READ);
            }
            Ok(())
        }
    }
}

/// Moves what has arrived to the other end.
fn pass_on(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let peer = base.context_mut().tunnels.end(id)?.peer;
    let mut arrived = Evbuffer::new();
    base.bufferevent(id)?.read_buffer(&mut arrived)?;
    base.context_mut().tunnels.count(id, arrived.len() as u64)?;
    base.bufferevent(peer)?.write_buffer(&mut arrived)?;
    Ok(())
}

/// The callback before this one has passed all of it on. What is still in the outputs is sent without us.
fn on_last_byte(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let tunnels = &mut base.context_mut().tunnels;
    let end = tunnels.end(id)?;
    end.ended = true;
    let peer = end.peer;
    if !tunnels.end(peer)?.ended {
        base.bufferevent(peer)?.shutdown_after_flush();
        return Ok(());
    }
    let patience = tunnels.settings.patience;
    for end in [id, peer] {
        base.context_mut().tunnels.ends.remove(&end);
        base.free_after_flush(end, patience)?;
    }
    Ok(())
}

fn join_by_relay(base: &mut Base, client: BuffereventId, target: BuffereventId) -> Result<(), Failure> {
    let options = RelayOptions::new().splicing(Splicing::Always);
    base.relay(client, target, &options, |base, end| {
        let id = end.failed.as_ref().map_or(end.a, |(id, _)| *id);
        attempt(base, id, |base, _| on_relay_end(base, end));
    })?;
    Ok(())
}

fn on_relay_end(base: &mut Base, end: RelayEnd) -> Result<(), Failure> {
    let RelayEnd { a: client, b: target, a_to_b, b_to_a, failed, .. } = end;
    base.context_mut().tunnels.count(client, a_to_b)?;
    base.context_mut().tunnels.count(target, b_to_a)?;
    match failed {
        None => {
            free(base, client);
            free(base, target);
            Ok(())
        }
        Some((id, zerovent::Error::Io(error))) if error.kind() == io::ErrorKind::TimedOut => {
            check_progress(base, id)?;
            join_by_relay(base, client, target)
        }
        Some((_, error)) => Err(error.into()),
    }
}

/// A clock has run out at `id`. One end may well be silent for long while the other one speaks, but not both.
fn check_progress(base: &mut Base, id: BuffereventId) -> Result<(), Failure> {
    let peer = base.context_mut().tunnels.end(id)?.peer;
    let mut now = Progress::default();
    for end in [id, peer] {
        now.arrived += base.context_mut().tunnels.end(end)?.arrived;
        now.pending += base.bufferevent(end)?.output().len();
    }
    let before = mem::replace(&mut base.context_mut().tunnels.end(id)?.seen, now);
    if now == before {
        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
    }
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
