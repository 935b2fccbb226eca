//! Blocks as a worker sees them: where they are, those that it has open, and those that its engine has to fetch.

use super::questions::Questions;
use crate::shielded::Shielded;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tryworks_base::frames::Frames;
use tryworks_base::ids::{AttemptId, EngineId, ExchangeId, OutputId, SessionId};
use tryworks_base::lock::{Lock, ReadLock, Turns};
use tryworks_base::{Error, Result, outlet};
use tryworks_core::host::{FrameRequest, Prefetched, SealedBlock};
use tryworks_protocol as protocol;
use tryworks_protocol::engine::{Places, StorePlace};
use tryworks_protocol::worker::{BlockPart, FromWorker, Piece, Wanted as Asked, Welcome};
use tryworks_scheduler::{BlockLocation, FetchFailure};
use tryworks_store::blocks::{BlockWriter, Landing, MOST_AT_ONCE, OpenBlock, Quota};
use tryworks_transport::LinkSender;

/// How many tables of contents one question asks for: the answer is one message.
const TABLES: usize = 1024;

/// The open blocks of an exchange, by their partitions.
type OpenBlocks = Arc<HashMap<u32, Open>>;

/// An open block.
#[derive(Clone)]
struct Open {
    at: BlockLocation,
    block: Arc<OpenBlock>,
    /// What is made of its head may hold keys of a user's type.
    sealed: Shielded<Arc<SealedBlock>>,
    remote: bool,
}

/// What the worker knows of an exchange.
#[derive(Default)]
struct Exchange {
    places: Arc<Places>,
    /// The blocks that are open, and the places for which they were opened.
    open: OpenBlocks,
    opened_for: Arc<Places>,
    /// Blocks that were not found, until the places change.
    missing: Vec<FetchFailure>,
    readers: Arc<Lock<Readers>>,
}

pub(super) struct Blocks {
    session: SessionId,
    own: StorePlace,
    directory: PathBuf,
    quota: Lock<Quota>,
    stores: ReadLock<HashMap<EngineId, StorePlace>>,
    exchanges: ReadLock<HashMap<OutputId, Exchange>>,
    /// The exchange whose blocks a thread is opening: other threads wait for the result.
    opening: Turns<OutputId>,
    to: LinkSender,
    pub(super) questions: Questions<Vec<Piece>>,
}

impl Blocks {
    pub(super) fn new(welcome: &Welcome, to: LinkSender) -> Self {
        let stores = HashMap::from([(welcome.engine, welcome.store.clone())]);
        Blocks {
            session: welcome.session,
            own: welcome.store.clone(),
            directory: PathBuf::from(&welcome.store.directory),
            quota: Lock::new(welcome.quota),
            stores: ReadLock::new(stores),
            exchanges: ReadLock::default(),
            opening: Turns::default(),
            questions: Questions::new(to.clone()),
            to,
        }
    }

    pub(super) fn set_quota(&self, quota: Quota) {
        *self.quota.lock() = quota;
    }

    pub(super) fn meet(&self, engine: EngineId, store: StorePlace) {
        self.stores.write().insert(engine, store);
    }

    pub(super) fn place(&self, output: OutputId, places: Places) {
        let mut exchanges = self.exchanges.write();
        let exchange = exchanges.entry(output).or_default();
        exchange.places = Arc::new(places);
        exchange.missing.clear();
    }

