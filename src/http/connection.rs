//! One connection as a state machine over two buffers: requests in, answers out. It knows no socket, no timer
//! and no loop, so that it can be tested by feeding it bytes, cut anywhere; `server` moves it and does what
//! it asks for.

use super::Status;
use super::body::{Body, Piece, move_content};
use super::lanes::{Form, Future, Lanes};
use super::message::{RequestHead, Response};
use super::options::Limits;
use super::reply::Later;
use super::request::{self, Framing, Request};
use super::responder::{Letter, Ticket};
use super::routes::Destination;
use super::site::Site;
use crate::{Evbuffer, Result};

/// How many bytes beyond the first contiguous run are looked at when a head does not end within it: enough
/// for most heads, and little to copy.
const LOOK_AHEAD: usize = 1024;

/// What is remembered of a connection between two pieces of input. Nothing of a request for a file: its bytes
/// stay in the input buffer until they can be answered. A request for a handler has a lane.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The body of the last request, still arriving: for a handler, or for nobody if it has been answered.
    body: Body,
    /// How many bytes at the front of the input are known to hold no complete head.
    seen: u32,
    /// The last answer is queued; whatever else arrives is ignored.
    closing: bool,
    /// A request has been read to its end since [`take_completed`](Self::take_completed) was called.
    completed: bool,
    /// What handlers have to answer, if there is anything.
    lanes: Option<Box<Lanes>>,
}

/// Where a connection stands when it can do no more by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything is answered, and no byte of another request is there.
    Idle,
    /// A request has begun to arrive.
    Partial,
    /// Enough answers are queued; there may be more requests. Go on when the output has drained.
    Full,
    /// A request waits for a descriptor. Go on when there may be one.
    Starved,
    /// A request waits for a file that is just being written to. Go on in a moment.
    Restless,
    /// Handlers owe answers; more requests may come meanwhile.
    Owing,
    /// Handlers owe answers that have to be there before the next request can be looked at.
    Held,
    /// The last answer is queued. Close when it is out.
    Closing,
}

