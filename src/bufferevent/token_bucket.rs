//! Token buckets: how many bytes may pass now, and when there will be more. Arithmetic alone; the time is always told.
//!
//! A bucket is filled when somebody looks at it, by the ticks that have passed since its last whole one. So one that
//! nobody waits for needs no timer, and one that somebody waits for needs a timer for the tick at which it has
//! something again.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use crate::error::{Error, Result};

/// The highest rate and the largest burst, in bytes.
#[doc(alias = "EV_RATE_LIMIT_MAX")]
pub const RATE_LIMIT_MAX: usize = isize::MAX as usize;

const NS_PER_MS: u64 = 1_000_000;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    pub(super) const ALL: [Direction; 2] = [Direction::Read, Direction::Write];
}

/// One of each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Both<T> {
    pub(super) read: T,
    pub(super) write: T,
}

impl<T> Index<Direction> for Both<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// Bytes a tick, and the most that can be saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    per_tick: isize,
    burst: isize,
}

impl Rate {
    fn new(per_tick: usize, burst: usize) -> Result<Self> {
        if per_tick == 0 {
            return Err(Error::Invalid("a rate of 0 would let nothing pass, ever"));
        }
        if per_tick > burst {
            return Err(Error::Invalid("the burst must hold what one tick brings"));
        }
        match (isize::try_from(per_tick), isize::try_from(burst)) {
            (Ok(per_tick), Ok(burst)) => Ok(Rate { per_tick, burst }),
            _ => Err(Error::OutOfRange),
        }
    }

    /// What `tokens` have become after `ticks`.
    fn filled(self, tokens: isize, ticks: u64) -> isize {
        // 63 bits times 64 bits fit, and what is added to them cannot make them overflow: it is there to be capped.
        let tokens = i128::from(tokens as i64) + i128::from(self.per_tick as i64) * i128::from(ticks);
        isize::try_from(tokens).map_or(self.burst, |tokens| tokens.min(self.burst))
    }

    /// How many ticks it takes until `tokens` are more than 0.
    fn ticks_to_positive(self, tokens: isize) -> u64 {
        if tokens > 0 {
            return 0;
        }
        (tokens.unsigned_abs() as u64 + 1).div_ceil(self.per_tick.unsigned_abs() as u64)
    }
}

/// A rate limit for reading and one for writing, to be given to any number of bufferevents and groups.
///
/// Each direction has a bucket that starts with what one tick brings, gets as much again at every tick, and holds
/// at most its burst; what does not fit is lost. A byte that passes, be it of memory, of a file or out of a pipe,
/// takes one from the bucket, and when nothing is left the direction is suspended until the next tick. So the rate bounds
/// the average, the burst what can pass at once, and the tick says how smoothly. In N.1 ticks from the start, N + 1
/// ticks' worth can pass.
///
/// Set by [`EventBase::set_rate_limit`](crate::EventBase::set_rate_limit) and
/// [`EventBase::new_rate_limit_group`](crate::EventBase::new_rate_limit_group), which copy it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use zerovent::bufferevent::TokenBucket;
///
/// // 3000 bytes a second each way, 600 at once.
/// let bucket = TokenBucket::new(300, 600, 300, 600, Duration::from_millis(100))?;
/// # let _ = bucket;
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "ev_token_bucket_cfg")]
#[doc(alias = "ev_token_bucket_cfg_free")]
pub struct TokenBucket {
    rates: Both<Rate>,
    tick_ns: u64,
}

impl TokenBucket {
    /// Rates in bytes a tick, bursts in bytes. Fractions of a millisecond of the tick are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a rate that is 0 or above its burst and for a tick under 1 ms; [`Error::OutOfRange`] for a
    /// burst above [`RATE_LIMIT_MAX`] and for a tick of centuries.
    ///
    /// # Differences from libevent
    ///
    /// The tick has no default. libevent 2.1 takes a tick under 1 ms and divides by zero later.
    #[doc(alias = "ev_token_bucket_cfg_new")]
    pub fn new(
        read_rate: usize,
        read_burst: usize,
        write_rate: usize,
        write_burst: usize,
        tick: Duration,
    ) -> Result<Self> {
        let tick_ms = u64::try_from(tick.as_millis()).map_err(|_| Error::OutOfRange)?;
        if tick_ms == 0 {
            return Err(Error::Invalid("a tick is at least 1 ms"));
        }
        let tick_ns = tick_ms.checked_mul(NS_PER_MS).ok_or(Error::OutOfRange)?;
        let rates =
            Both { read: Rate::new(read_rate, read_burst)?, write: Rate::new(write_rate, write_burst)? };
        Ok(TokenBucket { rates, tick_ns })
    }

    /// The lower of the two rates, in bytes a tick.
    pub(super) fn lower_rate(&self) -> usize {
        self.rates.read.per_tick.min(self.rates.write.per_tick).unsigned_abs()
    }
}

