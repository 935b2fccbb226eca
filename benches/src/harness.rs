//! The harness: runs Tryworks and the twin in turn, compares their answers, and prints a row of the table.

use std::{error::Error, fmt, path::PathBuf, str::FromStr, time::Instant};

use tryworks::Context;

use crate::memory;

/// What a benchmark returns: an error of any kind ends that benchmark, not the others.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// How the benchmarks are run, from the command line.
pub struct Settings {
    /// How many timed pairs there are.
    pub pairs: usize,
    /// Multiplies the amount of data.
    pub scale: f64,
    /// The threads of both sides.
    pub threads: usize,
    /// Print Markdown.
    pub markdown: bool,
    /// Measure the peak memory of each side as well.
    pub memory: bool,
    /// A directory for files that are removed when the program ends.
    pub scratch: PathBuf,
}

impl Settings {
    /// A Tryworks context with as many threads as the twin has.
    pub fn context(&self) -> Outcome<Context> {
        Ok(Context::builder().threads(self.threads).progress(false).build()?)
    }

    /// `full` rows (or bytes), scaled, and at least one.
    pub fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale).round() as u64).max(1)
    }
}

/// One of the two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Tryworks.
    Ours,
    /// The same work, written by hand.
    Twin,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Ours => "ours",
            Side::Twin => "twin",
        })
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "ours" => Ok(Side::Ours),
            "twin" => Ok(Side::Twin),
            other => Err(format!("a side is `ours` or `twin`, not {other}")),
        }
    }
}

/// The answer of a run: both sides must find the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How many.
    pub count: u64,
    /// A number that depends on all of it.
    pub checksum: u64,
}

/// How long a run took, in seconds.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    /// Of all threads of this process.
    cpu: f64,
}

/// The CPU seconds that this process has used.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One run of one side.
pub type Run = Box<dyn Fn() -> Outcome<Answer>>;

/// A benchmark, its data prepared.
pub enum Bench {
    /// Tryworks against a twin.
    Pair(Pair),
    /// Figures of Tryworks alone, each with a goal of its own.
    Figures(Figures),
    /// Tryworks under a memory limit, against an answer known by arithmetic.
    Bounded(Bounded),
}

/// Two ways to do the same work.
pub struct Pair {
    /// The side of Tryworks; without it, the twin is measured alone.
    pub ours: Option<Run>,
    /// The twin.
    pub twin: Run,
    /// Runs untimed after each side, returns the answer in its place (output files are read back here), and removes
    /// files.
    pub after: Option<Run>,
    /// The ratio to reach.
    pub goal: Option<f64>,
    /// Whether the goal is for CPU seconds, which are steadier. Not if other processes do the work.
    pub cpu: bool,
}

/// Figures that one measurement gives, without a twin.
pub struct Figures {
    /// What each figure means.
    pub rows: Vec<Figure>,
    /// Measures them all, in the order of `rows`.
    pub measure: Option<Measure>,
}

/// Takes a measurement.
pub type Measure = Box<dyn Fn() -> Outcome<Vec<f64>>>;

/// One figure.
pub struct Figure {
    /// What it is, after the benchmark's name.
    pub label: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub goal: Option<Goal>,
}

/// A figure's goal.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "which of the two a row needs depends on the figure, and not every goal is set")]
pub enum Goal {
    /// Lower is better.
    AtMost(f64),
    /// Higher is better.
    AtLeast(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
        }
    }
}

/// A run of Tryworks whose memory is limited.
pub struct Bounded {
    /// The side of Tryworks.
    pub ours: Option<Run>,
    /// The answer, computed without Tryworks, and not in the process that is measured.
    pub expected: Box<dyn Fn() -> Answer>,
    /// The limit, in bytes. It is set as `TRYWORKS_MEMORY`, unless the caller's environment sets another one.
    pub limit: u64,
}

/// Prints the rows of each kind under their own heading, as they come.
pub struct Table {
    markdown: bool,
    heading: Option<&'static [&'static str]>,
}

const PAIR: &[&str] = &["benchmark", "ours", "twin", "ratio", "pairs from-to", "CPU", "goal", ""];
const FIGURE: &[&str] = &["figure", "measured", "goal", ""];
const MEMORY: &[&str] = &["memory alone", "anonymous peak", "resident peak"];
const BOUNDED: &[&str] = &["out of core", "ours", "count", "checksum", "expected", "anonymous peak", "limit", ""];

impl Table {
    /// A table with no rows.
    pub fn new(markdown: bool) -> Self {
        Table { markdown, heading: None }
    }

    fn row(&mut self, heading: &'static [&'static str], cells: &[String]) {
        if self.heading != Some(heading) {
            if self.heading.is_some() {
                println!();
            }
            self.heading = Some(heading);
            self.line(heading.iter().map(|cell| cell.to_string()));
            if self.markdown {
                let rule = |(place, _): (usize, _)| if place == 0 { "---" } else { "---:" }.to_string();
                self.line(heading.iter().enumerate().map(rule));
            }
        }
        self.line(cells.iter().cloned());
    }

    fn line(&self, cells: impl Iterator<Item = String>) {
        if self.markdown {
            println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        } else {
            let pad = |(place, cell)| {
                if place == 0 { format!("{cell:<26}") } else { format!("{cell:>16}") }
            };
            println!("{}", cells.enumerate().map(pad).collect::<Vec<_>>().join(" ").trim_end());
        }
    }
}

/// Runs one benchmark and prints its rows.
pub fn run(name: &str, bench: &Bench, settings: &Settings, table: &mut Table) -> Outcome<()> {
    match bench {
        Bench::Pair(pair) => run_pair(name, pair, settings, table),
        Bench::Figures(figures) => run_figures(name, figures, table),
        Bench::Bounded(bounded) => run_bounded(name, bounded, settings, table),
    }
}

