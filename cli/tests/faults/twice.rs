//! Two attempts at one task run at the same time, and both end. One of them counts, and nothing of the other stays.

use crate::here;
use crate::rig::{Cluster, Driver, claim, driving, gate, mark, path, signal, until};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tryworks::prelude::*;
use tryworks::sink::{Buffer, Encoder, FileName, Format, Part, Place, SaveRequest};
use tryworks::task::TaskContext;

/// The first attempt at partition 0 waits at one gate, the second one at another. Both make the same. An engine with
/// one slot runs nothing else before: all results that count come from the other engine, and so do the tasks that read
/// them.
fn slow_or_copy(n: u64) -> (u64, String) {
    if n == 0 {
        let which = if claim("first") { "first" } else { "second" };
        mark(which);
        gate(which);
    }
    (n % 97, format!("{n:0100}"))
}

fn context() -> Context {
    Context::builder().cluster("default").speculation(50, 110).build().unwrap()
}

/// Two attempts at partition 0 of 4 wait. The engine of the first attempt is stopped, so it can neither stop the
/// attempt nor report its end. Then the first attempt runs to its end. Returns the cluster and the driver, the process
/// of that engine, and the block that the attempt left.
fn both_attempts(test: &str) -> (Cluster, Driver, u32, PathBuf) {
    let cluster = Cluster::by_hand(2, 1, &[]);
    cluster.shared.tokens("first", 1);
    let driver = cluster.begin(test, &[]);
    cluster.shared.wait_for("first", 1);
    cluster.shared.wait_for("second", 1);
    let [first, second] = ["first", "second"].map(|name| cluster.shared.markers(name)[0]);
    let engines = cluster.engines();
    let of = |worker: u32| engines.iter().find(|(_, pid)| cluster.children(*pid).contains(&worker)).unwrap();
    let (name, engine) = of(first);
    assert_ne!(name, &of(second).0, "the second attempt is on another engine: {}", driver.err());
    let own = |blocks: Vec<PathBuf>| -> BTreeSet<PathBuf> {
        let sealed = blocks.into_iter().filter(|block| block.extension().is_none());
        sealed.filter(|block| block.components().any(|part| part.as_os_str() == name.as_str())).collect()
    };
    signal(*engine, Signal::STOP);
    let before = own(cluster.block_files());
    cluster.shared.open("first");
    let left = until("the first attempt has left its block", || {
        own(cluster.block_files()).difference(&before).next().cloned()
    });
    let engine = *engine;
    (cluster, driver, engine, left)
}

#[test]
fn two_attempts_at_a_map_task_leave_one_block() {
    if driving() {
        let cx = context();
        let groups = cx.range_in(0..4_000, 4).map(slow_or_copy).shuffle_into(1).group_by_key();
        let found: BTreeMap<_, _> = groups.collect().unwrap().into_iter().collect();
        let mut expected = BTreeMap::<u64, Vec<String>>::new();
        (0..4_000).for_each(|n| expected.entry(n % 97).or_default().push(format!("{n:0100}")));
        assert!(found == expected, "the answer is wrong");
        mark("answered");
        gate("end");
        return;
    }
    let (cluster, driver, engine, left) = both_attempts(here!());
    // A task that read it would report an error.
    let block = File::options().write(true).open(&left).unwrap();
    block.write_all_at(&[0xa5; 64], block.metadata().unwrap().len() / 2).unwrap();
    cluster.shared.open("second");
    cluster.shared.wait_for("answered", 1);
    let blocks = cluster.block_files();
    assert!(blocks.len() > 4 && blocks.contains(&left), "both attempts' blocks are there: {blocks:?}");
    assert!(!driver.err().contains("could not be read"), "the block of the one that counts was read: {}", driver.err());
    // The engine reports its attempt, and learns that it does not count.
    signal(engine, Signal::CONT);
    until("the other block is dropped", || (cluster.block_files().len() == 4).then_some(()));
    assert!(!left.exists());
    cluster.shared.open("end");
    let done = driver.ends_well();
    assert!(!done.err.contains("was lost"), "{}", done.err);
    cluster.is_clean();
}

/// Pairs as lines. A part is too large to go through the hub.
#[derive(Clone, Serialize, Deserialize)]
struct Long;

impl Format<(u64, String)> for Long {
    type Encoder = Long;

    fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<Long> {
        Ok(Long)
    }
}

impl Encoder<(u64, String)> for Long {
    fn write(&mut self, (key, value): (u64, String), to: &mut Buffer) -> Result<()> {
        to.bytes().extend_from_slice(format!("{key} {}\n", value.repeat(20)).as_bytes());
        Ok(())
    }

    fn end(self, _: &mut Buffer) -> Result<()> {
        Ok(())
    }
}

/// Counts how often each partition is written.
#[derive(Clone, Serialize, Deserialize)]
struct Counted(PathBuf, u32);

impl Place for Counted {
    type Part = CountedPart;

    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        self.1 = request.partitions;
        Ok(true)
    }

    fn open(&self, name: FileName, _: u64) -> Result<CountedPart> {
        Ok(CountedPart { path: self.0.join(name.partition.to_string()), name, bytes: Vec::new() })
    }

    fn accept(&mut self, partition: u32, files: Vec<u32>) -> Result<()> {
        assert_eq!(files, [partition]);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        mark(format!("finished-{}", self.1));
        Ok(())
    }

    fn abandon(&mut self) {
        mark("abandoned");
    }
}

struct CountedPart {
    path: PathBuf,
    name: FileName,
    bytes: Vec<u8>,
}

impl Part for CountedPart {
    type Receipt = u32;

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self) -> Result<u32> {
        mark(format!("written-{}", self.name.partition));
        fs::write(&self.path, &self.bytes).map_err(|error| Error::storage("saving", &self.path, &error))?;
        Ok(self.name.partition)
    }
}

#[test]
fn a_driver_gets_each_part_from_one_of_two_attempts() {
    if driving() {
        let cx = context();
        let rows = cx.range_in(0..4_000, 4).map(slow_or_copy);
        rows.to_driver().save((Long, Counted(path(""), 0))).unwrap();
        mark("answered");
        gate("end");
        return;
    }
    let (cluster, driver, engine, left) = both_attempts(here!());
    cluster.shared.open("second");
    cluster.shared.wait_for("answered", 1);
    assert!(left.exists());
    signal(engine, Signal::CONT);
    cluster.is_clean();
    cluster.shared.open("end");
    driver.ends_well();
    for part in 0..4u64 {
        assert_eq!(cluster.shared.marks(&format!("written-{part}")), 1);
        let rows =
            (part * 1_000..(part + 1) * 1_000).map(|n| format!("{} {}\n", n % 97, format!("{n:0100}").repeat(20)));
        assert!(fs::read_to_string(cluster.shared.0.join(part.to_string())).unwrap() == rows.collect::<String>());
    }
    assert_eq!((cluster.shared.marks("finished-4"), cluster.shared.marks("abandoned")), (1, 0));
}
