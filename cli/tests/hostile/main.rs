//! What happens to a real hub, engine and worker when a process attacks them or makes mistakes. Each is refused with a
//! reason or disconnected, and a good driver gets its answer afterwards.

mod certificates;
mod false_hub;
mod names;
mod refused;
#[path = "../rig/mod.rs"]
#[allow(dead_code, unused_imports)]
mod rig;
mod shown;

use rig::{Cluster, driving, until};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::runtime::{Builder, Runtime};
use tryworks::prelude::*;
use tryworks_base::codec;
use tryworks_protocol::worker::BlockPart;
use tryworks_protocol::{Hello, HostInfo, Purpose};
use tryworks_transport::{
    Backlog, Connection, Credentials, DataClient, DataError, DataLimits, Link, LinkReceiver, PeerEvent, Peers, Role,
};

/// The job of every good driver.
fn good() {
    let cx = Context::init().unwrap();
    let sums = cx.range_in(0..10_000, 4).map(|n| (n % 7, n)).reduce_by_key(|a, b| a + b).collect().unwrap();
    assert_eq!(sums.iter().map(|(_, sum)| sum).sum::<u64>(), 49_995_000);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn directory(cluster: &Cluster) -> PathBuf {
    cluster.home().join("default")
}

fn connection(cluster: &Cluster, role: &str) -> Connection {
    Connection::read(&directory(cluster).join(format!("{role}.json"))).unwrap()
}

fn credentials(cluster: &Cluster, role: &str) -> Credentials {
    connection(cluster, role).credentials().unwrap()
}

fn hello(purpose: Purpose) -> Vec<u8> {
    let host = HostInfo { pid: std::process::id(), ..tryworks_protocol::host::here() };
    Hello { version: "0".into(), host, purpose }.to_bytes().unwrap()
}

/// A program of this test that has another hash than it says.
fn drive(id: [u8; 32]) -> Purpose {
    let path = std::env::current_exe().unwrap().display().to_string();
    let program = tryworks_protocol::program::Program { id, path, ..Default::default() };
    Purpose::Drive { again: None, program }
}

/// The messages that arrive until the other end closes the connection, or says nothing for a while.
async fn answers(from: &mut LinkReceiver) -> String {
    let mut all = Vec::new();
    while let Ok(Ok(message)) = tokio::time::timeout(std::time::Duration::from_millis(300), from.recv()).await {
        all.extend_from_slice(&message);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The addresses, as the kernel writes them, and the ports on which a process listens.
fn listening(pid: u32) -> Vec<(String, u16)> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let sockets: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let rows = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| {
        row[3] == "0A" && sockets.iter().any(|socket| socket == Path::new(&format!("socket:[{}]", row[9])))
    });
    let places = ours.map(|row| row[1].split_once(':').unwrap());
    places.map(|(address, port)| (address.to_string(), u16::from_str_radix(port, 16).unwrap())).collect()
}

#[test]
fn messages_that_cannot_be_read_end_their_connection_alone() {
    if driving() {
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let engine = until("the engine's socket", || find(&cluster.home(), "engine.sock"));
    let sockets = [directory(&cluster).join("drivers.sock"), directory(&cluster).join("engines.sock"), engine];
    let bytes = hello(Purpose::Administer);
    let huge = [&[0xfd][..], &(1u64 << 60).to_le_bytes()].concat();
    runtime().block_on(async {
        for socket in &sockets {
            for cut in [0, 1, 4, 12, 20, bytes.len() - 1] {
                say(socket, &[&bytes[..cut]]).await;
            }
            for at in (0..bytes.len()).step_by(3) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                say(socket, &[&flipped]).await;
            }
            // A list of 2^60 messages, before a hello and after it.
            say(socket, &[&huge]).await;
            say(socket, &[&bytes, &huge]).await;
            say(socket, &[&hello(Purpose::Fetch), &huge]).await;
            say(socket, &[&hello(Purpose::Fetch), &[0xff; 100]]).await;
        }
        // The data ports of both processes.
        let asked = DataClient::new(credentials(&cluster, "engine"), DataLimits::default());
        let port = format!("127.0.0.1:{}", listening(cluster.engine("engine-1"))[0].1);
        let hub = connection(&cluster, "engine").data;
        for (address, role) in [(&port, Role::Engine), (&hub, Role::Hub)] {
            for request in [&huge[..], b"", &[0xff; 50]] {
                let error = asked.get(address, role, request).await.err().unwrap();
                assert!(matches!(error, DataError::Refused { .. }), "{error}");
            }
        }
        // A block whose name was guessed.
        let mut guess = Vec::new();
        let blocks: Vec<_> = (0..50u8).map(|n| ([n; 16], BlockPart::Contents)).collect();
        codec::encode(&blocks, &mut guess).unwrap();
        let mut stream = asked.get(&port, Role::Engine, &guess).await.unwrap();
        let mut answer = Vec::new();
        while let Some(chunk) = stream.next_chunk().await.unwrap() {
            answer.extend_from_slice(&chunk);
        }
        assert_eq!(String::from_utf8_lossy(&answer).matches("there is no such block").count(), 50);
        // Nor is a program or a file served for a guessed hash, or accepted under another one's hash.
        let mut request = Vec::new();
        codec::encode(&[7u8; 32], &mut request).unwrap();
        assert!(asked.get(&hub, Role::Hub, &request).await.unwrap_err().to_string().contains("there is no program"));
        let driver = DataClient::new(credentials(&cluster, "driver"), DataLimits::default());
        let bytes = std::iter::once(Ok(bytes::Bytes::from_static(b"evil")));
        let error = driver.put(&hub, Role::Hub, &request, 4, Box::new(bytes)).await.unwrap_err().to_string();
        assert!(error.contains("another hash"), "{error}");
    });
    assert_eq!(cluster.engines().len(), 1);
    cluster.drive(here!());
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, name),
        path => (entry.file_name() == name).then_some(path),
    })
}

