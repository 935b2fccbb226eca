//! Contexts whose jobs run on a cluster: their settings, and how they connect.

use crate::context::Builder;
use crate::settings::wrong;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tryworks_base::home::{cluster_dir, existing_home};
use tryworks_base::paths::whole;
use tryworks_base::{Error, Result, size};
use tryworks_runtime::driver::{self, Cluster};
use tryworks_runtime::worker::serve_if_asked;
use tryworks_runtime::{Runtime, local};
use tryworks_scheduler::Speculation;

/// How many attempts a failing task has on a cluster by default. There are several, because it may succeed on another
/// engine.
const ATTEMPTS: u32 = 4;

/// The settings that only matter on a cluster.
pub(crate) struct Settings {
    /// The cluster that runs the jobs: its name, or the path of a connection file.
    name: Option<String>,
    /// The pool of its jobs.
    pool: String,
    /// When a slow task gets a second attempt.
    speculation: Option<Speculation>,
    /// How long a driver waits for a lost hub, and a job for engines.
    patience: Duration,
    /// Which environment variables go to workers: names, or prefixes followed by `*`.
    send_env: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: None,
            pool: String::new(),
            speculation: None,
            patience: Duration::from_secs(60),
            send_env: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the settings from environment variables.
    pub(crate) fn hear(&mut self, text: &impl Fn(&str) -> Result<Option<String>>) -> Result<()> {
        let name = text("TRYWORKS_CLUSTER")?.filter(|name| !name.is_empty());
        let bad = |message| Error::Setting { name: "TRYWORKS_CLUSTER".into(), message };
        self.name = name.map(from_here).transpose().map_err(bad)?;
        self.pool = text("TRYWORKS_POOL")?.unwrap_or_default();
        if let Some(value) = text("TRYWORKS_PATIENCE")? {
            self.patience = size::time(&value).ok_or_else(|| wrong("TRYWORKS_PATIENCE", &value, size::TIME_FORM))?;
        }
        let names = text("TRYWORKS_SEND_ENV")?.unwrap_or_default();
        self.send_env = names.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
        Ok(())
    }

    /// Connects to the cluster, if one is set. In a worker this does not return.
    pub(crate) fn connect(
        &self,
        local: &local::Settings,
        max_attempts: Option<u32>,
    ) -> Result<Option<Arc<dyn Runtime>>> {
        let Some(name) = &self.name else { return Ok(None) };
        if let Some(path) = &local.event_log {
            return Err(Error::cluster(
                format!(
                    "the event log {} is for jobs on the program's own threads, but these jobs run on a cluster",
                    path.display()
                ),
                "remove TRYWORKS_EVENT_LOG or `event_log`: the cluster's journal has every job, stage and task; \
                 `tryworks job NUMBER -o json` shows them",
            ));
        }
        let advice = "a cluster is named as in `tryworks cluster list`, or by the path of its driver.json";
        let connection = if is_path(name) {
            let path = PathBuf::from(name);
            if path.is_dir() { path.join("driver.json") } else { path }
        } else {
            let refused = |error| Error::cluster(error, advice);
            let Some(home) = existing_home().map_err(refused)? else {
                return Err(Error::cluster(format!("there is no cluster `{name}` on this machine"), advice));
            };
            cluster_dir(&home, name).map_err(refused)?.join("driver.json")
        };
        serve_if_asked();
        let settings = driver::Settings {
            connection,
            max_result_bytes: local.max_result_bytes,
            max_attempts: max_attempts.unwrap_or(ATTEMPTS),
            pool: self.pool.clone(),
            speculation: self.speculation,
            patience: self.patience,
            send_env: self.send_env.clone(),
            checks_rows: local.checks_rows,
        };
        Ok(Some(Arc::new(Cluster::connect(settings)?)))
    }
}

/// Whether this is the path of a connection file and not a name.
fn is_path(cluster: &str) -> bool {
    cluster.contains('/') || cluster.ends_with(".json")
}

