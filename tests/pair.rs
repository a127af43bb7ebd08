//! The book's section "Paired bufferevents": two bufferevents that are each other's transport.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::net::{pattern, run, run_for};
use zerovent::buffer::CopyStats;
use zerovent::bufferevent::{BuffereventId, FlushMode, Options};
use zerovent::event_base::{Ended, Event, Interest, Run};
use zerovent::{Error, EventBase};

type Calls = Vec<String>;
type Base = EventBase<Calls>;

const BOTH: Interest = Interest::READ.union(Interest::WRITE);
const QUIET: Duration = Duration::from_millis(20);

/// A pair, `a` and `b`, whose callbacks are noted under these names. Reading is not enabled.
fn noted_pair(base: &mut Base, options: &Options) -> (BuffereventId, BuffereventId) {
    let (a, b) = base.new_pair(options).unwrap();
    note(base, a, "a");
    note(base, b, "b");
    (a, b)
}

fn note(base: &mut Base, id: BuffereventId, name: &'static str) {
    base.set_read_callback(id, move |base, _| base.context_mut().push(format!("{name} read"))).unwrap();
    base.set_write_callback(id, move |base, _| base.context_mut().push(format!("{name} write"))).unwrap();
    base.set_event_callback(id, move |base, _, events| {
        base.context_mut().push(format!("{name} {events:?}"));
    })
    .unwrap();
}

fn base() -> Base {
    EventBase::with_context(Calls::new()).unwrap()
}

fn calls(base: &mut Base) -> Calls {
    base.dispatch().unwrap();
    std::mem::take(base.context_mut())
}

fn enable(base: &mut Base, id: BuffereventId) {
    base.bufferevent(id).unwrap().enable(Interest::READ);
}

fn write(base: &mut Base, id: BuffereventId, bytes: &[u8]) {
    base.bufferevent(id).unwrap().write(bytes).unwrap();
}

fn input_len(base: &mut Base, id: BuffereventId) -> usize {
    base.bufferevent(id).unwrap().input().len()
}

fn output_len(base: &mut Base, id: BuffereventId) -> usize {
    base.bufferevent(id).unwrap().output().len()
}

fn taken(base: &mut Base, id: BuffereventId) -> Vec<u8> {
    let input = base.bufferevent(id).unwrap().input();
    input.remove_bytes(input.len()).unwrap().to_vec()
}

#[test]
fn each_is_the_others_partner_and_bytes_cross_both_ways() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    assert_eq!(base.bufferevent(a).unwrap().partner(), Some(b));
    assert_eq!(base.bufferevent(b).unwrap().partner(), Some(a));
    assert_eq!(base.bufferevent(a).unwrap().underlying(), None);
    assert!(base.bufferevent(a).unwrap().fd().is_none());
    enable(&mut base, a);
    enable(&mut base, b);
    write(&mut base, a, b"from a");
    write(&mut base, b, b"from b!");
    let mut called = calls(&mut base);
    called.sort();
    assert_eq!(called, ["a read", "a write", "b read", "b write"]);
    assert_eq!(taken(&mut base, b), b"from a");
    assert_eq!(taken(&mut base, a), b"from b!");
}

#[test]
fn nobody_is_called_when_nothing_crossed() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    for id in [a, b] {
        base.bufferevent(id).unwrap().enable(BOTH);
        base.bufferevent(id).unwrap().flush(BOTH, FlushMode::Flush).unwrap();
        write(&mut base, id, b"");
    }
    assert_eq!(calls(&mut base), Calls::new());
    enable(&mut base, b);
    assert_eq!(calls(&mut base), Calls::new());
}

#[test]
fn nothing_crosses_until_the_writer_writes_and_the_reader_reads() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    write(&mut base, a, b"wait");
    assert_eq!(calls(&mut base), Calls::new(), "reading is off at first");
    base.bufferevent(a).unwrap().disable(Interest::WRITE);
    enable(&mut base, b);
    assert_eq!(calls(&mut base), Calls::new());
    assert_eq!((output_len(&mut base, a), input_len(&mut base, b)), (4, 0));
    base.bufferevent(a).unwrap().enable(Interest::WRITE);
    assert_eq!(calls(&mut base).len(), 2);
    assert_eq!(taken(&mut base, b), b"wait");
}

