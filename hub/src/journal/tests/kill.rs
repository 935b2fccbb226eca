//! A hub that is killed at random moments, many times: everything that was synced is there, and no number is repeated.

use super::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use tryworks_base::ids::AttemptId;
use tryworks_protocol::engine::ResultPart;

/// Names the journal, in the child's environment.
const CHILD: &str = "TRYWORKS_TEST_JOURNAL";

const ROUNDS: u64 = 20;
const TASKS: u64 = 15;

fn bytes_of(job: u64, partition: u32) -> Vec<u8> {
    job.to_le_bytes().repeat(50 * (partition as usize + 1))
}

/// Writes until it is killed. Prints its numbers, and the entries that the journal has reported as committed.
fn write_until_killed(path: &str) {
    let say = |line: String| std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    let (journal, mut found) = Journal::open(path).unwrap();
    let mut launches = found.numbers.used(Counter::Launches);
    loop {
        let mut next = |counter| next(&journal, &mut found.numbers, counter);
        let from = next(Counter::Jobs);
        let to = (0..9).map(|_| next(Counter::Jobs)).last().unwrap();
        let (session, engine) = (next(Counter::Sessions) as u32, next(Counter::Engines));
        launches += 100_000;
        claim(&journal, &mut found.numbers, Counter::Launches, launches);
        say(format!("\n@numbers {from} {to} {session} {engine} {launches}\n"));
        let name = format!("name {from}");
        journal.note(super::session(session));
        journal.note(submitted(JobId(from), session, &format!("label {from}"), Some(&name)));
        for attempt in 1..=TASKS {
            journal.note(Entry::Task { job: JobId(from), row: task(0, attempt) });
        }
        for partition in 0..3 {
            let (attempt, part) = (AttemptId(launches), ResultPart::Here(bytes_of(from, partition)));
            journal.note(Entry::Result { job: JobId(from), partition, attempt, part });
        }
        if from % 3 == 0 {
            journal.sync().unwrap();
            say(format!("\n@safe {from}\n"));
        } else {
            let end = ended(JobId(from), now(), Ok(()));
            journal.note_then(end, move |result| {
                result.unwrap();
                say(format!("\n@done {from}\n"));
            });
        }
    }
}

/// What a child printed before it died.
#[derive(Default)]
struct Said {
    lines: usize,
    jobs: Vec<u64>,
    sessions: Vec<u64>,
    engines: Vec<u64>,
    launches: u64,
    safe: Vec<u64>,
    done: Vec<u64>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        // The kill may have cut off the last line. Such a line has no end, and does not count.
        let Some(words) = line.strip_prefix('@').and_then(|line| line.strip_suffix('\n')) else { return };
        let (kind, numbers) = words.split_once(' ').unwrap();
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        self.lines += 1;
        match kind {
            "numbers" => {
                self.jobs.extend(numbers[0]..=numbers[1]);
                self.sessions.push(numbers[2]);
                self.engines.push(numbers[3]);
                self.launches = numbers[4];
            }
            "safe" => self.safe.push(numbers[0]),
            _ => self.done.push(numbers[0]),
        }
    }
}

fn run_and_kill(path: &Path, lines: usize, then: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::kill::a_killed_hub_keeps_what_was_synced_and_repeats_no_number"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut said, mut line) = (Said::default(), String::new());
    while said.lines < lines && output.read_line(&mut line).unwrap() > 0 {
        said.hear(&line);
        line.clear();
    }
    std::thread::sleep(then);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it was killed, and did not end by itself");
    while output.read_line(&mut line).unwrap() > 0 {
        said.hear(&line);
        line.clear();
    }
    said
}

#[test]
fn a_killed_hub_keeps_what_was_synced_and_repeats_no_number() {
    if let Ok(path) = std::env::var(CHILD) {
        return write_until_killed(&path);
    }
    let (_directory, path) = place();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(9);
    let mut given: [BTreeSet<u64>; 3] = Default::default();
    let (mut safe, mut done, mut launches) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let said =
            run_and_kill(&path, random.random_range(1..120), Duration::from_micros(random.random_range(0..4_000)));
        assert!(!said.jobs.is_empty(), "it printed jobs before it died");
        for (given, new) in given.iter_mut().zip([said.jobs, said.sessions, said.engines]) {
            new.into_iter().for_each(|number| assert!(given.insert(number), "{number} came twice"));
        }
        safe.extend(said.safe);
        done.extend(said.done);
        launches = said.launches.max(launches);

        let (journal, mut found) = Journal::open(&path).unwrap();
        assert_eq!(found.epoch, 2 * round + 2);
        assert!(found.numbers.used(Counter::Launches) >= launches);
        let counters = [Counter::Jobs, Counter::Sessions, Counter::Engines];
        let fresh = counters.map(|counter| next(&journal, &mut found.numbers, counter));
        for (given, number) in given.iter_mut().zip(fresh) {
            assert!(number > *given.last().unwrap());
            given.insert(number);
        }
        launches = found.numbers.used(Counter::Launches);

        let reader = journal.reader().unwrap();
        for job in safe.iter().chain(&done) {
            let detail = reader.job(&job.to_string(), 100).unwrap().unwrap();
            assert_eq!(detail.job.label, format!("label {job}"));
            assert_eq!(detail.tasks.len() as u64, TASKS);
            assert_eq!(u64::from(detail.stages[0].tasks + detail.stages[0].failed), TASKS);
            let results = reader.results(JobId(*job)).map(|result| result.unwrap());
            let parts: Vec<_> = results.map(|(partition, _, part)| (partition, part)).collect();
            assert_eq!(parts, [0, 1, 2].map(|at| (at, ResultPart::Here(bytes_of(*job, at)))));
        }
        for job in &safe {
            let unfinished = found.unfinished.iter().find(|found| found.row.job.0 == *job).unwrap();
            let resume = unfinished.detached.as_ref().unwrap().as_ref().unwrap();
            assert_eq!(resume.submission, new_job(JobId(*job), &format!("name {job}")));
            assert_eq!(resume.held.len(), 3);
        }
        let ended: BTreeSet<u64> = found.uncollected.iter().map(|job| job.row.job.0).collect();
        assert!(done.iter().all(|job| ended.contains(job)));
    }
    assert!(!safe.is_empty() && !done.is_empty());
}
