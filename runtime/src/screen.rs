//! What a driver's terminal shows while jobs run, for code that must not print into it.

use std::sync::{Arc, OnceLock};

/// What is shown on the driver's terminal while jobs run.
pub trait Screen: Send + Sync {
    /// A job is over: removes what is shown of it, before the driver continues.
    fn job_over(&self);

    /// Prints something without mixing it with what is shown.
    fn aside(&self, print: &mut dyn FnMut());
}

/// The screen of a runtime, if it has one.
#[derive(Default)]
pub(crate) struct Shown(OnceLock<Arc<dyn Screen>>);

impl Shown {
    pub(crate) fn on(&self, screen: Arc<dyn Screen>) {
        // A runtime has one driver and a driver has one terminal, so the first screen stays.
        let _ = self.0.set(screen);
    }

    pub(crate) fn job_over(&self) {
        if let Some(screen) = self.0.get() {
            screen.job_over();
        }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn aside(&self, mut print: impl FnMut()) {
        match self.0.get() {
            Some(screen) => screen.aside(&mut print),
            None => print(),
        }
    }
}
