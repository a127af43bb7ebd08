//! Clean-ups that panic: what unwinds out of a buffer leaves it as if the clean-up had returned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use zerovent::{Error, Evbuffer};

/// How many references there are, of 4 bytes each, in front of which a chunk of 3 bytes stands.
const REFERENCES: u8 = 10;
const ALL: usize = 3 + 4 * REFERENCES as usize;
/// The clean-up of the second reference panics; its last byte is the one before this.
const BOMB_END: usize = 3 + 4 * 2;

fn explosive() -> (Evbuffer, Vec<u8>) {
    let (mut buffer, mut model) = (Evbuffer::new(), b"abc".to_vec());
    buffer.add(b"abc").unwrap();
    for index in 0..REFERENCES {
        buffer.add_reference_with_cleanup([index; 4], move |_| assert!(index != 1, "on purpose")).unwrap();
        model.extend([index; 4]);
    }
    (buffer, model)
}

fn assert_holds(mut buffer: Evbuffer, expected: &[u8]) {
    buffer.check_invariants();
    let mut bytes = vec![0; buffer.len() + 1];
    assert_eq!(buffer.copy_out(&mut bytes).unwrap(), expected.len());
    assert_eq!(bytes[..expected.len()], *expected);
    // Everything that was left behind would show now.
    let mut other = Evbuffer::new();
    other.add(b"head").unwrap();
    other.add_buffer(&mut buffer).unwrap();
    buffer.add(b"anew").unwrap();
    assert_eq!(buffer.pullup(buffer.len()).unwrap(), b"anew");
    other.drain(4).unwrap();
    assert_eq!(other.pullup(other.len()).unwrap(), expected);
}

fn unwinds<R>(work: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err(), "the clean-up was to panic");
}

#[test]
fn what_was_to_be_drained_is_gone() {
    for count in BOMB_END..=ALL {
        let (mut buffer, model) = explosive();
        unwinds(|| buffer.drain(count));
        assert_holds(buffer, &model[count..]);
    }
}

#[test]
fn what_was_sent_is_not_sent_again() {
    for count in [BOMB_END, BOMB_END + 1, ALL - 1, ALL] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let (mut buffer, model) = explosive();
        unwinds(|| buffer.write_to_at_most(&writer, count));
        assert_holds(buffer, &model[count..]);
    }
}

#[test]
fn what_was_pulled_up_is_still_there() {
    for count in BOMB_END..=ALL {
        let (mut behind_a_chunk, model) = explosive();
        unwinds(|| behind_a_chunk.pullup(count).map(<[u8]>::len));
        assert_holds(behind_a_chunk, &model);
        let (mut references_alone, model) = explosive();
        references_alone.drain(3).unwrap();
        unwinds(|| references_alone.pullup(count - 3).map(<[u8]>::len));
        assert_holds(references_alone, &model[3..]);
    }
}

#[test]
fn what_was_copied_out_is_gone() {
    for count in BOMB_END..=ALL {
        let (mut buffer, model) = explosive();
        unwinds(|| buffer.remove(&mut vec![0; count]));
        assert_holds(buffer, &model[count..]);
    }
}

/// What removes bytes from the front, by the name of the verb.
type Removal = (&'static str, fn(&mut Evbuffer, usize));

const REMOVALS: [Removal; 3] = [
    ("drain", |buf, count| drop(buf.drain(count))),
    ("remove", |buf, count| drop(buf.remove(&mut vec![0; count]))),
    ("write", |buf, count| {
        let (_reader, writer) = std::io::pipe().unwrap();
        drop(buf.write_to_at_most(&writer, count));
    }),
];

#[test]
fn callbacks_hear_of_what_went_when_they_hear_of_the_next_change() {
    for ((name, removal), count) in REMOVALS.into_iter().flat_map(|way| [(way, BOMB_END), (way, ALL)]) {
        let (tell, told) = mpsc::channel();
        let (mut buffer, _) = explosive();
        buffer.add_callback(move |buf, change| tell.send((buf.len(), change)).unwrap()).unwrap();
        unwinds(|| removal(&mut buffer, count));
        assert!(told.try_recv().is_err(), "{name}: nobody is called while the stack unwinds");
        buffer.add(b"more").unwrap();
        let (len, change) =
            told.try_recv().unwrap_or_else(|_| panic!("{name}: the callbacks are called again"));
        assert_eq!((change.orig_len, change.added, change.removed), (ALL, 4, count), "{name}");
        assert_eq!(len, ALL - count + 4);
    }
}

#[test]
fn positions_are_outdated_by_what_went() {
    for ((name, removal), count) in REMOVALS.into_iter().flat_map(|way| [(way, BOMB_END), (way, ALL)]) {
        let (mut buffer, _) = explosive();
        let place = buffer.position(0).unwrap();
        unwinds(|| removal(&mut buffer, count));
        assert!(matches!(buffer.advance_position(place, 0), Err(Error::Stale)), "{name}");
    }
}
