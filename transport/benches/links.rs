//! What a message costs: round trips and one-way messages between two threads, by a link and by a bare unix stream.
//!
//!     cargo bench -p tryworks-transport

use bytes::Bytes;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tryworks_transport::{Backlog, Link, PeerEvent, Peers};

const LEN: usize = 100;
const TRIPS: u32 = 20_000;
const MANY: u32 = 500_000;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    told("bare unix stream, round trip", bare(&directory.path().join("bare")), TRIPS);
    for (name, senders) in [("link, round trip", 0), ("link, round trip, sent from another thread", 1)] {
        told(name, trips(&directory.path().join("trips"), senders == 1), TRIPS);
    }
    told("link, one way", one_way(&directory.path().join("one_way")), MANY);
    told("peers, one way", back(&directory.path().join("back")), MANY);
}

fn told(name: &str, time: Duration, times: u32) {
    println!("{name:45} {:8.2} us each", time.as_secs_f64() * 1e6 / f64::from(times));
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn bare(path: &Path) -> Duration {
    let listener = UnixListener::bind(path).unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut message = [0; LEN];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message).unwrap();
        }
    });
    let mut stream = UnixStream::connect(path).unwrap();
    let begun = Instant::now();
    let mut message = [0; LEN];
    for _ in 0..TRIPS {
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut message).unwrap();
    }
    let time = begun.elapsed();
    drop(stream);
    echo.join().unwrap();
    time
}

/// Starts a thread with peers that answers each message with `answers` messages of the same bytes, until the link is
/// gone.
fn answering(path: &Path, answers: u32) -> std::thread::JoinHandle<()> {
    let (ready, wait) = std::sync::mpsc::channel();
    let path = path.to_owned();
    let thread = std::thread::spawn(move || {
        run(async {
            let (to, mut from) = Peers::bind(path, Backlog::default()).await.unwrap();
            ready.send(()).unwrap();
            let mut got = 0;
            while let PeerEvent::Message { peer, bytes } = from.recv().await.unwrap() {
                got += 1;
                if answers == 0 && got == MANY {
                    to.send(&peer, bytes.clone()).unwrap();
                }
                (0..answers).for_each(|_| to.send(&peer, bytes.clone()).unwrap());
            }
        });
    });
    wait.recv().unwrap();
    thread
}

fn trips(path: &Path, from_thread: bool) -> Duration {
    let echo = answering(path, 1);
    let time = run(async {
        let (to, mut from) = Link::unix(path).await.unwrap();
        let (orders, waiting) = std::sync::mpsc::channel::<Bytes>();
        let sender = to.clone();
        let thread = std::thread::spawn(move || waiting.iter().for_each(|bytes| sender.send(bytes).unwrap()));
        let mut message = Bytes::from(vec![0; LEN]);
        let begun = Instant::now();
        for _ in 0..TRIPS {
            match from_thread {
                true => orders.send(message).unwrap(),
                false => to.send(message).unwrap(),
            }
            message = from.recv().await.unwrap();
        }
        drop(orders);
        thread.join().unwrap();
        begun.elapsed()
    });
    echo.join().unwrap();
    time
}

fn one_way(path: &Path) -> Duration {
    let sink = answering(path, 0);
    let time = run(async {
        let (to, mut from) = Link::unix(path).await.unwrap();
        let message = Bytes::from(vec![0; LEN]);
        let begun = Instant::now();
        (0..MANY).for_each(|_| to.send(message.clone()).unwrap());
        from.recv().await.unwrap();
        begun.elapsed()
    });
    sink.join().unwrap();
    time
}

fn back(path: &Path) -> Duration {
    let source = answering(path, MANY);
    let time = run(async {
        let (to, mut from) = Link::unix(path).await.unwrap();
        let begun = Instant::now();
        to.send(Bytes::from(vec![0; LEN])).unwrap();
        for _ in 0..MANY {
            from.recv().await.unwrap();
        }
        begun.elapsed()
    });
    source.join().unwrap();
    time
}
