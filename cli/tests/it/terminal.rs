//! A program on a terminal: the progress bar does not overwrite printed lines, and tables fit.

use crate::home::Home;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tryworks::prelude::*;

/// Set in drivers and in workers.
const ROLE: &str = "TRYWORKS_TEST_ROLE";

/// A terminal of 60 columns around a program: its contents go to the standard output.
const TERMINAL: &str = r#"
#include <pty.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **arguments) {
    struct winsize size = { 24, 60, 0, 0 };
    int terminal, status;
    char bytes[4096];
    ssize_t got;
    pid_t child = forkpty(&terminal, 0, 0, &size);
    if (child == 0) {
        execv(arguments[1], arguments + 1);
        _exit(127);
    }
    while ((got = read(terminal, bytes, sizeof bytes)) > 0)
        if (write(1, bytes, got) < 0) return 126;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
"#;

/// Runs a program on a terminal, and returns everything written there.
fn on_a_terminal(program: &Path, arguments: &[&str], environment: &[(&str, &OsStr)]) -> String {
    let place = tempfile::tempdir().unwrap();
    let (source, terminal) = (place.path().join("terminal.c"), place.path().join("terminal"));
    std::fs::write(&source, TERMINAL).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&terminal).arg(&source).arg("-lutil").status().unwrap().success());
    let mut command = Command::new(&terminal);
    command.arg(program).args(arguments).env_remove("TRYWORKS_CLUSTER").envs(environment.iter().copied());
    let done = command.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}: {text}", done.status);
    text
}

/// The lines on the screen at the end, however long.
fn screen(written: &str) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        match char {
            '\r' => column = 0,
            '\n' => {
                (row, column) = (row + 1, 0);
                lines.resize(lines.len().max(row + 1), Vec::new());
            }
            '\x1b' => {
                assert_eq!(chars.next(), Some('['));
                let mut number = String::new();
                let command = loop {
                    match chars.next().unwrap() {
                        part if part.is_ascii_digit() || part == ';' || part == '?' => number.push(part),
                        command => break command,
                    }
                };
                match command {
                    'K' if number == "2" => lines[row].clear(),
                    'K' => lines[row].truncate(column),
                    'A' => row -= number.parse().unwrap_or(1),
                    'B' => row += number.parse().unwrap_or(1),
                    'm' | 'h' | 'l' => {}
                    other => panic!("what is {number}{other}?"),
                }
            }
            char => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = char;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_string()).collect()
}

fn program() {
    let cx = Context::init().unwrap();
    println!();
    // Long enough for the bar to appear.
    let slow = cx.range_in(0..4, 4).map(|n| {
        std::thread::sleep(Duration::from_millis(300));
        if n == 2 && std::env::var_os("TRYWORKS_WORKER").is_some() {
            println!("from a task");
        }
        n
    });
    for _ in 0..3 {
        assert_eq!(slow.count().unwrap(), 4);
        println!("a line behind it");
    }
    let failed = slow.map(|n| assert_ne!(n, 3)).count();
    eprintln!("it failed: {}", failed.is_err());
}

#[test]
fn output_after_a_job_begins_on_a_new_line() {
    if std::env::var_os(ROLE).is_some() {
        return program();
    }
    let own = std::env::current_exe().unwrap();
    let test = ["--exact", "terminal::output_after_a_job_begins_on_a_new_line", "--nocapture"];
    let home = Home::new();
    home.good(&["cluster", "start", "--slots", "2", "--memory", "256M"]);
    let clusters = home.cluster("");
    let role = (ROLE, OsStr::new("driver"));
    let local = [role, ("TRYWORKS_THREADS", OsStr::new("2"))];
    let afar = [role, ("TRYWORKS_CLUSTER", OsStr::new("default")), ("TRYWORKS_HOME", clusters.as_os_str())];
    for environment in [&local[..], &afar] {
        let written = on_a_terminal(&own, &test, environment);
        assert!(written.contains("/4 partitions"), "the bar was never shown: {written}");
        let lines = screen(&written);
        let count = |line: &str| lines.iter().filter(|shown| *shown == line).count();
        assert_eq!((count("a line behind it"), count("it failed: true")), (3, 1), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("partitions")), "the bar is still there: {lines:#?}");
        if environment.len() == 3 {
            let tasks: Vec<_> = lines.iter().filter(|line| line.contains("from a task")).collect();
            let alone = |line: &&String| line.starts_with("[engine-1 worker ") && line.ends_with("] from a task");
            assert!(tasks.len() == 4 && tasks.iter().all(alone), "{lines:#?}");
        }
    }
}

#[test]
fn tables_fit_a_terminal_and_are_whole_elsewhere() {
    let home = Home::new();
    let name = "a-name-of-twenty-six-bytes";
    std::fs::create_dir_all(home.cluster(name)).unwrap();
    let (path, clusters) = (home.cluster(name).display().to_string(), home.cluster(""));
    let table = home.good(&["cluster", "list"]);
    assert!(table.contains(&path) && !table.contains('…'), "{table}");
    let environment = [("TRYWORKS_HOME", clusters.as_os_str())];
    let shown = on_a_terminal(Path::new(env!("CARGO_BIN_EXE_tryworks")), &["cluster", "list"], &environment);
    assert!(shown.contains('…') && !shown.contains(&path), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

fn logged() {
    let done = Context::init().and_then(|cx| cx.range(0..10).sum());
    println!("DONE {done:?}");
}

#[test]
fn an_event_log_that_cannot_be_written_is_reported() {
    if std::env::var_os(ROLE).is_some() {
        return logged();
    }
    let test = ["--exact", "terminal::an_event_log_that_cannot_be_written_is_reported", "--nocapture"];
    let run = |cluster: Option<&str>, log: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(test).env(ROLE, "driver").env("TRYWORKS_EVENT_LOG", log).env_remove("TRYWORKS_CLUSTER");
        command.envs(cluster.map(|cluster| ("TRYWORKS_CLUSTER", cluster)));
        let done = command.output().unwrap();
        (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (out, err) = run(None, "/dev/full");
    assert!(out.contains("DONE Ok(45)"), "no job fails because of it: {out}{err}");
    let told = "tryworks: the event log /dev/full ends here: it cannot be written: No space left on device";
    assert_eq!(err.matches(told).count(), 1, "{err}");
    let (out, err) = run(None, "/not/there/log");
    assert!(out.contains("DONE Err") && out.contains("/not/there/log"), "{out}{err}");
    // Regression: a cluster does not write one, and said nothing about that.
    let (out, err) = run(Some("nowhere"), "log");
    assert!(out.contains("DONE Err") && out.contains("these jobs run on a cluster"), "{out}{err}");
}
