//! Serves a directory over HTTP/1.1.
//!
//! `cargo run --release --example serve -- DIR [--addr 127.0.0.1:8080] [--threads N] [--listing]
//! [--cache-control PATTERN=VALUE] [--verbose]`
//!
//! The first line on stdout says where it listens, so that port 0 can be asked for. SIGINT and SIGTERM let
//! what is in flight finish, and then end it with status 0; a second signal ends it at once. What cannot work
//! (no such directory, port in use) is one line on stderr and status 2.

use std::fmt::Display;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use log::{LevelFilter, Log, Metadata, Record};
use zerovent::EventBase;
use zerovent::event_base::EventId;
use zerovent::http::{Server, ServerOptions, StaticFiles};

const HELP: &str = "\
Serves the files of a directory over HTTP/1.1.

Usage: serve DIR [OPTIONS]

Arguments:
  DIR               the directory; nothing outside it can be read

Options:
  --addr HOST:PORT  where to listen [default: 127.0.0.1:8080]; port 0 takes a free one
  --threads N       event loops, each on its own thread with its own listener [default: 1]
  --listing         a page for a directory that has no index.html
  --cache-control PATTERN=VALUE
                    files whose path matches get this Cache-Control, as '*.css=max-age=600' or
                    'assets/**=public, max-age=31536000, immutable'; may be repeated, the first that matches decides
  --verbose         a line a request on stderr: method, target, status, bytes
  --help            this text

SIGINT and SIGTERM let what is in flight finish; a second one does not.
";

/// What a program ends with that could not start.
const EXIT_CANNOT_START: u8 = 2;

/// More threads than this are a typing error.
const THREADS_MAX: usize = 1024;

#[derive(Debug, Clone)]
struct Settings {
    directory: PathBuf,
    address: SocketAddr,
    threads: usize,
    listing: bool,
    cache_rules: Vec<CacheRule>,
    verbose: bool,
}

/// A pattern and its `Cache-Control`.
type CacheRule = (String, String);

/// What a person is told when it does not work.
type Complaint = String;

fn main() -> ExitCode {
    let started = match parse_arguments() {
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(settings)) => run(&settings),
        Err(complaint) => Err(complaint),
    };
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("serve: {complaint}");
            ExitCode::from(EXIT_CANNOT_START)
        }
    }
}

