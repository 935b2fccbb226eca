//! Benchmark: operators on 4 GiB of data under a limit of 256 MiB, against answers computed without them.

use crate::{
    data::out_of_core::{self, ROWS},
    harness::{Bench, Bounded, Outcome, Settings},
};

/// The memory that the engine may use, in bytes.
const LIMIT: u64 = 256 << 20;

/// Rows all different but for every second one, `distinct`.
pub fn distinct(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: None,
        expected: Box::new(move || out_of_core::distinct::expected(rows)),
        limit: LIMIT,
    }))
}

/// Groups of 64 rows, `group_by_key`.
pub fn group_by_key(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: None,
        expected: Box::new(move || out_of_core::group_by_key::expected(rows)),
        limit: LIMIT,
    }))
}

/// Two sides of 2 GiB, `join`.
pub fn join(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: None,
        expected: Box::new(move || out_of_core::join::expected(rows)),
        limit: LIMIT,
    }))
}

/// Rows in no order, `sort_by`.
pub fn sort_by(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: None,
        expected: Box::new(move || out_of_core::sort_by::expected(rows)),
        limit: LIMIT,
    }))
}
