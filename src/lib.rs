//! A zero-copy, data-oriented buffer and I/O engine: the system of the libevent book, in Rust.
//!
//! # The pieces
//!
//! - [`Evbuffer`] is the centrepiece: a queue of bytes that is really a short queue of small descriptors, which point
//!   into refcounted storage, into files and into other people's memory. Moving, sharing and splitting changes
//!   descriptors, never bytes, and every copy that remains is counted ([`buffer::CopyStats`]). It is useful alone,
//!   with no loop at all.
//! - [`EventBase`] is the loop: it watches descriptors, timers and signals, and calls your closures, one at a time,
//!   with `&mut` access to itself and to a context of yours.
//! - [`bufferevent`]s join the two: a connection with an input and an output buffer, marks, timeouts and budgets.
//! - [`listener`]s accept connections, and [`resolve`] finds hosts by name without blocking the loop.
//! - [`threads`] runs one loop a thread.
//! - [`util`] has what the book's helpers do and std does not.
//! - [`http`] (feature `http`, on by default) serves a directory over HTTP/1.1 with all of them.
//!
//! # An echo server
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use std::time::Duration;
//! use zerovent::bufferevent::Options;
//! use zerovent::event_base::Interest;
//! use zerovent::listener::ListenOptions;
//! use zerovent::{EventBase, Result};
//!
//! /// How long a peer may take to read the last echo.
//! const LINGER: Duration = Duration::from_secs(5);
//!
//! fn serve(base: &mut EventBase, address: SocketAddr) -> Result<SocketAddr> {
//!     let listener = base.listen(address, &ListenOptions::new(), |base, _, socket, _peer| {
//!         let id = base.new_socket(Some(socket), &Options::new()).unwrap();
//!         base.set_read_callback(id, |base, id| {
//!             let (input, output) = base.bufferevent(id).unwrap().buffers();
//!             output.add_buffer(input).unwrap(); // moves descriptors; copies nothing
//!         })
//!         .unwrap();
//!         base.set_event_callback(id, |base, id, _| base.free_after_flush(id, LINGER).unwrap()).unwrap();
//!         base.bufferevent(id).unwrap().enable(Interest::READ);
//!     })?;
//!     Ok(base.listener(listener)?.address().as_inet().unwrap())
//! }
//!
//! # use std::io::{Read, Write};
//! let mut base = EventBase::new()?;
//! let address = serve(&mut base, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
//! # let remote = base.remote();
//! # let client = std::thread::spawn(move || {
//! #     let mut stream = std::net::TcpStream::connect(address).unwrap();
//! #     stream.write_all(b"hello").unwrap();
//! #     let mut echo = [0; 5];
//! #     stream.read_exact(&mut echo).unwrap();
//! #     remote.loop_break().unwrap();
//! #     echo
//! # });
//! base.dispatch()?;
//! # assert_eq!(&client.join().unwrap(), b"hello");
//! # Ok::<(), zerovent::Error>(())
//! ```
//!
//! # Three things to know
//!
//! - **Handles are small ids, and stale ones are errors.** Events, bufferevents and listeners live in the base. What
//!   you hold is `Copy`; once the object is freed, every use of its id is [`Error::Stale`].
//! - **Callbacks run from one place.** Nothing you call makes a callback: it is queued and made by the loop, which
//!   holds no lock and no borrow meanwhile. So a callback may free anything, itself included.
//! - **One thread a base.** A base is not shared between threads; [`event_base::Remote`] is how other threads reach
//!   it.
//!
//! Linux only: the fast paths are epoll, `sendfile` and their kin.

mod address;
pub mod buffer;
pub mod bufferevent;
#[cfg(feature = "capi")]
mod capi;
mod error;
pub mod event_base;
mod features;
#[cfg(feature = "http")]
pub mod http;
pub mod listener;
pub(crate) mod reactor;
pub mod resolve;
pub(crate) mod sys;
pub mod threads;
pub mod util;

pub use buffer::Evbuffer;
pub use error::{Error, Result};
pub use event_base::EventBase;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