/// The settings, or `None` when help was asked for.
fn parse_arguments() -> Result<Option<Settings>, Complaint> {
    let mut directory = None;
    let mut address = "127.0.0.1:8080".to_owned();
    let (mut threads, mut verbose, mut listing, mut cache_rules) = (1, false, false, Vec::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().map_err(hint)? {
        match argument {
            Long("addr") => address = text(&mut arguments)?,
            Long("threads") => threads = thread_count(&text(&mut arguments)?)?,
            Long("listing") => listing = true,
            Long("cache-control") => cache_rules.push(cache_rule(&text(&mut arguments)?)?),
            Long("verbose") | Short('v') => verbose = true,
            Long("help") | Short('h') => return Ok(None),
            Value(path) if directory.is_none() => directory = Some(PathBuf::from(path)),
            other => return Err(hint(other.unexpected())),
        }
    }
    let directory = directory.ok_or_else(|| hint("which directory?"))?;
    let address = resolve(&address)?;
    Ok(Some(Settings { directory, address, threads, listing, cache_rules, verbose }))
}

fn hint(problem: impl Display) -> Complaint {
    format!("{problem} (try --help)")
}

fn text(arguments: &mut lexopt::Parser) -> Result<String, Complaint> {
    arguments.value().and_then(|value| value.string()).map_err(hint)
}

fn thread_count(text: &str) -> Result<usize, Complaint> {
    let count = text.parse().ok().filter(|count| (1..=THREADS_MAX).contains(count));
    count.ok_or_else(|| hint(format_args!("--threads takes a number from 1 to {THREADS_MAX}, not {text:?}")))
}

fn cache_rule(text: &str) -> Result<CacheRule, Complaint> {
    let rule = text.split_once('=').map(|(pattern, value)| (pattern.to_owned(), value.to_owned()));
    rule.ok_or_else(|| hint(format_args!("--cache-control takes PATTERN=VALUE, not {text:?}")))
}

fn resolve(address: &str) -> Result<SocketAddr, Complaint> {
    let mut found =
        address.to_socket_addrs().map_err(|error| hint(format_args!("--addr {address}: {error}")))?;
    found.next().ok_or_else(|| hint(format_args!("--addr {address}: no such host")))
}

fn run(settings: &Settings) -> Result<(), Complaint> {
    log::set_logger(&STDERR).map_err(|error| error.to_string())?;
    log::set_max_level(LevelFilter::Warn);
    if settings.threads > 1 && settings.address.port() != 0 {
        // Sharing the port would otherwise succeed beside another server of ours, and each get a part of the
        // clients.
        TcpListener::bind(settings.address).map_err(|error| cannot_listen(settings.address, error))?;
    }
    let mut first = Loop::start(settings)?;
    let settings = Settings { address: first.server.local_addr(), ..settings.clone() };
    let others = start_others(&settings)?;
    println!("listening on {}", settings.address);
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    let ended = first.run();
    for other in others {
        other.join().map_err(|_| "a thread panicked".to_owned())??;
    }
    ended
}

fn cannot_listen(address: SocketAddr, error: impl Display) -> Complaint {
    format!("cannot listen on {address}: {error}")
}

type Running = thread::JoinHandle<Result<(), Complaint>>;

/// The loops beyond the first; all of them listen when this returns.
fn start_others(settings: &Settings) -> Result<Vec<Running>, Complaint> {
    let (started, starts) = mpsc::channel();
    let spawn = |number| {
        let (settings, started) = (settings.clone(), started.clone());
        let builder = thread::Builder::new().name(format!("serve-{number}"));
        builder.spawn(move || run_another(&settings, &started)).map_err(|error| error.to_string())
    };
    let threads: Vec<Running> = (1..settings.threads).map(spawn).collect::<Result<_, _>>()?;
    drop(started);
    // The threads keep their ends for as long as they run, so the answers are counted.
    starts.iter().take(threads.len()).collect::<Result<Vec<()>, Complaint>>()?;
    Ok(threads)
}

fn run_another(settings: &Settings, started: &Sender<Result<(), Complaint>>) -> Result<(), Complaint> {
    match Loop::start(settings) {
        Ok(mut another) => {
            let _ = started.send(Ok(()));
            another.run()
        }
        Err(complaint) => {
            let _ = started.send(Err(complaint));
            Ok(())
        }
    }
}

/// What the signals' callbacks find in their base.
#[derive(Debug, Default)]
struct Context {
    server: Option<Server>,
    signals: Vec<EventId>,
}

/// One event loop with its server.
struct Loop {
    base: EventBase<Context>,
    server: Server,
}

impl Loop {
    fn start(settings: &Settings) -> Result<Loop, Complaint> {
        let files = open_files(settings)?;
        let mut base = EventBase::with_context(Context::default()).map_err(|error| error.to_string())?;
        let options = ServerOptions::new().reuse_port(settings.threads > 1);
        let server = Server::bind(&mut base, settings.address, options, files)
            .map_err(|error| cannot_listen(settings.address, error))?;
        if settings.verbose {
            server.on_served(|served| {
                eprintln!("{} {} {} {}", served.method, served.target, served.status.code(), served.bytes);
            });
        }
        base.context_mut().server = Some(server.clone());
        watch_signals(&mut base).map_err(|error| error.to_string())?;
        Ok(Loop { base, server })
    }

    fn run(&mut self) -> Result<(), Complaint> {
        self.base.dispatch().map(|_| ()).map_err(|error| error.to_string())
    }
}

fn open_files(settings: &Settings) -> Result<StaticFiles, Complaint> {
    let files = StaticFiles::new(&settings.directory)
        .map_err(|error| format!("cannot serve {}: {error}", settings.directory.display()))?;
    let mut rules = settings.cache_rules.iter();
    rules.try_fold(files.listing(settings.listing), |files, (pattern, value)| {
        files
            .cache_control(pattern, value)
            .map_err(|error| hint(format_args!("--cache-control {value}: {error}")))
    })
}

fn watch_signals(base: &mut EventBase<Context>) -> zerovent::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let event = base.new_signal(signal, |base, _, _| finish(base))?;
        base.add(event, None)?;
        base.context_mut().signals.push(event);
    }
    Ok(())
}

/// Stops accepting and lets the loop run out of work. The signals are given back to the system, so that a
/// second one is not waited for.
fn finish(base: &mut EventBase<Context>) {
    let Context { server, signals } = std::mem::take(base.context_mut());
    for event in signals {
        let _ = base.free(event);
    }
    if let Some(Err(error)) = server.map(|server| server.shutdown(base)) {
        eprintln!("serve: {error}");
        base.loop_break();
    }
}

/// Warnings of the library, one line each.
struct Stderr;

static STDERR: Stderr = Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("serve: {}", record.args());
        }
    }

    fn flush(&self) {}
}
