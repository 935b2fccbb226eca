//! Settings from the environment: `TRYWORKS_THREADS` and its like.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tryworks_core::{Error, Result};
use tryworks_engine::scheduler::Speculation;
use tryworks_engine::{client, local};
use tryworks_io::paths::whole;
use tryworks_io::resident::machine_memory;
use tryworks_io::size;
use tryworks_io::spill::SpillOptions;

/// The share of the machine's memory that is the budget if nothing is said, in percent.
const MEMORY_PERCENT: u64 = 60;

/// How often a task that fails is tried on a cluster, if nothing is said: elsewhere it may succeed.
const CLUSTER_ATTEMPTS: u32 = 4;
/// How long a driver waits for a hub that is gone, and a job for engines.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a context is told.
pub(crate) struct Settings {
    /// For threads of this process; some of it holds for a cluster too.
    pub(crate) local: local::Settings,
    /// The cluster that runs the jobs: its name, or the path of a connection file.
    pub(crate) cluster: Option<String>,
    /// How often a task that fails is tried in all, if that was said.
    pub(crate) max_attempts: Option<u32>,
    /// The cluster's pool that its jobs are in.
    pub(crate) pool: String,
    /// When a task of a cluster that takes long gets a second attempt.
    pub(crate) speculation: Option<Speculation>,
    /// How long a driver waits for a hub that is gone, and a job for engines.
    pub(crate) patience: Duration,
    /// Which variables of the environment go to the workers of a cluster: names, or beginnings with `*` behind.
    pub(crate) send_env: Vec<String>,
}

impl Settings {
    /// What the local runtime is told.
    pub(crate) fn local(self) -> local::Settings {
        local::Settings { max_attempts: self.max_attempts.unwrap_or(1), ..self.local }
    }

    /// What is needed to use the cluster, if one is to be used.
    pub(crate) fn cluster(&self) -> Result<Option<client::Settings>> {
        let Some(cluster) = &self.cluster else { return Ok(None) };
        if let Some(path) = &self.local.event_log {
            return Err(Error::cluster(
                format!(
                    "the event log {} is of threads of this program, and its jobs run on a cluster",
                    path.display()
                ),
                "leave TRYWORKS_EVENT_LOG or `event_log` away: the cluster's journal has every job, stage and task; \
                 `tryworks job NUMBER -o json` shows them",
            ));
        }
        let advice = "a cluster is named as in `tryworks cluster list`, or by the path of its driver.json";
        let connection = if is_path(cluster) {
            let path = PathBuf::from(cluster);
            if path.is_dir() { path.join("driver.json") } else { path }
        } else {
            let home = tryworks_transport::home().map_err(|error| Error::cluster(error, advice))?;
            let directory = tryworks_transport::cluster_dir(&home, cluster);
            directory.map_err(|error| Error::cluster(error, advice))?.join("driver.json")
        };
        Ok(Some(client::Settings {
            connection,
            max_result_bytes: self.local.max_result_bytes,
            max_attempts: self.max_attempts.unwrap_or(CLUSTER_ATTEMPTS),
            pool: self.pool.clone(),
            speculation: self.speculation,
            patience: self.patience,
            send_env: self.send_env.clone(),
            checks_rows: self.local.checks_rows,
        }))
    }
}

/// Whether a cluster is named by a connection file.
fn is_path(cluster: &str) -> bool {
    cluster.contains('/') || cluster.ends_with(".json")
}

/// The name of a cluster, or its connection file as it is from where the process is now; or what is wrong with it.
pub(crate) fn cluster_from_here(cluster: String) -> Result<String, String> {
    if !is_path(&cluster) {
        return match cluster.as_str() {
            "" => Err("is empty; give the name of a cluster, or the path of its driver.json".into()),
            _ => Ok(cluster),
        };
    }
    let path = whole(Path::new(&cluster))?.into_os_string();
    path.into_string().map_err(|path| format!("is {path:?}, which is not UTF-8; give the cluster's name instead"))
}

/// The settings of a program that says nothing.
pub(crate) fn default() -> Settings {
    let local = local::Settings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory: machine_memory() / 100 * MEMORY_PERCENT,
        spill_dir: whole(&std::env::temp_dir()).unwrap_or_else(|_| "/tmp".into()),
        spill: SpillOptions::default(),
        max_result_bytes: 4 << 30,
        max_attempts: 1,
        event_log: None,
        checks_rows: cfg!(debug_assertions),
    };
    Settings {
        local,
        cluster: None,
        max_attempts: None,
        pool: String::new(),
        speculation: None,
        patience: PATIENCE,
        send_env: Vec::new(),
    }
}

