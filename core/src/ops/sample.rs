//! `sample`: keeps a random part of the items, the same in every run.

use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{CHECK, CONTINUE, Cursor, Flow, Pipe, STOP, Step};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use tryworks_base::{Error, Op, Result};

/// The pipe of [`Dataset::sample`].
#[derive(Clone)]
pub struct Sample<P> {
    input: P,
    draw: Draw,
    seed: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Draw {
    /// Each item is kept with this probability.
    Bernoulli(f64),
    /// Each item is repeated by a Poisson variate of this mean.
    Poisson(f64),
}

impl Draw {
    /// How often an item is repeated. The Poisson variate is drawn by Knuth's product of uniforms (The Art of Computer
    /// Programming 2, 3.4.1). A large mean is divided into parts of at most 16, so that nothing underflows.
    fn times(self, random: &mut impl Rng) -> u64 {
        match self {
            Draw::Bernoulli(probability) => u64::from(random.random::<f64>() < probability),
            Draw::Poisson(mut mean) => {
                let mut times = 0;
                while mean > 0.0 {
                    let bound = (-mean.min(16.0)).exp();
                    mean -= 16.0;
                    let mut product: f64 = random.random();
                    while product > bound {
                        times += 1;
                        product *= random.random::<f64>();
                    }
                }
                times
            }
        }
    }
}

ship!([P: Ship] Sample<P> { input: ship, draw: value, seed: value });

impl<P: Pipe<Item: Clone>> Pipe for Sample<P> {
    type Item = P::Item;
    type Cursor = SampleCursor<P::Cursor>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        // Each partition has its own stream of random numbers.
        let seed = self.seed ^ u64::from(partition).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let input = self.input.open(partition, task)?;
        Ok(SampleCursor { input, draw: self.draw, random, rest: None, task: task.clone() })
    }

    fn feed(&self) -> Option<&crate::links::Links> {
        self.input.feed()
    }
}

/// One partition of a sample.
pub struct SampleCursor<C: Cursor> {
    input: C,
    draw: Draw,
    random: Xoshiro256PlusPlus,
    /// The item at which the sink stopped, and how many times it is still to be passed on.
    rest: Option<(C::Item, u64)>,
    task: TaskContext,
}

/// Pushes an item `times` times. If the sink stops, `rest` keeps what is left.
#[inline(always)]
fn repeat<T: Clone>(
    item: T,
    mut times: u64,
    rest: &mut Option<(T, u64)>,
    task: &TaskContext,
    sink: &mut impl FnMut(T) -> Flow,
) -> Result<Flow> {
    debug_assert!(rest.is_none(), "items are left from a stop");
    while times > 1 {
        times -= 1;
        if sink(item.clone()).is_break() {
            *rest = Some((item, times));
            return Ok(STOP);
        }
        if times.is_multiple_of(CHECK as u64) {
            task.check()?;
        }
    }
    Ok(if times == 1 { sink(item) } else { CONTINUE })
}

impl<C: Cursor<Item: Clone + Send>> Cursor for SampleCursor<C> {
    type Item = C::Item;

    fn advance<S: FnMut(C::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let SampleCursor { input, draw, random, rest, task } = self;
        let mut failed = None;
        let step = input.advance(budget, &mut |item| {
            repeat(item, draw.times(random), rest, task, sink).unwrap_or_else(|error| {
                failed = Some(error);
                STOP
            })
        })?;
        failed.map_or(Ok(step), Err)
    }

    fn rest<S: FnMut(C::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        let SampleCursor { input, draw, random, rest, task } = self;
        if let Some((item, times)) = rest.take()
            && repeat(item, times, rest, task, sink)?.is_break()
        {
            return Ok(STOP);
        }
        let mut failed = None;
        let flow = input.rest(&mut |item| {
            repeat(item, draw.times(random), rest, task, sink).unwrap_or_else(|error| {
                failed = Some(error);
                STOP
            })
        })?;
        failed.map_or(Ok(flow), Err)
    }
}

/// # Samples
impl<P: Pipe<Item: Clone>> Dataset<P> {
    /// Keeps each item with probability `fraction`. The same seed and the same lineage keep the same items.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let some = cx.range(0..10_000).sample(0.1, 7);
    /// assert!((800..1200).contains(&some.count()?));
    /// assert_eq!(some.collect()?, some.collect()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample(&self, fraction: f64, seed: u64) -> Dataset<impl Pipe<Item = P::Item> + use<P>> {
        let op = Op::here("sample");
        let fault = (!(0.0..=1.0).contains(&fraction)).then(|| {
            let message = format!("sample: the fraction is {fraction}; it has to be from 0 to 1");
            op.fault(message)
        });
        self.drawn(op, Draw::Bernoulli(fraction), seed, fault)
    }

    /// Repeats each item a random number of times, `mean` on average, as in drawing with replacement.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let resampled = cx.range(0..10_000).sample_with_replacement(1.0, 7).count()?;
    /// assert!((9_600..10_400).contains(&resampled));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_with_replacement(&self, mean: f64, seed: u64) -> Dataset<impl Pipe<Item = P::Item> + use<P>> {
        let op = Op::here("sample_with_replacement");
        let fault = (!(0.0..=1e6).contains(&mean)).then(|| {
            let message = format!("sample_with_replacement: the mean is {mean}; it has to be from 0 to a million");
            op.fault(message)
        });
        self.drawn(op, Draw::Poisson(mean), seed, fault)
    }

    fn drawn(&self, op: Op, draw: Draw, seed: u64, fault: Option<Error>) -> Dataset<Sample<P>> {
        let node = Node::narrow(op, &self.node).with_partitioning(self.node.partitioning).with_fault(fault);
        let seed = seed ^ node.position;
        self.narrow(Sample { input: self.pipe.clone(), draw, seed }, node)
    }
}
