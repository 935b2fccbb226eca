//! Records through shuffles: they are rows like any other, in much memory and in little.

use crate::support::{Random, cx, sorted};
use std::collections::BTreeMap;
use tryworks::prelude::*;

/// Records whose keys, the first three bytes, repeat.
fn made(count: usize) -> Vec<Record<40>> {
    let mut random = Random(7);
    let record = |n: usize| {
        let mut bytes = [0; 40];
        bytes[..2].copy_from_slice(&(random.below(500) as u16).to_be_bytes());
        bytes[2] = random.below(3) as u8;
        bytes[3..11].copy_from_slice(&(n as u64).to_be_bytes());
        Record(bytes)
    };
    (0..count).map(record).collect()
}

#[test]
fn records_are_sorted_from_files_to_files_in_much_memory_and_in_little() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let input = scratch.path().join("in");
    let records_in = made(60_000);
    std::fs::write(&input, records_in.iter().flat_map(|record| record.0).collect::<Vec<u8>>())?;
    // Equal keys stay in their order, as in a stable sort.
    let mut expected = records_in;
    expected.sort_by_key(|record| record.prefix::<3>());
    for (threads, memory) in [(1, 1 << 30), (3, 1 << 30), (2, 256 << 10)] {
        let cx = Context::builder().threads(threads).memory(memory).progress(false).build()?;
        let dir = scratch.path().join(format!("{threads}"));
        cx.records::<40>(&input).sort_by(|record| record.prefix::<3>()).save(records(&dir))?;
        assert_eq!(cx.memory().spilled() > 0, memory < 1 << 20, "spilling");
        assert!(cx.records::<40>(&dir).collect()? == expected, "{threads} threads, {memory} bytes");
    }
    Ok(())
}

#[test]
fn records_are_keys_and_values() -> Result<()> {
    let cx = cx();
    let rows = made(5_000);
    let mut expected = BTreeMap::new();
    rows.iter().for_each(|record| *expected.entry(record.prefix::<2>()).or_insert(0u64) += u64::from(record[2]));
    let counts = cx.parallelize(rows.clone()).map(|record| (record.prefix::<2>(), u64::from(record[2])));
    assert_eq!(sorted(counts.reduce_by_key(|a, b| a + b).collect()?), expected.into_iter().collect::<Vec<_>>());
    let joined = cx.parallelize(rows.clone()).map(|record| (record, ())).join(&cx.parallelize(rows).map(|r| (r, ())));
    assert_eq!(joined.count()?, 5_000);
    Ok(())
}

#[test]
fn invalid_files_and_places_of_records_fail_the_action() -> Result<()> {
    let cx = cx();
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("in");
    std::fs::write(&path, [0; 105])?;
    let told = cx.records::<100>(&path).count().unwrap_err().to_string();
    assert!(
        told.contains("`records` cannot read") && told.contains("1 records of 100 bytes and 5 bytes more"),
        "{told}"
    );
    assert!(told.contains(file!()), "{told}");
    let rows = cx.records::<35>(&path);
    assert!(rows.explain()?.contains("1 split, of 35 bytes"), "{}", rows.explain()?);
    let out = scratch.path().join("out");
    for (sink, said) in [
        (records(&out).from_driver(), "`from_driver` says how records are read"),
        (records(&out).split_bytes(70), "`split_bytes` says how records are read"),
        (records([&out, &path]), "records are saved to one directory, and these are 2 paths"),
    ] {
        let told = rows.save(sink).unwrap_err().to_string();
        assert!(told.starts_with(said) && told.contains(file!()), "{told}");
    }
    let told = cx.range(0..3).save(text(&out).lossy()).unwrap_err().to_string();
    assert!(told.starts_with("`lossy` says how lines are read") && told.contains(file!()), "{told}");
    assert_eq!(std::fs::read_dir(scratch.path())?.count(), 1, "nothing was made");
    Ok(())
}
