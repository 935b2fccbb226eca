//! Peak memory: one side alone in a process of its own, whose anonymous resident set is sampled from outside.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Answer, Bench, Outcome, Settings, Side};

/// The time between two samples.
const EVERY: Duration = Duration::from_millis(5);

/// The result of a side that ran alone.
pub struct Alone {
    /// Its answer.
    pub answer: Answer,
    /// How long it took, without starting the process and preparing the data.
    pub seconds: f64,
    /// The largest `RssAnon` seen, in bytes.
    pub anonymous: u64,
    /// `VmHWM`, in bytes: it includes mapped files.
    pub resident: u64,
}

/// Runs one side of a benchmark in a process of its own and watches its memory.
pub fn run_alone(name: &str, side: Side, settings: &Settings, environment: &[(&str, &str)]) -> Outcome<Alone> {
    let mut command = Command::new("/proc/self/exe");
    command.args([name, "--side", &side.to_string(), "--threads", &settings.threads.to_string()]);
    command.args(["--scale", &settings.scale.to_string(), "--scratch"]).arg(&settings.scratch);
    for (key, value) in environment.iter().filter(|(key, _)| std::env::var_os(key).is_none()) {
        command.env(key, value);
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let (mut anonymous, mut resident) = (0, 0);
    let status = loop {
        // A child that has ended has no memory lines any more: its last sample counts.
        let sample = std::fs::read_to_string(&status_file).unwrap_or_default();
        anonymous = anonymous.max(field(&sample, "RssAnon:"));
        resident = resident.max(field(&sample, "VmHWM:"));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(EVERY);
    };
    let mut text = String::new();
    child.stdout.take().ok_or("the child has no output")?.read_to_string(&mut text)?;
    if !status.success() {
        return Err(format!("the {side} side alone ended with {status}").into());
    }
    let words: Vec<&str> = text.lines().last().unwrap_or_default().split_ascii_whitespace().collect();
    let ["answer", count, checksum, seconds] = words[..] else {
        return Err(format!("the {side} side alone printed {text:?}").into());
    };
    let answer = Answer { count: count.parse()?, checksum: checksum.parse()? };
    Ok(Alone { answer, seconds: seconds.parse()?, anonymous, resident })
}

/// The other end of [`run_alone`]: runs one side once and prints its answer.
pub fn answer_once(bench: Bench, side: Side) -> Outcome<()> {
    let (run, after) = match (bench, side) {
        (Bench::Pair(pair), Side::Ours) => (pair.ours, pair.after),
        (Bench::Pair(pair), Side::Twin) => (Some(pair.twin), pair.after),
        (Bench::Bounded(bounded), Side::Ours) => (bounded.ours, None),
        _ => (None, None),
    };
    let run = run.ok_or("this benchmark has no such side")?;
    let begin = Instant::now();
    let mut answer = run()?;
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(after) = after {
        answer = after()?;
    }
    println!("answer {} {} {seconds}", answer.count, answer.checksum);
    Ok(())
}

/// The bytes in a line of `/proc/PID/status` that counts in kB.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}
