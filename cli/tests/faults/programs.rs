//! Programs that are overwritten, that start all at once, and that do not start on every engine; and the environment of
//! workers.

use crate::here;
use crate::rig::{Cluster, Engine, SmallDisk, all_below, driving, gate, is_program, mark, until};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tryworks::prelude::*;

/// A copy of this executable. Bytes after its end are never read, and make it another program. Another process makes
/// the copy: a file that this process has open for writing is open in all children that its other tests are starting.
fn copy(cluster: &Cluster, name: &str, behind: &str) -> PathBuf {
    let path = cluster.shared.0.join(name);
    let script = "cp \"$0\" \"$1\" && chmod 700 \"$1\" && printf %s \"$2\" >> \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(&path).arg(behind);
    assert!(command.status().unwrap().success());
    path
}

fn sum() {
    let cx = Context::init().unwrap();
    assert_eq!(cx.range_in(0..100, 4).map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b).count().unwrap(), 3);
}

/// Two copies of one program, of which the first was run. Overwriting it must not change what the engine runs for the
/// second one.
#[test]
fn an_overwritten_program_does_not_run_under_its_old_hash() {
    if driving() {
        return sum();
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    let (one, other) = (copy(&cluster, "one", ""), copy(&cluster, "other", ""));
    cluster.begin_as(&one, here!(), &[]).ends_well();
    fs::write(&one, fs::read("/bin/true").unwrap()).unwrap();
    cluster.begin_as(&other, here!(), &[]).ends_well();
    // Writing to the engine's copy does not help either.
    for entry in fs::read_dir(find(&cluster.home(), "programs")).unwrap().map(Result::unwrap) {
        assert!(Command::new("chmod").arg("700").arg(entry.path()).status().unwrap().success());
        // Not while a worker of the driver before is still ending.
        until("no process runs it", || fs::write(entry.path(), fs::read("/bin/true").unwrap()).ok());
    }
    cluster.begin_as(&other, here!(), &[]).ends_well();
}

/// Regression: 64 engines of one machine each copied and hashed the driver's program.
#[test]
fn the_engines_that_one_supervisor_has_started_share_a_copy() {
    if driving() {
        let cx = Context::init().unwrap();
        // No task continues before all have begun: each one runs on an engine of its own.
        let all = cx.range_in(0..3, 3).map(|_| {
            mark("begun");
            gate("all");
        });
        return assert_eq!(all.count().unwrap(), 3);
    }
    let cluster = Cluster::start(3, 1);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("begun", 3);
    cluster.shared.open("all");
    driver.ends_well();
    let mut copies = all_below(&cluster.home());
    copies.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name.len() == 64));
    assert_eq!(copies, [cluster.home().join("default/engines/programs").join(copies[0].file_name().unwrap())]);
}

/// The directory of this name, somewhere below an engine's, that is not empty.
fn find(directory: &Path, name: &str) -> PathBuf {
    let filled = |path: &PathBuf| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    let mut all = all_below(directory).into_iter().filter(|path| path.file_name().is_some_and(|last| last == name));
    all.find(filled).unwrap_or_else(|| panic!("there is no {name}"))
}

/// Regression: while one program was copied, other programs that were being started had the copy open for a moment. The
/// error was "text file busy".
#[test]
fn many_programs_start_at_once_on_a_fresh_cluster() {
    if driving() {
        return sum();
    }
    let cluster = Cluster::by_hand(2, 1, &[]);
    let programs: Vec<_> = (0..5).map(|n| copy(&cluster, &format!("program-{n}"), &n.to_string())).collect();
    let drivers: Vec<_> = programs.iter().flat_map(|program| [program; 2]).collect();
    let test = here!();
    let drivers: Vec<_> = drivers.into_iter().map(|program| cluster.begin_as(program, test, &[])).collect();
    for driver in drivers {
        let done = driver.ends_well();
        assert!(!done.err.contains("does not start"), "{}", done.err);
    }
}

const NAMES: [&str; 9] = [
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "PASSWORD",
    "NAMED_TOKEN",
    "TZ",
    "TRYWORKS_MINE",
    "TRYWORKS_ENGINES_OWN",
    "TRYWORKS_CLUSTER",
];

