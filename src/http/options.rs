//! What a server can be told, with defaults that are safe on an open network.

use std::time::Duration;

use super::request::FIELDS_CEILING;
use crate::bufferevent::TokenBucket;

/// How much of a request is put up with.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a request head, from its first byte to the empty line.
    pub(crate) head_max: usize,
    /// Fields of a request head.
    pub(crate) fields_max: usize,
    /// Bytes of a request body.
    pub(crate) body_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_max: 16 << 10, fields_max: 100, body_max: 64 << 10 }
    }
}

/// Settings of a [`Server`](super::Server): limits, timeouts and bounds, each with a default.
///
/// ```
/// use std::time::Duration;
/// use zerovent::http::ServerOptions;
///
/// let options = ServerOptions::new().header_timeout(Duration::from_secs(5)).reuse_port(true);
/// ```
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub(crate) limits: Limits,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) connections_each_max: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) write_rate_min: u32,
    pub(crate) linger: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) pipeline_max: usize,
    pub(crate) reuse_port: bool,
    pub(crate) rate_limit: Option<TokenBucket>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            limits: Limits::default(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            connections_max: usize::MAX,
            connections_each_max: usize::MAX,
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            write_rate_min: 256,
            linger: Duration::from_secs(2),
            drain_timeout: Duration::MAX,
            pipeline_max: 64 << 10,
            reuse_port: false,
            rate_limit: None,
        }
    }
}

impl ServerOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it matters how many connections there are.
    pub(crate) fn limits_connections(&self) -> bool {
        self.connections_max != usize::MAX || self.connections_each_max != usize::MAX
    }

    /// The most bytes of a request head (16 KiB, and never more than 1 MiB); more is answered 431.
    #[must_use]
    pub fn head_max(mut self, bytes: usize) -> Self {
        self.limits.head_max = bytes.clamp(64, 1 << 20);
        self
    }

    /// The most fields of a request head (100, and never more than 128); more is answered 431.
    #[must_use]
    pub fn fields_max(mut self, count: usize) -> Self {
        self.limits.fields_max = count.clamp(1, FIELDS_CEILING);
        self
    }

    /// The most bytes of a request body (64 KiB), whether a handler gets it or nobody; more is answered 413.
    #[must_use]
    pub fn body_max(mut self, bytes: u32) -> Self {
        self.limits.body_max = bytes;
        self
    }

    /// How long the head of a request may take to arrive (10 s), counted from the connection's or the request's
    /// first byte, however busily it trickles. Then it is answered 408, and closed.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// How long the body of a request may take to arrive (60 s), counted from the end of its head. Then it is
    /// answered 408, if it has not been answered already, and closed.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// The most connections at a time (no limit but the system's). One more takes the place of the one that has
    /// been idle longest; if none is idle, it is closed at once.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count.max(1);
        self
    }

    /// The most connections at a time from one address (no limit), where the first 64 bits of an IPv6 address
    /// count; one more is closed at once.
    #[must_use]
    pub fn connections_each_max(mut self, count: usize) -> Self {
        self.connections_each_max = count.max(1);
        self
    }

    /// How long a connection may be kept alive between two requests (60 s); then it is closed without a word.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long a client may go without taking a single byte of an answer (30 s); then the connection is
    /// closed.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How many bytes of answers a client has to take each second (256), on the average since it last had taken all; who
    /// takes fewer is closed once the write timeout has passed as well. Without this a client that takes a byte now and
    /// then could hold its answers for ever. 0 lets it.
    #[must_use]
    pub fn write_rate_min(mut self, bytes: u32) -> Self {
        self.write_rate_min = bytes;
        self
    }

    /// How long to wait for the client to close (2 s) after the last answer, so that what it still sends does
    /// not reset the connection under an answer it has not read.
    #[must_use]
    pub fn linger(mut self, timeout: Duration) -> Self {
        self.linger = timeout;
        self
    }

    /// How long a server that is [shut down](super::Server::shutdown) goes on for what is in flight (as long as it takes). Then the
    /// connections that are left are reset, and what their handlers answer later goes nowhere.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How many bytes of answers may wait (64 KiB) before the next pipelined request is looked at.
    #[must_use]
    pub fn pipeline_max(mut self, bytes: usize) -> Self {
        self.pipeline_max = bytes.max(1);
        self
    }

    /// How fast each connection may read and write (no limit). What a file holds counts as what memory does; while a
    /// limit holds a connection back, its write timeout does not run.
    #[must_use]
    pub fn rate_limit(mut self, bucket: TokenBucket) -> Self {
        self.rate_limit = Some(bucket);
        self
    }

    /// Whether other sockets may listen on the same port (`SO_REUSEPORT`): one server a thread, and the
    /// kernel spreads the connections. Off by default, so that a port in use is an error.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }
}
