//! Connection files and the homes of clusters: what is written, what is read, and what is refused with which text.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tryworks_base::home::{check_label, check_name, cluster_dir, home_from};
use tryworks_base::private::private_dir;
use tryworks_transport::{Connection, Role, role_of};

const SECRET: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";

fn connection() -> Connection {
    let mut connection = Connection::new(Role::Driver, "an authority", "a certificate", SECRET);
    connection.cluster = "pequod".into();
    connection.cluster_id = "1851".into();
    connection.sockets = "/run/user/1000/tryworks/pequod".into();
    connection.gateway = "127.0.0.1:4711".into();
    connection.data = "127.0.0.1:4712".into();
    connection
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("driver.json");
    (directory, file)
}

#[test]
fn a_connection_file_can_be_read_only_by_its_user() {
    let (directory, file) = place();
    // The file that was there before may have been readable by all.
    std::fs::write(&file, "before").unwrap();
    chmod(&file, 0o666);
    connection().write(&file).unwrap();
    assert_eq!(Connection::read(&file).unwrap(), connection());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left there");

    for mode in [0o604, 0o640, 0o644, 0o620, 0o601] {
        chmod(&file, mode);
        let error = Connection::read(&file).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod 600 {}", file.display())), "{mode:o}: {error}");
    }
    chmod(&file, 0o600);
    assert_eq!(Connection::read(&file).unwrap(), connection());
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let (directory, file) = place();
    let taken = directory.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let error = connection().write(&taken).unwrap_err();
    assert_eq!(error.path, taken);
    assert!(connection().write(&directory.path().join("missing/driver.json")).is_err());
    connection().write(&file).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing half written is left");
}

#[test]
fn invalid_connection_files_are_refused_without_showing_their_content() {
    let (directory, file) = place();
    connection().write(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    for (bad, expected) in [
        (String::new(), "no connection file"),
        ("\0\u{1}".into(), "no connection file"),
        ("[]".into(), "no connection file"),
        (text.replace("\"format\": 1", "\"format\": 2"), "a newer version of Tryworks wrote it (format 2"),
        (text.replace("\"format\": 1", "\"format\": -1"), "no connection file"),
        ("{\"format\": 99, \"what\": \"is new\"}".into(), "reads up to 1"),
        (text[..text.len() - 3].into(), "no connection file"),
        (text.replace("\"gateway\"", "\"gatway\""), "missing in it or garbled"),
        (text.replace("\"driver\"", "\"captain\""), "missing in it or garbled"),
        (text.replace("\"cluster\": \"pequod\"", &format!("\"cluster\": {{\"{SECRET}\": 1}}")), "garbled"),
        (format!("{text}{}", " ".repeat(1 << 20)), "more than 1048576 bytes"),
        (format!("{}{}", "[".repeat(100_000), text), "no connection file"),
    ] {
        std::fs::write(&file, &bad).unwrap();
        let error = Connection::read(&file).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("driver.json"), "{expected}: {error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    let error = Connection::read(&directory.path().join("none.json")).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    let error = Connection::read(directory.path()).unwrap_err().to_string();
    assert!(error.contains("not a file"), "{error}");
    // A pipe without a writer: reading it would never end.
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = Connection::read(&pipe).unwrap_err().to_string();
    assert!(error.contains("not a file"), "{error}");
}

#[test]
fn a_key_is_never_shown() {
    let shown = format!("{:?} {:?}", connection(), connection().credentials().unwrap_err());
    assert!(shown.contains("pequod") && !shown.contains(SECRET), "{shown}");
    assert_eq!(role_of(b"no certificate"), None);
}

#[test]
fn names_of_clusters_lead_nowhere_else() {
    for good in
        ["a", "default", "0", "night_run-2", "a23456789012345678901234567890123456789"].map(|n| &n[..n.len().min(32)])
    {
        check_name(good).unwrap();
        assert_eq!(cluster_dir(Path::new("/home"), good).unwrap(), Path::new("/home").join(good));
    }
    let long = "a".repeat(33);
    for bad in
        ["", ".", "..", "../", "../x", "a/b", "/a", "a/..", "A", "-a", "_a", "a b", "a\0", "a\n", "ä", "a.b", &long]
    {
        let error = cluster_dir(Path::new("/home"), bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?} is no name for a cluster")), "{error}");
    }
}

#[test]
fn other_names_are_plain_too() {
    for good in ["engine-1", "node7.example.org-4711", "nightly report, 2", "Ölmühle", "1st"] {
        check_label("an engine", good).unwrap();
    }
    let long = "a".repeat(101);
    for bad in ["", ".", "..", "../x", "a/b", "/a", "-a", "a\0", "a\n", "a\u{1b}[2J", "17", " a", &long] {
        let error = check_label("a job", bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?} is no name for a job")), "{error}");
    }
}

#[test]
fn a_home_is_this_users_alone() {
    let directory = tempfile::tempdir().unwrap();
    let set = |name: &'static str, path: PathBuf| {
        move |asked: &str| if asked == name { Some(OsString::from(&path)) } else { None }
    };
    let home = directory.path().join("some/where");
    assert_eq!(home_from(set("TRYWORKS_HOME", home.clone())).unwrap(), home);
    assert_eq!(std::fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
    assert_eq!(home_from(set("TRYWORKS_HOME", home.clone())).unwrap(), home, "it is there already");
    assert_eq!(home_from(set("XDG_RUNTIME_DIR", home.clone())).unwrap(), home.join("tryworks"));
    let both = |asked: &str| match asked {
        "TRYWORKS_HOME" => Some(OsString::new()),
        _ => set("XDG_RUNTIME_DIR", home.clone())(asked),
    };
    assert_eq!(home_from(both).unwrap(), home.join("tryworks"), "what is empty is not set");

    chmod(&home, 0o750);
    let error = home_from(set("TRYWORKS_HOME", home.clone())).unwrap_err().to_string();
    assert!(error.contains(&format!("chmod 700 {}", home.display())), "{error}");
    chmod(&home, 0o700);
    let link = directory.path().join("link");
    symlink(&home, &link).unwrap();
    assert!(private_dir(&link).unwrap_err().to_string().contains("not a directory"));
    std::fs::write(directory.path().join("file"), "").unwrap();
    assert!(private_dir(&directory.path().join("file")).unwrap_err().to_string().contains("not a directory"));
    // Root can give a directory away. For other users there is one that belongs to root.
    let mut others = PathBuf::from("/");
    if rustix::process::geteuid().is_root() {
        others = directory.path().join("others");
        private_dir(&others).unwrap();
        std::os::unix::fs::chown(&others, Some(12345), None).unwrap();
    }
    assert!(private_dir(&others).unwrap_err().to_string().contains("belongs to another user"));
}
