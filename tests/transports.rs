//! One suite for every transport: what a bufferevent promises it promises whatever lies beneath, deferred or not, on every
//! backend.

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::net;
use zerovent::EventBase;
use zerovent::bufferevent::{BevEvents, BuffereventId, FlushMode, Options};
use zerovent::event_base::{Config, Interest, Run, supported_methods};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Heard {
    Read,
    Write,
    Events(BevEvents),
}

type Base = EventBase<Vec<(BuffereventId, Heard)>>;

/// Two ends of one connection in one base.
struct Ends {
    base: Base,
    near: BuffereventId,
    far: BuffereventId,
    options: Options,
}

/// How a kind of connection is made.
#[derive(Clone, Copy)]
struct Kind {
    make: fn(&mut Base, &Options) -> (BuffereventId, BuffereventId),
    /// What one end hears when the other is freed with something unread.
    loss: BevEvents,
}

const RESET: BevEvents = BevEvents::ERROR.union(BevEvents::READING);
const END: BevEvents = BevEvents::EOF.union(BevEvents::READING);
const SOON: Duration = Duration::from_millis(15);

fn over(base: &mut Base, options: &Options, near: OwnedFd, far: OwnedFd) -> (BuffereventId, BuffereventId) {
    (base.new_socket(Some(near), options).unwrap(), base.new_socket(Some(far), options).unwrap())
}

fn tcp(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    let listener = TcpListener::bind(net::any_port()).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    over(base, options, near.into(), far.into())
}

fn unix(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    let (near, far) = UnixStream::pair().unwrap();
    over(base, options, near.into(), far.into())
}

fn pair(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    base.new_pair(&options.clone().eof_on_free(true)).unwrap()
}

/// Covers both ends with filters that own them, and let no more wait beneath than a socket does.
fn filtered(
    base: &mut Base,
    options: &Options,
    (near, far): (BuffereventId, BuffereventId),
) -> (BuffereventId, BuffereventId) {
    let mut cover = |below| {
        base.bufferevent(below).unwrap().set_watermark(Interest::WRITE, 0, 64 * 1024);
        base.bufferevent(below).unwrap().set_watermark(Interest::READ, 0, 64 * 1024);
        base.new_filter(below, None, None, &options.clone().close_on_free(true)).unwrap()
    };
    (cover(near), cover(far))
}

fn filter_over_tcp(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    let ends = tcp(base, options);
    filtered(base, options, ends)
}

fn filter_over_pair(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    let ends = pair(base, options);
    filtered(base, options, ends)
}

impl Ends {
    fn new(kind: Kind, options: &Options, method: &str) -> Self {
        let others = supported_methods().filter(|&other| other != method);
        let config = others.fold(Config::new(), |config, other| config.avoid_method(other));
        let mut base = EventBase::with_config(&config, Vec::new()).unwrap();
        assert_eq!(base.method(), method);
        let (near, far) = (kind.make)(&mut base, options);
        let mut ends = Ends { base, near, far, options: options.clone() };
        for id in [near, far] {
            ends.listen(id);
            ends.enable(id);
        }
        ends
    }

    fn listen(&mut self, id: BuffereventId) {
        let hear = |base: &mut Base, id, heard| base.context_mut().push((id, heard));
        self.base.set_read_callback(id, move |base, id| hear(base, id, Heard::Read)).unwrap();
        self.base.set_write_callback(id, move |base, id| hear(base, id, Heard::Write)).unwrap();
        let told = move |base: &mut Base, id, events| hear(base, id, Heard::Events(events));
        self.base.set_event_callback(id, told).unwrap();
    }

    fn enable(&mut self, id: BuffereventId) {
        self.base.bufferevent(id).unwrap().enable(Interest::READ | Interest::WRITE);
    }

    fn write(&mut self, id: BuffereventId, bytes: &[u8]) {
        self.base.bufferevent(id).unwrap().write(bytes).unwrap();
    }

    fn input_len(&mut self, id: BuffereventId) -> usize {
        self.base.bufferevent(id).unwrap().input().len()
    }

    fn take(&mut self, id: BuffereventId) -> Vec<u8> {
        let input = self.base.bufferevent(id).unwrap().input();
        input.remove_bytes(input.len()).unwrap().to_vec()
    }