/// A pair of buckets in use.
#[derive(Debug)]
pub(super) struct Limit {
    bucket: TokenBucket,
    /// Less than 0 after more was taken by hand than there was.
    tokens: Both<isize>,
    /// When the tick began that is under way.
    tick_began_ns: u64,
}

impl Limit {
    /// Buckets with one tick's worth in each.
    pub(super) fn new(bucket: TokenBucket, now_ns: u64) -> Self {
        let tokens = Both { read: bucket.rates.read.per_tick, write: bucket.rates.write.per_tick };
        Limit { bucket, tokens, tick_began_ns: now_ns }
    }

    /// Goes on with other rates. What is in the buckets stays, as far as it fits.
    pub(super) fn change(&mut self, bucket: TokenBucket, now_ns: u64) {
        self.refill(now_ns);
        // Of the time since the last tick one new tick counts at most: a long one's rest is not many short ones.
        self.tick_began_ns = self.tick_began_ns.max(now_ns.saturating_sub(bucket.tick_ns));
        self.bucket = bucket;
        for direction in Direction::ALL {
            self.tokens[direction] = self.tokens[direction].min(bucket.rates[direction].burst);
        }
    }

    /// Adds what the ticks have brought that are over by now.
    pub(super) fn refill(&mut self, now_ns: u64) {
        let ticks = now_ns.saturating_sub(self.tick_began_ns) / self.bucket.tick_ns;
        if ticks == 0 {
            return;
        }
        self.tick_began_ns += ticks * self.bucket.tick_ns;
        for direction in Direction::ALL {
            let rate = self.bucket.rates[direction];
            self.tokens[direction] = rate.filled(self.tokens[direction], ticks);
        }
    }

    /// What is in the bucket, as of the last refill.
    pub(super) fn tokens(&self, direction: Direction) -> isize {
        self.tokens[direction]
    }

    /// How many bytes may pass, as of the last refill.
    pub(super) fn allowance(&self, direction: Direction) -> usize {
        self.tokens[direction].max(0).unsigned_abs()
    }

    /// Takes `bytes` out, or, if that is negative, puts them in.
    pub(super) fn take(&mut self, direction: Direction, bytes: isize) {
        self.tokens[direction] = self.tokens[direction].saturating_sub(bytes);
    }

    /// Takes out what has passed.
    pub(super) fn spend(&mut self, direction: Direction, bytes: usize) {
        self.take(direction, isize::try_from(bytes).unwrap_or(isize::MAX));
    }

    /// When something may pass again.
    pub(super) fn next_refill_ns(&self, direction: Direction) -> u64 {
        let ticks = self.bucket.rates[direction].ticks_to_positive(self.tokens[direction]);
        self.tick_began_ns.saturating_add(ticks.saturating_mul(self.bucket.tick_ns))
    }

