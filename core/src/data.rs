//! `Data<T>`: a dataset whose pipe type is erased, for struct fields, loops and unions of many.
//!
//! A boxed pipe is a flat list: a head makes batches, and each segment turns a batch into the next. A union or
//! coalesced partitions of boxed pipes are part of the list, too. Boxing in a loop extends the list, so running,
//! dropping and shipping it never nests. Heads that read boxed pipes themselves, such as zips and caches, do nest: they
//! get more stack when they need it.

use crate::dataset::Dataset;
use crate::gather::gather;
use crate::links::{Batch, Head, HeadCursor, Links, LinksCursor, Pushed, Segment, SegmentCursor};
use crate::pipe::{BATCH, Cursor, Flow, Pipe, Step};
use crate::ship::{Decoder, Encoder, Parcel, Role, Ship, pack, ship};
use crate::task::{Feed, TaskContext};
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::lock::Lock;
use tryworks_base::{Error, Result};

/// A dataset of `T`, whatever operators made it.
pub type Data<T> = Dataset<Boxed<T>>;

impl<P: Pipe> Dataset<P> {
    /// The same dataset with its pipe type erased, for struct fields, loops and unions of many.
    pub fn boxed(&self) -> Data<P::Item> {
        self.of(Boxed::new(&self.pipe))
    }
}

/// A pipe of `T` whose own type is erased.
pub struct Boxed<T> {
    links: Links,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for Boxed<T> {
    fn clone(&self) -> Self {
        Boxed { links: self.links.clone(), item: PhantomData }
    }
}

impl<T: Send + 'static> Boxed<T> {
    pub(crate) fn new<P: Pipe<Item = T>>(pipe: &P) -> Self {
        if let Some(boxed) = (pipe as &dyn Any).downcast_ref::<Boxed<T>>() {
            return boxed.clone();
        }
        let links = match (pipe.feed(), pipe.link()) {
            // The pipe is a boxed pipe with operators after it: add these operators to its list.
            (Some(links), _) => Links::hung(Arc::new(Hung(pipe.clone())), links),
            (None, Some(link)) => Links::of(link),
            (None, None) => Links::begin(Arc::new(Begin(pipe.clone()))),
        };
        Boxed { links, item: PhantomData }
    }

    /// The links of a pipe.
    pub(crate) fn links<P: Pipe<Item = T>>(pipe: &P) -> Links {
        Boxed::new(pipe).links.clone()
    }
}

/// The stack that must be left where one boxed pipe reads another: enough for users' functions.
const STACK_LEFT: usize = 1 << 20;
/// How much stack is added if less is left.
const STACK_MORE: usize = 16 << 20;

/// Runs `work` one level deeper in pipes that read each other, on more stack if little is left.
fn deeper<R>(work: impl FnOnce() -> R) -> R {
    let (mut work, mut done) = (Some(work), None);
    deeper_by(&mut || done = work.take().map(|work| work()));
    done.unwrap_or_else(|| unreachable!("the work is called"))
}

/// The part of [`deeper`] that is compiled once, not for each pipe.
fn deeper_by(work: &mut dyn FnMut()) {
    stacker::maybe_grow(STACK_LEFT, STACK_MORE, work);
}

/// The pipe that a list begins with.
struct Begin<P>(P);

ship!([P: Pipe] Begin<P> { 0: ship });

impl<P: Pipe> Role for Begin<P> {
    type Erased = Arc<dyn Head>;

    fn erase(self) -> Arc<dyn Head> {
        Arc::new(self)
    }
}

impl<P: Pipe> Head for Begin<P> {
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Box<dyn HeadCursor>> {
        deeper(|| {
            let cursor = self.0.open(partition, &task.fed(None))?;
            Ok(Box::new(BeginCursor { cursor, task: task.clone() }) as Box<dyn HeadCursor>)
        })
    }

    fn ship(&self) -> Result<Parcel> {
        deeper(|| pack(self))
    }
}

