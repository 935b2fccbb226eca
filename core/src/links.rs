//! The flat form of boxed pipes, as a graph. Heads make batches, segments turn a batch into others; unions and
//! coalesced partitions say which partitions are read. No function walks this graph by recursion.

use crate::pipe::Step;
use crate::ship::{Decoder, Encoder, Parcel, unpack};
use crate::task::TaskContext;
use crate::trampoline::drop_flat;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tryworks_base::{Error, Result};

/// A batch of items, its type erased: a `Vec<T>`.
pub(crate) type Batch = Box<dyn Any + Send>;

/// The pipe that a list begins with.
pub(crate) trait Head: Send + Sync {
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Box<dyn HeadCursor>>;
    fn ship(&self) -> Result<Parcel>;
}

pub(crate) trait HeadCursor: Send {
    /// The next items: what about `budget` source items yield, or less.
    fn batch(&mut self, budget: usize) -> Result<(Batch, Step)>;
}

/// Operators over a boxed pipe.
pub(crate) trait Segment: Send + Sync {
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Box<dyn SegmentCursor>>;
    fn ship(&self) -> Result<Parcel>;
}

pub(crate) trait SegmentCursor: Send {
    /// Turns the next batch of the input into a batch. After [`Step::More`], this was not all that the input yields, and
    /// the next call, with no input, goes on.
    fn push(&mut self, input: Option<Batch>) -> Result<(Pushed, Step)>;
}

/// What a segment made; `None` if that is nothing.
pub(crate) type Pushed = Option<Batch>;

/// The links of a boxed pipe. `None` inside a segment, whose input is fed to it.
#[derive(Clone)]
pub struct Links(Option<Arc<Link>>);

/// One step of a boxed pipe.
#[doc(hidden)]
pub struct Link(Kind);

enum Kind {
    Begin(Arc<dyn Head>),
    Hung {
        segment: Arc<dyn Segment>,
        before: Links,
    },
    /// The partitions of all inputs, one input after another. Each input comes with the number of its first partition.
    All {
        inputs: Vec<(u32, Links)>,
        /// The same, with nested unions replaced by their inputs. It is made when the first partition is opened.
        flat: OnceLock<Vec<(u32, Links)>>,
    },
    /// Partitions of the same number, joined into one partition.
    Alike(Links, Links),
    /// Runs of partitions, each joined into one partition.
    Coalesced {
        input: Links,
        from: u32,
        to: u32,
    },
}

/// The run of partitions among `from` that makes partition `at` among `to`. The lengths of runs differ by at most one.
pub(crate) fn run_of(at: u32, from: u32, to: u32) -> Range<u32> {
    let cut = |at: u32| (u64::from(at) * u64::from(from) / u64::from(to)) as u32;
    cut(at)..cut(at + 1)
}

impl Drop for Links {
    fn drop(&mut self) {
        drop_flat(self.0.take());
    }
}

impl Link {
    /// A union of the partitions of all inputs. Each input comes with the number of its first partition.
    pub(crate) fn all(inputs: Vec<(u32, Links)>) -> Self {
        Link(Kind::All { inputs, flat: OnceLock::new() })
    }

    /// A union of two inputs, partition by partition.
    pub(crate) fn alike(first: Links, second: Links) -> Self {
        Link(Kind::Alike(first, second))
    }

    /// Runs of the partitions of a pipe.
    pub(crate) fn coalesced(input: Links, from: u32, to: u32) -> Self {
        Link(Kind::Coalesced { input, from, to })
    }

    /// The links that this one reads.
    fn inputs(&self) -> impl Iterator<Item = &Links> {
        let (some, two, many) = match &self.0 {
            Kind::Begin(_) => (None, None, &[][..]),
            Kind::Hung { before: input, .. } | Kind::Coalesced { input, .. } => (Some(input), None, &[][..]),
            Kind::Alike(first, second) => (Some(first), Some(second), &[][..]),
            Kind::All { inputs, .. } => (None, None, &inputs[..]),
        };
        some.into_iter().chain(two).chain(many.iter().map(|(_, input)| input))
    }
}

impl Links {
    /// The links inside a segment.
    pub(crate) fn none() -> Self {
        Links(None)
    }

    pub(crate) fn of(link: Link) -> Self {
        Links(Some(Arc::new(link)))
    }

    pub(crate) fn begin(head: Arc<dyn Head>) -> Self {
        Links::of(Link(Kind::Begin(head)))
    }

