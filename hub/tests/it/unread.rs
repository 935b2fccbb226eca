//! A hub whose answers a client does not read.

use crate::support::private_dir;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;
use tryworks_hub::{Limits, Options};
use tryworks_protocol as protocol;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::ask::Admin;
use tryworks_protocol::driver::FromDriver;
use tryworks_protocol::{Hello, Purpose};
use tryworks_transport::{Backlog, BacklogLimits, Connection, Link, LinkReceiver, LinkSender};

/// More than the socket buffers for a peer at once.
const SOME: usize = 2 << 20;

/// A client that may ask questions and reads no answers.
async fn silent(ends: (LinkSender, LinkReceiver)) -> (LinkSender, LinkReceiver) {
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        host: tryworks_protocol::host::here(),
        purpose: Purpose::Administer,
    };
    ends.0.send(hello.to_bytes().unwrap().into()).unwrap();
    ends
}

fn well(admin: &mut Admin) {
    assert!(matches!(admin.ask(Question::Status), Ok(Answer::Status(_))));
}

fn asks_and_reads_nothing(runtime: &tokio::runtime::Runtime, place: &Path, tls: bool, backlog: &Backlog) {
    let mut admin = Admin::connect(place).unwrap();
    let (to, mut from) = runtime.block_on(async {
        let ends = match tls {
            false => Link::unix(place.join("drivers.sock")).await.unwrap(),
            true => {
                let connection = Connection::read(&place.join("driver.json")).unwrap();
                Link::tls(&connection.gateway, &connection.credentials().unwrap()).await.unwrap()
            }
        };
        silent(ends).await
    });
    // Each question has many answers, and the client reads none.
    let ask =
        |number| FromDriver::Ask { number, question: Question::Logs { engine: Some("nobody".repeat(500)), job: None } };
    let batch = protocol::encode(&(0..500).map(ask).collect::<Vec<_>>()).unwrap();
    while backlog.bytes() < SOME {
        if to.send(batch.clone().into()).is_err() {
            break;
        }
        // Others are answered meanwhile.
        well(&mut admin);
    }
    // The client is cut off and its answers are dropped, except those that the socket has. It learns this when it
    // reads.
    while backlog.bytes() >= SOME {
        well(&mut admin);
    }
    let why = runtime.block_on(async {
        loop {
            if let Err(error) = from.recv().await {
                break error.to_string();
            }
        }
    });
    // The hub has not read all that the client sent, so the system resets a connection from another machine.
    assert!(why.contains("gone") || tls && why.contains("the connection is closed"), "{why}");
    while backlog.bytes() > 0 {
        well(&mut admin);
    }
}

#[test]
fn a_client_that_asks_and_does_not_read_is_cut_off_and_others_continue() {
    let directory = private_dir();
    let limits = BacklogLimits { per_peer: SOME / 2, patience: Duration::from_millis(200), ..BacklogLimits::default() };
    let backlog = Backlog::new(limits);
    let options = Options {
        cluster: "unread".into(),
        directory: directory.path().into(),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        pools: Vec::new(),
        limits: Limits { backlog: backlog.clone(), ..Limits::default() },
    };
    let hub = std::thread::spawn(move || tryworks_hub::run(options));
    while !directory.path().join("engine.json").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for tls in [false, true] {
        asks_and_reads_nothing(&runtime, directory.path(), tls, &backlog);
    }
    let mut admin = Admin::connect(directory.path()).unwrap();
    assert!(matches!(admin.ask(Question::Stop), Ok(Answer::Done(_))));
    hub.join().unwrap().unwrap();
}
