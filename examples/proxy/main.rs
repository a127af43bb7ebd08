//! A TCP proxy: what arrives at one address goes to another, and back.
//!
//! `cargo run --release --example proxy -- LISTEN TARGET [--splice] [--rate BYTES] [--threads N] [--timeout SECONDS]`
//!
//! The first line on stdout says where it listens, so that port 0 can be asked for; the last one what has passed. SIGINT
//! and SIGTERM let what is in flight finish; a second signal ends it at once. What cannot work is one line
//! on stderr and status 2. What becomes of a connection is `tunnel`'s.

mod tunnel;

use std::fmt::Display;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use socket2::SockRef;
use zerovent::EventBase;
use zerovent::bufferevent::TokenBucket;
use zerovent::event_base::{EventId, Remote};
use zerovent::listener::{ListenOptions, ListenerId};

use tunnel::{Stats, Transport, Tunnels};

const HELP: &str = "\
Passes TCP connections on to another address.

Usage: proxy LISTEN TARGET [OPTIONS]

Arguments:
  LISTEN             HOST:PORT where to listen; port 0 takes a free one
  TARGET             HOST:PORT where to connect to; the name is looked up anew for each connection

Options:
  --splice           pass bytes through kernel pipes instead of memory
  --rate BYTES       the most that a connection passes in a second, each way
  --threads N        event loops, each on its own thread [default: 1]
  --timeout SECONDS  how long a connection may be of no use before it is cut [default: 60]
  --help             this text

SIGINT and SIGTERM let what is in flight finish; a second one does not.
";

/// What a program ends with that could not start.
const EXIT_CANNOT_START: u8 = 2;
/// More threads than this are a typing error.
const THREADS_MAX: usize = 1024;

#[derive(Debug)]
struct Settings {
    listen: SocketAddr,
    host: String,
    port: u16,
    transport: Transport,
    rate: Option<TokenBucket>,
    threads: usize,
    patience: Duration,
}

/// What a person is told when it does not work.
type Complaint = String;

fn main() -> ExitCode {
    let ended = match parse_arguments() {
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(settings)) => run(settings),
        Err(complaint) => Err(format!("{complaint} (try --help)")),
    };
    match ended {
        Ok(stats) => {
            println!("{stats}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("proxy: {complaint}");
            ExitCode::from(EXIT_CANNOT_START)
        }
    }
}

