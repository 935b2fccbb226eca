//! The owner of blocks: what it holds, counts, refuses and deletes, and what remains when it dies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tryworks_base::frames::Frames;
use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::{Error, codec};
use tryworks_store::blocks::{
    BlockId, BlockKey, BlockStore, BlockWriter, Held, OpenBlock, Quota, SMALL, Sealed, Served, sweep,
};

struct Place {
    store: BlockStore,
    parent: tempfile::TempDir,
}

fn place(quota: Option<u64>) -> Place {
    let parent = tempfile::tempdir().unwrap();
    Place { store: BlockStore::open(&parent.path().join("engine"), quota).unwrap(), parent }
}

impl Place {
    fn seal(&self, output: u64, partition: u32, attempt: u64, byte: u8, len: usize) -> Sealed {
        seal(&self.store, self.store.key().id(OutputId(output), partition, AttemptId(attempt)), byte, len)
    }

    fn add(&self, output: u64, partition: u32, attempt: u64, byte: u8, len: usize) -> BlockId {
        let sealed = self.seal(output, partition, attempt, byte, len);
        self.store.add(OutputId(output), partition, AttemptId(attempt), sealed, vec![byte]).unwrap()
    }

    /// The files on the disk, after deleted blocks are gone.
    fn files(&self) -> Vec<PathBuf> {
        self.store.wait_for_removals();
        fs::read_dir(self.store.dir()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The directory that the test gave.
    fn named(&self) -> PathBuf {
        self.parent.path().join("engine")
    }

    fn held(&self) -> Vec<(u64, u32, u64, u8)> {
        let all = self.store.inventory();
        all.iter().map(|info| (info.output.0, info.partition, info.attempt.0, info.note[0])).collect()
    }
}

fn seal(store: &BlockStore, id: BlockId, byte: u8, len: usize) -> Sealed {
    let mut writer = BlockWriter::new(store.dir(), id, store.quota());
    writer.sequence().unwrap();
    writer.frame(&vec![byte; len]).unwrap();
    writer.seal(&[]).unwrap()
}

/// The byte that fills a block.
fn filled(held: &Held) -> u8 {
    let block = OpenBlock::held(held).unwrap();
    let (sequence, mut scratch) = (block.sequence(0).unwrap(), Vec::new());
    let frame = sequence.view(0, &mut scratch).unwrap();
    assert!(frame.iter().all(|byte| *byte == frame[0]));
    frame[0]
}

fn storage(error: Error, word: &str) {
    assert!(matches!(&error, Error::Storage { .. }) && error.to_string().contains(word), "{error}");
}

#[test]
fn attempts_of_one_partition_lie_side_by_side() {
    let place = place(None);
    let (one, two) = (place.add(7, 3, 1, 1, 100_000), place.add(7, 3, 2, 2, 50));
    let [first, second] = [one, two].map(|id| place.store.get(id).unwrap());
    assert!(matches!(first.held(), Held::File { .. }) && matches!(second.held(), Held::Small(_)));
    assert_eq!((filled(first.held()), filled(second.held())), (1, 2));
    assert_eq!(place.held(), [(7, 3, 1, 1), (7, 3, 2, 2)]);
    place.store.delete_attempt(AttemptId(1));
    assert_eq!(place.held(), [(7, 3, 2, 2)]);
    assert!(place.store.get(one).is_none() && place.store.get(two).is_some());
}

#[test]
fn outputs_and_attempts_are_deleted_whole_and_give_their_bytes_back() {
    let place = place(None);
    for output in [1, 2, u64::MAX] {
        for partition in [0, 1, u32::MAX] {
            for attempt in [10, u64::MAX] {
                place.add(output, partition, attempt, partition as u8, if attempt == 10 { 40_000 } else { 10 });
            }
        }
    }
    let bytes = |place: &Place| place.store.inventory().iter().map(|info| info.bytes).sum::<u64>();
    assert_eq!((place.held().len(), place.files().len(), place.store.used()), (18, 9, bytes(&place)));
    place.store.delete_output(OutputId(2));
    assert!(place.held().len() == 12 && place.held().iter().all(|(output, ..)| *output != 2));
    assert_eq!((place.files().len(), place.store.used()), (6, bytes(&place)));
    place.store.delete_attempt(AttemptId(u64::MAX));
    assert!(place.held().len() == 6 && place.held().iter().all(|(_, _, attempt, _)| *attempt == 10));
    assert_eq!((place.files().len(), place.store.used()), (6, bytes(&place)));
    place.store.delete_attempt(AttemptId(9));
    place.store.delete_output(OutputId(u64::MAX));
    place.store.delete_output(OutputId(1));
    assert_eq!((place.held().len(), place.files().len(), place.store.used()), (0, 0, 0));
}

#[test]
fn a_deleted_block_that_is_being_read_stays_until_its_last_reader_ends() {
    let place = place(None);
    let id = place.add(1, 0, 5, 9, 100_000);
    let (one, two) = (place.store.get(id).unwrap(), place.store.get(id).unwrap());
    let used = place.store.used();
    place.store.delete_output(OutputId(1));
    place.store.delete_attempt(AttemptId(5));
    assert!(place.store.get(id).is_none() && place.held().is_empty());
    assert_eq!((filled(one.held()), place.store.used(), place.files().len()), (9, used, 1));
    drop(one);
    let mut bytes = Vec::new();
    Served::new(two).unwrap().read(10..20, &mut bytes).unwrap();
    assert_eq!(bytes, [9; 10]);
    assert_eq!((place.files().len(), place.store.used()), (0, 0));
}

#[test]
fn the_quota_is_kept_by_writers_and_by_the_store() {
    let place = place(Some(1 << 20));
    let limit = |error: &Error, words: &[&str]| {
        let right = matches!(error, Error::Limit { name, value, .. } if name == "block_quota" && *value == 1 << 20);
        let text = error.to_string();
        assert!(right && words.iter().all(|word| text.contains(word)), "{text}");
    };
    place.add(1, 0, 1, 1, 700_000);
    let used = place.store.used();
    let (a, b) = (place.seal(1, 1, 1, 2, 300_000), place.seal(1, 2, 1, 3, 300_000));
    let needed = b.bytes();
    place.store.add(OutputId(1), 1, AttemptId(1), a, Vec::new()).unwrap();
    let error = place.store.add(OutputId(1), 2, AttemptId(1), b, Vec::new()).unwrap_err();
    limit(
        &error,
        &[&format!("{needed} bytes more"), &format!("{} are in use", used + needed), "bytes of that disk are free"],
    );
    assert_eq!(place.files().len(), 2, "what was refused is deleted");

    let mut writer =
        BlockWriter::new(place.store.dir(), place.store.key().id(OutputId(1), 3, AttemptId(1)), place.store.quota());
    writer.sequence().unwrap();
    let error = (0..1000).find_map(|_| writer.frame(&[1; 1000]).err()).unwrap();
    limit(&error, &["262144 bytes more", &format!("{} are in use", place.store.used())]);
    assert!(matches!(writer.seal(&[]), Err(Error::Bug(_))), "a part of it is missing");
    place.store.delete_output(OutputId(1));
    place.add(1, 4, 1, 4, 900_000);
}

#[test]
fn blocks_that_are_not_sealed_or_not_added_leave_nothing() {
    let place = place(None);
    let mut writer =
        BlockWriter::new(place.store.dir(), place.store.key().id(OutputId(1), 0, AttemptId(1)), place.store.quota());
    writer.sequence().unwrap();
    writer.frame(&[1; 1_000_000]).unwrap();
    assert_eq!(place.files().len(), 1);
    let again = &mut BlockWriter::new(
        place.store.dir(),
        place.store.key().id(OutputId(1), 0, AttemptId(1)),
        place.store.quota(),
    );
    again.sequence().unwrap();
    storage(again.frame(&[1; 1_000_000]).unwrap_err(), "File exists");
    drop(writer);
    assert_eq!(place.files().len(), 0);

    // As a killed worker would leave them.
    place.seal(1, 1, 2, 1, 100_000);
    let sealed = place.files().pop().unwrap();
    fs::copy(&sealed, sealed.with_extension("part")).unwrap();
    let kept = place.add(1, 2, 2, 1, 100_000);
    assert_eq!(place.files().len(), 3);
    place.store.discard(OutputId(1), 1, AttemptId(2));
    place.store.discard(OutputId(1), 2, AttemptId(2));
    assert_eq!(place.files(), [kept.path_in(place.store.dir())], "what was added is not discarded");
}

#[test]
fn only_blocks_are_added_and_only_once() {
    let place = place(None);
    storage(
        place.store.add(OutputId(1), 0, AttemptId(1), Sealed::File { bytes: 100 }, Vec::new()).unwrap_err(),
        "No such file",
    );
    storage(
        place.store.add(OutputId(1), 0, AttemptId(1), Sealed::Small(vec![0; 100].into()), Vec::new()).unwrap_err(),
        "end like a block",
    );
    storage(
        place.store.add(OutputId(1), 0, AttemptId(1), Sealed::Small(vec![].into()), Vec::new()).unwrap_err(),
        "shorter than a footer",
    );
    let sealed = place.seal(1, 0, 1, 1, 100_000);
    let lie = Sealed::File { bytes: sealed.bytes() - 1 };
    storage(
        place.store.add(OutputId(1), 0, AttemptId(1), lie, Vec::new()).unwrap_err(),
        "not as long as its writer said",
    );
    assert_eq!((place.files().len(), place.store.used()), (0, 0));
    let id = place.add(1, 0, 1, 1, 100_000);
    let again = place.store.add(OutputId(1), 0, AttemptId(1), Sealed::File { bytes: sealed.bytes() }, Vec::new());
    assert!(matches!(again, Err(Error::Bug(_))));
    assert_eq!(filled(place.store.get(id).unwrap().held()), 1);
}

#[test]
fn a_file_that_vanished_or_was_damaged_is_found_out() {
    let place = place(None);
    let id = place.add(1, 0, 1, 1, 100_000);
    let path = id.path_in(place.store.dir());
    let whole = fs::read(&path).unwrap();
    // A new file each time, as a sealed one is never written again.
    let put = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    let pin = place.store.get(id).unwrap();
    for len in [0, 31, 32, 1000, whole.len() - 1] {
        put(&whole[..len]);
        storage(OpenBlock::held(pin.held()).err().unwrap(), "reading a block failed");
    }
    let mut flipped = whole.clone();
    flipped[5000] ^= 4;
    put(&flipped);
    let block = OpenBlock::held(pin.held()).unwrap();
    storage(block.sequence(0).unwrap().view(0, &mut Vec::new()).map(<[u8]>::len).unwrap_err(), "frame 0 of sequence 0");
    put(&whole[..1000]);
    storage(Served::new(place.store.get(id).unwrap()).unwrap().table().unwrap_err(), "reading a block to serve");
    fs::remove_file(&path).unwrap();
    let error = OpenBlock::held(pin.held()).err().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(&name[..8]) && !error.to_string().contains(name), "{error}");
    storage(error, "No such file");
    storage(Served::new(place.store.get(id).unwrap()).err().unwrap(), "No such file");
}

#[test]
fn small_blocks_go_to_the_disk_when_memory_holds_many() {
    let place = place(None);
    let len = SMALL - 1000;
    let many = (64 << 20) / SMALL as u32 + 100;
    let ids: Vec<BlockId> = (0..many).map(|i| place.add(1, i, 1, i as u8, len)).collect();
    let on_disk = place.files().len() as u64;
    let in_memory = place.store.used() / u64::from(many) * (u64::from(many) - on_disk);
    assert!(on_disk > 0 && in_memory <= 64 << 20, "{on_disk} on the disk, {in_memory} bytes in memory");
    let wrong = |(i, id): &(usize, &BlockId)| filled(place.store.get(**id).unwrap().held()) != *i as u8;
    assert_eq!(ids.iter().enumerate().find(wrong), None);
    place.store.delete_output(OutputId(1));
    assert_eq!((place.files().len(), place.store.used()), (0, 0));
    let id = place.add(2, 0, 1, 1, len);
    assert!(matches!(place.store.get(id).unwrap().held(), Held::Small(_)), "the limit allows it again");
}

#[test]
fn keys_and_sealed_blocks_can_be_sent() {
    fn sent<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        let mut bytes = Vec::new();
        codec::encode(value, &mut bytes).unwrap();
        codec::decode(&bytes).unwrap().0
    }
    let place = place(Some(1 << 30));
    let key: BlockKey = sent(place.store.key());
    assert_eq!(key.id(OutputId(1), 2, AttemptId(3)), place.store.key().id(OutputId(1), 2, AttemptId(3)));
    assert_eq!(sent(&key.id(OutputId(1), 2, AttemptId(3))), key.id(OutputId(1), 2, AttemptId(3)));
    let small = place.seal(1, 2, 3, 1, 10);
    assert!(matches!(small, Sealed::Small(_)) && sent(&small) == small);
    assert_eq!(sent(&place.store.quota()), Quota { limit: Some(1 << 30), used: 0 });
    place.store.add(OutputId(1), 2, AttemptId(3), small, b"a note".to_vec()).unwrap();
    let inventory = place.store.inventory();
    assert!(sent(&inventory) == inventory && inventory[0].note == b"a note");
}

