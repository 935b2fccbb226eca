//! What a cluster shows of itself to others on its machines: where it listens, and that its keys are nowhere visible.

use crate::rig::{Cluster, all_below, driving, gate, is_program, mark};
use crate::{directory, here, listening};
use std::fs;
use std::path::Path;
use tryworks::prelude::*;

#[test]
fn hub_and_engines_listen_on_the_loopback_by_default() {
    let cluster = Cluster::by_hand(2, 1, &[]);
    let hub = cluster.children[0].1.id();
    for pid in [hub, cluster.engine("engine-1"), cluster.engine("engine-2")] {
        let addresses = listening(pid);
        assert!(!addresses.is_empty(), "{pid} listens somewhere");
        // 127.0.0.1, the lowest byte first.
        assert!(addresses.iter().all(|(address, _)| address == "0100007F"), "{addresses:?}");
    }
}

/// The lines of the keys in a connection file or in the authority's file. Certificates are no secret.
fn key_lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap().replace("\\n", "\n");
    let keys = text.split("-----BEGIN PRIVATE KEY-----").skip(1);
    let lines = keys.flat_map(|key| key.split("-----END").next().unwrap().lines());
    lines.filter(|line| line.len() >= 16).map(String::from).collect()
}

#[test]
fn keys_are_in_no_command_line_no_environment_no_log_and_no_journal() {
    if driving() {
        let cx = Context::init().unwrap();
        let numbers = cx.range_in(0..2, 2).map(|n| {
            mark("runs");
            println!("task {n} runs");
            gate("seen");
            n
        });
        assert_eq!(numbers.background().detached("kept").sum().unwrap().wait().unwrap(), 1);
        return;
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let directory = directory(&cluster);
    let keys: Vec<String> = ["driver.json", "engine.json", "authority/authority.json"]
        .iter()
        .flat_map(|file| {
            let lines = key_lines(&directory.join(file));
            assert!(!lines.is_empty(), "{file} holds a key");
            lines
        })
        .collect();
    let shows = |bytes: &[u8]| {
        let has = |key: &String| bytes.windows(key.len()).any(|window| window == key.as_bytes());
        keys.iter().any(has)
    };
    assert!(shows(&fs::read(directory.join("driver.json")).unwrap()), "what is looked for can be found");
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("runs", 2);
    let processes = cluster.processes();
    // The hub, the engine, the driver and its worker.
    assert!(processes.len() >= 4, "{processes:?}");
    for pid in processes {
        for what in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap();
            assert!(!shows(&bytes), "the {what} of {}", String::from_utf8_lossy(&bytes));
        }
    }
    cluster.shared.open("seen");
    let done = driver.ends_well();
    assert!(!shows(done.out.as_bytes()) && !shows(done.err.as_bytes()));
    let mut all = all_below(&directory);
    all.retain(|path| path.is_file() && !is_program(path));
    all.push(cluster.log("hub"));
    all.push(cluster.log("engine-1"));
    let secret = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
    let looked: Vec<_> = all.iter().filter(|path| !secret(path)).collect();
    assert!(looked.iter().any(|path| path.ends_with("journal.sqlite")), "{looked:?}");
    for path in looked {
        // A file may have been deleted by now.
        let bytes = fs::read(path).unwrap_or_default();
        assert!(!shows(&bytes), "{}", path.display());
    }
}
