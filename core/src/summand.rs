//! What can be added up: numbers whose sums are exact or fail, however they are divided.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::num::Wrapping;
use std::time::Duration;
use tryworks_base::{Error, Op};

/// What [`Dataset::sum`](crate::Dataset::sum) adds up: the standard library's numbers, `Wrapping` numbers and durations. For your own type,
/// implement this trait, or use [`reduce`](crate::Dataset::reduce).
///
/// Whether a sum fits depends neither on the order of the numbers nor on their partitions. For signed integers that
/// needs a wider type, in which a sum that was too large can become smaller again. Implementations must keep this law:
/// [`join`](Self::join) of any split of the numbers gives the same as [`add`](Self::add) one by one, except for the
/// rounding of floats.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added up",
    label = "`sum` is for numbers",
    note = "for other types use `reduce(|a, b| ..)`, or implement `Summand` for it"
)]
pub trait Summand: Send + 'static {
    /// The advice in the error if the sum is too large.
    const IF_TOO_LARGE: &'static str = "turn the values into a larger type first, with `map`";

    /// The type of intermediate sums.
    type Sum: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// The sum of no numbers.
    fn nothing() -> Self::Sum;
    /// Adds one more number; `None` if the sum is too large.
    fn add(sum: Self::Sum, more: Self) -> Option<Self::Sum>;
    /// Adds the sum of the numbers that come later; `None` if the sum is too large.
    fn join(sum: Self::Sum, later: Self::Sum) -> Option<Self::Sum>;
    /// The sum in the type of the numbers; `None` if it does not fit.
    fn end(sum: Self::Sum) -> Option<Self>
    where
        Self: Sized;
}

/// The advice for integers that have a wider type.
macro_rules! wider_than {
    ($type:ty, $wider:ty) => {
        concat!(
            "make the numbers wider first, by `.map(|n| n as ",
            stringify!($wider),
            ")`, or of `Wrapping<",
            stringify!($type),
            ">` if the sum is to wrap around"
        )
    };
}

/// The advice for the widest integers.
macro_rules! widest {
    ($type:ty) => {
        concat!(
            "there is no wider integer: add up floats, by `.map(|n| n as f64)`, or `Wrapping<",
            stringify!($type),
            ">` if the sum is to wrap around"
        )
    };
}

/// Types that are added up in their own type. These are floats, `Wrapping` numbers, and types without negative values,
/// whose sums stay too large once they are.
macro_rules! as_they_are {
    ($($type:ty, $nothing:expr, $add:expr $(, $help:expr)?;)*) => {$(
        impl Summand for $type {
            $(const IF_TOO_LARGE: &'static str = $help;)?
            type Sum = $type;

            #[inline(always)]
            fn nothing() -> Self {
                $nothing
            }

            #[inline(always)]
            fn add(sum: Self, more: Self) -> Option<Self> {
                let add: fn(Self, Self) -> Option<Self> = $add;
                add(sum, more)
            }

            fn join(sum: Self, later: Self) -> Option<Self> {
                Self::add(sum, later)
            }

            fn end(sum: Self) -> Option<Self> {
                Some(sum)
            }
        }
    )*};
}

as_they_are! {
    u8, 0, u8::checked_add, wider_than!(u8, u128);
    u16, 0, u16::checked_add, wider_than!(u16, u128);
    u32, 0, u32::checked_add, wider_than!(u32, u128);
    u64, 0, u64::checked_add, wider_than!(u64, u128);
    u128, 0, u128::checked_add, widest!(u128);
    usize, 0, usize::checked_add, wider_than!(usize, u128);
    Duration, Duration::ZERO, Duration::checked_add, "add up `.map(|time| time.as_nanos())`, which are `u128`";
    // As in the standard library, the sum of no floats is a negative zero.
    f32, -0.0, |a, b| Some(a + b);
    f64, -0.0, |a, b| Some(a + b);
    Wrapping<u8>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<u16>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<u32>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<u64>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<u128>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<usize>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<i8>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<i16>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<i32>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<i64>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<i128>, Wrapping(0), |a, b| Some(a + b);
    Wrapping<isize>, Wrapping(0), |a, b| Some(a + b);
}

/// Integers that may be negative, added up in a type that no possible number of them overflows.
macro_rules! wider {
    ($($type:ty)*) => {$(
        impl Summand for $type {
            const IF_TOO_LARGE: &'static str = wider_than!($type, i128);
            type Sum = i128;

            #[inline(always)]
            fn nothing() -> i128 {
                0
            }

            #[inline(always)]
            fn add(sum: i128, more: Self) -> Option<i128> {
                Some(sum.wrapping_add(more as i128))
            }

            fn join(sum: i128, later: i128) -> Option<i128> {
                Some(sum.wrapping_add(later))
            }

            fn end(sum: i128) -> Option<Self> {
                sum.try_into().ok()
            }
        }
    )*};
}

wider! { i8 i16 i32 i64 isize }

/// The sum comes with a carry: how often it went over the top, less how often it went below the bottom.
impl Summand for i128 {
    const IF_TOO_LARGE: &'static str = widest!(i128);
    type Sum = (i128, i64);

    fn nothing() -> (i128, i64) {
        (0, 0)
    }

    fn add(sum: (i128, i64), more: i128) -> Option<(i128, i64)> {
        Self::join(sum, (more, 0))
    }

    fn join(sum: (i128, i64), later: (i128, i64)) -> Option<(i128, i64)> {
        let (low, carried) = sum.0.overflowing_add(later.0);
        let carry = match (carried, later.0 < 0) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => -1,
        };
        Some((low, sum.1 + later.1 + carry))
    }

    fn end((low, carry): (i128, i64)) -> Option<i128> {
        (carry == 0).then_some(low)
    }
}

/// The error of a sum that does not fit. `of` says which sum it is.
#[cold]
pub(crate) fn too_large<N: Summand>(op: &Op, of: &str) -> Error {
    let (kind, help) = (std::any::type_name::<N>(), N::IF_TOO_LARGE);
    op.fault(format!("{}: the sum{of} does not fit into `{kind}`; {help}", op.name))
}

#[cfg(test)]
mod tests {
    use super::Summand;

    #[test]
    fn whether_a_sum_fits_does_not_depend_on_the_order() {
        let sum = |numbers: &[i128]| {
            let halves = numbers.split_at(numbers.len() / 2);
            let part = |part: &[i128]| part.iter().try_fold(i128::nothing(), |sum, n| i128::add(sum, *n)).unwrap();
            i128::end(i128::join(part(halves.0), part(halves.1)).unwrap())
        };
        let (most, least) = (i128::MAX, i128::MIN);
        for turn in 0..4 {
            let mut numbers = [most, most, least, least];
            numbers.rotate_left(turn);
            assert_eq!(sum(&numbers), Some(-2));
        }
        assert_eq!((sum(&[most, least, most, 1]), sum(&[most, least, most, 2])), (Some(most), None));
        assert_eq!(sum(&[1, most, -1]), Some(most));
        assert_eq!((sum(&[most, 1]), sum(&[least, -1]), sum(&[])), (None, None, Some(0)));
        assert_eq!(i8::end([100i8, 100, -120].into_iter().fold(0, |sum, n| i8::add(sum, n).unwrap())), Some(80));
    }
}
