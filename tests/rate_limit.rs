//! The book's section on rate limits. What passes in a time has an exact upper bound, which no load on the machine can
//! break; lower bounds leave room.

mod support;

use std::io::{Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use support::events::Random;
use support::net::{PATIENCE, pattern, run, run_for};
use zerovent::bufferevent::{
    BevEvents, BuffereventId, Options, RATE_LIMIT_MAX, RateLimitGroupId, TokenBucket,
};
use zerovent::event_base::{Ended, Interest, Run};
use zerovent::{Error, EventBase};

const HOUR: Duration = Duration::from_secs(3600);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The same both ways.
fn bucket(rate: usize, burst: usize, tick: Duration) -> TokenBucket {
    TokenBucket::new(rate, burst, rate, burst, tick).unwrap()
}

/// What a bucket lets pass at most in so long: one tick's worth that it starts with, and what its ticks bring.
fn most(rate: usize, tick: Duration, elapsed: Duration) -> usize {
    rate + rate * usize::try_from(elapsed.as_millis() / tick.as_millis()).unwrap()
}

fn socket<C>(base: &mut EventBase<C>) -> (BuffereventId, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (base.new_socket(Some(near.into()), &Options::new()).unwrap(), far)
}

fn enable_reading<C>(base: &mut EventBase<C>, id: BuffereventId) {
    base.bufferevent(id).unwrap().enable(Interest::READ);
}

fn input_len<C>(base: &mut EventBase<C>, id: BuffereventId) -> usize {
    base.bufferevent(id).unwrap().input().len()
}

/// Runs the loop until `is_so`; panics when that takes too long.
fn run_until<C>(base: &mut EventBase<C>, mut is_so: impl FnMut(&mut EventBase<C>) -> bool) {
    let started = Instant::now();
    while !is_so(base) {
        assert!(started.elapsed() < PATIENCE, "what the test waits for did not happen");
        run_for(base, millis(2));
    }
}

fn has_written<C>(base: &mut EventBase<C>, id: BuffereventId) -> bool {
    base.bufferevent(id).unwrap().output().is_empty()
}

/// All that has arrived at a non-blocking peer.
fn take_all(mut peer: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
    }
    bytes
}

/// Lets a bufferevent read from a peer that writes without end; the thread ends with the connection.
fn flood(base: &mut EventBase, id: BuffereventId, mut peer: UnixStream) -> std::thread::JoinHandle<()> {
    peer.set_nonblocking(false).unwrap();
    base.set_read_callback(id, |base, id| {
        let input = base.bufferevent(id).unwrap().input();
        let len = input.len();
        input.drain(len).unwrap();
    })
    .unwrap();
    enable_reading(base, id);
    std::thread::spawn(move || while peer.write_all(&[7; 16 * 1024]).is_ok() {})
}

/// Five seconds at a rate; the burst makes up for a machine that is late.
fn keeps_the_rate(base: &mut EventBase, since: Instant, total: impl Fn(&mut EventBase) -> u64) {
    run_for(base, Duration::from_secs(5));
    let total = usize::try_from(total(base)).unwrap();
    let most = most(20_000, millis(20), since.elapsed());
    assert!(total <= most, "{total} bytes passed, of at most {most}");
    assert!(total >= most - most / 20, "{total} bytes passed, of {most}");
}

#[test]
fn a_bufferevent_reads_at_its_rate_within_a_twentieth_over_five_seconds() {
    let mut base = EventBase::new().unwrap();
    let (id, peer) = socket(&mut base);
    let since = Instant::now();
    base.set_rate_limit(id, Some(&bucket(20_000, 1_000_000, millis(20)))).unwrap();
    // A group that never binds counts for us.
    let counter = base.new_rate_limit_group(&bucket(RATE_LIMIT_MAX, RATE_LIMIT_MAX, HOUR)).unwrap();
    base.add_to_rate_limit_group(id, counter).unwrap();
    let feeder = flood(&mut base, id, peer);
    keeps_the_rate(&mut base, since, |base| base.rate_limit_group(counter).unwrap().totals().0);
    drop(base);
    feeder.join().unwrap();
}

