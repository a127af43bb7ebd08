//! The server: a listener, a bufferevent a connection, and one timer for all deadlines. It carries bytes
//! between the engine and the state machines of `connection`, and decides when a connection has had its time.
//!
//! ```text
//!   listener --accept--> Table --read callback--> Connection::advance(input, output) --> Progress
//!                          ^                                                                |
//!                          +--- queue and deadline, or close -------------------------------+
//! ```
//!
//! Everything is reached from the callbacks' closures through one `Rc`, and borrowed for the length of one
//! callback: the engine calls nobody while it is used, so the borrow cannot meet itself. Handlers are called, and
//! their answers taken in, when that borrow has ended (`dispatch`).

mod deadlines;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use super::Status;
use super::census::Census;
use super::connection::Progress;
use super::dispatch::Dispatch;
use super::files::StaticFiles;
use super::journal::{Journal, Served};
use super::lanes::Ticketed;
use super::options::ServerOptions;
use super::parting::Parting;
use super::patience::ASK_AGAIN_NS;
use super::responder::Addressed;
use super::routes::{Handler, Routes};
use super::site::Site;
use super::stats::ServerStats;
use super::table::{Place, Table, Waiting};
use crate::bufferevent::{BevEvents, BuffereventId, Options};
use crate::event_base::{EventId, Interest, What};
use crate::listener::{ListenOptions, ListenerId};
use crate::util::Address;
use crate::{Error, EventBase, Result, sys};

/// How many connections are looked at for one that can be closed to free its descriptor.
const RECLAIM_SEARCH: usize = 64;

/// A running server of files, and of whatever its handlers answer.
///
/// The server belongs to the loop, and goes on when this handle is dropped; it ends with
/// [`shutdown`](Self::shutdown) or with its base. One server runs on one loop; for more threads, give each a
/// base and a server and let them share a port ([`ServerOptions::reuse_port`]).
///
/// # Examples
/// ```
/// use zerovent::EventBase;
/// use zerovent::http::{Server, ServerOptions, StaticFiles};
///
/// let mut base = EventBase::new()?;
/// let files = StaticFiles::new(".")?;
/// let server = Server::bind(&mut base, "127.0.0.1:0".parse()?, ServerOptions::new(), files)?;
/// println!("listening on {}", server.local_addr());
/// server.shutdown(&mut base)?;
/// base.dispatch()?; // returns when the last connection is done
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Server {
    core: Rc<Core>,
    local_addr: SocketAddr,
}

/// What the handle and the callbacks share.
pub(crate) struct Core {
    state: RefCell<State>,
    connections: Cell<usize>,
}

/// What only the callbacks know: the handlers, which belong to one kind of base.
struct Shared<C> {
    core: Rc<Core>,
    /// Nothing while there are no handlers.
    dispatch: Option<Dispatch<C>>,
}

pub(crate) struct State {
    site: Site,
    table: Table,
    census: Census,
    parting: Parting,
    /// What handlers are to be called for, and on whose behalf.
    jobs: Vec<(BuffereventId, Ticketed)>,
    /// Fires when a letter has been posted.
    post: Option<EventId>,
    timer: Option<EventId>,
    listener: Option<ListenerId>,
    /// When the timer fires; `u64::MAX` while it is not pending.
    armed_ns: u64,
    /// When the file cache is looked through next; `u64::MAX` while it is empty.
    sweep_ns: u64,
    /// When a server that is being shut down gives up what is in flight; `u64::MAX` for never.
    drained_by_ns: u64,
    accepted: u64,
    turned_away: u64,
}

