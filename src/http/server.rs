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
//! callback: the engine calls nobody while it is used, so the borrow cannot meet itself.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use super::Status;
use super::connection::Progress;
use super::files::StaticFiles;
use super::options::ServerOptions;
use super::site::{Served, Site};
use super::table::{Table, Waiting};
use crate::bufferevent::{BevEvents, Options};
use crate::event_base::{EventId, Interest, What};
use crate::listener::{ListenOptions, ListenerId};
use crate::util::Address;
use crate::{Error, EventBase, Result, sys};

/// How long a request that waits for a descriptor is left alone before another try.
const STARVED_RETRY_NS: u64 = 50_000_000;

/// How long an open file is kept without being asked for.
const UNUSED_FILE_NS: u64 = 10_000_000_000;

/// How many connections are looked at for one that can be closed to free its descriptor.
const RECLAIM_SEARCH: usize = 64;

/// A running server of static files.
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
    shared: Rc<Shared>,
    local_addr: SocketAddr,
}

/// What the handle and the callbacks share.
struct Shared {
    state: RefCell<State>,
    connections: Cell<usize>,
}

struct State {
    site: Site,
    table: Table,
    timer: Option<EventId>,
    listener: Option<ListenerId>,
    /// When the timer fires; `u64::MAX` while it is not pending.
    armed_ns: u64,
    /// When the file cache is looked through next; `u64::MAX` while it is empty.
    sweep_ns: u64,
}

impl Server {
    /// Listens on `address` and serves `files` to whoever connects, for as long as `base` runs.
    ///
    /// # Errors
    /// [`Error::Io`] when the address is in use or not this machine's, and when there is no memory or
    /// descriptor.
    pub fn bind<C: 'static>(
        base: &mut EventBase<C>,
        address: SocketAddr,
        options: ServerOptions,
        files: StaticFiles,
    ) -> Result<Server> {
        let listen_options = ListenOptions::new().reuse_port(options.reuse_port);
        let shared = Rc::new(Shared::new(Site::new(files, options)));
        let timer = base.new_timer(on_timer(&shared))?;
        let listening = base.listen(address, &listen_options, on_accept(&shared));
        let listener = listening.inspect_err(|_| log_stale(base.free(timer)))?;
        base.set_listener_error_callback(listener, on_accept_error(&shared))?;
        let local_addr = base.listener(listener)?.address().as_inet().unwrap_or(address);
        let mut state = shared.state.borrow_mut();
        (state.listener, state.timer) = (Some(listener), Some(timer));
        drop(state);
        Ok(Server { shared, local_addr })
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
        self.shared.connections.get()
    }

    /// Calls `observer` for each answer, when it is queued: the place for a log. It runs inside the server
    /// and must not use this handle, but for [`connections`](Self::connections).
    ///
    /// # Panics
    /// When called by the observer.
    pub fn on_served(&self, observer: impl FnMut(&Served<'_>) + 'static) {
        self.shared.state.borrow_mut().site.observer = Some(Box::new(observer));
    }

    /// Ends the server: new connections are refused, idle ones are closed, and what is in flight is finished.
    /// When the last connection is done, the server leaves nothing in the base; a loop with nothing else to
    /// do then returns.
    ///
    /// # Errors
    /// [`Error::Stale`] when `base` is not the one that the server was bound to and knows no such listener. A
    /// second call does nothing.
    pub fn shutdown<C: 'static>(&self, base: &mut EventBase<C>) -> Result<()> {
        let mut state = self.shared.state.borrow_mut();
        let Some(listener) = state.listener else { return Ok(()) };
        base.free_listener(listener)?;
        state.listener = None;
        state.site.draining = true;
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
    shared: &Rc<Shared>,
) -> impl FnMut(&mut EventBase<C>, ListenerId, OwnedFd, Address) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, socket, _| {
        let accepted = shared.run(base, |state, base| state.accept(&shared, base, socket));
        if let Err(error) = accepted {
            log::warn!("a connection was dropped: {error}");
        }
    }
}

fn on_accept_error<C: 'static>(
    shared: &Rc<Shared>,
) -> impl FnMut(&mut EventBase<C>, ListenerId, &io::Error) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, error| {
        log::warn!("connections wait to be accepted: {error}");
        shared.run(base, State::give_up_descriptors);
    }
}

fn on_timer<C: 'static>(shared: &Rc<Shared>) -> impl FnMut(&mut EventBase<C>, EventId, What) + 'static {
    let shared = Rc::clone(shared);
    move |base, _, _| shared.run(base, State::tick)
}