#[test]
fn a_directory_has_one_owner_and_is_closed_to_others() {
    let place = place(None);
    let (dir, blocks) = (place.named(), place.store.dir().to_path_buf());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let id = place.add(1, 0, 1, 1, 100_000);
    assert_eq!((mode(&dir), mode(&blocks), mode(&id.path_in(&blocks))), (0o700, 0o700, 0o600));
    storage(BlockStore::open(&dir, None).err().unwrap(), "another process that is alive owns it");
    assert_eq!(sweep(place.parent.path()).unwrap(), [] as [PathBuf; 0]);
    assert_eq!(filled(place.store.get(id).unwrap().held()), 1, "neither touched it");
    let pin = place.store.get(id).unwrap();
    drop(place.store);
    assert!(BlockStore::open(&dir, None).is_err(), "a reader still has it");
    drop(pin);
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    storage(BlockStore::open(&dir, None).err().unwrap(), "open to other users");
    assert_eq!(mode(&dir), 0o755);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let store = BlockStore::open(&dir, None).unwrap();
    assert_ne!(store.key().id(OutputId(1), 0, AttemptId(1)), id, "names are new");
    storage(BlockStore::open(&dir.join("tryworks-blocks.lock"), None).err().unwrap(), "opening a directory of blocks");
}

