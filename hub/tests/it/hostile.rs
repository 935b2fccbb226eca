//! The gateway with hostile peers. Each test checks what happens to them, and that other peers do not notice.

use crate::support::{Cluster, LOOPBACK, authority, leading_nowhere, message, mixed, private_dir, raw_tls};
use bytes::Bytes;
use rustix::process::{Resource, getrlimit};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tryworks_base::MAX_MESSAGE;
use tryworks_base::codec::{decode, encode};
use tryworks_hub::{Authority, Validity};
use tryworks_transport::{FrameReader, Limits, Link, LinkError, PeerEvent, Role, raise_file_limit};

fn refused<T>(result: Result<T, LinkError>) -> String {
    result.err().expect("it was let in").to_string()
}

#[tokio::test]
async fn nobody_connects_without_a_certificate() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let driver = cluster.authority.connection(Role::Driver);
    let mut stranger = raw_tls(&cluster.address(), &driver, false, Role::Hub).await;
    let _ = stranger.write_all(&[5, 0, 0, 0, 1, 2, 3, 4, 5]).await;
    let error = stranger.read(&mut [0; 100]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    assert_eq!(cluster.gateway.counts().connections, 0);
    cluster.is_well().await;
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_worth_nothing() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let ours = cluster.authority.connection(Role::Driver);
    let theirs = authority(Validity::default()).connection(Role::Driver);
    // A peer that trusts the other authority does not trust this hub; one that trusts this authority is not trusted by
    // the hub.
    for credentials in [theirs.credentials().unwrap(), mixed(&ours, &theirs)] {
        let error = refused(Link::tls(&cluster.address(), &credentials).await);
        assert!(error.contains("one end does not trust the other"), "{error}");
    }
    assert_eq!(cluster.gateway.counts().connections, 0);
    cluster.is_well().await;
}

#[tokio::test]
async fn certificates_from_before_a_rotation_are_worth_nothing() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let directory = private_dir();
    let mut other = Authority::open(directory.path(), Validity::default()).unwrap();
    let before = other.connection(Role::Driver);
    other.rotate().unwrap();
    for (shown, good) in [(&other.connection(Role::Driver), true), (&before, false)] {
        let door = leading_nowhere(&other.connection(Role::Hub)).await;
        let believing = mixed(&other.connection(Role::Hub), shown);
        let error = refused(Link::tls(&door.address().to_string(), &believing).await);
        assert_eq!(error.contains("the hub is not ready"), good, "{error}");
        assert_eq!(error.contains("one end does not trust the other"), !good, "{error}");
    }
    cluster.is_well().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    // Certificates begin a day back: these were valid for one hour yesterday.
    let expired = authority(Validity { leaves: Duration::from_secs(3600), ..Validity::default() });
    let driver = expired.connection(Role::Driver);
    let door = leading_nowhere(&expired.connection(Role::Hub)).await;
    let error = refused(Link::tls(&door.address().to_string(), &driver.credentials().unwrap()).await);
    assert!(error.contains("expired") && error.contains("copy it again"), "{error}");
    assert_eq!(door.counts().connections, 0);
}

#[tokio::test]
async fn an_expired_driver_is_refused_by_the_gateway_itself() {
    let directory = private_dir();
    let short = Validity { leaves: Duration::from_secs(3600), ..Validity::default() };
    let expired = Authority::open(directory.path(), short).unwrap().connection(Role::Driver);
    // The same authority, with new certificates.
    let renewed = Authority::open(directory.path(), Validity::default()).unwrap();
    let door = leading_nowhere(&renewed.connection(Role::Hub)).await;
    let address = door.address().to_string();
    let error = refused(Link::tls(&address, &expired.credentials().unwrap()).await);
    assert!(error.contains("CertificateExpired"), "{error}");
    let good = renewed.connection(Role::Driver).credentials().unwrap();
    assert!(refused(Link::tls(&address, &good).await).contains("the hub is not ready"));
}