    /// Lets everything happen that does, and says what was heard by one end.
    fn heard_by(&mut self, id: BuffereventId) -> Vec<Heard> {
        net::run_for(&mut self.base, SOON);
        // On a loaded machine the time is over before much has happened; what is ready does not wait for time.
        for _ in 0..20 {
            self.base.run(Run::NONBLOCK).unwrap();
        }
        let heard = std::mem::take(self.base.context_mut());
        heard.into_iter().filter(|&(whose, _)| whose == id).map(|(_, heard)| heard).collect()
    }

    /// How many turns the loop makes while nothing should happen.
    fn turns_while_quiet(&mut self) -> u64 {
        let before = self.base.stats().turns;
        net::run_for(&mut self.base, SOON);
        self.base.stats().turns - before
    }
}

/// Runs `test` with every backend, with immediate callbacks and with deferred ones.
fn with_all(kind: Kind, test: impl Fn(Ends, Kind)) {
    for method in supported_methods() {
        for deferred in [false, true] {
            test(Ends::new(kind, &Options::new().deferred(deferred), method), kind);
        }
    }
}

fn bytes_arrive_whole_and_in_order_both_ways(mut ends: Ends, _: Kind) {
    const LEN: usize = 700_000;
    let (there, back) = (net::pattern(LEN, 1), net::pattern(LEN, 2));
    for (id, bytes) in [(ends.near, &there), (ends.far, &back)] {
        bytes.chunks(9_999).for_each(|piece| ends.write(id, piece));
    }
    for id in [ends.near, ends.far] {
        ends.base
            .set_read_callback(id, |base, _| {
                let full = |base: &mut Base, (id, _): (BuffereventId, Heard)| {
                    base.bufferevent(id).unwrap().input().len() == LEN
                };
                let both = base.context().clone();
                if both.into_iter().all(|end| full(base, end)) {
                    base.loop_break();
                }
            })
            .unwrap();
    }
    *ends.base.context_mut() = vec![(ends.near, Heard::Read), (ends.far, Heard::Read)];
    net::run(&mut ends.base);
    assert!(ends.take(ends.far) == there && ends.take(ends.near) == back, "bytes differ");
}

fn the_low_mark_holds_the_read_callback_back(mut ends: Ends, _: Kind) {
    ends.base.bufferevent(ends.far).unwrap().set_watermark(Interest::READ, 10, 0);
    ends.write(ends.near, b"nine char");
    assert_eq!(ends.heard_by(ends.far), []);
    ends.write(ends.near, b"s");
    assert_eq!(ends.heard_by(ends.far), [Heard::Read]);
    assert_eq!(ends.take(ends.far), b"nine chars");
}

fn the_high_mark_stops_reading_and_draining_lets_it_go_on(mut ends: Ends, _: Kind) {
    ends.base.bufferevent(ends.far).unwrap().set_watermark(Interest::READ, 0, 1000);
    let sent = net::pattern(3500, 3);
    ends.write(ends.near, &sent);
    let mut received = Vec::new();
    for len in [1000, 1000, 1000, 500] {
        ends.heard_by(ends.far);
        assert_eq!(ends.input_len(ends.far), len);
        assert!(ends.turns_while_quiet() < 10, "it spins at its mark");
        received.extend(ends.take(ends.far));
    }
    assert_eq!(received, sent);
}

fn the_write_callback_comes_when_the_output_has_sunk(mut ends: Ends, _: Kind) {
    assert_eq!(ends.heard_by(ends.near), [], "not before anything was written");
    ends.write(ends.near, b"x");
    assert_eq!(ends.heard_by(ends.near), [Heard::Write]);
    ends.base.bufferevent(ends.near).unwrap().disable(Interest::WRITE);
    ends.write(ends.near, b"x");
    assert_eq!(ends.heard_by(ends.near), []);
    ends.enable(ends.near);
    assert_eq!(ends.heard_by(ends.near), [Heard::Write]);
}

