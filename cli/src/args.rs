//! The command line: its commands and options, and their help.

use crate::exit::{Exit, Failure};
use crate::out::Form;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tryworks_base::size;
use tryworks_hub::Pool;

const EXIT_CODES: &str = "\
Examples:
  tryworks cluster start -n 4
  tryworks run target/release/examples/word_count
  tryworks cluster stop

Exit codes:
  0  success
  1  the job or the request failed
  2  the command line is wrong
  3  there is no such cluster, or it cannot be reached
  4  something took too long
  `run` ends as its program does: with its exit code or by its signal, 126 or 127 if it cannot be started.

Environment:
  TRYWORKS_HOME     the directory that holds the clusters of this machine
  TRYWORKS_CLUSTER  the cluster to use if -c names none
  TRYWORKS_ENGINE_SILENCE  as --engine-silence of `tryworks hub`; the hub of `cluster start` uses it, too";

/// Starts clusters, runs programs on them, and shows what they do.
#[derive(Parser)]
#[command(name = "tryworks", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Tryworks {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start, stop and look after clusters
    #[command(
        subcommand,
        after_help = "\
Examples:
  tryworks cluster start -n 4
  tryworks cluster status"
    )]
    Cluster(Cluster),
    Run(Run),
    Jobs(Jobs),
    Job(Job),
    Cancel(Cancel),
    Why(Why),
    Logs(Logs),
    Hub(Hub),
    Engine(Engine),
    #[command(hide = true, after_help = "Examples:\n  This is what `tryworks cluster start` starts.")]
    Supervise(Supervise),
    /// Remove what a stopped cluster left
    #[command(hide = true, after_help = "Examples:\n  This is what `tryworks cluster stop` starts.")]
    Remove {
        /// The name of what to remove
        name: String,
    },
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  tryworks completion bash > ~/.local/share/bash-completion/completions/tryworks
  tryworks completion fish > ~/.config/fish/completions/tryworks.fish")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which cluster.
#[derive(Args)]
pub struct At {
    /// Name of the cluster, or path of its directory or of a connection file [default: TRYWORKS_CLUSTER, or else
    /// `default`]
    #[arg(short, long, alias = "name")]
    cluster: Option<String>,
}

impl At {
    /// The text that names the cluster.
    pub fn cluster(&self) -> anyhow::Result<String> {
        named(self.cluster.as_ref())
    }
}

/// Which cluster, for commands that create one.
#[derive(Args)]
pub struct Name {
    /// Name of the cluster [default: TRYWORKS_CLUSTER, or else `default`]
    #[arg(short, long = "cluster", alias = "name", id = "cluster", value_name = "NAME")]
    cluster: Option<String>,
}

impl Name {
    /// The name.
    pub fn cluster(&self) -> anyhow::Result<String> {
        named(self.cluster.as_ref())
    }
}

/// The text that names a cluster: the option's, or the environment's. An empty variable counts as unset, as it does for
/// programs.
fn named(said: Option<&String>) -> anyhow::Result<String> {
    let environment = || std::env::var_os("TRYWORKS_CLUSTER").filter(|name| !name.is_empty());
    match said {
        Some(said) => Ok(said.clone()),
        None => environment().map_or_else(|| Ok("default".into()), OsString::into_string).map_err(|name| {
            let what = format!("the environment variable TRYWORKS_CLUSTER is {name:?}, which is not UTF-8");
            Failure::of(Exit::Usage, what, "name the cluster with -c")
        }),
    }
}

#[derive(Args)]
pub struct Output {
    /// The output format
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub form: Form,
}

