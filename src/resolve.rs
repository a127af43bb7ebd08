//! Host names without blocking the loop: getaddrinfo(3), which blocks for as long as it likes, on a few threads.
//!
//! It is the system's own resolver on purpose: it knows /etc/hosts, the search domains and whatever else the machine has
//! been told, and a second implementation would disagree with every other program on it.
//!
//! # The threads
//!
//! A base that never asks has none. The first question starts one, further ones up to [`THREADS_MAX`], and one that
//! has had nothing to do for a while ends. Nobody waits for them: getaddrinfo cannot be interrupted, so a base that is
//! dropped closes the desk, and a thread that comes back with an answer finds nobody there and ends. Threads know
//! neither the base nor its closures; they see the desk alone:
//!
//! ```text
//!   loop's thread ──ask──► questions ──► a thread: getaddrinfo ──► answers ──wake──► loop's thread
//! ```

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use crate::error::ResolveError;

use crate::error::{Error, Result};
use crate::reactor::{Notifier, RawId};
use crate::sys;
use crate::util;

/// How many names a base has looked up at the same time; the others wait.
pub const THREADS_MAX: usize = 4;

/// How long a thread waits for the next question.
const IDLE: Duration = Duration::from_secs(5);

/// Names a question of one [`EventBase`](crate::EventBase) that has not been answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResolveId(pub(crate) RawId);

/// Which addresses of a host are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Family {
    /// All of them.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Family {
    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }

    fn number(self) -> libc::c_int {
        match self {
            Family::Any => libc::AF_UNSPEC,
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        }
    }
}

/// The addresses of a host, in the order in which they should be tried, or why there are none.
pub(crate) type Answer = Result<Vec<SocketAddr>, ResolveError>;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    host: CString,
    family: Family,
    port: u16,
}

impl Question {
    pub(crate) fn new(host: &str, family: Family, port: u16) -> Result<Self> {
        let host = CString::new(host).map_err(|_| Error::Invalid("a host name contains a NUL"))?;
        Ok(Question { host, family, port })
    }

    /// Looks it up, and blocks meanwhile.
    pub(crate) fn look_up(&self) -> Answer {
        let addresses = sys::resolve::addresses(&self.host, self.family.number(), self.port)?;
        if addresses.is_empty() { Err(ResolveError::NoName) } else { Ok(addresses) }
    }
}

/// The answer for a host that is written as an address and needs no looking up; `None` for a name.
pub(crate) fn numeric(host: &str, family: Family, port: u16) -> Option<Answer> {
    let address = util::parse_ip(host, port)?;
    Some(if family.includes(address.ip()) { Ok(vec![address]) } else { Err(ResolveError::NoName) })
}

/// What lies between the loop's thread and those that look names up.
#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug)]
struct State {
    questions: VecDeque<(ResolveId, Question)>,
    answers: Vec<(ResolveId, Answer)>,
    threads: usize,
    idle: usize,
    /// Wakes the loop; `None` once the base is gone.
    notifier: Option<Arc<Notifier>>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock, so what it guards is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn serve(&self) {
        while let Some((id, question)) = self.next() {
            let answer = question.look_up();
            self.lock().answered(id, answer);
        }
    }

    /// The next question; `None` when the thread is to end.
    fn next(&self) -> Option<(ResolveId, Question)> {
        let mut state = self.lock();
        state.idle += 1;
        let waiting = |state: &mut State| state.questions.is_empty() && state.notifier.is_some();
        let (mut state, _) =
            self.asked.wait_timeout_while(state, IDLE, waiting).unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let next = state.questions.pop_front();
        state.threads -= usize::from(next.is_none());
        next
    }
}

impl State {
    fn answered(&mut self, id: ResolveId, answer: Answer) {
        let Some(notifier) = &self.notifier else { return };
        self.answers.push((id, answer));
        // Under the lock, so that the base is still there.
        if let Err(error) = notifier.wake() {
            log::warn!("the loop cannot be told of an answer: {error}");
        }
    }
}

/// The loop's side of the desk.
#[derive(Debug)]
pub(crate) struct Resolver {
    desk: Arc<Desk>,
}

