//! Rows that the driver already has, sent with the plan.

use super::{default_partitions, slice};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::codec::check_carried;
use tryworks_base::{Error, Result};
use tryworks_core::pipe::{Cursor, Flow, Step};
use tryworks_core::source::Source;
use tryworks_core::task::TaskContext;

/// Rows that travel with the plan, in contiguous slices.
///
/// ```
/// use tryworks_core::source::Source;
/// use tryworks_io::rows::Parallelize;
/// assert_eq!(Parallelize::new(vec!['a'; 100]).partitions(), 64);
/// assert_eq!(Parallelize::divided(vec![1, 2, 3], 2).describe(), "3 rows, 2 slices");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parallelize<T> {
    rows: Arc<Vec<T>>,
    partitions: u32,
}

impl<T> Parallelize<T> {
    /// Rows in a number of slices that follows from their number.
    pub fn new(rows: Vec<T>) -> Self {
        let partitions = default_partitions(rows.len() as u64);
        Parallelize::divided(rows, partitions)
    }

    /// Rows in `partitions` slices.
    pub fn divided(rows: Vec<T>, partitions: u32) -> Self {
        Parallelize { rows: Arc::new(rows), partitions }
    }
}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Source for Parallelize<T> {
    type Item = T;
    type Cursor = Rows<T>;

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn open(&self, partition: u32, _: &TaskContext) -> Result<Rows<T>> {
        let slice = slice(self.rows.len() as u64, self.partitions, partition);
        Ok(Rows { rows: self.rows.clone(), left: slice.start as usize..slice.end as usize })
    }

    fn prove(&mut self, every: bool) -> Result<()> {
        if every {
            // On a cluster the rows are decoded from bytes: here they are replaced by the same copies.
            self.rows = Arc::new(self.rows.iter().map(check_carried).collect::<Result<_>>()?);
            return Ok(());
        }
        self.rows.first().map_or(Ok(()), |first| check_carried(first).map(drop))
    }

    fn blamed() -> &'static str {
        std::any::type_name::<T>()
    }

    fn describe(&self) -> String {
        let plural = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!("{}, {}", plural(self.rows.len() as u64, "row"), plural(self.partitions.into(), "slice"))
    }
}

/// A slice of rows being read.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    rows: Arc<Vec<T>>,
    left: Range<usize>,
}

impl<T: Clone + Send + Sync> Cursor for Rows<T> {
    type Item = T;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(T) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let end = self.left.start.saturating_add(budget).min(self.left.end);
        let Some(rows) = self.rows.get(self.left.start..end) else {
            return Err(Error::Bug(format!("rows {:?} of {} were asked for", self.left, self.rows.len())));
        };
        for (row, at) in rows.iter().zip(self.left.start..) {
            if sink(row.clone()).is_break() {
                self.left.start = at + 1;
                return Ok(Step::More);
            }
        }
        self.left.start = end;
        Ok(if self.left.is_empty() { Step::Done } else { Step::More })
    }
}
