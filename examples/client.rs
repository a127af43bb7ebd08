//! The libevent book's simple client: connects, sends a request, and prints what comes back until the peer closes.
//!
//! `cargo run --example client -- HOST PORT [LINE...]` sends each LINE with a line end; without one it asks a web
//! server for its front page. It ends with 1 when the connection fails.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;

const USAGE: &str = "usage: client HOST PORT [LINE...]";

/// Set once something has gone wrong; the base carries it to every callback.
#[derive(Debug, Default)]
struct Outcome {
    failure: Option<String>,
}

type Base = EventBase<Outcome>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [host, port, lines @ ..] = words.as_slice() else { return usage() };
    let Ok(port) = port.parse::<u16>() else { return usage() };
    match fetch(host, port, &request(host, lines)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("client: {host}:{port}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn request(host: &str, lines: &[String]) -> Vec<u8> {
    if lines.is_empty() {
        return format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").into_bytes();
    }
    lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

fn fetch(host: &str, port: u16, request: &[u8]) -> Result<(), String> {
    let address = resolve(host, port).map_err(|error| error.to_string())?;
    let mut base = Base::with_context(Outcome::default()).map_err(|error| error.to_string())?;
    start(&mut base, address, request).map_err(|error| error.to_string())?;
    base.dispatch().map_err(|error| error.to_string())?;
    base.context_mut().failure.take().map_or(Ok(()), Err)
}

/// Blocks, which is fine: no loop is running yet.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The request is queued before the connection stands; it leaves as soon as it does.
fn start(base: &mut Base, address: SocketAddr, request: &[u8]) -> zerovent::Result<()> {
    let id = base.new_socket(None, &Options::new())?;
    base.set_read_callback(id, print_input)?;
    base.set_event_callback(id, on_event)?;
    let connection = base.bufferevent(id)?;
    connection.write(request)?;
    connection.enable(Interest::READ | Interest::WRITE);
    base.connect(id, address)
}

fn print_input(base: &mut Base, id: BuffereventId) {
    if let Err(why) = print(base, id) {
        end(base, id, Some(why));
    }
}

fn print(base: &mut Base, id: BuffereventId) -> Result<(), String> {
    let connection = base.bufferevent(id).map_err(|error| error.to_string())?;
    let mut piece = [0; 4096];
    let mut out = io::stdout().lock();
    loop {
        let len = connection.read(&mut piece).map_err(|error| error.to_string())?;
        if len == 0 {
            return out.flush().map_err(|error| error.to_string());
        }
        out.write_all(&piece[..len]).map_err(|error| error.to_string())?;
    }
}

fn on_event(base: &mut Base, id: BuffereventId, events: BevEvents) {
    if events.contains(BevEvents::ERROR) {
        let error =
            base.bufferevent(id).ok().and_then(|connection| connection.last_error().map(ToString::to_string));
        end(base, id, Some(error.unwrap_or_else(|| "the connection failed".to_owned())));
    } else if events.contains(BevEvents::EOF) {
        end(base, id, None);
    }
}

fn end(base: &mut Base, id: BuffereventId, failure: Option<String>) {
    base.context_mut().failure = failure;
    let _ = base.free_bufferevent(id);
    base.loop_break();
}
