//! The command line: what can be asked for, and what is said of what cannot.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use zerovent::bufferevent::{RATE_LIMIT_MAX, TokenBucket};
use zerovent::event_base::{Config, supported_methods};

use crate::format::Format;

pub(crate) const HELP: &str = "\
Serves the files of a directory over HTTP/1.1.

Usage: serve DIR [OPTIONS]

Arguments:
  DIR                the directory; nothing outside it can be read

What is served:
  --addr HOST:PORT   where to listen [default: 127.0.0.1:8080]; port 0 takes a free one
  --listing          a page for a directory that has no index.html
  --cache-control PATTERN=VALUE
                     files whose path matches get this Cache-Control, as '*.css=max-age=600' or
                     'assets/**=public, max-age=31536000, immutable'; may be repeated, the first that matches decides

How:
  --threads N        event loops, each on its own thread with its own listener [default: 1]
  --rate BYTES       the most that is sent in a second on each connection
  --io METHOD        what the loops wait with: epoll, poll, select, or io_uring if that was built in
                     [default: the first that there is]

What is told:
  --log FORMAT       a line for each request whose answer has left: 'common' (Common Log Format), 'combined' (with
                     Referer and User-Agent) or 'json' (with the duration, and whether all of the answer was sent)
  --log-file PATH    where these lines go [default: stdout]; 'stderr' is meant literally, a file is appended to
  --stats            a live page at /-/stats, and the same as JSON at /-/stats.json
  -v, --verbose      on stderr, also why connections were closed
  -h, --help         this text

The first line on stdout says where it listens. On a terminal, stderr has a line of figures that is kept up to date.
SIGINT and SIGTERM let what is in flight finish, with nobody new let in, and then end it with status 0; a second one
ends it at once, with the status of a program that a signal has killed (130 or 143 in a shell). What cannot start ends
with status 2 and a line that says why.
";

/// More threads than this are a typing error.
const THREADS_MAX: usize = 1024;

/// How many parts of a second a rate is given out in.
const TICKS: usize = 20;

/// What a person is told when it does not work.
pub(crate) type Complaint = String;

/// A pattern and its `Cache-Control`.
type CacheRule = (String, String);

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) directory: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) listing: bool,
    pub(crate) cache_rules: Vec<CacheRule>,
    pub(crate) rate: Option<TokenBucket>,
    pub(crate) config: Config,
    pub(crate) log: Option<Format>,
    pub(crate) log_file: LogFile,
    pub(crate) stats: bool,
    pub(crate) verbose: bool,
}

/// Where the access log goes.
#[derive(Debug, Clone)]
pub(crate) enum LogFile {
    Stdout,
    Stderr,
    At(PathBuf),
}

/// The settings, or `None` when help was asked for.
pub(crate) fn parse() -> Result<Option<Settings>, Complaint> {
    let mut directory = None;
    let mut address = "127.0.0.1:8080".to_owned();
    let mut settings = Settings {
        directory: PathBuf::new(),
        address: SocketAddr::from(([0; 4], 0)),
        threads: 1,
        listing: false,
        cache_rules: Vec::new(),
        rate: None,
        config: Config::new(),
        log: None,
        log_file: LogFile::Stdout,
        stats: false,
        verbose: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().map_err(hint)? {
        match argument {
            Long("addr") => address = text(&mut arguments)?,
            Long("threads") => settings.threads = number("--threads", THREADS_MAX, &mut arguments)?,
            Long("listing") => settings.listing = true,
            Long("cache-control") => settings.cache_rules.push(cache_rule(&text(&mut arguments)?)?),
            Long("rate") => settings.rate = Some(bucket(number("--rate", RATE_LIMIT_MAX, &mut arguments)?)?),
            Long("io") => settings.config = waiting_with(&text(&mut arguments)?)?,
            Long("log") => settings.log = Some(format(&text(&mut arguments)?)?),
            Long("log-file") => settings.log_file = log_file(arguments.value().map_err(hint)?.into()),
            Long("stats") => settings.stats = true,
            Long("verbose") | Short('v') => settings.verbose = true,
            Long("help") | Short('h') => return Ok(None),
            Value(path) if directory.is_none() => directory = Some(PathBuf::from(path)),
            other => return Err(hint(other.unexpected())),
        }
    }
    settings.directory = directory.ok_or_else(|| hint("which directory?"))?;
    settings.address = resolve(&address)?;
    Ok(Some(settings))
}

pub(crate) fn hint(problem: impl Display) -> Complaint {
    format!("{problem} (try --help)")
}

/// What went wrong, without the number that the system has for it.
pub(crate) fn reason(error: impl Display) -> Complaint {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn text(arguments: &mut lexopt::Parser) -> Result<String, Complaint> {
    arguments.value().and_then(|value| value.string()).map_err(hint)
}

fn number(option: &str, most: usize, arguments: &mut lexopt::Parser) -> Result<usize, Complaint> {
    let text = text(arguments)?;
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| hint(format_args!("{option} takes a number from 1 to {most}, not {text:?}")))
}

fn cache_rule(text: &str) -> Result<CacheRule, Complaint> {
    let rule = text.split_once('=').map(|(pattern, value)| (pattern.to_owned(), value.to_owned()));
    rule.ok_or_else(|| hint(format_args!("--cache-control takes PATTERN=VALUE, not {text:?}")))
}

/// What `rate` bytes a second are, given out in equal parts; reading is not limited.
fn bucket(rate: usize) -> Result<TokenBucket, Complaint> {
    let ticks = if rate < TICKS { 1 } else { TICKS };
    let (bytes, tick) = (rate / ticks, Duration::from_secs(1) / ticks as u32);
    TokenBucket::new(RATE_LIMIT_MAX, RATE_LIMIT_MAX, bytes, bytes, tick)
        .map_err(|error| hint(format_args!("--rate {rate}: {error}")))
}

/// A base that has no choice.
fn waiting_with(wanted: &str) -> Result<Config, Complaint> {
    if !supported_methods().any(|method| method == wanted) {
        let methods: Vec<&str> = supported_methods().collect();
        return Err(hint(format_args!("--io takes one of {}, not {wanted:?}", methods.join(", "))));
    }
    let others = supported_methods().filter(|method| *method != wanted);
    Ok(others.fold(Config::new(), Config::avoid_method))
}

fn format(text: &str) -> Result<Format, Complaint> {
    let format = Format::named(text);
    format.ok_or_else(|| hint(format_args!("--log takes common, combined or json, not {text:?}")))
}

fn log_file(path: PathBuf) -> LogFile {
    match path.to_str() {
        Some("stdout" | "-") => LogFile::Stdout,
        Some("stderr") => LogFile::Stderr,
        _ => LogFile::At(path),
    }
}

fn resolve(address: &str) -> Result<SocketAddr, Complaint> {
    let mut found =
        address.to_socket_addrs().map_err(|error| hint(format_args!("--addr {address}: {error}")))?;
    found.next().ok_or_else(|| hint(format_args!("--addr {address}: no such host")))
}
