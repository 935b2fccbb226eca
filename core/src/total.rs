//! Floats as keys, in the total order of IEEE 754, which includes NaN.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A float that can be a key for sorting and grouping. The order is that of [`f64::total_cmp`]: negative NaNs, negative
/// infinity, negative numbers, negative zero, zero, positive numbers, infinity, NaNs. Two floats are equal if they have
/// the same bits.
///
/// ```
/// # use tryworks::prelude::*;
/// # let cx = Context::local(2)?;
/// let floats = cx.parallelize(vec![2.5, f64::NAN, -1.0, f64::INFINITY]);
/// assert_eq!(floats.filter(|x| !x.is_nan()).sort_by(|x| total(*x)).collect()?, [-1.0, 2.5, f64::INFINITY]);
/// assert_eq!(floats.map(total).min()?, Some(total(-1.0)));
/// assert!(floats.map(total).max()?.is_some_and(|most| most.0.is_nan()));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Total<F>(pub F);

/// The float as a [`Total`]: `sort_by(|x| total(*x))`.
pub fn total<F: Float>(float: F) -> Total<F> {
    Total(float)
}

/// `f32` and `f64`.
pub trait Float: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn total_order(self, other: Self) -> Ordering;
    #[doc(hidden)]
    fn bits(self) -> u64;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Float for f32 {
    fn total_order(self, other: Self) -> Ordering {
        self.total_cmp(&other)
    }

    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}

impl Float for f64 {
    fn total_order(self, other: Self) -> Ordering {
        self.total_cmp(&other)
    }

    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl<F: Float> PartialEq for Total<F> {
    fn eq(&self, other: &Self) -> bool {
        self.0.bits() == other.0.bits()
    }
}

impl<F: Float> Eq for Total<F> {}

impl<F: Float> PartialOrd for Total<F> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<F: Float> Ord for Total<F> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_order(other.0)
    }
}

impl<F: Float> Hash for Total<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.bits().hash(state);
    }
}

impl<F: fmt::Debug> fmt::Debug for Total<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: fmt::Display> fmt::Display for Total<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_has_one_place() {
        let nan = f64::NAN.copysign(1.0);
        let floats = [-nan, f64::NEG_INFINITY, -1.5, -0.0, 0.0, f64::MIN_POSITIVE, 1.5, f64::INFINITY, nan];
        let order = floats.map(total);
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
        for (at, a) in order.iter().enumerate() {
            for (other, b) in order.iter().enumerate() {
                assert_eq!(a.cmp(b), at.cmp(&other));
                assert_eq!(a == b, at == other);
                assert_eq!(crate::exchange::hash_of(a) == crate::exchange::hash_of(b), at == other);
            }
        }
        let mut bytes = Vec::new();
        tryworks_base::codec::encode(&order[1], &mut bytes).unwrap();
        assert_eq!(tryworks_base::codec::decode::<f64>(&bytes).unwrap().0, f64::NEG_INFINITY);
        assert_eq!((format!("{:.1}", total(1.25f32)), format!("{:?}", total(2.0))), ("1.2".into(), "2.0".into()));
    }
}
