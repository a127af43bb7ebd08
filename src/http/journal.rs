//! What is remembered of answers until they have left, for whoever wants to know of each of them
//! ([`Server::on_served`](super::Server::on_served)). Without somebody there is no journal, and the server does
//! nothing of this.
//!
//! An answer has left when the connection's output has got past its end, so all is reckoned in positions: bytes of
//! output since the connection began. They are known while the connection is *visited*, which is the only time at
//! which bytes are added; between two visits bytes only leave.
//!
//! ```text
//!    answers  [ head | body ][ head | body ][ head | bo..        each knows where its body begins and where it ends
//!                                 ^                   ^
//!                               left             left + output.len()
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::Status;
use super::request::Request;
use super::responder::Ticket;

/// One request and what became of its answer, for a log.
///
/// Nothing in it is escaped: a target may hold quotes, and the fields any byte but line breaks and NUL.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Served<'a> {
    /// Who asked, if the connection has an Internet address.
    pub peer: Option<SocketAddr>,
    /// The method as it was sent, or `-` when the request could not be read.
    pub method: &'a str,
    /// The target as it was sent, not decoded, and therefore free of control characters and blanks; or `-`.
    pub target: &'a str,
    /// `HTTP/1.1`, `HTTP/1.0` or `-`.
    pub version: &'a str,
    /// The answer. `None` when the client left before its handler had one.
    pub status: Option<Status>,
    /// Bytes of the answer's body that were handed to the kernel, those that frame chunks included.
    pub bytes: u64,
    /// Whether that was all of the answer: `false` when the connection ended first.
    pub complete: bool,
    /// From when the request's head was complete until the answer had left, or the connection was gone. Answers to
    /// pipelined requests leave together, and are told of together.
    pub duration: Duration,
    /// The field `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The field `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

