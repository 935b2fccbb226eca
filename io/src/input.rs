//! What a context can read: files in a format.

use tryworks_base::Result;
use tryworks_core::runner::Runner;
use tryworks_core::source::Source;

/// What a context can [`read`](crate::Sources::read): files in a format, such as [`text`](crate::text::text).
pub trait Input {
    /// The source that reads them.
    type Source: Source;

    /// The name in plans and errors.
    const NAME: &'static str;

    /// Lists the files, on the driver. `runner` sends the files that tasks on other machines need.
    ///
    /// # Errors
    /// If a file does not exist, or cannot be read or sent.
    fn list(&self, runner: &dyn Runner) -> Result<Self::Source>;

    /// A source without partitions: stands in the plan for files that could not be listed.
    fn none(&self) -> Self::Source;
}
