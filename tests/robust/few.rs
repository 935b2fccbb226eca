//! Operators that hold items before they pass them on hold few of them, however large they are and however many a single
//! item yields. Each test runs in a process of its own, whose memory is watched from outside.

use crate::child::{Process, role};
use crate::resident::watch;
use crate::support::Place;
use tryworks::prelude::*;

/// Runs `job` in a process of its own with two threads and little memory, which must hold less than `most` bytes.
fn holds(most: u64, name: &str, job: fn(&Context) -> Result<()>) {
    if role().is_some() {
        let place = Place::with(2, 8 << 20, |builder| builder.check_rows(false));
        println!("ready");
        job(&place.cx).unwrap();
        place.is_clean();
        return;
    }
    let peak = watch(Process::start(name, "job"));
    assert!(peak > 1 << 20, "the memory was not seen");
    assert!(peak < most, "{} MiB were held", peak >> 20);
}

/// The items that one item yields.
const MANY: u64 = 50_000;

/// All of them together take far more than a test allows.
type Wide = [u64; 256];
const _: () = assert!(MANY * size_of::<Wide>() as u64 > 96 << 20);

#[test]
fn one_item_that_yields_very_many_is_never_held_with_all_of_them() {
    holds(64 << 20, "few::one_item_that_yields_very_many_is_never_held_with_all_of_them", |cx| {
        let one = cx.range(0..1);
        let many = one.flat_map(|_| (0..MANY).map(|n| [n; 256] as Wide));
        let boxed = one.boxed().flat_map(|_| (0..MANY).map(|n| [n; 256] as Wide)).boxed();
        assert_eq!(many.boxed().count()?, MANY);
        assert_eq!(boxed.count()?, MANY);
        assert_eq!(boxed.map(|wide| wide[0]).boxed().union(&one.boxed()).count()?, MANY + 1);
        assert_eq!(many.map_partitions(|items| [items.count() as u64]).sum()?, MANY);
        assert_eq!(many.zip(&boxed).filter(|(a, b)| a == b).count()?, MANY);
        let copies = cx.range_in(0..100, 1).map(|n| [n; 256]).sample_with_replacement(MANY as f64 / 100.0, 1);
        assert!(copies.boxed().count()? > MANY / 2);
        let rows = many.map(|wide| format!("{:>2048}", wide[0]));
        for level in [StorageLevel::Memory, StorageLevel::MemoryAndDisk, StorageLevel::Disk] {
            assert_eq!(rows.persist(level).count()?, MANY);
        }
        Ok(())
    });
}

#[test]
fn rows_of_a_megabyte_are_held_one_by_one() {
    holds(96 << 20, "few::rows_of_a_megabyte_are_held_one_by_one", |cx| {
        const ROWS: u64 = 150;
        let large = cx.range_in(0..ROWS, 2).map(|n| (n % 10).to_string().repeat(1 << 20));
        assert_eq!(large.boxed().count()?, ROWS);
        assert_eq!(large.boxed().map(|row| row).boxed().map(|row| row).boxed().count()?, ROWS);
        assert_eq!(large.map_partitions(|items| [items.count() as u64]).sum()?, ROWS);
        assert_eq!(large.zip(&large).count()?, ROWS);
        assert_eq!(large.persist(StorageLevel::Memory).count()?, ROWS);
        for level in [StorageLevel::MemoryAndDisk, StorageLevel::Disk] {
            let kept = large.persist(level);
            assert_eq!(kept.count()?, ROWS);
            assert_eq!(kept.map(|row| row.len() as u64).sum()?, ROWS << 20);
        }
        Ok(())
    });
}
