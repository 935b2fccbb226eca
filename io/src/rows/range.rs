//! The numbers of a range.

use super::{default_partitions, slice};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tryworks_base::Result;
use tryworks_core::pipe::{Cursor, Flow, Step};
use tryworks_core::source::Source;
use tryworks_core::task::TaskContext;

/// The numbers of a range, in contiguous slices.
///
/// ```
/// use tryworks_core::source::Source;
/// use tryworks_io::rows::Numbers;
/// assert_eq!(Numbers::new(0..1000).partitions(), 64);
/// assert_eq!(Numbers::divided(0..u64::MAX, 3).describe(), "0..18446744073709551615, 3 slices");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    range: Range<u64>,
    partitions: u32,
}

impl Numbers {
    /// A range in a number of slices that follows from its length. A range that ends before it begins is empty.
    pub fn new(range: Range<u64>) -> Self {
        let partitions = default_partitions(range.end.saturating_sub(range.start));
        Numbers::divided(range, partitions)
    }

    /// A range in `partitions` slices.
    pub fn divided(range: Range<u64>, partitions: u32) -> Self {
        let end = range.end.max(range.start);
        Numbers { range: range.start..end, partitions }
    }
}

impl Source for Numbers {
    type Item = u64;
    type Cursor = NumbersCursor;

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn open(&self, partition: u32, _: &TaskContext) -> Result<NumbersCursor> {
        let slice = slice(self.range.end.saturating_sub(self.range.start), self.partitions, partition);
        Ok(NumbersCursor { next: self.range.start + slice.start, end: self.range.start + slice.end })
    }

    fn describe(&self) -> String {
        let plural = if self.partitions == 1 { "" } else { "s" };
        format!("{}..{}, {} slice{plural}", self.range.start, self.range.end, self.partitions)
    }
}

/// A slice of a range being read.
#[derive(Clone, Debug)]
pub struct NumbersCursor {
    next: u64,
    end: u64,
}

impl Cursor for NumbersCursor {
    type Item = u64;
    const EXPANDS: bool = false;

    #[inline]
    fn advance<S: FnMut(u64) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let start = self.next;
        let end = start.saturating_add(budget as u64).min(self.end);
        // Set here, so that the counter is the loop's only state.
        self.next = end;
        for number in start..end {
            if sink(number).is_break() {
                self.next = number + 1;
                return Ok(Step::More);
            }
        }
        Ok(if end == self.end { Step::Done } else { Step::More })
    }
}