/// Sends messages on a unix socket, and closes it. The other end may have closed the connection before all are sent.
async fn say(socket: &Path, messages: &[&[u8]]) {
    let (to, mut from) = Link::unix(socket).await.unwrap();
    for message in messages {
        let _ = to.send(message.to_vec().into());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20), from.recv()).await;
    }
}

#[test]
fn a_worker_ends_if_its_engine_sends_nonsense() {
    if driving() {
        return good();
    }
    let scratch = tempfile::Builder::new().prefix("tw").tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let socket = scratch.path().join("e.sock");
    let name = here!();
    let huge = [&b"TWOK"[..], &[0xfd], &(1u64 << 60).to_le_bytes()].concat();
    for answer in [&b"TWNO you are none of mine"[..], b"TWOK", b"", &huge] {
        let (code, said) = runtime().block_on(async {
            let (to, mut from) = Peers::bind(&socket, Backlog::default()).await.unwrap();
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", name, "--nocapture"]).env("TRYWORKS_TEST_ROLE", "worker");
            command.env("TRYWORKS_WORKER", format!("1@{}", socket.display()));
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let first = tokio::time::timeout(rig::DEADLINE, from.recv()).await.expect("a hello");
            let PeerEvent::Message { peer, .. } = first.unwrap() else { panic!("no hello came") };
            to.send(&peer, answer.to_vec().into()).unwrap();
            let done = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
            (done.status.code(), String::from_utf8(done.stderr).unwrap())
        });
        assert_eq!(code, Some(70), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn ten_thousand_connections_keep_no_driver_out() {
    if driving() {
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let open = limit.current.unwrap_or(u64::MAX).saturating_sub(200).min(10_000) as usize;
    let addresses = [connection(&cluster, "driver").gateway, connection(&cluster, "driver").data];
    let held: Vec<_> = (0..open).filter_map(|n| TcpStream::connect(&addresses[n % 2]).ok()).collect();
    assert!(held.len() * 10 > open * 9, "{} of {open}", held.len());
    cluster.drive(here!());
    drop(held);
    // From another machine, too: by the gateway, with a good certificate.
    runtime().block_on(async {
        let (to, mut from) = Link::tls(&addresses[0], &credentials(&cluster, "driver")).await.unwrap();
        to.send(hello(Purpose::Administer).into()).unwrap();
        assert!(from.recv().await.unwrap().starts_with(b"TWOK"));
    });
}
