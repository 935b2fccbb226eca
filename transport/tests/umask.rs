//! Files that are created under an unusual umask. The umask belongs to the whole process, so this test has a process of
//! its own.

use rustix::fs::Mode;
use rustix::process::umask;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tryworks_base::private::private_dir;
use tryworks_transport::{Backlog, Connection, Link, Peers, Role};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn private_files_and_new_parents_are_private_under_any_umask() {
    let directory = tempfile::tempdir().unwrap();
    for mask in [0, 0o777, 0o022, 0o177] {
        umask(Mode::from_raw_mode(mask));
        let above = directory.path().join(format!("{mask}"));
        let private = above.join("b/c");
        private_dir(&private).unwrap();
        for made in [&above, &above.join("b"), &private] {
            assert_eq!(mode(made), 0o700, "umask {mask:o}: {}", made.display());
        }
        let file = private.join("driver.json");
        Connection::new(Role::Driver, "", "", "").write(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        let socket = private.join("peers.sock");
        let peers = Peers::bind(&socket, Backlog::default()).await.unwrap();
        assert_eq!(mode(&socket), 0o600);
        Link::unix(&socket).await.unwrap();
        drop(peers);
    }
    umask(Mode::from_raw_mode(0o022));
}
