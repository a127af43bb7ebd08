//! Signals for any number of loops at once: the handler counts each delivery and wakes the loops that watch.
//!
//! A handler may interrupt any instruction of any thread, so all it touches is static and atomic: one counter a
//! signal, and a list of watchers of which entries are reused but never freed. A loop finds out how often a
//! signal came by the difference to what it saw last, so nothing overflows and nothing is lost.
//!
//! A watcher's descriptor may be closed only when no handler can still write to it: the handler says in
//! [`IN_HANDLER`] that it is at work, and [`Watcher::drop`] waits for that to be over.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::c_int;

use super::check;

/// Signals are numbered from 1 to 64.
const SIGNALS: usize = 65;

/// How often each signal was delivered to this process while somebody watched it.
static DELIVERED: [AtomicU64; SIGNALS] = [const { AtomicU64::new(0) }; SIGNALS];

/// How many handlers are running right now.
static IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

static WATCHERS: Block = Block::new();

/// What each watched signal did before, and how many watchers it has.
static INSTALLED: Mutex<[Option<Installed>; SIGNALS]> = Mutex::new([const { None }; SIGNALS]);

struct Installed {
    before: libc::sigaction,
    watchers: usize,
}

/// A loop that watches signals: where to write, and for which signals (bit n is signal n + 1).
struct Entry {
    fd: AtomicI32,
    signals: AtomicU64,
}

const FREE: RawFd = -1;
const CLAIMED: RawFd = -2;
const ENTRIES: usize = 32;

/// Part of the list of watchers; it only ever grows.
struct Block {
    entries: [Entry; ENTRIES],
    next: OnceLock<Box<Block>>,
}

impl Block {
    const fn new() -> Self {
        let entries = [const { Entry { fd: AtomicI32::new(FREE), signals: AtomicU64::new(0) } }; ENTRIES];
        Block { entries, next: OnceLock::new() }
    }
}

/// A registration of one loop; dropping it ends its watching.
#[derive(Debug)]
pub(crate) struct Watcher {
    entry: &'static Entry,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.signals.load(Ordering::Relaxed))
    }
}

impl Watcher {
    /// Takes an entry; the handler will add to the eventfd `wake`, which must stay open until this is dropped.
    pub(crate) fn new(wake: BorrowedFd<'_>) -> Watcher {
        let mut block = &WATCHERS;
        loop {
            for entry in &block.entries {
                // Acquire pairs with the release in `drop`: the entry's signals have been cleared.
                let claimed = entry.fd.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
                if claimed.is_ok() {
                    entry.fd.store(wake.as_raw_fd(), Ordering::Release);
                    return Watcher { entry };
                }
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
        }
    }

    /// Starts watching `signal`, and says how often it had been delivered by then; the first watcher installs
    /// the handler.
    pub(crate) fn watch(&self, signal: c_int) -> io::Result<u64> {
        let place = place(signal)?;
        if self.watches(signal) {
            return Ok(delivered(signal));
        }
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: whatever the handler counts beyond `seen` it finds this watcher for, and wakes it. SeqCst:
        // a signal raised after this call finds the bit, whichever thread it interrupts.
        self.entry.signals.fetch_or(bit(signal), Ordering::SeqCst);
        let seen = delivered(signal);
        match &mut installed[place] {
            Some(installed) => installed.watchers += 1,
            none => match install(signal) {
                Ok(before) => *none = Some(Installed { before, watchers: 1 }),
                Err(error) => {
                    self.entry.signals.fetch_and(!bit(signal), Ordering::SeqCst);
                    return Err(error);
                }
            },
        }
        Ok(seen)
    }

    /// Stops watching; the last watcher puts back what the signal did before.
    pub(crate) fn unwatch(&self, signal: c_int) {
        let Ok(place) = place(signal) else { return };
        if !self.watches(signal) {
            return;
        }
        self.entry.signals.fetch_and(!bit(signal), Ordering::SeqCst);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut last) = installed[place].take() {
            last.watchers -= 1;
            if last.watchers == 0 {
                restore(signal, &last.before);
            } else {
                installed[place] = Some(last);
            }
        }
    }

    fn watches(&self, signal: c_int) -> bool {
        self.entry.signals.load(Ordering::Relaxed) & bit(signal) != 0
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for signal in 1..SIGNALS as c_int {
            self.unwatch(signal);
        }
        // SeqCst, here and in the handler: either the handler sees the entry taken away, or this sees the
        // handler at work and waits for its write.
        self.entry.fd.store(CLAIMED, Ordering::SeqCst);
        while IN_HANDLER.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        self.entry.fd.store(FREE, Ordering::Release);
    }
}

/// Whether a signal has this number.
pub(crate) fn exists(signal: c_int) -> bool {
    place(signal).is_ok()
}

/// How often `signal` has been delivered so far.
pub(crate) fn delivered(signal: c_int) -> u64 {
    place(signal).map_or(0, |place| DELIVERED[place].load(Ordering::SeqCst))
}

/// No signal is delivered to this thread while this lives, and none ever to the threads that it starts meanwhile: what a program does
/// about signals it does on its own threads.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// What was blocked before; `None` if nothing was changed.
    before: Option<libc::sigset_t>,
}