fn a_read_timeout_disables_reading_and_is_told_once(mut ends: Ends, _: Kind) {
    ends.base.bufferevent(ends.near).unwrap().set_timeouts(Some(SOON / 3), None);
    let timed_out = Heard::Events(BevEvents::TIMEOUT | BevEvents::READING);
    assert_eq!(ends.heard_by(ends.near), [timed_out]);
    assert_eq!(ends.base.bufferevent(ends.near).unwrap().enabled(), Interest::WRITE);
    assert_eq!(ends.heard_by(ends.near), []);
    ends.write(ends.far, b"later");
    ends.heard_by(ends.near);
    assert_eq!(ends.input_len(ends.near), 0);
    ends.enable(ends.near);
    assert_eq!(ends.heard_by(ends.near)[0], Heard::Read, "and it can be taken up again");
}

fn a_write_timeout_disables_writing_and_is_told_once(mut ends: Ends, _: Kind) {
    ends.base.bufferevent(ends.far).unwrap().disable(Interest::READ);
    ends.base.bufferevent(ends.near).unwrap().set_timeouts(None, Some(SOON / 3));
    // More than any transport takes while the other end does not read.
    ends.write(ends.near, &vec![0; 16 << 20]);
    let timed_out = Heard::Events(BevEvents::TIMEOUT | BevEvents::WRITING);
    net::run_for(&mut ends.base, SOON * 4);
    assert!(ends.heard_by(ends.near).contains(&timed_out));
    assert_eq!(ends.base.bufferevent(ends.near).unwrap().enabled(), Interest::READ);
    assert!(ends.turns_while_quiet() < 10, "it spins");
}

fn the_end_comes_behind_the_last_bytes_and_once(mut ends: Ends, _: Kind) {
    ends.write(ends.near, b"last words");
    ends.base.bufferevent(ends.near).unwrap().shutdown_after_flush();
    assert_eq!(ends.heard_by(ends.far), [Heard::Read, Heard::Events(END)]);
    assert_eq!(ends.take(ends.far), b"last words");
    assert_eq!(ends.heard_by(ends.far), []);
    // The other direction is still open.
    ends.write(ends.far, b"answer");
    assert_eq!(ends.heard_by(ends.near), [Heard::Read]);
    assert_eq!(ends.take(ends.near), b"answer");
}

fn the_loss_of_the_other_end_is_told_once(mut ends: Ends, kind: Kind) {
    ends.base.bufferevent(ends.far).unwrap().disable(Interest::READ);
    ends.write(ends.near, b"never read");
    ends.heard_by(ends.near);
    ends.base.free_bufferevent(ends.far).unwrap();
    assert!(ends.base.bufferevent(ends.far).is_err());
    assert_eq!(ends.heard_by(ends.near), [Heard::Events(kind.loss)]);
    assert_eq!(
        ends.base.bufferevent(ends.near).unwrap().last_error().is_some(),
        kind.loss.contains(BevEvents::ERROR)
    );
    assert!(ends.turns_while_quiet() < 10, "it spins");
}

/// Has both ends exchange something, and ends the stream of one.
fn make_everything_happen(ends: &mut Ends) {
    ends.write(ends.near, b"question");
    ends.write(ends.far, b"answer");
    ends.base.bufferevent(ends.far).unwrap().shutdown_after_flush();
}

fn each_callback_may_free_its_bufferevent(mut ends: Ends, kind: Kind) {
    // Each callback in its turn, of a connection of its own.
    for which in 0..3 {
        let (near, far) = (kind.make)(&mut ends.base, &ends.options);
        (ends.near, ends.far) = (near, far);
        let free = |base: &mut Base, id| {
            base.context_mut().push((id, Heard::Read));
            base.free_bufferevent(id).unwrap();
        };
        match which {
            0 => ends.base.set_read_callback(near, move |base, id| free(base, id)).unwrap(),
            1 => ends.base.set_write_callback(near, move |base, id| free(base, id)).unwrap(),
            _ => ends.base.set_event_callback(near, move |base, id, _| free(base, id)).unwrap(),
        }
        ends.enable(near);
        ends.enable(far);
        make_everything_happen(&mut ends);
        assert_eq!(ends.heard_by(near), [Heard::Read], "called once, in case {which}");
        assert!(ends.base.bufferevent(near).is_err());
        ends.base.free_bufferevent(far).unwrap();
    }
}

