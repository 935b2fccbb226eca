//! Consumers that hold items stop their input after any item and go on later: nothing is lost, and nothing comes twice.

use crate::support::cx;
use tryworks::prelude::*;

/// Compares what consumers that stop `data` in the middle of its steps find with what one finds that never stops it.
#[track_caller]
fn goes_on<P: Pipe<Item = u64>>(data: &Dataset<P>) {
    // One step of the input makes far more items than a consumer holds.
    const MANY: u64 = 20;
    let expected: Vec<u64> = data.collect().unwrap().into_iter().flat_map(|n| n * MANY..(n + 1) * MANY).collect();
    assert!(expected.len() as u64 > 100 * MANY);
    let many = data.flat_map(|n| n * MANY..(n + 1) * MANY);
    assert!(many.collect().unwrap() == expected, "no stop");
    assert!(many.boxed().collect().unwrap() == expected, "boxed");
    assert!(many.map_partitions(|items| items).collect().unwrap() == expected, "map_partitions");
    assert!(many.persist(StorageLevel::Disk).collect().unwrap() == expected, "persist");
    let pairs = many.zip(&many.boxed().filter(|_| true).boxed()).collect().unwrap();
    assert!(pairs.iter().all(|(left, right)| left == right), "zip");
    assert!(pairs.into_iter().map(|(left, _)| left).eq(expected.iter().copied()), "zip");
    let segments = data.boxed().flat_map(|n| n * MANY..(n + 1) * MANY).boxed();
    assert!(segments.collect().unwrap() == expected, "segments");
    // An operator that stops in the middle of an item while another one does.
    let threes = segments.try_flat_map(|n| Ok([n; 3])).boxed().flat_map_into(|n, out| out.extend([n; 2])).boxed();
    let sixes = threes.zip(&many.flat_map(|n| [n; 6])).collect().unwrap();
    assert!(sixes.into_iter().eq(expected.iter().flat_map(|n| [(*n, *n); 6])), "segments in a row");
}