impl Resolver {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        let state = State {
            questions: VecDeque::new(),
            answers: Vec::new(),
            threads: 0,
            idle: 0,
            notifier: Some(notifier),
        };
        Resolver { desk: Arc::new(Desk { state: Mutex::new(state), asked: Condvar::new() }) }
    }

    /// Asks; the answer wakes the loop and is then among [`answers`](Self::answers).
    pub(crate) fn ask(&self, id: ResolveId, question: Question) -> io::Result<()> {
        let mut state = self.desk.lock();
        if state.idle <= state.questions.len() && state.threads < THREADS_MAX {
            match self.start_thread() {
                Ok(()) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                // Those that run will come to it.
                Err(_) => {}
            }
        }
        state.questions.push_back((id, question));
        self.desk.asked.notify_one();
        Ok(())
    }

    /// From now on no question is answered: as if all threads were waiting for a name server that is gone.
    #[cfg(test)]
    pub(crate) fn stall(&self) {
        self.desk.lock().threads = THREADS_MAX;
    }

    #[cfg(test)]
    pub(crate) fn unanswered(&self) -> usize {
        self.desk.lock().questions.len()
    }

    fn start_thread(&self) -> io::Result<()> {
        let desk = Arc::clone(&self.desk);
        let _blocked = sys::signal::Blocked::all();
        thread::Builder::new().name("zerovent-resolve".into()).spawn(move || desk.serve())?;
        Ok(())
    }

    /// Takes a question back that no thread has come to yet; the answer to another one is nobody's.
    pub(crate) fn forget(&self, id: ResolveId) {
        self.desk.lock().questions.retain(|(asked, _)| *asked != id);
    }

    /// Takes the answers that have come.
    pub(crate) fn answers(&self) -> Vec<(ResolveId, Answer)> {
        std::mem::take(&mut self.desk.lock().answers)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.notifier = None;
        state.questions.clear();
        self.desk.asked.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Arena;

    fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what} does not happen");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn resolver() -> Resolver {
        Resolver::new(Arc::new(Notifier::new().unwrap()))
    }

    fn question() -> Question {
        Question::new("127.0.0.1", Family::Any, 80).unwrap()
    }

    #[test]
    fn a_hundred_questions_are_answered_by_a_few_threads() {
        let resolver = resolver();
        let mut ids = Arena::with_capacity(0);
        for _ in 0..100 {
            resolver.ask(ResolveId(ids.insert(())), question()).unwrap();
            assert!(resolver.desk.lock().threads <= THREADS_MAX);
        }
        let mut answers = Vec::new();
        wait_until("the last answer", || {
            answers.extend(resolver.answers());
            answers.len() == 100
        });
        assert!(answers.iter().all(|(_, answer)| answer.as_ref().is_ok_and(|found| found.len() == 1)));
    }

    #[test]
    fn signals_are_left_to_the_programs_threads() {
        let mask = |task: &str| {
            let status = std::fs::read_to_string(format!("/proc/self/task/{task}/status")).ok()?;
            let name = status.lines().next()?.strip_prefix("Name:\t")?.to_owned();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"))?.to_owned();
            Some((name, u64::from_str_radix(&blocked, 16).ok()?))
        };
        let tasks = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks.filter_map(|task| mask(task.ok()?.file_name().to_str()?)).collect::<Vec<_>>()
        };
        let resolver = resolver();
        let mut ids = Arena::with_capacity(0);
        resolver.ask(ResolveId(ids.insert(())), question()).unwrap();
        wait_until("a thread with its name", || tasks().iter().any(|(name, _)| name == "zerovent-resolv"));
        let term = 1 << (libc::SIGTERM - 1);
        assert!(tasks().iter().all(|(name, blocked)| name != "zerovent-resolv" || blocked & term != 0));
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        assert_eq!(u64::from_str_radix(own, 16).unwrap() & term, 0, "here they are delivered as before");
    }

    #[test]
    fn threads_end_with_their_resolver() {
        let resolver = resolver();
        let mut ids = Arena::with_capacity(0);
        resolver.ask(ResolveId(ids.insert(())), question()).unwrap();
        let desk = Arc::clone(&resolver.desk);
        drop(resolver);
        wait_until("the end of the threads", || desk.lock().threads == 0 && Arc::strong_count(&desk) == 1);
        let state = desk.lock();
        assert!(state.questions.is_empty() && state.notifier.is_none());
    }

    #[test]
    fn a_question_that_was_taken_back_is_not_looked_up() {
        let resolver = resolver();
        let mut ids = Arena::with_capacity(0);
        resolver.stall();
        let id = ResolveId(ids.insert(()));
        resolver.ask(id, question()).unwrap();
        assert_eq!(resolver.unanswered(), 1);
        resolver.forget(id);
        assert_eq!(resolver.unanswered(), 0);
    }

    #[test]
    fn addresses_need_no_thread() {
        let numeric = |host, family| numeric(host, family, 80);
        assert_eq!(numeric("127.0.0.1", Family::Any), Some(Ok(vec!["127.0.0.1:80".parse().unwrap()])));
        assert_eq!(numeric("::1", Family::V6), Some(Ok(vec!["[::1]:80".parse().unwrap()])));
        assert_eq!(numeric("fe80::1%1", Family::V6), Some(Ok(vec!["[fe80::1%1]:80".parse().unwrap()])));
        assert_eq!(numeric("::1", Family::V4), Some(Err(ResolveError::NoName)));
        assert_eq!(numeric("localhost", Family::Any), None);
        assert_eq!(numeric("", Family::Any), None);
    }
}
