//! Benchmark: sorts text files of records by key into text files, against a hand-written external sort in two passes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tryworks::prelude::*;

use crate::{
    data::records::{KEY, check_sorted, make_files},
    external_sort::{Lines, RUN, twin},
    harness::{Answer, Bench, Outcome, Pair, Settings},
};

/// Records to sort.
pub const RECORDS: u64 = 10_000_000;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let inputs = make_files(&settings.scratch.join("records"), settings.scaled(RECORDS))?;
    let output = output_directory(settings);
    let cx = settings.context()?;
    let (ours_inputs, ours_output) = (inputs.clone(), output.clone());
    let (runs, sorted) = (settings.scratch.join("runs"), output.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || ours(&cx, &ours_inputs, &ours_output))),
        twin: Box::new(move || twin::<Lines>(&inputs, &runs, &sorted, RUN)),
        after: Some(Box::new(move || {
            let answer = check_sorted(&output)?;
            fs::remove_dir_all(&output)?;
            Ok(answer)
        })),
        goal: Some(0.7),
        cpu: true,
    }))
}

/// Where each side writes its part files, whose names are in the order of their keys. It does not exist before.
pub fn output_directory(settings: &Settings) -> PathBuf {
    settings.scratch.join("sorted")
}

/// The key of a line, for comparison.
pub fn key(line: &str) -> [u8; KEY] {
    std::array::from_fn(|place| line.as_bytes().get(place).copied().unwrap_or(0))
}

/// The answer is read from the files afterwards.
fn ours(cx: &Context, inputs: &[PathBuf], output: &Path) -> Outcome<Answer> {
    cx.text_file(inputs).map(|line| (key(&line), line)).sort_by_key().values().save_as_text_file(output)?;
    Ok(Answer { count: 0, checksum: 0 })
}
