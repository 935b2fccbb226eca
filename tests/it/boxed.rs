//! Datasets whose type is erased, and lineage of any depth and width: nothing recurses, nothing overflows.

use crate::support::{cx, glom, sorted};
use tryworks::prelude::*;

/// Runs on a thread with Rust's default stack.
fn on_a_small_stack<T: Send>(code: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, code).unwrap();
        thread.join().unwrap()
    })
}

/// The most memory this process ever had in RAM, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_boxed_dataset_is_the_same_dataset() -> Result<()> {
    let cx = cx();
    let plain = cx.range_in(0..5000, 7).map(|n| n * 3).filter(|n| n % 2 == 0).flat_map(|n| [n, n + 1]);
    let boxed = cx.range_in(0..5000, 7).boxed().map(|n| n * 3).boxed().filter(|n| n % 2 == 0).boxed();
    let boxed = boxed.flat_map(|n| [n, n + 1]).boxed();
    let expected: Vec<u64> = (0..5000).map(|n| n * 3).filter(|n| n % 2 == 0).flat_map(|n| [n, n + 1]).collect();
    assert_eq!(plain.collect()?, expected);
    assert_eq!(boxed.collect()?, expected);
    assert_eq!(glom(&boxed), glom(&plain));
    assert_eq!(boxed.partitions(), 7);
    let keep: Vec<Data<u64>> = vec![plain.boxed(), boxed.clone()];
    assert_eq!(keep[0].zip(&keep[1]).filter(|(a, b)| a == b).count()?, expected.len() as u64);
    Ok(())
}

#[test]
fn every_operator_may_follow_a_boxed_one() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..3000, 4).boxed();
    let evens: Vec<u64> = (0..3000).filter(|n| n % 2 == 0).collect();
    assert_eq!(n.filter(|n| n % 2 == 0).boxed().collect()?, evens);
    assert_eq!(
        n.flat_map_into(|n, out| if n % 2 == 0 {
            out.push(n)
        })
        .boxed()
        .collect()?,
        evens
    );
    assert_eq!(n.try_filter(|n| Ok(n % 2 == 0)).boxed().collect()?, evens);
    assert_eq!(n.key_by(|n| n % 2).filter(|(key, _)| *key == 0).values().boxed().collect()?, evens);
    assert_eq!(n.map_partitions(|items| items.filter(|n| n % 2 == 0)).boxed().collect()?, evens);
    assert_eq!(n.with(2).filter(|by, n| *n % by == 0).boxed().collect()?, evens);
    assert_eq!(n.sample(1.0, 1).boxed().filter(|n| n % 2 == 0).boxed().collect()?, evens);
    assert_eq!(n.coalesce(2).boxed().filter(|n| n % 2 == 0).boxed().collect()?, evens);
    assert_eq!(n.cache().boxed().filter(|n| n % 2 == 0).boxed().collect()?, evens);
    assert_eq!(sorted(n.repartition(3).boxed().filter(|n| n % 2 == 0).boxed().collect()?), evens);
    assert_eq!(n.zip(&n).boxed().map(|(a, _)| a).boxed().filter(|n| n % 2 == 0).collect()?, evens);
    assert_eq!(n.union(&n).boxed().take(4000)?.len(), 4000);
    assert_eq!(n.sort_by(|n| *n).boxed().filter(|n| n % 2 == 0).boxed().collect()?, evens);
    assert_eq!(n.take(3)?, [0, 1, 2]);
    assert_eq!(n.map(|n| n).boxed().flat_map(|n| [n; 2000]).boxed().take(2001)?.last(), Some(&1));
    Ok(())
}

#[test]
fn a_hundred_thousand_boxes_run_are_explained_and_dropped_on_a_small_stack() {
    let cx = Context::local(1).unwrap();
    on_a_small_stack(|| {
        let mut data = cx.range_in(0..10, 1).boxed();
        for _ in 0..100_000 {
            data = data.map(|n| n + 1).boxed();
        }
        let plan = data.explain().unwrap();
        assert_eq!(plan.lines().filter(|line| line.trim() == "map").count(), 100_000);
        assert_eq!(data.collect(), Ok((100_000..100_010).collect()));
        let copy = data.clone();
        drop(data);
        drop(copy);
    });
}

#[test]
fn boxes_in_a_loop_over_unions_and_zips_are_planned_and_dropped() {
    let cx = cx();
    on_a_small_stack(|| {
        let one = cx.range_in(0..1, 1);
        let mut data = one.boxed();
        let mut zipped = one.map(|n| n + 1).boxed();
        for _ in 0..10_000 {
            data = data.union(&one).boxed();
            zipped = zipped.zip(&one).map(|(a, b)| a + b).boxed();
        }
        assert_eq!(data.partitions(), 10_001);
        assert!(data.explain().unwrap().starts_with("stage 0: 10001 partitions"));
        assert!(zipped.explain().unwrap().starts_with("stage 0: 1 partition"));
    });
}