#[derive(Subcommand)]
pub enum Cluster {
    Start(Start),
    /// Stop a cluster, and wait until its processes have ended
    ///
    /// Its name is free then. If removing the engines' data takes longer, a separate process does it. If a connection
    /// file from another machine is given, the cluster's hub stops the cluster.
    #[command(after_help = "Examples:\n  tryworks cluster stop\n  tryworks cluster stop -c night")]
    Stop(At),
    /// List the clusters of this machine
    #[command(after_help = "Examples:\n  tryworks cluster list\n  tryworks cluster list -o json")]
    List(Output),
    Status(Status),
    /// Remove what killed clusters left
    ///
    /// A cluster counts as killed if its supervisor is gone. This command ends its remaining processes and removes its
    /// directory. It leaves running clusters alone.
    #[command(after_help = "Examples:\n  tryworks cluster clean")]
    Clean,
    /// Make new certificates: engines and drivers of other machines need the new connection files
    #[command(after_help = "Examples:\n  tryworks cluster rotate\n  tryworks cluster rotate -c night")]
    Rotate(At),
    Drain(Drain),
}

/// Start a hub and engines on this machine, with a supervisor that restarts them when they die
#[derive(Args)]
#[command(after_help = "\
Examples:
  tryworks cluster start -n 4
  tryworks cluster start -n 2 --slots 8 --memory 16G -c night
  tryworks cluster start -n 4 --foreground           # ends with Ctrl-C
  tryworks cluster start -n 4 --listen 192.168.1.5   # for engines and drivers of other machines")]
pub struct Start {
    /// How many engines
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub engines: u32,
    #[command(flatten)]
    pub name: Name,
    /// How many tasks each engine runs at once [default: the number of cores divided by that of engines]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub slots: Option<u32>,
    /// The memory of each engine, such as 4G [default: 60 % of the machine's memory divided by the number of engines]
    #[arg(long, value_parser = bytes, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Stay in the foreground until a signal ends the cluster
    #[arg(long)]
    pub foreground: bool,
    /// The address of this machine on which hub and engines listen for other machines
    #[arg(long, value_parser = address, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: IpAddr,
    /// How long the jobs of a disconnected driver wait for it to come back, such as 90s or 10m
    #[arg(long, value_parser = time, default_value = "30s", value_name = "TIME")]
    pub driver_grace: Duration,
    /// Define a pool for jobs, such as etl=weight:2,min:1,priority:5; may be given several times
    #[arg(long, value_name = "POOL")]
    pub pool: Vec<Pool>,
}

/// Show the engines and the running jobs of a cluster
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks cluster status\n  tryworks cluster status -c night -o json")]
pub struct Status {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub output: Output,
}

/// Ask an engine to leave, once its blocks are on other engines
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks cluster drain engine-2\n  tryworks cluster drain 7 -c night")]
pub struct Drain {
    /// The name or number of the engine, as `tryworks cluster status` shows it
    pub engine: String,
    #[command(flatten)]
    pub at: At,
}

/// Run a program on a cluster: the same program that runs without one
#[derive(Args)]
#[command(after_help = "\
Examples:
  tryworks run target/release/examples/word_count
  tryworks run -c night ./report --year 2024
  tryworks run -c /shared/night/driver.json ./report   # a cluster of another machine")]
pub struct Run {
    #[command(flatten)]
    pub at: At,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["PROGRAM", "ARGUMENT"])]
    pub program: Vec<OsString>,
}

/// List the latest jobs
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks jobs\n  tryworks jobs --limit 100 -o json")]
pub struct Jobs {
    #[command(flatten)]
    pub at: At,
    /// The most jobs to list
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
    #[command(flatten)]
    pub output: Output,
}

/// Show a job with its stages and its last tasks
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks job 17\n  tryworks job nightly-report -o json")]
pub struct Job {
    /// The number or label of the job
    pub job: String,
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub output: Output,
}

/// Stop a job
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks cancel 17\n  tryworks cancel nightly-report -c night")]
pub struct Cancel {
    /// The number or label of the job
    pub job: String,
    #[command(flatten)]
    pub at: At,
}

/// Show why tasks of a job wait
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks why 17\n  tryworks why nightly-report -o json")]
pub struct Why {
    /// The number or label of the job
    pub job: String,
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub output: Output,
}

/// Show the last lines that tasks wrote to standard output and standard error
#[derive(Args)]
#[command(after_help = "Examples:\n  tryworks logs\n  tryworks logs --engine engine-2\n  tryworks logs --job 17")]
pub struct Logs {
    /// Only lines from this engine: its name or number
    #[arg(long)]
    pub engine: Option<String>,
    /// Only lines of this job: its number or label
    #[arg(long)]
    pub job: Option<String>,
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub output: Output,
}

