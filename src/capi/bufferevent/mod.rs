//! `event2/bufferevent.h` and what goes with it: bufferevents whose first part is the `struct bufferevent` that C programs look into.
//!
//! # Three kinds
//!
//! A socket bufferevent is one of the base's engine, and what is here only translates: it lends its two buffers to C as
//! handles, keeps the visible part true (`live`), and calls C when the loop says that something is due (`dispatch`).
//!
//! Pairs and filters are not the engine's. What C expects of them happens inside its calls: bytes that are written to half a pair are
//! at the other half when `bufferevent_write` returns, and a filter is a function of C's that may use any bufferevent. The
//! engine, which moves bytes just before the loop waits and calls nobody, is the wrong place for either. So they stand
//! beside it, made of what C itself could use (`pair`, `filter`): buffers of their own with callbacks on them, events for their
//! timeouts and for callbacks that wait.
//!
//! # Life
//!
//! References are counted, as programs see it: one is the maker's, which `bufferevent_free` gives back, and whoever runs C code for
//! a bufferevent holds another one meanwhile. So freeing is safe anywhere, and nothing here looks at a bufferevent after calling C
//! unless it holds a reference.

mod dispatch;
mod filter;
mod group;
mod live;
mod marks;
mod pair;
mod rate_limit;
mod resolve;
mod socket;
mod verbs;

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_char, c_int, c_short};
use std::ops::Deref;
use std::ptr;

use super::base::{Entered, event_base};
use super::layout::{Socket, bufferevent, ev};
use super::lock::Held;
use super::log;
use crate::bufferevent::Bufferevent;
use crate::bufferevent::BuffereventId;
use dispatch::Waiting;
use rate_limit::ev_token_bucket_cfg;

pub(super) use dispatch::run;
pub(super) use live::{Table, settle};
pub(super) use resolve::{Askers, forget_threads, take_answers};

/// A base is about to go: its sockets are given back, and what stands for them can still be freed.
pub(super) fn abandon(base: *const event_base) {
    // SAFETY: C1: it has not gone yet.
    let Some(base) = (unsafe { base.as_ref() }) else { return };
    // SAFETY: K1: nothing is entered when a function of C's is called.
    let all = unsafe { base.enter() }.table.all();
    for bev in all {
        // SAFETY: what is in the table lives.
        if let Some(bev) = unsafe { Bev::at(bev) } {
            socket::orphan(bev);
        }
    }
}

/// `BEV_OPT_*`.
mod option {
    use std::ffi::c_int;

    pub(super) const CLOSE_ON_FREE: c_int = 1;
    pub(super) const THREADSAFE: c_int = 2;
    pub(super) const DEFER_CALLBACKS: c_int = 4;
    pub(super) const UNLOCK_CALLBACKS: c_int = 8;
}

/// `BEV_EVENT_*`.
mod what {
    use std::ffi::c_short;

    pub(super) const READING: c_short = 0x01;
    pub(super) const WRITING: c_short = 0x02;
    pub(super) const EOF: c_short = 0x10;
    pub(super) const ERROR: c_short = 0x20;
    pub(super) const TIMEOUT: c_short = 0x40;
    pub(super) const CONNECTED: c_short = 0x80;
}

const BOTH: c_short = ev::READ | ev::WRITE;

/// A bufferevent. C has its address, and takes it for a `struct bufferevent`, which comes first.
///
/// - **B1**: C and other threads have pointers to the same memory, and whoever gives back the last reference frees it. So all of it
///   lies in a cell and each part is a cell of its own: any number of shared references may stand at a time, none is mutable, and one
///   that is left over from a bufferevent that has gone does no harm as long as nobody looks through it.
/// - **B2**: What a bufferevent stands on (`base`, `kind`, `input`, `output`, `layer`, `options`) changes only in functions during which, by
///   C1, nobody else uses it: those that make it, `bufferevent_base_set`, and those that end it or its base. It may be read at any time.
/// - **B3**: Everything else is touched under the lock of its base.
/// - **B4**: Nothing here looks at a bufferevent after code of C's has run, unless it has a reference of its own ([`Reference`]).
#[repr(transparent)]
struct Bev(UnsafeCell<Parts>);

#[repr(C)]
struct Parts {
    seen: bufferevent,
    kind: Cell<Kind>,
    options: c_int,
    references: Cell<u32>,
    /// Why a direction that is enabled moves nothing: a filter above does not want it to.
    suspended: Cell<c_short>,
    /// What C gets for an `errno` with an error that the engine knows nothing of.
    errno: Cell<c_int>,
    dns_error: Cell<c_int>,
    /// The marks and the callbacks that the engine was told of last.
    told: Cell<live::Told>,
    /// Callbacks of a pair or a filter that the loop is still to make.
    waiting: Waiting,
    /// The other half of a pair; null when it has been freed.
    partner: Cell<*mut bufferevent>,
    /// The transport of a filter.
    layer: Option<Box<filter::Layer>>,
    /// The filter that its callbacks are for; null for none.
    above: Cell<*mut bufferevent>,
    /// What a program asks for again; the engine has copies.
    bucket: Cell<*mut ev_token_bucket_cfg>,
    group: Cell<*mut group::bufferevent_rate_limit_group>,
    /// 0 is what it was at first.
    max_single: Cell<[usize; 2]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `None` once its base has gone.
    Socket(Option<BuffereventId>),
    Pair,
    Filter,
}

