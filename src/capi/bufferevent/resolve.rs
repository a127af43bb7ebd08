//! Connecting to hosts by name: the addresses are looked up beside the loop, which hears of them when it has waited.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::base::Core;
use super::super::layout::bufferevent;
use super::socket::bufferevent_socket_connect;
use super::{Bev, option, what};
use crate::bufferevent::BuffereventId;
use crate::error::{Error, ResolveError, Result};
use crate::reactor::Arena;
use crate::resolve::{self, Family, Question, ResolveId, Resolver};
use crate::sys::socket::RawAddress;

/// Who waits for the addresses of a host.
pub(in crate::capi) struct Askers {
    /// Made with the first question.
    resolver: Option<Resolver>,
    waiting: Arena<BuffereventId>,
}

impl Askers {
    pub(in crate::capi) fn new() -> Askers {
        Askers { resolver: None, waiting: Arena::with_capacity(0) }
    }

    /// Whether anybody waits, so that the loop goes on.
    pub(in crate::capi) fn are_waiting(&self) -> bool {
        self.waiting.len() > 0
    }
}

/// The threads of a parent do not look anything up for its child, where whoever waits is told so.
pub(in crate::capi) fn forget_threads(core: &mut Core) {
    // A lock in it may be held by a thread that is not there.
    std::mem::forget(core.askers.resolver.take());
    let asked: Vec<_> = core.askers.waiting.iter().map(|(asked, _)| asked).collect();
    for asked in asked {
        if let Some(id) = core.askers.waiting.remove(asked) {
            core.bufferevents.resolved(&mut core.reactor, id, Err(ResolveError::Again));
        }
    }
}

/// Hands on the answers that have come. To be called when the loop has waited.
pub(in crate::capi) fn take_answers(core: &mut Core) {
    let Some(resolver) = core.askers.resolver.as_ref().filter(|_| core.askers.are_waiting()) else { return };
    for (id, answer) in resolver.answers() {
        if let Some(bufferevent) = core.askers.waiting.remove(id.0) {
            core.bufferevents.resolved(&mut core.reactor, bufferevent, answer);
        }
    }
}

/// A bufferevent does not want to be connected any more.
pub(super) fn forget(core: &mut Core, id: BuffereventId) {
    if !core.askers.are_waiting() {
        return;
    }
    let asked = core.askers.waiting.iter().find(|(_, asker)| **asker == id).map(|(asked, _)| asked);
    if let Some(asked) = asked {
        core.askers.waiting.remove(asked);
        if let Some(resolver) = &core.askers.resolver {
            resolver.forget(ResolveId(asked));
        }
    }
}

fn ask(core: &mut Core, id: BuffereventId, host: &str, family: Family, port: u16) -> Result<()> {
    let question = Question::new(host, family, port)?;
    core.bufferevents.begin_dialing(id)?;
    let notifier = core.reactor.notifier();
    let resolver = core.askers.resolver.get_or_insert_with(|| Resolver::new(Arc::clone(notifier)));
    let asked = core.askers.waiting.insert(id);
    if let Err(error) = resolver.ask(ResolveId(asked), question) {
        core.askers.waiting.remove(asked);
        core.bufferevents.give_up_dialing(id);
        return Err(error.into());
    }
    core.notify();
    Ok(())
}

/// Never blocks, whether there is an `evdns_base`, which we have no use for, or not.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_socket_connect_hostname(
    bufev: *mut bufferevent,
    _dns: *mut c_void,
    family: c_int,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: C1.
    let Some(bev) = (unsafe { Bev::at(bufev) }).filter(|bev| bev.socket_id().is_some()) else { return -1 };
    let family = match family {
        libc::AF_UNSPEC => Family::Any,
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return -1,
    };
    let Some(port) = u16::try_from(port).ok().filter(|&port| port != 0 && !host.is_null()) else { return -1 };
    // SAFETY: C2, and it is not null.
    let host = unsafe { CStr::from_ptr(host) }.to_string_lossy();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    bev.dns_error.set(0);
    let answer = match resolve::numeric(host, family, port) {
        // A socket that the program has made is connected, and no other.
        None if bev.fd() < 0 => return bev.dial(host, family, port),
        None => look_up(host, family, port),
        Some(answer) => answer.map(|addresses| addresses.first().copied()),
    };
    // SAFETY: C1, nothing is entered.
    unsafe { connect_to(bufev, answer) }
    0
}

/// Blocks, as the header says of it.
fn look_up(host: &str, family: Family, port: u16) -> Result<Option<SocketAddr>, ResolveError> {
    let question = Question::new(host, family, port).map_err(|_| ResolveError::NoName)?;
    question.look_up().map(|addresses| addresses.first().copied())
}

impl Bev {
    fn dial(&self, host: &str, family: Family, port: u16) -> c_int {
        let (Some(id), Some(mut core)) = (self.socket_id(), self.enter()) else { return -1 };
        self.tell(&mut core.bufferevents);
        let asked = ask(&mut core, id, host, family, port);
        drop(core);
        match asked {
            Ok(()) => 0,
            Err(Error::Io(_)) => {
                self.fail_to_resolve(ResolveError::Again);
                0
            }
            Err(_) => -1,
        }
    }

    fn fail_to_resolve(&self, error: ResolveError) {
        self.dns_error.set(error.code());
        // SAFETY: it lives, nothing is entered, and being deferred it calls nobody.
        unsafe { self.run_event(what::ERROR, option::DEFER_CALLBACKS) };
    }
}

/// Connects to the address that a host is known by. What goes wrong is told through the event callback.
///
/// # Safety
///
/// - C1 for `bufev`, and nothing is entered.
unsafe fn connect_to(bufev: *mut bufferevent, answer: Result<Option<SocketAddr>, ResolveError>) {
    // SAFETY: the caller's promise.
    let Some(bev) = (unsafe { Bev::at(bufev) }) else { return };
    let address = match answer {
        Ok(Some(address)) => RawAddress::of(&address.into()),
        Ok(None) => return bev.fail_to_resolve(ResolveError::NoName),
        Err(error) => return bev.fail_to_resolve(error),
    };
    let Ok(address) = address else { return bev.fail_to_resolve(ResolveError::Family) };
    let bytes = address.as_bytes();
    // SAFETY: the address lives for the call.
    if unsafe { bufferevent_socket_connect(bufev, bytes.as_ptr().cast(), bytes.len() as c_int) } < 0 {
        // SAFETY: the caller's promise; being deferred it calls nobody.
        unsafe { bev.run_event(what::ERROR, option::DEFER_CALLBACKS) };
    }
}

/// What went wrong with the name of the last host, an `EAI_` number, or 0.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bufferevent_socket_get_dns_error(bufev: *mut bufferevent) -> c_int {
    // SAFETY: C1.
    unsafe { Bev::at(bufev) }.map_or(0, |bev| bev.dns_error.get())
}