    pub(super) fn bucket(&self) -> &TokenBucket {
        &self.bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = NS_PER_MS;

    fn bucket(rate: usize, burst: usize, tick_ms: u64) -> TokenBucket {
        TokenBucket::new(rate, burst, rate, burst, Duration::from_millis(tick_ms)).unwrap()
    }

    #[test]
    fn every_small_bucket_agrees_with_one_that_is_filled_tick_by_tick() {
        for (rate, burst) in (1..8).flat_map(|rate| (rate..12).map(move |burst| (rate, burst))) {
            for (taken, ticks) in (-30..30).flat_map(|taken| (0..12).map(move |ticks| (taken, ticks))) {
                let mut limit = Limit::new(bucket(rate, burst, 1), 5 * MS);
                limit.take(Direction::Read, taken);
                let mut expected = rate as isize - taken;
                for _ in 0..ticks {
                    expected = (expected + rate as isize).min(burst as isize);
                }
                limit.refill(5 * MS + ticks * MS + MS - 1);
                assert_eq!(limit.tokens(Direction::Read), expected, "{rate} {burst} {taken} {ticks}");
                assert_eq!(limit.allowance(Direction::Read), usize::try_from(expected).unwrap_or(0));
            }
        }
    }

    #[test]
    fn it_says_exactly_when_something_may_pass_again() {
        for (rate, taken) in (1..10).flat_map(|rate| (0..40).map(move |taken| (rate, taken))) {
            let mut limit = Limit::new(bucket(rate, 100, 3), 7);
            limit.take(Direction::Write, taken);
            let due_ns = limit.next_refill_ns(Direction::Write);
            if taken < rate as isize {
                assert_eq!(due_ns, 7, "something is there now");
                continue;
            }
            limit.refill(due_ns - 1);
            assert_eq!(limit.allowance(Direction::Write), 0, "{rate} {taken}: late");
            limit.refill(due_ns);
            assert!(limit.allowance(Direction::Write) > 0, "{rate} {taken}: early");
        }
    }

    #[test]
    fn however_often_it_is_looked_at_as_much_passes() {
        for step_ns in [1, 333_333, MS - 1, MS, MS + 1, 7 * MS, 99 * MS] {
            let mut limit = Limit::new(bucket(10, 1_000, 1), 0);
            let (mut now_ns, mut passed) = (0, 0);
            // A step at most fills the burst, so nothing is lost.
            for _ in 0..10_000 {
                limit.refill(now_ns);
                passed += limit.allowance(Direction::Read);
                limit.spend(Direction::Read, limit.allowance(Direction::Read));
                now_ns += step_ns;
            }
            let ticks = (now_ns - step_ns) / MS;
            assert_eq!(passed as u64, 10 + 10 * ticks, "steps of {step_ns} ns");
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let largest = bucket(RATE_LIMIT_MAX, RATE_LIMIT_MAX, 1);
        let mut limit = Limit::new(largest, 0);
        assert_eq!(limit.tokens(Direction::Read), isize::MAX);
        limit.take(Direction::Read, isize::MAX);
        limit.take(Direction::Read, isize::MAX);
        limit.take(Direction::Read, isize::MAX);
        assert_eq!(limit.tokens(Direction::Read), isize::MIN, "as far as it goes");
        assert_eq!(limit.next_refill_ns(Direction::Read), 2 * MS);
        limit.refill(2 * MS);
        assert_eq!(limit.tokens(Direction::Read), isize::MAX - 1);
        limit.take(Direction::Read, isize::MIN);
        limit.refill(u64::MAX);
        assert_eq!(limit.tokens(Direction::Read), isize::MAX);
        limit.take(Direction::Read, isize::MAX);
        assert_eq!(limit.next_refill_ns(Direction::Read), u64::MAX, "the clock ends before the tick does");

        let mut slowest = Limit::new(bucket(1, 1, 1), u64::MAX - 1);
        slowest.take(Direction::Write, isize::MAX);
        slowest.take(Direction::Write, isize::MAX);
        assert_eq!(slowest.next_refill_ns(Direction::Write), u64::MAX);
        slowest.refill(0);
        assert_eq!(slowest.tokens(Direction::Write), isize::MIN, "time does not go back");
    }

    #[test]
    fn the_directions_are_apart() {
        let both = TokenBucket::new(10, 20, 3, 5, Duration::from_millis(1)).unwrap();
        let mut limit = Limit::new(both, 0);
        limit.spend(Direction::Read, 10);
        assert_eq!((limit.tokens(Direction::Read), limit.tokens(Direction::Write)), (0, 3));
        limit.refill(MS);
        assert_eq!((limit.tokens(Direction::Read), limit.tokens(Direction::Write)), (10, 5));
        assert_eq!(both.lower_rate(), 3);
    }

    #[test]
    fn a_change_only_clips_and_grants_one_tick_at_most() {
        let mut limit = Limit::new(bucket(100, 1000, 1000), 0);
        limit.change(bucket(10, 50, 1), 999 * MS);
        assert_eq!(limit.tokens(Direction::Read), 50);
        limit.spend(Direction::Read, 50);
        limit.refill(999 * MS);
        assert_eq!(limit.tokens(Direction::Read), 10, "one new tick of the long one's 999");
        limit.change(bucket(1000, 1000, 1000), 999 * MS);
        assert_eq!(limit.tokens(Direction::Read), 10, "more room is not filled at once");
        limit.refill(1998 * MS);
        assert_eq!(limit.tokens(Direction::Read), 10);
        limit.refill(1999 * MS);
        assert_eq!(limit.tokens(Direction::Read), 1000);
    }

    #[test]
    fn a_change_again_and_again_brings_nothing() {
        let (long, short) = (bucket(100, 1000, 1000), bucket(100, 1000, 1));
        let mut limit = Limit::new(long, 0);
        limit.spend(Direction::Read, 100);
        for _ in 0..100 {
            limit.change(short, 500 * MS);
            limit.change(long, 500 * MS);
        }
        assert_eq!(limit.tokens(Direction::Read), 100, "the half tick counted as one short tick, once");
    }

    #[test]
    fn bad_values_are_refused() {
        let new = |rate, burst, tick_us| {
            let tick = Duration::from_micros(tick_us);
            (TokenBucket::new(rate, burst, 1, 1, tick).err(), TokenBucket::new(1, 1, rate, burst, tick).err())
        };
        let is_invalid =
            |(read, write)| matches!((read, write), (Some(Error::Invalid(_)), Some(Error::Invalid(_))));
        assert!(is_invalid(new(0, 10, 1000)));
        assert!(is_invalid(new(11, 10, 1000)));
        assert!(is_invalid(new(10, 10, 999)));
        assert!(is_invalid(new(10, 10, 0)));
        let too_large = new(1, RATE_LIMIT_MAX + 1, 1000);
        assert!(matches!(too_large, (Some(Error::OutOfRange), Some(Error::OutOfRange))));
        let tick = |tick| TokenBucket::new(1, 1, 1, 1, tick);
        assert!(matches!(tick(Duration::MAX), Err(Error::OutOfRange)));
        assert!(matches!(tick(Duration::from_secs(u64::from(u32::MAX) * 5)), Err(Error::OutOfRange)));
        assert_eq!(tick(Duration::from_micros(1999)).unwrap().tick_ns, MS);
    }
}
