//! A simple client: one request, one connection, one answer, gathered into a buffer.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::answer::{Answer, Fetched};
use super::message::append_field;
use super::url::Url;
use crate::bufferevent::{BevEvents, BuffereventId, Options};
use crate::event_base::{EventId, Interest};
use crate::resolve::Family;
use crate::{Error, EventBase, Result};

/// Fetches `url` with GET, and calls `callback` once, with the answer or with what went wrong: [`Get`] with its
/// defaults.
///
/// # Errors
/// As [`Get::send`].
///
/// # Examples
/// ```
/// use zerovent::EventBase;
/// use zerovent::http::{self, Response, Routes, Server, ServerOptions, Status};
///
/// let mut base = EventBase::with_context(None::<Server>)?;
/// let routes = Routes::new().route("GET", "/", |_, _, responder| {
///     let _ = responder.answer(Response::text(Status::Ok, "hello").unwrap());
/// });
/// let server = Server::bind(&mut base, "127.0.0.1:0".parse()?, ServerOptions::new(), routes)?;
/// let url = format!("http://{}/", server.local_addr());
/// *base.context_mut() = Some(server);
/// http::get(&mut base, &url, |base, fetched| {
///     let mut fetched = fetched.unwrap();
///     assert_eq!((fetched.status(), fetched.body().pullup(5).unwrap()), (200, &b"hello"[..]));
///     base.context_mut().take().unwrap().shutdown(base).unwrap();
/// })?;
/// base.dispatch()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "evhttp_make_request")]
pub fn get<C: 'static>(
    base: &mut EventBase<C>,
    url: &str,
    callback: impl FnOnce(&mut EventBase<C>, Result<Fetched>) + 'static,
) -> Result<()> {
    Get::new(url).send(base, callback)
}

/// A GET that is to be sent: HTTP/1.1, on a connection of its own, not following redirects.
#[derive(Debug, Clone)]
pub struct Get {
    url: String,
    fields: Result<Vec<u8>, &'static str>,
    timeout: Duration,
    body_max: usize,
}

impl Get {
    /// A request for `url`, which is `http://host`, then perhaps a port, a path and a query. What follows a `#` is
    /// left out.
    #[must_use]
    pub fn new(url: &str) -> Get {
        Get {
            url: url.to_owned(),
            fields: Ok(Vec::new()),
            timeout: Duration::from_secs(30),
            body_max: 16 << 20,
        }
    }

    /// Adds a field. One that may not be added, as for [`Response::with`](super::Response::with), or `Host`, makes
    /// [`send`](Self::send) fail.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Get {
        if name.eq_ignore_ascii_case("host") {
            self.fields = Err("the host stands in the URL");
        } else if let Ok(fields) = &mut self.fields
            && let Err(Error::Invalid(why)) = append_field(fields, name, value)
        {
            self.fields = Err(why);
        }
        self
    }

    /// How long all of it may take (30 s), from looking the host up to the last byte of the body.
    #[must_use]
    #[doc(alias = "evhttp_connection_set_timeout")]
    pub fn timeout(mut self, timeout: Duration) -> Get {
        self.timeout = timeout;
        self
    }

    /// The most bytes of body that are taken (16 MiB).
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Get {
        self.body_max = bytes;
        self
    }

    /// Sends the request, and calls `callback` once, from the loop: with the answer, whatever its status is, or with
    /// [`Error::Resolve`] or [`Error::Io`] if there is none (of kind `TimedOut` when it took too long,
    /// `InvalidData` when it is not HTTP, `UnexpectedEof` when it ends too early), or [`Error::Limit`] if its body
    /// is too large.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL or a field that cannot be sent, [`Error::Io`] if no thread can be started to look the
    /// host up. Then `callback` is not called.
    pub fn send<C: 'static>(
        self,
        base: &mut EventBase<C>,
        callback: impl FnOnce(&mut EventBase<C>, Result<Fetched>) + 'static,
    ) -> Result<()> {
        let url = Url::parse(&self.url)?;
        let fields = self.fields.map_err(Error::Invalid)?;
        let id = base.new_socket(None, &Options::new())?;
        let started = start(base, id, &url, &fields).and_then(|()| base.new_timer(|_, _, _| {}));
        let timer = match started {
            Ok(timer) => timer,
            Err(error) => {
                base.free_bufferevent(id)?;
                return Err(error);
            }
        };
        let callback: Callback<C> = Box::new(callback);
        let fetch = Fetch { id, timer, answer: Answer::new(self.body_max), callback };
        watch(base, Rc::new(RefCell::new(Some(fetch))), self.timeout)
    }
}

