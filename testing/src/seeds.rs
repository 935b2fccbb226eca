//! Runs of a small random world, one for each seed, and a check that the events under test happened often.

use std::collections::BTreeMap;
use std::panic::{UnwindSafe, catch_unwind, resume_unwind};

/// Runs a random world with each seed below `seeds`, and names the seed that failed. A run returns a count for each kind
/// of event. Each kind in `often` has to have happened more than a hundred times in all, or the test proves nothing.
///
/// ```
/// let flips = |seed| {
///     let heads = tryworks_testing::Random(seed).below(2) == 0;
///     [(if heads { "heads" } else { "tails" }, 1)].into()
/// };
/// tryworks_testing::run_seeds(300, flips, &["heads", "tails"]);
/// ```
pub fn run_seeds(
    seeds: u64,
    run: impl Fn(u64) -> BTreeMap<&'static str, u64> + Copy + UnwindSafe,
    often: &[&'static str],
) {
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in 0..seeds {
        match catch_unwind(move || run(seed)) {
            Ok(more) => more.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times),
            Err(panic) => {
                eprintln!("seed {seed}");
                resume_unwind(panic)
            }
        }
    }
    for what in often {
        assert!(seen.get(what).is_some_and(|times| *times > 100), "{what}: {seen:?}");
    }
}
