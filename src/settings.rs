//! Settings from the environment: `TRYWORKS_THREADS` and its like.

use std::path::PathBuf;
use tryworks_core::{Error, Result, Site};
use tryworks_engine::local::Settings;
use tryworks_io::resident::machine_memory;
use tryworks_io::size;
use tryworks_io::spill::SpillOptions;

/// The share of the machine's memory that is the budget if nothing is said, in percent.
const MEMORY_PERCENT: u64 = 60;

/// The settings of a program that says nothing.
pub(crate) fn default() -> Settings {
    Settings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory: machine_memory() / 100 * MEMORY_PERCENT,
        spill_dir: std::env::temp_dir(),
        spill: SpillOptions::default(),
        max_result_bytes: 4 << 30,
        max_attempts: 1,
        event_log: None,
    }
}

/// The settings that the environment says.
///
/// # Errors
/// Names the variable that is wrong, and its form.
pub(crate) fn from_environment(look: impl Fn(&str) -> Option<String>) -> Result<Settings> {
    let mut settings = default();
    let wrong = |name: &str, value: &str, form: &str| {
        let message = format!("the environment variable {name} is `{value}`, which is not {form}");
        Error::Plan { message, site: Site::caller() }
    };
    if let Some(value) = look("TRYWORKS_CLUSTER") {
        return Err(wrong(
            "TRYWORKS_CLUSTER",
            &value,
            "of use to this version: it runs on threads of this process only",
        ));
    }
    if let Some(value) = look("TRYWORKS_THREADS") {
        let threads = value.parse().ok().filter(|threads| (1..=4096).contains(threads));
        settings.threads = threads.ok_or_else(|| wrong("TRYWORKS_THREADS", &value, "a number from 1 to 4096"))?;
    }
    let size_of = |name: &str| -> Result<Option<u64>> {
        look(name).map(|value| size::bytes(&value).ok_or_else(|| wrong(name, &value, size::FORM))).transpose()
    };
    if let Some(memory) = size_of("TRYWORKS_MEMORY")? {
        settings.memory = memory;
    }
    if let Some(limit) = size_of("TRYWORKS_MAX_RESULT_BYTES")? {
        settings.max_result_bytes = limit;
    }
    settings.spill.quota = size_of("TRYWORKS_SPILL_QUOTA")?;
    if let Some(dir) = look("TRYWORKS_SPILL_DIR") {
        settings.spill_dir = PathBuf::from(dir);
    }
    settings.event_log = look("TRYWORKS_EVENT_LOG").map(PathBuf::from);
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_variable_is_named() {
        let error = from_environment(|name| (name == "TRYWORKS_MEMORY").then(|| "lots".into())).unwrap_err();
        assert!(error.to_string().contains("TRYWORKS_MEMORY is `lots`"), "{error}");
        let error = from_environment(|name| (name == "TRYWORKS_THREADS").then(|| "0".into())).unwrap_err();
        assert!(error.to_string().contains("TRYWORKS_THREADS"), "{error}");
    }
}