fn each_callback_may_disable_its_bufferevent(mut ends: Ends, _: Kind) {
    let both = Interest::READ | Interest::WRITE;
    let stop = move |base: &mut Base, id, heard| {
        base.bufferevent(id).unwrap().disable(both);
        base.context_mut().push((id, heard));
    };
    let near = ends.near;
    ends.base.set_read_callback(near, move |base, id| stop(base, id, Heard::Read)).unwrap();
    ends.base.set_write_callback(near, move |base, id| stop(base, id, Heard::Write)).unwrap();
    ends.write(ends.far, b"first");
    assert_eq!(ends.heard_by(near), [Heard::Read]);
    ends.write(ends.far, b", second");
    ends.write(near, b"waits");
    assert_eq!(ends.heard_by(near), [], "nothing happens to what is disabled");
    assert_eq!((ends.input_len(near), ends.input_len(ends.far)), (5, 0));

    ends.enable(near);
    let heard = ends.heard_by(near);
    assert!(!heard.is_empty() && heard.iter().all(|heard| matches!(heard, Heard::Read | Heard::Write)));
    ends.enable(near);
    ends.heard_by(near);
    assert_eq!((ends.take(near), ends.take(ends.far)), (b"first, second".to_vec(), b"waits".to_vec()));

    ends.base
        .set_event_callback(near, move |base, id, events| stop(base, id, Heard::Events(events)))
        .unwrap();
    ends.enable(near);
    ends.base.bufferevent(ends.far).unwrap().shutdown_after_flush();
    assert_eq!(ends.heard_by(near), [Heard::Events(END)]);
    assert_eq!(ends.heard_by(near), []);
}

fn a_flush_leaves_nothing_behind(mut ends: Ends, _: Kind) {
    for mode in [FlushMode::Normal, FlushMode::Flush] {
        ends.write(ends.near, b"now");
        ends.base.bufferevent(ends.near).unwrap().flush(Interest::WRITE, mode).unwrap();
        ends.base.bufferevent(ends.far).unwrap().flush(Interest::READ, mode).unwrap();
        ends.heard_by(ends.far);
        assert_eq!(ends.take(ends.far), b"now");
        assert_eq!(ends.base.bufferevent(ends.near).unwrap().output().len(), 0);
    }
}

fn what_is_freed_after_a_flush_sends_all_and_its_end(mut ends: Ends, _: Kind) {
    let sent = net::pattern(300_000, 4);
    ends.write(ends.near, &sent);
    ends.base.free_after_flush(ends.near, net::PATIENCE).unwrap();
    ends.base.set_event_callback(ends.far, |base, _, _| base.loop_break()).unwrap();
    net::run(&mut ends.base);
    assert!(ends.take(ends.far) == sent, "bytes differ");
    ends.base.free_bufferevent(ends.far).unwrap();
}

macro_rules! conformance {
    ($make:ident, $loss:expr, [$($test:ident),* $(,)?]) => {
        mod $make {
            use super::Kind;

            $(
                #[test]
                fn $test() {
                    super::with_all(Kind { make: super::$make, loss: $loss }, super::$test);
                }
            )*
        }
    };
    ($($make:ident: $loss:expr),* $(,)?) => {
        $(
            conformance!($make, $loss, [
                bytes_arrive_whole_and_in_order_both_ways,
                the_low_mark_holds_the_read_callback_back,
                the_high_mark_stops_reading_and_draining_lets_it_go_on,
                the_write_callback_comes_when_the_output_has_sunk,
                a_read_timeout_disables_reading_and_is_told_once,
                a_write_timeout_disables_writing_and_is_told_once,
                the_end_comes_behind_the_last_bytes_and_once,
                the_loss_of_the_other_end_is_told_once,
                each_callback_may_free_its_bufferevent,
                each_callback_may_disable_its_bufferevent,
                a_flush_leaves_nothing_behind,
                what_is_freed_after_a_flush_sends_all_and_its_end,
            ]);
        )*
    };
}

conformance! {
    tcp: super::RESET,
    unix: super::RESET,
    pair: super::END,
    filter_over_tcp: super::RESET,
    filter_over_pair: super::END,
}
