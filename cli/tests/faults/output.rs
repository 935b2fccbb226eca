//! Tasks that print more than anyone reads. Output that is read arrives complete and in order. Unread output is bounded
//! in every process, and a line says how much was cut.

use crate::here;
use crate::large::{MIB, bytes};
use crate::rig::{Cluster, driving, gate, mark};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use tryworks::prelude::*;

/// The length of a line, with its end.
const LINE: usize = 1024;
/// How many lines are written at once.
const AT_ONCE: usize = 16;

/// A task that writes numbered lines, and leaves a mark when it is done.
fn print(lines: u64, to: impl Fn(&[u8]) + Copy + Send + Sync + 'static) {
    let cx = Context::init().unwrap();
    let printed = cx.range_in(lines..lines + 1, 1).map(move |lines| {
        let lines = lines as usize;
        for first in (0..lines).step_by(AT_ONCE) {
            let some: String = (first..first + AT_ONCE).map(|at| format!("{at:0width$}\n", width = LINE - 1)).collect();
            to(some.as_bytes());
        }
        mark("printed");
        lines
    });
    assert_eq!(printed.count().unwrap(), 1);
    to_out(b"COUNTED\n");
}

fn to_out(bytes: &[u8]) {
    std::io::stdout().write_all(bytes).unwrap();
}

/// The bytes of the lines that report missing output.
fn gone(text: &str, what: &str) -> Vec<usize> {
    let lines = text.lines().filter(|line| line.contains(what));
    let number = |line: &str| line.split_once("tryworks: ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    lines.map(number).collect()
}

/// The numbers of the lines that arrived, which are in order, and the length of the text before each number.
#[track_caller]
fn numbers(text: &str) -> (Vec<usize>, usize) {
    let mut before = 0;
    // The test's harness may have begun the line that the task continues.
    let number = |line: &str| {
        let (front, number) = line.split_at_checked(line.len().checked_sub(LINE - 1)?)?;
        let number = number.parse::<usize>().ok()?;
        before = front.len() - front.find("[engine-1 worker ")?;
        Some(number)
    };
    let numbers: Vec<_> = text.lines().filter_map(number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    (numbers, before)
}

#[track_caller]
fn is_small(pid: u32) {
    let most = bytes(pid, "VmHWM");
    assert!(most < 100 * MIB, "process {pid} had {} MiB", most / MIB);
}

#[track_caller]
fn are_small(cluster: &Cluster) {
    cluster.children.iter().for_each(|(_, child)| is_small(child.id()));
}

#[test]
fn output_into_an_unread_pipe_is_bounded_and_a_line_says_how_much_was_cut() {
    const LINES: usize = 300 << 10;
    if driving() {
        return print(LINES as u64, to_out);
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let driver = cluster.begin_unheard(here!());
    // The task is not blocked.
    cluster.shared.wait_for("printed", 1);
    are_small(&cluster);
    is_small(driver.child.id());
    let done = driver.heard().ends_well();
    let (numbers, before) = numbers(&done.out);
    assert_eq!(numbers[..1000], (0..1000).collect::<Vec<_>>());
    let cut = gone(&done.out, "bytes of output were cut here");
    assert!(!cut.is_empty(), "300 MiB are more than may wait");
    // A driver that the system suspends for seconds loses more lines.
    if gone(&done.out, "are missing here").is_empty() {
        assert_eq!(numbers.len() + cut.iter().sum::<usize>() / (before + LINE), LINES);
    }
    let told = done.out.rfind("were cut here").unwrap();
    assert!(done.out.find("COUNTED").unwrap() > told, "the end of the output comes before the end of the job");
    cluster.is_clean();
}

#[test]
fn a_stopped_driver_delays_its_tasks_for_a_while_and_sees_what_it_missed() {
    const LINES: usize = 100 << 10;
    if driving() {
        return print(LINES as u64, |bytes| {
            if bytes.starts_with(&[b'0'; LINE - 1]) {
                mark("begins");
                gate("stopped");
            }
            std::io::stderr().write_all(bytes).unwrap();
        });
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("begins", 1);
    let pid = Pid::from_raw(driver.child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    cluster.shared.open("stopped");
    cluster.shared.wait_for("printed", 1);
    are_small(&cluster);
    is_small(driver.child.id());
    kill_process(pid, Signal::CONT).unwrap();
    let done = driver.ends_well();
    let missing = gone(&done.err, "are missing here");
    assert!(!missing.is_empty(), "100 MiB are more than may be on their way");
    assert_eq!(numbers(&done.err).0.len() * LINE + missing.iter().sum::<usize>(), LINES * LINE);
    cluster.is_clean();
}

#[test]
fn output_that_is_read_arrives_whole_and_in_order() {
    const LINES: usize = 30 << 10;
    if driving() {
        return print(LINES as u64, to_out);
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    let driver = cluster.begin(here!(), &[]);
    let done = driver.ends_well();
    are_small(&cluster);
    assert_eq!(numbers(&done.out).0, (0..LINES).collect::<Vec<_>>());
    assert!(!done.out.contains("are missing here") && !done.out.contains("were cut here"));
}
