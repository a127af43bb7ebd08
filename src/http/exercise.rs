//! One connection without a socket, driven by bytes: what the fuzz target `request` and the test that replays its
//! corpus run. Public for them, and hidden: it is no part of what the crate promises.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::{Connection, Progress};
use super::files::{Moment, StaticFiles};
use super::lanes::{Job, Ticketed};
use super::options::ServerOptions;
use super::responder::{Letter, Ticket};
use super::routes::{Map, Routes};
use super::site::Site;
use super::{Response, Status};
use crate::{Evbuffer, Result};

/// What the file `/file` holds.
const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

thread_local! {
    /// What one exercise leaves for the next.
    static FILES: RefCell<Option<StaticFiles>> = const { RefCell::new(None) };
}

const HEAD_MAX: usize = 1 << 10;
const PIPELINE_MAX: usize = 8 << 10;

/// Feeds a connection with `script`: its first byte says how the rest is cut into pieces, its second when handlers
/// answer. Then feeds it again in one piece, with handlers that answer at once.
///
/// # Panics
/// When the two differ in what is answered, when the connection holds more than it may, or when it does not come to an
/// end: that is a defect.
pub fn exercise_connection(script: &[u8]) {
    let [cut, delay, stream @ ..] = script else { return };
    let pieces = usize::from(*cut % 32) + 1;
    let cut = Exercise::run(stream, pieces, usize::from(*delay % 4));
    let whole = Exercise::run(stream, stream.len().max(1), 0);
    assert!(
        cut == whole || differ_in_last_refusal(&cut, &whole),
        "pieces of {pieces}: {}\nin one piece: {}",
        cut.escape_ascii(),
        whole.escape_ascii()
    );
}

/// Whether the answers differ in the one way they may: in the refusal that ends them. A defect of a head is noticed
/// when it has grown, and which of several comes first, or whether the answer precedes a defect of an unwanted body,
/// depends on how much is seen at once.
fn differ_in_last_refusal(cut: &[u8], whole: &[u8]) -> bool {
    let common = cut.iter().zip(whole).take_while(|(a, b)| a == b).count();
    let is_prefix = common == cut.len();
    let start = if is_prefix { Some(common) } else { memchr::memmem::rfind(&cut[..common], b"HTTP/1.1 ") };
    let start = start.unwrap_or(0);
    is_last_refusal(&whole[start..]) && (is_prefix || is_last_refusal(&cut[start..]))
}

fn is_last_refusal(sent: &[u8]) -> bool {
    let refuses = sent.starts_with(b"HTTP/1.1 4") || sent.starts_with(b"HTTP/1.1 5");
    refuses && memchr::memmem::find_iter(sent, b"HTTP/1.1 ").count() == 1
}

struct Exercise {
    connection: Connection,
    site: Site,
    input: Evbuffer,
    output: Evbuffer,
    sent: Vec<u8>,
    /// Requests that handlers have, oldest first.
    open: VecDeque<Ticketed>,
    /// How many of them are left unanswered while more may come.
    delay: usize,
}

impl Exercise {
    /// Everything that the connection answers to `stream`, without its dates.
    fn run(stream: &[u8], step: usize, delay: usize) -> Vec<u8> {
        let mut exercise = Exercise::new(delay);
        for piece in stream.chunks(step) {
            exercise.input.add_reference(piece.to_vec()).expect("memory");
            exercise.go_on().expect("the buffers work");
        }
        exercise.delay = 0;
        let progress = exercise.go_on().expect("the buffers work");
        assert!(matches!(progress, Progress::Idle | Progress::Partial | Progress::Closing), "{progress:?}");
        FILES.set(exercise.site.files.take());
        without_dates(&exercise.sent)
    }

    fn new(delay: usize) -> Exercise {
        let ignore = |_: &mut crate::EventBase, _, _| {};
        let routes = Routes::new().route("GET", "/get", ignore).route("POST", "/*", ignore);
        let (map, _, _): (Map, _, _) = routes.into_parts();
        let options = ServerOptions::new().head_max(HEAD_MAX).body_max(4 << 10).pipeline_max(PIPELINE_MAX);
        Exercise {
            connection: Connection::new(),
            site: Site::new(FILES.take().or_else(files), map, options),
            input: Evbuffer::new(),
            output: Evbuffer::new(),
            sent: Vec::new(),
            open: VecDeque::new(),
            delay,
        }
    }

