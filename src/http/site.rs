//! What all connections of one server share.

use std::fmt;
use std::ops::Range;

use super::Status;
use super::date::Clock;
use super::files::StaticFiles;
use super::journal::Journal;
use super::lanes::{Form, Ticketed};
use super::message::Response;
use super::options::ServerOptions;
use super::reply::{Later, Queued, Reply};
use super::request::{Method, Request};
use super::responder::Ticket;
use super::response::{Head, Persistence};
use super::routes::{Destination, Map};
use super::target;
use crate::{Evbuffer, Result};

/// The files, the clock, the settings, and the memory that answers are made in.
pub(crate) struct Site {
    pub(crate) files: Option<StaticFiles>,
    pub(crate) map: Map,
    /// What handlers are to be called for, once nothing is borrowed.
    pub(crate) jobs: Vec<Ticketed>,
    last_ticket: u64,
    pub(crate) clock: Clock,
    pub(crate) options: ServerOptions,
    /// The loop's time in nanoseconds, as of the callback that is running.
    pub(crate) now_ns: u64,
    /// The server is shutting down: every answer is its connection's last.
    pub(crate) draining: bool,
    /// Answers that were queued, or are owed no longer.
    pub(crate) answers: u64,
    /// There is one if somebody wants to know what becomes of answers.
    pub(crate) journal: Option<Journal>,
    head: Head,
    path: Vec<u8>,
}

impl Site {
    pub(crate) fn new(files: Option<StaticFiles>, map: Map, options: ServerOptions) -> Site {
        Site {
            files,
            map,
            jobs: Vec::new(),
            last_ticket: 0,
            clock: Clock::new(),
            options,
            now_ns: 0,
            draining: false,
            answers: 0,
            journal: None,
            head: Head::new(),
            path: Vec::new(),
        }
    }

    /// Queues the answer to `request`.
    pub(crate) fn answer(
        &mut self,
        request: &Request<'_>,
        persistence: Persistence,
        output: &mut Evbuffer,
    ) -> Result<Result<(), Later>> {
        let Site { files, clock, head, path, now_ns, .. } = self;
        let mut reply = Reply { head, clock, loop_ns: *now_ns, method: request.method, persistence, output };
        let Queued { status, bytes } = match reply.request(request, files.as_mut(), path)? {
            Ok(queued) => queued,
            Err(later) => return Ok(Err(later)),
        };
        self.answered(Some(request), status, bytes, output);
        Ok(Ok(()))
    }

    /// Queues `status` as the last answer of a connection. `request` is what is refused, if it could be read
    /// that far.
    pub(crate) fn refuse(
        &mut self,
        request: Option<&Request<'_>>,
        status: Status,
        output: &mut Evbuffer,
    ) -> Result<()> {
        let Site { files, clock, head, now_ns, .. } = self;
        let method = request.map_or(Method::Get, |request| request.method);
        let persistence = Persistence::Close;
        let mut reply = Reply { head, clock, loop_ns: *now_ns, method, persistence, output };
        let Queued { status, bytes } = reply.error(status, files.as_mut())?;
        self.answered(request, status, bytes, output);
        Ok(())
    }

    /// Where `request` goes. What has no name that could be compared goes to the files, which say what is wrong
    /// with it.
    pub(crate) fn destination(&mut self, request: &Request<'_>) -> Destination {
        if self.map.is_empty() || target::decode(request.target.as_bytes(), &mut self.path).is_err() {
            return Destination::Files;
        }
        let path = if self.path == b"." { &[] } else { &self.path[..] };
        self.map.find(request.method_name, path)
    }

    /// A name for a request.
    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Queues an answer that was made elsewhere; gives how many bytes of body it has.
    pub(crate) fn respond(
        &mut self,
        form: Form,
        mut response: Response,
        output: &mut Evbuffer,
    ) -> Result<u64> {
        let Site { clock, head, .. } = self;
        head.begin(response.status, clock.text());
        head.raw(&response.fields);
        if response.status.has_body() {
            head.content_length(response.body.len() as u64);
        }
        output.add(head.finish(form.persistence(true)))?;
        if form.method == Method::Head || !response.status.has_body() {
            return Ok(0);
        }
        let bytes = response.body.len() as u64;
        output.add_buffer(&mut response.body)?;
        Ok(bytes)
    }

    /// Queues the head of an answer whose body follows in pieces.
    pub(crate) fn begin(
        &mut self,
        form: Form,
        response: &Response,
        is_chunked: bool,
        output: &mut Evbuffer,
    ) -> Result<()> {
        let Site { clock, head, .. } = self;
        head.begin(response.status, clock.text());
        head.raw(&response.fields);
        if is_chunked && response.status.has_body() {
            head.chunked();
        }
        output.add(head.finish(form.persistence(true)))
    }
}

/// Keeping the books. Without a journal this is a few counters.
impl Site {
    /// A connection is about to be moved on, of whose output `waiting` bytes have not left.
    pub(crate) fn enter(&mut self, index: u32, waiting: usize) {
        if let Some(journal) = &mut self.journal {
            journal.enter(index, waiting, self.now_ns);
        }
    }

    /// It has been moved on.
    pub(crate) fn leave(&mut self, waiting: usize) {
        if let Some(journal) = &mut self.journal {
            journal.leave(waiting);
        }
    }

    /// An answer is queued in full.
    pub(crate) fn answered(
        &mut self,
        request: Option<&Request<'_>>,
        status: Status,
        bytes: u64,
        output: &Evbuffer,
    ) {
        self.answers += 1;
        if let Some(journal) = &mut self.journal {
            journal.answered(request, status, bytes, output.len(), self.now_ns);
        }
    }

    /// A handler is to answer.
    pub(crate) fn handed_over(&mut self, request: &Request<'_>, ticket: Ticket) {
        if let Some(journal) = &mut self.journal {
            journal.handed_over(request, ticket, self.now_ns);
        }
    }

    /// It has, or has begun to: what precedes the body is `head_len` bytes of what is staged.
    pub(crate) fn staged(&mut self, ticket: Ticket, status: Status, head_len: usize) {
        self.answers += 1;
        if let Some(journal) = &mut self.journal {
            journal.staged(ticket, status, head_len);
        }
    }

    /// What it has staged is in the output now.
    pub(crate) fn released(&mut self, ticket: Ticket, between: Range<usize>, is_all: bool) {
        if let Some(journal) = &mut self.journal {
            journal.released(ticket, between, is_all);
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Site");
        out.field("files", &self.files).field("options", &self.options).field("draining", &self.draining);
        out.finish_non_exhaustive()
    }
}