impl Shared {
    fn new(site: Site) -> Shared {
        let state = State {
            site,
            table: Table::new(),
            timer: None,
            listener: None,
            armed_ns: u64::MAX,
            sweep_ns: u64::MAX,
        };
        Shared { state: RefCell::new(state), connections: Cell::new(0) }
    }

    /// Does `work` at the current time, and afterwards what any work can have made necessary.
    fn run<C: 'static, T>(
        &self,
        base: &mut EventBase<C>,
        work: impl FnOnce(&mut State, &mut EventBase<C>) -> T,
    ) -> T {
        let mut state = self.state.borrow_mut();
        state.site.now_ns = sys::clock::now_ns();
        state.site.clock.refresh();
        let result = work(&mut state, base);
        state.finish_turn(base);
        self.connections.set(state.table.len());
        result
    }
}

/// Connections come, act, and go.
impl State {
    fn accept<C: 'static>(
        &mut self,
        shared: &Rc<Shared>,
        base: &mut EventBase<C>,
        socket: OwnedFd,
    ) -> Result<()> {
        let id = base.new_socket(Some(socket), &Options::new())?;
        let deadline_ns = self.after(self.site.options.header_timeout);
        let index = self.table.insert(id, deadline_ns);
        let installed = self.install(shared, base, index);
        if installed.is_err() {
            self.close(base, index);
        }
        installed
    }

    fn install<C: 'static>(
        &mut self,
        shared: &Rc<Shared>,
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
        Ok(())
    }

    /// Answers what has arrived on a connection, and queues it for what it waits for now.
    fn advance<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        loop {
            let State { site, table, .. } = self;
            let place = table.place(index);
            let Ok(bufferevent) = base.bufferevent(place.bufferevent) else {
                return self.table.remove(index);
            };
            let (input, output) = bufferevent.buffers();
            let progress = place.connection.advance(input, output, site);
            let is_drained = output.is_empty();
            match progress {
                // What cannot be answered yet stays in the kernel, so that the input is bounded by one read.
                Ok(Progress::Full | Progress::Starved) => bufferevent.disable(Interest::READ),
                _ => bufferevent.enable(Interest::READ),
            }
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
            Progress::Partial => place.peer_closed,
            Progress::Full | Progress::Starved => false,
        };
        place.leaving = is_over;
        if is_over && is_drained {
            return self.part(base, index);
        }
        match (progress, self.table.waiting(index)) {
            (Progress::Partial, Waiting::Request) if !completed => {} // the time is absolute
            (Progress::Starved, Waiting::Descriptor) => {}
            (Progress::Partial, _) if !is_over => self.wait(index, Waiting::Request),
            (Progress::Starved, _) => self.wait(index, Waiting::Descriptor),
            _ => self.wait(index, Waiting::Idle),
        }
    }

    fn wait(&mut self, index: u32, waiting: Waiting) {
        let options = &self.site.options;
        let timeout = match waiting {
            Waiting::Request | Waiting::Descriptor => options.header_timeout,
            Waiting::Idle => options.idle_timeout,
        };
        self.table.wait(index, waiting, self.after(timeout));
    }

    /// Everything that was queued for a connection has been sent.
    fn drained<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        let place = self.table.place(index);
        let was_last = self.site.draining && place.progress == Progress::Idle;
        if place.leaving || was_last {
            self.part(base, index);
        } else if place.progress == Progress::Full {
            self.advance(base, index);
        }
    }

    fn event<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32, events: BevEvents) {
        // One call can tell of an end and of an error: the end of what arrives is no reason to go on sending
        // in vain.
        if events.intersects(BevEvents::ERROR | BevEvents::TIMEOUT) {
            self.report(base, index);
            return self.close(base, index);
        }
        if events.contains(BevEvents::EOF) {
            let place = self.table.place(index);
            place.peer_closed = true;
            if !place.leaving && place.progress != Progress::Full {
                self.advance(base, index);
            }
        }
    }

    /// A file that shrank is the operator's business; a client that went away is nobody's.
    fn report<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        let id = self.table.place(index).bufferevent;
        match base.bufferevent(id).ok().and_then(|bufferevent| bufferevent.last_error()) {
            Some(Error::ShortFile) => {
                log::warn!("a connection is closed: its file became shorter while it was sent");
            }
            Some(error) => log::debug!("a connection is closed: {error}"),
            None => log::debug!("a connection is closed: the client stopped reading"),
        }
    }

    /// Says goodbye: the last answer is out. The client gets some time to read it before the connection is
    /// gone.
    fn part<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        let place = self.table.place(index);
        if place.peer_closed {
            return self.close(base, index);
        }
        let freed = base.free_after_flush(place.bufferevent, self.site.options.linger);
        log_stale(freed);
        self.table.remove(index);
    }

    fn close<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        log_stale(base.free_bufferevent(self.table.place(index).bufferevent));
        self.table.remove(index);
    }
}

