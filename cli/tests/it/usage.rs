//! What the executable prints, and its exit codes.

use crate::home::Home;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(String::from).collect()
}

#[test]
fn every_help_has_examples_that_begin_with_its_command() {
    let home = Home::new();
    let mut seen = Vec::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(path) = left.pop() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.good(&arguments);
        let examples = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{path:?} has no examples")).1;
        let command = format!("  tryworks {}", path.join(" "));
        assert!(examples.starts_with(command.trim_end()), "{path:?}: {examples}");
        left.extend(commands(&help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        seen.push(path.join(" "));
    }
    seen.sort();
    let expected = "|cancel|cluster|cluster clean|cluster drain|cluster list|cluster rotate|cluster start|cluster status\
                    |cluster stop|completion|engine|hub|job|jobs|logs|run|why";
    assert_eq!(seen.join("|"), expected);
    assert!(home.good(&["--help"]).contains("3  there is no such cluster"));
}

#[test]
fn completion_scripts_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = home.good(&["completion", shell]);
        for word in ["tryworks", "drain", "--foreground"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} lacks {word}");
        }
        assert!(!script.contains("supervise"), "{shell} offers what is not for people");
    }
    assert_eq!(home.run(&["completion", "tcsh"]).code, 2);
}

#[test]
fn wrong_usage_is_2() {
    let home = Home::new();
    for wrong in [
        &["sail"][..],
        &["cluster", "start", "-n", "0"],
        &["cluster", "start", "--memory", "much"],
        &["cluster", "start", "--memory", "0"],
        &["cluster", "start", "--name", "../up"],
        &["cluster", "start", "--name", ""],
        &["cluster", "stop", "-c", "A"],
        &["run"],
        &["jobs", "-o", "yaml"],
    ] {
        let done = home.run(wrong);
        assert_eq!(done.code, 2, "{wrong:?}: {}{}", done.out, done.err);
        assert!(done.err.starts_with("error: "), "{}", done.err);
    }
    assert_eq!(home.entries(), [""; 0]);
}

#[test]
fn no_such_cluster_is_3() {
    let home = Home::new();
    for command in [
        &["cluster", "stop"][..],
        &["cluster", "status"],
        &["cluster", "rotate"],
        &["cluster", "drain", "engine-1"],
        &["run", "true"],
        &["jobs"],
        &["job", "1"],
        &["cancel", "1"],
        &["why", "1"],
        &["logs", "-c", "/not/there/driver.json"],
        &["cluster", "stop", "-c", "a/b"],
        &["engine", "--connect", "/not/there/engine.json"],
    ] {
        let done = home.run(command);
        assert_eq!(done.code, 3, "{command:?}: {}{}", done.out, done.err);
        assert!(done.err.starts_with("error: there is no "), "{}", done.err);
        assert!(done.err.lines().nth(1).unwrap().starts_with("  what to do: "), "{}", done.err);
    }
}

#[test]
fn the_exit_code_is_3_without_a_hub_and_4_for_a_silent_one() {
    let home = Home::new();
    let directory = home.cluster("quiet");
    fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
    let gone = home.run(&["jobs", "--cluster", "quiet"]);
    assert_eq!(gone.code, 3, "{}", gone.err);
    assert!(gone.err.contains("tryworks cluster start"), "{}", gone.err);
    let _deaf = UnixListener::bind(directory.join("drivers.sock")).unwrap();
    let silent = home.run(&["jobs", "--cluster", "quiet"]);
    assert_eq!(silent.code, 4, "{}", silent.err);
}

#[test]
fn nothing_is_listed_where_nothing_is() {
    let home = Home::new();
    assert!(home.good(&["cluster", "list"]).starts_with("there is no cluster"));
    assert_eq!(home.json(&["cluster", "list"]), serde_json::json!([]));
    assert_eq!(home.good(&["cluster", "clean"]), "there is nothing to clean\n");
}

/// They made the home, with the directories above it.
#[test]
fn commands_that_only_look_make_no_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new();
    for arguments in [&["cluster", "list"][..], &["cluster", "status"], &["jobs"], &["cluster", "clean"], &["why", "1"]]
    {
        for (variable, place) in [("TRYWORKS_HOME", "relative"), ("XDG_RUNTIME_DIR", "runtime/of/nobody")] {
            let place = scratch.path().join(place);
            let mut command = home.command(arguments);
            let done = command.env("TRYWORKS_HOME", "").env(variable, &place).output().unwrap();
            let looks_at_one = !matches!(arguments, ["cluster", "list" | "clean"]);
            assert_eq!(done.status.code(), Some(if looks_at_one { 3 } else { 0 }), "{arguments:?}: {done:?}");
        }
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_program_that_is_run_ends_as_it_likes() {
    let home = Home::new();
    fs::create_dir_all(home.cluster("night")).unwrap();
    let run = |program: &[&str]| home.run(&[&["run", "--cluster", "night"], program].concat());
    let done = run(&["sh", "-c", "echo $TRYWORKS_CLUSTER $1; exit 7", "sh", "--cluster"]);
    assert_eq!((done.code, done.out.as_str()), (7, "night --cluster\n"), "{}", done.err);
    assert_eq!(run(&["/not/there"]).code, 127);
    assert_eq!(run(&["/etc"]).code, 126);
    let killed = home.command(&["run", "--cluster", "night", "sh", "-c", "kill -9 $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(9));
}

#[test]
fn an_address_that_others_cannot_use_is_refused() {
    let home = Home::new();
    for wildcard in ["0.0.0.0", "::"] {
        for command in [
            &["hub", "--name", "net", "--listen", wildcard][..],
            &["cluster", "start", "--name", "net", "--listen", wildcard],
            &["engine", "--connect", "engine.json", "--listen", wildcard],
        ] {
            let refused = home.run(command);
            assert_eq!(refused.code, 2, "{command:?}: {}", refused.err);
            let said = refused.err;
            assert!(said.contains("others are told this address") && said.contains("such as 192.168.1.5"), "{said}");
        }
    }
    assert!(home.entries().is_empty());
}
