//! Sources that users write, correct ones and faulty ones.

use crate::support::{cx, glom, sorted};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::pipe::{CONTINUE, Cursor, Flow, Step};
use tryworks::prelude::*;
use tryworks::source::Source;
use tryworks::task::TaskContext;

/// Counts up in steps, and misbehaves as the test says.
#[derive(Serialize, Deserialize)]
struct Steps {
    partitions: u32,
    by: u64,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Fault {
    None,
    RefusesToOpen,
    FailsInTheMiddle,
    PanicsOnOpening,
    PanicsInTheMiddle,
    ClaimsToHaveMore,
}

struct StepsCursor {
    next: u64,
    left: u32,
    by: u64,
    fault: Fault,
    partition: u32,
}

impl Source for Steps {
    type Item = u64;
    type Cursor = StepsCursor;

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn open(&self, partition: u32, _: &TaskContext) -> Result<StepsCursor> {
        assert!(partition < self.partitions, "there is no partition {partition}");
        match self.fault {
            Fault::RefusesToOpen if partition == 1 => Err(Error::input("steps", None, "the stairs are closed")),
            Fault::PanicsOnOpening if partition == 1 => panic!("the stairs are gone"),
            fault => Ok(StepsCursor { next: partition.into(), left: 100, by: self.by, fault, partition }),
        }
    }

    fn describe(&self) -> String {
        format!("by {}", self.by)
    }
}

impl Cursor for StepsCursor {
    type Item = u64;

    fn advance<S: FnMut(u64) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        for _ in 0..budget.min(7) {
            if self.left == 50 && self.partition == 1 {
                match self.fault {
                    Fault::FailsInTheMiddle => return Err(Error::input("steps", Some(50), "a step is broken")),
                    Fault::PanicsInTheMiddle => panic!("a step is missing"),
                    _ => {}
                }
            }
            if self.left == 0 {
                return Ok(if self.fault == Fault::ClaimsToHaveMore { Step::More } else { Step::Done });
            }
            self.left -= 1;
            let item = self.next;
            self.next += self.by;
            if sink(item).is_break() {
                return Ok(Step::More);
            }
        }
        Ok(Step::More)
    }
}

#[track_caller]
fn steps(cx: &Context, fault: Fault) -> Dataset<tryworks::source::Read<Steps>> {
    Dataset::from_source(cx.runner(), "steps", Steps { partitions: 3, by: 3, fault }, None)
}

#[test]
fn a_source_of_a_users_own_is_read_like_any_other() -> Result<()> {
    let cx = cx();
    let data = steps(&cx, Fault::None);
    let parts: Vec<Vec<u64>> = (0..3).map(|part| (0..100).map(|n| part + 3 * n).collect()).collect();
    assert_eq!(glom(&data), parts);
    assert_eq!(sorted(data.collect()?), (0..300).collect::<Vec<_>>());
    assert_eq!(data.take(101)?, [&parts[0][..], &[1]].concat());
    assert_eq!(data.zip(&data).count()?, 300);
    assert_eq!(data.boxed().map(|n| n % 10).boxed().distinct().count()?, 10);
    assert!(data.explain()?.contains("steps (by 3)"));
    Ok(())
}

#[test]
fn the_error_of_a_source_is_reported_unchanged() -> Result<()> {
    let cx = cx();
    let refused = steps(&cx, Fault::RefusesToOpen);
    let by_this_call = format!("\n  at {}:{}:", file!(), line!() - 1);
    let text = refused.count().unwrap_err().to_string();
    assert!(text.starts_with(&format!("steps: the stairs are closed{by_this_call}")), "{text}");
    assert_eq!(refused.take(3)?, [0, 3, 6], "what is not touched cannot fail");
    let broken = steps(&cx, Fault::FailsInTheMiddle);
    let by_this_call = format!("\n  at {}:{}:", file!(), line!() - 1);
    let errors = [
        broken.map(|n| n + 1).count().unwrap_err(),
        broken.boxed().map(|n| n).boxed().count().unwrap_err(),
        broken.map_partitions(|items| items).count().unwrap_err(),
    ];
    for text in errors.map(|error| error.to_string()) {
        assert!(text.starts_with(&format!("steps, byte 50: a step is broken{by_this_call}")), "{text}");
    }
    assert!(broken.key_by(|n| n % 7).reduce_by_key(|a, b| a + b).count().is_err());
    assert!(broken.cache().count().is_err());
    assert!(broken.sort_by(|n| *n).count().is_err());
    assert!(broken.zip(&broken).count().is_err());
    Ok(())
}

#[test]
fn input_that_is_wrong_is_not_read_again_in_vain() -> Result<()> {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::builder().threads(1).max_attempts(4).progress(false).build()?;
    let counted = steps(&cx, Fault::FailsInTheMiddle).map_partitions_with_index(|index, items| {
        OPENED.fetch_add(usize::from(index == 1), Relaxed);
        items
    });
    assert!(counted.count().is_err());
    assert_eq!(OPENED.load(Relaxed), 1);
    Ok(())
}

#[test]
fn a_source_that_panics_fails_its_job_alone() -> Result<()> {
    let cx = cx();
    for (fault, message) in
        [(Fault::PanicsOnOpening, "the stairs are gone"), (Fault::PanicsInTheMiddle, "a step is missing")]
    {
        let text = steps(&cx, fault).map(|n| n).count().unwrap_err().to_string();
        assert!(text.contains(message) && text.contains(file!()) && text.contains("partition 1"), "{text}");
    }
    assert_eq!(steps(&cx, Fault::None).count()?, 300);
    Ok(())
}

#[test]
fn a_source_that_never_ends_can_be_cancelled() -> Result<()> {
    let cx = cx();
    let endless = steps(&cx, Fault::ClaimsToHaveMore);
    let job = endless.background().count()?;
    crate::support::wait_until("tasks run", || job.progress().running > 0);
    job.cancel();
    assert_eq!(job.wait(), Err(Error::Cancelled));
    assert_eq!(endless.take(3)?, [0, 3, 6]);
    Ok(())
}

#[test]
fn a_partition_that_is_not_there_is_never_asked_for() -> Result<()> {
    let cx = cx();
    let data = steps(&cx, Fault::None);
    // Else the source panics.
    assert_eq!(data.take(usize::MAX)?.len(), 300);
    assert_eq!(data.coalesce(2).count()? + data.coalesce(50).count()?, 600);
    assert_eq!(data.union(&data).count()?, 600);
    let mut seen = 0;
    let cursor = &mut StepsCursor { next: 0, left: 10, by: 1, fault: Fault::None, partition: 0 };
    while cursor.advance(1000, &mut |_| {
        seen += 1;
        CONTINUE
    })? == Step::More
    {}
    assert_eq!(seen, 10);
    Ok(())
}
