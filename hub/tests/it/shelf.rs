//! A data port with a shelf, for the tests of the data port.

use crate::support::{LOOPBACK, authority};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use tryworks_hub::{Authority, Validity};
use tryworks_transport::{
    Chunks, DataClient, DataError, DataHandler, DataLimits, DataStream, Door, Download, Limits, Role, Upload, chunks,
    serve_data,
};

/// Stores uploads by name. Some names are special.
#[derive(Default)]
pub struct Shelf {
    pub blocks: Mutex<BTreeMap<String, Bytes>>,
    pub asked: Mutex<Vec<(Role, String)>>,
    /// The pieces of "endless" that are in memory.
    pub in_memory: Arc<InMemory>,
    /// Lets the download of "waits" continue.
    go_on: Mutex<Option<Receiver<()>>>,
}

/// Counts the bytes that are in memory.
#[derive(Default)]
pub struct InMemory {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl InMemory {
    /// The most that were in memory at once.
    pub fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    fn piece(self: &Arc<Self>) -> Bytes {
        let now = self.now.fetch_add(MIB, Relaxed) + MIB;
        self.most.fetch_max(now, Relaxed);
        Bytes::from_owner(Piece(vec![0; MIB], self.clone()))
    }
}

struct Piece(Vec<u8>, Arc<InMemory>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.now.fetch_sub(self.0.len(), Relaxed);
    }
}

#[derive(Clone, Default)]
pub struct Shelves(pub Arc<Shelf>);

pub const MIB: usize = 1 << 20;

pub fn some(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 253) as u8).collect()
}

pub fn pieces(n: usize, then: impl FnOnce() -> io::Result<Bytes> + Send + 'static) -> Chunks {
    let then = std::iter::once_with(then);
    Box::new(std::iter::repeat_n(some(MIB), n).map(Ok).chain(then))
}

impl DataHandler for Shelves {
    fn get(&self, role: Role, request: &[u8]) -> Result<Download, String> {
        let name = String::from_utf8_lossy(request).into_owned();
        self.0.asked.lock().unwrap().push((role, name.clone()));
        let len = 4 * MIB as u64;
        let chunks = match name.as_str() {
            "breaks" => pieces(2, || Err(io::Error::other("the disk is gone"))),
            "too few" => pieces(2, || Ok(Bytes::new())),
            "too many" => pieces(4, || Ok(some(1))),
            "one too many" => pieces(3, || Ok(some(MIB + 1))),
            "endless" => {
                let counter = self.0.in_memory.clone();
                let chunks = Box::new(std::iter::repeat_with(move || Ok(counter.piece())));
                return Ok(Download { len: 1 << 40, held: 2 * MIB, chunks });
            }
            "panics" => panic!("as asked for"),
            "panics later" => pieces(1, || panic!("as asked for")),
            "waits" => {
                let go_on = self.0.go_on.lock().unwrap().take().unwrap();
                pieces(2, move || {
                    let _ = go_on.recv();
                    Ok(some(MIB))
                })
            }
            name => {
                return match self.0.blocks.lock().unwrap().get(name) {
                    Some(bytes) => Ok(Download::read(io::Cursor::new(bytes.clone()), bytes.len() as u64)),
                    None => Err(format!("there is no block {name}")),
                };
            }
        };
        Ok(Download { len, held: 2 * MIB, chunks })
    }

    fn put(&self, role: Role, request: &[u8], len: u64) -> Result<Box<dyn Upload>, String> {
        if role != Role::Driver {
            return Err(format!("an {role} puts nothing here"));
        }
        if len > 64 * MIB as u64 {
            return Err("there is no space".into());
        }
        let name = String::from_utf8_lossy(request).into_owned();
        Ok(Box::new(Coming { shelf: self.0.clone(), name, bytes: Vec::new() }))
    }
}

struct Coming {
    shelf: Arc<Shelf>,
    name: String,
    bytes: Vec<u8>,
}

impl Upload for Coming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend(bytes);
        match self.name.as_str() {
            "no disk" => Err(io::Error::other("the disk is full")),
            "panics" => panic!("as asked for"),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        if self.name == "wrong" {
            return Err("this is not what its name says".into());
        }
        self.shelf.blocks.lock().unwrap().insert(self.name, self.bytes.into());
        Ok(())
    }
}

pub struct Port {
    pub authority: Authority,
    pub shelves: Shelves,
    pub door: Door,
    pub address: String,
}

impl Port {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let authority = authority(Validity::default());
        let shelves = Shelves::default();
        let engine = authority.connection(Role::Engine).credentials().unwrap();
        let door = serve_data(LOOPBACK, &engine, limits, shelves.clone()).await.unwrap();
        let address = door.address().to_string();
        Port { authority, shelves, door, address }
    }

    pub fn client(&self, role: Role, limits: DataLimits) -> DataClient {
        DataClient::new(self.authority.connection(role).credentials().unwrap(), limits)
    }

    pub fn driver(&self) -> DataClient {
        self.client(Role::Driver, DataLimits::default())
    }

    pub fn keep(&self, name: &str, bytes: &Bytes) {
        self.shelves.0.blocks.lock().unwrap().insert(name.into(), bytes.clone());
    }

    pub fn waits(&self) -> Sender<()> {
        let (go_on, wait) = channel();
        *self.shelves.0.go_on.lock().unwrap() = Some(wait);
        go_on
    }

    pub async fn get(&self, client: &DataClient, name: &str) -> Result<Bytes, DataError> {
        whole(client.get(&self.address, Role::Engine, name.as_bytes()).await?).await
    }

    pub async fn put(&self, client: &DataClient, name: &str, bytes: &Bytes) -> Result<(), DataError> {
        let len = bytes.len() as u64;
        client.put(&self.address, Role::Engine, name.as_bytes(), len, chunks(io::Cursor::new(bytes.clone()))).await
    }

    /// The next request is served, whatever happened before.
    pub async fn is_well(&self) {
        self.keep("well", &some(1234));
        assert_eq!(self.get(&self.driver(), "well").await.unwrap(), some(1234));
    }
}

pub async fn whole(mut stream: DataStream) -> Result<Bytes, DataError> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await? {
        assert!(!chunk.is_empty() && chunk.len() <= MIB);
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all.len() as u64, stream.total());
    assert_eq!(stream.next_chunk().await, Ok(None));
    Ok(all.into())
}
