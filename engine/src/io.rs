//! What an engine's loop has besides the state: sockets, processes, files and the store.

use super::Options;
use super::files::Files;
use super::flow::Flow;
use super::join::Hub;
use super::prefetch::Prefetcher;
use super::workers::{Happened, Outputs};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tryworks_base::time::Clock;
use tryworks_protocol::engine::HeldBlock;
use tryworks_protocol::worker::ToWorker;
use tryworks_scheduler::Move;
use tryworks_store::blocks::BlockStore;
use tryworks_store::programs::Programs;
use tryworks_transport::{Connection, PeerId, PeersSender};

/// What the state cannot touch: sockets, processes and the store.
pub(super) struct Io {
    pub(super) clock: Clock,
    pub(super) options: Options,
    pub(super) connection: Connection,
    pub(super) store: BlockStore,
    /// The socket that workers connect to.
    pub(super) socket: PathBuf,
    pub(super) to_peers: PeersSender,
    /// The worker of each connection.
    pub(super) peers: HashMap<PeerId, u64>,
    pub(super) prefetcher: Arc<Prefetcher>,
    /// Engines on this machine that fetch small blocks from this one.
    pub(super) neighbours: HashSet<PeerId>,
    pub(super) workers: HashMap<u64, Tended>,
    pub(super) happened: (mpsc::UnboundedSender<Happened>, mpsc::UnboundedReceiver<Happened>),
    pub(super) programs: Arc<Programs>,
    pub(super) files: Arc<Files>,
    pub(super) answered: (mpsc::UnboundedSender<(PeerId, ToWorker)>, mpsc::UnboundedReceiver<(PeerId, ToWorker)>),
    pub(super) moved:
        (mpsc::UnboundedSender<(Move, Option<HeldBlock>)>, mpsc::UnboundedReceiver<(Move, Option<HeldBlock>)>),
    pub(super) hub: Option<Hub>,
}

/// What the loop keeps of a worker, from the order to start it until its end.
pub(super) struct Tended {
    pub(super) peer: Option<PeerId>,
    /// Its standard output and its error output.
    pub(super) flows: [Arc<Flow>; 2],
    pub(super) pid: u32,
    /// Dropping this kills the worker.
    pub(super) kill: Option<oneshot::Sender<()>>,
    pub(super) outputs: Option<Outputs>,
}

impl Tended {
    pub(super) fn new(clock: Clock) -> Self {
        let flows = [(); 2].map(|()| Arc::new(Flow::new(clock)));
        Tended { peer: None, flows, pid: 0, kill: None, outputs: None }
    }
}
