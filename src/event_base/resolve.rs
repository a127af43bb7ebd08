//! Looking up host names: who asked for what, and where the answers go.

use std::fmt;
use std::net::SocketAddr;

use super::EventBase;
use super::remote::Message;
use crate::bufferevent::BuffereventId;
use crate::error::{Error, ResolveError, Result};
use crate::reactor::Arena;
use crate::resolve::{self, Answer, Family, Question, ResolveId};

type Callback<C> = Box<dyn FnOnce(&mut EventBase<C>, Result<Vec<SocketAddr>, ResolveError>)>;

/// Who waits for an answer.
pub(super) enum Asker<C> {
    Callback(Callback<C>),
    Bufferevent(BuffereventId),
}

impl<C> fmt::Debug for Asker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

pub(super) type Askers<C> = Arena<Asker<C>>;

impl<C> EventBase<C> {
    /// Looks the addresses of `host` up, without blocking the loop, and calls `callback` with them, each with `port`, in the
    /// order in which they should be tried. It is called by the loop, also when `host` is an address and the answer
    /// known at once. A question that waits for its answer keeps the loop running.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `host` contains a NUL, [`Error::Io`] if no thread can be started. That there is no such
    /// host is told to the callback.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut base = zerovent::EventBase::new()?;
    /// base.resolve("127.0.0.1", 80, |_, answer| {
    ///     assert_eq!(answer.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    /// })?;
    /// base.dispatch()?;
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "evutil_getaddrinfo")]
    pub fn resolve<F>(&mut self, host: &str, port: u16, callback: F) -> Result<ResolveId>
    where
        F: FnOnce(&mut EventBase<C>, Result<Vec<SocketAddr>, ResolveError>) + 'static,
    {
        self.ask(host, Family::Any, port, Asker::Callback(Box::new(callback)))
    }

    /// Takes a question back: its callback is dropped and never called.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] once it has been answered.
    pub fn cancel_resolve(&mut self, id: ResolveId) -> Result<()> {
        self.askers.remove(id.0).ok_or(Error::Stale)?;
        self.resolver.forget(id);
        Ok(())
    }

    /// Connects to a host by name: its addresses are looked up without blocking the loop, and then tried as
    /// [`connect_any`](Self::connect_any) does. The write timeout bounds the whole. The event callback is told
    /// [`CONNECTED`](crate::bufferevent::BevEvents::CONNECTED) or [`ERROR`](crate::bufferevent::BevEvents::ERROR); after that,
    /// [`dns_error`](crate::bufferevent::Bufferevent::dns_error) says whether it was the name that failed. Freeing the
    /// bufferevent ends all of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for port 0, [`Error::Invalid`] if it has a socket or is connecting or `host` contains a NUL,
    /// [`Error::Io`] if no thread can be started, [`Error::Stale`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{Ipv4Addr, TcpListener};
    /// use zerovent::bufferevent::{BevEvents, Options};
    /// use zerovent::resolve::Family;
    ///
    /// let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    /// let mut base = zerovent::EventBase::new()?;
    /// let id = base.new_socket(None, &Options::new())?;
    /// base.set_event_callback(id, |base, id, events| {
    ///     assert!(events.contains(BevEvents::CONNECTED), "{:?}", base.bufferevent(id).unwrap().last_error());
    /// })?;
    /// base.connect_hostname(id, Family::V4, "localhost", server.local_addr()?.port())?;
    /// base.dispatch()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from libevent
    ///
    /// It never blocks, and tries every address the host has.
    #[doc(alias = "bufferevent_socket_connect_hostname")]
    pub fn connect_hostname(
        &mut self,
        id: BuffereventId,
        family: Family,
        host: &str,
        port: u16,
    ) -> Result<()> {
        if port == 0 {
            return Err(Error::OutOfRange);
        }
        if let Some(Ok(addresses)) = resolve::numeric(host, family, port) {
            return self.connect_any(id, addresses);
        }
        self.bufferevents.begin_dialing(id)?;
        let asked = self.ask(host, family, port, Asker::Bufferevent(id));
        asked.map(drop).inspect_err(|_| self.bufferevents.give_up_dialing(id))
    }

    /// Connects to whichever of several addresses answers first, by RFC 8305: IPv6 and IPv4 take turns, the next one is
    /// tried when one has failed or 250 ms later, and the first connection that stands ends the other attempts. The event
    /// callback hears of it as with [`connect`](Self::connect); an error is that of the last address.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no address or it has a socket or is connecting, [`Error::Stale`].
    pub fn connect_any(
        &mut self,
        id: BuffereventId,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<()> {
        self.bufferevents.connect_any(&mut self.reactor, id, addresses.into_iter().collect())
    }

    fn ask(&mut self, host: &str, family: Family, port: u16, asker: Asker<C>) -> Result<ResolveId> {
        let question = Question::new(host, family, port)?;
        let id = ResolveId(self.askers.insert(asker));
        if let Some(answer) = resolve::numeric(host, family, port) {
            self.inbox.push_back(Message::Resolved(id, answer));
        } else if let Err(error) = self.resolver.ask(id, question) {
            self.askers.remove(id.0);
            return Err(error.into());
        }
        Ok(id)
    }

    /// An answer has come; to a question that was taken back it is nobody's.
    pub(super) fn resolved(&mut self, id: ResolveId, answer: Answer) {
        match self.askers.remove(id.0) {
            Some(Asker::Callback(callback)) => callback(self, answer),
            Some(Asker::Bufferevent(bufferevent)) => {
                self.bufferevents.resolved(&mut self.reactor, bufferevent, answer);
            }
            None => {}
        }
    }

    /// A bufferevent is freed: whatever it waits for need not be looked up any more.
    pub(super) fn forget_question_of(&mut self, id: BuffereventId) {
        let mine = |asker: &Asker<C>| matches!(asker, Asker::Bufferevent(asked) if *asked == id);
        let question = self.askers.iter().find(|(_, asker)| mine(asker)).map(|(id, _)| id);
        if let Some(question) = question {
            // It was found a moment ago.
            let _ = self.cancel_resolve(ResolveId(question));
        }
    }

    /// Whether anybody waits for an answer. A bufferevent that closes by itself may be gone by now.
    pub(super) fn awaits_answers(&self) -> bool {
        self.askers.iter().any(|(_, asker)| match asker {
            Asker::Callback(_) => true,
            Asker::Bufferevent(id) => self.bufferevents.is_alive(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bufferevent::{BevEvents, Options};
    use crate::event_base::Ended;

    const SOON: Duration = Duration::from_millis(20);

    /// A base whose name server is silent, and a bufferevent that waits for it.
    fn waiting() -> (EventBase<Vec<BevEvents>>, BuffereventId) {
        let mut base = EventBase::with_context(Vec::new()).unwrap();
        base.resolver.stall();
        let id = base.new_socket(None, &Options::new()).unwrap();
        base.set_event_callback(id, |base, _, events| base.context_mut().push(events)).unwrap();
        base.connect_hostname(id, Family::Any, "localhost", 80).unwrap();
        (base, id)
    }

    #[test]
    fn a_resolver_slower_than_the_timeout_is_a_timeout() {
        let (mut base, id) = waiting();
        base.bufferevent(id).unwrap().set_timeouts(None, Some(SOON));
        base.loop_exit(Some(SOON * 2)).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Exit, "the question is still open");
        assert_eq!(base.context()[..], [BevEvents::TIMEOUT | BevEvents::WRITING]);
        base.free_bufferevent(id).unwrap();
        assert_eq!(base.resolver.unanswered(), 0, "nobody needs it any more");
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    }

    #[test]
    fn what_closes_by_itself_does_not_wait_for_the_resolver() {
        let (mut base, id) = waiting();
        base.free_after_flush(id, SOON).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
        assert!(base.context().is_empty() && base.bufferevent(id).is_err());
        // The answer comes in the end, and whoever has the place by then does not hear of it.
        let next = base.new_socket(None, &Options::new()).unwrap();
        let question = base.askers.iter().map(|(id, _)| ResolveId(id)).next().unwrap();
        base.resolved(question, Ok(vec!["127.0.0.1:80".parse().unwrap()]));
        assert!(base.bufferevent(next).unwrap().fd().is_none() && base.askers.len() == 0);
    }

    #[test]
    fn a_callback_that_waits_holds_the_loop_until_it_is_taken_back() {
        let mut base = EventBase::new().unwrap();
        base.resolver.stall();
        let id = base.resolve("localhost", 80, |_, _| panic!("nobody answers")).unwrap();
        base.loop_exit(Some(SOON)).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Exit);
        base.cancel_resolve(id).unwrap();
        assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    }
}
