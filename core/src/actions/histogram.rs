//! `histogram`: how many numbers are in each of several ranges.

use super::job::{Background, Job, PartAction};
use super::take::Latest;
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::runner::{Tie, guarded};
use crate::ship::ship;
use crate::stats::Number;
use crate::task::TaskContext;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tryworks_base::{Aspect, Error, Op, Result};

/// The most buckets that [`Dataset::histogram`] makes: each task holds as many numbers.
const MOST_BUCKETS: usize = 1 << 20;

/// How many numbers are in each bucket. Bucket `i` is from `bounds[i]` to below `bounds[i + 1]`; the last one includes
/// its upper bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The bounds in ascending order: one more than there are buckets, or none.
    pub bounds: Vec<f64>,
    /// The numbers in each bucket.
    pub counts: Vec<u64>,
    /// The numbers in no bucket: those beyond the bounds, and NaN.
    pub outside: u64,
}

/// Finds the least and the greatest finite number, and counts the other numbers.
struct Extent {
    op: Op,
}

ship!([] Extent { op: value });

impl<P: Pipe<Item: Number>> PartAction<P> for Extent {
    type Out = (f64, f64, u64);

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<(f64, f64, u64)> {
        let (mut least, mut greatest, mut others) = NOTHING;
        drive(&mut cursor, task, &mut |number| {
            let number = self.op.call(|| number.to_f64());
            if number.is_finite() {
                (least, greatest) = (least.min(number), greatest.max(number));
            } else {
                others += 1;
            }
            CONTINUE
        })?;
        Ok((least, greatest, others))
    }
}

/// The extent of no numbers.
const NOTHING: (f64, f64, u64) = (f64::INFINITY, f64::NEG_INFINITY, 0);

/// Counts the numbers between bounds.
struct Count {
    bounds: Arc<[f64]>,
    op: Op,
}

impl crate::ship::Ship for Count {
    fn encode(&self, to: &mut crate::ship::Encoder) -> Result<()> {
        to.value(&*self.bounds)?;
        to.value(&self.op)
    }

    fn decode(from: &mut crate::ship::Decoder) -> Result<Self> {
        Ok(Count { bounds: from.value::<Vec<f64>>()?.into(), op: from.value()? })
    }
}

/// The bucket of a number.
fn bucket(bounds: &[f64], number: f64) -> Option<usize> {
    let above = bounds.partition_point(|bound| *bound <= number);
    if above < bounds.len() {
        return above.checked_sub(1);
    }
    // The last bucket includes its upper bound.
    (bounds.last() == Some(&number)).then(|| bounds.len().saturating_sub(2))
}

impl<P: Pipe<Item: Number>> PartAction<P> for Count {
    /// The counts of the buckets, then that of other numbers.
    type Out = Vec<u64>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<u64>> {
        let buckets = self.bounds.len().saturating_sub(1);
        let mut counts = vec![0; buckets + 1];
        drive(&mut cursor, task, &mut |number| {
            let number = self.op.call(|| number.to_f64());
            counts[bucket(&self.bounds, number).unwrap_or(buckets)] += 1;
            CONTINUE
        })?;
        Ok(counts)
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("bounds", format!("{:?}", self.bounds))]
    }
}

/// The bounds of `buckets` buckets of equal width, without those that rounding makes equal.
fn even(least: f64, greatest: f64, buckets: usize) -> Vec<f64> {
    let (width, count) = (greatest - least, buckets as f64);
    let mut bounds = Vec::with_capacity(buckets + 1);
    bounds.push(least);
    for at in 1..buckets {
        let at = at as f64;
        let exact = least + width * at / count;
        // The width of very large numbers is infinite.
        bounds.push(if exact.is_finite() { exact } else { least * (1.0 - at / count) + greatest * (at / count) });
    }
    bounds.push(greatest);
    bounds.dedup();
    if bounds.len() == 1 {
        // All numbers are equal.
        bounds.push(greatest);
    }
    bounds
}

/// Adds up the counts of all partitions.
fn histogram(bounds: &[f64], parts: Vec<Vec<u64>>) -> Histogram {
    let mut counts = vec![0; bounds.len().saturating_sub(1) + 1];
    for part in parts {
        for (count, more) in counts.iter_mut().zip(part) {
            *count += more;
        }
    }
    let outside = counts.pop().unwrap_or(0);
    Histogram { bounds: bounds.to_vec(), counts, outside }
}

