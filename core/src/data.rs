//! `Data<T>`: a dataset whose pipe type is erased, for struct fields, loops and unions of many.
//!
//! A boxed pipe is a flat list: a head that makes batches, and segments that each turn a batch into the next. Boxing
//! in a loop grows the list, so running, dropping and shipping it never nests.

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::pipe::{CONTINUE, Cursor, Flow, Pipe, Step};
use crate::ship::{Decoder, Encoder, Parcel, Role, Ship, pack, unpack};
use crate::task::{Feed, Task};
use crate::trampoline::drop_flat;
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

/// A dataset of `T`, however it is made.
pub type Data<T> = Dataset<Boxed<T>>;

/// A batch of items, its type erased: a `Vec<T>`.
type Batch = Box<dyn Any + Send>;

/// A pipe of `T`, its type erased.
pub struct Boxed<T> {
    links: Links,
    item: PhantomData<fn() -> T>,
}

/// The flat list behind a [`Boxed`] pipe. Empty in a segment, whose input is fed to it.
#[derive(Clone)]
pub struct Links {
    head: Option<Arc<dyn Head>>,
    last: Option<Arc<Link>>,
}

struct Link {
    segment: Arc<dyn Segment>,
    before: Option<Arc<Link>>,
}

impl Drop for Links {
    fn drop(&mut self) {
        drop_flat((self.head.take(), self.last.take()));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop_flat(self.before.take());
    }
}

impl<T> Clone for Boxed<T> {
    fn clone(&self) -> Self {
        Boxed { links: self.links.clone(), item: PhantomData }
    }
}

impl<T: Send + 'static> Boxed<T> {
    pub(crate) fn new<P: Pipe<Item = T>>(pipe: &P) -> Self {
        let links = match pipe.feed() {
            // The pipe is itself a boxed one with operators behind it: hang them on its list.
            Some(links) => {
                let segment: Arc<dyn Segment> = Arc::new(Hung(pipe.clone()));
                Links { head: links.head.clone(), last: Some(Arc::new(Link { segment, before: links.last.clone() })) }
            }
            None => Links { head: Some(Arc::new(Begin(pipe.clone()))), last: None },
        };
        Boxed { links, item: PhantomData }
    }
}

impl Links {
    /// The segments, first to last.
    fn segments(&self) -> Vec<Arc<dyn Segment>> {
        let mut found = Vec::new();
        let mut at = self.last.as_ref();
        while let Some(link) = at {
            found.push(link.segment.clone());
            at = link.before.as_ref();
        }
        found.reverse();
        found
    }
}

trait Head: Send + Sync {
    fn open(&self, partition: u32, task: &Task) -> Result<Box<dyn HeadCursor>>;
    fn ship(&self) -> Result<Parcel>;
}

trait HeadCursor: Send {
    fn batch(&mut self, budget: usize) -> Result<(Batch, Step)>;
}

trait Segment: Send + Sync {
    fn open(&self, partition: u32, task: &Task) -> Result<Box<dyn SegmentCursor>>;
    fn ship(&self) -> Result<Parcel>;
}

trait SegmentCursor: Send {
    fn push(&mut self, batch: Batch) -> Result<Batch>;
}

/// The pipe that a list begins with.
struct Begin<P>(P);

impl<P: Pipe> Ship for Begin<P> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.0.encode(to)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Begin(P::decode(from)?))
    }
}

impl<P: Pipe> Role for Begin<P> {
    type Erased = Arc<dyn Head>;

    fn erase(self) -> Arc<dyn Head> {
        Arc::new(self)
    }
}

impl<P: Pipe> Head for Begin<P> {
    fn open(&self, partition: u32, task: &Task) -> Result<Box<dyn HeadCursor>> {
        Ok(Box::new(BeginCursor(self.0.open(partition, &task.fed(None))?)))
    }

    fn ship(&self) -> Result<Parcel> {
        pack(self)
    }
}

struct BeginCursor<C>(C);

impl<C: Cursor<Item: Send + 'static>> HeadCursor for BeginCursor<C> {
    fn batch(&mut self, budget: usize) -> Result<(Batch, Step)> {
        let mut items = Vec::with_capacity(budget.min(crate::pipe::BATCH));
        let step = self.0.advance(budget, &mut |item| {
            items.push(item);
            CONTINUE
        })?;
        Ok((Box::new(items), step))
    }
}