/// The settings, or `None` when help was asked for.
fn parse_arguments() -> Result<Option<Settings>, Complaint> {
    let (mut listen, mut target, mut rate) = (None, None, None);
    let (mut transport, mut threads, mut patience) = (Transport::Buffers, 1, Duration::from_secs(60));
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().map_err(text)? {
        match argument {
            Long("splice") => transport = Transport::Splice,
            Long("rate") => rate = Some(bucket(number("--rate", usize::MAX, &mut arguments)?)?),
            Long("threads") => threads = number("--threads", THREADS_MAX, &mut arguments)?,
            Long("timeout") => {
                patience = Duration::from_secs(number("--timeout", 1 << 20, &mut arguments)? as u64);
            }
            Long("help") | Short('h') => return Ok(None),
            Value(value) if listen.is_none() => listen = Some(value.string().map_err(text)?),
            Value(value) if target.is_none() => target = Some(value.string().map_err(text)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let listen = resolve(&listen.ok_or("where to listen?")?)?;
    let (host, port) = split_target(&target.ok_or("where to connect to?")?)?;
    Ok(Some(Settings { listen, host, port, transport, rate, threads, patience }))
}

fn text(problem: impl Display) -> Complaint {
    problem.to_string()
}

fn number(option: &str, most: usize, arguments: &mut lexopt::Parser) -> Result<usize, Complaint> {
    let value = arguments.value().and_then(|value| value.string()).map_err(text)?;
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{option} takes a number from 1 to {most}, not {value:?}"))
}

/// What `rate` bytes a second are: a tenth in a tenth of it, as far as that is whole bytes.
fn bucket(rate: usize) -> Result<TokenBucket, Complaint> {
    let (bytes, tick) = match rate {
        0..10 => (rate, Duration::from_secs(1)),
        _ => (rate / 10, Duration::from_millis(100)),
    };
    TokenBucket::new(bytes, bytes, bytes, bytes, tick).map_err(|error| format!("--rate {rate}: {error}"))
}

fn resolve(address: &str) -> Result<SocketAddr, Complaint> {
    let mut found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    found.next().ok_or_else(|| format!("{address}: no such host"))
}

/// A host, in brackets if it has colons itself, and a port.
fn split_target(target: &str) -> Result<(String, u16), Complaint> {
    let (host, port) = target.rsplit_once(':').ok_or_else(|| format!("{target}: which port?"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0);
    Ok((bare.to_owned(), port.ok_or_else(|| format!("{target}: no port to connect to"))?))
}

/// The first loop runs here and hears the signals; it ends the others.
fn run(settings: Settings) -> Result<Stats, Complaint> {
    let cannot_listen = |error| format!("cannot listen on {}: {error}", settings.listen);
    let socket = TcpListener::bind(settings.listen).map_err(cannot_listen)?;
    // Connections inherit it, so that small pieces leave at once.
    SockRef::from(&socket).set_tcp_nodelay(true).map_err(text)?;
    let address = socket.local_addr().map_err(text)?;
    let settings = Arc::new(settings);
    let others = start_others(&socket, &settings)?;
    let mut base = start(socket, &settings).map_err(text)?;
    watch_signals(&mut base, others.iter().map(|other| other.remote.clone()).collect()).map_err(text)?;
    println!("listening on {address}");
    std::io::stdout().flush().map_err(text)?;
    let mut stats = drain(base)?;
    for other in others {
        stats += other.thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(stats)
}

/// What a loop carries.
#[derive(Debug)]
struct Proxy {
    tunnels: Tunnels,
    listener: Option<ListenerId>,
    signals: Vec<EventId>,
}

type Base = EventBase<Proxy>;

/// A loop over `socket`, which several may share: who has nothing else to do accepts.
fn start(socket: TcpListener, settings: &Arc<Settings>) -> zerovent::Result<Base> {
    let tunnels = Tunnels::new(Arc::clone(settings));
    let mut base = Base::with_context(Proxy { tunnels, listener: None, signals: Vec::new() })?;
    let options = ListenOptions::new();
    let listener = base.adopt_listener(OwnedFd::from(socket), &options, |base, _, socket, peer| {
        tunnel::open(base, socket, peer);
    })?;
    base.set_listener_error_callback(listener, |_, _, error| eprintln!("proxy: accepting fails: {error}"))?;
    base.context_mut().listener = Some(listener);
    Ok(base)
}

fn drain(mut base: Base) -> Result<Stats, Complaint> {
    base.dispatch().map_err(text)?;
    Ok(base.context().tunnels.stats())
}

/// A loop on another thread, and the way to end it.
struct Running {
    remote: Remote<Proxy>,
    thread: thread::JoinHandle<Result<Stats, Complaint>>,
}

/// The loops beyond the first; all of them are there when this returns.
fn start_others(socket: &TcpListener, settings: &Arc<Settings>) -> Result<Vec<Running>, Complaint> {
    let start_one = |number| {
        let (socket, settings) = (socket.try_clone().map_err(text)?, Arc::clone(settings));
        let (started, starts) = mpsc::channel();
        let builder = thread::Builder::new().name(format!("proxy-{number}"));
        let thread = builder.spawn(move || run_another(socket, &settings, &started)).map_err(text)?;
        match starts.recv() {
            Ok(remote) => Ok(Running { remote, thread }),
            Err(_) => Err(thread.join().map_or_else(
                |_| "a thread panicked".to_owned(),
                |ended| ended.err().unwrap_or_else(|| "a thread ended".to_owned()),
            )),
        }
    };
    (1..settings.threads).map(start_one).collect()
}

fn run_another(
    socket: TcpListener,
    settings: &Arc<Settings>,
    started: &Sender<Remote<Proxy>>,
) -> Result<Stats, Complaint> {
    let base = start(socket, settings).map_err(text)?;
    started.send(base.remote()).map_err(text)?;
    drain(base)
}

fn watch_signals(base: &mut Base, others: Vec<Remote<Proxy>>) -> zerovent::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let others = others.clone();
        let event = base.new_signal(signal, move |base, _, _| {
            others.iter().for_each(|other| drop(other.run(finish)));
            finish(base);
        })?;
        base.add(event, None)?;
        base.context_mut().signals.push(event);
    }
    Ok(())
}

/// Stops accepting and lets the loop run out of work. The signals are given back to the system, so that a second one is
/// not waited for.
fn finish(base: &mut Base) {
    for event in std::mem::take(&mut base.context_mut().signals) {
        let _ = base.free(event);
    }
    if let Some(listener) = base.context_mut().listener.take() {
        let _ = base.free_listener(listener);
    }
}
