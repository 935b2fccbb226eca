//! A false hub. A connection file from elsewhere names a directory, and another user of this machine has created it.
//! That user has linked the file itself into it, and listens there.

use crate::rig::{Cluster, driving, until};
use crate::{connection, good, here};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Listens where the hub would.
struct FalseHub {
    sockets: Vec<UnixListener>,
}

impl FalseHub {
    fn new(directory: &Path, files: &[(&str, &Path)]) -> Self {
        fs::create_dir(directory).unwrap();
        for (name, file) in files {
            symlink(file, directory.join(name)).unwrap();
        }
        let sockets = ["drivers.sock", "engines.sock"].map(|name| {
            let socket = UnixListener::bind(directory.join(name)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        FalseHub { sockets: sockets.into() }
    }

    /// No process connected to it.
    fn was_left_alone(&self) {
        for socket in &self.sockets {
            assert!(socket.accept().is_err(), "a process dialled the false hub");
        }
    }
}

#[test]
fn a_hub_that_another_user_made_is_passed_by() {
    if driving() {
        return good();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    let around = cluster.home().parent().unwrap().to_owned();
    let place = |name: &str| around.join(name);
    type Spoil = fn(&Path);
    let mut ways: Vec<(&str, Spoil)> = vec![
        ("open", |directory| fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap()),
        ("linked", |directory| {
            let aside = directory.with_extension("aside");
            fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
            fs::rename(directory, &aside).unwrap();
            symlink(aside, directory).unwrap();
        }),
    ];
    if rustix::process::geteuid().is_root() {
        ways.push(("other", |directory| {
            fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
            chown(directory, Some(12345), None).unwrap();
        }));
    }
    let mut joined = 1;
    for (way, spoil) in ways {
        let directory = place(&format!("hub-{way}"));
        let file = |role: &str| -> PathBuf {
            let mut file = connection(&cluster, role);
            file.sockets.clone_from(&directory);
            let path = place(&format!("{role}-{way}.json"));
            file.write(&path).unwrap();
            path
        };
        let (driver, engine) = (file("driver"), file("engine"));
        let hub = FalseHub::new(&directory, &[("driver.json", &driver), ("engine.json", &engine)]);
        spoil(&directory);
        // A program, the command line and an engine reach the true hub, by its gateway.
        let done = cluster.begin(here!(), &[("TRYWORKS_CLUSTER", &driver.display().to_string())]).ends();
        assert!(done.status.success(), "{way}: {}{}", done.out, done.err);
        let status = cluster.good(&["cluster", "status", "-c", &driver.display().to_string()]);
        assert!(status.contains("engine-1"), "{way}: {status}");
        let name = format!("engine-{way}");
        cluster.spawn(&name, &["engine", "--connect", &engine.display().to_string(), "--name", &name], None);
        joined += 1;
        until("the engine joins the true hub", || (cluster.engines().len() == joined).then_some(()));
        hub.was_left_alone();
    }
    assert!(joined > 2);
    cluster.drive(here!());
}
