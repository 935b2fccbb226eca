//! Benchmark: counts the words of a large text in lower case and finds the five most frequent, against hand-written
//! threads, a mapped file and hash tables.

mod twin;

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use tryworks::prelude::*;
pub use twin::twin;

use crate::{
    data::{mix::mix2, text::zipf_file},
    harness::{Answer, Bench, Outcome, Pair, Settings},
};

/// Bytes of text.
const BYTES: u64 = 500_000_000;
/// Words asked for.
pub const MOST_FREQUENT: usize = 5;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = text_file(settings)?;
    let (cx, text) = (settings.context()?, path.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || count(&cx, &text))),
        twin: Box::new(move || twin(&path)),
        after: None,
        goal: Some(0.8),
    }))
}

/// The text that is counted.
pub fn text_file(settings: &Settings) -> Outcome<PathBuf> {
    Ok(zipf_file(settings.scaled(BYTES))?)
}

/// The answer from the most frequent words, the most frequent one first; words with equal counts are in alphabetical
/// order.
pub fn answer<'a>(most_frequent: impl IntoIterator<Item = (&'a str, u64)>) -> Answer {
    let mut answer = Answer { count: 0, checksum: 0 };
    for (word, count) in most_frequent {
        answer.count += count;
        let word = word.bytes().fold(0, |hash, byte| mix2(hash, u64::from(byte)));
        answer.checksum = mix2(answer.checksum, mix2(word, count));
    }
    answer
}

/// The side of Tryworks, on any context.
pub fn count(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx
        .text_file(path)
        .flat_map_into(|line, out| line.split_whitespace().for_each(|word| out.push(Str::lower(word))));
    let counts = words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b);
    let best = counts.take_ordered_by(MOST_FREQUENT, |(word, count)| (Reverse(*count), word.clone()))?;
    Ok(answer(best.iter().map(|(word, count)| (word.as_str(), *count))))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    /// The plain program that the twin corresponds to.
    fn plain(text: &str) -> Answer {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for word in text.lines().flat_map(str::split_whitespace) {
            *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
        let mut counts: Vec<(&str, u64)> = counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(MOST_FREQUENT);
        answer(counts)
    }

    #[test]
    fn counts_as_the_plain_program_does() {
        let long = "Antidisestablishmentarianism";
        let odd = format!(
            "one\u{2003}Two\ttwo {long} \r\n\n\u{c9}t\u{e9} THREE three three {long} fifteen-letters sixteen-letters1"
        );
        let scratch = std::env::temp_dir().join(format!("tryworks-bench-test-{}", std::process::id()));
        for text in [odd.clone(), odd.repeat(200_000), String::new()] {
            fs::write(&scratch, &text).unwrap();
            assert_eq!(twin(&scratch).unwrap(), plain(&text));
        }
        let zipf = zipf_file(9_000_000).unwrap();
        assert_eq!(twin(&zipf).unwrap(), plain(&fs::read_to_string(&zipf).unwrap()));
        fs::remove_file(&scratch).unwrap();
        fs::remove_file(&zipf).unwrap();
    }
}
