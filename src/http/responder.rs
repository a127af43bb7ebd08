//! Answering a request, now or later, here or on another thread. A [`Responder`] is a promise: whoever drops
//! it unanswered has answered 500.
//!
//! What is answered goes through the server's post box, also on the loop's own thread, so that there is one
//! way and no callback runs inside another. Only a letter that nobody is about to look for wakes the loop.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Status;
use super::message::Response;
use crate::bufferevent::BuffereventId;
use crate::{Error, Evbuffer, Result};

/// Names one request of one server, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// What the server goes on with when a piece has been sent.
pub(crate) type Continuation = Box<dyn FnOnce(BodyWriter) + Send>;

/// What becomes of one request.
pub(crate) enum Letter {
    Answer(Response),
    /// The head of an answer whose body follows in pieces.
    Begin(Response),
    Piece(Evbuffer, Option<Continuation>),
    End,
    /// The rest of the body will never come.
    Abandon,
}

/// A letter, and the request it is about.
pub(crate) struct Addressed {
    pub(crate) connection: BuffereventId,
    pub(crate) ticket: Ticket,
    pub(crate) letter: Letter,
}

/// Where letters wait for the server, and how it is told of them.
pub(crate) struct PostBox {
    letters: Mutex<Letters>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Addressed>,
    /// The server has been woken, or is about to look by itself.
    is_awaited: bool,
}

impl PostBox {
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> PostBox {
        PostBox { letters: Mutex::new(Letters::default()), wake: Box::new(wake) }
    }

    fn post(&self, letter: Addressed) {
        let mut letters = self.lock();
        letters.waiting.push_back(letter);
        let was_awaited = std::mem::replace(&mut letters.is_awaited, true);
        drop(letters);
        if !was_awaited {
            (self.wake)();
        }
    }

    /// The server will look until it finds nothing; nobody needs to wake it.
    pub(crate) fn attend(&self) {
        self.lock().is_awaited = true;
    }

    /// The letters that wait. When there are none the server looks away.
    pub(crate) fn take(&self) -> VecDeque<Addressed> {
        let mut letters = self.lock();
        letters.is_awaited = !letters.waiting.is_empty();
        std::mem::take(&mut letters.waiting)
    }

    /// Makes the server look again in a later turn of the loop.
    pub(crate) fn look_later(&self) {
        self.attend();
        (self.wake)();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether anybody still waits for an answer; shared by the connection and whoever answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interest(Arc<AtomicBool>);

impl Interest {
    /// Relaxed is enough: it says that an answer would be in vain, and orders nothing else.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The way back to one request.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) post: Arc<PostBox>,
    pub(crate) connection: BuffereventId,
    pub(crate) ticket: Ticket,
    pub(crate) interest: Interest,
}

impl Desk {
    fn send(&self, letter: Letter) -> Result<()> {
        if self.interest.has_ended() {
            return Err(Error::Stale);
        }
        self.post.post(Addressed { connection: self.connection, ticket: self.ticket, letter });
        Ok(())
    }
}

/// The right and the duty to answer one request. It can be kept, and sent to another thread; dropped without
/// an answer, it answers 500.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use zerovent::EventBase;
/// use zerovent::event_base::Event;
/// use zerovent::http::{Response, Routes, Server, ServerOptions, Status};
///
/// let mut base = EventBase::new()?;
/// let routes = Routes::new()
///     .route("GET", "/later", |base: &mut EventBase, _request, responder| {
///         let second = Some(Duration::from_secs(1));
///         let answer = |_: &mut EventBase, _| {
///             let _ = responder.answer(Response::new(Status::NoContent));
///         };
///         let _ = base.once(Event::timer(), second, answer);
///     })
///     .route("GET", "/elsewhere", |_base, _request, responder| {
///         std::thread::spawn(|| responder.answer(Response::text(Status::Ok, "worked out elsewhere")?));
///     });
/// Server::bind(&mut base, "127.0.0.1:8080".parse()?, ServerOptions::new(), routes)?;
/// base.dispatch()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it answers 500"]
pub struct Responder {
    /// There until the answer is.
    desk: Option<Desk>,
}

impl Responder {
    pub(crate) fn new(desk: Desk) -> Responder {
        Responder { desk: Some(desk) }
    }

    /// Whether nobody waits for the answer any more: the connection is gone.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.desk.as_ref().is_none_or(|desk| desk.interest.has_ended())
    }

    /// Answers. Pipelined requests may be answered in any order; the answers leave in the right one.
    ///
    /// # Errors
    /// [`Error::Stale`] if the connection is gone.
    #[doc(alias = "evhttp_send_reply")]
    pub fn answer(mut self, response: Response) -> Result<()> {
        self.desk.take().map_or(Ok(()), |desk| desk.send(Letter::Answer(response)))
    }

    /// Begins an answer whose length is not known: chunked for HTTP/1.1, ended by the end of the connection for
    /// HTTP/1.0. What `response` has for a body comes first.
    ///
    /// # Errors
    /// [`Error::Stale`] if the connection is gone.
    #[doc(alias = "evhttp_send_reply_start")]
    pub fn stream(mut self, response: Response) -> Result<BodyWriter> {
        let desk = self.desk.take().ok_or(Error::Stale)?;
        desk.send(Letter::Begin(response))?;
        Ok(BodyWriter { desk: Some(desk) })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            // Whether somebody still waits makes no difference here.
            let _ = desk.send(Letter::Answer(Response::new(Status::InternalServerError)));
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("is_stale", &self.is_stale()).finish()
    }
}

/// Writes the body of an answer in pieces. Dropped without [`finish`](Self::finish), it ends the connection, so
/// that the client knows that something is missing.
#[must_use = "dropping it ends the connection"]
pub struct BodyWriter {
    /// There until the end is.
    desk: Option<Desk>,
}

impl BodyWriter {
    pub(crate) fn new(desk: Desk) -> BodyWriter {
        BodyWriter { desk: Some(desk) }
    }