/// The name of a cluster, or the absolute path of its connection file. As an error, what is wrong with it.
fn from_here(cluster: String) -> Result<String, String> {
    if !is_path(&cluster) {
        return match cluster.as_str() {
            "" => Err("is empty; give the name of a cluster, or the path of its driver.json".into()),
            _ => Ok(cluster),
        };
    }
    let path = whole(Path::new(&cluster))?.into_os_string();
    path.into_string().map_err(|path| format!("is {path:?}, which is not UTF-8; give the cluster's name instead"))
}

/// # On a cluster
impl Builder {
    /// The cluster that runs the jobs: its name, or the path of a connection file.
    #[track_caller]
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.settings.cluster.name = self.unless_wrong("the cluster", from_here(cluster.into()));
        self
    }

    /// The cluster's pool for the jobs of this context. Pools are defined when the cluster is started. If the cluster
    /// does not know the name, jobs fail.
    pub fn pool(mut self, name: impl Into<String>) -> Self {
        self.settings.cluster.pool = name.into();
        self
    }

    /// Gives slow tasks of a cluster a second attempt on another engine. A task is slow when `quantile_percent` of its
    /// stage's tasks are done, and it has run for more than `multiplier_percent` of their median time. The first
    /// attempt to finish counts, and the other one is stopped. By default there are no second attempts of this kind.
    ///
    /// A quantile of more than 100 would never be reached. A multiplier of less than 100 would run tasks twice although
    /// they are as fast as others. Both are errors when the context is built.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// let error = Context::builder().speculation(75, 15).build().err().expect("15 % of the median are too few");
    /// assert!(error.to_string().contains("15 % of the median"), "{error}");
    /// ```
    #[track_caller]
    pub fn speculation(mut self, quantile_percent: u32, multiplier_percent: u32) -> Self {
        if quantile_percent > 100 {
            self.refuse(format!(
                "speculation after {quantile_percent} % of the tasks never begins; 100 % are all of them"
            ));
        }
        if multiplier_percent < 100 {
            let why = "run tasks twice that are as fast as others; say at least 100 %, such as 150";
            self.refuse(format!("speculation at {multiplier_percent} % of the median time would {why}"));
        }
        self.settings.cluster.speculation = Some(Speculation { quantile_percent, multiplier_percent });
        self
    }

    /// How long a job waits for an engine, and a driver for the hub, if there is none.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.cluster.patience = patience;
        self
    }

    /// Sends this variable of the program's environment to tasks on a cluster. If `name` ends in `*`, sends all
    /// variables with this prefix. It may be called several times.
    ///
    /// Tasks have the environment of their engine, because paths in it belong to the engine's machine. From the program
    /// they get `TRYWORKS_*`, `RUST_BACKTRACE`, `RUST_LIB_BACKTRACE`, `RUST_LOG`, `LANG`, `LANGUAGE`, `LC_*`, `TZ`, and
    /// the variables named here. Tasks on the program's own threads have its whole environment anyway.
    ///
    /// ```
    /// use tryworks::prelude::*;
    /// let cx = Context::builder().threads(1).env("CARGO_MANIFEST_DIR").env("AWS_*").build()?;
    /// let told = cx.range_in(0..1, 1).map(|_| std::env::var("CARGO_MANIFEST_DIR").is_ok());
    /// assert_eq!(told.collect()?, [true]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn env(mut self, name: impl Into<String>) -> Self {
        self.settings.cluster.send_env.push(name.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::from_environment;

    #[test]
    fn variables_to_send_are_named_with_commas_between() {
        let named = |value: &str| from_environment(|name| (name == "TRYWORKS_SEND_ENV").then(|| value.into())).unwrap();
        assert_eq!(named("TOKEN, AWS_*,").cluster.send_env, ["TOKEN", "AWS_*"]);
        assert_eq!(named("").cluster.send_env, [""; 0]);
    }

    #[test]
    fn a_connection_file_is_that_of_where_the_program_was() {
        let named = |name: &str| {
            let settings = from_environment(|asked| (asked == "TRYWORKS_CLUSTER").then(|| name.into()));
            settings.unwrap().cluster.name
        };
        let here = std::env::current_dir().unwrap();
        assert_eq!(named("here/driver.json"), here.join("here/driver.json").to_str().map(String::from));
        assert_eq!(named("default").as_deref(), Some("default"));
        assert_eq!(named(""), None);
    }
}
