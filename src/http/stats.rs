//! What a server has done and has, in numbers.

use std::ops::AddAssign;

/// What a server has done since it was bound, and what it has now. Those of several servers can be added.
///
/// # Examples
/// ```
/// use zerovent::EventBase;
/// use zerovent::http::{Server, ServerOptions, ServerStats, StaticFiles};
///
/// let mut base = EventBase::new()?;
/// let bind = |base: &mut EventBase| {
///     Server::bind(base, "127.0.0.1:0".parse().unwrap(), ServerOptions::new(), StaticFiles::new(".")?)
/// };
/// let servers = [bind(&mut base)?, bind(&mut base)?];
/// let mut all = ServerStats::default();
/// servers.iter().for_each(|server| all += server.stats());
/// assert_eq!((all.answers, all.connections), (0, 0));
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that were accepted and kept.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub turned_away: u64,
    /// Connections that are open now.
    pub connections: usize,
    /// Answers that were queued, whether or not they have left.
    pub answers: u64,
    /// Lookups of a path that cost no system call, because its file was open and had been looked at within the second.
    pub cache_hits: u64,
    /// Lookups that went to the file system.
    pub cache_misses: u64,
    /// Files that are kept for later requests.
    pub cached_files: usize,
    /// Bytes of those that are kept in memory.
    pub cached_bytes: usize,
}

impl AddAssign for ServerStats {
    fn add_assign(&mut self, other: ServerStats) {
        self.accepted += other.accepted;
        self.turned_away += other.turned_away;
        self.connections += other.connections;
        self.answers += other.answers;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.cached_files += other.cached_files;
        self.cached_bytes += other.cached_bytes;
    }
}
