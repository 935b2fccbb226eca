//! Settings from environment variables, such as `TRYWORKS_THREADS`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::memory::Memory;
use tryworks_base::paths::whole;
use tryworks_base::resident::machine_memory;
use tryworks_base::{Error, Result, size};
use tryworks_runtime::Runtime;
use tryworks_runtime::local::{self, Local};
use tryworks_store::spill::SpillOptions;

/// The default memory budget, in percent of the machine's memory.
const MEMORY_PERCENT: u64 = 60;

/// The settings of a context.
pub(crate) struct Settings {
    /// For the program's own threads; some of these hold for a cluster, too.
    pub(crate) local: local::Settings,
    /// For a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) cluster: crate::cluster::Settings,
    /// How many attempts a failing task has, if that was set.
    pub(crate) max_attempts: Option<u32>,
}

impl Settings {
    /// The runtime of a context with these settings, and the memory budget of this process.
    pub(crate) fn runtime(self) -> Result<(Arc<dyn Runtime>, Arc<Memory>)> {
        #[cfg(feature = "cluster")]
        if let Some(cluster) = self.cluster.connect(&self.local, self.max_attempts)? {
            return Ok((cluster, Memory::new(self.local.memory)));
        }
        let local = Local::new(local::Settings { max_attempts: self.max_attempts.unwrap_or(1), ..self.local })?;
        let memory = local.memory().clone();
        Ok((Arc::new(local), memory))
    }
}

/// The default settings.
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
        #[cfg(feature = "cluster")]
        cluster: Default::default(),
        max_attempts: None,
    }
}

/// The most threads that run tasks. Asking for more is a mistake, because each has a stack of 64 MiB.
const MOST_THREADS: usize = 4096;

/// A number of threads, from a variable or from a method. As an error, what is wrong with it.
pub(crate) fn threads(threads: usize) -> Result<usize, String> {
    if (1..=MOST_THREADS).contains(&threads) {
        return Ok(threads);
    }
    Err(format!("asks for {threads} threads; ask for 1 to {MOST_THREADS}"))
}

/// A memory budget, from a variable or from a method. As an error, what is wrong with it.
pub(crate) fn memory(bytes: u64) -> Result<u64, String> {
    if bytes > 0 {
        return Ok(bytes);
    }
    Err("asks for a memory budget of 0 bytes, in which no task could run; ask for more, such as 1 GiB".into())
}

/// The error of a variable with a wrong value. `form` says what it should be.
pub(crate) fn wrong(name: &str, value: &str, form: &str) -> Error {
    Error::Setting { name: name.into(), message: format!("is `{value}`, which is not {form}") }
}

