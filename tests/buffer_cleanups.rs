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

/// An owner, and how it is built in here: bytes that move with it, and that want to stand at multiples of 64.
#[repr(align(64))]
struct Aligned([u8; 100]);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Adds `owner`, has its bytes split, moved, shared, taken out and sent to another thread, and finds them whole until the clean-up.
fn keeps<T: AsRef<[u8]> + Send + 'static>(owner: T) {
    let expected = owner.as_ref().to_vec();
    let (tell, told) = mpsc::channel();
    let whole = expected.clone();
    let cleanup = move |owner: T| {
        assert_eq!(owner.as_ref(), whole, "it is what it was");
        tell.send(()).unwrap();
    };
    let mut buffer = Evbuffer::new();
    buffer.add(b"in front").unwrap();
    buffer.add_reference_with_cleanup(owner, cleanup).unwrap();
    buffer.drain(8).unwrap();
    let (mut front, mut copy) = (Evbuffer::new(), Evbuffer::new());
    copy.add_buffer_reference(&buffer).unwrap();
    buffer.remove_buffer(&mut front, expected.len() / 2).unwrap();
    assert_eq!(front.pullup(front.len()).unwrap(), &expected[..expected.len() / 2]);
    let rest = buffer.remove_bytes(buffer.len()).unwrap();
    drop(front);
    std::thread::spawn(move || {
        assert_eq!(copy.pullup(copy.len()).unwrap(), expected);
        assert_eq!(rest, expected[expected.len() / 2..]);
        assert!(told.try_recv().is_err(), "somebody still views it");
        drop(copy);
        drop(rest);
        told.try_recv().expect("nobody views it any more");
        assert!(told.try_recv().is_err(), "and that is told once");
    })
    .join()
    .unwrap();
}

#[test]
fn an_owner_of_any_size_and_alignment_keeps_its_bytes_until_nobody_views_them() {
    keeps([1_u8; 3]);
    keeps([2_u8; 200]);
    keeps([3_u8; 5000]);
    // It moves a few times, and lies on the stack each time.
    let large = std::thread::Builder::new().stack_size(16 << 20).spawn(|| keeps([4_u8; 300_000])).unwrap();
    large.join().unwrap();
    keeps(vec![5_u8; 300]);
    keeps(Box::<[u8]>::from(&b"boxed"[..]));
    keeps(String::from("text"));
    keeps(&b"static"[..]);
    keeps(Aligned([7; 100]));
}

#[test]
fn bytes_that_move_with_their_owner_stand_as_it_wants_to() {
    let mut buffer = Evbuffer::new();
    buffer.add_reference_with_cleanup(Aligned([9; 100]), drop).unwrap();
    assert_eq!(buffer.pullup(100).unwrap().as_ptr().addr() % 64, 0);
}

/// Shows one byte more each time.
struct Restless(std::sync::atomic::AtomicUsize);

impl AsRef<[u8]> for Restless {
    fn as_ref(&self) -> &[u8] {
        &[0; 100][..self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)]
    }
}

#[test]
fn an_owner_that_shows_other_bytes_when_it_has_moved_is_no_owner() {
    for before in ["", "something"] {
        let mut buffer = Evbuffer::new();
        buffer.add(before.as_bytes()).unwrap();
        let (tell, told) = mpsc::channel();
        let restless = Restless(1.into());
        let cleanup = move |_| tell.send(()).unwrap();
        unwinds(|| buffer.add_reference_with_cleanup(restless, cleanup));
        assert_eq!(told.try_iter().count(), 1, "it is given back");
        assert_holds(buffer, before.as_bytes());
    }
}
