//! One suite for every backend: whatever the kernel is asked with, events, bufferevents and listeners behave the same.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::events::*;
use support::net::{PATIENCE, any_port, pattern, read_exact, run, tcp_pair};
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, Options};
use zerovent::event_base::{Config, Ended, Event, EventId, Features, Interest, Run, What, supported_methods};
use zerovent::listener::ListenOptions;

/// Each test once a backend.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        on_every_backend!(@backend epoll: $($test),*);
        on_every_backend!(@backend poll: $($test),*);
        on_every_backend!(@backend select: $($test),*);
        #[cfg(feature = "io_uring")]
        on_every_backend!(@backend io_uring: $($test),*);
    };
    (@backend $backend:ident: $($test:ident),*) => {
        mod $backend {
            $(#[test] fn $test() { super::$test(stringify!($backend)); })*
        }
    };
}

on_every_backend!(
    it_is_the_one_that_was_asked_for,
    every_interest_is_told_of_what_it_waits_for_and_of_nothing_else,
    urgent_data_is_told_to_those_who_ask,
    several_events_of_one_descriptor_are_all_called,
    a_persistent_event_goes_on_and_another_does_not,
    a_timeout_comes_when_nothing_else_does_and_never_early,
    edges_are_told_once_where_there_are_any,
    states_and_edges_of_one_descriptor_are_told_apart,
    an_event_may_wait_for_the_socket_of_a_bufferevent,
    a_hang_up_is_told_and_what_nobody_waits_for_does_not_spin,
    an_early_close_is_told_where_it_can_be,
    a_number_that_is_closed_and_used_again_is_another_file,
    a_duplicate_that_lives_on_reaches_nobody,
    a_number_closed_without_a_word_is_ready_and_starves_nobody,
    files_are_always_ready,
    thousands_of_descriptors_are_watched,
    another_thread_wakes_the_loop,
    wakes_from_many_threads_are_never_lost,
    a_signal_wakes_the_loop,
    a_bufferevent_echoes_without_a_wait_too_many,
    a_bufferevent_that_nobody_reads_waits_in_peace,
    a_listener_accepts_and_its_connections_echo,
    a_connect_that_is_refused_is_told,
);

fn only<C>(method: &str, context: C) -> EventBase<C> {
    let others = supported_methods().filter(|name| *name != method);
    let config = others.fold(Config::new().ignore_env(true), Config::avoid_method);
    EventBase::with_config(&config, context).unwrap()
}

