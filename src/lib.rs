//! zerovent: a zero-copy, data-oriented buffer and I/O engine.
pub mod buffer;
pub mod bufferevent;
mod error;
pub mod event_base;
#[cfg(feature = "http")]
pub mod http;
pub mod listener;
pub(crate) mod reactor;
pub(crate) mod sys;
pub mod util;

pub use buffer::Evbuffer;
pub use error::{Error, Result};
pub use event_base::EventBase;
