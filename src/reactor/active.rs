//! What is to be called next: one queue a priority, threaded through the slots, and a bitmap of the queues that
//! are not empty.

use super::queue::{Items, Queue};

/// The queues of all priorities; 0 is the most important.
#[derive(Debug)]
pub(crate) struct Active {
    queues: Vec<Queue>,
    /// Bit p of word p / 64 says that queue p is not empty.
    occupied: [u64; 4],
    len: usize,
}

impl Active {
    /// Queues for `priorities` priorities, of which there are at most 256.
    pub(crate) fn new(priorities: usize) -> Self {
        Active { queues: vec![Queue::new(); priorities], occupied: [0; 4], len: 0 }
    }

    pub(crate) fn priorities(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The most important priority that has something.
    pub(crate) fn first_priority(&self) -> Option<u8> {
        let word = self.occupied.iter().position(|&word| word != 0)?;
        Some((word * 64) as u8 + self.occupied[word].trailing_zeros() as u8)
    }

    /// Puts a slot, which is in no queue, at the end of one.
    pub(crate) fn push(&mut self, slots: &mut impl Items, slot: u32, priority: u8) {
        self.queues[usize::from(priority)].push_back(slots, slot);
        self.occupied[usize::from(priority / 64)] |= 1 << (priority % 64);
        self.len += 1;
    }

    /// The first slot of a queue.
    pub(crate) fn first(&self, priority: u8) -> Option<u32> {
        self.queues.get(usize::from(priority))?.front()
    }

    /// Takes a slot out of the queue it is in.
    pub(crate) fn remove(&mut self, slots: &mut impl Items, slot: u32, priority: u8) {
        let queue = &mut self.queues[usize::from(priority)];
        queue.remove(slots, slot);
        if queue.front().is_none() {
            self.occupied[usize::from(priority / 64)] &= !(1 << (priority % 64));
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::queue::Links;
    use super::*;

    #[test]
    fn agrees_with_plain_queues_under_random_work() {
        let mut slots = vec![Links::UNLINKED; 64];
        let mut active = Active::new(256);
        let mut model: Vec<VecDeque<u32>> = vec![VecDeque::new(); 256];
        let mut home = [None; 64];
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = (state >> 40) as u32 % 64;
            let priority = [0, 1, 63, 64, 127, 128, 254, 255][(state >> 50) as usize % 8];
            match home[slot as usize].take() {
                Some(home) => {
                    active.remove(&mut slots, slot, home);
                    model[usize::from(home)].retain(|&other| other != slot);
                }
                None => {
                    active.push(&mut slots, slot, priority);
                    model[usize::from(priority)].push_back(slot);
                    home[slot as usize] = Some(priority);
                }
            }
            let expected = model.iter().position(|queue| !queue.is_empty());
            assert_eq!(active.first_priority().map(usize::from), expected);
            if let Some(priority) = expected {
                assert_eq!(active.first(priority as u8), model[priority].front().copied());
            }
            assert_eq!(active.len(), model.iter().map(VecDeque::len).sum());
        }
    }
}