struct BeginCursor<C> {
    cursor: C,
    task: TaskContext,
}

impl<C: Cursor<Item: Send + 'static>> HeadCursor for BeginCursor<C> {
    fn batch(&mut self, budget: usize) -> Result<(Batch, Step)> {
        let mut items = Vec::with_capacity(budget.min(BATCH));
        let step = deeper(|| gather(&mut self.cursor, budget, &self.task, &mut items, |_| 0))?;
        Ok((Box::new(items), step))
    }
}

/// Operators whose root is a boxed pipe, as one segment of that pipe's list.
struct Hung<P>(P);

ship!([P: Pipe] Hung<P> { 0: ship });

impl<P: Pipe> Role for Hung<P> {
    type Erased = Arc<dyn Segment>;
    const FEEDING: bool = true;

    fn erase(self) -> Arc<dyn Segment> {
        Arc::new(self)
    }
}

impl<P: Pipe> Segment for Hung<P> {
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Box<dyn SegmentCursor>> {
        let feed = Feed::default();
        let cursor = self.0.open(partition, &task.fed(Some(feed.clone())))?;
        Ok(Box::new(HungCursor { cursor, feed, task: task.clone() }))
    }

    fn ship(&self) -> Result<Parcel> {
        pack(self)
    }
}

struct HungCursor<C> {
    cursor: C,
    feed: Feed,
    task: TaskContext,
}

impl<C: Cursor<Item: Send + 'static>> SegmentCursor for HungCursor<C> {
    fn push(&mut self, input: Option<Batch>) -> Result<(Pushed, Step)> {
        if input.is_some() {
            *self.feed.lock() = input;
        }
        let mut items = Vec::new();
        let step = gather(&mut self.cursor, usize::MAX, &self.task, &mut items, |_| 0)?;
        Ok(((!items.is_empty()).then(|| Box::new(items) as Batch), step))
    }
}

impl<T: Send + 'static> Ship for Boxed<T> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        if to.feeding {
            return Ok(());
        }
        self.links.encode(to)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let links = if from.feeding { Links::none() } else { deeper(|| Links::decode(from))? };
        Ok(Boxed { links, item: PhantomData })
    }
}

impl<T: Send + 'static> Pipe for Boxed<T> {
    type Item = T;
    type Cursor = BoxedCursor<T>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<BoxedCursor<T>> {
        let input = match task.feed() {
            Some(feed) => Input::Fed(feed.clone()),
            None => Input::Own(LinksCursor::open(&self.links, partition, task)?),
        };
        Ok(BoxedCursor { input, items: Vec::new().into_iter() })
    }

    fn feed(&self) -> Option<&Links> {
        Some(&self.links)
    }
}

/// One partition of a boxed pipe.
pub struct BoxedCursor<T> {
    input: Input,
    /// The rest of the last batch.
    items: std::vec::IntoIter<T>,
}

enum Input {
    Fed(Arc<Lock<Option<Batch>>>),
    Own(LinksCursor),
}

impl<T: Send + 'static> Cursor for BoxedCursor<T> {
    type Item = T;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(T) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let mut step = Step::More;
        if self.items.as_slice().is_empty() {
            let batch;
            (batch, step) = match &mut self.input {
                // A segment has read its batch when it has passed on all of its items.
                Input::Fed(feed) => (feed.lock().take(), Step::Done),
                Input::Own(cursor) => cursor.batch(budget)?,
            };
            let Some(batch) = batch else { return Ok(step) };
            let items = batch.downcast::<Vec<T>>().map_err(|_| Error::Bug("a boxed batch of another type".into()))?;
            self.items = items.into_iter();
        }
        // A local variable can stay in registers.
        let mut items = std::mem::take(&mut self.items);
        while let Some(item) = items.next() {
            if sink(item).is_break() {
                self.items = items;
                return Ok(Step::More);
            }
        }
        Ok(step)
    }
}