impl Deref for Bev {
    type Target = Parts;

    #[inline(always)]
    fn deref(&self) -> &Parts {
        // SAFETY: B1: there are only shared references to it.
        unsafe { &*self.0.get() }
    }
}

/// What `be_ops` points to. Programs compare it, and a debugger finds a name there, as in libevent.
#[repr(transparent)]
struct Ops(*const c_char);

// SAFETY: it points to a constant.
unsafe impl Sync for Ops {}

static SOCKET_OPS: Ops = Ops(c"socket".as_ptr());
static PAIR_OPS: Ops = Ops(c"pair_elt".as_ptr());
static FILTER_OPS: Ops = Ops(c"filter".as_ptr());

/// Making.
impl Bev {
    /// Whether a bufferevent can be made with these options.
    fn check(options: c_int) -> bool {
        let unlocked = options & (option::DEFER_CALLBACKS | option::UNLOCK_CALLBACKS);
        if unlocked == option::UNLOCK_CALLBACKS {
            log::warn(format_args!("UNLOCK_CALLBACKS requires DEFER_CALLBACKS"));
            return false;
        }
        true
    }

    /// A bufferevent whose buffers are still to be set.
    fn make(
        base: *mut event_base,
        kind: Kind,
        layer: Option<Box<filter::Layer>>,
        options: c_int,
    ) -> *mut bufferevent {
        let ops: *const Ops = match kind {
            Kind::Socket(_) => &SOCKET_OPS,
            Kind::Pair => &PAIR_OPS,
            Kind::Filter => &FILTER_OPS,
        };
        let parts = Parts {
            seen: live::nothing_seen(base, ops.cast()),
            kind: Cell::new(kind),
            options,
            references: Cell::new(1),
            suspended: Cell::new(0),
            errno: Cell::new(0),
            dns_error: Cell::new(0),
            told: Cell::new(live::Told::default()),
            waiting: Waiting::default(),
            partner: Cell::new(ptr::null_mut()),
            layer,
            above: Cell::new(ptr::null_mut()),
            bucket: Cell::new(ptr::null_mut()),
            group: Cell::new(ptr::null_mut()),
            max_single: Cell::new([0; 2]),
        };
        Box::into_raw(Box::new(Bev(UnsafeCell::new(parts)))).cast()
    }
}

/// Reaching.
impl Bev {
    /// # Safety
    ///
    /// - C1 holds for `bev`, and what is returned is used as B4 says.
    #[inline(always)]
    unsafe fn at<'a>(bev: *const bufferevent) -> Option<&'a Bev> {
        // SAFETY: C1, and every bufferevent that C has is the first part of one of ours; B1.
        unsafe { bev.cast::<Bev>().as_ref() }
    }

    /// What C calls it.
    fn as_c(&self) -> *mut bufferevent {
        self.0.get().cast()
    }

    /// The core of its base, unless that has gone.
    fn enter<'a>(&self) -> Option<Entered<'a>> {
        // SAFETY: C1: the base lives, or its going has been noted here.
        let base = unsafe { self.seen.base.get().as_ref() }?;
        // SAFETY: K1: no function of this room is called while the core is entered, but those that say so.
        Some(unsafe { base.enter() })
    }

    fn socket_id(&self) -> Option<BuffereventId> {
        match self.kind.get() {
            Kind::Socket(id) => id,
            _ => None,
        }
    }

    fn is_socket(&self) -> bool {
        matches!(self.kind.get(), Kind::Socket(_))
    }

    /// Does something with the engine's bufferevent; `None` if it is no socket.
    fn with<T>(&self, work: impl FnOnce(&mut Bufferevent) -> T) -> Option<T> {
        let id = self.socket_id()?;
        let mut core = self.enter()?;
        let result = core.bufferevents.get(id).ok().map(work);
        core.notify();
        self.show(&core);
        result
    }

    /// Its descriptor, or -1.
    fn fd(&self) -> Socket {
        let _held = self.lock();
        self.seen.ev_read.fd.get()
    }

    fn input_len(&self) -> usize {
        // SAFETY: the handle lives as long as the bufferevent (B2).
        unsafe { super::buffer::evbuffer_get_length(self.seen.input.get()) }
    }

