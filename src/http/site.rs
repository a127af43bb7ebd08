//! What all connections of one server share, and the making of an answer: from a parsed request to a head
//! and, where there is one, a range of an open file behind it in the output buffer.

use std::fmt;

use super::conditions::{Decision, decide};
use super::date::Clock;
use super::files::{Miss, OpenFile, StaticFiles};
use super::lanes::{Form, Ticketed};
use super::message::Response;
use super::options::ServerOptions;
use super::request::{Conditions, Method, Request};
use super::responder::Ticket;
use super::response::{Head, Persistence};
use super::routes::{Destination, Map};
use super::{Status, target};
use crate::{Evbuffer, Result};

/// One request and its answer, for a log.
///
/// `method` and `target` are `-` when the request could not be read. `bytes` counts the body that was queued
/// for sending; a client that leaves early may have received less.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Served<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// The target, as it was sent: not decoded, and therefore free of control characters.
    pub target: &'a str,
    /// The answer.
    pub status: Status,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// Somebody who wants to know of every answer.
pub(crate) type Observer = Box<dyn FnMut(&Served<'_>)>;

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
    pub(crate) observer: Option<Observer>,
    head: Head,
    path: Vec<u8>,
}

/// There is an answer, but no descriptor to give it with.
#[derive(Debug)]
pub(crate) struct Starved;

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
            observer: None,
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
    ) -> Result<Result<(), Starved>> {
        let Site { files, clock, head, path, now_ns, .. } = self;
        let found = match files {
            Some(files) => name_file(request, path).and_then(|()| files.find(path, *now_ns, clock.second())),
            None => Err(Miss::Refused(Status::NotFound)),
        };
        let mut answer = Answer { head, clock, method: request.method, persistence, output };
        let (status, bytes) = match found {
            Ok(file) => answer.file(file, &request.conditions)?,
            Err(Miss::Refused(status)) => (status, answer.page(status)?),
            Err(Miss::NoDescriptor) => return Ok(Err(Starved)),
        };
        self.observe(Served { method: request.method_name, target: request.target, status, bytes });
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
        let Site { clock, head, .. } = self;
        let method = request.map_or(Method::Get, |request| request.method);
        let bytes = Answer { head, clock, method, persistence: Persistence::Close, output }.page(status)?;
        let (method, target) = request.map_or(("-", "-"), |request| (request.method_name, request.target));
        self.observe(Served { method, target, status, bytes });
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

    pub(crate) fn observe(&mut self, served: Served<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(&served);
        }
    }
}

/// Decodes the target of `request` into `path`, if it is one that this server answers with a file.
fn name_file(request: &Request<'_>, path: &mut Vec<u8>) -> Result<(), Miss> {
    if request.method == Method::Other {
        return Err(Miss::Refused(Status::MethodNotAllowed));
    }
    target::decode(request.target.as_bytes(), path).map_err(|refusal| Miss::Refused(refusal.status()))
}

/// One answer on its way into the output.
struct Answer<'a> {
    head: &'a mut Head,
    clock: &'a Clock,
    method: Method,
    persistence: Persistence,
    output: &'a mut Evbuffer,
}

impl Answer<'_> {
    /// Answers with `file`, or the part of it that `conditions` ask for; gives the status and the length of
    /// the body.
    fn file(&mut self, file: &OpenFile, conditions: &Conditions<'_>) -> Result<(Status, u64)> {
        let total = file.length();
        match decide(self.method, conditions, total, file.modified()) {
            Decision::Whole => {
                self.head.begin(Status::Ok, self.clock.text());
                Ok((Status::Ok, self.content(file, 0, total)?))
            }
            Decision::Part { first, length } => {
                self.head.begin(Status::PartialContent, self.clock.text());
                self.head.content_range(first, length, total);
                Ok((Status::PartialContent, self.content(file, first, length)?))
            }
            Decision::NotModified => {
                self.head.begin(Status::NotModified, self.clock.text());
                self.head.raw(file.last_modified());
                self.output.add(self.head.finish(self.persistence))?;
                Ok((Status::NotModified, 0))
            }
            Decision::Unsatisfiable => {
                self.head.begin(Status::RangeNotSatisfiable, self.clock.text());
                self.head.unsatisfied_range(total);
                Ok((Status::RangeNotSatisfiable, self.page_body(Status::RangeNotSatisfiable)?))
            }
        }
    }

    /// Finishes a head whose body is `length` bytes of `file` from `first`; the body itself stays a
    /// descriptor.
    fn content(&mut self, file: &OpenFile, first: u64, length: u64) -> Result<u64> {
        self.head.raw(file.fields());
        self.head.content_length(length);
        self.output.add(self.head.finish(self.persistence))?;
        if self.method == Method::Head {
            return Ok(0);
        }
        self.output.add_file_segment(file.segment(), first, Some(length))?;
        Ok(length)
    }

    /// Answers with a page that says what is wrong; gives its length.
    fn page(&mut self, status: Status) -> Result<u64> {
        self.head.begin(status, self.clock.text());
        if status == Status::MethodNotAllowed {
            self.head.raw(b"Allow: GET, HEAD\r\n");
        }
        self.page_body(status)
    }

    fn page_body(&mut self, status: Status) -> Result<u64> {
        let with_body = self.method != Method::Head;
        let (bytes, page_len) = self.head.finish_with_page(status, self.persistence, with_body);
        self.output.add(bytes)?;
        Ok(page_len)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Site");
        out.field("files", &self.files).field("options", &self.options).field("draining", &self.draining);
        out.finish_non_exhaustive()
    }
}
