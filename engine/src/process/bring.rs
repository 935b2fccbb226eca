//! Blocks for workers of this engine that they cannot map: small ones, and those of other machines. And the other side:
//! giving out our own, to engines of this machine by the socket of our workers, to others by the data port.

use crate::protocol::engine::StorePlace;
use crate::protocol::worker::{BlockPart, FromWorker, Piece, ToWorker, Wanted};
use crate::protocol::{self, Hello, Opening, Purpose};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tryworks_core::ids::EngineId;
use tryworks_core::{Error, Result, codec};
use tryworks_io::blocks::{BlockId, BlockStore, Held, MOST_AT_ONCE, Served};
use tryworks_transport::{DataClient, DataHandler, Download, Link, LinkReceiver, LinkSender, Role};

/// How long an engine of this machine may take to answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Gives out blocks of the own store.
#[derive(Clone)]
pub(super) struct Giver(pub(super) BlockStore);

impl Giver {
    /// A part of a block, if it is here.
    pub(super) fn give(&self, block: BlockId, part: BlockPart) -> Piece {
        let Some(pin) = self.0.get(block) else { return Piece::Missing("there is no such block".into()) };
        if let (BlockPart::Contents, Held::Small(bytes)) = (part, pin.held()) {
            return Piece::Whole(bytes.to_vec());
        }
        let read = || -> Result<Piece> {
            let served = Served::new(pin)?;
            Ok(match part {
                BlockPart::Contents => Piece::Table(served.table()?),
                BlockPart::Range { start, end } => {
                    let mut bytes = Vec::new();
                    served.read(start..end, &mut bytes)?;
                    Piece::Range(bytes)
                }
            })
        };
        read().unwrap_or_else(|error| Piece::Missing(error.to_string()))
    }
}

impl DataHandler for Giver {
    fn get(&self, _: Role, request: &[u8]) -> Result<Download, String> {
        let (block, part) = match codec::decode::<(BlockId, BlockPart)>(request) {
            Ok((asked, taken)) if taken == request.len() => asked,
            _ => return Err("the request cannot be read".into()),
        };
        let (kind, bytes) = match self.give(block, part) {
            Piece::Whole(bytes) => (0, bytes),
            Piece::Table(bytes) => (1, bytes),
            Piece::Range(bytes) => (2, bytes),
            Piece::Missing(why) => return Err(why),
        };
        let mut all = Vec::with_capacity(bytes.len() + 1);
        all.push(kind);
        all.extend(bytes);
        Ok(Download::bytes(Bytes::from(all)))
    }
}

/// Brings blocks of other engines.
pub(super) struct Bringer {
    pub(super) own: Giver,
    pub(super) host: String,
    pub(super) data: Option<DataClient>,
    /// Engines of this machine, by their sockets.
    neighbours: Mutex<HashMap<String, Arc<Mutex<Neighbour>>>>,
}

struct Neighbour {
    to: LinkSender,
    from: LinkReceiver,
    asked: u64,
}

impl Bringer {
    pub(super) fn new(own: Giver, host: String, data: Option<DataClient>) -> Self {
        Bringer { own, host, data, neighbours: Mutex::default() }
    }

    /// Brings what is wanted, in its order; what cannot be had is missing from it, with the reason.
    pub(super) async fn bring(
        &self,
        here: EngineId,
        stores: &HashMap<EngineId, StorePlace>,
        wanted: &[Wanted],
    ) -> Vec<Piece> {
        let mut pieces = vec![Piece::Missing("its engine is not known".into()); wanted.len()];
        let mut elsewhere = BTreeMap::<EngineId, Vec<usize>>::new();
        for (at, wanted) in wanted.iter().enumerate() {
            if wanted.engine == here {
                pieces[at] = self.own.give(wanted.block, wanted.part);
            } else if stores.contains_key(&wanted.engine) {
                elsewhere.entry(wanted.engine).or_default().push(at);
            }
        }
        for (engine, at) in elsewhere {
            let store = &stores[&engine];
            let asked: Vec<_> = at.iter().map(|at| wanted[*at]).collect();
            let got = if store.host == self.host {
                self.ask_neighbour(store, asked).await
            } else {
                self.ask_afar(store, &asked).await
            };
            match got {
                Ok(got) => at.into_iter().zip(got).for_each(|(at, piece)| pieces[at] = piece),
                Err(error) => at.into_iter().for_each(|at| pieces[at] = Piece::Missing(error.to_string())),
            }
        }
        pieces
    }

    async fn ask_neighbour(&self, store: &StorePlace, wanted: Vec<Wanted>) -> Result<Vec<Piece>> {
        let lost =
            |error: String| Error::cluster(format!("an engine of this machine does not answer: {error}"), "wait");
        let known = self.neighbours.lock().await.get(&store.socket).cloned();
        let neighbour = match known {
            Some(neighbour) => neighbour,
            None => {
                // One that is stopped takes a connection and says nothing.
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

    async fn ask_afar(&self, store: &StorePlace, wanted: &[Wanted]) -> Result<Vec<Piece>> {
        let advice =
            "can this machine reach the address? start engines with `--listen` and an address that others reach";
        let lost = |error: tryworks_transport::DataError| Error::cluster(error, advice);
        let (Some(data), Some(address)) = (&self.data, &store.address) else {
            return Err(Error::cluster("the engine that has a block does not listen to other machines", advice));
        };
        let mut pieces = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let mut request = Vec::new();
            codec::encode(&(wanted.block, wanted.part), &mut request)?;
            let mut stream = match data.get(address, Role::Engine, &request).await {
                Err(tryworks_transport::DataError::Refused { message, .. }) => {
                    pieces.push(Piece::Missing(message));
                    continue;
                }
                got => got.map_err(lost)?,
            };
            if stream.total() > MOST_AT_ONCE + (64 << 20) {
                return Err(Error::cluster("an engine answered with more than was asked for", advice));
            }
            let mut all = Vec::new();
            while let Some(chunk) = stream.next_chunk().await.map_err(lost)? {
                all.extend_from_slice(&chunk);
            }
            pieces.push(match all.split_first() {
                Some((0, bytes)) => Piece::Whole(bytes.to_vec()),
                Some((1, bytes)) => Piece::Table(bytes.to_vec()),
                Some((2, bytes)) => Piece::Range(bytes.to_vec()),
                _ => Piece::Missing("the answer cannot be read".into()),
            });
        }
        Ok(pieces)
    }
}

impl Neighbour {
    async fn meet(socket: &str) -> Result<Self> {
        let lost = |error: tryworks_transport::LinkError| Error::cluster(error, "is that engine alive?");
        let (to, mut from) = Link::unix(socket).await.map_err(lost)?;
        let purpose = Purpose::Fetch;
        let hello = Hello { version: env!("CARGO_PKG_VERSION").into(), host: crate::host::here(), purpose };
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
