//! The load of an echo server: all connections send, then all of them read what comes back.
#![allow(dead_code, reason = "each bench uses its own part")]

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Server;

/// A measurement makes at least so many round trips, whatever it was asked for: one in which a connection has its turn once
/// or twice says little.
pub(crate) const TRIPS_MIN: u64 = 4000;

/// Connections to a server that are all busy at once.
pub(crate) struct Load {
    streams: Vec<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Load {
    pub(crate) fn new(server: &Server, connections: usize, len: usize) -> Load {
        let streams = (0..connections).map(|_| server.connect()).collect();
        Load { streams, message: vec![b'x'; len], answer: vec![0; len] }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.streams.len() as u64
    }

    /// Every connection sends, then every connection reads, and so on; says how many round trips that were.
    pub(crate) fn rounds(&mut self, rounds: u64) -> u64 {
        for _ in 0..rounds {
            for stream in &mut self.streams {
                stream.write_all(&self.message).expect("the server reads");
            }
            for stream in &mut self.streams {
                stream.read_exact(&mut self.answer).expect("the server answers");
            }
        }
        rounds * self.connections()
    }
}