    /// An exchange is no longer needed. The caller drops the exchange's open blocks by dropping the returned value.
    #[must_use]
    pub(super) fn forget(&self, output: OutputId) -> Option<impl Send + 'static + use<>> {
        self.exchanges.write().remove(&output)
    }

    /// A writer for a block in the engine's own store.
    pub(super) fn writer(&self, output: OutputId, partition: u32, attempt: AttemptId) -> BlockWriter {
        let quota = *self.quota.lock();
        BlockWriter::new(&self.directory, self.own.key.id(output, partition, attempt), quota)
    }

    fn output(&self, exchange: ExchangeId) -> OutputId {
        self.session.output(exchange)
    }

    /// A map output. Opening it opens all others of its exchange too.
    pub(super) fn fetch(&self, exchange: ExchangeId, map: u32) -> Result<Arc<SealedBlock>> {
        let output = self.output(exchange);
        let lost = |why: &str| Error::Fetch { exchange, map, message: why.into() };
        let known = self.exchanges.read().get(&output).map(|known| (known.places.clone(), known.open.clone()));
        let (places, open) = known.ok_or_else(|| lost("its engine is not known"))?;
        let at = places.at(map);
        let sealed = |open: &HashMap<u32, Open>| {
            let open = open.get(&map).filter(|open| Some(open.at) == at);
            open.map(|open| (*open.sealed).clone())
        };
        if let Some(sealed) = sealed(&open) {
            return Ok(sealed);
        }
        drop(open);
        let _turn = self.opening.take(output);
        // The thread that had the turn before has opened the block, or found that it is missing.
        let open = match self.look(output, &places) {
            Some(open) => open,
            None => self.open_all(exchange, &places)?,
        };
        sealed(&open).ok_or_else(|| lost("it is not there"))
    }

    /// The open blocks of an exchange, if everything at these places was already opened.
    fn look(&self, output: OutputId, places: &Arc<Places>) -> Option<OpenBlocks> {
        let exchanges = self.exchanges.read();
        let known = exchanges.get(&output).filter(|known| Arc::ptr_eq(&known.opened_for, places))?;
        Some(known.open.clone())
    }

    /// Opens the blocks of an exchange that are not open yet, and remembers those that are missing.
    fn open_all(&self, exchange: ExchangeId, places: &Arc<Places>) -> Result<OpenBlocks> {
        let output = self.output(exchange);
        let before = self.exchanges.read().get(&output).map(|known| known.open.clone()).unwrap_or_default();
        let mut all = (*before).clone();
        drop(before);
        let stores = self.stores.read().clone();
        let (mut missing, mut asked, mut whys) = (Vec::new(), Vec::new(), None);
        for map in 0..places.partitions {
            let at = places.at(map);
            let lost = FetchFailure { output, partition: map, at };
            let Some((at, store)) = at.and_then(|at| Some((at, stores.get(&at.engine)?))) else {
                missing.push(lost);
                continue;
            };
            if all.get(&map).is_some_and(|open| open.at == at) {
                continue;
            }
            let id = store.key.id(output, map, at.made_by);
            if store.host == self.own.host {
                let path = id.path_in(&PathBuf::from(&store.directory));
                if path.exists() {
                    match OpenBlock::file(&path) {
                        Ok(block) => drop(all.insert(map, opened(at, block, false)?)),
                        Err(_) => missing.push(lost),
                    }
                    continue;
                }
            }
            asked.push((map, at, Asked { engine: at.engine, block: id, part: BlockPart::Contents }));
        }
        if !asked.is_empty() {
            let mut pieces = Vec::with_capacity(asked.len());
            for some in asked.chunks(TABLES) {
                pieces.extend(self.ask(some.iter().map(|(.., wanted)| *wanted).collect())?);
            }
            for ((map, at, wanted), piece) in asked.iter().zip(pieces) {
                let name = format!("{} of {}", wanted.block, at.engine);
                let block = match piece {
                    Piece::Whole(bytes) => OpenBlock::memory(name, Bytes::from(bytes)).map(|block| (block, false)),
                    Piece::Table(bytes) => OpenBlock::remote(name, &bytes).map(|block| (block, true)),
                    Piece::Range(_) | Piece::Note(_) => Err(Error::Bug("a piece of another kind came".into())),
                    Piece::Missing(why) => {
                        whys.get_or_insert(why.clone());
                        Err(Error::cluster(why, "it is recomputed"))
                    }
                };
                match block {
                    Ok((block, remote)) => drop(all.insert(*map, opened(*at, block, remote)?)),
                    Err(_) => {
                        missing.push(FetchFailure { output, partition: *map, at: Some(*at) });
                    }
                }
            }
        }
        let all = Arc::new(all);
        let mut exchanges = self.exchanges.write();
        // By now the exchange may be forgotten, or its places may have changed.
        let before = exchanges.get_mut(&output).filter(|known| Arc::ptr_eq(&known.places, places)).map(|known| {
            (known.opened_for, known.missing) = (places.clone(), missing);
            std::mem::replace(&mut known.open, all.clone())
        });
        drop(exchanges);
        drop(before);
        self.say_why(output, whys);
        Ok(all)
    }

    /// All blocks that are missing of an exchange, one of whose blocks, `map`, could not be read. Open blocks are
    /// checked for damage, too, so that everything is recomputed at once.
    pub(super) fn missing(&self, exchange: ExchangeId, map: u32) -> Vec<FetchFailure> {
        let output = self.output(exchange);
        let (known, open) = match self.exchanges.write().get_mut(&output) {
            Some(known) => {
                known.opened_for = Arc::default();
                (std::mem::take(&mut known.missing), std::mem::take(&mut known.open))
            }
            None => Default::default(),
        };
        let mut lost: BTreeMap<_, _> = known.into_iter().map(|lost| (lost.partition, lost)).collect();
        for (partition, open) in &*open {
            if *partition == map || !open.remote && is_damaged(open) {
                let block = FetchFailure { output, partition: *partition, at: Some(open.at) };
                lost.entry(*partition).or_insert(block);
            }
        }
        lost.entry(map).or_insert(FetchFailure { output, partition: map, at: None });
        lost.into_values().collect()
    }

    /// Tells the engine why blocks could not be read, because a failure names only the blocks.
    fn say_why(&self, output: OutputId, why: Option<String>) {
        let Some(why) = why else { return };
        let said = protocol::encode(&[FromWorker::Unreadable { output, why }])
            .and_then(|bytes| self.to.send(bytes.into()).map_err(|error| Error::cluster(error, "see above")));
        if let Err(error) = said {
            outlet::ERR.write(format!("the reason why blocks could not be read was not sent: {error}\n").as_bytes());
        }
    }

    /// Prefetches ranges of blocks from other machines.
    pub(super) fn prefetch(
        &self,
        exchange: ExchangeId,
        wanted: &mut dyn Iterator<Item = FrameRequest>,
    ) -> Result<Prefetched> {
        let output = self.output(exchange);
        let known = self.exchanges.read().get(&output).map(|known| (known.open.clone(), known.readers.clone()));
        let (open, readers) = known.unwrap_or_default();
        if !open.values().any(|open| open.remote) {
            return Ok(Prefetched::default());
        }
        let mut asked = Vec::new();
        for wanted in wanted {
            let Some(open) = open.get(&wanted.map).filter(|open| open.remote) else { continue };
            for range in open.block.missing(wanted.sequence, wanted.frames.clone())? {
                asked.extend(pieces(range).map(|range| (wanted.map, open.clone(), range)));
            }
        }
        let stores = self.stores.read().clone();
        readers.lock().count += 1;
        let reader = PrefetchReader(readers);
        for batch in batches(asked) {
            let questions = batch.iter().filter_map(|(map, open, range)| {
                let block = stores.get(&open.at.engine)?.key.id(output, *map, open.at.made_by);
                let part = BlockPart::Range { start: range.start, end: range.end };
                Some(Asked { engine: open.at.engine, block, part })
            });
            let pieces = self.ask(questions.collect())?;
            let mut landing = Landing::create(&self.directory)?;
            let mut parts = Vec::new();
            for ((map, open, range), piece) in batch.iter().zip(pieces) {
                match piece {
                    Piece::Range(bytes) if bytes.len() as u64 == range.end - range.start => {
                        landing.write(&bytes)?;
                        parts.push((open.clone(), range.clone(), bytes.len()));
                    }
                    other => {
                        let why = if let Piece::Missing(why) = other { why } else { "it has another length".into() };
                        self.say_why(output, Some(why.clone()));
                        let lost = FetchFailure { output, partition: *map, at: Some(open.at) };
                        if let Some(known) = self.exchanges.write().get_mut(&output) {
                            known.missing.push(lost);
                        }
                        return Err(Error::Fetch { exchange, map: *map, message: why });
                    }
                }
            }
            let mut landed = landing.finish()?;
            for (open, range, len) in parts {
                open.block.supply(range.start, &landed.split_to(len))?;
                reader.0.lock().prefetched.push((open.block, range));
            }
        }
        Ok(Prefetched::holding(reader))
    }

    /// Asks the engine for pieces of blocks.
    fn ask(&self, wanted: Vec<Asked>) -> Result<Vec<Piece>> {
        let count = wanted.len();
        let pieces = self.questions.ask(|number| FromWorker::Fetch { number, wanted })?;
        if pieces.len() == count {
            Ok(pieces)
        } else {
            Err(Error::Bug(format!("{} pieces came for {count} that were asked for", pieces.len())))
        }
    }
}

