//! Benchmark: counts the words of a large text in lower case and finds the five most frequent, against hand-written
//! threads, a mapped file and hash tables.

pub mod forms;
mod twin;

use std::path::PathBuf;

use forms::Form;
use twin::twin;

use crate::{
    data::{mix::mix2, text::zipf_file},
    harness::{Answer, Bench, Outcome, Pair, Settings},
};

/// Bytes of text.
const BYTES: u64 = 500_000_000;
/// Words asked for.
pub const MOST_FREQUENT: usize = 5;

/// The benchmark of a form.
fn bench(settings: &Settings, form: Form, goal: f64) -> Outcome<Bench> {
    let path = text_file(settings)?;
    let (cx, text) = (settings.context()?, path.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || form(&cx, &text))),
        twin: Box::new(move || twin(&path)),
        after: None,
        goal: Some(goal),
        cpu: true,
    }))
}

/// With `words` and `counts`.
pub fn counts(settings: &Settings) -> Outcome<Bench> {
    bench(settings, forms::counts, 0.6)
}

/// With `words` and `reduce_by_key`.
pub fn reduce(settings: &Settings) -> Outcome<Bench> {
    bench(settings, forms::reduce, 0.5)
}

/// With a closure that splits lines by `Str::words`.
pub fn closure(settings: &Settings) -> Outcome<Bench> {
    bench(settings, forms::closure, 0.45)
}

/// With a closure that splits lines by `split_whitespace`.
pub fn split(settings: &Settings) -> Outcome<Bench> {
    bench(settings, forms::split, 0.33)
}

/// With a vector of strings for each line. The goal is the one of the twin before, which took three times as long.
pub fn strings(settings: &Settings) -> Outcome<Bench> {
    bench(settings, forms::strings, 0.2)
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use tryworks::Context;

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
            let cx = Context::local(2).unwrap();
            for form in [forms::counts, forms::reduce, forms::closure, forms::split, forms::strings] {
                assert_eq!(form(&cx, &scratch).unwrap(), plain(&text));
            }
        }
        let zipf = zipf_file(9_000_000).unwrap();
        assert_eq!(twin(&zipf).unwrap(), plain(&fs::read_to_string(&zipf).unwrap()));
        fs::remove_file(&scratch).unwrap();
        fs::remove_file(&zipf).unwrap();
    }
}
