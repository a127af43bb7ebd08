//! Slots with generations: what is removed leaves a stale id behind, never another object's.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// Names a slot, and which of its successive tenants is meant. One word, so that it travels in one register: the generation, which
/// is not 0, above the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RawId(NonZeroU64);

impl RawId {
    #[inline]
    fn new(index: u32, generation: NonZeroU32) -> Self {
        let word = (u64::from(generation.get()) << 32) | u64::from(index);
        RawId(NonZeroU64::new(word).expect("a generation is not 0"))
    }

    /// The slot's place; the same for every tenant.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0.get() as u32
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// The id as a number that is not 0.
    #[cfg(feature = "capi")]
    pub(crate) fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The id that gave these bits; `None` for bits that no id gives.
    #[cfg(feature = "capi")]
    pub(crate) fn from_bits(bits: u64) -> Option<RawId> {
        NonZeroU32::new((bits >> 32) as u32).map(|generation| RawId::new(bits as u32, generation))
    }
}

impl fmt::Debug for RawId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Content<T> {
    Vacant { next_vacant: u32 },
    Occupied(T),
}

#[derive(Debug)]
struct Place<T> {
    generation: NonZeroU32,
    content: Content<T>,
}

impl<T> Place<T> {
    /// The object, if it is the one that `id` means.
    fn tenant(&mut self, id: RawId) -> Option<&mut T> {
        match self {
            Place { generation, content: Content::Occupied(value) }
                if generation.get() == id.generation() =>
            {
                Some(value)
            }
            _ => None,
        }
    }
}

/// A growing array whose places are reused, last freed first.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    places: Vec<Place<T>>,
    first_vacant: u32,
    len: usize,
}

impl<T> Arena<T> {
    /// Room for `capacity` objects before it grows.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Arena { places: Vec::with_capacity(capacity), first_vacant: NONE, len: 0 }
    }

    /// How many objects it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Gives `value` a place.
    pub(crate) fn insert(&mut self, value: T) -> RawId {
        let index = if self.first_vacant == NONE { self.grow() } else { self.first_vacant };
        let place = &mut self.places[index as usize];
        if let Content::Vacant { next_vacant } = place.content {
            self.first_vacant = next_vacant;
        }
        place.content = Content::Occupied(value);
        self.len += 1;
        RawId::new(index, place.generation)
    }

    /// Takes the object out; its id is stale from now on.
    pub(crate) fn remove(&mut self, id: RawId) -> Option<T> {
        let place = self.places.get_mut(id.index() as usize)?;
        if place.generation.get() != id.generation() || matches!(place.content, Content::Vacant { .. }) {
            return None;
        }
        let vacant = Content::Vacant { next_vacant: self.first_vacant };
        let content = std::mem::replace(&mut place.content, vacant);
        // A place would have to be reused four thousand million times for an id to come back to life.
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.first_vacant = id.index();
        self.len -= 1;
        match content {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// The object, unless its id is stale.
    pub(crate) fn get(&self, id: RawId) -> Option<&T> {
        match self.places.get(id.index() as usize)? {
            Place { generation, content: Content::Occupied(value) }
                if generation.get() == id.generation() =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The object, unless its id is stale.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: RawId) -> Option<&mut T> {
        self.places.get_mut(id.index() as usize)?.tenant(id)
    }

    /// Two different objects at once, unless one of them is gone.
    pub(crate) fn get_two_mut(&mut self, one: RawId, other: RawId) -> Option<(&mut T, &mut T)> {
        let places = [one.index() as usize, other.index() as usize];
        let [first, second] = self.places.get_disjoint_mut(places).ok()?;
        Some((first.tenant(one)?, second.tenant(other)?))
    }

    /// Whoever is at `index` now, for callers that hold the place by other means than an id.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.places.get_mut(index as usize)?.content {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// Whoever is at `index` now, with the id that names it.
    #[inline]
    pub(crate) fn tenant_at(&mut self, index: u32) -> Option<(RawId, &mut T)> {
        let Place { generation, content } = self.places.get_mut(index as usize)?;
        match content {
            Content::Occupied(value) => Some((RawId::new(index, *generation), value)),
            Content::Vacant { .. } => None,
        }
    }

    /// The id of whoever is at `index` now.
    pub(crate) fn id_at(&self, index: u32) -> Option<RawId> {
        let place = self.places.get(index as usize)?;
        matches!(place.content, Content::Occupied(_)).then_some(RawId::new(index, place.generation))
    }

    /// All objects, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RawId, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| match &place.content {
            Content::Occupied(value) => Some((RawId::new(index as u32, place.generation), value)),
            Content::Vacant { .. } => None,
        })
    }

    fn grow(&mut self) -> u32 {
        let index = u32::try_from(self.places.len()).expect("fewer than 2^32 objects fit into memory");
        assert!(index != NONE, "the arena is full");
        let vacant = || Place { generation: NonZeroU32::MIN, content: Content::Vacant { next_vacant: NONE } };
        extend_to(&mut self.places, index as usize + 1, vacant);
        index
    }
}

/// Lengthens a table, an eighth at a time: what is reserved in vain stays small against what thousands of connections
/// cost.
#[inline]
pub(crate) fn extend_to<T>(table: &mut Vec<T>, len: usize, fill: impl FnMut() -> T) {
    if len > table.len() {
        lengthen(table, len, fill);
    }
}

#[cold]
fn lengthen<T>(table: &mut Vec<T>, len: usize, fill: impl FnMut() -> T) {
    if len > table.capacity() {
        let step = (table.len() / 8).max(16);
        table.reserve_exact(step.max(len - table.len()));
    }
    table.resize_with(len, fill);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_has_a_new_id_and_the_old_one_is_stale() {
        let mut arena = Arena::with_capacity(0);
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(second.index(), first.index());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&'b'));
        assert_eq!(arena.id_at(second.index()), Some(second));
    }

    #[test]
    fn two_objects_are_had_at_once_only_if_they_are_two_and_both_live() {
        let mut arena = Arena::with_capacity(0);
        let (one, other) = (arena.insert('a'), arena.insert('b'));
        let (first, second) = arena.get_two_mut(one, other).unwrap();
        std::mem::swap(first, second);
        assert_eq!((arena.get(one), arena.get(other)), (Some(&'b'), Some(&'a')));
        assert_eq!(arena.get_two_mut(one, one), None);
        arena.remove(other);
        assert_eq!(arena.get_two_mut(one, other), None);
    }

    #[test]
    fn places_are_reused_before_the_arena_grows() {
        let mut arena = Arena::with_capacity(0);
        let ids: Vec<_> = (0..100).map(|value| arena.insert(value)).collect();
        for id in &ids[10..20] {
            arena.remove(*id);
        }
        assert_eq!(arena.len(), 90);
        for value in 0..10 {
            assert!((10..20).contains(&arena.insert(value).index()));
        }
        assert_eq!(arena.insert(7).index(), 100);
        assert_eq!(arena.iter().count(), 101);
        assert_eq!(arena.id_at(4000), None);
    }
}
