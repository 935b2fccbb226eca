//! The most frequent words of a text, without stop words:
//!
//!     cargo run --release --example word_count [TEXT [STOP WORDS]]

use std::collections::BTreeSet;
use std::path::Path;
use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::init()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let mut arguments = std::env::args_os().skip(1);
    let text = arguments.next().map_or(data.join("mobydick.txt"), Into::into);
    let stop_words = arguments.next().map_or(data.join("stopwords.txt"), Into::into);

    let stop: BTreeSet<String> = cx.text_file(stop_words).collect()?.into_iter().collect();
    let words = cx.text_file(text).flat_map_into(|line, out| {
        let plain: String = line.chars().filter(|c| c.is_ascii() && !c.is_ascii_punctuation()).collect();
        plain.split(' ').filter(|word| !word.is_empty()).for_each(|word| out.push(Str::lower(word)));
    });
    let words = words.with(stop).filter(|stop, word| !stop.contains(word.as_str()));
    let counts = words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b).cache();

    let (all, different) = (counts.map(|(_, n)| n).sum()?, counts.count()?);
    println!("{all} words, {different} of them different; the most frequent:");
    for (word, n) in counts.take_ordered_by(5, |(word, n)| (std::cmp::Reverse(*n), word.clone()))? {
        println!("{n:>6} {word}");
    }
    Ok(())
}