fn base_on(method: &str) -> Base {
    only(method, Calls::new())
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How many waits the loop needs while it has nothing to do for a while.
fn idle_waits<C>(base: &mut EventBase<C>) -> u64 {
    let before = base.stats().waits;
    base.loop_exit(Some(ms(40))).unwrap();
    base.run(Run::NO_EXIT_ON_EMPTY).unwrap();
    base.stats().waits - before
}

fn it_is_the_one_that_was_asked_for(method: &str) {
    let base = base_on(method);
    assert_eq!(base.method(), method);
    assert!(base.features().contains(Features::ANY_DESCRIPTOR), "the descriptors of this suite");
}

fn every_interest_is_told_of_what_it_waits_for_and_of_nothing_else(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    noted(&mut base, "read", reading(&near).persist(), None);
    noted(&mut base, "write", Event::fd(&near, Interest::WRITE).persist(), None);
    noted(&mut base, "both", Event::fd(&near, Interest::READ | Interest::WRITE).persist(), None);
    assert_eq!(pass(&mut base), [("write", WRITE), ("both", WRITE)]);
    poke(&far);
    assert_eq!(pass(&mut base), [("read", READ), ("write", WRITE), ("both", READ | WRITE)]);
    empty(&near);
    while (&near).write(&[0; 4096]).is_ok() {}
    assert_eq!(pass(&mut base), [], "nothing to read and no room to write");
    poke(&far);
    assert_eq!(pass(&mut base), [("read", READ), ("both", READ)]);
}

fn urgent_data_is_told_to_those_who_ask(method: &str) {
    let mut base = base_on(method);
    let (near, far) = tcp_pair();
    let byte = b"!";
    // SAFETY: the byte is readable.
    #[allow(unsafe_code, reason = "std has no urgent data")]
    let sent = unsafe { libc::send(far.as_raw_fd(), byte.as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    noted(&mut base, "urgent", Event::fd(&near, Interest::URGENT), Some(PATIENCE));
    noted(&mut base, "other", Event::fd(&near, Interest::WRITE), Some(PATIENCE));
    let mut calls = run_dry(&mut base);
    calls.sort_by_key(|(name, _)| *name);
    assert_eq!(calls, [("other", WRITE), ("urgent", What::URGENT)]);
}

fn several_events_of_one_descriptor_are_all_called(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    let ids = ["a", "b", "c"].map(|name| noted(&mut base, name, reading(&near).persist(), None));
    poke(&far);
    assert_eq!(names(&pass(&mut base)), ["a", "b", "c"]);
    base.del(ids[1]).unwrap();
    assert_eq!(names(&pass(&mut base)), ["a", "c"]);
    base.free(ids[0]).unwrap();
    base.free(ids[2]).unwrap();
    assert_eq!(pass(&mut base), []);
    base.add(ids[1], None).unwrap();
    assert_eq!(names(&pass(&mut base)), ["b"]);
}

fn a_persistent_event_goes_on_and_another_does_not(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    let stays = noted(&mut base, "stays", reading(&near).persist(), None);
    let goes = noted(&mut base, "goes", reading(&near), None);
    poke(&far);
    assert_eq!(names(&pass(&mut base)), ["stays", "goes"]);
    assert_eq!(names(&pass(&mut base)), ["stays"]);
    base.add(goes, None).unwrap();
    assert_eq!(pass(&mut base).len(), 2);
    base.free(stays).unwrap();
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Empty);
}

fn a_timeout_comes_when_nothing_else_does_and_never_early(method: &str) {
    let mut base = base_on(method);
    let (near, _far) = pair();
    let (busy, poked) = pair();
    poke(&poked);
    let begun = Instant::now();
    noted(&mut base, "quiet", reading(&near), Some(ms(30)));
    noted(&mut base, "busy", reading(&busy), Some(ms(30)));
    assert_eq!(run_dry(&mut base), [("busy", READ), ("quiet", TIMEOUT)]);
    assert!(begun.elapsed() >= ms(30));
    assert!(base.stats().waits < 6, "{:?}", base.stats());
}

fn edges_are_told_once_where_there_are_any(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    noted(&mut base, "edge", Event::fd(&near, Interest::READ | Interest::EDGE).persist(), None);
    let again = if base.features().contains(Features::EDGE) { 0 } else { 1 };
    for _ in 0..3 {
        poke(&far);
        assert_eq!(pass(&mut base), [("edge", READ)]);
        assert_eq!(pass(&mut base).len(), again, "without edges it is level-triggered");
        empty(&near);
        assert_eq!(pass(&mut base), []);
    }
}

fn states_and_edges_of_one_descriptor_are_told_apart(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    let state = noted(&mut base, "state", reading(&near).persist(), None);
    let edge = Event::fd(&near, Interest::READ | Interest::EDGE).persist();
    let edge = noted(&mut base, "edge", edge, None);
    let has_edges = base.features().contains(Features::EDGE);
    for _ in 0..3 {
        poke(&far);
        let mut both = names(&pass(&mut base));
        both.sort_unstable();
        assert_eq!(both, ["edge", "state"]);
        assert_eq!(pass(&mut base).len(), if has_edges { 1 } else { 2 });
        empty(&near);
        assert_eq!(pass(&mut base), []);
    }
    base.del(edge).unwrap();
    poke(&far);
    for _ in 0..2 {
        assert_eq!(pass(&mut base), [("state", READ)], "who is left goes on");
    }
    base.add(edge, None).unwrap();
    assert!(names(&pass(&mut base)).contains(&"edge"), "who comes hears what is true already");
    base.del(state).unwrap();
    assert_eq!(pass(&mut base).len(), usize::from(!has_edges));
    poke(&far);
    assert_eq!(pass(&mut base), [("edge", READ)]);
    base.free(edge).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

fn an_event_may_wait_for_the_socket_of_a_bufferevent(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    let number = near.as_raw_fd();
    let id = base.new_socket(Some(OwnedFd::from(near)), &Options::new()).unwrap();
    base.set_read_callback(id, |base, id| {
        base.context_mut().push(("bufferevent", READ));
        let input = base.bufferevent(id).unwrap().input();
        input.drain(input.len()).unwrap();
    })
    .unwrap();
    pass(&mut base);
    let beside = noted(&mut base, "beside", Event::raw_fd(number, Interest::READ).persist(), None);
    poke(&far);
    for _ in 0..3 {
        assert_eq!(pass(&mut base), [("beside", READ)], "until somebody reads");
    }
    base.bufferevent(id).unwrap().enable(Interest::READ);
    // Reading is taken up before the next wait, and done in the turn after that.
    assert!((0..3).any(|_| pass(&mut base).contains(&("bufferevent", READ))));
    pass(&mut base);
    assert_eq!(pass(&mut base), [], "and then no longer");
    poke(&far);
    let both = pass(&mut base);
    assert!(both.contains(&("beside", READ)) && both.contains(&("bufferevent", READ)), "{both:?}");
    noted(&mut base, "writer", Event::raw_fd(number, Interest::WRITE), None);
    assert_eq!(pass(&mut base), [("writer", WRITE)]);
    base.free(beside).unwrap();
    poke(&far);
    assert_eq!(pass(&mut base), [("bufferevent", READ)]);
    base.free_bufferevent(id).unwrap();
    assert_eq!(run_dry(&mut base), []);
}

fn a_hang_up_is_told_and_what_nobody_waits_for_does_not_spin(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    let reader = noted(&mut base, "reader", reading(&near).persist(), None);
    drop(far);
    assert_eq!(pass(&mut base), [("reader", READ)]);
    base.del(reader).unwrap();
    noted(&mut base, "timer", Event::timer(), Some(NEVER));
    assert!(idle_waits(&mut base) < 4, "nobody waits for the broken socket");
    noted(&mut base, "writer", Event::fd(&near, Interest::WRITE), None);
    assert_eq!(pass(&mut base), [("writer", WRITE)], "it will find out");
}

fn an_early_close_is_told_where_it_can_be(method: &str) {
    let mut base = base_on(method);
    let (near, far) = pair();
    poke(&far);
    noted(&mut base, "closed", Event::fd(&near, Interest::CLOSED), None);
    assert_eq!(pass(&mut base), [], "there is something to read, which is another matter");
    far.shutdown(Shutdown::Write).unwrap();
    let expected: &[_] =
        if base.features().contains(Features::EARLY_CLOSE) { &[("closed", CLOSED)] } else { &[] };
    assert_eq!(pass(&mut base), expected, "before what came first was read");
    assert!(idle_waits(&mut base) < 4);
}

/// Numbers of which each test, on each backend, has some of its own.
fn number(method: &str, test: i32) -> i32 {
    let backend = supported_methods().position(|name| name == method).unwrap();
    12_000 + 100 * i32::try_from(backend).unwrap() + test
}

fn a_number_that_is_closed_and_used_again_is_another_file(method: &str) {
    let number = number(method, 0);
    let mut base = base_on(method);
    for round in 0..20 {
        let (near, far) = pair();
        let fd = at_number(&near, number);
        drop(near);
        let id = noted(&mut base, "it", Event::raw_fd(number, Interest::READ).persist(), None);
        assert_eq!(pass(&mut base), [], "round {round}");
        poke(&far);
        assert_eq!(pass(&mut base), [("it", READ)]);
        if round % 2 == 0 {
            base.free(id).unwrap();
            drop(fd);
        } else {
            drop(fd);
            base.free(id).unwrap();
        }
    }
    assert!(idle_waits(&mut base) < 4);
}

/// What makes libevent's changelist go wrong: a registration that a duplicate keeps alive.
fn a_duplicate_that_lives_on_reaches_nobody(method: &str) {
    let number = number(method, 1);
    let mut base = base_on(method);
    let (old, old_far) = pair();
    let fd = at_number(&old, number);
    let both = Event::raw_fd(number, Interest::READ).persist();
    let original = noted(&mut base, "original", both, None);
    let duplicate = noted(&mut base, "duplicate", reading(&old).persist(), None);
    poke(&old_far);
    assert_eq!(pass(&mut base).len(), 2, "both numbers are watched, each on its own");
    base.del(original).unwrap();
    assert_eq!(pass(&mut base), [("duplicate", READ)]);
    base.add(original, None).unwrap();
    base.del(duplicate).unwrap();
    assert_eq!(pass(&mut base), [("original", READ)]);

    // Deleted, closed, and its number given to another connection, all before the kernel hears of any of it.
    base.free(original).unwrap();
    drop(fd);
    let (new, mut new_far) = UnixStream::pair().unwrap();
    new.set_nonblocking(true).unwrap();
    let heir = base.new_socket(Some(at_number(&new, number)), &Options::new()).unwrap();
    base.bufferevent(heir).unwrap().enable(Interest::READ);
    base.set_read_callback(heir, |base, id| {
        let arrived = base.bufferevent(id).unwrap().input().len();
        assert_eq!(arrived, 5, "what the heir was sent");
        base.context_mut().push(("heir", READ));
    })
    .unwrap();
    let waits = idle_waits(&mut base);
    assert!(waits < 40, "{waits} waits: the old file keeps the loop busy");
    assert_eq!(*base.context(), [], "what the old file has is nobody's");
    assert_eq!(base.stats().stale_events > 0, method == "epoll", "only epoll keeps what has no number");
    new_far.write_all(b"hello").unwrap();
    assert_eq!(pass(&mut base), [("heir", READ)]);
    base.free(duplicate).unwrap();
}

fn a_number_closed_without_a_word_is_ready_and_starves_nobody(method: &str) {
    let number = number(method, 2);
    let mut base = base_on(method);
    let (near, far) = pair();
    noted(&mut base, "other", reading(&near).persist(), None);
    noted(&mut base, "closed", Event::raw_fd(number, Interest::READ), None);
    assert_eq!(pass(&mut base), [("closed", READ)]);
    if method != "epoll" {
        // The others see it too when it is closed while it is watched; epoll forgets it.
        let fd = at_number(&near, number);
        let id = noted(&mut base, "gone", Event::raw_fd(number, Interest::READ).persist(), None);
        assert_eq!(pass(&mut base), []);
        drop(fd);
        poke(&far);
        let mut called = names(&pass(&mut base));
        called.sort_unstable();
        assert_eq!(called, ["gone", "other"]);
        base.free(id).unwrap();
    }
    empty(&near);
    assert!(idle_waits(&mut base) < 4);
}

fn files_are_always_ready(method: &str) {
    let mut base = base_on(method);
    let regular = tempfile::tempfile().unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    for (file, name) in [(&regular, "regular"), (&null, "null")] {
        let id = noted(&mut base, name, Event::fd(file, Interest::READ | Interest::WRITE).persist(), None);
        for _ in 0..3 {
            assert_eq!(pass(&mut base), [(name, READ | WRITE)]);
        }
        base.del(id).unwrap();
        assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Empty);
        base.add(id, None).unwrap();
        assert_eq!(pass(&mut base), [(name, READ | WRITE)]);
        base.free(id).unwrap();
    }
    assert_eq!(base.method(), method, "no other backend was needed for them");
}

/// Beyond what an `fd_set` of the C library has room for.
const MANY: usize = 3000;

fn thousands_of_descriptors_are_watched(method: &str) {
    let mut base = only(method, Vec::new());
    let (idle, other) = pair();
    let copies: Vec<OwnedFd> = (0..MANY).map(|_| idle.as_fd().try_clone_to_owned().unwrap()).collect();
    let (near, far) = pair();
    let note = |base: &mut EventBase<Vec<usize>>, place| base.context_mut().push(place);
    let watch = |base: &mut EventBase<Vec<usize>>, event: Event, place: usize| -> EventId {
        let id = base.new_event(event.persist(), move |base: &mut _, _, _| note(base, place)).unwrap();
        base.add(id, None).unwrap();
        id
    };
    let ids: Vec<_> =
        copies.iter().enumerate().map(|(place, copy)| watch(&mut base, reading(copy), place)).collect();
    watch(&mut base, reading(&near), MANY);
    assert!(near.as_raw_fd() as usize > MANY);
    poke(&far);
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(std::mem::take(base.context_mut()), [MANY]);
    poke(&other);
    while base.context().len() <= MANY {
        base.run(Run::NONBLOCK).unwrap();
    }
    base.context_mut().sort_unstable();
    base.context_mut().dedup();
    assert_eq!(base.context().len(), MANY + 1, "each of them");
    base.context_mut().clear();
    ids.into_iter().for_each(|id| base.free(id).unwrap());
    base.run(Run::NONBLOCK).unwrap();
    assert_eq!(*base.context(), [MANY]);
}

fn another_thread_wakes_the_loop(method: &str) {
    let mut base = only(method, 0);
    let remote = base.remote();
    let thread = std::thread::spawn(move || {
        for _ in 0..100 {
            remote.run(|base| *base.context_mut() += 1).unwrap();
        }
        remote.run(EventBase::loop_break).unwrap();
    });
    base.loop_exit(Some(PATIENCE)).unwrap();
    assert_eq!(base.run(Run::NO_EXIT_ON_EMPTY).unwrap(), Ended::Break);
    thread.join().unwrap();
    assert_eq!(*base.context(), 100);
    assert!(idle_waits(&mut base) < 4, "the wake has been taken notice of");
}

/// Waking and taking notice race all the time here; where one is lost, the loop sleeps for ever.
fn wakes_from_many_threads_are_never_lost(method: &str) {
    const THREADS: usize = 4;
    const CALLS: usize = 3000;
    let mut base = only(method, 0);
    let threads = [(); THREADS].map(|()| {
        let remote = base.remote();
        let done = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for call in 0..CALLS {
                // One at a time, so that the loop goes to sleep in between.
                while done.load(Ordering::Relaxed) < call {
                    std::thread::yield_now();
                }
                let done = Arc::clone(&done);
                let count = move |base: &mut EventBase<usize>| {
                    done.fetch_add(1, Ordering::Relaxed);
                    *base.context_mut() += 1;
                    if *base.context() == THREADS * CALLS {
                        base.loop_break();
                    }
                };
                remote.run(count).unwrap();
            }
        })
    });
    run(&mut base);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn a_signal_wakes_the_loop(method: &str) {
    let mut base = base_on(method);
    let id = base.new_signal(libc::SIGWINCH, note("signal")).unwrap();
    base.add(id, None).unwrap();
    raise(libc::SIGWINCH);
    assert!(pass(&mut base).contains(&("signal", SIGNAL)));
}

fn echo<C>(base: &mut EventBase<C>, id: BuffereventId) {
    let (input, output) = base.bufferevent(id).unwrap().buffers();
    output.add_buffer(input).unwrap();
}

fn a_bufferevent_echoes_without_a_wait_too_many(method: &str) {
    const ROUNDS: u64 = 100;
    let mut base = only(method, BevEvents::empty());
    let (mut near, far) = tcp_pair();
    far.set_nonblocking(true).unwrap();
    let id = base.new_socket(Some(far.into()), &Options::new()).unwrap();
    base.set_read_callback(id, echo).unwrap();
    base.set_event_callback(id, |base, _, events| {
        *base.context_mut() = events;
        base.loop_break();
    })
    .unwrap();
    base.bufferevent(id).unwrap().enable(Interest::READ);
    let client = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let message = pattern(100, round + 1);
            near.write_all(&message).unwrap();
            assert_eq!(read_exact(&mut near, 100), message);
        }
        // More than any socket's buffers hold: writing has to wait for room, and to go on.
        let bulk = pattern(8 << 20, 7);
        let mut writer = near.try_clone().unwrap();
        let sent = bulk.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(read_exact(&mut near, bulk.len()) == bulk);
        writing.join().unwrap();
        near
    });
    while !client.is_finished() {
        base.run(Run::ONCE).unwrap();
        if base.stats().calls >= ROUNDS {
            break;
        }
    }
    let waits = base.stats().waits;
    assert!(waits <= ROUNDS + ROUNDS / 4, "{waits} waits for {ROUNDS} messages");
    let remote = base.remote();
    let joined = std::thread::spawn(move || {
        let near = client.join().unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        drop(remote);
        near
    });
    run(&mut base);
    assert_eq!(*base.context(), BevEvents::EOF | BevEvents::READING);
    let before = base.stats().turns;
    assert!(idle_waits(&mut base) < 4);
    assert!(base.stats().turns - before < 4, "the end is told once");
    joined.join().unwrap();
}