#[tokio::test]
async fn an_engine_that_poses_as_a_driver_reaches_the_engines_socket() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (engine, _from) = cluster.link(Role::Engine).await;
    engine.send(Bytes::from_static(b"I am a driver; run this")).unwrap();
    assert_eq!(message(&mut cluster.engines).await.1, "I am a driver; run this");
    cluster.is_well().await;
    // Nor does a driver that looks for a hub accept it as one.
    let false_hub = leading_nowhere(&cluster.authority.connection(Role::Engine)).await;
    let error = refused(Link::tls(&false_hub.address().to_string(), &cluster.credentials(Role::Driver)).await);
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn frames_that_are_cut_short_or_too_long_end_their_connection_alone() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let driver = cluster.authority.connection(Role::Driver);
    let (to, mut from, peer) = cluster.good_driver().await;
    let too_long = u32::try_from(MAX_MESSAGE + 1).unwrap();
    for bad in [
        vec![1],
        vec![9, 0, 0, 0],
        vec![9, 0, 0, 0, 1, 2, 3],
        u32::MAX.to_le_bytes().to_vec(),
        too_long.to_le_bytes().to_vec(),
        // A length that is allowed, but few of its bytes arrive.
        [&(MAX_MESSAGE as u32).to_le_bytes()[..], &[7; 100]].concat(),
    ] {
        let mut bad_driver = raw_tls(&cluster.address(), &driver, true, Role::Hub).await;
        let mut greeting = [0; 4 + 19];
        bad_driver.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting[4..], b"tryworks messages 1");
        // A good message first makes the peer known, so that its end is reported.
        bad_driver.write_all(&[4, 0, 0, 0, b'h', b'e', b'r', b'e']).await.unwrap();
        bad_driver.write_all(&bad).await.unwrap();
        bad_driver.flush().await.unwrap();
        let (bad_peer, bytes) = message(&mut cluster.drivers).await;
        assert_eq!(bytes, "here");
        if bad != u32::MAX.to_le_bytes() && bad != too_long.to_le_bytes() {
            bad_driver.shutdown().await.unwrap();
        }
        assert_eq!(cluster.drivers.recv().await.unwrap(), PeerEvent::Gone { peer: bad_peer }, "{bad:?}");
        assert_eq!(bad_driver.read(&mut [0; 10]).await.unwrap_or(0), 0, "nothing is answered");
        to.send(Bytes::from_static(b"still here")).unwrap();
        assert_eq!(message(&mut cluster.drivers).await, (peer, Bytes::from_static(b"still here")));
        cluster.to_drivers.send(&peer, Bytes::from_static(b"yes")).unwrap();
        assert_eq!(from.recv().await.unwrap(), "yes");
    }
}

#[tokio::test]
async fn a_length_inside_a_message_is_not_believed_either() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let (to, _from, _) = cluster.good_driver().await;
    let mut claim = Vec::new();
    encode(&(1u64 << 60), &mut claim).unwrap();
    claim.extend([1; 64]);
    to.send(claim.into()).unwrap();
    let (_, bytes) = message(&mut cluster.drivers).await;
    assert!(decode::<String>(&bytes).is_err());
    assert!(decode::<Vec<u64>>(&bytes).is_err());
    assert_eq!(decode::<u64>(&bytes).unwrap().0, 1 << 60);
    cluster.is_well().await;
}

/// Passes bytes on, but flips one bit of what the first end sends at `offset`.
async fn flipping(to: String, offset: usize) -> String {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let ((mut near_from, mut near_to), (mut far_from, mut far_to)) = (near.into_split(), far.into_split());
        let back = tokio::spawn(async move { tokio::io::copy(&mut far_from, &mut near_to).await });
        let mut passed = 0;
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = near_from.read(&mut bytes).await {
            if (passed..passed + n).contains(&offset) {
                bytes[offset - passed] ^= 1 << (offset % 8);
            }
            passed += n;
            if far_to.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
        drop(far_to);
        let _ = back.await;
    });
    address
}

