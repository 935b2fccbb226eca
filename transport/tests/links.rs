//! Links and peers over real unix sockets: what arrives and in which order, and what an end learns when the other one
//! is gone.

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tryworks_base::MAX_MESSAGE;
use tryworks_base::private::private_dir;
use tryworks_transport::{
    Backlog, BacklogLimits, Link, LinkError, LinkReceiver, LinkSender, PeerEvent, PeerId, Peers, PeersReceiver,
    PeersSender, raise_file_limit,
};

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Place { directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("peers.sock")
    }

    async fn bind(&self) -> (PeersSender, PeersReceiver) {
        Peers::bind(self.socket(), Backlog::default()).await.unwrap()
    }

    async fn link(&self) -> (LinkSender, LinkReceiver) {
        Link::unix(self.socket()).await.unwrap()
    }
}

fn number(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

async fn message(peers: &mut PeersReceiver) -> (PeerId, Bytes) {
    match peers.recv().await.unwrap() {
        PeerEvent::Message { peer, bytes } => (peer, bytes),
        gone => panic!("{gone:?}"),
    }
}

/// A link whose peer is known, as all peers are after their first message.
async fn greeted(place: &Place, peers: &mut PeersReceiver) -> (LinkSender, LinkReceiver, PeerId) {
    let (to, from) = place.link().await;
    to.send(Bytes::from_static(b"hello")).unwrap();
    let (peer, bytes) = message(peers).await;
    assert_eq!(bytes, "hello");
    (to, from, peer)
}

fn refused<T>(result: Result<T, LinkError>) -> String {
    result.err().expect("it was let through").to_string()
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order() {
    let place = Place::new();
    let (to_peers, mut peers) = place.bind().await;
    let (to, mut from, peer) = greeted(&place, &mut peers).await;
    for len in [0, 1, 255, 256, 4096, 65_535, 65_536, 1 << 20, 9 << 20] {
        let sent: Bytes = (0..len).map(|i: u32| (i % 251) as u8).collect();
        to.send(sent.clone()).unwrap();
        let (by, there) = message(&mut peers).await;
        assert!(by == peer && there == sent, "{len} bytes there");
        to_peers.send(&peer, there).unwrap();
        assert!(from.recv().await.unwrap() == sent, "{len} bytes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_thread_sends_and_each_sender_keeps_its_order() {
    let place = Place::new();
    let (_to_peers, mut peers) = place.bind().await;
    let (to, _from, _) = greeted(&place, &mut peers).await;
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let to = to.clone();
            std::thread::spawn(move || (0..2_000).for_each(|i| to.send(number(thread << 32 | i)).unwrap()))
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..8_000 {
        let (_, bytes) = message(&mut peers).await;
        let n = u64::from_le_bytes(bytes[..].try_into().unwrap());
        let thread = (n >> 32) as usize;
        assert_eq!(n & 0xffff_ffff, next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [2_000; 4]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_delays_no_other_and_loses_nothing() {
    const MANY: u64 = 250_000;
    let place = Place::new();
    let (to_peers, mut peers) = place.bind().await;
    let (_to_slow, mut slow, slow_peer) = greeted(&place, &mut peers).await;
    let (to_quick, mut quick, quick_peer) = greeted(&place, &mut peers).await;
    // More than the socket keeps for one peer, which is 100,000.
    for n in 0..MANY {
        to_peers.send(&slow_peer, number(n)).unwrap();
    }
    for n in 0..100 {
        to_peers.send(&quick_peer, number(n)).unwrap();
        assert_eq!(quick.recv().await.unwrap(), number(n));
        to_quick.send(number(n)).unwrap();
        assert_eq!(message(&mut peers).await, (quick_peer, number(n)));
    }
    for n in 0..MANY {
        assert_eq!(slow.recv().await.unwrap(), number(n));
    }
    assert_eq!(slow.ready(), None);
}

/// How long a peer may take nothing while too much waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// Peers with a short patience.
async fn impatient(place: &Place, limits: BacklogLimits) -> (PeersSender, PeersReceiver, Backlog) {
    let backlog = Backlog::new(BacklogLimits { patience: PATIENCE, ..limits });
    let (to, from) = Peers::bind(place.socket(), backlog.clone()).await.unwrap();
    (to, from, backlog)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_is_cut_off_when_too_much_waits_for_it() {
    const MIB: usize = 1 << 20;
    let place = Place::new();
    let limits = BacklogLimits { per_peer: 8 * MIB, ..BacklogLimits::default() };
    let (to_peers, mut peers, backlog) = impatient(&place, limits).await;
    let (_to_slow, mut slow, slow_peer) = greeted(&place, &mut peers).await;
    let (_to_still, mut still, still_peer) = greeted(&place, &mut peers).await;
    let (_to_quick, mut quick, quick_peer) = greeted(&place, &mut peers).await;
    let large = Bytes::from(vec![7; MIB]);
    // A few bytes may wait for any length of time.
    (0..4).for_each(|_| to_peers.send(&still_peer, large.clone()).unwrap());
    (0..32).for_each(|_| to_peers.send(&slow_peer, large.clone()).unwrap());
    while backlog.bytes() < 30 * MIB {
        tokio::task::yield_now().await;
    }
    // A peer that takes something is not cut off, although more waits.
    let reader = tokio::spawn(async move {
        for _ in 0..64 {
            assert_eq!(quick.recv().await.unwrap(), vec![7; MIB]);
        }
        quick
    });
    (0..64).for_each(|_| to_peers.send(&quick_peer, large.clone()).unwrap());
    let PeerEvent::CutOff { peer, waiting } = peers.recv().await.unwrap() else { panic!("a peer is cut off") };
    assert_eq!(peer, slow_peer);
    assert!(waiting > 16 * MIB, "{waiting}");
    let _quick = reader.await.unwrap();
    (0..4).for_each(|_| to_peers.send(&slow_peer, large.clone()).unwrap());
    for _ in 0..4 {
        assert_eq!(still.recv().await.unwrap(), vec![7; MIB]);
    }
    // The bytes in the socket can still be read, but no more.
    let mut got = 0;
    while slow.recv().await.is_ok() {
        got += 1;
    }
    assert!(got < 16, "{got}");
    while backlog.bytes() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(peers.ready(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_peers_that_read_nothing_the_one_with_the_largest_backlog_is_cut_off_first() {
    const MIB: usize = 1 << 20;
    let place = Place::new();
    let limits = BacklogLimits { total: 24 * MIB, ..BacklogLimits::default() };
    let (to_peers, mut peers, backlog) = impatient(&place, limits).await;
    let mut ends = Vec::new();
    for n in [4, 12, 7] {
        let (to, from, peer) = greeted(&place, &mut peers).await;
        (0..n).for_each(|_| to_peers.send(&peer, vec![7; MIB].into()).unwrap());
        ends.push((to, from, peer));
    }
    // Until each peer has taken nothing for longer than it may.
    tokio::time::sleep(2 * PATIENCE).await;
    (0..4).for_each(|_| to_peers.send(&ends[1].2, vec![7; MIB].into()).unwrap());
    let PeerEvent::CutOff { peer, .. } = peers.recv().await.unwrap() else { panic!("a peer is cut off") };
    assert_eq!(peer, ends[1].2);
    assert!(backlog.bytes() < 24 * MIB);
    // The other peers are not cut off, and get everything.
    for (at, n) in [(0, 4), (2, 7)] {
        for _ in 0..n {
            assert_eq!(ends[at].1.recv().await.unwrap(), vec![7; MIB]);
        }
    }
    assert_eq!(peers.ready(), None);
}

#[tokio::test]
async fn a_sender_is_ahead_of_its_reader_by_any_number_of_messages() {
    const MANY: u64 = 250_000;
    let place = Place::new();
    let (_to_peers, mut peers) = place.bind().await;
    let (to, _from, peer) = greeted(&place, &mut peers).await;
    for n in 0..MANY {
        to.send(number(n)).unwrap();
    }
    let mut at_once = 0;
    let mut n = 0;
    while n < MANY {
        assert_eq!(message(&mut peers).await, (peer, number(n)));
        n += 1;
        while let Some(event) = peers.ready() {
            assert_eq!(event, PeerEvent::Message { peer, bytes: number(n) });
            n += 1;
            at_once += 1;
        }
    }
    assert!(at_once > MANY / 2, "only {at_once} were there without waiting");
}

#[tokio::test]
async fn the_end_of_a_peer_is_reported_after_all_its_messages() {
    let place = Place::new();
    let (to_peers, mut peers) = place.bind().await;
    let (to, from, peer) = greeted(&place, &mut peers).await;
    let (to_other, mut from_other, other) = greeted(&place, &mut peers).await;
    (0..10).for_each(|n| to.send(number(n)).unwrap());
    for n in 0..10 {
        assert_eq!(message(&mut peers).await, (peer, number(n)));
    }
    drop(from);
    assert_eq!(peers.recv().await.unwrap(), PeerEvent::Gone { peer });
    // The sending half learns it as well, and sending to a peer that is gone is no error.
    to_peers.send(&peer, number(0)).unwrap();
    to_peers.send(&other, number(1)).unwrap();
    assert_eq!(from_other.recv().await.unwrap(), number(1));
    to_other.send(number(2)).unwrap();
    assert_eq!(message(&mut peers).await, (other, number(2)), "gone was told once");
    while to.send(number(0)).is_ok() {
        tokio::task::yield_now().await;
    }

    drop((to_peers, peers));
    let error = from_other.recv().await.unwrap_err();
    assert!(matches!(&error, LinkError::Closed { why } if why.contains("gone")), "{error}");
    assert_eq!(to_other.send(number(3)), Err(error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_closed_receives_what_was_sent_to_it_before() {
    let place = Place::new();
    let (to_peers, mut peers) = place.bind().await;
    // Many times, since one thread closes it while another reads.
    for _ in 0..20 {
        let (_to, mut from, peer) = greeted(&place, &mut peers).await;
        (0..1_000).for_each(|n| to_peers.send(&peer, number(n)).unwrap());
        to_peers.close(&peer).unwrap();
        assert_eq!(peers.recv().await.unwrap(), PeerEvent::Gone { peer });
        for n in 0..1_000 {
            assert_eq!(from.recv().await.unwrap(), number(n));
        }
        assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })));
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_where_it_is_sent() {
    let place = Place::new();
    let (to_peers, mut peers) = place.bind().await;
    let (to, mut from, peer) = greeted(&place, &mut peers).await;
    // Zeroed memory that is never touched takes no physical memory.
    let long = Bytes::from(vec![0; MAX_MESSAGE + 1]);
    let expected = LinkError::TooLong { len: MAX_MESSAGE + 1, limit: MAX_MESSAGE };
    assert_eq!(to.send(long.clone()), Err(expected.clone()));
    assert_eq!(to_peers.send(&peer, long), Err(expected));
    to_peers.send(&peer, number(1)).unwrap();
    assert_eq!(from.recv().await.unwrap(), number(1));
}

#[tokio::test]
async fn sockets_that_cannot_be_or_must_not_be_are_refused() {
    let place = Place::new();
    let path = place.socket();
    assert!(refused(Link::unix(&path).await).contains("no process listens there"));

    let gone = place.directory.path().join("gone/peers.sock");
    assert!(refused(Link::unix(&gone).await).contains("its directory is gone"));
    assert!(refused(Peers::bind(&gone, Backlog::default()).await).contains("its directory is gone"));

    std::fs::write(&path, "mine").unwrap();
    assert!(refused(Peers::bind(&path, Backlog::default()).await).contains("not a socket"));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_file(&path).unwrap();

    for mode in [0o701, 0o710, 0o755, 0o777] {
        std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(Peers::bind(&path, Backlog::default()).await).contains("chmod 700"), "{mode:o}");
        assert!(refused(Link::unix(&path).await).contains("chmod 700"), "{mode:o}");
    }
    std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();

    // The socket of a dead process is replaced, that of a live one is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (_to_peers, mut peers) = place.bind().await;
    assert!(refused(Peers::bind(&path, Backlog::default()).await).contains("another process listens there"));
    greeted(&place, &mut peers).await;
}

#[tokio::test]
async fn a_directory_with_a_long_path_has_sockets_too() {
    let place = Place::new();
    let long = (0..4).fold(place.directory.path().to_owned(), |path, _| path.join("a".repeat(100)));
    private_dir(&long).unwrap();
    let (_to_peers, mut peers) = Peers::bind(long.join("peers.sock"), Backlog::default()).await.unwrap();
    let (to, _from) = Link::unix(long.join("peers.sock")).await.unwrap();
    to.send(number(1)).unwrap();
    assert_eq!(message(&mut peers).await.1, number(1));
}

#[tokio::test]
async fn four_hundred_that_dial_at_once_are_all_let_in() {
    let place = Place::new();
    let (_to_peers, mut peers) = place.bind().await;
    let dialling: Vec<_> = (0..400)
        .map(|n| {
            let path = place.socket();
            tokio::spawn(async move {
                let link = Link::unix(path).await.unwrap();
                link.0.send(number(n)).unwrap();
                link
            })
        })
        .collect();
    let mut heard = BTreeSet::new();
    while heard.len() < 400 {
        heard.insert(message(&mut peers).await.1);
    }
    for link in dialling {
        link.await.unwrap();
    }
}

#[tokio::test]
async fn another_may_listen_as_soon_as_one_has_stopped() {
    let place = Place::new();
    for _ in 0..20 {
        let (to_peers, mut peers) = place.bind().await;
        let (_to, mut from, _) = greeted(&place, &mut peers).await;
        drop((to_peers, peers));
        assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0, "nothing is left there");
        let (_to_peers, mut peers) = place.bind().await;
        assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })));
        greeted(&place, &mut peers).await;
        assert!(place.socket().exists());
    }
}

/// Connects until the queue of connections that wait to be accepted is full.
fn fill(socket: &std::path::Path) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(socket).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        match connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return waiting;
            }
        }
    }
}

#[test]
fn the_thread_that_serves_a_socket_dials_it_though_its_queue_is_full() {
    // Regression: the hub's gateway dialled the hub, on the hub's only thread, and waited for itself.
    raise_file_limit();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let (to_peers, mut peers) = place.bind().await;
            let waiting = fill(&place.socket());
            assert!(waiting.len() > 400, "the queue holds {} alone", waiting.len());
            // Another process is not accepted there, and does not wait for ever either.
            let taken = refused(Peers::bind(place.socket(), Backlog::default()).await);
            assert!(taken.contains("another process listens there"), "{taken}");
            let (to, mut from, peer) = greeted(&place, &mut peers).await;
            to_peers.send(&peer, number(1)).unwrap();
            assert_eq!(from.recv().await.unwrap(), number(1));
            drop((waiting, to));
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(std::time::Duration::from_secs(60)).expect("the thread waits for itself");
}
