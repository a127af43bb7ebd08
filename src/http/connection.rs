//! One connection as a state machine over two buffers: requests in, answers out. It knows no socket, no timer
//! and no loop, so that it can be tested by feeding it bytes, cut anywhere; `server` moves it and does what
//! it asks for.

use super::Status;
use super::body::Body;
use super::options::Limits;
use super::request::{self, Request};
use super::response::Persistence;
use super::site::{Site, Starved};
use crate::{Evbuffer, Result};

/// How many bytes beyond the first contiguous run are looked at when a head does not end within it: enough
/// for most heads, and little to copy.
const LOOK_AHEAD: usize = 1024;

/// What is remembered of a connection between two pieces of input. Nothing of a request: its bytes stay in
/// the input buffer until they can be answered.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The body of the request that was answered last, still arriving.
    body: Body,
    /// How many bytes at the front of the input are known to hold no complete head.
    seen: u32,
    /// The last answer is queued; whatever else arrives is ignored.
    closing: bool,
    /// A request has been read to its end since [`take_completed`](Self::take_completed) was called.
    completed: bool,
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
    /// The last answer is queued. Close when it is out.
    Closing,
}

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection { body: Body::DONE, seen: 0, closing: false, completed: false }
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
                return Ok(Progress::Closing);
            }
            if !self.body.is_done() {
                self.skip_body(input)?;
                if !self.body.is_done() && !self.closing {
                    return Ok(Progress::Partial);
                }
                continue;
            }
            if input.is_empty() {
                return Ok(Progress::Idle);
            }
            if output.len() >= site.options.pipeline_max {
                return Ok(Progress::Full);
            }
            if let Some(progress) = self.next_request(input, output, site)? {
                return Ok(progress);
            }
        }
    }

    /// Queues `status` as the last answer, unless one is queued already.
    pub(crate) fn refuse(&mut self, status: Status, output: &mut Evbuffer, site: &mut Site) -> Result<()> {
        if !self.closing {
            self.closing = true;
            site.refuse(None, status, output)?;
        }
        Ok(())
    }

    /// Whether what is arriving is only the body of a request that has had its answer.
    pub(crate) fn is_answered(&self) -> bool {
        !self.body.is_done()
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
                        Err(Starved) => return Ok(Some(Progress::Starved)),
                    },
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

    /// Answers `request`, of which `bytes` holds the head and perhaps some of the body. Gives how many bytes
    /// of the input are dealt with.
    fn answer(
        &mut self,
        request: &Request<'_>,
        bytes: &[u8],
        output: &mut Evbuffer,
        site: &mut Site,
    ) -> Result<Result<usize, Starved>> {
        let (body, skipped) = match begin_body(request, &bytes[request.head_len..], &site.options.limits) {
            Ok(begun) => begun,
            Err(status) => {
                self.closing = true;
                site.refuse(Some(request), status, output)?;
                return Ok(Ok(request.head_len));
            }
        };
        let keep_alive = request.keep_alive && !site.draining && !waits_for_permission(request, &body);
        if let Err(starved) = site.answer(request, persistence(request, keep_alive), output)? {
            return Ok(Err(starved));
        }
        self.body = body;
        self.seen = 0;
        self.closing = !keep_alive;
        self.completed |= body.is_done();
        Ok(Ok(request.head_len + skipped))
    }

    fn skip_body(&mut self, input: &mut Evbuffer) -> Result<()> {
        while !self.body.is_done() && !input.is_empty() {
            let contiguous = input.contiguous_len();
            match self.body.skip(input.pullup(contiguous)?) {
                Ok(skipped) => input.drain(skipped)?,
                Err(_) => {
                    // The request has had its answer, and where the next one starts is anybody's guess.
                    self.closing = true;
                    return Ok(());
                }
            }
        }
        self.completed |= self.body.is_done();
        Ok(())
    }
}

/// The body of `request`, skipped as far as it lies in `bytes`, and how far that is.
fn begin_body(request: &Request<'_>, bytes: &[u8], limits: &Limits) -> Result<(Body, usize), Status> {
    let mut body = Body::new(request.framing, limits.body_max)?;
    let skipped = body.skip(bytes)?;
    Ok((body, skipped))
}

/// A client that asked before sending its body gets the answer instead of "go on". It may then send the body
/// or not, and so this has to be the connection's last request.
fn waits_for_permission(request: &Request<'_>, body: &Body) -> bool {
    request.expects_continue && !body.is_done()
}

fn persistence(request: &Request<'_>, keep_alive: bool) -> Persistence {
    match (keep_alive, request.http_1_0) {
        (false, _) => Persistence::Close,
        (true, true) => Persistence::KeepAliveExplicitly,
        (true, false) => Persistence::KeepAlive,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
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
            let files = StaticFiles::new(root.path()).expect("a directory");
            Bench {
                _root: root,
                site: Site::new(files, options),
                connection: Connection::new(),
                input: Evbuffer::new(),
                output: Evbuffer::new(),
            }
        }

        fn advance(&mut self) -> Progress {
            let Bench { connection, input, output, site, .. } = self;
            connection.advance(input, output, site).expect("the buffers work")
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
            ("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
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
        bench.site.observer = Some(Box::new(move |served| {
            sink.borrow_mut().push(format!("{} {} {}", served.method, served.target, served.status.code()));
        }));
        bench.feed(&format!(
            "{GET_A}GET /%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\nDELETE / HTTP/1.1\r\nHost: x\r\n\r\n\0"
        ));
        let expected = ["GET /a.txt 200", "GET /%2e%2e/x 403", "DELETE / 405", "- - 400"];
        assert_eq!(*seen.borrow(), expected);
    }
}