/// Reads the settings from environment variables. `look` finds a variable.
///
/// # Errors
/// If a variable has a wrong value; the error names the variable and says what it should be.
pub(crate) fn from_environment(look: impl Fn(&str) -> Option<OsString>) -> Result<Settings> {
    let mut all = default();
    let settings = &mut all.local;
    let text = |name: &str| -> Result<Option<String>> {
        let not_text = |value: OsString| wrong(name, &value.to_string_lossy(), "UTF-8");
        look(name).map(|value| value.into_string().map_err(not_text)).transpose()
    };
    // The error of a variable whose message already contains the value.
    let bad = |name: &str| {
        let name = name.to_string();
        move |message| Error::Setting { name, message }
    };
    #[cfg(feature = "cluster")]
    all.cluster.hear(&text)?;
    #[cfg(not(feature = "cluster"))]
    if let Some(name) = text("TRYWORKS_CLUSTER")?.filter(|name| !name.is_empty()) {
        let message = format!("is `{name}`, and this program was built without the feature `cluster` of tryworks");
        return Err(Error::Setting { name: "TRYWORKS_CLUSTER".into(), message });
    }
    if let Some(value) = text("TRYWORKS_THREADS")? {
        let asked = value.parse().map_err(|_| wrong("TRYWORKS_THREADS", &value, "a number of threads"))?;
        settings.threads = threads(asked).map_err(bad("TRYWORKS_THREADS"))?;
    }
    let size_of = |name: &str| -> Result<Option<u64>> {
        text(name)?.map(|value| size::bytes(&value).ok_or_else(|| wrong(name, &value, size::FORM))).transpose()
    };
    if let Some(bytes) = size_of("TRYWORKS_MEMORY")? {
        settings.memory = memory(bytes).map_err(bad("TRYWORKS_MEMORY"))?;
    }
    if let Some(limit) = size_of("TRYWORKS_MAX_RESULT_BYTES")? {
        settings.max_result_bytes = limit;
    }
    settings.spill.quota = size_of("TRYWORKS_SPILL_QUOTA")?;
    if let Some(dir) = look("TRYWORKS_SPILL_DIR") {
        settings.spill_dir = whole(Path::new(&dir)).map_err(bad("TRYWORKS_SPILL_DIR"))?;
    }
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
    use crate::Context;
    use std::os::unix::ffi::OsStringExt;

    /// Without the feature `cluster` fewer variables are read.
    #[cfg(feature = "cluster")]
    #[test]
    fn the_page_of_settings_has_the_variables_that_are_read_and_no_others() {
        let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let nothing = |name: &str| {
            read.borrow_mut().insert(name.to_string());
            None
        };
        assert!(from_environment(nothing).is_ok());
        let page = include_str!("../docs/settings.md").lines();
        let told = page.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(String::from);
        assert_eq!(told.collect::<std::collections::BTreeSet<_>>(), read.into_inner());
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = from_environment(|name| (name == "TRYWORKS_MEMORY").then(|| "lots".into())).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("TRYWORKS_MEMORY is `lots`") && !text.contains(".rs"), "{error}");
    }

    /// A variable had been refused that the method of the same setting accepted.
    #[test]
    fn a_number_is_refused_alike_by_its_variable_and_by_its_method() {
        let builder = || Context::builder().progress(false);
        let refused = [
            ("TRYWORKS_MEMORY", "0", builder().memory(0)),
            ("TRYWORKS_THREADS", "0", builder().threads(0)),
            ("TRYWORKS_THREADS", "5000", builder().threads(5000)),
        ];
        for (variable, value, builder) in refused {
            let error = from_environment(|name| (name == variable).then(|| value.into())).err().unwrap().to_string();
            let why = error.split_once("asks for").expect("says what was asked for").1;
            let error = builder.build().err().expect("a method refuses what its variable refuses").to_string();
            assert!(error.contains(why) && error.contains("settings.rs"), "{error}");
        }
    }

    #[test]
    fn a_variable_that_is_not_text_is_an_error_and_a_path_need_not_be() {
        let odd = || OsString::from_vec(vec![b'n', 0xff]);
        let of_clusters = if cfg!(feature = "cluster") { &["POOL", "PATIENCE", "SEND_ENV"][..] } else { &[] };
        for name in ["CLUSTER", "THREADS", "MEMORY", "MAX_RESULT_BYTES", "SPILL_QUOTA"].iter().chain(of_clusters) {
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
                "TRYWORKS_SPILL_DIR" => "spill".into(),
                "TRYWORKS_EVENT_LOG" => "../log".into(),
                _ => return None,
            })
        })
        .unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(settings.local.spill_dir, here.join("spill"));
        assert_eq!(settings.local.event_log, Some(here.join("../log")));
        assert!(from_environment(|name| (name == "TRYWORKS_SPILL_DIR").then(OsString::new)).is_err(), "no path at all");
    }

    #[cfg(not(feature = "cluster"))]
    #[test]
    fn a_program_without_clusters_says_so() {
        let error = from_environment(|name| (name == "TRYWORKS_CLUSTER").then(|| "default".into())).err().unwrap();
        assert!(error.to_string().contains("TRYWORKS_CLUSTER is `default`") && error.to_string().contains("feature"));
    }
}
