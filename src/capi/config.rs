//! `event_config`: what a base is to be like.

use std::ffi::{CStr, c_char, c_int};

use libc::timeval;

use super::time::nanos;
use crate::features::Features;
use crate::reactor::{METHODS, Method};
use crate::sys;

/// `EVENT_BASE_FLAG_*`.
const NO_LOCK: c_int = 0x01;
const IGNORE_ENV: c_int = 0x02;
const NO_CACHE_TIME: c_int = 0x08;
const CHANGELIST: c_int = 0x10;

/// A configuration, as C holds it: a pointer to this.
#[derive(Clone, Default)]
pub(super) struct event_config {
    avoided: Vec<Box<CStr>>,
    required: c_int,
    flags: c_int,
    limit: Limit,
}

/// How much is called before the loop looks at its descriptors again.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    interval_ns: Option<u64>,
    calls: Option<usize>,
    /// More important priorities have no limit.
    from_priority: c_int,
}

impl Default for Limit {
    fn default() -> Self {
        Limit { interval_ns: None, calls: None, from_priority: 1 }
    }
}

impl Limit {
    /// How many calls of a priority a turn makes, and how long they take together.
    pub(super) fn of(self, priority: u8) -> (usize, Option<u64>) {
        if c_int::from(priority) < self.from_priority {
            return (usize::MAX, None);
        }
        (self.calls.unwrap_or(usize::MAX).max(1), self.interval_ns)
    }
}

impl event_config {
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    pub(super) fn is_locked(&self) -> bool {
        self.flags & NO_LOCK == 0
    }

    pub(super) fn caches_time(&self) -> bool {
        self.flags & NO_CACHE_TIME == 0
    }

    /// The kinds of backend that will do, the best first.
    pub(super) fn methods(&self) -> Vec<&'static Method> {
        let will_do = |method: &&'static Method| {
            let is_avoided = self.avoided.iter().any(|name| name.to_bytes() == method.name.as_bytes());
            let is_ruled_out = self.env(&format!("EVENT_NO{}", method.name.to_uppercase()));
            let lacks = self.required & !c_int::from(features_of(method).bits());
            !is_avoided && !is_ruled_out && lacks == 0
        };
        METHODS.iter().copied().filter(will_do).collect()
    }

    /// The name that programs know a kind by. Changes are batched in any case; who asked libevent for that is told so.
    pub(super) fn name_of(&self, method: &Method) -> &'static CStr {
        let is_asked = self.flags & CHANGELIST != 0 || self.env("EVENT_EPOLL_USE_CHANGELIST");
        match method.name {
            "epoll" if is_asked => c"epoll (with changelist)",
            name => NAMES[METHODS.iter().position(|method| method.name == name).unwrap_or(0)],
        }
    }

    /// Whether a variable is set, and may be heeded.
    fn env(&self, name: &str) -> bool {
        self.flags & IGNORE_ENV == 0 && env(name)
    }
}

/// Whether a variable is set; one that a stranger set for a privileged program is not.
pub(super) fn env(name: &str) -> bool {
    !sys::process::is_privileged() && std::env::var_os(name).is_some()
}

/// The names of `METHODS`, in its order.
const NAMES: [&CStr; 3] = [c"epoll", c"poll", c"select"];

/// What a kind can do, as C is told: `event_add` lets the caller know of descriptors that epoll does not take.
pub(super) fn features_of(method: &Method) -> Features {
    if method.name == "epoll" { method.features - Features::ANY_DESCRIPTOR } else { method.features }
}

/// An array that ends in a null pointer, as C wants it.
struct Names([*const c_char; 4]);

// SAFETY: the pointers are to constants, which any thread may read.
unsafe impl Sync for Names {}

static SUPPORTED: Names = Names([NAMES[0].as_ptr(), NAMES[1].as_ptr(), NAMES[2].as_ptr(), std::ptr::null()]);

#[unsafe(no_mangle)]
extern "C-unwind" fn event_get_supported_methods() -> *const *const c_char {
    SUPPORTED.0.as_ptr()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn event_config_new() -> *mut event_config {
    Box::into_raw(Box::default())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_free(config: *mut event_config) {
    if !config.is_null() {
        // SAFETY: C1; it was boxed by `event_config_new`.
        drop(unsafe { Box::from_raw(config) });
    }
}

/// Lets `change` change a configuration; -1 without one.
///
/// # Safety
///
/// - C1.
unsafe fn change(config: *mut event_config, change: impl FnOnce(&mut event_config)) -> c_int {
    // SAFETY: the caller's promise; C4.
    let Some(config) = (unsafe { config.as_mut() }) else { return -1 };
    change(config);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_avoid_method(
    config: *mut event_config,
    name: *const c_char,
) -> c_int {
    if name.is_null() {
        return -1;
    }
    // SAFETY: C2.
    let name = unsafe { CStr::from_ptr(name) };
    // SAFETY: C1.
    unsafe { change(config, |config| config.avoided.push(name.into())) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_require_features(
    config: *mut event_config,
    features: c_int,
) -> c_int {
    // SAFETY: C1.
    unsafe { change(config, |config| config.required = features) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_set_flag(config: *mut event_config, flag: c_int) -> c_int {
    // SAFETY: C1.
    unsafe { change(config, |config| config.flags |= flag) }
}

/// Of use on Windows alone.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_set_num_cpus_hint(config: *mut event_config, _cpus: c_int) -> c_int {
    // SAFETY: C1.
    unsafe { change(config, |_| ()) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_config_set_max_dispatch_interval(
    config: *mut event_config,
    interval: *const timeval,
    calls: c_int,
    from_priority: c_int,
) -> c_int {
    // SAFETY: C2.
    let interval = unsafe { interval.as_ref() };
    let interval_ns = interval.filter(|interval| interval.tv_sec >= 0).map(nanos);
    // As many as there can be is no limit.
    let calls = usize::try_from(calls).ok().filter(|&calls| calls != c_int::MAX as usize);
    let limit = Limit { interval_ns, calls, from_priority: from_priority.max(0) };
    // SAFETY: C1.
    unsafe { change(config, |config| config.limit = limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_with_methods() {
        for (method, name) in METHODS.iter().zip(NAMES) {
            assert_eq!(method.name.as_bytes(), name.to_bytes());
        }
    }
}
