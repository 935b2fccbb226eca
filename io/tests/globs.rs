//! Which files globs stand for.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use support::all;
use tryworks_base::Result;
use tryworks_io::files::Paths;
use tryworks_io::text::{TextFiles, text};

fn read(path: impl Into<Paths>) -> Result<Vec<String>> {
    Ok(all(&TextFiles::of(&text(path))?)?.concat())
}

#[test]
fn globs_know_braces_and_names_of_any_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let strange = OsStr::from_bytes(b"not\xffutf8.txt");
    for name in
        ["2023/a.txt", "2023/b.log", "2024/a.txt", "2024/_part/c.txt", "2025/a.txt", "{x,y}.txt", "x.txt", "plain{.txt"]
    {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::write(dir.path().join(strange), "strange").unwrap();
    let under = |name: &str| dir.path().join(name);
    let rows = |name: &str| read(under(name));
    assert_eq!(rows("{2023,2024}/*.txt").unwrap(), ["2023/a.txt", "2024/a.txt"]);
    assert_eq!(rows("202{5,3}/{b.log,a.txt}").unwrap(), ["2023/a.txt", "2023/b.log", "2025/a.txt"]);
    assert_eq!(rows("{2023,2023/*}").unwrap(), ["2023/a.txt", "2023/b.log"], "each file once");
    assert_eq!(rows("2023/{a,none}.txt").unwrap(), ["2023/a.txt"]);
    assert_eq!(rows("{x,y}.txt").unwrap(), ["{x,y}.txt"], "a file of that very name");
    assert_eq!(rows("plain{*").unwrap(), ["plain{.txt"]);
    assert_eq!(rows("**/a.txt").unwrap(), ["2023/a.txt", "2024/a.txt", "2025/a.txt"]);
    assert_eq!(
        rows("2024/*/*").unwrap_err().to_string(),
        format!("{}: there is no file to read here", under("2024/*/*").display())
    );
    assert_eq!(rows("2024/_*/*").unwrap(), ["2024/_part/c.txt"]);
    assert!(rows(&"{a,b}".repeat(20)).unwrap_err().to_string().contains("braces stand for more than"));
    // The name that is not UTF-8 is found by globs, by directories, and by itself.
    assert_eq!(rows("not?utf8.txt").unwrap(), ["strange"]);
    assert_eq!(rows("*.txt").unwrap(), ["strange", "plain{.txt", "x.txt", "{x,y}.txt"]);
    assert_eq!(read(dir.path().join(strange)).unwrap(), ["strange"]);
    let below = under("odd").join(OsStr::from_bytes(b"dir\xfe"));
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("in"), "within").unwrap();
    assert_eq!(rows("odd/*/in").unwrap(), ["within"]);
    assert_eq!(rows("**/in").unwrap(), ["within"]);
    assert_eq!(read(below.join("i*")).unwrap(), ["within"]);
}

/// A file that could not be looked at was left out, and so was a link that leads to nothing.
#[test]
fn a_glob_reports_what_it_cannot_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let under = |name: &str| dir.path().join(name);
    let rows = |name: &str| read(under(name));
    for name in ["p/x/a", "p/note.txt", "q/x/a", "r/in/x/a", "b/one"] {
        fs::create_dir_all(under(name).parent().unwrap()).unwrap();
        fs::write(under(name), name).unwrap();
    }
    // Nothing there, and a file where a directory would be: these do not match.
    fs::create_dir_all(under("p/empty")).unwrap();
    assert_eq!(rows("p/*/a").unwrap(), ["p/x/a"]);
    assert_eq!(rows("p/{x,empty,note.txt,none}/a").unwrap(), ["p/x/a"]);
    let refused = |pattern: &str, at: &str, why: &str| {
        let error = rows(pattern).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", under(at).display())) && error.contains(why), "{pattern}: {error}");
    };
    // A link that leads to itself cannot be followed, by root neither.
    symlink(under("q/y"), under("q/y")).unwrap();
    refused("q/*/a", "q/y/a", "symbolic link");
    refused("q/{x,y}/a", "q/y/a", "symbolic link");
    refused("q/*/*", "q/y", "symbolic link");
    // A link that leads to nothing: the file, a directory on the way to it, and one that is read.
    symlink(under("gone"), under("p/x/b")).unwrap();
    refused("p/x/*", "p/x/b", "No such file");
    refused("p/{x,empty}/b", "p/x/b", "No such file");
    refused("p/x", "p/x/b", "No such file");
    symlink(under("gone"), under("r/in/y")).unwrap();
    refused("r/*/*/a", "r/in/y", "No such file");
    refused("r/in/{x,y}/a", "r/in/y", "No such file");
    refused("r/in/*/*", "r/in/y", "No such file");
    // Bytes that are not UTF-8 in a name with a wildcard, in a class, and beside braces.
    let bytes = |name: &[u8]| under("b").join(OsStr::from_bytes(name));
    for name in [&b"\xffone"[..], b"\xfeone"] {
        fs::write(bytes(name), format!("{name:?}")).unwrap();
    }
    let [ff, fe] = [&b"\xffone"[..], b"\xfeone"].map(|name| format!("{name:?}"));
    let found = |name: &[u8]| read(bytes(name)).unwrap();
    assert_eq!(found(b"\xff*"), [ff.as_str()]);
    assert_eq!(found(b"[\xf0-\xfe]one"), [fe.as_str()]);
    assert_eq!(found(b"{\xfe,\xff,none}one"), [fe.as_str(), &ff]);
    assert_eq!(found(b"?one"), [fe.as_str(), &ff]);
}

/// Directories below one whose path is too long for the system were left out.
#[test]
fn a_glob_reports_a_directory_that_is_too_deep() {
    let dir = tempfile::tempdir().unwrap();
    let [upper, lower] = ["upper", "lower"].map(|name| {
        let deep = (0..12).fold(dir.path().join(name), |at, _| at.join("d".repeat(200)));
        fs::create_dir_all(&deep).unwrap();
        deep
    });
    fs::write(lower.join("a"), "a").unwrap();
    assert_eq!(read(dir.path().join("**/a")).unwrap(), ["a"]);
    fs::rename(dir.path().join("lower"), upper.join("lower")).unwrap();
    let error = read(dir.path().join("**/a")).unwrap_err().to_string();
    assert!(error.contains("File name too long"), "{error}");
}
