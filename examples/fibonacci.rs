//! A write callback at work: every connection is sent the Fibonacci numbers, a line each, for as long as it reads. Numbers are made
//! only when those before have left, so a reader that stops costs a kilobyte and no time.
//!
//! `cargo run --release --example fibonacci -- --addr 127.0.0.1:9879`

mod support;

use std::fmt::{self, Display};
use std::mem;
use std::os::fd::OwnedFd;

use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::listener::{ListenOptions, ListenerId};
use zerovent::util::Address;
use zerovent::{Evbuffer, EventBase};

/// How much is made at a time, in bytes.
const BATCH_LEN: usize = 1024;

fn main() -> zerovent::Result<()> {
    let address = support::listen_address("fibonacci [--addr HOST:PORT]");
    let mut base = EventBase::new()?;
    support::stop_on_signals(&mut base)?;
    let listener = base.listen(address, &ListenOptions::new(), accept)?;
    println!("listening on {}", base.listener(listener)?.address());
    base.dispatch()?;
    Ok(())
}

fn accept(base: &mut EventBase, _: ListenerId, socket: OwnedFd, peer: Address) {
    if let Err(error) = serve(base, socket) {
        eprintln!("fibonacci: {peer}: {error}");
    }
}

fn serve(base: &mut EventBase, socket: OwnedFd) -> zerovent::Result<()> {
    let id = base.new_socket(Some(socket), &Options::new())?;
    let mut numbers = Fibonacci::default();
    base.set_write_callback(id, move |base, id| send_more(base, id, &mut numbers))?;
    base.set_event_callback(id, |base, id, _: BevEvents| {
        let _ = base.free_bufferevent(id);
    })?;
    let connection = base.bufferevent(id)?;
    // Nothing is expected of the peer, but that it leaves is told to those who read. What it says is left to lie.
    connection.set_watermark(Interest::READ, 0, 1);
    connection.enable(Interest::READ | Interest::WRITE);
    // The callback comes when something has left, so the first line leaves without it.
    connection.write(b"0\n")
}

fn send_more(base: &mut EventBase, id: BuffereventId, numbers: &mut Fibonacci) {
    let sent = batch(numbers).and_then(|mut lines| base.bufferevent(id)?.write_buffer(&mut lines));
    if let Err(error) = sent {
        eprintln!("fibonacci: {error}");
        let _ = base.free_bufferevent(id);
    }
}

fn batch(numbers: &mut Fibonacci) -> zerovent::Result<Evbuffer> {
    let mut lines = Evbuffer::new();
    while lines.len() < BATCH_LEN {
        writeln!(lines, "{}", numbers.advance())?;
    }
    Ok(lines)
}

/// A number as large as it needs to be: groups of nine decimal digits, the lowest first.
struct Number(Vec<u32>);

const GROUP: u32 = 1_000_000_000;

impl Number {
    fn add(&mut self, other: &Number) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        let mut carry = 0;
        for (place, group) in self.0.iter_mut().enumerate() {
            let sum = *group + other.0.get(place).unwrap_or(&0) + carry;
            (*group, carry) = (sum % GROUP, sum / GROUP);
        }
        if carry > 0 {
            self.0.push(carry);
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = self.0.iter().rev();
        write!(f, "{}", groups.next().unwrap_or(&0))?;
        groups.try_for_each(|group| write!(f, "{group:09}"))
    }
}

/// The sequence behind its first number, 0.
struct Fibonacci {
    last: Number,
    next: Number,
}

impl Default for Fibonacci {
    fn default() -> Self {
        Fibonacci { last: Number(vec![0]), next: Number(vec![1]) }
    }
}

impl Fibonacci {
    fn advance(&mut self) -> &Number {
        mem::swap(&mut self.last, &mut self.next);
        let Fibonacci { last, next } = self;
        next.add(last);
        last
    }
}
