//! The verbs of rate limits: those of one bufferevent, and groups.

use super::EventBase;
use crate::bufferevent::{BuffereventId, Direction, RateLimitGroup, RateLimitGroupId, TokenBucket};
use crate::error::Result;

/// Limits of one bufferevent.
impl<C> EventBase<C> {
    /// Limits how fast a bufferevent reads and writes, or, with `None`, no longer. Its buckets begin with one tick's
    /// worth; those that it has already keep what they hold, as far as the new burst has room. Every byte counts,
    /// whatever it is stored in. What may pass now passes before the loop waits.
    ///
    /// While a limit suspends a direction, the connection makes no system call, and its timeouts do not count. One that
    /// has nothing to move has no timer, however many ticks pass.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    /// use zerovent::bufferevent::{Options, TokenBucket};
    ///
    /// let mut base = EventBase::new()?;
    /// let id = base.new_socket(None, &Options::new())?;
    /// let slow = TokenBucket::new(100, 200, 100, 200, Duration::from_secs(1))?;
    /// base.set_rate_limit(id, Some(&slow))?;
    /// assert_eq!(base.max_to_write(id)?, 100);
    ///
    /// base.decrement_write_limit(id, 150)?; // sent by other means
    /// assert_eq!(base.write_limit(id)?, Some(-50));
    /// assert_eq!(base.max_to_write(id)?, 0);
    ///
    /// base.set_rate_limit(id, None)?;
    /// assert_eq!(base.write_limit(id)?, None);
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "bufferevent_set_rate_limit")]
    pub fn set_rate_limit(&mut self, id: BuffereventId, bucket: Option<&TokenBucket>) -> Result<()> {
        self.bufferevents.set_rate_limit(id, bucket, self.reactor.now())
    }

    /// What is in the bufferevent's own read bucket, in bytes, less than 0 after more was taken by hand than there was; `None`
    /// without a limit of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_get_read_limit")]
    pub fn read_limit(&mut self, id: BuffereventId) -> Result<Option<isize>> {
        self.bufferevents.tokens(id, Direction::Read, self.reactor.now())
    }

    /// What is in the bufferevent's own write bucket, in bytes, less than 0 after more was taken by hand than there was;
    /// `None` without a limit of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_get_write_limit")]
    pub fn write_limit(&mut self, id: BuffereventId) -> Result<Option<isize>> {
        self.bufferevents.tokens(id, Direction::Write, self.reactor.now())
    }

    /// How many bytes the bufferevent would read in one go now: the least of what a turn may read, its own bucket, and its
    /// share of its group's.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// As the book says, what a turn may read binds too; in libevent a limit of its own replaces it. The group's bucket
    /// is divided by those who have something to move, not by all members.
    #[doc(alias = "bufferevent_get_max_to_read")]
    pub fn max_to_read(&mut self, id: BuffereventId) -> Result<usize> {
        self.bufferevents.max_to_move(id, Direction::Read, self.reactor.now())
    }

    /// How many bytes the bufferevent would write in one go now; see [`max_to_read`](Self::max_to_read).
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_get_max_to_write")]
    pub fn max_to_write(&mut self, id: BuffereventId) -> Result<usize> {
        self.bufferevents.max_to_move(id, Direction::Write, self.reactor.now())
    }

    /// Takes `bytes` out of the bufferevent's own read bucket, which may become less than empty; a negative number puts
    /// bytes in.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) without a limit of its own, [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// libevent crashes without a limit.
    #[doc(alias = "bufferevent_decrement_read_limit")]
    pub fn decrement_read_limit(&mut self, id: BuffereventId, bytes: isize) -> Result<()> {
        self.bufferevents.take_tokens(id, Direction::Read, bytes, self.reactor.now())
    }

    /// Takes `bytes` out of the bufferevent's own write bucket, which may become less than empty; a negative number puts
    /// bytes in.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) without a limit of its own, [`Error::Stale`](crate::Error::Stale).
    ///
    /// # Differences from libevent
    ///
    /// libevent crashes without a limit.
    #[doc(alias = "bufferevent_decrement_write_limit")]
    pub fn decrement_write_limit(&mut self, id: BuffereventId, bytes: isize) -> Result<()> {
        self.bufferevents.take_tokens(id, Direction::Write, bytes, self.reactor.now())
    }
}

/// Groups.
impl<C> EventBase<C> {
    /// Makes a group whose members share one pair of buckets, which begin with one tick's worth.
    ///
    /// # Errors
    ///
    /// None today; a limit on the number of slots may come.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerovent::EventBase;
    /// use zerovent::bufferevent::{Options, TokenBucket};
    ///
    /// let mut base = EventBase::new()?;
    /// let bucket = TokenBucket::new(1000, 1000, 1000, 1000, Duration::from_millis(10))?;
    /// let group = base.new_rate_limit_group(&bucket)?;
    /// for _ in 0..10 {
    ///     let id = base.new_socket(None, &Options::new())?;
    ///     base.add_to_rate_limit_group(id, group)?;
    /// }
    /// assert_eq!(base.rate_limit_group(group)?.totals(), (0, 0));
    /// base.free_rate_limit_group(group)?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// A group has a timer only while a member waits for it, and does not keep the loop running by itself.
    #[doc(alias = "bufferevent_rate_limit_group_new")]
    pub fn new_rate_limit_group(&mut self, bucket: &TokenBucket) -> Result<RateLimitGroupId> {
        self.bufferevents.new_group(&mut self.reactor, bucket)
    }

    /// The group itself. Whatever is changed through it takes effect before the loop waits.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) once it has been freed.
    pub fn rate_limit_group(&mut self, group: RateLimitGroupId) -> Result<&mut RateLimitGroup> {
        self.bufferevents.group(group, self.reactor.now())
    }

    /// Gives a group other rates. Its buckets keep what they hold, as far as the new burst has room.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_rate_limit_group_set_cfg")]
    pub fn set_group_limit(&mut self, group: RateLimitGroupId, bucket: &TokenBucket) -> Result<()> {
        self.bufferevents.set_group_limit(group, bucket, self.reactor.now())
    }

    /// Frees a group. Its members leave it first, and go on without it.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) if it has been freed before.
    ///
    /// # Differences from libevent
    ///
    /// libevent aborts when a group is freed that has members.
    #[doc(alias = "bufferevent_rate_limit_group_free")]
    pub fn free_rate_limit_group(&mut self, group: RateLimitGroupId) -> Result<()> {
        self.bufferevents.free_group(&mut self.reactor, group)
    }

    /// Makes a bufferevent a member of a group; it leaves the one it was in. It may have a limit of its own as well:
    /// the lower one applies.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale) if either has been freed.
    #[doc(alias = "bufferevent_add_to_rate_limit_group")]
    pub fn add_to_rate_limit_group(&mut self, id: BuffereventId, group: RateLimitGroupId) -> Result<()> {
        self.bufferevents.add_to_group(id, group)
    }

    /// Takes a bufferevent out of its group, if it is in one.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale).
    #[doc(alias = "bufferevent_remove_from_rate_limit_group")]
    pub fn remove_from_rate_limit_group(&mut self, id: BuffereventId) -> Result<()> {
        self.bufferevents.remove_from_group(id)
    }
}