#[test]
fn a_union_of_a_thousand_datasets_is_flat() -> Result<()> {
    let cx = cx();
    let parts: Vec<Data<u64>> = (0..1000).map(|n| cx.range_in(n..n + 2, 1 + (n % 2) as u32).boxed()).collect();
    let all = cx.union(parts);
    assert_eq!(all.partitions(), 1500);
    assert_eq!(all.collect()?, (0..1000).flat_map(|n| [n, n + 1]).collect::<Vec<_>>());
    assert_eq!(all.shuffle_into(8).distinct().count()?, 1001);
    assert_eq!(cx.union(Vec::<Data<u64>>::new()).count()?, 0);
    Ok(())
}

#[test]
fn functions_return_datasets_that_outlive_the_context() -> Result<()> {
    fn words(cx: &Context) -> Dataset<impl Pipe<Item = String> + use<>> {
        cx.parallelize(["a whale", "a sea"].map(String::from))
            .flat_map(|line| line.split(' ').map(String::from).collect::<Vec<_>>())
    }
    struct Report {
        counts: Data<(String, u64)>,
    }
    let report = {
        let cx = cx();
        Report { counts: words(&cx).map(|word| (word, 1)).reduce_by_key(|a, b| a + b).boxed() }
    };
    let expected = [("a", 2), ("sea", 1), ("whale", 1)].map(|(word, n)| (word.to_string(), n));
    assert_eq!(sorted(report.counts.collect()?), expected);
    Ok(())
}

#[test]
fn five_thousand_shuffles_are_planned_and_dropped_on_a_small_stack() {
    let cx = cx();
    on_a_small_stack(|| {
        let mut data = cx.range_in(0..10, 2).map(|n| (n, 1u64)).boxed();
        for _ in 0..5000 {
            data = data.reduce_by_key(|a, b| a + b).map(|(key, n)| (key / 2, n)).boxed();
        }
        let plan = data.explain().unwrap();
        assert_eq!(plan.lines().filter(|line| line.starts_with("stage ")).count(), 5001);
        let dot = data.explain_dot().unwrap();
        assert!(dot.starts_with("digraph") && dot.ends_with("}\n"));
    });
}

#[test]
fn a_loop_of_shuffles_runs() -> Result<()> {
    let cx = cx();
    on_a_small_stack(|| {
        let mut data = cx.range_in(0..256, 2).map(|n| (n, 1u64)).boxed();
        for _ in 0..100 {
            data = data.map(|(key, n)| (key / 2, n)).reduce_by_key(|a, b| a + b).boxed();
        }
        assert_eq!(data.collect()?, [(0, 256)]);
        Ok(())
    })
}

#[test]
fn keyed_operators_in_place_are_planned_and_dropped_at_any_depth() {
    let cx = cx();
    on_a_small_stack(|| {
        // After the first one there is no shuffle.
        let mut data = cx.range_in(0..10, 2).map(|n| (n, 1u64)).boxed();
        for _ in 0..5000 {
            data = data.reduce_by_key(|a, b| a + b).boxed();
        }
        let plan = data.explain().unwrap();
        assert_eq!(plan.lines().filter(|line| line.starts_with("stage ")).count(), 2);
    });
}

#[test]
fn diamonds_upon_diamonds_are_planned_once_each() -> Result<()> {
    let cx = cx();
    let mut data = cx.range_in(0..4, 2).map(|n| (n, 1u64)).boxed();
    for _ in 0..40 {
        // Both arms come from the same shuffle: the number of paths doubles each time.
        let sums = data.map(|(key, n)| (key, n)).reduce_by_key(|a, b| a + b);
        data = sums.join(&sums).map(|(key, (a, b))| (key, a.max(b))).boxed();
    }
    let plan = data.explain()?;
    assert_eq!(plan.lines().filter(|line| line.starts_with("stage ")).count(), 41);
    let narrow = {
        let mut data = cx.range_in(0..4, 2).boxed();
        for _ in 0..40 {
            data = data.zip(&data).map(|(a, b)| a.max(b)).boxed();
        }
        data.explain()?
    };
    assert_eq!(narrow.lines().filter(|line| line.trim() == "zip").count(), 40);
    Ok(())
}