#[test]
fn a_group_of_which_a_tenth_is_active_reads_at_its_rate_within_a_twentieth_over_five_seconds() {
    let mut base = EventBase::new().unwrap();
    let since = Instant::now();
    let group = base.new_rate_limit_group(&bucket(20_000, 1_000_000, millis(20))).unwrap();
    let mut members: Vec<_> = (0..100).map(|_| socket(&mut base)).collect();
    for (id, _) in &members {
        base.add_to_rate_limit_group(*id, group).unwrap();
    }
    let active = members.split_off(90);
    let feeders: Vec<_> = active.into_iter().map(|(id, peer)| flood(&mut base, id, peer)).collect();
    keeps_the_rate(&mut base, since, |base| base.rate_limit_group(group).unwrap().totals().0);
    drop(base);
    feeders.into_iter().for_each(|feeder| feeder.join().unwrap());
}

/// Fills an output with bytes of one kind, and says which they are.
type Fill = fn(&mut EventBase, BuffereventId) -> Vec<u8>;

fn fill_from_memory(base: &mut EventBase, id: BuffereventId) -> Vec<u8> {
    let bytes = pattern(100_000, 1);
    base.bufferevent(id).unwrap().write(&bytes).unwrap();
    bytes
}

fn fill_from_file(base: &mut EventBase, id: BuffereventId) -> Vec<u8> {
    let bytes = pattern(100_000, 2);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file.rewind().unwrap();
    base.bufferevent(id).unwrap().output().add_file(file, 0, None).unwrap();
    bytes
}

fn fill_from_pipe(base: &mut EventBase, id: BuffereventId) -> Vec<u8> {
    let bytes = pattern(30_000, 3);
    let (mut source, sink) = UnixStream::pair().unwrap();
    source.write_all(&bytes).unwrap();
    let output = base.bufferevent(id).unwrap().output();
    while output.len() < bytes.len() {
        output.splice_from(&sink, bytes.len()).unwrap();
    }
    bytes
}

#[test]
fn every_kind_of_byte_is_written_within_the_limit_and_in_order() {
    for fill in [fill_from_memory, fill_from_file, fill_from_pipe] as [Fill; 3] {
        let mut base = EventBase::new().unwrap();
        let (id, peer) = socket(&mut base);
        let bytes = fill(&mut base, id);
        let (rate, tick) = (bytes.len() / 10, millis(10));
        let started = Instant::now();
        base.set_rate_limit(id, Some(&bucket(rate, rate, tick))).unwrap();
        run_for(&mut base, Duration::ZERO);
        let mut arrived = take_all(&peer);
        let most = most(rate, tick, started.elapsed());
        assert!(arrived.len() <= most, "{} bytes left, of at most {most}", arrived.len());
        run_until(&mut base, |base| has_written(base, id));
        assert!(started.elapsed() >= 9 * tick, "one tick's worth was there from the start, nine were not");
        arrived.extend(take_all(&peer));
        assert!(arrived == bytes, "what arrived differs from what was added");
    }
}

#[test]
fn a_tick_of_a_millisecond_works() {
    let mut base = EventBase::new().unwrap();
    let (id, peer) = socket(&mut base);
    let started = Instant::now();
    base.set_rate_limit(id, Some(&bucket(100, 100, millis(1)))).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 5_000]).unwrap();
    run_until(&mut base, |base| has_written(base, id));
    assert!(started.elapsed() >= millis(49));
    assert_eq!(take_all(&peer).len(), 5_000);
}

#[test]
fn a_suspended_direction_costs_nothing_until_its_tick() {
    let mut base = EventBase::new().unwrap();
    let (id, mut peer) = socket(&mut base);
    base.set_rate_limit(id, Some(&bucket(1_000, 5_000, HOUR))).unwrap();
    enable_reading(&mut base, id);
    base.bufferevent(id).unwrap().write(&[1; 3_000]).unwrap();
    peer.write_all(&[2; 3_000]).unwrap();
    run_for(&mut base, millis(10));
    assert_eq!(input_len(&mut base, id), 1_000);
    assert_eq!(take_all(&peer).len(), 1_000);
    let before = base.stats();
    for _ in 0..10 {
        peer.write_all(&[2; 100]).unwrap();
        run_for(&mut base, millis(10));
    }
    let after = base.stats();
    assert_eq!(after.changes_applied, before.changes_applied, "no epoll_ctl");
    assert!(after.waits - before.waits <= 40, "{} waits", after.waits - before.waits);
    assert_eq!(input_len(&mut base, id), 1_000);
}

