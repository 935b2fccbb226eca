//! Certificates: of another cluster, of another role, expired, and missing.

use crate::names::{refused, tryworks};
use crate::rig::{Cluster, driving, until};
use crate::{answers, connection, credentials, directory, drive, good, hello, here, runtime};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tryworks_hub::{Authority, Validity};
use tryworks_protocol::Purpose;
use tryworks_transport::{DataClient, DataLimits, Link, Role};

#[test]
fn certificates_that_are_not_the_clusters_open_nothing() {
    if driving() {
        return good();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let gateway = connection(&cluster, "driver").gateway;
    let foreign = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let foreign = Authority::open(foreign.path(), Validity::default()).unwrap();
    runtime().block_on(async {
        let other = foreign.connection(Role::Driver).credentials().unwrap();
        let error = Link::tls(&gateway, &other).await.err().unwrap().to_string();
        assert!(error.contains("one end does not trust the other"), "{error}");
        // An engine that tries to be a driver connects to the socket of engines.
        let (to, mut from) = Link::tls(&gateway, &credentials(&cluster, "engine")).await.unwrap();
        to.send(hello(drive([1; 32])).into()).unwrap();
        let said = answers(&mut from).await;
        assert!(said.contains("this is the socket of engines, and you are not an engine"), "{said}");
        // And a driver that tries to be an engine connects to the socket of drivers.
        let (to, mut from) = Link::tls(&gateway, &credentials(&cluster, "driver")).await.unwrap();
        to.send(hello(Purpose::Fetch).into()).unwrap();
        let said = answers(&mut from).await;
        assert!(said.contains("engines have a socket and certificates of their own"), "{said}");
    });
    // Without a certificate, the hub does not read a single byte.
    let mut stranger = TcpStream::connect(&gateway).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = stranger.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("TWOK"), "{said:?}");
    cluster.drive(here!());
}

#[test]
fn expired_certificates_are_refused_with_the_reason() {
    if driving() {
        return good();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    // The cluster's own authority makes certificates that expired an hour ago, as if no new ones had been copied.
    let copy = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let kept = fs::read_to_string(directory(&cluster).join("authority/authority.json")).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    kept["made"] = 0.into();
    kept["ends"] = 0.into();
    tryworks_transport::write_private(&copy.path().join("authority.json"), kept.to_string().as_bytes()).unwrap();
    let leaves = Duration::from_secs(23 * 60 * 60);
    let late = Authority::open(copy.path(), Validity { leaves, ..Validity::default() }).unwrap();
    assert_eq!(late.cluster_id(), connection(&cluster, "driver").cluster_id);
    let file = |role: Role, name: &str| {
        let mut file = late.connection(role);
        let good = connection(&cluster, name);
        (file.gateway, file.data, file.cluster) = (good.gateway, good.data, good.cluster);
        // As on another machine.
        file.sockets = "/nowhere".into();
        let place = cluster.home().join(format!("late-{name}.json"));
        file.write(&place).unwrap();
        place.display().to_string()
    };
    runtime().block_on(async {
        for role in [Role::Driver, Role::Engine] {
            let late = late.connection(role).credentials().unwrap();
            let gateway = connection(&cluster, "driver").gateway;
            let error = Link::tls(&gateway, &late).await.err().unwrap().to_string();
            assert!(error.contains("Expired") && error.contains("copy it again"), "{error}");
            let data = DataClient::new(late, DataLimits::default());
            let hub = connection(&cluster, "driver").data;
            let error = data.get(&hub, Role::Hub, &[0; 32]).await.err().unwrap().to_string();
            assert!(error.contains("Expired"), "{error}");
        }
    });
    // What a user sees, from the program, the command line, and an engine.
    let driver = file(Role::Driver, "driver");
    let done = cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &driver)]).ends();
    assert!(
        !done.status.success() && (done.err.clone() + &done.out).contains("its certificate has expired"),
        "{}",
        done.err
    );
    let status = refused(&tryworks(&cluster, &["cluster", "status", "-c", &driver]));
    assert!(status.contains("its certificate has expired"), "{status}");
    let engine = file(Role::Engine, "engine");
    cluster.spawn("late", &["engine", "--connect", &engine, "--name", "late"], None);
    let log = cluster.home().parent().unwrap().join("l/late");
    until("the engine says why it does not join", || {
        fs::read_to_string(&log).unwrap().contains("its certificate has expired").then_some(())
    });
    assert_eq!(cluster.engines().len(), 1);
    cluster.drive(here!());
}
