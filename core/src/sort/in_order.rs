//! Sorting in memory by the user's order, which may contradict itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use tryworks_base::{Error, Op, Result};

/// Calls `sort`, which sorts by keys of type `K` with the standard library. The library sometimes panics if the order
/// is not total. That becomes an error here, which is not retried. Other panics come from the user's code and go on.
pub(crate) fn in_order<K>(op: &Op, sort: impl FnOnce()) -> Result<()> {
    // After a panic the rows are all there, in some order, and are dropped with the task.
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| op.call(sort))) else { return Ok(()) };
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref().map(String::as_str));
    if !text.is_some_and(|text| text.contains("does not correctly implement a total order")) {
        resume_unwind(panic);
    }
    // The panic must not be blamed on a later call.
    Op::take_blamed();
    Err(Error::not_total::<K>(op))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::hash_of;

    #[test]
    fn an_order_that_contradicts_itself_is_an_error_and_a_panic_goes_on() {
        let op = Op::here("sort_by");
        // Comparisons give arbitrary answers. The standard library detects some of these, and loses no item.
        let mut noticed = 0;
        for mood in 1..50u32 {
            let mut rows: Vec<u32> = (0..1000).collect();
            let moody = |a: &u32, b: &u32| (hash_of(&(mood, a, b)) % 3).cmp(&1);
            if let Err(error) = in_order::<u32>(&op, || rows.sort_by(moody)) {
                noticed += 1;
                assert!(matches!(&error, Error::Type { name, .. } if name == "u32"), "{error}");
                assert!(error.to_string().contains("`sort_by` found that its order is not total"), "{error}");
            }
            assert!(Op::take_blamed().is_none());
            rows.sort_unstable();
            assert_eq!(rows, (0..1000).collect::<Vec<_>>());
        }
        assert!(noticed > 0);

        let mut rows = [3, 1, 2];
        let panic = catch_unwind(AssertUnwindSafe(|| in_order::<u32>(&op, || rows.sort_by(|_, _| panic!("theirs")))));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"theirs"));
        assert_eq!(Op::take_blamed(), Some(op));
    }
}