#[test]
fn a_member_whose_own_bucket_is_empty_does_not_stand_in_its_groups_way() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(10_000, 10_000, HOUR)).unwrap();
    let members = [socket(&mut base), socket(&mut base)];
    base.set_rate_limit(members[0].0, Some(&bucket(100, 100, HOUR))).unwrap();
    for (id, _) in &members {
        base.add_to_rate_limit_group(*id, group).unwrap();
        base.bufferevent(*id).unwrap().write(&[1; 20_000]).unwrap();
    }
    run_for(&mut base, millis(5));
    let [first, second] = members.map(|(_, peer)| (take_all(&peer).len(), peer));
    assert_eq!((first.0, second.0), (100, 9_900));
    base.rate_limit_group(group).unwrap().decrement_write(-5_000);
    run_for(&mut base, millis(5));
    assert_eq!((take_all(&first.1).len(), take_all(&second.1).len()), (0, 5_000));
    base.rate_limit_group(group).unwrap().decrement_write(-50_000);
    run_for(&mut base, millis(5));
    let before = base.stats().waits;
    run_for(&mut base, millis(50));
    assert!(base.stats().waits - before <= 5, "the one that waits for its own bucket keeps the loop busy");
}

#[test]
fn a_member_that_takes_little_a_turn_goes_on_in_the_next() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(10_000, 10_000, HOUR)).unwrap();
    let (id, peer) = socket(&mut base);
    base.add_to_rate_limit_group(id, group).unwrap();
    base.bufferevent(id).unwrap().set_max_single_write(500);
    base.bufferevent(id).unwrap().write(&[1; 20_000]).unwrap();
    run_for(&mut base, millis(50));
    assert_eq!(take_all(&peer).len(), 10_000);
}

#[test]
fn who_is_limited_and_idle_has_no_timer() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(10, 10, millis(1))).unwrap();
    let (id, mut peer) = socket(&mut base);
    base.set_rate_limit(id, Some(&bucket(10, 10, millis(1)))).unwrap();
    base.add_to_rate_limit_group(id, group).unwrap();
    enable_reading(&mut base, id);
    base.bufferevent(id).unwrap().write(&[1; 100]).unwrap();
    peer.write_all(&[2; 100]).unwrap();
    run_until(&mut base, |base| has_written(base, id) && input_len(base, id) == 100);
    assert_eq!(take_all(&peer).len(), 100);
    run_for(&mut base, millis(5));
    let before = base.stats().waits;
    run_for(&mut base, millis(300));
    assert!(base.stats().waits - before <= 5, "{} waits", base.stats().waits - before);
}

#[test]
fn a_group_does_not_keep_the_loop_running_but_a_member_that_waits_for_it_does() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(10, 10, millis(5))).unwrap();
    base.dispatch().unwrap();
    let (id, peer) = socket(&mut base);
    base.add_to_rate_limit_group(id, group).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 100]).unwrap();
    base.dispatch().unwrap();
    assert_eq!(take_all(&peer).len(), 100, "the loop ended before all was written");
    base.remove_from_rate_limit_group(id).unwrap();
    base.set_rate_limit(id, Some(&bucket(10, 10, millis(5)))).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 100]).unwrap();
    base.dispatch().unwrap();
    assert_eq!(take_all(&peer).len(), 100, "the loop ended before all was written");
}

#[test]
fn a_group_whose_last_waiting_member_is_freed_does_not_keep_the_loop_running() {
    let mut base = EventBase::new().unwrap();
    let (_group, members) = busy_group(&mut base, 1, &bucket(10, 10, HOUR));
    run_for(&mut base, millis(2));
    base.free_bufferevent(members[0].0).unwrap();
    assert_eq!(base.run(Run::NONBLOCK).unwrap(), Ended::Empty);
}

/// A base that notes what event callbacks are told.
fn noting() -> (EventBase<Vec<BevEvents>>, BuffereventId, UnixStream) {
    let mut base = EventBase::with_context(Vec::new()).unwrap();
    let (id, peer) = socket(&mut base);
    base.set_event_callback(id, |base, _, events| base.context_mut().push(events)).unwrap();
    enable_reading(&mut base, id);
    (base, id, peer)
}

