//! Fetches blocks that workers of this engine cannot map: small blocks, and those on other machines.

use super::give::Giver;
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tryworks_base::ids::EngineId;
use tryworks_base::{Error, Result};
use tryworks_protocol as protocol;
use tryworks_protocol::blocks;
use tryworks_protocol::engine::StorePlace;
use tryworks_protocol::worker::{BlockPart, FromWorker, Piece, ToWorker, Wanted};
use tryworks_protocol::{Hello, Opening, Purpose};
use tryworks_store::blocks::{BlockId, SMALL};
use tryworks_transport::{DataClient, DataError, Link, LinkReceiver, LinkSender};

/// How long an engine on this machine may take to answer.
const SILENCE: Duration = Duration::from_secs(10);

/// How much memory all prefetches together may take, in mebibytes. A larger request waits until it is alone.
const MEMORY_MIB: u32 = 128;

/// Fetches blocks from other engines.
pub(super) struct Prefetcher {
    pub(super) own: Giver,
    pub(super) host: String,
    pub(super) data: Option<DataClient>,
    /// Engines on this machine, by their sockets.
    neighbours: Mutex<HashMap<String, Arc<Mutex<Neighbour>>>>,
    memory: Semaphore,
}

struct Neighbour {
    to: LinkSender,
    from: LinkReceiver,
    asked: u64,
}

impl Prefetcher {
    pub(super) fn new(own: Giver, host: String, data: Option<DataClient>) -> Self {
        Prefetcher { own, host, data, neighbours: Mutex::default(), memory: Semaphore::new(MEMORY_MIB as usize) }
    }

    /// Fetches these parts, and returns them in order. A part that cannot be fetched is missing, with the reason. Each
    /// engine is asked for all of its parts at once, and all engines are asked at the same time.
    pub(super) async fn prefetch(
        &self,
        here: EngineId,
        stores: &BTreeMap<EngineId, StorePlace>,
        wanted: &[Wanted],
    ) -> Vec<Piece> {
        let bytes: u64 = wanted.iter().map(|wanted| expected(wanted.part)).sum();
        let needed = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(MEMORY_MIB).min(MEMORY_MIB);
        // The semaphore is never closed.
        let _taken = self.memory.acquire_many(needed).await;
        let mut pieces = vec![Piece::Missing("its engine is gone or not known here".into()); wanted.len()];
        let mut elsewhere = BTreeMap::<EngineId, Vec<usize>>::new();
        for (at, wanted) in wanted.iter().enumerate() {
            if wanted.engine == here {
                pieces[at] = self.own.give(wanted.block, wanted.part);
            } else if stores.contains_key(&wanted.engine) {
                elsewhere.entry(wanted.engine).or_default().push(at);
            }
        }
        let asked = elsewhere.iter().map(|(engine, places)| {
            let wanted = places.iter().map(|at| wanted[*at]).collect();
            self.ask(&stores[engine], wanted)
        });
        for (places, got) in elsewhere.values().zip(join_all(asked).await) {
            match got {
                Ok(got) => places.iter().zip(got).for_each(|(at, piece)| pieces[*at] = piece),
                Err(error) => places.iter().for_each(|at| pieces[*at] = Piece::Missing(error.to_string())),
            }
        }
        pieces
    }

    pub(super) async fn ask(&self, store: &StorePlace, wanted: Vec<Wanted>) -> Result<Vec<Piece>> {
        if store.host == self.host {
            return self.ask_neighbour(store, wanted).await;
        }
        let wanted: Vec<_> = wanted.iter().map(|wanted| (wanted.block, wanted.part)).collect();
        self.ask_afar(store, &wanted).await
    }

    async fn ask_neighbour(&self, store: &StorePlace, wanted: Vec<Wanted>) -> Result<Vec<Piece>> {
        let lost =
            |error: String| Error::cluster(format!("an engine of this machine does not answer: {error}"), "wait");
        let known = self.neighbours.lock().await.get(&store.socket).cloned();
        let neighbour = match known {
            Some(neighbour) => neighbour,
            None => {
                // An engine that was stopped accepts a connection and then answers nothing.
                let met = tokio::time::timeout(SILENCE, Neighbour::meet(&store.socket)).await;
                let met = met.unwrap_or_else(|_| Err(lost("nothing was heard of it".into())))?;
                let neighbour = Arc::new(Mutex::new(met));
                self.neighbours.lock().await.insert(store.socket.clone(), neighbour.clone());
                neighbour
            }
        };
        let mut neighbour = neighbour.lock().await;
        let answer = tokio::time::timeout(SILENCE, neighbour.ask(wanted)).await;
        let answer = answer.unwrap_or_else(|_| Err(lost("nothing was heard of it".into())));
        if answer.is_err() {
            self.neighbours.lock().await.remove(&store.socket);
        }
        answer
    }

    pub(super) async fn ask_afar(&self, store: &StorePlace, wanted: &[(BlockId, BlockPart)]) -> Result<Vec<Piece>> {
        let advice = "can this machine reach that address? start engines with `--listen` and an address of their \
                      machine that the others reach";
        let (Some(data), Some(address)) = (&self.data, &store.address) else {
            return Err(Error::cluster("the engine that has a block does not listen to other machines", advice));
        };
        let here = tryworks_protocol::host::here().name;
        let lost = |error: DataError| {
            Error::cluster(format!("the engine that has a block cannot be reached from {here}: {error}"), advice)
        };
        blocks::fetch(data, address, wanted).await.map_err(lost)
    }
}

