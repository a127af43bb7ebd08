//! Buffers across threads: chunks are made on one, shared, dropped on another, and freed while a thread is ending.

use std::cell::RefCell;
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zerovent::Evbuffer;
use zerovent::buffer::{ChunkPool, FileSegment};

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Evbuffer>();

/// The time the stress takes; ZEROVENT_STRESS_SECONDS asks for more.
fn stress_time() -> Duration {
    let asked = std::env::var("ZEROVENT_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(1))
}

/// Bytes of each round in the file.
const IN_FILE: usize = 100;

/// A file that holds [`IN_FILE`] bytes of each round.
fn every_round() -> FileSegment {
    let mut file = tempfile::tempfile().expect("a file");
    for round in 0..=u8::MAX {
        file.write_all(&[round; IN_FILE]).expect("room for it");
    }
    FileSegment::new(file, 0, None).expect("a segment")
}

/// A buffer in which every byte says which round it is from.
fn filled(round: u8, len: usize) -> Evbuffer {
    let mut buf = Evbuffer::new();
    buf.add(&vec![round; len / 2]).expect("added");
    buf.add_reference(vec![round; len - len / 2]).expect("added");
    buf.add(&[round; 10]).expect("added");
    buf
}

/// The same with a file and, now and then, a pipe behind it.
fn filled_up(round: u8, len: usize, segment: &FileSegment) -> Evbuffer {
    let mut buf = filled(round, len);
    buf.add_file_segment(segment, u64::from(round) * IN_FILE as u64, Some(IN_FILE as u64)).expect("added");
    if round.is_multiple_of(4) {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&vec![round; len]).expect("room in the pipe");
        assert_eq!(buf.splice_from(&reader, len).expect("readable"), len);
        buf.add(&[round; 10]).expect("added");
    }
    buf
}

fn check(buf: &mut Evbuffer, round: u8) {
    for run in buf.peek(usize::MAX).expect("memory") {
        assert!(run.iter().all(|&byte| byte == round), "bytes of round {round} changed");
    }
}

/// Both sides hold shares of the same chunks, write behind them, split them, and drop them in any order.
fn play(
    mine: mpsc::Receiver<(u8, Evbuffer)>,
    theirs: mpsc::SyncSender<(u8, Evbuffer)>,
    until: Instant,
) -> usize {
    let (mut round, mut kept, segment) = (0_u8, Vec::new(), every_round());
    let mut rounds = 0;
    while Instant::now() < until {
        round = round.wrapping_add(1);
        let mut buf = filled_up(round, 1 + usize::from(round) * 40, &segment);
        let mut share = Evbuffer::new();
        share.add_buffer_reference(&buf).expect("shared");
        let front = buf.split_to(buf.len() / 3).expect("inside");
        // The chunk is shared with what the other side gets; only one of the two may write behind it.
        buf.add(&[round; 33]).expect("added");
        if theirs.try_send((round, share)).is_ok() {
            kept.push((round, front));
        }
        check(&mut buf, round);
        if let Ok((their_round, mut theirs)) = mine.try_recv() {
            check(&mut theirs, their_round);
            theirs.add(&[their_round; 50]).expect("added");
            theirs.prepend(&[their_round; 50]).expect("prepended");
            theirs
                .pullup(theirs.len())
                .expect("contiguous")
                .iter()
                .for_each(|&byte| assert_eq!(byte, their_round));
            kept.push((their_round, theirs));
        }
        if kept.len() > 20 {
            let (old_round, mut old) = kept.swap_remove(usize::from(round) % 20);
            check(&mut old, old_round);
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn two_threads_move_share_and_drop_nodes() {
    let until = Instant::now() + stress_time();
    let (to_left, left) = mpsc::sync_channel(8);
    let (to_right, right) = mpsc::sync_channel(8);
    let other = thread::spawn(move || play(right, to_left, until));
    let rounds = play(left, to_right, until);
    assert!(rounds > 100 && other.join().expect("no panic") > 100);
}

/// Threads that only look at a buffer, and share what it holds, may do so at once; whoever comes first reads a pipe in for all.
#[test]
fn threads_may_look_at_one_buffer_at_once() {
    let segment = every_round();
    for round in (4..=200).step_by(4) {
        let buf = filled_up(round, 5000, &segment);
        let len = 5000 + 10 + IN_FILE + 5000 + 10;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut share = Evbuffer::new();
                    share.add_buffer_reference(&buf).expect("shared");
                    let mut copy = vec![0; len + 1];
                    assert_eq!(buf.copy_out(&mut copy).expect("readable"), len);
                    assert!(copy[..len].iter().all(|&byte| byte == round));
                    let place = buf.position(len).expect("the end");
                    assert_eq!(buf.advance_position(place, 0).expect("current"), place);
                    check(&mut share, round);
                    share.add(&[round; 50]).expect("added");
                    check(&mut share, round);
                });
            }
        });
        assert_eq!(buf.len(), len);
    }
}

#[test]
fn a_chunk_goes_to_the_pool_of_the_thread_that_frees_it() {
    ChunkPool::trim(0);
    let buf = thread::spawn(|| filled(1, 100_000)).join().expect("made elsewhere");
    assert_eq!(ChunkPool::idle_bytes(), 0);
    drop(buf);
    assert!(ChunkPool::idle_bytes() > 0 && ChunkPool::idle_bytes() <= ChunkPool::limit());
}

/// A thread-local that is destroyed after the pool of its thread frees its chunks all the same.
struct Late(RefCell<Vec<Evbuffer>>, Mutex<Option<Arc<()>>>);

thread_local! {
    static EARLY: Late = const { Late(RefCell::new(Vec::new()), Mutex::new(None)) };
    static LATE: Late = const { Late(RefCell::new(Vec::new()), Mutex::new(None)) };
}

impl Drop for Late {
    fn drop(&mut self) {
        // Both frees and takes: the pool may be open or closed by now.
        self.0.borrow_mut().clear();
        drop(filled(9, 5000));
        let mut buf = filled(9, 100);
        check(&mut buf, 9);
    }
}

#[test]
fn chunks_may_be_freed_while_a_thread_is_ending() {
    let alive = Arc::new(());
    for _ in 0..20 {
        let alive = Arc::clone(&alive);
        thread::spawn(move || {
            // Registered before the pool's own destructor, and after it.
            EARLY.with(|early| early.0.borrow_mut().push(filled(1, 3000)));
            drop(filled(2, 3000));
            LATE.with(|late| {
                late.0.borrow_mut().push(filled(3, 3000));
                *late.1.lock().expect("not poisoned") = Some(alive);
            });
        })
        .join()
        .expect("no panic while ending");
    }
    assert_eq!(Arc::strong_count(&alive), 1, "the destructors ran");
}
