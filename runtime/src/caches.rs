//! The partitions of cached datasets that this process holds.

use crate::shielded::Shielded;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use tryworks_base::ids::CacheId;
use tryworks_base::lock::ReadLock;
use tryworks_core::host::CachedPartition;

/// Cached partitions, by the driver's own number of the dataset and then by partition.
#[derive(Default)]
pub(crate) struct Caches(ReadLock<BTreeMap<CacheId, HashMap<u32, Shielded<CachedPartition>>>>);

impl Caches {
    pub(crate) fn get(&self, cache: CacheId, partition: u32) -> Option<CachedPartition> {
        self.0.read().get(&cache)?.get(&partition).map(|kept| (**kept).clone())
    }

    /// Keeps a partition, unless there is one already.
    pub(crate) fn keep(&self, cache: CacheId, partition: u32, kept: CachedPartition) {
        let kept = Shielded::new(kept);
        let mut caches = self.0.write();
        let second = match caches.entry(cache).or_default().entry(partition) {
            Entry::Vacant(free) => {
                free.insert(kept);
                None
            }
            Entry::Occupied(_) => Some(kept),
        };
        // The second one is dropped without the lock, because dropping it may run the user's code.
        drop(caches);
        drop(second);
    }

    /// Takes out a dataset. The caller drops it where no thread waits.
    #[must_use]
    pub(crate) fn forget(&self, cache: CacheId) -> Vec<Shielded<CachedPartition>> {
        self.0.write().remove(&cache).unwrap_or_default().into_values().collect()
    }

    /// How many partitions of a dataset there are.
    pub(crate) fn partitions(&self, cache: CacheId) -> usize {
        self.0.read().get(&cache).map_or(0, HashMap::len)
    }

    /// How many partitions there are of all datasets.
    pub(crate) fn len(&self) -> usize {
        self.0.read().values().map(HashMap::len).sum()
    }
}
