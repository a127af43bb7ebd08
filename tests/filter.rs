//! The book's section "Filtering bufferevents": bufferevents whose transport is another bufferevent.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::filters::{Kind, closures};
use support::net::{any_port, bufferevent, pattern, read_exact, run, run_for};
use zerovent::buffer::CopyStats;
use zerovent::bufferevent::{BuffereventId, Filter, FilterResult, FlushMode, Options};
use zerovent::event_base::{Ended, Interest, Run};
use zerovent::{Error, EventBase};

type Calls = Vec<String>;
type Base = EventBase<Calls>;

const BOTH: Interest = Interest::READ.union(Interest::WRITE);
const QUIET: Duration = Duration::from_millis(20);

fn base() -> Base {
    EventBase::with_context(Calls::new()).unwrap()
}

fn note(base: &mut Base, id: BuffereventId, name: &'static str) {
    base.set_read_callback(id, move |base, _| base.context_mut().push(format!("{name} read"))).unwrap();
    base.set_write_callback(id, move |base, _| base.context_mut().push(format!("{name} write"))).unwrap();
    base.set_event_callback(id, move |base, _, events| {
        base.context_mut().push(format!("{name} {events:?}"));
    })
    .unwrap();
}

/// A filter over one half of a pair, which goes with it, and the other half. Its callbacks are noted, and it reads.
fn filtered(
    base: &mut Base,
    input: Option<Filter>,
    output: Option<Filter>,
) -> (BuffereventId, BuffereventId) {
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let filter = base.new_filter(near, input, output, &Options::new().close_on_free(true)).unwrap();
    note(base, filter, "filter");
    enable(base, filter);
    enable(base, far);
    (filter, far)
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

fn taken(base: &mut Base, id: BuffereventId) -> Vec<u8> {
    let input = base.bufferevent(id).unwrap().input();
    input.remove_bytes(input.len()).unwrap().to_vec()
}

fn flush(base: &mut Base, id: BuffereventId, direction: Interest, mode: FlushMode) {
    base.bufferevent(id).unwrap().flush(direction, mode).unwrap();
}

/// With how many bytes, what limit and what mode a closure was called.
type Asked = Vec<(usize, Option<usize>, FlushMode)>;

/// Notes every call, and takes and adds what `act` says.
fn spy(
    seen: &Rc<RefCell<Asked>>,
    mut act: impl FnMut(&mut zerovent::Evbuffer, &mut zerovent::Evbuffer) -> FilterResult + 'static,
) -> Option<Filter> {
    let seen = Rc::clone(seen);
    Some(Box::new(move |from, to, limit, mode| {
        seen.borrow_mut().push((from.len(), limit, mode));
        act(from, to)
    }))
}

#[test]
fn both_directions_are_transformed() {
    let mut base = base();
    let (input, output) = closures(Kind::Framed);
    let (filter, far) = filtered(&mut base, input, output);
    write(&mut base, filter, b"hello");
    write(&mut base, far, b"\x03abc\x02d");
    let mut called = calls(&mut base);
    called.sort();
    assert_eq!(called, ["filter read", "filter write"]);
    assert_eq!(taken(&mut base, far), b"\x05hello");
    assert_eq!(taken(&mut base, filter), b"abc", "the second frame is not whole");
    write(&mut base, far, b"e");
    assert_eq!(calls(&mut base), ["filter read"]);
    assert_eq!(taken(&mut base, filter), b"de");
}

#[test]
fn a_filter_over_a_socket_connects_transforms_and_ends() {
    let mut base = base();
    let (socket, mut peer) = bufferevent(&mut base, &Options::new());
    let (input, output) = closures(Kind::Case);
    let filter = base.new_filter(socket, input, output, &Options::new().close_on_free(true)).unwrap();
    assert_eq!(base.bufferevent(filter).unwrap().underlying(), Some(socket));
    enable(&mut base, filter);
    base.set_read_callback(filter, |base, id| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add(b"got ").unwrap();
        output.add_buffer(input).unwrap();
    })
    .unwrap();
    base.set_event_callback(filter, |base, id, events| {
        base.context_mut().push(format!("{events:?}"));
        base.free_after_flush(id, Duration::from_secs(5)).unwrap();
    })
    .unwrap();
    let client = std::thread::spawn(move || {
        peer.write_all(b"hello").unwrap();
        assert_eq!(read_exact(&mut peer, 9), b"GOT hello");
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        rest
    });
    assert_eq!(calls(&mut base), ["BevEvents(READING | EOF)"]);
    assert_eq!(client.join().unwrap(), b"");
    assert!(matches!(base.bufferevent(socket), Err(Error::Stale)));
}

