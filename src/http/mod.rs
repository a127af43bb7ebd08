//! HTTP/1.1: a small, strict server of files and of whatever handlers answer, and a client; over the engine, and
//! the example of what the engine is for.
//!
//! A response with a file is an [`Evbuffer`](crate::Evbuffer) of two nodes. The head is a chunk; the body is a range of
//! an open file, which stays a descriptor from the cache to `sendfile`, or a reference to the bytes of a small
//! one. No byte of a file is copied within this process, and a request for a small file that is known already
//! costs three system calls: to wait for it, to receive it, and to answer it, head and body in one.
//!
//! ```text
//!   input  [ GET /a HTTP/1.1 ...| GET /b ...]           requests, answered where they lie
//!               |
//!            request::parse -> target::decode -> files.find -> conditions::decide
//!               |                                    |
//!               v                                    v
//!   output [ HTTP/1.1 200 OK ... ][ File: a, 0..len ][ HTTP/1.1 200 OK ... ][ File: b, 0..len ]
//! ```
//!
//! The parts, from the bytes up:
//!
//! - *Reading*: `request` (a head out of contiguous bytes), `body` (content, framing and the end), `target`
//!   (the path in a target), `range`, `conditions` and `encoding` (which answer a file gets), `date`,
//!   `content_type`.
//! - *Finding*: `routes` (which handler, or the files), `files` (beneath the root and nowhere else), `policy`
//!   (what their owner wants), `patience` (which are being written to), `open_file` (one state of a file and what is said of it), `cache` (what is kept).
//! - *Answering*: `reply` (from what was found to a head and a body), `listing` (a directory as a page), `pages` (those that are kept),
//!   `response` (heads, without allocating), `site` (what all connections share), `message` and `responder` (what
//!   handlers see), `lanes` (their answers, put in order), `connection` (one connection as a state machine over
//!   two buffers, which knows no socket).
//! - *Serving*: `server` (listener, bufferevents, one timer), `dispatch` (calling handlers), `table` (who waits for
//!   what, and how long), `census` (who has how many connections), `parting` (those that leave), `journal` (what became
//!   of answers, for a log), `stats` (counts).
//! - *Asking*: `client` (one request, one answer), `url`, `answer`.
//!
//! A request for a handler is moved out of the input, body and all, and gets a lane of its own. Handlers are called
//! when nothing of the server is borrowed, and answer by letter:
//!
//! ```text
//!   connection --job--> dispatch --Request, Responder--> handler ... any time, any thread
//!       ^                                                   |
//!       +--- lanes: first asked, first to leave <--letter---+
//! ```
//!
//! What is strict: a request that could be read in two ways (two lengths, a folded line, a bare CR) is
//! answered 400 and ends the connection; a path with two names has one. What is bounded: the bytes and the
//! fields of a head, its time to arrive, the body and its time, the connections, the answers that wait for a
//! client that does not read, the ranges of a request, the entries of a listing, and the files that are kept, by
//! number and by bytes.
//!
//! What is said of a file is true of the bytes that follow. Length, date and entity tag come from the open file
//! itself; small files are read when they are opened, and read again if they changed meanwhile. A tag is weak
//! until the file has been left alone for longer than its clock's tick, since until then two states may share
//! it. A file that changes while it is sent by `sendfile` ends the connection before its body is complete, and one that
//! is being written to is waited for, for a moment.
//!
//! # Examples
//!
//! ```
//! use std::io::{Read, Write};
//! use zerovent::EventBase;
//! use zerovent::http::{Server, ServerOptions, StaticFiles};
//!
//! let directory = tempfile::tempdir()?;
//! std::fs::write(directory.path().join("hello.txt"), "hello, world")?;
//!
//! let mut base = EventBase::with_context(None::<Server>)?;
//! let files = StaticFiles::new(directory.path())?;
//! let server = Server::bind(&mut base, "127.0.0.1:0".parse()?, ServerOptions::new(), files)?;
//!
//! let mut client = std::net::TcpStream::connect(server.local_addr())?;
//! client.write_all(b"GET /hello.txt HTTP/1.0\r\n\r\n")?;
//! *base.context_mut() = Some(server.clone());
//! let remote = base.remote();
//! let reader = std::thread::spawn(move || {
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).unwrap();
//!     remote.run(|base| base.context_mut().take().unwrap().shutdown(base).unwrap()).unwrap();
//!     answer
//! });
//! base.dispatch()?; // returns when the server has shut down
//! assert!(reader.join().unwrap().ends_with("\r\n\r\nhello, world"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod body;
mod cache;
mod census;
mod client;
mod conditions;
mod connection;
mod content_type;
mod date;
mod dispatch;
mod encoding;
mod exercise;
mod files;
mod journal;
mod lanes;
mod listing;
mod message;
mod open_file;
mod options;
mod pages;
mod parting;
mod patience;
mod policy;
mod range;
mod reply;
mod request;
mod responder;
mod response;
mod routes;
mod server;
mod site;
mod stats;
mod status;
mod table;
mod target;
mod url;

pub use answer::Fetched;
pub use client::{Get, get};
#[doc(hidden)]
pub use exercise::exercise_connection;
pub use files::StaticFiles;
pub use journal::Served;
pub use message::{Request, Response};
pub use options::ServerOptions;
pub use responder::{BodyWriter, Responder};
pub use routes::Routes;
pub use server::Server;
pub use stats::ServerStats;

pub use status::Status;
