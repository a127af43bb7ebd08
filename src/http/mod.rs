//! (being built)
#![allow(dead_code, reason = "being built")]
mod body;
mod cache;
mod conditions;
mod connection;
mod content_type;
mod date;
mod files;
mod options;
mod queue;
mod range;
mod request;
mod response;
mod server;
mod site;
mod status;
mod table;
mod target;
pub use files::StaticFiles;
pub use options::ServerOptions;
pub use server::Server;
pub use site::Served;
pub use status::Status;
