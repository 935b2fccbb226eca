//! The cost of being on another machine: round trips through the gateway, and bulk bytes from a data port, over TLS on
//! loopback.
//!
//!     cargo bench -p tryworks-hub

use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tryworks_hub::{Authority, Sockets, Validity, open_gateway};
use tryworks_transport::{
    Backlog, DataClient, DataHandler, DataLimits, Download, Limits, Link, PeerEvent, Peers, Role, serve_data,
};

const TRIPS: u32 = 10_000;
const BLOCKS: u32 = 2_000;
const PIECE: usize = 1 << 20;
const PIECES: usize = 512;

struct Zeros;

impl DataHandler for Zeros {
    fn get(&self, _: Role, request: &[u8]) -> Result<Download, String> {
        let piece = Bytes::from(vec![0; PIECE]);
        match request {
            b"small" => Ok(Download::bytes(piece.slice(..1000))),
            _ => Ok(Download {
                len: (PIECE * PIECES) as u64,
                held: 2 * PIECE,
                chunks: Box::new(std::iter::repeat_n(piece, PIECES).map(Ok)),
            }),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn told(name: &str, time: Duration, times: u32) {
    println!("{name:45} {:8.1} us each", time.as_secs_f64() * 1e6 / f64::from(times));
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let authority = Authority::open(directory.path(), Validity::default()).unwrap();
    let credentials = |role| authority.connection(role).credentials().unwrap();
    let (hub, engine, driver) = (credentials(Role::Hub), credentials(Role::Engine), credentials(Role::Driver));
    let path = directory.path().join("peers.sock");
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let (to, mut from) = Peers::bind(&path, Backlog::default()).await.unwrap();
            let sockets = Sockets { drivers: path.clone(), engines: path };
            let gateway = open_gateway(loopback, &hub, Limits::default(), sockets).await.unwrap();
            let data = serve_data(loopback, &engine, Limits::default(), Zeros).await.unwrap();
            ready.send((gateway.address().to_string(), data.address().to_string())).unwrap();
            while let Ok(event) = from.recv().await {
                if let PeerEvent::Message { peer, bytes } = event {
                    to.send(&peer, bytes).unwrap();
                }
            }
        });
    });
    let (gateway, data) = wait.recv().unwrap();
    runtime().block_on(async {
        let (to, mut from) = Link::tls(&gateway, &driver).await.unwrap();
        let mut message = Bytes::from(vec![0; 100]);
        let begun = Instant::now();
        for _ in 0..TRIPS {
            to.send(message).unwrap();
            message = from.recv().await.unwrap();
        }
        told("gateway, round trip", begun.elapsed(), TRIPS);

        let client = DataClient::new(driver, DataLimits::default());
        let begun = Instant::now();
        for _ in 0..BLOCKS {
            let mut stream = client.get(&data, Role::Engine, b"small").await.unwrap();
            while stream.next_chunk().await.unwrap().is_some() {}
        }
        told("data port, a block of 1000 bytes", begun.elapsed(), BLOCKS);
        let begun = Instant::now();
        let mut stream = client.get(&data, Role::Engine, b"large").await.unwrap();
        while stream.next_chunk().await.unwrap().is_some() {}
        let rate = (PIECE * PIECES) as f64 / begun.elapsed().as_secs_f64() / 1e9;
        println!("{:45} {rate:8.2} GB/s", "data port, one stream");
    });
}