impl Server {
    /// Listens on `address` and serves `routes`, or [`StaticFiles`](super::StaticFiles) alone, to whoever connects,
    /// for as long as `base` runs.
    ///
    /// # Errors
    /// [`Error::Io`] when the address is in use or not this machine's, and when there is no memory or
    /// descriptor.
    #[doc(alias = "evhttp_bind_socket")]
    pub fn bind<C: 'static>(
        base: &mut EventBase<C>,
        address: SocketAddr,
        options: ServerOptions,
        routes: impl Into<Routes<C>>,
    ) -> Result<Server> {
        let listen_options = ListenOptions::new().reuse_port(options.reuse_port);
        let (map, handlers, files) = routes.into().into_parts();
        let core = Rc::new(Core::new(Site::new(files, map, options)));
        let listener = base.listen(address, &listen_options, |_, _, _, _| {})?;
        let shared = match Shared::start(base, &core, handlers) {
            Ok(shared) => Rc::new(shared),
            Err(error) => {
                core.state.borrow_mut().end(base);
                base.free_listener(listener)?;
                return Err(error);
            }
        };
        base.set_accept_callback(listener, on_accept(&shared))?;
        base.set_listener_error_callback(listener, on_accept_error(&shared))?;
        let timer = base.new_timer(on_timer(&shared))?;
        let local_addr = base.listener(listener)?.address().as_inet().unwrap_or(address);
        let mut state = core.state.borrow_mut();
        (state.listener, state.timer) = (Some(listener), Some(timer));
        drop(state);
        Ok(Server { core, local_addr })
    }

    /// Where the server listens; says which port it is when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections are open, not counting those that have had their last answer and are being
    /// closed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.core.connections.get()
    }

    /// Calls `observer` for each request when the last byte of its answer has been handed to the kernel, or when its
    /// connection has ended before that: the place for an access log. Connections that are there already are left
    /// out. Without an observer nothing of this costs anything.
    ///
    /// It runs inside the server and must not use this handle, but for [`connections`](Self::connections).
    ///
    /// # Panics
    /// When called by the observer.
    ///
    /// # Examples
    /// ```
    /// # use zerovent::EventBase;
    /// # use zerovent::http::{Server, ServerOptions, StaticFiles};
    /// # let mut base = EventBase::new()?;
    /// # let files = StaticFiles::new(".")?;
    /// let server = Server::bind(&mut base, "127.0.0.1:0".parse()?, ServerOptions::new(), files)?;
    /// server.on_served(|served| {
    ///     let code = served.status.map_or(499, |status| status.code());
    ///     println!("{} {:?} {code} {} {:?}", served.method, served.target, served.bytes, served.duration);
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_served(&self, observer: impl FnMut(&Served<'_>) + 'static) {
        self.core.state.borrow_mut().site.journal = Some(Journal::new(Box::new(observer)));
    }

    /// What the server has done so far, and what it has.
    ///
    /// # Panics
    /// When called by an observer.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.core.state.borrow().stats()
    }

    /// Ends the server: new connections are refused, idle ones are closed, and what is in flight is finished, for as
    /// long as [`ServerOptions::drain_timeout`] allows.
    /// When the last connection is done, the server leaves nothing in the base; a loop with nothing else to
    /// do then returns.
    ///
    /// # Errors
    /// [`Error::Stale`] when `base` is not the one that the server was bound to and knows no such listener. A
    /// second call does nothing.
    pub fn shutdown<C: 'static>(&self, base: &mut EventBase<C>) -> Result<()> {
        let mut state = self.core.state.borrow_mut();
        let Some(listener) = state.listener else { return Ok(()) };
        base.free_listener(listener)?;
        state.listener = None;
        state.site.draining = true;
        state.site.now_ns = sys::clock::now_ns();
        state.drained_by_ns = state.after(state.site.options.drain_timeout);
        // The idle are closed in the next turn, after requests that have already arrived have been read.
        state.arm(base, 0);
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Server");
        out.field("local_addr", &self.local_addr).field("connections", &self.connections()).finish()
    }
}

// The callbacks. Each closure holds the `Rc` and nothing else: eight bytes.

fn on_accept<C: 'static>(
    shared: &Rc<Shared<C>>,
) -> impl FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, socket, address| {
        let accepted = shared.run(base, |state, base| state.accept(&shared, base, socket, &address));
        if let Err(error) = accepted {
            log::warn!("a connection was dropped: {error}");
        }
    }
}

fn on_accept_error<C: 'static>(
    shared: &Rc<Shared<C>>,
) -> impl FnMut(&mut EventBase<C>, ListenerId, &io::Error) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, error| {
        log::warn!("connections wait to be accepted: {error}");
        shared.run(base, State::give_up_descriptors);
    }
}

fn on_timer<C: 'static>(shared: &Rc<Shared<C>>) -> impl FnMut(&mut EventBase<C>, EventId, What) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, _| shared.run(base, State::tick)
}

impl<C: 'static> Shared<C> {
    fn start(base: &mut EventBase<C>, core: &Rc<Core>, handlers: Vec<Handler<C>>) -> Result<Shared<C>> {
        let dispatch = if handlers.is_empty() { None } else { Some(Dispatch::start(base, core, handlers)?) };
        Ok(Shared { core: Rc::clone(core), dispatch })
    }

    /// Does `work`, and calls the handlers that it made due.
    fn run<T>(&self, base: &mut EventBase<C>, work: impl FnOnce(&mut State, &mut EventBase<C>) -> T) -> T {
        let result = self.core.run(base, work);
        if let Some(dispatch) = &self.dispatch {
            dispatch.work_off(base, &self.core);
        }
        result
    }
}

