//! How a context makes datasets from inputs: rows and partitions, and mistakes that are reported by the action.

mod support;

use proptest::prelude::*;
use std::sync::Arc;
use support::{all, rows_by, task};
use tryworks_base::{Error, Result};
use tryworks_core::lineage::Node;
use tryworks_core::pipe::{Cursor, STOP};
use tryworks_core::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner};
use tryworks_core::source::Source;
use tryworks_io::Sources;
use tryworks_io::rows::{Numbers, Parallelize};
use tryworks_io::text::text;

/// Reports what the lineage says, and runs nothing.
struct Teller;

impl Runner for Teller {
    fn submit(&self, _: JobRequest) -> Result<Arc<dyn JobControl>> {
        Err(Error::Stopped)
    }

    fn explain(&self, node: &Arc<Node>, _: PlanForm) -> Result<String> {
        let told = format!("{} [{}] {} at line {}", node.op.name, node.partitions, node.detail, node.op.site.line);
        node.fault.clone().map_or(Ok(told), Err)
    }

    fn release(&self, _: Releasable) {}
}

struct Desk;

impl Sources for Desk {
    fn runner(&self) -> Arc<dyn Runner> {
        Arc::new(Teller)
    }
}

proptest! {
    #[test]
    fn ranges_give_every_number_once(start in 0u64..1000, len in 0u64..300, partitions in 1u32..40, budget in 1usize..50) {
        let task = task();
        for source in [Numbers::divided(start..start + len, partitions), Numbers::new(start..start + len)] {
            let found: Vec<u64> =
                (0..source.partitions()).flat_map(|partition| rows_by(&source, partition, budget, &task).unwrap()).collect();
            prop_assert_eq!(found, (start..start + len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_come_out_as_they_went_in(rows in prop::collection::vec(any::<String>(), 0..200), partitions in 1u32..40, budget in 1usize..50) {
        let task = task();
        let source = Parallelize::divided(rows.clone(), partitions);
        let found: Vec<String> =
            (0..partitions).flat_map(|partition| rows_by(&source, partition, budget, &task).unwrap()).collect();
        prop_assert_eq!(&found, &rows);
        let mut bytes = Vec::new();
        tryworks_base::codec::encode(&source, &mut bytes).unwrap();
        let (sent, _) = tryworks_base::codec::decode::<Parallelize<String>>(&bytes).unwrap();
        prop_assert_eq!(all(&sent).unwrap(), all(&source).unwrap());
    }
}

#[test]
fn ranges_reach_the_largest_number() {
    let task = task();
    let source = Numbers::new(u64::MAX - 1000..u64::MAX);
    assert_eq!(all(&source).unwrap().concat(), (u64::MAX - 1000..u64::MAX).collect::<Vec<_>>());
    let source = Numbers::new(0..u64::MAX);
    let mut cursor = source.open(source.partitions() - 1, &task).unwrap();
    let mut first = None;
    cursor
        .advance(usize::MAX, &mut |number| {
            first = Some(number);
            STOP
        })
        .unwrap();
    assert_eq!(first, Some(u64::MAX / 65_536 * 65_535 + 65_534));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = Numbers::new(10..3);
    assert_eq!(all(&backwards).unwrap(), [Vec::<u64>::new()]);
}

#[test]
fn datasets_know_the_call_that_made_them() {
    let line = line!() + 1;
    assert_eq!(Desk.range(0..10).explain().unwrap(), format!("range [10] 0..10, 10 slices at line {line}"));
    assert_eq!(Desk.parallelize(["a", "b"].map(String::from)).partitions(), 2);
    assert_eq!(Desk.parallelize_in(0..100, 7).partitions(), 7);
    assert_eq!(Desk.parallelize(Vec::<u8>::new()).partitions(), 1);
    assert_eq!(Desk.range_in(0..0, 3).partitions(), 3);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "1\n2\n").unwrap();
    let told = Desk.text_file(dir.path().join("x")).explain().unwrap();
    assert!(told.starts_with("text_file [1] ") && told.contains("x, 1 split at line"), "{told}");
    assert_eq!(Desk.read(text([dir.path()]).lossy()).partitions(), 1);
}

#[test]
fn mistakes_wait_for_the_action_and_name_the_call() {
    let line = line!() + 1;
    let missing = Desk.text_file("no/such/file.txt");
    let none = Desk.range_in(0..10, 0);
    let no_rows = Desk.parallelize_in([1, 2], 0);
    for (told, what, line) in [
        (missing.explain(), "`text_file` cannot read no/such/file.txt: No such file", line),
        (none.explain(), "`range_in` was asked for no partition", line + 1),
        (no_rows.explain(), "`parallelize_in` was asked for no partition", line + 2),
    ] {
        let error = told.unwrap_err();
        assert!(error.to_string().starts_with(what), "{error}");
        assert!(matches!(&error, Error::Plan { site, .. } if site.line == line && site.file == file!()), "{error}");
    }
}