    fn output_len(&self) -> usize {
        // SAFETY: as above.
        unsafe { super::buffer::evbuffer_get_length(self.seen.output.get()) }
    }

    /// Its lock, which is its base's, held.
    fn lock<'a>(&self) -> Option<Held<'a>> {
        // SAFETY: as in `enter`.
        let base = unsafe { self.seen.base.get().as_ref() }?;
        Some(base.lock().hold())
    }

    /// Its lock, if programs share it between threads: then it is held also while code of C's runs.
    fn shared_lock<'a>(&self) -> Option<Held<'a>> {
        if self.is_locked() { self.lock() } else { None }
    }

    /// Whether programs share it between threads.
    fn is_locked(&self) -> bool {
        self.options & option::THREADSAFE != 0
    }
}

/// A reference to a bufferevent, which is given back also if code of C's unwinds. A `longjmp` over it costs the reference.
struct Reference(*mut bufferevent);

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: it was taken for this.
        unsafe { Bev::release(self.0) };
    }
}

/// References.
impl Bev {
    /// Takes one, unless the last one has been given back: then another thread waits for the caller to let it end the bufferevent.
    fn hold(&self) -> Option<Reference> {
        let _held = self.lock();
        if self.references.get() == 0 {
            return None;
        }
        self.references.set(self.references.get() + 1);
        Some(Reference(self.as_c()))
    }

    /// Gives a reference back, and says whether it was the last one: then it is gone.
    ///
    /// # Safety
    ///
    /// - C1 holds for `bev`, which is not null, nothing is entered, and the reference is the caller's.
    unsafe fn release(bev: *mut bufferevent) -> bool {
        // SAFETY: the caller's promise.
        let Some(object) = (unsafe { Bev::at(bev) }) else { return false };
        let held = object.lock();
        let is_last = object.give_back();
        drop(held);
        if is_last {
            // SAFETY: it was the last reference.
            unsafe { destroy(bev) };
        }
        is_last
    }

    /// Gives a reference back, under the lock, and says whether it was the last. Then nobody finds the bufferevent any more: the loop, the
    /// other half of a pair and what lies beneath a filter take references to what they find.
    fn give_back(&self) -> bool {
        self.references.set(self.references.get() - 1);
        if self.references.get() > pair::waiting_timeouts(self) {
            return false;
        }
        match self.kind.get() {
            Kind::Socket(_) => socket::unlist(self),
            Kind::Pair => pair::part(self),
            Kind::Filter => filter::part(self),
        }
        if !self.is_socket() {
            pair::stop_timeouts(self, BOTH);
        }
        true
    }
}

/// # Safety
///
/// - Nobody has a reference to `bev` any more, and nothing is entered.
unsafe fn destroy(bev: *mut bufferevent) {
    // SAFETY: the caller's promise: nobody else looks at it.
    let Some(object) = (unsafe { Bev::at(bev) }) else { return };
    group::leave(object);
    match object.kind.get() {
        Kind::Socket(_) => socket::end(object),
        Kind::Pair => object.end_buffers(),
        Kind::Filter => filter::end(object),
    }
    // SAFETY: `Bev::make` made it with a box.
    let gone = unsafe { Box::from_raw(bev.cast::<Bev>()) };
    if let Some(layer) = gone.0.into_inner().layer {
        layer.free();
    }
    super::buffer::settle_accounts();
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_incref(bufev: *mut bufferevent) {
    // SAFETY: C1.
    if let Some(bev) = unsafe { Bev::at(bufev) } {
        // It is the program's from here on.
        std::mem::forget(bev.hold());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_decref(bufev: *mut bufferevent) -> c_int {
    // SAFETY: C1: the program gives back a reference of its own.
    c_int::from(unsafe { Bev::release(bufev) })
}

/// Whoever locks it has a reference meanwhile.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_lock(bufev: *mut bufferevent) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    // `bufferevent_unlock` gives both back.
    std::mem::forget(bev.shared_lock());
    std::mem::forget(bev.hold());
}

/// The lock goes before the bufferevent does: whoever waits for that has to get it.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_unlock(bufev: *mut bufferevent) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    // SAFETY: C1: the base lives, or its going has been noted here.
    let base = unsafe { bev.seen.base.get().as_ref() }.filter(|_| bev.is_locked());
    let held = bev.lock();
    let is_last = bev.give_back();
    drop(held);
    if let Some(base) = base {
        base.lock().release();
    }
    if is_last {
        // SAFETY: it was the last reference.
        unsafe { destroy(bufev) };
    }
}

/// No callback is made any more; what is unsent is dropped with the last reference.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_free(bufev: *mut bufferevent) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    pair::orphan(bev);
    bev.set_callbacks(None, None, None, ptr::null_mut());
    // SAFETY: C1: it is the reference that its maker had.
    unsafe { Bev::release(bufev) };
}
