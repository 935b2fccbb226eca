//! Private directories, and the process at the other end of a unix socket: attacks by another user of the machine.
//! Attacks that need root to set up run only when the tests run as root.

use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tryworks_base::private::{PrivateDir, private_dir};
use tryworks_transport::{Backlog, Connection, Link, Peers, Role};

/// Another user of this machine.
const OTHER: u32 = 12345;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory of this user's with a private one two levels below.
fn place() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let above = directory.path().join("above");
    let private = above.join("private");
    private_dir(&private).unwrap();
    chmod(&above, 0o755);
    (directory, above, private)
}

fn refused(path: &Path) -> String {
    let error = PrivateDir::open(path).expect_err("it was opened").to_string();
    assert_eq!(private_dir(path).expect_err("it was taken").to_string(), error);
    error
}

/// Does something as another user: the system then names that user at the other end of a socket.
fn as_other<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        let (own, other) = (Uid::ROOT, Uid::from_raw(OTHER));
        set_thread_res_uid(own, other, own).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn a_directory_that_others_can_replace_is_not_private() {
    let (_directory, above, private) = place();
    for mode in [0o775, 0o757, 0o777, 0o722] {
        chmod(&above, mode);
        let error = refused(&private);
        assert!(error.contains(&format!("chmod go-w {}", above.display())), "{mode:o}: {error}");
        assert!(PrivateDir::open(&above).is_err());
    }
    // In a sticky directory, such as `/tmp`, no user can replace a file of another.
    for mode in [0o1777, 0o1775, 0o755, 0o700] {
        chmod(&above, mode);
        PrivateDir::open(&private).unwrap();
    }
}

#[test]
fn symbolic_links_are_followed_only_if_trusted_and_not_as_the_last_part() {
    let (directory, above, private) = place();
    let link = directory.path().join("link");
    symlink(&private, &link).unwrap();
    assert!(refused(&link).contains("link is not a directory"), "{}", refused(&link));
    // Links of this user's on the way are followed: to an absolute path, and to a relative one.
    let way = directory.path().join("way");
    for target in [above.clone(), "above/../above/.".into()] {
        symlink(&target, &way).unwrap();
        let opened = PrivateDir::open(&way.join("private")).unwrap();
        fs::write(opened.through("seen"), "").unwrap();
        assert!(private.join("seen").exists());
        fs::remove_file(private.join("seen")).unwrap();
        fs::remove_file(&way).unwrap();
    }
    symlink("way", &way).unwrap();
    assert!(refused(&way.join("private")).contains("more than 40 links"));
    fs::remove_file(&way).unwrap();
    symlink(&above, &way).unwrap();
    if geteuid().is_root() {
        lchown(&way, Some(OTHER), None).unwrap();
        assert!(refused(&way.join("private")).contains("a link that another user made"));
    }
}

#[test]
fn a_directory_on_the_way_that_is_another_users_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let (_directory, above, private) = place();
    chown(&above, Some(OTHER), None).unwrap();
    assert!(refused(&private).contains("belongs to another user, who could replace what is in it"));
    chown(&above, Some(0), None).unwrap();
    PrivateDir::open(&private).unwrap();
    chown(&private, Some(OTHER), None).unwrap();
    assert!(refused(&private).contains("it belongs to another user"));
}

#[test]
fn the_checked_directory_is_used_even_if_its_path_changes() {
    let (_directory, above, private) = place();
    let opened = PrivateDir::open(&private).unwrap();
    // Another process puts another directory in its place after the check.
    fs::rename(&private, above.join("aside")).unwrap();
    fs::create_dir(&private).unwrap();
    fs::write(opened.through("key"), "mine").unwrap();
    assert!(above.join("aside/key").exists() && !private.join("key").exists());
}

#[test]
fn a_key_is_read_from_no_link_and_of_no_other_user() {
    let (_directory, _, private) = place();
    let file = private.join("engine.json");
    Connection::new(Role::Engine, "an authority", "a certificate", "a key").write(&file).unwrap();
    Connection::read(&file).unwrap();
    let link = private.join("driver.json");
    symlink(&file, &link).unwrap();
    let error = Connection::read(&link).unwrap_err().to_string();
    assert!(error.contains("it is a link; name the file"), "{error}");
    if geteuid().is_root() {
        chown(&file, Some(OTHER), None).unwrap();
        let error = Connection::read(&file).unwrap_err().to_string();
        assert!(error.contains("it belongs to another user"), "{error}");
    }
}

#[tokio::test]
async fn a_socket_of_another_user_is_not_dialled() {
    if !geteuid().is_root() {
        return;
    }
    let (_directory, _, private) = place();
    let socket = private.join("peers.sock");
    // The directory was open to all for a moment, and another user entered it.
    chmod(&private, 0o777);
    let _false_hub = as_other(|| UnixListener::bind(&socket).unwrap());
    chmod(&private, 0o700);
    let error = Link::unix(&socket).await.expect_err("it was dialled").to_string();
    assert!(error.contains("another user listens there"), "{error}");
}

#[tokio::test]
async fn another_user_is_not_let_in() {
    if !geteuid().is_root() {
        return;
    }
    let (_directory, above, private) = place();
    let socket = private.join("peers.sock");
    let (_to, mut from) = Peers::bind(&socket, Backlog::default()).await.unwrap();
    let names: Vec<_> = fs::read_dir(&private).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["peers.sock"], "there is no other way in");
    // A process has opened the directory and the socket to all.
    for path in [above.parent().unwrap(), &private] {
        chmod(path, 0o755);
    }
    chmod(&socket, 0o666);
    let guest = as_other(|| UnixStream::connect(&socket).unwrap());
    let said = tokio::task::spawn_blocking(move || std::io::Read::read(&mut &guest, &mut [0]).unwrap());
    assert_eq!(said.await.unwrap(), 0, "the connection ends without a word");
    assert!(from.ready().is_none());
    for path in [above.parent().unwrap(), &private] {
        chmod(path, 0o700);
    }
    Link::unix(&socket).await.unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o666);
}
