//! One loop a thread, for programs that want to use all cores: each thread has a base of its own, and nothing is shared
//! but what the program shares.

use std::any::Any;
use std::fmt;
use std::thread::{self, ScopedJoinHandle};

use crate::error::{Error, Result};
use crate::event_base::EventBase;

/// Why a thread has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It could not be started, had no base, or what it ran returned an error.
    Error(Error),
    /// What it ran panicked, with this.
    Panic(Box<dyn Any + Send + 'static>),
}

impl Failure {
    /// What it panicked with, if it did and that was text.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        let Failure::Panic(payload) = self else { return None };
        let text = payload.downcast_ref::<&str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(error) => error.fmt(f),
            Failure::Panic(_) => write!(f, "panicked: {}", self.panic_message().unwrap_or("not with text")),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Error(error) => Some(error),
            Failure::Panic(_) => None,
        }
    }
}

/// Runs `main` on `threads` threads, each with its number and a base of its own, and returns when all have ended, with the
/// result of each in the order of their numbers. That one fails does not end the others.
///
/// # Examples
///
/// Four loops that accept on one port, if only for a moment: the kernel spreads the connections.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use std::time::Duration;
/// use zerovent::listener::ListenOptions;
///
/// # let reserved = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
/// # let address: SocketAddr = reserved.local_addr()?;
/// # drop(reserved);
/// let results = zerovent::threads::run(4, |_, base| {
///     let options = ListenOptions::new().reuse_port(true);
///     base.listen(address, &options, |_, _, _socket, peer| println!("hello, {peer}"))?;
///     base.loop_exit(Some(Duration::from_millis(10)))?;
///     base.dispatch()
/// });
/// assert!(results.iter().all(Result::is_ok));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run<T, F>(threads: usize, main: F) -> Vec<Result<T, Failure>>
where
    T: Send,
    F: Fn(usize, &mut EventBase) -> Result<T> + Sync,
{
    thread::scope(|scope| {
        let main = &main;
        let start = |index| {
            let name = format!("loop {index}");
            thread::Builder::new().name(name).spawn_scoped(scope, move || main(index, &mut EventBase::new()?))
        };
        // All are started before the first is waited for.
        let started: Vec<_> = (0..threads).map(start).collect();
        started.into_iter().map(|thread| join(thread.map_err(Error::Io))).collect()
    })
}

fn join<T>(thread: Result<ScopedJoinHandle<'_, Result<T>>>) -> Result<T, Failure> {
    match thread.map(ScopedJoinHandle::join) {
        Ok(Ok(Ok(result))) => Ok(result),
        Ok(Ok(Err(error))) | Err(error) => Err(Failure::Error(error)),
        Ok(Err(payload)) => Err(Failure::Panic(payload)),
    }
}
