//! Names that lead elsewhere, in every place where a stranger or a user can state one; files that others can read;
//! programs whose hash is another one.

use crate::rig::{Cluster, driving, until};
use crate::{answers, connection, credentials, directory, drive, good, hello, here, listening, runtime};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use tryworks::prelude::*;
use tryworks_base::codec;
use tryworks_protocol::Purpose;
use tryworks_protocol::engine::{Offer, StorePlace};
use tryworks_protocol::program::Program;
use tryworks_store::blocks::BlockKey;
use tryworks_transport::{DataClient, DataError, DataLimits, Link, Role};

pub fn tryworks(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tryworks"));
    command.args(arguments).env("TRYWORKS_HOME", cluster.home()).env_remove("TRYWORKS_CLUSTER").output().unwrap()
}

pub fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything in the directory that holds the home, except what is inside the home itself, and any file named evil.
fn outside(cluster: &Cluster) -> Vec<String> {
    let base = cluster.home().parent().unwrap().to_path_buf();
    let names = |directory: &Path| -> Vec<String> {
        fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path().display().to_string()).collect()
    };
    let evil = names(Path::new("/tmp")).into_iter().chain(names(&cluster.home())).filter(|path| path.contains("evil"));
    let mut all: Vec<_> = names(&base).into_iter().chain(evil).collect();
    all.sort();
    all
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_touch_nothing() {
    if driving() {
        let cx = Context::init().unwrap();
        for name in ["../evil", "..", "", "/tmp/evil", "evil\u{1b}[2J", "17"] {
            let refused = cx.range(0..10).background().detached(name).sum().and_then(|job| job.wait()).unwrap_err();
            assert!(refused.to_string().contains("is no name for a detached job"), "{refused}");
        }
        // A pool that the cluster does not have is just that.
        let refused =
            Context::builder().cluster("default").pool("../evil").build().unwrap().range(0..10).sum().unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.starts_with("there is no pool named \"../evil\", which sum at cli/tests/hostile/"),
            "{refused}"
        );
        assert!(refused.contains("what to do: set TRYWORKS_POOL") && !refused.contains("a bug"), "{refused}");
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let engine = directory(&cluster).join("engine.json").display().to_string();
    let (own, hub) =
        (cluster.home().join(".own").display().to_string(), cluster.home().join(".hub").display().to_string());
    let before = outside(&cluster);
    for (arguments, what) in [
        (&["cluster", "start", "--name", "../evil"][..], "a cluster"),
        (&["cluster", "start", "--name", "evil", "--pool", "../evil=weight:1"], "a pool"),
        (&["cluster", "stop", "--name", "..default"], "a cluster"),
        (&["cluster", "rotate", "--name", ".."], "a cluster"),
        (&["cluster", "status", "--name", "..evil"], "a cluster"),
        (&["hub", "--name", "../evil"], "a cluster"),
        (&["hub", "--name", "../evil", "--directory", &hub], "a cluster"),
        (&["hub", "--name", "evil", "--pool", ".."], "a pool"),
        (&["engine", "--connect", &engine, "--name", "../../evil"], "an engine"),
        (&["engine", "--connect", &engine, "--name", "../../evil", "--directory", &own], "an engine"),
        (&["engine", "--connect", &engine, "--name", "evil\n"], "an engine"),
    ] {
        let error = refused(&tryworks(&cluster, arguments));
        assert!(error.contains(&format!("is no name for {what}")), "{arguments:?}: {error}");
    }
    // A name is looked up among the jobs that the hub knows.
    for (command, error) in [("job", "there is no job"), ("cancel", "there is no job"), ("why", "there is no job")] {
        assert!(refused(&tryworks(&cluster, &[command, "../../etc/passwd"])).contains(error));
    }
    assert!(refused(&tryworks(&cluster, &["cluster", "drain", "../engine-1"])).contains("there is no engine"));
    let path = format!("{}/../../etc", cluster.home().display());
    assert!(
        refused(&tryworks(&cluster, &["cluster", "status", "--name", &path])).contains("there is no connection file")
    );

    runtime().block_on(async {
        // An engine that does not use the command line.
        let (to, mut from) = Link::unix(directory(&cluster).join("engines.sock")).await.unwrap();
        let key: BlockKey = codec::decode(&[7; 32]).unwrap().0;
        let etc = || "../../../../etc".to_string();
        let store = StorePlace { host: String::new(), directory: etc(), address: None, socket: etc(), key };
        let (held, results, sessions, kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let offer = Offer { name: "../evil".into(), slots: 1, memory: 1, store, held, results, sessions, kept };
        to.send(hello(Purpose::Serve(Box::new(offer))).into()).unwrap();
        let said = answers(&mut from).await;
        assert!(said.contains("\"../evil\" is no name for an engine"), "{said}");
        // Data ports know no paths: neither those of blocks nor those of programs and files.
        let asked = DataClient::new(credentials(&cluster, "engine"), DataLimits::default());
        let driver = DataClient::new(credentials(&cluster, "driver"), DataLimits::default());
        let port = format!("127.0.0.1:{}", listening(cluster.engine("engine-1"))[0].1);
        let hub = connection(&cluster, "engine").data;
        for path in ["../../../../etc/passwd", "../driver.json", "/etc/passwd"] {
            for (address, role) in [(&port, Role::Engine), (&hub, Role::Hub)] {
                let mut text = Vec::new();
                codec::encode(path, &mut text).unwrap();
                for request in [path.as_bytes(), &text] {
                    let error = asked.get(address, role, request).await.err().unwrap();
                    assert!(matches!(error, DataError::Refused { .. }), "{error}");
                }
            }
            let bytes = std::iter::once(Ok(bytes::Bytes::from_static(b"evil")));
            let error = driver.put(&hub, Role::Hub, path.as_bytes(), 4, Box::new(bytes)).await.unwrap_err();
            assert!(error.to_string().contains("the request cannot be read"), "{error}");
        }
    });
    assert_eq!(cluster.engines().len(), 1);
    cluster.drive(here!());
    assert_eq!(outside(&cluster), before);
}

#[test]
fn files_that_others_read_and_second_hubs_are_refused() {
    if driving() {
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let second = refused(&tryworks(&cluster, &["hub", "--name", "default"]));
    assert!(second.contains("another hub (process"), "{second}");
    let file = directory(&cluster).join("driver.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = cluster.begin(here!(), &[]).ends();
    let said = open.err + &open.out;
    assert!(!open.status.success() && said.contains("driver.json: others can read the key in it; chmod 600"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    cluster.drive(here!());
}

#[test]
fn a_program_with_another_hash_is_not_started() {
    if driving() {
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let log = cluster.home().parent().unwrap().join("l/engine-1");
    runtime().block_on(async {
        let (to, mut from) = Link::unix(directory(&cluster).join("drivers.sock")).await.unwrap();
        to.send(hello(drive([9; 32])).into()).unwrap();
        assert!(from.recv().await.unwrap().starts_with(b"TWOK"));
        // Its path leads to this test, whose hash is another one; a worker of it would be a grandchild of this process.
        until("the engine has refused to start it", || {
            fs::read_to_string(&log).unwrap().contains("its hash is not that").then_some(())
        });
    });
    // Nor does a path out of every directory work: a program is identified by its hash.
    runtime().block_on(async {
        let (to, mut from) = Link::unix(directory(&cluster).join("drivers.sock")).await.unwrap();
        let path = "../../../../../../../../etc/passwd".to_string();
        let program = Program { id: [8; 32], path: path.clone(), directory: path, ..Program::default() };
        to.send(hello(Purpose::Drive { again: None, program }).into()).unwrap();
        assert!(from.recv().await.unwrap().starts_with(b"TWOK"));
        let refusals = || fs::read_to_string(&log).unwrap().matches("could not be started").count();
        until("the engine has refused to start it", || (refusals() >= 2).then_some(()));
    });
    let programs = fs::read_dir(cluster.home().join(".engines/engine-1/programs")).into_iter().flatten().count();
    assert_eq!(programs, 0, "nothing is taken for either of them");
    cluster.drive(here!());
}
