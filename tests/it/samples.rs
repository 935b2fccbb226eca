//! Samples: the same in every run, with the size and the distribution of their kind.

use crate::support::{assert_empty, cx, glom, plan_error};
use std::collections::BTreeSet;
use tryworks::prelude::*;

#[test]
fn a_sample_is_the_same_in_every_run_and_another_for_another_seed() -> Result<()> {
    let cx = cx();
    let numbers = cx.range_in(0..20_000, 8);
    let kept = numbers.sample(0.25, 1).collect()?;
    // For a binomial distribution, 8 standard deviations to each side.
    assert!(kept.len().abs_diff(5000) < 8 * 62, "{}", kept.len());
    assert!(kept.is_sorted_by(|a, b| a < b));
    let again = Context::local(4)?.range_in(0..20_000, 8).sample(0.25, 1).collect()?;
    assert_eq!(kept, again);
    assert_ne!(kept, numbers.sample(0.25, 2).collect()?);
    // Each partition draws from its own stream.
    let places = glom(&numbers.map(|n| n % 2500).sample(0.25, 1));
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 8);
    Ok(())
}

#[test]
fn a_sample_of_all_and_of_nothing_is_exact() -> Result<()> {
    let numbers = cx().range(0..1000);
    assert_eq!(numbers.sample(1.0, 5).collect()?, (0..1000).collect::<Vec<_>>());
    assert_empty(numbers.sample(0.0, 5).collect()?);
    assert_empty(numbers.sample_with_replacement(0.0, 5).collect()?);
    Ok(())
}

#[test]
fn a_sample_with_replacement_has_the_mean_and_the_spread_of_poisson() -> Result<()> {
    let cx = cx();
    for mean in [0.5, 3.0, 40.0] {
        let drawn = cx.range_in(0..5_000, 4).sample_with_replacement(mean, 11).map(|n| (n, 1u64));
        let times = drawn.reduce_by_key(|a, b| a + b).values().collect()?;
        let sum: f64 = times.iter().map(|n| *n as f64).sum();
        let squares: f64 = times.iter().map(|n| (*n as f64).powi(2)).sum();
        let (found, spread) = (sum / 5e3, squares / 5e3 - (sum / 5e3).powi(2));
        assert!((found - mean).abs() < 8.0 * (mean / 5e3).sqrt(), "mean {found} for {mean}");
        assert!((spread / mean - 1.0).abs() < 0.2, "variance {spread} for {mean}");
    }
    Ok(())
}

#[test]
fn an_invalid_fraction_is_an_error_that_names_the_call() {
    let cx = cx();
    for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let (message, site) = plan_error(cx.range(0..10).sample(fraction, 1).count());
        assert!(message.contains("fraction"), "{message}");
        assert_eq!((site.file, site.line), (file!(), line!() - 2));
        let (message, site) = plan_error(cx.range(0..10).sample_with_replacement(-fraction.abs(), 1).count());
        assert!(message.contains("mean"), "{message}");
        assert_eq!((site.file, site.line), (file!(), line!() - 2));
    }
}