/// Runs this test program again, as a child that owns a directory and waits to be killed.
#[test]
fn the_directory_of_a_killed_owner_is_removed() {
    const OWNED: &str = "TRYWORKS_TEST_OWNED";
    if let Some(dir) = std::env::var_os(OWNED) {
        let store = BlockStore::open(Path::new(&dir), None).unwrap();
        let sealed = seal(&store, store.key().id(OutputId(1), 0, AttemptId(1)), 1, 100_000);
        store.add(OutputId(1), 0, AttemptId(1), sealed, Vec::new()).unwrap();
        let mut writer = BlockWriter::new(store.dir(), store.key().id(OutputId(1), 1, AttemptId(1)), store.quota());
        writer.sequence().unwrap();
        writer.frame(&[1; 1_000_000]).unwrap();
        println!("\nowned");
        std::io::stdout().flush().unwrap();
        // The parent keeps the other end open for as long as it lives.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let dirs = ["one", "two"].map(|name| parent.path().join(name));
    let owners = dirs.each_ref().map(|dir| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_directory_of_a_killed_owner_is_removed", "--nocapture"])
            .env(OWNED, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "owned"));
        child
    });
    assert_eq!(sweep(parent.path()).unwrap(), [] as [PathBuf; 0], "their owners are alive");
    for mut owner in owners {
        owner.kill().unwrap();
        owner.wait().unwrap();
    }
    let inside = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    for dir in &dirs {
        let [blocks] = &inside(dir)[..] else { panic!("one directory for blocks") };
        assert_eq!(fs::read_dir(blocks).unwrap().count(), 2, "a block, and one that was not sealed");
    }
    let before = inside(&dirs[1]).remove(0);
    // Directories of others, and one that looks like Tryworks's except for the lock.
    let name = "0123456789abcdef0123456789abcdef";
    for file in ["theirs/lock", &format!("unlocked/{name}"), &format!("two/{name}.txt")] {
        fs::create_dir_all(parent.path().join(file).parent().unwrap()).unwrap();
        fs::write(parent.path().join(file), "precious").unwrap();
    }
    std::os::unix::fs::symlink(&dirs[0], parent.path().join("link")).unwrap();

    // A new owner of the same directory takes over nothing.
    let store = BlockStore::open(&dirs[1], None).unwrap();
    assert!(store.inventory().is_empty() && fs::read_dir(store.dir()).unwrap().count() == 0);
    store.wait_for_removals();
    // A worker of the old owner that lives on writes nothing into the new owner's directory.
    assert!(store.dir() != before && !before.exists() && inside(&dirs[1]) == [store.dir()]);
    let mut late = BlockWriter::new(&before, store.key().id(OutputId(1), 2, AttemptId(1)), store.quota());
    late.sequence().unwrap();
    storage(late.frame(&[1; 1_000_000]).unwrap_err(), "No such file");
    assert_eq!(sweep(parent.path()).unwrap(), [dirs[0].clone()]);
    assert!(!dirs[0].exists());
    drop(store);
    for file in ["theirs/lock", &format!("unlocked/{name}"), &format!("two/{name}.txt")] {
        assert_eq!(fs::read_to_string(parent.path().join(file)).unwrap(), "precious");
    }
    assert_eq!(sweep(&parent.path().join("nowhere")).unwrap(), [] as [PathBuf; 0]);
}
