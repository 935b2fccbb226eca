//! Blocks as a worker sees them: where they are, those that it has open, and those that its engine has to bring.

use crate::protocol::engine::StorePlace;
use crate::protocol::worker::{BlockPart, FromWorker, Piece, Wanted as Asked, Welcome};
use crate::protocol::{self};
use crate::scheduler::FetchFailure;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use tryworks_core::host::{Frames, SealedBlock, Shared, Wanted};
use tryworks_core::ids::{AttemptId, EngineId, OutputId, SessionId};
use tryworks_core::{Error, Result};
use tryworks_io::blocks::{BlockWriter, Landing, MOST_AT_ONCE, OpenBlock, Room, Sealed};
use tryworks_transport::LinkSender;

/// So many tables of contents are asked for at once: their answer is one message.
const TABLES: usize = 1024;

/// Where the map outputs of an exchange are: the first partition of each run, in order.
type Places = Arc<Vec<(u32, EngineId, AttemptId)>>;

/// An open block.
#[derive(Clone)]
struct Open {
    engine: EngineId,
    attempt: AttemptId,
    block: Arc<OpenBlock>,
    sealed: Arc<SealedBlock>,
    remote: bool,
}

/// What a question to the engine waits for.
#[derive(Default)]
struct Answers {
    waiting: Mutex<HashMap<u64, Option<Result<Vec<Piece>>>>>,
    told: Condvar,
}

pub(super) struct Blocks {
    session: SessionId,
    own: StorePlace,
    directory: PathBuf,
    room: Mutex<Room>,
    stores: RwLock<HashMap<EngineId, StorePlace>>,
    places: RwLock<HashMap<OutputId, Places>>,
    open: RwLock<HashMap<OutputId, Arc<HashMap<u32, Open>>>>,
    /// What was not there when it was looked for, until its places are told anew.
    missing: Mutex<BTreeMap<OutputId, Vec<FetchFailure>>>,
    readers: Mutex<HashMap<OutputId, Arc<Mutex<Readers>>>>,
    to: LinkSender,
    asked: AtomicU64,
    answers: Answers,
}

impl Blocks {
    pub(super) fn new(welcome: &Welcome, to: LinkSender) -> Self {
        let stores = HashMap::from([(welcome.engine, welcome.store.clone())]);
        Blocks {
            session: welcome.session,
            own: welcome.store.clone(),
            directory: PathBuf::from(&welcome.store.directory),
            room: Mutex::new(welcome.room),
            stores: RwLock::new(stores),
            places: RwLock::default(),
            open: RwLock::default(),
            missing: Mutex::default(),
            readers: Mutex::default(),
            to,
            asked: AtomicU64::new(1),
            answers: Answers::default(),
        }
    }

