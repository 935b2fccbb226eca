//! The benchmarks of Tryworks: each figure beside a hand-written twin that does the same work on the same data.
//!
//!     cargo run --release -p tryworks-benches -- all

mod cluster;
mod data;
mod empty_tasks;
mod external_sort;
mod harness;
mod join;
mod memory;
mod narrow_chain;
mod out_of_core;
mod reduce_by_key;
mod scatter;
mod scratch;
mod simulator;
mod sort_files;
mod sort_records;
mod start;
mod user_build;
mod word_count;

use std::process::ExitCode;

use harness::{Bench, Outcome, Settings, Side};
use scratch::Scratch;

/// With `--features mimalloc`: shows what another allocator changes for programs that make many strings.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The text of `--help`.
const USAGE: &str = "\
usage: tryworks-benches [NAME..|all|cluster] [--pairs N] [--scale F] [--threads N] [--markdown] [--memory]

  NAME          benchmarks to run, one of the list below; `all` runs every one except the out-of-core runs and those on a
                cluster; `cluster` runs those
  --pairs N     timed pairs of Tryworks and the twin (5)
  --scale F     multiplies the amount of data (1)
  --threads N   threads of both sides (the cores available)
  --markdown    print the table as Markdown
  --memory      also run each side alone in a process of its own and print its peak memory
  --side SIDE   run `ours` or `twin` once, alone, and print its answer; --memory uses it

benchmarks:";

/// Makes one benchmark: prepares its data and returns how to run both sides.
type Make = fn(&Settings) -> Outcome<Bench>;

/// Every benchmark, by name, in the order of the table.
const BENCHES: &[(&str, Make)] = &[
    ("narrow_chain", narrow_chain::bench),
    ("word_count", word_count::counts),
    ("word_count_reduce", word_count::reduce),
    ("word_count_closure", word_count::closure),
    ("word_count_split", word_count::split),
    ("word_count_strings", word_count::strings),
    ("reduce_by_key", reduce_by_key::bench),
    ("join", join::bench),
    ("sort_files", sort_files::bench),
    ("sort_records", sort_records::bench),
    ("start", start::bench),
    ("empty_tasks", empty_tasks::bench),
    ("simulator", simulator::bench),
    ("user_build", user_build::bench),
    ("cluster_start", cluster::start),
    ("cluster_empty_tasks", cluster::empty_tasks),
    ("cluster_tiny_job", cluster::tiny_job),
    ("cluster_word_count", cluster::words),
    ("cluster_shuffle", cluster::u64s),
    ("cluster_shuffle_strings", cluster::strings),
    ("cluster_killed", cluster::killed),
    ("cluster_cancelled_shuffle", cluster::cancelled),
    ("cluster_many_engines", cluster::many_engines),
    ("cluster_hub_memory", cluster::memory),
    ("out_of_core_distinct", out_of_core::distinct),
    ("out_of_core_group_by_key", out_of_core::group_by_key),
    ("out_of_core_join", out_of_core::join),
    ("out_of_core_sort_by", out_of_core::sort_by),
];

/// The parsed command line.
struct Arguments {
    /// The benchmarks to run.
    chosen: Vec<(&'static str, Make)>,
    /// How to run the benchmarks.
    settings: Settings,
    /// The directory of the parent, if this process runs one side for a parent.
    scratch: Option<std::path::PathBuf>,
    /// The one side to run.
    side: Option<Side>,
}

fn main() -> ExitCode {
    // Engines start this program to run its tasks.
    tryworks_runtime::worker::serve_if_asked();
    let Some(arguments) = parse(std::env::args().skip(1)).transpose() else {
        println!("{USAGE}");
        BENCHES.iter().for_each(|(name, _)| println!("  {name}"));
        return ExitCode::SUCCESS;
    };
    match arguments.and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tryworks-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen benchmarks; false if one failed (a missed goal is no failure).
fn run(arguments: Arguments) -> Outcome<bool> {
    let Arguments { chosen, mut settings, scratch, side } = arguments;
    // The twins run on the global pool, so both sides have the same number of threads.
    rayon::ThreadPoolBuilder::new().num_threads(settings.threads).build_global()?;
    // A child works in its parent's directory and leaves it; any other process removes its own directory at the end.
    let own = if scratch.is_none() { Some(Scratch::new()?) } else { None };
    settings.scratch = scratch.or_else(|| own.as_ref().map(|own| own.path().to_owned())).unwrap_or_default();

    if let Some(side) = side {
        let &[(_, make)] = chosen.as_slice() else {
            return Err("--side takes exactly one benchmark".into());
        };
        memory::answer_once(make(&settings)?, side)?;
        return Ok(true);
    }
    let mut good = true;
    let mut table = harness::Table::new(settings.markdown);
    for (name, make) in chosen {
        if let Err(error) = make(&settings).and_then(|bench| harness::run(name, &bench, &settings, &mut table)) {
            eprintln!("{name}: {error}");
            good = false;
        }
    }
    Ok(good)
}

/// Parses the command line; `None` if the usage has to be printed.
fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Option<Arguments>> {
    let mut settings = Settings {
        pairs: 5,
        scale: 1.0,
        threads: std::thread::available_parallelism()?.get(),
        markdown: false,
        memory: false,
        scratch: Default::default(),
    };
    let (mut chosen, mut scratch, mut side) = (Vec::new(), None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--pairs" => settings.pairs = value()?.parse::<usize>()?.max(1),
            "--scale" => settings.scale = value()?.parse()?,
            "--threads" => settings.threads = value()?.parse::<usize>()?.max(1),
            "--markdown" => settings.markdown = true,
            "--memory" => settings.memory = true,
            "--scratch" => scratch = Some(value()?.into()),
            "--side" => side = Some(value()?.parse()?),
            "all" => chosen.extend(
                BENCHES.iter().filter(|(name, _)| !name.starts_with("out_of_core") && !name.starts_with("cluster")),
            ),
            "cluster" => chosen.extend(BENCHES.iter().filter(|(name, _)| name.starts_with("cluster"))),
            name => match BENCHES.iter().find(|(known, _)| *known == name) {
                Some(&bench) => chosen.push(bench),
                None => {
                    return Err(format!("no benchmark or option is called {name}; see --help").into());
                }
            },
        }
    }
    if chosen.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arguments { chosen, settings, scratch, side }))
}
