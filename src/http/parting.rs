//! Connections that have had their last answer and wait for the client to close. They are no connections any more as far
//! as requests go, but they hold a descriptor and a place of their address, so limits count them: without that, whoever
//! sends garbage and does not close could have any number.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::census::Census;
use crate::EventBase;
use crate::bufferevent::BuffereventId;

/// Those that leave, the longest on their way first. Kept only where there are limits.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    queue: VecDeque<(BuffereventId, Option<IpAddr>)>,
}

impl Parting {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn add(&mut self, id: BuffereventId, address: Option<IpAddr>) {
        self.queue.push_back((id, address));
    }

    /// Forgets those that are gone, at least as far as they stand in front.
    pub(crate) fn forget_first<C>(&mut self, base: &EventBase<C>, census: &mut Census) {
        while let Some(&(id, address)) = self.queue.front() {
            if base.is_closing(id) {
                return;
            }
            self.queue.pop_front();
            census.forget(address);
        }
    }

    /// Forgets all that are gone.
    pub(crate) fn forget_gone<C>(&mut self, base: &EventBase<C>, census: &mut Census) {
        self.queue.retain(|&(id, address)| {
            let stays = base.is_closing(id);
            if !stays {
                census.forget(address);
            }
            stays
        });
    }

    /// Closes the one that has had the most time.
    pub(crate) fn end_first<C>(&mut self, base: &mut EventBase<C>, census: &mut Census) -> bool {
        let Some((id, address)) = self.queue.pop_front() else { return false };
        base.end_closing(id);
        census.forget(address);
        true
    }
}