#[test]
fn a_worker_has_its_engines_environment_and_the_drivers_named_variables() {
    if driving() {
        let cx = Context::init().unwrap();
        let tasks = cx.range_in(0..1, 1).map(|_| {
            gate("look");
            // Results are in the journal, too: they must not look like the text that the test searches for.
            NAMES.map(|name| std::env::var(name).map_or("none".into(), |value| value.to_uppercase())).to_vec()
        });
        let job = tasks.background().detached("look").collect().unwrap();
        eprintln!("SUBMITTED");
        println!("TOLD {}", job.wait().unwrap()[0].join("|"));
        return;
    }
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    let environment = [
        ("HOME", "/engines/home"),
        ("LD_LIBRARY_PATH", "/engines/lib"),
        ("TZ", "Engine/Zone"),
        ("TRYWORKS_ENGINES_OWN", "x"),
    ];
    cluster.add("engine-1", Engine { slots: 1, environment: &environment, ..Engine::default() });
    cluster.wait_for_engines(1);
    let own = [
        ("PATH", "/drivers/bin"),
        ("HOME", "/drivers/home"),
        ("LD_LIBRARY_PATH", "/drivers/lib"),
        ("PASSWORD", "swordfish-of-the-driver"),
        ("NAMED_TOKEN", "token-of-the-driver"),
        ("TZ", "Driver/Zone"),
        ("TRYWORKS_MINE", "mine"),
        ("TRYWORKS_SEND_ENV", "NAMED_*,NOT_SET"),
    ];
    let driver = cluster.begin(here!(), &own);
    driver.says("SUBMITTED");
    let holders = |text: &str| {
        let holds = |pid: &u32| contains(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default(), text);
        cluster.processes().into_iter().filter(|pid| *pid != driver.child.id()).filter(holds).count()
    };
    until("the worker is there", || (holders("token-of-the-driver") == 1).then_some(()));
    assert_eq!(holders("swordfish"), 0);
    // The journal has the named variables for as long as the job needs them, and nothing else.
    assert_eq!(files_with(&cluster.home(), "swordfish"), Vec::<PathBuf>::new());
    assert!(!files_with(&cluster.home(), "token-of-the-driver").is_empty());
    cluster.shared.open("look");
    let done = driver.ends_well();
    let path = std::env::var("PATH").unwrap();
    let told = format!(
        "TOLD {}|/ENGINES/HOME|/ENGINES/LIB|none|TOKEN-OF-THE-DRIVER|DRIVER/ZONE|MINE|none|none",
        path.to_uppercase()
    );
    assert!(done.out.contains(&told), "{}", done.out);
    until("nothing of it is left", || files_with(&cluster.home(), "token-of-the-driver").is_empty().then_some(()));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The files below a directory that contain a text, without executables, since this one contains it.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = all_below(directory);
    found.retain(|path| !is_program(path) && fs::read(path).is_ok_and(|bytes| contains(&bytes, text)));
    found
}

/// Set in the environment of an engine on which the program does not start.
const SICK: &str = "SICK_ENGINE";

/// Says which engines its tasks ran on, or why it failed.
fn look_round() {
    if std::env::var_os("TRYWORKS_WORKER").is_some() && std::env::var_os(SICK).is_some() {
        eprintln!("the licence has expired");
        std::process::exit(3);
    }
    let cx = Context::init().unwrap();
    let rows = cx.range_in(0..400, 40).map(|n| (n % 7, n));
    match rows.reduce_by_key(|a, b| a + b).collect() {
        Ok(sums) => {
            let found: BTreeMap<u64, u64> = sums.into_iter().collect();
            assert_eq!(found, (0..7).map(|digit| (digit, (0..400).filter(|n| n % 7 == digit).sum())).collect());
            println!("DONE");
        }
        Err(error) => println!("ERROR {error}"),
    }
}

#[test]
fn a_program_that_does_not_start_on_one_engine_runs_on_the_others() {
    if driving() {
        return look_round();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    cluster.add("engine-2", Engine { slots: 2, environment: &[(SICK, "yes")], ..Engine::default() });
    cluster.wait_for_engines(2);
    for _ in 0..2 {
        let done = cluster.drive(here!());
        assert!(done.out.contains("DONE"), "{}", done.out);
        assert!(done.err.contains("the program does not start on engine-2 on "), "{}", done.err);
        assert!(done.err.contains("the licence has expired"), "{}", done.err);
    }
    cluster.add("engine-3", Engine { slots: 1, environment: &[(SICK, "yes")], ..Engine::default() });
    cluster.wait_for_engines(3);
    assert!(cluster.drive(here!()).out.contains("DONE"));
}

#[test]
fn a_program_that_starts_on_no_engine_fails_with_the_reason_of_each() {
    if driving() {
        return look_round();
    }
    let mut cluster = Cluster::by_hand(0, 0, &[]);
    for name in ["engine-1", "engine-2"] {
        cluster.add(name, Engine { slots: 2, environment: &[(SICK, "yes")], ..Engine::default() });
    }
    cluster.wait_for_engines(2);
    let done = cluster.drive(here!());
    assert!(done.out.contains("ERROR the program starts on none of the 2 engines"), "{}", done.out);
    for name in ["engine-1", "engine-2"] {
        assert!(done.out.contains(&format!("the program does not start on {name} on ")), "{}", done.out);
    }
    assert_eq!(done.out.matches("the licence has expired").count(), 2, "{}", done.out);
}

#[test]
fn a_program_that_does_not_fit_on_one_engine_runs_on_the_others() {
    if driving() {
        return look_round();
    }
    let Some(small) = SmallDisk::mount("1M") else { return };
    let directory = small.0.join("e");
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    cluster.add("engine-2", Engine { slots: 2, directory: Some(&directory), ..Engine::default() });
    cluster.wait_for_engines(2);
    let done = cluster.drive(here!());
    assert!(done.out.contains("DONE"), "{}", done.out);
    assert!(done.err.contains("does not start on engine-2") && done.err.contains("No space left"), "{}", done.err);
    drop((cluster, small));
}

#[test]
fn programs_run_elsewhere_if_an_engine_cannot_use_its_directory_of_programs() {
    if driving() {
        return look_round();
    }
    let mut cluster = Cluster::by_hand(1, 2, &[]);
    let directory = cluster.shared.0.join("e");
    cluster.add("engine-2", Engine { slots: 2, directory: Some(&directory), ..Engine::default() });
    cluster.wait_for_engines(2);
    fs::write(directory.join("programs"), "something else").unwrap();
    let done = cluster.drive(here!());
    assert!(done.out.contains("DONE"), "{}", done.out);
    assert!(done.err.contains("does not start on engine-2"), "{}", done.err);
}
