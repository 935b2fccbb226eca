//! Benchmark: sorts files of binary records by key into files, against a hand-written external sort in two passes.

use std::{fs, path::PathBuf};

use tryworks::prelude::*;

use crate::{
    data::records::{KEY, RECORD, check_sorted, make_files},
    external_sort::{RUN, Records, twin},
    harness::{Answer, Bench, Outcome, Pair, Settings},
    sort_files::{RECORDS, output_directory},
};

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let inputs = make_files(&settings.scratch.join("records"), settings.scaled(RECORDS))?;
    let output = output_directory(settings);
    let cx = settings.context()?;
    let (ours_inputs, ours_output): (Vec<PathBuf>, PathBuf) = (inputs.clone(), output.clone());
    let (runs, sorted) = (settings.scratch.join("runs"), output.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || {
            let input = cx.records::<RECORD>(&ours_inputs[..]);
            input.sort_by(|record| record.prefix::<KEY>()).save(records(&ours_output))?;
            // The answer is read from the files afterwards.
            Ok(Answer { count: 0, checksum: 0 })
        })),
        twin: Box::new(move || twin::<Records>(&inputs, &runs, &sorted, RUN)),
        after: Some(Box::new(move || {
            let answer = check_sorted(&output)?;
            fs::remove_dir_all(&output)?;
            Ok(answer)
        })),
        goal: Some(0.7),
        cpu: true,
    }))
}