fn opened(at: BlockLocation, block: Arc<OpenBlock>, remote: bool) -> Result<Open> {
    let sequences = (0..block.sequences()).map(|at| Ok(Arc::new(block.sequence(at)?) as Arc<dyn Frames>));
    let sealed = Arc::new(SealedBlock::new(block.head().to_vec(), sequences.collect::<Result<_>>()?));
    Ok(Open { at, block, sealed: Shielded::new(sealed), remote })
}

/// Whether a frame of a block differs from what was written.
fn is_damaged(open: &Open) -> bool {
    let mut scratch = Vec::new();
    let mut bad = |frames: &Arc<dyn Frames>| (0..frames.len()).any(|frame| frames.view(frame, &mut scratch).is_err());
    open.sealed.sequences.iter().any(&mut bad)
}

/// Splits a range into steps that one answer can carry.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let step = MOST_AT_ONCE as usize;
    (range.start..range.end).step_by(step).map(move |start| start..range.end.min(start + MOST_AT_ONCE))
}

/// Groups questions into batches whose answers are bounded.
fn batches(asked: Vec<(u32, Open, Range<u64>)>) -> Vec<Vec<(u32, Open, Range<u64>)>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for one in asked {
        let len = one.2.end - one.2.start;
        if batches.is_empty() || bytes + len > MOST_AT_ONCE {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        if let Some(batch) = batches.last_mut() {
            batch.push(one);
        }
    }
    batches
}

/// The readers of an exchange's prefetched blocks. Readers may share frames, so the frames are dropped with the last
/// reader.
#[derive(Default)]
struct Readers {
    count: usize,
    prefetched: Vec<(Arc<OpenBlock>, Range<u64>)>,
}

/// A reader of prefetched blocks.
struct PrefetchReader(Arc<Lock<Readers>>);

impl Drop for PrefetchReader {
    fn drop(&mut self) {
        let mut readers = self.0.lock();
        readers.count -= 1;
        let gone = if readers.count == 0 { std::mem::take(&mut readers.prefetched) } else { Vec::new() };
        // The lock is still held, so that no new reader relies on these frames while they are dropped.
        for (block, range) in &gone {
            block.forget(range.clone());
        }
        drop(readers);
        drop(gone);
    }
}
