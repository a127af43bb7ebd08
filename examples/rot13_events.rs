//! The libevent book's line server once more, with events alone: two a connection, one to read and one to write, over
//! buffers of a fixed size. `rot13` does the same with bufferevents in a third of the lines.
//!
//! `cargo run --release --example rot13_events -- --addr 127.0.0.1:40713`

mod support;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use zerovent::EventBase;
use zerovent::event_base::{Event, EventId, Interest};

/// What a client may send without taking anything back; the rest of a longer line is lost, as in the book.
const LINE_LEN_MAX: usize = 16 * 1024;

fn main() -> zerovent::Result<()> {
    let address = support::listen_address("rot13_events [--addr HOST:PORT]");
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut base = EventBase::new()?;
    support::stop_on_signals(&mut base)?;
    println!("listening on {}", listener.local_addr()?);
    let event = Event::fd(&listener, Interest::READ).persist().name("listener");
    let accepting = base.new_event(event, move |base, _, _| {
        if let Err(error) = accept(base, &listener) {
            eprintln!("rot13_events: {error}");
        }
    })?;
    base.add(accepting, None)?;
    base.dispatch()?;
    Ok(())
}

/// A connection and its two events, whose closures share it; when both are freed, it closes.
struct Connection {
    stream: TcpStream,
    turned: Vec<u8>,
    /// How much of `turned` was sent, and up to where it is made of whole lines.
    sent: usize,
    lines_end: usize,
    events: Option<(EventId, EventId)>,
}

fn accept(base: &mut EventBase, listener: &TcpListener) -> zerovent::Result<()> {
    let (stream, _) = match listener.accept() {
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
        accepted => accepted?,
    };
    stream.set_nonblocking(true)?;
    let (reading, writing) = (Event::fd(&stream, Interest::READ), Event::fd(&stream, Interest::WRITE));
    let turned = Vec::with_capacity(LINE_LEN_MAX);
    let connection = Connection { stream, turned, sent: 0, lines_end: 0, events: None };
    let connection = Rc::new(RefCell::new(connection));
    let shared = Rc::clone(&connection);
    let reader = base.new_event(reading.persist(), move |base, _, _| on_read(base, &shared))?;
    let shared = Rc::clone(&connection);
    let writer = base.new_event(writing.persist(), move |base, _, _| on_write(base, &shared))?;
    connection.borrow_mut().events = Some((reader, writer));
    base.add(reader, None)
}

fn on_read(base: &mut EventBase, connection: &RefCell<Connection>) {
    let mut connection = connection.borrow_mut();
    let go_on = connection.read();
    if connection.sent < connection.lines_end
        && let Some((_, writer)) = connection.events
    {
        let _ = base.add(writer, None);
    }
    finish(base, &mut connection, go_on);
}

fn on_write(base: &mut EventBase, connection: &RefCell<Connection>) {
    let mut connection = connection.borrow_mut();
    let go_on = connection.write();
    if connection.sent == connection.lines_end
        && let Some((_, writer)) = connection.events
    {
        let _ = base.del(writer);
    }
    finish(base, &mut connection, go_on);
}

/// Frees both events when the peer has gone or something failed.
fn finish(base: &mut EventBase, connection: &mut Connection, go_on: io::Result<bool>) {
    if let Err(error) = &go_on {
        eprintln!("rot13_events: {error}");
    }
    if !go_on.unwrap_or(false)
        && let Some((reader, writer)) = connection.events.take()
    {
        let _ = base.free(reader);
        let _ = base.free(writer);
    }
}

impl Connection {
    /// Reads and turns what is there; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(len) => bytes[..len].iter().for_each(|&byte| self.take(byte)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn take(&mut self, byte: u8) {
        if self.turned.len() < LINE_LEN_MAX {
            self.turned.push(rot13(byte));
        }
        if byte == b'\n' {
            self.lines_end = self.turned.len();
        }
    }

    /// Sends what is there of whole lines.
    fn write(&mut self) -> io::Result<bool> {
        while self.sent < self.lines_end {
            match self.stream.write(&self.turned[self.sent..self.lines_end]) {
                Ok(len) => self.sent += len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.turned.drain(..self.sent);
        (self.sent, self.lines_end) = (0, 0);
        Ok(true)
    }
}

fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'm' | b'A'..=b'M' => byte + 13,
        b'n'..=b'z' | b'N'..=b'Z' => byte - 13,
        other => other,
    }
}
