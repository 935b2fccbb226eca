//! The word count as users write it, in several forms. Each is in a function of its own, so that the compiler sees what it
//! sees in a user's program.

use std::{cmp::Reverse, path::Path};

use tryworks::prelude::*;

use super::{MOST_FREQUENT, answer};
use crate::harness::{Answer, Outcome};

/// How a program counts words on a context.
pub type Form = fn(&Context, &Path) -> Outcome<Answer>;

/// The answer of a program whose counts these are.
fn best<K: Key + Ord + AsRef<str>>(counts: &Dataset<impl Pipe<Item = (K, u64)>>) -> Outcome<Answer> {
    let best = counts.take_ordered_by(MOST_FREQUENT, |(word, count)| (Reverse(*count), word.clone()))?;
    Ok(answer(best.iter().map(|(word, count)| (word.as_ref(), *count))))
}

/// `words` and `counts`.
pub fn counts(cx: &Context, path: &Path) -> Outcome<Answer> {
    best(&cx.text_file(path).words().map(|word| word.lowered()).counts())
}

/// `words` and `reduce_by_key`.
pub fn reduce(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx.text_file(path).words();
    best(&words.map(|word| (word.lowered(), 1u64)).reduce_by_key(|a, b| a + b))
}

/// A closure that splits lines by [`Str::words`].
pub fn closure(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words =
        cx.text_file(path).flat_map_into(|line, out| Str::words(&line).for_each(|word| out.push(word.lowered())));
    best(&words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b))
}

/// A closure that splits lines by the standard library.
pub fn split(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx
        .text_file(path)
        .flat_map_into(|line, out| line.split_whitespace().for_each(|word| out.push(Str::lower(word))));
    best(&words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b))
}

/// A vector of strings for each line.
pub fn strings(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx
        .text_file(path)
        .flat_map(|line| line.split_whitespace().map(|word| word.to_ascii_lowercase()).collect::<Vec<String>>());
    best(&words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b))
}