    /// Whether nobody wants the rest: the connection is gone, or the request was a HEAD.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.desk.as_ref().is_none_or(|desk| desk.interest.has_ended())
    }

    /// Sends all of `piece`, however much still waits to be sent.
    ///
    /// # Errors
    /// [`Error::Stale`] if nobody wants it; errors of moving the bytes out of `piece`.
    #[doc(alias = "evhttp_send_reply_chunk")]
    pub fn write(&mut self, piece: &mut Evbuffer) -> Result<()> {
        self.send(piece, None)
    }

    /// Sends all of `piece`, and calls `then` on the loop's thread when it has left: the way to write as fast as the
    /// client reads, holding one piece at a time. `then` is dropped uncalled when the connection ends first.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Examples
    /// ```
    /// use zerovent::Evbuffer;
    /// use zerovent::http::BodyWriter;
    ///
    /// /// Counts down, a line at a time.
    /// fn count(writer: BodyWriter, number: u32) {
    ///     let mut line = Evbuffer::new();
    ///     let _ = line.add(format!("{number}\n").as_bytes());
    ///     let _ = match number {
    ///         0 => writer.finish(),
    ///         _ => writer.write_then(&mut line, move |writer| count(writer, number - 1)),
    ///     };
    /// }
    /// ```
    #[doc(alias = "evhttp_send_reply_chunk_with_cb")]
    pub fn write_then(
        mut self,
        piece: &mut Evbuffer,
        then: impl FnOnce(BodyWriter) + Send + 'static,
    ) -> Result<()> {
        self.send(piece, Some(Box::new(then)))?;
        self.desk = None; // `then` gets another
        Ok(())
    }

    /// Ends the body well.
    ///
    /// # Errors
    /// [`Error::Stale`] if nobody wants it.
    #[doc(alias = "evhttp_send_reply_end")]
    pub fn finish(mut self) -> Result<()> {
        self.desk.take().map_or(Ok(()), |desk| desk.send(Letter::End))
    }

    fn send(&self, piece: &mut Evbuffer, then: Option<Continuation>) -> Result<()> {
        let desk = self.desk.as_ref().ok_or(Error::Stale)?;
        let mut moved = Evbuffer::new();
        moved.add_buffer(piece)?;
        desk.send(Letter::Piece(moved, then))
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            let _ = desk.send(Letter::Abandon);
        }
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("is_stale", &self.is_stale()).finish()
    }
}
