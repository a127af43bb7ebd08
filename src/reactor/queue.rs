//! A queue threaded through the items it holds: joining and leaving, from anywhere, cost a few stores and no memory.
//! The members of a rate-limit group wait in these for their share, and a server's connections for their deadlines.

/// The end of a queue, and the mark of an item that is in none.
pub(crate) const NOBODY: u32 = u32::MAX;

/// An item's place in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    previous: u32,
    next: u32,
}

impl Links {
    pub(crate) const UNLINKED: Links = Links { previous: NOBODY, next: NOBODY };
}

/// Where the items live, addressed by index. An item must be in one queue at most.
pub(crate) trait Items {
    fn links(&mut self, index: u32) -> &mut Links;
}

/// The two ends of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    front: u32,
    back: u32,
}

impl Queue {
    pub(crate) const fn new() -> Queue {
        Queue { front: NOBODY, back: NOBODY }
    }

    pub(crate) fn front(&self) -> Option<u32> {
        (self.front != NOBODY).then_some(self.front)
    }

    /// The item behind `index`.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn after(&self, items: &mut impl Items, index: u32) -> Option<u32> {
        let next = items.links(index).next;
        (next != NOBODY).then_some(next)
    }

    pub(crate) fn push_back(&mut self, items: &mut impl Items, index: u32) {
        *items.links(index) = Links { previous: self.back, next: NOBODY };
        match self.back {
            NOBODY => self.front = index,
            back => items.links(back).next = index,
        }
        self.back = index;
    }

    pub(crate) fn push_front(&mut self, items: &mut impl Items, index: u32) {
        *items.links(index) = Links { previous: NOBODY, next: self.front };
        match self.front {
            NOBODY => self.back = index,
            front => items.links(front).previous = index,
        }
        self.front = index;
    }

    /// Takes out `index`, which must be in this queue.
    pub(crate) fn remove(&mut self, items: &mut impl Items, index: u32) {
        let Links { previous, next } = std::mem::replace(items.links(index), Links::UNLINKED);
        match previous {
            NOBODY => self.front = next,
            _ => items.links(previous).next = next,
        }
        match next {
            NOBODY => self.back = previous,
            _ => items.links(next).previous = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    impl Items for Vec<Links> {
        fn links(&mut self, index: u32) -> &mut Links {
            &mut self[index as usize]
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(turns in proptest::collection::vec((0u32..8, proptest::bool::ANY), 1..200)) {
            let mut items = vec![Links::UNLINKED; 8];
            let mut queue = Queue::new();
            let mut model = VecDeque::new();
            for (index, in_front) in turns {
                match model.contains(&index) {
                    true => {
                        queue.remove(&mut items, index);
                        model.retain(|&other| other != index);
                    }
                    false if in_front => {
                        queue.push_front(&mut items, index);
                        model.push_front(index);
                    }
                    false => {
                        queue.push_back(&mut items, index);
                        model.push_back(index);
                    }
                }
                let mut walked = VecDeque::new();
                let mut at = queue.front();
                while let Some(index) = at {
                    walked.push_back(index);
                    at = queue.after(&mut items, index);
                }
                prop_assert_eq!(&walked, &model);
            }
        }
    }
}
