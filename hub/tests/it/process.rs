//! A gateway in a process of its own. It may open only a few files, strangers try to take them all, and then it is
//! killed.

use crate::support::{LOOPBACK, private_dir};
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpStream;
use tryworks_hub::{Authority, Sockets, Validity, open_gateway};
use tryworks_transport::{Backlog, Limits, Link, LinkError, PeerEvent, Peers, Role};

const DIRECTORY: &str = "TRYWORKS_TEST_DIRECTORY";
const FILES: u64 = 60;
const STRANGERS: usize = 400;

/// A process that ends with the test that started it, however the test ends.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers each message with the same message, until its parent is gone.
async fn gateway(directory: &Path) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum }).unwrap();
    let hub = Authority::open(directory, Validity::default()).unwrap().connection(Role::Hub).credentials().unwrap();
    let drivers = directory.join("drivers.sock");
    let (to, mut from) = Peers::bind(&drivers, Backlog::default()).await.unwrap();
    let sockets = Sockets { engines: drivers.clone(), drivers };
    let door = open_gateway(LOOPBACK, &hub, Limits::default(), sockets).await.unwrap();
    println!("\nlistening at {}", door.address());
    loop {
        if let PeerEvent::Message { peer, bytes } = from.recv().await.unwrap() {
            let counts = Bytes::from(format!("{} {}", door.counts().strangers, door.counts().turned_away));
            to.send(&peer, if bytes == "counts" { counts } else { bytes }).unwrap();
        }
    }
}

#[tokio::test]
async fn strangers_cannot_take_all_files_and_a_kill_is_noticed() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return gateway(Path::new(&directory)).await;
    }
    let directory = private_dir();
    let driver = Authority::open(directory.path(), Validity::default()).unwrap().connection(Role::Driver);
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "process::strangers_cannot_take_all_files_and_a_kill_is_noticed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Gateway(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("listening at ")?.to_owned()));
    let address = address.expect("it listens");

    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        strangers.push(TcpStream::connect(&address).await.unwrap());
    }
    let (to, mut from) = loop {
        // The gateway may say to try again.
        if let Ok(link) = Link::tls(&address, &driver.credentials().unwrap()).await {
            break link;
        }
    };
    to.send(Bytes::from_static(b"good")).unwrap();
    assert_eq!(from.recv().await.unwrap(), "good");
    // The gateway held fewer strangers than the limits allow, since there were even fewer files.
    to.send(Bytes::from_static(b"counts")).unwrap();
    let counts = String::from_utf8(from.recv().await.unwrap().to_vec()).unwrap();
    let (held, turned_away) = counts.split_once(' ').unwrap();
    assert!(held.parse::<u64>().unwrap() < FILES, "{counts}");
    assert!(turned_away.parse::<usize>().unwrap() > STRANGERS - Limits::default().strangers, "{counts}");
    drop(strangers);

    // A killed process says nothing more, and both kinds of links notice.
    let (near, mut from_near) = Link::unix(directory.path().join("drivers.sock")).await.unwrap();
    near.send(Bytes::from_static(b"near")).unwrap();
    assert_eq!(from_near.recv().await.unwrap(), "near");
    child.0.kill().unwrap();
    for from in [&mut from, &mut from_near] {
        assert!(matches!(from.recv().await, Err(LinkError::Closed { .. })));
    }
    assert!(matches!(near.send(Bytes::new()), Err(LinkError::Closed { .. })));
    // Once the process is gone, what it left behind disturbs nothing.
    child.0.wait().unwrap();
    let error = Link::unix(directory.path().join("drivers.sock")).await.unwrap_err().to_string();
    assert!(error.contains("no process listens there"), "{error}");
    Peers::bind(directory.path().join("drivers.sock"), Backlog::default()).await.unwrap();
}
