//! Serves a directory over HTTP/1.1: `cargo run --release --example serve -- DIR`; `--help` says the rest.
//!
//! What it shows of the library: one loop a thread with nothing shared between them, files beneath a root, handlers
//! that answer later and from another thread (`page`), a hook that hears of each answer once it has left (`access_log`),
//! figures that are gathered by asking the loops (`stats`), and an end that loses nothing.

mod access_log;
mod format;
mod options;
mod page;
mod progress;
mod stats;
mod warnings;

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use zerovent::EventBase;
use zerovent::event_base::EventId;
use zerovent::http::{Routes, Server, ServerOptions, StaticFiles};

use access_log::{AccessLog, SharedLog, Writer};
use options::{Complaint, Settings, hint, reason};
use stats::{Durations, Fleet, SharedDurations};

/// What a program ends with that could not start.
const EXIT_CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let ended = match options::parse() {
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Some(settings)) => run(&settings),
        Err(complaint) => Err(complaint),
    };
    progress::clear();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("serve: {complaint}");
            ExitCode::from(EXIT_CANNOT_START)
        }
    }
}

/// The first loop runs here, with a clock for the figures; the others have a thread each.
fn run(settings: &Settings) -> Result<(), Complaint> {
    warnings::install(settings.verbose)?;
    if settings.threads > 1 && settings.address.port() != 0 {
        // Sharing the port would otherwise succeed beside another server of ours, and each get a part of the
        // clients.
        TcpListener::bind(settings.address).map_err(|error| cannot_listen(settings, error))?;
    }
    let writer = settings.log.map(|_| Writer::start(&settings.log_file)).transpose()?;
    let common = Common { fleet: Fleet::new(), log: writer.as_ref().map(Writer::sender) };
    let mut first = Loop::start(settings, &common)?;
    let settings = Settings { address: first.server.local_addr(), ..settings.clone() };
    let others = start_others(&settings, &common)?;
    first.watch_figures(&settings, common.fleet.clone()).map_err(reason)?;
    println!("listening on {}", settings.address);
    std::io::stdout().flush().map_err(reason)?;
    let mut ended = first.run();
    for other in others {
        ended = ended.and(other.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())));
    }
    drop(common);
    writer.into_iter().for_each(Writer::finish);
    ended
}

fn cannot_listen(settings: &Settings, error: impl Display) -> Complaint {
    format!("cannot listen on {}: {}", settings.address, reason(error))
}

/// What the loops have in common.
#[derive(Debug, Clone)]
struct Common {
    fleet: Fleet,
    log: Option<SyncSender<Vec<u8>>>,
}

type Running = thread::JoinHandle<Result<(), Complaint>>;

/// The loops beyond the first; all of them listen when this returns.
fn start_others(settings: &Settings, common: &Common) -> Result<Vec<Running>, Complaint> {
    let (started, starts) = mpsc::channel();
    let spawn = |number| {
        let (settings, common, started) = (settings.clone(), common.clone(), started.clone());
        let builder = thread::Builder::new().name(format!("serve-{number}"));
        builder.spawn(move || run_another(&settings, common, &started)).map_err(reason)
    };
    let threads: Vec<Running> = (1..settings.threads).map(spawn).collect::<Result<_, _>>()?;
    drop(started);
    // The threads keep their ends for as long as they run, so the answers are counted.
    starts.iter().take(threads.len()).collect::<Result<Vec<()>, Complaint>>()?;
    Ok(threads)
}

fn run_another(
    settings: &Settings,
    common: Common,
    started: &Sender<Result<(), Complaint>>,
) -> Result<(), Complaint> {
    match Loop::start(settings, &common) {
        Ok(another) => {
            drop(common);
            let _ = started.send(Ok(()));
            another.run()
        }
        Err(complaint) => {
            let _ = started.send(Err(complaint));
            Ok(())
        }
    }
}

type Base = EventBase<Context>;