/// Operators whose root is a boxed pipe, hung on that pipe's list.
struct Hung<P>(P);

impl<P: Pipe> Ship for Hung<P> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.0.encode(to)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Hung(P::decode(from)?))
    }
}

impl<P: Pipe> Role for Hung<P> {
    type Erased = Arc<dyn Segment>;
    const FEEDING: bool = true;

    fn erase(self) -> Arc<dyn Segment> {
        Arc::new(self)
    }
}

impl<P: Pipe> Segment for Hung<P> {
    fn open(&self, partition: u32, task: &Task) -> Result<Box<dyn SegmentCursor>> {
        let feed = Feed::default();
        Ok(Box::new(HungCursor { cursor: self.0.open(partition, &task.fed(Some(feed.clone())))?, feed }))
    }

    fn ship(&self) -> Result<Parcel> {
        pack(self)
    }
}

struct HungCursor<C> {
    cursor: C,
    feed: Feed,
}

impl<C: Cursor<Item: Send + 'static>> SegmentCursor for HungCursor<C> {
    fn push(&mut self, batch: Batch) -> Result<Batch> {
        *self.feed.lock() = Some(batch);
        let mut items = Vec::new();
        self.cursor.advance(usize::MAX, &mut |item| {
            items.push(item);
            CONTINUE
        })?;
        Ok(Box::new(items))
    }
}

impl<T: Send + 'static> Ship for Boxed<T> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        if to.feeding {
            return Ok(());
        }
        let head = self.links.head.as_ref().map(|head| head.ship()).transpose()?;
        let segments = self.links.segments().iter().map(|segment| segment.ship()).collect::<Result<Vec<_>>>()?;
        to.value(&(head, segments))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let mut links = Links { head: None, last: None };
        if !from.feeding {
            let (head, segments) = from.value::<(Option<Parcel>, Vec<Parcel>)>()?;
            links.head = head.map(|parcel| unpack::<Arc<dyn Head>>(&parcel, from.segments(), false)).transpose()?;
            for parcel in segments {
                let segment = unpack::<Arc<dyn Segment>>(&parcel, from.segments(), true)?;
                links.last = Some(Arc::new(Link { segment, before: links.last.take() }));
            }
        }
        Ok(Boxed { links, item: PhantomData })
    }
}

impl<T: Send + 'static> Pipe for Boxed<T> {
    type Item = T;
    type Cursor = BoxedCursor<T>;

    fn open(&self, partition: u32, task: &Task) -> Result<BoxedCursor<T>> {
        let input = match (task.feed(), &self.links.head) {
            (Some(feed), _) => Input::Fed(feed.clone()),
            (None, Some(head)) => {
                let segments = self.links.segments();
                let segments = segments.iter().map(|segment| segment.open(partition, task)).collect::<Result<_>>()?;
                Input::Own(head.open(partition, task)?, segments)
            }
            (None, None) => return Err(Error::Bug("a segment of a boxed pipe was opened alone".into())),
        };
        Ok(BoxedCursor { input, item: PhantomData })
    }

    fn feed(&self) -> Option<&Links> {
        Some(&self.links)
    }
}

/// One partition of a boxed pipe.
pub struct BoxedCursor<T> {
    input: Input,
    item: PhantomData<fn() -> T>,
}

enum Input {
    Fed(Arc<Lock<Option<Batch>>>),
    Own(Box<dyn HeadCursor>, Vec<Box<dyn SegmentCursor>>),
}

impl<T: Send + 'static> Cursor for BoxedCursor<T> {
    type Item = T;

    fn advance<S: FnMut(T) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let (batch, step) = match &mut self.input {
            Input::Fed(feed) => match feed.lock().take() {
                Some(batch) => (batch, Step::More),
                None => return Ok(Step::Done),
            },
            Input::Own(head, segments) => {
                let (mut batch, step) = head.batch(budget)?;
                for segment in segments {
                    batch = segment.push(batch)?;
                }
                (batch, step)
            }
        };
        let items = batch.downcast::<Vec<T>>().map_err(|_| Error::Bug("a boxed batch of another type".into()))?;
        for item in *items {
            if sink(item).is_break() {
                return Ok(Step::Done);
            }
        }
        Ok(step)
    }
}