/// Run a hub in the foreground, for init and batch systems
#[derive(Args)]
#[command(after_help = "\
Examples:
  tryworks hub -c night --listen 192.168.1.5 --port 7077
  tryworks hub --directory /var/lib/tryworks/night -c night")]
pub struct Hub {
    #[command(flatten)]
    pub name: Name,
    /// The directory of the cluster [default: the one for its name]
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// The address of this machine on which the hub listens for other machines
    #[arg(long, value_parser = address, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: IpAddr,
    /// The port on which the hub listens; 0 takes the port of the killed hub before it, or a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// How long the jobs of a disconnected driver wait for it to come back, such as 90s or 10m
    #[arg(long, env = "TRYWORKS_DRIVER_GRACE", hide_env_values = true, value_parser = time, default_value = "30s", value_name = "TIME")]
    pub driver_grace: Duration,
    /// Define a pool for jobs, such as etl=weight:2,min:1,priority:5; may be given several times
    #[arg(long, value_name = "POOL")]
    pub pool: Vec<Pool>,
    /// How long an engine may be silent before it counts as lost, such as 10s
    #[arg(long, env = "TRYWORKS_ENGINE_SILENCE", hide_env_values = true, value_parser = time, default_value = "10s", value_name = "TIME")]
    pub engine_silence: Duration,
    /// The log file. When it is large, it is renamed to FILE.1 and a new one is begun [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Run an engine in the foreground, for init and batch systems, and on other machines
#[derive(Args)]
#[command(after_help = "\
Examples:
  tryworks engine --connect engine.json
  tryworks engine --connect /shared/night/engine.json --slots 16 --memory 32G --listen 192.168.1.6")]
pub struct Engine {
    /// The connection file for engines, as the hub wrote it
    #[arg(long, value_name = "FILE")]
    pub connect: PathBuf,
    /// How many tasks the engine runs at once [default: the number of cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub slots: Option<u32>,
    /// The memory for tasks, such as 4G [default: 60 % of the machine's memory]
    #[arg(long, value_parser = bytes, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// The engine's name in the cluster [default: the machine's name and the process id]
    #[arg(long)]
    pub name: Option<String>,
    /// The address on which the engine listens for engines and drivers of other machines [default: this machine only;
    /// if the hub is on another machine, the address by which this one reaches it]
    #[arg(long, value_parser = address, value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
    /// The engine's own directory, for blocks and spill files [default: one for its name, removed when the engine ends]
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// A directory for programs that engines of this machine share. The engine does not remove it [default: one in its
    /// own directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub programs: Option<PathBuf>,
    /// The most bytes that the engine's blocks and shipped files may take on the disk, such as 100G [default: no limit]
    #[arg(long, value_parser = bytes, value_name = "SIZE")]
    pub quota: Option<u64>,
    /// The log file. When it is large, it is renamed to FILE.1 and a new one is begun [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Watch over the hub and the engines of a cluster
#[derive(Args)]
pub struct Supervise {
    /// The directory of the cluster, with its `supervisor.json`
    #[arg(long)]
    pub directory: PathBuf,
}

fn time(text: &str) -> Result<Duration, String> {
    size::time(text).filter(|time| !time.is_zero()).ok_or_else(|| format!("this is not {}", size::TIME_FORM))
}

/// An address that other processes can connect to. A process that listens at all addresses of a machine could not say
/// which of them other machines reach.
fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "this is not an IP address, such as 192.168.1.5 or fd00::5")?;
    if address.is_unspecified() {
        return Err("others are told this address, so it has to be one of this machine that they can reach, such as \
                    192.168.1.5 (`ip address` lists them)"
            .into());
    }
    Ok(address)
}

fn bytes(text: &str) -> Result<u64, String> {
    size::bytes(text).filter(|bytes| *bytes > 0).ok_or_else(|| format!("this is not {}", size::FORM))
}