impl Core {
    fn new(site: Site) -> Core {
        let census = Census::new(site.options.connections_each_max);
        let state = State {
            site,
            table: Table::new(),
            census,
            parting: Parting::default(),
            jobs: Vec::new(),
            post: None,
            timer: None,
            listener: None,
            armed_ns: u64::MAX,
            sweep_ns: u64::MAX,
            drained_by_ns: u64::MAX,
            accepted: 0,
            turned_away: 0,
        };
        Core { state: RefCell::new(state), connections: Cell::new(0) }
    }

    /// Does `work` at the current time, and afterwards what any work can have made necessary.
    fn run<C: 'static, T>(
        &self,
        base: &mut EventBase<C>,
        work: impl FnOnce(&mut State, &mut EventBase<C>) -> T,
    ) -> T {
        let mut state = self.state.borrow_mut();
        state.site.now_ns = sys::clock::now_ns();
        let now_ns = state.site.now_ns;
        state.site.clock.refresh(now_ns);
        let result = work(&mut state, base);
        state.finish_turn(base);
        self.connections.set(state.table.len());
        result
    }

    /// The event that fires when a letter has been posted; it is freed when the server ends.
    pub(crate) fn set_post(&self, post: EventId) {
        self.state.borrow_mut().post = Some(post);
    }

    /// What handlers are to be called for.
    pub(crate) fn take_jobs(&self) -> Vec<(BuffereventId, Ticketed)> {
        std::mem::take(&mut self.state.borrow_mut().jobs)
    }

    /// Takes in what was answered.
    pub(crate) fn deliver<C: 'static>(
        &self,
        base: &mut EventBase<C>,
        letters: impl IntoIterator<Item = Addressed>,
    ) {
        self.run(base, |state, base| letters.into_iter().for_each(|letter| state.deliver(base, letter)));
    }
}

