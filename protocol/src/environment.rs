//! Which variables workers get from their driver's environment: a short list, and those that the user names. All others
//! come from the engine.

use std::ffi::{OsStr, OsString};
use tryworks_base::{Error, Result};

/// A worker has its driver's value of these, or none if the driver has none: a program's behaviour should not depend on
/// where it runs.
pub const ALWAYS: [&str; 8] =
    ["TRYWORKS_*", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_LOG", "LANG", "LANGUAGE", "LC_*", "TZ"];
/// These mean something else to a worker, and are never sent.
const NEVER: [&str; 3] = ["TRYWORKS_CLUSTER", "TRYWORKS_HOME", crate::worker::VARIABLE];

/// Whether a variable's name is the pattern, or begins with what the pattern has before its `*`.
fn matches(pattern: &str, name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    pattern.strip_suffix('*').map_or(pattern.as_bytes() == name, |beginning| name.starts_with(beginning.as_bytes()))
}

/// Whether every worker has its driver's value of this variable.
pub fn is_the_drivers(name: &OsStr) -> bool {
    may_be_sent(name) && ALWAYS.iter().any(|pattern| matches(pattern, name))
}

/// Whether a driver may send this variable at all.
pub fn may_be_sent(name: &OsStr) -> bool {
    NEVER.iter().all(|never| *never != name)
}

/// The variables of this process that go to workers: those on the list, and those that match one of these names. A name
/// may end in `*`, which stands for any rest.
pub fn chosen(named: &[String]) -> Result<Vec<(OsString, OsString)>> {
    let unfit = |pattern: &&String| {
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        pattern.is_empty() || name.contains(['*', '=', '\0'])
    };
    if let Some(pattern) = named.iter().find(unfit) {
        let what = format!("`{pattern}` names no environment variable that can be sent to workers");
        return Err(Error::cluster(what, "give a name, such as `TOKEN`, or a beginning, such as `AWS_*`"));
    }
    let asked = |name: &OsStr| is_the_drivers(name) || named.iter().any(|pattern| matches(pattern, name));
    Ok(std::env::vars_os().filter(|(name, _)| asked(name) && may_be_sent(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_drivers_and_what_means_something_else_to_a_worker_is_not() {
        for name in ["TRYWORKS_MEMORY", "TRYWORKS_MINE", "RUST_LOG", "RUST_BACKTRACE", "LC_ALL", "LANG", "TZ"] {
            assert!(is_the_drivers(name.as_ref()), "{name}");
        }
        for name in ["TRYWORKS_WORKER", "TRYWORKS_HOME", "TRYWORKS_CLUSTER", "PATH", "HOME", "LANGE", "TZDIR", "LC"] {
            assert!(!is_the_drivers(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn only_named_variables_are_chosen() {
        let names = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| name.to_string()).collect();
            let chosen = chosen(&named).unwrap();
            chosen.into_iter().map(|(name, _)| name).filter(|name| !is_the_drivers(name)).collect::<Vec<_>>()
        };
        // Cargo sets these for tests.
        assert!(names(&[]).is_empty());
        assert_eq!(names(&["CARGO_MANIFEST_DIR", "CARGO_PKG_NAM", "NOT_SET_BY_ANYBODY"]), ["CARGO_MANIFEST_DIR"]);
        let some = names(&["CARGO_PKG_*"]);
        assert!(some.len() > 1 && some.iter().all(|name| matches("CARGO_PKG_*", name)), "{some:?}");
        assert!(names(&["*"]).contains(&"PATH".into()));
    }

    #[test]
    fn a_pattern_that_can_name_no_variable_is_an_error() {
        for pattern in ["", "A=B", "A*B", "**"] {
            let error = chosen(&[pattern.into()]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{pattern}` names no environment variable")), "{error}");
        }
    }
}