#[test]
fn no_byte_is_copied() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    enable(&mut base, b);
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 100_000);
    let output = base.bufferevent(a).unwrap().output();
    output.add_reference(pattern(1 << 20, 1)).unwrap();
    let before = CopyStats::now();
    let mut received = zerovent::Evbuffer::new();
    while received.len() < 1 << 20 {
        base.run(Run::NONBLOCK).unwrap();
        base.bufferevent(b).unwrap().read_buffer(&mut received).unwrap();
    }
    assert_eq!((CopyStats::now() - before).copied, 0);
    assert!(received.remove_bytes(1 << 20).unwrap()[..] == pattern(1 << 20, 1)[..]);
}

#[test]
fn the_high_mark_holds_the_writer_back_and_draining_lets_it_go_on() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 10);
    enable(&mut base, b);
    write(&mut base, a, b"0123456789abcdefghijXY");
    assert_eq!(calls(&mut base), ["b read"], "the output has not sunk to its low mark");
    assert_eq!((output_len(&mut base, a), input_len(&mut base, b)), (12, 10));
    assert_eq!(calls(&mut base), Calls::new(), "an input left full calls nobody");
    assert_eq!(taken(&mut base, b), b"0123456789");
    assert_eq!(calls(&mut base), ["b read"]);
    assert_eq!(taken(&mut base, b), b"abcdefghij");
    let mut last = calls(&mut base);
    last.sort();
    assert_eq!(last, ["a write", "b read"]);
    assert_eq!(taken(&mut base, b), b"XY");
}

#[test]
fn raising_the_mark_lets_the_writer_go_on() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 4);
    enable(&mut base, b);
    write(&mut base, a, b"0123456789");
    calls(&mut base);
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 0);
    calls(&mut base);
    assert_eq!(taken(&mut base, b), b"0123456789");
}

#[test]
fn low_marks_hold_callbacks_back() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    enable(&mut base, b);
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 5, 8);
    base.bufferevent(a).unwrap().set_watermark(Interest::WRITE, 3, 0);
    write(&mut base, a, b"1234");
    assert_eq!(calls(&mut base), ["a write"]);
    write(&mut base, a, b"5678abcd");
    assert_eq!(calls(&mut base), ["b read"], "four bytes are left, and the low mark is three");
    taken(&mut base, b);
    assert_eq!(calls(&mut base), ["a write"], "four bytes have come, and the low mark is five");
}

#[test]
fn a_share_a_turn_is_kept_and_the_rest_follows() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    enable(&mut base, b);
    base.bufferevent(a).unwrap().set_max_single_write(3);
    write(&mut base, a, b"0123456789");
    base.set_read_callback(b, |base, id| {
        let count = input_len(base, id);
        base.context_mut().push(count.to_string());
    })
    .unwrap();
    let seen = calls(&mut base);
    assert_eq!(seen, ["3", "6", "9", "10", "a write"].map(String::from));
}

#[test]
fn a_flush_passes_marks_and_disabled_directions() {
    for mode in [FlushMode::Normal, FlushMode::Flush] {
        let mut base = base();
        let (a, b) = noted_pair(&mut base, &Options::new());
        base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 2);
        write(&mut base, a, b"through");
        base.bufferevent(a).unwrap().flush(Interest::WRITE, mode).unwrap();
        let mut called = calls(&mut base);
        called.sort();
        assert_eq!(called, ["a write", "b read"]);
        assert_eq!(taken(&mut base, b), b"through");

        write(&mut base, a, b"drawn");
        base.bufferevent(b).unwrap().flush(Interest::READ, mode).unwrap();
        base.dispatch().unwrap();
        assert_eq!(taken(&mut base, b), b"drawn");
    }
}

