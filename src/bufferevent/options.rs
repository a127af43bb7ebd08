//! How a bufferevent is made.

/// How a bufferevent is made.
///
/// libevent's options for threads have nothing to do here: a base and its bufferevents belong to one thread at a time and
/// there are no locks, neither around calls (`BEV_OPT_THREADSAFE`) nor around callbacks (`BEV_OPT_UNLOCK_CALLBACKS`). Other threads
/// go through [`Remote`](crate::event_base::Remote), which can write to a bufferevent too.
///
/// # Examples
///
/// ```
/// use zerovent::bufferevent::Options;
///
/// let options = Options::new().deferred(true);
/// ```
#[derive(Debug, Clone, Default)]
#[doc(alias = "bufferevent_options")]
#[doc(alias = "BEV_OPT_THREADSAFE")]
#[doc(alias = "BEV_OPT_UNLOCK_CALLBACKS")]
pub struct Options {
    pub(super) deferred: bool,
    pub(super) priority: Option<u8>,
    pub(super) close_on_free: bool,
    pub(super) eof_on_free: bool,
    pub(super) tell_close: bool,
    pub(super) keep_refused: bool,
}

impl Options {
    /// Immediate callbacks, default priority.
    #[must_use]
    pub fn new() -> Self {
        Options::default()
    }

    /// Makes callbacks from the loop's queue, behind what is queued already, instead of right after the
    /// reading or writing that caused them.
    #[doc(alias = "BEV_OPT_DEFER_CALLBACKS")]
    #[must_use]
    pub fn deferred(mut self, deferred: bool) -> Self {
        self.deferred = deferred;
        self
    }

    /// Frees what lies beneath a filter together with the filter. A socket is always closed with its bufferevent, and
    /// the halves of a pair are always freed one by one.
    #[doc(alias = "BEV_OPT_CLOSE_ON_FREE")]
    #[must_use]
    pub fn close_on_free(mut self, close_on_free: bool) -> Self {
        self.close_on_free = close_on_free;
        self
    }

    /// Reports [`BevEvents::CLOSED`](super::BevEvents::CLOSED) as soon as the kernel knows that the peer has closed, also while nothing is to be read: a
    /// server that computes an answer with reading disabled learns that nobody waits for it. Needs a backend that knows
    /// ([`Features::EARLY_CLOSE`](crate::event_base::Features::EARLY_CLOSE)), and a socket.
    #[must_use]
    pub fn tell_close(mut self, tell_close: bool) -> Self {
        self.tell_close = tell_close;
        self
    }

    /// Keeps a socket on which connecting has failed, instead of closing it at once: whoever made the socket may want to
    /// connect it elsewhere. It can be had back with
    /// [`set_bufferevent_fd`](crate::EventBase::set_bufferevent_fd), and has to be before the bufferevent is connected again.
    #[must_use]
    pub fn keep_refused(mut self, keep: bool) -> Self {
        self.keep_refused = keep;
        self
    }

    /// Tells the partner of half a pair the end of the stream when that half is freed; else it hears nothing.
    #[must_use]
    pub fn eof_on_free(mut self, eof_on_free: bool) -> Self {
        self.eof_on_free = eof_on_free;
        self
    }

    /// The priority of its events and callbacks; the base's default is the middle one.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }
}
