//! Who is at a door and has not shown a certificate yet, and whose turn it is to go when there are too many: of the source
//! from which most have come, those who have sent nothing, and of them the one that has been there for longest.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use tokio::task::AbortHandle;

/// Strangers, by the order in which they came.
#[derive(Default)]
pub(crate) struct Strangers {
    next: u64,
    known: HashMap<u64, (IpAddr, bool, AbortHandle)>,
    /// Those of each source: who has sent nothing first, and then by their order.
    sources: HashMap<IpAddr, BTreeSet<(bool, u64)>>,
}

/// Where an address belongs. Whoever has one of version 6 has all that begin with the same 64 bits.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Strangers {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds the next one.
    pub(crate) fn add(&mut self, address: IpAddr, spoke: bool, task: AbortHandle) {
        let source = source(address);
        self.sources.entry(source).or_default().insert((spoke, self.next));
        self.known.insert(self.next, (source, spoke, task));
        self.next += 1;
    }

    /// One has sent something.
    pub(crate) fn spoke(&mut self, number: u64) {
        if let Some((source, spoke, _)) = self.known.get_mut(&number)
            && let Some(same) = self.sources.get_mut(source)
        {
            same.remove(&(*spoke, number));
            same.insert((true, number));
            *spoke = true;
        }
    }

    /// One is none any more; false if it was none already.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.take(number).is_some()
    }

    /// Removes the one that is to go first.
    pub(crate) fn remove_least(&mut self) -> Option<AbortHandle> {
        let fullest = self.sources.values().max_by_key(|same| same.len())?;
        let (_, number) = *fullest.first()?;
        self.take(number)
    }

    fn take(&mut self, number: u64) -> Option<AbortHandle> {
        let (source, spoke, task) = self.known.remove(&number)?;
        if let Some(same) = self.sources.get_mut(&source) {
            same.remove(&(spoke, number));
            if same.is_empty() {
                self.sources.remove(&source);
            }
        }
        Some(task)
    }
}