#[test]
fn finished_gives_the_partner_its_end_behind_the_bytes_and_nothing_after_it() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    enable(&mut base, b);
    write(&mut base, a, b"last");
    base.bufferevent(a).unwrap().flush(Interest::WRITE, FlushMode::Finished).unwrap();
    let called = calls(&mut base);
    let of_b: Vec<_> = called.iter().filter(|call| call.starts_with('b')).collect();
    assert_eq!(of_b, ["b read", "b BevEvents(READING | EOF)"]);
    assert_eq!(base.bufferevent(b).unwrap().enabled(), Interest::WRITE);
    write(&mut base, a, b"too late");
    enable(&mut base, b);
    base.bufferevent(a).unwrap().flush(BOTH, FlushMode::Finished).unwrap();
    calls(&mut base);
    assert_eq!(taken(&mut base, b), b"last");
    assert_eq!(output_len(&mut base, a), 8);
    write(&mut base, b, b"the other way is open");
    base.bufferevent(b).unwrap().flush(Interest::WRITE, FlushMode::Flush).unwrap();
    base.bufferevent(b).unwrap().enable(BOTH);
    calls(&mut base);
    assert_eq!(taken(&mut base, a), b"the other way is open");
}

#[test]
fn finishing_to_read_tells_the_writer() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    write(&mut base, a, b"all of it");
    base.bufferevent(b).unwrap().flush(Interest::READ, FlushMode::Finished).unwrap();
    assert!(calls(&mut base).contains(&"a BevEvents(WRITING | EOF)".to_owned()));
    assert_eq!(taken(&mut base, b), b"all of it");
    assert!(!base.bufferevent(a).unwrap().enabled().contains(Interest::WRITE));
}

#[test]
fn the_partner_of_a_freed_one_is_unlinked_and_silent() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    base.bufferevent(b).unwrap().enable(BOTH);
    base.bufferevent(b).unwrap().set_timeouts(Some(QUIET), Some(QUIET));
    write(&mut base, a, b"arrived");
    base.run(Run::NONBLOCK).unwrap();
    base.free_bufferevent(a).unwrap();
    base.context_mut().clear();
    assert_eq!(base.bufferevent(b).unwrap().partner(), None);
    write(&mut base, b, b"kept in its own output");
    assert_eq!(calls(&mut base), Calls::new());
    run_for(&mut base, 3 * QUIET);
    assert_eq!(base.context().len(), 0, "no timeout either: {:?}", base.context());
    assert_eq!(output_len(&mut base, b), 22);
    assert_eq!(taken(&mut base, b), b"arrived");
    let flushed = base.bufferevent(b).unwrap().flush(Interest::WRITE, FlushMode::Flush);
    assert!(matches!(flushed, Err(Error::Invalid(_))), "{flushed:?}");
    base.free_bufferevent(b).unwrap();
    assert_eq!(base.stats().slots, 0);
}

#[test]
fn an_option_gives_the_partner_its_end() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new().eof_on_free(true));
    enable(&mut base, b);
    base.free_bufferevent(a).unwrap();
    assert_eq!(calls(&mut base), ["b BevEvents(READING | EOF)"]);
    base.free_bufferevent(b).unwrap();
}

#[test]
fn free_after_flush_hands_everything_on_with_the_end() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    base.bufferevent(b).unwrap().set_watermark(Interest::READ, 0, 2);
    enable(&mut base, b);
    write(&mut base, a, b"the last words");
    base.free_after_flush(a, Duration::from_secs(1)).unwrap();
    assert!(matches!(base.bufferevent(a), Err(Error::Stale)));
    assert_eq!(base.bufferevent(b).unwrap().partner(), None);
    assert_eq!(calls(&mut base), ["b read", "b BevEvents(READING | EOF)"]);
    assert_eq!(taken(&mut base, b), b"the last words");
}

