//! `tryworks hub` and `tryworks engine`: the processes of a cluster, in the foreground.

use crate::exit::{Exit, Failure};
use crate::process::Seen;
use crate::record::{PidFile, elsewhere};
use crate::{args, log, place};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tryworks_base::home::check_label;
use tryworks_base::private::private_dir;
use tryworks_base::resident::machine_memory;
use tryworks_hub::Limits;

/// The default share of the machine's memory for tasks, in percent.
const MEMORY_PERCENT: u64 = 60;

/// How long an engine runs without a hub: long enough to restart one.
const PATIENCE: Duration = Duration::from_secs(60);

/// The default number of slots of each of `engines` engines.
pub fn default_slots(engines: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u32;
    cores.div_ceil(engines)
}

/// The default memory of each of `engines` engines.
pub fn default_memory(engines: u32) -> u64 {
    machine_memory() / 100 * MEMORY_PERCENT / u64::from(engines)
}

/// Runs a hub until it is stopped.
pub fn hub(hub: args::Hub) -> anyhow::Result<()> {
    log::begin(hub.log.as_deref());
    let cluster = hub.name.cluster()?;
    let directory = match hub.directory {
        Some(directory) => {
            place::named(&cluster)?;
            std::path::absolute(directory)?
        }
        None => place::directory(&cluster)?,
    };
    private_dir(&directory)?;
    let _pid_file = pid_file(directory.join("hub.pid"), "hub")?;
    let options = tryworks_hub::Options {
        cluster,
        directory,
        listen: hub.listen,
        port: hub.port,
        pools: hub.pool,
        limits: Limits { engine_silence: hub.engine_silence, driver_grace: hub.driver_grace, ..Limits::default() },
    };
    Ok(tryworks_hub::run(options)?)
}

/// Runs an engine until it is stopped.
pub fn engine(engine: args::Engine) -> anyhow::Result<()> {
    log::begin(engine.log.as_deref());
    let connect = std::path::absolute(&engine.connect)?;
    if !connect.is_file() {
        return Err(Failure::of(
            Exit::NoCluster,
            format!("there is no connection file {}", connect.display()),
            "the hub writes engine.json into the cluster's directory once it runs: copy that file",
        ));
    }
    let name = engine.name.unwrap_or_else(|| {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{machine}-{}", std::process::id())
    });
    let unfit = |error| Failure::of(Exit::Usage, error, "choose another name with --name");
    check_label("an engine", &name).map_err(unfit)?;
    let own = engine.directory.is_none();
    let directory = match engine.directory {
        Some(directory) => std::path::absolute(directory)?,
        None => place::engine(&name)?,
    };
    // Before its pid file exists, `cluster clean` could take the directory for one of a killed engine.
    let lock = own.then(place::lock).transpose()?;
    private_dir(&directory)?;
    let pid_file = pid_file(directory.join("engine.pid"), "engine")?;
    drop(lock);
    let options = tryworks_engine::Options {
        name,
        connect,
        slots: engine.slots.unwrap_or_else(|| default_slots(1)),
        memory: engine.memory.unwrap_or_else(|| default_memory(1)),
        directory: directory.clone(),
        programs: engine.programs.map(std::path::absolute).transpose()?,
        quota: engine.quota,
        listen: engine.listen,
        patience: PATIENCE,
    };
    let ended = tryworks_engine::run(options);
    drop(pid_file);
    if own {
        let _ = fs::remove_dir_all(directory);
        // Unless there are others in it.
        let _ = fs::remove_dir(place::engines()?);
    }
    Ok(ended?)
}

/// Writes the pid file of this process, unless another process has the directory.
fn pid_file(path: PathBuf, what: &str) -> anyhow::Result<PidFile> {
    let directory = path.parent().unwrap_or(Path::new(".")).display().to_string();
    PidFile::write(path)?.map_err(|(other, seen)| match seen {
        Seen::Elsewhere => elsewhere(Path::new(&directory), &other),
        _ => Failure::of(
            Exit::Failed,
            format!("another {what} (process {}) has the directory {directory}", other.pid),
            "give this one a directory of its own, or end the other one",
        ),
    })
}
