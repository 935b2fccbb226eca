//! What earlier jobs have left, for the planner.

use super::super::host::LocalHost;
use super::State;
use tryworks_base::ids::{CacheId, ExchangeId, OutputId};
use tryworks_planner::Facts;

/// The blocks and the cached datasets that exist.
pub(super) struct Existing<'a>(pub(super) &'a State, pub(super) &'a LocalHost);

impl Facts for Existing<'_> {
    fn made(&self, exchange: ExchangeId) -> bool {
        let places = self.0.scheduler.places(OutputId(exchange.0));
        !places.is_empty() && places.iter().all(|place| place.exists())
    }

    fn cached(&self, cache: CacheId, partitions: u32) -> bool {
        self.1.caches.partitions(cache) == partitions as usize
    }
}