#[test]
fn sources_go_on_after_a_stop() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (lines, records) = (dir.path().join("lines"), dir.path().join("records"));
    let numbers = 0..300u64;
    std::fs::write(&lines, numbers.clone().map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    std::fs::write(&records, numbers.clone().flat_map(u64::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let cx = cx();
    goes_on(&cx.range_in(numbers.clone(), 2));
    goes_on(&cx.parallelize_in(numbers.clone().collect::<Vec<_>>(), 2));
    goes_on(&cx.from_fn(2, |part| (0..150u64).map(move |n| n * 2 + u64::from(part))));
    goes_on(&cx.text_file(&lines).map(|line| line.parse().unwrap()));
    goes_on(&cx.text_file(&lines).words().map(|word| word.parse().unwrap()));
    goes_on(&cx.records::<8>(&records).map(|record| u64::from_le_bytes(record.0)));
    Ok(())
}

#[test]
fn operators_go_on_after_a_stop() -> Result<()> {
    let cx = cx();
    let data = cx.range_in(0..300, 2);
    let pairs = data.map(|n| (n % 10, n));
    goes_on(&data.map(|n| n + 1).filter(|n| n % 3 != 0));
    let twice = data.flat_map(|n| [n, n + 1000]);
    goes_on(&twice);
    goes_on(&data.try_flat_map(|n| Ok([n, n + 1000])));
    goes_on(&data.flat_map_into(|n, out| out.extend([n, n + 1000])));
    goes_on(&data.map(|n| format!("{n} {}", n + 1000)).words().map(|word| word.parse().unwrap()));
    goes_on(&data.map(|n| format!("{n} {}", n + 1000)).boxed().words().map(|word| word.parse().unwrap()));
    goes_on(&data.sample_with_replacement(2.0, 7));
    goes_on(&twice.map(|n| n + 1).sample(0.9, 7));
    goes_on(&twice.union(&twice));
    goes_on(&twice.coalesce(1));
    goes_on(&data.map_partitions(|items| items.map(|n| n + 1)));
    goes_on(&data.zip(&data.map(|n| n + 1)).map(|(a, b)| a + b));
    goes_on(&data.boxed().union(&data.boxed()).coalesce(1));
    goes_on(&data.repartition(3));
    goes_on(&data.sort_by(|n| std::cmp::Reverse(*n)));
    goes_on(&data.distinct());
    goes_on(&data.map(|n| (n, n)).reduce_by_key(|a, b| a + b).map(|(key, n)| key + n));
    goes_on(&pairs.group_by_key().flat_map(|(_, numbers)| numbers));
    // Thirty matches for each left row.
    goes_on(&pairs.join(&pairs).map(|(_, (a, b))| a + b).filter(|n| n % 7 == 0));
    // Both sides are read in place.
    let placed = pairs.shuffle_into(2).distinct().map(|(key, n)| (key * 1000 + n, n)).shuffle_into(2);
    let placed = placed.reduce_by_key(|a, b| a + b);
    goes_on(&placed.join(&placed).map(|(_, (a, b))| a + b));
    Ok(())
}

#[test]
fn kept_partitions_go_on_after_a_stop() -> Result<()> {
    let cx = cx();
    let data = cx.range_in(0..300, 2);
    for level in [StorageLevel::Memory, StorageLevel::MemoryAndDisk, StorageLevel::Disk] {
        let kept = data.persist(level);
        assert_eq!(kept.count()?, 300);
        goes_on(&kept);
    }
    // What does not fit is passed on.
    let tight = Context::builder().threads(1).memory(1 << 10).progress(false).build()?;
    goes_on(&tight.range_in(0..300, 2).cache());
    // Keeping it stops it in the middle of an item before it turns out not to fit.
    goes_on(&tight.range_in(0..300, 2).flat_map(|n| n * 10..n * 10 + 10).cache());
    Ok(())
}

#[test]
fn a_join_that_does_not_fit_goes_on_after_a_stop() -> Result<()> {
    let spilling = |cx: &Context, keys: u64| {
        let right = cx.range_in(0..30_000, 3).with(keys).map(|keys, n| (n % keys, n));
        let left = cx.range_in(0..6, 1).map(|n| (n % 2, n));
        // The consumer stops among the matches of a row again and again.
        let pairs = left.shuffle_into(1).join(&right).map(|(key, (a, b))| [key, a, b]);
        pairs.map_partitions(|items| items).collect()
    };
    let tight = Context::builder().threads(1).memory(256 << 10).progress(false).build()?;
    let ample = cx();
    // With two keys, the matches of one left row do not fit; with 3000 keys, those of all left rows do.
    for keys in [2, 3000] {
        let expected = spilling(&ample, keys)?;
        assert_eq!(expected.len() as u64, if keys == 2 { 6 * 15_000 } else { 6 * 10 });
        assert!(spilling(&tight, keys)? == expected, "with {keys} keys");
    }
    assert!(tight.memory().spilled() > 0);
    Ok(())
}

#[test]
fn a_left_row_that_counts_once_comes_once_after_a_stop() -> Result<()> {
    // Each key has two left rows, and a right row of each of three tasks. A third of the keys has no right row.
    let (keys, matched) = (450u64, 300u64);
    // The keys do not fit into memory, and one of them does not fit alone.
    let key = |n: u64| format!("{}{n}", "x".repeat(if n == 0 { 64 << 10 } else { 100 }));
    let cx = Context::builder().threads(1).memory(64 << 10).progress(false).build()?;
    let left = cx.range_in(0..2 * keys, 2).with(keys).map(move |keys, n| (key(n % keys), n));
    let right = cx.range_in(0..3 * matched, 3).with(matched).map(move |matched, n| (key(n % matched), n));
    let numbers = |is_wanted: fn(u64) -> bool| (0..2 * keys).filter(|n| is_wanted(n % keys)).collect::<Vec<_>>();
    for left in [left.boxed(), left.shuffle_into(1).boxed()] {
        let (with, without) = (left.semi_join(&right).map(|(_, n)| n), left.anti_join(&right).map(|(_, n)| n));
        let all = left.left_join(&right).map(|(_, (n, other))| if other.is_some() { n } else { n + 1000 });
        assert_eq!(with.sort_by(|n| *n).collect()?, numbers(|key| key < 300));
        assert_eq!(without.sort_by(|n| *n).collect()?, numbers(|key| key >= 300));
        goes_on(&with);
        goes_on(&without);
        goes_on(&all);
    }
    assert!(cx.memory().spilled() > 0);
    Ok(())
}

/// Numbers without an end, of which a consumer that stops in time reads few.
fn endless() -> impl Iterator<Item = u64> + Send {
    (0u64..).inspect(|n| assert!(*n < 100_000, "far more items were read than are needed"))
}

#[test]
fn an_item_that_yields_items_without_an_end_is_read_as_far_as_needed() -> Result<()> {
    let cx = cx();
    let one = cx.range(0..1);
    let first = [0, 1, 2];
    assert_eq!(one.flat_map(|_| endless()).take(3)?, first);
    assert_eq!(one.flat_map(|_| endless()).boxed().take(3)?, first);
    assert_eq!(one.boxed().flat_map(|_| endless()).boxed().take(3)?, first);
    assert_eq!(one.boxed().try_flat_map(|_| Ok(endless())).boxed().map(|n| n).boxed().take(3)?, first);
    assert_eq!(one.flat_map(|_| endless()).boxed().union(&one.boxed()).take(3)?, first);
    assert_eq!(one.flat_map(|_| endless()).map_partitions(|items| items).take(3)?, first);
    let both = one.flat_map(|_| endless());
    assert_eq!(both.zip(&both).take(3)?, first.map(|n| (n, n)));
    let copies = one.boxed().sample_with_replacement(1e6, 1).boxed().sample_with_replacement(1e6, 2);
    assert_eq!(copies.boxed().sample_with_replacement(1e6, 3).boxed().take(3)?, [0; 3]);
    Ok(())
}
