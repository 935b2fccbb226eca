//! Count, mean, variance and extremes of numbers, in one pass and mergeable.

use serde::{Deserialize, Serialize};

/// A number that statistics can be made of: the standard library's integers and floats. Integers of more than 53 bits
/// are rounded to the nearest `f64`.
pub trait Number: Copy + Send + 'static {
    /// The number as a float.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

/// Count, sum, mean, variance, least and greatest of numbers.
///
/// Numbers are added by B. P. Welford's method ("Note on a method for calculating corrected sums of squares and
/// products", Technometrics 4, 1962). Parts are merged as by T. F. Chan, G. H. Golub and R. J. LeVeque ("Updating
/// formulae and a pairwise algorithm for computing sample variances", 1979). Neither subtracts large numbers of nearly
/// the same size, so the variance of numbers that are far from zero is right, too.
///
/// A NaN makes everything but the count NaN. An infinite number makes the mean infinite, or NaN beside the other
/// infinity, and the variance NaN.
///
/// ```
/// let mut stats = tryworks::Stats::default();
/// [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].map(|number| stats.add(number));
/// assert_eq!((stats.count(), stats.mean(), stats.stdev()), (8, Some(5.0), Some(2.0)));
/// assert_eq!((stats.sum(), stats.min(), stats.max()), (40.0, Some(2.0), Some(9.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    count: u64,
    sum: f64,
    /// The mean by Welford's method.
    mean: f64,
    /// The sum of the squares of the differences from the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { count: 0, sum: 0.0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Stats {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, number: f64) {
        self.count += 1;
        self.sum += number;
        let before = number - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (number - self.mean);
        self.reach(number, number);
    }

    /// Adds the numbers that were added to `other`.
    pub fn merge(&mut self, other: &Stats) {
        if other.count == 0 {
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        self.count += other.count;
        self.sum += other.sum;
        let apart = other.mean - self.mean;
        let share = others / self.count as f64;
        self.mean += apart * share;
        self.squares += other.squares + apart * apart * own * share;
        self.reach(other.min, other.max);
    }

    #[inline]
    fn reach(&mut self, least: f64, greatest: f64) {
        if least < self.min || least.is_nan() {
            self.min = least;
        }
        if greatest > self.max || greatest.is_nan() {
            self.max = greatest;
        }
    }

    fn unless_empty(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, rounded as floats are; 0 of no numbers.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Their mean; `None` of no numbers.
    pub fn mean(&self) -> Option<f64> {
        // Welford's differences from an infinite mean are no numbers.
        self.unless_empty(if self.mean.is_finite() { self.mean } else { self.sum / self.count as f64 })
    }

    /// The least number; `None` if there is none.
    pub fn min(&self) -> Option<f64> {
        self.unless_empty(self.min)
    }

    /// The greatest number; `None` if there is none.
    pub fn max(&self) -> Option<f64> {
        self.unless_empty(self.max)
    }

    /// The mean of the squares of the differences from the mean; `None` of no numbers.
    pub fn variance(&self) -> Option<f64> {
        self.unless_empty(self.squares / self.count as f64)
    }

    /// The estimated variance of what the numbers are a sample of, with Bessel's correction; `None` of fewer than two
    /// numbers.
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The square root of the [`variance`](Stats::variance).
    pub fn stdev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The square root of the [`sample_variance`](Stats::sample_variance).
    pub fn sample_stdev(&self) -> Option<f64> {
        self.sample_variance().map(f64::sqrt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[f64]) -> Stats {
        let mut stats = Stats::default();
        numbers.iter().for_each(|number| stats.add(*number));
        stats
    }

    #[test]
    fn parts_merge_into_the_whole_however_they_are_cut() {
        // The numbers are far from zero: a sum of squares would have no correct digit of their variance.
        let numbers: Vec<f64> = (0..100).map(|n| 1e9 + f64::from(n % 10)).collect();
        for cut in 0..=numbers.len() {
            let mut merged = of(&numbers[..cut]);
            merged.merge(&of(&numbers[cut..]));
            assert_eq!(merged.count(), 100);
            assert!((merged.mean().unwrap() - (1e9 + 4.5)).abs() < 1e-6, "{merged:?}");
            assert!((merged.variance().unwrap() - 8.25).abs() < 1e-6, "{merged:?}");
            assert!((merged.sample_variance().unwrap() - 825.0 / 99.0).abs() < 1e-6);
            assert_eq!((merged.min(), merged.max()), (Some(1e9), Some(1e9 + 9.0)));
        }
    }

    #[test]
    fn nothing_has_no_statistics_and_one_number_no_sample_variance() {
        let none = of(&[]);
        assert_eq!((none.count(), none.sum(), none.mean(), none.min(), none.max()), (0, 0.0, None, None, None));
        assert_eq!((none.variance(), none.stdev(), none.sample_variance()), (None, None, None));
        let one = of(&[3.0]);
        assert_eq!((one.mean(), one.variance(), one.sample_stdev()), (Some(3.0), Some(0.0), None));
        let mut both = none;
        both.merge(&one);
        assert_eq!(both, one);
        both.merge(&none);
        assert_eq!(both, one);
    }

    #[test]
    fn infinities_and_no_numbers_show() {
        let infinite = of(&[1.0, f64::INFINITY, 2.0]);
        assert_eq!(
            (infinite.mean(), infinite.min(), infinite.max()),
            (Some(f64::INFINITY), Some(1.0), infinite.mean())
        );
        assert!(infinite.variance().unwrap().is_nan());
        assert!(of(&[f64::INFINITY, f64::NEG_INFINITY]).mean().unwrap().is_nan());
        for at in 0..3 {
            let mut numbers = [1.0, 2.0, 3.0];
            numbers[at] = f64::NAN;
            let stats = of(&numbers);
            let all = [stats.mean(), stats.min(), stats.max(), stats.variance(), Some(stats.sum())];
            assert!(all.iter().all(|value| value.unwrap().is_nan()), "{stats:?}");
        }
    }
}
