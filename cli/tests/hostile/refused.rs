//! A hub refuses a job. It keeps nothing of what came with the job, and the next job sends it again.

use crate::rig::{Cluster, driving};
use crate::{connection, directory, here, runtime};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::Sender;
use tryworks::prelude::*;
use tryworks_protocol as protocol;
use tryworks_protocol::driver::{FromDriver, ToDriver};
use tryworks_transport::{Backlog, Link, PeerEvent, Peers};

/// A proxy between a driver and its hub that refuses the first job.
async fn stand_between(here: &Path, hub: &Path, ready: Sender<()>) {
    let (to_driver, mut from_driver) = Peers::bind(here, Backlog::default()).await.unwrap();
    ready.send(()).unwrap();
    let mut driver = None;
    let mut refused = false;
    let (to_hub, mut from_hub) = Link::unix(hub).await.unwrap();
    loop {
        tokio::select! {
            event = from_driver.recv() => match event.unwrap() {
                PeerEvent::Message { peer, bytes } if driver.is_none() => {
                    // Its hello.
                    driver = Some(peer);
                    to_hub.send(bytes).unwrap();
                }
                PeerEvent::Message { peer, bytes } => {
                    let mut pass = protocol::decode::<FromDriver>(&bytes).unwrap();
                    pass.retain(|message| match message {
                        FromDriver::Submit(job) if !refused => {
                            refused = true;
                            let end = Err(Error::cluster("there was no space for it", "run it again"));
                            let ended = ToDriver::Ended { ticket: job.ticket, end };
                            to_driver.send(&peer, protocol::encode(&[ended]).unwrap().into()).unwrap();
                            false
                        }
                        _ => true,
                    });
                    to_hub.send(protocol::encode(&pass).unwrap().into()).unwrap();
                }
                PeerEvent::Gone { .. } | PeerEvent::CutOff { .. } => return,
            },
            bytes = from_hub.recv() => match bytes {
                Ok(bytes) => to_driver.send(&driver.unwrap(), bytes).unwrap(),
                Err(_) => return,
            },
        }
    }
}

#[test]
fn a_job_after_one_that_was_refused_sends_its_code_again() {
    if driving() {
        let cx = Context::init().unwrap();
        let sums = cx.range_in(0..100, 4).map(|n| (n % 7, 1u64)).reduce_by_key(|a, b| a + b);
        let error = sums.count().unwrap_err().to_string();
        assert!(error.contains("there was no space for it"), "{error}");
        assert_eq!(sums.count().unwrap(), 7);
        return;
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let between = cluster.home().join("between");
    fs::create_dir(&between).unwrap();
    fs::set_permissions(&between, fs::Permissions::from_mode(0o700)).unwrap();
    let mut own = connection(&cluster, "driver");
    own.sockets.clone_from(&between);
    let file = between.join("driver.json");
    own.write(&file).unwrap();
    let (ready, listens) = std::sync::mpsc::channel();
    let (here, hub) = (between.join("drivers.sock"), directory(&cluster).join("drivers.sock"));
    let thread = std::thread::spawn(move || runtime().block_on(stand_between(&here, &hub, ready)));
    listens.recv().unwrap();
    cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &file.display().to_string())]).ends_well();
    thread.join().unwrap();
}
