//! Filters for tests: each encodes on its way out and decodes on its way in.

use zerovent::Evbuffer;
use zerovent::bufferevent::{Filter, FilterResult, FlushMode};

/// What a layer does to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lower case becomes upper case, and the other way round.
    Case,
    /// A length before up to 100 bytes.
    Framed,
    /// Every byte three times.
    Tripled,
    /// Holds bytes back inside until there are 64 of them, and ciphers them with a running key.
    Hoarding,
    /// Only whole groups of seven, each reversed; what is left at the end as it is.
    Sevens,
    /// Nothing, and no closure.
    Plain,
}

pub const KINDS: [Kind; 6] =
    [Kind::Case, Kind::Framed, Kind::Tripled, Kind::Hoarding, Kind::Sevens, Kind::Plain];

/// The closures of a layer: input and output.
pub fn closures(kind: Kind) -> (Option<Filter>, Option<Filter>) {
    match kind {
        Kind::Case => (Some(case()), Some(case())),
        Kind::Framed => (Some(Box::new(unframe)), Some(Box::new(frame))),
        Kind::Tripled => (Some(Box::new(untriple)), Some(Box::new(triple))),
        Kind::Hoarding => (Some(hoard(0)), Some(hoard(64))),
        Kind::Sevens => (Some(Box::new(sevens)), Some(Box::new(sevens))),
        Kind::Plain => (None, None),
    }
}

fn take(from: &mut Evbuffer, count: usize) -> Vec<u8> {
    from.remove_bytes(count).unwrap().to_vec()
}

/// How many bytes to take when `unit` bytes of the source become `becomes`: what the limit allows, but one unit at least
/// while the destination is empty.
fn units(from: &Evbuffer, to: &Evbuffer, limit: Option<usize>, unit: usize, becomes: usize) -> usize {
    let least = usize::from(to.is_empty());
    let most = limit.map_or(usize::MAX, |limit| (limit / becomes).max(least));
    (from.len() / unit).min(most)
}

fn case() -> Filter {
    Box::new(|from, to, limit, _| {
        let swapped: Vec<u8> = take(from, units(from, to, limit, 1, 1))
            .into_iter()
            .map(|byte| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { byte })
            .collect();
        to.add(&swapped).unwrap();
        FilterResult::Ok
    })
}

fn frame(from: &mut Evbuffer, to: &mut Evbuffer, _: Option<usize>, _: FlushMode) -> FilterResult {
    let count = from.len().min(100);
    if count == 0 {
        return FilterResult::NeedMore;
    }
    to.add(&[count as u8]).unwrap();
    from.remove_buffer(to, count).unwrap();
    FilterResult::Ok
}

fn unframe(from: &mut Evbuffer, to: &mut Evbuffer, _: Option<usize>, _: FlushMode) -> FilterResult {
    let mut length = [0];
    if from.copy_out(&mut length).unwrap() == 0 || from.len() <= usize::from(length[0]) {
        return FilterResult::NeedMore;
    }
    if length[0] == 0 {
        return FilterResult::Error;
    }
    from.drain(1).unwrap();
    from.remove_buffer(to, usize::from(length[0])).unwrap();
    FilterResult::Ok
}

fn triple(from: &mut Evbuffer, to: &mut Evbuffer, limit: Option<usize>, _: FlushMode) -> FilterResult {
    let count = units(from, to, limit, 1, 3);
    let tripled: Vec<u8> = take(from, count).into_iter().flat_map(|byte| [byte; 3]).collect();
    to.add(&tripled).unwrap();
    if count == 0 { FilterResult::NeedMore } else { FilterResult::Ok }
}

fn untriple(from: &mut Evbuffer, to: &mut Evbuffer, limit: Option<usize>, _: FlushMode) -> FilterResult {
    let count = units(from, to, limit, 3, 1);
    let bytes = take(from, 3 * count);
    if bytes.chunks(3).any(|three| three[0] != three[1] || three[0] != three[2]) {
        return FilterResult::Error;
    }
    to.add(&bytes.into_iter().step_by(3).collect::<Vec<_>>()).unwrap();
    if count == 0 { FilterResult::NeedMore } else { FilterResult::Ok }
}

fn hoard(until: usize) -> Filter {
    let (mut held, mut key) = (Vec::new(), 1u8);
    Box::new(move |from, to, _, mode| {
        held.extend(take(from, from.len()));
        if held.is_empty() || (held.len() < until && mode == FlushMode::Normal) {
            return FilterResult::NeedMore;
        }
        for byte in &mut held {
            *byte ^= key;
            key = key.wrapping_mul(5).wrapping_add(7);
        }
        to.add(&held).unwrap();
        held.clear();
        FilterResult::Ok
    })
}

fn sevens(from: &mut Evbuffer, to: &mut Evbuffer, limit: Option<usize>, mode: FlushMode) -> FilterResult {
    let groups = units(from, to, limit, 7, 7);
    for group in take(from, 7 * groups).chunks(7) {
        to.add(&group.iter().rev().copied().collect::<Vec<_>>()).unwrap();
    }
    if mode == FlushMode::Finished && from.len() < 7 {
        to.add_buffer(from).unwrap();
        return FilterResult::Ok;
    }
    if groups == 0 { FilterResult::NeedMore } else { FilterResult::Ok }
}
