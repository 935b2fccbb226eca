//! Benchmark: operators on 4 GiB of data under a limit of 256 MiB, against answers computed without them.

use tryworks::prelude::*;

use crate::{
    data::out_of_core::{self, ROWS, sort_by::Sorted},
    harness::{Answer, Bench, Bounded, Outcome, Settings},
};

/// The memory that Tryworks may use, in bytes.
const LIMIT: u64 = 256 << 20;

/// A context with the limit that the process was given.
fn context() -> Outcome<Context> {
    Ok(Context::init()?)
}

/// Count and checksum of the parts of an answer.
fn total<P: Pipe<Item = (u64, u64)>>(cx: &Context, parts: &Dataset<P>) -> Outcome<Answer> {
    let (count, checksum) = parts.fold((0, 0), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))?;
    say_spilled(cx);
    Ok(Answer { count, checksum })
}

/// Prints how much was spilled, beside the table.
fn say_spilled(cx: &Context) {
    eprintln!("spilled {} MiB", cx.memory().spilled() >> 20);
}

/// Rows of which every second one repeats an earlier one, `distinct`.
pub fn distinct(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: Some(Box::new(move || {
            let cx = context()?;
            let data = cx.range(0..rows).with(out_of_core::distinct::different(rows));
            let data = data.map(|different, index| out_of_core::distinct::row(index, *different)).distinct();
            total(&cx, &data.map(|row| (1, out_of_core::row_digest(&row))))
        })),
        expected: Box::new(move || out_of_core::distinct::expected(rows)),
        limit: LIMIT,
    }))
}

/// Groups of 64 rows, `group_by_key`.
pub fn group_by_key(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: Some(Box::new(move || {
            let cx = context()?;
            let data = cx.range(0..rows).with(out_of_core::group_by_key::groups(rows));
            let groups = data.map(|groups, index| out_of_core::group_by_key::row(index, *groups)).group_by_key();
            total(&cx, &groups.map(|(key, values)| (1, out_of_core::group_by_key::group_digest(key, &values))))
        })),
        expected: Box::new(move || out_of_core::group_by_key::expected(rows)),
        limit: LIMIT,
    }))
}

/// Two sides of 2 GiB, `join`.
pub fn join(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: Some(Box::new(move || {
            let side = out_of_core::join::side(rows);
            let keys = out_of_core::join::keys(side);
            let cx = context()?;
            let left = cx.range(0..side).with(keys).map(|keys, index| out_of_core::join::left(index, *keys));
            let right = cx.range(0..side).with(keys).map(|keys, index| out_of_core::join::right(index, *keys));
            total(
                &cx,
                &left.join(&right).map(|(key, (left, right))| (1, out_of_core::join::match_digest(key, &left, &right))),
            )
        })),
        expected: Box::new(move || out_of_core::join::expected(rows)),
        limit: LIMIT,
    }))
}

/// Rows in no order, `sort_by`.
pub fn sort_by(settings: &Settings) -> Outcome<Bench> {
    let rows = settings.scaled(ROWS);
    Ok(Bench::Bounded(Bounded {
        ours: Some(Box::new(move || {
            let cx = context()?;
            let data = cx.range(0..rows).with(out_of_core::sort_by::order(rows));
            let sorted = data.map(|order, index| out_of_core::sort_by::row(index, order)).sort_by(|row| row.0);
            let parts = sorted.aggregate(Sorted::default(), |sorted, row| sorted.add(&row), |a, b| a.then(b))?;
            say_spilled(&cx);
            Ok(parts.answer())
        })),
        expected: Box::new(move || out_of_core::sort_by::expected(rows)),
        limit: LIMIT,
    }))
}