#[test]
fn connects_that_succeed_and_fail_are_told_to_the_filter() {
    let listener = std::net::TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    for (works, expected) in [(true, "filter BevEvents(CONNECTED)"), (false, "filter BevEvents(ERROR)")] {
        let mut base = base();
        let socket = base.new_socket(None, &Options::new()).unwrap();
        let filter = base.new_filter(socket, None, None, &Options::new()).unwrap();
        note(&mut base, filter, "filter");
        let refusing = std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
        base.connect(socket, if works { address } else { refusing }).unwrap();
        run_for(&mut base, Duration::from_millis(100));
        assert_eq!(*base.context(), [expected]);
        let filter = base.bufferevent(filter).unwrap();
        assert_eq!(filter.last_error().is_some(), !works, "the error is the filter's to read");
    }
}

#[test]
fn no_filter_passes_bytes_without_copying_them() {
    let mut base = base();
    let (filter, far) = filtered(&mut base, None, None);
    let top = base.new_filter(filter, None, None, &Options::new()).unwrap();
    let bytes = pattern(1 << 20, 3);
    base.bufferevent(top).unwrap().output().add_reference(bytes.clone()).unwrap();
    let before = CopyStats::now();
    base.dispatch().unwrap();
    assert_eq!((CopyStats::now() - before).copied, 0);
    assert!(taken(&mut base, far) == bytes);
}

#[test]
fn the_underlying_belongs_to_its_filter_while_that_lives() {
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    note(&mut base, near, "near");
    let filter = base.new_filter(near, None, None, &Options::new()).unwrap();
    assert_eq!(base.bufferevent(near).unwrap().enabled(), BOTH);
    assert!(matches!(base.set_read_callback(near, |_, _| {}), Err(Error::Invalid(_))));
    assert!(matches!(base.clear_callbacks(near), Err(Error::Invalid(_))));
    assert!(matches!(base.new_filter(near, None, None, &Options::new()), Err(Error::Invalid(_))));
    enable(&mut base, filter);
    write(&mut base, far, b"for the filter");
    write(&mut base, near, b"past the filter");
    enable(&mut base, far);
    assert_eq!(calls(&mut base), Calls::new(), "the old callbacks are gone");
    assert_eq!(taken(&mut base, filter), b"for the filter");
    assert_eq!(taken(&mut base, far), b"past the filter");

    base.free_bufferevent(filter).unwrap();
    note(&mut base, near, "near");
    write(&mut base, far, b"x");
    assert_eq!(calls(&mut base), ["near read"], "and free again afterwards");
}

#[test]
fn nothing_is_read_beneath_until_the_filter_reads() {
    let mut base = base();
    let (socket, mut peer) = bufferevent(&mut base, &Options::new());
    let filter = base.new_filter(socket, None, None, &Options::new()).unwrap();
    note(&mut base, filter, "filter");
    peer.write_all(b"early").unwrap();
    run_for(&mut base, QUIET);
    assert_eq!(base.bufferevent(socket).unwrap().input().len(), 0);
    enable(&mut base, filter);
    run_for(&mut base, QUIET);
    assert_eq!(*base.context(), ["filter read"]);
    assert_eq!(taken(&mut base, filter), b"early");
}