fn a_bufferevent_that_nobody_reads_waits_in_peace(method: &str) {
    let mut base = only(method, ());
    let (mut near, far) = tcp_pair();
    far.set_nonblocking(true).unwrap();
    let id = base.new_socket(Some(far.into()), &Options::new()).unwrap();
    near.write_all(&[1; 1000]).unwrap();
    assert!(idle_waits(&mut base) < 4, "reading is not enabled");
    let bufferevent = base.bufferevent(id).unwrap();
    bufferevent.set_watermark(Interest::READ, 0, 100);
    bufferevent.enable(Interest::READ);
    assert!(idle_waits(&mut base) < 6, "its input is full");
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 100);
    base.bufferevent(id).unwrap().set_watermark(Interest::READ, 0, 0);
    assert!(idle_waits(&mut base) < 6);
    assert_eq!(base.bufferevent(id).unwrap().input().len(), 1000);
    base.bufferevent(id).unwrap().write(&vec![2; 16 << 20]).unwrap();
    let waits = idle_waits(&mut base);
    assert!(waits < 40, "{waits} waits: the peer does not read");
    assert!(!base.bufferevent(id).unwrap().output().is_empty());
    base.bufferevent(id).unwrap().disable(Interest::READ | Interest::WRITE);
    drop(near);
    assert!(idle_waits(&mut base) < 4, "nobody wants to know that the peer is gone");
}

