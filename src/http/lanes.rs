//! The requests of one connection that handlers have to answer, in the order in which they came. Each has a lane
//! of its own, in which its answer is made ready; what stands in the first lane may leave, and no other. So
//! handlers answer when they like, and the client sees the order that it asked in.

use std::collections::VecDeque;

use super::message::{Request, RequestHead, Response};
use super::request::Method;
use super::responder::{Continuation, Interest, Letter, Ticket};
use super::response::Persistence;
use super::site::Site;
use super::{Status, request};
use crate::{Evbuffer, Result};

/// How many requests of one connection handlers may work on at a time.
const LANES_MAX: usize = 64;

/// How many bytes of requests, heads and bodies, handlers may have in their hands for one connection before it is not
/// read on.
const REQUESTS_MAX: usize = 128 << 10;

/// What an answer has to know of its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) method: Method,
    pub(crate) http_1_0: bool,
    pub(crate) keep_alive: bool,
}

impl Form {
    pub(crate) fn of(request: &request::Request<'_>) -> Form {
        Form { method: request.method, http_1_0: request.http_1_0, keep_alive: request.keep_alive }
    }

    pub(crate) fn persistence(self, keep_alive: bool) -> Persistence {
        match (keep_alive && self.keep_alive, self.http_1_0) {
            (false, _) => Persistence::Close,
            (true, true) => Persistence::KeepAliveExplicitly,
            (true, false) => Persistence::KeepAlive,
        }
    }
}

/// Something that a handler is to be called for, when nothing of the server is borrowed.
pub(crate) enum Job {
    Call {
        handler: usize,
        request: Request,
    },
    /// A piece of a body has left.
    Continue(Continuation),
}

/// A job, and the request it is about.
pub(crate) struct Ticketed {
    pub(crate) ticket: Ticket,
    pub(crate) interest: Interest,
    pub(crate) job: Job,
}

/// All lanes of a connection; there is at least one.
pub(crate) struct Lanes {
    queue: VecDeque<Lane>,
    /// The request whose body is arriving, and its handler; its lane is the last.
    arriving: Option<(usize, Request)>,
}

struct Lane {
    ticket: Ticket,
    form: Form,
    interest: Interest,
    /// Bytes of the request, in the form in which handlers have it.
    request_len: usize,
    /// What is ready to leave.
    staged: Evbuffer,
    state: State,
}

enum State {
    Owed,
    Streaming(Stream),
    Done,
}

struct Stream {
    is_chunked: bool,
    /// What is to be called when everything has left.
    then: Option<Continuation>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.interest.end();
    }
}

/// Whether the connection can be used for what follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Future {
    GoesOn,
    EndsHere,
}

