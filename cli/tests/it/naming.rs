//! One way to name a cluster: `-c` and `TRYWORKS_CLUSTER`, by a name, a directory or a connection file.

use crate::cluster::{carried, start};
use crate::home::{Done, Home};
use std::os::unix::ffi::OsStringExt;
use std::process::Output;

/// Runs a command with a cluster in its environment.
fn with(home: &Home, cluster: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Done {
    let Output { status, stdout, stderr } = home.command(arguments).env("TRYWORKS_CLUSTER", cluster).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// All commands that work on an existing cluster.
const ABOUT: [&[&str]; 10] = [
    &["cluster", "stop"],
    &["cluster", "status"],
    &["cluster", "rotate"],
    &["cluster", "drain", "engine-9"],
    &["run", "true"],
    &["jobs"],
    &["job", "1"],
    &["cancel", "1"],
    &["why", "1"],
    &["logs"],
];

#[test]
fn every_command_goes_to_the_cluster_that_is_named() {
    let home = Home::new();
    let names = |home: &Home| -> Vec<String> {
        let all = home.json(&["cluster", "list"]);
        all.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().into()).collect()
    };
    // The environment names a new cluster, too.
    let started = with(&home, "night", &["cluster", "start", "--memory", "64M"]);
    assert!(started.out.contains("cluster `night` runs") && started.out.contains("stop -c night"), "{}", started.out);
    start(&home, &["-c", "day"]);
    assert_eq!(names(&home), ["day", "night"]);

    // Regression: no command goes to a cluster other than the named one; `stop` did.
    for command in ABOUT {
        for done in [with(&home, "nowhere", command), with(&home, "day", &with_c(command, "nowhere"))] {
            assert_eq!(done.code, 3, "{command:?}: {}{}", done.out, done.err);
            assert!(done.err.contains("`nowhere`"), "{}", done.err);
        }
    }
    assert_eq!(names(&home), ["day", "night"]);
    let shown = |done: Done| serde_json::from_str::<serde_json::Value>(&done.out).unwrap()["cluster"].clone();
    let status = ["cluster", "status", "-o", "json"];
    let night = home.cluster("night");
    for place in [night.clone(), night.join("driver.json"), carried(&home, "night", "driver.json").into()] {
        assert_eq!(shown(with(&home, &place, &status)), "night", "{place:?}");
        assert_eq!(shown(with(&home, "day", &with_c(&status, place.to_str().unwrap()))), "night");
    }
    assert_eq!(with(&home, "night", &["cluster", "stop"]).out, "cluster `night` is stopped\n");
    assert_eq!(names(&home), ["day"]);
    // An empty variable means the default name.
    assert!(with(&home, "", &["cluster", "stop"]).err.contains("there is no cluster `default`"));
    assert_eq!(with(&home, "nowhere", &["cluster", "stop", "-c", "day"]).out, "cluster `day` is stopped\n");
    assert!(names(&home).is_empty());
}

fn with_c<'a>(command: &[&'a str], cluster: &'a str) -> Vec<&'a str> {
    let (at, _) = command.iter().enumerate().find(|(_, word)| **word != "cluster").unwrap();
    [&command[..=at], &["-c", cluster], &command[at + 1..]].concat()
}

#[test]
fn a_cluster_is_stopped_by_a_connection_file() {
    let home = Home::new();
    // Its own file, and a copy as from another machine.
    for copied in [false, true] {
        start(&home, &[]);
        let file = match copied {
            false => home.cluster("default").join("driver.json").to_str().unwrap().to_string(),
            true => carried(&home, "default", "driver.json"),
        };
        let said = home.good(&["cluster", "stop", "-c", &file]);
        assert!(said.contains(if copied { "the hub of cluster" } else { "is stopped" }), "{said}");
        tryworks_testing::until("nothing of it is left", || (!home.cluster("default").exists()).then_some(()));
    }
    let stopped = home.run(&["cluster", "stop", "-c", &home.cluster("copy-driver.json").display().to_string()]);
    assert_eq!(stopped.code, 3, "{}", stopped.err);
}

#[test]
fn unfit_names_of_clusters_are_refused() {
    let home = Home::new();
    // A new cluster needs a name, not a path.
    for command in [&["cluster", "start"][..], &["hub"]] {
        let done = with(&home, "./driver.json", command);
        assert_eq!(done.code, 2, "{command:?}: {}", done.err);
        assert!(done.err.contains("is no name for a cluster") && done.err.contains("with -c"), "{}", done.err);
    }
    let odd = std::ffi::OsString::from_vec(vec![b'n', 0xff]);
    for command in ABOUT.iter().chain(&[&["cluster", "start"][..], &["hub"]]) {
        let done = with(&home, &odd, command);
        assert_eq!(done.code, 2, "{command:?}: {}", done.err);
        assert!(done.err.contains("TRYWORKS_CLUSTER is \"n\\xFF\", which is not UTF-8"), "{}", done.err);
    }
    assert_eq!(home.entries(), [""; 0]);
}
