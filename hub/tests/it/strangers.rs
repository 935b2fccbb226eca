//! Strangers at the door: which are turned away when there are too many, so that a genuine peer still comes in.

use crate::support::{Cluster, LOOPBACK};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tryworks_transport::{Limits, Link, Role};

const HELD: usize = 16;

/// Few strangers are allowed, without a time limit.
fn few() -> Limits {
    Limits { strangers: HELD, handshake: Duration::from_secs(3600), ..Limits::default() }
}

/// Forwards the first bytes of the dialling end from the given address, and the rest when told to. Says when the first
/// bytes were forwarded.
async fn pausing(to: String, from: Ipv4Addr, first: usize) -> (String, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ((gone, told), (go_on, may)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = dial(from, &to).await;
        let mut head = vec![0; first];
        near.read_exact(&mut head).await.unwrap();
        far.write_all(&head).await.unwrap();
        gone.send(()).unwrap();
        may.await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (address, told, go_on)
}

async fn dial(from: Ipv4Addr, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

/// Opens many connections from an address, which say something or nothing. Returns when more than the limit were turned
/// away.
async fn flood(cluster: &Cluster, from: Ipv4Addr, says: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::new();
    let before = cluster.gateway.counts().turned_away;
    for _ in 0..20 * HELD {
        let mut one = dial(from, &cluster.address()).await;
        let _ = one.write_all(says).await;
        all.push(one);
    }
    while cluster.gateway.counts().turned_away < before + 18 * HELD as u64 {
        tokio::task::yield_now().await;
    }
    assert!(cluster.gateway.counts().strangers <= HELD);
    all
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A genuine peer is in the middle of its handshake, after `first` bytes, while others connect.
async fn comes_in(first: usize, from: Ipv4Addr, says: &[u8]) {
    let mut cluster = Cluster::start(few()).await;
    let (address, gone, go_on) = pausing(cluster.address(), HERE, first).await;
    let credentials = cluster.credentials(Role::Driver);
    let genuine = tokio::spawn(async move { Link::tls(&address, &credentials).await });
    gone.await.unwrap();
    if first > 0 {
        // Its first bytes have arrived before the others connect.
        cluster.is_well().await;
    }
    let held = flood(&cluster, from, says).await;
    go_on.send(()).unwrap();
    genuine.await.unwrap().expect("it was turned away");
    drop(held);
    cluster.is_well().await;
}

#[tokio::test]
async fn a_peer_in_its_handshake_is_not_closed_in_favour_of_silent_ones() {
    // The beginning of a handshake, and one byte of it.
    for first in [100, 1] {
        comes_in(first, HERE, b"").await;
    }
}

#[tokio::test]
async fn those_who_come_from_one_address_turn_each_other_away() {
    // They send the beginning of a handshake and no more. The genuine peer has sent little, or nothing.
    for first in [100, 0] {
        comes_in(first, ELSEWHERE, &[22, 3, 1, 2, 0]).await;
    }
}

#[tokio::test]
async fn a_peer_connects_although_strangers_take_all_places() {
    let mut cluster = Cluster::start(few()).await;
    let _silent = flood(&cluster, HERE, b"").await;
    let _half = flood(&cluster, ELSEWHERE, &[22, 3, 1, 2, 0]).await;
    for _ in 0..20 {
        cluster.is_well().await;
    }
}
