//! `take_sample`: a random sample of exactly so many items, the same in every run.

use super::counted::Counted;
use super::job::{Background, Job, PartAction, bytes_of};
use crate::dataset::Dataset;
use crate::heap::heap_bytes;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::task::TaskContext;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Aspect, Op, Result};

struct TakeSample {
    n: usize,
    seed: u64,
}

ship!([] TakeSample { n: value, seed: value });

/// An item with the number that was drawn for it. The least numbers are the sample.
struct Drawn<T> {
    number: u64,
    /// The place of the item in its partition.
    place: u64,
    item: T,
}

impl<T> Drawn<T> {
    fn order(&self) -> (u64, u64) {
        (self.number, self.place)
    }
}

impl<T> PartialEq for Drawn<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<T> Eq for Drawn<T> {}

impl<T> PartialOrd for Drawn<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Drawn<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> PartAction<P> for TakeSample {
    type Out = Vec<(u64, P::Item)>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Self::Out> {
        // Each partition has its own stream of random numbers.
        let seed = self.seed ^ u64::from(task.place().partition).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut sample, mut place) = (BinaryHeap::<Drawn<P::Item>>::new(), 0);
        let mut counted = Counted::new(task);
        drive(&mut cursor, task, &mut |item| {
            let number = random.random();
            place += 1;
            if sample.len() < self.n {
                sample.push(Drawn { number, place, item });
                counted.count(sample.as_slice(), |drawn| heap_bytes(&drawn.item));
            } else if let Some(mut greatest) = sample.peek_mut()
                && number < greatest.number
            {
                *greatest = Drawn { number, place, item };
            }
            CONTINUE
        })?;
        let mut sample = sample.into_vec();
        sample.sort_unstable_by_key(|drawn| drawn.place);
        Ok(sample.into_iter().map(|drawn| (drawn.number, drawn.item)).collect())
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("number of items", self.n), Aspect::new("seed", self.seed)]
    }

    fn prove(items: &mut Self::Out, check: bool) -> Result<()> {
        prove_rows(items, check)
    }

    fn bytes(items: &Self::Out) -> u64 {
        bytes_of(items)
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// Exactly `n` items, or all if there are fewer, in their order. Every set of `n` items is equally likely; the same
    /// seed gives the same items in every run. Each task keeps up to `n` items. For a share of the items as a dataset,
    /// see [`sample`](Dataset::sample).
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the items take more than
    /// `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let numbers = cx.range(0..1000);
    /// assert_eq!(numbers.take_sample(10, 1)?.len(), 10);
    /// assert_eq!(numbers.take_sample(10, 1)?, numbers.take_sample(10, 1)?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_sample(&self, n: usize, seed: u64) -> Result<Vec<P::Item>> {
        self.background().sample_taken(Op::here("take_sample"), n, seed)?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::take_sample`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn take_sample(&self, n: usize, seed: u64) -> Result<Job<Vec<P::Item>>> {
        self.sample_taken(Op::here("take_sample"), n, seed)
    }

    fn sample_taken(&self, op: Op, n: usize, seed: u64) -> Result<Job<Vec<P::Item>>> {
        self.begin_job(op, TakeSample { n, seed }, move |parts| {
            let drawn: Vec<(u64, P::Item)> = parts.in_order()?.into_iter().flatten().collect();
            // The greatest number that belongs to the sample, and its place.
            let mut numbers: Vec<(u64, usize)> = drawn.iter().enumerate().map(|(at, drawn)| (drawn.0, at)).collect();
            numbers.sort_unstable();
            let Some(last) = n.min(numbers.len()).checked_sub(1).map(|last| numbers[last]) else {
                return Ok(Vec::new());
            };
            let sampled = drawn.into_iter().enumerate().filter(|(at, (number, _))| (*number, *at) <= last);
            Ok(sampled.map(|(_, (_, item))| item).collect())
        })
    }
}