    pub(super) fn set_room(&self, room: Room) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
    }

    pub(super) fn meet(&self, engine: EngineId, store: StorePlace) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).insert(engine, store);
    }

    pub(super) fn place(&self, output: OutputId, places: Vec<(u32, EngineId, AttemptId)>) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&output);
        self.places.write().unwrap_or_else(PoisonError::into_inner).insert(output, Arc::new(places));
    }

    pub(super) fn forget(&self, output: OutputId) {
        self.places.write().unwrap_or_else(PoisonError::into_inner).remove(&output);
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&output);
        drop(open);
    }

    /// A writer for a block of the own store.
    pub(super) fn writer(&self, output: u64, partition: u32, attempt: AttemptId) -> BlockWriter {
        let room = *self.room.lock().unwrap_or_else(PoisonError::into_inner);
        BlockWriter::new(&self.directory, self.own.key.id(output, partition, attempt.0), room)
    }

    /// What a writer left, as the engine takes it over.
    pub(super) fn sealed(&self, block: &Shared) -> Result<Sealed> {
        let sealed = block.downcast_ref::<Sealed>().cloned();
        sealed.ok_or_else(|| Error::Bug("a block was made that is not written down".into()))
    }

    fn output(&self, exchange: u64) -> OutputId {
        OutputId(self.session.global(exchange))
    }

    /// A map output, opened with all others of its exchange.
    pub(super) fn fetch(&self, exchange: u64, map: u32) -> Result<Arc<SealedBlock>> {
        let output = self.output(exchange);
        let known = self.places.read().unwrap_or_else(PoisonError::into_inner).get(&output).cloned();
        let lost = |why: &str| Error::Fetch { exchange, map, message: why.into() };
        let places = known.ok_or_else(|| lost("nobody said where it is"))?;
        let run = places.partition_point(|run| run.0 <= map).checked_sub(1).map(|at| places[at]);
        let (_, engine, attempt) = run.ok_or_else(|| lost("nobody said where it is"))?;
        let opened = |open: &HashMap<u32, Open>| {
            open.get(&map)
                .filter(|open| (open.engine, open.attempt) == (engine, attempt))
                .map(|open| open.sealed.clone())
        };
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&output).cloned();
        if let Some(sealed) = open.and_then(|open| opened(&open)) {
            return Ok(sealed);
        }
        let open = self.open_all(exchange, &places)?;
        opened(&open).ok_or_else(|| lost("it is not there"))
    }

    /// Opens what is not open yet of an exchange; what is not there is remembered as missing.
    fn open_all(&self, exchange: u64, places: &Places) -> Result<Arc<HashMap<u32, Open>>> {
        let output = self.output(exchange);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let before = open.get(&output).cloned().unwrap_or_default();
        let mut all = (*before).clone();
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut missing, mut asked, mut whys) = (Vec::new(), Vec::new(), None);
        let end = places.last().map_or(0, |end| end.0);
        let mut place = (EngineId(0), AttemptId(0));
        let mut runs = places.iter().peekable();
        for map in 0..end {
            while let Some(run) = runs.next_if(|run| run.0 <= map) {
                place = (run.1, run.2);
            }
            let (engine, attempt) = place;
            if all.get(&map).is_some_and(|open| (open.engine, open.attempt) == place) {
                continue;
            }
            let lost = FetchFailure { output, partition: map, engine, made_by: attempt };
            let Some(store) = stores.get(&engine) else {
                missing.push(lost);
                continue;
            };
            let id = store.key.id(output.0, map, attempt.0);
            if store.host == self.own.host {
                let path = id.path_in(&PathBuf::from(&store.directory));
                if path.exists() {
                    match OpenBlock::file(&path) {
                        Ok(block) => drop(all.insert(map, opened(engine, attempt, block, false)?)),
                        Err(_) => missing.push(lost),
                    }
                    continue;
                }
            }
            asked.push((map, engine, attempt, Asked { engine, block: id, part: BlockPart::Contents }));
        }
        if !asked.is_empty() {
            let mut pieces = Vec::with_capacity(asked.len());
            for some in asked.chunks(TABLES) {
                pieces.extend(self.ask(some.iter().map(|(.., wanted)| *wanted).collect())?);
            }
            for ((map, engine, attempt, wanted), piece) in asked.iter().zip(pieces) {
                let name = format!("{} of {engine}", wanted.block);
                let block = match piece {
                    Piece::Whole(bytes) => OpenBlock::memory(name, Bytes::from(bytes)).map(|block| (block, false)),
                    Piece::Table(bytes) => OpenBlock::remote(name, &bytes).map(|block| (block, true)),
                    Piece::Range(_) | Piece::Note(_) => Err(Error::Bug("another piece came than was asked for".into())),
                    Piece::Missing(why) => {
                        whys.get_or_insert(why.clone());
                        Err(Error::cluster(why, "it is made again"))
                    }
                };
                match block {
                    Ok((block, remote)) => drop(all.insert(*map, opened(*engine, *attempt, block, remote)?)),
                    Err(_) => {
                        missing.push(FetchFailure { output, partition: *map, engine: *engine, made_by: *attempt });
                    }
                }
            }
        }
        let all = Arc::new(all);
        open.insert(output, all.clone());
        drop(open);
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(output, missing);
        self.say_why(output, whys);
        Ok(all)
    }

    /// What is missing of an exchange of which `map` could not be read: what was not there, and whatever is damaged,
    /// which is found by looking at all that is open, so that it is made again all at once.
    pub(super) fn missing(&self, exchange: u64, map: u32) -> Vec<FetchFailure> {
        let output = self.output(exchange);
        let known = self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&output).unwrap_or_default();
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&output);
        let mut lost: BTreeMap<_, _> = known.into_iter().map(|lost| (lost.partition, lost)).collect();
        for (at, open) in open.as_deref().into_iter().flatten() {
            if *at == map || !open.remote && is_damaged(open) {
                let block = FetchFailure { output, partition: *at, engine: open.engine, made_by: open.attempt };
                lost.entry(*at).or_insert(block);
            }
        }
        let nowhere = FetchFailure { output, partition: map, engine: EngineId(0), made_by: AttemptId(0) };
        lost.entry(map).or_insert(nowhere);
        lost.into_values().collect()
    }

    /// Tells why blocks could not be read, since which they are is all that a failure says.
    fn say_why(&self, output: OutputId, why: Option<String>) {
        if let Some(why) = why
            && let Ok(bytes) = protocol::encode(&[FromWorker::Unreadable { output, why }])
        {
            let _ = self.to.send(bytes.into());
        }
    }

    /// Brings ranges of blocks of other machines near.
    pub(super) fn bring(&self, exchange: u64, wanted: &mut dyn Iterator<Item = Wanted>) -> Result<Shared> {
        let output = self.output(exchange);
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&output).cloned();
        let Some(open) = open.filter(|open| open.values().any(|open| open.remote)) else { return Ok(Arc::new(())) };
        let mut asked = Vec::new();
        for wanted in wanted {
            let Some(open) = open.get(&wanted.map).filter(|open| open.remote) else { continue };
            for range in open.block.missing(wanted.sequence, wanted.frames.clone())? {
                asked.extend(pieces(range).map(|range| (wanted.map, open.clone(), range)));
            }
        }
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = readers.entry(output).or_default().clone();
        readers.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
        let near = Near(readers);
        for batch in batches(asked) {
            let questions = batch.iter().filter_map(|(map, open, range)| {
                let block = stores.get(&open.engine)?.key.id(output.0, *map, open.attempt.0);
                let part = BlockPart::Range { start: range.start, end: range.end };
                Some(Asked { engine: open.engine, block, part })
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
                        let lost = FetchFailure { output, partition: *map, engine: open.engine, made_by: open.attempt };
                        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
                        missing.entry(output).or_default().push(lost);
                        return Err(Error::Fetch { exchange, map: *map, message: why });
                    }
                }
            }
            let mut landed = landing.finish()?;
            for (open, range, len) in parts {
                open.block.supply(range.start, &landed.split_to(len))?;
                near.0.lock().unwrap_or_else(PoisonError::into_inner).brought.push((open.block, range));
            }
        }
        Ok(Arc::new(near))
    }

    /// Asks the engine, and waits for the answer.
    fn ask(&self, wanted: Vec<Asked>) -> Result<Vec<Piece>> {
        let count = wanted.len();
        let number = self.asked.fetch_add(1, Relaxed);
        self.answers.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, None);
        let gone = |error| Error::cluster(error, "the engine of this worker is gone");
        self.to.send(protocol::encode(&[FromWorker::Fetch { number, wanted }])?.into()).map_err(gone)?;
        let mut waiting = self.answers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(Some(_)) = waiting.get(&number)
                && let Some(Some(answer)) = waiting.remove(&number)
            {
                let pieces = answer?;
                return if pieces.len() == count {
                    Ok(pieces)
                } else {
                    Err(Error::Bug(format!("{} pieces came for {count} that were asked for", pieces.len())))
                };
            }
            waiting = self.answers.told.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn fetched(&self, number: u64, answer: Result<Vec<Piece>>) {
        let mut waiting = self.answers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = waiting.get_mut(&number) {
            *slot = Some(answer);
            self.answers.told.notify_all();
        }
    }
}