    pub(crate) fn hung(segment: Arc<dyn Segment>, before: &Links) -> Self {
        Links::of(Link(Kind::Hung { segment, before: before.clone() }))
    }

    fn link(&self) -> Result<&Arc<Link>> {
        self.0.as_ref().ok_or_else(|| Error::Bug("a segment of a boxed pipe was opened alone".into()))
    }
}

/// The inputs of a union, with nested unions replaced by their inputs.
fn flat(inputs: &[(u32, Links)]) -> Vec<(u32, Links)> {
    let mut open: Vec<(u32, &Links)> = inputs.iter().rev().map(|(start, input)| (*start, input)).collect();
    let mut found = Vec::new();
    while let Some((start, links)) = open.pop() {
        match links.0.as_deref() {
            Some(Link(Kind::All { inputs, .. })) => {
                open.extend(inputs.iter().rev().map(|(first, input)| (start + first, input)));
            }
            _ => found.push((start, links.clone())),
        }
    }
    found
}

/// One partition of a boxed pipe while it is read.
pub(crate) struct LinksCursor {
    /// Each level reads the one after it.
    levels: Vec<Level>,
    /// The segments that hold a part of their input, by their numbers in the order in which batches go through all
    /// levels. The last one is nearest to the end.
    open: Vec<usize>,
    task: TaskContext,
}

/// Segments, and the links that they read one after another.
struct Level {
    segments: Vec<Box<dyn SegmentCursor>>,
    /// The last one is read next.
    pending: Vec<Pending>,
    head: Option<Box<dyn HeadCursor>>,
}

struct Pending {
    links: Links,
    partitions: Range<u32>,
    /// The partition that errors and operators see; `None` if it is the one that is read.
    place: Option<u32>,
}

impl Drop for LinksCursor {
    fn drop(&mut self) {
        // Heads may hold cursors of boxed pipes, nested by zips and caches in a loop.
        drop_flat(std::mem::take(&mut self.levels));
    }
}

impl LinksCursor {
    pub(crate) fn open(links: &Links, partition: u32, task: &TaskContext) -> Result<Self> {
        let pending =
            Pending { links: links.clone(), partitions: partition..partition + 1, place: Some(task.place().partition) };
        let level = Level { segments: Vec::new(), pending: vec![pending], head: None };
        let mut cursor = LinksCursor { levels: vec![level], open: Vec::new(), task: task.clone() };
        cursor.settle()?;
        Ok(cursor)
    }

    /// Opens the next links until there is a head to read, or nothing is left.
    fn settle(&mut self) -> Result<()> {
        while let Some(level) = self.levels.last_mut() {
            if level.head.is_some() {
                return Ok(());
            }
            let Some(next) = level.pending.last_mut() else {
                self.levels.pop();
                continue;
            };
            let Some(partition) = next.partitions.next() else {
                level.pending.pop();
                continue;
            };
            let (links, place) = (next.links.clone(), next.place.unwrap_or(partition));
            if next.partitions.is_empty() {
                level.pending.pop();
            }
            let read =
                |links: &Links, partitions: Range<u32>, place| Pending { links: links.clone(), partitions, place };
            let only = partition..partition + 1;
            match &links.link()?.0 {
                Kind::Begin(head) => level.head = Some(head.open(partition, &self.task.at(place))?),
                Kind::Hung { .. } => {
                    let mut segments = Vec::new();
                    let mut at = &links;
                    while let Kind::Hung { segment, before } = &at.link()?.0 {
                        segments.push(segment);
                        at = before;
                    }
                    let task = self.task.at(place);
                    let segments = segments.into_iter().rev().map(|segment| segment.open(partition, &task));
                    let segments = segments.collect::<Result<_>>()?;
                    self.levels.push(Level { segments, pending: vec![read(at, only, Some(place))], head: None });
                }
                Kind::All { inputs, flat: made } => {
                    let inputs = made.get_or_init(|| flat(inputs));
                    let at = inputs.partition_point(|(start, _)| *start <= partition);
                    let Some((start, input)) = at.checked_sub(1).map(|at| &inputs[at]) else {
                        return Err(Error::Bug(format!("a union has no partition {partition}")));
                    };
                    level.pending.push(read(input, partition - start..partition - start + 1, Some(place)));
                }
                Kind::Alike(first, second) => {
                    level.pending.extend([second, first].map(|side| read(side, only.clone(), Some(place))));
                }
                Kind::Coalesced { input, from, to } => {
                    level.pending.push(read(input, run_of(partition, *from, *to), None));
                }
            }
        }
        Ok(())
    }