#[test]
fn timeouts_count_while_their_direction_is_wanted() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    base.bufferevent(a).unwrap().set_timeouts(None, Some(QUIET));
    base.bufferevent(b).unwrap().set_timeouts(Some(QUIET), None);
    let start = Instant::now();
    assert_eq!(calls(&mut base), Calls::new(), "nothing to write, reading off");
    write(&mut base, a, b"stuck");
    assert_eq!(calls(&mut base), ["a BevEvents(WRITING | TIMEOUT)"]);
    assert!(start.elapsed() >= QUIET, "never early");
    assert_eq!(base.bufferevent(a).unwrap().enabled(), Interest::empty());
    enable(&mut base, b);
    assert_eq!(calls(&mut base), ["b BevEvents(READING | TIMEOUT)"]);
    assert_eq!(base.bufferevent(b).unwrap().enabled(), Interest::WRITE);
}

#[test]
fn a_pair_that_plays_ping_pong_leaves_the_loop_its_descriptors() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    for id in [a, b] {
        base.set_read_callback(id, |base, id| {
            let (input, output) = base.bufferevent(id).unwrap().buffers();
            output.add_buffer(input).unwrap();
        })
        .unwrap();
        base.set_write_callback(id, |_, _| {}).unwrap();
        enable(&mut base, id);
    }
    write(&mut base, a, b"ball");
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let event = base.new_event(Event::fd(&near, Interest::READ), |base, _, _| base.loop_break()).unwrap();
    base.add(event, None).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(QUIET);
        std::io::Write::write_all(&mut far, b"x").unwrap();
        far
    });
    run(&mut base);
    thread.join().unwrap();
    assert!(base.stats().calls > 10, "the ball was in the air");
}

/// Frees these in every callback that can come: nothing else breaks, and what is freed is not called again.
#[test]
fn either_may_be_freed_in_any_callback() {
    type Freed = fn(BuffereventId, BuffereventId) -> Vec<BuffereventId>;
    let choices: [Freed; 4] =
        [|me, _| vec![me], |_, other| vec![other], |me, o| vec![me, o], |me, o| vec![o, me]];
    for place in ["read", "write", "event"] {
        for choice in choices {
            for eof in [false, true] {
                let mut base = base();
                let (a, b) = noted_pair(&mut base, &Options::new().eof_on_free(eof));
                let freed_in = Rc::new(Cell::new(0));
                let count = Rc::clone(&freed_in);
                let free = move |base: &mut Base, me: BuffereventId| {
                    let Some(other) = base.bufferevent(me).unwrap().partner() else { return };
                    for id in choice(me, other) {
                        base.free_bufferevent(id).unwrap();
                        count.set(count.get() + 1);
                    }
                };
                match place {
                    "read" => base.set_read_callback(b, free).unwrap(),
                    "write" => base.set_write_callback(a, free).unwrap(),
                    _ => base.set_event_callback(b, move |base, id, _| free(base, id)).unwrap(),
                }
                enable(&mut base, b);
                write(&mut base, a, b"bytes");
                base.bufferevent(a).unwrap().flush(Interest::WRITE, FlushMode::Finished).unwrap();
                assert_eq!(base.dispatch().unwrap(), Ended::Empty);
                assert!(freed_in.get() > 0, "{place}");
                assert_eq!(base.stats().slots, 2 - freed_in.get());
            }
        }
    }
}

#[test]
fn what_makes_no_sense_on_a_pair_is_an_error() {
    let mut base = base();
    let (a, b) = noted_pair(&mut base, &Options::new());
    assert!(matches!(base.connect(a, support::net::any_port()), Err(Error::Invalid(_))));
    base.free_bufferevent(b).unwrap();
    assert!(matches!(base.connect(a, support::net::any_port()), Err(Error::Invalid(_))));
    assert!(matches!(base.new_pair(&Options::new().priority(9)), Err(Error::OutOfRange)));
    assert_eq!(base.stats().slots, 1, "what failed has left nothing");
}