/// libevent leaves the rest behind: it looks again only when more arrives beneath.
#[test]
fn what_a_high_mark_held_back_follows_when_the_reader_drains() {
    let mut base = base();
    let (input, _) = closures(Kind::Case);
    let (filter, far) = filtered(&mut base, input, None);
    base.bufferevent(filter).unwrap().set_watermark(Interest::READ, 0, 4);
    write(&mut base, far, b"abcdefghij");
    assert_eq!(calls(&mut base), ["filter read"]);
    assert_eq!(calls(&mut base), Calls::new(), "an input left full calls nobody");
    let mut received = Vec::new();
    for expected in ["ABCD", "EFGH", "IJ"] {
        assert_eq!(base.bufferevent(filter).unwrap().input().len(), expected.len());
        received.extend(taken(&mut base, filter));
        base.dispatch().unwrap();
    }
    assert_eq!(received, b"ABCDEFGHIJ");
}

#[test]
fn what_arrived_while_reading_was_disabled_follows_when_it_is_enabled() {
    let mut base = base();
    let (filter, far) = filtered(&mut base, None, None);
    base.bufferevent(filter).unwrap().disable(BOTH);
    write(&mut base, far, b"in");
    write(&mut base, filter, b"out");
    assert_eq!(calls(&mut base), Calls::new());
    base.bufferevent(filter).unwrap().enable(BOTH);
    assert_eq!(calls(&mut base), ["filter read", "filter write"]);
    assert_eq!((taken(&mut base, filter), taken(&mut base, far)), (b"in".to_vec(), b"out".to_vec()));
}

#[test]
fn a_filter_that_needs_more_than_the_mark_beneath_gets_it() {
    let mut base = base();
    let (input, _) = closures(Kind::Framed);
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    base.bufferevent(near).unwrap().set_watermark(Interest::READ, 0, 10);
    let filter = base.new_filter(near, input, None, &Options::new()).unwrap();
    enable(&mut base, filter);
    write(&mut base, far, &[&[90][..], &pattern(90, 5)].concat());
    base.dispatch().unwrap();
    assert_eq!(taken(&mut base, filter), pattern(90, 5));
}

#[test]
fn the_write_high_mark_beneath_bounds_what_a_filter_puts_there() {
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    base.bufferevent(near).unwrap().set_watermark(Interest::WRITE, 0, 8);
    let filter = base.new_filter(near, None, None, &Options::new()).unwrap();
    note(&mut base, filter, "filter");
    write(&mut base, filter, b"0123456789abcdefghij");
    assert_eq!(calls(&mut base), Calls::new());
    assert_eq!(base.bufferevent(near).unwrap().output().len(), 8);
    assert_eq!(base.bufferevent(filter).unwrap().output().len(), 12);
    enable(&mut base, far);
    assert_eq!(calls(&mut base), ["filter write"]);
    assert_eq!(taken(&mut base, far), b"0123456789abcdefghij");
}

#[test]
fn low_marks_beneath_hold_nothing_back_and_raising_a_high_one_lets_bytes_go_on() {
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let filter = base.new_filter(near, None, None, &Options::new()).unwrap();
    base.bufferevent(near).unwrap().set_watermark(BOTH, 1000, 8);
    base.bufferevent(near).unwrap().set_watermark(Interest::READ, 1000, 0);
    enable(&mut base, filter);
    base.dispatch().unwrap();
    write(&mut base, far, b"few");
    write(&mut base, filter, b"0123456789");
    base.dispatch().unwrap();
    assert_eq!(taken(&mut base, filter), b"few");
    assert_eq!(base.bufferevent(filter).unwrap().output().len(), 2);
    base.dispatch().unwrap();
    base.bufferevent(near).unwrap().set_watermark(Interest::WRITE, 0, 9);
    base.dispatch().unwrap();
    assert_eq!(base.bufferevent(near).unwrap().output().len(), 9);
}

