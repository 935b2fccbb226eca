//! A store in memory that works like an object store. An object is uploaded in pieces of a minimum size. It appears
//! when its upload is completed with the numbers of all pieces, or never.

use super::trying_twice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;
use tryworks::sink::{FileName, Part, Place, SaveRequest};
use tryworks::text::Lines;

/// The smallest size of a piece that is not the last one.
const PIECE: usize = 200 << 10;

#[derive(Default)]
struct Store {
    /// Uploads that are neither completed nor aborted: the key, and the pieces by their tags.
    uploads: BTreeMap<u64, (String, BTreeMap<u64, Vec<u8>>)>,
    objects: BTreeMap<String, Vec<u8>>,
    requests: u64,
}

static STORE: Mutex<Store> = Mutex::new(Store { uploads: BTreeMap::new(), objects: BTreeMap::new(), requests: 0 });

/// The store's answer to a request; each request has its own number.
fn ask<R>(request: impl FnOnce(&mut Store, u64) -> R) -> R {
    let mut store = STORE.lock().unwrap();
    store.requests += 1;
    let number = store.requests;
    request(&mut store, number)
}

/// The objects under a prefix, and how many uploads are open there.
fn under(prefix: &str) -> (BTreeMap<String, Vec<u8>>, usize) {
    ask(|store, _| {
        let objects = store.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let open = store.uploads.values().filter(|(key, _)| key.starts_with(prefix)).count();
        (objects.map(|(key, bytes)| (key.clone(), bytes.clone())).collect(), open)
    })
}

/// The objects whose keys begin with a prefix.
#[derive(Clone, Serialize, Deserialize)]
struct Bucket {
    prefix: String,
    extension: String,
}

impl Bucket {
    fn new(prefix: &str) -> Self {
        Bucket { prefix: prefix.into(), extension: String::new() }
    }
}

/// A completed upload: all its pieces have been sent.
#[derive(Clone, Serialize, Deserialize)]
struct Uploaded {
    upload: u64,
    tags: Vec<u64>,
}

impl Place for Bucket {
    type Part = Upload;

    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        self.extension = request.extension.into();
        if under(&self.prefix).0.is_empty() {
            return Ok(true);
        }
        Err(Error::storage("preparing to save", &self.prefix, &std::io::Error::other("there are objects already")))
    }

    fn open(&self, name: FileName, _: u64) -> Result<Upload> {
        let key = format!("{}/{}-{}{}", self.prefix, name.partition, name.number, self.extension);
        let upload = ask(|store, number| {
            store.uploads.insert(number, (key, BTreeMap::new()));
            number
        });
        Ok(Upload { upload, tags: Vec::new(), gathered: Vec::new(), is_committed: false })
    }

    fn accept(&mut self, partition: u32, files: Vec<Uploaded>) -> Result<()> {
        for file in files {
            ask(|store, _| {
                let (key, mut pieces) = store.uploads.remove(&file.upload).expect("an upload is completed once");
                assert!(key.starts_with(&format!("{}/{partition}-", self.prefix)));
                let bytes = file.tags.iter().flat_map(|tag| pieces.remove(tag).expect("it has its pieces")).collect();
                assert!(pieces.is_empty() && store.objects.insert(key, bytes).is_none());
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        ask(|store, _| store.objects.insert(format!("{}/_SUCCESS", self.prefix), Vec::new()));
        self.abort();
        Ok(())
    }

    fn abandon(&mut self) {
        self.abort();
        ask(|store, _| store.objects.retain(|key, _| !key.starts_with(&self.prefix)));
    }
}

impl Bucket {
    /// Ends uploads that attempts left open and that were not accepted.
    fn abort(&self) {
        ask(|store, _| store.uploads.retain(|_, (key, _)| !key.starts_with(&self.prefix)));
    }
}

struct Upload {
    upload: u64,
    tags: Vec<u64>,
    gathered: Vec<u8>,
    is_committed: bool,
}

impl Upload {
    fn send(&mut self) -> Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        let tag = ask(|store, number| {
            let (_, pieces) = store.uploads.get_mut(&self.upload)?;
            pieces.insert(number, piece);
            Some(number)
        });
        let gone = || Error::storage("uploading", "a piece", &std::io::Error::other("the upload was aborted"));
        self.tags.push(tag.ok_or_else(gone)?);
        Ok(())
    }
}

impl Part for Upload {
    type Receipt = Uploaded;

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < PIECE { Ok(()) } else { self.send() }
    }

    fn held_bytes(&self) -> u64 {
        self.gathered.capacity() as u64
    }

    fn commit(mut self) -> Result<Uploaded> {
        self.send()?;
        self.is_committed = true;
        Ok(Uploaded { upload: self.upload, tags: std::mem::take(&mut self.tags) })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_committed {
            ask(|store, _| store.uploads.remove(&self.upload));
        }
    }
}

/// All lines under a prefix, in the order of the partitions.
fn lines(prefix: &str) -> Vec<u64> {
    let mut objects = under(prefix).0;
    assert_eq!(objects.remove(&format!("{prefix}/_SUCCESS")), Some(Vec::new()));
    let texts = objects.into_values().map(|bytes| String::from_utf8(bytes).unwrap());
    texts.collect::<String>().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn objects_are_uploaded_in_pieces_and_appear_when_they_are_accepted() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = trying_twice();
    // A partition is 800 KB: four pieces, of which the last one is small.
    let numbers = cx.range_in(1_000_000..1_400_000, 4).map(|n| {
        if n == 1_090_000 && RUNS.fetch_add(1, Relaxed) == 0 {
            assert!(!under("tasks").0.contains_key("tasks/0-0"), "it is not to be seen yet");
            panic!("two pieces of it were uploaded");
        }
        n
    });
    numbers.save((Lines, Bucket::new("tasks")))?;
    assert_eq!(RUNS.load(Relaxed), 2);
    assert!(lines("tasks").into_iter().eq(1_000_000..1_400_000));
    numbers.to_driver().save((Lines, Bucket::new("driver")))?;
    assert!(lines("driver").into_iter().eq(1_000_000..1_400_000));
    assert_eq!((under("tasks").1, under("driver").1), (0, 0), "no upload is open");
    let error = numbers.save((Lines, Bucket::new("tasks"))).unwrap_err();
    assert!(error.to_string().contains("there are objects already"), "{error}");
    Ok(())
}

#[test]
fn a_job_that_fails_or_is_cancelled_leaves_neither_objects_nor_uploads() -> Result<()> {
    static ITEMS: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::local(2)?;
    let failing = cx.range_in(0..1_000_000, 20).map(|n| if n == 999_999 { panic!("the last one") } else { n });
    assert!(failing.save((Lines, Bucket::new("failed"))).is_err());
    assert_eq!(under("failed"), (BTreeMap::new(), 0));

    let slow = cx.range_in(0..100_000, 10).map(|n| {
        ITEMS.fetch_add(1, Relaxed);
        std::thread::sleep(std::time::Duration::from_micros(20));
        n
    });
    let job = slow.background().save((Lines, Bucket::new("cancelled")))?;
    crate::support::wait_until("something is written", || ITEMS.load(Relaxed) > 15_000);
    job.cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled)));
    // A task that was in the middle of an upload aborts it when it stops.
    crate::support::wait_until("nothing is left", || under("cancelled") == (BTreeMap::new(), 0));
    Ok(())
}
