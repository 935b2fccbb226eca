//! Benchmark: the word count written with a vector of strings for each line, against the same twin.

use std::{cmp::Reverse, path::Path};

use tryworks::prelude::*;

use crate::{
    harness::{Answer, Bench, Outcome, Pair, Settings},
    word_count,
};

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = word_count::text_file(settings)?;
    let (cx, text) = (settings.context()?, path.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || ours(&cx, &text))),
        twin: Box::new(move || word_count::twin(&path)),
        after: None,
        goal: Some(0.5),
    }))
}

fn ours(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx
        .text_file(path)
        .flat_map(|line| line.split_whitespace().map(|word| word.to_ascii_lowercase()).collect::<Vec<String>>());
    let counts = words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b);
    let best = counts.take_ordered_by(word_count::MOST_FREQUENT, |(word, count)| (Reverse(*count), word.clone()))?;
    Ok(word_count::answer(best.iter().map(|(word, count)| (word.as_str(), *count))))
}