#[test]
fn a_timeout_does_not_count_while_a_limit_suspends_its_direction() {
    for in_group in [false, true] {
        let (mut base, id, mut peer) = noting();
        let limit = bucket(10, 10, HOUR);
        let group = base.new_rate_limit_group(&limit).unwrap();
        match in_group {
            true => base.add_to_rate_limit_group(id, group).unwrap(),
            false => base.set_rate_limit(id, Some(&limit)).unwrap(),
        }
        base.bufferevent(id).unwrap().set_timeouts(Some(millis(30)), Some(millis(30)));
        base.bufferevent(id).unwrap().write(&[1; 100]).unwrap();
        peer.write_all(&[2; 100]).unwrap();
        run_for(&mut base, millis(150));
        assert_eq!(base.context(), &[], "in a group: {in_group}");
        assert_eq!(input_len(&mut base, id), 10);
    }
}

#[test]
fn a_timeout_counts_when_the_bucket_is_empty_but_so_is_the_socket() {
    for in_group in [false, true] {
        let (mut base, id, mut peer) = noting();
        let limit = bucket(1_000, 1_000, HOUR);
        let group = base.new_rate_limit_group(&limit).unwrap();
        match in_group {
            true => base.add_to_rate_limit_group(id, group).unwrap(),
            false => base.set_rate_limit(id, Some(&limit)).unwrap(),
        }
        base.bufferevent(id).unwrap().set_timeouts(Some(millis(30)), None);
        peer.write_all(&[2; 100]).unwrap();
        run_for(&mut base, millis(5));
        match in_group {
            true => base.rate_limit_group(group).unwrap().decrement_read(5_000),
            false => base.decrement_read_limit(id, 5_000).unwrap(),
        }
        base.loop_exit(Some(millis(5_000))).unwrap();
        base.set_event_callback(id, |base, _, events| {
            base.context_mut().push(events);
            base.loop_break();
        })
        .unwrap();
        base.dispatch().unwrap();
        assert_eq!(base.context(), &[BevEvents::TIMEOUT | BevEvents::READING], "in a group: {in_group}");
    }
}

#[test]
fn the_end_of_the_stream_comes_behind_what_a_limit_holds_back() {
    let (mut base, id, mut peer) = noting();
    base.set_rate_limit(id, Some(&bucket(100, 100, millis(5)))).unwrap();
    peer.write_all(&pattern(1_000, 4)).unwrap();
    drop(peer);
    base.set_event_callback(id, |base, id, events| {
        assert_eq!(input_len(base, id), 1_000);
        base.context_mut().push(events);
        base.loop_break();
    })
    .unwrap();
    run(&mut base);
    assert_eq!(base.context(), &[BevEvents::EOF | BevEvents::READING]);
}

#[test]
fn a_limit_is_changed_and_removed_in_flight() {
    let mut base = EventBase::new().unwrap();
    let (id, mut peer) = socket(&mut base);
    enable_reading(&mut base, id);
    base.set_rate_limit(id, Some(&bucket(100, 400, HOUR))).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 10_000]).unwrap();
    peer.write_all(&[2; 10_000]).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!((input_len(&mut base, id), take_all(&peer).len()), (100, 100));

    let changed = Instant::now();
    base.set_rate_limit(id, Some(&bucket(300, 300, millis(20)))).unwrap();
    let left = base.bufferevent(id).unwrap().output().len();
    run_until(&mut base, |base| base.bufferevent(id).unwrap().output().len() < left);
    let written = take_all(&peer).len();
    let most = most(300, millis(20), changed.elapsed());
    assert!((300..=most).contains(&written), "{written} of at most {most}");

    base.set_rate_limit(id, None).unwrap();
    run_until(&mut base, |base| input_len(base, id) == 10_000);
    assert_eq!(written + take_all(&peer).len(), 9_900);
    assert_eq!(base.read_limit(id).unwrap(), None);
}

#[test]
fn a_group_is_changed_and_left_in_flight() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(100, 400, HOUR)).unwrap();
    let (id, peer) = socket(&mut base);
    base.add_to_rate_limit_group(id, group).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 10_000]).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 100);
    base.rate_limit_group(group).unwrap().decrement_write(-1_000);
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 1_000, "what is put in by hand passes at once");
    base.set_group_limit(group, &bucket(2_000, 2_000, millis(1))).unwrap();
    run_until(&mut base, |base| has_written(base, id));
    assert_eq!(take_all(&peer).len(), 8_900);
    assert_eq!(base.rate_limit_group(group).unwrap().totals(), (0, 10_000));

    base.set_group_limit(group, &bucket(1, 1, HOUR)).unwrap();
    base.bufferevent(id).unwrap().write(&[1; 1_000]).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 1, "the change only clips");
    let other = base.new_rate_limit_group(&bucket(500, 500, HOUR)).unwrap();
    base.add_to_rate_limit_group(id, other).unwrap();
    base.add_to_rate_limit_group(id, other).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 500, "it has moved to the other group");
    base.free_rate_limit_group(other).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 499, "without a group nothing limits it");
    base.remove_from_rate_limit_group(id).unwrap();
}

