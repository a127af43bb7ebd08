//! How many connections there are, and how many of them an address has. Addresses are only remembered when there
//! is a limit on them: whoever sets none pays nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Counts the connections of addresses, up to a limit.
#[derive(Debug)]
pub(crate) struct Census {
    each_max: usize,
    count: HashMap<IpAddr, usize>,
    /// Whose the connections are, by their index.
    owner: HashMap<u32, IpAddr>,
}

impl Census {
    /// At most `each_max` connections an address.
    pub(crate) fn new(each_max: usize) -> Census {
        Census { each_max, count: HashMap::new(), owner: HashMap::new() }
    }

    fn is_kept(&self) -> bool {
        self.each_max != usize::MAX
    }

    /// Whether an address may have one more.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        !self.is_kept() || self.count.get(&household(address)).is_none_or(|&count| count < self.each_max)
    }

    pub(crate) fn enter(&mut self, index: u32, address: IpAddr) {
        if self.is_kept() {
            *self.count.entry(household(address)).or_default() += 1;
            self.owner.insert(index, household(address));
        }
    }

    /// The connection has ended, but still counts: for whom?
    pub(crate) fn depart(&mut self, index: u32) -> Option<IpAddr> {
        self.owner.remove(&index)
    }

    pub(crate) fn leave(&mut self, index: u32) {
        let address = self.depart(index);
        self.forget(address);
    }

    /// A connection of this address, which has departed, counts no longer.
    pub(crate) fn forget(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.count.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.count.remove(&address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since whoever has one address there has all that share
/// them.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_and_no_more_until_one_leaves() {
        let mut census = Census::new(2);
        census.enter(1, address("10.0.0.1"));
        census.enter(2, address("::ffff:10.0.0.1"));
        assert!(!census.admits(address("10.0.0.1")) && census.admits(address("10.0.0.2")));
        census.leave(7);
        census.leave(1);
        assert!(census.admits(address("10.0.0.1")));
        census.leave(2);
        assert!(census.count.is_empty() && census.owner.is_empty());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let mut census = Census::new(1);
        census.enter(1, address("2001:db8::1"));
        assert!(!census.admits(address("2001:db8::ffff:1")) && census.admits(address("2001:db8:0:1::1")));
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let mut census = Census::new(usize::MAX);
        census.enter(1, address("10.0.0.1"));
        assert!(census.count.is_empty() && census.owner.is_empty() && census.admits(address("10.0.0.1")));
    }
}
