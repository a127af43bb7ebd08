//! What a backend can do. On the lowest floor, because the error of a base that cannot be made names it.

use bitflags::bitflags;

bitflags! {
    /// What a backend can do.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::event_base::{Config, Features};
    /// use zerovent::{Error, EventBase};
    ///
    /// // Edges if at all possible, and else anything but select: the book's example.
    /// let config = Config::new().avoid_method("select");
    /// let insisting = config.clone().require_features(Features::EDGE);
    /// let base = match EventBase::with_config(&insisting, ()) {
    ///     Err(Error::NoBackend(missing)) => {
    ///         assert_eq!(missing, Features::EDGE);
    ///         EventBase::with_config(&config, ())
    ///     }
    ///     made => made,
    /// }?;
    /// assert_ne!(base.method(), "select");
    /// # Ok::<(), Error>(())
    /// ```
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    #[doc(alias = "event_method_feature")]
    pub struct Features: u8 {
        /// It reports changes to those who ask for [`Interest::EDGE`](crate::event_base::Interest::EDGE).
        #[doc(alias = "EV_FEATURE_ET")]
        const EDGE = 0x01;
        /// Watching one more descriptor, one fewer, or one that becomes ready costs the same however many there are.
        #[doc(alias = "EV_FEATURE_O1")]
        const CONSTANT_TIME = 0x02;
        /// It takes any descriptor: regular files and `/dev/null`, which are always ready, as well as sockets and pipes.
        ///
        /// # Differences from libevent
        ///
        /// Every backend does here, epoll too: what epoll itself refuses is known to be always ready.
        #[doc(alias = "EV_FEATURE_FDS")]
        const ANY_DESCRIPTOR = 0x04;
        /// It tells that a peer has shut down its side to those who ask for
        /// [`Interest::CLOSED`](crate::event_base::Interest::CLOSED), whether or not what it sent before has been read.
        #[doc(alias = "EV_FEATURE_EARLY_CLOSE")]
        const EARLY_CLOSE = 0x08;
    }
}
