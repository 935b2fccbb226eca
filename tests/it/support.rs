//! Helpers of several test files: contexts, pairs, and the parts of errors.

use tryworks::prelude::*;
use tryworks::{Site, UserFault};
pub use tryworks_testing::{Gate, Random, wait_until};

/// A context with two threads.
pub fn cx() -> Context {
    Context::local(2).expect("a local context needs nothing")
}

/// Pairs whose keys repeat.
pub fn pairs(seed: u64, rows: usize, keys: u64) -> Vec<(i64, u64)> {
    let mut random = Random(seed);
    (0..rows).map(|_| (random.below(keys) as i64 - keys as i64 / 2, random.below(1000))).collect()
}

pub fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// The items of each partition.
pub fn glom<T, P>(data: &Dataset<P>) -> Vec<Vec<T>>
where
    T: Row,
    P: Pipe<Item = T>,
{
    data.map_partitions(|items| [items.collect::<Vec<T>>()]).collect().expect("nothing can fail here")
}

/// The fault of an error that user code caused.
#[track_caller]
pub fn fault(error: Error) -> UserFault {
    match error {
        Error::User(fault) => *fault,
        other => panic!("not an error of user code: {other}"),
    }
}

/// The message and the place of an error of the plan.
#[track_caller]
pub fn plan_error<T>(result: Result<T>) -> (String, Site) {
    match result {
        Err(Error::Plan { message, site }) => (message, site),
        Err(other) => panic!("not an error of the plan: {other}"),
        Ok(_) => panic!("a mistake in the plan went unnoticed"),
    }
}

#[track_caller]
pub fn assert_empty<T: std::fmt::Debug>(items: Vec<T>) {
    assert!(items.is_empty(), "{items:?}");
}