#[tokio::test]
async fn a_flipped_bit_never_arrives() {
    let mut cluster = Cluster::start(Limits::default()).await;
    let credentials = cluster.credentials(Role::Driver);
    let sent = Bytes::from(vec![b'x'; 8000]);
    let (mut refused, mut cut) = (0, 0);
    // The first of these offsets are in the handshake, the later ones in the message.
    for offset in (0..5000).step_by(97) {
        let address = flipping(cluster.address(), offset).await;
        match Link::tls(&address, &credentials).await {
            Err(_) => refused += 1,
            Ok((to, mut from)) => {
                to.send(sent.clone()).unwrap();
                assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })), "offset {offset}");
                cut += 1;
            }
        }
    }
    assert!(refused > 5 && cut > 5, "{refused} refused, {cut} cut");
    cluster.is_well().await;
}

#[tokio::test]
async fn silent_connections_are_closed_in_time() {
    let limits = Limits { handshake: Duration::from_secs(1), ..Limits::default() };
    let mut cluster = Cluster::start(limits).await;
    let mut silent = TcpStream::connect(cluster.address()).await.unwrap();
    let mut half = TcpStream::connect(cluster.address()).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    assert_eq!(silent.read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert_eq!(half.read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert_eq!(cluster.gateway.counts().strangers, 0);
    cluster.is_well().await;
}

#[tokio::test]
async fn ten_thousand_silent_connections_keep_nobody_out() {
    const ALL: usize = 10_000;
    const HELD: usize = 100;
    // Both ends of each connection are in this process.
    raise_file_limit();
    let files = getrlimit(Resource::Nofile).current.map_or(ALL, |files| usize::try_from(files).unwrap_or(ALL));
    let batch = files.saturating_sub(300 + 2 * HELD).min(ALL);
    assert!(batch > 100, "this test needs more files than {files}");

    let limits = Limits { strangers: HELD, handshake: Duration::from_secs(3600), ..Limits::default() };
    let mut cluster = Cluster::start(limits).await;
    let (to, _from, peer) = cluster.good_driver().await;
    let mut opened = 0;
    let mut silent = Vec::new();
    while opened < ALL {
        if silent.len() == batch {
            silent.clear();
        }
        silent.push(TcpStream::connect(cluster.address()).await.unwrap());
        opened += 1;
        assert!(cluster.gateway.counts().strangers <= HELD);
        if opened % 2_000 == 0 {
            to.send(Bytes::from_static(b"still here")).unwrap();
            assert_eq!(message(&mut cluster.drivers).await, (peer, Bytes::from_static(b"still here")));
            cluster.is_well().await;
        }
    }
    while cluster.gateway.counts().turned_away < (ALL - HELD) as u64 {
        tokio::task::yield_now().await;
    }
    assert!(cluster.gateway.counts().strangers <= HELD);
    // The oldest remaining connections were closed, the newest are still open.
    assert_eq!(silent[0].read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert!(silent[silent.len() - 1].try_read(&mut [0; 10]).is_err());
    cluster.is_well().await;
}

#[tokio::test]
async fn a_false_gateway_harms_no_driver() {
    let cluster = Cluster::start(Limits::default()).await;
    // What listens there is not a gateway at all, or stops in the middle.
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[22, 3, 3, 0xff, 0xff, 2], &[]] {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(answer).await.unwrap();
            let _ = tcp.read(&mut [0; 4096]).await;
        });
        let error = refused(Link::tls(&address, &cluster.credentials(Role::Driver)).await);
        assert!(error.contains(&address), "{error}");
        served.await.unwrap();
    }
    // A frame that claims to be too long, in place of a greeting.
    let (near, mut far) = tokio::io::duplex(100);
    far.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    assert!(FrameReader::new(near).next(1 << 10).await.is_err());
}
