//! Cases: what a program does with a context, and the answer that must result. Each case runs on every deployment: on
//! 1, 2 and 7 threads, in much and in little memory, with its stages sent through bytes, on engines, and on engines
//! that are killed.
//!
//! A new operator or action adds a line to one of the lists here.

mod actions;
mod answers;
mod by_key;
mod joins;
mod keyed;
mod loops;
mod narrow;
mod ordered;
mod whole;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks::prelude::*;
use tryworks_base::codec;

/// A job on a context of type `S`, and a check of its answer.
pub struct Case<S> {
    /// What the case is about: the operator or action, where there is one.
    pub name: &'static str,
    /// Whether it moves more than half a mebibyte, so that it spills when it has only that much memory.
    pub spills: bool,
    run: Box<dyn Fn(&S) -> Result<Vec<u8>> + Send + Sync>,
    check: Box<dyn Fn(&[u8]) + Send + Sync>,
}

impl<S: 'static> Case<S> {
    /// A case of a few rows. `run` is the job; `check` compares its answer with that of a plain computation.
    fn new<T>(name: &'static str, run: fn(&S) -> Result<T>, check: fn(T)) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let run = move |cx: &S| {
            let mut bytes = Vec::new();
            codec::encode(&run(cx)?, &mut bytes)?;
            Ok(bytes)
        };
        let check = move |bytes: &[u8]| match codec::decode(bytes) {
            Ok((answer, _)) => check(answer),
            Err(error) => panic!("the answer of `{name}` cannot be read: {error}"),
        };
        Case { name, spills: false, run: Box::new(run), check: Box::new(check) }
    }

    /// A case of many rows, which spills in little memory.
    fn large<T>(name: &'static str, run: fn(&S) -> Result<T>, check: fn(T)) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        Case { spills: true, ..Case::new(name, run, check) }
    }

    /// Runs the job and returns the answer as bytes: two deployments agree if these are equal.
    ///
    /// # Errors
    /// The errors of the job.
    pub fn run(&self, cx: &S) -> Result<Vec<u8>> {
        (self.run)(cx)
    }

    /// Compares an answer with that of a plain computation.
    ///
    /// # Panics
    /// If the answer is a different one.
    pub fn check(&self, answer: &[u8]) {
        (self.check)(answer);
    }
}

/// All cases.
///
/// ```
/// # use tryworks::prelude::*;
/// # let cx = Context::local(2)?;
/// for case in tryworks_testing::cases::all().iter().filter(|case| case.name == "map") {
///     case.check(&case.run(&cx)?);
/// }
/// # Ok::<(), Error>(())
/// ```
pub fn all<S: Sources + 'static>() -> Vec<Case<S>> {
    let mut all = narrow::cases();
    all.extend(whole::cases());
    all.extend(keyed::cases());
    all.extend(joins::cases());
    all.extend(by_key::cases());
    all.extend(ordered::cases());
    all.extend(actions::cases());
    all.extend(answers::cases());
    all.extend(loops::cases());
    all
}

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// Sets a hook that tasks of large cases call now and then, with `"map"` or `"reduce"`: a test may end the process
/// there. Call this before the context is made, so that it holds in workers too, and once in a process.
pub fn on_event(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

fn event(stage: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(stage);
    }
}

/// The rows of a large case.
const ROWS: u64 = 60_000;
/// The partitions of a large case.
const PARTS: u32 = 12;

/// The rows of a small case: 0 to 999 in three partitions.
fn few<S: Sources>(cx: &S) -> Dataset<impl Pipe<Item = u64> + use<S>> {
    cx.range_in(0..1_000, 3)
}

/// The first `rows` rows of a large case.
fn many<S: Sources>(cx: &S, rows: u64) -> Dataset<impl Pipe<Item = u64> + use<S>> {
    cx.range_in(0..rows, PARTS).map(|n| {
        if n % 2_000 == 1_999 {
            event("map");
        }
        n
    })
}

/// Calls the hook for an item of a reduce stage.
fn late<T>(item: T) -> T {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if COUNT.fetch_add(1, Relaxed) % 200 == 100 {
        event("reduce");
    }
    item
}

/// The rows of a small case for which `keeps` is true.
fn those(keeps: fn(&u64) -> bool) -> Vec<u64> {
    (0..1_000).filter(keeps).collect()
}

/// The bits of floats, which distinguish values that `==` does not.
fn bits<K>(rows: Vec<(K, f64)>) -> Vec<(K, u64)> {
    rows.into_iter().map(|(key, value)| (key, value.to_bits())).collect()
}

fn sorted<T: Ord>(rows: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut rows: Vec<T> = rows.into_iter().collect();
    rows.sort();
    rows
}

/// The values of each key, in the order in which they come.
fn grouped<K: Ord, V>(rows: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups = BTreeMap::<K, Vec<V>>::new();
    for (key, value) in rows {
        groups.entry(key).or_default().push(value);
    }
    groups
}

/// `range(0..rows)` dealt out over `to` partitions, one item to each in turn, whatever its partitions were before.
fn dealt(rows: u64, to: u64) -> Vec<Vec<u64>> {
    (0..to).map(|part| (part..rows).step_by(to as usize).collect()).collect()
}
