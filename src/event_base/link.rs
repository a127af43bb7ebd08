//! The verbs that make pairs and filters.

use super::EventBase;
use super::bufferevent::Callbacks;
use crate::bufferevent::{BuffereventId, Filter, Options};
use crate::error::Result;

/// Making pairs and filters.
impl<C> EventBase<C> {
    /// Makes two bufferevents that are each other's transport: what is written to one arrives at the other, without a
    /// socket and without a copy.
    ///
    /// Bytes cross when the one has writing enabled and the other reading, which is not from the start, and below its high mark. Freeing
    /// one leaves the other without a partner: nothing happens to it any more, unless [`Options::eof_on_free`] asks for
    /// an end of the stream. [`free_after_flush`](Self::free_after_flush) gives the partner all that is still in the
    /// output, and the end, at once.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) if the base has no such priority.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::bufferevent::Options;
    /// use zerovent::event_base::Interest;
    ///
    /// let mut base = zerovent::EventBase::with_context(Vec::new())?;
    /// let (near, far) = base.new_pair(&Options::new())?;
    /// base.set_read_callback(far, |base, id| {
    ///     let mut bytes = [0; 16];
    ///     let count = base.bufferevent(id).unwrap().read(&mut bytes).unwrap();
    ///     base.context_mut().extend_from_slice(&bytes[..count]);
    /// })?;
    /// base.bufferevent(far)?.enable(Interest::READ);
    /// base.bufferevent(near)?.write(b"hello")?;
    /// base.dispatch()?;
    /// assert_eq!(base.context(), b"hello");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// There are no read callbacks without bytes. By itself a pair does not keep the loop running.
    #[doc(alias = "bufferevent_pair_new")]
    pub fn new_pair(&mut self, options: &Options) -> Result<(BuffereventId, BuffereventId)> {
        let (one, other) = self.bufferevents.insert_pair(&mut self.reactor, options)?;
        self.make_place(one);
        self.make_place(other);
        Ok((one, other))
    }

    /// Makes a filter over `underlying`, which may be of any kind, a filter too: what arrives there passes through `input`, and
    /// what is written to the filter passes through `output` on its way there. `None` passes bytes on without copying
    /// them.
    ///
    /// Reading and writing are enabled on `underlying`, and reading there is suspended whenever the filter does not want
    /// any. Its callbacks are removed, and it has none until the filter is freed; what happens to it is told to the
    /// filter's. Its write high mark is how much the filter puts into its output. With [`Options::close_on_free`] it is
    /// freed together with the filter.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale), [`Error::Invalid`](crate::Error::Invalid) if it lies under a filter already, and as
    /// [`new_socket`](Self::new_socket).
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::bufferevent::{FilterResult, Options};
    /// use zerovent::event_base::Interest;
    ///
    /// let mut base = zerovent::EventBase::new()?;
    /// let (near, far) = base.new_pair(&Options::new())?;
    /// let shout = base.new_filter(
    ///     near,
    ///     None,
    ///     Some(Box::new(|from, to, _limit, _mode| {
    ///         let text = from.remove_bytes(from.len()).unwrap();
    ///         to.add(&text.to_ascii_uppercase()).unwrap();
    ///         FilterResult::Ok
    ///     })),
    ///     &Options::new(),
    /// )?;
    /// base.bufferevent(far)?.enable(Interest::READ);
    /// base.bufferevent(shout)?.write(b"hello")?;
    /// base.dispatch()?;
    /// assert_eq!(base.bufferevent(far)?.input().pullup(5)?, b"HELLO");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// Bytes never stay behind at a high mark or after enabling again. What a closure answers with
    /// [`FilterResult::Error`](crate::bufferevent::FilterResult::Error) reaches the event callback. At the end of the stream the
    /// input closure is called with [`FlushMode::Finished`](crate::bufferevent::FlushMode::Finished) before the end is told.
    #[doc(alias = "bufferevent_filter_new")]
    pub fn new_filter(
        &mut self,
        underlying: BuffereventId,
        input: Option<Filter>,
        output: Option<Filter>,
        options: &Options,
    ) -> Result<BuffereventId> {
        let filters = (input, output);
        let id = self.bufferevents.insert_filter(&mut self.reactor, underlying, filters, options)?;
        self.make_place(id);
        *self.place(underlying) = Callbacks::default();
        Ok(id)
    }
}