/// # Actions
impl<P: Pipe<Item: Number>> Dataset<P> {
    /// How many numbers are in each of `buckets` ranges of equal width, from the least to the greatest number. It reads
    /// the dataset twice, so [`cache`](Dataset::cache) one that is expensive to compute.
    ///
    /// Only finite numbers are in buckets; NaN and infinities are counted apart. If the numbers are all equal, there is
    /// one bucket. If there are no finite numbers, there is none.
    ///
    /// # Errors
    /// Why the job failed; an error if `buckets` is 0, or more than 1,048,576.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let histogram = cx.range(0..101).histogram(2)?;
    /// assert_eq!((histogram.bounds, histogram.counts), (vec![0.0, 50.0, 100.0], vec![50, 51]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<Histogram> {
        self.background().spread(Op::here("histogram"), buckets)?.wait()
    }

    /// How many numbers are in each range between neighbouring `bounds`, which are in ascending order. The last range
    /// includes its upper bound. Bounds may be infinite.
    ///
    /// # Errors
    /// Why the job failed; an error if there are fewer than two bounds, or they do not ascend.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let histogram = cx.parallelize(vec![0.5, 1.0, 9.0, f64::NAN]).histogram_in(vec![0.0, 1.0, 2.0])?;
    /// assert_eq!((histogram.counts, histogram.outside), (vec![1, 1], 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_in(&self, bounds: Vec<f64>) -> Result<Histogram> {
        self.background().spread_in(Op::here("histogram_in"), bounds)?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Number>> Background<'_, P> {
    /// [`Dataset::histogram`] in the background. The job finds the least and the greatest number. The numbers are
    /// counted while the program waits for the job. A [detached](Background::detached) job needs bounds, because no
    /// other job can follow it.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<Job<Histogram>> {
        self.spread(Op::here("histogram"), buckets)
    }

    /// [`Dataset::histogram_in`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn histogram_in(&self, bounds: Vec<f64>) -> Result<Job<Histogram>> {
        self.spread_in(Op::here("histogram_in"), bounds)
    }

    fn spread(&self, op: Op, buckets: usize) -> Result<Job<Histogram>> {
        if buckets == 0 {
            return Err(op.fault("histogram: there must be at least one bucket"));
        }
        if buckets > MOST_BUCKETS {
            return Err(op.fault(format!("histogram: {buckets} buckets are too many; ask for at most {MOST_BUCKETS}")));
        }
        if self.tie != Tie::Bound {
            let message = "histogram: it needs two jobs, one after the other, so it cannot be detached; give the bounds \
                           of the buckets, by `histogram_in`";
            return Err(op.fault(message));
        }
        let data = self.data.clone();
        let parts = data.begin(op, Extent { op }, 0..data.node.partitions)?;
        let latest = Arc::new(Latest::new(parts.control.clone()));
        Ok(Job::new(latest.clone(), move || {
            let extents = guarded(|code| parts.control.guard(code), || parts.in_order())?;
            let (least, greatest, others) =
                extents.into_iter().fold(NOTHING, |a, b| (a.0.min(b.0), a.1.max(b.1), a.2 + b.2));
            if least > greatest {
                return Ok(Histogram { outside: others, ..Histogram::default() });
            }
            // Jobs may end before they see that they were cancelled.
            if latest.cancelled.load(SeqCst) {
                return Err(Error::Cancelled);
            }
            let bounds: Arc<[f64]> = even(least, greatest, buckets).into();
            let count = Count { bounds: bounds.clone(), op };
            let parts = data.begin(op, count, 0..data.node.partitions)?;
            latest.follow(parts.control.clone());
            let parts = guarded(|code| parts.control.guard(code), || parts.in_order())?;
            Ok(histogram(&bounds, parts))
        }))
    }

    fn spread_in(&self, op: Op, bounds: Vec<f64>) -> Result<Job<Histogram>> {
        if bounds.len() < 2 {
            return Err(op.fault(format!("histogram_in: {bounds:?} are no bounds of buckets: give at least two")));
        }
        // There may be very many bounds, so the error names two.
        if let Some(pair) = bounds.windows(2).find(|pair| !matches!(pair, [a, b] if a < b)) {
            return Err(op.fault(format!("histogram_in: the bounds have to ascend, and two neighbours are {pair:?}")));
        }
        let bounds: Arc<[f64]> = bounds.into();
        self.begin_job(op, Count { bounds: bounds.clone(), op }, move |parts| Ok(histogram(&bounds, parts.in_order()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_bounds_ascend_from_the_least_number_to_the_greatest() {
        assert_eq!(even(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(even(3.0, 3.0, 5), [3.0, 3.0]);
        assert_eq!(even(-f64::MAX, f64::MAX, 2), [-f64::MAX, 0.0, f64::MAX]);
        // There are fewer floats than buckets between these.
        assert_eq!(even(1.0, 1.0 + f64::EPSILON, 9), [1.0, 1.0 + f64::EPSILON]);
        assert!((1..50).all(|n| even(0.1, 0.7, n).is_sorted_by(|a, b| a < b)));
    }

    #[test]
    fn a_number_is_in_the_bucket_that_it_begins() {
        let bounds = [f64::NEG_INFINITY, 0.0, 1.0];
        let of = |number| bucket(&bounds, number);
        assert_eq!([of(-7.0), of(0.0), of(0.5), of(1.0)], [Some(0), Some(1), Some(1), Some(1)]);
        assert_eq!([of(f64::NEG_INFINITY), of(1.1), of(f64::INFINITY), of(f64::NAN)], [Some(0), None, None, None]);
        assert_eq!([bucket(&[3.0, 3.0], 3.0), bucket(&[3.0, 3.0], 2.0)], [Some(0), None]);
    }
}