fn a_listener_accepts_and_its_connections_echo(method: &str) {
    const CLIENTS: usize = 50;
    let mut base = only(method, 0);
    let accept = |base: &mut EventBase<usize>, _, socket, _| {
        let id = base.new_socket(Some(socket), &Options::new()).unwrap();
        base.set_read_callback(id, echo).unwrap();
        base.set_event_callback(id, |base, id, _| {
            base.free_after_flush(id, PATIENCE).unwrap();
            *base.context_mut() += 1;
            if *base.context() == CLIENTS {
                base.loop_break();
            }
        })
        .unwrap();
        base.bufferevent(id).unwrap().enable(Interest::READ);
    };
    let listener = base.listen(any_port(), &ListenOptions::new(), accept).unwrap();
    let address = base.listener(listener).unwrap().address().as_inet().unwrap();
    let client = std::thread::spawn(move || {
        let mut streams: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for stream in &mut streams {
            stream.write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        for stream in &mut streams {
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed).unwrap();
            assert_eq!(echoed, b"hello");
        }
    });
    run(&mut base);
    // The last bytes, and the last ends, are still on their way.
    let begun = Instant::now();
    while !client.is_finished() && begun.elapsed() < PATIENCE {
        base.loop_exit(Some(ms(5))).unwrap();
        base.dispatch().unwrap();
    }
    client.join().unwrap();
    assert!(idle_waits(&mut base) < 6);
    base.disable_listener(listener).unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    assert!(idle_waits(&mut base) < 4, "a listener that is disabled watches nothing");
}

fn a_connect_that_is_refused_is_told(method: &str) {
    let address = std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let mut base = only(method, Vec::new());
    let id = base.new_socket(None, &Options::new()).unwrap();
    base.set_event_callback(id, |base: &mut EventBase<Vec<BevEvents>>, _, events| {
        base.context_mut().push(events);
    })
    .unwrap();
    base.connect(id, address).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), [BevEvents::ERROR]);
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    base.connect(id, listener.local_addr().unwrap()).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(*base.context(), [BevEvents::ERROR, BevEvents::CONNECTED]);
}
