//! Whose time is up: the deadlines of all connections, behind one timer, and what is done about those who miss theirs.

use std::time::Duration;

use socket2::SockRef;

use super::{Progress, State, StaticFiles, Status, Waiting, log_stale};
use crate::EventBase;

/// How long a request that waits for a descriptor is left alone before another try.
const STARVED_RETRY_NS: u64 = 50_000_000;

/// How long an open file is kept without being asked for.
const UNUSED_FILE_NS: u64 = 10_000_000_000;

/// Time.
impl State {
    pub(super) fn after(&self, timeout: Duration) -> u64 {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.site.now_ns.saturating_add(nanoseconds)
    }

    /// The timer fired: some deadlines may have passed.
    pub(super) fn tick<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.armed_ns = u64::MAX;
        let now_ns = self.site.now_ns;
        for waiting in [Waiting::Request, Waiting::Body] {
            while let Some(index) = self.table.due(waiting, now_ns) {
                self.request_timed_out(base, index);
            }
        }
        while let Some(index) = self.table.due(Waiting::Descriptor, now_ns) {
            self.refuse(base, index, Status::ServiceUnavailable);
        }
        while let Some(index) = self.table.due(Waiting::Quiet, now_ns) {
            self.advance(base, index);
        }
        while let Some(index) = self.table.due(Waiting::Idle, now_ns) {
            match self.is_quiet(base, index) {
                true => self.close(base, index),
                false if self.is_too_slow(base, index) => self.give_up_slow(base, index),
                false => self.wait(index, Waiting::Idle), // still sending: the write timeout judges that
            }
        }
        if self.site.draining {
            self.close_quiet(base);
        }
        if self.drained_by_ns <= now_ns {
            self.reset_all(base);
        }
        if self.sweep_ns <= now_ns {
            self.with_files(|files| files.release_unused(now_ns.saturating_sub(UNUSED_FILE_NS)));
            self.sweep_ns = u64::MAX;
        }
    }

    pub(super) fn request_timed_out<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        if self.is_quiet(base, index) || self.table.place(index).connection.is_answered() {
            return self.close(base, index); // there is no question to answer
        }
        self.refuse(base, index, Status::RequestTimeout);
    }

    /// Ends a connection with an answer of its own accord.
    pub(super) fn refuse<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32, status: Status) {
        let State { site, table, .. } = self;
        let place = table.place(index);
        let Ok(bufferevent) = base.bufferevent(place.bufferevent) else { return self.forget(index) };
        let output = bufferevent.output();
        let before = output.len();
        site.enter(index, before);
        let refused = place.connection.refuse(status, output, site);
        site.leave(output.len());
        match refused {
            Ok(()) => {
                place.pace.queue(before, output.len() - before, &site.options, site.now_ns);
                self.advance(base, index);
            }
            Err(_) => self.close(base, index),
        }
    }

    /// Nothing has arrived that is not answered, and nothing is left to send.
    pub(super) fn is_quiet<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) -> bool {
        let place = self.table.place(index);
        let (progress, id) = (place.progress, place.bufferevent);
        progress == Progress::Idle
            && base.bufferevent(id).is_ok_and(|bufferevent| bufferevent.output().is_empty())
    }

    /// Whether a client takes its answers more slowly than it may.
    pub(super) fn is_too_slow<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) -> bool {
        let (pace, id) = (self.table.place(index).pace, self.table.place(index).bufferevent);
        pace.is_missed(&self.site.options, self.site.now_ns)
            && base.bufferevent(id).is_ok_and(|bufferevent| !bufferevent.output().is_empty())
    }

    pub(super) fn give_up_slow<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        log::debug!("a connection is closed: the client takes too little at a time");
        self.reset(base, index);
    }

    /// Closes a connection whose client does not take what it is sent, and takes back what the kernel still holds for it:
    /// that could be megabytes, for as long as the client likes.
    pub(super) fn reset<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        let id = self.table.place(index).bufferevent;
        if let Ok(Some(fd)) = base.bufferevent_fd(id)
            && let Err(error) = SockRef::from(&fd).set_linger(Some(Duration::ZERO))
        {
            log::debug!("a connection cannot be reset: {error}");
        }
        self.close(base, index);
    }

    /// Closes the connections that nothing is happening on.
    pub(super) fn close_quiet<C: 'static>(&mut self, base: &mut EventBase<C>) {
        for waiting in [Waiting::Idle, Waiting::Request] {
            let mut at = self.table.front(waiting);
            while let Some(index) = at {
                at = self.table.after(waiting, index);
                if self.is_quiet(base, index) {
                    self.close(base, index);
                }
            }
        }
    }

    /// Gives up what is still in flight.
    fn reset_all<C: 'static>(&mut self, base: &mut EventBase<C>) {
        for waiting in Waiting::ALL {
            while let Some(index) = self.table.front(waiting) {
                self.reset(base, index);
            }
        }
    }

    /// What is due after every callback: those who wait for a descriptor may go on, and the timer follows the
    /// deadlines.
    pub(super) fn finish_turn<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.retry_starved(base);
        if self.sweep_ns == u64::MAX && self.site.files.as_ref().is_some_and(|files| !files.is_idle()) {
            self.sweep_ns = self.site.now_ns + UNUSED_FILE_NS;
        }
        if self.site.draining && self.table.len() == 0 {
            return self.end(base);
        }
        let mut next_ns = self.table.next_deadline().min(self.sweep_ns).min(self.drained_by_ns);
        if self.table.front(Waiting::Descriptor).is_some() {
            next_ns = next_ns.min(self.site.now_ns + STARVED_RETRY_NS);
        }
        if next_ns < self.armed_ns {
            self.arm(base, next_ns);
        }
    }

    pub(super) fn arm<C: 'static>(&mut self, base: &mut EventBase<C>, at_ns: u64) {
        let Some(timer) = self.timer else { return };
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.site.now_ns));
        match base.add(timer, Some(wait)) {
            Ok(()) => self.armed_ns = at_ns,
            Err(error) => log::error!("the server's timer cannot be set: {error}"),
        }
    }

    /// The last connection is done and no other will come.
    pub(super) fn end<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.with_files(StaticFiles::release_all);
        for event in [self.timer.take(), self.post.take()].into_iter().flatten() {
            log_stale(base.free(event));
        }
    }

    pub(super) fn with_files(&mut self, act: impl FnOnce(&mut StaticFiles)) {
        if let Some(files) = &mut self.site.files {
            act(files);
        }
    }
}
