//! Change callbacks: who is told what, in which order, from where; and what a limit refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use zerovent::buffer::{Change, End, Eol, FileSegment};
use zerovent::{Error, Evbuffer, Result};

/// One call of a callback: its name, and the three numbers.
type Told = (&'static str, usize, usize, usize);

/// What callbacks were told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

impl Log {
    fn note(&self, name: &'static str, change: Change) {
        self.0.lock().unwrap().push((name, change.orig_len, change.added, change.removed));
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn watch(&self, buf: &mut Evbuffer, name: &'static str) -> zerovent::buffer::CallbackId {
        let log = self.clone();
        let note = move |buf: &mut Evbuffer, change: Change| {
            assert_eq!(change.orig_len + change.added - change.removed, buf.len());
            log.note(name, change);
        };
        buf.add_callback(note).unwrap()
    }
}

fn with(bytes: &[u8]) -> Evbuffer {
    let mut buf = Evbuffer::new();
    buf.add(bytes).unwrap();
    buf
}

fn segment() -> FileSegment {
    let file = tempfile::tempfile().unwrap();
    file.set_len(10).unwrap();
    FileSegment::new(file, 0, None).unwrap()
}

#[test]
fn a_buffer_with_callbacks_is_still_sent_and_shared() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let mut buf = Evbuffer::new();
    let not_sync = std::cell::Cell::new(0);
    buf.add_callback(move |_, _| not_sync.set(not_sync.get() + 1)).unwrap();
    is_send_and_sync(&buf);
}

#[test]
fn every_way_of_changing_is_told_once() {
    type Act = fn(&mut Evbuffer) -> Result<()>;
    let (read, write) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    std::io::Write::write_all(&mut &read.1, b"input").unwrap();
    let ways: [(&str, Act, usize, usize); 21] = [
        ("add", |buf| buf.add(b"abc"), 3, 0),
        ("add, many chunks", |buf| buf.add(&[1; 200_000]), 200_000, 0),
        ("add_reference", |buf| buf.add_reference(&b"abcd"[..]), 4, 0),
        ("add_reference_with_cleanup", |buf| buf.add_reference_with_cleanup(vec![1; 9], drop), 9, 0),
        ("add_file_segment", |buf| buf.add_file_segment(&segment(), 4, None), 6, 0),
        ("add_buffer", |buf| buf.add_buffer(&mut with(b"12")), 2, 0),
        ("add_buffer_reference", |buf| buf.add_buffer_reference(&with(b"12")), 2, 0),
        ("prepend", |buf| buf.prepend(b"x"), 1, 0),
        ("prepend_buffer", |buf| buf.prepend_buffer(&mut with(b"12")), 2, 0),
        ("reserve and commit", |buf| buf.reserve(100)?.commit(7), 7, 0),
        ("drain", |buf| buf.drain(2), 0, 2),
        ("drain all", |buf| buf.drain(usize::MAX), 0, 20),
        ("remove", |buf| buf.remove(&mut [0; 5]).map(drop), 0, 5),
        ("remove_bytes", |buf| buf.remove_bytes(6).map(drop), 0, 6),
        ("split_to", |buf| buf.split_to(3).map(drop), 0, 3),
        ("remove_buffer", |buf| buf.remove_buffer(&mut Evbuffer::new(), 4).map(drop), 0, 4),
        ("read_line", |buf| buf.read_line(Eol::Crlf).map(drop), 0, 10),
        ("line", |buf| buf.line(Eol::Crlf).map(drop), 0, 10),
        ("nothing", |buf| buf.add(b"").and_then(|()| buf.drain(0)), 0, 0),
        ("pullup", |buf| buf.pullup_mut(20).map(drop), 0, 0),
        ("expand", |buf| buf.expand(5000), 0, 0),
    ];
    for (name, act, added, removed) in ways {
        let (mut buf, log) = (with(b"12345678\r\nabcdefghij"), Log::default());
        log.watch(&mut buf, name);
        act(&mut buf).unwrap();
        let expected = if added + removed > 0 { vec![(name, 20, added, removed)] } else { vec![] };
        assert_eq!(log.take(), expected, "{name}");
        buf.freeze(End::Front);
        buf.freeze(End::Back);
        let _ = act(&mut buf);
        assert!(log.take().is_empty() || name == "nothing", "{name} was refused and told");
    }
    let (mut buf, log) = (with(b"memory"), Log::default());
    log.watch(&mut buf, "io");
    assert_eq!(buf.read_from(&read.0, 100).unwrap(), 5);
    buf.add_file_segment(&segment(), 0, None).unwrap();
    buf.add_reference(Bytes::from_static(b"more")).unwrap();
    assert_eq!(log.take().len(), 3);
    assert_eq!(buf.write_to(&write.1).unwrap(), 25);
    assert_eq!(log.take(), [("io", 25, 0, 25)], "one pass, one call, whatever was in it");
}

#[test]
fn the_newest_is_called_first_and_the_source_of_a_move_before_its_target() {
    let (mut buf, mut other, log) = (Evbuffer::new(), with(b"12345"), Log::default());
    log.watch(&mut buf, "first");
    log.watch(&mut buf, "second");
    log.watch(&mut other, "other");
    buf.add_buffer(&mut other).unwrap();
    assert_eq!(log.take(), [("other", 5, 0, 5), ("second", 0, 5, 0), ("first", 0, 5, 0)]);
    buf.remove_buffer(&mut other, 2).unwrap();
    assert_eq!(log.take(), [("second", 5, 0, 2), ("first", 5, 0, 2), ("other", 0, 2, 0)]);
}

#[test]
fn a_callback_is_disabled_enabled_and_removed_by_its_handle() {
    let (mut buf, mut other, log) = (Evbuffer::new(), Evbuffer::new(), Log::default());
    let (one, two) = (log.watch(&mut buf, "one"), log.watch(&mut buf, "two"));
    log.watch(&mut other, "other");
    buf.disable_callback(two).unwrap();
    buf.add(b"unseen").unwrap();
    buf.enable_callback(two).unwrap();
    assert_eq!(log.take(), [("one", 0, 6, 0)]);
    buf.add(b"!").unwrap();
    assert_eq!(log.take(), [("two", 6, 1, 0), ("one", 6, 1, 0)]);
    assert!(matches!(other.remove_callback(one), Err(Error::Stale)), "another buffer's");
    buf.remove_callback(one).unwrap();
    for result in [buf.remove_callback(one), buf.enable_callback(one), buf.disable_callback(one)] {
        assert!(matches!(result, Err(Error::Stale)));
    }
    buf.drain(7).unwrap();
    assert_eq!(log.take(), [("two", 7, 0, 7)]);
}

#[test]
fn a_callback_may_change_everything_from_inside() {
    let (mut buf, log) = (Evbuffer::new(), Log::default());
    let old = log.watch(&mut buf, "old");
    let (inner, slot) = (log.clone(), Arc::new(Mutex::new(None)));
    let own = Arc::clone(&slot);
    let id = buf.add_callback(move |buf, change| {
        inner.note("inside", change);
        buf.disable_callback(old).unwrap();
        inner.watch(buf, "new");
        buf.remove_callback(own.lock().unwrap().take().unwrap()).unwrap();
        buf.drain(1).unwrap();
        assert!(buf.callbacks_due() || buf.len() == 2, "it is told later, not now");
        buf.run_deferred();
    });
    *slot.lock().unwrap() = Some(id.unwrap());
    buf.add(b"abc").unwrap();
    assert_eq!(log.take(), [("inside", 0, 3, 0), ("new", 3, 0, 1)]);
    buf.enable_callback(old).unwrap();
    buf.add(b"d").unwrap();
    assert_eq!(log.take(), [("new", 2, 1, 0), ("old", 2, 1, 0)]);
}

#[test]
fn what_a_callback_changes_is_told_to_all_without_nesting() {
    let (mut buf, log) = (Evbuffer::new(), Log::default());
    log.watch(&mut buf, "old");
    let (inner, mut inside) = (log.clone(), false);
    buf.add_callback(move |buf, change| {
        assert!(!std::mem::replace(&mut inside, true), "entered twice");
        inner.note("eater", change);
        if change.added > 0 {
            buf.drain(change.added).unwrap();
        }
        inside = false;
    })
    .unwrap();
    buf.add(b"abc").unwrap();
    assert_eq!(log.take(), [("eater", 0, 3, 0), ("old", 0, 3, 3), ("eater", 3, 0, 3)]);
    assert!(buf.is_empty());
}

#[test]
fn a_callback_that_always_answers_is_stopped() {
    let (mut buf, mut calls) = (Evbuffer::new(), 0);
    let (tell, told) = std::sync::mpsc::channel();
    buf.add_callback(move |buf, change| {
        calls += 1;
        tell.send((calls, change.added)).unwrap();
        buf.add(b"x").unwrap();
    })
    .unwrap();
    buf.add(b"x").unwrap();
    assert_eq!((buf.len(), told.try_iter().last()), (65, Some((64, 1))));
    buf.add(b"yy").unwrap();
    assert_eq!(told.try_iter().next(), Some((65, 3)), "what it did last is told with the next change");
}

#[test]
fn deferred_callbacks_get_one_summary() {
    let (mut buf, log) = (with(b"12"), Log::default());
    let one = log.watch(&mut buf, "one");
    buf.defer_callbacks(true).unwrap();
    buf.add(b"345").unwrap();
    log.watch(&mut buf, "two");
    buf.drain(4).unwrap();
    assert!(log.take().is_empty() && buf.callbacks_due());
    buf.run_deferred();
    assert_eq!(log.take(), [("two", 5, 0, 4), ("one", 2, 3, 4)], "each since it was there");
    buf.run_deferred();
    assert!(log.take().is_empty() && !buf.callbacks_due());
    buf.add(b"6").unwrap();
    buf.disable_callback(one).unwrap();
    buf.enable_callback(one).unwrap();
    buf.run_deferred();
    assert_eq!(log.take(), [("two", 1, 1, 0)], "what waited for a callback is gone when it is disabled");
    buf.add(b"7").unwrap();
    buf.defer_callbacks(false).unwrap();
    buf.add(b"8").unwrap();
    assert_eq!(log.take(), [("two", 2, 2, 0), ("one", 2, 2, 0)]);
}

#[test]
fn what_a_deferred_callback_changes_waits_for_the_next_time() {
    let (mut buf, log) = (Evbuffer::new(), Log::default());
    buf.defer_callbacks(true).unwrap();
    let inner = log.clone();
    buf.add_callback(move |buf, change| {
        inner.note("adds", change);
        buf.add(b"x").unwrap();
        buf.run_deferred();
    })
    .unwrap();
    buf.add(b"x").unwrap();
    for round in 0..3 {
        buf.run_deferred();
        assert_eq!(log.take(), [("adds", round, 1, 0)]);
    }
}

#[test]
fn dropping_a_buffer_tells_nobody_and_lets_go_of_the_closures() {
    let (mut buf, log) = (with(b"content"), Log::default());
    log.watch(&mut buf, "never");
    drop(buf);
    assert!(log.take().is_empty());
    assert_eq!(Arc::strong_count(&log.0), 1);
}

#[test]
fn a_callback_that_panics_is_still_there_afterwards() {
    let (mut buf, mut other, log) = (Evbuffer::new(), with(b"moved"), Log::default());
    let bad = other.add_callback(|_, _| panic!("on purpose")).unwrap();
    log.watch(&mut buf, "target");
    assert!(catch_unwind(AssertUnwindSafe(|| buf.add_buffer(&mut other))).is_err());
    buf.check_invariants();
    other.check_invariants();
    assert_eq!((buf.len(), other.len()), (5, 0), "the move was over before anybody was told");
    assert!(log.take().is_empty());
    buf.add(b"!").unwrap();
    assert_eq!(
        log.take(),
        [("target", 0, 6, 0)],
        "who was not reached then hears of it with the next change"
    );
    assert!(catch_unwind(AssertUnwindSafe(|| other.add(b"again"))).is_err(), "it is called again");
    other.remove_callback(bad).unwrap();
    other.add(b"!").unwrap();
    assert_eq!(other.pullup(6).unwrap(), b"again!");
}

#[test]
fn a_callback_may_put_another_buffer_in_place() {
    let (mut buf, log) = (Evbuffer::new(), Log::default());
    log.watch(&mut buf, "old");
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    buf.add_callback(move |buf, _| kept.lock().unwrap().push(std::mem::take(buf))).unwrap();
    buf.add(b"taken").unwrap();
    assert!(buf.is_empty() && log.take().is_empty());
    buf.add(b"new").unwrap();
    let old = taken.lock().unwrap().pop().unwrap();
    old.check_invariants();
    assert_eq!((old.len(), buf.len()), (5, 3));
}

#[test]
fn callbacks_that_change_the_buffer_while_it_is_written_do_not_disturb_the_write() {
    let (pipe, mut buf) = (std::io::pipe().unwrap(), with(b"memory"));
    buf.add_file_segment(&segment(), 0, None).unwrap();
    buf.add(b"rest").unwrap();
    buf.add_callback(|buf, change| {
        if change.removed > 0 {
            buf.drain(1).unwrap();
            buf.prepend(b"front").unwrap();
        }
    })
    .unwrap();
    assert_eq!(buf.write_to_at_most(&pipe.1, 18).unwrap(), 18);
    assert_eq!(&buf.pullup(buf.len()).unwrap()[..5], b"front");
}

#[test]
fn a_limit_binds_every_way_of_adding() {
    type Act = fn(&mut Evbuffer) -> Result<()>;
    let ways: [(&str, Act); 12] = [
        ("add", |buf| buf.add(b"abcde")),
        ("add_reference", |buf| buf.add_reference(&b"abcde"[..])),
        ("add_reference_with_cleanup", |buf| buf.add_reference_with_cleanup(vec![1; 5], |_| panic!("ran"))),
        ("add_file_segment", |buf| buf.add_file_segment(&segment(), 5, None)),
        ("add_file", |buf| buf.add_file(segment().file().try_clone()?, 5, None)),
        ("add_buffer", |buf| buf.add_buffer(&mut with(b"abcde"))),
        ("add_buffer_reference", |buf| buf.add_buffer_reference(&with(b"abcde"))),
        ("prepend", |buf| buf.prepend(b"abcde")),
        ("prepend_buffer", |buf| buf.prepend_buffer(&mut with(b"abcde"))),
        ("remove_buffer", |buf| with(b"abcdef").remove_buffer(buf, 5).map(drop)),
        ("expand", |buf| buf.expand(5)),
        ("reserve", |buf| buf.reserve(5).map(drop)),
    ];
    for (name, act) in ways {
        let (mut buf, log) = (with(b"123456"), Log::default());
        log.watch(&mut buf, name);
        buf.set_capacity_limit(Some(10)).unwrap();
        assert!(matches!(act(&mut buf), Err(Error::Limit)), "{name}");
        assert_eq!((buf.len(), buf.pullup(6).unwrap()), (6, &b"123456"[..]), "{name}");
        assert!(log.take().is_empty(), "{name} told of nothing");
        buf.add(b"7890").unwrap();
        assert!(matches!(buf.add(b"!"), Err(Error::Limit)));
        buf.add(b"").unwrap();
        buf.set_capacity_limit(None).unwrap();
        assert_eq!(buf.capacity_limit(), None);
        if name != "add_reference_with_cleanup" {
            act(&mut buf).unwrap();
        }
    }
}

#[test]
fn reading_and_reserving_stop_at_the_limit() {
    let (read, mut write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut write, b"0123456789").unwrap();
    let mut buf = with(b"abc");
    assert!(buf.reserve(100).unwrap().len() >= 100);
    buf.set_capacity_limit(Some(8)).unwrap();
    assert_eq!(buf.capacity_limit(), Some(8));
    assert_eq!(buf.reserve(1).unwrap().len(), 5, "not the whole tailroom");
    assert_eq!(buf.read_from(&read, usize::MAX).unwrap(), 5);
    assert!(matches!(buf.read_from(&read, usize::MAX), Err(Error::Limit)));
    assert_eq!(buf.pullup(8).unwrap(), b"abc01234");
    buf.set_capacity_limit(Some(2)).unwrap();
    assert_eq!(buf.len(), 8, "what is there stays");
    buf.drain(7).unwrap();
    assert_eq!(buf.read_from(&read, usize::MAX).unwrap(), 1);
}
