//! What several test files need: contexts, seeded numbers, and a gate that holds tasks back.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tryworks::prelude::*;
use tryworks::{Site, UserFault};

/// A context of two threads.
pub fn cx() -> Context {
    Context::local(2).expect("a local context needs nothing")
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
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

/// The items of each partition by themselves.
pub fn glom<T, P>(data: &Dataset<P>) -> Vec<Vec<T>>
where
    T: Row,
    P: Pipe<Item = T>,
{
    data.map_partitions(|items| [items.collect::<Vec<T>>()]).collect().expect("nothing can fail here")
}

/// The fault of an error that user code is to blame for.
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

/// Waits until something is so; a test that waits in vain fails.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Holds those who pass through it until it is opened.
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub const fn new() -> Self {
        Gate { open: Mutex::new(false), opened: Condvar::new() }
    }

    pub fn pass(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.opened.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

#[track_caller]
pub fn assert_empty<T: std::fmt::Debug>(items: Vec<T>) {
    assert!(items.is_empty(), "{items:?}");
}
