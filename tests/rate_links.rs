//! Rate limits on pairs and filters: they bind there as on sockets, for one and for groups, and cost nothing while they wait.

mod support;

use std::time::{Duration, Instant};

use support::net;
use zerovent::EventBase;
use zerovent::bufferevent::{BuffereventId, FilterResult, Options, TokenBucket};
use zerovent::event_base::Interest;

const TICK: Duration = Duration::from_millis(20);
const RATE: usize = 1000;
const LEN: usize = 10 * RATE;

fn bucket() -> TokenBucket {
    TokenBucket::new(RATE, RATE, RATE, RATE, TICK).unwrap()
}

/// Runs until `sink` holds `len` bytes; says how many it held at most after each tick.
fn run_until_full<C: 'static>(base: &mut EventBase<C>, sink: BuffereventId, len: usize) -> Duration {
    base.set_read_callback(sink, move |base, id| {
        if base.bufferevent(id).unwrap().input().len() >= len {
            base.loop_break();
        }
    })
    .unwrap();
    base.bufferevent(sink).unwrap().enable(Interest::READ);
    let (start, turns) = (Instant::now(), base.stats().turns);
    net::run(base);
    let took = start.elapsed();
    let most = 10 * (took.as_millis() / TICK.as_millis() + 10);
    assert!(u128::from(base.stats().turns - turns) < most, "it spins");
    assert_eq!(base.bufferevent(sink).unwrap().input().len(), len);
    took
}

/// The first tick's worth is there at once, the rest comes tick by tick.
fn assert_limited(took: Duration) {
    assert!(took >= TICK * (LEN / RATE - 2) as u32, "{took:?}");
}

#[test]
fn half_a_pair_writes_no_faster_than_its_limit() {
    let mut base = EventBase::new().unwrap();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    base.set_rate_limit(near, Some(&bucket())).unwrap();
    base.bufferevent(near).unwrap().write(&[7; LEN]).unwrap();
    assert_limited(run_until_full(&mut base, far, LEN));
    assert!(base.write_limit(near).unwrap().unwrap() <= RATE as isize);
}

#[test]
fn half_a_pair_reads_no_faster_than_its_limit() {
    let mut base = EventBase::new().unwrap();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    base.set_rate_limit(far, Some(&bucket())).unwrap();
    base.bufferevent(near).unwrap().write(&[7; LEN]).unwrap();
    assert_limited(run_until_full(&mut base, far, LEN));
}

/// A filter over half a pair, and the other half.
fn stack(base: &mut EventBase) -> (BuffereventId, BuffereventId) {
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let top = base.new_filter(near, None, None, &Options::new()).unwrap();
    base.bufferevent(top).unwrap().enable(Interest::READ);
    (top, far)
}

#[test]
fn a_filter_writes_and_reads_no_faster_than_its_limit() {
    let mut base = EventBase::new().unwrap();
    let (top, far) = stack(&mut base);
    base.set_rate_limit(top, Some(&bucket())).unwrap();
    base.bufferevent(top).unwrap().write(&[7; LEN]).unwrap();
    assert_limited(run_until_full(&mut base, far, LEN));
    base.bufferevent(far).unwrap().write(&[7; LEN]).unwrap();
    assert_limited(run_until_full(&mut base, top, LEN));
}

/// A block is larger than what a tick allows: it passes whole, and is paid for afterwards.
#[test]
fn a_closure_that_needs_more_than_a_tick_overdraws_and_pays() {
    const BLOCK: usize = 5 * RATE;
    let mut base = EventBase::new().unwrap();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let blocks =
        move |from: &mut zerovent::Evbuffer, to: &mut zerovent::Evbuffer, limit: Option<usize>, _| {
            if from.len() < BLOCK || limit.is_some_and(|limit| limit < BLOCK) {
                return FilterResult::NeedMore;
            }
            from.remove_buffer(to, BLOCK).unwrap();
            FilterResult::Ok
        };
    let top = base.new_filter(near, None, Some(Box::new(blocks)), &Options::new()).unwrap();
    base.set_rate_limit(top, Some(&bucket())).unwrap();
    base.bufferevent(top).unwrap().write(&[7; 3 * BLOCK]).unwrap();
    let took = run_until_full(&mut base, far, 3 * BLOCK);
    assert!(took >= TICK * 8, "{took:?}: two blocks had to be paid for before the third");
}

#[test]
fn members_of_every_kind_share_a_group() {
    let mut base = EventBase::new().unwrap();
    let group = base.new_rate_limit_group(&bucket()).unwrap();
    let (near, far) = base.new_pair(&Options::new()).unwrap();
    let (top, opposite) = stack(&mut base);
    base.add_to_rate_limit_group(near, group).unwrap();
    base.add_to_rate_limit_group(top, group).unwrap();
    base.bufferevent(far).unwrap().enable(Interest::READ);
    base.bufferevent(opposite).unwrap().enable(Interest::READ);
    base.bufferevent(near).unwrap().write(&[7; LEN]).unwrap();
    base.bufferevent(top).unwrap().write(&[7; LEN]).unwrap();
    let (start, turns) = (Instant::now(), base.stats().turns);
    net::run_for(&mut base, TICK * 10);
    let ticks = start.elapsed().as_millis() / TICK.as_millis() + 2;
    let arrived = [far, opposite].map(|id| base.bufferevent(id).unwrap().input().len());
    assert!(arrived.iter().sum::<usize>() as u128 <= ticks * RATE as u128, "{arrived:?}");
    assert!(arrived.iter().all(|&len| len > RATE), "nobody starves: {arrived:?}");
    assert!(u128::from(base.stats().turns - turns) < 20 * ticks, "it spins");
    let totals = base.rate_limit_group(group).unwrap().totals();
    assert_eq!(totals, (0, arrived.iter().sum::<usize>() as u64));

    // Free of the limit, the rest comes at once.
    base.free_rate_limit_group(group).unwrap();
    base.dispatch().unwrap();
    assert_eq!([far, opposite].map(|id| base.bufferevent(id).unwrap().input().len()), [LEN; 2]);
}

#[test]
fn a_limit_that_is_lifted_lets_the_rest_pass_at_once() {
    let mut base = EventBase::new().unwrap();
    let (top, far) = stack(&mut base);
    let slow = TokenBucket::new(1, 1, 1, 1, Duration::from_secs(3600)).unwrap();
    base.set_rate_limit(top, Some(&slow)).unwrap();
    base.bufferevent(top).unwrap().write(&[7; LEN]).unwrap();
    base.bufferevent(far).unwrap().enable(Interest::READ);
    net::run_for(&mut base, TICK);
    assert_eq!(base.bufferevent(far).unwrap().input().len(), 1);
    base.set_rate_limit(top, None).unwrap();
    base.dispatch().unwrap();
    assert_eq!(base.bufferevent(far).unwrap().input().len(), LEN);
}