#[test]
fn buckets_are_taken_from_by_hand_and_go_below_empty() {
    let mut base = EventBase::new().unwrap();
    let (id, peer) = socket(&mut base);
    assert!(matches!(base.decrement_read_limit(id, 1), Err(Error::Invalid(_))));
    assert!(matches!(base.decrement_write_limit(id, 1), Err(Error::Invalid(_))));
    base.set_rate_limit(id, Some(&TokenBucket::new(50, 50, 100, 400, HOUR).unwrap())).unwrap();
    base.decrement_write_limit(id, 300).unwrap();
    assert_eq!((base.read_limit(id).unwrap(), base.write_limit(id).unwrap()), (Some(50), Some(-200)));
    base.bufferevent(id).unwrap().write(&[1; 10_000]).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 0);
    base.decrement_write_limit(id, -201).unwrap();
    run_for(&mut base, millis(5));
    assert_eq!(take_all(&peer).len(), 1);
    base.decrement_read_limit(id, isize::MIN).unwrap();
    base.decrement_read_limit(id, isize::MIN).unwrap();
    assert_eq!(base.read_limit(id).unwrap(), Some(isize::MAX));

    let group = base.new_rate_limit_group(&bucket(10, 10, HOUR)).unwrap();
    base.rate_limit_group(group).unwrap().decrement_read(isize::MAX);
    base.rate_limit_group(group).unwrap().decrement_read(isize::MAX);
    assert_eq!(base.rate_limit_group(group).unwrap().read_limit(), isize::MIN);
    assert_eq!(base.rate_limit_group(group).unwrap().write_limit(), 10);
}

#[test]
fn what_would_be_moved_now_is_the_least_of_turn_bucket_and_share() {
    let mut base = EventBase::new().unwrap();
    let (id, _peer) = socket(&mut base);
    assert_eq!(base.max_to_read(id).unwrap(), 64 * 1024);
    base.bufferevent(id).unwrap().set_max_single_read(5_000);
    assert_eq!(base.max_to_read(id).unwrap(), 5_000);
    base.set_rate_limit(id, Some(&bucket(1_000_000, 1_000_000, HOUR))).unwrap();
    assert_eq!(base.max_to_read(id).unwrap(), 5_000, "as the book says, not what the bucket has");
    assert_eq!(base.max_to_write(id).unwrap(), 1_000_000);

    let group = base.new_rate_limit_group(&bucket(1_000, 1_000, HOUR)).unwrap();
    base.add_to_rate_limit_group(id, group).unwrap();
    assert_eq!(base.max_to_write(id).unwrap(), 1_000);
    base.set_rate_limit(id, Some(&bucket(700, 700, HOUR))).unwrap();
    assert_eq!(base.max_to_write(id).unwrap(), 700, "the lower of its own and the group's");
    base.decrement_write_limit(id, 800).unwrap();
    assert_eq!(base.max_to_write(id).unwrap(), 0, "never negative");
    base.rate_limit_group(group).unwrap().decrement_read(2_000);
    assert_eq!(base.max_to_read(id).unwrap(), 0);
}

#[test]
fn both_limits_of_a_member_hold() {
    for (own, shared) in [(100, 1_000), (1_000, 100)] {
        let mut base = EventBase::new().unwrap();
        let group = base.new_rate_limit_group(&bucket(shared, shared, HOUR)).unwrap();
        let (id, mut peer) = socket(&mut base);
        base.set_rate_limit(id, Some(&bucket(own, own, HOUR))).unwrap();
        base.add_to_rate_limit_group(id, group).unwrap();
        enable_reading(&mut base, id);
        base.bufferevent(id).unwrap().write(&[1; 5_000]).unwrap();
        peer.write_all(&[2; 5_000]).unwrap();
        run_for(&mut base, millis(5));
        assert_eq!((input_len(&mut base, id), take_all(&peer).len()), (100, 100));
        assert_eq!(base.rate_limit_group(group).unwrap().totals(), (100, 100));
        base.rate_limit_group(group).unwrap().reset_totals();
        assert_eq!(base.rate_limit_group(group).unwrap().totals(), (0, 0));
    }
}

