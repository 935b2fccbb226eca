//! The gateway with peers that keep to the rules.

use crate::support::{Cluster, message};
use bytes::Bytes;
use tryworks_transport::{Limits, Link, LinkError, PeerEvent, Role};

fn number(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_both_ways_whole_and_in_order() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (to, mut from, peer) = cluster.good_driver().await;
    for len in [0, 1, 100, 16_383, 16_384, 65_536, 1 << 20, 9 << 20] {
        let sent: Bytes = (0..len).map(|i: u32| (i % 251) as u8).collect();
        to.send(sent.clone()).unwrap();
        let (by, there) = message(&mut cluster.drivers).await;
        assert!(by == peer && there == sent, "{len} bytes there");
        cluster.to_drivers.send(&peer, there).unwrap();
        assert!(from.recv().await.unwrap() == sent, "{len} bytes back");
    }
    (0..5_000).for_each(|n| to.send(number(n)).unwrap());
    for n in 0..5_000 {
        assert_eq!(message(&mut cluster.drivers).await, (peer, number(n)));
        cluster.to_drivers.send(&peer, number(n)).unwrap();
    }
    let mut n = 0;
    while n < 5_000 {
        assert_eq!(from.recv().await.unwrap(), number(n));
        n += 1;
        while let Some(message) = from.ready() {
            assert_eq!(message, number(n));
            n += 1;
        }
    }
}

#[tokio::test]
async fn each_role_reaches_its_own_socket() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (engine, mut to_engine) = cluster.link(Role::Engine).await;
    engine.send(Bytes::from_static(b"an engine")).unwrap();
    let (peer, bytes) = message(&mut cluster.engines).await;
    assert_eq!(bytes, "an engine");
    cluster.to_engines.send(&peer, Bytes::from_static(b"work")).unwrap();
    assert_eq!(to_engine.recv().await.unwrap(), "work");
    assert_eq!(cluster.drivers.ready(), None);
    cluster.is_well().await;

    let error = Link::tls(&cluster.address(), &cluster.credentials(Role::Hub)).await.unwrap_err().to_string();
    assert!(error.contains("a hub does not report to another"), "{error}");
}

#[tokio::test]
async fn either_end_learns_that_the_other_is_gone() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (to, from, peer) = cluster.good_driver().await;
    (0..100).for_each(|n| to.send(number(n)).unwrap());
    drop(from);
    for n in 0..100 {
        assert_eq!(message(&mut cluster.drivers).await, (peer, number(n)));
    }
    assert_eq!(cluster.drivers.recv().await.unwrap(), PeerEvent::Gone { peer });

    let (to, mut from, peer) = cluster.good_driver().await;
    (0..100).for_each(|n| cluster.to_drivers.send(&peer, number(n)).unwrap());
    cluster.to_drivers.close(&peer).unwrap();
    assert_eq!(cluster.drivers.recv().await.unwrap(), PeerEvent::Gone { peer });
    for n in 0..100 {
        assert_eq!(from.recv().await.unwrap(), number(n));
    }
    assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })));
    assert!(matches!(to.send(number(0)), Err(LinkError::Closed { .. })));
}

#[tokio::test]
async fn a_dropped_gateway_or_one_without_a_hub_gives_the_reason() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (_to, mut from, _) = cluster.good_driver().await;
    let (address, credentials) = (cluster.address(), cluster.credentials(Role::Engine));
    drop(cluster.engines);
    drop(cluster.to_engines);
    // A task of its own closes the socket.
    let error = loop {
        match Link::tls(&address, &credentials).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("the hub is not ready"), "{error}");
    drop(cluster.gateway);
    assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })));
    let error = loop {
        match Link::tls(&address, &credentials).await {
            Err(error) if error.to_string().contains("refused") => break error,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(matches!(error, LinkError::Dial { role: Role::Hub, .. }), "{error}");
}

#[tokio::test]
async fn a_peer_over_the_limit_is_refused_with_the_reason_and_may_connect_later() {
    let limits = Limits { connections: 3, per_certificate: 2, ..Limits::default() };
    let mut cluster = Cluster::start(limits).await;
    let first = cluster.good_driver().await;
    let second = cluster.good_driver().await;
    let third = Link::tls(&cluster.address(), &cluster.credentials(Role::Driver)).await.unwrap_err().to_string();
    assert!(third.contains("2 connections with this certificate"), "{third}");
    let _engine = cluster.link(Role::Engine).await;
    let fifth = Link::tls(&cluster.address(), &cluster.credentials(Role::Engine)).await.unwrap_err().to_string();
    assert!(fifth.contains("there are 3 connections"), "{fifth}");
    assert_eq!((cluster.gateway.counts().connections, cluster.gateway.counts().turned_away), (3, 2));
    drop(first);
    while cluster.gateway.counts().connections == 3 {
        tokio::task::yield_now().await;
    }
    cluster.good_driver().await;
    drop(second);
}
