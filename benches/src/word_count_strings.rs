//! Benchmark: the word count written with a vector of strings for each line, against the same twin.

use crate::{
    harness::{Bench, Outcome, Pair, Settings},
    word_count,
};

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = word_count::text_file(settings)?;
    Ok(Bench::Pair(Pair { ours: None, twin: Box::new(move || word_count::twin(&path)), after: None, goal: None }))
}