/// The settings that the environment says.
///
/// # Errors
/// Names the variable that is wrong, and its form.
pub(crate) fn from_environment(look: impl Fn(&str) -> Option<OsString>) -> Result<Settings> {
    let mut all = default();
    let settings = &mut all.local;
    let wrong = |name: &str, value: &str, form: &str| Error::Setting {
        name: name.into(),
        message: format!("is `{value}`, which is not {form}"),
    };
    let text = |name: &str| -> Result<Option<String>> {
        let not_text = |value: OsString| wrong(name, &value.to_string_lossy(), "UTF-8");
        look(name).map(|value| value.into_string().map_err(not_text)).transpose()
    };
    // It says what is wrong with the value of a variable, with the value in it.
    let bad = |name: &str| {
        let name = name.to_string();
        move |message| Error::Setting { name, message }
    };
    let cluster = text("TRYWORKS_CLUSTER")?.filter(|name| !name.is_empty());
    all.cluster = cluster.map(cluster_from_here).transpose().map_err(bad("TRYWORKS_CLUSTER"))?;
    all.pool = text("TRYWORKS_POOL")?.unwrap_or_default();
    if let Some(value) = text("TRYWORKS_THREADS")? {
        let threads = value.parse().ok().filter(|threads| (1..=4096).contains(threads));
        settings.threads = threads.ok_or_else(|| wrong("TRYWORKS_THREADS", &value, "a number from 1 to 4096"))?;
    }
    let size_of = |name: &str| -> Result<Option<u64>> {
        text(name)?.map(|value| size::bytes(&value).ok_or_else(|| wrong(name, &value, size::FORM))).transpose()
    };
    if let Some(memory) = size_of("TRYWORKS_MEMORY")? {
        settings.memory = memory;
    }
    if let Some(limit) = size_of("TRYWORKS_MAX_RESULT_BYTES")? {
        settings.max_result_bytes = limit;
    }
    settings.spill.quota = size_of("TRYWORKS_SPILL_QUOTA")?;
    if let Some(dir) = look("TRYWORKS_SPILL_DIR") {
        settings.spill_dir = whole(Path::new(&dir)).map_err(bad("TRYWORKS_SPILL_DIR"))?;
    }
    if let Some(value) = text("TRYWORKS_PATIENCE")? {
        all.patience = size::time(&value).ok_or_else(|| wrong("TRYWORKS_PATIENCE", &value, size::TIME_FORM))?;
    }
    let names = text("TRYWORKS_SEND_ENV")?.unwrap_or_default();
    all.send_env = names.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
    settings.event_log = look("TRYWORKS_EVENT_LOG")
        .map(|path| whole(Path::new(&path)))
        .transpose()
        .map_err(bad("TRYWORKS_EVENT_LOG"))?;
    if let Some(value) = text("TRYWORKS_CHECK_ROWS")? {
        settings.checks_rows = match value.as_str() {
            "1" => true,
            "0" => false,
            _ => return Err(wrong("TRYWORKS_CHECK_ROWS", &value, "1 or 0")),
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn variables_to_send_are_named_with_commas_between() {
        let named = |value: &str| from_environment(|name| (name == "TRYWORKS_SEND_ENV").then(|| value.into())).unwrap();
        assert_eq!(named("TOKEN, AWS_*,").send_env, ["TOKEN", "AWS_*"]);
        assert_eq!(named("").send_env, [""; 0]);
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = from_environment(|name| (name == "TRYWORKS_MEMORY").then(|| "lots".into())).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("TRYWORKS_MEMORY is `lots`") && !text.contains(".rs"), "{error}");
        let error = from_environment(|name| (name == "TRYWORKS_THREADS").then(|| "0".into())).err().unwrap();
        assert!(error.to_string().contains("TRYWORKS_THREADS"), "{error}");
    }

    #[test]
    fn a_variable_that_is_not_text_is_an_error_and_a_path_need_not_be() {
        let odd = || OsString::from_vec(vec![b'n', 0xff]);
        for name in ["CLUSTER", "POOL", "THREADS", "MEMORY", "MAX_RESULT_BYTES", "SPILL_QUOTA", "PATIENCE", "SEND_ENV"]
        {
            let name = format!("TRYWORKS_{name}");
            let error = from_environment(|asked| (asked == name).then(odd)).err().unwrap().to_string();
            assert!(error.contains(&format!("{name} is `n\u{fffd}`, which is not UTF-8")), "{error}");
        }
        for name in ["TRYWORKS_SPILL_DIR", "TRYWORKS_EVENT_LOG"] {
            let settings = from_environment(|asked| (asked == name).then(odd)).unwrap().local;
            let path = if name.ends_with("LOG") { settings.event_log.unwrap() } else { settings.spill_dir };
            assert_eq!(path.file_name(), Some(odd().as_os_str()));
        }
    }

    #[test]
    fn paths_of_variables_are_whole() {
        let settings = from_environment(|name| {
            Some(match name {
                "TRYWORKS_CLUSTER" => "here/driver.json".into(),
                "TRYWORKS_SPILL_DIR" => "spill".into(),
                "TRYWORKS_EVENT_LOG" => "../log".into(),
                _ => return None,
            })
        })
        .unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(settings.local.spill_dir, here.join("spill"));
        assert_eq!(settings.local.event_log, Some(here.join("../log")));
        assert_eq!(settings.cluster, here.join("here/driver.json").to_str().map(String::from));
        let named = from_environment(|name| (name == "TRYWORKS_CLUSTER").then(|| "default".into())).unwrap();
        assert_eq!(named.cluster.as_deref(), Some("default"));
        assert!(from_environment(|name| (name == "TRYWORKS_SPILL_DIR").then(OsString::new)).is_err(), "no path at all");
    }
}