type Callback<C> = Box<dyn FnOnce(&mut EventBase<C>, Result<Fetched>)>;

/// A request under way.
struct Fetch<C> {
    id: BuffereventId,
    timer: EventId,
    answer: Answer,
    callback: Callback<C>,
}

/// A request that several callbacks may end, and only one does.
type Shared<C> = Rc<RefCell<Option<Fetch<C>>>>;

impl<C> fmt::Debug for Fetch<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Writes the request, which waits for the connection, and begins to connect.
fn start<C: 'static>(base: &mut EventBase<C>, id: BuffereventId, url: &Url<'_>, fields: &[u8]) -> Result<()> {
    let bufferevent = base.bufferevent(id)?;
    let output = bufferevent.output();
    for part in ["GET ", url.target, " HTTP/1.1\r\nHost: ", url.authority, "\r\nConnection: close\r\n"] {
        output.add(part.as_bytes())?;
    }
    output.add(fields)?;
    output.add(b"\r\n")?;
    bufferevent.enable(Interest::READ | Interest::WRITE);
    base.connect_hostname(id, Family::Any, url.host, url.port)
}

fn watch<C: 'static>(base: &mut EventBase<C>, fetch: Shared<C>, timeout: Duration) -> Result<()> {
    let Some((id, timer)) = fetch.borrow().as_ref().map(|fetch| (fetch.id, fetch.timer)) else {
        return Ok(());
    };
    let on_read = Rc::clone(&fetch);
    base.set_read_callback(id, move |base, _| take_in(base, &on_read))?;
    let on_event = Rc::clone(&fetch);
    base.set_event_callback(id, move |base, id, events| {
        if events.intersects(BevEvents::ERROR | BevEvents::TIMEOUT) {
            let error = failure(base, id);
            finish(base, &on_event, Err(error));
        } else if events.contains(BevEvents::EOF) {
            take_in(base, &on_event);
            end(base, &on_event);
        }
    })?;
    base.set_callback(timer, move |base, _, _| {
        finish(base, &fetch, Err(Error::Io(io::ErrorKind::TimedOut.into())));
    })?;
    base.add(timer, Some(timeout))
}

/// Takes in what has arrived, and ends the request when that is all.
fn take_in<C: 'static>(base: &mut EventBase<C>, shared: &Shared<C>) {
    let mut slot = shared.borrow_mut();
    let Some(fetch) = slot.as_mut() else { return };
    let Ok(bufferevent) = base.bufferevent(fetch.id) else { return };
    let advanced = fetch.answer.advance(bufferevent.input());
    drop(slot);
    match advanced {
        Ok(None) => {}
        Ok(Some(fetched)) => finish(base, shared, Ok(fetched)),
        Err(error) => finish(base, shared, Err(error)),
    }
}

/// The server has sent its last byte.
fn end<C: 'static>(base: &mut EventBase<C>, shared: &Shared<C>) {
    let ended = shared.borrow_mut().as_mut().map(|fetch| fetch.answer.end());
    if let Some(result) = ended {
        finish(base, shared, result);
    }
}

fn failure<C: 'static>(base: &mut EventBase<C>, id: BuffereventId) -> Error {
    let Ok(bufferevent) = base.bufferevent(id) else { return Error::Stale };
    match (bufferevent.dns_error(), bufferevent.last_error()) {
        (Some(error), _) => Error::Resolve(error),
        (None, Some(Error::Io(error))) => match error.raw_os_error() {
            Some(code) => Error::Io(io::Error::from_raw_os_error(code)),
            None => Error::Io(error.kind().into()),
        },
        _ => Error::Io(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Frees what the request had, and calls its user with nothing borrowed.
fn finish<C: 'static>(base: &mut EventBase<C>, shared: &Shared<C>, result: Result<Fetched>) {
    let Some(fetch) = shared.borrow_mut().take() else { return };
    // Both live until here, unless the user has found their ids out by guessing.
    let _ = base.free_bufferevent(fetch.id);
    let _ = base.free(fetch.timer);
    (fetch.callback)(base, result);
}
