//! How much of the hub's memory peers may take: those with the same certificate, and all together.

use crate::shelf::{MIB, Port, some};
use crate::support::{Cluster, message, raw_tls};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tryworks_transport::{Capacity, CapacityLimits, DataLimits, Limits, PeerEvent, Role};

const LONG: usize = 900 << 10;

fn limits(bytes: usize, bytes_per_certificate: usize) -> Limits {
    let capacity = Capacity::new(CapacityLimits {
        bytes,
        bytes_per_certificate,
        pressed: Duration::from_millis(500),
        ..CapacityLimits::default()
    });
    Limits { capacity, ..Limits::default() }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat()
}

/// An engine that the gateway has greeted.
async fn engine(cluster: &Cluster) -> TlsStream<TcpStream> {
    let connection = cluster.authority.connection(Role::Engine);
    let mut engine = raw_tls(&cluster.address(), &connection, true, Role::Hub).await;
    engine.read_exact(&mut [0; 4 + 19]).await.unwrap();
    engine
}

/// The other end has hung up.
async fn sent_away(stream: &mut TlsStream<TcpStream>) {
    let mut rest = [0; 1 << 16];
    while stream.read(&mut rest).await.unwrap_or(0) > 0 {}
}

#[tokio::test]
async fn frames_that_do_not_go_on_take_the_room_of_their_own_certificate_and_not_for_long() {
    let mut cluster = Cluster::start(limits(2 * MIB, MIB)).await;
    // Eight messages begin, and none continues. A ninth arrives whole.
    let mut begun = Vec::new();
    for _ in 0..8 {
        let mut one = engine(&cluster).await;
        one.write_all(&frame(&[7; LONG])[..LONG / 2]).await.unwrap();
        one.flush().await.unwrap();
        begun.push(one);
    }
    let mut whole = engine(&cluster).await;
    whole.write_all(&frame(&[9; LONG])).await.unwrap();
    whole.flush().await.unwrap();
    // Drivers have a share of their own, so these engines keep no driver out.
    let (to, _from, _) = cluster.good_driver().await;
    to.send(some(LONG)).unwrap();
    assert!(message(&mut cluster.drivers).await.1 == some(LONG));
    assert_eq!(cluster.engines.ready(), None, "there was capacity for one of them");
    // Peers that stand still while others wait are disconnected, one after another.
    for one in &mut begun {
        sent_away(one).await;
    }
    assert!(message(&mut cluster.engines).await.1 == vec![9; LONG]);
    // A message longer than the whole share takes all of it.
    whole.write_all(&frame(&[5; 2 * MIB])).await.unwrap();
    whole.flush().await.unwrap();
    assert!(message(&mut cluster.engines).await.1 == vec![5; 2 * MIB]);
    cluster.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_nobody_reads_hold_no_more_than_their_share() {
    const SLOW: usize = 6;
    let port = Port::with(limits(16 * MIB, 8 * MIB)).await;
    port.keep("large", &some(16 * MIB));
    let engine = port.authority.connection(Role::Engine);
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut one = raw_tls(&port.address, &engine, true, Role::Engine).await;
        one.write_all(&frame(&[&[0; 9][..], b"endless"].concat())).await.unwrap();
        one.flush().await.unwrap();
        slow.push(one);
    }
    // Each download has two pieces in memory, and four downloads fill the share.
    while port.shelves.0.in_memory.most() < 8 * MIB {
        tokio::task::yield_now().await;
    }
    // Peers with other certificates are served meanwhile.
    assert!(port.get(&port.driver(), "large").await.unwrap() == some(16 * MIB));
    // A peer with the same certificate waits, so those that read nothing are disconnected and it is served.
    let good = port.client(Role::Engine, DataLimits::default());
    assert!(port.get(&good, "large").await.unwrap() == some(16 * MIB));
    assert_eq!(port.shelves.0.in_memory.most(), 8 * MIB);
    // What was already sent can still be read, and then these downloads end; one that is read never does.
    let mut ended = 0;
    for one in &mut slow {
        let (mut got, mut rest) = (0, vec![0; MIB]);
        while let Ok(n @ 1..) = one.read(&mut rest).await
            && got < 64 * MIB
        {
            got += n;
        }
        ended += usize::from(got < 64 * MIB);
    }
    assert!((1..=SLOW).contains(&ended), "{ended} were sent away");
    drop(slow);
    port.is_well().await;
}

