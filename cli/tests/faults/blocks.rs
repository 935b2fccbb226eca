//! Blocks that are deleted, flipped or cut between the stages, and map tasks whose output differs when they run again.

use crate::here;
use crate::rig::{Cluster, claim, driving, gate, mark, until};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tryworks::prelude::*;

/// A row of a hundred bytes: a thousand of them are a block on the disk.
fn pair(n: u64) -> (u64, String) {
    (n % 97, format!("{n:0100}"))
}

fn expected() -> BTreeMap<u64, Vec<String>> {
    let mut groups = BTreeMap::<u64, Vec<String>>::new();
    (0..8_000).map(pair).for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups
}

/// Groups by key. The last map task waits until the test has found the blocks of the others.
fn program() {
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..8_000, 8).map(|n| {
        if n % 1_000 == 0 {
            mark(format!("map-{}", n / 1_000));
        }
        if n == 7_999 {
            gate("last");
        }
        pair(n)
    });
    let groups = rows.shuffle_into(4).group_by_key();
    let found = groups.collect().unwrap();
    assert!(found.iter().cloned().collect::<BTreeMap<_, _>>() == expected(), "the answer is wrong");
    if claim("twice") {
        mark("once");
        gate("again");
        assert!(groups.collect().unwrap() == found);
    }
}

fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
}

fn cut(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn delete(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// The blocks made while the last map task waits.
fn all_but_the_last(cluster: &Cluster) -> Vec<PathBuf> {
    until("all map tasks but the last have ended", || {
        (cluster.status()["running"][0]["progress"]["partitions_done"] == 7).then_some(())
    });
    let sealed = cluster.block_files().into_iter().filter(|block| block.extension().is_none());
    let sealed: Vec<_> = sealed.collect();
    assert_eq!(sealed.len(), 7);
    sealed
}

fn recomputed(cluster: &Cluster) -> usize {
    (0..8).filter(|part| cluster.shared.marks(&format!("map-{part}")) > 1).count()
}

#[test]
fn damaged_blocks_are_recomputed() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let one = [delete as fn(&Path)].as_slice();
    for damages in [one, &[flip], &[cut], &[delete, flip, cut, flip]] {
        cluster.shared.clear();
        let driver = cluster.begin(here!(), &[]);
        let blocks = all_but_the_last(&cluster);
        damages.iter().zip(&blocks).for_each(|(damage, block)| damage(block));
        cluster.shared.open("last");
        let done = driver.ends_well();
        let told = format!("{} map outputs could not be read by engine-", damages.len());
        assert!(
            done.err.contains(&told) || damages.len() > 1 && done.err.contains("map outputs could not"),
            "{}",
            done.err
        );
        assert_eq!(recomputed(&cluster), damages.len(), "what was damaged is recomputed, and nothing else");
        until("the driver is gone, and so are its blocks", || cluster.block_files().is_empty().then_some(()));
    }
}

#[test]
fn blocks_damaged_while_they_are_open_are_recomputed() {
    if driving() {
        return program();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    for damage in [flip, cut] {
        cluster.shared.clear();
        cluster.shared.tokens("twice", 1);
        cluster.shared.open("last");
        let driver = cluster.begin(here!(), &[]);
        cluster.shared.wait_for("once", 1);
        let blocks = cluster.block_files();
        assert_eq!(blocks.len(), 8);
        blocks.iter().step_by(2).for_each(|block| damage(block));
        cluster.shared.open("again");
        driver.ends_well();
        assert_eq!(recomputed(&cluster), 4);
    }
}

#[test]
fn a_map_task_that_gives_another_output_is_detected() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..8_000, 8).flat_map_into(|n, out| {
            if n == 0 && claim("other") {
                // The first run has one row more.
                out.push((1_000, String::new()));
            }
            if n == 7_999 {
                gate("last");
            }
            out.push(pair(n));
        });
        let found: BTreeMap<_, _> = rows.shuffle_into(4).group_by_key().collect().unwrap().into_iter().collect();
        assert!(found == expected(), "there is an answer of what came out last, and of nothing else");
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    cluster.shared.tokens("other", 1);
    let driver = cluster.begin(here!(), &[]);
    let blocks = all_but_the_last(&cluster);
    blocks.iter().for_each(|block| delete(block));
    cluster.shared.open("last");
    let done = driver.ends_well();
    assert!(cluster.shared.all_taken("other"));
    let told = "stage 0 is not deterministic: partition 0 was recomputed and came out different";
    assert!(done.err.contains(told), "{}", done.err);
}