/// Connections come, act, and go.
impl State {
    fn accept<C: 'static>(
        &mut self,
        shared: &Rc<Shared<C>>,
        base: &mut EventBase<C>,
        socket: OwnedFd,
        address: &Address,
    ) -> Result<()> {
        let peer = address.as_inet();
        let address = peer.map(|peer| peer.ip());
        if !self.admits(base, address) || !self.has_place(base) {
            log::debug!("a connection too many is closed");
            self.turned_away += 1;
            return Ok(());
        }
        let id = base.new_socket(Some(socket), &Options::new())?;
        let deadline_ns = self.after(self.site.options.header_timeout);
        let index = self.table.insert(id, deadline_ns);
        if let Some(address) = address {
            self.census.enter(index, address);
        }
        if let Some(journal) = &mut self.site.journal {
            journal.open(index, peer);
        }
        self.accepted += 1;
        let installed = self.install(shared, base, index);
        if installed.is_err() {
            self.close(base, index);
        }
        installed
    }

    /// Whether an address may have one more connection.
    fn admits<C: 'static>(&mut self, base: &EventBase<C>, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return true };
        self.parting.forget_first(base, &mut self.census);
        if !self.census.admits(address) {
            self.parting.forget_gone(base, &mut self.census);
        }
        self.census.admits(address)
    }

    /// Whether there may be one more connection, perhaps in place of one that leaves, or of an idle one.
    fn has_place<C: 'static>(&mut self, base: &mut EventBase<C>) -> bool {
        let max = self.site.options.connections_max;
        if self.table.len() + self.parting.len() >= max {
            self.parting.forget_gone(base, &mut self.census);
        }
        self.table.len() + self.parting.len() < max
            || self.parting.end_first(base, &mut self.census)
            || self.reclaim(base, u32::MAX)
    }

    fn install<C: 'static>(
        &mut self,
        shared: &Rc<Shared<C>>,
        base: &mut EventBase<C>,
        index: u32,
    ) -> Result<()> {
        let id = self.table.place(index).bufferevent;
        let on_read = Rc::clone(shared);
        base.set_read_callback(id, move |base, id| {
            on_read.run(base, |state, base| state.advance(base, id.0.index()));
        })?;
        let on_write = Rc::clone(shared);
        base.set_write_callback(id, move |base, id| {
            on_write.run(base, |state, base| state.drained(base, id.0.index()));
        })?;
        let on_event = Rc::clone(shared);
        base.set_event_callback(id, move |base, id, events| {
            on_event.run(base, |state, base| state.event(base, id.0.index(), events));
        })?;
        let bufferevent = base.bufferevent(id)?;
        bufferevent.set_timeouts(None, Some(self.site.options.write_timeout));
        bufferevent.enable(Interest::READ | Interest::WRITE);
        match &self.site.options.rate_limit {
            Some(bucket) => base.set_rate_limit(id, Some(bucket)),
            None => Ok(()),
        }
    }

    /// Answers what has arrived on a connection, and queues it for what it waits for now.
    fn advance<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        loop {
            let State { site, table, .. } = self;
            let place = table.place(index);
            let Ok(bufferevent) = base.bufferevent(place.bufferevent) else {
                return self.forget(index);
            };
            let (input, output) = bufferevent.buffers();
            let before = output.len();
            if before > 0 && place.pace.is_missed(&site.options, site.now_ns) {
                return self.give_up_slow(base, index);
            }
            site.enter(index, before);
            let mut progress = place.connection.advance(input, output, site);
            if matches!(progress, Ok(Progress::Partial)) && place.peer_closed {
                progress = place.connection.end_input(output, site);
            }
            site.leave(output.len());
            let is_drained = output.is_empty();
            place.pace.queue(before, output.len() - before, &site.options, site.now_ns);
            match progress {
                // What cannot be answered yet stays in the kernel, so that the input is bounded by one read.
                Ok(Progress::Full | Progress::Starved | Progress::Restless | Progress::Held) => {
                    bufferevent.disable(Interest::READ)
                }
                _ => bufferevent.enable(Interest::READ),
            }
            self.collect_jobs(index);
            match progress {
                Ok(Progress::Starved) if self.reclaim(base, index) => {}
                Ok(progress) => return self.follow(base, index, progress, is_drained),
                Err(error) => {
                    log::warn!("a connection is closed: {error}");
                    return self.close(base, index);
                }
            }
        }
    }

    /// Acts on how far a connection got.
    fn follow<C: 'static>(
        &mut self,
        base: &mut EventBase<C>,
        index: u32,
        progress: Progress,
        is_drained: bool,
    ) {
        let place = self.table.place(index);
        place.progress = progress;
        let completed = place.connection.take_completed();
        let is_over = match progress {
            Progress::Closing => true,
            Progress::Idle => place.peer_closed || self.site.draining,
            Progress::Partial | Progress::Full | Progress::Starved => false,
            Progress::Restless | Progress::Owing | Progress::Held => false,
        };
        place.leaving = is_over;
        if is_over && is_drained {
            return self.part(base, index);
        }
        let waiting = match progress {
            Progress::Partial if place.connection.is_in_body() => Waiting::Body,
            Progress::Partial => Waiting::Request,
            Progress::Starved => Waiting::Descriptor,
            Progress::Restless => Waiting::Quiet,
            _ => Waiting::Idle,
        };
        let goes_on_waiting = match waiting {
            Waiting::Request | Waiting::Body => !completed, // the time is absolute
            Waiting::Descriptor => true,
            Waiting::Quiet | Waiting::Idle => false,
        };
        if !goes_on_waiting || self.table.waiting(index) != waiting {
            self.wait(index, waiting);
        }
    }

    /// Takes note of the calls that a connection has made necessary.
    fn collect_jobs(&mut self, index: u32) {
        if !self.site.jobs.is_empty() {
            let id = self.table.place(index).bufferevent;
            self.jobs.extend(self.site.jobs.drain(..).map(|job| (id, job)));
        }
    }

    /// Hands a letter to the connection that it is for, if that is still there.
    fn deliver<C: 'static>(&mut self, base: &mut EventBase<C>, letter: Addressed) {
        let Some(index) = self.table.find(letter.connection) else { return };
        let State { site, table, .. } = self;
        let Ok(bufferevent) = base.bufferevent(letter.connection) else { return self.forget(index) };
        let Place { connection, pace, .. } = table.place(index);
        let output = bufferevent.output();
        let before = output.len();
        site.enter(index, before);
        let delivered = connection.deliver(letter.ticket, letter.letter, output, site);
        site.leave(output.len());
        match delivered {
            Ok(()) => {
                pace.queue(before, output.len() - before, &site.options, site.now_ns);
                self.advance(base, index);
            }
            Err(error) => {
                log::warn!("a connection is closed: {error}");
                self.close(base, index);
            }
        }
    }

    fn wait(&mut self, index: u32, waiting: Waiting) {
        let options = &self.site.options;
        let timeout = match waiting {
            Waiting::Request | Waiting::Descriptor => options.header_timeout,
            Waiting::Body => options.body_timeout,
            Waiting::Quiet => Duration::from_nanos(ASK_AGAIN_NS),
            Waiting::Idle => options.idle_timeout,
        };
        self.table.wait(index, waiting, self.after(timeout));
    }

    /// Everything that was queued for a connection has been sent.
    fn drained<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        self.account(base, index);
        let place = self.table.place(index);
        let was_last = self.site.draining && place.progress == Progress::Idle;
        if place.leaving || was_last {
            self.part(base, index);
        } else if place.progress == Progress::Full {
            self.advance(base, index);
        } else if let Ok(bufferevent) = base.bufferevent(place.bufferevent) {
            place.connection.drained(bufferevent.output(), &mut self.site);
            self.collect_jobs(index);
        }
    }

    fn event<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32, events: BevEvents) {
        // One call can tell of an end and of an error: the end of what arrives is no reason to go on sending
        // in vain.
        if events.intersects(BevEvents::ERROR | BevEvents::TIMEOUT) {
            self.report(base, index);
            return match events.contains(BevEvents::TIMEOUT) {
                true => self.reset(base, index),
                false => self.close(base, index),
            };
        }
        if events.contains(BevEvents::EOF) {
            let place = self.table.place(index);
            place.peer_closed = true;
            if !place.leaving && !matches!(place.progress, Progress::Full | Progress::Held) {
                self.advance(base, index);
            }
        }
    }

    /// A file that shrank or changed is the operator's business; a client that went away is nobody's.
    fn report<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        let id = self.table.place(index).bufferevent;
        match base.bufferevent(id).ok().and_then(|bufferevent| bufferevent.last_error()) {
            Some(Error::ShortFile) => {
                log::warn!("a connection is closed: its file became shorter while it was sent");
            }
            Some(Error::FileChanged) => {
                log::warn!("a connection is closed: its file was written to while it was sent");
            }
            Some(error) => log::debug!("a connection is closed: {error}"),
            None => log::debug!("a connection is closed: the client stopped reading"),
        }
    }

    /// Says goodbye: the last answer is out. The client gets some time to read it before the connection is
    /// gone.
    fn part<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        if self.table.place(index).peer_closed {
            return self.close(base, index);
        }
        self.account(base, index);
        let id = self.table.place(index).bufferevent;
        log_stale(base.free_after_flush(id, self.site.options.linger));
        if self.site.options.limits_connections() {
            self.parting.add(id, self.census.depart(index));
        }
        self.forget(index);
    }

    fn close<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        self.account(base, index);
        log_stale(base.free_bufferevent(self.table.place(index).bufferevent));
        self.forget(index);
    }

    fn forget(&mut self, index: u32) {
        if let Some(journal) = &mut self.site.journal {
            journal.close(index, self.site.now_ns);
        }
        self.census.leave(index);
        self.table.remove(index);
    }
}