#[tokio::test]
async fn uploads_pass_through_a_small_share() {
    let port = Port::with(limits(2 * MIB, MIB)).await;
    let driver = port.driver();
    let all = some(5 * MIB);
    let put = |name| port.put(&driver, name, &all);
    let (a, b, c, d) = tokio::join!(put("a"), put("b"), put("c"), put("d"));
    for (name, put) in [("a", a), ("b", b), ("c", c), ("d", d)] {
        put.unwrap();
        assert!(port.get(&driver, name).await.unwrap() == all);
    }
}

/// Reads what was sent before the other end hung up.
async fn rest(stream: &mut TlsStream<TcpStream>) -> usize {
    let (mut got, mut piece) = (0, vec![0; MIB]);
    while let Ok(n @ 1..) = stream.read(&mut piece).await {
        got += n;
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_download_ends_even_if_no_other_peer_waits() {
    let idle = Duration::from_millis(300);
    let capacity = Capacity::new(CapacityLimits { idle, ..CapacityLimits::default() });
    let port = Port::with(Limits { capacity: capacity.clone(), ..Limits::default() }).await;
    let engine = port.authority.connection(Role::Engine);
    let mut one = raw_tls(&port.address, &engine, true, Role::Engine).await;
    one.write_all(&frame(&[&[0; 9][..], b"endless"].concat())).await.unwrap();
    one.flush().await.unwrap();
    while capacity.held() == 0 {
        tokio::task::yield_now().await;
    }
    // Its memory is given back, although the other end keeps the connection open.
    while capacity.held() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(rest(&mut one).await > 0);
    // A peer that asks for nothing is disconnected, too.
    let mut silent = raw_tls(&port.address, &engine, true, Role::Engine).await;
    sent_away(&mut silent).await;
    port.is_well().await;
}

#[tokio::test]
async fn a_peer_of_the_gateway_that_reads_nothing_is_cut_off_even_if_no_other_peer_waits() {
    let idle = Duration::from_millis(300);
    let capacity = Capacity::new(CapacityLimits { idle, ..CapacityLimits::default() });
    let mut cluster = Cluster::start(Limits { capacity: capacity.clone(), ..Limits::default() }).await;
    let mut one = engine(&cluster).await;
    one.write_all(&frame(b"here")).await.unwrap();
    one.flush().await.unwrap();
    let (peer, _) = message(&mut cluster.engines).await;
    (0..64).for_each(|_| cluster.to_engines.send(&peer, some(MIB)).unwrap());
    assert_eq!(cluster.engines.recv().await.unwrap(), PeerEvent::Gone { peer });
    assert_eq!(capacity.held(), 0);
    assert!(rest(&mut one).await < 64 * MIB);
    cluster.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_and_the_data_port_of_a_process_share_what_it_has() {
    let limits = limits(2 * MIB, 2 * MIB);
    let capacity = limits.capacity.clone();
    let cluster = Cluster::start(limits.clone()).await;
    let port = Port::with(limits).await;
    // What has begun at the gateway takes everything that the process has for connections.
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut one = engine(&cluster).await;
        one.write_all(&frame(&[7; MIB - 4])[..LONG]).await.unwrap();
        one.flush().await.unwrap();
        begun.push(one);
    }
    while capacity.held() < 2 * MIB {
        tokio::task::yield_now().await;
    }
    // It does not last long, since a download waits at the data port.
    port.keep("large", &some(16 * MIB));
    assert!(port.get(&port.driver(), "large").await.unwrap() == some(16 * MIB));
    let mut ended = 0;
    for one in &mut begun {
        let mut byte = [0];
        ended += usize::from(one.read(&mut byte).await.unwrap_or(0) == 0);
    }
    assert_eq!(ended, 2);
}
