//! Bytes of a store's quota for what is no block, such as files of a driver's machine.

use super::store::{BlockStore, Inner};
use crate::disk;
use std::sync::Arc;
use tryworks_core::{Error, Result};

/// A part of a quota, until it is dropped.
pub struct Claim {
    store: Arc<Inner>,
    bytes: u64,
}

impl BlockStore {
    /// Counts bytes that are written beside the blocks, of what errors call `what`.
    ///
    /// # Errors
    /// If they are more than the quota allows.
    pub fn claim(&self, bytes: u64, what: &str) -> Result<Claim> {
        let mut state = self.0.state();
        let after = state.used.saturating_add(bytes);
        if let Some(quota) = self.0.quota.filter(|quota| after > *quota) {
            let dir = self.dir().display();
            let needed = format!(
                "{bytes} bytes more for {what} beside {dir}, where {} are in use{}",
                state.used,
                disk::free(self.dir())
            );
            let advice = "a larger quota (`tryworks engine --quota`), or having the file on each machine";
            return Err(Error::limit("block_quota", quota, needed, advice));
        }
        state.used = after;
        Ok(Claim { store: self.0.clone(), bytes })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.state().used -= self.bytes;
    }
}
