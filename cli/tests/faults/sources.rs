//! Sources that tasks of a cluster cannot read: the error has the real reason, and advice.

use crate::here;
use crate::rig::{Cluster, driving, path};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use tryworks::prelude::*;

/// An open file of this process as a path.
fn open_file(file: &impl AsRawFd) -> String {
    format!("/dev/fd/{}", file.as_raw_fd())
}

/// The error said that the engine does not see a file, although no process saw it any more. Paths under `/dev/stdin`
/// and `/dev/fd` were opened in the worker, which has other files there.
#[test]
fn files_that_are_gone_or_open_only_in_the_driver_are_errors_with_advice() {
    if driving() {
        let cx = Context::init().unwrap();
        let count = |from: String| cx.text_file(from).count();
        fs::write(path("in.txt"), "one\ntwo\n").unwrap();
        let file = File::open(path("in.txt")).unwrap();
        // A file that has a name is read by it.
        assert_eq!(count(open_file(&file)).unwrap(), 2);

        let rows = cx.text_file(path("in.txt"));
        fs::remove_file(path("in.txt")).unwrap();
        let error = rows.count().unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert!(first.contains("is not there any more: the driver saw it on this machine"), "{error}");
        assert!(!error.contains("does not see"), "{error}");

        let error = count(open_file(&file)).unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert!(first.contains("an open file of the driver's process") && first.contains("write its"), "{error}");

        let (pipe, _writer) = std::io::pipe().unwrap();
        let error = count(open_file(&pipe)).unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert!(first.contains("no regular file") && first.contains("write what comes out of it to a file"), "{error}");
        return;
    }
    Cluster::by_hand(1, 1, &[]).drive(here!());
}