/// About how many bytes an answer has.
fn expected(part: BlockPart) -> u64 {
    match part {
        BlockPart::Contents | BlockPart::Note => SMALL as u64,
        BlockPart::Range { start, end } => end.saturating_sub(start),
    }
}

impl Neighbour {
    async fn meet(socket: &str) -> Result<Self> {
        let lost = |error: tryworks_transport::LinkError| Error::cluster(error, "is that engine alive?");
        let (to, mut from) = Link::unix(socket).await.map_err(lost)?;
        let purpose = Purpose::Fetch;
        let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: tryworks_protocol::host::here(), purpose };
        to.send(hello.to_bytes()?.into()).map_err(lost)?;
        match protocol::opening::<()>(&from.recv().await.map_err(lost)?)? {
            Opening::Welcome(()) => Ok(Neighbour { to, from, asked: 0 }),
            Opening::Refused(why) => Err(Error::cluster(why, "is that engine of this cluster?")),
        }
    }

    async fn ask(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Piece>> {
        let lost = |error: tryworks_transport::LinkError| Error::cluster(error, "is that engine alive?");
        self.asked += 1;
        let question = FromWorker::Fetch { number: self.asked, wanted };
        self.to.send(protocol::encode(&[question])?.into()).map_err(lost)?;
        loop {
            for message in protocol::decode::<ToWorker>(&self.from.recv().await.map_err(lost)?)? {
                if let ToWorker::Fetched { number, answer } = message
                    && number == self.asked
                {
                    return answer;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tokio::sync::{mpsc, watch};
    use tryworks_base::ids::{AttemptId, OutputId};
    use tryworks_store::blocks::BlockStore;
    use tryworks_transport::{Backlog, PeerEvent, Peers};

    /// An engine on this machine that answers only when the test lets it.
    async fn slow(socket: PathBuf, asked: mpsc::UnboundedSender<()>, mut may: watch::Receiver<bool>) {
        let (to, mut from) = Peers::bind(&socket, Backlog::default()).await.unwrap();
        while let Ok(PeerEvent::Message { peer, bytes }) = from.recv().await {
            let Ok(batch) = protocol::decode::<FromWorker>(&bytes) else {
                to.send(&peer, protocol::welcome(&()).unwrap().into()).unwrap();
                continue;
            };
            for message in batch {
                let FromWorker::Fetch { number, wanted } = message else { panic!("only fetching was to be") };
                asked.send(()).unwrap();
                may.wait_for(|may| *may).await.unwrap();
                let answer = Ok(vec![Piece::Missing("not here".into()); wanted.len()]);
                to.send(&peer, protocol::encode(&[ToWorker::Fetched { number, answer }]).unwrap().into()).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn concurrent_prefetches_are_bounded_and_all_are_answered() {
        const QUESTIONS: u32 = 20;
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let store = BlockStore::open(&directory.path().join("blocks"), None).unwrap();
        let prefetcher = Arc::new(Prefetcher::new(Giver(store.clone()), "here".into(), None));
        let (asked, mut heard) = mpsc::unbounded_channel();
        let (go, may) = watch::channel(false);
        let mut stores = BTreeMap::new();
        for number in 0..QUESTIONS {
            let socket = directory.path().join(format!("{number}.sock"));
            tokio::spawn(slow(socket.clone(), asked.clone(), may.clone()));
            let place = StorePlace {
                host: "here".into(),
                directory: String::new(),
                address: None,
                socket: socket.display().to_string(),
                key: store.key().clone(),
            };
            stores.insert(EngineId(number), place);
            while !socket.exists() {
                tokio::task::yield_now().await;
            }
        }
        let stores = Arc::new(stores);
        let questions: Vec<_> = (0..QUESTIONS)
            .map(|number| {
                let (prefetcher, stores) = (prefetcher.clone(), stores.clone());
                let part = BlockPart::Range { start: 0, end: 16 << 20 };
                let wanted =
                    [Wanted { engine: EngineId(number), block: store.key().id(OutputId(1), 2, AttemptId(3)), part }];
                tokio::spawn(async move { prefetcher.prefetch(EngineId(QUESTIONS), &stores, &wanted).await })
            })
            .collect();
        // As many requests as fit are on their way, and no other may begin.
        for _ in 0..MEMORY_MIB / 16 {
            heard.recv().await.unwrap();
        }
        assert_eq!(prefetcher.memory.available_permits(), 0);
        assert!(heard.try_recv().is_err(), "{MEMORY_MIB} MiB are on their way");
        go.send(true).unwrap();
        for question in questions {
            assert_eq!(question.await.unwrap(), [Piece::Missing("not here".into())]);
        }
        assert_eq!(heard.len() + (MEMORY_MIB / 16) as usize, QUESTIONS as usize);
        assert_eq!(prefetcher.memory.available_permits(), MEMORY_MIB as usize);
    }
}