#[test]
fn limits_and_modes_are_what_the_closure_is_told() {
    let mut base = base();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let pass = |from: &mut zerovent::Evbuffer, to: &mut zerovent::Evbuffer| {
        from.remove_buffer(to, 3).unwrap();
        FilterResult::Ok
    };
    let (filter, far) = filtered(&mut base, spy(&seen, pass), None);
    write(&mut base, far, b"12345");
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(5, None, FlushMode::Normal), (2, None, FlushMode::Normal)]);

    base.bufferevent(filter).unwrap().set_watermark(Interest::READ, 0, 8);
    write(&mut base, far, b"123456");
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(6, Some(3), FlushMode::Normal)], "full: it is not asked again");

    flush(&mut base, filter, Interest::READ, FlushMode::Flush);
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(3, None, FlushMode::Flush)]);
    flush(&mut base, filter, Interest::READ, FlushMode::Finished);
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(0, None, FlushMode::Finished)], "once, with nothing to transform");
    assert_eq!(taken(&mut base, filter), b"12345123456");
}

#[test]
fn a_starved_filter_is_asked_again_only_when_something_has_changed() {
    let mut base = base();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (filter, far) = filtered(&mut base, spy(&seen, |_, _| FilterResult::NeedMore), None);
    write(&mut base, far, b"12");
    for _ in 0..3 {
        base.bufferevent(filter).unwrap();
        base.dispatch().unwrap();
    }
    assert_eq!(seen.take(), [(2, None, FlushMode::Normal)]);
    write(&mut base, far, b"3");
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(3, None, FlushMode::Normal)]);
    base.bufferevent(filter).unwrap().set_watermark(Interest::READ, 0, 9);
    base.dispatch().unwrap();
    assert_eq!(seen.take(), [(3, Some(9), FlushMode::Normal)]);
}

#[test]
fn a_closure_that_claims_success_and_does_nothing_is_not_called_for_ever() {
    let mut base = base();
    let (filter, far) = filtered(&mut base, Some(Box::new(|_, _, _, _| FilterResult::Ok)), None);
    write(&mut base, far, b"stay");
    assert_eq!(calls(&mut base), Calls::new());
    assert_eq!(taken(&mut base, filter), b"");
}

#[test]
fn an_endless_closure_leaves_the_others_their_turn() {
    let mut base = base();
    let endless: Filter = Box::new(|_, to, _, _| {
        to.add(&[0; 1000]).unwrap();
        FilterResult::Ok
    });
    let (filter, far) = filtered(&mut base, Some(endless), None);
    base.bufferevent(filter).unwrap().set_max_single_read(5000);
    write(&mut base, far, b"!");
    for _ in 0..5 {
        base.run(Run::NONBLOCK).unwrap();
        let count = taken(&mut base, filter).len();
        assert!(count <= 3 * 5000, "{count} bytes, but a run that does not wait settles thrice at most");
    }
}

#[test]
fn an_error_reaches_the_event_callback_and_stops_its_direction() {
    let mut base = base();
    let (filter, far) = filtered(&mut base, Some(Box::new(|_, _, _, _| FilterResult::Error)), None);
    write(&mut base, far, b"bad");
    assert_eq!(calls(&mut base), ["filter BevEvents(READING | ERROR)"]);
    let bufferevent = base.bufferevent(filter).unwrap();
    assert!(matches!(bufferevent.last_error(), Some(Error::Filter)));
    assert_eq!(bufferevent.enabled(), Interest::WRITE);
    write(&mut base, filter, b"the other direction works");
    base.dispatch().unwrap();
    assert_eq!(taken(&mut base, far), b"the other direction works");

    let (filter, _) = filtered(&mut base, None, Some(Box::new(|_, _, _, _| FilterResult::Error)));
    write(&mut base, filter, b"bad");
    base.context_mut().clear();
    assert_eq!(calls(&mut base), ["filter BevEvents(WRITING | ERROR)"]);
}

