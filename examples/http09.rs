//! The libevent book's client of the first HTTP: looks a host up without blocking the loop, connects to whichever of its addresses
//! answers, asks for a page, and prints what comes until the server closes.
//!
//! `cargo run --example http09 -- HOST [PATH] [--port PORT]`. It ends with 1 when the page cannot be had.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::Interest;
use zerovent::resolve::Family;

const HELP: &str = "\
Prints a page as a server of HTTP/0.9 gives it.

Usage: http09 HOST [PATH] [OPTIONS]

Arguments:
  HOST         the server's name or address
  PATH         the page [default: /]

Options:
  --port PORT  where it listens [default: 80]
  --help       this text
";

const EXIT_USAGE: u8 = 2;
/// How long the server may keep us waiting, for the connection and for each next piece.
const PATIENCE: Duration = Duration::from_secs(30);

struct Request {
    host: String,
    port: u16,
    path: String,
}

/// What a person is told when it does not work.
type Complaint = String;

/// Carries what went wrong, once something has, to `main`.
type Base = EventBase<Option<Complaint>>;

fn main() -> ExitCode {
    match parse_arguments() {
        Ok(Some(request)) => report(&request, fetch(&request)),
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("http09: {complaint} (try --help)");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn report(request: &Request, fetched: Result<(), Complaint>) -> ExitCode {
    match fetched {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("http09: {}:{}: {complaint}", request.host, request.port);
            ExitCode::FAILURE
        }
    }
}

/// The request, or `None` when help was asked for.
fn parse_arguments() -> Result<Option<Request>, lexopt::Error> {
    let (mut host, mut path, mut port) = (None, None, 80);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            Value(value) if host.is_none() => host = Some(value.string()?),
            Value(value) if path.is_none() => path = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let host = host.ok_or("which host?")?;
    let path = path.unwrap_or_else(|| "/".to_owned());
    if path.contains(char::is_whitespace) {
        return Err("a path has no blanks in it".into());
    }
    Ok(Some(Request { host, port, path }))
}

fn fetch(request: &Request) -> Result<(), Complaint> {
    let mut base = Base::with_context(None).map_err(text)?;
    start(&mut base, request).map_err(text)?;
    base.dispatch().map_err(text)?;
    base.context_mut().take().map_or(Ok(()), Err)
}

fn text(error: impl Display) -> Complaint {
    error.to_string()
}

/// The request is queued before the host is even looked up; it leaves when a connection stands.
fn start(base: &mut Base, request: &Request) -> zerovent::Result<()> {
    let id = base.new_socket(None, &Options::new())?;
    base.set_read_callback(id, |base, id| {
        if let Err(error) = print_input(base, id) {
            end(base, id, Some(error.to_string()));
        }
    })?;
    base.set_event_callback(id, on_event)?;
    let connection = base.bufferevent(id)?;
    connection.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    connection.enable(Interest::READ);
    write!(connection.output(), "GET {}\r\n", request.path)?;
    base.connect_hostname(id, Family::Any, &request.host, request.port)
}

/// The bytes go from where the kernel put them to the output.
fn print_input(base: &mut Base, id: BuffereventId) -> zerovent::Result<()> {
    let input = base.bufferevent(id)?.input();
    while !input.is_empty() {
        input.write_to(io::stdout())?;
    }
    Ok(())
}

fn on_event(base: &mut Base, id: BuffereventId, events: BevEvents) {
    if events.contains(BevEvents::ERROR) {
        let connection = base.bufferevent(id).ok();
        let error = connection.and_then(|connection| connection.last_error().map(text));
        end(base, id, Some(error.unwrap_or_else(|| "the connection failed".to_owned())));
    } else if events.contains(BevEvents::TIMEOUT) {
        end(base, id, Some("the server does not answer".to_owned()));
    } else if events.contains(BevEvents::EOF) {
        end(base, id, None);
    }
}

/// With its only bufferevent gone the loop has nothing left to do, and ends.
fn end(base: &mut Base, id: BuffereventId, complaint: Option<Complaint>) {
    *base.context_mut() = complaint;
    let _ = base.free_bufferevent(id);
}
