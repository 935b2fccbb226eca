//! Connections at a door that have not shown a certificate yet (strangers), and which of them to close when there are
//! too many. That is one from the source with the most strangers: first those that have sent nothing, and of them the
//! oldest.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use tokio::task::AbortHandle;

/// Strangers, in the order in which they came.
#[derive(Default)]
pub(crate) struct Strangers {
    next: u64,
    known: HashMap<u64, (IpAddr, bool, AbortHandle)>,
    /// The strangers of each source: those that have sent nothing first, and then by their order.
    sources: HashMap<IpAddr, BTreeSet<(bool, u64)>>,
}

/// The source that an address belongs to. A user of IPv6 usually has all addresses with the same first 64 bits.
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

    /// The number of the next stranger.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds the next stranger.
    pub(crate) fn add(&mut self, address: IpAddr, spoke: bool, task: AbortHandle) {
        let source = source(address);
        self.sources.entry(source).or_default().insert((spoke, self.next));
        self.known.insert(self.next, (source, spoke, task));
        self.next += 1;
    }

    /// A stranger has sent something.
    pub(crate) fn spoke(&mut self, number: u64) {
        if let Some((source, spoke, _)) = self.known.get_mut(&number)
            && let Some(same) = self.sources.get_mut(source)
        {
            same.remove(&(*spoke, number));
            same.insert((true, number));
            *spoke = true;
        }
    }

    /// Removes a stranger; false if it was none any more.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.take(number).is_some()
    }

    /// Removes the stranger to be closed first.
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
