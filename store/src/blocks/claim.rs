//! Claims bytes of a store's quota for files that are no blocks, such as files of a driver's machine.

use super::store::{BlockStore, Shared};
use super::write::Quota;
use std::sync::Arc;
use tryworks_base::{Error, Result, disk};

/// A part of a quota, returned when it is dropped.
pub struct Claim {
    store: Arc<Shared>,
    bytes: u64,
}

impl BlockStore {
    /// Counts bytes that are written beside the blocks. Errors call them `what`.
    ///
    /// # Errors
    /// If they are more than the quota allows.
    pub fn claim(&self, bytes: u64, what: &str) -> Result<Claim> {
        let refusal = |Quota { limit, used }: Quota| {
            let dir = self.dir();
            let free = disk::free(dir);
            let needed =
                format!("{bytes} bytes more for {what} beside {}, where {used} are in use{free}", dir.display());
            let advice = "a larger quota (`tryworks engine --quota`), or having the file on each machine";
            Error::limit("block_quota", limit.unwrap_or(u64::MAX), needed, advice)
        };
        self.0.shared.take(bytes).map_err(refusal)?;
        Ok(Claim { store: self.0.shared.clone(), bytes })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.give_back(self.bytes);
    }
}