/// Counting.
impl State {
    /// Takes note of what has left of a connection's answers, if anybody wants to know.
    fn account<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        if self.site.journal.is_some()
            && let Ok(bufferevent) = base.bufferevent(self.table.place(index).bufferevent)
        {
            self.site.enter(index, bufferevent.output().len());
        }
    }

    fn stats(&self) -> ServerStats {
        let mut stats = ServerStats {
            accepted: self.accepted,
            turned_away: self.turned_away,
            connections: self.table.len(),
            answers: self.site.answers,
            ..ServerStats::default()
        };
        if let Some(files) = &self.site.files {
            files.count(&mut stats);
        }
        stats
    }
}

/// A connection whose bufferevent is gone was freed behind the server's back; there is nothing left to do for
/// it.
fn log_stale(freed: Result<()>) {
    if let Err(error) = freed {
        log::debug!("a connection was already closed: {error}");
    }
}

/// When descriptors run out.
impl State {
    /// Closes the connection that has been idle longest, other than `index`, so that a file can be opened for
    /// it.
    fn reclaim<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) -> bool {
        let mut at = self.table.front(Waiting::Idle);
        for _ in 0..RECLAIM_SEARCH {
            let Some(other) = at else { return false };
            at = self.table.after(Waiting::Idle, other);
            if other != index && self.is_quiet(base, other) {
                self.close(base, other);
                return true;
            }
        }
        false
    }

    /// The listener cannot accept: makes room by closing files that only wait to be asked for again.
    fn give_up_descriptors<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.with_files(StaticFiles::release_all);
        self.reclaim(base, u32::MAX);
    }

    /// Moves on those who wait for a descriptor, first come first served, until there is none.
    fn retry_starved<C: 'static>(&mut self, base: &mut EventBase<C>) {
        while let Some(index) = self.table.front(Waiting::Descriptor) {
            self.advance(base, index);
            if self.table.front(Waiting::Descriptor) == Some(index) {
                return;
            }
        }
        self.with_files(StaticFiles::restore_spare);
    }
}