#[test]
fn the_largest_limits_limit_nothing() {
    let mut base = EventBase::new().unwrap();
    let largest = bucket(RATE_LIMIT_MAX, RATE_LIMIT_MAX, millis(1));
    let group = base.new_rate_limit_group(&largest).unwrap();
    base.rate_limit_group(group).unwrap().set_min_share(usize::MAX);
    let (id, peer) = socket(&mut base);
    base.set_rate_limit(id, Some(&largest)).unwrap();
    base.add_to_rate_limit_group(id, group).unwrap();
    enable_reading(&mut base, id);
    let sent = pattern(2 << 20, 9);
    let echoed = sent.clone();
    peer.set_nonblocking(false).unwrap();
    let mut writer = peer.try_clone().unwrap();
    let feeder = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let remote = base.remote();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; echoed.len()];
        (&peer).read_exact(&mut bytes).unwrap();
        remote.loop_break().unwrap();
        bytes == echoed
    });
    base.set_read_callback(id, |base, id| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add_buffer(input).unwrap();
    })
    .unwrap();
    run(&mut base);
    feeder.join().unwrap();
    assert!(reader.join().unwrap(), "the echo differs from what was sent");
    assert_eq!(base.rate_limit_group(group).unwrap().totals(), (2 << 20, 2 << 20));
}

#[test]
fn a_closing_bufferevent_flushes_within_its_limits() {
    let mut base = EventBase::new().unwrap();
    let (id, peer) = socket(&mut base);
    // Ticks are counted from when a limit was set.
    let started = Instant::now();
    let group = base.new_rate_limit_group(&bucket(2_000, 2_000, millis(5))).unwrap();
    base.add_to_rate_limit_group(id, group).unwrap();
    base.set_rate_limit(id, Some(&bucket(1_000, 1_000, millis(5)))).unwrap();
    let sent = pattern(10_000, 5);
    base.bufferevent(id).unwrap().write(&sent).unwrap();
    base.free_after_flush(id, Duration::from_secs(20)).unwrap();
    peer.set_nonblocking(false).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        (&peer).read_to_end(&mut bytes).unwrap();
        bytes
    });
    base.dispatch().unwrap();
    assert!(reader.join().unwrap() == sent, "what arrived differs from what was written");
    assert!(started.elapsed() >= millis(45));
    assert_eq!(base.rate_limit_group(group).unwrap().totals(), (0, 10_000));
}

/// A group whose members all have more to write than they will get to.
fn busy_group(
    base: &mut EventBase,
    members: usize,
    limit: &TokenBucket,
) -> (RateLimitGroupId, Vec<(BuffereventId, UnixStream)>) {
    let group = base.new_rate_limit_group(limit).unwrap();
    let members: Vec<_> = (0..members).map(|_| socket(base)).collect();
    for (id, _) in &members {
        base.add_to_rate_limit_group(*id, group).unwrap();
        base.bufferevent(*id).unwrap().write(&[3; 8_000]).unwrap();
    }
    (group, members)
}

#[test]
fn a_thousand_members_each_get_their_turn_before_any_gets_two() {
    let mut base = EventBase::new().unwrap();
    let (rate, tick) = (6_400, millis(2));
    let started = Instant::now();
    let (group, members) = busy_group(&mut base, 1_000, &bucket(rate, rate, tick));
    run_for(&mut base, millis(5));
    let before = base.stats();
    run_for(&mut base, millis(500));
    let after = base.stats();
    assert_eq!(after.changes_applied, before.changes_applied, "no epoll_ctl");

    let shares: Vec<_> = members.iter().map(|(_, peer)| take_all(peer).len()).collect();
    let total: usize = shares.iter().sum();
    let most = most(rate, tick, started.elapsed());
    assert!(total <= most, "{total} bytes passed, of at most {most}");
    assert!(total >= 64_000, "{total} bytes passed: less than a round");
    assert_eq!(base.rate_limit_group(group).unwrap().totals(), (0, total as u64));
    assert!(shares.iter().all(|share| share % 64 == 0), "somebody got less than the minimum share");
    let (least, largest) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(largest - least <= 64, "{least} to {largest} bytes a member");
    assert_eq!(after.group_shares, total as u64 / 64, "a visit for each share, and none for nothing");
}