    /// Moves the connection on until only more input can, as the server does.
    fn go_on(&mut self) -> Result<Progress> {
        loop {
            let Exercise { connection, input, output, site, .. } = self;
            let progress = connection.advance(input, output, site)?;
            self.open.extend(self.site.jobs.drain(..));
            self.check(progress);
            self.take_output()?;
            let is_stuck = progress == Progress::Held && !self.open.is_empty();
            if is_stuck || self.open.len() > self.delay {
                self.answer_newest()?;
            } else if progress != Progress::Full {
                return Ok(progress);
            }
        }
    }

    /// Answers the last request first: the order has to come right by itself.
    fn answer_newest(&mut self) -> Result<()> {
        let Some(Ticketed { ticket, job, .. }) = self.open.pop_back() else { return Ok(()) };
        let Job::Call { mut request, .. } = job else { return Ok(()) };
        let mut response = Response::new(Status::Ok).with("X-Path", "p")?;
        response.body().add_buffer(request.body())?;
        match request.query() {
            Some("stream") => self.answer_in_pieces(ticket, response),
            Some("abandon") => self.abandon(ticket, response),
            _ => self.deliver(ticket, Letter::Answer(response)),
        }
    }

    fn answer_in_pieces(&mut self, ticket: Ticket, response: Response) -> Result<()> {
        self.deliver(ticket, Letter::Begin(response))?;
        let mut piece = Evbuffer::new();
        piece.add(b"piece")?;
        self.deliver(ticket, Letter::Piece(piece, None))?;
        self.deliver(ticket, Letter::End)?;
        self.deliver(ticket, Letter::End) // one too many, which must be nothing
    }

    fn abandon(&mut self, ticket: Ticket, response: Response) -> Result<()> {
        self.deliver(ticket, Letter::Begin(response))?;
        self.deliver(ticket, Letter::Abandon)
    }

    fn deliver(&mut self, ticket: Ticket, letter: Letter) -> Result<()> {
        self.connection.deliver(ticket, letter, &mut self.output, &mut self.site)?;
        self.take_output()
    }

    fn take_output(&mut self) -> Result<()> {
        let len = self.output.len();
        self.sent.extend_from_slice(self.output.pullup(len)?);
        self.output.drain(len)
    }

    fn check(&self, progress: Progress) {
        self.input.check_invariants();
        self.output.check_invariants();
        match progress {
            Progress::Idle | Progress::Owing | Progress::Closing => assert!(self.input.is_empty()),
            Progress::Partial => assert!(self.input.len() < HEAD_MAX, "a head is kept that is too long"),
            Progress::Held => assert!(!self.input.is_empty()),
            Progress::Full | Progress::Starved | Progress::Restless => {}
        }
    }
}

/// A directory with one small file, of which the cache is sure: time stands still here, so nobody looks again. The directory
/// itself is gone by then, and with it everything else that could be found in it.
fn files() -> Option<StaticFiles> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the numbers only have to differ.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("zerovent-exercise-{}-{number}", std::process::id()));
    std::fs::create_dir(&root).ok()?;
    let written = std::fs::write(root.join("file"), CONTENT);
    let files = written.ok().and_then(|()| StaticFiles::new(&root).ok()).map(StaticFiles::impatient);
    let files = files.map(|mut files| {
        let now = Moment { loop_ns: 0, unix_seconds: u64::MAX };
        assert!(files.find(b"file", &[], now).is_ok(), "it was just written");
        files
    });
    std::fs::remove_dir_all(&root).ok()?;
    files
}

/// The same bytes whatever the time is, and whatever the file's.
fn without_dates(sent: &[u8]) -> Vec<u8> {
    let varies = |line: &[u8]| {
        [&b"Date: "[..], b"ETag: ", b"Last-Modified: "].iter().any(|name| line.starts_with(name))
    };
    let lines = sent.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| !varies(line)).flatten().copied().collect()
}