    /// The next batch, if the next step yields one. A step is what about `budget` items of a head yield, or a part of
    /// it: a segment that makes many items of one stops among them, and goes on in the next step.
    pub(crate) fn batch(&mut self, budget: usize) -> Result<(Pushed, Step)> {
        let (mut from, mut batch) = (0, None);
        match self.open.pop() {
            // What a segment holds comes before what it has not read.
            Some(segment) => from = segment,
            None => {
                self.settle()?;
                let Some(level) = self.levels.last_mut() else { return Ok((None, Step::Done)) };
                let Some(head) = &mut level.head else { return Ok((None, Step::Done)) };
                let (made, step) = head.batch(budget)?;
                if step == Step::Done {
                    level.head = None;
                }
                batch = Some(made);
            }
        }
        let segments = self.levels.iter_mut().rev().flat_map(|level| &mut level.segments);
        for (number, segment) in segments.enumerate().skip(from) {
            let (made, step) = segment.push(batch)?;
            if step == Step::More {
                self.open.push(number);
            }
            if made.is_none() {
                return Ok((None, Step::More));
            }
            batch = made;
        }
        Ok((batch, Step::More))
    }
}

/// A link as it is sent. The links that it reads were sent before it; numbers refer to them.
#[derive(Serialize, Deserialize)]
enum Sent {
    Begin(Parcel),
    Hung(Parcel, usize),
    All(Vec<(u32, usize)>),
    Alike(usize, usize),
    Coalesced(usize, u32, u32),
}

impl Links {
    /// Writes the whole graph, each link once, after the links that it reads.
    pub(crate) fn encode(&self, to: &mut Encoder) -> Result<()> {
        let mut sent: Vec<Sent> = Vec::new();
        let mut numbers = HashMap::<*const Link, usize>::new();
        let mut open = vec![self.link()?];
        while let Some(&link) = open.last() {
            if numbers.contains_key(&Arc::as_ptr(link)) {
                open.pop();
                continue;
            }
            let waiting = open.len();
            for input in link.inputs() {
                let input = input.link()?;
                if !numbers.contains_key(&Arc::as_ptr(input)) {
                    open.push(input);
                }
            }
            // A link is sent after the links that it reads, so that decoding needs one pass.
            if open.len() > waiting {
                continue;
            }
            let number = |links: &Links| Ok::<_, Error>(numbers[&Arc::as_ptr(links.link()?)]);
            sent.push(match &link.0 {
                Kind::Begin(head) => Sent::Begin(head.ship()?),
                Kind::Hung { segment, before } => Sent::Hung(segment.ship()?, number(before)?),
                Kind::All { inputs, .. } => {
                    let inputs = inputs.iter().map(|(start, input)| Ok((*start, number(input)?)));
                    Sent::All(inputs.collect::<Result<_>>()?)
                }
                Kind::Alike(first, second) => Sent::Alike(number(first)?, number(second)?),
                Kind::Coalesced { input, from, to } => Sent::Coalesced(number(input)?, *from, *to),
            });
            numbers.insert(Arc::as_ptr(link), sent.len() - 1);
            open.pop();
        }
        to.value(&sent)
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self> {
        let mut made: Vec<Links> = Vec::new();
        for sent in from.value::<Vec<Sent>>()? {
            // Numbers refer to earlier links only, so bytes from elsewhere cannot describe a circle.
            let before = |number: usize| {
                let links = made.get(number).cloned();
                links.ok_or_else(|| Error::Bug("a boxed pipe was refused: a link was sent before what it reads".into()))
            };
            made.push(match sent {
                Sent::Begin(parcel) => Links::begin(unpack(&parcel, from.segments(), false)?),
                Sent::Hung(parcel, number) => Links::hung(unpack(&parcel, from.segments(), true)?, &before(number)?),
                Sent::All(inputs) => {
                    let inputs = inputs.into_iter().map(|(start, number)| Ok((start, before(number)?)));
                    Links::of(Link::all(inputs.collect::<Result<_>>()?))
                }
                Sent::Alike(first, second) => Links::of(Link::alike(before(first)?, before(second)?)),
                Sent::Coalesced(number, from, to) if to > 0 => Links::of(Link::coalesced(before(number)?, from, to)),
                Sent::Coalesced(..) => return Err(Error::Bug("a boxed pipe was refused: it has no partition".into())),
            });
        }
        made.pop().ok_or_else(|| Error::Bug("a boxed pipe was refused: there is nothing in it".into()))
    }
}