/// A connection whose bufferevent is gone was freed behind the server's back; there is nothing left to do for
/// it.
fn log_stale(freed: Result<()>) {
    if let Err(error) = freed {
        log::debug!("a connection was already closed: {error}");
    }
}

/// Time.
impl State {
    fn after(&self, timeout: Duration) -> u64 {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.site.now_ns.saturating_add(nanoseconds)
    }

    /// The timer fired: some deadlines may have passed.
    fn tick<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.armed_ns = u64::MAX;
        let now_ns = self.site.now_ns;
        while let Some(index) = self.table.due(Waiting::Request, now_ns) {
            self.request_timed_out(base, index);
        }
        while let Some(index) = self.table.due(Waiting::Descriptor, now_ns) {
            self.refuse(base, index, Status::ServiceUnavailable);
        }
        while let Some(index) = self.table.due(Waiting::Idle, now_ns) {
            match self.is_quiet(base, index) {
                true => self.close(base, index),
                false => self.wait(index, Waiting::Idle), // still sending: the write timeout judges that
            }
        }
        if self.site.draining {
            self.close_quiet(base);
        }
        if self.sweep_ns <= now_ns {
            self.site.files.release_unused(now_ns.saturating_sub(UNUSED_FILE_NS));
            self.sweep_ns = u64::MAX;
        }
    }

    fn request_timed_out<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) {
        if self.is_quiet(base, index) || self.table.place(index).connection.is_answered() {
            return self.close(base, index); // there is no question to answer
        }
        self.refuse(base, index, Status::RequestTimeout);
    }

    /// Ends a connection with an answer of its own accord.
    fn refuse<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32, status: Status) {
        let State { site, table, .. } = self;
        let place = table.place(index);
        let Ok(bufferevent) = base.bufferevent(place.bufferevent) else { return self.table.remove(index) };
        let output = bufferevent.output();
        match place.connection.refuse(status, output, site) {
            Ok(()) => self.follow(base, index, Progress::Closing, false),
            Err(_) => self.close(base, index),
        }
    }

    /// Nothing has arrived that is not answered, and nothing is left to send.
    fn is_quiet<C: 'static>(&mut self, base: &mut EventBase<C>, index: u32) -> bool {
        let place = self.table.place(index);
        let (progress, id) = (place.progress, place.bufferevent);
        progress == Progress::Idle
            && base.bufferevent(id).is_ok_and(|bufferevent| bufferevent.output().is_empty())
    }

    /// Closes the connections that nothing is happening on.
    fn close_quiet<C: 'static>(&mut self, base: &mut EventBase<C>) {
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

    /// What is due after every callback: those who wait for a descriptor may go on, and the timer follows the
    /// deadlines.
    fn finish_turn<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.retry_starved(base);
        if self.sweep_ns == u64::MAX && self.site.files.cached() > 0 {
            self.sweep_ns = self.site.now_ns + UNUSED_FILE_NS;
        }
        if self.site.draining && self.table.len() == 0 {
            return self.end(base);
        }
        let mut next_ns = self.table.next_deadline().min(self.sweep_ns);
        if self.table.front(Waiting::Descriptor).is_some() {
            next_ns = next_ns.min(self.site.now_ns + STARVED_RETRY_NS);
        }
        if next_ns < self.armed_ns {
            self.arm(base, next_ns);
        }
    }

    fn arm<C: 'static>(&mut self, base: &mut EventBase<C>, at_ns: u64) {
        let Some(timer) = self.timer else { return };
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.site.now_ns));
        match base.add(timer, Some(wait)) {
            Ok(()) => self.armed_ns = at_ns,
            Err(error) => log::error!("the server's timer cannot be set: {error}"),
        }
    }

    /// The last connection is done and no other will come.
    fn end<C: 'static>(&mut self, base: &mut EventBase<C>) {
        self.site.files.release_all();
        if let Some(timer) = self.timer.take() {
            log_stale(base.free(timer));
        }
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
        self.site.files.release_all();
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
        self.site.files.restore_spare();
    }
}