fn opened(engine: EngineId, attempt: AttemptId, block: Arc<OpenBlock>, remote: bool) -> Result<Open> {
    let sequences = (0..block.sequences()).map(|at| Ok(Arc::new(block.sequence(at)?) as Arc<dyn Frames>));
    let sealed = Arc::new(SealedBlock::new(block.head().to_vec(), sequences.collect::<Result<_>>()?));
    Ok(Open { engine, attempt, block, sealed, remote })
}

/// Whether a frame of a block is not what was written.
fn is_damaged(open: &Open) -> bool {
    let mut scratch = Vec::new();
    let mut bad = |frames: &Arc<dyn Frames>| (0..frames.len()).any(|frame| frames.view(frame, &mut scratch).is_err());
    open.sealed.sequences.iter().any(&mut bad)
}

/// A range in steps that are given out at once.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let step = MOST_AT_ONCE as usize;
    (range.start..range.end).step_by(step).map(move |start| start..range.end.min(start + MOST_AT_ONCE))
}

/// Questions in batches whose answers are bounded.
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

/// Who reads blocks of an exchange that were brought. Two readers may share a frame, so all of it goes with the last.
#[derive(Default)]
struct Readers {
    count: usize,
    brought: Vec<(Arc<OpenBlock>, Range<u64>)>,
}

/// A reader of what was brought.
struct Near(Arc<Mutex<Readers>>);

impl Drop for Near {
    fn drop(&mut self) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.count -= 1;
        if readers.count == 0 {
            readers.brought.drain(..).for_each(|(block, range)| block.forget(range));
        }
    }
}