#[test]
fn the_end_of_the_stream_comes_behind_what_the_filter_held_back() {
    let mut base = base();
    let (input, _) = closures(Kind::Sevens);
    let (filter, far) = filtered(&mut base, input, None);
    base.bufferevent(filter).unwrap().set_watermark(Interest::READ, 0, 7);
    write(&mut base, far, b"7654321xyz");
    base.free_after_flush(far, QUIET).unwrap();
    assert_eq!(calls(&mut base), ["filter read"], "the end waits behind the mark");
    assert_eq!(taken(&mut base, filter), b"1234567");
    assert_eq!(calls(&mut base), ["filter read", "filter BevEvents(READING | EOF)"]);
    assert_eq!(taken(&mut base, filter), b"xyz");
}

#[test]
fn the_end_does_not_push_a_backlog_past_the_mark() {
    let mut base = base();
    let (input, _) = closures(Kind::Sevens);
    let (filter, far) = filtered(&mut base, input, None);
    base.bufferevent(filter).unwrap().set_watermark(Interest::READ, 0, 10);
    write(&mut base, far, &pattern(700, 4));
    base.free_after_flush(far, QUIET).unwrap();
    let mut received = 0;
    while received < 700 {
        base.dispatch().unwrap();
        let count = taken(&mut base, filter).len();
        assert!((1..=10).contains(&count), "{count} bytes");
        received += count;
    }
    base.dispatch().unwrap();
    assert_eq!(base.context().last().map(String::as_str), Some("filter BevEvents(READING | EOF)"));
}

#[test]
fn timeouts_beneath_are_told_and_enabling_the_filter_takes_them_up_again() {
    let mut base = base();
    let (socket, mut peer) = bufferevent(&mut base, &Options::new());
    let filter = base.new_filter(socket, None, None, &Options::new()).unwrap();
    note(&mut base, filter, "filter");
    base.bufferevent(socket).unwrap().set_timeouts(Some(QUIET), None);
    run_for(&mut base, 3 * QUIET);
    assert_eq!(*base.context(), Calls::new(), "not while reading beneath is suspended");
    enable(&mut base, filter);
    run_for(&mut base, 3 * QUIET);
    assert_eq!(*base.context(), ["filter BevEvents(READING | TIMEOUT)"]);
    assert!(!base.bufferevent(filter).unwrap().enabled().contains(Interest::READ));
    peer.write_all(b"late").unwrap();
    enable(&mut base, filter);
    base.set_read_callback(filter, |base, _| base.loop_break()).unwrap();
    run(&mut base);
    assert_eq!(taken(&mut base, filter), b"late");
}

#[test]
fn a_filters_own_timeouts_work() {
    let mut base = base();
    let (filter, _far) = filtered(&mut base, None, None);
    base.bufferevent(filter).unwrap().set_timeouts(Some(QUIET), None);
    assert_eq!(calls(&mut base), ["filter BevEvents(READING | TIMEOUT)"]);
}

#[test]
fn a_thousand_filters_pass_bytes_flushes_and_the_end_both_ways() {
    const HEIGHT: usize = 1000;
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let (mut top, mut middle) = (near, near);
    for height in 0..HEIGHT {
        let (input, output) = closures(if height % 2 == 0 { Kind::Case } else { Kind::Plain });
        top = base.new_filter(top, input, output, &Options::new().close_on_free(true)).unwrap();
        base.bufferevent(top).unwrap().enable(Interest::READ);
        middle = if height == HEIGHT / 2 { top } else { middle };
    }
    note(&mut base, top, "top");
    enable(&mut base, far);
    write(&mut base, top, b"down");
    flush(&mut base, top, BOTH, FlushMode::Flush);
    write(&mut base, far, b"up");
    let mut called = calls(&mut base);
    called.sort();
    assert_eq!(called, ["top read", "top write"]);
    assert_eq!((taken(&mut base, far), taken(&mut base, top)), (b"down".to_vec(), b"up".to_vec()));
    assert_eq!(base.bufferevent(middle).unwrap().input().len(), 0);
    base.free_after_flush(far, QUIET).unwrap();
    assert_eq!(calls(&mut base), ["top BevEvents(READING | EOF)"]);
    base.free_bufferevent(top).unwrap();
    assert_eq!(base.stats().slots, 0, "each has freed the one beneath");
}