impl Lanes {
    pub(crate) fn new() -> Lanes {
        Lanes { queue: VecDeque::with_capacity(1), arriving: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        let held: usize = self.queue.iter().map(|lane| lane.request_len).sum();
        self.queue.len() >= LANES_MAX || held >= REQUESTS_MAX
    }

    /// Bytes that wait for their turn.
    pub(crate) fn staged_len(&self) -> usize {
        self.queue.iter().map(|lane| lane.staged.len()).sum()
    }

    /// Opens a lane for a request whose body is about to arrive.
    pub(crate) fn open(&mut self, handler: usize, head: RequestHead, form: Form, ticket: Ticket) {
        let request_len = head.memory_len();
        self.arriving = Some((handler, Request::new(Box::new(head))));
        let (staged, interest) = (Evbuffer::new(), Interest::default());
        self.queue.push_back(Lane { ticket, form, interest, request_len, staged, state: State::Owed });
    }

    /// Tells the client that its body is welcome.
    pub(crate) fn invite(&mut self) -> Result<()> {
        self.queue.back_mut().map_or(Ok(()), |lane| lane.staged.add(b"HTTP/1.1 100 Continue\r\n\r\n"))
    }

    /// The request whose body is arriving.
    pub(crate) fn arriving(&mut self) -> Option<&mut Request> {
        self.arriving.as_mut().map(|(_, request)| request)
    }

    /// Whether the client wants to go on after its last request.
    pub(crate) fn last_keeps_alive(&self) -> bool {
        self.queue.back().is_none_or(|lane| lane.form.keep_alive)
    }

    /// The body is there: the handler may be called.
    pub(crate) fn arrived(&mut self, jobs: &mut Vec<Ticketed>) {
        if let (Some((handler, mut request)), Some(lane)) = (self.arriving.take(), self.queue.back_mut()) {
            lane.request_len += request.body().len();
            let interest = lane.interest.clone();
            jobs.push(Ticketed { ticket: lane.ticket, interest, job: Job::Call { handler, request } });
        }
    }

    /// The body will not come, or is none. Answers the client instead of its handler, if there is a `status` for it.
    pub(crate) fn give_up_arriving(&mut self, status: Option<Status>, site: &mut Site) -> Result<()> {
        if self.arriving.take().is_none() {
            return Ok(());
        }
        match (status, self.queue.back_mut()) {
            (Some(status), Some(lane)) => {
                lane.form.keep_alive = false;
                let _ends = lane.answer(Response::new(status), false, site)?;
            }
            _ => drop(self.queue.pop_back()),
        }
        Ok(())
    }

    /// Does what a letter says. One about a request that is gone, or has been answered, is dropped.
    pub(crate) fn deliver(&mut self, ticket: Ticket, letter: Letter, site: &mut Site) -> Result<Future> {
        let Some(at) = self.queue.iter().position(|lane| lane.ticket == ticket) else {
            return Ok(Future::GoesOn);
        };
        let is_last = at + 1 == self.queue.len();
        let keep_alive = !(site.draining && is_last);
        let future = self.queue[at].take(letter, keep_alive, site)?;
        if future == Future::EndsHere {
            self.queue.truncate(at + 1);
            self.arriving = self.arriving.take().filter(|_| is_last);
        }
        Ok(future)
    }

    /// Moves what may leave to `output`.
    pub(crate) fn release(&mut self, output: &mut Evbuffer, site: &mut Site) -> Result<()> {
        while let Some(lane) = self.queue.front_mut() {
            let from = output.len();
            output.add_buffer(&mut lane.staged)?;
            let is_done = matches!(lane.state, State::Done);
            site.released(lane.ticket, from..output.len(), is_done);
            if !is_done {
                break;
            }
            self.queue.pop_front();
        }
        Ok(())
    }

    /// Everything that was released has been sent: whoever writes the first answer may go on.
    pub(crate) fn drained(&mut self, jobs: &mut Vec<Ticketed>) {
        let Some(lane) = self.queue.front_mut() else { return };
        if let State::Streaming(stream) = &mut lane.state
            && let Some(then) = stream.then.take()
        {
            let interest = lane.interest.clone();
            jobs.push(Ticketed { ticket: lane.ticket, interest, job: Job::Continue(then) });
        }
    }
}

impl Lane {
    fn take(&mut self, letter: Letter, keep_alive: bool, site: &mut Site) -> Result<Future> {
        match (letter, &mut self.state) {
            (Letter::Answer(response), State::Owed) => self.answer(response, keep_alive, site),
            (Letter::Begin(response), State::Owed) => self.begin(response, keep_alive, site),
            (Letter::Piece(piece, then), State::Streaming(stream)) => {
                stream.then = then;
                stream.add(piece, &mut self.staged)?;
                Ok(Future::GoesOn)
            }
            (Letter::End, State::Streaming(stream)) => {
                if stream.is_chunked {
                    self.staged.add(b"0\r\n\r\n")?;
                }
                Ok(self.done())
            }
            (Letter::Abandon, State::Streaming(_)) => {
                self.form.keep_alive = false;
                Ok(self.done())
            }
            _ => Ok(Future::GoesOn),
        }
    }

    fn answer(&mut self, response: Response, keep_alive: bool, site: &mut Site) -> Result<Future> {
        self.form.keep_alive &= keep_alive;
        let status = response.status;
        let bytes = site.respond(self.form, response, &mut self.staged)?;
        site.staged(self.ticket, status, self.staged.len() - bytes as usize);
        Ok(self.done())
    }

    fn begin(&mut self, mut response: Response, keep_alive: bool, site: &mut Site) -> Result<Future> {
        let is_chunked = !self.form.http_1_0;
        self.form.keep_alive &= keep_alive && is_chunked;
        let status = response.status;
        site.begin(self.form, &response, is_chunked, &mut self.staged)?;
        site.staged(self.ticket, status, self.staged.len());
        if self.form.method == Method::Head || !status.has_body() {
            return Ok(self.done());
        }
        let mut stream = Stream { is_chunked, then: None };
        stream.add(std::mem::take(&mut response.body), &mut self.staged)?;
        self.state = State::Streaming(stream);
        // Whether something may follow is known now; the end of the connection comes with the end of the body.
        Ok(if self.form.keep_alive { Future::GoesOn } else { Future::EndsHere })
    }

    fn done(&mut self) -> Future {
        self.state = State::Done;
        self.interest.end();
        if self.form.keep_alive { Future::GoesOn } else { Future::EndsHere }
    }
}

impl Stream {
    /// Stages a piece; an empty one is nothing, since an empty chunk would be the end.
    fn add(&mut self, mut piece: Evbuffer, staged: &mut Evbuffer) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.is_chunked {
            staged.add(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        staged.add_buffer(&mut piece)?;
        if self.is_chunked {
            staged.add(b"\r\n")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("len", &self.queue.len()).finish_non_exhaustive()
    }
}