#[test]
fn a_tick_costs_those_who_are_active_however_many_members_there_are() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket(1_000, 1_000, millis(5))).unwrap();
    let mut members: Vec<_> = (0..1_000).map(|_| socket(&mut base)).collect();
    for (id, _) in &members {
        base.add_to_rate_limit_group(*id, group).unwrap();
        enable_reading(&mut base, *id);
    }
    run_for(&mut base, millis(5));
    let before = base.stats();
    for (_, peer) in &mut members[..10] {
        peer.write_all(&[1; 2_000]).unwrap();
    }
    run_until(&mut base, |base| base.rate_limit_group(group).unwrap().totals() == (20_000, 0));
    let after = base.stats();
    // What a tick brings is worth 20 ticks of 10 visits each; a turn more may be needed where it does not divide evenly.
    let shares = after.group_shares - before.group_shares;
    assert!(shares <= 400, "{shares} visits in 20 ticks for 10 active members");
    assert_eq!(after.changes_applied, before.changes_applied, "no epoll_ctl");
    let received: usize = members.iter().map(|(id, _)| input_len(&mut base, *id)).sum();
    assert_eq!(received, 20_000);
}

#[test]
fn chance_decides_who_is_first() {
    let first = || {
        let mut base = EventBase::new().unwrap();
        let (_, members) = busy_group(&mut base, 10, &bucket(64, 64, HOUR));
        run_for(&mut base, millis(1));
        members.iter().position(|(_, peer)| !take_all(peer).is_empty()).unwrap()
    };
    let usual = first();
    // The likeliest to be first is so with a chance of one half.
    assert!((0..100).any(|_| first() != usual));
}

#[test]
fn the_minimum_share_is_respected_bounded_by_the_rate_and_can_be_switched_off() {
    let served = |min_share: usize| {
        let mut base = EventBase::new().unwrap();
        let (group, members) = busy_group(&mut base, 100, &bucket(1_000, 1_000, HOUR));
        base.rate_limit_group(group).unwrap().set_min_share(min_share);
        run_for(&mut base, millis(1));
        let shares = members.iter().map(|(_, peer)| take_all(peer).len()).filter(|&share| share > 0);
        let mut shares: Vec<_> = shares.collect();
        shares.sort_unstable();
        shares
    };
    assert_eq!(served(200), [200; 5]);
    assert_eq!(served(300), [100, 300, 300, 300], "what is left over is not lost");
    assert_eq!(served(5_000), [1_000], "one tick's rate at most");
    assert_eq!(served(0), [10; 100]);
}

#[test]
fn the_members_of_a_freed_group_go_on_at_once() {
    let mut base = EventBase::new().unwrap();
    let (group, members) = busy_group(&mut base, 5, &bucket(1, 1, HOUR));
    run_for(&mut base, millis(2));
    base.free_rate_limit_group(group).unwrap();
    run_for(&mut base, millis(2));
    assert!(members.iter().all(|(_, peer)| take_all(peer).len() == 8_000));
}

#[test]
fn a_panic_while_a_member_is_served_costs_nobody_his_turn() {
    let mut base = EventBase::new().unwrap();
    let (group, members) = busy_group(&mut base, 3, &bucket(1_000_000, 1_000_000, HOUR));
    for (id, _) in &members {
        let output = base.bufferevent(*id).unwrap().output();
        output.add_reference_with_cleanup([4; 5_000], |_| panic!("from a clean-up")).unwrap();
        output.add(&[5; 100]).unwrap();
    }
    for _ in &members {
        let run = AssertUnwindSafe(|| run_for(&mut base, millis(2)));
        assert!(catch_unwind(run).is_err());
    }
    run_for(&mut base, millis(2));
    assert!(members.iter().all(|(_, peer)| take_all(peer).len() == 13_100));
    base.free_rate_limit_group(group).unwrap();
}

/// Uses what remains after some of everything has been freed.
fn still_works(base: &mut EventBase, ids: &[BuffereventId]) {
    for &id in ids {
        if let Ok(bufferevent) = base.bufferevent(id) {
            bufferevent.write(&[1; 300]).unwrap();
        }
    }
    run_for(base, millis(3));
}