/// What callbacks, and questions from other loops, find in a base.
#[derive(Debug)]
struct Context {
    server: Option<Server>,
    durations: SharedDurations,
    /// What would keep the loop from running out of work: to be freed when it is to end.
    until_end: Vec<EventId>,
}

/// One event loop with its server.
struct Loop {
    base: Base,
    server: Server,
    log: Option<SharedLog>,
}

impl Loop {
    fn start(settings: &Settings, common: &Common) -> Result<Loop, Complaint> {
        let mut routes = Routes::new().files(open_files(settings)?);
        if settings.stats {
            routes = page::routes(routes, &common.fleet);
        }
        let durations = Rc::new(RefCell::new(Durations::new()));
        let context = Context { server: None, durations, until_end: Vec::new() };
        let mut base = Base::with_config(&settings.config, context).map_err(reason)?;
        let server = Server::bind(&mut base, settings.address, server_options(settings), routes)
            .map_err(|error| cannot_listen(settings, error))?;
        let log = settings.log.zip(common.log.clone());
        let log = log.map(|(format, writer)| AccessLog::start(&mut base, format, writer));
        let log = log.transpose().map_err(reason)?;
        observe(settings, &server, base.context(), log.clone());
        base.context_mut().server = Some(server.clone());
        watch_signals(&mut base).map_err(reason)?;
        common.fleet.join(base.remote());
        Ok(Loop { base, server, log })
    }

    /// Keeps figures up to date while the loop runs, if anybody will see them.
    fn watch_figures(&mut self, settings: &Settings, fleet: Fleet) -> zerovent::Result<()> {
        let is_shown = progress::has_place(settings);
        if is_shown || settings.stats {
            let timer = progress::start(&mut self.base, fleet, is_shown)?;
            self.base.context_mut().until_end.push(timer);
        }
        Ok(())
    }

    /// Runs until there is nothing left to do, and is gone then, its way to the log included.
    fn run(mut self) -> Result<(), Complaint> {
        let ended = self.base.dispatch().map(|_| ()).map_err(reason);
        if let Some(log) = &self.log {
            log.borrow_mut().finish();
        }
        ended
    }
}

fn server_options(settings: &Settings) -> ServerOptions {
    let options = ServerOptions::new().reuse_port(settings.threads > 1);
    match settings.rate {
        Some(bucket) => options.rate_limit(bucket),
        None => options,
    }
}

fn open_files(settings: &Settings) -> Result<StaticFiles, Complaint> {
    let files = StaticFiles::new(&settings.directory)
        .map_err(|error| format!("cannot serve {}: {}", settings.directory.display(), reason(error)))?;
    let mut rules = settings.cache_rules.iter();
    rules.try_fold(files.listing(settings.listing), |files, (pattern, value)| {
        files
            .cache_control(pattern, value)
            .map_err(|error| hint(format_args!("--cache-control {value}: {error}")))
    })
}

/// Hears of each answer, if anybody wants to know.
fn observe(settings: &Settings, server: &Server, context: &Context, log: Option<SharedLog>) {
    let durations = settings.stats.then(|| Rc::clone(&context.durations));
    if log.is_none() && durations.is_none() {
        return;
    }
    server.on_served(move |served| {
        if let Some(durations) = &durations {
            durations.borrow_mut().note(served);
        }
        if let Some(log) = &log {
            log.borrow_mut().note(served);
        }
    });
}

fn watch_signals(base: &mut Base) -> zerovent::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let event = base.new_signal(signal, |base, _, _| finish(base))?;
        base.add(event, None)?;
        base.context_mut().until_end.push(event);
    }
    Ok(())
}

/// Stops accepting and lets the loop run out of work. The signals are given back to the system, so that a
/// second one is not waited for.
fn finish(base: &mut Base) {
    progress::clear();
    for event in std::mem::take(&mut base.context_mut().until_end) {
        let _ = base.free(event);
    }
    let server = base.context().server.clone();
    if let Some(Err(error)) = server.map(|server| server.shutdown(base)) {
        eprintln!("serve: {}", reason(error));
        base.loop_break();
    }
}
