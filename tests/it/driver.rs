//! Failures in the driver, where the results of the partitions are joined.

use crate::support::{cx, fault};
use serde::{Deserialize, Serialize};
use tryworks::prelude::*;
use tryworks::{Summand, UserFault};

/// The driver's work on the results of the partitions is in no task.
#[test]
fn a_panic_where_results_are_joined_says_that_it_was_in_the_driver() -> Result<()> {
    #[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
    struct Touchy(u64);
    impl Ord for Touchy {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            assert!(self.0 / 10 == other.0 / 10, "two partitions meet");
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Touchy {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    fn meet(a: u64, b: u64) -> u64 {
        assert!(a / 10 == b / 10, "two partitions meet");
        a.max(b)
    }
    let cx = cx();
    let numbers = cx.range_in(0..20, 2);
    let touchy = numbers.map(Touchy);
    let errors = [
        ("reduce", numbers.reduce(meet).err()),
        ("fold", numbers.map(|n| n + 10).fold(0, |a, b| if a == 0 { b } else { meet(a, b) }).err()),
        ("max", touchy.max().err()),
        ("min", touchy.min().err()),
        ("take_ordered_by", touchy.take_ordered_by(3, |item| *item).err()),
    ];
    for (operator, error) in errors {
        let error = error.unwrap_or_else(|| panic!("{operator} meets two partitions"));
        // Without the stack, which contains names of Tryworks's own functions.
        let fault = UserFault { backtrace: None, ..fault(error) };
        let text = Error::User(Box::new(fault.clone())).to_string();
        assert!(fault.panicked && fault.message.starts_with("two partitions meet"), "{operator}: {text}");
        assert!(text.contains("\n  in the driver, which joins the results of the partitions"), "{operator}: {text}");
        assert!(!text.contains("attempt") && !text.contains("job "), "{operator}: {text}");
        assert_eq!(fault.site.file, file!(), "{operator}: {text}");
    }
    // In a task, the place is that of the task.
    let text = numbers.reduce(|a, b| if a + b > 15 { panic!("in a task") } else { a + b }).unwrap_err().to_string();
    assert!(text.contains("partition") && text.contains("attempt 1") && !text.contains("in the driver"), "{text}");
    Ok(())
}

/// A panic that another thread passes on has no place, and is still the program's.
#[test]
fn a_panic_without_a_place_is_not_taken_for_a_bug() {
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Key(u64);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
            std::panic::resume_unwind(Box::new("from elsewhere"));
        }
    }
    let fault = fault(cx().range(0..3).map(|n| (Key(n), n)).reduce_by_key(|a, b| a + b).count().unwrap_err());
    assert!(fault.message.starts_with("from elsewhere"), "{}", fault.message);
}

#[test]
fn a_sum_that_is_too_large_says_what_to_do_for_its_type() -> Result<()> {
    use std::num::Wrapping;
    use std::time::Duration;
    #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
    struct Ours(u8);
    impl Summand for Ours {
        type Sum = u8;
        fn nothing() -> u8 {
            0
        }
        fn add(sum: u8, more: Self) -> Option<u8> {
            sum.checked_add(more.0)
        }
        fn join(sum: u8, later: u8) -> Option<u8> {
            sum.checked_add(later)
        }
        fn end(sum: u8) -> Option<Self> {
            Some(Ours(sum))
        }
    }
    let cx = cx();
    // Checks the advice in each error, and that following it works.
    macro_rules! told {
        ($($type:ident: $said:literal, $wider:ident;)*) => {$({
            let most = cx.parallelize_in(vec![$type::MAX, $type::MAX], 2);
            let error = most.sum().unwrap_err().to_string();
            assert!(error.starts_with(concat!("sum: the sum does not fit into `", stringify!($type), "`; ")), "{error}");
            assert!(error.contains($said) && error.contains(file!()), "{error}");
            assert_eq!(most.map(|n| n as $wider).sum()?, $type::MAX as $wider * (2 as $wider));
            assert!(error.contains(concat!("`Wrapping<", stringify!($type), ">`")), "{error}");
            most.map(Wrapping).sum()?;
        })*};
    }
    told! {
        u8: "`.map(|n| n as u128)`", u128;
        u32: "`.map(|n| n as u128)`", u128;
        u64: "`.map(|n| n as u128)`", u128;
        usize: "`.map(|n| n as u128)`", u128;
        i8: "`.map(|n| n as i128)`", i128;
        i64: "`.map(|n| n as i128)`", i128;
        isize: "`.map(|n| n as i128)`", i128;
        u128: "`.map(|n| n as f64)`", f64;
        i128: "`.map(|n| n as f64)`", f64;
    }
    let times = cx.parallelize(vec![Duration::MAX, Duration::MAX]);
    let error = times.sum().unwrap_err().to_string();
    assert!(error.contains("`.map(|time| time.as_nanos())`") && !error.contains("Wrapping"), "{error}");
    assert_eq!(times.map(|time| time.as_nanos()).sum()?, Duration::MAX.as_nanos() * 2);
    let error = cx.parallelize(vec![Ours(200), Ours(100)]).sum().unwrap_err().to_string();
    assert!(error.contains("turn the values into a larger type first") && !error.contains("128"), "{error}");
    Ok(())
}