impl From<Later> for Progress {
    fn from(later: Later) -> Progress {
        match later {
            Later::WithDescriptor => Progress::Starved,
            Later::WithQuiet => Progress::Restless,
        }
    }
}

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection { body: Body::DONE, seen: 0, closing: false, completed: false, lanes: None }
    }

    /// Answers what can be answered. `input` loses the requests that are answered, `output` gains the
    /// answers.
    ///
    /// # Errors
    /// When a buffer cannot be used: the connection is lost.
    pub(crate) fn advance(
        &mut self,
        input: &mut Evbuffer,
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Progress> {
        loop {
            if self.closing {
                input.drain(usize::MAX)?;
                return Ok(self.owing_or(Progress::Closing));
            }
            if !self.body.is_done() {
                self.take_body(input, output, site)?;
                if !self.body.is_done() && !self.closing {
                    return Ok(Progress::Partial);
                }
                continue;
            }
            if input.is_empty() {
                return Ok(self.owing_or(Progress::Idle));
            }
            let staged = self.lanes.as_ref().map_or(0, |lanes| lanes.staged_len());
            if output.len() + staged >= site.options.pipeline_max {
                return Ok(if output.is_empty() { Progress::Held } else { Progress::Full });
            }
            if let Some(progress) = self.next_request(input, output, site)? {
                return Ok(progress);
            }
        }
    }

    /// Queues `status` as the last answer, unless one is queued already.
    pub(crate) fn refuse(&mut self, status: Status, output: &mut Evbuffer, site: &mut Site) -> Result<()> {
        if std::mem::replace(&mut self.closing, true) {
            return Ok(());
        }
        match &mut self.lanes {
            None => site.refuse(None, status, output),
            Some(lanes) => {
                lanes.give_up_arriving(Some(status), site)?;
                self.release(output, site)
            }
        }
    }

    /// Nothing more will arrive: what has arrived in part will never be whole.
    pub(crate) fn end_input(&mut self, output: &mut Evbuffer, site: &mut Site) -> Result<Progress> {
        self.closing = true;
        if let Some(lanes) = &mut self.lanes {
            lanes.give_up_arriving(None, site)?;
        }
        self.release(output, site)?;
        Ok(self.owing_or(Progress::Closing))
    }

    /// Whether it is a body that is arriving.
    pub(crate) fn is_in_body(&self) -> bool {
        !self.body.is_done()
    }

    /// Whether what is arriving is only the body of a request that has had its answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_in_body() && self.lanes.is_none()
    }

    /// Takes what a handler has answered.
    pub(crate) fn deliver(
        &mut self,
        ticket: Ticket,
        letter: Letter,
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<()> {
        if let Some(lanes) = &mut self.lanes {
            self.closing |= lanes.deliver(ticket, letter, site)? == Future::EndsHere;
        }
        self.release(output, site)?;
        self.drained(output, site);
        Ok(())
    }

    /// Lets whoever writes an answer in pieces go on, if all of them have left.
    pub(crate) fn drained(&mut self, output: &Evbuffer, site: &mut Site) {
        if let Some(lanes) = &mut self.lanes
            && output.is_empty()
        {
            lanes.drained(&mut site.jobs);
        }
    }

    /// Lets the answers leave whose turn it is.
    fn release(&mut self, output: &mut Evbuffer, site: &mut Site) -> Result<()> {
        if let Some(lanes) = &mut self.lanes {
            lanes.release(output, site)?;
            if lanes.is_empty() {
                self.lanes = None;
            }
        }
        Ok(())
    }

    fn owing_or(&self, progress: Progress) -> Progress {
        if self.lanes.is_some() { Progress::Owing } else { progress }
    }

    /// Whether a request has been read to its end since this was last asked.
    pub(crate) fn take_completed(&mut self) -> bool {
        std::mem::take(&mut self.completed)
    }

    /// Answers the request at the front of the input; or says why not. Looks for it in the first contiguous
    /// run, then in twice as much, until it is there or the bytes or the limit are used up: bytes are moved
    /// together only when a head straddles a seam.
    fn next_request(
        &mut self,
        input: &mut Evbuffer,
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Option<Progress>> {
        let head_max = site.options.limits.head_max;
        let available = input.len().min(head_max);
        let mut len = input.contiguous_len().min(available);
        loop {
            let bytes = input.pullup(len)?;
            if request::worth_parsing(bytes, len.min(self.seen as usize)) || len == head_max {
                match request::parse(bytes, &site.options.limits) {
                    Ok(None) => {}
                    Ok(Some(request)) => match self.answer(&request, bytes, output, site)? {
                        Ok(used) => return input.drain(used).map(|()| None),
                        Err(progress) => return Ok(Some(progress)),
                    },
                    Err(_) if self.lanes.is_some() => return Ok(Some(Progress::Held)),
                    Err(status) => return self.refuse(status, output, site).map(|()| None),
                }
            }
            if len == available {
                self.seen = len as u32;
                return Ok(Some(Progress::Partial));
            }
            len = available.min(len + len.max(LOOK_AHEAD));
        }
    }

    /// Answers `request`, of which `bytes` holds the head and perhaps some of the body, or opens a lane for it.
    /// Gives how many bytes of the input are dealt with, or why none can be now.
    fn answer(
        &mut self,
        request: &Request<'_>,
        bytes: &[u8],
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Result<usize, Progress>> {
        let destination = site.destination(request);
        if let Destination::Handler(handler) = destination {
            return self.hand_over(request, &bytes[..request.head_len], handler, output, site);
        }
        if self.lanes.is_some() {
            return Ok(Err(Progress::Held)); // only handlers can answer out of turn
        }
        let (body, skipped) = match begin_body(request, &bytes[request.head_len..], &site.options.limits) {
            Ok(begun) => begun,
            Err(status) => return self.turn_away(request, status, output, site),
        };
        let keep_alive = request.keep_alive && !site.draining && !waits_for_permission(request);
        let form = Form { keep_alive, ..Form::of(request) };
        match destination {
            Destination::NotAllowed(methods) => not_allowed(request, form, &methods, output, site)?,
            _ => {
                if let Err(later) = site.answer(request, form.persistence(true), output)? {
                    return Ok(Err(later.into()));
                }
            }
        }
        self.body = body;
        self.seen = 0;
        self.closing = !keep_alive;
        self.completed |= body.is_done();
        Ok(Ok(request.head_len + skipped))
    }

    /// Opens a lane for a request that a handler is to answer, and lets the body come.
    fn hand_over(
        &mut self,
        request: &Request<'_>,
        head: &[u8],
        handler: usize,
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Result<usize, Progress>> {
        if self.lanes.as_ref().is_some_and(|lanes| lanes.is_full()) {
            return Ok(Err(Progress::Held));
        }
        let body = Body::new(request.framing, site.options.limits.body_max);
        let (body, head) = match body.and_then(|body| Ok((body, RequestHead::copy(head)?))) {
            Ok(begun) => begun,
            Err(_) if self.lanes.is_some() => return Ok(Err(Progress::Held)),
            Err(status) => return self.turn_away(request, status, output, site),
        };
        let ticket = site.next_ticket();
        let lanes = self.lanes.get_or_insert_with(|| Box::new(Lanes::new()));
        lanes.open(handler, head, Form::of(request), ticket);
        site.handed_over(request, ticket);
        if waits_for_permission(request) {
            lanes.invite()?;
        }
        if body.is_done() {
            lanes.arrived(&mut site.jobs);
        }
        self.body = body;
        self.seen = 0;
        self.completed |= body.is_done();
        // What follows a request that wants to be the last is not looked at, once its body is there.
        self.closing = !request.keep_alive && body.is_done();
        self.release(output, site)?;
        Ok(Ok(request.head_len))
    }

    /// Answers a request whose head alone says that it cannot be served.
    fn turn_away(
        &mut self,
        request: &Request<'_>,
        status: Status,
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Result<usize, Progress>> {
        self.closing = true;
        site.refuse(Some(request), status, output)?;
        Ok(Ok(request.head_len))
    }

    /// Takes what has arrived of a body: moves it to the request that a handler waits for, or skips it.
    fn take_body(&mut self, input: &mut Evbuffer, output: &mut Evbuffer, site: &mut Site) -> Result<()> {
        while !self.body.is_done() && !input.is_empty() {
            let contiguous = input.contiguous_len();
            let piece = self.body.next(input.pullup(contiguous)?);
            let wanted = self.lanes.as_mut().and_then(|lanes| lanes.arriving());
            match (piece, wanted) {
                (Ok(Piece::Content(len)), Some(request)) => move_content(input, request.body(), len)?,
                (Ok(Piece::Content(len) | Piece::Framing(len)), _) => input.drain(len)?,
                (Err(status), Some(_)) => return self.refuse(status, output, site),
                (Err(_), None) => {
                    // The request has had its answer, and where the next one starts is anybody's guess.
                    self.closing = true;
                    return Ok(());
                }
            }
        }
        self.body_arrived_so_far(site);
        Ok(())
    }

    fn body_arrived_so_far(&mut self, site: &mut Site) {
        self.completed |= self.body.is_done();
        let Some(lanes) = &mut self.lanes else { return };
        if self.body.is_done() {
            self.closing |= !lanes.last_keeps_alive();
            lanes.arrived(&mut site.jobs);
        } else if let Some(request) = lanes.arriving() {
            request.body().settle_storage();
        }
    }
}

/// Queues 405 with the methods that there are.
fn not_allowed(
    request: &Request<'_>,
    form: Form,
    methods: &str,
    output: &mut Evbuffer,
    site: &mut Site,
) -> Result<()> {
    let status = Status::MethodNotAllowed;
    let bytes = site.respond(form, Response::new(status).with("Allow", methods)?, output)?;
    site.answered(Some(request), status, bytes, output);
    Ok(())
}

/// The body of `request`, skipped as far as it lies in `bytes`, and how far that is.
fn begin_body(request: &Request<'_>, bytes: &[u8], limits: &Limits) -> Result<(Body, usize), Status> {
    let mut body = Body::new(request.framing, limits.body_max)?;
    let skipped = body.skip(bytes)?;
    Ok((body, skipped))
}

/// A client that asked before sending its body gets the answer instead of "go on". It may then send the body
/// or not, and so this has to be the connection's last request.
fn waits_for_permission(request: &Request<'_>) -> bool {
    request.expects_continue && request.framing != Framing::None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::http::journal::Journal;
    use crate::http::routes::Map;
    use crate::http::{ServerOptions, StaticFiles};

    /// A connection with its buffers, over a directory with two files.
    struct Bench {
        _root: tempfile::TempDir,
        site: Site,
        connection: Connection,
        input: Evbuffer,
        output: Evbuffer,
    }

    impl Bench {
        fn new() -> Bench {
            Bench::with(ServerOptions::new())
        }

        fn with(options: ServerOptions) -> Bench {
            let root = tempfile::tempdir().expect("a temporary directory");
            fs::write(root.path().join("a.txt"), "alpha").expect("a file");
            fs::write(root.path().join("b.txt"), "beta-beta").expect("a file");
            let files = StaticFiles::new(root.path()).expect("a directory").impatient();
            Bench {
                _root: root,
                site: Site::new(Some(files), Map::default(), options),
                connection: Connection::new(),
                input: Evbuffer::new(),
                output: Evbuffer::new(),
            }
        }

        fn advance(&mut self) -> Progress {
            let Bench { connection, input, output, site, .. } = self;
            site.enter(0, output.len());
            let progress = connection.advance(input, output, site).expect("the buffers work");
            site.leave(output.len());
            progress
        }

        fn feed(&mut self, text: &str) -> Progress {
            self.input.add(text.as_bytes()).expect("memory");
            self.advance()
        }

        /// Feeds each piece as a node of its own, as separate reads would arrive.
        fn feed_pieces(&mut self, text: &str, step: usize) -> Progress {
            let mut progress = Progress::Idle;
            for piece in text.as_bytes().chunks(step) {
                self.input.add_reference(piece.to_vec()).expect("memory");
                progress = self.advance();
            }
            progress
        }

        fn take_output(&mut self) -> String {
            let len = self.output.len();
            let text = String::from_utf8(self.output.pullup(len).expect("readable").to_vec()).expect("UTF-8");
            self.output.drain(len).expect("not frozen");
            text
        }
    }

    fn statuses(output: &str) -> Vec<&str> {
        output.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
    }

    const GET_A: &str = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn a_request_is_answered_and_the_connection_goes_on() {
        let mut bench = Bench::new();
        assert_eq!(bench.feed(GET_A), Progress::Idle);
        let answer = bench.take_output();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{answer}");
        assert!(answer.ends_with("Content-Length: 5\r\n\r\nalpha"), "{answer}");
        assert!(!answer.contains("Connection:"));
        assert!(bench.connection.take_completed() && !bench.connection.take_completed());
        assert_eq!(
            bench.feed("HEAD /b.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nmore"),
            Progress::Closing
        );
        let answer = bench.take_output();
        assert!(answer.ends_with("Content-Length: 9\r\nConnection: close\r\n\r\n"), "{answer}");
        assert!(bench.input.is_empty());
    }

    #[test]
    fn answers_do_not_depend_on_how_the_input_is_cut() {
        let text = "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\
            GET /missing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            HEAD /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
            POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab\
            GET /b.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n\r\n";
        // Each bench has files of its own, so their tags differ.
        let varies = |line: &&str| line.starts_with("Date:") || line.starts_with("ETag:");
        let undated = |text: String| -> String {
            text.lines().filter(|line| !varies(line)).map(|line| format!("{line}\n")).collect()
        };
        let mut whole = Bench::new();
        assert_eq!(whole.feed(text), Progress::Idle);
        let expected = undated(whole.take_output());
        assert_eq!(statuses(&expected), ["200", "404", "200", "405", "206"]);
        assert!(expected.contains("Connection: keep-alive") && expected.contains("Allow: GET, HEAD"));
        for step in 1..text.len() {
            let mut bench = Bench::new();
            assert_eq!(bench.feed_pieces(text, step), Progress::Idle, "pieces of {step}");
            assert_eq!(undated(bench.take_output()), expected, "pieces of {step}");
        }
    }

    #[test]
    fn a_client_that_does_not_read_is_not_answered_without_bound() {
        let mut bench = Bench::with(ServerOptions::new().pipeline_max(1000));
        assert_eq!(bench.feed(&GET_A.repeat(100)), Progress::Full);
        let mut answered = 0;
        loop {
            assert!(bench.output.len() < 1300);
            answered += statuses(&bench.take_output()).len();
            match bench.advance() {
                Progress::Full => {}
                progress => break assert_eq!(progress, Progress::Idle),
            }
        }
        answered += statuses(&bench.take_output()).len();
        assert_eq!(answered, 100);
    }

    #[test]
    fn what_ends_the_connection() {
        let table = [
            ("garbage\r\n\r\n", "400"),
            ("GET / HTTP/3.0\r\n\r\n", "505"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "413"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "400"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", "417"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"),
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "200"),
            ("GET /a.txt HTTP/1.0\r\n\r\n", "200"),
        ];
        for (text, status) in table {
            let mut bench = Bench::new();
            assert_eq!(bench.feed(text), Progress::Closing, "{text}");
            assert_eq!(bench.feed(GET_A), Progress::Closing, "{text}");
            let answer = bench.take_output();
            assert_eq!(statuses(&answer), [status], "{text}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{text}");
        }
    }

    #[test]
    fn a_body_that_turns_out_malformed_later_ends_the_connection_without_a_word() {
        let mut bench = Bench::new();
        let head = "GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(bench.feed(head), Progress::Partial);
        assert_eq!(statuses(&bench.take_output()), ["200"]);
        assert_eq!(bench.feed("not a size\r\n"), Progress::Closing);
        assert_eq!(bench.take_output(), "");
    }

    #[test]
    fn an_endless_head_is_refused_at_the_limit_and_not_kept() {
        let mut bench = Bench::new();
        bench.feed("GET / HTTP/1.1\r\n");
        let mut fed = 0;
        while bench.feed("X: 0123456789\r\n") == Progress::Partial {
            fed += 1;
            assert!(bench.input.len() <= 16 << 10 && fed < 2000);
        }
        assert_eq!(statuses(&bench.take_output()), ["431"]);
        assert!(bench.input.is_empty());
    }

    #[test]
    fn every_answer_is_the_last_while_draining() {
        let mut bench = Bench::new();
        bench.site.draining = true;
        assert_eq!(bench.feed(&GET_A.repeat(2)), Progress::Closing);
        let answer = bench.take_output();
        assert_eq!(statuses(&answer), ["200"]);
        assert!(answer.contains("Connection: close"));
    }

    #[test]
    fn the_observer_sees_every_answer() {
        use std::cell::RefCell;
        use std::rc::Rc;
        let seen = Rc::new(RefCell::new(Vec::new()));
        let mut bench = Bench::new();
        let sink = Rc::clone(&seen);
        let mut journal = Journal::new(Box::new(move |served| {
            let code = served.status.map_or(0, Status::code);
            sink.borrow_mut().push(format!("{} {} {} {code}", served.method, served.target, served.version));
        }));
        journal.open(0, None);
        bench.site.journal = Some(journal);
        bench.feed(&format!(
            "{GET_A}GET /%2e%2e/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
            DELETE / HTTP/1.1\r\nHost: x\r\n\r\n\0"
        ));
        assert!(seen.borrow().is_empty(), "nothing has left");
        bench.take_output();
        bench.advance();
        let expected =
            ["GET /a.txt HTTP/1.1 200", "GET /%2e%2e/x HTTP/1.0 403", "DELETE / HTTP/1.1 405", "- - - 400"];
        assert_eq!(*seen.borrow(), expected);
        assert_eq!(bench.site.answers, 4);
    }
}