#[test]
fn members_and_groups_are_freed_in_any_order() {
    for order in 0..24 {
        let mut base = EventBase::new().unwrap();
        let slots = base.stats().slots;
        let (group, members) = busy_group(&mut base, 3, &bucket(100, 100, millis(1)));
        let ids: Vec<_> = members.iter().map(|(id, _)| *id).collect();
        run_for(&mut base, millis(2));
        // The order-th permutation of the group and its three members.
        let (mut left, mut rest) = ((0..4).collect::<Vec<_>>(), order);
        for count in (1..=4).rev() {
            match left.remove(rest % count) {
                3 => base.free_rate_limit_group(group).unwrap(),
                member => base.free_bufferevent(ids[member]).unwrap(),
            }
            rest /= count;
            still_works(&mut base, &ids);
        }
        assert!(matches!(base.rate_limit_group(group), Err(Error::Stale)));
        assert!(matches!(base.free_rate_limit_group(group), Err(Error::Stale)));
        assert_eq!(base.stats().slots, slots, "nothing is left behind");
    }
}

/// What the storm of frees may do to.
struct Storm {
    random: Random,
    groups: Vec<RateLimitGroupId>,
    members: Vec<(BuffereventId, UnixStream)>,
    steps: usize,
}

fn strike(base: &mut EventBase<Storm>, _: BuffereventId) {
    let storm = base.context_mut();
    storm.steps += 1;
    let (which, what) = (storm.random.below(8), storm.random.below(10));
    let group = storm.groups[which % storm.groups.len()];
    let member = storm.members[which].0;
    match what {
        0 => {
            base.free_bufferevent(member).unwrap();
            base.context_mut().members[which] = stormy(base);
        }
        1 => {
            base.free_rate_limit_group(group).unwrap();
            let place = which % 3;
            base.context_mut().groups[place] =
                base.new_rate_limit_group(&bucket(500, 500, millis(1))).unwrap();
        }
        2..5 => base.add_to_rate_limit_group(member, group).unwrap(),
        5 => base.remove_from_rate_limit_group(member).unwrap(),
        6 => base.set_rate_limit(member, Some(&bucket(100, 700, millis(1)))).unwrap(),
        7 => base.set_rate_limit(member, None).unwrap(),
        8 => base.set_group_limit(group, &bucket(300, 900, millis(1))).unwrap(),
        _ => base.rate_limit_group(group).unwrap().decrement_read(100),
    }
    if base.context().steps >= 5_000 {
        base.loop_break();
    }
}

fn stormy(base: &mut EventBase<Storm>) -> (BuffereventId, UnixStream) {
    let (id, mut peer) = socket(base);
    base.set_read_callback(id, |base, id| {
        let (input, output) = base.bufferevent(id).unwrap().buffers();
        output.add_buffer(input).unwrap();
        strike(base, id);
    })
    .unwrap();
    base.set_write_callback(id, strike_and_refill).unwrap();
    enable_reading(base, id);
    peer.write_all(&[5; 3_000]).unwrap();
    (id, peer)
}

fn strike_and_refill(base: &mut EventBase<Storm>, id: BuffereventId) {
    let storm = base.context_mut();
    if let Some((_, peer)) = storm.members.iter().find(|(member, _)| *member == id) {
        let _ = take_all(peer);
        let mut peer = peer;
        let _ = peer.write(&[5; 1_000]);
    }
    strike(base, id);
}

#[test]
fn everything_is_freed_and_changed_inside_callbacks() {
    for seed in 1..4 {
        let storm = Storm { random: Random(seed), groups: Vec::new(), members: Vec::new(), steps: 0 };
        let mut base = EventBase::with_context(storm).unwrap();
        let slots = base.stats().slots;
        for _ in 0..3 {
            let group = base.new_rate_limit_group(&bucket(500, 500, millis(1))).unwrap();
            base.context_mut().groups.push(group);
        }
        for _ in 0..8 {
            let member = stormy(&mut base);
            base.context_mut().members.push(member);
        }
        run(&mut base);
        assert!(base.context().steps >= 5_000);
        for (id, _peer) in std::mem::take(&mut base.context_mut().members) {
            base.free_bufferevent(id).unwrap();
        }
        for group in std::mem::take(&mut base.context_mut().groups) {
            base.free_rate_limit_group(group).unwrap();
        }
        assert_eq!(base.stats().slots, slots, "nothing is left behind");
    }
}
