//! Which connections are turned away at the door during a flood. Genuine handshakes compete with bare connections that
//! say nothing, or begin a handshake and go no further, from the same address or another one. The genuine peers are 30
//! ms away, there and back.
//!
//!     cargo bench -p tryworks-hub --bench strangers

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tryworks_hub::{Authority, Sockets, Validity, open_gateway};
use tryworks_transport::{Backlog, Limits, Link, PeerEvent, Peers, Role, raise_file_limit};

const GENUINE: usize = 20;
/// How many of the other connections are dialled at a time.
const DIALLING: usize = 200;
/// Half of the round trip.
const DELAY: Duration = Duration::from_millis(15);
const HELLO: &[u8] = &[22, 3, 1, 2, 0];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn main() {
    raise_file_limit();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let authority = Authority::open(directory.path(), Validity::default()).unwrap();
    let driver = authority.connection(Role::Driver).credentials().unwrap();
    let hub = authority.connection(Role::Hub).credentials().unwrap();
    let path = directory.path().join("peers.sock");
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let (to, mut from) = Peers::bind(&path, Backlog::default()).await.unwrap();
            let sockets = Sockets { drivers: path.clone(), engines: path };
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let gateway = open_gateway(loopback, &hub, Limits::default(), sockets).await.unwrap();
            ready.send(gateway.address()).unwrap();
            while let Ok(event) = from.recv().await {
                if let PeerEvent::Message { peer, bytes } = event {
                    to.send(&peer, bytes).unwrap();
                }
            }
        });
    });
    let gateway = wait.recv().unwrap();
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || runtime().block_on(delay(gateway, ready)));
    let delayed = wait.recv().unwrap();
    let cases: [(&str, Option<(Ipv4Addr, &'static [u8])>); 4] = [
        ("nobody else", None),
        ("silent, from the same address", Some((Ipv4Addr::LOCALHOST, b""))),
        ("silent, from another address", Some((Ipv4Addr::new(127, 0, 0, 2), b""))),
        ("half a hello, from another address", Some((Ipv4Addr::new(127, 0, 0, 2), HELLO))),
    ];
    for (name, others) in cases {
        let stop = Arc::new(AtomicBool::new(false));
        let opened = Arc::new(AtomicU64::new(0));
        let flood = others.map(|(from, says)| {
            let (stop, opened) = (stop.clone(), opened.clone());
            std::thread::spawn(move || runtime().block_on(flood(gateway, from, says, &stop, &opened)))
        });
        // The flood has to begin first.
        while flood.is_some() && opened.load(Relaxed) < 1000 {
            std::thread::yield_now();
        }
        let (begun, before) = (Instant::now(), opened.load(Relaxed));
        let let_in = runtime().block_on(async {
            let (mut let_in, address) = (0, delayed.to_string());
            for _ in 0..GENUINE {
                let dialled = Link::tls(&address, &driver);
                let_in +=
                    usize::from(matches!(tokio::time::timeout(Duration::from_secs(10), dialled).await, Ok(Ok(_))));
            }
            let_in
        });
        let took = begun.elapsed();
        let rate = (opened.load(Relaxed) - before) as f64 / took.as_secs_f64();
        println!(
            "{name:38} {let_in:2} of {GENUINE} came in, {:6.1} ms each, beside {rate:6.0} connections a second",
            took.as_secs_f64() * 1e3 / GENUINE as f64
        );
        stop.store(true, Relaxed);
        if let Some(flood) = flood {
            flood.join().unwrap();
        }
    }
}

/// Forwards bytes both ways, as late as a long line would.
async fn delay(to: SocketAddr, ready: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(async move {
            // What the client says first comes with the packet that completes the connection.
            near.readable().await.unwrap();
            tokio::time::sleep(DELAY).await;
            let Ok(far) = TcpStream::connect(to).await else { return };
            let ((near_from, near_to), (far_from, far_to)) = (near.into_split(), far.into_split());
            tokio::join!(late(near_from, far_to, Duration::ZERO), late(far_from, near_to, 2 * DELAY));
        });
    }
}

async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, by: Duration) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(by).await;
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

async fn flood(to: SocketAddr, from: Ipv4Addr, says: &'static [u8], stop: &Arc<AtomicBool>, opened: &Arc<AtomicU64>) {
    let local = tokio::task::LocalSet::new();
    for _ in 0..DIALLING {
        let (stop, opened) = (stop.clone(), opened.clone());
        local.spawn_local(async move {
            while !stop.load(Relaxed) {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((from, 0))).unwrap();
                if let Ok(mut one) = socket.connect(to).await {
                    let _ = one.write_all(says).await;
                    opened.fetch_add(1, Relaxed);
                }
            }
        });
    }
    local.await;
}
