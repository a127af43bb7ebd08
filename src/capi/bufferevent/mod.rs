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

use std::ffi::{c_char, c_int, c_short};
use std::ptr;

use super::base::{Entered, event_base};
use super::layout::{bufferevent, ev};
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
#[repr(C)]
struct Bev {
    seen: bufferevent,
    kind: Kind,
    options: c_int,
    references: u32,
    /// Why a direction that is enabled moves nothing: a filter above does not want it to.
    suspended: c_short,
    /// The marks and the callbacks that the engine was told of last.
    told: live::Told,
    /// Callbacks of a pair or a filter that the loop is still to make.
    waiting: Waiting,
    /// What C gets for an `errno` with an error that the engine knows nothing of.
    errno: c_int,
    dns_error: c_int,
    /// What a program asks for again; the engine has copies.
    bucket: *mut ev_token_bucket_cfg,
    group: *mut group::bufferevent_rate_limit_group,
    /// 0 is what it was at first.
    max_single: [usize; 2],
}

enum Kind {
    /// `None` once its base has gone.
    Socket(Option<BuffereventId>),
    Pair(pair::Half),
    Filter(Box<filter::Layer>),
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
    fn new(base: *mut event_base, kind: Kind, options: c_int) -> *mut Bev {
        let ops: *const Ops = match &kind {
            Kind::Socket(..) => &SOCKET_OPS,
            Kind::Pair(_) => &PAIR_OPS,
            Kind::Filter(_) => &FILTER_OPS,
        };
        Box::into_raw(Box::new(Bev {
            seen: live::nothing_seen(base, ops.cast()),
            kind,
            options,
            references: 1,
            suspended: 0,
            told: live::Told::default(),
            waiting: Waiting::default(),
            errno: 0,
            dns_error: 0,
            bucket: ptr::null_mut(),
            group: ptr::null_mut(),
            max_single: [0; 2],
        }))
    }
}

/// Reaching.
impl Bev {
    /// # Safety
    ///
    /// - C1 holds for `bev`, and the reference is not used after C code has run.
    unsafe fn at<'a>(bev: *const bufferevent) -> Option<&'a mut Bev> {
        // SAFETY: C1, and every bufferevent that C has is the first part of one of ours.
        unsafe { bev.cast_mut().cast::<Bev>().as_mut() }
    }

    /// What C calls it.
    fn as_c(&mut self) -> *mut bufferevent {
        ptr::from_mut(self).cast()
    }

    /// The core of its base, unless that has gone.
    fn enter<'a>(&self) -> Option<Entered<'a>> {
        // SAFETY: C1: the base lives, or its going has been noted here.
        let base = unsafe { self.seen.base.as_ref() }?;
        // SAFETY: K1: no function of this room is called while the core is entered, but those that say so.
        Some(unsafe { base.enter() })
    }

    fn socket_id(&self) -> Option<BuffereventId> {
        match self.kind {
            Kind::Socket(id) => id,
            _ => None,
        }
    }

    fn is_socket(&self) -> bool {
        matches!(self.kind, Kind::Socket(..))
    }

    /// Does something with the engine's bufferevent; `None` if it is no socket.
    fn with<T>(&mut self, work: impl FnOnce(&mut Bufferevent) -> T) -> Option<T> {
        let id = self.socket_id()?;
        let mut core = self.enter()?;
        let result = core.bufferevents.get(id).ok().map(work);
        core.notify();
        self.show(&core);
        result
    }

    fn input_len(&self) -> usize {
        // SAFETY: the handle lives as long as the bufferevent.
        unsafe { super::buffer::evbuffer_get_length(self.seen.input) }
    }

    fn output_len(&self) -> usize {
        // SAFETY: as above.
        unsafe { super::buffer::evbuffer_get_length(self.seen.output) }
    }
}

/// References.
impl Bev {
    /// # Safety
    ///
    /// - C1 holds for `bev`, which is not null.
    unsafe fn hold(bev: *mut bufferevent) {
        // SAFETY: the caller's promise.
        if let Some(bev) = unsafe { Bev::at(bev) } {
            let _held = bev.lock();
            bev.references += 1;
        }
    }

    /// Gives a reference back, and says whether it was the last one: then it is gone.
    ///
    /// # Safety
    ///
    /// - C1 holds for `bev`, which is not null, and the reference is the caller's.
    unsafe fn release(bev: *mut bufferevent) -> bool {
        // SAFETY: the caller's promise.
        let Some(object) = (unsafe { Bev::at(bev) }) else { return false };
        let held = object.lock();
        object.references -= 1;
        let is_last = object.references == 0;
        if is_last {
            // Before anybody else has the lock: the loop, and the other half of a pair, hold only what they find.
            match object.kind {
                Kind::Socket(..) => socket::unlist(object),
                Kind::Pair(_) => pair::part(object),
                Kind::Filter(_) => {}
            }
        }
        drop(held);
        if is_last {
            // SAFETY: it was the last reference.
            unsafe { destroy(bev) };
        }
        is_last
    }

    /// Its lock, which is its base's, held.
    fn lock<'a>(&self) -> Option<super::lock::Held<'a>> {
        // SAFETY: as in `enter`.
        let base = unsafe { self.seen.base.as_ref() }?;
        Some(base.lock().hold())
    }
}

/// # Safety
///
/// - Nobody has a reference to `bev` any more.
unsafe fn destroy(bev: *mut bufferevent) {
    // SAFETY: the caller's promise: nobody else looks at it.
    let Some(object) = (unsafe { Bev::at(bev) }) else { return };
    rate_limit::leave(object);
    match object.kind {
        Kind::Socket(..) => socket::end(object),
        Kind::Pair(_) => pair::end(object),
        Kind::Filter(_) => filter::end(object),
    }
    // SAFETY: `Bev::new` made it with a box.
    let gone = unsafe { Box::from_raw(bev.cast::<Bev>()) };
    if let Kind::Filter(layer) = gone.kind {
        layer.free();
    }
    super::buffer::settle_accounts();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_incref(bufev: *mut bufferevent) {
    // SAFETY: C1.
    unsafe { Bev::hold(bufev) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_decref(bufev: *mut bufferevent) -> c_int {
    // SAFETY: C1: the program gives back a reference of its own.
    c_int::from(unsafe { Bev::release(bufev) })
}

/// Whoever locks it has a reference meanwhile.
#[unsafe(no_mangle)]
unsafe extern "C" fn bufferevent_lock(bufev: *mut bufferevent) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    bev.acquire();
    bev.references += 1;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_unlock(bufev: *mut bufferevent) {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    // SAFETY: C1: the lock is held, so the base lives, and is looked for before its bufferevent may go.
    let base = unsafe { bev.seen.base.as_ref() }.filter(|_| bev.is_locked());
    // SAFETY: C1: it is the reference that `bufferevent_lock` took.
    unsafe { Bev::release(bufev) };
    if let Some(base) = base {
        base.lock().release();
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

impl Bev {
    /// Whether programs share it between threads.
    fn is_locked(&self) -> bool {
        self.options & option::THREADSAFE != 0
    }

    /// Takes its lock, if it has one.
    fn acquire(&self) {
        // SAFETY: as in `enter`.
        if let Some(base) = unsafe { self.seen.base.as_ref() }.filter(|_| self.is_locked()) {
            base.lock().acquire();
        }
    }
}
