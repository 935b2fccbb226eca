//! `words`: the words of a dataset of text.

use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{CONTINUE, Cursor, Flow, Pipe, STOP, Step};
use crate::ship::ship;
use crate::str::Str;
use crate::task::TaskContext;
use tryworks_base::{Op, Result};

/// The words of the texts that a pipe yields.
#[derive(Clone)]
pub struct WordsOf<P> {
    input: P,
}

ship!([P: crate::ship::Ship] WordsOf<P> { input: ship });

impl<P: Pipe<Item: AsRef<str>>> Pipe for WordsOf<P> {
    type Item = Str;
    type Cursor = WordsCursor<P::Cursor>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        Ok(WordsCursor { input: self.input.open(partition, task)?, left: Vec::new().into_iter() })
    }

    fn feed(&self) -> Option<&crate::links::Links> {
        self.input.feed()
    }
}

/// One partition of words.
pub struct WordsCursor<C> {
    input: C,
    /// The words of a text after the one at which the sink stopped.
    left: std::vec::IntoIter<Str>,
}

/// Pushes the words of a text into `sink`, and keeps those after a stop.
#[inline(always)]
fn pour(text: &str, left: &mut std::vec::IntoIter<Str>, sink: &mut impl FnMut(Str) -> Flow) -> Flow {
    let mut words = Str::words(text);
    while let Some(word) = words.next() {
        if sink(word).is_break() {
            *left = words.collect::<Vec<_>>().into_iter();
            return STOP;
        }
    }
    CONTINUE
}

impl<C: Cursor<Item: AsRef<str>>> Cursor for WordsCursor<C> {
    type Item = Str;

    #[inline]
    fn advance<S: FnMut(Str) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let WordsCursor { input, left } = self;
        input.advance_text(budget, &mut |text| pour(text, left, sink))
    }

    fn rest<S: FnMut(Str) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        if self.left.try_for_each(&mut *sink).is_break() {
            return Ok(STOP);
        }
        let WordsCursor { input, left } = self;
        input.rest(&mut |text| pour(text.as_ref(), left, sink))
    }
}

/// # Item by item
impl<P: Pipe<Item: AsRef<str>>> Dataset<P> {
    /// The words of each text, which are separated by white space as in [`str::split_whitespace`]. Behind a source of
    /// lines it is faster than any splitting of single lines, because it cuts whole buffers.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let lines = cx.parallelize(["Call me", " Ishmael.\tSome  years ago"].map(String::from));
    /// let words = lines.words().map(|word| word.lowered());
    /// assert_eq!(words.collect()?, ["call", "me", "ishmael.", "some", "years", "ago"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn words(&self) -> Dataset<impl Pipe<Item = Str> + use<P>> {
        self.narrow(WordsOf { input: self.pipe.clone() }, Node::narrow(Op::here("words"), &self.node))
    }
}