/// A turn visits so many bufferevents; what is left follows in the next.
#[test]
fn a_stack_that_is_too_high_for_one_turn_passes_bytes_all_the_same() {
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let mut top = near;
    for _ in 0..20_000 {
        top = base.new_filter(top, None, None, &Options::new().close_on_free(true)).unwrap();
        base.bufferevent(top).unwrap().enable(Interest::READ);
    }
    enable(&mut base, far);
    base.dispatch().unwrap();
    let turns = base.stats().turns;
    write(&mut base, top, b"down");
    write(&mut base, far, b"up");
    base.dispatch().unwrap();
    assert_eq!((taken(&mut base, far), taken(&mut base, top)), (b"down".to_vec(), b"up".to_vec()));
    assert!(base.stats().turns > turns + 1, "the loop looked at its descriptors in between");
}

#[test]
fn closing_what_lies_beneath_takes_it_from_its_filter() {
    let mut base = base();
    let (socket, mut peer) = bufferevent(&mut base, &Options::new());
    let filter = base.new_filter(socket, None, None, &Options::new()).unwrap();
    note(&mut base, filter, "filter");
    enable(&mut base, filter);
    write(&mut base, socket, b"last");
    base.free_after_flush(socket, Duration::from_secs(5)).unwrap();
    assert_eq!(base.bufferevent(filter).unwrap().underlying(), None);
    let client = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(calls(&mut base), Calls::new());
    assert_eq!(client.join().unwrap(), b"last");
}

/// Says when it is dropped.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn owning(count: &Rc<Cell<usize>>) -> Option<Filter> {
    let owned = Dropped(Rc::clone(count));
    Some(Box::new(move |_, _, _, _| {
        let _ = &owned;
        FilterResult::NeedMore
    }))
}

#[test]
fn what_closures_own_is_dropped_once_in_every_order_of_freeing() {
    for order in ["filter", "underlying first", "base", "flush"] {
        let dropped = Rc::new(Cell::new(0));
        let mut base = base();
        let (near, far) = base.new_pair(&Options::new()).unwrap();
        let options = Options::new().close_on_free(order != "underlying first");
        let filter = base.new_filter(near, owning(&dropped), owning(&dropped), &options).unwrap();
        enable(&mut base, filter);
        write(&mut base, far, b"bytes");
        base.dispatch().unwrap();
        match order {
            "filter" => base.free_bufferevent(filter).unwrap(),
            "flush" => base.free_after_flush(filter, QUIET).unwrap(),
            "underlying first" => {
                base.free_bufferevent(near).unwrap();
                base.dispatch().unwrap();
                assert_eq!(dropped.get(), 0, "the filter lives, and keeps its closures");
                assert_eq!(base.bufferevent(filter).unwrap().underlying(), None);
                base.free_bufferevent(filter).unwrap();
            }
            _ => drop(base),
        }
        assert_eq!(dropped.get(), 2, "{order}");
    }
}

#[test]
fn freeing_what_lies_beneath_leaves_a_filter_that_does_nothing() {
    let mut base = base();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let filter = base.new_filter(near, None, None, &Options::new()).unwrap();
    let top = base.new_filter(filter, None, None, &Options::new()).unwrap();
    note(&mut base, top, "top");
    for id in [filter, top] {
        base.bufferevent(id).unwrap().enable(BOTH);
        base.bufferevent(id).unwrap().set_timeouts(Some(QUIET), Some(QUIET));
    }
    write(&mut base, far, b"arrived");
    base.run(Run::NONBLOCK).unwrap();
    base.free_bufferevent(near).unwrap();
    let flushed = base.bufferevent(filter).unwrap().flush(Interest::READ, FlushMode::Flush);
    assert!(matches!(flushed, Err(Error::Invalid(_))));
    base.free_bufferevent(filter).unwrap();
    write(&mut base, top, b"kept");
    base.context_mut().clear();
    run_for(&mut base, 3 * QUIET);
    assert_eq!(*base.context(), Calls::new());
    assert_eq!(taken(&mut base, top), b"arrived");
    assert_eq!(base.bufferevent(top).unwrap().output().len(), 4);
    base.free_bufferevent(top).unwrap();
    base.free_bufferevent(far).unwrap();
    assert_eq!(base.stats().slots, 0);
}