fn run_pair(name: &str, pair: &Pair, settings: &Settings, table: &mut Table) -> Outcome<()> {
    let mut agreed = None;
    let mut timed = |side| -> Outcome<Option<Time>> {
        let run = match side {
            Side::Ours => pair.ours.as_ref(),
            Side::Twin => Some(&pair.twin),
        };
        let Some(run) = run else { return Ok(None) };
        let (begin, cpu) = (Instant::now(), cpu_seconds());
        let mut answer = run()?;
        let time = Time { wall: begin.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu };
        if let Some(after) = &pair.after {
            answer = after()?;
        }
        let first = *agreed.get_or_insert(answer);
        if answer != first {
            return Err(format!("the {side} side answers {answer:?}, an earlier run {first:?}").into());
        }
        Ok(Some(time))
    };

    // Once each, untimed, so that the page cache, the thread pools and the allocator are warm for both.
    timed(Side::Twin)?;
    timed(Side::Ours)?;
    let (mut ours, mut twin, mut ratios, mut of_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for turn in 0..settings.pairs {
        let order = if turn % 2 == 0 { [Side::Ours, Side::Twin] } else { [Side::Twin, Side::Ours] };
        let (mut this, mut that) = (None, None);
        for side in order {
            match side {
                Side::Ours => this = timed(side)?,
                Side::Twin => that = timed(side)?,
            }
        }
        ours.extend(this.map(|time: Time| time.wall));
        twin.extend(that.map(|time: Time| time.wall));
        if let (Some(ours), Some(twin)) = (this, that) {
            ratios.push(twin.wall / ours.wall);
            of_cpu.push(twin.cpu / ours.cpu);
        }
    }

    // The ratio is the median of the ratios of the pairs: the two runs of a pair were close in time, on an equally busy
    // machine.
    let ratio = median(&mut ratios);
    let of_cpu = median(&mut of_cpu).filter(|_| pair.cpu);
    let range = ratios.first().zip(ratios.last()).map(|(least, most)| format!("{least:.2}-{most:.2}"));
    table.row(
        PAIR,
        &[
            name.to_string(),
            cell(median(&mut ours).map(seconds)),
            cell(median(&mut twin).map(seconds)),
            cell(ratio.map(|ratio| format!("{ratio:.2}"))),
            cell(range),
            cell(of_cpu.map(|ratio| format!("{ratio:.2}"))),
            cell(pair.goal.map(|goal| format!("{goal:.2}"))),
            verdict(of_cpu.or(ratio).zip(pair.goal).map(|(ratio, goal)| ratio >= goal)),
        ],
    );
    if settings.memory {
        let sides = [(Side::Ours, pair.ours.is_some()), (Side::Twin, true)];
        for (side, _) in sides.into_iter().filter(|(_, there)| *there) {
            let alone = memory::run_alone(name, side, settings, &[])?;
            if Some(alone.answer) != agreed {
                return Err(format!("the {side} side alone answers {:?}, not {agreed:?}", alone.answer).into());
            }
            table.row(MEMORY, &[format!("{name} {side}"), mebibytes(alone.anonymous), mebibytes(alone.resident)]);
        }
    }
    Ok(())
}

fn run_figures(name: &str, figures: &Figures, table: &mut Table) -> Outcome<()> {
    let values = figures.measure.as_ref().map(|measure| measure()).transpose()?;
    for (place, figure) in figures.rows.iter().enumerate() {
        let value = values.as_ref().and_then(|values| values.get(place).copied());
        let goal = figure.goal.map(|goal| match goal {
            Goal::AtMost(most) => format!("at most {most}"),
            Goal::AtLeast(least) => format!("at least {least}"),
        });
        table.row(
            FIGURE,
            &[
                format!("{name} {}", figure.label).trim_end().to_string(),
                cell(value.map(|value| format!("{value:.3} {}", figure.unit))),
                cell(goal),
                verdict(value.zip(figure.goal).map(|(value, goal)| goal.met(value))),
            ],
        );
    }
    Ok(())
}

fn run_bounded(name: &str, bounded: &Bounded, settings: &Settings, table: &mut Table) -> Outcome<()> {
    let expected = (bounded.expected)();
    let mut cells = vec![name.to_string()];
    let mut good = None;
    if bounded.ours.is_some() {
        let limit = bounded.limit.to_string();
        let alone = memory::run_alone(name, Side::Ours, settings, &[("TRYWORKS_MEMORY", &limit)])?;
        good = Some(alone.answer == expected);
        let Answer { count, checksum } = alone.answer;
        cells.extend([seconds(alone.seconds), count.to_string(), format!("{checksum:016x}")]);
        cells.extend([format!("{} {:016x}", expected.count, expected.checksum), mebibytes(alone.anonymous)]);
    } else {
        cells.extend(["-", "-", "-"].map(String::from));
        cells.extend([format!("{} {:016x}", expected.count, expected.checksum), "-".to_string()]);
    }
    cells.push(mebibytes(bounded.limit));
    cells.push(good.map_or("", |good| if good { "right" } else { "WRONG" }).to_string());
    table.row(BOUNDED, &cells);
    if good == Some(false) { Err("the answer is not the expected one".into()) } else { Ok(()) }
}

/// The median. Sorts the values.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

fn cell(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_string())
}

fn verdict(met: Option<bool>) -> String {
    met.map_or("", |met| if met { "met" } else { "missed" }).to_string()
}

fn seconds(value: f64) -> String {
    if value < 1.0 { format!("{:.1} ms", value * 1e3) } else { format!("{value:.3} s") }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