#[test]
fn a_million_partitions_are_planned_in_bounded_memory() -> Result<()> {
    let cx = cx();
    let before = peak();
    let wide = cx.range_in(0..u64::MAX, 1_000_000).map(|n| (n % 10, n));
    let plan = wide.shuffle_into(1_000_000).reduce_by_key(|a, b| a.max(b)).coalesce(1_000).explain()?;
    assert!(plan.starts_with("stage 0: 1000000 partitions"), "{plan}");
    assert_eq!(wide.take(1)?, [(0, 0)]);
    // Other tests of this program run at the same time, so this bound is coarse: 256 bytes for each partition.
    let grown = peak() - before;
    assert!(grown < 256 << 20, "{} MiB for a plan", grown >> 20);
    Ok(())
}

/// So deep that cursors that read each other recursively would overflow the stack of any thread.
const DEEP: u64 = 30_000;

#[test]
fn unions_and_coalesced_partitions_in_a_loop_are_flat() -> Result<()> {
    let cx = Context::local(2)?;
    on_a_small_stack(|| {
        let one = cx.range_in(7..8, 1);
        let (mut union, mut few, mut both) = (one.boxed(), one.boxed(), one.boxed());
        let mut mapped = cx.range_in(0..1, 1).boxed();
        for _ in 0..DEEP {
            union = union.union(&one).boxed();
            few = few.coalesce(1).boxed();
            both = both.union(&one).coalesce(1).boxed();
        }
        for _ in 0..1_000 {
            mapped = mapped.map(|n| n + 1).boxed().union(&cx.range_in(0..1, 1)).boxed();
        }
        assert_eq!((union.partitions(), few.partitions(), both.partitions()), (DEEP as u32 + 1, 1, 1));
        assert_eq!(few.collect()?, [7]);
        assert_eq!((both.count()?, both.reduce(|a, b| a.max(b))?), (DEEP + 1, Some(7)));
        assert_eq!(union.coalesce(3).map_partitions(|items| [items.count() as u64]).sum()?, DEEP + 1);
        assert_eq!(mapped.collect()?, (0..=1_000).rev().collect::<Vec<u64>>());
        Ok(())
    })
}

#[test]
fn unions_of_every_shape_are_read_in_order() -> Result<()> {
    let cx = cx();
    let none = cx.from_fn(0, |_| [0u64]).boxed();
    let mut random = crate::support::Random(5);
    for _ in 0..30 {
        let mut made: Vec<(Data<u64>, Vec<Vec<u64>>)> = vec![(none.clone(), vec![])];
        for _ in 0..25 {
            let (a, b) = (random.below(made.len() as u64) as usize, random.below(made.len() as u64) as usize);
            let (first, second) = (made[a].clone(), made[b].clone());
            made.push(match random.below(5) {
                0 => {
                    let start = random.below(1_000);
                    (
                        cx.range_in(start..start + 6, 3).boxed(),
                        (0..3).map(|p| vec![start + 2 * p, start + 2 * p + 1]).collect(),
                    )
                }
                1 => (first.0.union(&second.0).boxed(), [first.1, second.1].concat()),
                2 => {
                    let all = [first.clone(), second.clone(), first.clone()];
                    let parts = all.iter().flat_map(|(_, parts)| parts.clone()).collect();
                    (cx.union(all.map(|(data, _)| data).to_vec()).boxed(), parts)
                }
                3 => {
                    let to = 1 + random.below(4) as usize;
                    let (from, to) = (first.1.len(), to.min(first.1.len()));
                    let cut = |at: usize| at * from / to.max(1);
                    let parts = (0..to).map(|at| first.1[cut(at)..cut(at + 1)].concat()).collect();
                    (first.0.coalesce(to.max(1) as u32).boxed(), parts)
                }
                _ => (
                    first.0.map(|n| n + 1).boxed(),
                    first.1.iter().map(|p| p.iter().map(|n| n + 1).collect()).collect(),
                ),
            });
            let (data, parts) = made.last().unwrap();
            if parts.len() > 200 {
                made.pop();
            } else {
                assert_eq!(glom(data), *parts);
            }
        }
    }
    Ok(())
}

#[test]
fn zips_caches_and_reductions_in_place_are_read_at_any_depth() -> Result<()> {
    let cx = Context::local(2)?;
    on_a_small_stack(|| {
        let one = cx.range_in(0..1, 1);
        let (mut zip, mut cache) = (one.boxed(), one.boxed());
        let mut sums = one.map(|n| (n, 1u64)).boxed();
        for _ in 0..DEEP {
            zip = zip.zip(&one).map(|(a, b)| a + b + 1).boxed();
            cache = cache.map(|n| n + 1).cache().boxed();
            sums = sums.reduce_by_key(|a, b| a + b).boxed();
        }
        assert_eq!((zip.collect()?, cache.collect()?, sums.collect()?), (vec![DEEP], vec![DEEP], vec![(0, 1)]));
        Ok(())
    })
}