#[test]
fn a_flush_before_freeing_lets_what_is_beneath_go_on_alone() {
    let mut base = base();
    let (socket, mut peer) = bufferevent(&mut base, &Options::new());
    let (_, output) = closures(Kind::Sevens);
    let filter = base.new_filter(socket, None, output, &Options::new()).unwrap();
    write(&mut base, filter, b"7654321xyz");
    base.free_after_flush(filter, QUIET).unwrap();
    assert!(matches!(base.bufferevent(filter), Err(Error::Stale)));
    write(&mut base, socket, b"!");
    base.free_after_flush(socket, Duration::from_secs(5)).unwrap();
    let client = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(base.dispatch().unwrap(), Ended::Empty);
    assert_eq!(client.join().unwrap(), b"1234567xyz!");
}

#[test]
fn a_closure_that_panics_leaves_everything_usable() {
    let mut base = base();
    let mut first = true;
    let touchy: Filter = Box::new(move |from, to, _, _| {
        assert!(!std::mem::take(&mut first), "the first call fails");
        to.add_buffer(from).unwrap();
        FilterResult::Ok
    });
    let (filter, far) = filtered(&mut base, Some(touchy), None);
    let (other, other_far) = filtered(&mut base, None, None);
    write(&mut base, far, b"again");
    write(&mut base, other_far, b"meanwhile");
    let result = catch_unwind(AssertUnwindSafe(|| base.dispatch()));
    assert!(result.is_err());
    assert_eq!(calls(&mut base), ["filter read", "filter read"]);
    assert_eq!(taken(&mut base, filter), b"again");
    assert_eq!(taken(&mut base, other), b"meanwhile");
    let added = base.bufferevent(filter).unwrap().input().add(b"x");
    assert!(matches!(added, Err(Error::Frozen)), "its end is frozen as before");
    for id in [filter, far, other, other_far] {
        base.free_bufferevent(id).unwrap();
    }
    assert_eq!(base.stats().slots, 0);
}

/// The filter, what lies beneath it, and the partner of that: each set of them, freed in each callback of each transport.
#[test]
fn anything_may_be_freed_in_any_callback() {
    for which in 1..8 {
        for place in ["read", "write", "event"] {
            for owns in [false, true] {
                let mut base = base();
                let (near, far) = base.new_pair(&Options::new()).unwrap();
                let filter = base.new_filter(near, None, None, &Options::new().close_on_free(owns)).unwrap();
                note(&mut base, filter, "filter");
                let freed = Rc::new(Cell::new(0));
                let count = Rc::clone(&freed);
                let free = move |base: &mut Base, _: BuffereventId| {
                    for (bit, id) in [filter, near, far].into_iter().enumerate() {
                        if which & (1 << bit) != 0 && base.free_bufferevent(id).is_ok() {
                            count.set(count.get() + 1);
                        }
                    }
                };
                match place {
                    "read" => base.set_read_callback(filter, free).unwrap(),
                    "write" => base.set_write_callback(filter, free).unwrap(),
                    _ => base.set_event_callback(filter, move |base, id, _| free(base, id)).unwrap(),
                }
                enable(&mut base, filter);
                enable(&mut base, far);
                write(&mut base, far, b"in");
                write(&mut base, filter, b"out");
                flush(&mut base, far, Interest::WRITE, FlushMode::Finished);
                assert_eq!(base.dispatch().unwrap(), Ended::Empty);
                assert!(freed.get() > 0, "{which} in {place}");
                for id in [filter, near, far] {
                    let _ = base.free_bufferevent(id);
                }
                assert_eq!(base.stats().slots, 0, "{which} in {place}");
            }
        }
    }
}
