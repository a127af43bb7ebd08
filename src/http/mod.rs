//! (being built)
#![allow(dead_code, reason = "being built")]
mod body;
mod content_type;
mod date;
mod options;
mod queue;
mod range;
mod request;
mod response;
mod status;
mod target;
/// x
pub struct Server;
pub use options::ServerOptions;
pub use status::Status;
