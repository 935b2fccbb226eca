//! A disk that is really full: a small file system in memory, on machines where this user may mount one.

use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Op};
use tryworks_core::sink::{FileName, Part, Place, SaveRequest, Saver};
use tryworks_io::places::Directory;
use tryworks_store::blocks::{BlockStore, BlockWriter};
use tryworks_store::spill::{SpillOptions, SpillSpace};
use tryworks_testing::SmallDisk;

#[test]
fn a_full_disk_is_an_error_with_numbers_and_works_again_when_there_is_space() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let space = SpillSpace::new(disk.0.clone(), Memory::new(1 << 20), SpillOptions { compress: false, quota: None });
    let spill = |frames: usize| {
        let mut writer = space.writer()?;
        (0..frames).try_for_each(|_| writer.frame(&[7; 1 << 18]))?;
        writer.finish()
    };
    let kept = spill(4).unwrap();
    let error = spill(9).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, Error::Storage { .. }), "{text}");
    assert!(text.contains("No space left") && text.contains("262144 bytes more were needed"), "{text}");
    assert!(text.contains(disk.0.to_str().unwrap()) && text.contains("bytes of that disk are free"), "{text}");
    assert_eq!(space.used(), kept.bytes());
    drop(kept);
    let mut found = Vec::new();
    assert_eq!(spill(7).unwrap().view(6, &mut found).unwrap(), [7; 1 << 18]);
    drop(space);

    let store = BlockStore::open(&disk.0.join("blocks"), None).unwrap();
    let write = |partition: u32, frames: usize| {
        let mut writer =
            BlockWriter::new(store.dir(), store.key().id(OutputId(1), partition, AttemptId(1)), store.quota());
        writer.sequence()?;
        (0..frames).try_for_each(|_| writer.frame(&[7; 1000]))?;
        store.add(OutputId(1), partition, AttemptId(1), writer.seal(b"")?, Vec::new())
    };
    write(0, 1000).unwrap();
    let text = write(1, 1500).unwrap_err().to_string();
    assert!(text.contains("writing a block failed at") && text.contains("No space left"), "{text}");
    assert!(text.contains("262144 bytes more were needed") && text.contains("bytes of that disk are free"), "{text}");
    store.wait_for_removals();
    assert_eq!(std::fs::read_dir(store.dir()).unwrap().count(), 1, "a block");
    store.delete_output(OutputId(1));
    store.wait_for_removals();
    write(1, 1500).unwrap();
    drop(store);

    let out = disk.0.join("out");
    let mut dir = Directory::new(&out).unwrap();
    let (op, saver) = (Op::here("save"), Saver::Bound);
    dir.prepare(&SaveRequest { op, partitions: 1, several_files: false, extension: "", saver, is_deterministic: true })
        .unwrap();
    let mut part = dir.open(FileName { partition: 0, number: 0, directory: String::new() }, 1).unwrap();
    let lines = "all work and no play makes Jack a dull boy\n".repeat(10_000);
    let error = (0..100).find_map(|_| part.write(lines.as_bytes()).err()).unwrap();
    assert!(error.to_string().contains("part-00000: No space left"), "{error}");
    assert!(error.to_string().contains(" bytes more were needed, "), "{error}");
    assert!(error.to_string().ends_with(" bytes of that disk are free"), "{error}");
    drop(part);
    dir.abandon();
    assert!(!out.exists());
}
