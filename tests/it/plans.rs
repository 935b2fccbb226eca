//! Compares plans with texts in files. `UPDATE_EXPECT=1` writes the files again; read them before you commit them.

use crate::support::cx;
use std::path::Path;
use tryworks::prelude::*;

#[track_caller]
fn expect<P: Pipe>(name: &str, data: &Dataset<P>) {
    expect_text(name, &data.explain().expect("the plan is sound"));
}

#[track_caller]
fn expect_text(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/plans").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "the plan is not as in {}:\n--- expected\n{expected}--- found\n{text}", path.display());
}

fn pairs(cx: &Context, partitions: u32) -> Dataset<impl Pipe<Item = (u64, u64)> + use<>> {
    cx.range_in(0..1000, partitions).map(|n| (n % 10, n))
}

#[test]
fn word_count() {
    let root = env!("CARGO_MANIFEST_DIR");
    let counts = cx()
        .text_file(format!("{root}/examples/data/mobydick.txt"))
        .flat_map_into(|line, out| line.split_whitespace().for_each(|word| out.push(Str::lower(word))))
        .map(|word| (word, 1u64))
        .reduce_by_key(|a, b| a + b);
    let text = counts.explain().unwrap().replace(&format!("{root}/"), "");
    expect_text("word_count.txt", &text);
    let text = counts.explain_dot().unwrap().replace(&format!("{root}/"), "");
    expect_text("word_count.dot", &text);
}

#[test]
fn a_narrow_chain_is_one_stage() {
    let cx = cx();
    let n = cx.range_in(0..1000, 8);
    expect("narrow.txt", &n.filter(|n| n % 2 == 0).with(3u64).map(|by, n| n * by).sample(0.5, 1).zip(&n.map(|n| n)));
}

#[test]
fn a_diamond_with_a_shared_stage() {
    let cx = cx();
    let sums = pairs(&cx, 4).reduce_by_key(|a, b| a + b);
    let halves = sums.map(|(key, n)| (key / 2, n)).reduce_by_key(|a, b| a + b);
    let thirds = sums.map(|(key, n)| (key / 3, n)).group_by_key();
    expect("diamond.txt", &halves.join(&thirds));
    expect_text("diamond.dot", &halves.join(&thirds).explain_dot().unwrap());
}

#[test]
fn a_join_of_co_partitioned_sides() {
    let cx = cx();
    let left = pairs(&cx, 4).shuffle_into(8).reduce_by_key(|a, b| a + b);
    let right = pairs(&cx, 5).shuffle_into(8).group_by_key().filter(|(key, _)| *key > 3);
    expect("join_co_partitioned.txt", &left.join(&right));
}

#[test]
fn a_join_of_one_partitioned_side() {
    let cx = cx();
    let left = pairs(&cx, 4).shuffle_into(8).reduce_by_key(|a, b| a + b);
    expect("join_left_partitioned.txt", &left.join(&pairs(&cx, 8)));
    expect("join_right_partitioned.txt", &pairs(&cx, 8).join(&left));
    expect("join_of_two_shuffles.txt", &pairs(&cx, 8).join(&pairs(&cx, 2)));
}

#[test]
fn a_sort() {
    let cx = cx();
    expect("sort.txt", &pairs(&cx, 4).shuffle_into(3).sort_by_key().values());
    expect("sort_twice.txt", &pairs(&cx, 4).shuffle_into(3).sort_by_key().sort_by(|pair| pair.1));
}

#[test]
fn a_cached_dataset_before_and_after_it_is_kept() -> Result<()> {
    let cx = cx();
    let cached = pairs(&cx, 4).reduce_by_key(|a, b| a + b).map_values(|n| n * 2).cache();
    let after = cached.filter(|(key, _)| *key > 3);
    expect("cache_before.txt", &after);
    cached.count()?;
    expect("cache_after.txt", &after);
    let disk = pairs(&cx, 4).persist(StorageLevel::MemoryAndDisk);
    expect("persist.txt", &disk.keys());
    Ok(())
}

#[test]
fn a_second_action_does_not_run_stages_whose_blocks_exist() -> Result<()> {
    let cx = cx();
    let first = pairs(&cx, 4).reduce_by_key(|a, b| a + b);
    let second = first.map(|(key, n)| (key / 2, n)).group_by_key();
    expect("second_action_before.txt", &second);
    first.count()?;
    expect("second_action_between.txt", &second);
    second.count()?;
    expect("second_action_after.txt", &second);
    expect_text("second_action_after.dot", &second.explain_dot()?);
    Ok(())
}

#[test]
fn repartition_coalesce_and_union() {
    let cx = cx();
    let n = cx.range_in(0..1000, 6);
    expect("repartition.txt", &n.repartition(3).map(|n| n + 1));
    expect("coalesce.txt", &n.coalesce(2).filter(|n| n % 2 == 0));
    expect("union.txt", &n.union(&cx.parallelize_in([1, 2, 3], 1)));
    expect("union_of_many.txt", &cx.union((0..3).map(|k| cx.range_in(k..k + 5, 2).boxed()).collect()));
    let (a, b) = (
        pairs(&cx, 2).shuffle_into(4).reduce_by_key(|a, b| a + b),
        pairs(&cx, 3).shuffle_into(4).reduce_by_key(|a, b| a * b),
    );
    expect("union_co_partitioned.txt", &a.union(&b).reduce_by_key(|a, b| a + b));
}

#[test]
fn distinct_after_reduce() {
    let cx = cx();
    let sums = pairs(&cx, 4).shuffle_into(5).reduce_by_key(|a, b| a + b);
    expect("distinct_partitioned.txt", &sums.distinct());
    expect("distinct.txt", &sums.values().distinct());
}

#[test]
fn nondeterministic_stages_are_marked() {
    let cx = cx();
    let drawn = pairs(&cx, 4).nondeterministic();
    expect("nondeterministic.txt", &drawn.reduce_by_key(|a, b| a + b).values());
}

#[test]
fn a_plan_is_the_same_text_every_time() -> Result<()> {
    let plan = || {
        let cx = cx();
        let sums = pairs(&cx, 4).reduce_by_key(|a, b| a + b);
        sums.join(&sums.map(|(key, n)| (key + 1, n))).sort_by_key().explain()
    };
    assert_eq!(plan()?, plan()?);
    Ok(())
}
