//! A confidence interval of a mean by the bootstrap: many means of resampled data.
//!
//!     cargo run --release --example bootstrap
//!
//! The data are the numbers of words in the lines of a text. They are cached in memory. Each resample is a job over
//! them with a different seed. For a mean, theory gives an interval, too, and the program compares the two.

use std::path::Path;
use tryworks::prelude::*;

const RESAMPLES: u64 = 400;

fn main() -> Result<()> {
    let cx = Context::init()?;
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/mobydick.txt");
    let lines = cx.text_file(text).map(|line| line.split_whitespace().count() as f64);
    let words = lines.filter(|words| *words > 0.0).cache();

    let n = words.count()? as f64;
    let mean = words.sum()? / n;
    let mut means = Vec::new();
    for seed in 0..RESAMPLES {
        // One pass computes both the sum and the number of the drawn items.
        let drawn = words.sample_with_replacement(1.0, seed).map(|words| (words, 1u64));
        let (sum, n) = drawn.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?.unwrap_or_default();
        means.push(sum / n as f64);
    }
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * RESAMPLES as f64) as usize];
    let (low, high) = (at(0.025), at(0.975));
    println!("A line has {mean:.3} words on average; from {low:.3} to {high:.3} with a confidence of 95 %.");

    let variance = words.with(mean).map(|mean, words| (words - mean).powi(2)).sum()? / (n - 1.0);
    let wide = 2.0 * 1.96 * (variance / n).sqrt();
    println!("Theory gives an interval {wide:.3} wide, the bootstrap one {:.3} wide.", high - low);
    assert!(low < mean && mean < high && ((high - low) / wide - 1.0).abs() < 0.2);
    Ok(())
}
