//! Which items of a partition go to which file.

use super::files::{FileWriter, Files};
use super::{Format, Place, Receipt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tryworks_base::Result;

/// How the items of a partition are divided among files, each in a [`Format`]. All items may go to [`OneFile`], to a
/// new file when one is large enough, or to directories by a key. Its decisions must depend on the items alone.
///
/// A layout is a serde value, because it is sent to the tasks.
pub trait FileLayout<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// One partition while its items are written.
    type Writer<P: Place>: LayoutWriter<T, P>;

    /// Whether a partition may be several files, or none.
    const SEVERAL_FILES: bool;

    /// The end of the files' names, such as `.csv`.
    fn extension(&self) -> &str;

    /// Begins a partition, in a task.
    ///
    /// # Errors
    /// If the first file cannot be begun.
    fn open<P: Place>(&self, files: Files<P>) -> Result<Self::Writer<P>>;
}

/// One partition while its items are written.
pub trait LayoutWriter<T, P: Place>: Send {
    /// Adds an item to the file that it belongs to.
    ///
    /// # Errors
    /// What the format or the place said.
    fn write(&mut self, item: T) -> Result<()>;

    /// Ends all files, and returns their receipts.
    ///
    /// # Errors
    /// What the format or the place said.
    fn end(self) -> Result<Vec<Receipt<P>>>;
}

/// Each partition is one file, even if it has no items.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneFile<F>(pub F);

impl<T, F: Format<T>> FileLayout<T> for OneFile<F> {
    type Writer<P: Place> = OneFileWriter<T, F, P>;

    const SEVERAL_FILES: bool = false;

    fn extension(&self) -> &str {
        self.0.extension()
    }

    fn open<P: Place>(&self, mut files: Files<P>) -> Result<OneFileWriter<T, F, P>> {
        Ok(OneFileWriter(files.create(&self.0, String::new())?))
    }
}

/// A partition that is one file.
pub struct OneFileWriter<T, F: Format<T>, P: Place>(FileWriter<T, F, P>);

impl<T, F: Format<T>, P: Place> LayoutWriter<T, P> for OneFileWriter<T, F, P> {
    #[inline]
    fn write(&mut self, item: T) -> Result<()> {
        self.0.write(item)
    }

    fn end(self) -> Result<Vec<Receipt<P>>> {
        Ok(vec![self.0.end()?])
    }
}