/// Somebody who wants to know of every answer.
pub(crate) type Observer = Box<dyn FnMut(&Served<'_>)>;

/// The answers of all connections that have not left.
pub(crate) struct Journal {
    observer: Observer,
    /// By the connection's index.
    accounts: Vec<Option<Box<Account>>>,
    /// The connection that is being visited.
    current: usize,
    /// Memory of entries that are done.
    spare: Vec<Asked>,
}

/// More spare entries than this, or larger ones, are given back.
const SPARE_MAX: usize = 256;
const SPARE_LEN_MAX: usize = 1 << 10;

/// One connection.
struct Account {
    peer: Option<SocketAddr>,
    /// The position up to which everything had left when the last visit began.
    left: u64,
    /// What waited in the output when the last visit ended.
    waiting: u64,
    entries: VecDeque<Entry>,
}

/// One answer.
struct Entry {
    /// There is one if a handler answers.
    ticket: Option<Ticket>,
    asked: Asked,
    asked_ns: u64,
    status: Option<Status>,
    /// Where in what is staged for the output the body begins, until that is released and its position known.
    staged: Option<u64>,
    body: u64,
    end: u64,
}

/// What has not been released has no position yet.
const NOWHERE: u64 = u64::MAX;

/// What was asked for, in memory that is used again.
#[derive(Default)]
struct Asked {
    line: String,
    method_len: usize,
    version: &'static str,
    fields: Vec<u8>,
    referer: Option<Range<usize>>,
    user_agent: Option<Range<usize>>,
}

/// Connections.
impl Journal {
    pub(crate) fn new(observer: Observer) -> Journal {
        Journal { observer, accounts: Vec::new(), current: 0, spare: Vec::new() }
    }

    pub(crate) fn open(&mut self, index: u32, peer: Option<SocketAddr>) {
        let index = index as usize;
        if self.accounts.len() <= index {
            self.accounts.resize_with(index + 1, || None);
        }
        self.accounts[index] = Some(Box::new(Account::new(peer)));
    }

    /// A visit to a connection begins, of which `waiting` bytes have not left. Those answers are reported that have.
    pub(crate) fn enter(&mut self, index: u32, waiting: usize, now_ns: u64) {
        self.current = index as usize;
        let Some(account) = self.account() else { return };
        account.left += account.waiting.saturating_sub(waiting as u64);
        account.waiting = waiting as u64;
        while self.account().is_some_and(|account| account.first_has_left()) {
            self.report_first(now_ns);
        }
    }

    /// The visit ends, and `waiting` bytes are left to be sent.
    pub(crate) fn leave(&mut self, waiting: usize) {
        if let Some(account) = self.account() {
            account.waiting = waiting as u64;
        }
    }

    /// The connection is gone: whatever has not left by now never will.
    pub(crate) fn close(&mut self, index: u32, now_ns: u64) {
        self.current = index as usize;
        while self.account().is_some_and(|account| !account.entries.is_empty()) {
            self.report_first(now_ns);
        }
        if let Some(place) = self.accounts.get_mut(self.current) {
            *place = None;
        }
    }

    fn account(&mut self) -> Option<&mut Account> {
        self.accounts.get_mut(self.current)?.as_deref_mut()
    }

    fn report_first(&mut self, now_ns: u64) {
        let Some(account) = self.accounts.get_mut(self.current).and_then(Option::as_deref_mut) else {
            return;
        };
        let Some(entry) = account.entries.pop_front() else { return };
        (self.observer)(&entry.served(account, now_ns));
        if self.spare.len() < SPARE_MAX && entry.asked.is_small() {
            self.spare.push(entry.asked);
        }
    }
}

/// Answers of the connection that is being visited.
impl Journal {
    /// Notes an answer that ends where the output now does, the last `bytes` of it being its body.
    pub(crate) fn answered(
        &mut self,
        request: Option<&Request<'_>>,
        status: Status,
        bytes: u64,
        output_len: usize,
        now_ns: u64,
    ) {
        let asked = self.asked(request);
        let Some(account) = self.account() else { return };
        let end = account.left + output_len as u64;
        let (body, status) = (end.saturating_sub(bytes), Some(status));
        account.entries.push_back(Entry {
            ticket: None,
            asked,
            asked_ns: now_ns,
            status,
            staged: None,
            body,
            end,
        });
    }

    /// Notes a request that a handler is to answer.
    pub(crate) fn handed_over(&mut self, request: &Request<'_>, ticket: Ticket, now_ns: u64) {
        let asked = self.asked(Some(request));
        let Some(account) = self.account() else { return };
        let ticket = Some(ticket);
        let (body, end) = (NOWHERE, NOWHERE);
        account.entries.push_back(Entry {
            ticket,
            asked,
            asked_ns: now_ns,
            status: None,
            staged: None,
            body,
            end,
        });
    }

    /// The handler's answer is staged; its body begins, or will, `head_len` bytes into that.
    pub(crate) fn staged(&mut self, ticket: Ticket, status: Status, head_len: usize) {
        if let Some(entry) = self.entry(ticket) {
            (entry.status, entry.staged) = (Some(status), Some(head_len as u64));
        }
    }

    /// What was staged has been moved to the output, between two of its lengths; `is_all` if nothing more comes.
    pub(crate) fn released(&mut self, ticket: Ticket, between: Range<usize>, is_all: bool) {
        let Some(left) = self.account().map(|account| account.left) else { return };
        let Some(entry) = self.entry(ticket) else { return };
        if let Some(head_len) = entry.staged.take() {
            entry.body = left + between.start as u64 + head_len;
        }
        if is_all {
            entry.end = left + between.end as u64;
        }
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        self.account()?.entries.iter_mut().find(|entry| entry.ticket == Some(ticket))
    }

    fn asked(&mut self, request: Option<&Request<'_>>) -> Asked {
        let mut asked = self.spare.pop().unwrap_or_default();
        asked.note(request);
        asked
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

impl Account {
    fn new(peer: Option<SocketAddr>) -> Account {
        Account { peer, left: 0, waiting: 0, entries: VecDeque::new() }
    }

    fn first_has_left(&self) -> bool {
        self.entries.front().is_some_and(|entry| entry.end <= self.left)
    }
}

impl Entry {
    fn served(&self, account: &Account, now_ns: u64) -> Served<'_> {
        let field = |range: &Option<Range<usize>>| range.clone().map(|range| &self.asked.fields[range]);
        let (method, target) = self.asked.line.split_at(self.asked.method_len);
        Served {
            peer: account.peer,
            method,
            target,
            version: self.asked.version,
            status: self.status,
            bytes: account.left.min(self.end).saturating_sub(self.body),
            complete: self.end <= account.left,
            duration: Duration::from_nanos(now_ns.saturating_sub(self.asked_ns)),
            referer: field(&self.asked.referer),
            user_agent: field(&self.asked.user_agent),
        }
    }
}

impl Asked {
    fn note(&mut self, request: Option<&Request<'_>>) {
        self.line.clear();
        self.fields.clear();
        let (method, target) = request.map_or(("-", "-"), |request| (request.method_name, request.target));
        self.line.push_str(method);
        self.line.push_str(target);
        self.method_len = method.len();
        self.version = match request {
            None => "-",
            Some(request) if request.http_1_0 => "HTTP/1.0",
            Some(_) => "HTTP/1.1",
        };
        self.referer = self.note_field(request.and_then(|request| request.referer));
        self.user_agent = self.note_field(request.and_then(|request| request.user_agent));
    }

    fn note_field(&mut self, value: Option<&[u8]>) -> Option<Range<usize>> {
        let start = self.fields.len();
        self.fields.extend_from_slice(value?);
        Some(start..self.fields.len())
    }

    fn is_small(&self) -> bool {
        self.line.capacity() + self.fields.capacity() <= SPARE_LEN_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::options::Limits;
    use super::super::request;
    use super::*;

    type Lines = Rc<RefCell<Vec<String>>>;

    fn journal() -> (Journal, Lines) {
        let lines = Lines::default();
        let sink = Rc::clone(&lines);
        let mut journal = Journal::new(Box::new(move |served| {
            let status = served.status.map_or(0, Status::code);
            let Served { target, bytes, complete, .. } = served;
            sink.borrow_mut().push(format!("{target} {status} {bytes} {complete}"));
        }));
        journal.open(3, None);
        (journal, lines)
    }

    fn with_request(target: &str, act: impl FnOnce(&Request<'_>)) {
        let text = format!("GET {target} HTTP/1.0\r\nReferer: x\r\n\r\n");
        act(&request::parse(text.as_bytes(), &Limits::default()).expect("well-formed").expect("complete"));
    }

    #[test]
    fn an_answer_is_reported_when_it_has_left_and_not_before() {
        let (mut journal, lines) = journal();
        journal.enter(3, 0, 0);
        with_request("/a", |request| journal.answered(Some(request), Status::Ok, 100, 150, 0));
        with_request("/b", |request| journal.answered(Some(request), Status::NotFound, 10, 180, 0));
        journal.leave(180);
        journal.enter(3, 31, 0);
        assert!(lines.borrow().is_empty(), "one byte of the first is there still");
        journal.leave(31);
        journal.enter(3, 20, 0);
        assert_eq!(lines.borrow_mut().drain(..).collect::<Vec<_>>(), ["/a 200 100 true"]);
        journal.answered(None, Status::BadRequest, 5, 40, 0);
        journal.leave(40);
        journal.enter(3, 0, 0);
        assert_eq!(*lines.borrow(), ["/b 404 10 true", "- 400 5 true"]);
    }

    #[test]
    fn what_has_not_left_when_the_connection_ends_is_reported_as_far_as_it_got() {
        let (mut journal, lines) = journal();
        journal.enter(3, 0, 0);
        with_request("/a", |request| journal.answered(Some(request), Status::Ok, 100, 150, 0));
        with_request("/b", |request| journal.answered(Some(request), Status::Ok, 100, 300, 0));
        with_request("/c", |request| journal.handed_over(request, Ticket(1), 0));
        journal.leave(300);
        journal.enter(3, 80, 0);
        journal.close(3, 0);
        assert_eq!(*lines.borrow(), ["/a 200 100 true", "/b 200 20 false", "/c 0 0 false"]);
        journal.open(3, None);
        journal.enter(3, 0, 0);
        journal.close(3, 0);
        assert_eq!(lines.borrow().len(), 3, "the next connection of that index knows nothing of it");
    }

    #[test]
    fn a_handlers_answer_has_its_place_once_it_is_released() {
        let (mut journal, lines) = journal();
        journal.enter(3, 0, 0);
        with_request("/a", |request| journal.handed_over(request, Ticket(1), 0));
        with_request("/b", |request| journal.handed_over(request, Ticket(2), 0));
        journal.staged(Ticket(2), Status::Ok, 50);
        journal.leave(0);
        journal.enter(3, 0, 0);
        journal.staged(Ticket(1), Status::Created, 40);
        journal.released(Ticket(1), 0..60, false); // a stream: 20 bytes of its body
        journal.leave(60);
        journal.enter(3, 0, 0);
        journal.released(Ticket(1), 0..15, true);
        journal.released(Ticket(2), 15..75, true);
        journal.leave(75);
        assert!(lines.borrow().is_empty());
        journal.enter(3, 5, 0);
        journal.close(3, 0);
        assert_eq!(*lines.borrow(), ["/a 201 35 true", "/b 200 5 false"]);
    }

    #[test]
    fn connections_that_were_there_before_are_left_out() {
        let (mut journal, lines) = journal();
        for index in [0, 9] {
            journal.enter(index, 0, 0);
            with_request("/a", |request| journal.answered(Some(request), Status::Ok, 1, 2, 0));
            journal.leave(2);
            journal.close(index, 0);
        }
        assert!(lines.borrow().is_empty());
    }
}
