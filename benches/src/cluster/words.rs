//! Benchmark: the word count on two engines with one slot each, against the local runtime with two threads.

use super::Cluster;
use crate::harness::{Bench, Outcome, Pair, Settings};
use crate::word_count::{forms::reduce, text_file};
use tryworks::Context;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = text_file(settings)?;
    let cluster = Cluster::start(2)?;
    let (cluster_cx, local_cx) = (cluster.context()?, Context::builder().threads(2).progress(false).build()?);
    let text = path.clone();
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || {
            // Kept for as long as its context is used.
            let _ = &cluster;
            reduce(&cluster_cx, &text)
        })),
        twin: Box::new(move || reduce(&local_cx, &path)),
        after: None,
        goal: Some(0.85),
        cpu: false,
    }))
}
