//! The shared state while a thread has it.

use super::sweep::{Busy, drop_all};
use super::{Garbage, Shared, State};
use std::ops::{Deref, DerefMut};
use std::sync::Condvar;
use tryworks_base::lock::Held as Locked;

/// The state, locked.
pub(super) struct Held<'a>(Option<(Locked<'a, State>, Busy)>);

impl Held<'_> {
    /// Releases the state until `told` is notified.
    pub(super) fn wait(mut self, condvar: &Condvar) -> Self {
        self.0 = self.0.take().map(|(state, busy)| (state.wait(condvar), busy));
        self
    }
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.as_ref().unwrap_or_else(|| unreachable!("only without a state while it waits")).0
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0.as_mut().unwrap_or_else(|| unreachable!("only without a state while it waits")).0
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let garbage = self.0.as_mut().map(|(state, _)| std::mem::take(&mut state.garbage));
        drop(self.0.take());
        let Garbage { blocks, cached, parts } = garbage.unwrap_or_default();
        drop_all(blocks);
        drop_all(cached);
        drop(parts);
    }
}

impl Shared {
    pub(super) fn lock(&self) -> Held<'_> {
        Held(Some((self.state.lock(), Busy::new())))
    }
}