impl Blocked {
    pub(crate) fn all() -> Blocked {
        let mut all = mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `all` has room for a signal set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: sigfillset initialised it, and all-zero bytes are valid in any case.
        let all = unsafe { all.assume_init() };
        // The old set comes into a copy of it.
        let mut before = all;
        // SAFETY: both point to live signal sets.
        let done = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        Blocked { before: (done == 0).then_some(before) }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: `before` is the set that pthread_sigmask filled in; the old one is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
        }
    }
}

/// Sends `signal` to this process.
#[cfg(test)]
pub(crate) fn raise(signal: c_int) {
    // SAFETY: `raise` takes an integer and no memory.
    check(unsafe { libc::raise(signal) }).expect("the signal exists");
}

fn place(signal: c_int) -> io::Result<usize> {
    match usize::try_from(signal) {
        Ok(place) if (1..SIGNALS).contains(&place) => Ok(place),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// The handler. Everything it calls is async-signal-safe: atomics and write(2).
extern "C" fn deliver(signal: c_int) {
    IN_HANDLER.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the C library's errno of this thread, always valid.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; read so that the interrupted code finds its value again.
    let kept = unsafe { *errno };
    if let Ok(place) = place(signal) {
        DELIVERED[place].fetch_add(1, Ordering::SeqCst);
        wake_watchers(signal);
    }
    // SAFETY: as above.
    unsafe { *errno = kept };
    IN_HANDLER.fetch_sub(1, Ordering::SeqCst);
}

fn wake_watchers(signal: c_int) {
    let mut block = Some(&WATCHERS);
    while let Some(here) = block {
        for entry in &here.entries {
            let fd = entry.fd.load(Ordering::SeqCst);
            if fd >= 0 && entry.signals.load(Ordering::SeqCst) & bit(signal) != 0 {
                let one: u64 = 1;
                // SAFETY: `one` is eight readable bytes; the descriptor is open, because its owner waits for
                // IN_HANDLER to fall before it closes it. A full counter wakes its waiter as well.
                unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
            }
        }
        block = here.next.get().map(|next| &**next);
    }
}

/// Installs the handler and returns what was there before.
fn install(signal: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: `sigaction` is plain data: all zeroes are a valid value, with an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = deliver as extern "C" fn(c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: both point to live `sigaction`s, and the handler is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    Ok(before)
}

fn restore(signal: c_int, before: &libc::sigaction) {
    // SAFETY: `before` came from `sigaction` for the same signal; the old one is not asked for. The signal took a
    // handler before, so it takes this one, and the call cannot fail.
    unsafe { libc::sigaction(signal, ptr::from_ref(before), ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::eventfd;

    #[test]
    fn every_watcher_is_woken_and_the_old_handler_comes_back() {
        let (one, two) = (eventfd::create().unwrap(), eventfd::create().unwrap());
        let (first, second) = (Watcher::new(one.as_fd()), Watcher::new(two.as_fd()));
        let signal = libc::SIGURG;
        first.watch(signal).unwrap();
        second.watch(signal).unwrap();
        let before = delivered(signal);
        for _ in 0..1000 {
            raise(signal);
        }
        assert_eq!(delivered(signal) - before, 1000);
        drop(first);
        raise(signal);
        assert_eq!(delivered(signal) - before, 1001, "one watcher is left");
        drop(second);
        raise(signal);
        assert_eq!(delivered(signal) - before, 1001, "nobody watches, and the default ignores it");
    }

    #[test]
    fn signals_that_do_not_exist_or_cannot_be_caught_are_refused() {
        let wake = eventfd::create().unwrap();
        let watcher = Watcher::new(wake.as_fd());
        for signal in [0, -1, 65, libc::SIGKILL, libc::SIGSTOP] {
            assert!(watcher.watch(signal).is_err(), "{signal}");
        }
    }

    #[test]
    fn the_interrupted_code_finds_its_errno_again_though_the_handler_failed() {
        let full = eventfd::create().unwrap();
        std::fs::File::from(full.try_clone().unwrap()).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let watcher = Watcher::new(full.as_fd());
        let signal = libc::SIGWINCH;
        watcher.watch(signal).unwrap();
        let before = delivered(signal);
        // SAFETY: the C library's errno of this thread, always valid.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { *errno = libc::EXDEV };
        raise(signal);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EXDEV));
        assert_eq!(delivered(signal) - before, 1);
    }

    #[test]
    fn a_refused_signal_leaves_no_trace() {
        let wake = eventfd::create().unwrap();
        let watcher = Watcher::new(wake.as_fd());
        assert!(watcher.watch(libc::SIGKILL).is_err());
        assert!(!watcher.watches(libc::SIGKILL));
        assert!(INSTALLED.lock().unwrap()[libc::SIGKILL as usize].is_none());
    }

    #[test]
    fn there_may_be_more_watchers_than_one_block_holds() {
        let wake = eventfd::create().unwrap();
        let watchers: Vec<_> = (0..ENTRIES * 2 + 1).map(|_| Watcher::new(wake.as_fd())).collect();
        let mut entries: Vec<_> = watchers.iter().map(|watcher| ptr::from_ref(watcher.entry)).collect();
        entries.sort();
        entries.dedup();
        assert_eq!(entries.len(), watchers.len());
    }
}
