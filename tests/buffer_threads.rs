//! Buffers across threads: chunks are made on one, shared, dropped on another, and freed while a thread is ending.

use std::cell::RefCell;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zerovent::Evbuffer;
use zerovent::buffer::ChunkPool;

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Evbuffer>();

/// The time the stress takes; ZEROVENT_STRESS_SECONDS asks for more.
fn stress_time() -> Duration {
    let asked = std::env::var("ZEROVENT_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(1))
}

/// A buffer in which every byte says which round it is from.
fn filled(round: u8, len: usize) -> Evbuffer {
    let mut buf = Evbuffer::new();
    buf.add(&vec![round; len / 2]).expect("added");
    buf.add_reference(vec![round; len - len / 2]).expect("added");
    buf.add(&[round; 10]).expect("added");
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
    let (mut round, mut kept) = (0_u8, Vec::new());
    let mut rounds = 0;
    while Instant::now() < until {
        round = round.wrapping_add(1);
        let mut buf = filled(round, 1 + usize::from(round) * 40);
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
